//! Programs that a former version of this process had started and that are not our children: that version's process died in
//! an upgrade, and we stepped in. Their end is seen through a pidfd; how they ended nobody tells us, so no EXIT line follows.

use crate::supervisor::{Supervisor, Token};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashMap;

/// A pidfd for each of them, by process number.
pub type Orphans = HashMap<i32, OwnedFd>;

impl Supervisor {
    /// Watches for the end of a program that is not our child. One that cannot be watched counts as ended.
    pub fn watch_orphan(&mut self, pid: i32) {
        let opened = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let number = u32::try_from(pid).unwrap_or(0);
        match opened {
            Some(fd) if self.watch(fd.as_fd(), Token::Orphan(number)).is_ok() => {
                self.children.orphans.insert(pid, fd);
            }
            _ => self.orphan_ended(number),
        }
    }

    /// It has ended.
    pub fn orphan_ended(&mut self, number: u32) {
        let Ok(pid) = i32::try_from(number) else { return };
        self.children.orphans.remove(&pid);
        let Some(child) = self.children.programs.remove(&pid) else { return };
        let (id, held) = (child.slot, child.holds_socket);
        if let Some(slot) = self.slots.get(&id) {
            self.announcer.gone(&self.stamp, slot, child.event, pid, child.peer);
        }
        drop(child);
        if held {
            self.released(id);
        }
        self.forget_if_done(id);
        self.stop_if_done();
    }
}
