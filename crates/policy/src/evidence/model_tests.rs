//! The book held against a plain model: a list of pieces with their times, summed anew at each question.

use super::*;
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
