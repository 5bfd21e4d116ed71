//! What an option orders, once its value is known: numbers and names are checked here, in the original's words. Executes
//! nothing.

use crate::address::{decimal, octal, trimmed};
use crate::lines::is_blank;
use crate::option_table::{FACILITIES, LEVELS, OptionName};
use crate::split::at_unbracketed;
use crate::world::Act;

/// What is to be done for an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Grant, and look no further.
    Allow,
    /// Refuse, and look no further.
    Deny,
    /// Make the user known, within so many seconds if said.
    AskUser(Option<u32>),
    /// What the world does.
    Act(Act),
}

/// What `name` with `value` orders; the value is expanded already.
///
/// # Errors
/// What is wrong with the value, in the original's words.
pub fn order(name: OptionName, value: &[u8]) -> Result<Order, Vec<u8>> {
    let bad = |what: &str| [what.as_bytes(), b": \"", value, b"\""].concat();
    Ok(Order::Act(match name {
        OptionName::Allow => return Ok(Order::Allow),
        OptionName::Deny => return Ok(Order::Deny),
        OptionName::Rfc931 => {
            if value.is_empty() {
                return Ok(Order::AskUser(None));
            }
            let seconds = decimal(value).and_then(|seconds| u32::try_from(seconds).ok());
            let seconds = seconds.filter(|seconds| *seconds > 0).ok_or_else(|| bad("bad rfc931 timeout"))?;
            return Ok(Order::AskUser(Some(seconds)));
        }
        OptionName::Spawn => Act::Spawn(value.to_vec()),
        OptionName::Twist => Act::Twist(value.to_vec()),
        OptionName::Aclexec => Act::Aclexec(value.to_vec()),
        OptionName::Banners => Act::Banners(value.to_vec()),
        OptionName::Severity => Act::Severity(severity(value)?),
        OptionName::Keepalive => Act::Keepalive,
        OptionName::Linger => {
            let seconds = decimal(value).filter(|seconds| *seconds >= 0);
            Act::Linger(seconds.ok_or_else(|| bad("bad linger value"))?)
        }
        OptionName::Nice if value.is_empty() => Act::Nice(10),
        OptionName::Nice => Act::Nice(decimal(value).ok_or_else(|| bad("bad nice value"))?),
        OptionName::Setenv => setenv(value)?,
        OptionName::Umask => {
            let mask = octal(value).filter(|mask| *mask <= 0o777);
            Act::Umask(mask.ok_or_else(|| bad("bad umask value"))?)
        }
        OptionName::User => match at_unbracketed(value, b'.') {
            Some((name, group)) => Act::User { name: name.to_vec(), group: Some(group.to_vec()) },
            None => Act::User { name: value.to_vec(), group: None },
        },
        OptionName::Group => Act::Group(value.to_vec()),
    }))
}

/// `[FACILITY.]LEVEL` as the code of `<syslog.h>`. Without a facility its bits are 0.
fn severity(value: &[u8]) -> Result<i32, Vec<u8>> {
    let code = |name: &[u8], codes: &[(&str, i32)]| {
        let found = codes.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found
            .map(|(_, code)| *code)
            .ok_or_else(|| [b"bad syslog facility or severity: \"".as_slice(), name, b"\""].concat())
    };
    match at_unbracketed(value, b'.') {
        Some((facility, level)) => Ok(code(facility, FACILITIES)? << 3 | code(level, LEVELS)?),
        None => code(value, LEVELS),
    }
}

/// The name ends at the first blank; a name that no environment takes is what the original calls a memory failure.
fn setenv(value: &[u8]) -> Result<Act, Vec<u8>> {
    let end = value.iter().position(|byte| is_blank(*byte)).unwrap_or(value.len());
    let (name, rest) = value.split_at_checked(end).unwrap_or((value, &[]));
    let name = trimmed(name);
    if name.is_empty() || name.contains(&b'=') {
        return Err(b"memory allocation failure".to_vec());
    }
    Ok(Act::Setenv(name.to_vec(), trimmed(rest).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::{Order, order};
    use crate::option_table::{OPTIONS, OptionName, Takes, find_option};
    use crate::world::Act;

    #[test]
    fn severities_are_codes() {
        let severity = |value: &str| match order(OptionName::Severity, value.as_bytes()) {
            Ok(Order::Act(Act::Severity(code))) => Ok(code),
            Ok(other) => panic!("{other:?}"),
            Err(text) => Err(String::from_utf8(text).unwrap()),
        };
        assert_eq!(severity("MAIL.info"), Ok(22));
        assert_eq!(severity("local3.crit"), Ok(154));
        assert_eq!(severity("notice"), Ok(5));
        let bad = |name: &str| Err(format!("bad syslog facility or severity: \"{name}\""));
        assert_eq!(severity("mail."), bad(""));
        assert_eq!(severity("mail"), bad("mail"));
        assert_eq!(severity("authpriv.info"), bad("authpriv"));
        assert_eq!(severity("mail.info.x"), bad("info.x"));
    }

    #[test]
    fn values_that_are_wrong() {
        for (keyword, value, right) in [
            ("linger", "0", true),
            ("linger", "99999999999", true),
            ("linger", "-1", false),
            ("linger", "5x", false),
            ("rfc931", "", true),
            ("rfc931", "5", true),
            ("rfc931", "0", false),
            ("nice", "", true),
            ("nice", "-5", true),
            ("nice", "x", false),
            ("umask", "0777", true),
            ("umask", "1000", false),
            ("umask", "8", false),
            ("setenv", "A b", true),
            ("setenv", "A", true),
            ("setenv", "A=b", false),
        ] {
            let rule = find_option(keyword.as_bytes()).unwrap();
            assert_eq!(order(rule.name, value.as_bytes()).is_ok(), right, "{keyword} {value}");
        }
    }

    #[test]
    fn the_table_names_each_option_once() {
        for (index, rule) in OPTIONS.iter().enumerate() {
            assert!(OPTIONS.iter().skip(index + 1).all(|other| other.keyword != rule.keyword));
            assert_eq!(rule.takes == Takes::Nothing, rule.value.is_empty(), "{}", rule.keyword);
        }
    }
}
