//! Which peers a list of address rules means (reference xinetd §4).
//!
//! A list has no order that matters to the verdict: one match is a match. The index of the first matching rule is
//! reported so that a refusal can name its line. Matching is by address first; names are asked for only when no address
//! rule matches. Whether a match admits or refuses is decided elsewhere.

use crate::arrival::Names;
use crate::intervals::Intervals;
use crate::names::NameList;
use crate::prefix::Prefix;
use crate::rules::Origin;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address pattern with its text and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
    /// What it matches.
    pub pattern: Pattern,
}

/// What an address rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// IPv4 network and prefix length. Also matches IPv4 clients of dual-stack sockets. A length over 32 means 32;
    /// bits beyond the length are ignored.
    V4(u32, u8),
    /// IPv6 network and prefix length. Matches IPv6 peers, mapped ones in their mapped form, never plain IPv4 peers.
    /// A length over 128 means 128 (xinetd never matches those: a defect).
    V6(u128, u8),
    /// Host name, compared without case.
    Name(String),
    /// Host name suffix with its dot, compared without case.
    Suffix(String),
}

/// What a list says about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// No rule matches.
    No,
    /// The rule of this index is the first that matches.
    Yes(usize),
    /// No address rule matches; a name rule may, and nobody asked for the names yet.
    NeedNames,
    /// No address rule matches; a name rule may, and the names could not be asked for.
    Unavailable,
}

/// A list of address rules together with its compiled form.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    rules: Vec<Rule>,
    index: AddressIndex,
}

impl AddressSet {
    /// Compiles `rules`; an empty list matches nobody.
    pub fn build(rules: Vec<Rule>) -> Self {
        AddressSet { index: AddressIndex::build(&rules), rules }
    }

    /// The rules in the order given.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What the list says about `peer`, which is given as it arrived, mapped or not.
    pub fn matches(&self, peer: IpAddr, names: &Names) -> Match {
        self.index.matches(peer, names)
    }

    /// Whether there are name rules.
    pub fn needs_names(&self) -> bool {
        self.index.needs_names()
    }

    /// Whether an address rule and `network` have an address in common, names left aside.
    pub fn meets(&self, network: &Prefix) -> bool {
        self.meeting(network).is_some()
    }

    /// The first address rule that has an address in common with `network`.
    pub fn meeting(&self, network: &Prefix) -> Option<&Rule> {
        self.rules.iter().find(|rule| match rule.pattern {
            Pattern::V4(net, bits) => Prefix::around(Ipv4Addr::from_bits(net).into(), bits).meets(network),
            Pattern::V6(net, bits) => Prefix::around(Ipv6Addr::from_bits(net).into(), bits).meets(network),
            Pattern::Name(_) | Pattern::Suffix(_) => false,
        })
    }

    /// Whether an address rule matches, names left aside.
    pub fn matches_address(&self, peer: IpAddr) -> bool {
        self.index.first_address(peer).is_some()
    }
}

/// The compiled form alone: rule indices, no texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressIndex {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
    names: NameList,
}

impl AddressIndex {
    pub(crate) fn build(rules: &[Rule]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        let mut names = NameList::default();
        for (at, rule) in rules.iter().enumerate() {
            match &rule.pattern {
                Pattern::V4(network, length) => {
                    let host = u32::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
                    v4.push((network & !host, network | host, at));
                }
                Pattern::V6(network, length) => {
                    let host = u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
                    v6.push((network & !host, network | host, at));
                }
                Pattern::Name(name) => names.push_name(at, name),
                Pattern::Suffix(suffix) => names.push_suffix(at, suffix),
            }
        }
        AddressIndex { v4: Intervals::build(v4), v6: Intervals::build(v6), names }
    }

    pub(crate) fn needs_names(&self) -> bool {
        !self.names.is_empty()
    }

    pub(crate) fn matches(&self, peer: IpAddr, names: &Names) -> Match {
        let by_address = self.first_address(peer);
        if self.names.is_empty() {
            return by_address.map_or(Match::No, Match::Yes);
        }
        match (by_address, names) {
            (by_address, Names::Known(names)) => {
                // Both lists, so that the first rule is named whatever its kind.
                let by_name = self.names.first(names);
                by_address.into_iter().chain(by_name).min().map_or(Match::No, Match::Yes)
            }
            (Some(at), _) => Match::Yes(at),
            (None, Names::NotAsked) => Match::NeedNames,
            (None, Names::Unavailable) => Match::Unavailable,
        }
    }

    /// The first address rule that matches. An IPv4 client of a dual-stack socket is seen by both families' rules, in
    /// its two forms (reference xinetd §4.3).
    fn first_address(&self, peer: IpAddr) -> Option<usize> {
        match peer {
            IpAddr::V4(v4) => self.v4.first(v4.to_bits()),
            IpAddr::V6(v6) => {
                let mapped = v6.to_ipv4_mapped().and_then(|v4| self.v4.first(v4.to_bits()));
                let native = self.v6.first(v6.to_bits());
                mapped.into_iter().chain(native).min()
            }
        }
    }
}
