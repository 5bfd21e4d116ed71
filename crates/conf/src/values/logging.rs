//! Values that say what is logged and where.

use super::{Bad, Line, needs_a_value};
use crate::ast::Operator;
use crate::diagnostic::Level;
use crate::draft::Draft;
use crate::nearest;
use crate::number;
use crate::service::{LogFailure, LogSuccess, LogType};

/// Names and numbers of syslog(3).
const FACILITIES: &[(&str, u32)] = &[
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("user", 1),
    ("mail", 2),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
const LEVELS: &[(&str, u32)] = &[
    ("emerg", 0),
    ("alert", 1),
    ("crit", 2),
    ("err", 3),
    ("warning", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];
const INFO: u32 = 6;

/// xinetd lets the hard limit exceed the soft one by a hundredth, within these bounds.
const LEAST_EXTRA: u64 = 5 * 1024;
const MOST_EXTRA: u64 = 20 * 1024;

/// The name of a facility as syslog(3) numbers it (shifted), for the dump.
pub(crate) fn facility_name(facility: u32) -> &'static str {
    FACILITIES.iter().find(|(_, number)| number << 3 == facility).map_or("BAD FACILITY", |(name, _)| name)
}

/// The name of a level, for the dump.
pub(crate) fn level_name(level: u32) -> &'static str {
    LEVELS.iter().find(|(_, number)| *number == level).map_or("BAD LEVEL", |(name, _)| name)
}

pub(super) fn log_type(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    if draft.log_type.is_some() {
        let classic = "Cannot set more than one log_type attribute";
        return Err(Bad::new("log_type is set twice", classic).help("remove one of the lines"));
    }
    let text = line.text(0);
    let log_type = if text.eq_ignore_ascii_case("FILE") {
        file(line)?
    } else if text.eq_ignore_ascii_case("SYSLOG") {
        syslog(line)?
    } else {
        let bad = Bad::new(format!("`{text}` is no log_type"), format!("Unknown log type: {text}"));
        return Err(bad.help("SYSLOG FACILITY [LEVEL], or FILE PATH [SOFT [HARD]]"));
    };
    draft.log_type = line.set(log_type);
    Ok(())
}

fn count(line: &Line<'_>, most: usize) -> Result<(), Bad> {
    if (2..=most).contains(&line.values.len()) {
        return Ok(());
    }
    let message = format!("{} takes {} to {} words behind it", line.text(0), 1, most - 1);
    Err(Bad::new(message, "wrong number of arguments").help(line.attribute.form))
}

fn file(line: &Line<'_>) -> Result<LogType, Bad> {
    count(line, 4)?;
    let size = |index: usize, which: &str| match line.values.get(index) {
        None => Ok(None),
        Some(word) => number::size(&word.text).map(Some).ok_or_else(|| {
            let bad = Bad::new(format!("`{}` is no size", word.text), format!("{which} limit is invalid"));
            bad.word(index).help("a number with k, M or nothing behind it")
        }),
    };
    let soft = size(2, "soft")?;
    let hard = match (size(3, "hard")?, soft) {
        (Some(hard), Some(soft)) if hard < soft => {
            let classic = format!("hard limit ({hard}) is less than soft limit ({soft})");
            return Err(
                Bad::new(format!("the hard limit {hard} is below the soft limit {soft}"), classic).word(3)
            );
        }
        (None, Some(soft)) => Some(soft.saturating_add((soft / 100).clamp(LEAST_EXTRA, MOST_EXTRA))),
        (hard, _) => hard,
    };
    // To xinetd a soft limit of 0 is none, and without one the hard limit is none either.
    let (soft, hard) = if soft == Some(0) { (None, None) } else { (soft, hard) };
    let path = line.text(1);
    if !path.starts_with('/') {
        return Err(Bad::ours(format!("the path `{path}` does not start with `/`")).word(1));
    }
    Ok(LogType::File { path: line.kept(1), soft, hard })
}

fn syslog(line: &Line<'_>) -> Result<LogType, Bad> {
    count(line, 3)?;
    let find = |index: usize, what: &str, table: &'static [(&'static str, u32)]| {
        let text = line.text(index);
        let found = table.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, number)| number);
        found.ok_or_else(|| {
            let names: Vec<&str> = table.iter().map(|&(name, _)| name).collect();
            let bad =
                Bad::new(format!("`{text}` is no syslog {what}"), format!("Unknown syslog {what}: {text}"));
            bad.word(index).help(nearest::help(text, &names))
        })
    };
    let facility = find(1, "facility", FACILITIES)? << 3;
    let level = if line.values.len() == 3 { find(2, "level", LEVELS)? } else { INFO };
    Ok(LogType::Syslog { facility, level })
}

pub(super) fn log_on_success(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let flags = &mut draft.log_success;
    if line.operator == Operator::Set {
        *flags = LogSuccess::default();
    }
    for index in 0..line.values.len() {
        let flag = match line.word_index(index) {
            Some(0) => &mut flags.host,
            Some(1) => &mut flags.duration,
            Some(2) => &mut flags.exit,
            Some(3) => &mut flags.pid,
            Some(4) => &mut flags.userid,
            Some(5) => &mut flags.traffic,
            _ => return Err(line.unknown_word(index, Some((Level::Warning, "Bad log_on_success flag")))),
        };
        *flag = line.operator != Operator::Remove;
    }
    Ok(())
}

pub(super) fn log_on_failure(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let flags = &mut draft.log_failure;
    if line.operator == Operator::Set {
        *flags = LogFailure::default();
    }
    for index in 0..line.values.len() {
        let flag = match line.word_index(index) {
            Some(0) => &mut flags.host,
            Some(1) => &mut flags.attempt,
            Some(2) => &mut flags.userid,
            _ => return Err(line.unknown_word(index, Some((Level::Warning, "Bad log_on_failure flag")))),
        };
        *flag = line.operator != Operator::Remove;
    }
    Ok(())
}
