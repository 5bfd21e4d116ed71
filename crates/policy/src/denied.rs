//! The list of bans (reference xinetd §5): filled by sensors and by hand, consulted by every service.
//!
//! One entry per network, whether it came mapped or not, each with its own end; an address is denied while an entry that holds it
//! lasts. Expiry is exact; the size is bounded, and sensors have a part of it, so that nobody fills it by touching them. It
//! never decides who is protected or whether an address is proven: the caller of `trip` says so.

use crate::prefix::Prefix;
use crate::rules::Denial;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Entries at most: 250 bytes each here, as much again in the firewall worker and the kernel.
pub const MOST_BANS: usize = 1 << 20;
/// Entries of sensors at most, as in xinetd.
pub const MOST_TRIPPED: usize = 10_240;

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
        write!(f, "the list of bans is full ({MOST_BANS} entries); remove some")
    }
}

impl std::error::Error for DeniedFull {}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The monotonic moment of its end; `None` is for ever.
    pub until: Option<Duration>,
    /// deny_time of the sensor that made it, the inner `None` being for ever; `None` when no sensor has.
    pub term: Option<Option<Duration>>,
    /// Of one that was made for evidence: the how manieth of its network it is. 0 for others.
    pub strikes: u32,
    /// It acts in this daemon alone: who is banned is known by the word of a proxy.
    pub inside: bool,
    /// What for; may be empty.
    pub reason: Rc<str>,
}

impl Ban {
    /// One made by hand.
    pub fn by_hand(until: Option<Duration>, reason: &str) -> Self {
        Ban { until, term: None, strikes: 0, inside: false, reason: reason.into() }
    }

    /// One made by a sensor with this deny_time.
    pub fn by_sensor(until: Option<Duration>, deny_time: Option<Duration>, reason: &str) -> Self {
        Ban { term: Some(deny_time), ..Self::by_hand(until, reason) }
    }

    /// One made for evidence, the `strikes`-th of its network.
    pub fn for_evidence(until: Duration, strikes: u32, inside: bool, reason: &str) -> Self {
        Ban { strikes: strikes.max(1), inside, ..Self::by_hand(Some(until), reason) }
    }

    /// Who has made it, in a word.
    pub fn maker(&self) -> &'static str {
        match (self.term, self.strikes) {
            (Some(_), _) => "sensor",
            (None, 0) => "operator",
            (None, _) => "evidence",
        }
    }

    /// Whether what its source did has brought it about, and the source was known by itself.
    pub fn is_for_evidence(&self) -> bool {
        !self.inside && (self.term.is_some() || self.strikes > 0)
    }

    /// Whether it has not ended by `now`.
    pub fn lasts(&self, now: Duration) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn term(&self) -> Option<Term> {
        self.term.map(|term| term.map_or(Term::Forever, Term::For))
    }
}

/// deny_time in the order of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    For(Duration),
    Forever,
}

/// The bans. All times are monotonic.
#[derive(Clone, Debug, Default)]
pub struct Denied {
    entries: BTreeMap<Prefix, Ban>,
    /// How many entries there are of each length that there is: what a look for an address has to try.
    v4: BTreeMap<u8, usize>,
    v6: BTreeMap<u8, usize>,
    /// Those with an end, the next to expire first.
    ends: BTreeSet<(Duration, Prefix)>,
    /// How many entries sensors have made.
    tripped: usize,
    /// How many were made for evidence.
    for_evidence: usize,
    /// How many of those are wider than a subscriber.
    rolled_up: usize,
    /// Places that nobody takes but whoever has them set aside.
    aside: usize,
    /// Expired entries that made room before `expire` could report them.
    expired_early: Vec<Prefix>,
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

    /// How many of them sensors have made.
    pub fn tripped(&self) -> usize {
        self.tripped
    }

    /// How many of them were made for evidence.
    pub fn for_evidence(&self) -> usize {
        self.for_evidence
    }

    /// How many of those are of networks wider than a subscriber's.
    pub fn rolled_up(&self) -> usize {
        self.rolled_up
    }

    /// Whether `ip`, mapped or not, is denied at `now`.
    pub fn contains(&self, ip: IpAddr, now: Duration) -> bool {
        self.of(ip).any(|(_, ban)| ban.lasts(now))
    }

    /// The entries that hold `ip`, mapped or not, the widest first; expired ones included. Costs as much as there are different
    /// lengths.
    pub fn of(&self, ip: IpAddr) -> impl Iterator<Item = (Prefix, &Ban)> {
        let ip = ip.to_canonical();
        let lengths = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.keys().filter_map(move |length| {
            let network = Prefix::around(ip, *length);
            self.entries.get(&network).map(|ban| (network, ban))
        })
    }

    /// The last end of the entries that hold `ip`, the inner `None` being for ever; `None` when there is none.
    pub fn until(&self, ip: IpAddr) -> Option<Option<Duration>> {
        self.of(ip).map(|(_, ban)| ban.until).reduce(later)
    }

    /// The entry of exactly this network.
    pub fn get(&self, network: impl Into<Prefix>) -> Option<&Ban> {
        self.entries.get(&network.into())
    }

    /// The entries that lie in `network`, itself included.
    pub fn inside(&self, network: Prefix) -> impl Iterator<Item = (Prefix, &Ban)> {
        self.entries
            .range(network..=Prefix::host(network.last()))
            .filter(move |(prefix, _)| network.covers(prefix))
            .map(|(prefix, ban)| (*prefix, ban))
    }

    /// Sets so many places aside, for entries that are to come; the former number counts no more.
    pub fn set_aside(&mut self, places: usize) {
        self.aside = places;
    }

    fn is_full(&self) -> bool {
        self.entries.len() + self.aside >= MOST_BANS
    }

    /// Bans a network until a moment, or for ever, in place of what was said about it before.
    ///
    /// # Errors
    /// `DeniedFull` when there is no room; call [`Denied::expire`] first to make what room there is.
    pub fn deny(&mut self, network: impl Into<Prefix>, ban: Ban) -> Result<(), DeniedFull> {
        let network = network.into();
        if self.is_full() && !self.entries.contains_key(&network) {
            return Err(DeniedFull);
        }
        self.remove(network);
        if let Some(until) = ban.until {
            self.ends.insert((until, network));
        }
        self.tripped += usize::from(ban.term.is_some());
        self.for_evidence += usize::from(ban.strikes > 0);
        self.rolled_up += usize::from(is_rolled_up(&network, &ban));
        *self.lengths(&network).entry(network.len()).or_default() += 1;
        self.entries.insert(network, ban);
        Ok(())
    }

    /// Forgets the entry of exactly this network; whether it was there.
    pub fn remove(&mut self, network: impl Into<Prefix>) -> bool {
        let network = network.into();
        let Some(ban) = self.entries.remove(&network) else { return false };
        if let Some(until) = ban.until {
            self.ends.remove(&(until, network));
        }
        self.tripped -= usize::from(ban.term.is_some());
        self.for_evidence -= usize::from(ban.strikes > 0);
        self.rolled_up -= usize::from(is_rolled_up(&network, &ban));
        let lengths = self.lengths(&network);
        if let Some(count) = lengths.get_mut(&network.len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&network.len());
            }
        }
        true
    }

    /// Says what an entry is for.
    pub fn explain(&mut self, network: impl Into<Prefix>, reason: &str) {
        if let Some(ban) = self.entries.get_mut(&network.into()) {
            ban.reason = reason.into();
        }
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        *self = Denied::default();
    }

    /// Drops what has expired by `now` and returns it.
    pub fn expire(&mut self, now: Duration) -> Vec<Prefix> {
        self.expire_some(now, usize::MAX)
    }

    /// The same, but no more than so many; [`Denied::next_expiry`] tells of the others.
    pub fn expire_some(&mut self, now: Duration, most: usize) -> Vec<Prefix> {
        let early = self.expired_early.len().saturating_sub(most);
        let mut expired = self.expired_early.split_off(early);
        while expired.len() < most
            && let Some(network) = self.drop_expired(now)
        {
            expired.push(network);
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

    /// Every entry, in the order of the networks.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &Ban)> {
        self.entries.iter().map(|(network, ban)| (*network, ban))
    }

    /// The entries behind this network in that order.
    pub fn after(&self, network: Option<Prefix>) -> impl Iterator<Item = (Prefix, &Ban)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries
            .range((network.map_or(Unbounded, Excluded), Unbounded))
            .map(|(network, ban)| (*network, ban))
    }

    /// A proven, unprotected source touched a sensor. An entry made by hand is left as it is.
    pub(crate) fn trip(&mut self, ip: IpAddr, denial: Denial, now: Duration) -> SensorHit {
        let host = Prefix::host(ip);
        let term = match denial {
            Denial::Never | Denial::For(Duration::ZERO) => return SensorHit::Never,
            Denial::For(time) => Term::For(time),
            Denial::Forever => Term::Forever,
        };
        let (until, deny_time) = match term {
            Term::For(time) => (Some(now.saturating_add(time)), Some(time)),
            Term::Forever => (None, None),
        };
        let hit = match self.entries.get(&host).filter(|ban| ban.lasts(now)).map(Ban::term) {
            Some(Some(old)) if term > old => SensorHit::Extended { until },
            Some(_) => return SensorHit::AlreadyDenied,
            None => SensorHit::Denied { until },
        };
        while (self.tripped >= MOST_TRIPPED || self.is_full()) && !self.entries.contains_key(&host) {
            let Some(gone) = self.drop_expired(now) else { return SensorHit::Full };
            if self.expired_early.len() < MOST_BANS {
                self.expired_early.push(gone);
            }
        }
        match self.deny(host, Ban::by_sensor(until, deny_time, "")) {
            Ok(()) => hit,
            Err(DeniedFull) => SensorHit::Full,
        }
    }

    fn lengths(&mut self, network: &Prefix) -> &mut BTreeMap<u8, usize> {
        if network.address().is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    /// Drops the entry that expired first, if one has by `now`.
    fn drop_expired(&mut self, now: Duration) -> Option<Prefix> {
        let &(until, network) = self.ends.first()?;
        (until <= now && self.remove(network)).then_some(network)
    }
}

fn is_rolled_up(network: &Prefix, ban: &Ban) -> bool {
    let whole = if network.address().is_ipv4() { 32 } else { 64 };
    ban.strikes > 0 && network.len() < whole
}

/// The later of two ends.
pub fn later(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.zip(other).map(|(one, other)| one.max(other))
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
        assert_eq!(list.deny(ip(3), Ban::by_hand(Some(Duration::new(99, 7)), "why")), Ok(()));
        let mut again = Denied::default();
        for (network, ban) in list.iter() {
            assert_eq!(again.deny(network, ban.clone()), Ok(()));
        }
        assert_eq!(again.tripped(), 2);
        assert_eq!(again.until(ip(1)), Some(Some(Duration::new(70, 1))));
        assert_eq!(again.until(ip(2)), Some(None));
        assert_eq!(again.next_expiry(), Some(Duration::new(70, 1)));
        assert_eq!(again.trip(ip(1), Denial::For(Duration::from_secs(60)), now), SensorHit::AlreadyDenied);
        assert_eq!(again.trip(ip(1), Denial::Forever, now), SensorHit::Extended { until: None });
        assert_eq!(again.trip(ip(3), Denial::Forever, now), SensorHit::AlreadyDenied, "made by hand");
    }

    #[test]
    fn many_that_end_at_once_go_a_part_at_a_time() {
        let mut list = Denied::default();
        for n in 0..10u8 {
            list.deny(IpAddr::from([192, 0, 2, n]), Ban::by_hand(Some(Duration::from_secs(9)), "")).unwrap();
        }
        let now = Duration::from_secs(9);
        assert_eq!(list.expire_some(now, 4).len(), 4);
        assert_eq!((list.len(), list.next_expiry()), (6, Some(now)));
        assert!(!list.contains([192, 0, 2, 9].into(), now), "those that wait deny nobody");
        assert_eq!(list.expire_some(now, 100).len(), 6);
        assert!(list.is_empty() && list.next_expiry().is_none());
    }

    #[test]
    fn places_that_are_set_aside_are_nobody_elses() {
        let mut list = Denied::default();
        let host = |n: u32| IpAddr::from(n.to_be_bytes());
        list.set_aside(MOST_BANS - 1);
        assert_eq!(list.deny(host(1), Ban::by_hand(None, "")), Ok(()));
        assert_eq!(list.deny(host(2), Ban::by_hand(None, "")), Err(DeniedFull));
        assert_eq!(list.trip(host(2), Denial::Forever, Duration::ZERO), SensorHit::Full);
        list.set_aside(MOST_BANS - 2);
        assert_eq!(list.deny(host(2), Ban::by_hand(None, "")), Ok(()));
    }

    #[test]
    fn sensors_do_not_fill_what_is_kept_for_hands() {
        let mut list = Denied::default();
        let host = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..10_240 {
            list.trip(host(n), Denial::Forever, Duration::ZERO);
        }
        assert_eq!(list.trip(host(20_000), Denial::Forever, Duration::ZERO), SensorHit::Full);
        let most = u32::try_from(MOST_BANS).unwrap();
        for n in 10_240..most {
            assert_eq!(list.deny(host(n), Ban::by_hand(None, "")), Ok(()));
        }
        assert_eq!(list.deny(host(most), Ban::by_hand(None, "")), Err(DeniedFull));
        assert_eq!(list.deny(host(5), Ban::by_hand(None, "")), Ok(()), "no new entry, no room needed");
        assert_eq!((list.len(), list.tripped()), (1_048_576, 10_239));
    }
}
