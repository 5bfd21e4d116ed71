//! The commands that tables order: started with the service's ids, never the supervisor's where a service has its own,
//! bounded in number and time. A command that is too late is killed with its whole group.

use crate::orphans::Orphans;
use crate::slot::{Manner, Slot, SlotId};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use hosts_access::Done;
use portreeve_conf::Level;
use portreeve_handover::HookState;
use portreeve_policy::Prefix;
use portreeve_sys::process;
use portreeve_sys::reap::{Signal, Status};
use portreeve_sys::spawn::{Ids, SpawnError, Stdio};
use rustix::fd::AsFd;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Most commands that run at once.
pub const MOST_HOOKS: usize = 64;
/// Most of them for one source.
const MOST_OF_ONE: usize = 8;
/// How long a command beside the server may run.
const BESIDE: Duration = Duration::from_secs(60);
/// How long a command that decides may run.
const ASKED: Duration = Duration::from_secs(10);

/// The running commands and their numbers.
#[derive(Debug, Default)]
pub struct Hooks {
    running: HashMap<i32, Hook>,
    builtin: Option<(u32, u32)>,
    /// Started since the start.
    pub started: u64,
    /// Not started: too many ran, or the kernel made no process.
    pub dropped: u64,
    /// Killed because they took too long.
    pub killed: u64,
}

#[derive(Debug)]
struct Hook {
    slot: SlotId,
    source: IpAddr,
    /// The client that waits for the exit status.
    asks: Option<u64>,
    until: Duration,
    killed: bool,
}

impl Hooks {
    /// None runs yet. Reads /etc/passwd.
    pub fn new() -> Self {
        let ids = portreeve_workers::builtin_ids();
        Self { builtin: Some((ids.uid, ids.gid)), ..Self::default() }
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// The processes of those that run.
    pub fn running(&self) -> impl Iterator<Item = i32> {
        self.running.keys().copied()
    }

    /// Those that run, as records. Whoever waits for one asks anew.
    pub fn leave(&self, orphans: &Orphans) -> Vec<HookState> {
        let state = |(&pid, hook): (&i32, &Hook)| HookState {
            pid,
            slot: hook.slot,
            source: Some(hook.source),
            until: hook.until,
            killed: hook.killed,
            watched: orphans.get(&pid).map(crate::handover::fd),
        };
        self.running.iter().map(state).collect()
    }

    /// One that a former version left running.
    pub fn take_over(&mut self, left: &HookState) {
        let source = left.source.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let hook = Hook { slot: left.slot, source, asks: None, until: left.until, killed: left.killed };
        self.running.insert(left.pid, hook);
    }

    /// One that nobody waits for has ended: whether it was one.
    pub fn has_ended(&mut self, pid: i32) -> bool {
        self.running.remove(&pid).is_some()
    }

    /// The counters of a former version.
    pub fn counts(&mut self, left: &[u64]) {
        if let [started, dropped, killed] = *left {
            (self.started, self.dropped, self.killed) = (started, dropped, killed);
        }
    }

    fn room_for(&self, source: IpAddr) -> bool {
        self.running.len() < MOST_HOOKS
            && self.running.values().filter(|hook| hook.source == source).count() < MOST_OF_ONE
    }
}

/// By what one source counts: what one subscriber has.
pub fn source_of(address: IpAddr) -> IpAddr {
    Prefix::subscriber(address).address()
}

impl Supervisor {
    /// The ids that commands for this service run with: its own; for a built-in the worker's. `None`: the supervisor's.
    pub fn hook_ids(&self, slot: &Slot) -> Option<Ids> {
        match slot.manner() {
            Manner::Builtin(_) | Manner::BuiltinDatagrams(_) | Manner::Mux | Manner::Sensor => {
                let (uid, gid) = self.hooks.builtin.filter(|_| process::is_root())?;
                Some(Ids { uid, gid, groups: Vec::new() })
            }
            Manner::Spawn | Manner::Wait | Manner::Redirect | Manner::RedirectDatagrams => {
                crate::launch::ids(&slot.service)
            }
        }
    }

    /// Starts a command. `asks` is the ticket of a client that waits for its status. False when it could not be started.
    pub fn start_hook(
        &mut self,
        id: SlotId,
        source: IpAddr,
        command: &[u8],
        orders: &super::Orders,
        asks: Option<u64>,
    ) -> bool {
        let source = source_of(source);
        if !self.hooks.room_for(source) {
            self.hooks.dropped += 1;
            let name = crate::programs::slot_name(self, id);
            self.say(Level::Error, &format!("service {name}: too many commands of hosts.allow and hosts.deny run; one more is not started"));
            return false;
        }
        let Some(slot) = self.slots.get(&id) else { return false };
        let image =
            crate::launch::shell(&slot.service, &self.inherited, self.hook_ids(slot), command, orders)
                .build();
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let outcome = match &null {
            Ok(null) => {
                let null = null.as_fd();
                let stdio = Stdio::Separate { stdin: null, stdout: null, stderr: null, extra: None };
                self.spawner.spawn(&image, &[], stdio)
            }
            Err(errno) => Err(SpawnError::Clone(*errno)),
        };
        let pid = match outcome {
            Ok(pid) | Err(SpawnError::Child { pid, .. }) => pid.as_raw_nonzero().get(),
            Err(SpawnError::Clone(errno)) => {
                self.hooks.dropped += 1;
                let name = crate::programs::slot_name(self, id);
                self.say(
                    Level::Error,
                    &format!(
                        "service {name}: a command of hosts.allow or hosts.deny could not be started: {errno}"
                    ),
                );
                return false;
            }
        };
        let until = self.stamp.mono() + if asks.is_some() { ASKED } else { BESIDE };
        self.is_a_child(pid);
        self.timers.set(until, Alarm::Hook(pid));
        self.hooks.started += 1;
        self.hooks.running.insert(pid, Hook { slot: id, source, asks, until, killed: false });
        true
    }

    /// A command has had its time.
    pub fn hook_late(&mut self, pid: i32) {
        let now = self.stamp.mono();
        let Some(hook) = self.hooks.running.get_mut(&pid).filter(|hook| hook.until <= now && !hook.killed)
        else {
            return;
        };
        hook.killed = true;
        self.hooks.killed += 1;
        let (slot, asks) = (hook.slot, hook.asks.take());
        // It has not been buried yet, so the number is still its own.
        self.signal_group(pid, Signal::KILL);
        let name = crate::programs::slot_name(self, slot);
        self.say(
            Level::Error,
            &format!("service {name}: a command of hosts.allow or hosts.deny took too long and is killed"),
        );
        if let Some(ticket) = asks {
            self.command_ended(ticket, Done::Unavailable);
        }
    }

    /// Nobody waits for the commands that decide any more.
    pub fn end_asked_hooks(&mut self) {
        for (&pid, hook) in &self.hooks.running {
            if hook.asks.is_some() {
                self.signal_group(pid, Signal::KILL);
            }
        }
    }

    /// A process has ended; whether it was such a command.
    pub fn hook_ended(&mut self, pid: i32, status: Status) -> bool {
        let Some(hook) = self.hooks.running.remove(&pid) else { return false };
        if let Some(ticket) = hook.asks {
            let done = match status {
                Status::Exited(0) => Done::Done,
                Status::Exited(_) | Status::Signaled(_) => Done::Refused,
            };
            if done == Done::Refused {
                self.say(Level::Info, "aclexec returned 1");
            }
            self.command_ended(ticket, done);
        }
        true
    }
}
