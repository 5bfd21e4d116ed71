//! Takes signals and the ends of processes. An end frees its seat, announces EXIT, and gives a wait=yes service its
//! socket back. As process 1 of a container this also buries strangers.

use crate::announce::End;
use crate::children::{Due, Looks};
use crate::options::Program;
use crate::slot::{SlotId, State};
use crate::stop::Stopping;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::Peer;
use portreeve_sys::process;
use portreeve_sys::reap::{Pid, Reaped, Signal, Status, reap_next, reap_one};
use portreeve_workers::protocol::Usage;
use std::time::Duration;

/// Most ends handled at once; the rest come with the next alarm, because the signal that told of them has been read.
const ENDS: usize = 256;
/// How long the rest waits, so that the clients of this wake-up come first.
const REST: Duration = Duration::from_millis(1);
/// From so many running programs on nobody asks the kernel for any that has ended: it walks over all that run, for each that it finds.
/// They are asked for by their numbers, which costs a fifth of a microsecond whatever runs besides.
pub const CROWD: usize = 128;
/// At a signal so many of the newest are asked for, beside the one that it names.
const NEWEST: usize = 32;
/// All that are remembered as new, after so long: a client sees its connection closed before its program is one that has ended, and so
/// many others may have begun meanwhile.
const GLANCE: Duration = Duration::from_millis(20);
/// All that run, after so long a time for each of them: a second with 20,000. That keeps it below a hundredth of a core.
const LOOK: Duration = Duration::from_micros(50);

impl Supervisor {
    /// Signals are waiting.
    pub fn take_signals(&mut self) {
        let crowd = self.children.programs.len() >= CROWD;
        while let Some((number, pid, _)) = self.signals.read() {
            match Signal::from_named_raw(number) {
                Some(Signal::USR2) if self.options.program == Program::Portreeve => self.upgrade(None),
                Some(Signal::HUP | Signal::USR2) => self.reload(None),
                Some(Signal::USR1) => {
                    // What became of it has been said in the log.
                    let _ = self.dump();
                }
                Some(Signal::TERM) => self.stop(Stopping::Term),
                Some(Signal::INT) if self.options.foreground => self.stop(Stopping::Term),
                Some(Signal::QUIT) => self.stop(Stopping::Quit),
                Some(Signal::ABORT) => self.say(Level::Info, "Consistency check passed"),
                Some(Signal::CHILD) => {
                    self.children.told += 1;
                    if crowd {
                        self.bury_one(pid);
                    }
                }
                _ => {}
            }
        }
        // One SIGCHLD may stand for many ends, and one that came while we looked is not lost.
        if crowd { self.bury_in_crowd() } else { self.bury() }
    }

    /// The rest of what a SIGCHLD told that was taken before its turn.
    pub fn ended_meanwhile(&mut self, pid: i32) {
        self.bury_one(pid);
        self.bury_in_crowd();
    }

    /// Of many that run: those that are likely to have ended now, the others soon.
    fn bury_in_crowd(&mut self) {
        self.bury_newest(NEWEST);
        for pid in self.helpers() {
            self.bury_one(pid);
        }
        let now = self.stamp.mono();
        if self.children.looks.glance.is_none() {
            self.children.looks.glance = Some(now + GLANCE);
            self.timers.set(now + GLANCE, Alarm::Ends);
        }
        if self.children.looks.all.is_none() {
            let running = u32::try_from(self.children.programs.len()).unwrap_or(u32::MAX);
            self.look_at_all(now + LOOK.saturating_mul(running));
        }
    }

    /// The few children that are no programs and that somebody waits for: at most 64 commands of the tables, and four more.
    fn helpers(&self) -> Vec<i32> {
        let hashing = self.hashing.readers().chain(self.ban_settings.reader());
        let probe = self.upgrade.probing.iter().map(|probing| probing.pid);
        hashing.chain(probe).chain(self.hooks.running()).collect()
    }

    /// Has all looked at by then.
    pub fn look_at_all(&mut self, at: Duration) {
        self.children.looks.all = Some(at);
        self.timers.set(at, Alarm::Ends);
    }

    /// The alarm for a look at those that may have ended.
    pub fn bury_late(&mut self) {
        let Some(due) = self.children.looks.due(self.stamp.mono()) else { return };
        if due == Due::All || self.children.programs.len() < CROWD {
            self.bury();
        } else {
            self.bury_newest(usize::MAX);
        }
    }

    fn bury_newest(&mut self, most: usize) {
        for pid in self.children.newest(most) {
            self.bury_one(pid);
        }
    }

    /// Whether it had ended.
    pub fn bury_one(&mut self, pid: i32) -> bool {
        let ended = Pid::from_raw(pid).and_then(reap_one);
        if let Some(ended) = &ended {
            self.ended(ended);
        }
        ended.is_some()
    }

    /// Takes the ended children out of the process table.
    pub fn bury(&mut self) {
        self.children.looks = Looks::default();
        let mut left = ENDS;
        if self.children.programs.len() >= CROWD {
            let all: Vec<i32> = self.children.programs.keys().copied().collect();
            for pid in all {
                left -= usize::from(self.bury_one(pid));
                if left == 0 {
                    break;
                }
            }
        }
        // Of a crowd only who is no program of ours is left now.
        while left > 0 {
            let Some(ended) = reap_next() else { return };
            self.ended(&ended);
            left -= 1;
        }
        self.look_at_all(self.stamp.mono() + REST);
    }

    fn ended(&mut self, ended: &Reaped) {
        let pid = ended.pid.as_raw_nonzero().get();
        let told = self.witness_ended(pid);
        if let Some(child) = self.children.end(pid) {
            let id = child.slot;
            if let Some(slot) = self.slots.get(&id) {
                let end = End {
                    event: child.event,
                    peer: child.peer,
                    status: Some(ended.status),
                    pid,
                    seconds: self.stamp.wall() - child.started_wall,
                    lasted: self.stamp.mono().saturating_sub(child.started),
                    usage: Some(Usage {
                        user_us: ended.user_us,
                        system_us: ended.system_us,
                        max_rss_kib: ended.max_rss_kib,
                    }),
                    bytes: None,
                    logged: !child.forgotten,
                };
                self.announcer.exit(&mut self.sinks, &self.stamp, slot, &end);
            }
            if child.forgotten {
                self.stranger(pid, ended.status);
            }
            let served = !told && !child.holds_socket && ended.status == Status::Exited(0);
            if let Some(client) = child.peer.and_then(Peer::address).filter(|_| served) {
                self.book.behaves_well(client.ip(), self.stamp.mono());
            }
            let held = child.holds_socket;
            drop(child);
            if held {
                self.released(id);
            }
            self.forget_if_done(id);
            self.stop_if_done();
        } else if self.probe_ended(pid, ended.status) {
            // What it said has been heard.
        } else if self.ban_settings_ended(pid, ended.status) || self.hashing_ended(pid, ended.status) {
            // The same.
        } else if self.hook_ended(pid, ended.status) {
            self.stop_if_done();
        } else if let Some(worker) = self.staff.by_pid(pid) {
            self.worker_ended(worker);
        } else if process::is_pid1() {
            // Orphans of a container are nobody's news.
            self.staff.was_retired(pid);
            self.strangers += 1;
        } else if !self.staff.was_retired(pid) {
            self.stranger(pid, ended.status);
        }
    }

    fn stranger(&mut self, pid: i32, status: Status) {
        self.strangers += 1;
        let how = match status {
            Status::Exited(_) => "exited",
            Status::Signaled(_) => "died",
        };
        self.say(Level::Notice, &format!("unknown child process {pid} {how}"));
    }

    /// A slot that a reload removed goes when its last instance has.
    pub fn forget_if_done(&mut self, id: SlotId) {
        let removed = self.slots.get(&id).is_some_and(|s| s.status == State::Removed);
        if removed
            && !self.children.name(id)
            && !self.headers.name(id)
            && let Some(slot) = self.slots.remove(&id)
        {
            self.sinks.close(slot.sink);
            self.tidy_groups();
        }
    }
}
