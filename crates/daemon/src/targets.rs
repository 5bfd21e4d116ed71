//! The targets of a redirected service: in which order they are tried, which one is set aside because it did not accept,
//! and which addresses a name has now. Decides; connects to nothing and asks nobody.

use portreeve_conf::{Action, MOST_TARGET_ADDRESSES, Nothing, Rare, Service, Target};
use rustix::io::Errno;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Most targets that one client is tried at.
const MOST_TRIES: usize = 8;
/// The longest that a target is set aside.
const LONGEST_ASIDE: Duration = Duration::from_secs(60);
/// So long is a target that was set aside left to the one client that tries it.
const ONE_TRIES: Duration = Duration::from_secs(6);
/// So often names are looked up. The resolver is getaddrinfo(3), which tells no TTL.
const REFRESH: Duration = Duration::from_secs(60);
/// So often at most because a target did not accept.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP or UDP port.
    Ip(SocketAddr),
    /// A unix socket.
    Path(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Ip(address) => write!(f, "{address}"),
            Place::Path(path) => f.write_str(path),
        }
    }
}

/// A place and how it is.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Of which target, by its position in the file.
    target: usize,
    /// Where it is.
    pub place: Place,
    /// How often it failed since it last accepted.
    pub failures: u32,
    /// Until when nobody is sent there while there is another.
    pub aside: Duration,
    /// A try that began before this says nothing new: it was under way when the place last failed or accepted.
    news: Duration,
    /// How it failed last.
    pub error: Option<Errno>,
}

/// A target whose host is a name.
#[derive(Clone, Debug)]
struct Named {
    target: usize,
    host: Rc<str>,
    port: u16,
    /// A question under way, and whether it is the second one, for IPv6.
    asked: Option<(u64, bool)>,
    last: Duration,
    /// What the last answer lacked.
    lacks: Lacks,
}

/// What there is of a name's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacks {
    Nothing,
    /// It has none.
    Address,
    /// Nobody could be asked.
    Answer,
}

/// What is to be asked of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// For which name; as it is called here.
    pub number: usize,
    /// The name.
    pub host: Rc<str>,
    /// IPv6 instead of IPv4.
    pub v6: bool,
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It was no question of ours.
    NotOurs,
    /// Another question follows.
    Ask(Ask),
    /// The name has other addresses than before.
    Moved(Rc<str>),
    /// The name has no address any more; the old ones serve on. Said once.
    Lost(Rc<str>),
    /// Nobody could be asked about it; the old ones serve on. Said once.
    Unasked(Rc<str>),
    /// Nothing is new.
    Same,
}

/// Where a client goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// There.
    pub place: Place,
    /// Nobody is left after it.
    pub last: bool,
    /// It failed before, so it is of interest that it accepts.
    pub doubtful: bool,
}

/// The targets of one service; none for a service that is not redirected.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    candidates: Vec<Candidate>,
    names: Vec<Named>,
    /// When it may be said again that a target leads back.
    round: Duration,
}

impl Nothing for Targets {
    const NOTHING: &'static Self = &Self { candidates: Vec::new(), names: Vec::new(), round: Duration::ZERO };
}

impl Targets {
    /// The targets of a service, by what was known of those that it had.
    pub fn following(mut before: Rare<Self>, service: &Service, now: Duration) -> Rare<Self> {
        if !matches!(service.action, Action::Redirect(_)) {
            return Rare::default();
        }
        before.follow(service, now);
        before
    }

    /// As the file has them; what is known of the same places stays known.
    fn follow(&mut self, service: &Service, now: Duration) {
        let before = std::mem::take(self);
        self.round = before.round;
        let Action::Redirect(targets) = &service.action else { return };
        for (at, target) in targets.iter().enumerate() {
            let places: Vec<Place> = match target {
                Target::Host { addresses, .. } => addresses.iter().copied().map(Place::Ip).collect(),
                Target::Path(path) => vec![Place::Path(path.as_str().into())],
            };
            self.candidates.extend(before.at(at, places));
            if let Target::Host { host, .. } = target
                && target.is_named()
            {
                let (host, port) = (host.as_str().into(), target.port().unwrap_or_default());
                self.names.push(Named {
                    target: at,
                    host,
                    port,
                    asked: None,
                    last: now,
                    lacks: Lacks::Nothing,
                });
            }
        }
    }

    /// Of which target of the file this place is.
    pub fn target_of(&self, place: &Place) -> Option<usize> {
        self.candidates.iter().find(|candidate| candidate.place == *place).map(|candidate| candidate.target)
    }

    fn at(&self, target: usize, places: Vec<Place>) -> Vec<Candidate> {
        let known = |place: &Place| self.candidates.iter().find(|candidate| candidate.place == *place);
        let zero = Duration::ZERO;
        let new = |place| Candidate { target, place, failures: 0, aside: zero, news: zero, error: None };
        places
            .into_iter()
            .map(|place| {
                known(&place)
                    .map_or_else(|| new(place.clone()), |known| Candidate { target, ..known.clone() })
            })
            .collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter()
    }

    /// The first that is well; where none is, the first. Never one of those that this client was tried at.
    pub fn choose(&mut self, tried: &[Place], now: Duration) -> Option<Choice> {
        if tried.len() >= MOST_TRIES {
            return None;
        }
        let open = |candidate: &Candidate| !tried.contains(&candidate.place);
        let well = |candidate: &Candidate| open(candidate) && candidate.aside <= now;
        let at = self.candidates.iter().position(well).or_else(|| self.candidates.iter().position(open))?;
        let last =
            tried.len() + 1 >= MOST_TRIES || self.candidates.iter().filter(|other| open(other)).count() == 1;
        let candidate = self.candidates.get_mut(at)?;
        let doubtful = candidate.failures > 0;
        if doubtful {
            // Its time aside is over. One client finds out; the others are not held up by it.
            candidate.aside = candidate.aside.max(now + ONE_TRIES);
        }
        Some(Choice { place: candidate.place.clone(), last, doubtful })
    }

    /// A place did not accept a client that was sent there at `began`: it is set aside, each time for longer. Of many clients that
    /// fail together one counts, or a moment's refusal would keep a busy service away for as long as an idle one's hour.
    pub fn failed(&mut self, place: &Place, error: Errno, began: Duration, now: Duration) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.place == *place) {
            if began < candidate.news {
                continue;
            }
            candidate.aside = now + Duration::from_secs(1 << candidate.failures.min(6)).min(LONGEST_ASIDE);
            candidate.news = candidate.aside;
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.error = Some(error);
        }
    }

    /// A place has accepted.
    pub fn reached(&mut self, place: &Place, now: Duration) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.place == *place) {
            (candidate.failures, candidate.aside, candidate.error) = (0, Duration::ZERO, None);
            candidate.news = now;
        }
    }

    /// Whether it is to be said that a target leads back to the service: once a minute.
    pub fn says_round(&mut self, now: Duration) -> bool {
        let says = now >= self.round;
        if says {
            self.round = now + REFRESH;
        }
        says
    }

    /// When names are next to be looked up; `None`: there are none.
    pub fn next_refresh(&self) -> Option<Duration> {
        self.names.iter().map(|named| named.last + REFRESH).min()
    }

    /// The names that are due; all that were not asked about just now, where a target did not accept.
    pub fn due(&mut self, failed: bool, now: Duration) -> Vec<Ask> {
        let patience = if failed { AT_ONCE } else { REFRESH };
        let due = |named: &Named| named.last + patience <= now;
        let mut asks = Vec::new();
        for (number, named) in self.names.iter_mut().enumerate().filter(|(_, named)| due(named)) {
            named.last = now;
            // A question that got no answer in all that time is not waited for any more.
            asks.push(Ask { number, host: named.host.clone(), v6: false });
        }
        asks
    }

    /// A question is on its way.
    pub fn asked(&mut self, ask: &Ask, ticket: u64) {
        if let Some(named) = self.names.get_mut(ask.number) {
            named.asked = Some((ticket, ask.v6));
        }
    }

    /// An answer has come: the addresses of a name, none where there are none, `None` where nobody could be asked.
    pub fn answered(&mut self, ticket: u64, addresses: Option<&[IpAddr]>) -> Answered {
        let ours = |named: &Named| named.asked.is_some_and(|(asked, _)| asked == ticket);
        let Some(number) = self.names.iter().position(ours) else { return Answered::NotOurs };
        let Some(named) = self.names.get_mut(number) else { return Answered::NotOurs };
        let v6 = named.asked.take().is_some_and(|(_, v6)| v6);
        let host = named.host.clone();
        match addresses {
            Some([]) if !v6 => return Answered::Ask(Ask { number, host, v6: true }),
            None | Some([]) => {
                let lacks = if addresses.is_none() { Lacks::Answer } else { Lacks::Address };
                return match std::mem::replace(&mut named.lacks, lacks) {
                    before if before == lacks => Answered::Same,
                    _ if lacks == Lacks::Answer => Answered::Unasked(host),
                    _ => Answered::Lost(host),
                };
            }
            Some(_) => named.lacks = Lacks::Nothing,
        }
        let (target, port) = (named.target, named.port);
        let addresses = addresses.unwrap_or_default().iter().take(MOST_TARGET_ADDRESSES);
        let places: Vec<Place> = addresses.map(|&ip| Place::Ip(SocketAddr::new(ip, port))).collect();
        let old: Vec<&Place> = self
            .candidates
            .iter()
            .filter(|candidate| candidate.target == target)
            .map(|candidate| &candidate.place)
            .collect();
        // Name servers turn the order with each answer: the same addresses in another order are nothing new.
        if old.len() == places.len() && places.iter().all(|place| old.contains(&place)) {
            return Answered::Same;
        }
        let new = self.at(target, places);
        let at = self
            .candidates
            .iter()
            .position(|candidate| candidate.target >= target)
            .unwrap_or(self.candidates.len());
        self.candidates.retain(|candidate| candidate.target != target);
        self.candidates.splice(at..at, new);
        Answered::Moved(host)
    }
}

#[cfg(test)]
mod tests {
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
        let named = Named { target: 1, host: "two".into(), port: 80, asked: None, last: at(100), lacks };
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
        assert_eq!(targets.answered(8, Some(&turned)), Answered::NotOurs);
        assert_eq!(targets.answered(7, Some(&turned)), Answered::Same);
        assert!(targets.due(true, at(164)).is_empty(), "just asked");
        let ask = targets.due(true, at(165)).remove(0);
        targets.asked(&ask, 9);
        assert_eq!(targets.answered(9, None), Answered::Unasked("two".into()));
        targets.asked(&ask, 9);
        assert_eq!(targets.answered(9, None), Answered::Same, "said once");
        let none = |targets: &mut Targets| {
            targets.asked(&Ask { v6: true, ..ask.clone() }, 9);
            targets.answered(9, Some(&[]))
        };
        assert_eq!(none(&mut targets), Answered::Lost("two".into()));
        assert_eq!(none(&mut targets), Answered::Same);
        assert_eq!(places(&targets).len(), 3);
        targets.failed(&ip("192.0.2.3:80"), Errno::CONNREFUSED, at(165), at(165));
        targets.asked(&ask, 10);
        assert_eq!(targets.answered(10, Some(&[])), Answered::Ask(Ask { v6: true, ..ask.clone() }));
        targets.asked(&Ask { v6: true, ..ask }, 11);
        let moved: Vec<IpAddr> = ["2001:db8::1", "192.0.2.3"].map(|text| text.parse().unwrap()).into();
        assert_eq!(targets.answered(11, Some(&moved)), Answered::Moved("two".into()));
        assert_eq!(places(&targets), ["192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.3:80"]);
        assert_eq!(targets.iter().last().unwrap().failures, 1, "what is known of it stays known");
    }
}
