//! An inetd.conf as sections of the configuration that is served: the same resolution, checks and defaults then hold for
//! it. Understands no field; says what the translation noted.

use super::parse;
use super::xinetd::{Aim, Section, sections};
use crate::ast::{Assignment, End, Entry, Operator, Word};
use crate::codes;
use crate::diagnostic::{Classic, Level};
use crate::place::Place;
use crate::report::{Finding, Order, Report};
use crate::sources::InetdUse;
use crate::text::Shared;

/// Where tcpd looks for a server that is named without a path.
const DAEMON_DIR: &str = "/usr/sbin";

/// What programs may be given of inetd's environment without `-E`: nothing that says who started it or what is loaded.
const FEW_VARIABLES: &str = "TZ LANG LANGUAGE LC_ALL LC_CTYPE LC_MESSAGES LC_TIME";

impl InetdUse {
    /// Has it in one service's section.
    fn apply(self, said: &mut Vec<(&'static str, String)>) {
        let program = said.iter().any(|(name, _)| *name == "server");
        if self.tables && program {
            // Built-in services cannot be wrapped, in the original either.
            for (_, flags) in said.iter_mut().filter(|(name, _)| *name == "flags") {
                *flags = flags.split(' ').filter(|flag| *flag != "NOLIBWRAP").collect::<Vec<_>>().join(" ");
            }
            said.retain(|(name, value)| *name != "flags" || !value.is_empty());
        }
        let said_so = said.iter().any(|(name, _)| *name == "starts_per_minute");
        if let Some(number) = self.starts_per_minute.filter(|_| program && !said_so) {
            said.push(("starts_per_minute", number.to_string()));
        }
        if self.few_variables && program {
            said.push(("passenv", FEW_VARIABLES.to_owned()));
        }
    }
}

/// The sections of `bytes`, each with its place in the file. `base` is the order of the file's first line.
pub(crate) fn gather(
    file: &str,
    bytes: &[u8],
    usage: InetdUse,
    base: Order,
    report: &mut Report,
) -> Vec<Entry> {
    let file: Shared = file.into();
    let place = |line: u32| Place { file: file.clone(), line, column: 0, length: 0 };
    let word = |text: &str, line: u32| Word { text: text.into(), utf8: true, place: place(line) };
    let mut notes = Vec::new();
    let found = sections(&parse(bytes), Aim::Serving, DAEMON_DIR, &mut notes);
    for note in notes {
        let code = if note.lost { &codes::INETD_LOST } else { &codes::INETD_READ };
        let finding = Finding::new(code, place(note.lines.first), note.text);
        report.add(base + Order::from(note.lines.first), finding);
    }
    let entry = |section: Section| {
        let line = section.lines.first;
        let mut said = section.assignments?;
        usage.apply(&mut said);
        // xinetd's own line.
        let text = format!("added service {}", section.name);
        report.log(base + Order::from(line), Classic::at(Level::Debug, &text, &place(line)));
        let assignments = said.into_iter().map(|(name, value)| Assignment {
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
    found.into_iter().filter_map(entry).collect()
}
