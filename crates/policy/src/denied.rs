//! The list of denied sources (reference xinetd §5): filled by sensors and by hand, consulted by every service.
//!
//! One entry per address, whether it came mapped or not; expiry is exact; the size is bounded. It never decides who is
//! protected or whether an address is proven: the caller of `trip` says so.

use crate::rules::Denial;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Entries at most, as in xinetd.
const CAPACITY: usize = 10_240;

/// What touching a sensor did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorHit {
    /// The source is denied from now on, until this monotonic moment or until cleared.
    Denied {
        /// `None` is for ever.
        until: Option<Duration>,
    },
    /// A sensor with a longer deny_time than the one that denied the source before: denied until then.
    Extended {
        /// `None` is for ever.
        until: Option<Duration>,
    },
    /// The source is denied already; as in xinetd, more hits do not prolong it.
    AlreadyDenied,
    /// The source is protected: logged, never denied.
    Protected,
    /// The address may be forged (datagram): logged, never denied, or anybody could lock out anybody.
    Forgeable,
    /// The list is full.
    Full,
    /// deny_time is NEVER: logged only.
    Never,
}

/// The list is full: nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedFull;

impl fmt::Display for DeniedFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the list of denied sources is full ({CAPACITY} entries); remove some or clear it")
    }
}

impl std::error::Error for DeniedFull {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    until: Option<Duration>,
    /// deny_time of the sensor that made the entry; `None` when it was made by hand.
    term: Option<Term>,
}

/// deny_time in the order of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    For(Duration),
    Forever,
}

/// The denied sources. All times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct Denied {
    entries: HashMap<IpAddr, Entry>,
    /// Those with an end, the next to expire first.
    ends: BTreeSet<(Duration, IpAddr)>,
    /// Expired entries that made room before `expire` could report them.
    expired_early: Vec<IpAddr>,
}

impl Denied {
    /// Number of entries, expired ones included until `expire` is called.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether `ip`, mapped or not, is denied at `now`.
    pub fn contains(&self, ip: IpAddr, now: Duration) -> bool {
        !self.entries.is_empty()
            && self
                .entries
                .get(&ip.to_canonical())
                .is_some_and(|entry| entry.until.is_none_or(|until| now < until))
    }

    /// The end of the entry of `ip`, the inner `None` being for ever; `None` when it has no entry.
    pub fn until(&self, ip: IpAddr) -> Option<Option<Duration>> {
        self.entries.get(&ip.to_canonical()).map(|entry| entry.until)
    }

    /// Denies `ip` until a moment, or for ever, in place of what was said about it before.
    ///
    /// # Errors
    /// `DeniedFull` when there is no room; call [`Denied::expire`] first to make what room there is.
    pub fn deny(&mut self, ip: IpAddr, until: Option<Duration>) -> Result<(), DeniedFull> {
        self.put(ip.to_canonical(), Entry { until, term: None })
    }

    /// Forgets `ip`; whether it was there.
    pub fn remove(&mut self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        match self.entries.remove(&ip) {
            Some(Entry { until: Some(until), .. }) => self.ends.remove(&(until, ip)),
            Some(_) => true,
            None => false,
        }
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        *self = Denied::default();
    }

    /// Drops what has expired by `now` and returns it.
    pub fn expire(&mut self, now: Duration) -> Vec<IpAddr> {
        let mut expired = std::mem::take(&mut self.expired_early);
        while let Some(ip) = self.drop_expired(now) {
            expired.push(ip);
        }
        expired
    }

    /// When `expire` is next worth calling; a moment in the past means at once.
    pub fn next_expiry(&self) -> Option<Duration> {
        if !self.expired_early.is_empty() {
            return Some(Duration::ZERO);
        }
        self.ends.first().map(|&(until, _)| until)
    }

    /// Every entry with its end, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Option<Duration>)> + '_ {
        self.entries.iter().map(|(&ip, entry)| (ip, entry.until))
    }

    /// Every entry as plain values: address, end, and the deny_time of the sensor that made it. Of the end and of the
    /// deny_time the inner `None` is for ever; the outer one is an entry made by hand.
    pub fn save(&self) -> impl Iterator<Item = (IpAddr, Option<Duration>, Option<Option<Duration>>)> + '_ {
        self.entries.iter().map(|(&ip, entry)| {
            let term = entry.term.map(|term| match term {
                Term::For(time) => Some(time),
                Term::Forever => None,
            });
            (ip, entry.until, term)
        })
    }

    /// Puts back what [`Denied::save`] gave, end and deny_time unchanged.
    ///
    /// # Errors
    /// `DeniedFull` beyond the list's size.
    pub fn restore(
        &mut self,
        ip: IpAddr,
        until: Option<Duration>,
        term: Option<Option<Duration>>,
    ) -> Result<(), DeniedFull> {
        let term = term.map(|term| term.map_or(Term::Forever, Term::For));
        self.put(ip.to_canonical(), Entry { until, term })
    }

    /// A proven, unprotected source touched a sensor. An entry made by hand is left as it is.
    pub(crate) fn trip(&mut self, ip: IpAddr, denial: Denial, now: Duration) -> SensorHit {
        let ip = ip.to_canonical();
        let term = match denial {
            Denial::Never | Denial::For(Duration::ZERO) => return SensorHit::Never,
            Denial::For(time) => Term::For(time),
            Denial::Forever => Term::Forever,
        };
        let until = match term {
            Term::For(time) => Some(now.saturating_add(time)),
            Term::Forever => None,
        };
        let known = self.entries.get(&ip).copied().filter(|_| self.contains(ip, now));
        let hit = match known {
            Some(Entry { term: Some(old), .. }) if term > old => SensorHit::Extended { until },
            Some(_) => return SensorHit::AlreadyDenied,
            None => SensorHit::Denied { until },
        };
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&ip) {
            let Some(gone) = self.drop_expired(now) else { return SensorHit::Full };
            if self.expired_early.len() < CAPACITY {
                self.expired_early.push(gone);
            }
        }
        match self.put(ip, Entry { until, term: Some(term) }) {
            Ok(()) => hit,
            Err(DeniedFull) => SensorHit::Full,
        }
    }

    fn put(&mut self, ip: IpAddr, entry: Entry) -> Result<(), DeniedFull> {
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&ip) {
            return Err(DeniedFull);
        }
        if let Some(Entry { until: Some(old), .. }) = self.entries.insert(ip, entry) {
            self.ends.remove(&(old, ip));
        }
        if let Some(until) = entry.until {
            self.ends.insert((until, ip));
        }
        Ok(())
    }

    /// Drops the entry that expired first, if one has by `now`.
    fn drop_expired(&mut self, now: Duration) -> Option<IpAddr> {
        let &(until, ip) = self.ends.first()?;
        if until > now {
            return None;
        }
        self.ends.pop_first();
        self.entries.remove(&ip);
        Some(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back_to_the_nanosecond_and_is_extended_as_before() {
        let mut list = Denied::default();
        let now = Duration::new(10, 1);
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        list.trip(ip(1), Denial::For(Duration::from_secs(60)), now);
        list.trip(ip(2), Denial::Forever, now);
        assert_eq!(list.deny(ip(3), Some(Duration::new(99, 7))), Ok(()));
        let mut again = Denied::default();
        for (ip, until, term) in list.save() {
            assert_eq!(again.restore(ip, until, term), Ok(()));
        }
        assert_eq!(again.until(ip(1)), Some(Some(Duration::new(70, 1))));
        assert_eq!(again.until(ip(2)), Some(None));
        assert_eq!(again.next_expiry(), Some(Duration::new(70, 1)));
        assert_eq!(again.trip(ip(1), Denial::For(Duration::from_secs(60)), now), SensorHit::AlreadyDenied);
        assert_eq!(again.trip(ip(1), Denial::Forever, now), SensorHit::Extended { until: None });
        assert_eq!(again.trip(ip(3), Denial::Forever, now), SensorHit::AlreadyDenied, "made by hand");
    }
}
