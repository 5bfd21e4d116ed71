//! Address lists: the rows of reference xinetd §4, and the compiled form against a plain walk over the rules.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use world::*;

/// only_from, no_access, peer as it arrives, names, expected cause.
type Row = (Option<&'static str>, Option<&'static str>, &'static str, &'static [&'static str], Option<Cause>);

#[test]
fn rows_of_the_reference() {
    use Cause::*;
    let rows: &[Row] = &[
        // §4.1: no best match, deny wins
        (Some("127.0.0.2"), Some("127.0.0.0/8"), "127.0.0.2", &[], Some(BothLists)),
        (Some("127.0.0.0/8"), Some("127.0.0.2"), "127.0.0.2", &[], Some(BothLists)),
        (Some("127.0.0.0/8"), Some("127.0.0.2"), "127.0.0.3", &[], None),
        (Some("127.0.0.3"), Some("127.0.0.2"), "127.0.0.4", &[], Some(NotInOnlyFrom)),
        (None, Some("127.0.0.2"), "127.0.0.2", &[], Some(NoAccess)),
        (None, Some("127.0.0.2"), "127.0.0.3", &[], None),
        (None, None, "127.0.0.2", &[], None),
        // §4.1: set but empty
        (Some(""), None, "127.0.0.1", &[], Some(NotInOnlyFrom)),
        (Some(""), None, "::1", &[], Some(NotInOnlyFrom)),
        (None, Some(""), "127.0.0.1", &[], None),
        // §4.2: networks, hosts, /0, lengths beyond the family's, host bits ignored
        (Some("127.1.2.0/24"), None, "127.1.2.255", &[], None),
        (Some("127.1.2.0/24"), None, "127.1.3.0", &[], Some(NotInOnlyFrom)),
        (Some("127.1.2.77/24"), None, "127.1.2.1", &[], None),
        (Some("0.0.0.0/0"), None, "203.0.113.9", &[], None),
        (Some("127.0.0.2/33"), None, "127.0.0.2", &[], None),
        (Some("127.0.0.2/33"), None, "127.0.0.3", &[], Some(NotInOnlyFrom)),
        (Some("::"), None, "::", &[], None),
        (Some("::"), None, "::1", &[], Some(NotInOnlyFrom)),
        (Some("2001:db8::/32"), None, "2001:db8:ffff::1", &[], None),
        (Some("2001:db8::/127"), None, "2001:db8::1", &[], None),
        (Some("2001:db8::/127"), None, "2001:db8::2", &[], Some(NotInOnlyFrom)),
        // fixed (§15.2 row 7): /128 and more match exactly, where xinetd never matches
        (Some("::1/128"), None, "::1", &[], None),
        (Some("::1/200"), None, "::1", &[], None),
        (None, Some("::1/128"), "::1", &[], Some(NoAccess)),
        // §4.3
        (Some("127.0.0.2"), None, "::ffff:127.0.0.2", &[], None),
        (Some("127.0.0.0/8"), None, "::ffff:127.0.0.2", &[], None),
        (Some("0.0.0.0/0"), None, "::ffff:127.0.0.2", &[], None),
        (Some("::ffff:127.0.0.1"), None, "::ffff:127.0.0.1", &[], None),
        (Some("::ffff:127.0.0.0/104"), None, "::ffff:127.0.0.1", &[], None),
        (Some("::/0"), None, "::ffff:127.0.0.1", &[], None),
        (Some("0.0.0.0/0"), None, "::1", &[], Some(NotInOnlyFrom)),
        (Some("::/0"), None, "::1", &[], None),
        (Some("::"), None, "::1", &[], Some(NotInOnlyFrom)),
        (Some("::/0"), None, "127.0.0.1", &[], Some(NotInOnlyFrom)),
        (Some("::ffff:127.0.0.1"), None, "127.0.0.1", &[], Some(NotInOnlyFrom)),
        (None, Some("127.0.0.1"), "::ffff:127.0.0.1", &[], Some(NoAccess)),
        // §4.2: names; a peer without a name skips them
        (Some("localhost"), None, "127.0.0.1", &["LOCALHOST"], None),
        (Some("vm"), None, "127.0.0.1", &["localhost"], Some(NotInOnlyFrom)),
        (Some(".example.org"), None, "192.0.2.1", &["a.example.org"], None),
        (Some(".example.org"), None, "192.0.2.1", &[], Some(NotInOnlyFrom)),
        (Some(".example.org 192.0.2.1"), None, "192.0.2.1", &[], None),
        (None, Some(".example.org"), "192.0.2.1", &["a.example.org"], Some(NoAccess)),
        (None, Some(".example.org"), "192.0.2.1", &[], None),
        (Some("192.0.2.1"), Some(".example.org"), "192.0.2.1", &["a.example.org"], Some(BothLists)),
        (Some(".example.org"), Some("b.example.org"), "192.0.2.1", &["a.example.org"], None),
    ];
    for &(only_from, no_access, peer, names, expected) in rows {
        let only_from_rules = only_from.map(|words| list(words, 10));
        let no_access_rules = no_access.map(|words| list(words, 20));
        let mut world =
            World::new(Rules { only_from: only_from_rules, no_access: no_access_rules, ..unlimited() });
        world.facts.names = known(names);
        assert_eq!(
            world.cause(peer, at(0)),
            expected,
            "only_from={only_from:?} no_access={no_access:?} {peer} {names:?}"
        );
    }
}

/// When names are asked for, and what their absence does: only_from, no_access, verdict with names not asked, cause
/// with names unavailable.
#[test]
fn names_are_asked_for_only_where_they_can_change_the_verdict() {
    #[derive(Debug, PartialEq)]
    enum First {
        Admit,
        Refuse(Cause),
        Ask,
    }
    use Cause::*;
    let rows = [
        (Some("192.0.2.1 .example.org"), None, First::Admit, None),
        (Some(".example.org 192.0.2.1"), None, First::Admit, None),
        (Some(".example.org"), None, First::Ask, Some(NamesUnavailable)),
        (Some("198.51.100.0/24 .example.org"), None, First::Ask, Some(NamesUnavailable)),
        (None, Some(".example.org"), First::Ask, Some(NamesUnavailable)),
        (None, Some("192.0.2.1 .example.org"), First::Refuse(NoAccess), Some(NoAccess)),
        (Some(".example.org"), Some("192.0.2.1"), First::Refuse(NoAccess), Some(NoAccess)),
        // nothing in only_from can match: the name in no_access is of no interest
        (Some("198.51.100.0/24"), Some(".example.org"), First::Refuse(NotInOnlyFrom), Some(NotInOnlyFrom)),
        (Some(""), Some(".example.org"), First::Refuse(NotInOnlyFrom), Some(NotInOnlyFrom)),
        (Some("192.0.2.1"), Some(".example.org"), First::Ask, Some(NamesUnavailable)),
        (Some("192.0.2.1"), Some("198.51.100.0/24"), First::Admit, None),
        (Some(".example.org"), Some(".example.net"), First::Ask, Some(NamesUnavailable)),
    ];
    for (only_from, no_access, first, unavailable) in rows {
        let mut world = World::new(Rules {
            only_from: only_from.map(|words| list(words, 10)),
            no_access: no_access.map(|words| list(words, 20)),
            ..unlimited()
        });
        let asked = match world.ask(stream("192.0.2.1"), at(0)) {
            Verdict::Admit(_) => First::Admit,
            Verdict::Refuse(refusal) => First::Refuse(refusal.cause),
            Verdict::NeedNames => First::Ask,
            Verdict::NeedTables => panic!("the tables are off"),
        };
        assert_eq!(asked, first, "only_from={only_from:?} no_access={no_access:?}");
        // Who was not asked, since it waited for a seat, is asked then: nobody is let in without.
        let resumed = world.resume(stream("192.0.2.1"), at(0));
        match first {
            First::Ask => assert!(matches!(resumed, Verdict::NeedNames), "{only_from:?} {no_access:?}"),
            _ => assert_eq!(cause(resumed), unavailable),
        }
        world.facts.names = Names::Unavailable;
        assert_eq!(world.cause("192.0.2.1", at(0)), unavailable, "{only_from:?} {no_access:?}");
    }
}

#[test]
fn a_refusal_names_the_line() {
    let mut world = World::new(Rules {
        only_from: Some(list("192.0.2.0/24", 10)),
        no_access: Some(list("203.0.113.1 192.0.2.7 192.0.2.0/28", 20)),
        origins: vec![("only_from", origin(10))],
        ..unlimited()
    });
    assert_eq!(refusal(world.ask(stream("192.0.2.7"), at(0))).rule, Some(origin(21)));
    assert_eq!(refusal(world.ask(stream("192.0.2.8"), at(0))).rule, Some(origin(22)));
    assert_eq!(refusal(world.ask(stream("198.51.100.1"), at(0))).rule, Some(origin(10)));
}

#[test]
fn a_long_list_answers_as_each_of_its_rules() {
    let rule = |n: u32| Rule { text: String::new(), origin: origin(n), pattern: Pattern::V4(n << 12, 20) };
    let set = AddressSet::build((0..100_000).map(rule).collect());
    for n in [0u32, 1, 500, 99_999] {
        for host in [0, 1, 4095] {
            let peer = IpAddr::V4(Ipv4Addr::from_bits((n << 12) + host));
            assert_eq!(set.matches(peer, &Names::NotAsked), Match::Yes(n as usize));
        }
    }
    let beyond = IpAddr::V4(Ipv4Addr::from_bits(100_000 << 12));
    assert_eq!(set.matches(beyond, &Names::NotAsked), Match::No);
}

/// The plain model: walk over the rules, compare as the reference says.
fn walk(rules: &[Rule], peer: IpAddr, names: &Names) -> Match {
    let mut names_matter = false;
    let mut by_address = None;
    let mut by_any = None;
    for (at, rule) in rules.iter().enumerate() {
        let matches = match &rule.pattern {
            Pattern::V4(network, length) => {
                let v4 = match peer {
                    IpAddr::V4(v4) => Some(v4),
                    IpAddr::V6(v6) => v6.to_ipv4_mapped(),
                };
                v4.is_some_and(|v4| {
                    (0..32)
                        .take(*length as usize)
                        .all(|bit| (v4.to_bits() ^ network) & (1 << (31 - bit)) == 0)
                })
            }
            Pattern::V6(network, length) => match peer {
                IpAddr::V6(v6) => (0..128)
                    .take(*length as usize)
                    .all(|bit| (v6.to_bits() ^ network) & (1 << (127 - bit)) == 0),
                IpAddr::V4(_) => false,
            },
            Pattern::Name(name) => {
                names_matter = true;
                matches!(names, Names::Known(known) if known.iter().any(|k| k.to_lowercase() == name.to_lowercase()))
            }
            Pattern::Suffix(suffix) => {
                names_matter = true;
                matches!(names, Names::Known(known) if known.iter().any(|k| {
                    k.to_lowercase().ends_with(&suffix.to_lowercase()) && k.len() > suffix.len()
                }))
            }
        };
        if matches {
            by_any = by_any.or(Some(at));
            if matches!(rule.pattern, Pattern::V4(..) | Pattern::V6(..)) {
                by_address = by_address.or(Some(at));
            }
        }
    }
    match names {
        Names::Known(_) => by_any.map_or(Match::No, Match::Yes),
        _ if by_address.is_some() => by_address.map_or(Match::No, Match::Yes),
        Names::NotAsked if names_matter => Match::NeedNames,
        Names::Unavailable if names_matter => Match::Unavailable,
        _ => Match::No,
    }
}

/// Few bits differ, so that networks nest, touch and repeat.
fn near_v4() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..64, (0u32..64).prop_map(|n| u32::MAX - n), (0u32..8).prop_map(|n| n << 29)]
}

fn near_v6() -> impl Strategy<Value = u128> {
    prop_oneof![
        0u128..64,
        (0u128..64).prop_map(|n| u128::MAX - n),
        near_v4().prop_map(|v4| Ipv4Addr::from_bits(v4).to_ipv6_mapped().to_bits()),
    ]
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let word = "[aA]\\.(b|B|bb)\\.c";
    prop_oneof![
        4 => (near_v4(), 0u8..=40).prop_map(|(n, l)| Pattern::V4(n, l)),
        4 => (near_v4(), 24u8..=32).prop_map(|(n, l)| Pattern::V4(n, l)),
        4 => (near_v6(), 0u8..=140).prop_map(|(n, l)| Pattern::V6(n, l)),
        4 => (near_v6(), 90u8..=128).prop_map(|(n, l)| Pattern::V6(n, l)),
        1 => word.prop_map(Pattern::Name),
        1 => "\\.(b|B|bb)\\.c".prop_map(Pattern::Suffix),
    ]
}

fn any_rules(most: usize) -> impl Strategy<Value = Vec<Rule>> {
    proptest::collection::vec(any_pattern(), 0..most).prop_map(|patterns| {
        let rule = |(at, pattern)| Rule { text: String::new(), origin: origin(at as u32), pattern };
        patterns.into_iter().enumerate().map(rule).collect()
    })
}

fn any_peer() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        near_v4().prop_map(|v4| Ipv4Addr::from_bits(v4).into()),
        near_v6().prop_map(|v6| Ipv6Addr::from_bits(v6).into()),
    ]
}

fn any_names() -> impl Strategy<Value = Names> {
    let name = "[aAx]\\.(b|B|bb)\\.c";
    prop_oneof![
        Just(Names::NotAsked),
        Just(Names::Unavailable),
        proptest::collection::vec(name, 0..3).prop_map(Names::Known),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_compiled_list_answers_as_the_walk(rules in any_rules(24), peer in any_peer(), names in any_names()) {
        let set = AddressSet::build(rules.clone());
        prop_assert_eq!(set.matches(peer, &names), walk(&rules, peer, &names));
        prop_assert_eq!(set.rules(), &rules[..]);
    }

    /// Names may turn a verdict only where `NeedNames` was said; and unavailable names never admit whom some names
    /// would refuse.
    #[test]
    fn asking_for_names_is_exact(
        only_from in proptest::option::of(any_rules(5)),
        no_access in proptest::option::of(any_rules(5)),
        peer in any_peer(),
        names in proptest::collection::vec("[aAx]\\.(b|B|bb)\\.c", 0..3),
    ) {
        let mut world = World::new(Rules { only_from, no_access, ..unlimited() });
        let arrival = Arrival { peer: Peer::Inet((peer, 1).into()), proof: Proof::Handshake };
        let mut admits = |names: Names| {
            world.facts.names = names;
            match world.ask(arrival, at(0)) {
                Verdict::Admit(_) => Some(true),
                Verdict::Refuse(_) => Some(false),
                Verdict::NeedNames => None,
                Verdict::NeedTables => unreachable!("the tables are off"),
            }
        };
        let unasked = admits(Names::NotAsked);
        let unavailable = admits(Names::Unavailable);
        let with_names = admits(Names::Known(names));
        prop_assert!(with_names.is_some() && unavailable.is_some());
        match unasked {
            Some(verdict) => {
                prop_assert_eq!(with_names, Some(verdict));
                prop_assert_eq!(unavailable, Some(verdict));
            }
            None => prop_assert_eq!(unavailable, Some(false)),
        }
    }
}
