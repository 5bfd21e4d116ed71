//! `ban import`: a list as a file has it, brought into the form that the daemon takes, and what it says of it, with the file's own lines.

use super::{Import, cut, note};
use crate::answer::{number, text};
use crate::ban_lists;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use serde_json::Value;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

/// The longest list that is imported, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Reads and sends.
pub(super) fn import(what: &Import, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let shown = if what.file.as_os_str() == "-" { "-".into() } else { escape::os(what.file.as_os_str()) };
    let bytes = file_bytes(&what.file).map_err(|why| Failure::new(format!("{shown}: {why}")))?;
    let at = |line: usize, column: usize, why: &str| {
        Failure::new(format!("{shown}:{line}:{column}: {}; nothing was banned", escape::text(why)))
    };
    let list = ban_lists::utf8(bytes)
        .and_then(|content| ban_lists::read(&content, portreeve_sys::clock::wall_seconds()))
        .map_err(|wrong| at(wrong.line, wrong.column, &wrong.what))?;
    let mut request = String::new();
    for one in &list {
        let ordered = match (what.time.forever, what.time.until.or(what.time.span)) {
            (true, _) => Some(ban_lists::Time::Forever),
            (false, seconds) => seconds.map(ban_lists::Time::Seconds),
        };
        let time = match one.time.or(ordered) {
            Some(ban_lists::Time::Forever) => "forever".to_owned(),
            Some(ban_lists::Time::Seconds(seconds)) => seconds.to_string(),
            None => {
                let why = "the list does not say for how long; say it by --for, --until or --forever";
                return Err(at(one.line, 1, why));
            }
        };
        request.push_str(format!("{} {time} {}", one.network, one.reason).trim_end());
        request.push('\n');
    }
    if list.is_empty() {
        writeln!(out, "{shown} bans nobody")?;
        return Ok(Exit::Found);
    }
    let terminal = std::io::stderr().is_terminal();
    let mut spoken = false;
    let answer = what.socket.import(&request, what.cut, &mut |hundredths| {
        if terminal {
            spoken = true;
            let _ = write!(std::io::stderr(), "\r{hundredths} % are banned ");
        }
    });
    if spoken {
        let _ = writeln!(std::io::stderr());
    }
    let answer = answer?;
    if answer.get("ok").and_then(Value::as_bool) != Some(true) {
        let why = text(&answer, "error");
        let line =
            number(&answer, "line").and_then(|line| list.get(usize::try_from(line).ok()?.checked_sub(1)?));
        return Err(match line {
            Some(one) => at(
                one.line,
                1,
                why.split_once(": ").map_or(why, |(_, why)| why).trim_end_matches("; nothing was banned"),
            ),
            None => Failure::new(format!("the daemon refused: {}", escape::text(why))),
        });
    }
    if what.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let (imported, new) = (number(&answer, "imported").unwrap_or(0), number(&answer, "new").unwrap_or(0));
    writeln!(out, "banned: {imported}, of which {new} were not before")?;
    cut(&answer, out)?;
    note(&answer, out)?;
    Ok(Exit::Fine)
}

/// A list, which has a bound.
fn file_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| system_text(&error))?)
    };
    source.take(LONGEST_LIST + 1).read_to_end(&mut bytes).map_err(|error| system_text(&error))?;
    if bytes.len() as u64 > LONGEST_LIST {
        return Err(format!("a list has at most {LONGEST_LIST} bytes; nothing was banned"));
    }
    Ok(bytes)
}
