//! The table `[stale]` of portreeve.toml: what is done by itself after an upgrade of packages.

use super::{place, read};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use toml_span::Span;
use toml_span::value::ValueInner;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterUpgrade {
    /// Nothing.
    Nothing,
    /// What is stale is told.
    Report,
    /// Stale instances of our services end when their connection is silent.
    RetireWhenIdle,
    /// They end when their connection is silent, and all after this time.
    RetireAfter(Duration),
}

/// The policy; what the file does not say is `report`.
///
/// # Errors
/// A sentence with the place.
pub fn after_upgrade(path: &Path) -> Result<AfterUpgrade, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(AfterUpgrade::Report),
        Err(error) => return Err(format!("{}: {}", path.display(), crate::failure::system_text(&error))),
    };
    policy_in(&text).map_err(|(span, what)| {
        let (line, column) = place(&text, span.start);
        format!("{}:{line}:{column}: {what}", path.display())
    })
}

fn policy_in(text: &str) -> Result<AfterUpgrade, (Span, String)> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, "expected keys and values".to_owned()));
    };
    let Some(mut value) = table.remove("stale") else { return Ok(AfterUpgrade::Report) };
    let span = value.span;
    let ValueInner::Table(mut table) = value.take() else {
        return Err((span, "stale must be a table: [stale]".to_owned()));
    };
    if let Some(key) = table.keys().find(|key| key.name != "after_upgrade") {
        return Err((key.span, format!("there is no {} in [stale], only after_upgrade", key.name)));
    }
    let Some(mut value) = table.remove("after_upgrade") else { return Ok(AfterUpgrade::Report) };
    let span = value.span;
    let policy = match value.take() {
        ValueInner::String(text) => match &*text {
            "nothing" => Some(AfterUpgrade::Nothing),
            "report" => Some(AfterUpgrade::Report),
            "retire-when-idle" => Some(AfterUpgrade::RetireWhenIdle),
            text => {
                text.strip_prefix("retire-after ").and_then(crate::since::span).map(AfterUpgrade::RetireAfter)
            }
        },
        _ => None,
    };
    let expected =
        "after_upgrade must be \"nothing\", \"report\", \"retire-when-idle\" or \"retire-after 10m\"";
    policy.ok_or((span, expected.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_upgrades() {
        for (text, wanted) in [
            ("", AfterUpgrade::Report),
            ("[ledger]\n[stale]\n", AfterUpgrade::Report),
            ("[stale]\nafter_upgrade = \"nothing\"", AfterUpgrade::Nothing),
            ("[stale]\nafter_upgrade = \"retire-when-idle\"", AfterUpgrade::RetireWhenIdle),
            (
                "[stale]\nafter_upgrade = \"retire-after 10m\"",
                AfterUpgrade::RetireAfter(Duration::from_secs(600)),
            ),
        ] {
            assert_eq!(policy_in(text).ok(), Some(wanted), "{text}");
        }
        for wrong in [
            "stale = 1",
            "[stale]\nafter = 1",
            "[stale]\nafter_upgrade = \"retire\"",
            "[stale]\nafter_upgrade = 3",
        ] {
            assert!(policy_in(wrong).is_err(), "{wrong}");
        }
    }
}
