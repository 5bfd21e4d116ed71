//! Who was seen scanning, and whom of them we have met. What a sensor sees may be forged, so it is remembered and bans nobody; what
//! makes a scanner's probes count as proven is that the same source has spoken with a trap, which it did by itself and for which
//! nobody but a scanner has a reason.
//!
//! A handshake with an ordinary service does not: an attacker who knows the address of a client of ours can forge probes in its name,
//! and the client will come again. It is noted, so that a person sees it.

use crate::prefix::Prefix;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Scanners that are remembered.
pub const MOST_SCANS: usize = 4096;
/// For how long after its last probe that was told.
pub const SCAN_WINDOW: Duration = Duration::from_secs(86_400);

/// What a sensor tells of one that scans. Numbers are those since its first probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How, as the sensor's bits.
    pub kinds: u8,
    /// Others probed the same ports at the same moments.
    pub company: bool,
    /// Sources, of a wider network.
    pub sources: u32,
    /// Ports of addresses.
    pub targets: u32,
    /// Some of the ports.
    pub ports: Vec<u16>,
}

/// Where we have met it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// Nowhere: its address may be forged.
    Nowhere,
    /// It completed a handshake with a service: the address is real, and the probes may still be another's.
    Service,
    /// It spoke with a trap.
    Trap,
}

/// One that scans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// What was told of it last; kinds and company are of all times.
    pub seen: Seen,
    /// Its first probe.
    pub first: Duration,
    /// When it was told of last.
    pub last: Duration,
    /// Where we have met it.
    pub met: Met,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Scans {
    known: BTreeMap<Prefix, Scanner>,
    /// Those that made room before their time.
    pub forgotten: u64,
}

impl Scans {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// In the order of their networks.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, &Scanner)> {
        self.known.iter()
    }

    /// A sensor tells of one, whose first probe was so long ago. How many of its targets are new since it was told of last.
    pub fn note(&mut self, network: Prefix, seen: Seen, since: Duration, now: Duration) -> u32 {
        self.expire(now);
        if let Some(scanner) = self.known.get_mut(&network) {
            let new = seen.targets.saturating_sub(scanner.seen.targets).max(1);
            let (kinds, company) = (scanner.seen.kinds | seen.kinds, scanner.seen.company | seen.company);
            scanner.seen = Seen { kinds, company, ..seen };
            scanner.last = now;
            return new;
        }
        if self.known.len() >= MOST_SCANS {
            // Who was met somewhere is worth more than whoever may be forged.
            let oldest = self.known.iter().min_by_key(|(_, one)| (one.met, one.last)).map(|(who, _)| *who);
            oldest.map(|who| self.known.remove(&who));
            self.forgotten += 1;
        }
        let (targets, first) = (seen.targets, now.saturating_sub(since));
        self.known.insert(network, Scanner { seen, first, last: now, met: Met::Nowhere });
        targets
    }

    /// A source has completed a handshake with us. Of one that scanned and now speaks with a trap for the first time: how many targets
    /// it has probed, which count as proven from now on.
    pub fn meet(&mut self, source: IpAddr, at: Met, now: Duration) -> Option<u32> {
        if self.known.is_empty() {
            return None;
        }
        let scanner = self.known.get_mut(&Prefix::subscriber(source))?;
        if now.saturating_sub(scanner.last) > SCAN_WINDOW || scanner.met >= at {
            return None;
        }
        scanner.met = at;
        (at == Met::Trap).then_some(scanner.seen.targets)
    }

    /// Forgets who has not scanned for a day.
    pub fn expire(&mut self, now: Duration) {
        self.known.retain(|_, one| now.saturating_sub(one.last) <= SCAN_WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: &str = "192.0.2.7";

    fn seen(targets: u32) -> Seen {
        Seen { kinds: 1, company: false, sources: 1, targets, ports: vec![23] }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn host(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn probes_are_proven_by_a_trap_and_by_nothing_else() {
        let mut scans = Scans::new();
        let client: IpAddr = C.parse().unwrap();
        assert_eq!(scans.meet(client, Met::Trap, secs(1)), None, "who has not scanned");
        assert_eq!(scans.note(host(C), seen(8), secs(5), secs(10)), 8);
        assert_eq!(scans.note(host(C), seen(20), secs(9), secs(14)), 12);
        for at in 15..30 {
            assert_eq!(
                scans.meet(client, Met::Service, secs(at)),
                None,
                "a client that is served proves nothing"
            );
        }
        assert_eq!(scans.iter().next().unwrap().1.met, Met::Service);
        assert_eq!(scans.meet("192.0.2.8".parse().unwrap(), Met::Trap, secs(30)), None, "a neighbour");
        assert_eq!(scans.meet(client, Met::Trap, secs(31)), Some(20));
        assert_eq!(scans.meet(client, Met::Trap, secs(32)), None, "once");
    }

    #[test]
    fn a_day_later_it_is_forgotten() {
        let mut scans = Scans::new();
        scans.note(host(C), seen(8), secs(0), secs(10));
        assert_eq!(scans.meet(C.parse().unwrap(), Met::Trap, secs(86_411)), None);
        scans.note(host("192.0.2.8"), seen(8), secs(0), secs(86_411));
        assert_eq!(scans.len(), 1);
    }

    #[test]
    fn a_subscriber_of_ipv6_is_met_by_any_of_its_addresses() {
        let mut scans = Scans::new();
        scans.note(host("2001:db8:1:2::/64"), seen(9), secs(0), secs(1));
        assert_eq!(scans.meet("2001:db8:1:2::77".parse().unwrap(), Met::Trap, secs(2)), Some(9));
    }

    #[test]
    fn a_full_list_forgets_forged_ones_first() {
        let mut scans = Scans::new();
        scans.note(host(C), seen(8), secs(0), secs(1));
        assert_eq!(scans.meet(C.parse().unwrap(), Met::Trap, secs(2)), Some(8));
        for n in 0..10_000u32 {
            let forged = Prefix::host(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into());
            scans.note(forged, seen(8), secs(0), secs(3));
        }
        assert_eq!(scans.len(), MOST_SCANS);
        assert!(scans.iter().any(|(who, _)| *who == host(C)));
        assert_eq!(scans.forgotten, 10_001 - MOST_SCANS as u64);
    }
}
