//! The order of the checks, the limits, seats, sensors and the deny list: reference xinetd §3, §5, §6.2.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use world::*;

const MINUTE: Duration = Duration::from_secs(60);

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
    world.host.denied.deny(ip("192.0.2.1"), None).unwrap();
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

// Sensors (§5).

fn sensor(denial: Denial) -> World {
    World::new(Rules { sensor: Some(denial), only_from: Some(Vec::new()), ..unlimited() })
}

fn hit(world: &mut World, arrival: Arrival, now: Now) -> SensorHit {
    let refusal = refusal(world.ask(arrival, now));
    assert_eq!(refusal.reason, Reason::Address);
    refusal.sensor.expect("a sensor says what it did")
}

/// Asks an ordinary service that shares the sensor's host.
fn elsewhere(world: &mut World, peer: &str, now: Now) -> Option<Cause> {
    let (rules, state) = (CompiledRules::new(unlimited()), ServiceState::new());
    cause(decide(&rules, &state, &mut world.host, &stream(peer), &Facts::default(), &now, false))
}

#[test]
fn a_hit_denies_the_source_everywhere_and_exactly_as_long_as_said() {
    let mut world = sensor(Denial::For(MINUTE));
    let until = Some(at(60_000).mono);
    // Its own only_from, which is empty here, does not keep anybody from tripping it.
    assert_eq!(hit(&mut world, stream("127.0.0.7"), at(0)), SensorHit::Denied { until });
    assert_eq!(elsewhere(&mut world, "127.0.0.7", at(0)), Some(Cause::Denied));
    assert_eq!(elsewhere(&mut world, "127.0.0.8", at(0)), None);
    assert_eq!(elsewhere(&mut world, "127.0.0.7", at(59_999)), Some(Cause::Denied));
    assert_eq!(elsewhere(&mut world, "127.0.0.7", at(60_000)), None);
    assert_eq!(world.host.denied.next_expiry(), until);
    assert!(world.host.denied.expire(at(59_999).mono).is_empty());
    assert_eq!(world.host.denied.expire(at(60_000).mono), [ip("127.0.0.7")]);
    assert!(world.host.denied.is_empty());
    assert_eq!(world.host.denied.next_expiry(), None);
}

#[test]
fn more_hits_do_not_prolong_it_and_the_first_after_its_end_denies_again() {
    let mut world = sensor(Denial::For(MINUTE));
    let _ = hit(&mut world, stream("127.0.0.7"), at(0));
    for n in 1..=8 {
        assert_eq!(hit(&mut world, stream("127.0.0.7"), at(1000 * n)), SensorHit::AlreadyDenied);
    }
    assert_eq!(elsewhere(&mut world, "127.0.0.7", at(60_000)), None);
    let until = Some(at(120_000).mono);
    assert_eq!(hit(&mut world, stream("127.0.0.7"), at(60_000)), SensorHit::Denied { until });
    assert_eq!(world.host.denied.len(), 1);
    assert!(world.host.denied.expire(at(119_999).mono).is_empty());
}

#[test]
fn a_sensor_that_denies_longer_is_not_dodged_by_touching_a_milder_one_first() {
    let mut world = sensor(Denial::For(MINUTE));
    let _ = hit(&mut world, stream("127.0.0.7"), at(0));
    world.rules = sensor(Denial::For(2 * MINUTE)).rules;
    let until = Some(at(121_000).mono);
    assert_eq!(hit(&mut world, stream("127.0.0.7"), at(1000)), SensorHit::Extended { until });
    world.rules = sensor(Denial::Forever).rules;
    assert_eq!(hit(&mut world, stream("127.0.0.7"), at(2000)), SensorHit::Extended { until: None });
    world.rules = sensor(Denial::For(MINUTE)).rules;
    assert_eq!(hit(&mut world, stream("127.0.0.7"), at(3000)), SensorHit::AlreadyDenied);
    assert!(world.host.denied.expire(at(u64::from(u32::MAX)).mono).is_empty());
    assert_eq!(elsewhere(&mut world, "127.0.0.7", at(u64::from(u32::MAX))), Some(Cause::Denied));
}

#[test]
fn one_entry_whether_it_came_mapped_or_not() {
    for (trips, meets) in [("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "::ffff:192.0.2.7")] {
        let mut world = sensor(Denial::Forever);
        let _ = hit(&mut world, stream(trips), at(0));
        assert_eq!(hit(&mut world, stream(meets), at(0)), SensorHit::AlreadyDenied);
        assert_eq!(elsewhere(&mut world, meets, at(0)), Some(Cause::Denied));
        assert_eq!(world.host.denied.iter().collect::<Vec<_>>(), [(ip("192.0.2.7"), None)]);
        assert!(world.host.denied.remove(ip(meets)));
        assert!(!world.host.denied.remove(ip(meets)));
        assert_eq!(elsewhere(&mut world, trips, at(0)), None);
    }
}

#[test]
fn who_is_never_denied() {
    let mut world = sensor(Denial::Forever);
    world.host.protect = AddressSet::build(list("192.0.2.0/28 ::1", 1));
    for (arrival, expected) in [
        (stream("192.0.2.1"), SensorHit::Protected),
        (stream("::ffff:192.0.2.1"), SensorHit::Protected),
        (stream("::1"), SensorHit::Protected),
        (datagram("198.51.100.1"), SensorHit::Forgeable),
        (datagram("192.0.2.1"), SensorHit::Forgeable),
        // loopback is as good as any unless protected
        (stream("127.0.0.1"), SensorHit::Denied { until: None }),
    ] {
        assert_eq!(hit(&mut world, arrival, at(0)), expected, "{arrival:?}");
    }
    assert_eq!(world.host.denied.iter().collect::<Vec<_>>(), [(ip("127.0.0.1"), None)]);
    for denial in [Denial::Never, Denial::For(Duration::ZERO)] {
        let mut world = sensor(denial);
        assert_eq!(hit(&mut world, stream("192.0.2.77"), at(0)), SensorHit::Never);
        assert!(world.host.denied.is_empty());
    }
}

#[test]
fn protection_beats_a_denial_that_is_older() {
    let mut world = World::new(unlimited());
    world.host.denied.deny(ip("192.0.2.1"), None).unwrap();
    assert_eq!(world.cause("::ffff:192.0.2.1", at(0)), Some(Cause::Denied));
    world.host.protect = AddressSet::build(list("192.0.2.1", 1));
    assert_eq!(world.cause("::ffff:192.0.2.1", at(0)), None);
}

#[test]
fn what_the_earlier_checks_refuse_does_not_trip() {
    let mut world =
        World::new(Rules { sensor: Some(Denial::Forever), windows: Some(vec![(0, 1)]), ..unlimited() });
    let refusal = refusal(world.ask(stream("192.0.2.1"), at(0)));
    assert_eq!((refusal.cause, refusal.sensor), (Cause::Time, None));
    assert!(world.host.denied.is_empty());
}

#[test]
fn a_denied_source_at_a_sensor_is_refused_as_denied() {
    let mut world = sensor(Denial::For(MINUTE));
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::Sensor));
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::Denied));
}

#[test]
fn the_list_is_bounded_and_what_has_expired_makes_room() {
    let mut world = sensor(Denial::For(MINUTE));
    let peer = |n: u32| IpAddr::from(Ipv4Addr::from_bits((10 << 24) + n));
    for n in 0..10_240u32 {
        let arrival = Arrival { peer: (peer(n), 1).into(), proven: true };
        let hit = hit(&mut world, arrival, at(u64::from(n)));
        assert!(matches!(hit, SensorHit::Denied { .. }), "{n}: {hit:?}");
    }
    assert_eq!(hit(&mut world, stream("192.0.2.1"), at(59_999)), SensorHit::Full);
    assert_eq!(hit(&mut world, stream("10.0.0.1"), at(59_999)), SensorHit::AlreadyDenied);
    assert_eq!(world.host.denied.deny(ip("192.0.2.1"), None), Err(DeniedFull));
    assert_eq!(world.host.denied.deny(ip("10.0.0.5"), None), Ok(()), "no new entry, no room needed");
    assert!(matches!(hit(&mut world, stream("192.0.2.1"), at(60_000)), SensorHit::Denied { .. }));
    assert_eq!(hit(&mut world, stream("192.0.2.2"), at(60_000)), SensorHit::Full);
    assert_eq!(world.host.denied.len(), 10_240);
    // Nobody's release goes untold.
    assert_eq!(world.host.denied.next_expiry(), Some(Duration::ZERO));
    assert_eq!(world.host.denied.expire(at(60_000).mono), [peer(0)]);
    world.host.denied.clear();
    assert!(world.host.denied.is_empty());
    assert_eq!(world.host.denied.next_expiry(), None);
}

#[test]
fn an_entry_made_by_hand_is_changed_by_hand_only() {
    let mut world = sensor(Denial::Forever);
    world.host.denied.deny(ip("192.0.2.1"), Some(at(10_000).mono)).unwrap();
    assert_eq!(hit(&mut world, stream("192.0.2.1"), at(0)), SensorHit::AlreadyDenied);
    assert_eq!(world.host.denied.until(ip("::ffff:192.0.2.1")), Some(Some(at(10_000).mono)));
    world.host.denied.deny(ip("192.0.2.1"), None).unwrap();
    assert_eq!(world.host.denied.until(ip("192.0.2.1")), Some(None));
    assert!(world.host.denied.expire(at(10_000).mono).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Trip(u8, u8),
    Deny(u8, Option<u16>),
    Remove(u8),
    Expire,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, 0u8..4).prop_map(|(n, term)| Step::Trip(n, term)),
        2 => (0u8..6, proptest::option::of(0u16..3000)).prop_map(|(n, ms)| Step::Deny(n, ms)),
        1 => (0u8..6).prop_map(Step::Remove),
        2 => Just(Step::Expire),
        4 => (0u16..1500).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The deny list against a plain vector of (address, end).
    #[test]
    fn the_deny_list_is_a_list(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = sensor(Denial::Never);
        let mut model: Vec<(IpAddr, Option<Duration>, Option<u8>)> = Vec::new();
        let mut ms = 0;
        let peer = |n: u8| IpAddr::from(Ipv4Addr::from([192, 0, 2, n]));
        for step in steps {
            let now = at(ms);
            match step {
                Step::Trip(n, term) => {
                    // Terms of 0 (never), 1 and 2 seconds, and for ever.
                    let denial = match term {
                        3 => Denial::Forever,
                        seconds => Denial::For(Duration::from_secs(seconds.into())),
                    };
                    world.rules = sensor(denial).rules;
                    let _ = hit(&mut world, stream(&peer(n).to_string()), now);
                    let until = (term < 3).then(|| now.mono + Duration::from_secs(term.into()));
                    let live = model.iter().position(|e| e.0 == peer(n) && e.1.is_none_or(|end| now.mono < end));
                    match live.and_then(|at| model.get_mut(at)) {
                        _ if term == 0 => {}
                        Some(entry) if entry.2.is_some_and(|old| term > old) => {
                            *entry = (peer(n), until, Some(term));
                        }
                        Some(_) => {}
                        None => {
                            model.retain(|entry| entry.0 != peer(n));
                            model.push((peer(n), until, Some(term)));
                        }
                    }
                }
                Step::Deny(n, after) => {
                    let until = after.map(|after| now.mono + Duration::from_millis(after.into()));
                    world.host.denied.deny(peer(n), until).unwrap();
                    model.retain(|entry| entry.0 != peer(n));
                    model.push((peer(n), until, None));
                }
                Step::Remove(n) => {
                    let there = model.iter().any(|entry| entry.0 == peer(n));
                    prop_assert_eq!(world.host.denied.remove(peer(n)), there);
                    model.retain(|entry| entry.0 != peer(n));
                }
                Step::Expire => {
                    let mut gone = world.host.denied.expire(now.mono);
                    gone.sort();
                    let mut expected: Vec<IpAddr> = model
                        .iter()
                        .filter(|entry| entry.1.is_some_and(|end| end <= now.mono))
                        .map(|entry| entry.0)
                        .collect();
                    expected.sort();
                    prop_assert_eq!(gone, expected);
                    model.retain(|entry| entry.1.is_none_or(|end| now.mono < end));
                }
                Step::Wait(time) => ms += u64::from(time),
            }
            for n in 0..6 {
                let denied = model.iter().any(|e| e.0 == peer(n) && e.1.is_none_or(|end| at(ms).mono < end));
                prop_assert_eq!(world.host.denied.contains(peer(n), at(ms).mono), denied, "{} at {}", n, ms);
            }
            prop_assert_eq!(world.host.denied.len(), model.len());
            prop_assert_eq!(world.host.denied.next_expiry(), model.iter().filter_map(|entry| entry.1).min());
        }
    }

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
