//! What `ban why` and `ban status` show of evidence: what is held against a source, how much of a ban that is, and what was not done.

use crate::answer::{items, number, span, text};
use crate::escape;
use crate::output::{Output, Paint};
use crate::table::Table;
use serde_json::Value;
use std::io::{self, Write};

/// What is held against the address that was asked about.
pub(super) fn held(answer: &Value, out: &mut Output<'_>) -> io::Result<()> {
    let list = items(answer, "evidence");
    if !list.is_empty() {
        let mut table = Table::new(&["held against", "score", "what", "last"]);
        for one in list {
            let percent = number(one, "score_percent").unwrap_or(0);
            let may_ban = one.get("may_ban").and_then(Value::as_bool) == Some(true);
            let by_proxy = one.get("by_proxy").and_then(Value::as_bool) == Some(true);
            let note = match (may_ban, by_proxy) {
                (false, _) => " (may be forged: never a ban)",
                (true, true) => " (by the word of a proxy)",
                (true, false) => "",
            };
            table.row(vec![
                text(one, "against").into(),
                format!("{percent} %").into(),
                format!("{}{note}", text(one, "what")).into(),
                format!("{} ago", span(number(one, "seconds_ago").unwrap_or(0))).into(),
            ]);
        }
        table.write(out, 2)?;
    }
    match number(answer, "former_bans").unwrap_or(0) {
        0 => Ok(()),
        former => writeln!(out, "bans for evidence that count: {former}"),
    }
}

/// The evidence part of `ban status`.
pub(super) fn status(answer: &Value, out: &mut Output<'_>) -> io::Result<()> {
    let Some(evidence) = answer.get("evidence") else { return Ok(()) };
    let count = |name| number(evidence, name).unwrap_or(0);
    writeln!(
        out,
        "bans for evidence: {}, of at most {}; sources with a score: {}, suspected: {}",
        count("bans"),
        count("most"),
        count("sources"),
        count("suspected")
    )?;
    if evidence.get("act").and_then(Value::as_bool) == Some(false) {
        writeln!(out, "evidence is only reported (`act = false`)")?;
    }
    if count("prevented") > 0 {
        writeln!(out, "bans that a bound has prevented: {}", count("prevented"))?;
    }
    if count("spared") > 0 {
        let last = escape::text(text(evidence, "last_spared"));
        writeln!(out, "spared: {}, the last: {last}", count("spared"))?;
    }
    let trouble = text(evidence, "trouble");
    if !trouble.is_empty() {
        let why = out.paint(Paint::Red, &escape::text(trouble)).to_string();
        writeln!(out, "the policy is that of before: {why}")?;
    }
    let highest = items(evidence, "highest");
    if !highest.is_empty() {
        let mut table = Table::new(&["highest scores", "score", "what"]);
        for one in highest {
            let percent = format!("{} %", number(one, "score_percent").unwrap_or(0));
            table.row(vec![text(one, "network").into(), percent.into(), text(one, "what").into()]);
        }
        table.write(out, 2)?;
    }
    Ok(())
}
