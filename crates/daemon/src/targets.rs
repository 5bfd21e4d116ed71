//! The targets of a redirected service: in which order they are tried, which one is set aside because it did not accept,
//! and which addresses a name has now. Decides; connects to nothing and asks nobody.

use portreeve_conf::{Action, MOST_TARGET_ADDRESSES, Service, Target};
use rustix::io::Errno;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
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
    Path(Rc<str>),
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
    /// The last answer was none.
    lost: bool,
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
}

impl Targets {
    /// As the file has them; what is known of the same places stays known.
    pub fn follow(&mut self, service: &Service, now: Duration) {
        let before = std::mem::take(self);
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
                self.names.push(Named { target: at, host, port, asked: None, last: now, lost: false });
            }
        }
    }

    /// Of which target of the file this place is.
    pub fn target_of(&self, place: &Place) -> Option<usize> {
        self.candidates.iter().find(|candidate| candidate.place == *place).map(|candidate| candidate.target)
    }

    fn at(&self, target: usize, places: Vec<Place>) -> Vec<Candidate> {
        let known = |place: &Place| self.candidates.iter().find(|candidate| candidate.place == *place);
        let new = |place| Candidate { target, place, failures: 0, aside: Duration::ZERO, error: None };
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

    /// A place did not accept: it is set aside, each time for longer.
    pub fn failed(&mut self, place: &Place, error: Errno, now: Duration) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.place == *place) {
            candidate.aside = now + Duration::from_secs(1 << candidate.failures.min(6)).min(LONGEST_ASIDE);
            candidate.failures = candidate.failures.saturating_add(1);
            candidate.error = Some(error);
        }
    }

    /// A place has accepted.
    pub fn reached(&mut self, place: &Place) {
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.place == *place) {
            (candidate.failures, candidate.aside, candidate.error) = (0, Duration::ZERO, None);
        }
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
                let before = std::mem::replace(&mut named.lost, true);
                return if before { Answered::Same } else { Answered::Lost(host) };
            }
            Some(_) => named.lost = false,
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
            |target, place| Candidate { target, place, failures: 0, aside: Duration::ZERO, error: None };
        let named =
            Named { target: 1, host: "two".into(), port: 80, asked: None, last: at(100), lost: false };
        Targets {
            candidates: vec![
                candidate(0, ip("192.0.2.1:80")),
                candidate(1, ip("192.0.2.2:80")),
                candidate(1, ip("192.0.2.3:80")),
            ],
            names: vec![named],
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
        targets.failed(&first, Errno::CONNREFUSED, at(100));
        assert_eq!(chosen(&mut targets, 100).place, ip("192.0.2.2:80"));
        let choice = chosen(&mut targets, 101);
        assert_eq!((choice.place, choice.doubtful), (first.clone(), true));
        assert_eq!(chosen(&mut targets, 101).place, ip("192.0.2.2:80"), "one client tries it");
        targets.failed(&first, Errno::CONNREFUSED, at(101));
        assert_eq!(chosen(&mut targets, 102).place, ip("192.0.2.2:80"));
        assert_eq!(chosen(&mut targets, 103).place, first);
        targets.reached(&first);
        let choice = chosen(&mut targets, 103);
        assert_eq!((choice.place, choice.doubtful), (first, false));
    }

    #[test]
    fn where_none_is_well_the_first_is_tried() {
        let mut targets = targets();
        for place in ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"] {
            for _ in 0..99 {
                targets.failed(&ip(place), Errno::CONNREFUSED, at(100));
            }
        }
        assert_eq!(targets.iter().map(|candidate| candidate.aside).max(), Some(at(160)));
        assert_eq!(targets.choose(&[], at(100)).unwrap().place, ip("192.0.2.1:80"));
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
        assert_eq!(targets.answered(9, None), Answered::Lost("two".into()));
        assert_eq!(places(&targets).len(), 3);
        targets.failed(&ip("192.0.2.3:80"), Errno::CONNREFUSED, at(165));
        targets.asked(&ask, 10);
        assert_eq!(targets.answered(10, Some(&[])), Answered::Ask(Ask { v6: true, ..ask.clone() }));
        targets.asked(&Ask { v6: true, ..ask }, 11);
        let moved: Vec<IpAddr> = ["2001:db8::1", "192.0.2.3"].map(|text| text.parse().unwrap()).into();
        assert_eq!(targets.answered(11, Some(&moved)), Answered::Moved("two".into()));
        assert_eq!(places(&targets), ["192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.3:80"]);
        assert_eq!(targets.iter().last().unwrap().failures, 1, "what is known of it stays known");
    }
}
