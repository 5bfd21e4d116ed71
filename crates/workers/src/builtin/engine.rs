//! The loop: waits for the channel, clients and datagram sockets at once, and gives each a bounded turn. Owns what they
//! share; how a client is served and a datagram judged stands with them.

use super::Bounds;
use super::client::{Desk, READ};
use super::clients::{Arrived, Clients};
use super::datagrams::{Round, Service};
use super::shell::Reports;
use super::silence::Silence;
use super::texts;
use crate::datagram::Standing;
use crate::outbox::Outbox;
use crate::protocol::{
    BadMessage, BuiltinKind, FromBuiltin, LEAVE, MAX_MESSAGE, Outcome, Policy, ToBuiltin, parts,
};
use portreeve_policy::Now;
use portreeve_sys::{clock, filter, seqpacket};
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, EventData, EventFlags},
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events of one wait.
const EVENTS: usize = 256;
/// Messages of the supervisor before the others get their turn.
const MESSAGES: usize = 64;

/// What an epoll event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Channel,
    Client(u64),
    /// A socket of a datagram service, by its number there.
    Service(u32, u16),
}

const KIND: u64 = 3 << 62;

impl Event {
    pub(super) fn number(self) -> u64 {
        match self {
            Event::Channel => 0,
            Event::Client(ticket) => (1 << 62) | (ticket & !KIND),
            Event::Service(slot, number) => (2 << 62) | (u64::from(number) << 32) | u64::from(slot),
        }
    }

    fn of(number: u64) -> Self {
        match number >> 62 {
            1 => Event::Client(number & !KIND),
            2 => Event::Service((number & 0xffff_ffff) as u32, ((number >> 32) & 0xffff) as u16),
            _ => Event::Channel,
        }
    }
}

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// The supervisor has closed the channel, or wants us to leave and nothing is left to do.
    Home,
}

/// The worker's whole state.
pub(super) struct Engine {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    out: Outbox<FromBuiltin>,
    watched: EventFlags,
    message: Box<[u8]>,
    clients: Clients,
    services: BTreeMap<u32, (Service, bool)>,
    most_services: usize,
    standing: Standing,
    silence: Silence,
    /// What the next client is told of this host, where it is one that is.
    reports: Reports,
    /// Nobody new comes.
    leaving: bool,
}

impl Engine {
    /// # Errors
    /// No epoll instance, or the channel cannot be watched.
    pub(super) fn new(channel: OwnedFd, bounds: Bounds) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watched = EventFlags::IN;
        epoll::add(&epoll, &channel, EventData::new_u64(Event::Channel.number()), watched)?;
        let desk = Desk { scratch: vec![0; READ].into(), datagrams: None, chargen: texts::chargen_block() };
        Ok(Engine {
            epoll,
            events: Vec::with_capacity(EVENTS),
            out: Outbox::new(channel),
            watched,
            message: vec![0; MAX_MESSAGE].into(),
            clients: Clients::new(bounds.clients, desk),
            services: BTreeMap::new(),
            most_services: bounds.services,
            standing: Standing::default(),
            silence: Silence::default(),
            reports: Reports::default(),
            leaving: false,
        })
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not: the supervisor's view and ours have parted, so this worker ends and a
    /// new one begins.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        self.wait()?;
        let now = self.now();
        let mut events = std::mem::take(&mut self.events);
        let mut goes = Goes::On;
        for event in &events {
            match Event::of(event.data.u64()) {
                Event::Channel => goes = self.listen(event.flags, &now)?,
                Event::Client(ticket) => self.clients.wake(ticket, &self.epoll, &mut self.out, now.mono),
                Event::Service(slot, number) => self.serve(slot, number, now),
            }
        }
        events.clear();
        self.events = events;
        self.tick(&now);
        self.out.send()?;
        self.watch_channel()?;
        if self.leaving && self.clients.is_empty() && self.out.is_empty() {
            return Ok(Goes::Home);
        }
        Ok(goes)
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = self.deadline().map(|deadline| {
            let left = deadline.saturating_sub(clock::monotonic());
            // A whole millisecond more than needed at most, never one less: that would be a turn for nothing.
            let millis = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX).min(3_600_000);
            Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
        });
        let space = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, space, deadline.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn now(&self) -> Now {
        // The minute is asked for where a rule needs it; see `serve`.
        Now { mono: clock::monotonic(), minute: 0 }
    }

    fn deadline(&self) -> Option<Duration> {
        let services = self.services.values().filter_map(|(service, _)| service.deadline()).min();
        [self.clients.deadline(), services, self.standing.deadline()].into_iter().flatten().min()
    }

    /// Takes messages of the supervisor.
    fn listen(&mut self, flags: EventFlags, now: &Now) -> io::Result<Goes> {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(Goes::On);
        }
        let mut packet = std::mem::take(&mut self.message);
        let goes = self.hear(&mut packet, flags.contains(EventFlags::HUP), now);
        self.message = packet;
        goes
    }

    fn hear(&mut self, packet: &mut [u8], hung_up: bool, now: &Now) -> io::Result<Goes> {
        let mut heard = 0;
        while heard < MESSAGES && (hung_up || !self.out.is_crowded()) {
            let received = match seqpacket::recv_all(self.out.channel().as_fd(), packet) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(Goes::Home);
            }
            let mut fds = received.fds.into_iter();
            for bytes in parts(packet.get(..received.len).unwrap_or_default()) {
                heard += 1;
                let bytes = bytes.map_err(io::Error::other)?;
                if bytes == LEAVE {
                    self.leaving = true;
                    // The next worker has the datagram sockets; what was counted and not told is told.
                    for slot in self.services.keys().copied().collect::<Vec<_>>() {
                        self.forget(slot, now.mono);
                    }
                    continue;
                }
                let message = ToBuiltin::decode(bytes).map_err(io::Error::other)?;
                let fd = if message.carries_descriptor() { fds.next() } else { None };
                if let (true, None, ToBuiltin::Serve { ticket, .. }) = (received.lost, &fd, &message) {
                    let (ticket, outcome) = (*ticket, Outcome::Full);
                    self.out.put(FromBuiltin::Done { ticket, bytes_in: 0, bytes_out: 0, outcome });
                    continue;
                }
                self.obey(message, fd, now).map_err(io::Error::other)?;
            }
            if fds.next().is_some() {
                return Err(io::Error::other(BadMessage::BadValue("descriptor")));
            }
        }
        Ok(Goes::On)
    }

    fn obey(&mut self, message: ToBuiltin, fd: Option<OwnedFd>, now: &Now) -> Result<(), BadMessage> {
        if fd.is_some() != message.carries_descriptor() {
            return Err(BadMessage::BadValue("descriptor"));
        }
        match (message, fd) {
            (ToBuiltin::Serve { ticket, kind, idle_seconds, peer: _ }, Some(fd)) => {
                let text = match kind {
                    BuiltinKind::Daytime => texts::daytime(&clock::local(clock::wall_seconds())).into_bytes(),
                    BuiltinKind::Time => texts::time(clock::wall_seconds()).to_vec(),
                    _ => Vec::new(),
                };
                let reports = std::mem::take(&mut self.reports);
                let arrived = Arrived { ticket, kind, text, reports, idle_seconds, fd };
                self.clients.begin(arrived, &self.epoll, &mut self.out, now.mono);
            }
            (ToBuiltin::Report { servers, services }, Some(file)) => {
                self.reports = Reports::read(file, servers, services);
            }
            (ToBuiltin::Datagrams { slot, kind, more }, Some(fd)) => {
                if !more {
                    self.forget(slot, now.mono);
                }
                let sockets: usize = self.services.values().map(|(service, _)| service.sockets.len()).sum();
                if sockets < self.most_services {
                    // What was sent to a broadcast or multicast address does not even arrive: every host of the network
                    // would answer it, and the sender may be forged. Without it the kernel has no socket filters at
                    // all, and then nothing else here is worse for it.
                    let _ = filter::attach(&fd, &filter::unicast_only());
                    self.unwatch_service(slot);
                    let service =
                        self.services.entry(slot).or_insert_with(|| (Service::new(slot, kind), false));
                    service.0.sockets.push(fd);
                    self.watch_service(slot);
                }
            }
            (ToBuiltin::Policy(policy), fd) => self.learn(policy, fd, now)?,
            (ToBuiltin::BuiltinPorts(ports), _) => self.silence.own_ports(ports),
            (ToBuiltin::End { ticket }, _) => self.clients.end(ticket, &self.epoll, &mut self.out),
            // The descriptor was checked above.
            (ToBuiltin::Serve { ticket, .. }, None) => {
                let outcome = Outcome::Broken;
                self.out.put(FromBuiltin::Done { ticket, bytes_in: 0, bytes_out: 0, outcome });
            }
            (ToBuiltin::Report { .. } | ToBuiltin::Datagrams { .. }, None) => {}
        }
        Ok(())
    }

    fn learn(&mut self, policy: Policy, fd: Option<OwnedFd>, now: &Now) -> Result<(), BadMessage> {
        match (policy, fd) {
            (Policy::Tables { allow, deny }, Some(file)) => self.standing.read(file, allow, deny),
            (Policy::Bans(bans), _) => self.standing.ban(bans, now.mono),
            (Policy::Pardon(networks), _) => self.standing.pardon(networks),
            (Policy::Forget { slot }, _) => self.forget(slot, now.mono),
            (policy, _) => {
                let slot = policy.slot();
                if let Some((service, _)) = slot.and_then(|slot| self.services.get_mut(&slot)) {
                    service.judge.obey(policy)?;
                }
                slot.into_iter().for_each(|slot| self.watch_service(slot));
            }
        }
        Ok(())
    }

    fn serve(&mut self, slot: u32, number: u16, now: Now) {
        let Some((service, _)) = self.services.get_mut(&slot) else { return };
        let wall = clock::wall_seconds();
        let minute = if service.judge.asks_the_time() {
            let civil = clock::local(wall);
            u16::from(civil.hour) * 60 + u16::from(civil.minute)
        } else {
            0
        };
        let mut round = Round {
            now: Now { minute, ..now },
            wall,
            standing: &mut self.standing,
            silence: &self.silence,
            desk: self.clients.desk(),
        };
        for note in service.serve(number, &mut round) {
            self.out.put(note);
        }
        self.watch_service(slot);
    }

    fn tick(&mut self, now: &Now) {
        self.clients.sweep(&self.epoll, &mut self.out, now.mono);
        self.standing.tick(now.mono);
        let due = |service: &Service| service.deadline().is_some_and(|deadline| deadline <= now.mono);
        let slots: Vec<u32> =
            self.services.iter().filter(|(_, (service, _))| due(service)).map(|(slot, _)| *slot).collect();
        for slot in slots {
            if let Some((service, _)) = self.services.get_mut(&slot) {
                for message in service.tick(now).into_iter().flatten() {
                    self.out.put(message);
                }
            }
            self.watch_service(slot);
        }
    }

    /// In epoll while it is to be read, out of it otherwise: a paused socket would wake us without end.
    fn watch_service(&mut self, slot: u32) {
        let Some((service, watched)) = self.services.get_mut(&slot) else { return };
        if service.listens() == *watched {
            return;
        }
        for (number, socket) in (0u16..).zip(&service.sockets) {
            // What is refused is there already, or gone already.
            let _ = if *watched {
                epoll::delete(&self.epoll, socket)
            } else {
                let data = EventData::new_u64(Event::Service(slot, number).number());
                epoll::add(&self.epoll, socket, data, EventFlags::IN)
            };
        }
        *watched = !*watched;
    }

    fn unwatch_service(&mut self, slot: u32) {
        let Some((service, watched)) = self.services.get_mut(&slot) else { return };
        if std::mem::take(watched) {
            for socket in &service.sockets {
                // Explicitly: the supervisor holds a copy of the socket, so closing ours does not end the watch.
                let _ = epoll::delete(&self.epoll, socket);
            }
        }
    }

    fn forget(&mut self, slot: u32, now: Duration) {
        self.unwatch_service(slot);
        let Some((mut service, _)) = self.services.remove(&slot) else { return };
        if let Some(message) = service.last_words(now) {
            self.out.put(message);
        }
    }

    /// Waits for room in the channel only while something waits for it, and for messages only while there is room for
    /// what they lead to.
    fn watch_channel(&mut self) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        if !self.out.is_crowded() {
            flags |= EventFlags::IN;
        }
        if !self.out.is_empty() {
            flags |= EventFlags::OUT;
        }
        if flags != self.watched {
            let data = EventData::new_u64(Event::Channel.number());
            epoll::modify(&self.epoll, self.out.channel(), data, flags)?;
            self.watched = flags;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_meaning() {
        for event in
            [Event::Channel, Event::Client(0), Event::Client(1 << 61), Event::Service(u32::MAX, u16::MAX)]
        {
            assert_eq!(Event::of(event.number()), event);
        }
    }
}
