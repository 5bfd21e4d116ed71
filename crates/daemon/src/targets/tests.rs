//! In which order targets are tried, which are set aside, and when names are looked up.

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ip(text: &str) -> Place {
    Place::Ip(text.parse().unwrap())
}

/// Two targets: an address, and a name with two.
fn targets() -> Targets {
    let candidate =
        |target, place| Candidate { target, place, failures: 0, aside: at(0), news: at(0), error: None };
    let lacks = Lacks::Nothing;
    let named =
        Named { target: 1, host: "two".into(), port: 80, asked: None, last: at(100), lasts: at(60), lacks };
    Targets {
        candidates: vec![
            candidate(0, ip("192.0.2.1:80")),
            candidate(1, ip("192.0.2.2:80")),
            candidate(1, ip("192.0.2.3:80")),
        ],
        names: vec![named],
        round: at(0),
    }
}

fn places(targets: &Targets) -> Vec<String> {
    targets.iter().map(|candidate| candidate.place.to_string()).collect()
}

#[test]
fn the_first_that_is_well_and_never_the_same_twice() {
    let mut targets = targets();
    let mut tried = Vec::new();
    let mut next = |targets: &mut Targets| {
        let choice = targets.choose(&tried, at(100))?;
        tried.push(choice.place.clone());
        Some((choice.place.to_string(), choice.last))
    };
    assert_eq!(next(&mut targets), Some(("192.0.2.1:80".to_owned(), false)));
    assert_eq!(next(&mut targets), Some(("192.0.2.2:80".to_owned(), false)));
    assert_eq!(next(&mut targets), Some(("192.0.2.3:80".to_owned(), true)));
    assert_eq!(next(&mut targets), None);
}

#[test]
fn one_that_fails_is_set_aside_for_longer_each_time_and_one_client_finds_it_well() {
    let mut targets = targets();
    let first = ip("192.0.2.1:80");
    let chosen = |targets: &mut Targets, now| targets.choose(&[], at(now)).unwrap();
    targets.failed(&first, Errno::CONNREFUSED, at(100), at(100));
    assert_eq!(chosen(&mut targets, 100).place, ip("192.0.2.2:80"));
    let choice = chosen(&mut targets, 101);
    assert_eq!((choice.place, choice.doubtful), (first.clone(), true));
    assert_eq!(chosen(&mut targets, 101).place, ip("192.0.2.2:80"), "one client tries it");
    targets.failed(&first, Errno::CONNREFUSED, at(101), at(101));
    assert_eq!(chosen(&mut targets, 102).place, ip("192.0.2.2:80"));
    assert_eq!(chosen(&mut targets, 103).place, first);
    targets.reached(&first, at(103));
    let choice = chosen(&mut targets, 103);
    assert_eq!((choice.place, choice.doubtful), (first, false));
}

#[test]
fn where_none_is_well_the_first_is_tried() {
    let mut targets = targets();
    for place in ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"] {
        for round in 0..99 {
            let now = at(100 + 60 * round);
            targets.failed(&ip(place), Errno::CONNREFUSED, now, now);
        }
    }
    let last = 100 + 60 * 98;
    assert_eq!(targets.iter().map(|candidate| candidate.aside).max(), Some(at(last + 60)));
    assert_eq!(targets.choose(&[], at(last)).unwrap().place, ip("192.0.2.1:80"));
}

#[test]
fn clients_that_fail_together_count_as_one() {
    let mut targets = targets();
    let place = ip("192.0.2.1:80");
    let aside = |targets: &Targets| targets.iter().next().map(|first| (first.failures, first.aside));
    for _ in 0..7 {
        targets.failed(&place, Errno::CONNREFUSED, at(100), at(100));
    }
    assert_eq!(aside(&targets), Some((1, at(101))));
    // Begun while the first of them was under way, and over long after it.
    targets.failed(&place, Errno::TIMEDOUT, at(100), at(105));
    assert_eq!(aside(&targets), Some((1, at(101))));
    // The next try, and somebody who was sent there meanwhile because none is well.
    assert_eq!(targets.choose(&[], at(102)).map(|choice| choice.place), Some(place.clone()));
    targets.failed(&place, Errno::CONNREFUSED, at(102), at(103));
    targets.failed(&place, Errno::CONNREFUSED, at(104), at(104));
    assert_eq!(aside(&targets), Some((2, at(105))));
    // Who was sent there before it accepted somebody says nothing about how it is now.
    targets.reached(&place, at(106));
    targets.failed(&place, Errno::TIMEDOUT, at(105), at(107));
    assert_eq!(aside(&targets), Some((0, at(0))));
    targets.failed(&place, Errno::CONNREFUSED, at(107), at(107));
    assert_eq!(aside(&targets), Some((1, at(108))));
}

#[test]
fn names_are_asked_about_and_old_addresses_serve_on() {
    let mut targets = targets();
    assert_eq!((targets.next_refresh(), targets.due(false, at(159))), (Some(at(160)), vec![]));
    let ask = targets.due(false, at(160)).remove(0);
    assert_eq!(ask, Ask { number: 0, host: "two".into(), v6: false });
    targets.asked(&ask, 7);
    let turned: Vec<IpAddr> = ["192.0.2.3", "192.0.2.2"].map(|text| text.parse().unwrap()).into();
    assert_eq!(targets.answered(8, Some(&turned), None), Answered::NotOurs);
    assert_eq!(targets.answered(7, Some(&turned), None), Answered::Same);
    assert!(targets.due(true, at(164)).is_empty(), "just asked");
    let ask = targets.due(true, at(165)).remove(0);
    targets.asked(&ask, 9);
    assert_eq!(targets.answered(9, None, None), Answered::Unasked("two".into()));
    targets.asked(&ask, 9);
    assert_eq!(targets.answered(9, None, None), Answered::Same, "said once");
    let none = |targets: &mut Targets| {
        targets.asked(&Ask { v6: true, ..ask.clone() }, 9);
        targets.answered(9, Some(&[]), None)
    };
    assert_eq!(none(&mut targets), Answered::Lost("two".into()));
    assert_eq!(none(&mut targets), Answered::Same);
    assert_eq!(places(&targets).len(), 3);
    targets.failed(&ip("192.0.2.3:80"), Errno::CONNREFUSED, at(165), at(165));
    targets.asked(&ask, 10);
    assert_eq!(targets.answered(10, Some(&[]), None), Answered::Ask(Ask { v6: true, ..ask.clone() }));
    targets.asked(&Ask { v6: true, ..ask }, 11);
    let moved: Vec<IpAddr> = ["2001:db8::1", "192.0.2.3"].map(|text| text.parse().unwrap()).into();
    assert_eq!(targets.answered(11, Some(&moved), None), Answered::Moved("two".into()));
    assert_eq!(places(&targets), ["192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.3:80"]);
    assert_eq!(targets.iter().last().unwrap().failures, 1, "what is known of it stays known");
}

/// A question that nobody answers is not asked again with each end of a short TTL, nor with each client that was not served.
#[test]
fn a_question_that_is_under_way_is_waited_for() {
    let mut targets = targets();
    let one: Vec<IpAddr> = vec!["192.0.2.2".parse().unwrap()];
    let ask = targets.due(false, at(160)).remove(0);
    targets.asked(&ask, 7);
    targets.answered(7, Some(&one), Some(5));
    let ask = targets.due(false, at(165)).remove(0);
    targets.asked(&ask, 8);
    for now in [170, 180, 224] {
        assert_eq!((targets.due(false, at(now)), targets.due(true, at(now))), (vec![], vec![]), "{now}");
    }
    assert_eq!((targets.next_refresh(), targets.due(false, at(225)).len()), (Some(at(225)), 1), "it is lost");
    targets.asked(&ask, 9);
    targets.answered(9, Some(&one), Some(5));
    assert_eq!(targets.next_refresh(), Some(at(230)));
}

/// The next look is when the TTL is over, within bounds; a minute where there is none; and no later than that while it has no address.
#[test]
fn a_name_is_looked_up_when_its_ttl_is_over() {
    let mut targets = targets();
    let one: Vec<IpAddr> = vec!["192.0.2.2".parse().unwrap()];
    let mut now = 160;
    for (seconds, wanted) in
        [(Some(300), 300), (Some(5), 5), (Some(0), 5), (Some(u32::MAX), 3600), (None, 60), (Some(300), 300)]
    {
        let ask = targets.due(false, at(now)).remove(0);
        targets.asked(&ask, 7);
        targets.answered(7, Some(&one), seconds);
        assert_eq!(targets.next_refresh(), Some(at(now + wanted)), "{seconds:?}");
        assert!(targets.due(false, at(now + wanted - 1)).is_empty());
        now += wanted;
    }
    let ask = targets.due(false, at(now)).remove(0);
    targets.asked(&ask, 8);
    assert_eq!(targets.answered(8, None, None), Answered::Unasked("two".into()));
    assert_eq!((targets.next_refresh(), places(&targets).len()), (Some(at(now + 60)), 2));
    // It goes over as it is, whatever the file said.
    let left = targets.leave();
    let mut next = self::targets();
    next.take_over(&left);
    assert_eq!((next.next_refresh(), places(&next)), (Some(at(now + 60)), places(&targets)));
    next.take_over(&[TargetNameState { host: "other".into(), ..left[0].clone() }]);
    assert_eq!(places(&next), places(&targets));
}
