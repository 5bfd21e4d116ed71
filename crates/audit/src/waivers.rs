//! Findings that somebody answers for, until a day: `/etc/portreeve/waivers.toml`. A file that cannot be understood is an error
//! and never a default: it takes findings away.

use crate::bounded;
use crate::checks::{CHECKS, EVIDENCE};
use crate::finding::Finding;
use rustix::fs::FileType;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use toml_span::Span;
use toml_span::value::{Table, Value, ValueInner};

/// Where the waivers are.
pub const PATH: &str = "/etc/portreeve/waivers.toml";
/// More than this is no file of waivers.
const LONGEST: usize = 1 << 20;
const KEYS: [&str; 5] = ["id", "match", "owner", "reason", "expires"];

/// One waiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// The check's id.
    pub id: String,
    /// Names of evidence and what they must be, all of them.
    pub matches: Vec<(String, String)>,
    /// Who answers for it.
    pub owner: String,
    /// Why it may be.
    pub reason: String,
    /// The last day on which it holds.
    pub expires: Day,
    /// The line on which it begins, from 1.
    pub line: usize,
}

/// A day of the calendar; days compare as they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// As in 2027.
    pub year: i32,
    /// 1-12.
    pub month: u8,
    /// 1-31.
    pub day: u8,
}

impl Day {
    /// Today, where this host's clock hangs.
    pub fn today() -> Day {
        let now = portreeve_sys::clock::local(portreeve_sys::clock::wall_seconds());
        Day { year: now.year, month: now.month, day: now.day }
    }

    /// `2027-06-30`.
    pub fn read(text: &str) -> Option<Day> {
        let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return None };
        let plain = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        if !plain(year, 4) || !plain(month, 2) || !plain(day, 2) {
            return None;
        }
        let (year, month, day): (i32, u8, u8) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        (1..=last).contains(&day).then_some(Day { year, month, day })
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Waiver {
    /// Whether it is about this finding.
    pub fn is_for(&self, finding: &Finding) -> bool {
        self.id == finding.check.id
            && self.matches.iter().all(|(name, value)| finding.evidence(name) == Some(value.as_str()))
    }
}

/// Reads the file; none when it is not there.
///
/// # Errors
/// A sentence with the place.
pub fn read(path: &Path) -> Result<Vec<Waiver>, String> {
    let Some(text) = file(path)? else { return Ok(Vec::new()) };
    parse(&text).map_err(|wrong| told(path, &text, wrong))
}

/// The text of a file that takes findings away; None when it is not there.
pub(crate) fn file(path: &Path) -> Result<Option<String>, String> {
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(&bounded::words(&error))),
    };
    if FileType::from_raw_mode(metadata.mode()) != FileType::RegularFile {
        return Err(wrong("this is no regular file"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(wrong("others than its owner may write it; take that away (chmod go-w)"));
    }
    let bytes = bounded::file(path, LONGEST + 1).map_err(|error| wrong(&bounded::words(&error)))?;
    if bytes.len() > LONGEST {
        return Err(wrong("longer than 1 MiB: that is no such file"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| wrong("this is not UTF-8"))
}

/// Where in a file what is wrong.
pub(crate) type Wrong = (Span, String);

/// The same for people.
pub(crate) fn told(path: &Path, text: &str, (span, what): Wrong) -> String {
    let (line, column) = place(text, span.start);
    format!("{}:{line}:{column}: {what}", path.display())
}

/// The tables `[[name]]` of a file that holds nothing else.
pub(crate) fn tables<'a>(text: &'a str, name: &str) -> Result<Vec<Value<'a>>, Wrong> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, format!("expected [[{name}]]")));
    };
    if let Some(key) = table.keys().find(|key| key.name != name) {
        return Err((key.span, format!("there is no {} here, only [[{name}]]", key.name)));
    }
    let Some(mut list) = table.remove(name) else { return Ok(Vec::new()) };
    let span = list.span;
    match list.take() {
        ValueInner::Array(list) => Ok(list),
        _ => Err((span, format!("{name} must be a list: [[{name}]]"))),
    }
}

fn parse(text: &str) -> Result<Vec<Waiver>, Wrong> {
    tables(text, "waiver")?.into_iter().map(|value| waiver(text, value)).collect()
}

fn waiver(text: &str, mut value: Value<'_>) -> Result<Waiver, Wrong> {
    let span = value.span;
    let ValueInner::Table(mut table) = value.take() else {
        return Err((span, "each waiver must be a table: [[waiver]]".to_owned()));
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&&*key.name)) {
        return Err((key.span, format!("there is no {} in a waiver, only {}", key.name, KEYS.join(", "))));
    }
    let id_span = table.get("id").map_or(span, |id| id.span);
    let id = word(&mut table, span, "id")?;
    let ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
    if !ids.contains(&id.as_str()) {
        return Err((id_span, format!("there is no check {id}, only {}", ids.join(", "))));
    }
    let expires = day(&mut table, span)?;
    Ok(Waiver {
        matches: matches(&mut table, span)?,
        owner: word(&mut table, span, "owner")?,
        reason: word(&mut table, span, "reason")?,
        line: place(text, span.start).0,
        id,
        expires,
    })
}

fn matches(table: &mut Table<'_>, span: Span) -> Result<Vec<(String, String)>, Wrong> {
    let missing = || (span, "a waiver needs match, as { address = \"0.0.0.0:80\" }".to_owned());
    let mut value = table.remove("match").ok_or_else(missing)?;
    let span = value.span;
    let inner = match value.take() {
        ValueInner::Table(inner) if !inner.is_empty() => inner,
        _ => {
            return Err((
                span,
                "match must be a table of evidence, as { address = \"0.0.0.0:80\" }".to_owned(),
            ));
        }
    };
    let mut found = Vec::new();
    for (key, mut value) in inner {
        if !EVIDENCE.iter().any(|(name, _)| *name == key.name) {
            let names: Vec<_> = EVIDENCE.iter().map(|(name, _)| *name).collect();
            return Err((key.span, format!("{} is no evidence; there is {}", key.name, names.join(", "))));
        }
        let ValueInner::String(text) = value.take() else {
            return Err((value.span, format!("{} must be a text in quotes", key.name)));
        };
        found.push((key.name.into_owned(), text.into_owned()));
    }
    Ok(found)
}

/// The value of `expires`.
pub(crate) fn day(table: &mut Table<'_>, span: Span) -> Result<Day, Wrong> {
    let at = table.get("expires").map_or(span, |day| day.span);
    let text = word(table, span, "expires")?;
    Day::read(&text).ok_or((at, "expires must be a day of the calendar, as \"2027-06-30\"".to_owned()))
}

/// The value of a key that is a text and must be there.
pub(crate) fn word(table: &mut Table<'_>, span: Span, name: &str) -> Result<String, Wrong> {
    let mut value = table.remove(name).ok_or_else(|| (span, format!("this needs {name}")))?;
    match value.take() {
        ValueInner::String(text) if !text.trim().is_empty() => Ok(text.into_owned()),
        _ => Err((value.span, format!("{name} must be a text in quotes"))),
    }
}

/// Line and column, from 1, of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# ours\n[[waiver]]\nid = \"listener-plaintext\"\nmatch = { address = \"0.0.0.0:80\", executable = \"/usr/sbin/nginx\" }\n\
        owner = \"web\"\nreason = \"redirects\"\nexpires = \"2028-02-29\"\n";

    #[test]
    fn a_waiver_is_read() {
        let waivers = parse(GOOD).unwrap();
        let [one] = &waivers[..] else { panic!("{waivers:?}") };
        assert_eq!(
            (one.id.as_str(), one.owner.as_str(), one.expires.to_string()),
            ("listener-plaintext", "web", "2028-02-29".to_owned())
        );
        assert_eq!(one.matches.len(), 2);
        assert_eq!(parse("").unwrap(), []);
        assert!(Day::read("2027-06-30") < Day::read("2027-07-01"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (from, to, wanted) in [
            ("[[waiver]]", "[[waver]]", "2:3: there is no waver here, only [[waiver]]"),
            ("owner", "own", "5:1: there is no own in a waiver, only id, match, owner, reason, expires"),
            ("owner = \"web\"\n", "", "this needs owner"),
            ("\"web\"", "\" \"", "5:10: owner must be a text in quotes"),
            ("\"web\"", "5", "owner must be a text in quotes"),
            ("2028", "2027", "expires must be a day of the calendar, as \"2027-06-30\""),
            ("address", "pid", "pid is no evidence; there is protocol, address"),
            ("\"0.0.0.0:80\"", "80", "address must be a text in quotes"),
            ("plaintext\"", "plain\"", "there is no check listener-plain, only listener-plaintext-login"),
            ("[[waiver]]", "waiver = 1\n[x]", "waiver"),
        ] {
            let text = GOOD.replace(from, to);
            let (span, what) = parse(&text).unwrap_err();
            let (line, column) = place(&text, span.start);
            let told = format!("{line}:{column}: {what}");
            assert!(told.contains(wanted), "{told}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("portreeve-waivers-{}", std::process::id()));
        assert_eq!(read(&path), Ok(Vec::new()));
        std::fs::write(&path, GOOD).unwrap();
        for (mode, good) in [(0o644, true), (0o664, false), (0o646, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), good, "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(Path::new("/")).unwrap_err().contains("no regular file"));
    }
}
