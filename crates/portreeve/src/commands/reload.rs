//! `portreeve reload`: has the running daemon read its files again, and says what changed. The daemon decides whether
//! the new configuration may be used; this only asks and reports.

use crate::answer::{items, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::finding::Finding;
use crate::output::Output;
use crate::snippet;
use serde_json::Value;
use std::io::{self, Write};

/// Have the running daemon read its configuration again
///
/// Everything is read and checked first; a configuration that cannot be used changes nothing.
/// Exit code 1 when it was not applied, or when something in it is not served as written.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = arguments.socket.ask("reload")?;
    if arguments.json {
        out.json(&answer)?;
    } else {
        write(out, &answer)?;
    }
    Ok(verdict(&answer))
}

/// Whether the daemon serves what its files say.
pub fn verdict(answer: &Value) -> Exit {
    let error = items(answer, "diagnostics").iter().any(|d| text(d, "severity") == "error");
    if applied(answer) && !error { Exit::Fine } else { Exit::Found }
}

/// Whether the new configuration is in force.
pub fn applied(answer: &Value) -> bool {
    answer.get("applied").and_then(Value::as_bool) == Some(true)
}

/// What changed, or why nothing did.
pub fn write(out: &mut Output<'_>, answer: &Value) -> io::Result<()> {
    for diagnostic in items(answer, "diagnostics") {
        snippet::write(out, &Finding::from_json(diagnostic))?;
    }
    if !applied(answer) {
        let why = text(answer, "why_not");
        let why = if why.is_empty() { String::new() } else { format!(": {}", escape::text(why)) };
        return writeln!(out, "not applied{why}; the running configuration stays");
    }
    writeln!(out, "applied")?;
    for (word, shown) in [
        ("new", "new"),
        ("changed", "changed"),
        ("dropped", "dropped"),
        ("held", "as it was, since its new entry is wrong"),
        ("kept", "unchanged"),
    ] {
        let ids: Vec<_> = items(answer, word).iter().filter_map(Value::as_str).map(escape::text).collect();
        if !ids.is_empty() {
            writeln!(out, "  {shown}: {}", ids.join(" "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(answer: &Value) -> String {
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), answer).unwrap();
        String::from_utf8(sink).unwrap()
    }

    #[test]
    fn changes_are_listed() {
        let answer = json!({"ok": true, "applied": true, "new": ["b"], "kept": ["a", "c"], "changed": [], "dropped": ["x\u{1b}"],
            "diagnostics": []});
        assert_eq!(shown(&answer), "applied\n  new: b\n  dropped: x\\x1b\n  unchanged: a c\n");
    }

    #[test]
    fn a_refused_configuration_says_so_and_why() {
        let answer = json!({"ok": true, "applied": false, "why_not": "`defaults` is bad", "diagnostics": [{"severity": "error", "code": "bad-value",
            "file": "/etc/xinetd.conf", "line": 3, "column": 0, "message": "`cps` wants two numbers"}]});
        let text = shown(&answer);
        assert!(text.contains("/etc/xinetd.conf:3") && text.contains("two numbers"), "{text}");
        assert!(
            text.ends_with("not applied: `defaults` is bad; the running configuration stays\n"),
            "{text}"
        );
    }
}
