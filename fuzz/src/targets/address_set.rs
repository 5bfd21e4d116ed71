//! Any list of networks and any peer: the compiled list gives the answer of a plain search, and names the first rule
//! that matches.

use portreeve_policy::{AddressSet, Match, Names, Origin, Pattern, Rule};
use std::net::IpAddr;
use std::sync::Arc;

/// Takes numbers off the front of the input; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.0.len().min(N);
        let (front, rest) = self.0.split_at(taken);
        out[..taken].copy_from_slice(front);
        self.0 = rest;
        out
    }

    /// Few distinct addresses, so that networks nest and peers hit.
    fn v4(&mut self) -> u32 {
        let [a, b] = self.bytes();
        u32::from_be_bytes([10, a & 3, b & 3, b >> 4])
    }

    fn v6(&mut self) -> u128 {
        let [kind, a] = self.bytes();
        match kind % 3 {
            0 => 0xffff_0000_0000 | u128::from(self.v4()),
            1 => u128::from(a),
            _ => 0x2001_0db8 << 96 | u128::from(a) << 64 | u128::from(kind),
        }
    }
}

fn covers(pattern: &Pattern, peer: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32, length: u8| {
        let free = width.saturating_sub(u32::from(length));
        free >= 128 || a >> free == b >> free
    };
    match (pattern, peer) {
        (&Pattern::V4(net, length), IpAddr::V4(peer)) => same(net.into(), u32::from(peer).into(), 32, length),
        (&Pattern::V4(net, length), IpAddr::V6(peer)) => {
            peer.to_ipv4_mapped().is_some_and(|peer| same(net.into(), u32::from(peer).into(), 32, length))
        }
        (&Pattern::V6(net, length), IpAddr::V6(peer)) => same(net, peer.into(), 128, length),
        _ => false,
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let [count, kind] = input.bytes();
    let peer: IpAddr =
        if kind & 1 == 0 { IpAddr::V4(input.v4().into()) } else { IpAddr::V6(input.v6().into()) };
    let rule = |_| {
        let [kind, length] = input.bytes();
        let pattern = match kind & 1 {
            0 => Pattern::V4(input.v4(), length % 34),
            _ => Pattern::V6(input.v6(), length % 130),
        };
        Rule { text: String::new(), origin: Origin { file: Arc::from("f"), line: 1 }, pattern }
    };
    let rules: Vec<Rule> = (0..count % 64).map(rule).collect();
    let first = rules.iter().position(|rule| covers(&rule.pattern, peer));
    let answer = AddressSet::build(rules).matches(peer, &Names::NotAsked);
    assert_eq!(answer, first.map_or(Match::No, Match::Yes), "{peer}");
}
