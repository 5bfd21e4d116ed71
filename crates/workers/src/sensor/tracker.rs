//! Who scans: counts, for each source and for each wider network, to how many different ports it has sent probes. Pure: the
//! clock and the probes are given. Memory has a bound, see `table`.
//!
//! A source is a host, in IPv6 a /64, which is what one subscriber has. It scans when it has probed [`SCAN`] different targets
//! within a day; a target is a port of an address of this host. Repeating one is nothing, so a client that tries a service that
//! is away, however often, does not scan. A wider network (/24, /48) scans when many of its addresses have probed, each too
//! little to be told of. Whoever is told of is told of again when his targets have doubled.

use super::bits::Bits;
use super::company::{Company, Visitor};
use super::packet::Candidate;
use super::table::{Place, Table};
use crate::protocol::{MAX_SCAN_PORTS, Scan, ScanKind, ScanKinds};
use portreeve_policy::Prefix;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// So many different targets within a day are a scan. As many pieces of proven evidence are a ban, unless the policy says otherwise:
/// who has scanned and then speaks with a trap has enough against him.
pub(super) const SCAN: usize = 10;
/// What is older does not count, in seconds.
const DAY: u32 = 86_400;
/// A network scans with so many sources and so many targets.
const SOURCES: u32 = 8;
const TARGETS: u32 = 24;
/// Sources and networks that are remembered.
pub(super) const MOST_SOURCES: usize = 65_536;
pub(super) const MOST_NETWORKS: usize = 16_384;
/// One that was told of is of no use after so many seconds of silence.
const DONE: u32 = 600;
/// A source is told of again after so many seconds at the earliest.
const PAUSE: u32 = 10;

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    key: u64,
    first: u32,
    last: u32,
    /// The targets until it is told of, and when each was probed last.
    recent: [(u32, u32); SCAN],
    count: u8,
    ports: [u16; MAX_SCAN_PORTS],
    named: u8,
    kinds: ScanKinds,
    new_kind: bool,
    /// Targets that were probed together with others.
    company: u16,
    /// How many targets were told of; 0 before.
    told: u32,
    told_at: u32,
    bits: Bits<4>,
}

/// A network.
#[derive(Debug)]
pub(super) struct Network {
    key: u64,
    first: u32,
    last: u32,
    kinds: ScanKinds,
    sources: Bits<2>,
    targets: Bits<4>,
    told: u32,
    told_at: u32,
}

impl Place for Source {
    fn counts_until(&self) -> u32 {
        self.last.saturating_add(DAY)
    }
    fn is_told(&self, now: u32) -> bool {
        self.told > 0 && now.saturating_sub(self.last) > DONE
    }
}

impl Place for Network {
    fn counts_until(&self) -> u32 {
        self.first.saturating_add(DAY)
    }
    fn is_told(&self, now: u32) -> bool {
        self.told > 0 && now.saturating_sub(self.last) > DONE
    }
}

/// The number of a source: IPv4 alone has a zero upper half, since nobody has the addresses ::/32.
fn key_of(address: IpAddr) -> Option<u64> {
    match address {
        IpAddr::V4(v4) => Some(u64::from(v4.to_bits())).filter(|_| is_somebody(address)),
        IpAddr::V6(v6) => {
            let upper = (v6.to_bits() >> 64) as u64;
            (upper >> 32 != 0 && is_somebody(address)).then_some(upper)
        }
    }
}

/// Whether it can be another host's address at all.
fn is_somebody(address: IpAddr) -> bool {
    let loopback = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    !loopback && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The network around a source: /24, or /48.
fn wider(key: u64) -> u64 {
    if key >> 32 == 0 { key & !0xff } else { key & !0xffff }
}

fn prefix(key: u64, wide: bool) -> Prefix {
    if key >> 32 == 0 {
        let address = Ipv4Addr::from_bits((key & 0xffff_ffff) as u32);
        return Prefix::around(address.into(), if wide { 24 } else { 32 });
    }
    let address = Ipv6Addr::from_bits(u128::from(key) << 64);
    Prefix::around(address.into(), if wide { 48 } else { 64 })
}

/// All sources and networks.
#[derive(Debug)]
pub(super) struct Tracker {
    pub(super) sources: Table<Source>,
    pub(super) networks: Table<Network>,
    company: Company,
    hasher: RandomState,
    /// Scans for which there was no room.
    pub(super) untold: u64,
}

impl Tracker {
    pub(super) fn new(now: Duration) -> Self {
        Self::with(MOST_SOURCES, MOST_NETWORKS, now)
    }

    fn with(sources: usize, networks: usize, now: Duration) -> Self {
        let now = seconds(now);
        Tracker {
            sources: Table::new(sources, now),
            networks: Table::new(networks, now),
            company: Company::default(),
            hasher: RandomState::new(),
            untold: 0,
        }
    }

    fn target(&self, probe: &Candidate) -> u64 {
        let udp = probe.kind == ScanKind::Udp;
        self.hasher.hash_one((udp, probe.to.ip(), probe.to.port()))
    }

    /// Whether this probe would count: its source has not probed this target.
    pub(super) fn would_count(&mut self, probe: &Candidate) -> bool {
        let Some(key) = key_of(probe.from.ip()) else { return false };
        let target = short(self.target(probe));
        let Some(at) = self.sources.find(key) else { return true };
        self.sources.get(at).is_none_or(|source| !source.knows(target))
    }

    /// Counts a probe. What there is to tell, at most `room` scans; what does not fit is tried again with the next probe.
    pub(super) fn probe(&mut self, probe: &Candidate, now: Duration, room: usize, out: &mut Vec<Scan>) {
        let Some(key) = key_of(probe.from.ip()) else { return };
        let target = self.target(probe);
        let second = seconds(now);
        let at = self.sources.find_or_make(key, second, || Source::new(key, second));
        let fresh = match at.and_then(|at| self.sources.get(at)) {
            Some(source) => source.touch(short(target), target, probe, second),
            None => true,
        };
        if fresh {
            let met = self.company.meet(target, Visitor { key, at }, now);
            if let Some(other) = met {
                for one in [Visitor { key, at }, other] {
                    let source = one.at.and_then(|at| self.sources.get(at)).filter(|s| s.key == one.key);
                    if let Some(source) = source {
                        source.company = source.company.saturating_add(1);
                    }
                }
            }
        }
        if let Some(source) = at.and_then(|at| self.sources.get(at))
            && source.is_news(second)
        {
            if room > 0 {
                out.push(source.tell(second));
            } else {
                self.untold += 1;
            }
        }
        if fresh {
            self.network(key, target, probe.kind, second, room.saturating_sub(out.len()), out);
        }
    }

    fn network(
        &mut self,
        source: u64,
        target: u64,
        kind: ScanKind,
        second: u32,
        room: usize,
        out: &mut Vec<Scan>,
    ) {
        let key = wider(source);
        let source = self.hasher.hash_one(source);
        let at = self.networks.find_or_make(key, second, || Network::new(key, second));
        let Some(network) = at.and_then(|at| self.networks.get(at)) else { return };
        network.touch(source, target, kind, second);
        if network.is_news(second) {
            if room > 0 {
                out.push(network.tell(second));
            } else {
                self.untold += 1;
            }
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// A target, never 0.
fn short(target: u64) -> u32 {
    (target >> 32) as u32 | 1
}

impl Source {
    fn new(key: u64, now: u32) -> Self {
        Source {
            key,
            first: now,
            last: now,
            recent: [(0, 0); SCAN],
            count: 0,
            ports: [0; MAX_SCAN_PORTS],
            named: 0,
            kinds: ScanKinds::default(),
            new_kind: false,
            company: 0,
            told: 0,
            told_at: 0,
            bits: Bits::default(),
        }
    }

    fn known(&self) -> &[(u32, u32)] {
        self.recent.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn knows(&self, target: u32) -> bool {
        self.known().iter().any(|(known, _)| *known == target)
    }

    /// Whether the target is a new one.
    fn touch(&mut self, target: u32, whole: u64, probe: &Candidate, now: u32) -> bool {
        if now.saturating_sub(self.last) > DAY {
            *self = Source::new(self.key, now);
        }
        self.last = now;
        let mut fresh = false;
        if self.told > 0 {
            fresh = self.bits.add(whole);
        } else if let Some((_, when)) = self.recent.iter_mut().find(|(known, _)| *known == target) {
            *when = now;
        } else {
            self.forget(now);
            // Of a scan that could not be told of yet, the oldest target makes room.
            let at = if usize::from(self.count) < SCAN {
                self.count += 1;
                usize::from(self.count) - 1
            } else {
                let oldest = self.known().iter().enumerate().min_by_key(|(_, (_, when))| *when);
                oldest.map_or(0, |(at, _)| at)
            };
            if let Some(place) = self.recent.get_mut(at) {
                *place = (target, now);
            }
            self.bits.add(whole);
            fresh = true;
        }
        self.new_kind |= self.kinds.add(probe.kind);
        let (port, named) = (probe.to.port(), usize::from(self.named));
        if fresh
            && !self.ports.get(..named).unwrap_or_default().contains(&port)
            && let Some(place) = self.ports.get_mut(named)
        {
            *place = port;
            self.named += 1;
        }
        fresh
    }

    /// Targets of more than a day ago count no more.
    fn forget(&mut self, now: u32) {
        let mut kept = 0;
        let mut first = now;
        for at in 0..usize::from(self.count) {
            let Some(&(target, when)) = self.recent.get(at) else { break };
            if now.saturating_sub(when) <= DAY
                && let Some(place) = self.recent.get_mut(kept)
            {
                *place = (target, when);
                first = first.min(when);
                kept += 1;
            }
        }
        if kept < usize::from(self.count) {
            // What they were is not known any more.
            (self.named, self.bits, self.first) = (0, Bits::default(), first);
            self.recent.iter_mut().skip(kept).for_each(|place| *place = (0, 0));
        }
        self.count = u8::try_from(kept).unwrap_or(0);
    }

    fn targets(&self) -> u32 {
        self.bits.estimate().max(u32::from(self.count))
    }

    fn is_news(&self, now: u32) -> bool {
        match self.told {
            0 => usize::from(self.count) >= SCAN,
            told => {
                now.saturating_sub(self.told_at) >= PAUSE && (self.new_kind || self.targets() >= told * 2)
            }
        }
    }

    fn tell(&mut self, now: u32) -> Scan {
        let targets = self.targets();
        (self.told, self.told_at, self.new_kind) = (targets, now, false);
        Scan {
            network: prefix(self.key, false),
            kinds: self.kinds,
            company: u32::from(self.company) * 2 >= targets,
            sources: 1,
            targets,
            ports: self.ports.iter().take(usize::from(self.named)).copied().collect(),
            since: now.saturating_sub(self.first),
        }
    }
}

impl Network {
    fn new(key: u64, now: u32) -> Self {
        Network {
            key,
            first: now,
            last: now,
            kinds: ScanKinds::default(),
            sources: Bits::default(),
            targets: Bits::default(),
            told: 0,
            told_at: 0,
        }
    }

    fn touch(&mut self, source: u64, target: u64, kind: ScanKind, now: u32) {
        if self.counts_until() < now {
            *self = Network::new(self.key, now);
        }
        self.last = now;
        self.sources.add(source);
        self.targets.add(target);
        self.kinds.add(kind);
    }

    fn is_news(&self, now: u32) -> bool {
        match self.told {
            0 => self.sources.estimate() >= SOURCES && self.targets.estimate() >= TARGETS,
            told => now.saturating_sub(self.told_at) >= PAUSE && self.targets.estimate() >= told * 2,
        }
    }

    fn tell(&mut self, now: u32) -> Scan {
        let targets = self.targets.estimate();
        (self.told, self.told_at) = (targets, now);
        Scan {
            network: prefix(self.key, true),
            kinds: self.kinds,
            company: true,
            sources: self.sources.estimate(),
            targets,
            ports: Vec::new(),
            since: now.saturating_sub(self.first),
        }
    }
}

#[cfg(test)]
#[path = "tracker/tests.rs"]
mod tests;
