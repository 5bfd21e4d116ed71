//! What a tripped rate does: sharing and pausing in place of closing, against a naive limiter, and what a hostile peer may
//! not reach.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use world::*;

#[test]
fn a_flooder_is_refused_and_everybody_else_is_served() {
    let mut world = rated(4, 5);
    assert_eq!(admitted(&mut world, many("203.0.113.1", 4), at(0)), 4);
    let tripped = refusal(world.ask(stream("203.0.113.1"), at(0)));
    assert_eq!(tripped.cause, Cause::SourceRate);
    assert_eq!(tripped.change, Some(RateChange::Throttled { until: at(5000).mono }));
    for ms in (0..5000).step_by(10) {
        assert_eq!(world.cause("203.0.113.1", at(ms)), Some(Cause::SourceRate), "at {ms}");
    }
    for n in 0..4 {
        assert_eq!(world.cause(&format!("192.0.2.{n}"), at(100 + n)), None);
    }
    let view = world.state.rate_view(&at(100));
    assert_eq!((view.state, view.until, view.refused_sources), ("throttled", Some(at(5000).mono), 1));
    assert_eq!(view.share, Some(1));
    assert_eq!(world.tick(at(5000)), Some(RateChange::Resumed));
    assert_eq!(world.cause("203.0.113.1", at(5000)), None);
}

#[test]
fn the_share_is_the_rate_divided_by_the_sources_in_the_window() {
    let mut world = rated(6, 5);
    // 203.0.113.1 six times, 192.0.2.1 once: the share is 3.
    assert_eq!(admitted(&mut world, many("203.0.113.1", 6), at(0)), 6);
    assert_eq!(world.cause("192.0.2.1", at(0)), None, "trips, and is within its share");
    assert_eq!(world.tick(at(0)), Some(RateChange::Throttled { until: at(5000).mono }));
    assert_eq!(world.state.rate_view(&at(0)).share, Some(3));
    assert_eq!(world.cause("203.0.113.1", at(0)), Some(Cause::SourceRate));
    assert_eq!(admitted(&mut world, many("192.0.2.1", 5), at(0)), 2, "three in all");
    assert_eq!(
        world.cause("192.0.2.1", at(4999)),
        Some(Cause::SourceRate),
        "refused until the overload ends"
    );
}

#[test]
fn a_change_that_no_refusal_carries_is_told_at_once_by_tick() {
    let mut world = rated(2, 5);
    assert_eq!(admitted(&mut world, ["203.0.113.1", "203.0.113.1"], at(0)), 2);
    assert_eq!(world.cause("192.0.2.1", at(0)), None);
    assert!(world.state.deadline().is_some_and(|due| due <= at(0).mono));
    assert_eq!(world.tick(at(0)), Some(RateChange::Throttled { until: at(5000).mono }));
    assert_eq!(world.state.deadline(), Some(at(5000).mono));
}

#[test]
fn a_change_that_a_later_one_overtook_is_not_told() {
    let mut world = rated(4, 5);
    assert_eq!(admitted(&mut world, ["203.0.113.1", "203.0.113.1", "203.0.113.1", "192.0.2.1"], at(0)), 4);
    assert_eq!(world.cause("192.0.2.2", at(0)), None, "trips; the change waits for tick");
    assert_eq!(admitted(&mut world, ["192.0.2.3", "192.0.2.4"], at(0)), 2);
    let paused = refusal(world.ask(stream("192.0.2.5"), at(0))).change;
    assert_eq!(paused, Some(RateChange::Paused { until: at(2000).mono }));
    assert_eq!(world.state.deadline(), Some(at(2000).mono));
    assert_eq!(world.tick(at(0)), None, "told now, the older change would open the listener again");
}

#[test]
fn a_crowd_within_its_shares_pauses_the_listener_only_until_there_is_room() {
    let mut world = rated(3, 10);
    assert_eq!(admitted(&mut world, ["192.0.2.1", "192.0.2.2", "192.0.2.3"], at(500)), 3);
    let fourth = refusal(world.ask(stream("192.0.2.4"), at(500)));
    assert_eq!(fourth.cause, Cause::ServiceRate);
    assert_eq!(fourth.change, Some(RateChange::Paused { until: at(2000).mono }));
    assert!(!RateChange::Paused { until: at(2000).mono }.accepts());
    // What was accepted before the listener stopped is turned away and prolongs nothing.
    assert_eq!(admitted(&mut world, many("192.0.2.5", 1000), at(1000)), 0);
    assert_eq!(world.state.deadline(), Some(at(2000).mono));
    assert_eq!(world.state.rate_view(&at(1000)).state, "paused");
    assert_eq!(world.tick(at(2000)), Some(RateChange::Throttled { until: at(10_500).mono }));
    assert_eq!(world.cause("192.0.2.6", at(2000)), None);
    // The pace goes on: the rate is what is served, pause by pause.
    let mut served = 0;
    let mut now = 2000;
    for n in 0u32.. {
        let _ = world.tick(at(now));
        if let Some(due) = world.state.deadline()
            && world.state.rate_view(&at(now)).state == "paused"
        {
            now = (due - at(0).mono).as_millis() as u64;
        }
        if now >= 10_500 {
            break;
        }
        let peer = format!("198.51.{}.{}", n / 250, n % 250);
        served += usize::from(world.cause(&peer, at(now)).is_none());
    }
    // Whole seconds: a window of 3 s takes 3 in its first two seconds and 4 in its last.
    assert!((17..=3 * 9).contains(&served), "{served} in 8.5 seconds at a rate of 3");
    let _ = world.tick(at(now));
    assert_eq!(world.state.rate_view(&at(now)).state, "open");
}

#[test]
fn an_unprefixed_ipv6_network_and_a_mapped_address_are_one_source() {
    let mut world = rated(4, 5);
    let crowd = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:0:ffff::4"];
    assert_eq!(admitted(&mut world, crowd, at(0)), 4);
    assert_eq!(world.cause("2001:db8::5", at(0)), Some(Cause::SourceRate));
    assert_eq!(world.cause("2001:db8:0:1::1", at(0)), None, "the next /64 is another source");

    let mut world = rated(2, 5);
    assert_eq!(admitted(&mut world, ["192.0.2.1", "::ffff:192.0.2.1"], at(0)), 2);
    assert_eq!(world.cause("192.0.2.1", at(0)), Some(Cause::SourceRate));
    assert_eq!(world.cause("::ffff:192.0.2.1", at(1)), Some(Cause::SourceRate));
}

#[test]
fn a_wait_of_zero_still_holds_the_rate() {
    let mut world = rated(3, 0);
    assert_eq!(admitted(&mut world, many("203.0.113.1", 1000), at(0)), 3);
    assert_eq!(world.state.deadline(), Some(at(1000).mono));
}

#[test]
fn the_second_call_after_names_counts_nothing() {
    let rules = Rules { cps: (3, 5), only_from: Some(list(".example.org", 1)), ..Rules::default() };
    let mut world = World::new(rules);
    for _ in 0..3 {
        assert!(matches!(world.ask(stream("192.0.2.1"), at(0)), Verdict::NeedNames));
    }
    world.facts.names = known(&["a.example.org"]);
    for _ in 0..3 {
        let _ = seat(world.resume(stream("192.0.2.1"), at(0)));
    }
    world.facts.names = Names::NotAsked;
    assert_eq!(cause(world.ask(stream("192.0.2.1"), at(0))), Some(Cause::SourceRate));
}

/// Who has waited for a seat was not asked for its names yet: there were none to ask for while there was no seat.
#[test]
fn who_has_waited_for_a_seat_is_asked_for_names() {
    let rules = Rules { instances: Some(1), only_from: Some(list(".example.org", 1)), ..Rules::default() };
    let mut world = World::new(rules);
    world.facts.names = known(&["a.example.org"]);
    let held = seat(world.ask(stream("192.0.2.1"), at(0)));
    world.facts.names = Names::NotAsked;
    assert_eq!(cause(world.ask(stream("192.0.2.2"), at(0))), Some(Cause::ServiceLimit));
    drop(held);
    assert!(matches!(world.resume(stream("192.0.2.2"), at(0)), Verdict::NeedNames));
    world.facts.names = Names::Unavailable;
    assert_eq!(cause(world.resume(stream("192.0.2.2"), at(0))), Some(Cause::NamesUnavailable));
}

#[test]
fn the_status_forgets_an_overload_that_has_run_out() {
    let mut world = rated(1, 5);
    assert_eq!(admitted(&mut world, many("192.0.2.1", 9), at(0)), 1);
    let view = world.state.rate_view(&at(5000));
    assert_eq!((view.state, view.until, view.share), ("open", None, None));
}

// The attacker who knows the code.

/// A /48 is one host's to use: 65 536 networks that each stay small or go just too far.
#[test]
fn many_networks_of_one_attacker_do_not_outrun_the_rate() {
    for per_network in [1usize, 2, 3] {
        let mut world = rated(10, 10);
        let mut served = 0;
        for n in 0..20_000u128 {
            let peer = Ipv6Addr::from_bits((0x2001_0db8 << 96) | (n << 64) | 1).to_string();
            let _ = world.tick(at(0));
            served += admitted(&mut world, many(&peer, per_network), at(0));
        }
        assert!(served <= 22, "{served} served in one second at a rate of 10, {per_network} from each");
    }
}

#[test]
fn who_does_not_fit_into_the_table_shares_one_count() {
    // No trip at first: 4096 sources fill the table within the rate.
    let mut world = rated(6000, 10);
    for n in 0..4096u32 {
        assert_eq!(world.cause(&Ipv4Addr::from_bits((10 << 24) + n).to_string(), at(0)), None);
    }
    for n in 0..1904u32 {
        assert_eq!(world.cause(&Ipv4Addr::from_bits((11 << 24) + n).to_string(), at(0)), None);
    }
    assert_eq!(world.state.rate_view(&at(0)).sources, 4097);
    // The rate trips. Newcomers are above their common share, those in the table are not.
    assert_eq!(world.cause("12.0.0.1", at(0)), Some(Cause::SourceRate));
    assert_eq!(world.cause("12.0.0.2", at(0)), Some(Cause::SourceRate));
    assert_eq!(world.state.rate_view(&at(0)).refused_sources, 1);
    let _ = world.tick(at(10_000));
    assert_eq!(world.cause("12.0.0.2", at(10_000)), None, "and it heals");
}

#[test]
fn one_flooder_cannot_keep_a_quiet_client_out() {
    // One client, one connection every two seconds; one host that connects a thousand times a second for five minutes.
    let mut world = World::new(Rules::default());
    for ms in 0..300_000u64 {
        let _ = world.tick(at(ms));
        let _ = world.ask(stream("203.0.113.1"), at(ms));
        if ms % 2000 == 999 {
            assert_eq!(world.cause("192.0.2.1", at(ms)), None, "at {ms}");
        }
    }
}

/// The limiter written naively: every connection is kept, everything is computed anew each time.
struct Naive {
    limit: u64,
    wait: u64,
    start: u64,
    /// Counted for the service.
    load: u64,
    /// Attempts of each source in the window.
    attempts: HashMap<IpAddr, u64>,
    refused: HashSet<IpAddr>,
    overload_until: Option<u64>,
    paused_until: u64,
}

impl Naive {
    fn new(limit: u64, wait: u64) -> Self {
        let (attempts, refused) = Default::default();
        Naive { limit, wait, start: 0, load: 0, attempts, refused, overload_until: None, paused_until: 0 }
    }

    fn above(&self, source: &IpAddr, second: u64) -> bool {
        let distinct = self.attempts.keys().chain(&self.refused).collect::<HashSet<_>>().len() as u64;
        let share = (self.limit / distinct.max(1)).max(1);
        self.attempts.get(source).copied().unwrap_or(0) / (second - self.start).max(1) > share
    }

    fn too_much(&self, second: u64, load: u64) -> bool {
        load / (second - self.start).max(1) > self.limit
    }

    fn serves(&mut self, source: IpAddr, ms: u64) -> bool {
        let second = ms / 1000;
        if self.overload_until.is_some_and(|until| ms >= until) {
            *self = Naive::new(self.limit, self.wait);
        }
        if ms < self.paused_until || self.refused.contains(&source) {
            return false;
        }
        if self.load == 0 || second - self.start >= self.limit {
            self.start = second;
            self.load = 0;
            self.attempts.clear();
        }
        self.load += 1;
        *self.attempts.entry(source).or_default() += 1;
        if self.overload_until.is_some() && self.above(&source, second) {
            self.refused.insert(source);
            self.load -= 1;
            return false;
        }
        if !self.too_much(second, self.load) {
            return true;
        }
        if self.overload_until.is_none() {
            self.overload_until = Some(ms + 1000 * self.wait.max(1));
            let sources: Vec<IpAddr> = self.attempts.keys().copied().collect();
            let above: Vec<IpAddr> =
                sources.into_iter().filter(|source| self.above(source, second)).collect();
            self.refused.extend(above);
            let rest = self.attempts.iter().filter(|(source, _)| !self.refused.contains(source));
            self.load = rest.map(|(_, count)| count).sum();
        }
        if self.too_much(second, self.load) {
            self.load -= 1;
            // Walk to the first second that takes one more.
            let room = (second + 1..)
                .find(|&later| later - self.start >= self.limit || !self.too_much(later, self.load + 1));
            self.paused_until = (1000 * room.unwrap()).min(self.overload_until.unwrap());
            return false;
        }
        !self.refused.contains(&source)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With ticks or without: a late tick changes no verdict.
    #[test]
    fn sharing_is_the_naive_limiter(
        limit in 1u32..8, wait in 0u32..6, traffic in traffic(), ticks in any::<bool>(),
    ) {
        let mut world = rated(limit, wait);
        let mut model = Naive::new(limit.into(), wait.into());
        let mut ms = 0;
        for (gap, n) in traffic {
            ms += gap;
            if ticks {
                let _ = world.tick(at(ms));
            }
            let served = world.cause(&source(n).to_string(), at(ms)).is_none();
            prop_assert_eq!(served, model.serves(source(n), 1_000_000 + ms), "at {}", ms);
        }
    }

    /// Whatever the peers do: an overload ends W seconds after it began, and then everybody is served again.
    #[test]
    fn overload_always_heals(
        limit in 1u32..8, wait in 0u32..6, closes in any::<bool>(), traffic in traffic(), last in any::<u8>(),
    ) {
        let mut world = if closes { closing(limit, wait) } else { rated(limit, wait) };
        let mut ms = 0;
        let mut ends: Option<Duration> = None;
        for (gap, n) in traffic {
            ms += gap;
            while world.state.deadline().is_some_and(|due| due <= at(ms).mono) {
                let told = world.tick(at(ms));
                prop_assert!(told.is_some(), "a deadline without a change never ends");
                ends = ends.filter(|_| told != Some(RateChange::Resumed));
            }
            let _ = world.ask(stream(&source(n).to_string()), at(ms));
            let view = world.state.rate_view(&at(ms));
            if let (Some(old), Some(new)) = (ends, view.until) {
                prop_assert_eq!(old, new, "prolonged");
            }
            if let Some(until) = view.until {
                prop_assert!(until <= at(ms + 1000 * u64::from(wait.max(1))).mono);
            }
            ends = view.until;
        }
        if let Some(until) = ends {
            let end = at((until - at(0).mono).as_millis() as u64);
            let mut told = None;
            while world.state.deadline().is_some_and(|due| due <= end.mono) {
                told = world.tick(end);
            }
            prop_assert_eq!(told, Some(RateChange::Resumed));
            if !closes {
                prop_assert_eq!(world.cause(&source(last).to_string(), end), None);
            }
        }
    }

    /// The changes tell the listener's whole story: whoever only follows them knows whether to accept.
    #[test]
    fn the_changes_are_the_state(limit in 1u32..6, wait in 0u32..5, closes in any::<bool>(), traffic in traffic()) {
        let mut world = if closes { closing(limit, wait) } else { rated(limit, wait) };
        let mut last: Option<RateChange> = None;
        let mut ms = 0;
        for (gap, n) in traffic {
            ms += gap;
            while world.state.deadline().is_some_and(|due| due <= at(ms).mono) {
                last = world.tick(at(ms)).or(last);
            }
            if let Verdict::Refuse(refusal) = world.ask(stream(&source(n).to_string()), at(ms)) {
                last = refusal.change.or(last);
            }
            while world.state.deadline().is_some_and(|due| due <= at(ms).mono) {
                last = world.tick(at(ms)).or(last);
            }
            let expected = match last {
                None | Some(RateChange::Resumed) => "open",
                Some(RateChange::Throttled { .. }) => "throttled",
                Some(RateChange::Paused { .. }) => "paused",
                Some(RateChange::Closed { .. }) => "closed",
            };
            prop_assert_eq!(world.state.rate_view(&at(ms)).state, expected);
        }
    }

    /// A source that connects once in two seconds is never the one that is above its share.
    #[test]
    fn a_quiet_source_is_never_singled_out(limit in 1u32..8, wait in 1u32..6, traffic in traffic()) {
        let mut world = rated(limit, wait);
        let (mut ms, mut quiet_since) = (0, 0);
        for (gap, n) in traffic {
            ms += gap;
            let _ = world.ask(stream(&source(n).to_string()), at(ms));
            if ms >= quiet_since + 2000 {
                quiet_since = ms;
                prop_assert_ne!(world.cause("198.51.100.1", at(ms)), Some(Cause::SourceRate));
            }
        }
    }

    /// What is served stays within twice the rate, whoever asks: once before the overload and once during it.
    #[test]
    fn served_stays_within_the_rate(limit in 1u32..8, wait in 1u32..6, traffic in traffic()) {
        let mut world = rated(limit, wait);
        let (mut ms, mut served) = (0u64, 0u64);
        for (gap, n) in traffic {
            ms += gap.min(900);
            served += u64::from(world.cause(&source(n).to_string(), at(ms)).is_none());
            // A window counts at least one second, an overload begins a second count.
            let seconds = ms / 1000 + 1;
            prop_assert!(served <= 4 * (u64::from(limit) + 1) * seconds, "{} in {} s", served, seconds);
        }
    }
}
