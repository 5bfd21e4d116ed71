//! The compiled form of one table: which rules can be the first that match a client, in a few searches instead of a walk.
//!
//! Rules with equal daemon lists form a class. What a class says about numeric addresses is kept as sorted columns that give
//! the smallest number of a rule for an address; every other rule (names, users, EXCEPT, …) is *residual*: kept as text and
//! walked by the language itself, in order, up to the columns' answer. So nothing here decides what a pattern means, and no
//! name is asked for that the walk of the text would not ask for. What cannot be answered this way is [`Doubtful`].

pub(crate) mod address;
mod build;
pub(crate) mod bytes;
mod flatten;
mod meaning;
mod write;

pub(crate) use build::{Inlined, Lists, build};
pub(crate) use write::{Output, TooLarge};

use crate::Truth;
use crate::candidates::{Candidate, Candidates, Clause, Met};
use crate::image::Compiled;
use crate::inquiry::Inquiry;
use crate::request::Request;
use address::Address;
use bytes::{Bytes, Doubtful, NONE, offset};

/// The index of one table, in its image.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: Bytes<'a>,
    table: u32,
}

/// What an evaluation comes to, in order, for one client.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    view: View<'a>,
    walks: std::vec::IntoIter<Walked>,
    next_walk: Option<Walked>,
    notes: Array,
    next_note: u32,
    /// The rule that matches, or [`NONE`].
    answer: u32,
    ended: bool,
}

/// A rule to walk: its number, its clients (where), its daemons (where; 0: they match).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Walked {
    rule: u32,
    clients: u32,
    daemons: u32,
}

/// An array of records: where, how many.
#[derive(Clone, Copy, Debug)]
struct Array {
    at: u32,
    count: u32,
}

impl<'a> View<'a> {
    pub(crate) fn new(bytes: Bytes<'a>, table: u32) -> Self {
        Self { bytes, table }
    }

    fn array(self, index: u32) -> Result<Array, Doubtful> {
        let at = offset(self.table, index, 8)?;
        Ok(Array { at: self.bytes.u32(at)?, count: self.bytes.word(at, 1)? })
    }

    /// What an evaluation comes to for `daemon` (as the request has it) and a client of this address; `matches` evaluates a
    /// daemon list that does not ask about hosts.
    pub(crate) fn steps(
        self,
        daemon: &[u8],
        address: Address,
        mut matches: impl FnMut(&'a [u8]) -> bool,
    ) -> Result<Steps<'a>, Doubtful> {
        let mut found = Found { address, answer: NONE, lists: Vec::new() };
        self.named(daemon, |class| found.class(self, class))?;
        let general = self.array(2)?;
        for index in 0..general.count {
            let class = self.bytes.word(general.at, index)?;
            let record = self.class(class)?;
            let asks_server = self.bytes.word(record, 1)? & write::ASKS_SERVER != 0;
            if asks_server || matches(self.bytes.text(self.bytes.word(record, 2)?)?) {
                found.class(self, record)?;
            }
        }
        let mut walks = Vec::new();
        for list in &found.lists {
            list.walks(self, found.answer, &mut walks)?;
        }
        walks.sort_unstable();
        let mut walks = walks.into_iter();
        let next_walk = walks.next();
        let notes = self.array(4)?;
        // Nothing is doubtful once the first rule was asked for anything.
        self.bytes
            .slice(notes.at, usize::try_from(offset(0, notes.count, write::NOTE)?).map_err(|_| Doubtful)?)?;
        self.array(5)?;
        if found.answer != NONE {
            self.rule(found.answer)?;
        }
        Ok(Steps { view: self, walks, next_walk, notes, next_note: 0, answer: found.answer, ended: false })
    }

    /// Where the record of a class is.
    fn class(self, class: u32) -> Result<u32, Doubtful> {
        let classes = self.array(0)?;
        if class >= classes.count {
            return Err(Doubtful);
        }
        offset(classes.at, class, write::CLASS)
    }

    /// The classes that name this very daemon.
    fn named(self, daemon: &[u8], mut each: impl FnMut(u32) -> Result<(), Doubtful>) -> Result<(), Doubtful> {
        let names = self.array(1)?;
        let mut folded = [0; crate::Field::MAX];
        let folded = folded.get_mut(..daemon.len()).ok_or(Doubtful)?;
        folded.copy_from_slice(daemon);
        folded.make_ascii_lowercase();
        let name = |index| {
            let at = offset(names.at, index, write::NAME)?;
            Ok((self.bytes.text(self.bytes.u32(at)?)?, self.bytes.word(at, 1)?))
        };
        let (mut low, mut high) = (0, names.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if name(middle)?.0 < &*folded { low = middle + 1 } else { high = middle }
        }
        for index in low..names.count {
            let (text, class) = name(index)?;
            if text != &*folded {
                break;
            }
            each(self.class(class)?)?;
        }
        Ok(())
    }

    /// A rule's line and options.
    fn rule(self, rule: u32) -> Result<(u32, Option<&'a [u8]>), Doubtful> {
        let rules = self.array(3)?;
        if rule >= rules.count {
            return Err(Doubtful);
        }
        let at = offset(rules.at, rule, write::RULE)?;
        let options = match self.bytes.word(at, 1)? {
            0 => None,
            text => Some(self.bytes.text(text)?),
        };
        Ok((self.bytes.u32(at)?, options))
    }
}

/// What the classes of a daemon say.
struct Found {
    address: Address,
    answer: u32,
    lists: Vec<Residual>,
}

/// The rules of a class that must be walked, and its daemon list if that must be evaluated with each.
struct Residual {
    array: Array,
    daemons: u32,
}

impl Found {
    fn class(&mut self, view: View<'_>, record: u32) -> Result<(), Doubtful> {
        let word = |index| view.bytes.word(record, index);
        let column = |index: u32| offset(record, 3 + 2 * index, 4);
        let asks_server = word(1)? & write::ASKS_SERVER != 0;
        self.answer = self.answer.min(word(0)?);
        match self.address {
            Address::V4(address) => {
                self.answer = self.answer.min(view.bytes.column::<u32>(column(0)?)?.exactly(address)?);
                self.answer = self.answer.min(view.bytes.column::<u32>(column(1)?)?.covering(address)?);
            }
            Address::V6(address) => {
                let upper = u64::try_from(address >> 64).map_err(|_| Doubtful)?;
                self.answer = self.answer.min(view.bytes.column::<u128>(column(2)?)?.exactly(address)?);
                self.answer = self.answer.min(view.bytes.column::<u64>(column(3)?)?.covering(upper)?);
                self.answer = self.answer.min(view.bytes.column::<u128>(column(4)?)?.covering(address)?);
            }
        }
        let array = Array { at: word(13)?, count: word(14)? };
        if array.count > 0 {
            self.lists.push(Residual { array, daemons: if asks_server { word(2)? } else { 0 } });
        }
        Ok(())
    }
}

impl Residual {
    /// Adds the rules up to `last`, all of which can be read.
    fn walks(&self, view: View<'_>, last: u32, to: &mut Vec<Walked>) -> Result<(), Doubtful> {
        for index in 0..self.array.count {
            let at = offset(self.array.at, index, write::RESIDUAL)?;
            let rule = view.bytes.u32(at)?;
            if rule > last {
                break;
            }
            let clients = view.bytes.word(at, 1)?;
            view.rule(rule)?;
            view.bytes.text(clients)?;
            to.push(Walked { rule, clients, daemons: self.daemons });
        }
        if self.daemons != 0 {
            view.bytes.text(self.daemons)?;
        }
        Ok(())
    }
}

impl<'a> Steps<'a> {
    /// What comes next; `None` when no rule is left.
    fn step(&mut self) -> Result<Option<Met<'a>>, Doubtful> {
        if self.ended {
            return Ok(None);
        }
        let bytes = self.view.bytes;
        let rule = self.next_walk.map_or(self.answer, |walk| walk.rule);
        if self.next_note < self.notes.count {
            let at = offset(self.notes.at, self.next_note, write::NOTE)?;
            if bytes.u32(at)? <= rule {
                self.next_note += 1;
                return Ok(Some(Met::NoColon(bytes.word(at, 1)?)));
            }
        }
        if let Some(Walked { rule, clients, daemons }) = self.next_walk {
            self.next_walk = self.walks.next();
            // It will match then; and what it asks for on the way is what the walk of the text asks for.
            self.ended = rule == self.answer;
            let daemons = match daemons {
                0 => Clause::Matches(&[]),
                text => Clause::Text(bytes.text(text)?),
            };
            return self.rule(rule, daemons, Clause::Text(bytes.text(clients)?));
        }
        self.ended = true;
        if self.answer != NONE {
            return self.rule(self.answer, Clause::Matches(&[]), Clause::Matches(&[]));
        }
        let end = offset(self.view.table, 5, 8)?;
        Ok(match bytes.u32(end)? {
            0 => None,
            _ => Some(Met::Broken(bytes.word(end, 1)?)),
        })
    }

    fn rule(&self, rule: u32, daemons: Clause<'a>, clients: Clause<'a>) -> Result<Option<Met<'a>>, Doubtful> {
        let (number, options) = self.view.rule(rule)?;
        Ok(Some(Met::Rule(Candidate { number, text: &[], daemons, clients, options })))
    }
}

impl<'a> Compiled<'a> {
    /// The candidates for a request, if the index can tell.
    pub(crate) fn candidates(&self, inquiry: &mut Inquiry<'_>) -> Option<Steps<'a>> {
        let Request { daemon, client, .. } = &*inquiry.request;
        let (daemon, address) = (*daemon, Address::of_text(client.address())?);
        // A text with a colon may be an address, which has many spellings.
        if daemon.as_bytes().contains(&b':') || client.name.as_bytes().contains(&b':') {
            return None;
        }
        let matches = |daemons| inquiry.daemons(daemons) == Ok(Truth::Yes);
        self.index.steps(daemon.as_bytes(), address, matches).ok()
    }
}

impl Candidates for Steps<'_> {
    fn next(&mut self) -> Option<Met<'_>> {
        match self.step() {
            Ok(met) => met,
            // All of it could be read when the steps were made.
            Err(Doubtful) => Some(Met::Broken(0)),
        }
    }
}
