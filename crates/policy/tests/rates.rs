//! When cps trips: the rows of reference xinetd §6.1, and xinetd's algorithm as a plain model.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use world::*;

#[test]
fn a_burst_of_three_passes_and_the_fourth_trips() {
    for mut world in [rated(3, 2), closing(3, 2)] {
        assert_eq!(admitted(&mut world, many("192.0.2.1", 3), at(0)), 3);
        let refusal = refusal(world.ask(stream("192.0.2.1"), at(0)));
        assert_eq!(refusal.reason.word(), "connections per second");
        assert!(refusal.change.is_some());
    }
}

#[test]
fn the_default_takes_fifty_in_a_burst() {
    let mut world = World::new(Rules::default());
    assert_eq!(admitted(&mut world, many("192.0.2.1", 60), at(0)), 50);
}

#[test]
fn the_clock_is_in_whole_seconds_so_that_two_and_a_half_a_second_trip_a_rate_of_three() {
    for mut world in [rated(3, 2), closing(3, 2)] {
        let served: Vec<bool> = (0..4).map(|n| world.cause("192.0.2.1", at(400 * n)).is_none()).collect();
        assert_eq!(served, [true, true, true, false]);
    }
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut world = rated(0, 0);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 5000), at(0)), 5000);
    assert_eq!(world.state.deadline(), None);
}

#[test]
fn late_in_a_long_window_a_large_burst_passes() {
    let mut world = rated(50, 10);
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 3000), at(40_000)), 50 * 40 + 38);
}

#[test]
fn closing_comes_back_after_the_wait_with_the_window_going_on() {
    let mut world = closing(3, 2);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 3), at(0)), 3);
    let until = at(2000).mono;
    assert_eq!(refusal(world.ask(stream("192.0.2.1"), at(0))).change, Some(RateChange::Closed { until }));
    assert_eq!(world.state.rate_view(&at(0)).state, "closed");
    assert_eq!(world.state.deadline(), Some(until));
    // Others suffer too: that is what closing means.
    assert_eq!(world.cause("192.0.2.2", at(1000)), Some(Cause::ServiceRate));
    assert_eq!(world.tick(at(1999)), None);
    assert_eq!(world.tick(at(2000)), Some(RateChange::Resumed));
    assert_eq!((world.state.deadline(), world.tick(at(2000))), (None, None));
    // 4 counted before, 2 seconds on: 5, 6 and 7 make 3 per second, 8 makes 4.
    assert_eq!(admitted(&mut world, many("192.0.2.1", 4), at(2000)), 3);
}

#[test]
fn a_reload_keeps_the_stop_and_running_instances_stay_counted_over_it() {
    let mut world = closing(2, 5);
    let _first = seat(world.ask(stream("192.0.2.1"), at(0)));
    let _second = seat(world.ask(stream("192.0.2.1"), at(0)));
    assert!(refusal(world.ask(stream("192.0.2.1"), at(0))).change.is_some());
    let rules = Rules { cps: (2, 5), overload_closes: true, instances: Some(2), ..Rules::default() };
    world.rules = CompiledRules::new(rules);
    assert_eq!(world.tick(at(1000)), None);
    assert_eq!(world.state.rate_view(&at(1000)).state, "closed");
    assert_eq!(world.tick(at(5000)), Some(RateChange::Resumed));
    // xinetd would start again from 0 here (upstream PR 34)
    assert_eq!(world.cause("192.0.2.1", at(5000)), Some(Cause::ServiceLimit));
}

#[test]
fn a_reload_that_switches_cps_off_ends_the_overload() {
    let mut world = rated(1, 3600);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 5), at(0)), 1);
    world.rules = CompiledRules::new(unlimited());
    assert_eq!(world.tick(at(0)), Some(RateChange::Resumed));
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
}

/// xinetd's algorithm as the reference writes it down.
struct Xinetd {
    limit: i64,
    wait: i64,
    start: i64,
    count: i64,
    closed_until: Option<i64>,
}

impl Xinetd {
    fn serves(&mut self, ms: i64) -> bool {
        if self.closed_until.is_some_and(|until| ms < until) {
            return false;
        }
        self.closed_until = None;
        let now = ms / 1000;
        if self.limit == 0 {
            return true;
        }
        if self.count == 0 {
            self.count = 1;
            self.start = now;
        } else if now - self.start < self.limit {
            self.count += 1;
            if self.count / (now - self.start).max(1) > self.limit {
                self.closed_until = Some(ms + 1000 * self.wait);
                return false;
            }
        } else {
            self.start = now;
            self.count = 1;
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn closing_is_xinetd(limit in 0u32..8, wait in 0u32..6, traffic in traffic()) {
        let mut world = closing(limit, wait);
        let mut model =
            Xinetd { limit: limit.into(), wait: wait.into(), start: 0, count: 0, closed_until: None };
        let mut ms = 0;
        for (gap, n) in traffic {
            ms += gap;
            let _ = world.tick(at(ms));
            let served = world.cause(&source(n).to_string(), at(ms)).is_none();
            prop_assert_eq!(served, model.serves(1_000_000 + ms as i64), "at {}", ms);
        }
    }

    #[test]
    fn until_it_trips_sharing_is_xinetd(limit in 1u32..8, traffic in traffic()) {
        let mut world = rated(limit, 5);
        let mut model = Xinetd { limit: limit.into(), wait: 5, start: 0, count: 0, closed_until: None };
        let mut ms = 0;
        for (gap, n) in traffic {
            ms += gap;
            let served = world.cause(&source(n).to_string(), at(ms)).is_none();
            if !model.serves(1_000_000 + ms as i64) {
                prop_assert!(world.state.rate_view(&at(ms)).state != "open");
                break;
            }
            prop_assert!(served);
        }
    }
}
