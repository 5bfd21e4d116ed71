//! The bytes of a unit file to its settings: sections, continued lines, comments (systemd.syntax(7)). Understands no setting.

use crate::nearest::nearest;
use crate::place::Place;
use crate::text::Shared;
use std::cell::Cell;

/// The most settings of a unit, drop-ins included.
const MOST_SETTINGS: usize = 10_000;

/// The longest line with its continuations, in bytes, as in systemd.
const LONGEST_LINE: usize = 1 << 20;

/// `Key=value` in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The section, without its brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, continued lines joined by a blank.
    pub value: String,
    /// Where the key stands.
    pub place: Place,
    /// Whether somebody asked for it.
    pub(crate) asked: Cell<bool>,
}

/// What a unit says: its file and then its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// In the order of reading.
    pub settings: Vec<Setting>,
    /// Comments, without their sign.
    pub comments: Vec<String>,
}

/// A line that is no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub text: String,
}

const SECTIONS: &[&str] = &["Unit", "Socket", "Service", "Install"];

/// Reads a file and appends to `unit`. Never fails: what is wrong is in the answer.
pub fn parse(file: &str, bytes: &[u8], unit: &mut Unit) -> Vec<Fault> {
    let file: Shared = file.into();
    let text = String::from_utf8_lossy(bytes);
    let mut faults = Vec::new();
    let mut section: Option<String> = None;
    let mut lines = (1u32..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        let column = line.len() - line.trim_ascii_start().len() + 1;
        let place = |length: usize| Place {
            file: file.clone(),
            line: number,
            column: u16::try_from(column).unwrap_or(0),
            length: u16::try_from(length).unwrap_or(0),
        };
        let line = line.trim_ascii_start();
        if let Some(comment) = comment(line) {
            unit.comments.push(comment.to_owned());
            continue;
        }
        let mut whole = String::new();
        let mut part = line;
        // An odd number of backslashes at the end: the line goes on below, comments in between aside.
        while part.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1 {
            whole.push_str(part.strip_suffix('\\').unwrap_or(part));
            whole.push(' ');
            part = "";
            for (_, next) in lines.by_ref() {
                match comment(next.trim_ascii_start()) {
                    Some(comment) => unit.comments.push(comment.to_owned()),
                    None => {
                        part = next;
                        break;
                    }
                }
            }
            if whole.len() > LONGEST_LINE {
                break;
            }
        }
        whole.push_str(part);
        let whole = whole.trim_ascii();
        let mut fault = |length: usize, text: String| faults.push(Fault { place: place(length), text });
        if whole.is_empty() {
            continue;
        }
        if whole.len() > LONGEST_LINE || unit.settings.len() >= MOST_SETTINGS {
            fault(0, "the unit is too large: the rest is not read".to_owned());
            break;
        }
        if let Some(name) = whole.strip_prefix('[') {
            section = name.strip_suffix(']').map(str::to_owned);
            match &section {
                None => fault(whole.len(), "a section is written `[Name]`; its lines are ignored".to_owned()),
                Some(name) if SECTIONS.contains(&name.as_str()) || name.starts_with("X-") => {}
                Some(name) => {
                    let help = nearest(name, SECTIONS.iter().copied())
                        .map_or(String::new(), |near| format!("; did you mean `[{near}]`?"));
                    fault(whole.len(), format!("there is no section `[{name}]` in these units{help}"));
                }
            }
            continue;
        }
        let Some((key, value)) = whole.split_once('=') else {
            fault(whole.len(), "the line is no `Key=value`".to_owned());
            continue;
        };
        let key = key.trim_ascii_end().to_owned();
        let Some(section) = section.clone() else {
            fault(key.len(), format!("`{key}=` stands in no section"));
            continue;
        };
        if key.is_empty() {
            fault(1, "there is no key before the `=`".to_owned());
            continue;
        }
        let place = place(key.len());
        unit.settings.push(Setting {
            section,
            key,
            value: value.trim_ascii_start().to_owned(),
            place,
            asked: Cell::new(false),
        });
    }
    faults
}

fn comment(line: &str) -> Option<&str> {
    line.strip_prefix(['#', ';'])
}

impl Unit {
    /// All of them, empty ones too.
    pub(crate) fn every(&self, section: &str, key: &str) -> Vec<&Setting> {
        self.all(section, &[key])
    }

    /// The same of a list that has several keys.
    pub(crate) fn all(&self, section: &str, keys: &[&str]) -> Vec<&Setting> {
        let wanted = |setting: &&Setting| setting.section == section && keys.contains(&setting.key.as_str());
        self.settings.iter().filter(wanted).inspect(|setting| setting.asked.set(true)).collect()
    }

    /// The setting that counts where the last one does; an empty one takes it back.
    pub(crate) fn last(&self, section: &str, key: &str) -> Option<&Setting> {
        self.all(section, &[key]).pop().filter(|setting| !setting.value.is_empty())
    }

    /// A list: an empty assignment forgets what stood before.
    pub(crate) fn list(&self, section: &str, key: &str) -> Vec<&Setting> {
        let mut list = Vec::new();
        for setting in self.all(section, &[key]) {
            if setting.value.is_empty() {
                list.clear();
            } else {
                list.push(setting);
            }
        }
        list
    }

    /// What nobody has asked for.
    pub(crate) fn unasked(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| !setting.asked.get())
    }
}

/// `yes`, `no` and their like (systemd.syntax(7)).
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A span of time in microseconds: `2s`, `1min 30s`, `500ms`, a plain number of seconds; `infinity` is the greatest.
pub(crate) fn span(text: &str) -> Option<u64> {
    if text == "infinity" {
        return Some(u64::MAX);
    }
    let mut rest = text.trim_ascii();
    let mut total = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, behind) = rest.split_at(digits);
        let behind = behind.trim_ascii_start();
        let letters = behind.len() - behind.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "us" | "usec" | "µs" | "μs" => 1,
            "ms" | "msec" => 1_000,
            "" | "s" | "sec" | "second" | "seconds" => 1_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000,
            "d" | "day" | "days" => 86_400_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = behind.trim_ascii_start();
    }
    Some(total)
}
