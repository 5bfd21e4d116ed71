//! A service as the supervisor runs it: its configuration, its compiled policy, its listeners and its counters.
//! Data and small questions only; what is done with it stands in the files named after the doing.

use crate::banner::Banners;
use crate::duty::{Duty, Order};
use crate::launch::{Inherited, LaunchPlan, Plan};
use crate::listeners::Kept;
use crate::local::OwnFile;
use crate::log::SinkId;
use crate::named::Named;
use crate::recorded::Answers;
use crate::targets::Targets;
use crate::translate::Policy;
use crate::verify::Trust;
use portreeve_conf::{Action, Builtin, Endpoint, Nothing, Rare, Service, SocketType};
use portreeve_policy::{AddressSet, CompiledRules, Reason, ServiceState};
use portreeve_sys::source::Identity;
use portreeve_workers::protocol::Worker;
use rustix::fd::OwnedFd;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Number of a slot; never used twice while anything may still name it.
pub type SlotId = u32;

/// What the listeners of a slot do at the moment. They all do the same; one that is not open is among the missing ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Polled.
    Active,
    /// Not polled until this moment; the kernel holds the clients.
    Paused(Duration, Cow<'static, str>),
    /// Closed by `overload = close` until this moment.
    Closed(Duration),
    /// A wait=yes instance has the socket.
    Suspended,
    /// The worker that serves it is not there; the kernel holds the clients.
    NoWorker,
    /// None could be opened, or it may not be served as it is; it is tried again.
    Retrying(u32, String),
    /// A reload removed it; instances still run.
    Removed,
}

impl State {
    /// The word in `status`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused(..) | Self::NoWorker => "paused",
            Self::Closed(_) => "closed",
            Self::Suspended => "active",
            Self::Retrying(..) => "retrying",
            Self::Removed => "removed",
        }
    }
}

/// Number of a listener in its slot: the smallest that is free when it is opened, so that it stays the same while others
/// come and go.
pub type ListenerId = u16;

/// An open listener.
#[derive(Debug)]
pub struct Listener {
    /// Its number.
    pub number: ListenerId,
    /// What it is for, as configured: by this a reload, another service or another supervisor finds it again.
    pub place: Endpoint,
    /// The socket, parked at a high number.
    pub fd: OwnedFd,
    /// Where it is bound, if that is not `place`.
    bound: Option<Box<Endpoint>>,
    /// The file of a unix socket, where it is ours to remove.
    pub file: Option<Box<OwnFile>>,
    /// Whether epoll watches it.
    pub polled: bool,
}

impl Listener {
    /// One that is not polled yet, and is bound at `address`.
    pub fn new(
        number: ListenerId,
        place: Endpoint,
        fd: OwnedFd,
        address: Endpoint,
        file: Option<OwnFile>,
    ) -> Self {
        let bound = (address != place).then(|| Box::new(address));
        Self { number, place, fd, bound, file: file.map(Box::new), polled: false }
    }

    /// To wait for a service that wants it.
    pub fn kept(self, kind: SocketType) -> Kept {
        let Self { place, fd, bound, file, .. } = self;
        Kept { place: bound.map_or(place, |bound| *bound), kind, fd, file: file.map(|file| *file) }
    }

    /// Where it is bound: as `place`, but for a port of the kernel's choice, or IPv4 where there is no IPv6.
    pub fn address(&self) -> &Endpoint {
        self.bound.as_deref().unwrap_or(&self.place)
    }
}

/// A listener that could not be opened.
#[derive(Debug)]
pub struct Missing {
    /// What it is for.
    pub place: Endpoint,
    /// Why it is not open.
    pub why: String,
}

/// How the clients of a slot are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One program per connection.
    Spawn,
    /// One program gets the listening or datagram socket.
    Wait,
    /// The builtin worker gets each connection.
    Builtin(Builtin),
    /// The builtin worker has the datagram socket.
    BuiltinDatagrams(Builtin),
    /// tcpmux: each connection says which service it wants.
    Mux,
    /// The proxy worker carries each connection to one of the targets.
    Redirect,
    /// The proxy worker has the datagram socket, and carries each source's datagrams to one of the targets.
    RedirectDatagrams,
    /// The supervisor refuses everybody and remembers them.
    Sensor,
}

impl Manner {
    /// The worker that has its datagram sockets, and decides on what comes.
    pub fn owner(self) -> Option<Worker> {
        match self {
            Self::BuiltinDatagrams(_) => Some(Worker::Builtin),
            Self::RedirectDatagrams => Some(Worker::Proxy),
            _ => None,
        }
    }

    /// The worker that it needs.
    pub fn worker(self) -> Option<Worker> {
        match self {
            Self::Builtin(_) | Self::BuiltinDatagrams(_) => Some(Worker::Builtin),
            Self::Redirect | Self::RedirectDatagrams => Some(Worker::Proxy),
            Self::Mux => Some(Worker::Header),
            Self::Spawn | Self::Wait | Self::Sensor => None,
        }
    }
}

/// Counters of a slot, since the service was first started.
#[derive(Debug, Default)]
pub struct Counts {
    /// Clients admitted.
    pub accepted: u64,
    /// Clients refused, by reason.
    pub refused: Vec<(Reason, u64)>,
    /// Clients that had reset their connection before they were taken, in an overload.
    pub gone: u64,
    /// Programs that could not be started.
    pub start_failures: u64,
    /// Datagram records lost on the way from the worker.
    pub lost: u64,
    /// Flows of datagrams that made room for others.
    pub crowded: u64,
}

impl Nothing for Counts {
    const NOTHING: &'static Self =
        &Self { accepted: 0, refused: Vec::new(), gone: 0, start_failures: 0, lost: 0, crowded: 0 };
}

impl Counts {
    /// Counts refusals.
    pub fn refuse(&mut self, reason: Reason, n: u64) {
        match self.refused.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += n,
            None => self.refused.push((reason, n)),
        }
    }
}

/// What is not open of a slot.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Where it cannot listen; that is tried again.
    pub missing: Vec<Missing>,
    /// How often, since all were open last.
    pub tries: u32,
    /// When that is; an alarm of another moment is one that was overtaken.
    pub try_at: Option<Duration>,
    /// Looks for the place of a datagram socket that a worker had, and has yet to let go of, before it counts as taken.
    pub lent: u8,
}

impl Nothing for Trouble {
    const NOTHING: &'static Self = &Self { missing: Vec::new(), tries: 0, try_at: None, lent: 0 };
}

/// What was said of a slot's clients, so that it is not said of each.
#[derive(Debug, Default)]
pub struct Told {
    /// The last refused datagram source and when, so that a flood is one line (reference xinetd §3.2).
    pub last_refused: Option<(SocketAddr, Duration)>,
    /// Sources whose refusal by the rate was logged.
    pub named: Named,
    /// Proxies whose connections had no header, as far as they were named.
    pub headerless: Named,
    /// When it was last said that the service has had its starts of the minute.
    pub minute: Option<Duration>,
}

impl Nothing for Told {
    const NOTHING: &'static Self =
        &Self { last_refused: None, named: Named::NOBODY, headerless: Named::NOBODY, minute: None };
}

/// The verification of a slot's program.
#[derive(Debug, Default)]
pub struct Verified {
    /// What is known of its content.
    pub trust: Trust,
    /// The content of it that is being hashed.
    pub awaits: Option<Identity>,
}

impl Nothing for Verified {
    const NOTHING: &'static Self = &Self { trust: Trust::Unknown, awaits: None };
}

/// A service that is being served. Of a thousand few are ever called: what those do not need takes the room of an address.
#[derive(Debug)]
pub struct Slot {
    /// As configured.
    pub service: Rc<Service>,
    /// What it was read from.
    pub origin: Rc<Answers>,
    /// Which of the services with its id it is there, from 0.
    pub nth: u32,
    /// Who may send a PROXY header; `None` where none is read.
    pub proxies: Option<Rc<AddressSet>>,
    /// The number of its control group among those of services with this id. It stays, wherever its entry moves.
    pub group: u32,
    /// Its policy, once somebody has asked.
    pub policy: Policy,
    /// Limits and rate.
    pub state: ServiceState,
    /// How to start the program, once somebody has asked.
    pub plan: Plan,
    /// What its program was when it was last looked at.
    pub edition: Rc<crate::editions::Edition>,
    /// What is known of its content, where it is verified.
    pub verified: Rare<Verified>,
    /// The worker that serves its TLS; none where it has no TLS, or cannot be served.
    pub tls: Option<u32>,
    /// Banners, read at reload.
    pub banners: Rc<Banners>,
    /// To where it is redirected.
    pub targets: Rare<Targets>,
    /// Service log.
    pub sink: SinkId,
    /// The sockets that are open, by number.
    pub listeners: Vec<Listener>,
    /// Those that are not.
    pub trouble: Rare<Trouble>,
    /// What the listeners do.
    pub status: State,
    /// What a person has ordered of it.
    pub order: Order,
    /// Counters.
    pub counts: Rare<Counts>,
    /// What was said of its clients.
    pub told: Rare<Told>,
    /// The alarm that is set for the rate.
    pub rate_alarm: Option<Duration>,
    /// The overload of its rate was said and its end was not.
    pub overloaded: bool,
    /// The last filter of addresses could not be put onto the listener.
    pub unfiltered: bool,
    /// A wait=yes refusal was logged and nothing has changed since.
    pub hold_logged: bool,
}

impl Slot {
    /// How its clients are served.
    pub fn manner(&self) -> Manner {
        let stream = self.is_stream();
        match &self.service.action {
            Action::Sensor => Manner::Sensor,
            Action::Redirect(_) if stream => Manner::Redirect,
            Action::Redirect(_) => Manner::RedirectDatagrams,
            Action::Mux => Manner::Mux,
            Action::Internal(kind) if stream => Manner::Builtin(*kind),
            Action::Internal(kind) => Manner::BuiltinDatagrams(*kind),
            Action::External { .. } if self.service.wait => Manner::Wait,
            Action::External { .. } => Manner::Spawn,
        }
    }

    /// The workers that must be there for its clients to be served.
    pub fn workers(&self) -> impl Iterator<Item = Worker> + use<> {
        let reads = self.proxies.as_ref().map(|_| Worker::Header);
        // The one that serves its TLS is told apart by `tls`.
        self.manner().worker().filter(|_| self.service.tls.is_none()).into_iter().chain(reads)
    }

    /// Its compiled policy.
    pub fn rules(&self) -> &Rc<CompiledRules> {
        self.policy.get(&self.service)
    }

    /// How to start its program; `None` when it starts none.
    pub fn plan(&self, inherited: &Inherited) -> Option<Rc<LaunchPlan>> {
        self.plan.get(&self.service, self.group, inherited)
    }

    /// Whether clients are accepted one by one from a listening socket.
    pub fn is_stream(&self) -> bool {
        matches!(self.service.listen.socket, SocketType::Stream | SocketType::Seqpacket)
    }

    /// Whether its clients are processes of this host, on unix sockets.
    pub fn is_local(&self) -> bool {
        self.service.mux.is_none() && self.service.listen.is_local()
    }

    /// id, for log lines.
    pub fn id(&self) -> &str {
        &self.service.id
    }

    /// Whether nothing is started for it any more, for clients that were accepted before either.
    pub fn has_ended(&self) -> bool {
        self.status == State::Removed || self.order.duty == Duty::Stop
    }

    /// Whether it has a socket that clients can reach.
    pub fn available(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// The listener of this number.
    pub fn listener(&self, number: ListenerId) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.number == number)
    }

    /// The listener, where there is just one.
    pub fn sole(&self) -> Option<&Listener> {
        match self.listeners.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// The port of its one listener.
    pub fn port(&self) -> Option<u16> {
        Some(self.sole()?.address().address()?.port())
    }

    /// Notes which of these places are not open.
    pub fn note_missing(&mut self, places: &[Endpoint]) {
        if self.service.mux.is_some() {
            // Its clients come through tcpmux.
            return;
        }
        let open = |place: &&Endpoint| self.listeners.iter().any(|listener| listener.place == **place);
        let missing = places.iter().filter(|place| !open(place));
        let why = || "not tried since the upgrade".to_owned();
        let missing: Vec<Missing> =
            missing.map(|place| Missing { place: place.clone(), why: why() }).collect();
        if !missing.is_empty() || !self.trouble.is_unmade() {
            self.trouble.missing = missing;
        }
    }

    /// Nothing that it has not open is wanted any more.
    pub fn forget_missing(&mut self) {
        if let Some(trouble) = self.trouble.made() {
            (trouble.missing, trouble.tries) = (Vec::new(), 0);
        }
    }

    /// A number for one more listener.
    pub fn free_number(&self) -> ListenerId {
        let mut numbers: Vec<ListenerId> = self.listeners.iter().map(|l| l.number).collect();
        numbers.sort_unstable();
        let free = numbers.iter().zip(0..).find(|&(&taken, n)| taken != n).map(|(_, n)| n);
        free.unwrap_or(ListenerId::try_from(numbers.len()).unwrap_or(ListenerId::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_nobody_calls_takes_little() {
        assert!(size_of::<Slot>() <= 232, "{}", size_of::<Slot>());
        assert!(size_of::<Listener>() <= 80, "{}", size_of::<Listener>());
    }

    #[test]
    fn a_listener_says_where_it_is_bound() {
        let fd = || rustix::fs::memfd_create("listener", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let at = |text: &str| Endpoint::inet(text.parse().unwrap());
        for (place, bound) in [("[::]:80", "[::]:80"), ("[::]:0", "[::]:4711"), ("[::]:80", "0.0.0.0:80")] {
            let listener = Listener::new(0, at(place), fd(), at(bound), None);
            assert_eq!((&listener.place, listener.address()), (&at(place), &at(bound)));
            assert_eq!(listener.kept(SocketType::Stream).place, at(bound));
        }
    }
}
