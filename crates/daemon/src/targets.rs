//! The targets of a redirected service: in which order they are tried, which one is set aside because it did not accept,
//! and which addresses a name has now. Decides; connects to nothing and asks nobody.

use portreeve_conf::{Action, MOST_TARGET_ADDRESSES, Nothing, Rare, Service, Target};
use portreeve_handover::TargetNameState;
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
/// So often names are looked up whose source tells no TTL, and those that have no address now.
const REFRESH: Duration = Duration::from_secs(60);
/// The least and the greatest TTL that is believed: a name server of somebody else's does not order more questions than that, and a
/// mistake in a zone is not kept for days.
const LEAST: Duration = Duration::from_secs(5);
const GREATEST: Duration = Duration::from_secs(3600);
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
    /// So long its addresses hold since then.
    lasts: Duration,
    /// What the last answer lacked.
    lacks: Lacks,
}

impl Named {
    /// When it is next to be looked up. What is under way is waited for, however short the TTL: a name server that answers nobody would
    /// else fill the resolver's queue with one question, and nobody's name would be found.
    fn next(&self) -> Duration {
        self.last + if self.asked.is_some() { self.lasts.max(REFRESH) } else { self.lasts }
    }
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
                let known = before.names.iter().find(|named| *named.host == *host.as_str());
                let lasts = known.map_or_else(|| first_look(host), |known| known.lasts);
                let (host, port) = (host.as_str().into(), target.port().unwrap_or_default());
                let (asked, lacks) = (None, Lacks::Nothing);
                self.names.push(Named { target: at, host, port, asked, last: now, lasts, lacks });
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
        self.names.iter().map(Named::next).min()
    }

    /// The names that are due; all that were not asked about just now, where a target did not accept.
    pub fn due(&mut self, failed: bool, now: Duration) -> Vec<Ask> {
        let due = |named: &Named| {
            let at_once = failed && named.asked.is_none();
            now >= if at_once { named.last + AT_ONCE.min(named.lasts) } else { named.next() }
        };
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

    /// An answer has come: the addresses of a name, none where there are none, `None` where nobody could be asked; and for how many
    /// seconds they hold, where that is known.
    pub fn answered(&mut self, ticket: u64, addresses: Option<&[IpAddr]>, seconds: Option<u32>) -> Answered {
        let ours = |named: &Named| named.asked.is_some_and(|(asked, _)| asked == ticket);
        let Some(number) = self.names.iter().position(ours) else { return Answered::NotOurs };
        let Some(named) = self.names.get_mut(number) else { return Answered::NotOurs };
        let v6 = named.asked.take().is_some_and(|(_, v6)| v6);
        let host = named.host.clone();
        match addresses {
            Some([]) if !v6 => return Answered::Ask(Ask { number, host, v6: true }),
            None | Some([]) => {
                // The TTL is of what was there before.
                named.lasts = named.lasts.min(REFRESH);
                let lacks = if addresses.is_none() { Lacks::Answer } else { Lacks::Address };
                return match std::mem::replace(&mut named.lacks, lacks) {
                    before if before == lacks => Answered::Same,
                    _ if lacks == Lacks::Answer => Answered::Unasked(host),
                    _ => Answered::Lost(host),
                };
            }
            Some(_) => named.lacks = Lacks::Nothing,
        }
        let lasts = |seconds| Duration::from_secs(u64::from(seconds)).clamp(LEAST, GREATEST);
        named.lasts = seconds.map_or(REFRESH, lasts);
        if self.have(number, addresses.unwrap_or_default()) { Answered::Moved(host) } else { Answered::Same }
    }

    /// A name has these addresses; whether they are others than before.
    fn have(&mut self, number: usize, addresses: &[IpAddr]) -> bool {
        let Some(named) = self.names.get(number) else { return false };
        let (target, port) = (named.target, named.port);
        let addresses = addresses.iter().take(MOST_TARGET_ADDRESSES);
        let places: Vec<Place> = addresses.map(|&ip| Place::Ip(SocketAddr::new(ip, port))).collect();
        let old: Vec<&Place> = self
            .candidates
            .iter()
            .filter(|candidate| candidate.target == target)
            .map(|candidate| &candidate.place)
            .collect();
        // Name servers turn the order with each answer: the same addresses in another order are nothing new.
        if old.len() == places.len() && places.iter().all(|place| old.contains(&place)) {
            return false;
        }
        let new = self.at(target, places);
        let at = self
            .candidates
            .iter()
            .position(|candidate| candidate.target >= target)
            .unwrap_or(self.candidates.len());
        self.candidates.retain(|candidate| candidate.target != target);
        self.candidates.splice(at..at, new);
        true
    }

    /// What is known of the names, for the next supervisor: the file may have been read long ago.
    pub fn leave(&self) -> Vec<TargetNameState> {
        let addresses = |named: &Named| {
            let of = self.candidates.iter().filter(|candidate| candidate.target == named.target);
            of.filter_map(|candidate| match candidate.place {
                Place::Ip(address) => Some(address.ip()),
                Place::Path(_) => None,
            })
            .collect()
        };
        let name = |named: &Named| TargetNameState {
            host: named.host.to_string(),
            port: named.port,
            addresses: addresses(named),
            last: named.last,
            lasts: named.lasts,
        };
        self.names.iter().map(name).collect()
    }

    /// What a former supervisor knew of names that there still are.
    pub fn take_over(&mut self, left: &[TargetNameState]) {
        for left in left.iter().filter(|left| !left.addresses.is_empty()) {
            let same = |named: &Named| *named.host == *left.host && named.port == left.port;
            let numbers = self.names.iter().enumerate().filter(|(_, named)| same(named)).map(|(at, _)| at);
            for number in numbers.collect::<Vec<_>>() {
                self.have(number, &left.addresses);
                if let Some(named) = self.names.get_mut(number) {
                    (named.last, named.lasts) = (left.last, left.lasts.clamp(LEAST, GREATEST));
                }
            }
        }
    }
}

/// How long after its addresses were read a name is first looked up, which tells how long they hold: soon, and not all names at once.
fn first_look(host: &str) -> Duration {
    let sum = host.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    LEAST + Duration::from_millis(sum % 5000)
}

#[cfg(test)]
mod tests;
