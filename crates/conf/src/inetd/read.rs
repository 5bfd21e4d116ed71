//! An inetd.conf as sections of the configuration that is served: the same resolution, checks and defaults then hold for
//! it. Understands no field; says what the translation noted.

use super::{parse, xinetd};
use crate::ast::{Assignment, End, Entry, Operator, Word};
use crate::codes;
use crate::place::Place;
use crate::report::{Finding, Order, Report};
use std::sync::Arc;

/// Where tcpd looks for a server that is named without a path.
const DAEMON_DIR: &str = "/usr/sbin";

/// The sections of `bytes`, each with its place in the file. `base` is the order of the file's first line.
pub(crate) fn gather(file: &str, bytes: &[u8], base: Order, report: &mut Report) -> Vec<Entry> {
    let file: Arc<str> = file.into();
    let place = |line: u32| Place { file: Arc::clone(&file), line, column: 0, length: 0 };
    let word = |text: &str, line: u32| Word { text: text.to_owned(), utf8: true, place: place(line) };
    let mut notes = Vec::new();
    let sections = xinetd::sections(&parse(bytes), false, DAEMON_DIR, &mut notes);
    for note in notes {
        let code = if note.lost { &codes::INETD_LOST } else { &codes::INETD_READ };
        let finding = Finding::new(code, place(note.lines.first), note.text);
        report.add(base + Order::from(note.lines.first), finding);
    }
    let entry = |section: xinetd::Section| {
        let line = section.lines.first;
        let assignments = section.assignments?.into_iter().map(|(name, value)| Assignment {
            name: word(name, line),
            operator: Operator::Set,
            values: value.split_whitespace().map(|value| word(value, line)).collect(),
        });
        let assignments = assignments.collect();
        Some(Entry {
            place: place(line),
            name: Some(word(&section.name, line)),
            assignments,
            end: End::Closed,
        })
    };
    sections.into_iter().filter_map(entry).collect()
}
