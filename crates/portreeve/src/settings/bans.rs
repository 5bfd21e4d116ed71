//! The table `[bans]` of portreeve.toml: what evidence is worth, when it is a ban, and for how long. The keys and their bounds are
//! policy's; here they are read, with their places.

use super::{place, read};
use portreeve_conf::nearest;
use portreeve_policy::evidence::{BanPolicy, KEYS, Key, Kin};
use std::io::ErrorKind;
use std::path::Path;
use toml_span::Span;
use toml_span::value::{Table, Value, ValueInner};

/// Thresholds of services: `[bans.service.ID]`.
const SERVICE: &str = "service";

/// The policy of bans; what the file does not say is as always.
///
/// # Errors
/// A sentence with the place.
pub fn bans(path: &Path) -> Result<BanPolicy, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BanPolicy::default()),
        Err(error) => return Err(format!("{}: {}", path.display(), crate::failure::system_text(&error))),
    };
    policy_in(&text).map_err(|(span, what)| {
        let (line, column) = place(&text, span.start);
        format!("{}:{line}:{column}: {what}", path.display())
    })
}

type Wrong = (Span, String);

fn policy_in(text: &str) -> Result<BanPolicy, Wrong> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, "expected keys and values".to_owned()));
    };
    let mut policy = BanPolicy::default();
    let Some(value) = table.remove("bans") else { return Ok(policy) };
    let mut table = table_of(value, "bans must be a table: [bans]")?;
    if let Some(services) = table.remove(SERVICE) {
        let services = table_of(services, "bans.service holds a table for each service: [bans.service.ID]")?;
        for (service, value) in services {
            let keys = table_of(value, "a service has a table: [bans.service.ID]")?;
            take(&mut policy, Some((&service.name, service.span)), keys)?;
        }
    }
    take(&mut policy, None, table)?;
    Ok(policy)
}

fn table_of<'a>(mut value: Value<'a>, expected: &str) -> Result<Table<'a>, Wrong> {
    let span = value.span;
    match value.take() {
        ValueInner::Table(table) => Ok(table),
        _ => Err((span, expected.to_owned())),
    }
}

fn take(policy: &mut BanPolicy, service: Option<(&str, Span)>, table: Table<'_>) -> Result<(), Wrong> {
    let known = || KEYS.iter().filter(|key| service.is_none() || key.of_service);
    // In their order: the first mistake is the one that is said.
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    for (name, mut value) in entries {
        let Some(key) = known().find(|key| key.name == &*name.name) else {
            return Err((name.span, unknown(&name.name, service.is_some(), known().map(|key| key.name))));
        };
        let number = number(key, value.take()).ok_or_else(|| (value.span, key.expected()))?;
        policy
            .set(service.map(|(service, _)| service), key.name, number)
            .map_err(|bad| (value.span, bad.to_string()))?;
    }
    Ok(())
}

fn unknown(name: &str, of_service: bool, known: impl Iterator<Item = &'static str> + Clone) -> String {
    let table = if of_service { "[bans.service.ID]" } else { "[bans]" };
    match nearest(name, known.clone()) {
        Some(near) => format!("there is no {name} in {table}; did you mean {near}?"),
        None => format!("there is no {name} in {table}, only {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The number that policy has for a value; `None` when it is nothing of the kind.
fn number(key: &Key, value: ValueInner<'_>) -> Option<u64> {
    match (key.kin, value) {
        (Kin::Switch, ValueInner::Boolean(on)) => Some(on.into()),
        (Kin::Span(..), ValueInner::String(text)) => crate::since::span(&text).map(|span| span.as_secs()),
        (Kin::Count(..), ValueInner::Integer(number)) => u64::try_from(number).ok(),
        (Kin::Pieces(_), ValueInner::String(text)) if text == "never" => Some(0),
        (Kin::Pieces(_) | Kin::Length(..), ValueInner::Integer(number)) => {
            u64::try_from(number).ok().filter(|number| *number > 0)
        }
        (Kin::Length(..), ValueInner::Boolean(false)) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_policy::evidence::Grade;
    use std::time::Duration;

    #[test]
    fn the_policy_of_bans() {
        for text in ["", "other = 1\n", "[bans]\n", "[ledger]\nkeep = true\n[bans.service.s1]\n"] {
            assert_eq!(policy_in(text), Ok(BanPolicy::default()), "{text}");
        }
        let text = "[bans]\nact = false\nproven = \"never\"\nauthenticated = 3\nhalf_life = \"10m\"\nrollup_v4 = 24\nrollup_v6 = false\n\
                    [bans.service.sshd]\nauthenticated = 9\n[bans.service.\"a b\"]\nproven = 2\n";
        let policy = policy_in(text).unwrap();
        assert!(!policy.act);
        assert_eq!((policy.half_life, policy.rollup_v4), (Duration::from_secs(600), Some(24)));
        let threshold = |grade, service: &str| policy.threshold(grade, service);
        assert_eq!(threshold(Grade::Proven, "sshd"), None);
        assert_eq!(threshold(Grade::Proven, "a b"), Some(2));
        assert_eq!(threshold(Grade::Authenticated, "sshd"), Some(9));
        assert_eq!(threshold(Grade::Authenticated, ""), Some(3));
    }

    /// Each default that stands in the table, for the guide, is the one that holds.
    #[test]
    fn the_defaults_are_what_the_table_says() {
        let text: String = KEYS.iter().map(|key| format!("{} = {}\n", key.name, key.default)).collect();
        assert_eq!(policy_in(&format!("[bans]\n{text}")), Ok(BanPolicy::default()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wanted) in [
            ("bans = 3", "1:8: bans must be a table: [bans]"),
            ("[bans]\nhalflife = 1", "2:1: there is no halflife in [bans]; did you mean half_life?"),
            (
                "[bans.service.s1]\ntime = \"1h\"",
                "2:1: there is no time in [bans.service.ID], only authenticated, proven, forgeable",
            ),
            ("[bans.service]\ns1 = 3", "2:6: a service has a table: [bans.service.ID]"),
            ("[bans]\nproven = 0", "2:10: proven must be a number from 1 to 1000000, or \"never\""),
            ("[bans]\nact = 1", "2:7: act must be true or false"),
            ("[bans]\ntime = 60", "2:8: time must be a time from 1s to 365d, as \"30m\" or \"12h\""),
            ("[bans]\nrollup_v6 = 64", "2:13: rollup_v6 must be 56 or 48, or false"),
            ("[bans]\nrollup_v4 = 8", "2:13: rollup_v4 must be a length from 20 to 31, or false"),
            ("[bans]\nmost = -1", "2:8: most must be a number from 0 to 100000"),
        ] {
            let found = policy_in(text).map_err(|(span, what)| {
                let (line, column) = place(text, span.start);
                format!("{line}:{column}: {what}")
            });
            assert_eq!(found.unwrap_err(), wanted, "{text}");
        }
    }
}
