//! What the supervisor says to its workers: one after the other, never waited for, kept while a channel is full. To those that hear
//! most, what one turn of the loop has to say goes in one packet: the trip of a descriptor costs the least beside others.

use crate::leaving::Message;
use crate::staff::{MOST_WAITING, Presence, Staff};
use crate::supervisor::{Supervisor, Token};
use portreeve_sys::closing::close_all;
use portreeve_sys::farewell::Connection;
use portreeve_sys::seqpacket;
use portreeve_workers::protocol::{Bundle, MOST_IN_BUNDLE, Worker};
use rustix::event::epoll;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::collections::VecDeque;
use std::io;

/// Whether packets between us and this worker may hold several messages.
pub fn shares_packets(worker: Worker) -> bool {
    matches!(worker, Worker::Builtin | Worker::Proxy)
}

/// Messages that wait, each with its descriptor.
type Waiting = VecDeque<Message>;

/// The packet that is being filled.
#[derive(Debug, Default)]
pub struct Packet(Bundle);

impl Packet {
    /// Sends the first of those that wait, as many as one packet takes; how many that are.
    fn send(&mut self, channel: &OwnedFd, waiting: &Waiting) -> (io::Result<()>, usize) {
        self.0.clear();
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        for (message, fd) in waiting {
            if !self.0.add(message) {
                break;
            }
            fds.extend(fd.as_ref().map(AsFd::as_fd));
        }
        (seqpacket::send_all(channel, self.0.packet(), &fds), self.0.count())
    }
}

impl Supervisor {
    /// Once a turn of the loop: sends what it has put by.
    pub fn post(&mut self) {
        for worker in [Worker::Builtin, Worker::Proxy] {
            let link = self.staff.link(worker);
            if link.backlog() > 0 && link.presence == Presence::Ready && !link.wants_write {
                self.push_waiting(Staff::index(worker));
            }
        }
    }

    /// Sends a message, after those that wait. False when it was dropped because too many do.
    pub fn tell(&mut self, worker: Worker, message: Vec<u8>, fd: Option<Connection>) -> bool {
        self.tell_link(Staff::index(worker), message, fd)
    }

    /// The same by index.
    pub fn tell_link(&mut self, index: u32, message: Vec<u8>, fd: Option<Connection>) -> bool {
        let Some(link) = self.staff.link_mut(index) else { return false };
        let worker = link.worker;
        if shares_packets(worker) && link.presence == Presence::Ready && link.waiting.len() < MOST_WAITING {
            // What is put by holds its descriptors; where few numbers are left, others need them more.
            let few = fd.as_ref().is_some_and(|fd| fd.as_raw_fd() >= self.base / 4);
            link.waiting.push_back((message, fd));
            if (few || link.waiting.len() >= MOST_IN_BUNDLE) && !link.wants_write {
                self.push_waiting(index);
            }
            return true;
        }
        if link.waiting.is_empty()
            && link.presence == Presence::Ready
            && let Some(channel) = &link.channel
        {
            match seqpacket::send(channel, &message, fd.as_ref().map(AsFd::as_fd)) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.lose_worker(index, &format!("its channel failed: {error}"));
                    // A question waits for the next resolver: a name is not unknown because a worker died.
                    // What the others must know they are told when they are back.
                    if worker != Worker::Resolver {
                        return false;
                    }
                }
            }
        }
        let Some(link) = self.staff.link_mut(index) else { return false };
        if link.waiting.len() >= MOST_WAITING {
            link.dropped += 1;
            return false;
        }
        link.waiting.push_back((message, fd));
        self.want_write(index);
        true
    }

    /// Sends what waits, as much as the channel takes.
    pub fn push_waiting(&mut self, index: u32) {
        let was_full = self.staff.links.get(index as usize).is_some_and(|link| link.wants_write);
        loop {
            let Some(link) = self.staff.links.get_mut(index as usize) else { return };
            if link.presence != Presence::Ready {
                return;
            }
            let (Some(channel), Some((message, fd))) = (&link.channel, link.waiting.front()) else { break };
            let (sent, messages) = match shares_packets(link.worker) {
                true => self.staff.packet.send(channel, &link.waiting),
                false => (seqpacket::send(channel, message, fd.as_ref().map(AsFd::as_fd)), 1),
            };
            match sent {
                Ok(()) => {
                    // A client on this host has a way of its own.
                    let fds = link.waiting.drain(..messages).filter_map(|(_, fd)| fd);
                    close_all(fds.filter_map(|fd| (!fd.is_local()).then(|| fd.into_fd())));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.lose_worker(index, &format!("its channel failed: {error}"));
                    return;
                }
            }
        }
        self.want_write(index);
        if self.staff.links.get(index as usize).is_none_or(|link| !link.waiting.is_empty()) {
            return;
        }
        match self.staff.links.get(index as usize).map(|link| link.worker) {
            // Nobody had to wait for it.
            Some(worker) if shares_packets(worker) && !was_full => {}
            Some(Worker::Builtin) => self.builtin_has_room(),
            Some(Worker::Proxy) => self.proxy_has_room(),
            Some(Worker::Header) => self.header_has_room(),
            Some(Worker::Tls) => self.tls_has_room(index),
            Some(
                Worker::Resolver | Worker::Registrar | Worker::Ledger | Worker::Firewall | Worker::Sensor,
            )
            | None => {}
        }
    }

    /// Polls for room while messages wait.
    pub fn want_write(&mut self, index: u32) {
        let epoll_fd = self.epoll.as_fd();
        let Some(link) = self.staff.links.get_mut(index as usize) else { return };
        let wants = !link.waiting.is_empty() && link.presence == Presence::Ready;
        if wants == link.wants_write {
            return;
        }
        let Some(channel) = &link.channel else { return };
        let mut flags = epoll::EventFlags::IN;
        if wants {
            flags |= epoll::EventFlags::OUT;
        }
        let data = epoll::EventData::new_u64(Token::Worker(index).raw());
        if epoll::modify(epoll_fd, channel, data, flags).is_ok() {
            link.wants_write = wants;
        }
    }
}
