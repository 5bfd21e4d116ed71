//! starts_per_minute and source_starts_per_minute: inetd's numbers, without its off-switch.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;
use world::*;

fn minute(service: Option<u32>, source: Option<u32>) -> World {
    World::new(Rules { starts_per_minute: service, source_starts_per_minute: source, ..unlimited() })
}

#[test]
fn a_source_alone_has_exactly_its_starts() {
    for mut world in [minute(Some(5), None), minute(None, Some(5))] {
        assert_eq!(admitted(&mut world, many("192.0.2.1", 50), at(0)), 5);
        assert_eq!(admitted(&mut world, many("192.0.2.1", 50), at(59_999)), 0);
        assert_eq!(admitted(&mut world, many("192.0.2.1", 50), at(60_000)), 5, "a minute later");
    }
}

#[test]
fn a_flood_of_one_source_does_not_keep_others_out() {
    let mut world = minute(Some(10), None);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 100), at(0)), 10);
    assert_eq!(world.cause("192.0.2.1", at(1)), Some(Cause::SourceShare));
    assert_eq!(admitted(&mut world, many("192.0.2.2", 100), at(2)), 5, "its share of ten");
    assert_eq!(admitted(&mut world, many("192.0.2.3", 100), at(3)), 3);
}

#[test]
fn when_all_are_within_their_share_the_listener_rests_until_there_is_room() {
    let mut world = minute(Some(3), None);
    for (n, peer) in ["192.0.2.1", "192.0.2.2", "192.0.2.3"].into_iter().enumerate() {
        assert_eq!(world.cause(peer, at(n as u64 * 1000)), None);
    }
    let refusal = refusal(world.ask(stream("192.0.2.4"), at(5000)));
    assert_eq!((refusal.cause, refusal.rest), (Cause::ServiceMinute, Some(at(60_000).mono)));
    assert_eq!(world.cause("192.0.2.4", at(60_000)), None);
}

#[test]
fn a_server_that_accepts_by_itself_waits_for_room() {
    let mut world = minute(Some(2), Some(1));
    let mut ask = |now: Now| decide_wait(&world.rules, &world.state, &mut world.host, &world.facts, &now);
    assert!(matches!(ask(at(0)), WaitVerdict::Start(_)));
    assert!(matches!(ask(at(10)), WaitVerdict::Start(_)), "no source is known");
    let WaitVerdict::Hold { reason: Reason::Rate, until } = ask(at(20)) else { panic!("started") };
    assert_eq!(until, at(60_000).mono);
    assert!(matches!(ask(at(60_000)), WaitVerdict::Start(_)));
}

#[test]
fn nobody_uses_up_anothers_starts_by_a_forged_address() {
    let mut world = minute(Some(100), Some(1));
    for _ in 0..50 {
        assert_eq!(cause(world.ask(datagram("192.0.2.1"), at(0))), None);
    }
    assert_eq!(world.cause("192.0.2.1", at(1)), None);
}

#[test]
fn who_is_refused_otherwise_is_not_counted() {
    let mut world = World::new(Rules {
        starts_per_minute: Some(2),
        no_access: Some(list("192.0.2.9", 1)),
        ..unlimited()
    });
    assert_eq!(admitted(&mut world, many("192.0.2.9", 20), at(0)), 0);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 20), at(0)), 2);
}

/// The most starts that a service of this number can have in a minute, by those who come one after the other. While it is not
/// full anybody is served, which is `limit` starts. After that a source has at most its share, and the share of the k-th that
/// is served so is a k-th of the number at most, since k sources are there. Beyond `limit` sources everybody has a whole share.
fn most(limit: u32) -> u32 {
    limit + (1..=limit).map(|k| limit / k).sum::<u32>()
}

proptest! {
    /// In any minute: nobody above the limit of a source, a service within `most`, and who has had nothing is refused only
    /// when all together, each within an equal share, fill the service.
    #[test]
    fn within_the_numbers(
        events in traffic(),
        service in proptest::option::of(1u32..40),
        per_source in proptest::option::of(1u32..10),
    ) {
        let mut world = minute(service, per_source);
        let mut clock = 0;
        let mut starts: Vec<(u64, u8)> = Vec::new();
        for (gap, who) in events {
            clock += gap;
            let peer = source(who).to_string();
            let verdict = world.cause(&peer, at(clock));
            starts.retain(|(when, _)| clock - when < 60_000);
            let mut had: HashMap<u8, u32> = HashMap::new();
            for (_, who) in &starts {
                *had.entry(*who).or_default() += 1;
            }
            let mine = had.get(&who).copied().unwrap_or(0);
            match verdict {
                None => {
                    prop_assert!(per_source.is_none_or(|limit| mine < limit));
                    prop_assert!(service.is_none_or(|limit| (starts.len() as u32) < most(limit)));
                    starts.push((clock, who));
                }
                Some(Cause::SourceMinute) => prop_assert_eq!(Some(mine), per_source),
                Some(Cause::SourceShare) => prop_assert!(mine > 0),
                Some(Cause::ServiceMinute) => {
                    let limit = service.unwrap();
                    let sources = had.len() as u32 + u32::from(mine == 0);
                    let share = (limit / sources).max(1);
                    let within: u32 = had.values().map(|n| (*n).min(share)).sum();
                    prop_assert!(within >= limit);
                }
                Some(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// Whatever came before: after a minute of silence everybody is served again.
    #[test]
    fn nothing_lasts_longer_than_a_minute(events in traffic(), limit in 1u32..10) {
        let mut world = minute(Some(limit), Some(limit));
        let mut clock = 0;
        for (gap, who) in events {
            clock += gap;
            let _ = world.cause(&source(who).to_string(), at(clock));
        }
        prop_assert_eq!(world.cause("198.51.100.1", at(clock + 60_000)), None);
    }

    /// The explanation agrees, and changes nothing.
    #[test]
    fn the_explanation_agrees(events in traffic(), service in 1u32..10, per_source in 1u32..6) {
        let mut world = minute(Some(service), Some(per_source));
        let mut clock = 0;
        for (gap, who) in events {
            clock += gap;
            let peer = source(who).to_string();
            let checks = world.explain(stream(&peer), at(clock));
            let refused = checks.iter().any(|check| check.outcome == Outcome::Refuse);
            prop_assert_eq!(world.cause(&peer, at(clock)).is_some(), refused);
        }
    }
}

#[test]
fn a_moment_is_not_a_minute() {
    let mut world = minute(Some(1), None);
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
    let refusal = refusal(world.ask(stream("192.0.2.2"), at(1)));
    assert_eq!(refusal.rest, Some(at(0).mono + Duration::from_secs(60)));
}

/// What is handed over to another version of the process counts there as it did here; of too many the newest are.
#[test]
fn starts_that_were_handed_over_count() {
    let mut world = minute(Some(4), Some(2));
    assert_eq!(admitted(&mut world, many("192.0.2.1", 5), at(0)), 2);
    assert_eq!(admitted(&mut world, many("2001:db8::1", 1), at(30_000)), 1);
    let saved = world.state.save_starts(10);
    assert_eq!(saved.len(), 3);
    world.state = ServiceState::restored(&world.state.save_rate(), &saved);
    assert_eq!(world.state.starts_in_the_minute(&at(30_000)), 3);
    assert_eq!(world.cause("192.0.2.1", at(31_000)), Some(Cause::SourceMinute));
    assert_eq!(admitted(&mut world, many("2001:db8::2", 5), at(31_000)), 1, "the same /64");
    assert_eq!(admitted(&mut world, many("192.0.2.1", 5), at(60_000)), 2, "a minute later");
    let newest = world.state.save_starts(1);
    assert_eq!(newest, [(at(60_000).mono, Some("192.0.2.1".parse().unwrap()))]);
}
