//! Processes that a former version of this one had started and that are not our children: that version's process died in an upgrade, and
//! we stepped in. Their end is seen through a pidfd, which also keeps a signal for them from reaching anybody else. How they
//! ended the kernel may still tell; where it does not, the EXIT line has no status.

use crate::announce::End;
use crate::supervisor::{Supervisor, Token};
use portreeve_handover::Fd;
use portreeve_sys::orphan;
use portreeve_sys::reap::{self, Pid, Signal};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashMap;

/// A pidfd for each of them, by process number.
pub type Orphans = HashMap<i32, OwnedFd>;

impl Supervisor {
    /// Sends a signal to a process that we have started, or that a former version had.
    pub fn signal(&self, pid: i32, signal: Signal) {
        match (self.children.orphans.get(&pid), Pid::from_raw(pid)) {
            (Some(fd), _) => drop(orphan::signal(fd, signal)),
            (None, Some(pid)) => drop(reap::kill(pid, signal)),
            (None, None) => {}
        }
    }

    /// The same for the group that it leads.
    pub fn signal_group(&self, pid: i32, signal: Signal) {
        let alive = self.children.orphans.get(&pid).is_none_or(orphan::exists);
        if let Some(pid) = Pid::from_raw(pid).filter(|_| alive) {
            let _ = reap::kill_group(pid, signal);
        }
    }

    /// Watches for the end of a process that is not our child, through the pidfd that was opened while its number was its own.
    /// One that cannot be watched counts as ended.
    pub fn watch_orphan(&mut self, pid: i32, left: Option<Fd>) -> Result<(), String> {
        // Not by its number where there is none: that may be another's by now.
        let opened = left.map(|fd| self.adopt(fd)).transpose()?;
        let number = u32::try_from(pid).unwrap_or(0);
        match opened {
            Some(fd) if self.watch(fd.as_fd(), Token::Orphan(number)).is_ok() => {
                self.children.orphans.insert(pid, fd);
            }
            _ => self.orphan_ended(number),
        }
        Ok(())
    }

    /// A process that we have just started: another one that had its number has ended, whether we have heard of it or not.
    pub fn is_a_child(&mut self, pid: i32) {
        if self.children.orphans.contains_key(&pid) {
            self.orphan_ended(u32::try_from(pid).unwrap_or(0));
        }
    }

    /// It has ended.
    pub fn orphan_ended(&mut self, number: u32) {
        let Ok(pid) = i32::try_from(number) else { return };
        let fd = self.children.orphans.remove(&pid);
        let status = fd.and_then(|fd| orphan::status(fd, pid));
        if let Some(worker) = self.staff.by_pid(pid) {
            self.worker_ended(worker);
            return;
        }
        if self.hooks.has_ended(pid) {
            self.stop_if_done();
            return;
        }
        let Some(child) = self.children.end(pid) else { return };
        let (id, held) = (child.slot, child.holds_socket);
        if let Some(slot) = self.slots.get(&id) {
            let end = End {
                event: child.event,
                peer: child.peer,
                status,
                pid,
                seconds: self.stamp.wall() - child.started_wall,
                lasted: self.stamp.mono().saturating_sub(child.started),
                usage: None,
                bytes: None,
                logged: !child.forgotten,
            };
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, &end);
        }
        drop(child);
        if held {
            self.released(id);
        }
        self.forget_if_done(id);
        self.stop_if_done();
    }
}
