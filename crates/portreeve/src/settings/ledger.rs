//! The table `[ledger]` of portreeve.toml: whether events are kept, where, how many and for how long.

use super::{place, read};
use portreeve_ledger::{DEFAULT_DIRECTORY, Keep, LEAST_SIZE, Settings};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml_span::Span;
use toml_span::value::{Value, ValueInner};

/// The keys.
const KEYS: [&str; 4] = ["keep", "directory", "size", "age"];
/// No ledger is larger; SQLite's own bound is far above it.
const MOST_SIZE: u64 = 1 << 40;

/// The ledger's settings; what the file does not say is as always.
///
/// # Errors
/// A sentence with the place.
pub fn ledger(path: &Path) -> Result<Settings, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Settings::default()),
        Err(error) => return Err(format!("{}: {}", path.display(), crate::failure::system_text(&error))),
    };
    settings_in(&text).map_err(|(span, what)| {
        let (line, column) = place(&text, span.start);
        format!("{}:{line}:{column}: {what}", path.display())
    })
}

type Wrong = (Span, String);

fn settings_in(text: &str) -> Result<Settings, Wrong> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, "expected keys and values".to_owned()));
    };
    let mut settings = Settings::default();
    let Some(mut value) = table.remove("ledger") else { return Ok(settings) };
    let span = value.span;
    let ValueInner::Table(mut table) = value.take() else {
        return Err((span, "ledger must be a table: [ledger]".to_owned()));
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&&*key.name)) {
        let near = KEYS.iter().find(|known| known.starts_with(key.name.get(..1).unwrap_or(" ")));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let what = format!("there is no {} in [ledger], only {}{hint}", key.name, KEYS.join(", "));
        return Err((key.span, what));
    }
    let directory = table.remove("directory").map(directory).transpose()?;
    let keep = table.remove("keep").map(yes_or_no).transpose()?;
    settings.keep = match (keep, directory) {
        (Some(false), _) => Keep::Off,
        (_, Some(directory)) => Keep::In(directory),
        (Some(true), None) => Keep::In(DEFAULT_DIRECTORY.into()),
        (None, None) => Keep::IfThere,
    };
    if let Some(value) = table.remove("size") {
        settings.most_bytes = size(value)?;
    }
    if let Some(value) = table.remove("age") {
        settings.keep_for = age(value)?;
    }
    Ok(settings)
}

fn yes_or_no(mut value: Value<'_>) -> Result<bool, Wrong> {
    match value.take() {
        ValueInner::Boolean(keep) => Ok(keep),
        _ => Err((value.span, "keep must be true or false".to_owned())),
    }
}

fn directory(mut value: Value<'_>) -> Result<PathBuf, Wrong> {
    match value.take() {
        ValueInner::String(path) if path.starts_with('/') => Ok(PathBuf::from(path.as_ref())),
        _ => Err((value.span, "directory must be a path in quotes that begins with /".to_owned())),
    }
}

fn size(mut value: Value<'_>) -> Result<u64, Wrong> {
    let found = match value.take() {
        ValueInner::Integer(bytes) => u64::try_from(bytes).ok(),
        ValueInner::String(text) => counted(&text, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)]),
        _ => None,
    };
    let expected = "size must be bytes from 1M to 1T, as \"256M\"";
    found.filter(|bytes| (LEAST_SIZE..=MOST_SIZE).contains(bytes)).ok_or((value.span, expected.to_owned()))
}

fn age(mut value: Value<'_>) -> Result<Duration, Wrong> {
    let found = match value.take() {
        ValueInner::String(text) => crate::since::span(&text),
        _ => None,
    };
    let expected = "age must be a time of at least a minute, as \"90d\" or \"12h\"";
    found.filter(|age| age.as_secs() >= 60).ok_or((value.span, expected.to_owned()))
}

/// A number and one of these units.
fn counted(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, times) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    digits.parse::<u64>().ok()?.checked_mul(*times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_of_the_ledger() {
        let default = Settings::default();
        for text in ["", "other = 1\n", "[ledger]\n", "real_daemon_dir = \"/x\"\n[ledger]\n"] {
            assert_eq!(settings_in(text).ok(), Some(default.clone()), "{text}");
        }
        let all = "[ledger]\ndirectory = \"/srv/l\"\nsize = \"2g\"\nage = \"12h\"\n";
        let wanted = Settings {
            keep: Keep::In("/srv/l".into()),
            most_bytes: 2 << 30,
            keep_for: Duration::from_secs(12 * 3600),
        };
        assert_eq!(settings_in(all).ok(), Some(wanted));
        let keep = |text: &str| settings_in(text).unwrap().keep;
        assert_eq!(keep("[ledger]\nkeep = false\ndirectory = \"/srv/l\""), Keep::Off);
        assert_eq!(keep("ledger.keep = true"), Keep::In(DEFAULT_DIRECTORY.into()));
        assert_eq!(settings_in("[ledger]\nsize = 1048576").unwrap().most_bytes, 1 << 20);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wanted) in [
            ("ledger = 3", "1:10: ledger must be a table: [ledger]"),
            (
                "[ledger]\nkept = 1",
                "2:1: there is no kept in [ledger], only keep, directory, size, age; did you mean keep?",
            ),
            ("[ledger]\nkeep = 1", "2:8: keep must be true or false"),
            ("[ledger]\ndirectory = \"l\"", "2:14: directory must be a path in quotes that begins with /"),
            ("[ledger]\nsize = \"3\"", "2:9: size must be bytes from 1M to 1T, as \"256M\""),
            ("[ledger]\nsize = \"999999999999G\"", "2:9: size must be bytes from 1M to 1T, as \"256M\""),
            ("[ledger]\nsize = 4096", "2:8: size must be bytes from 1M to 1T, as \"256M\""),
            ("[ledger]\nage = \"5s\"", "2:8: age must be a time of at least a minute, as \"90d\" or \"12h\""),
        ] {
            let found = settings_in(text).map_err(|(span, what)| {
                let (line, column) = place(text, span.start);
                format!("{line}:{column}: {what}")
            });
            assert_eq!(found.unwrap_err(), wanted, "{text}");
        }
    }
}
