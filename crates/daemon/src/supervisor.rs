//! What the supervisor owns, in one place. The files beside this one each add the part of its behaviour they are named
//! after; the loop is in `serve`.

use crate::announce::Announcer;
use crate::ban_settings::BanSettings;
use crate::bans::Bans;
use crate::children::Children;
use crate::control::Control;
use crate::duty::Duty;
use crate::elsewhere::Elsewhere;
use crate::evidence::Reported;
use crate::handover::Upgrade;
use crate::hashing::Hashing;
use crate::headers::Headers;
use crate::hosts::{Files, Hooks, Watch};
use crate::keepers::Keepers;
use crate::launch::Inherited;
use crate::listeners::Spare;
use crate::log;
use crate::names::Parked;
use crate::options::Options;
use crate::path_ways::Ways;
use crate::reading::Reading;
use crate::recorded::Answers;
use crate::registrations::Registry;
use crate::rekeyed::Rekeying;
use crate::sensor::Sensor;
use crate::slot::{ListenerId, SlotId};
use crate::slots::Slots;
use crate::staff::Staff;
use crate::stop::Stopping;
use crate::timers::Timers;
use crate::trusted::Trusted;
use crate::witnesses::Witnesses;
use portreeve_conf::Level;
use portreeve_policy::evidence::Scorebook;
use portreeve_policy::{HostState, Now};
use portreeve_sys::lifeline::Lifeline;
use portreeve_sys::mounts::Mounts;
use portreeve_sys::process::Readiness;
use portreeve_sys::signals::SignalFd;
use portreeve_sys::spawn::Spawner;
use rustix::event::epoll;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// The supervisor.
#[derive(Debug)]
pub struct Supervisor {
    /// Command line.
    pub options: Options,
    /// The one poller.
    pub epoll: OwnedFd,
    /// Signals as events.
    pub signals: SignalFd,
    /// The moment of this wake-up.
    pub stamp: log::Stamp,
    /// The daemon's log.
    pub log: log::Daemon,
    /// The services' logs.
    pub sinks: log::Sinks,
    /// Writes START, EXIT, FAIL.
    pub announcer: Announcer,
    /// Services, by slot number.
    pub slots: Slots,
    /// The next slot number.
    pub next_slot: SlotId,
    /// What all services share: process limit, denied sources, protected sources.
    pub host: HostState,
    /// What runs.
    pub children: Children,
    /// hosts.allow and hosts.deny.
    pub hosts: Files,
    /// News of them.
    pub watch_over: Watch,
    /// They have been looked at once.
    pub tables_seen: bool,
    /// The commands that they order.
    pub hooks: Hooks,
    /// Clients that wait for an answer.
    pub parked: Parked,
    /// Connections whose header is awaited.
    pub headers: Headers,
    /// The worker processes.
    pub staff: Staff,
    /// What their lives hang on, once there is one.
    pub lifeline: Option<Lifeline>,
    /// Moments to come.
    pub timers: Timers,
    /// Starts programs.
    pub spawner: Spawner,
    /// What children get from the supervisor's own state.
    pub inherited: Inherited,
    /// Sockets for whoever wants their address.
    pub spare: Spare,
    /// Who holds our sockets in case we die.
    pub keepers: Keepers,
    /// What the configuration in force was read from.
    pub answers: Rc<Answers>,
    /// What it said, if that is not too much.
    pub said: Option<Rc<crate::unchanged::Said>>,
    /// The way to the next version of the executable.
    pub upgrade: Upgrade,
    /// A configuration that is being read.
    pub reading: Option<Reading>,
    /// The answer to a reload that waits for what the workers of TLS say.
    pub rekeying: Option<Rekeying>,
    /// The control socket and its clients.
    pub control: Control,
    /// Most clients that the builtin worker can hold at once.
    pub most_sessions: usize,
    /// Most connections that the proxy worker can carry at once.
    pub most_carried: usize,
    /// Most flows of datagrams that the proxy worker can carry at once.
    pub most_flows: usize,
    /// Most connections that the header worker can read at once.
    pub most_headers: usize,
    /// Most connections that a worker of TLS can hold at once.
    pub most_sealed: usize,
    /// Connections of redirected services that workers of TLS carry.
    pub sealed_carried: usize,
    /// Clients of TLS that had not shaken hands and made room for others.
    pub shaking_given_up: u64,
    /// Descriptors of ours live at and above this number.
    pub base: i32,
    /// How many configurations were applied.
    pub generation: u64,
    /// Diagnostics of the configuration in force, for `reload`'s answer.
    pub files: Vec<PathBuf>,
    /// The configuration's `defaults`, as lines of the dump.
    pub defaults_dump: Vec<String>,
    /// When serving began.
    pub since: Duration,
    /// Tickets for workers.
    pub next_ticket: u64,
    /// What rpcbind is to know.
    pub registry: Registry,
    /// What the kernel was told of denied sources.
    pub bans: Bans,
    /// What is held against whom.
    pub book: Scorebook,
    /// What is known of the policy's file.
    pub ban_settings: BanSettings,
    /// The digests of programs.
    pub hashing: Hashing,
    /// Programs that lie where somebody else answers.
    pub elsewhere: Elsewhere,
    /// Where that is; readings ask it too.
    pub mounts: Rc<RefCell<Mounts>>,
    /// When what the last reading left behind is given back.
    pub rest_at: Duration,
    /// The programs that somebody answers for.
    pub trusted: Trusted,
    /// Instances that tell of their clients.
    pub witnesses: Witnesses,
    /// Clients on their way to unix sockets.
    pub ways: Ways,
    /// What was said of bans that were not made.
    pub reported: Reported,
    /// Who scans.
    pub sensor: Sensor,
    /// Set when the loop shall end.
    pub stopping: Option<Stopping>,
    /// The exit status once it has ended.
    pub exit: Option<ExitCode>,
    /// Whoever waits for us to be ready.
    pub readiness: Option<Readiness>,
    /// The list of denied sources has changed since the filters were made.
    pub filters_stale: bool,
    /// Filters are not made anew before this moment.
    pub filters_rest: Duration,
    /// The alarm for that moment is set.
    pub filters_set: bool,
    /// The alarm for a look at the interfaces of listeners is set.
    pub devices_set: bool,
    /// The alarm for logs that did not take everything is set.
    pub flush_set: bool,
    /// So is that for connections that could not be let go.
    pub farewells_set: bool,
    /// No descriptor was left at the last accept, and it was said.
    pub starved: bool,
    /// Ends of processes that nobody here had started.
    pub strangers: u64,
}

/// How a descriptor of the poller is named in its events: number in the lower half, above it the kind in 16 bits and the
/// number of a listener in 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The signal descriptor.
    Signals,
    /// The control socket.
    Control,
    /// A control client.
    ControlClient(u32),
    /// A worker's channel.
    Worker(u32),
    /// The channel of a worker that is leaving.
    Leaving(u32),
    /// A program that is not our child, by its process number.
    Orphan(u32),
    /// A listener of a slot.
    Listener(SlotId, ListenerId),
    /// News of hosts.allow and hosts.deny.
    Tables,
    /// What an instance tells of its client, by its process number.
    Witness(u32),
    /// News of those who are on their way to unix sockets.
    Ways,
}

impl Token {
    /// As the kernel keeps it.
    pub fn raw(self) -> u64 {
        let (kind, number): (u64, u32) = match self {
            Self::Signals => (1, 0),
            Self::Control => (2, 0),
            Self::ControlClient(n) => (3, n),
            Self::Worker(n) => (4, n),
            Self::Listener(n, listener) => (5 | u64::from(listener) << 16, n),
            Self::Tables => (6, 0),
            Self::Leaving(n) => (7, n),
            Self::Orphan(n) => (8, n),
            Self::Witness(n) => (9, n),
            Self::Ways => (10, 0),
        };
        (kind << 32) | u64::from(number)
    }

    /// As the kernel gives it back.
    pub fn from_raw(raw: u64) -> Option<Self> {
        let number = u32::try_from(raw & 0xffff_ffff).ok()?;
        let listener = ListenerId::try_from(raw >> 48).ok()?;
        match (raw >> 32) & 0xffff {
            1 => Some(Self::Signals),
            2 => Some(Self::Control),
            3 => Some(Self::ControlClient(number)),
            4 => Some(Self::Worker(number)),
            5 => Some(Self::Listener(number, listener)),
            6 => Some(Self::Tables),
            7 => Some(Self::Leaving(number)),
            8 => Some(Self::Orphan(number)),
            9 => Some(Self::Witness(number)),
            10 => Some(Self::Ways),
            _ => None,
        }
    }
}

impl Supervisor {
    /// The moment, as policy wants it.
    pub fn now(&self) -> Now {
        Now { mono: self.stamp.mono(), minute: self.stamp.minute() }
    }

    /// A line in the daemon's log.
    pub fn say(&mut self, level: Level, text: &str) {
        self.log.say(&self.stamp, level, text);
    }

    /// A CRITICAL line in the daemon's log.
    pub fn critical(&mut self, function: &str, text: &str) {
        self.log.critical(&self.stamp, function, text);
    }

    /// Watches a descriptor for input.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: Token) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token.raw()), epoll::EventFlags::IN)
    }

    /// Polls the listeners of a slot, or stops to.
    pub fn poll_slot(&mut self, id: SlotId, on: bool) {
        let on = on && !self.is_settling(id);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let on = on && slot.order.duty == Duty::Serve;
        for listener in slot.listeners.iter_mut().filter(|listener| listener.polled != on) {
            let done = if on {
                let data = epoll::EventData::new_u64(Token::Listener(id, listener.number).raw());
                epoll::add(&self.epoll, &listener.fd, data, epoll::EventFlags::IN)
            } else {
                epoll::delete(&self.epoll, &listener.fd)
            };
            if done.is_ok() {
                listener.polled = on;
                if on && let Some(address) = listener.address().address() {
                    self.children.doors.insert(address.port());
                }
            }
        }
    }

    /// A new ticket.
    pub fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}
