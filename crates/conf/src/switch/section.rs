//! A section of xinetd's language: its `disable`, or the place where one belongs.

use super::{Means, NameList, Patch, Switch, Switches, line_at};
use crate::ast::{Assignment, Entry, Item, Operator, Word};
use crate::attribute::Id;
use crate::attributes;
use crate::lex::Source;
use crate::syntax::{self, Event};
use std::ops::Range;

/// The visible width of a tab.
const TAB: usize = 8;

/// The services of a file of xinetd's language. `name` is the path as it was opened.
pub fn of_xinetd(name: &str, bytes: &[u8]) -> Switches {
    let source = Source::new(name, bytes.to_vec().into());
    let mut switches = Switches::default();
    for event in syntax::parse_whole(&source) {
        let Event::Item(Item::Entry(entry)) = event else { continue };
        match &entry.name {
            Some(name) => switches.entries.extend(switch(&source, bytes, &entry, name)),
            None => switches.lists.extend(entry.assignments.iter().filter_map(list)),
        }
    }
    switches
}

fn list(assignment: &Assignment) -> Option<NameList> {
    let attribute = attributes::find(&assignment.name.text)?;
    matches!(attribute.id, Id::Enabled | Id::Disabled).then(|| NameList {
        attribute: attribute.name,
        place: assignment.name.place.clone(),
        ids: assignment.values.iter().map(|word| word.text.to_string()).collect(),
    })
}

fn switch(source: &Source, bytes: &[u8], entry: &Entry, name: &Word) -> Option<Switch> {
    let own = entry.assignments.iter().find_map(|assignment| {
        let is_id =
            attributes::find(&assignment.name.text).is_some_and(|attribute| attribute.id == Id::Ident);
        let value = assignment.values.first().filter(|_| is_id && assignment.operator == Operator::Set);
        value.map(|word| word.text.to_string())
    });
    let said = entry.assignments.iter().find_map(|a| attributes::disable(a).map(|value| (a, value)));
    let off = said.is_some_and(|(_, value)| attributes::says_off(value));
    let patch = match said {
        Some((assignment, value)) => replaced(source, bytes, assignment, value, off)?,
        None => inserted(source, bytes, entry)?,
    };
    Some(Switch {
        name: name.text.to_string(),
        ids: vec![own.unwrap_or_else(|| name.text.to_string())],
        place: entry.place.clone(),
        off,
        means: Means::Patches(vec![patch]),
    })
}

/// Where a word stands in the file.
fn bytes_of(source: &Source, word: &Word) -> Option<Range<usize>> {
    let start = source.start(word.place.line)? + (word.place.column as usize).checked_sub(1)?;
    Some(start..start + word.place.length as usize)
}

/// The other word in the place of the value.
fn replaced(
    source: &Source,
    bytes: &[u8],
    assignment: &Assignment,
    value: &Word,
    off: bool,
) -> Option<Patch> {
    let value = bytes_of(source, value)?;
    if off {
        return Some(Patch { bytes: value, by: b"no".to_vec() });
    }
    let Some(comment) = assignment.values.get(1) else {
        return Some(Patch { bytes: value, by: b"yes".to_vec() });
    };
    // xinetd takes no notice of a `disable` with a comment behind it: the comment gets a line of its own.
    let start = source.start(assignment.name.place.line)?;
    let (line, end) = line_at(bytes, start);
    let comment = bytes_of(source, comment)?.start - start;
    let mut by = indentation(line).to_vec();
    by.extend_from_slice(line.get(comment..)?);
    // The last line of a file may have no end.
    by.extend_from_slice(if end.is_empty() { b"\n" } else { end });
    by.extend_from_slice(bytes.get(start..value.start)?);
    by.extend_from_slice(b"yes");
    Some(Patch { bytes: start..start + line.len(), by })
}

/// A `disable` on a line of its own behind the `{`, in the form of the line that follows.
fn inserted(source: &Source, bytes: &[u8], entry: &Entry) -> Option<Patch> {
    let mut numbers = entry.place.line..source.last_line();
    let brace = numbers.find_map(|index| source.line(index as usize).filter(|line| !line.is_blank()))?;
    let start = source.start(brace.number)?;
    let (brace, end) = line_at(bytes, start);
    let at = start + brace.len() + end.len();
    let first = entry.assignments.first().and_then(|first| {
        let line = line_at(bytes, source.start(first.name.place.line)?).0;
        let name = (first.name.place.column as usize).checked_sub(1)?;
        Some((line, name, name + first.name.place.length as usize))
    });
    let mut by = match first {
        Some((line, name, after)) => aligned(line, name, after),
        None => b"\tdisable ".to_vec(),
    };
    by.extend_from_slice(b"= yes");
    by.extend_from_slice(end);
    if end.is_empty() {
        // The file ends with its brace.
        by.insert(0, b'\n');
    }
    Some(Patch { bytes: at..at, by })
}

/// `disable` with the indentation of a line, and blanks so that its operator stands below that line's.
fn aligned(line: &[u8], name: usize, after: usize) -> Vec<u8> {
    let gap = line.iter().skip(after).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let gap = line.get(after..after + gap).unwrap_or_default();
    let wanted = width(line.get(..after + gap.len()).unwrap_or_default());
    let blank = if gap.contains(&b'\t') { b'\t' } else { b' ' };
    let mut by = line.get(..name).unwrap_or_default().to_vec();
    by.extend_from_slice(b"disable");
    by.push(blank);
    while width(&by) < wanted {
        by.push(blank);
    }
    by
}

fn width(text: &[u8]) -> usize {
    text.iter().fold(0, |at, &byte| if byte == b'\t' { (at / TAB + 1) * TAB } else { at + 1 })
}

fn indentation(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    line.get(..blanks).unwrap_or_default()
}
