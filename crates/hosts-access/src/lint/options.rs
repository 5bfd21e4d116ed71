//! The options of a rule, in their order (reference A7). The first that is wrong refuses the client, so only that one is told.

use super::codes::{self, Severity};
use super::look::Look;
use super::nearest::nearest;
use super::report::{Remedy, shown};
use crate::address::{is_space, trimmed};
use crate::option_syntax::fields;
use crate::option_table::{FACILITIES, LEVELS, OPTIONS, OptionName, OptionRule, Takes, find_option};
use crate::option_value::order;
use crate::table::Which;

/// What stands between two colons: its text with its place in the line.
struct Field<'a> {
    at: usize,
    text: &'a [u8],
}

/// The fields of the options, as they stand.
fn split(from: usize, text: &[u8]) -> Vec<Field<'_>> {
    let starts: Vec<usize> = fields(text).map(|field| field.at).collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([text.len()]);
    let raw = |(start, end): (&usize, usize)| Field {
        at: from + start,
        text: text.get(*start..end).unwrap_or_default(),
    };
    starts.iter().zip(ends).map(raw).collect()
}

/// An option's keyword and value, each with its place.
struct Parts<'a> {
    at: usize,
    key: &'a [u8],
    value: Field<'a>,
}

/// Splits an option at the first `=` or blank; one `=` between keyword and value is skipped.
fn parts<'a>(field: &Field<'a>) -> Parts<'a> {
    let text = trimmed(field.text);
    let at = field.at + field.text.iter().position(|byte| !is_space(*byte)).unwrap_or(field.text.len());
    let length = text.iter().position(|byte| *byte == b'=' || is_space(*byte)).unwrap_or(text.len());
    let (key, rest) = text.split_at_checked(length).unwrap_or((text, b""));
    let behind = trimmed(rest);
    let value = trimmed(behind.strip_prefix(b"=").unwrap_or(behind));
    Parts { at, key, value: Field { at: at + text.len() - value.len(), text: value } }
}

/// Looks at the options field, which begins at `from` in the line.
pub(super) fn options(look: &mut Look<'_, '_>, from: usize, text: &[u8]) {
    let fields = split(from, text);
    let mut command = None;
    let mut aclexec = false;
    for (index, field) in fields.iter().enumerate() {
        let parts = parts(field);
        let next = fields.get(index + 1);
        if parts.key.is_empty() {
            return empty(look, field, &parts, next.is_none());
        }
        let Some(rule) = find_option(parts.key) else {
            return unknown(look, field.at, &parts, command);
        };
        let name = rule.keyword;
        match (rule.takes, parts.value.text) {
            (Takes::Nothing, [_, ..]) => return needless(look, name, &parts),
            (Takes::Value, []) => {
                let text = format!("`{name}` needs a value");
                return look.say(&codes::NEEDS_VALUE, (parts.at, parts.key.len()), text, Remedy::Usual);
            }
            _ => {}
        }
        if let Some(next) = next.filter(|_| rule.last) {
            return behind_last(look, name, next, index + 2 == fields.len(), command);
        }
        // A colon in a command: its end is not its end.
        let cut = next.map(self::parts).is_some_and(|next| find_option(next.key).is_none());
        if !value(look, rule, &parts, cut) {
            return;
        }
        match rule.name {
            OptionName::Aclexec => aclexec = true,
            OptionName::Allow | OptionName::Deny if aclexec => {
                let text = format!("`{name}` decides, whatever the command of `aclexec` says");
                look.say(&codes::MOOT, (parts.at, parts.key.len()), text, Remedy::Usual);
            }
            _ => {}
        }
        if rule.expanded || rule.name == OptionName::Banners {
            command = Some(name);
        }
    }
}

/// An option without a keyword.
fn empty(look: &mut Look<'_, '_>, field: &Field<'_>, parts: &Parts<'_>, last: bool) {
    // The colon before it.
    let colon = (field.at.saturating_sub(1), 1);
    if !parts.value.text.is_empty() {
        let text = "an option has no name before its `=`: whom the rule matches is refused";
        return look.say(
            &codes::NO_OPTION,
            (parts.at, 1),
            text.to_owned(),
            Remedy::Do("write the option's name".to_owned()),
        );
    }
    if last {
        let text = "the colon at the end wants an option: whom the rule matches is refused";
        return look.say(&codes::TRAILING_COLON, colon, text.to_owned(), Remedy::Write(String::new()));
    }
    let text = "there is no option between the colons: whom the rule matches is refused";
    look.say(&codes::NO_OPTION, colon, text.to_owned(), Remedy::Write(String::new()));
}

fn unknown(look: &mut Look<'_, '_>, at: usize, parts: &Parts<'_>, command: Option<&str>) {
    let span = (parts.at, parts.key.len());
    let key = shown(parts.key);
    if parts.key.starts_with(b"#") {
        let text =
            "`#` starts no comment here: it is read as an option, and whom the rule matches is refused";
        return look.say_as(&codes::HASH, Severity::Error, span, text.to_owned(), Remedy::Usual);
    }
    if let Some(near) = nearest(parts.key, OPTIONS.iter().map(|rule| rule.keyword)) {
        let text = format!("there is no option `{key}`: whom the rule matches is refused");
        return look.say(&codes::UNKNOWN_OPTION, span, text, Remedy::Write(near.to_owned()));
    }
    if let Some(command) = command {
        let text = format!(
            "the colon ends the value of `{command}`, and `{key}` is no option: whom the rule matches is refused"
        );
        return look.say(&codes::COLON, (at.saturating_sub(1), 1), text, Remedy::Write("\\:".to_owned()));
    }
    if parts.key.starts_with(b"/") || parts.key.starts_with(b"(") {
        let text = format!("`{key}` is no option: whom the rule matches is refused");
        return look.say(&codes::COMMAND, span, text, Remedy::Write(format!("spawn {key}")));
    }
    let verdict = match parts.key.to_ascii_lowercase().as_slice() {
        b"permit" | b"accept" | b"allowed" | b"granted" | b"grant" | b"yes" => Some("allow"),
        b"reject" | b"refuse" | b"drop" | b"denied" | b"block" | b"no" => Some("deny"),
        b"exec" | b"run" | b"command" => Some("spawn"),
        b"banner" => Some("banners"),
        b"log" | b"syslog" => Some("severity"),
        b"env" => Some("setenv"),
        _ => None,
    };
    let remedy = match verdict {
        Some(word) => Remedy::Write(word.to_owned()),
        None => {
            let names: Vec<_> = OPTIONS.iter().map(|rule| rule.keyword).collect();
            Remedy::Do(format!("the options are {}", names.join(", ")))
        }
    };
    look.say(
        &codes::UNKNOWN_OPTION,
        span,
        format!("there is no option `{key}`: whom the rule matches is refused"),
        remedy,
    );
}

fn needless(look: &mut Look<'_, '_>, name: &str, parts: &Parts<'_>) {
    let span = (parts.value.at, parts.value.text.len());
    if parts.value.text.starts_with(b"#") {
        let text = format!(
            "`#` starts no comment here: it is a value of `{name}`, and whom the rule matches is refused"
        );
        return look.say_as(&codes::HASH, Severity::Error, span, text, Remedy::Usual);
    }
    let text = format!("`{name}` takes no value: whom the rule matches is refused");
    look.say(&codes::NO_VALUE, span, text, Remedy::Usual);
}

/// Something stands behind an option that must be the last.
fn behind_last(look: &mut Look<'_, '_>, name: &str, next: &Field<'_>, only: bool, command: Option<&str>) {
    let parts = parts(next);
    if only && trimmed(next.text).is_empty() {
        let text = format!("the colon behind `{name}` wants an option: whom the rule matches is refused");
        return look.say(&codes::TRAILING_COLON, (next.at - 1, 1), text, Remedy::Write(String::new()));
    }
    if name == "twist" && find_option(parts.key).is_none() {
        return unknown(look, next.at, &parts, command.or(Some("twist")));
    }
    let span = (parts.at, parts.key.len().max(1));
    let text = format!("`{name}` must be the last option: whom the rule matches is refused");
    look.say(&codes::NOT_LAST, span, text, Remedy::Usual);
}

/// Looks at a value; false: it is wrong, and the options end here.
fn value(look: &mut Look<'_, '_>, rule: &OptionRule, parts: &Parts<'_>, cut: bool) -> bool {
    let name = rule.keyword;
    let value = parts.value.text;
    // Expansion changes neither numbers nor the names of variables that are right.
    if !value.contains(&b'%') && order(rule.name, value).is_err() {
        bad_value(look, rule, parts);
        return false;
    }
    if rule.expanded {
        percent(look, &parts.value);
    }
    if rule.name == OptionName::Spawn && !cut && !value.ends_with(b"&") && !value.ends_with(b"&)") {
        let text = "the client waits until the command ends";
        look.say(&codes::WAITS, (parts.at, name.len()), text.to_owned(), Remedy::Usual);
    }
    if rule.name == OptionName::Aclexec && look.which == Which::Deny {
        let text = "here the client is refused when the command succeeds";
        look.say(&codes::ACLEXEC, (parts.at, name.len()), text.to_owned(), Remedy::Usual);
    }
    true
}

fn bad_value(look: &mut Look<'_, '_>, rule: &OptionRule, parts: &Parts<'_>) {
    let value = parts.value.text;
    if rule.name == OptionName::Severity {
        return severity(look, parts);
    }
    let text =
        format!("`{}` is no value for `{}`: whom the rule matches is refused", shown(value), rule.keyword);
    let remedy = match rule.name {
        OptionName::Setenv => {
            let equals = value.iter().position(|byte| *byte == b'=').unwrap_or(value.len());
            let (variable, rest) = value.split_at_checked(equals).unwrap_or_default();
            Remedy::Write(format!("{} {}", shown(variable), shown(rest.get(1..).unwrap_or_default())))
        }
        OptionName::Linger => Remedy::Do("expected a number of seconds, 0 or more".to_owned()),
        OptionName::Rfc931 => Remedy::Do("expected a number of seconds, 1 or more".to_owned()),
        OptionName::Umask => Remedy::Do("expected an octal number up to 777".to_owned()),
        OptionName::Nice => Remedy::Do("expected a number".to_owned()),
        _ => Remedy::Usual,
    };
    look.say(&codes::BAD_VALUE, (parts.value.at, value.len()), text, remedy);
}

/// A facility or level that does not exist.
fn severity(look: &mut Look<'_, '_>, parts: &Parts<'_>) {
    let value = parts.value.text;
    let (facility, level) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (value.get(..dot), value.get(dot + 1..).unwrap_or_default()),
        None => (None, value),
    };
    let unknown =
        |word: &[u8]| !FACILITIES.iter().any(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
    let (at, word, names, what) = match facility {
        Some(facility) if unknown(facility) => (parts.value.at, facility, FACILITIES, "facility"),
        _ => (parts.value.at + value.len() - level.len(), level, LEVELS, "level"),
    };
    let meant = match word.to_ascii_lowercase().as_slice() {
        b"authpriv" | b"security" => Some("auth"),
        b"ftp" | b"syslog" => Some("daemon"),
        b"warn" => Some("warning"),
        b"error" => Some("err"),
        b"panic" => Some("emerg"),
        b"critical" => Some("crit"),
        word => nearest(word, names.iter().map(|(name, _)| *name)),
    };
    let text = format!("there is no {what} `{}`: whom the rule matches is refused", shown(word));
    let remedy = match meant {
        Some(word) => Remedy::Write(word.to_owned()),
        None => {
            let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            Remedy::Do(format!("one of {}", names.join(", ")))
        }
    };
    look.say(&codes::BAD_VALUE, (at, word.len()), text, remedy);
}

/// Letters behind `%` that stand for nothing.
fn percent(look: &mut Look<'_, '_>, value: &Field<'_>) {
    let mut rest = value.text;
    let mut at = value.at;
    while let Some(mark) = rest.iter().position(|byte| *byte == b'%') {
        let Some(letter) = rest.get(mark + 1).copied() else { return };
        if !b"aAcdhHnNprRsu%".contains(&letter) {
            let text = format!("`%{}` stands for nothing and is left out", char::from(letter));
            return look.say(&codes::PERCENT, (at + mark, 2), text, Remedy::Usual);
        }
        at += mark + 2;
        rest = rest.get(mark + 2..).unwrap_or_default();
    }
}
