//! Sensors and the deny list: reference xinetd §5 with exact expiry, one entry per source, and nobody to be locked out by
//! a forged address.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use world::*;

const MINUTE: Duration = Duration::from_secs(60);

fn entries(world: &World) -> Vec<(Prefix, Option<Duration>)> {
    world.host.denied.iter().map(|(network, ban)| (network, ban.until)).collect()
}

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
    assert_eq!(world.host.denied.expire(at(60_000).mono), [ip("127.0.0.7").into()]);
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
        assert_eq!(entries(&world), [(ip("192.0.2.7").into(), None)]);
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
    assert_eq!(entries(&world), [(ip("127.0.0.1").into(), None)]);
    for denial in [Denial::Never, Denial::For(Duration::ZERO)] {
        let mut world = sensor(denial);
        assert_eq!(hit(&mut world, stream("192.0.2.77"), at(0)), SensorHit::Never);
        assert!(world.host.denied.is_empty());
    }
}

#[test]
fn protection_beats_a_denial_that_is_older() {
    let mut world = World::new(unlimited());
    world.host.denied.deny(ip("192.0.2.1"), Ban::by_hand(None, "")).unwrap();
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
        let arrival = Arrival { peer: Peer::Inet((peer(n), 1).into()), proof: Proof::Handshake };
        let hit = hit(&mut world, arrival, at(u64::from(n)));
        assert!(matches!(hit, SensorHit::Denied { .. }), "{n}: {hit:?}");
    }
    assert_eq!(hit(&mut world, stream("192.0.2.1"), at(59_999)), SensorHit::Full);
    assert_eq!(hit(&mut world, stream("10.0.0.1"), at(59_999)), SensorHit::AlreadyDenied);
    assert!(matches!(hit(&mut world, stream("192.0.2.1"), at(60_000)), SensorHit::Denied { .. }));
    assert_eq!(hit(&mut world, stream("192.0.2.2"), at(60_000)), SensorHit::Full);
    assert_eq!(world.host.denied.len(), 10_240);
    // Nobody's release goes untold.
    assert_eq!(world.host.denied.next_expiry(), Some(Duration::ZERO));
    assert_eq!(world.host.denied.expire(at(60_000).mono), [peer(0).into()]);
    world.host.denied.clear();
    assert!(world.host.denied.is_empty());
    assert_eq!(world.host.denied.next_expiry(), None);
}

#[test]
fn an_entry_made_by_hand_is_changed_by_hand_only() {
    let mut world = sensor(Denial::Forever);
    world.host.denied.deny(ip("192.0.2.1"), Ban::by_hand(Some(at(10_000).mono), "")).unwrap();
    assert_eq!(hit(&mut world, stream("192.0.2.1"), at(0)), SensorHit::AlreadyDenied);
    assert_eq!(world.host.denied.until(ip("::ffff:192.0.2.1")), Some(Some(at(10_000).mono)));
    world.host.denied.deny(ip("192.0.2.1"), Ban::by_hand(None, "")).unwrap();
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
                    world.host.denied.deny(peer(n), Ban::by_hand(until, "")).unwrap();
                    model.retain(|entry| entry.0 != peer(n));
                    model.push((peer(n), until, None));
                }
                Step::Remove(n) => {
                    let there = model.iter().any(|entry| entry.0 == peer(n));
                    prop_assert_eq!(world.host.denied.remove(peer(n)), there);
                    model.retain(|entry| entry.0 != peer(n));
                }
                Step::Expire => {
                    let mut gone: Vec<Prefix> = world.host.denied.expire(now.mono);
                    gone.sort();
                    let mut expected: Vec<Prefix> = model
                        .iter()
                        .filter(|entry| entry.1.is_some_and(|end| end <= now.mono))
                        .map(|entry| entry.0.into())
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
}
