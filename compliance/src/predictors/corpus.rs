//! Real tables, and what the original's tools said of them: verdicts, what they print, and their diagnostics. Prints each
//! reading that differs, in the order of the records.

use super::Case;
use super::room::Room;
use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Replays `corpus/golden/{tcpdmatch,tcpdmatch_pairs,tcpdchk}.jsonl` and writes a line for each difference and one with
/// the sum.
///
/// # Errors
/// When a file of the corpus cannot be read or the program cannot be run.
pub fn replay(room: &Room, corpus: &Path, ours: &Path, out: &mut dyn Write) -> io::Result<u64> {
    let (mut readings, mut differ) = (0_u64, 0_u64);
    let mut compare = |what: String, wanted: &str, got: &str, out: &mut dyn Write| {
        readings += 1;
        if wanted == got {
            return Ok(());
        }
        differ += 1;
        writeln!(out, "{what}: {}", first_difference(wanted, got))
    };
    for record in records(corpus, "tcpdmatch.jsonl")? {
        let table = bytes(corpus, text(&record, "file"))?;
        for query in list(&record, "queries") {
            let case = asked(vec![(text(&record, "role").to_owned(), table.clone())], query);
            room.prepare(&case)?;
            let (shown, diagnostics) = parted(&room.run(ours, &case, None)?.stdout);
            // The records hold the first lines only, and for one query none.
            let recorded = logged(query.get(3));
            let diagnostics: String =
                diagnostics.split_inclusive('\n').take(query.get(3).map_or(0, |_| MOST_LOGGED)).collect();
            let wanted = format!("{}\n{recorded}", word(query, 2));
            let what = format!("tcpdmatch {} {} {}", text(&record, "file"), word(query, 0), word(query, 1));
            compare(what, &wanted, &format!("{}\n{diagnostics}", verdict(&shown)), out)?;
        }
    }
    for record in records(corpus, "tcpdmatch_pairs.jsonl")? {
        let tables = [("hosts.allow", "allow"), ("hosts.deny", "deny")];
        let mut files = Vec::new();
        for (name, key) in tables {
            files.push((name.to_owned(), bytes(corpus, text(&record, key))?));
        }
        for query in list(&record, "queries") {
            let case = asked(files.clone(), query);
            room.prepare(&case)?;
            let (shown, _) = parted(&room.run(ours, &case, None)?.stdout);
            let what = format!("pair {} {} {}", text(&record, "allow"), word(query, 0), word(query, 1));
            compare(what, word(query, 2), &verdict(&shown), out)?;
        }
        let (shown, _) = checked(room, ours, files)?;
        compare(format!("tcpdchk pair {}", text(&record, "allow")), text(&record, "tcpdchk"), &shown, out)?;
    }
    for record in records(corpus, "tcpdchk.jsonl")? {
        let file = text(&record, "file");
        let (shown, diagnostics) =
            checked(room, ours, vec![(text(&record, "role").to_owned(), bytes(corpus, file)?)])?;
        // The records hold the beginning of very long answers.
        let whole = |recorded: &str, got: String, cut: bool| {
            if cut && got.starts_with(recorded) { recorded.to_owned() } else { got }
        };
        let recorded = text(&record, "output");
        let cut = record.get("truncated") == Some(&Value::Bool(true));
        compare(format!("tcpdchk {file} output"), recorded, &whole(recorded, shown, cut), out)?;
        let recorded = logged(record.get("warnings"));
        let lines = diagnostics.lines().count() as u64;
        let counted = record.get("nwarnings").and_then(Value::as_u64).unwrap_or(0);
        compare(format!("tcpdchk {file} count"), &counted.to_string(), &lines.to_string(), out)?;
        let cut = list(&record, "warnings").len() as u64 != counted;
        compare(format!("tcpdchk {file} diagnostics"), &recorded, &whole(&recorded, diagnostics, cut), out)?;
    }
    writeln!(out, "{readings} readings, {differ} differ")?;
    Ok(differ)
}

/// So many lines of the system log are recorded of a query.
const MOST_LOGGED: usize = 3;

fn records(corpus: &Path, name: &str) -> io::Result<Vec<Value>> {
    let text = fs::read_to_string(corpus.join("golden").join(name))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}

fn bytes(corpus: &Path, file: &str) -> io::Result<Vec<u8>> {
    fs::read(corpus.join(file))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(record: &'a Value, key: &str) -> &'a [Value] {
    record.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn word(query: &Value, index: usize) -> &str {
    query.get(index).and_then(Value::as_str).unwrap_or_default()
}

/// The lines that the original sent to its system log, without the program's name.
fn logged(lines: Option<&Value>) -> String {
    let lines = lines.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let lines = lines.iter().filter_map(Value::as_str);
    lines.map(|line| format!("{}\n", line.split_once(": ").map_or(line, |(_, text)| text))).collect()
}

fn asked(files: Vec<(String, Vec<u8>)>, query: &Value) -> Case {
    let arguments = ["-d", word(query, 0), word(query, 1)].map(|word| word.as_bytes().to_vec());
    Case { tool: "tcpdmatch", arguments: arguments.to_vec(), files }
}

fn checked(room: &Room, ours: &Path, files: Vec<(String, Vec<u8>)>) -> io::Result<(String, String)> {
    let arguments = ["-d", "-v"].map(|word| word.as_bytes().to_vec());
    let case = Case { tool: "tcpdchk", arguments: arguments.to_vec(), files };
    room.prepare(&case)?;
    Ok(parted(&room.run(ours, &case, None)?.stdout))
}

/// What the tools of Debian 12 print, and what they send to their system log instead.
fn parted(stdout: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(stdout);
    let diagnostic = |line: &str| {
        ["warning: ", "error: ", "matched:  ", "option:   "].iter().any(|start| line.starts_with(start))
    };
    let part = |wanted: bool| text.split_inclusive('\n').filter(|line| diagnostic(line) == wanted).collect();
    (part(false), part(true))
}

fn verdict(shown: &str) -> String {
    shown.lines().find_map(|line| line.strip_prefix("access:   ")).unwrap_or("none").to_owned()
}

/// The first line that is not the same.
fn first_difference(wanted: &str, got: &str) -> String {
    let mut lines = (wanted.lines(), got.lines());
    for number in 1.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => break,
            (wanted, got) if wanted != got => {
                return format!("line {number}: want {:?} got {:?}", wanted.unwrap_or(""), got.unwrap_or(""));
            }
            _ => {}
        }
    }
    "the last line's end".to_owned()
}
