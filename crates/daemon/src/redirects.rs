//! Redirected services: connects to the target, without waiting, and hands both ends to the proxy worker; announces what
//! it reports. While the worker is away their listeners are not polled, so the kernel holds the clients and none is lost.
//!
//! The supervisor connects so that the worker, which reads what strangers send, need not be able to: the target is the
//! administrator's word, and connect(2) reads nothing.

use crate::admit::Client;
use crate::banner::Banner;
use crate::children::{Ends, Leg, Session};
use crate::connect::{self, Way};
use crate::listeners::local_address;
use crate::machine::percent_m;
use crate::proxy_header;
use crate::slot::{Slot, SlotId, State};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use crate::targets::{Choice, Place};
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::{Peer, Seat};
use portreeve_sys::farewell::Connection;
use portreeve_sys::reap::Status;
use portreeve_workers::protocol::{Carried, FromProxy, MAX_BANNER, ToProxy, Worker};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Seconds that a target may take to accept while there is another, and the last one.
const PATIENCE: u16 = 5;
const PATIENCE_OF_LAST: u16 = 30;
/// How long unix sockets with full queues are tried again, and how often.
const BUSY: Duration = Duration::from_secs(10);
const BUSY_AGAIN: Duration = Duration::from_millis(50);

/// So many of our own services may stand one behind the other.
const MOST_HOPS: usize = 8;

/// So many messages may wait for the worker before its listeners rest.
const CROWDED: usize = 64;

/// IPv4 addresses as such, however the socket writes them; "to no address" is to where it comes from.
pub fn canonical(from: SocketAddr, to: SocketAddr) -> Ends {
    let plain = |address: SocketAddr, ip: IpAddr| SocketAddr::new(ip.to_canonical(), address.port());
    (plain(from, from.ip()), plain(to, if to.ip().is_unspecified() { from.ip() } else { to.ip() }))
}

/// Whether another redirected service has its target here. On a unix socket nothing tells which of its connections this one is, so
/// it may be the first of a circle.
fn is_ourselves(peer: Peer) -> bool {
    matches!(peer, Peer::Local(who) if who.pid.unsigned_abs() == std::process::id())
}

/// The least of all addresses.
const LEAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// By which connection a client came, if it may be one of ours: else its other end need not be asked for.
fn came_by(client: &Client, ours: &BTreeMap<Ends, u64>) -> Option<Ends> {
    let from = match client.front.is_proxied() {
        true => portreeve_sys::socket::ip(rustix::net::getpeername(&client.fd).ok()??)?,
        false => client.peer.address()?,
    };
    let plain = SocketAddr::new(from.ip().to_canonical(), from.port());
    ours.range((plain, LEAST)..).next().filter(|(ends, _)| ends.0 == plain)?;
    Some(canonical(from, local_address(&client.fd).ok()?))
}

/// Seconds that a target may take to accept.
fn patience(choice: &Choice, slot: &Slot) -> u16 {
    let patience = if choice.last { PATIENCE_OF_LAST } else { PATIENCE };
    patience.min(u16::try_from(slot.service.idle_timeout).unwrap_or(u16::MAX))
}

impl Supervisor {
    /// Tells the proxy worker.
    pub fn tell_proxy(&mut self, message: &ToProxy, fd: Option<Connection>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Proxy, bytes, fd)
    }

    /// Hands an admitted client to the worker, with a connection to its target under way.
    pub fn carry(&mut self, client: Client, seat: Seat) {
        let (id, peer) = (client.slot, client.peer);
        // One that has shaken hands has its mark already.
        let ticket = client.shield.as_ref().map_or_else(|| self.ticket(), |shield| shield.ticket);
        let came = came_by(&client, &self.children.ends);
        if is_ourselves(peer) {
            self.say_round(id);
            return;
        }
        if self.comes_round(id, came) {
            self.unseal(ticket);
            return;
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let sealed = slot.service.tls.is_some();
        let idle_seconds = slot.service.idle_timeout;
        let version = slot.service.proxy_protocol.and_then(|proxy| proxy.send);
        let banners = slot.banners.clone();
        // Nobody has a process of its own here, so all are pid 0.
        let event = self.announcer.start(&mut self.sinks, &self.stamp, slot, 0, Some(peer));
        let session = Session {
            slot: id,
            peer: Some(peer),
            seat: Some(seat),
            started_wall: self.stamp.wall(),
            started: self.stamp.mono(),
            sealed,
            way: Some(Leg { came, ..Leg::default() }),
            logs_exit: true,
            leaving: None,
            event,
            bytes: None,
        };
        self.children.carried.insert(ticket, session);
        self.sealed_carried += usize::from(sealed);
        let head = version.map_or_else(Vec::new, |version| {
            let local =
                client.front.destination().or(client.local).or_else(|| local_address(&client.fd).ok());
            proxy_header::stream(version, peer.address(), local)
        });
        let handed = if sealed {
            self.carry_sealed(client, ticket, head)
        } else {
            let banner = self.banner_text(id, banners.success.as_ref());
            self.tell_proxy(&ToProxy::Client { ticket, idle_seconds, banner, head }, Some(client.fd))
        };
        if !handed {
            self.unseal(ticket);
            self.end_of_carried(ticket, Status::Exited(1));
            return;
        }
        self.aim(ticket);
        if sealed {
            return;
        }
        if self.staff.link(Worker::Proxy).backlog() > CROWDED || self.carried_full() {
            self.rest_redirects(false);
        }
    }

    /// Gives a client that the worker has its (next) target, or ends it where there is none.
    pub fn aim(&mut self, ticket: u64) {
        let now = self.stamp.mono();
        loop {
            let Some(session) = self.children.carried.get_mut(&ticket) else { return };
            let (id, peer, Some(leg)) = (session.slot, session.peer, &mut session.way) else { return };
            if let Some(awaited) = &leg.awaits {
                if now < awaited.until {
                    return;
                }
                let (place, began) = (awaited.choice.place.clone(), leg.began);
                leg.awaits = None;
                self.unreached(id, &place, Errno::TIMEDOUT, began);
                continue;
            }
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(choice) = slot.targets.choose(&leg.tried, now) else {
                if let Some(since) = leg.busy
                    && now < since + BUSY
                    && !leg.full.is_empty()
                {
                    // Those with a full queue have not refused it; the others have.
                    let full = std::mem::take(&mut leg.full);
                    leg.tried.retain(|place| !full.contains(place));
                    self.timers.set(now + BUSY_AGAIN, Alarm::Aim(ticket));
                    return;
                }
                self.end_carriage(ticket);
                self.end_of_carried(ticket, Status::Exited(0));
                return;
            };
            leg.tried.push(choice.place.clone());
            leg.began = now;
            let ids = crate::launch::ids(&slot.service).filter(|_| self.inherited.root);
            let transparent = peer.filter(|_| slot.service.transparent);
            let way = Way {
                keepalive: slot.service.listen.keepalive,
                datagrams: !slot.is_stream(),
                transparent: transparent.and_then(|peer| peer.address()).map(|peer| peer.ip().to_canonical()),
                ids,
            };
            let patience = u64::from(patience(&choice, slot));
            let begun = match &choice.place {
                Place::Ip(_) => connect::begin(&choice.place, &way),
                Place::Path(path) => {
                    let until = now + Duration::from_secs(patience);
                    match self.begin_way(ticket, path, choice.clone(), way, until) {
                        Ok(()) => return,
                        Err(errno) => Err(errno),
                    }
                }
            };
            if !self.on_its_way(ticket, &choice, begun) {
                return;
            }
        }
    }

    /// A connection to a target was begun, or could not be; whether the client goes on to the next one.
    pub fn on_its_way(&mut self, ticket: u64, choice: &Choice, begun: Result<OwnedFd, Errno>) -> bool {
        let Some(session) = self.children.carried.get_mut(&ticket) else { return false };
        let (id, Some(leg)) = (session.slot, &mut session.way) else { return false };
        let began = leg.began;
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        match begun {
            Ok(begun) => {
                leg.busy = None;
                let goes = match choice.place {
                    Place::Ip(to) if !slot.is_stream() || self.children.doors.contains(&to.port()) => {
                        local_address(&begun).ok().map(|from| canonical(from, to))
                    }
                    Place::Ip(_) | Place::Path(_) => None,
                };
                if let Some(old) = std::mem::replace(&mut leg.goes, goes) {
                    self.children.ends.remove(&old);
                }
                self.children.ends.extend(goes.map(|goes| (goes, ticket)));
                let patience_seconds = patience(choice, slot);
                if !self.send_target(ticket, choice, patience_seconds, begun) {
                    self.end_carriage(ticket);
                    self.end_of_carried(ticket, Status::Exited(1));
                }
                return false;
            }
            Err(errno) if connect::may_pass(errno) => {
                let since = *leg.busy.get_or_insert(began);
                leg.full.push(choice.place.clone());
                if began >= since + BUSY {
                    // Its own full queue is its own fault; what this machine lacks is not.
                    match (errno, &choice.place) {
                        (Errno::AGAIN, Place::Path(_)) => self.unreached(id, &choice.place, errno, began),
                        _ => self.say_unreached(&choice.place, errno),
                    }
                }
            }
            // Of the other family than the client it is to be reached for, or we may not: no fault of its own.
            Err(errno @ (Errno::AFNOSUPPORT | Errno::PERM)) if slot.service.transparent => {
                self.say_unreached(&choice.place, errno);
            }
            Err(errno) => self.unreached(id, &choice.place, errno, began),
        }
        true
    }

    fn send_target(&mut self, ticket: u64, choice: &Choice, patience_seconds: u16, fd: OwnedFd) -> bool {
        if self.children.carried.get(&ticket).is_some_and(|session| session.sealed) {
            return self.lead_to(ticket, choice, patience_seconds, fd);
        }
        let leg = self.children.carried.get_mut(&ticket).and_then(|session| session.way.as_mut());
        let tell = choice.doubtful;
        let message = match leg.and_then(|leg| leg.number.take()) {
            Some(number) => ToProxy::Flow { number, ticket, tell },
            None => ToProxy::Target { ticket, patience_seconds, tell },
        };
        self.tell_proxy(&message, Some(fd.into()))
    }

    /// A target of this slot was not reached by a client that was sent there at `began`.
    fn unreached(&mut self, id: SlotId, place: &Place, errno: Errno, began: Duration) {
        let now = self.stamp.mono();
        self.say_unreached(place, errno);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.targets.failed(place, errno, began, now);
        }
        self.look_up_targets(id, true);
    }

    /// A banner that a worker sends; one that cannot be read is said.
    pub fn banner_text(&mut self, id: SlotId, banner: Option<&Banner>) -> Vec<u8> {
        let mut told = Vec::new();
        let take = |text: &[u8]| told.extend(text.iter().take(MAX_BANNER));
        if let Some(path) = banner.and_then(|banner| banner.with_text(self.stamp.mono(), take)) {
            let name = crate::programs::slot_name(self, id);
            let text = format!("service = {name}, open of banner {path} failed");
            self.say(Level::Error, &text);
        }
        told
    }

    /// xinetd's words (reference xinetd §8).
    fn say_unreached(&mut self, place: &Place, errno: Errno) {
        let what = match place {
            Place::Ip(address) => format!("remote host {}", address.ip()),
            Place::Path(path) => crate::escape::escaped(path).into_owned(),
        };
        let text = format!("can't connect to {what}: {}", percent_m(&errno.into()));
        self.say(Level::Error, &text);
    }

    /// A carried connection has ended: EXIT, and room for the next. Nothing where there is none of this ticket.
    pub fn end_of_carried(&mut self, ticket: u64, status: Status) {
        let was_full = self.carried_full();
        let Some(session) = self.children.carried.remove(&ticket) else { return };
        self.sealed_carried -= usize::from(session.sealed);
        self.children.flows -= usize::from(self.is_flow(&session));
        if let Some(goes) = session.way.as_ref().and_then(|leg| leg.goes) {
            self.children.ends.remove(&goes);
        }
        if let Some(slot) = self.slots.get(&session.slot) {
            let end = session.end(&self.stamp, status);
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, &end);
        }
        self.forget_if_done(session.slot);
        if was_full {
            self.proxy_has_room();
        }
    }

    /// Whether it is a flow of datagrams, and not a connection.
    pub fn is_flow(&self, session: &Session) -> bool {
        self.slots.get(&session.slot).is_some_and(|slot| !slot.is_stream())
    }

    /// Whether the worker has all the connections it can hold; more clients wait in the kernel's queue.
    fn carried_full(&self) -> bool {
        self.children.carried.len() - self.sealed_carried - self.children.flows >= self.most_carried
    }

    /// The worker has spoken.
    pub fn heard_proxy(&mut self, message: FromProxy) {
        // What a worker of TLS carries is not this one's.
        let own = |ticket: &u64| {
            self.children
                .carried
                .get(ticket)
                .is_some_and(|session| !session.sealed && session.leaving.is_none())
        };
        match message {
            FromProxy::Reached { ticket } if own(&ticket) => self.target_reached(ticket),
            FromProxy::Unreached { ticket, errno } if own(&ticket) => self.target_unreached(ticket, errno),
            FromProxy::Done { ticket, bytes_in, bytes_out, outcome } if own(&ticket) => {
                self.carried(ticket, (bytes_in, bytes_out), outcome);
            }
            FromProxy::Want { slot, number, source, local } => self.begin_flow(slot, number, source, local),
            FromProxy::Datagrams(report) => self.heard_of_datagrams(&report),
            FromProxy::Rate { slot, note } => self.heard_of_rate(slot, note),
            _ => {}
        }
    }

    /// A target has accepted.
    pub fn target_reached(&mut self, ticket: u64) {
        let now = self.stamp.mono();
        if let Some((id, place, _)) = self.aimed_at(ticket)
            && let Some(slot) = self.slots.get_mut(&id)
        {
            slot.targets.reached(&place, now);
        }
    }

    /// A target has not: the next one.
    pub fn target_unreached(&mut self, ticket: u64, errno: u16) {
        if let Some((id, place, began)) = self.aimed_at(ticket) {
            self.unreached(id, &place, Errno::from_raw_os_error(i32::from(errno)), began);
            self.aim(ticket);
        }
    }

    /// Where a client was last sent, and when.
    pub fn aimed_at(&self, ticket: u64) -> Option<(SlotId, Place, Duration)> {
        let session = self.children.carried.get(&ticket)?;
        let leg = session.way.as_ref()?;
        Some((session.slot, leg.tried.last()?.clone(), leg.began))
    }

    /// Whether who comes by this connection is ourselves, on the way from one of this service: it would come round until no
    /// descriptor is left.
    pub fn comes_round(&mut self, id: SlotId, came: Option<Ends>) -> bool {
        let mut came = came;
        for _ in 0..MOST_HOPS {
            let before = came.and_then(|came| self.children.ends.get(&came));
            let Some(session) = before.and_then(|ticket| self.children.carried.get(ticket)) else {
                return false;
            };
            if session.slot == id {
                break;
            }
            came = session.way.as_ref().and_then(|leg| leg.came);
        }
        self.say_round(id);
        true
    }

    fn say_round(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        if let Some(slot) = self.slots.get_mut(&id)
            && slot.targets.says_round(now)
        {
            let text = format!("service {}: its target leads back to it", slot.id());
            self.say(Level::Error, &text);
        }
    }

    /// How a carried connection ended.
    pub fn carried(&mut self, ticket: u64, (bytes_in, bytes_out): (u64, u64), outcome: Carried) {
        let Some(session) = self.children.carried.get_mut(&ticket) else { return };
        session.bytes = Some((bytes_in, bytes_out));
        let status = match outcome {
            Carried::Full => Status::Exited(1),
            Carried::Complete | Carried::Idle | Carried::Broken | Carried::Ended | Carried::Crowded => {
                if let Some(slot) = self.slots.get_mut(&session.slot) {
                    slot.counts.crowded += u64::from(outcome == Carried::Crowded);
                    self.announcer.traffic(&mut self.sinks, &self.stamp, slot, bytes_in, bytes_out);
                }
                Status::Exited(0)
            }
        };
        self.end_of_carried(ticket, status);
    }

    /// Ends the connections of a slot. Their EXIT says status 0 and no TRAFFIC comes before it, as in xinetd.
    pub fn end_carried(&mut self, id: SlotId) {
        let of = |session: &Session| session.slot == id;
        let tickets: Vec<u64> = self
            .children
            .carried
            .iter()
            .filter(|(_, session)| of(session))
            .map(|(&ticket, _)| ticket)
            .collect();
        for ticket in tickets {
            self.end_carriage(ticket);
            self.end_of_carried(ticket, Status::Exited(0));
        }
        self.end_sealed(id);
    }

    /// Ends one connection.
    pub fn end_carried_by_order(&mut self, ticket: u64) {
        self.end_carriage(ticket);
        self.end_of_carried(ticket, Status::Exited(0));
    }

    fn end_carriage(&mut self, ticket: u64) {
        let Some(session) = self.children.carried.get(&ticket) else { return };
        let number = session.way.as_ref().and_then(|leg| leg.number);
        let (message, mut bytes) = match number {
            Some(number) => (ToProxy::NoFlow { number }, Vec::new()),
            None => (ToProxy::End { ticket }, Vec::new()),
        };
        match session.leaving {
            _ if session.sealed => self.unseal(ticket),
            Some(number) if message.encode(&mut bytes).is_ok() => self.end_with_leaving(number, bytes),
            _ => drop(self.tell_proxy(&message, None)),
        }
    }

    fn redirect_slots(&self) -> Vec<SlotId> {
        let redirect =
            |slot: &Slot| slot.manner().worker() == Some(Worker::Proxy) && slot.service.tls.is_none();
        self.slots.iter().filter(|(_, slot)| redirect(slot)).map(|(&id, _)| id).collect()
    }

    fn rest_redirects(&mut self, datagrams: bool) {
        for id in self.redirect_slots() {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::Active
                && (datagrams || slot.is_stream())
            {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
    }

    /// The worker is ready, or takes messages (again).
    pub fn proxy_has_room(&mut self) {
        if self.staff.link(Worker::Proxy).presence != Presence::Ready
            || self.carried_full()
            || self.staff.link(Worker::Proxy).backlog() > CROWDED
        {
            return;
        }
        for id in self.redirect_slots() {
            if self.slots.get(&id).is_some_and(|slot| self.worker_state(slot) == State::Active)
                && let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::NoWorker
            {
                slot.status = State::Active;
                if slot.is_stream() {
                    self.poll_slot(id, true);
                    self.attach_filter(id);
                }
            }
        }
    }

    /// The worker is gone, and its connections with it.
    pub fn proxy_lost(&mut self) {
        self.rest_redirects(true);
        let own = |session: &Session| !session.sealed && session.leaving.is_none();
        let tickets: Vec<u64> =
            self.children.carried.iter().filter(|(_, session)| own(session)).map(|(&t, _)| t).collect();
        for ticket in tickets {
            self.end_of_carried(ticket, Status::Signaled(9));
        }
    }
}
