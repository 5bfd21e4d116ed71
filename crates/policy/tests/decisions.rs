//! The order of the checks, the limits and the seats: reference xinetd §3, §6.2.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use world::*;

/// A service where every check refuses, so that switching them off one by one shows the order.
fn refused_by_all() -> World {
    let mut world = World::new(Rules {
        cps: (1, 3600),
        max_load: Some(1.0),
        windows: Some(vec![(0, 1)]),
        instances: Some(0),
        per_source: Some(0),
        sensor: None,
        only_from: Some(Vec::new()),
        ..Rules::default()
    });
    world.facts.load = Some(1.0);
    world.host.process_limit = Some(1);
    let other = ServiceState::new();
    let rules = CompiledRules::new(unlimited());
    let taken =
        decide(&rules, &other, &mut world.host, &stream("192.0.2.99"), &Facts::default(), &at(0), false);
    std::mem::forget(seat(taken)); // the host stays full
    world.host.denied.deny(ip("192.0.2.1"), Ban::by_hand(None, "")).unwrap();
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::Load), "the first of a second passes the rate");
    world
}

#[test]
fn the_order_is_xinetds() {
    let mut world = refused_by_all();
    let mut found = Vec::new();
    let now = at(0);
    for _ in 0..8 {
        let refusal = refusal(world.ask(stream("192.0.2.1"), now));
        found.push((refusal.cause, refusal.reason.word()));
        let mut rules = world.rules.rules().clone();
        match refusal.cause {
            Cause::ServiceRate | Cause::SourceRate => rules.cps = (0, 0),
            Cause::Load => rules.max_load = None,
            Cause::Time => rules.windows = None,
            Cause::ServiceLimit => rules.instances = None,
            Cause::PerSourceLimit => rules.per_source = None,
            Cause::ProcessLimit => world.host.process_limit = None,
            Cause::Denied => assert!(world.host.denied.remove(ip("192.0.2.1"))),
            _ => rules.only_from = None,
        }
        world.rules = CompiledRules::new(rules);
    }
    assert_eq!(
        found,
        [
            (Cause::SourceRate, "connections per second"),
            (Cause::Load, "load"),
            (Cause::Time, "time"),
            (Cause::ServiceLimit, "service_limit"),
            (Cause::PerSourceLimit, "per_source_limit"),
            (Cause::ProcessLimit, "process_limit"),
            (Cause::Denied, "address"),
            (Cause::NotInOnlyFrom, "address"),
        ]
    );
    assert_eq!(world.cause("192.0.2.1", now), None);
}

#[test]
fn the_words_of_a_fail_line() {
    let words = [
        (Reason::Address, "address"),
        (Reason::Time, "time"),
        (Reason::Fork, "fork"),
        (Reason::Tls, "tls"),
        (Reason::Program, "program"),
        (Reason::ServiceLimit, "service_limit"),
        (Reason::PerSourceLimit, "per_source_limit"),
        (Reason::ProcessLimit, "process_limit"),
        (Reason::Libwrap, "libwrap"),
        (Reason::Load, "load"),
        (Reason::Rate, "connections per second"),
    ];
    for (reason, word) in words {
        assert_eq!(reason.word(), word);
    }
}

#[test]
fn the_load_refuses_from_the_limit_on_and_only_when_known() {
    for (limit, load, refused) in [
        (Some(2.5), Some(2.49), false),
        (Some(2.5), Some(2.5), true),
        (Some(2.5), Some(9.0), true),
        (Some(2.5), None, false),
        (Some(2.5), Some(f64::NAN), false),
        (None, Some(99.0), false),
    ] {
        let mut world = World::new(Rules { max_load: limit, ..unlimited() });
        world.facts.load = load;
        assert_eq!(world.cause("192.0.2.1", at(0)).is_some(), refused, "{limit:?} {load:?}");
    }
}

#[test]
fn hours_are_inclusive_at_both_ends() {
    let mut world = World::new(Rules { windows: Some(vec![(480, 720), (800, 800)]), ..unlimited() });
    for (minute, open) in [(479, false), (480, true), (720, true), (721, false), (800, true), (801, false)] {
        let now = Now { minute, ..at(0) };
        assert_eq!(world.cause("192.0.2.1", now), (!open).then_some(Cause::Time), "minute {minute}");
    }
}

#[test]
fn seats_are_counted_and_given_back() {
    let mut world = World::new(Rules { instances: Some(3), per_source: Some(2), ..unlimited() });
    world.host.process_limit = Some(4);
    let first = seat(world.ask(stream("192.0.2.1"), at(0)));
    let _second = seat(world.ask(stream("::ffff:192.0.2.1"), at(0)));
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::PerSourceLimit));
    let _third = seat(world.ask(stream("192.0.2.2"), at(0)));
    assert_eq!((world.state.running(), world.state.sources(), world.host.running()), (3, 2, 3));
    assert_eq!(world.cause("192.0.2.3", at(0)), Some(Cause::ServiceLimit));
    drop(first);
    assert_eq!((world.state.running(), world.state.sources(), world.host.running()), (2, 2, 2));
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
}

#[test]
fn limits_of_zero_refuse_everybody_except_the_process_limit() {
    let mut world = World::new(Rules { instances: Some(0), ..unlimited() });
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::ServiceLimit));
    let mut world = World::new(Rules { per_source: Some(0), ..unlimited() });
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::PerSourceLimit));
    let mut world = World::new(unlimited());
    world.host.process_limit = Some(0);
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
}

#[test]
fn the_process_limit_spans_services() {
    let mut world = World::new(unlimited());
    world.host.process_limit = Some(1);
    let _taken = seat(world.ask(stream("192.0.2.1"), at(0)));
    world.state = ServiceState::new(); // another service
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::ProcessLimit));
}

#[test]
fn counters_outlive_a_reload_and_seats_outlive_a_service() {
    let mut world = World::new(Rules { per_source: Some(1), ..unlimited() });
    let old = seat(world.ask(stream("192.0.2.1"), at(0)));
    let networks = Rules { per_source: Some(1), per_source_prefix: (24, 64), ..unlimited() };
    world.rules = CompiledRules::new(networks);
    assert_eq!(
        world.cause("192.0.2.200", at(0)),
        Some(Cause::PerSourceLimit),
        "counted by the new prefix at once"
    );
    let _other = seat(world.ask(stream("198.51.100.1"), at(0)));
    assert_eq!(world.cause("192.0.2.200", at(0)), Some(Cause::PerSourceLimit));
    drop(old);
    let last = seat(world.ask(stream("192.0.2.200"), at(0)));
    world.state = ServiceState::new(); // the service is removed while its server still runs
    drop(last);
    assert_eq!(world.host.running(), 1);
}

#[test]
fn ipv6_sources_are_networks_of_64_bits() {
    let mut world = World::new(Rules { per_source: Some(1), ..unlimited() });
    let _first = seat(world.ask(stream("2001:db8::1"), at(0)));
    assert_eq!(world.cause("2001:db8::2", at(0)), Some(Cause::PerSourceLimit));
    assert_eq!(world.cause("2001:db8:0:1::2", at(0)), None);
}

#[test]
fn strangers_behind_a_translator_are_sources_of_their_own() {
    for of_one in ["64:ff9b::192.0.2.1", "64:ff9b:1::192.0.2.1", "2001:0:c000:201::1"] {
        let mut world = World::new(Rules { per_source: Some(1), ..unlimited() });
        let _first = seat(world.ask(stream(of_one), at(0)));
        assert_eq!(world.cause(of_one, at(0)), Some(Cause::PerSourceLimit), "{of_one}");
        let other = format!("{}2", of_one.strip_suffix('1').expect("a 1"));
        assert_eq!(world.cause(&other, at(0)), None, "{other}");
    }
}

#[test]
fn a_datagram_occupies_nothing_and_is_checked_all_the_same() {
    let mut world =
        World::new(Rules { instances: Some(1), only_from: Some(list("192.0.2.1", 1)), ..unlimited() });
    let mut ask = |peer| {
        let World { rules, state, host, facts } = &mut world;
        decide_datagram(rules, state, host, &datagram(peer), facts, &at(0), false)
    };
    let first = seat(ask("192.0.2.1"));
    let second = seat(ask("192.0.2.1"));
    assert_eq!(cause(ask("192.0.2.2")), Some(Cause::NotInOnlyFrom));
    assert_eq!((world.state.running(), world.host.running()), (0, 0));
    drop((first, second));
    assert_eq!((world.state.running(), world.host.running()), (0, 0));
}

#[test]
fn what_changed_while_the_names_were_looked_up_is_checked_again() {
    let rules = Rules { instances: Some(1), only_from: Some(list(".example.org", 1)), ..unlimited() };
    let mut world = World::new(rules);
    assert!(matches!(world.ask(stream("192.0.2.1"), at(0)), Verdict::NeedNames));
    assert!(matches!(world.ask(stream("192.0.2.2"), at(0)), Verdict::NeedNames));
    assert_eq!(world.state.running(), 0, "waiting for names holds nothing");
    world.facts.names = known(&["a.example.org"]);
    let _first = seat(world.resume(stream("192.0.2.1"), at(1)));
    assert_eq!(cause(world.resume(stream("192.0.2.2"), at(1))), Some(Cause::ServiceLimit));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever comes and goes, counts are those of the seats that are held, under every prefix.
    #[test]
    fn counts_are_the_seats_held(
        moves in proptest::collection::vec((0u8..8, any::<bool>(), prop_oneof![Just(32u8), Just(30), Just(31)]), 1..80),
        instances in 1u32..6,
        per_source in 1u32..4,
    ) {
        let mut world = World::new(unlimited());
        let mut held: Vec<(u8, Seat)> = Vec::new();
        for (n, leaves, prefix) in moves {
            if leaves {
                if !held.is_empty() {
                    drop(held.swap_remove(usize::from(n) % held.len()));
                }
            } else {
                world.rules = CompiledRules::new(Rules {
                    instances: Some(instances),
                    per_source: Some(per_source),
                    per_source_prefix: (prefix, 64),
                    ..unlimited()
                });
                let group = |n: u8| n >> (32 - prefix);
                let same = held.iter().filter(|(other, _)| group(*other) == group(n)).count() as u32;
                let expected = if held.len() as u32 >= instances {
                    Some(Cause::ServiceLimit)
                } else if same >= per_source {
                    Some(Cause::PerSourceLimit)
                } else {
                    None
                };
                match world.ask(stream(&format!("192.0.2.{n}")), at(0)) {
                    Verdict::Admit(seat) => {
                        prop_assert_eq!(expected, None);
                        held.push((n, seat));
                    }
                    other => prop_assert_eq!(cause(other), expected),
                }
            }
            prop_assert_eq!(world.state.running() as usize, held.len());
            prop_assert_eq!(world.host.running() as usize, held.len());
        }
        held.clear();
        prop_assert_eq!((world.state.running(), world.state.sources(), world.host.running()), (0, 0, 0));
    }
}

/// hosts.allow and hosts.deny come last (reference xinetd §3.1, step 13): whoever another check refuses is refused by it,
/// and nobody asks the tables for him.
#[test]
fn the_tables_come_last_and_take_one_seat() {
    let limited = Rules { no_access: Some(list("192.0.2.1", 1)), instances: Some(1), ..unlimited() };
    let mut world = World::new(limited);
    world.facts.tables = Tables::NotAsked;
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::NoAccess), "not asked for");
    assert!(matches!(world.ask(stream("192.0.2.2"), at(0)), Verdict::NeedTables));
    assert_eq!(world.state.running(), 0, "nothing is held meanwhile");
    let rule = Origin { file: "/etc/hosts.deny".into(), line: 3 };
    world.facts.tables = Tables::Refused(Cause::HostsTables, Some(rule.clone()));
    let Verdict::Refuse(refusal) = world.resume(stream("192.0.2.2"), at(0)) else { panic!("refused") };
    assert_eq!(
        (refusal.cause, refusal.reason.word(), refusal.rule),
        (Cause::HostsTables, "libwrap", Some(rule))
    );
    world.facts.tables = Tables::Granted;
    let held = seat(world.resume(stream("192.0.2.2"), at(0)));
    assert_eq!(world.state.running(), 1);
    world.facts.tables = Tables::NotAsked;
    assert_eq!(world.cause("192.0.2.3", at(0)), Some(Cause::ServiceLimit), "not asked for");
    drop(held);
}
