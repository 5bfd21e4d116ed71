//! The way in, and the loop: waits for the channel and for all connections at once, and gives each a bounded turn.

use crate::material::{Files, Material};
use crate::sessions::{Led, Sessions};
use portreeve_sys::{clock, seqpacket};
use portreeve_workers::protocol::{BadMessage, FromTls, LEAVE, MAX_MESSAGE, ToTls, Worker};
use portreeve_workers::{Outbox, complain, enter, most_sealed, supervisor_has_gone};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// Events of one wait.
const EVENTS: usize = 256;
/// Messages of the supervisor before the others get their turn.
const MESSAGES: usize = 64;
/// The channel among epoll's events; no ticket comes so far.
const CHANNEL: u64 = u64::MAX;

/// `portreeve worker tls`: runs until the supervisor closes the channel, which is descriptor 3. `arguments` are the words after
/// `worker`.
pub fn main(arguments: impl IntoIterator<Item = OsString>, channel: OwnedFd) -> ExitCode {
    if let Err(code) = enter(arguments, &channel, &[Worker::Tls], None) {
        return code;
    }
    let descriptors = usize::try_from(portreeve_sys::limits::nofile().soft).unwrap_or(usize::MAX);
    match serve(channel, most_sealed(descriptors)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("worker tls: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd, most: usize) -> io::Result<()> {
    let mut engine = Engine::new(channel, most)?;
    while engine.turn()? {}
    Ok(())
}

struct Engine {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    out: Outbox<FromTls>,
    watched: EventFlags,
    message: Box<[u8]>,
    files: Files,
    material: Material,
    sessions: Sessions,
}

impl Engine {
    fn new(channel: OwnedFd, most: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watched = EventFlags::IN;
        epoll::add(&epoll, &channel, EventData::new_u64(CHANNEL), watched)?;
        Ok(Engine {
            epoll,
            events: Vec::with_capacity(EVENTS),
            out: Outbox::new(channel),
            watched,
            message: vec![0; MAX_MESSAGE].into(),
            files: Files::default(),
            material: Material::default(),
            sessions: Sessions::new(most),
        })
    }

    /// Waits and does what there is to do; false when the supervisor has closed the channel, or wants us to leave and nothing is
    /// carried any more.
    ///
    /// # Errors
    /// The channel fails or brings what it may not: the supervisor's view and ours have parted, so this worker ends and a
    /// new one begins.
    fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        let now = clock::monotonic();
        let mut events = std::mem::take(&mut self.events);
        let mut goes = true;
        self.sessions.go_on(&mut self.out, now);
        for event in &events {
            match event.data.u64() {
                CHANNEL => goes = self.listen(event.flags, now)?,
                data => self.sessions.wake(data, event.flags, &mut self.out, now),
            }
        }
        events.clear();
        self.events = events;
        self.sessions.sweep(&mut self.out, now);
        self.out.send()?;
        self.watch_channel()?;
        Ok(goes && !(self.sessions.are_over() && self.out.is_empty()))
    }

    fn wait(&mut self) -> io::Result<()> {
        let left = match self.sessions.deadline() {
            _ if self.sessions.is_busy() => Some(Duration::ZERO),
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

    fn listen(&mut self, flags: EventFlags, now: Duration) -> io::Result<bool> {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(true);
        }
        for _ in 0..MESSAGES {
            if self.out.is_crowded() && !flags.contains(EventFlags::HUP) {
                break;
            }
            let received = match seqpacket::recv(self.out.channel().as_fd(), &mut self.message) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if supervisor_has_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(false);
            }
            let bytes = self.message.get(..received.len).unwrap_or_default();
            if bytes == LEAVE {
                self.sessions.leave(&mut self.out);
                continue;
            }
            let message = ToTls::decode(bytes).map_err(io::Error::other)?;
            match message {
                ToTls::Client { ticket, .. } | ToTls::Target { ticket, .. } if received.lost => {
                    self.sessions.give_up(ticket, &mut self.out);
                    continue;
                }
                ToTls::File { kind, index } if received.lost => {
                    self.files.lose(kind, index);
                    continue;
                }
                _ => {}
            }
            self.obey(message, received.fd, now).map_err(io::Error::other)?;
        }
        Ok(true)
    }

    fn obey(&mut self, message: ToTls, fd: Option<OwnedFd>, now: Duration) -> Result<(), BadMessage> {
        if fd.is_some() != message.carries_descriptor() {
            return Err(BadMessage::BadValue("descriptor"));
        }
        match (message, fd) {
            (ToTls::File { kind, index }, Some(fd)) => self.files.take(kind, index, &fd),
            (ToTls::Use { accept, connect, protocols }, _) => {
                let made = std::mem::take(&mut self.files).make(accept, connect, protocols);
                let wrong = made.map(|material| self.material = material).err();
                self.out.put(FromTls::Keyed { wrong });
            }
            (ToTls::Client { ticket, idle_seconds, banner }, Some(client)) => {
                let what = (ticket, idle_seconds, banner);
                self.sessions.begin(what, client, &self.material, &self.epoll, &mut self.out, now);
            }
            (ToTls::Target { ticket, name, head, patience_seconds, tell }, Some(fd)) => {
                let patience = Duration::from_secs(u64::from(patience_seconds.max(1)));
                let target = Led { fd, name, head, patience, tell };
                self.sessions.lead(ticket, target, &self.material, (&self.epoll, now), &mut self.out)?;
            }
            (ToTls::End { ticket }, _) => self.sessions.end(ticket, &mut self.out),
            // The descriptor was checked above.
            (ToTls::File { .. } | ToTls::Client { .. } | ToTls::Target { .. }, None) => {}
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
