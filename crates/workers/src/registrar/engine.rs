//! The loop: waits for the channel and for rpcbind, sends the calls and puts the answers together. Owns the connection and
//! the time that rpcbind may take.

use super::dialogue::{Dialogue, Next};
use super::xdr::{Records, Version};
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, FromRegistrar, MAX_MESSAGE, Registration, ToRegistrar, Trouble};
use portreeve_sys::{clock, seqpacket};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The channel among epoll's events.
const CHANNEL: u64 = 0;
/// rpcbind among epoll's events.
const RPCBIND: u64 = 1;
/// How long rpcbind may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages of the supervisor in one turn.
const MESSAGES: usize = 16;

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// The supervisor has closed the channel.
    Home,
}

/// A connection to rpcbind.
struct Line {
    fd: OwnedFd,
    /// What rpcbind was found to speak, and the last call's number.
    known: (Version, u32),
    unsent: Vec<u8>,
    records: Records,
    until: Option<Duration>,
    watched: EventFlags,
}

type List = (u64, Vec<(Registration, bool)>, Vec<Registration>);

/// The worker's whole state.
pub(super) struct Engine {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    out: Outbox<FromRegistrar>,
    watched: EventFlags,
    message: Box<[u8]>,
    line: Option<Line>,
    dialogue: Option<Dialogue>,
    /// The newest list that came while another was being worked through.
    next: Option<List>,
}

impl Engine {
    /// # Errors
    /// No epoll instance, or the channel cannot be watched.
    pub(super) fn new(channel: OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &channel, EventData::new_u64(CHANNEL), EventFlags::IN)?;
        Ok(Engine {
            epoll,
            events: Vec::with_capacity(4),
            out: Outbox::new(channel),
            watched: EventFlags::IN,
            message: vec![0; MAX_MESSAGE].into(),
            line: None,
            dialogue: None,
            next: None,
        })
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        self.wait()?;
        let events = std::mem::take(&mut self.events);
        let mut goes = Goes::On;
        for event in &events {
            match event.data.u64() {
                CHANNEL => goes = self.listen()?,
                _ => self.talk(),
            }
        }
        self.events = events;
        self.events.clear();
        if self.line.as_ref().and_then(|line| line.until).is_some_and(|until| until <= clock::monotonic()) {
            self.lose(Trouble::Silent);
        }
        self.out.send()?;
        let wants = if self.out.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        if wants != self.watched {
            epoll::modify(&self.epoll, self.out.channel(), EventData::new_u64(CHANNEL), wants)?;
            self.watched = wants;
        }
        Ok(goes)
    }

    fn wait(&mut self) -> io::Result<()> {
        let until = self.line.as_ref().and_then(|line| line.until);
        let timeout = until.map(|until| {
            let left = until.saturating_sub(clock::monotonic()).as_millis() + 1;
            let millis = i64::try_from(left).unwrap_or(1000);
            Timespec { tv_sec: millis / 1000, tv_nsec: (millis % 1000) * 1_000_000 }
        });
        let space = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, space, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn listen(&mut self) -> io::Result<Goes> {
        for _ in 0..MESSAGES {
            let received = match seqpacket::recv(self.out.channel().as_fd(), &mut self.message) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(Goes::Home);
            }
            let bytes = self.message.get(..received.len).unwrap_or_default();
            let message = ToRegistrar::decode(bytes).map_err(io::Error::other)?;
            if received.fd.is_some() != message.carries_descriptor() {
                return Err(io::Error::other(BadMessage::BadValue("descriptor")));
            }
            match (message, received.fd) {
                (ToRegistrar::Connection, Some(fd)) => {
                    self.line = None; // closed, and so out of epoll
                    self.dialogue = None;
                    self.next = None;
                    let watched = EventFlags::IN | EventFlags::RDHUP;
                    epoll::add(&self.epoll, &fd, EventData::new_u64(RPCBIND), watched)?;
                    let (known, records) = ((Version::Four, 0), Records::default());
                    self.line = Some(Line { fd, known, unsent: Vec::new(), records, until: None, watched });
                }
                (ToRegistrar::List { round, wanted, withdrawn }, _) => {
                    self.next = Some((round, wanted, withdrawn));
                    self.begin();
                }
                (ToRegistrar::Connection, None) => {}
            }
        }
        Ok(Goes::On)
    }

    /// Takes up the list that waits, if none is under way.
    fn begin(&mut self) {
        if self.dialogue.is_some() {
            return;
        }
        let Some((round, wanted, withdrawn)) = self.next.take() else { return };
        let Some(line) = &self.line else {
            self.out.put(FromRegistrar::Lost { why: Trouble::Closed });
            return;
        };
        let mut dialogue = Dialogue::new(round, wanted, withdrawn, line.known.0, line.known.1);
        let call = dialogue.begin();
        self.dialogue = Some(dialogue);
        self.say(call);
    }

    fn say(&mut self, call: Vec<u8>) {
        if let Some(line) = &mut self.line {
            line.unsent = call;
            line.until = Some(clock::monotonic() + PATIENCE);
        }
        self.push();
    }

    /// Sends what the connection takes.
    fn push(&mut self) {
        let Some(line) = &mut self.line else { return };
        while !line.unsent.is_empty() {
            match rustix::net::send(&line.fd, &line.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(line.unsent.drain(..sent.min(line.unsent.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // There may be an answer yet, or the reason in the reading half.
                Err(Errno::PIPE) => return self.lose(Trouble::Closed),
                Err(errno) => return self.lose(failed(errno)),
            }
        }
        let mut wants = EventFlags::IN | EventFlags::RDHUP;
        if !line.unsent.is_empty() {
            wants |= EventFlags::OUT;
        }
        if wants != line.watched {
            line.watched = wants;
            if epoll::modify(&self.epoll, &line.fd, EventData::new_u64(RPCBIND), wants).is_err() {
                self.lose(Trouble::Closed);
            }
        }
    }

    /// The connection has something, or takes more.
    fn talk(&mut self) {
        self.push();
        let mut chunk = [0u8; 16 * 1024];
        loop {
            let Some(line) = &mut self.line else { return };
            let count = match rustix::net::recv(&line.fd, &mut chunk[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return self.lose(Trouble::Closed),
                Ok((_, count)) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.lose(failed(errno)),
            };
            // Nobody was asked.
            let Some(dialogue) = &mut self.dialogue else { return self.lose(Trouble::Nonsense) };
            let record = match line.records.feed(chunk.get(..count).unwrap_or_default()) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(_) => return self.lose(Trouble::Nonsense),
            };
            line.until = None;
            match dialogue.answer(&record) {
                Ok(Next::Say(call)) => self.say(call),
                Ok(Next::Done(entered)) => {
                    let round = dialogue.round;
                    line.known = dialogue.known();
                    self.dialogue = None;
                    self.out.put(FromRegistrar::Done { round, entered });
                    self.begin();
                }
                Err(_) => return self.lose(Trouble::Nonsense),
            }
        }
    }

    fn lose(&mut self, why: Trouble) {
        self.line = None;
        self.dialogue = None;
        self.next = None;
        self.out.put(FromRegistrar::Lost { why });
    }
}

fn failed(errno: Errno) -> Trouble {
    Trouble::Failed(u16::try_from(errno.raw_os_error()).unwrap_or(0))
}
