//! Starts within a minute, of a service and of one source: what inetd's `nowait.N` and FreeBSD's third number mean.
//!
//! inetd switches a service off for ten minutes when it was started N times within one: any host can keep it off. Here a full
//! service refuses first who had more than their share (N by the sources of the minute), whose surplus then takes no room
//! from the others; and when the rest alone has had N starts, the listener rests until the oldest of them is a minute ago.
//! Nothing lasts longer than that. Refused clients are not counted, so knocking prolongs nothing. The price: with the surplus a
//! minute can have more than N starts, at most N and the sum of N / k over N sources (`tests/minute.rs`). A number that nothing
//! exceeds would be the off-switch again: whoever has had it, from one address or a few, would leave nothing to anybody.
//!
//! Behind a PROXY header the client that it names is the source. Where the address may be forged only the service's own limit holds, or anybody could use up the starts of another.
//! A source is what one subscriber has, as for cps and bans: an IPv4 address or an IPv6 /64.

use super::sources::Key;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// How long a start counts.
const MINUTE: Duration = Duration::from_secs(60);
/// The most starts that are remembered; beyond it the oldest is forgotten early.
const REMEMBERED: usize = 65_536;

/// The limits of one service; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) service: Option<u32>,
    pub(crate) source: Option<u32>,
}

/// What the limits say to one start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// The source has had all that one source may.
    SourceFull,
    /// The service is full, and the source has had its share.
    AboveShare,
    /// The service is full with starts within everybody's share; there is room at this monotonic moment.
    Full(Duration),
}

/// The starts of the last minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Minute {
    starts: VecDeque<(Duration, Option<Key>)>,
    sources: HashMap<Key, u32>,
    /// How many sources have had how many starts: the sum over all sources without a walk over all sources.
    shapes: BTreeMap<u32, u32>,
    /// Starts for nobody in particular: the server accepts by itself.
    unnamed: u32,
}

impl Minute {
    /// Whether one more start fits, for `source` if it is known.
    pub(crate) fn room(&mut self, limits: Limits, source: Option<IpAddr>, now: Duration) -> Room {
        self.forget(now);
        let had = |key: &Key| self.sources.get(key).copied();
        let mine = source.map(|source| had(&Key::of(source)));
        if let (Some(limit), Some(mine)) = (limits.source, mine)
            && mine.unwrap_or(0) >= limit
        {
            return Room::SourceFull;
        }
        let Some(limit) = limits.service else { return Room::Free };
        if u32::try_from(self.starts.len()).unwrap_or(u32::MAX) < limit {
            return Room::Free;
        }
        let new = u32::from(mine == Some(None));
        let distinct = u32::try_from(self.sources.len()).unwrap_or(u32::MAX).saturating_add(new).max(1);
        let share = (limit / distinct).max(1);
        if mine.flatten().is_some_and(|mine| mine >= share) {
            return Room::AboveShare;
        }
        let within: u64 =
            self.shapes.iter().map(|(&had, &n)| u64::from(had.min(share)) * u64::from(n)).sum::<u64>()
                + u64::from(self.unnamed);
        if within < u64::from(limit) {
            return Room::Free;
        }
        let oldest = self.starts.front().map_or(now, |&(at, _)| at);
        Room::Full(oldest.saturating_add(MINUTE))
    }

    /// Counts a start.
    pub(crate) fn count(&mut self, source: Option<IpAddr>, now: Duration) {
        self.forget(now);
        if self.starts.len() >= REMEMBERED {
            self.forget_oldest();
        }
        let key = source.map(Key::of);
        self.starts.push_back((now, key));
        match key {
            None => self.unnamed += 1,
            Some(key) => {
                let had = self.sources.entry(key).or_default();
                *had += 1;
                let had = *had;
                self.reshape(had - 1, had);
            }
        }
    }

    /// Starts of the minute, of all and of one source.
    pub(crate) fn had(&mut self, source: Option<IpAddr>, now: Duration) -> (usize, u32) {
        self.forget(now);
        let of = source.and_then(|source| self.sources.get(&Key::of(source)).copied());
        (self.starts.len(), of.unwrap_or(0))
    }

    /// The newest `most` starts, the oldest of them first, and for whom they were.
    pub(crate) fn save(&self, most: usize) -> Vec<(Duration, Option<IpAddr>)> {
        let surplus = self.starts.len().saturating_sub(most);
        self.starts.iter().skip(surplus).map(|&(at, key)| (at, key.map(Key::address))).collect()
    }

    /// Starts that were saved, counted anew.
    pub(crate) fn restore(starts: &[(Duration, Option<IpAddr>)]) -> Self {
        let mut minute = Minute::default();
        starts.iter().for_each(|&(at, source)| minute.count(source, at));
        minute
    }

    fn forget(&mut self, now: Duration) {
        while self.starts.front().is_some_and(|&(at, _)| now.saturating_sub(at) >= MINUTE) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.starts.pop_front() else { return };
        let Some(key) = key else {
            self.unnamed = self.unnamed.saturating_sub(1);
            return;
        };
        let Some(had) = self.sources.get_mut(&key) else { return };
        *had -= 1;
        let left = *had;
        if left == 0 {
            self.sources.remove(&key);
        }
        self.reshape(left + 1, left);
    }

    fn reshape(&mut self, from: u32, to: u32) {
        if let Some(sources) = self.shapes.get_mut(&from) {
            *sources -= 1;
            if *sources == 0 {
                self.shapes.remove(&from);
            }
        }
        if to > 0 {
            *self.shapes.entry(to).or_default() += 1;
        }
    }
}
