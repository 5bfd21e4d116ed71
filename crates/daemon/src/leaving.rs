//! Workers that a former version of this process had started and that understand other messages than ours. Each is told to leave:
//! it gets nothing new, brings the connections that it has to their end, and ends; another one takes whoever comes. What is said
//! between it and us is the same in every version (`protocol::parting`). Their number is bounded: an upgrade is one more generation.

use crate::handover::missing;
use crate::headers::Awaited;
use crate::supervisor::{Supervisor, Token};
use portreeve_conf::Level;
use portreeve_handover::{LeavingState, WorkerState};
use portreeve_policy::Reason;
use portreeve_sys::farewell::Connection;
use portreeve_sys::reap::{Signal, Status};
use portreeve_sys::seqpacket;
use portreeve_workers::protocol::{LEAVE, MAX_MESSAGE, Missing, Worker, over, parts};
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::VecDeque;

/// Most workers that leave at the same time; beyond them the oldest is ended.
pub const MOST_LEAVING: usize = 32;
/// Messages that are heard in one wake-up.
const HEARD: usize = 64;

/// One of them.
#[derive(Debug)]
pub struct Leaving {
    /// Which.
    pub worker: Worker,
    /// Its number, by which its connections name it.
    pub number: u32,
    /// Its process id.
    pub pid: i32,
    /// The version of the messages that it understands.
    pub protocol: u32,
    /// What of its confinement is missing.
    pub missing: Vec<Missing>,
    /// The way to it.
    pub channel: OwnedFd,
    /// What the former version had for it, and the order to leave behind that.
    pub waiting: VecDeque<Message>,
    wants_write: bool,
}

/// A message, and what travels beside it.
pub type Message = (Vec<u8>, Option<Connection>);

impl Leaving {
    fn new(worker: Worker, pid: i32, channel: OwnedFd, waiting: VecDeque<Message>) -> Self {
        let (number, protocol, missing) = (0, 0, Vec::new());
        Self { worker, number, pid, protocol, missing, channel, waiting, wants_write: false }
    }
}

/// Whether a worker has no connections that it could bring to an end.
fn just_listens(worker: Worker) -> bool {
    matches!(worker, Worker::Ledger | Worker::Firewall | Worker::Sensor)
}

impl Supervisor {
    /// Tells a worker that a former version had to leave. Its number, if it has anything; who cannot say what has become of it is
    /// ended, and asked for anew.
    pub fn let_leave(&mut self, worker: Worker, left: &WorkerState) -> Result<Option<u32>, String> {
        self.staff.retire(left.pid);
        let text =
            format!("worker {} speaks version {} of the messages and leaves", worker.name(), left.protocol);
        self.say(Level::Notice, &text);
        if worker == Worker::Ledger {
            self.announcer.ledger.left_by(left.waiting.len());
        }
        // The resolver's questions are asked anew, and rpcbind is; the kernel keeps its bans; the ledger writes what is in the channel: its end is the order to
        // leave.
        let alone = matches!(
            worker,
            Worker::Resolver | Worker::Registrar | Worker::Ledger | Worker::Firewall | Worker::Sensor
        );
        let Some(channel) = left.channel.filter(|_| !alone) else {
            return Ok(None);
        };
        let mut waiting = self.adopt_messages(&left.waiting)?;
        if !just_listens(worker) {
            waiting.push_back((LEAVE.to_vec(), None));
        }
        let number = self.staff.leaving.iter().map(|leaving| leaving.number + 1).max().unwrap_or(0);
        let channel = self.adopt(channel)?;
        let mut leaving = Leaving::new(worker, left.pid, channel, waiting);
        (leaving.number, leaving.protocol) = (number, left.protocol);
        leaving.missing = missing(left.missing);
        self.have_leaving(leaving)?;
        Ok(Some(number))
    }

    /// One that was told to leave by a former version already.
    pub fn take_over_leaving(&mut self, left: &LeavingState) -> Result<(), String> {
        let Some(worker) = Worker::by_name(&left.name) else { return Ok(()) };
        let waiting = self.adopt_messages(&left.waiting)?;
        let channel = self.adopt(left.channel)?;
        if left.watched.is_some() {
            self.watch_orphan(left.pid, left.watched)?;
        }
        let mut leaving = Leaving::new(worker, left.pid, channel, waiting);
        (leaving.number, leaving.protocol) = (left.number, left.protocol);
        leaving.missing = missing(left.missing);
        self.have_leaving(leaving)
    }

    fn have_leaving(&mut self, leaving: Leaving) -> Result<(), String> {
        let token = Token::Leaving(leaving.number);
        self.watch(leaving.channel.as_fd(), token).map_err(|e| format!("epoll: {e}"))?;
        self.staff.leaving.push(leaving);
        Ok(())
    }

    /// Once the rest stands: what waits for them is sent, and where there are too many the oldest go.
    pub fn begin_leaving(&mut self) {
        let numbers: Vec<u32> = self.staff.leaving.iter().map(|leaving| leaving.number).collect();
        let surplus = numbers.len().saturating_sub(MOST_LEAVING);
        for (at, number) in numbers.into_iter().enumerate() {
            if at < surplus {
                self.end_leaving(number);
            } else {
                self.push_leaving(number);
            }
        }
    }

    fn end_leaving(&mut self, number: u32) {
        let of = |leaving: &&Leaving| leaving.number == number;
        if let Some(pid) = self.staff.leaving.iter().find(of).map(|leaving| leaving.pid) {
            self.signal(pid, Signal::KILL);
        }
        self.has_left(number);
    }

    /// Its channel has something to say or room to take more.
    pub fn leaving_event(&mut self, number: u32, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            self.push_leaving(number);
        }
        for _ in 0..HEARD {
            if !self.hear_leaving(number) {
                return;
            }
        }
    }

    /// Hears one packet; whether there may be more.
    pub fn hear_leaving(&mut self, number: u32) -> bool {
        let Some(leaving) = self.staff.leaving.iter().find(|leaving| leaving.number == number) else {
            return false;
        };
        let worker = leaving.worker;
        let mut buffer = std::mem::take(&mut self.staff.buffer);
        buffer.resize(MAX_MESSAGE, 0);
        let received = seqpacket::recv(&leaving.channel, &mut buffer);
        let length = received.as_ref().map_or(0, |received| received.len);
        let ended: Result<Vec<_>, _> = parts(buffer.get(..length).unwrap_or_default())
            .filter(|_| length > 0)
            .map(|message| message.map(|message| over(worker, message)))
            .collect();
        self.staff.buffer = buffer;
        match received {
            Ok(received) if received.len > 0 => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                self.has_left(number);
                return false;
            }
        }
        let Ok(ended) = ended else {
            self.end_leaving(number);
            return false;
        };
        for ticket in ended.into_iter().flatten() {
            self.over_in_leaving(worker, number, ticket);
        }
        true
    }

    /// A connection is over. How is said in words of another version, so its EXIT line says status 0, without TRAFFIC.
    fn over_in_leaving(&mut self, worker: Worker, number: u32, ticket: u64) {
        let own = Some(number);
        match worker {
            Worker::Builtin => {
                if self.children.sessions.get(&ticket).is_some_and(|session| session.leaving == own) {
                    self.end_session(ticket, Status::Exited(0));
                }
            }
            Worker::Proxy => {
                if self.children.carried.get(&ticket).is_some_and(|session| session.leaving == own) {
                    self.end_of_carried(ticket, Status::Exited(0));
                }
            }
            Worker::Tls => self.unsealed_in_leaving(number, ticket, Status::Exited(0)),
            Worker::Header => {
                // What it has read stands in words of another version, and it was taken from the socket.
                if self.headers.is_with(ticket, own) {
                    self.give_up_header(ticket);
                }
            }
            Worker::Resolver | Worker::Registrar | Worker::Ledger | Worker::Firewall | Worker::Sensor => {}
        }
    }

    fn push_leaving(&mut self, number: u32) {
        let at = self.staff.leaving.iter().position(|leaving| leaving.number == number);
        let Some(leaving) = at.and_then(|at| self.staff.leaving.get_mut(at)) else { return };
        while let Some((message, fd)) = leaving.waiting.front() {
            match seqpacket::send(&leaving.channel, message, fd.as_ref().map(AsFd::as_fd)) {
                Ok(()) => drop(leaving.waiting.pop_front()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.has_left(number);
                    return;
                }
            }
        }
        let wants = !leaving.waiting.is_empty();
        if !wants && just_listens(leaving.worker) {
            // It has heard all that there was for it; the end of the channel is the order to leave.
            self.has_left(number);
            return;
        }
        if wants != leaving.wants_write {
            let more = if wants { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(Token::Leaving(number).raw());
            let flags = epoll::EventFlags::IN | more;
            leaving.wants_write = epoll::modify(&self.epoll, &leaving.channel, data, flags).is_ok() && wants;
        }
    }

    /// Says to one that leaves that a connection of it is to end.
    pub fn end_with_leaving(&mut self, number: u32, message: Vec<u8>) {
        if let Some(leaving) = self.staff.leaving.iter_mut().find(|leaving| leaving.number == number) {
            leaving.waiting.push_back((message, None));
            self.push_leaving(number);
        }
    }

    /// It has gone. What it still had is lost with it; what it was only to look at is asked of its successor.
    fn has_left(&mut self, number: u32) {
        let Some(at) = self.staff.leaving.iter().position(|leaving| leaving.number == number) else { return };
        drop(self.staff.leaving.remove(at));
        let own = Some(number);
        let sessions = self.children.sessions.iter().filter(|(_, session)| session.leaving == own);
        for ticket in sessions.map(|(&ticket, _)| ticket).collect::<Vec<_>>() {
            self.end_session(ticket, Status::Signaled(9));
        }
        let sealed = self.children.sealed.iter().filter(|(_, behind)| behind.leaving == own);
        for ticket in sealed.map(|(&ticket, _)| ticket).collect::<Vec<_>>() {
            self.unsealed_in_leaving(number, ticket, Status::Signaled(9));
        }
        let carried = self.children.carried.iter().filter(|(_, session)| session.leaving == own);
        for ticket in carried.map(|(&ticket, _)| ticket).collect::<Vec<_>>() {
            self.end_of_carried(ticket, Status::Signaled(9));
        }
        for ticket in self.headers.tickets(|awaited: &Awaited| awaited.leaving == own) {
            self.ask_header_again(ticket);
        }
    }

    fn unsealed_in_leaving(&mut self, number: u32, ticket: u64, status: Status) {
        let own = |behind: &&crate::children::Behind| behind.leaving == Some(number);
        if self.children.sealed.get(&ticket).filter(own).is_none() {
            return;
        }
        let Some(behind) = self.children.sealed.remove(&ticket) else { return };
        if let Some((client, seat)) = behind.client {
            drop(seat);
            if let Some(slot) = self.slots.get_mut(&behind.slot) {
                self.announcer.fail(
                    &mut self.sinks,
                    &self.stamp,
                    slot,
                    (Reason::Tls, None),
                    Some(client.peer),
                );
            }
        }
        self.end_of_carried(ticket, status);
        self.forget_if_done(behind.slot);
    }
}
