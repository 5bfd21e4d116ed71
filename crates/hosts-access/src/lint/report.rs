//! What is said of one table, in order and bounded. Decides nothing about the language.

use super::codes::{self, Code, Severity};
use super::source::{Spot, WHOLE};
use std::collections::HashMap;

/// At most this many findings of one table.
const LIMIT: usize = 1000;
/// At most this much of a source line is kept, in bytes.
const SHOWN: usize = 2048;

/// One finding. Texts may hold any character that the table holds: escape them before they reach a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub code: &'static Code,
    /// How grave.
    pub severity: Severity,
    /// The file: the table, or a file of hosts that it names.
    pub path: Vec<u8>,
    /// Physical line, from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// Column in bytes, from 1; 0 when the file as a whole is meant.
    pub column: u32,
    /// Length in bytes.
    pub length: u32,
    /// What is wrong, in one sentence, without the place.
    pub message: String,
    /// The remedy.
    pub help: String,
    /// What to write in place of the span, where it can be said.
    pub replacement: Option<String>,
    /// The physical line.
    pub source_line: Vec<u8>,
}

/// What to do about a finding.
pub(super) enum Remedy {
    /// What the table of codes says.
    Usual,
    /// Something of its own.
    Do(String),
    /// Write this in place of the span.
    Write(String),
}

/// The findings of one table, while they are collected.
pub(super) struct Report {
    path: Vec<u8>,
    findings: Vec<Finding>,
    untold: usize,
    /// Notes are told once a table: where, and how many more places there are.
    notes: HashMap<&'static str, (usize, usize)>,
}

/// A sentence of the table of codes as the end of a message.
fn in_help(sentence: &str) -> String {
    let text = sentence.strip_suffix('.').unwrap_or(sentence);
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| format!("{}{}", first.to_ascii_lowercase(), letters.as_str()))
}

/// Bytes of a table as text.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Report {
    pub(super) fn new(path: &[u8]) -> Self {
        Self { path: path.to_vec(), findings: Vec::new(), untold: 0, notes: HashMap::new() }
    }

    /// Says it with another severity.
    pub(super) fn say_as(
        &mut self,
        code: &'static Code,
        severity: Severity,
        spot: Spot<'_>,
        message: String,
        remedy: Remedy,
    ) {
        if severity == Severity::Note {
            match self.notes.get_mut(code.word) {
                Some((_, more)) => {
                    *more += 1;
                    return;
                }
                None => _ = self.notes.insert(code.word, (self.findings.len(), 0)),
            }
        }
        if self.findings.len() >= LIMIT {
            self.untold += 1;
            return;
        }
        let (help, replacement) = match remedy {
            Remedy::Usual => (in_help(code.remedy), None),
            Remedy::Do(text) => (text, None),
            Remedy::Write(text) if text.is_empty() => ("remove it".to_owned(), Some(text)),
            Remedy::Write(text) => (format!("write `{text}`"), Some(text)),
        };
        self.findings.push(Finding {
            code,
            severity,
            path: self.path.clone(),
            line: spot.number,
            column: spot.column,
            length: spot.length,
            message,
            help,
            replacement: replacement.filter(|_| !spot.cut),
            source_line: spot.line.get(..spot.line.len().min(SHOWN)).unwrap_or_default().to_vec(),
        });
    }

    /// Says something of a place.
    pub(super) fn say_at(&mut self, code: &'static Code, spot: Spot<'_>, message: String, remedy: Remedy) {
        self.say_as(code, code.severity, spot, message, remedy);
    }

    /// Says something of the file as a whole.
    pub(super) fn say_of_file(&mut self, code: &'static Code, message: String) {
        self.say_at(code, WHOLE, message, Remedy::Usual);
    }

    /// Says what follows of another file; gives back which it was.
    pub(super) fn of_file(&mut self, path: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.path, path)
    }

    /// All that was said, by place.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        for (index, more) in self.notes.values().copied().filter(|(_, more)| *more > 0) {
            if let Some(finding) = self.findings.get_mut(index) {
                let places = if more == 1 { "place" } else { "places" };
                finding.message.push_str(&format!(" (and {more} more {places})"));
            }
        }
        if self.untold > 0 {
            let message = format!("{} more findings are not shown", self.untold);
            // The limit leaves room for the one that says so.
            self.findings.truncate(LIMIT.saturating_sub(1).max(1));
            self.notes.clear();
            self.say_at(&codes::MORE, WHOLE, message, Remedy::Usual);
        }
        self.findings
    }
}
