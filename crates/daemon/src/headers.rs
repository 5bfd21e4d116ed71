//! Connections in front of which something must be read before it is known who comes or for what (stage A of ARCHITECTURE
//! §4): a PROXY header, the line of tcpmux. The connection stays here, with its place in the limits and a deadline; the header
//! worker gets a copy of its descriptor and answers for a ticket. What it says counts for that connection alone.
//!
//! Nothing is taken from the socket until the header is whole. So a worker that dies loses nobody: the next one is asked again.

use crate::admit::Client;
use crate::hosts::source_of;
use crate::slot::{SlotId, State};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_policy::{Arrival, Cause, Peer, Proof, Refusal, Seat, Verdict, decide_front};
use portreeve_sys::limits;
use portreeve_workers::protocol::{Fault, Found, FromHeader, Preamble, ToHeader, Worker};
use rustix::fd::AsFd;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Most connections of one source of tcpmux whose line is awaited. Proxies have no such bound: they are trusted, and come from
/// one address.
pub const MOST_PER_SOURCE: usize = 16;
/// How long a PROXY header may take. A proxy sends it with the connection.
const PROXY_TIME: Duration = Duration::from_secs(5);
/// How long a line of tcpmux may take. A person may type it.
const MUX_TIME: Duration = Duration::from_secs(30);
/// Workers that may die over a connection before it is given up.
const TRIES: u32 = 2;
/// So many messages may wait for the worker before its listeners rest.
const CROWDED: usize = 64;

/// What a PROXY header has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Front {
    /// None was read (yet).
    #[default]
    Unread,
    /// The proxy speaks for itself; the socket's peer counts.
    Direct,
    /// It has named the client, and where that had connected to, if this is still known. No handshake proved the address.
    Proxied(Option<SocketAddr>),
}

impl Front {
    /// What stands behind the client's address.
    pub fn proof(self) -> Proof {
        if self.is_proxied() { Proof::Proxy } else { Proof::Handshake }
    }

    /// Whether the client's address is a proxy's word.
    pub fn is_proxied(self) -> bool {
        matches!(self, Self::Proxied(_))
    }

    /// Where the client had connected to.
    pub fn destination(self) -> Option<SocketAddr> {
        match self {
            Self::Proxied(to) => to,
            Self::Unread | Self::Direct => None,
        }
    }
}

/// A connection whose header is awaited.
#[derive(Debug)]
pub struct Awaited {
    /// The client, as the socket names it.
    pub client: Client,
    /// Its place in the limits of the slot that it came to.
    pub seat: Seat,
    /// What must come.
    pub what: Preamble,
    /// Start in seconds since 1970.
    pub since: i64,
    /// When it is given up.
    pub until: Duration,
    /// Workers that died over it.
    pub tries: u32,
    /// The worker that was asked is leaving: its number.
    pub leaving: Option<u32>,
}

/// All of them, by ticket, and so the oldest first.
#[derive(Debug, Default)]
pub struct Headers {
    awaited: BTreeMap<u64, Awaited>,
    per_source: HashMap<IpAddr, usize>,
    alarm: Option<Duration>,
    /// Connections that were given up to make room.
    pub given_up: u64,
}

impl Headers {
    /// How many are awaited.
    pub fn len(&self) -> usize {
        self.awaited.len()
    }

    /// Whether one of a slot is.
    pub fn name(&self, id: SlotId) -> bool {
        self.awaited.values().any(|awaited| awaited.client.slot == id)
    }

    /// All, with their tickets: the worker goes on reading over an upgrade, and answers for these.
    pub fn awaited(&self) -> impl Iterator<Item = (u64, &Awaited)> {
        self.awaited.iter().map(|(&ticket, awaited)| (ticket, awaited))
    }

    /// Tickets of some.
    pub fn tickets(&self, which: impl Fn(&Awaited) -> bool) -> Vec<u64> {
        self.awaited.iter().filter(|(_, awaited)| which(awaited)).map(|(&ticket, _)| ticket).collect()
    }

    /// Whether this one is awaited from that worker: one that leaves, by its number, or ours.
    pub fn is_with(&self, ticket: u64, leaving: Option<u32>) -> bool {
        self.awaited.get(&ticket).is_some_and(|awaited| awaited.leaving == leaving)
    }

    fn has_room_for(&self, source: IpAddr, what: Preamble) -> bool {
        what == Preamble::Proxy || self.per_source.get(&source).is_none_or(|&n| n < MOST_PER_SOURCE)
    }

    fn put(&mut self, ticket: u64, awaited: Awaited) {
        *self.per_source.entry(source_of(awaited.client.peer.source())).or_default() += 1;
        self.awaited.insert(ticket, awaited);
    }

    fn take(&mut self, ticket: u64) -> Option<Awaited> {
        let awaited = self.awaited.remove(&ticket)?;
        let source = source_of(awaited.client.peer.source());
        if let Some(n) = self.per_source.get_mut(&source) {
            *n -= 1;
            if *n == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(awaited)
    }
}

impl Supervisor {
    /// A connection of a service that reads PROXY headers: whether its peer may send one, and whether there is room to wait.
    pub fn await_proxy(&mut self, client: Client) {
        let now = self.now();
        self.seek_seat(client.slot, None);
        let Some(slot) = self.slots.get(&client.slot).filter(|slot| slot.status != State::Removed) else {
            return;
        };
        let trusted = slot
            .proxies
            .as_ref()
            .zip(client.peer.address())
            .is_some_and(|(set, at)| set.matches_address(at.ip()));
        let arrival = Arrival { peer: client.peer, proof: Proof::Handshake };
        let load = slot.rules().rules().max_load.and_then(|_| limits::load_average());
        match decide_front(slot.rules(), &slot.state, &self.host, &arrival, trusted, load, &now) {
            Verdict::Admit(seat) => self.await_header(client, seat, Preamble::Proxy),
            Verdict::Refuse(refusal) => {
                if let Some(client) = self.wait_for_seat(client, &refusal) {
                    self.refuse(client, &refusal);
                }
            }
            Verdict::NeedNames | Verdict::NeedTables => {}
        }
    }

    /// A PROXY header has come: who it names is judged as any client. The place that was held is free for it.
    fn fronted(&mut self, awaited: Awaited, front: Front, from: Option<SocketAddr>) {
        let Awaited { mut client, seat, .. } = awaited;
        drop(seat);
        client.peer = from.map_or(client.peer, Peer::Inet);
        client.front = front;
        self.arrival(client);
    }

    /// Awaits what must stand in front of a connection. Where there are as many as there may be, the one that has been
    /// silent for longest makes room: who means it sends at once.
    pub fn await_header(&mut self, client: Client, seat: Seat, what: Preamble) {
        let time = match what {
            Preamble::Proxy => PROXY_TIME,
            Preamble::Mux => MUX_TIME,
        };
        let (now, since) = (self.stamp.mono(), self.stamp.wall());
        let source = source_of(client.peer.source());
        let awaited = Awaited { client, seat, what, since, until: now + time, tries: 0, leaving: None };
        if !self.headers.has_room_for(source, what) {
            self.headers.given_up += 1;
            self.no_header(awaited);
            return;
        }
        if self.headers.len() >= self.most_headers
            && let Some((&oldest, _)) = self.headers.awaited.first_key_value()
        {
            self.headers.given_up += 1;
            self.end_header(oldest);
        }
        let ticket = self.ticket();
        if !self.ask_header(ticket, &awaited) {
            self.no_header(awaited);
            return;
        }
        self.watch_headers(awaited.until);
        self.headers.put(ticket, awaited);
        if self.staff.link(Worker::Header).backlog() > CROWDED {
            self.rest_headers();
        }
    }

    /// One that a former version awaited. The worker has been asked and is not asked again: two that look at one socket
    /// would take the client's own bytes for a second header.
    pub fn await_on(&mut self, ticket: u64, awaited: Awaited) {
        self.watch_headers(awaited.until);
        self.headers.put(ticket, awaited);
    }

    fn tell_header(&mut self, message: ToHeader, fd: Option<rustix::fd::OwnedFd>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Header, bytes, fd.map(Into::into))
    }

    fn ask_header(&mut self, ticket: u64, awaited: &Awaited) -> bool {
        let Ok(copy) = awaited.client.fd.as_fd().try_clone_to_owned() else { return false };
        self.tell_header(ToHeader::Read { ticket, what: awaited.what }, Some(copy))
    }

    /// One alarm for all: the earliest that is due.
    fn watch_headers(&mut self, until: Duration) {
        if self.headers.alarm.is_none_or(|alarm| until < alarm) {
            self.headers.alarm = Some(until);
            self.timers.set(until, Alarm::Headers);
        }
    }

    /// The alarm: who has been silent for too long is let go.
    pub fn headers_late(&mut self) {
        let now = self.stamp.mono();
        self.headers.alarm = None;
        for ticket in self.headers.tickets(|awaited| awaited.until <= now) {
            self.end_header(ticket);
        }
        if let Some(next) = self.headers.awaited.values().map(|awaited| awaited.until).min() {
            self.watch_headers(next);
        }
    }

    /// Ends the wait for a header without one.
    fn end_header(&mut self, ticket: u64) {
        if let Some(awaited) = self.headers.take(ticket) {
            self.tell_header(ToHeader::Forget { ticket }, None);
            self.no_header(awaited);
        }
    }

    /// Ends the connections of a slot whose header is awaited.
    pub fn end_headers(&mut self, id: SlotId) {
        for ticket in self.headers.tickets(|awaited| awaited.client.slot == id) {
            self.end_header(ticket);
        }
    }

    /// The worker has spoken.
    pub fn heard_header(&mut self, message: FromHeader) {
        let FromHeader::Read { ticket, found } = message else { return };
        // Unknown: it was given up while the answer was on its way.
        if !self.headers.is_with(ticket, None) {
            return;
        }
        let Some(awaited) = self.headers.take(ticket) else { return };
        let id = awaited.client.slot;
        match (awaited.what, found) {
            (Preamble::Mux, Found::Name(name)) => self.chosen(awaited, &name),
            (Preamble::Proxy, Found::Proxied { from, to }) => {
                self.fronted(awaited, Front::Proxied(Some(to)), Some(from))
            }
            (Preamble::Proxy, Found::Direct) => self.fronted(awaited, Front::Direct, None),
            (Preamble::Mux, Found::Failed(Fault::Malformed | Fault::TooLong)) => self.chosen(awaited, b""),
            (_, Found::Failed(Fault::Ended | Fault::Malformed | Fault::TooLong | Fault::Full)) => {
                self.no_header(awaited);
            }
            // An answer to another question than the one that was asked.
            (Preamble::Mux | Preamble::Proxy, _) => {
                self.no_header(awaited);
                let index = crate::staff::Staff::index(Worker::Header);
                self.lose_worker(index, "it answered what it was not asked");
            }
        }
        self.forget_if_done(id);
    }

    /// What must come did not.
    fn no_header(&mut self, awaited: Awaited) {
        match awaited.what {
            Preamble::Mux => self.nothing_chosen(awaited),
            Preamble::Proxy => {
                let Awaited { client, seat, .. } = awaited;
                drop(seat);
                self.refuse(client, &Refusal::new(Cause::NoHeader, None));
            }
        }
    }

    fn rest_headers(&mut self) {
        for (id, _) in self.slots_of(Worker::Header) {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::Active
            {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
    }

    /// The worker is ready, or takes messages (again).
    pub fn header_has_room(&mut self) {
        for (id, takes) in self.slots_of(Worker::Header) {
            if takes
                && let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::NoWorker
            {
                slot.status = State::Active;
                self.poll_slot(id, true);
                self.attach_filter(id);
            }
        }
    }

    /// The slots that a worker serves, and whether all that they need take clients.
    fn slots_of(&self, worker: Worker) -> Vec<(SlotId, bool)> {
        let of = |slot: &crate::slot::Slot| slot.workers().any(|w| w == worker);
        let slots = self.slots.iter().filter(|(_, slot)| of(slot));
        slots.map(|(&id, slot)| (id, self.worker_state(slot) == State::Active)).collect()
    }

    /// Whether the worker takes another connection to read.
    pub fn header_takes(&self) -> bool {
        let link = self.staff.link(Worker::Header);
        link.presence == Presence::Ready && link.backlog() <= CROWDED
    }

    /// The worker is gone. Nothing was taken from the sockets, so the next one is asked; who was there at the end of two is
    /// given up.
    pub fn header_lost(&mut self) {
        self.rest_headers();
        for ticket in self.headers.tickets(|awaited| awaited.leaving.is_none()) {
            if let Some(awaited) = self.headers.awaited.get_mut(&ticket) {
                awaited.tries += 1;
            }
            self.ask_header_again(ticket);
        }
    }

    /// Whoever was asked is gone, and had taken nothing: the next one is asked.
    pub fn ask_header_again(&mut self, ticket: u64) {
        let Some(mut awaited) = self.headers.take(ticket) else { return };
        awaited.leaving = None;
        if awaited.tries < TRIES && self.ask_header(ticket, &awaited) {
            self.headers.put(ticket, awaited);
        } else {
            self.no_header(awaited);
        }
    }

    /// What has come is not understood.
    pub fn give_up_header(&mut self, ticket: u64) {
        if let Some(awaited) = self.headers.take(ticket) {
            self.no_header(awaited);
        }
    }
}
