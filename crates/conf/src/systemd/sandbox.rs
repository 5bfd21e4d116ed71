//! What confines the program of a unit, as words of `sandbox`, and back. The words are systemd's own settings, so nothing is translated;
//! what this decides is which assignments count (a switch: the last; a list: all since the last empty one).

use super::binds;
use super::pair::Out;
use super::specifier::expand;
use super::unit::{Setting, Unit, boolean, span};
use super::words::{self, split};
use crate::sandbox::{self, KEYS, Shape};

const SECTION: &str = "Service";

/// Directories that systemd makes for a program, and lets it write whatever is read-only around them.
const DIRECTORIES: &[(&str, &str)] = &[
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];

/// The words of a unit, parted by blanks; `None` where it asks for nothing. `name` is the unit's.
///
/// # Errors
/// Why nothing can be started as the unit says.
pub(super) fn read(unit: &Unit, name: &str, out: &mut Out<'_>) -> Result<Option<String>, String> {
    let mut all: Vec<String> = Vec::new();
    for (key, shape) in KEYS {
        let settings = match *shape {
            Shape::Bind if *key == binds::KEYS[0] => unit.all(SECTION, &binds::KEYS),
            Shape::Bind => continue,
            _ => unit.every(SECTION, key),
        };
        let Some(last) = settings.last() else { continue };
        let words = match shape {
            Shape::Root => root(key, last, name)?,
            shape if !shape.is_list() => one(key, *shape, last, out),
            Shape::Device => devices(key, &settings, name, out),
            Shape::Bind => binds::read(&settings, name, out),
            shape => several(key, *shape, &settings, name, out),
        };
        if !words.is_empty() {
            out.at("sandbox", last);
        }
        all.extend(words);
    }
    let denies = all.iter().any(|word| word.starts_with("IPAddressDeny="));
    if let Some(setting) = unit.list(SECTION, "IPAddressAllow").last().filter(|_| !denies) {
        out.told(setting, "nothing is denied, so everybody is allowed");
        all.retain(|word| !word.starts_with("IPAddressAllow="));
    }
    if all.iter().any(|word| word == "ProtectSystem=strict" || word == "DynamicUser") {
        writable(unit, name, &mut all, out);
    }
    let words: Result<Vec<_>, _> = all.iter().map(|word| sandbox::word(word)).collect();
    if let Ok(words) = words {
        sandbox::build(&words, None)?;
    }
    Ok((!all.is_empty()).then(|| all.join(" ")))
}

/// Takes a word up, or names why not. `first`: none of this key stands before it.
fn take(word: String, first: bool, setting: &Setting, out: &mut Out<'_>) -> Option<String> {
    let odd = word.chars().any(|c| c.is_whitespace() || c.is_control());
    if odd {
        out.lost(setting, "a value with blanks has no place in a word of `sandbox`");
        return None;
    }
    match sandbox::word(&word) {
        Ok(_) => Some(word),
        Err(fault) if fault.unknown_call && !word.contains("=~") => {
            // An unknown name on a list of what is allowed allows nothing. As the first word it makes the list one of that kind, so
            // something must stand there: what any such list holds.
            out.told(setting, &format!("{}, so nothing is allowed by it", fault.message));
            first.then(|| "SystemCallFilter=@default".to_owned())
        }
        Err(fault) => {
            out.lost(setting, &format!("{}; {}", fault.message, fault.help));
            None
        }
    }
}

fn one(key: &str, shape: Shape, setting: &Setting, out: &mut Out<'_>) -> Vec<String> {
    let value = setting.value.as_str();
    let ours = (cfg!(target_arch = "x86_64") && value == "x86-64")
        || (cfg!(target_arch = "aarch64") && value == "arm64");
    let word = match (shape, boolean(value)) {
        (_, None) if value.is_empty() => return Vec::new(),
        (Shape::Switch | Shape::Choice(_), Some(false)) => {
            out.told(setting, "asks for nothing");
            return Vec::new();
        }
        (Shape::Switch | Shape::Choice(_), Some(true)) => key.to_owned(),
        (Shape::Word(words), Some(on)) if words.contains(&"no") => {
            format!("{key}={}", if on { "yes" } else { "no" })
        }
        _ if key == "SystemCallArchitectures" && ours => format!("{key}=native"),
        _ if key == "SystemCallArchitectures" && value != "native" => {
            let why = "portreeve allows the calls of this machine's own architecture, or none";
            out.lost(setting, why);
            return Vec::new();
        }
        // A word has no blanks.
        _ => match span(value).filter(|_| shape == Shape::Span && value.contains(char::is_whitespace)) {
            Some(span) => format!("{key}={span}us"),
            None => format!("{key}={value}"),
        },
    };
    take(word, true, setting, out).into_iter().collect()
}

fn several(key: &str, shape: Shape, settings: &[&Setting], name: &str, out: &mut Out<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for setting in settings {
        let value = setting.value.as_str();
        if value.is_empty() {
            all.clear();
            // An empty bounding set holds nothing; any other list is forgotten.
            if key == "CapabilityBoundingSet" {
                all.push(format!("{key}=none"));
            }
            continue;
        }
        if let (Shape::Namespace, Some(on)) = (shape, boolean(value)) {
            all.clear();
            all.extend(on.then(|| format!("{key}=yes")));
            continue;
        }
        let (value, mark) = match value.strip_prefix('~') {
            Some(rest) if !matches!(shape, Shape::Path | Shape::Empty) => (rest, "~"),
            _ => (value, ""),
        };
        let words = split(value).and_then(|words| words.iter().map(|word| expand(word, name)).collect());
        let words: Vec<String> = match words {
            Ok(words) => words,
            Err(why) => {
                out.lost(setting, &why);
                continue;
            }
        };
        if words.is_empty() && !mark.is_empty() && shape == Shape::Capability {
            all.clear();
            continue;
        }
        for word in words {
            let taken = take(format!("{key}={mark}{word}"), all.is_empty(), setting, out);
            all.extend(taken);
        }
    }
    all
}

/// A directory; `/` and nothing are the root that there is. What is none leaves no program to start: another one would be.
fn root(key: &str, setting: &Setting, name: &str) -> Result<Vec<String>, String> {
    let refused = |why: &str| format!("`{key}=`: {why}");
    let path = expand(&setting.value, name).map_err(|why| refused(&why))?;
    if path.is_empty() {
        return Ok(Vec::new());
    }
    if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refused("a path with blanks has no place in a word of `sandbox`"));
    }
    let word = format!("{key}={path}");
    match sandbox::word(&word) {
        Ok(_) => Ok(vec![word]),
        Err(fault) => Err(refused(&fault.message)),
    }
}

/// A device and what may be done with it are one value, parted by a blank.
fn devices(key: &str, settings: &[&Setting], name: &str, out: &mut Out<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for setting in settings {
        if setting.value.is_empty() {
            all.clear();
            continue;
        }
        let words = split(&setting.value)
            .and_then(|words| words.iter().map(|word| expand(word, name)).collect::<Result<Vec<_>, _>>());
        let word = match words.as_deref() {
            Ok([device]) => format!("{key}={device}"),
            Ok([device, may]) => format!("{key}={device}:{may}"),
            Ok(_) => {
                out.lost(setting, "it is no device with what may be done with it");
                continue;
            }
            Err(why) => {
                out.lost(setting, why);
                continue;
            }
        };
        all.extend(take(word, all.is_empty(), setting, out));
    }
    all
}

/// Directories that systemd would make; nobody makes them here.
fn writable(unit: &Unit, name: &str, all: &mut Vec<String>, out: &mut Out<'_>) {
    for (key, above) in DIRECTORIES {
        for setting in unit.list(SECTION, key) {
            let Ok(value) = expand(&setting.value, name) else {
                out.lost(setting, "it holds a specifier that cannot be known");
                continue;
            };
            for directory in value.split_ascii_whitespace() {
                let directory = directory.split(':').next().unwrap_or(directory);
                all.extend(take(format!("ReadWritePaths=-{above}/{directory}"), false, setting, out));
            }
            out.lost(setting, "nobody makes the directory; where it is there the program may write in it");
        }
    }
}

/// Whether these words make a user for it, in whose place the one that is named would stand.
pub(super) fn makes_user(value: &str) -> bool {
    let mut words = value.split_ascii_whitespace().filter_map(|text| sandbox::word(text).ok());
    words.rfind(|word| word.key == "DynamicUser").is_some_and(|word| word.value == "yes")
}

/// The lines of a unit for the words of `sandbox`.
pub(super) fn write(value: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for text in value.split_ascii_whitespace() {
        if text.eq_ignore_ascii_case(sandbox::OFF) {
            words.clear();
            continue;
        }
        words.push(sandbox::word(text).map_err(|fault| fault.message)?);
    }
    let mut lines = Vec::new();
    for (key, shape) in KEYS {
        let of: Vec<_> = words.iter().filter(|word| sandbox::counts_at(word, key)).collect();
        // Of one that is no list the last counts.
        let skipped = if shape.is_list() { 0 } else { of.len().saturating_sub(1) };
        for word in of.into_iter().skip(skipped) {
            let value = match (shape, word.value.as_str()) {
                (Shape::Capability, "none") => "",
                (_, value) => value,
            };
            let device = |value: &str| {
                let (device, may) = value.rsplit_once(':')?;
                let letters = !may.is_empty() && may.bytes().all(|byte| b"rwm".contains(&byte));
                letters.then(|| format!("{} {may}", words::text(device)))
            };
            let text = match shape {
                Shape::Device => device(value),
                Shape::Bind => Some(binds::write(value)),
                Shape::Path | Shape::Empty => Some(binds::write(&value.replace('\\', "\\\\"))),
                // There systemd looks for no specifiers.
                shape if shape.is_bound() => Some(value.to_owned()),
                _ => None,
            };
            lines.push(format!("{}={}", word.key, text.unwrap_or_else(|| words::text(value))));
        }
    }
    Ok(lines)
}
