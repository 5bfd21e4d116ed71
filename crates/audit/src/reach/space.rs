//! A network namespace as a packet finds it: interfaces, addresses, rules. Pure.

use super::evaluate::Host;
use super::model::{Packet, Ruleset, Test, Verdict};
use super::ranges::{Family, Ranges, network, number};
use portreeve_sys::interfaces::Interface;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Addresses of this host to which a packet may be sent that are tried one by one.
const MOST_ADDRESSES: usize = 32;

/// A network namespace.
#[derive(Clone, Debug, Default)]
pub struct Space {
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Its rules.
    pub rules: Ruleset,
    /// Ports at which the answer may change, in order.
    bounds: Vec<u16>,
    /// Whether any rule asks for the destination's address.
    by_address: bool,
    /// The interfaces that rules name.
    named: BTreeSet<String>,
    /// Destinations that packets are given, and at which ports.
    pub sent: Vec<Sent>,
}

/// A rule that gives packets another destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where to; None: this host itself.
    pub address: Option<IpAddr>,
    /// The port there; None: as it was.
    pub port: Option<u16>,
    /// The ports for which the rule may hold; none: for all.
    pub from: Vec<(u16, u16)>,
}

impl Space {
    /// Puts it together.
    pub fn new(interfaces: Vec<Interface>, rules: Ruleset) -> Space {
        let (mut bounds, mut by_address, mut named) = (BTreeSet::new(), false, BTreeSet::new());
        rules.each_test(|test| match test {
            Test::Port(ranges) => bounds.extend(
                ranges.iter().flat_map(|(first, last)| [Some(*first), last.checked_add(1)]).flatten(),
            ),
            Test::To(..) => by_address = true,
            Test::In(name) | Test::Out(name) => drop(named.insert(name.clone())),
            _ => {}
        });
        let mut sent = Vec::new();
        for rule in rules.chains.iter().flat_map(|chain| &chain.rules) {
            for (test, verdict) in &rule.verdicts {
                let Verdict::To(address, port) = verdict else { continue };
                let mut from = Vec::new();
                ports(&rule.test, &mut from);
                ports(test, &mut from);
                bounds.extend(port.iter().flat_map(|port| [Some(*port), port.checked_add(1)]).flatten());
                sent.push(Sent { address: *address, port: *port, from });
            }
        }
        Space { interfaces, rules, bounds: bounds.into_iter().collect(), by_address, named, sent }
    }

    /// Ports of the same number get the same answer.
    pub fn class(&self, port: u16) -> usize {
        self.bounds.partition_point(|bound| *bound <= port)
    }

    /// One interface of each kind that the rules tell apart, and the names of its kind.
    pub fn entries(&self) -> Vec<(&Interface, Vec<&str>)> {
        let kind = |name: &str| -> Vec<bool> {
            let fits = |pattern: &String| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => pattern == name,
            };
            self.named.iter().map(fits).collect()
        };
        let mut kinds: BTreeMap<Vec<bool>, (&Interface, Vec<&str>)> = BTreeMap::new();
        for interface in self.interfaces.iter().filter(|interface| !interface.loopback) {
            let entry = kinds.entry(kind(&interface.name)).or_insert_with(|| (interface, Vec::new()));
            entry.1.push(&interface.name);
        }
        let mut found: Vec<_> = kinds.into_values().collect();
        found.sort_by_key(|(interface, _)| interface.index);
        found
    }

    /// This host's addresses of a family, without the loopback's; those of a link only where there is no other.
    pub fn addresses(&self, family: Family) -> Vec<IpAddr> {
        let outside = self.interfaces.iter().filter(|interface| !interface.loopback);
        let all = outside.flat_map(|interface| &interface.addresses).map(|(address, _)| *address);
        let all: BTreeSet<IpAddr> = all.filter(|address| Family::of(*address) == family).collect();
        let (link, wide): (Vec<_>, Vec<_>) = all.into_iter().partition(is_link);
        let mut chosen = if wide.is_empty() { link } else { wide };
        chosen.truncate(if self.by_address { MOST_ADDRESSES } else { 1 });
        chosen
    }

    /// The networks that its interfaces are in.
    pub fn neighbours(&self, family: Family) -> Ranges {
        let outside = self.interfaces.iter().filter(|interface| !interface.loopback);
        let all =
            outside.flat_map(|interface| &interface.addresses).filter(|(a, _)| Family::of(*a) == family);
        Ranges::new(
            all.map(|(address, length)| network(family, number(*address), u32::from(*length))).collect(),
        )
    }

    /// Whether it has this address, loopback or not.
    pub fn has(&self, address: IpAddr) -> bool {
        self.interfaces.iter().flat_map(|interface| &interface.addresses).any(|(own, _)| *own == address)
    }
}

fn is_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// The ports that a test asks for, where it asks for them plainly.
fn ports(test: &Test, found: &mut Vec<(u16, u16)>) {
    match test {
        Test::Port(ranges) => found.extend(ranges),
        Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| ports(test, found)),
        _ => {}
    }
}

impl Host for Space {
    fn is_local(&self, address: u128, packet: &Packet) -> bool {
        let address = packet.family.address(address);
        self.has(address) || address.is_loopback()
    }

    fn out(&self, address: u128, packet: &Packet) -> Option<String> {
        let holds = |interface: &&Interface| {
            interface.addresses.iter().any(|(own, length)| {
                Family::of(*own) == packet.family && {
                    let (first, last) = network(packet.family, number(*own), u32::from(*length));
                    (first..=last).contains(&address)
                }
            })
        };
        self.interfaces.iter().find(holds).map(|interface| interface.name.clone())
    }
}
