//! The `/file` lists that a table names (reference A6.3), each looked at once. Reads none itself: the caller's function does.

use super::codes;
use super::host;
use super::report::{Remedy, Report, shown};
use super::source::{Source, Spot};
use crate::matching::{DEEPEST_LIST, LONGEST_WORD};
use crate::world::ListFile;
use std::collections::HashSet;

/// At most this many files are looked at for one table.
const MOST: usize = 64;

/// What becomes of a `/file` list; `None`: it is not to be looked at.
pub type Lists<'f> = dyn FnMut(&[u8]) -> Option<ListFile<Vec<u8>>> + 'f;

/// The lists of one table.
pub(super) struct Files<'f> {
    read: &'f mut Lists<'f>,
    seen: HashSet<Vec<u8>>,
    /// Those that are being looked at now, outermost first.
    open: Vec<Vec<u8>>,
}

impl<'f> Files<'f> {
    pub(super) fn new(read: &'f mut Lists<'f>) -> Self {
        Self { read, seen: HashSet::new(), open: Vec::new() }
    }

    /// Looks at the list `path`, which is named at `spot`.
    pub(super) fn look(&mut self, path: &[u8], spot: Spot<'_>, report: &mut Report) {
        let text = shown(path);
        if self.open.iter().any(|open| open == path) {
            let text = format!("`{text}` includes itself");
            return report.say_at(&codes::LIST_NESTED, spot, text, Remedy::Usual);
        }
        if self.open.len() >= usize::from(DEEPEST_LIST) {
            let text = format!("`{text}` is the {}th list that is named by another", self.open.len() + 1);
            return report.say_at(&codes::LIST_NESTED, spot, text, Remedy::Usual);
        }
        if self.seen.len() >= MOST || !self.seen.insert(path.to_vec()) {
            return;
        }
        match (self.read)(path) {
            None => {}
            Some(ListFile::Absent) => {
                let text = format!("there is no file `{text}`: nothing matches it");
                report.say_at(&codes::LIST_MISSING, spot, text, Remedy::Usual);
            }
            Some(ListFile::Unreadable(why)) => {
                let text = format!("`{text}` cannot be read: {why}");
                report.say_at(&codes::LIST_UNREADABLE, spot, text, Remedy::Usual);
            }
            Some(ListFile::TooLarge) => {
                let text = format!("`{text}` is too large");
                report.say_at(&codes::LIST_NESTED, spot, text, Remedy::Usual);
            }
            Some(ListFile::Bytes(bytes)) => {
                self.open.push(path.to_vec());
                let before = report.of_file(path.to_vec());
                self.words(&bytes, report);
                report.of_file(before);
                self.open.pop();
            }
        }
    }

    fn words(&mut self, bytes: &[u8], report: &mut Report) {
        let source = Source::new(bytes);
        let mut at = 0;
        // A comment is told once, and the rest of its line is left alone.
        let mut comment = None;
        for word in bytes.split(|byte| crate::lines::is_blank(*byte)) {
            let start = at;
            at += word.len() + 1;
            let line = source.number(start);
            if word.is_empty() || comment == Some(line) {
                continue;
            }
            let spot = source.spot(start, word.len());
            if word.len() > LONGEST_WORD {
                let text = format!("a word of {} bytes is too long", word.len());
                report.say_at(&codes::LIST_NESTED, spot, text, Remedy::Usual);
            } else if word.starts_with(b"#") {
                comment = Some(line);
                let text = "`#` starts no comment in a file of hosts: the words behind it are patterns";
                report.say_at(&codes::LIST_COMMENT, spot, text.to_owned(), Remedy::Usual);
            } else if word.starts_with(b"/") {
                self.look(word, spot, report);
            } else {
                pattern(word, spot, report);
            }
        }
    }
}

fn pattern(word: &[u8], spot: Spot<'_>, report: &mut Report) {
    let text = shown(word);
    let outside = |mark| crate::split::at_unbracketed(word, mark).is_some();
    if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
        let text = format!("`{text}` is compared as text");
        return report.say_at(&codes::LIST_V6, spot, text, Remedy::Write(format!("[{address}]")));
    }
    let why = if outside(b',') {
        "a comma parts no words in a file of hosts"
    } else if outside(b':') {
        "a file of hosts has no options and no daemons"
    } else if word.eq_ignore_ascii_case(b"EXCEPT") {
        "EXCEPT is a name in a file of hosts"
    } else if !word.starts_with(b"@") && word.contains(&b'@') {
        "a file of hosts has no users"
    } else {
        if let Some(judgement) = host::host(word) {
            report.say_at(judgement.code, spot, judgement.message, judgement.remedy);
        }
        return;
    };
    report.say_at(&codes::LIST_WORD, spot, format!("`{text}` never matches: {why}"), Remedy::Usual);
}
