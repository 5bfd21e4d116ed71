//! Stream services with `wait = yes`: started or held, never dead (reference xinetd §3.3).

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::time::Duration;
use world::*;

fn ask(world: &mut World, now: Now) -> WaitVerdict {
    let World { rules, state, host, facts } = world;
    decide_wait(rules, state, host, facts, &now)
}

fn held(verdict: WaitVerdict) -> (Reason, Duration) {
    match verdict {
        WaitVerdict::Hold { reason, until } => (reason, until - at(0).mono),
        WaitVerdict::Start(_) => panic!("started"),
    }
}

fn started(verdict: WaitVerdict) -> Seat {
    match verdict {
        WaitVerdict::Start(seat) => seat,
        other => panic!("{other:?}"),
    }
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_start_holds_an_instance_until_the_server_ends() {
    let mut world = World::new(Rules { instances: Some(1), ..unlimited() });
    let seat = started(ask(&mut world, at(0)));
    assert_eq!((world.state.running(), world.state.sources(), world.host.running()), (1, 0, 1));
    assert_eq!(held(ask(&mut world, at(0))), (Reason::ServiceLimit, seconds(5)));
    drop(seat);
    let _again = started(ask(&mut world, at(0)));
}

#[test]
fn load_and_limits_are_asked_again_soon() {
    let mut world = World::new(Rules { max_load: Some(1.0), ..unlimited() });
    world.facts.load = Some(1.0);
    assert_eq!(held(ask(&mut world, at(0))), (Reason::Load, seconds(5)));
    world.facts.load = Some(0.5);
    let _seat = started(ask(&mut world, at(5000)));
    world.host.process_limit = Some(1);
    assert_eq!(held(ask(&mut world, at(0))), (Reason::ProcessLimit, seconds(5)));
    let mut world = World::new(Rules { instances: Some(0), ..unlimited() });
    assert_eq!(held(ask(&mut world, at(0))), (Reason::ServiceLimit, seconds(600)), "only a reload helps");
}

#[test]
fn hours_are_slept_through_in_bounded_steps() {
    for (windows, minute, expected) in [
        (vec![(725, 730)], 720, 240), // to the minute before the opening
        (vec![(725, 730)], 723, 60),
        (vec![(725, 730)], 724, 5),
        (vec![(725, 730)], 731, 600), // tomorrow; the clock may be set meanwhile
        (vec![(0, 1)], 1439, 5),
        (vec![], 720, 600),
    ] {
        let mut world = World::new(Rules { windows: Some(windows.clone()), ..unlimited() });
        let now = Now { minute, ..at(0) };
        assert_eq!(held(ask(&mut world, now)), (Reason::Time, seconds(expected)), "{windows:?} at {minute}");
    }
}

#[test]
fn a_server_that_ends_without_accepting_is_held_when_the_rate_trips_and_comes_back() {
    for closes in [false, true] {
        let mut world = World::new(Rules { cps: (3, 10), overload_closes: closes, ..Rules::default() });
        for _ in 0..3 {
            drop(started(ask(&mut world, at(0))));
        }
        assert_eq!(held(ask(&mut world, at(0))), (Reason::Rate, seconds(10)));
        assert_eq!(world.state.rate_view(&at(0)).state, if closes { "closed" } else { "paused" });
        assert_eq!(held(ask(&mut world, at(4000))), (Reason::Rate, seconds(10)), "asked too early");
        assert_eq!(world.state.deadline(), Some(at(10_000).mono));
        assert_eq!(world.tick(at(10_000)), Some(RateChange::Resumed));
        drop(started(ask(&mut world, at(10_000))));
    }
}

#[test]
fn addresses_are_the_filters_business() {
    let mut world = World::new(Rules { only_from: Some(Vec::new()), ..unlimited() });
    drop(started(ask(&mut world, at(0))));
}

proptest! {
    /// Whoever asks again at the moment he was told, and keeps the clock, is let in within a bounded time.
    #[test]
    fn a_hold_always_ends(
        start in 0u16..1440, length in 0u16..60, minute in 0u16..1440, limit in 1u32..5, wait in 0u32..30,
        closes in any::<bool>(), tries in 0usize..8,
    ) {
        let windows = Some(vec![(start, (start + length).min(1439))]);
        let mut world = World::new(Rules { cps: (limit, wait), overload_closes: closes, windows, ..Rules::default() });
        let clock = |ms: u64| Now { minute: ((u64::from(minute) + ms / 60_000) % 1440) as u16, ..at(ms) };
        for _ in 0..tries {
            let _ = ask(&mut world, clock(0));
        }
        let mut ms = 0;
        for _ in 0..400 {
            let _ = world.tick(clock(ms));
            match ask(&mut world, clock(ms)) {
                WaitVerdict::Start(_) => {
                    // Not long after the opening either.
                    let opened = (0..=1440u64).map(|m| m * 60_000).find(|&m| {
                        schedule::is_open(world.rules.rules().windows.as_deref().unwrap(), clock(m).minute)
                    });
                    prop_assert!(ms <= opened.unwrap() + 60_000 + 1000 * u64::from(wait), "opened late, at {}", ms);
                    return Ok(());
                }
                WaitVerdict::Hold { until, .. } => {
                    prop_assert!(until > at(ms).mono, "asked again at once");
                    ms = (until - at(0).mono).as_millis() as u64;
                }
            }
        }
        prop_assert!(false, "held for ever");
    }
}
