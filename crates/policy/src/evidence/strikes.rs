//! How often a network was banned for evidence, as long as that counts. Bounded: whoever is to be forgotten first makes room.

use crate::prefix::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Networks whose bans are counted, at most.
pub const MOST_STRUCK: usize = 65_536;

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strikes {
    entries: BTreeMap<Prefix, (u32, Duration)>,
    ends: BTreeSet<(Duration, Prefix)>,
}

impl Strikes {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How often, as far as that still counts.
    pub(crate) fn of(&self, network: &Prefix, now: Duration) -> u32 {
        self.entries.get(network).filter(|(_, until)| now < *until).map_or(0, |(count, _)| *count)
    }

    /// So often, and that counts until then.
    pub(crate) fn set(&mut self, network: Prefix, count: u32, until: Duration, now: Duration) {
        while let Some(&(end, one)) = self.ends.first()
            && (end <= now || (self.entries.len() >= MOST_STRUCK && !self.entries.contains_key(&network)))
        {
            self.ends.remove(&(end, one));
            self.entries.remove(&one);
        }
        if let Some((_, former)) = self.entries.insert(network, (count, until)) {
            self.ends.remove(&(former, network));
        }
        self.ends.insert((until, network));
    }

    /// Those that count for longest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = (Prefix, u32, Duration)> {
        self.ends.iter().rev().filter_map(|(until, network)| {
            self.entries.get(network).map(|(count, _)| (*network, *count, *until))
        })
    }

    /// It is forgotten; whether there was one.
    pub(crate) fn forget(&mut self, network: &Prefix) -> bool {
        let former = self.entries.remove(network);
        former.is_some_and(|(_, until)| self.ends.remove(&(until, *network)))
    }
}
