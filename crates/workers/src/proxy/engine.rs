//! The loop: waits for the channel and for all connections at once, and gives each a bounded turn.

use super::Bounds;
use super::carriage::Aim;
use super::carriages::{Arrived, Carriages};
use super::datagrams::{self, Datagrams, Turn};
use super::flows::Limits;
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, Carried, FromProxy, LEAVE, MAX_MESSAGE, ToProxy, parts};
use portreeve_sys::{clock, seqpacket};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events of one wait.
const EVENTS: usize = 256;
/// Messages of the supervisor before the others get their turn.
const MESSAGES: usize = 64;
/// The channel among epoll's events; no ticket comes so far.
const CHANNEL: u64 = u64::MAX;

/// What the datagram services share with the connections, of an engine whose other fields stay free.
macro_rules! turn {
    ($engine:ident, $now:ident) => {
        Turn { epoll: &$engine.epoll, out: &mut $engine.out, buffer: $engine.carriages.buffer(), now: $now }
    };
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
    out: Outbox<FromProxy>,
    watched: EventFlags,
    message: Box<[u8]>,
    carriages: Carriages,
    datagrams: Datagrams,
}

impl Engine {
    /// # Errors
    /// No epoll instance, or the channel cannot be watched.
    pub(super) fn new(channel: OwnedFd, bounds: Bounds) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watched = EventFlags::IN;
        epoll::add(&epoll, &channel, EventData::new_u64(CHANNEL), watched)?;
        Ok(Engine {
            epoll,
            events: Vec::with_capacity(EVENTS),
            out: Outbox::new(channel),
            watched,
            message: vec![0; MAX_MESSAGE].into(),
            carriages: Carriages::new(bounds.carried),
            datagrams: Datagrams::new(bounds.flows, bounds.sockets),
        })
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not: the supervisor's view and ours have parted, so this worker ends and a
    /// new one begins.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        self.wait()?;
        let now = clock::monotonic();
        let mut events = std::mem::take(&mut self.events);
        let mut goes = Goes::On;
        self.carriages.go_on(&mut self.out, now);
        for event in &events {
            match event.data.u64() {
                CHANNEL => goes = self.listen(event.flags, now)?,
                data if datagrams::is_ours(data) => self.datagrams.wake(data, &mut turn!(self, now)),
                data => self.carriages.wake(data, event.flags, &mut self.out, now),
            }
        }
        events.clear();
        self.events = events;
        self.carriages.watch(&self.epoll, &mut self.out);
        self.carriages.sweep(&mut self.out, now);
        // Before it is told: who is told that a connection has ended may rely on it.
        self.carriages.close();
        self.datagrams.tick(&mut self.out, now);
        self.out.send()?;
        self.watch_channel()?;
        if self.carriages.are_over() && self.out.is_empty() {
            return Ok(Goes::Home);
        }
        Ok(goes)
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadlines = [self.carriages.deadline(), self.datagrams.deadline()];
        let left = match deadlines.into_iter().flatten().min() {
            _ if self.carriages.is_busy() => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.saturating_sub(clock::monotonic())),
        };
        let timeout = left.map(|left| {
            // A whole millisecond more than needed at most, never one less: that would be a turn for nothing.
            let millis = i64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i64::MAX).min(3_600_000);
            Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
        });
        let space = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, space, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes messages of the supervisor.
    fn listen(&mut self, flags: EventFlags, now: Duration) -> io::Result<Goes> {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(Goes::On);
        }
        let mut packet = std::mem::take(&mut self.message);
        let goes = self.hear(&mut packet, flags.contains(EventFlags::HUP), now);
        self.message = packet;
        goes
    }

    fn hear(&mut self, packet: &mut [u8], hung_up: bool, now: Duration) -> io::Result<Goes> {
        let mut heard = 0;
        while heard < MESSAGES && (hung_up || !self.out.is_crowded()) {
            // Whoever was ended by order has left its place to those who come now, and they need its numbers.
            self.carriages.close();
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
                    self.carriages.leave(&mut self.out);
                    self.datagrams.leave(&mut turn!(self, now));
                    continue;
                }
                let message = ToProxy::decode(bytes).map_err(io::Error::other)?;
                let fd = if message.carries_descriptor() { fds.next() } else { None };
                if received.lost && fd.is_none() && message.carries_descriptor() {
                    self.do_without(&message, now).map_err(io::Error::other)?;
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

    /// No number was left for the descriptor that came: who needs it is let go, and the others stay.
    fn do_without(&mut self, message: &ToProxy, now: Duration) -> Result<(), BadMessage> {
        match *message {
            ToProxy::Client { ticket, .. } => {
                let outcome = Carried::Full;
                self.out.put(FromProxy::Done { ticket, bytes_in: 0, bytes_out: 0, outcome });
            }
            ToProxy::Target { ticket, .. } => {
                if !self.datagrams.end(ticket, &mut self.out) {
                    self.carriages.give_up(ticket, &mut self.out);
                }
            }
            ToProxy::Flow { number, ticket, .. } => {
                self.datagrams.answer(number, None, &mut turn!(self, now));
                let outcome = Carried::Full;
                self.out.put(FromProxy::Done { ticket, bytes_in: 0, bytes_out: 0, outcome });
            }
            _ => return Err(BadMessage::BadValue("descriptor")),
        }
        Ok(())
    }

    fn obey(&mut self, message: ToProxy, fd: Option<OwnedFd>, now: Duration) -> Result<(), BadMessage> {
        if fd.is_some() != message.carries_descriptor() {
            return Err(BadMessage::BadValue("descriptor"));
        }
        match (message, fd) {
            (ToProxy::Client { ticket, idle_seconds, banner, head }, Some(client)) => {
                let arrived = Arrived { ticket, banner, head, idle_seconds, client };
                self.carriages.begin(arrived, &mut self.out, now);
            }
            (ToProxy::Target { ticket, patience_seconds, tell }, Some(target)) => {
                if self.carriages.knows(ticket) {
                    let aim =
                        Aim { target, patience: Duration::from_secs(u64::from(patience_seconds)), tell };
                    self.carriages.aim(ticket, aim, &mut self.out, now);
                } else {
                    self.datagrams.aim(ticket, target, tell, &mut turn!(self, now));
                }
            }
            (ToProxy::End { ticket }, _) => {
                if !self.datagrams.end(ticket, &mut self.out) {
                    self.carriages.end(ticket, &mut self.out);
                }
            }
            (ToProxy::Policy(policy), fd) => self.datagrams.learn(policy, fd, &mut turn!(self, now))?,
            (ToProxy::Datagrams { slot, more }, Some(fd)) => {
                self.datagrams.add(slot, more, fd, &mut turn!(self, now));
            }
            (ToProxy::Flows { slot, most, per_source, prefix, idle_seconds }, _) => {
                let limits = Limits {
                    most: most as usize,
                    per_source: per_source as usize,
                    prefix,
                    idle: Duration::from_secs(u64::from(idle_seconds.max(1))),
                };
                self.datagrams.bound(slot, limits);
            }
            (ToProxy::Flow { number, ticket, tell }, Some(target)) => {
                self.datagrams.answer(number, Some((ticket, target, tell)), &mut turn!(self, now));
            }
            (ToProxy::NoFlow { number }, _) => {
                self.datagrams.answer(number, None, &mut turn!(self, now));
            }
            // The descriptor was checked above.
            (
                ToProxy::Client { .. }
                | ToProxy::Target { .. }
                | ToProxy::Datagrams { .. }
                | ToProxy::Flow { .. },
                None,
            ) => {}
        }
        Ok(())
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
            epoll::modify(&self.epoll, self.out.channel(), EventData::new_u64(CHANNEL), flags)?;
            self.watched = flags;
        }
        Ok(())
    }
}
