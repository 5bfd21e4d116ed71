//! The worker processes over an upgrade: they work on, and so do their channels and what waits for them. One that understands other
//! messages than ours is told to leave (`crate::leaving`).

use super::leave::fd;
use crate::certificates::Set;
use crate::leaving::{Leaving, Message};
use crate::orphans::Orphans;
use crate::staff::{FIRST_TLS, Keyed, Link, Presence, Staff};
use crate::supervisor::{Supervisor, Token};
use crate::timers::Alarm;
use portreeve_handover::{Bytes, LeavingState, MessageState, WorkerState};
use portreeve_workers::protocol::{Missing, Referee, Worker, version};
use rustix::fd::AsFd;
use std::collections::VecDeque;
use std::rc::Rc;

fn leave_message((bytes, attached): &Message) -> MessageState {
    MessageState { bytes: Bytes(bytes.clone()), fd: attached.as_ref().map(fd) }
}

fn bits(missing: &[Missing]) -> u32 {
    let all = Missing::ALL.iter().enumerate();
    all.filter(|(_, one)| missing.contains(one)).fold(0, |bits, (at, _)| bits | 1 << at)
}

/// What of a confinement is missing, from bits.
pub fn missing(bits: u32) -> Vec<Missing> {
    let all = Missing::ALL.iter().enumerate();
    all.filter(|(at, _)| bits & (1 << at) != 0).map(|(_, missing)| *missing).collect()
}

impl Link {
    /// As a record.
    pub fn leave(&self, orphans: &Orphans) -> WorkerState {
        WorkerState {
            name: self.worker.name().to_owned(),
            protocol: version(),
            presence: match self.presence {
                Presence::Off => 0,
                Presence::Starting => 1,
                Presence::Ready => 2,
                Presence::Down => 3,
            },
            pid: self.pid,
            restarts: self.restarts,
            missing: bits(&self.missing),
            dropped: self.dropped,
            channel: self.channel.as_ref().map(fd),
            waiting: self.waiting.iter().map(leave_message).collect(),
            started: self.started,
            failures: self.failures,
            set: self.set.as_deref().map(Set::leave),
            keyed: match self.keyed {
                Keyed::No => 0,
                Keyed::Yes => 1,
                Keyed::Wrong(_) => 2,
            },
            wrong: match &self.keyed {
                Keyed::Wrong(why) => why.clone(),
                Keyed::No => String::new(),
                Keyed::Yes => self.stale.clone(),
            },
            watched: orphans.get(&self.pid).map(fd),
        }
    }
}

impl Leaving {
    /// As a record.
    pub fn leave(&self, orphans: &Orphans) -> LeavingState {
        LeavingState {
            name: self.worker.name().to_owned(),
            number: self.number,
            pid: self.pid,
            protocol: self.protocol,
            missing: bits(&self.missing),
            channel: fd(&self.channel),
            waiting: self.waiting.iter().map(leave_message).collect(),
            watched: orphans.get(&self.pid).map(fd),
        }
    }
}

/// Whether a worker that was left must leave: its messages are of another version than ours.
pub fn must_leave(left: &WorkerState) -> bool {
    left.channel.is_some() && left.protocol != version()
}

impl Supervisor {
    /// Messages that wait for a worker.
    pub fn adopt_messages(&self, left: &[MessageState]) -> Result<VecDeque<Message>, String> {
        let adopt = |message: &MessageState| {
            Ok((message.bytes.0.clone(), message.fd.map(|fd| self.adopt(fd)).transpose()?.map(Into::into)))
        };
        left.iter().map(adopt).collect()
    }

    /// A worker that a former version left: it works on, whatever is executed here. The number under which it leaves, if it does.
    pub fn take_over_worker(&mut self, left: &WorkerState) -> Result<Option<u32>, String> {
        let Some(worker) = Worker::by_name(&left.name) else { return Ok(None) };
        let index = if worker == Worker::Tls {
            self.staff.links.push(Link::new(worker));
            u32::try_from(self.staff.links.len() - 1).unwrap_or(u32::MAX)
        } else {
            Staff::index(worker)
        };
        if left.watched.is_some() {
            self.watch_orphan(left.pid, left.watched)?;
        }
        if must_leave(left) {
            return self.let_leave(worker, left);
        }
        let channel = left.channel.map(|fd| self.adopt(fd)).transpose()?;
        let waiting = self.adopt_messages(&left.waiting)?;
        if let Some(channel) = &channel {
            self.watch(channel.as_fd(), Token::Worker(index)).map_err(|e| format!("epoll: {e}"))?;
        }
        let Some(link) = self.staff.link_mut(index) else { return Ok(None) };
        link.presence = match left.presence {
            1 => Presence::Starting,
            2 => Presence::Ready,
            3 => Presence::Down,
            _ => Presence::Off,
        };
        link.pid = left.pid;
        link.restarts = left.restarts;
        link.missing = missing(left.missing);
        link.dropped = left.dropped;
        link.referee = Referee::resumed(worker, link.presence == Presence::Ready);
        link.channel = channel;
        link.waiting = waiting;
        link.started = left.started;
        link.failures = left.failures;
        link.set = left.set.as_ref().map(|set| Rc::new(Set::left(set)));
        link.keyed = match left.keyed {
            1 => Keyed::Yes,
            2 => Keyed::Wrong(left.wrong.clone()),
            _ => Keyed::No,
        };
        if link.keyed == Keyed::Yes {
            link.stale.clone_from(&left.wrong);
        }
        if link.presence == Presence::Down
            && let Ok(alarm) = u8::try_from(index)
        {
            self.timers.set(self.stamp.mono(), Alarm::Worker(alarm));
        }
        self.want_write(index);
        Ok(None)
    }

    /// All workers; under which number each of those leaves that leave, by its place in the list.
    pub fn take_over_workers(&mut self, left: &[WorkerState]) -> Result<Leaves, String> {
        let mut leaves = Leaves::default();
        for worker in left {
            let number = self.take_over_worker(worker)?;
            match Worker::by_name(&worker.name) {
                Some(Worker::Builtin) => leaves.builtin = number,
                Some(Worker::Proxy) => leaves.proxy = number,
                Some(Worker::Header) => leaves.header = number,
                Some(Worker::Tls) => leaves.tls.push(number),
                Some(
                    Worker::Resolver | Worker::Registrar | Worker::Ledger | Worker::Firewall | Worker::Sensor,
                )
                | None => {}
            }
        }
        Ok(leaves)
    }

    /// Where all workers of TLS stand in the list.
    pub fn tls_indices(&self) -> impl Iterator<Item = u32> + use<> {
        (FIRST_TLS..self.staff.links.len()).filter_map(|at| u32::try_from(at).ok())
    }
}

/// Under which number a worker leaves, if it does.
#[derive(Debug, Default)]
pub struct Leaves {
    /// That of the built-ins.
    pub builtin: Option<u32>,
    /// That of redirected services.
    pub proxy: Option<u32>,
    /// That which reads headers.
    pub header: Option<u32>,
    /// Those of TLS.
    pub tls: Vec<Option<u32>>,
}
