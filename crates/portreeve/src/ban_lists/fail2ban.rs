//! What fail2ban says of who is banned: `status JAIL`, `banned`, `get JAIL banip --with-time`, and the rows of its database as
//! `sqlite3 fail2ban.sqlite3 .dump` writes them.

use super::{Listed, Time, Wrong, cut, network, words};
use crate::since;

/// `fail2ban-client status JAIL`.
pub(super) fn status(text: &str) -> Result<Vec<Listed>, Wrong> {
    const LABEL: &str = "Banned IP list:";
    let mut list = Vec::new();
    let mut jail = String::new();
    for (number, content) in text.lines().enumerate() {
        if let Some(name) = content.trim().strip_prefix("Status for the jail:") {
            jail = format!("fail2ban {}", name.trim());
        }
        let Some(at) = content.find(LABEL).map(|at| at + LABEL.len()) else { continue };
        for (column, word) in words(content.get(at..).unwrap_or_default()) {
            let network = network(word, number + 1, at + column)?;
            list.push(Listed { network, time: None, reason: cut(jail.clone()), line: number + 1 });
        }
    }
    Ok(list)
}

/// `fail2ban-client banned`: a list of Python's, `[{'sshd': ['192.0.2.1']}, {'recidive': []}]`.
pub(super) fn banned(text: &str) -> Result<Vec<Listed>, Wrong> {
    let mut list = Vec::new();
    let mut jail = String::new();
    for (number, row) in text.lines().enumerate() {
        let line = number + 1;
        let mut column = 1;
        // What is quoted are the odd parts: the names of jails, before a colon, and addresses.
        let mut parts = row.split('\'').peekable();
        let mut quoted = false;
        while let Some(part) = parts.next() {
            let between = part.trim_matches(['[', ']', '{', '}', ',', ':', ' ']);
            if quoted && parts.peek().is_some_and(|next| next.trim_start().starts_with(':')) {
                jail = format!("fail2ban {part}");
            } else if quoted {
                let network = network(part, line, column)?;
                list.push(Listed { network, time: None, reason: cut(jail.clone()), line });
            } else if !between.is_empty() {
                let what = format!("{between:?}: what `fail2ban-client banned` writes was expected");
                return Err(Wrong { line, column, what });
            }
            column += part.len() + 1;
            quoted = !quoted;
        }
    }
    Ok(list)
}

/// Whether a line is one of `fail2ban-client get JAIL banip --with-time`.
pub(super) fn is_with_time(line: &str) -> bool {
    line.contains(" + ") && line.contains(" = ")
}

/// `192.0.2.1 \t2026-11-28 13:00:00 + 600 = 2026-11-28 13:10:00`, in local time: how long from `now` on. A ban that is over lasts for a
/// second.
pub(super) fn with_time(line: &str, now: i64) -> Option<Option<Time>> {
    let (_, rest) = line.split_once(" + ")?;
    let (span, end) = rest.split_once(" = ")?;
    if span.trim().parse::<i64>().ok()? < 0 {
        return Some(Some(Time::Forever));
    }
    let end = since::moment(end.trim(), now)?;
    Some(Some(Time::Seconds(u64::try_from(end - now).unwrap_or(1).max(1))))
}

/// The rows of `bips`, who is banned, or, of older versions, of `bans`, who was; those that are over are left out.
pub(super) fn dump(text: &str, now: i64) -> Result<Vec<Listed>, Wrong> {
    let rows = |table: &'static str| {
        let prefix = [format!("INSERT INTO {table} VALUES("), format!("INSERT INTO \"{table}\" VALUES(")];
        text.lines().enumerate().filter_map(move |(number, row)| {
            let begin = prefix.iter().find(|prefix| row.starts_with(prefix.as_str()))?;
            Some((number + 1, begin.len(), row.get(begin.len()..)?))
        })
    };
    let current = rows("bips").next().is_some();
    let mut list = Vec::new();
    for (line, begin, row) in rows(if current { "bips" } else { "bans" }) {
        let wrong = |what: &str| Wrong { line, column: begin + 1, what: what.to_owned() };
        let values = values(row).ok_or_else(|| wrong("ip, jail, timeofban and bantime were expected"))?;
        let [first, second, since, time] = &values;
        let (ip, jail) = if current { (first, second) } else { (second, first) };
        let (since, time) = since
            .parse::<i64>()
            .ok()
            .zip(time.parse::<i64>().ok())
            .ok_or_else(|| wrong("timeofban and bantime are no numbers"))?;
        let network = network(ip, line, begin + 2)?;
        let time = match (time < 0, since.saturating_add(time).saturating_sub(now)) {
            (true, _) => Time::Forever,
            (false, left) if left <= 0 => continue,
            (false, left) => Time::Seconds(left.unsigned_abs()),
        };
        list.push(Listed { network, time: Some(time), reason: cut(format!("fail2ban {jail}")), line });
    }
    Ok(list)
}

/// The first four values of a row of SQL.
fn values(row: &str) -> Option<[String; 4]> {
    let mut values: [String; 4] = Default::default();
    let (mut at, mut quoted) = (0, false);
    for c in row.chars() {
        match c {
            '\'' => quoted = !quoted,
            ',' if !quoted => {
                at += 1;
                if at == values.len() {
                    return Some(values);
                }
            }
            ')' if !quoted => break,
            c => values.get_mut(at)?.push(c),
        }
    }
    (at + 1 == values.len()).then_some(values)
}
