//! The loop: takes packets in batches, has each read, judged and counted, and tells in summaries. Under a flood it sleeps between
//! batches, so that one wake-up serves hundreds of packets; what does not fit into the kernel's queue meanwhile is dropped and
//! counted there.

use super::inventory::{Inventory, Judged};
use super::packet::{self, Candidate};
use super::tracker::Tracker;
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, FromSensor, MAX_MESSAGE, MAX_SCANS, Scan, ToSensor, Watched};
use portreeve_sys::packets::{self, Batch, MANY};
use portreeve_sys::{clock, seqpacket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// Batches before the channel gets its turn.
const BATCHES: usize = 16;
/// So many packets at once are a flood.
const FLOOD: usize = 64;
/// How long packets gather then.
const NAP: Duration = Duration::from_millis(20);
/// Counters, and scans, are told so often at most.
const TELL: Duration = Duration::from_secs(1);
/// Messages of the supervisor in one turn.
const MESSAGES: usize = 16;

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// The supervisor has closed the channel.
    Home,
}

/// The worker's whole state.
pub(super) struct Engine {
    out: Outbox<FromSensor>,
    message: Box<[u8]>,
    packets: Option<OwnedFd>,
    sockets: Option<OwnedFd>,
    addresses: Option<OwnedFd>,
    inventory: Option<Inventory>,
    tracker: Tracker,
    batch: Batch,
    /// Packets gather until then.
    nap_until: Duration,
    watched: Watched,
    told: Watched,
    tell_at: Duration,
    scans: Vec<Scan>,
    /// Of this second.
    room: usize,
}

impl Engine {
    pub(super) fn new(channel: OwnedFd) -> Self {
        let now = clock::monotonic();
        Engine {
            out: Outbox::new(channel),
            message: vec![0; MAX_MESSAGE].into(),
            packets: None,
            sockets: None,
            addresses: None,
            inventory: None,
            tracker: Tracker::new(now),
            batch: Batch::default(),
            nap_until: Duration::ZERO,
            watched: Watched::default(),
            told: Watched { packets: u64::MAX, ..Watched::default() },
            tell_at: now,
            scans: Vec::new(),
            room: MAX_SCANS,
        }
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not, or the packet socket fails.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        let (spoken, seen) = self.wait()?;
        if spoken && self.listen()? == Goes::Home {
            return Ok(Goes::Home);
        }
        let now = clock::monotonic();
        if self.inventory.as_ref().and_then(Inventory::due).is_some_and(|due| due <= now) {
            self.learn(now);
        }
        if seen {
            self.take(now)?;
        }
        self.tell(now)?;
        Ok(Goes::On)
    }

    /// Until something comes, or is due; packets are not waited for during a nap.
    fn wait(&self) -> io::Result<(bool, bool)> {
        let now = clock::monotonic();
        let naps = now < self.nap_until;
        let owes = !self.scans.is_empty() || self.watched != self.told;
        let wakes = [
            self.inventory.as_ref().and_then(Inventory::due),
            naps.then_some(self.nap_until),
            owes.then_some(self.tell_at),
        ];
        let timeout = wakes.into_iter().flatten().min().map(|at| {
            let left = at.saturating_sub(now);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let wants = if self.out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![PollFd::from_borrowed_fd(self.out.channel().as_fd(), wants)];
        if let (Some(packets), Some(_), false) = (&self.packets, &self.inventory, naps) {
            fds.push(PollFd::from_borrowed_fd(packets.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok((
                fds.first().is_some_and(|fd| !fd.revents().is_empty()),
                fds.get(1).is_some_and(|fd| !fd.revents().is_empty()),
            )),
            Err(Errno::INTR) => Ok((false, false)),
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
            let message = ToSensor::decode(bytes).map_err(io::Error::other)?;
            if received.fd.is_some() != message.carries_descriptor() {
                return Err(io::Error::other(BadMessage::BadValue("descriptor")));
            }
            match message {
                ToSensor::Packets => self.packets = received.fd,
                ToSensor::Sockets => self.sockets = received.fd,
                ToSensor::Addresses => self.addresses = received.fd,
                ToSensor::Watch { ephemeral, forwards } => {
                    let (Some(sockets), Some(addresses)) = (self.sockets.take(), self.addresses.take())
                    else {
                        return Err(io::Error::other(BadMessage::OutOfTurn("Watch")));
                    };
                    self.inventory = Some(Inventory::new(sockets, addresses, ephemeral, forwards));
                    self.learn(clock::monotonic());
                }
            }
        }
        Ok(Goes::On)
    }

    fn learn(&mut self, now: Duration) {
        let (Some(inventory), Some(packets)) = (&mut self.inventory, &self.packets) else { return };
        let error = inventory.learn(packets, now).err();
        self.watched.fault = error.as_ref().map_or(0, errno);
    }

    /// Packets, while there are some.
    fn take(&mut self, now: Duration) -> io::Result<()> {
        let mut taken = 0;
        for _ in 0..BATCHES {
            let Some(packets) = &self.packets else { return Ok(()) };
            let count = match self.batch.receive(packets) {
                Ok(count) => count,
                // An interface went down; the others go on.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NETDOWN) => 0,
                Err(error) => return Err(error),
            };
            taken += count;
            let candidates: Vec<Candidate> = self.batch.packets().filter_map(packet::read).collect();
            if !candidates.is_empty() && self.inventory.as_ref().is_some_and(|all| all.is_stale(now)) {
                self.learn(now);
            }
            candidates.iter().for_each(|one| self.count(one, now));
            if count < MANY {
                break;
            }
        }
        if taken >= FLOOD {
            self.nap_until = now + NAP;
        }
        Ok(())
    }

    fn count(&mut self, one: &Candidate, now: Duration) {
        let Some(inventory) = &mut self.inventory else { return };
        match inventory.judge(one, now, || self.tracker.would_count(one)) {
            Ok(Judged::Probe) => {}
            Ok(Judged::Nothing) => return,
            Ok(Judged::Unknown) => {
                self.watched.unjudged += 1;
                return;
            }
            Err(error) => {
                self.watched.fault = errno(&error);
                return;
            }
        }
        self.watched.probes += 1;
        let before = self.scans.len();
        self.tracker.probe(one, now, self.room, &mut self.scans);
        self.room = self.room.saturating_sub(self.scans.len() - before);
    }

    fn tell(&mut self, now: Duration) -> io::Result<()> {
        if now >= self.tell_at && self.out.is_empty() {
            if let Some(counted) = self.packets.as_ref().and_then(|fd| packets::counted(fd).ok()) {
                self.watched.packets += u64::from(counted.passed);
                self.watched.dropped += u64::from(counted.dropped);
            }
            let sources = &self.tracker.sources;
            let networks = &self.tracker.networks;
            self.watched.sources = u32::try_from(sources.len()).unwrap_or(u32::MAX);
            self.watched.networks = u32::try_from(networks.len()).unwrap_or(u32::MAX);
            self.watched.evicted = sources.evicted;
            self.watched.turned_away = sources.turned_away;
            self.watched.untold = self.tracker.untold;
            if self.inventory.is_some() && self.watched != self.told {
                self.out.put(FromSensor::Watching(self.watched));
                self.told = self.watched;
            }
            if !self.scans.is_empty() {
                // A probe may tell of its source and of its network.
                let mut all = std::mem::take(&mut self.scans);
                while !all.is_empty() {
                    let rest = all.split_off(all.len().min(MAX_SCANS));
                    self.out.put(FromSensor::Scans(all));
                    all = rest;
                }
            }
            (self.room, self.tell_at) = (MAX_SCANS, now + TELL);
        }
        self.out.send()
    }
}

fn errno(error: &io::Error) -> u16 {
    let number = error.raw_os_error().unwrap_or(libc::EIO);
    u16::try_from(number).unwrap_or(u16::MAX)
}
