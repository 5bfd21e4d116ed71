//! A line of inetd.conf: `#<off># ` before it switches it off, as Debian's update-inetd has it. A plain `#` is a person's own
//! and is left alone, as there.

use super::{Means, Patch, Switch};
use crate::inetd::{self, Aim, ItemKind};
use crate::place::Place;
use crate::text::Shared;
use std::collections::{BTreeMap, BTreeSet};

/// What update-inetd writes before a line.
const MARK: &[u8] = b"#<off># ";
/// What is read.
const SHORT_MARK: &[u8] = b"#<off>#";

/// A line of the file.
struct Raw {
    start: usize,
    /// Length of the mark; 0 for a line without.
    mark: usize,
}

/// The services of an inetd.conf. `name` is the path as it was opened.
pub fn of_inetd(name: &str, bytes: &[u8]) -> Vec<Switch> {
    let (lines, without) = unmarked(bytes);
    let listing = inetd::parse(&without);
    let file: Shared = name.into();
    let by_hand: BTreeSet<u32> = listing
        .items
        .iter()
        .filter(|item| matches!(item.kind, ItemKind::Off { .. }))
        .map(|item| item.lines.first)
        .collect();
    let mut entries = BTreeMap::new();
    // The ids are those that the services have with all marks taken away: only so has each line its own.
    for (aim, off) in [(Aim::Serving, false), (Aim::File, true)] {
        for section in inetd::sections(&listing, aim, "/", &mut Vec::new()) {
            let by_hand = by_hand.contains(&section.lines.first);
            if by_hand != off {
                continue;
            }
            let said = section.assignments.unwrap_or_default().into_iter();
            let id = said.filter(|(attribute, _)| *attribute == "id").map(|(_, id)| id).next();
            let place = Place { file: file.clone(), line: section.lines.first, column: 0, length: 0 };
            let numbers = section.lines.first.saturating_sub(1) as usize..section.lines.last as usize;
            let lines = lines.get(numbers).unwrap_or_default();
            let marked = lines.first().is_some_and(|line| line.mark > 0);
            let entry = entries.entry(section.lines.first).or_insert_with(|| Switch {
                name: section.name.clone(),
                ids: Vec::new(),
                place,
                off: marked || by_hand,
                means: if by_hand { Means::ByHand } else { Means::Patches(patches(lines, marked)) },
            });
            entry.ids.push(id.unwrap_or(section.name));
        }
    }
    entries.into_values().collect()
}

fn patches(lines: &[Raw], marked: bool) -> Vec<Patch> {
    let marked = lines.iter().filter(|line| (line.mark > 0) == marked);
    let patch = |line: &Raw| Patch {
        bytes: line.start..line.start + line.mark,
        by: if line.mark > 0 { Vec::new() } else { MARK.to_vec() },
    };
    marked.map(patch).collect()
}

/// The lines, and the file with their marks taken away.
fn unmarked(bytes: &[u8]) -> (Vec<Raw>, Vec<u8>) {
    let (mut lines, mut without) = (Vec::new(), Vec::with_capacity(bytes.len()));
    let (mut start, mut after_marked, mut goes_on) = (0, false, false);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let mark = [MARK, SHORT_MARK].iter().find(|mark| line.starts_with(mark)).map_or(0, |mark| mark.len());
        let rest = line.get(mark..).unwrap_or_default();
        // An indented line goes on with the one above it, so what is marked cannot go on with what is not; nothing goes on
        // with a comment or a blank line.
        let astray = mark > 0
            && goes_on
            && !after_marked
            && matches!(rest.first(), Some(b' ' | b'\t'))
            && !inetd::looks_whole(&String::from_utf8_lossy(rest));
        let mark = if astray { 0 } else { mark };
        without.extend_from_slice(line.get(mark..).unwrap_or_default());
        lines.push(Raw { start, mark });
        start += line.len();
        after_marked = mark > 0;
        goes_on = inetd::says_something(&String::from_utf8_lossy(line.get(mark..).unwrap_or_default()));
    }
    (lines, without)
}
