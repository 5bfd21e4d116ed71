//! The worker processes over an upgrade: they work on, and so do their channels and what waits for them.

use super::leave::fd;
use crate::staff::{Link, Presence, Staff};
use crate::supervisor::{Supervisor, Token};
use crate::timers::Alarm;
use portreeve_handover::{Bytes, MessageState, WorkerState};
use portreeve_workers::protocol::{Missing, Referee, Worker};
use rustix::fd::AsFd;
use std::collections::VecDeque;

impl Link {
    /// As a record.
    pub fn leave(&self) -> WorkerState {
        let waiting = self.waiting.iter().map(|(bytes, attached)| MessageState {
            bytes: Bytes(bytes.clone()),
            fd: attached.as_ref().map(fd),
        });
        WorkerState {
            name: self.worker.name().to_owned(),
            protocol: portreeve_workers::protocol::VERSION,
            presence: match self.presence {
                Presence::Off => 0,
                Presence::Starting => 1,
                Presence::Ready => 2,
                Presence::Down => 3,
            },
            pid: self.pid,
            restarts: self.restarts,
            missing: Missing::ALL
                .iter()
                .enumerate()
                .filter(|(_, missing)| self.missing.contains(missing))
                .fold(0, |bits, (at, _)| bits | 1 << at),
            dropped: self.dropped,
            channel: self.channel.as_ref().map(fd),
            waiting: waiting.collect(),
            started: self.started,
            failures: self.failures,
        }
    }
}

impl Supervisor {
    /// A worker that a former version left: it works on, whatever is executed here.
    pub fn take_over_worker(&mut self, left: &WorkerState) -> Result<(), String> {
        let Some(worker) = Worker::by_name(&left.name) else { return Ok(()) };
        let index = Staff::index(worker);
        let channel = left.channel.map(|fd| self.adopt(fd)).transpose()?;
        let adopt = |message: &MessageState| {
            Ok((message.bytes.0.clone(), message.fd.map(|fd| self.adopt(fd)).transpose()?))
        };
        let waiting = left.waiting.iter().map(adopt).collect::<Result<VecDeque<_>, String>>()?;
        if let Some(channel) = &channel {
            self.watch(channel.as_fd(), Token::Worker(index)).map_err(|e| format!("epoll: {e}"))?;
        }
        let Some(link) = self.staff.link_mut(index) else { return Ok(()) };
        link.presence = match left.presence {
            1 => Presence::Starting,
            2 => Presence::Ready,
            3 => Presence::Down,
            _ => Presence::Off,
        };
        link.pid = left.pid;
        link.restarts = left.restarts;
        let missing = Missing::ALL.iter().enumerate().filter(|(at, _)| left.missing & (1 << at) != 0);
        link.missing = missing.map(|(_, missing)| *missing).collect();
        link.dropped = left.dropped;
        link.referee = Referee::resumed(worker, link.presence == Presence::Ready);
        link.channel = channel;
        link.waiting = waiting;
        link.started = left.started;
        link.failures = left.failures;
        if link.presence == Presence::Down
            && let Ok(alarm) = u8::try_from(index)
        {
            self.timers.set(self.stamp.mono(), Alarm::Worker(alarm));
        }
        self.want_write(index);
        Ok(())
    }
}
