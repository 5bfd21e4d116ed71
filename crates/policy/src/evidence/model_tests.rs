//! The book held against a plain model: a list of pieces with their times, summed anew at each question.

use super::*;
use crate::denied::{Ban, Denied};
use crate::prefix::Prefix;
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn piece(source: &str, grade: Grade) -> Evidence<'static> {
    let kind = if grade == Grade::Forgeable { Kind::Scan } else { Kind::Login };
    Evidence { source: source.parse().unwrap(), grade, kind, service: "s1", count: 1, proxied: false }
}

#[test]
fn five_failed_logins_within_minutes_are_enough_and_spread_over_hours_they_are_not() {
    let mut book = Scorebook::default();
    let bad = piece("192.0.2.1", Grade::Authenticated);
    for n in 0..4 {
        assert!(matches!(book.weigh(&bad, SECOND * n), Outcome::Scored(_)), "{n}");
    }
    let Outcome::Due(due) = book.weigh(&bad, SECOND * 4) else { panic!("not enough") };
    assert_eq!(due.why, "5 failed logins, the last at s1");
    assert_eq!(book.sentence(&due, 0, SECOND * 4), Sentence::Ban(SECOND * 3600, 1));
    for n in 0..200 {
        let slow = piece("192.0.2.2", Grade::Authenticated);
        assert!(matches!(book.weigh(&slow, SECOND * 1200 * n), Outcome::Scored(_)), "{n}");
    }
}

#[test]
fn what_may_be_forged_is_never_enough_and_makes_nothing_else_enough() {
    let mut book = Scorebook::default();
    let forged = piece("192.0.2.1", Grade::Forgeable);
    let mut suspected = 0;
    for _ in 0..100_000 {
        match book.weigh(&forged, SECOND) {
            Outcome::Scored(_) => {}
            Outcome::Suspected(_) => suspected += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(suspected, 1, "reported once");
    for _ in 0..4 {
        let told = book.weigh(&piece("192.0.2.1", Grade::Authenticated), SECOND);
        assert!(matches!(told, Outcome::Scored(_)), "{told:?}");
    }
}

/// A source's pieces as they came, and what was said of it.
#[derive(Default)]
struct Plain {
    pieces: Vec<(Duration, f64)>,
    authenticated: bool,
    strikes: u32,
    struck_until: Duration,
}

impl Plain {
    fn level(&self, now: Duration, half_life: Duration) -> f64 {
        let one = |(at, share): &(Duration, f64)| {
            share * (-(now - *at).as_secs_f64() / half_life.as_secs_f64()).exp2()
        };
        self.pieces.iter().map(one).sum()
    }
}

/// Sources of three subscribers, each in more than one form.
fn source(n: u8) -> IpAddr {
    let text = [
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "192.0.2.2",
        "2001:db8::1",
        "2001:db8::ffff",
        "2001:db8:0:1::1",
        "64:ff9b::1",
        "64:ff9b::2",
    ];
    text[usize::from(n) % text.len()].parse().unwrap()
}

proptest! {
    /// Score, decay, threshold, escalation and its end: as a list of pieces has them that is summed anew each time.
    #[test]
    fn the_book_is_what_a_list_of_pieces_is(
        steps in proptest::collection::vec((0u8..8, 0u8..2, 0u64..3000, 1u32..3, any::<bool>(), any::<bool>()), 1..150),
    ) {
        let mut policy = BanPolicy { half_life: SECOND * 600, time: SECOND * 60, factor: 3, longest: SECOND * 2000, memory: SECOND * 9000, ..BanPolicy::default() };
        policy.set(Some("own"), "authenticated", 3).unwrap();
        policy.set(Some("own"), "proven", 7).unwrap();
        let mut book = Scorebook::new(policy.clone());
        let mut plain: std::collections::BTreeMap<Prefix, Plain> = Default::default();
        let mut now = SECOND;
        for (from, grade, wait, count, own, proxied) in steps {
            now += Duration::from_millis(wait * 100);
            let grade = [Grade::Proven, Grade::Authenticated][usize::from(grade)];
            let service = if own { "own" } else { "other" };
            let evidence = Evidence { source: source(from), grade, kind: Kind::Login, service, count, proxied };
            let network = Prefix::subscriber(evidence.source);
            let outcome = book.weigh(&evidence, now);
            if proxied {
                // Beside it, and never part of it.
                if let Outcome::Due(due) = outcome {
                    prop_assert!(due.proxied);
                    book.spend(&due);
                }
                continue;
            }
            let threshold = f64::from(policy.threshold(grade, service).unwrap());
            let own = plain.entry(network).or_default();
            if own.level(now, policy.half_life) < 1.0 / 1024.0 {
                own.pieces.clear();
                own.authenticated = false;
            }
            own.pieces.push((now, f64::from(count) / threshold));
            own.authenticated |= grade == Grade::Authenticated;
            let (level, enough) = (own.level(now, policy.half_life), 1.0 - 0.5 / threshold);
            let told = match &outcome {
                Outcome::Scored(level) => *level,
                Outcome::Due(due) => due.level,
                other => panic!("{other:?}"),
            };
            prop_assert!((told - level).abs() < 0.003 + level * 0.001, "{told} {level}");
            if (level - enough).abs() > 0.005 {
                prop_assert_eq!(matches!(outcome, Outcome::Due(_)), level > enough, "{} {}", level, enough);
            }
            let Outcome::Due(due) = outcome else { continue };
            prop_assert_eq!((due.network, due.authenticated), (network, own.authenticated));
            if now >= own.struck_until {
                own.strikes = 0;
            }
            own.strikes += 1;
            let time = if own.authenticated { policy.time_of(own.strikes) } else { policy.time };
            prop_assert_eq!(book.sentence(&due, 0, now), Sentence::Ban(time, own.strikes));
            own.struck_until = now + time + policy.memory;
            own.pieces.clear();
            own.authenticated = false;
            prop_assert_eq!(book.strikes(&network, own.struck_until - Duration::from_nanos(1)), own.strikes);
            prop_assert_eq!(book.strikes(&network, own.struck_until), 0);
        }
    }

    /// A full table: never above its bound, and whoever has most is pushed out by nobody.
    #[test]
    fn who_has_most_stays_in_a_full_table(pieces in proptest::collection::vec((0u8..40, 0u64..50), 1..300)) {
        let mut scores = scores::Scores::new(8, SECOND * 100);
        let mut now = SECOND;
        for (from, wait) in pieces {
            now += SECOND * u32::try_from(wait).unwrap();
            let network = Prefix::host([192, 0, 2, from].into());
            let before: Vec<(Prefix, f64)> =
                scores.highest(now).map(|(network, _, level)| (network, level)).collect();
            let evidence = piece("192.0.2.1", Grade::Proven);
            let level = scores.add(network, 0.2, &evidence, now);
            prop_assert!(scores.len() <= 8);
            let after: Vec<Prefix> = scores.highest(now).map(|(network, ..)| network).collect();
            let least = before.iter().map(|(_, level)| *level).fold(f64::INFINITY, f64::min);
            prop_assert!(after.contains(&network) || before.len() == 8 && least >= level * 0.999_999);
            for (other, had) in before {
                let gone = !after.contains(&other);
                prop_assert!(!gone || had <= level * 1.000_001 || had < 1.0 / 1000.0, "{other} had {had}, {network} has {level}");
            }
        }
    }

    /// Bans that are made, run out, are removed and replaced, in any order: what is counted is what is there, and each ends on its
    /// moment.
    #[test]
    fn counted_bans_are_those_that_are_there(
        steps in proptest::collection::vec((0u8..5, 0u8..6, 0u8..3, 1u64..40), 1..200),
    ) {
        let mut denied = Denied::default();
        let mut plain: std::collections::BTreeMap<Prefix, Ban> = Default::default();
        let mut now = SECOND;
        for (what, at, width, time) in steps {
            let network = Prefix::around([192, 0, 2, at].into(), [32, 31, 24][usize::from(width)]);
            let until = now + SECOND * u32::try_from(time).unwrap();
            let ban = match what {
                0 => Some(Ban::for_evidence(until, 2, false, "")),
                1 => Some(Ban::by_hand(Some(until), "")),
                2 => Some(Ban::by_sensor(Some(until), Some(SECOND), "")),
                3 => {
                    prop_assert_eq!(denied.remove(network), plain.remove(&network).is_some());
                    None
                }
                _ => {
                    now += SECOND * u32::try_from(time).unwrap() / 2;
                    let mut ended = denied.expire(now);
                    ended.sort();
                    let over: Vec<Prefix> =
                        plain.iter().filter(|(_, ban)| !ban.lasts(now)).map(|(network, _)| *network).collect();
                    plain.retain(|_, ban| ban.lasts(now));
                    prop_assert_eq!(ended, over);
                    None
                }
            };
            if let Some(ban) = ban {
                prop_assert!(denied.deny(network, ban.clone()).is_ok());
                plain.insert(network, ban);
            }
            let count = |wanted: fn(&Prefix, &Ban) -> bool| plain.iter().filter(|(n, b)| wanted(n, b)).count();
            prop_assert_eq!(denied.len(), plain.len());
            prop_assert_eq!(denied.for_evidence(), count(|_, ban| ban.strikes > 0));
            prop_assert_eq!(denied.rolled_up(), count(|n, ban| ban.strikes > 0 && n.len() < 32));
            prop_assert_eq!(denied.tripped(), count(|_, ban| ban.term.is_some()));
            for at in 0..6 {
                let ip = IpAddr::from([192, 0, 2, at]);
                let last = plain.iter().filter(|(n, _)| n.contains(ip)).filter_map(|(_, ban)| ban.until).max();
                if let Some(last) = last {
                    prop_assert!(denied.contains(ip, last - Duration::from_nanos(1)));
                    prop_assert!(!denied.contains(ip, last));
                } else {
                    prop_assert!(!denied.contains(ip, now));
                }
            }
        }
    }

    /// A network is banned whole exactly where a count of its sources says so.
    #[test]
    fn a_network_is_banned_whole_for_its_sources(
        kinds in proptest::collection::vec(0u8..6, 40),
        share in 1u64..=100,
        sources in 2u64..12,
    ) {
        let mut policy = BanPolicy { rollup_v4: Some(24), ..BanPolicy::default() };
        policy.set(None, "rollup_share", share).unwrap();
        policy.set(None, "rollup_sources", sources).unwrap();
        let (mut book, mut denied) = (Scorebook::new(policy), Denied::default());
        let (mut banned, mut scored, mut good) = (0, 0, 0);
        for (at, kind) in (0u8..).zip(&kinds) {
            let ip = IpAddr::from([192, 0, 2, at]);
            match kind {
                0 | 1 => {
                    let ban = Ban::for_evidence(SECOND * 100, 1, false, "");
                    denied.deny(ip, ban).unwrap();
                    banned += 1;
                }
                2 => {
                    book.weigh(&Evidence { source: ip, ..piece("192.0.2.1", Grade::Proven) }, SECOND);
                    scored += 1;
                }
                3 if at % 16 == 7 => {
                    book.behaves_well(ip, SECOND);
                    good += 1;
                }
                // By hand, by proxy, forgeable: no source of it that did something, and known.
                4 => denied.deny(ip, Ban::by_hand(None, "")).unwrap(),
                5 => {
                    denied.deny(ip, Ban::for_evidence(SECOND * 100, 1, true, "")).unwrap();
                    book.weigh(&Evidence { source: ip, ..piece("192.0.2.1", Grade::Forgeable) }, SECOND);
                }
                _ => {}
            }
        }
        let whole: Prefix = "192.0.2.0/24".parse().unwrap();
        let wanted = banned >= sources && banned * 100 >= share * (banned + scored);
        let found = book.wider(&"192.0.2.1".parse().unwrap(), &denied, SECOND * 2);
        match found.as_slice() {
            [] => prop_assert!(!wanted, "{} {}", banned, scored),
            [Wider::Ban(found)] => prop_assert!(wanted && good == 0 && found.network == whole),
            [Wider::Spared(found, one)] => prop_assert!(wanted && good > 0 && found.network.contains(one.address())),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn what_a_handshake_proves_makes_no_ban_longer() {
    let mut book = Scorebook::default();
    let mut ban = |grade, count| {
        let evidence = Evidence { count, ..piece("192.0.2.1", grade) };
        let Outcome::Due(due) = book.weigh(&evidence, SECOND) else { panic!("not due") };
        book.sentence(&due, 0, SECOND)
    };
    assert_eq!(ban(Grade::Proven, 10), Sentence::Ban(SECOND * 3600, 1));
    assert_eq!(ban(Grade::Proven, 10), Sentence::Ban(SECOND * 3600, 2));
    assert_eq!(ban(Grade::Authenticated, 5), Sentence::Ban(SECOND * 3600 * 16, 3), "all of them count");
}

#[test]
fn bounds_on_how_many_hold_and_are_counted() {
    let policy = BanPolicy { most: 3, most_a_minute: 2, ..BanPolicy::default() };
    let mut book = Scorebook::new(policy);
    let due = |book: &mut Scorebook, n: u8, now| {
        let evidence =
            Evidence { count: 5, source: [192, 0, 2, n].into(), ..piece("192.0.2.1", Grade::Authenticated) };
        let Outcome::Due(due) = book.weigh(&evidence, now) else { panic!("not due") };
        due
    };
    let one = due(&mut book, 1, SECOND);
    assert_eq!(book.sentence(&one, 3, SECOND), Sentence::TooMany(3));
    for n in 2..4 {
        let one = due(&mut book, n, SECOND * 2);
        assert!(matches!(book.sentence(&one, 0, SECOND * 2), Sentence::Ban(..)));
    }
    let one = due(&mut book, 4, SECOND * 3);
    assert_eq!(book.sentence(&one, 0, SECOND * 3), Sentence::TooFast(2));
    assert_eq!(book.strikes(&one.network, SECOND * 3), 0, "what was not done does not count");
    let one = due(&mut book, 4, SECOND * 63);
    assert!(matches!(book.sentence(&one, 0, SECOND * 63), Sentence::Ban(..)));
    assert_eq!(book.prevented(), 2);
    let wide = "192.0.2.0/24".parse().unwrap();
    assert_eq!(book.sentence_wide(wide, 100, SECOND * 63), Sentence::TooMany(100));
    book.go_by(BanPolicy { act: false, ..BanPolicy::default() }, SECOND * 64);
    let one = due(&mut book, 5, SECOND * 64);
    assert_eq!(book.sentence(&one, 0, SECOND * 64), Sentence::OnlyReported);
}

#[test]
fn neighbours_behind_a_translator_are_nobodys_neighbours() {
    let policy = BanPolicy { rollup_v6: Some(48), rollup_sources: 2, ..BanPolicy::default() };
    let (book, mut denied) = (Scorebook::new(policy), Denied::default());
    for n in 0..20 {
        let behind = IpAddr::from([0x64, 0xff9b, 0, 0, 0, 0, 0xc000, n]);
        denied.deny(behind, Ban::for_evidence(SECOND * 100, 1, false, "")).unwrap();
        let own = IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]);
        denied.deny(Prefix::subscriber(own), Ban::for_evidence(SECOND * 100, 1, false, "")).unwrap();
    }
    assert_eq!(book.wider(&"64:ff9b::c000:1".parse().unwrap(), &denied, SECOND), []);
    let found = book.wider(&"2001:db8:0:1::/64".parse().unwrap(), &denied, SECOND);
    let networks: Vec<String> = found
        .iter()
        .map(|wider| match wider {
            Wider::Ban(found) => format!("{} {}", found.network, found.banned),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(networks, ["2001:db8::/56 20", "2001:db8::/48 20"]);
    let gone = book.wider(&"2001:db8:0:1::/64".parse().unwrap(), &denied, SECOND * 100);
    assert_eq!(gone, [], "bans that are over count for nothing");
}

#[test]
fn what_is_saved_goes_on_as_it_was_and_another_half_life_changes_no_score() {
    let mut book = Scorebook::default();
    for n in 0..3u8 {
        for _ in 0..=n {
            let evidence =
                Evidence { source: [192, 0, 2, n].into(), ..piece("192.0.2.1", Grade::Authenticated) };
            book.weigh(&evidence, SECOND);
        }
    }
    book.weigh(&piece("192.0.2.1", Grade::Forgeable), SECOND);
    book.remember("192.0.2.9".parse().unwrap(), 4, SECOND * 900, SECOND);
    let mut again = Scorebook::default();
    for saved in book.save_scores(2, SECOND * 60) {
        again.restore_score(saved, SECOND * 60);
    }
    for (network, count, until) in book.save_strikes(10) {
        again.remember(network, count, until, SECOND * 60);
    }
    let against = |book: &Scorebook, n: u8| book.against([192, 0, 2, n].into(), SECOND * 60);
    assert_eq!(against(&again, 0), [], "the lowest of three was left");
    for n in [1, 2] {
        assert_eq!(against(&again, n), against(&book, n));
    }
    assert_eq!(again.strikes(&"192.0.2.9".parse().unwrap(), SECOND * 60), 4);
    let before = against(&book, 2)[0].level;
    book.go_by(BanPolicy { half_life: SECOND * 60, ..BanPolicy::default() }, SECOND * 60);
    assert!((against(&book, 2)[0].level - before).abs() < 1e-6);
    let later = book.against([192, 0, 2, 2].into(), SECOND * 120)[0].level;
    assert!((later - before / 2.0).abs() < 1e-6, "{later} {before}");
    book.pardon(&"192.0.2.0/24".parse().unwrap());
    assert_eq!(against(&book, 2), []);
}
