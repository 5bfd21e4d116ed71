//! Units as sections of the configuration that is served: the same resolution, checks and defaults then hold for them.
//! Understands no setting; says what the reading noted.

use super::keys::keeps;
use super::read::{NOT_CARRIED, Unreadable, units};
use crate::ast::{Assignment, End, Entry, Operator, Word};
use crate::codes;
use crate::convert::{Note, Piece, Stanza};
use crate::diagnostic::{Classic, Level};
use crate::host::Host;
use crate::inclusion::Lost;
use crate::lex::Source;
use crate::place::Place;
use crate::report::{Finding, Order, Report};
use std::path::PathBuf;
use std::rc::Rc;

/// Between two sockets in the order of reading; more than a unit has lines.
const STEP: Order = 1 << 24;

/// What the units at some paths come to.
#[derive(Default)]
pub(crate) struct Units {
    /// The sections, each with the order of its first line.
    pub(crate) entries: Vec<(Order, Entry)>,
    /// Sockets that cannot be served.
    pub(crate) lost: Vec<Lost>,
    pub(crate) files: Vec<PathBuf>,
}

/// Reads the units at `paths`. `base` is the order of the first of them.
///
/// # Errors
/// The path that cannot be read.
pub(crate) fn gather(
    host: &dyn Host,
    paths: &[PathBuf],
    base: Order,
    report: &mut Report,
) -> Result<Units, Unreadable> {
    let (sheet, contents) = units(host, paths, true)?;
    let mut all = Units::default();
    for (path, bytes) in contents {
        report.source(&Rc::new(Source::new(&path.to_string_lossy(), bytes.into())));
        all.files.push(path);
    }
    let mut order = base;
    for note in sheet.notes {
        order += 1;
        tell(note, order, report, &mut all.lost);
    }
    for piece in sheet.pieces {
        let Piece::Service(stanza) = piece else { continue };
        order += STEP;
        if stanza.off {
            let name = Word { text: stanza.name.into(), utf8: true, place: stanza.place };
            let reason = "the unit is not enabled".to_owned();
            all.lost.push(Lost { name, reason, intended: true, order });
            continue;
        }
        let entry = entry(stanza);
        let text = format!("added service {}", entry.name.as_ref().map_or("", |name| &name.text));
        report.log(order, Classic::at(Level::Debug, &text, &entry.place));
        all.entries.push((order, entry));
    }
    Ok(all)
}

fn tell(note: Note, order: Order, report: &mut Report, lost: &mut Vec<Lost>) {
    let Note { place, service, about, lost: missing, text } = note;
    let whole = service.is_some() && about.is_none();
    let code = match (&about, missing) {
        (_, false) => &codes::UNIT_READ,
        (Some(key), true) if !keeps(key) => &codes::UNIT_DROPPED,
        _ => &codes::UNIT_LOST,
    };
    // To a reader of the log nothing is carried anywhere.
    let (text, reason) = match text.split_once(NOT_CARRIED).filter(|_| whole) {
        Some((unit, why)) => (format!("{unit}is not served: {why}"), why.to_owned()),
        None => (text.clone(), text),
    };
    let mut finding = Finding::new(code, place.clone(), text);
    if let Some(service) = &service {
        finding = finding.service(service);
    }
    report.add(order, finding);
    if let (true, true, Some(place), Some(name)) = (whole, missing, place, service) {
        lost.push(Lost {
            name: Word { text: name.into(), utf8: true, place },
            reason,
            intended: false,
            order,
        });
    }
}

fn entry(stanza: Stanza) -> Entry {
    let word = |text: &str, place: &Place| Word { text: text.into(), utf8: true, place: place.clone() };
    let assignment = |name: &str, value: &str, place: &Place| Assignment {
        name: word(name, place),
        operator: Operator::Set,
        values: value.split_whitespace().map(|value| word(value, place)).collect(),
    };
    let said = stanza.said.iter().map(|said| assignment(said.name, &said.value, &said.place));
    Entry {
        name: Some(word(&stanza.name, &stanza.place)),
        assignments: said.collect(),
        end: End::Closed,
        place: stanza.place,
    }
}
