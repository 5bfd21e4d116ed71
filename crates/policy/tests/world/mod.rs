//! A world for the tests: rules written as words, one service, one host, a clock that is set by hand.
#![allow(dead_code)] // each test file is a program of its own and uses its part
#![allow(unreachable_pub)] // shared by them, published by none

use portreeve_policy::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn origin(line: u32) -> Origin {
    Origin { file: "/etc/xinetd.d/s1".into(), line }
}

/// The pattern of a word: `192.0.2.0/24`, `2001:db8::/32`, `.example.org`, `host.example.org`.
pub fn pattern(word: &str) -> Pattern {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().unwrap())),
        None => (word, None),
    };
    match address.parse() {
        Ok(IpAddr::V4(v4)) => Pattern::V4(v4.to_bits(), length.unwrap_or(32)),
        Ok(IpAddr::V6(v6)) => Pattern::V6(v6.to_bits(), length.unwrap_or(128)),
        Err(_) if word.starts_with('.') => Pattern::Suffix(word.to_owned()),
        Err(_) => Pattern::Name(word.to_owned()),
    }
}

/// The rules of words, on the lines from `line` on.
pub fn list(words: &str, line: u32) -> Vec<Rule> {
    let rule = |(at, word): (usize, &str)| Rule {
        text: word.to_owned(),
        origin: origin(line + at as u32),
        pattern: pattern(word),
    };
    words.split_whitespace().enumerate().map(rule).collect()
}

/// Rules without any limit at all, cps included.
pub fn unlimited() -> Rules {
    Rules { cps: (0, 0), ..Rules::default() }
}

pub fn known(names: &[&str]) -> Names {
    Names::Known(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Milliseconds of the monotonic clock; it does not begin at 0, like the real one.
pub fn at(ms: u64) -> Now {
    Now { mono: Duration::from_millis(1_000_000 + ms), minute: 720 }
}

pub fn stream(peer: &str) -> Arrival {
    Arrival { peer: SocketAddr::new(ip(peer), 40_000).into(), proof: Proof::Handshake }
}

pub fn datagram(peer: &str) -> Arrival {
    Arrival { proof: Proof::Nothing, ..stream(peer) }
}

/// One service on one host.
pub struct World {
    pub rules: CompiledRules,
    pub state: ServiceState,
    pub host: HostState,
    pub facts: Facts,
}

impl World {
    pub fn new(rules: Rules) -> Self {
        World {
            rules: CompiledRules::new(rules),
            state: ServiceState::new(),
            host: HostState::default(),
            facts: Facts::default(),
        }
    }

    pub fn ask(&mut self, arrival: Arrival, now: Now) -> Verdict {
        decide(&self.rules, &self.state, &mut self.host, &arrival, &self.facts, &now, false)
    }

    pub fn resume(&mut self, arrival: Arrival, now: Now) -> Verdict {
        decide(&self.rules, &self.state, &mut self.host, &arrival, &self.facts, &now, true)
    }

    /// The cause of the refusal, `None` when admitted; the seat is given back at once.
    pub fn cause(&mut self, peer: &str, now: Now) -> Option<Cause> {
        cause(self.ask(stream(peer), now))
    }

    pub fn tick(&self, now: Now) -> Option<RateChange> {
        self.state.tick(&self.rules, &now)
    }

    pub fn explain(&self, arrival: Arrival, now: Now) -> Vec<Check> {
        explain(&self.rules, &self.state, &self.host, &arrival, &self.facts, &now)
    }
}

pub fn cause(verdict: Verdict) -> Option<Cause> {
    match verdict {
        Verdict::Admit(_) => None,
        Verdict::Refuse(refusal) => {
            assert_eq!(refusal.reason, refusal.cause.reason());
            assert_eq!(refusal.text, refusal.cause.text());
            Some(refusal.cause)
        }
        Verdict::NeedNames => panic!("names needed"),
        Verdict::NeedTables => panic!("hosts.allow and hosts.deny needed"),
    }
}

pub fn seat(verdict: Verdict) -> Seat {
    match verdict {
        Verdict::Admit(seat) => seat,
        other => panic!("not admitted: {other:?}"),
    }
}

pub fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

// Traffic for the rate limit.

pub fn rated(limit: u32, wait: u32) -> World {
    World::new(Rules { cps: (limit, wait), ..Rules::default() })
}

pub fn closing(limit: u32, wait: u32) -> World {
    World::new(Rules { cps: (limit, wait), overload_closes: true, ..Rules::default() })
}

/// How many of `peers`, one after the other at `now`, are admitted.
pub fn admitted<'a>(world: &mut World, peers: impl IntoIterator<Item = &'a str>, now: Now) -> usize {
    peers.into_iter().filter(|peer| world.cause(peer, now).is_none()).count()
}

pub fn many(peer: &str, times: usize) -> Vec<&str> {
    vec![peer; times]
}

pub fn source(n: u8) -> IpAddr {
    if n % 3 == 2 {
        Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(n) << 64)).into()
    } else {
        Ipv4Addr::from([192, 0, 2, n]).into()
    }
}

/// Bursts, gaps and long silences from few or many sources.
pub fn traffic() -> impl Strategy<Value = Vec<(u64, u8)>> {
    let gap = prop_oneof![6 => Just(0u64), 4 => 1u64..400, 2 => 400u64..3000, 1 => 3000u64..40_000];
    let source = prop_oneof![3 => Just(0u8), 3 => 0u8..4, 2 => 0u8..=255];
    proptest::collection::vec((gap, source), 1..300)
}
