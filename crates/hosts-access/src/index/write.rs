//! Writes one table's index into an image: the records that [`super::View`] reads. Decides nothing about rules.
//!
//! All numbers are little-endian u32, all places count from the image's first byte. A table:
//! classes (where, how many), names, general classes, rules, notes (each where, how many), end (0: as it should, 1: broken), its
//! line. What each array holds is said at the constants below.

use super::bytes::{BLOCK, Doubtful, Key, NONE};
use super::flatten::{Net, flatten};
use std::collections::HashMap;

/// A class: `any` rule, flags, daemons (where), five columns (where, how many), residual rules (where, how many).
pub(crate) const CLASS: u32 = 4 * (3 + 2 * 6);
/// A daemon's name in small letters (where), its class.
pub(crate) const NAME: u32 = 8;
/// A rule: line, options (where; 0: none).
pub(crate) const RULE: u32 = 8;
/// A line that is no rule: how many rules stand before it, its line.
pub(crate) const NOTE: u32 = 8;
/// A rule that must be walked: its number, its clients (where).
pub(crate) const RESIDUAL: u32 = 8;

/// The daemon list of the class asks about our end of the connection: its rules are walked whole.
pub(crate) const ASKS_SERVER: u32 = 1;

/// The image is larger than its offsets reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl From<Doubtful> for TooLarge {
    fn from(_: Doubtful) -> Self {
        Self
    }
}

/// An image under construction.
#[derive(Debug, Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    /// Texts that occur often, once.
    shared: HashMap<Box<[u8]>, u32>,
}

impl Output {
    /// Begins with `head` zero bytes, to be set later.
    pub(crate) fn new(head: usize) -> Self {
        Self { bytes: vec![0; head], shared: HashMap::new() }
    }

    pub(crate) fn here(&self) -> Result<u32, TooLarge> {
        u32::try_from(self.bytes.len()).map_err(|_| TooLarge)
    }

    pub(crate) fn number<K: Key>(&mut self, number: K) {
        number.write(&mut self.bytes);
    }

    /// Sets a number in the head.
    pub(crate) fn set<K: Key>(&mut self, at: usize, number: K) {
        let mut bytes = Vec::with_capacity(16);
        number.write(&mut bytes);
        if let Some(to) = self.bytes.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            to.copy_from_slice(&bytes);
        }
    }

    /// A text; where.
    pub(crate) fn text(&mut self, text: &[u8]) -> Result<u32, TooLarge> {
        let at = self.here()?;
        self.number(u32::try_from(text.len()).map_err(|_| TooLarge)?);
        self.bytes.extend_from_slice(text);
        Ok(at)
    }

    /// A text that may be there already; where.
    pub(crate) fn shared(&mut self, text: &[u8]) -> Result<u32, TooLarge> {
        if let Some(at) = self.shared.get(text) {
            return Ok(*at);
        }
        let at = self.text(text)?;
        self.shared.insert(text.into(), at);
        Ok(at)
    }

    /// An array of pairs; where and how many.
    fn pairs(&mut self, pairs: &[(u32, u32)]) -> Result<[u32; 2], TooLarge> {
        let at = self.here()?;
        for pair in pairs {
            self.number(pair.0);
            self.number(pair.1);
        }
        Ok([at, u32::try_from(pairs.len()).map_err(|_| TooLarge)?])
    }

    /// A column, as [`super::bytes::Bytes::column`] reads it; where and how many.
    fn column<K: Key>(&mut self, rows: &[(K, u32)]) -> Result<[u32; 2], TooLarge> {
        let at = self.here()?;
        let block = usize::try_from(BLOCK).map_err(|_| TooLarge)?;
        rows.iter().step_by(block).for_each(|row| self.number(row.0));
        for block in rows.chunks(block) {
            block.iter().for_each(|row| self.number(row.0));
            block.iter().for_each(|row| self.number(row.1));
        }
        Ok([at, u32::try_from(rows.len()).map_err(|_| TooLarge)?])
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.shrink_to_fit();
        self.bytes
    }
}

/// What the rules of one daemon list come to.
#[derive(Debug)]
pub(crate) struct Class {
    /// The daemon list: where.
    pub(crate) daemons: u32,
    pub(crate) asks_server: bool,
    /// The first rule that every client matches.
    pub(crate) any: u32,
    pub(crate) hosts4: Vec<(u32, u32)>,
    pub(crate) nets4: Vec<Net<u32>>,
    pub(crate) hosts6: Vec<(u128, u32)>,
    pub(crate) wide6: Vec<Net<u64>>,
    pub(crate) narrow6: Vec<Net<u128>>,
    /// Rules that must be walked, and their clients: where.
    pub(crate) residual: Vec<(u32, u32)>,
}

impl Class {
    pub(crate) fn new(daemons: u32, asks_server: bool) -> Self {
        Self {
            daemons,
            asks_server,
            any: NONE,
            hosts4: Vec::new(),
            nets4: Vec::new(),
            hosts6: Vec::new(),
            wide6: Vec::new(),
            narrow6: Vec::new(),
            residual: Vec::new(),
        }
    }

    /// Writes the columns; gives the record.
    fn write(self, out: &mut Output) -> Result<Vec<u32>, TooLarge> {
        let flags = if self.asks_server { ASKS_SERVER } else { 0 };
        let mut record = vec![self.any, flags, self.daemons];
        record.extend(out.column(&smallest(self.hosts4))?);
        record.extend(out.column(&flatten(self.nets4))?);
        record.extend(out.column(&smallest(self.hosts6))?);
        record.extend(out.column(&flatten(self.wide6))?);
        record.extend(out.column(&flatten(self.narrow6))?);
        record.extend(out.pairs(&self.residual)?);
        Ok(record)
    }
}

/// Each key once, with its smallest rule.
fn smallest<K: Key>(mut rows: Vec<(K, u32)>) -> Vec<(K, u32)> {
    rows.sort_unstable();
    rows.dedup_by_key(|row| row.0);
    rows
}

/// One table, ready to be written.
#[derive(Debug, Default)]
pub(crate) struct TableIndex {
    pub(crate) classes: Vec<Class>,
    /// Names in small letters, each with a class.
    pub(crate) names: Vec<(Box<[u8]>, u32)>,
    /// Classes whose list must be evaluated.
    pub(crate) general: Vec<u32>,
    /// Line, options.
    pub(crate) rules: Vec<(u32, u32)>,
    /// Rules before it, line.
    pub(crate) notes: Vec<(u32, u32)>,
    /// The line that ends the table in error.
    pub(crate) broken: Option<u32>,
}

impl TableIndex {
    /// Writes everything; where the record is.
    pub(crate) fn write(mut self, out: &mut Output) -> Result<u32, TooLarge> {
        self.names.sort_unstable();
        let mut names = Vec::with_capacity(self.names.len());
        for (name, class) in &self.names {
            names.push((out.shared(name)?, *class));
        }
        let mut records = Vec::with_capacity(self.classes.len());
        for class in self.classes {
            records.push(class.write(out)?);
        }
        // What is long comes first, and what every decision reads comes last: with the sources that follow, in one place.
        let rules = out.pairs(&self.rules)?;
        let mut table = vec![out.here()?, u32::try_from(records.len()).map_err(|_| TooLarge)?];
        records.into_iter().flatten().for_each(|number| out.number(number));
        table.extend(out.pairs(&names)?);
        table.extend([out.here()?, u32::try_from(self.general.len()).map_err(|_| TooLarge)?]);
        self.general.iter().for_each(|class| out.number(*class));
        table.extend(rules);
        table.extend(out.pairs(&self.notes)?);
        table.extend([u32::from(self.broken.is_some()), self.broken.unwrap_or(0)]);
        let at = out.here()?;
        table.into_iter().for_each(|number| out.number(number));
        Ok(at)
    }
}
