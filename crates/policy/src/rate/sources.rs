//! Who makes the connections of the window: a bounded table of sources, each with its count.
//!
//! A source is what one subscriber has ([`Prefix::subscriber`]): an IPv4 address or an IPv6 /64. One that does not fit into the full table shares a single bucket with all
//! others that do not fit: to overflow the table wins nobody a fresh count. Only time empties it.

use crate::prefix::Prefix;
use std::collections::HashMap;
use std::net::IpAddr;

/// Sources counted one by one.
const CAPACITY: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    V4(u32),
    /// The first address of the network; that of a host behind a translator is in no other's /64.
    V6(u128),
}

/// Count and refusal.
type PlainTally = (u32, bool);

impl Key {
    pub(crate) fn of(source: IpAddr) -> Self {
        match Prefix::subscriber(source).address() {
            IpAddr::V4(v4) => Key::V4(v4.to_bits()),
            IpAddr::V6(v6) => Key::V6(v6.to_bits()),
        }
    }
}

impl Key {
    /// An address of it.
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Key::V4(bits) => IpAddr::V4(bits.into()),
            Key::V6(net) => IpAddr::V6(net.into()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u32,
    refused: bool,
}

impl Tally {
    fn is_above(&self, share: u64, elapsed: u64) -> bool {
        u64::from(self.count) / elapsed > share
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SourceTable {
    tallies: HashMap<Key, Tally>,
    overflow: Option<Tally>,
}

impl SourceTable {
    /// Distinct sources, the overflow counted as one.
    pub(crate) fn len(&self) -> usize {
        self.tallies.len() + usize::from(self.overflow.is_some())
    }

    pub(crate) fn refused(&self) -> usize {
        self.tallies.values().chain(&self.overflow).filter(|tally| tally.refused).count()
    }

    /// What one source may have per second: max(1, limit / distinct sources).
    pub(crate) fn share(&self, limit: u32) -> u32 {
        let distinct = self.len().try_into().unwrap_or(u32::MAX).max(1);
        (limit / distinct).max(1)
    }

    /// Counts one connection of `source`.
    pub(crate) fn count(&mut self, source: IpAddr) {
        let key = Key::of(source);
        let tally = if self.tallies.len() < CAPACITY || self.tallies.contains_key(&key) {
            self.tallies.entry(key).or_default()
        } else {
            self.overflow.get_or_insert_default()
        };
        tally.count = tally.count.saturating_add(1);
    }

    fn tally(&self, source: IpAddr) -> Option<&Tally> {
        match self.tallies.get(&Key::of(source)) {
            Some(tally) => Some(tally),
            None if self.tallies.len() >= CAPACITY => self.overflow.as_ref(),
            None => None,
        }
    }

    pub(crate) fn is_refused(&self, source: IpAddr) -> bool {
        self.tally(source).is_some_and(|tally| tally.refused)
    }

    /// Refuses `source` from now on when it is above its share; whether it is.
    pub(crate) fn refuse_if_above(&mut self, source: IpAddr, limit: u32, elapsed: u64) -> bool {
        let share = self.share(limit).into();
        let tally = match self.tallies.get_mut(&Key::of(source)) {
            Some(tally) => Some(tally),
            None => self.overflow.as_mut(),
        };
        let Some(tally) = tally.filter(|tally| tally.is_above(share, elapsed)) else { return false };
        tally.refused = true;
        true
    }

    /// Refuses every source above its share from now on and returns the connections of those who are not refused.
    pub(crate) fn refuse_all_above(&mut self, limit: u32, elapsed: u64) -> u64 {
        let share = self.share(limit).into();
        let mut rest = 0;
        for tally in self.tallies.values_mut().chain(&mut self.overflow) {
            if tally.is_above(share, elapsed) {
                tally.refused = true;
            } else if !tally.refused {
                rest += u64::from(tally.count);
            }
        }
        rest
    }

    /// A new window: counts begin again, refused sources stay refused.
    pub(crate) fn next_window(&mut self) {
        let seen = self.tallies.len();
        self.tallies.retain(|_, tally| {
            tally.count = 0;
            tally.refused
        });
        self.tallies.shrink_to(2 * seen); // a flood of sources does not keep its memory for ever
        self.overflow = self.overflow.filter(|tally| tally.refused);
    }

    /// Sources with count and refusal, and the bucket of the others.
    pub(crate) fn save(&self) -> (Vec<(IpAddr, PlainTally)>, Option<PlainTally>) {
        let of = |tally: &Tally| (tally.count, tally.refused);
        let sources = self.tallies.iter().map(|(key, tally)| (key.address(), of(tally))).collect();
        (sources, self.overflow.as_ref().map(of))
    }

    /// A table with these; what does not fit is counted in the bucket.
    pub(crate) fn restore(sources: &[(IpAddr, PlainTally)], overflow: Option<PlainTally>) -> Self {
        let of = |(count, refused)| Tally { count, refused };
        let fits = sources.iter().take(CAPACITY);
        SourceTable {
            tallies: fits.map(|&(source, tally)| (Key::of(source), of(tally))).collect(),
            overflow: overflow.map(of),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = SourceTable::default();
    }
}
