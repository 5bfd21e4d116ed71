//! The loop: waits for the channel and for all connections at once.

use super::reading::{Reading, WINDOW};
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, Fault, Found, FromHeader, LEAVE, MAX_MESSAGE, ToHeader};
use portreeve_sys::seqpacket;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Events of one wait.
const EVENTS: usize = 256;
/// Messages of the supervisor before the others get their turn.
const MESSAGES: usize = 64;
/// The channel among epoll's events; no ticket comes so far.
const CHANNEL: u64 = u64::MAX;

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
    out: Outbox<FromHeader>,
    watched: EventFlags,
    message: Box<[u8]>,
    window: Box<[u8; WINDOW]>,
    most: usize,
    readings: HashMap<u64, Reading>,
    /// Nothing is read any more.
    leaving: bool,
}

impl Engine {
    /// # Errors
    /// No epoll instance, or the channel cannot be watched.
    pub(super) fn new(channel: OwnedFd, most: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watched = EventFlags::IN;
        epoll::add(&epoll, &channel, EventData::new_u64(CHANNEL), watched)?;
        Ok(Engine {
            epoll,
            events: Vec::with_capacity(EVENTS),
            out: Outbox::new(channel),
            watched,
            message: vec![0; MAX_MESSAGE].into(),
            window: Box::new([0; WINDOW]),
            most,
            readings: HashMap::new(),
            leaving: false,
        })
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not: the supervisor's view and ours have parted, so this worker ends and a
    /// new one begins.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = std::mem::take(&mut self.events);
        let mut goes = Goes::On;
        for event in &events {
            match event.data.u64() {
                CHANNEL => goes = self.listen(event.flags)?,
                ticket => {
                    let over = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                    let flags = event.flags;
                    self.go_on(ticket, flags.intersects(over));
                }
            }
        }
        events.clear();
        self.events = events;
        self.out.send()?;
        self.watch_channel()?;
        if self.leaving && self.out.is_empty() {
            return Ok(Goes::Home);
        }
        Ok(goes)
    }

    /// Takes messages of the supervisor.
    fn listen(&mut self, flags: EventFlags) -> io::Result<Goes> {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(Goes::On);
        }
        for _ in 0..MESSAGES {
            if self.out.is_crowded() && !flags.contains(EventFlags::HUP) {
                break;
            }
            let received = match seqpacket::recv(self.out.channel().as_fd(), &mut self.message) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(Goes::Home);
            }
            let bytes = self.message.get(..received.len).unwrap_or_default();
            if bytes == LEAVE {
                self.leaving = true;
                // Nothing was taken from these: the next worker reads them from the beginning.
                for ticket in self.readings.keys().copied().collect::<Vec<_>>() {
                    self.forget(ticket);
                }
                continue;
            }
            let message = ToHeader::decode(bytes).map_err(io::Error::other)?;
            if let (true, ToHeader::Read { ticket, .. }) = (received.lost, &message) {
                let (ticket, found) = (*ticket, Found::Failed(Fault::Full));
                self.out.put(FromHeader::Read { ticket, found });
                continue;
            }
            self.obey(message, received.fd).map_err(io::Error::other)?;
        }
        Ok(Goes::On)
    }

    fn obey(&mut self, message: ToHeader, fd: Option<OwnedFd>) -> Result<(), BadMessage> {
        match (message, fd) {
            (ToHeader::Read { ticket, what }, Some(fd)) => {
                let reading = Reading::new(fd, what);
                let full = self.readings.len() >= self.most || self.readings.contains_key(&ticket);
                let data = EventData::new_u64(ticket);
                if full
                    || epoll::add(&self.epoll, &reading.fd, data, EventFlags::IN | EventFlags::RDHUP).is_err()
                {
                    self.out.put(FromHeader::Read { ticket, found: Found::Failed(Fault::Full) });
                    return Ok(());
                }
                self.readings.insert(ticket, reading);
                // It is often there already.
                self.go_on(ticket, false);
                Ok(())
            }
            (ToHeader::Forget { ticket }, None) => {
                self.forget(ticket);
                Ok(())
            }
            (ToHeader::Read { .. } | ToHeader::Forget { .. }, _) => Err(BadMessage::BadValue("descriptor")),
        }
    }

    fn go_on(&mut self, ticket: u64, ended: bool) {
        let Some(reading) = self.readings.get_mut(&ticket) else { return };
        if let Some(found) = reading.step(&mut self.window, ended) {
            // Closed before it is said: whoever serves the client next is the only one that has it.
            self.forget(ticket);
            self.out.put(FromHeader::Read { ticket, found });
        }
    }

    /// Out of epoll, explicitly: the supervisor's own descriptor of this connection would keep it in.
    fn forget(&mut self, ticket: u64) {
        if let Some(reading) = self.readings.remove(&ticket) {
            let _ = epoll::delete(&self.epoll, &reading.fd);
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
            epoll::modify(&self.epoll, self.out.channel(), EventData::new_u64(CHANNEL), flags)?;
            self.watched = flags;
        }
        Ok(())
    }
}
