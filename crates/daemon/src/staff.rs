//! The worker processes: started when first needed, held to the table of what they may say, restarted with back-off when
//! they die. Owns their channels. What is sent to them goes through `posting`; what their messages mean stands in `builtins` and `names`.

use crate::certificates::Set;
use crate::leaving::{Leaving, Message};
use crate::posting::{Packet, shares_packets};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_sys::reap::Signal;
use portreeve_sys::seqpacket;
use portreeve_workers::protocol::{
    FromBuiltin, FromFirewall, FromHeader, FromLedger, FromProxy, FromRegistrar, FromResolver, FromSensor,
    FromTls, MAX_MESSAGE, Missing, Referee, Worker, parts,
};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// The workers of which there is one, in the order of their indices.
pub const WORKERS: [Worker; 8] = [
    Worker::Resolver,
    Worker::Builtin,
    Worker::Proxy,
    Worker::Registrar,
    Worker::Header,
    Worker::Ledger,
    Worker::Firewall,
    Worker::Sensor,
];

/// Behind them come those that serve TLS, one for each set of certificates.
pub const FIRST_TLS: usize = WORKERS.len();

/// Messages of a worker that are heard in one wake-up, and those that came in one packet with the last of them.
const HEARD: usize = 64;

/// Most messages that wait for a worker's channel.
pub const MOST_WAITING: usize = 4096;

/// What a worker process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not needed yet.
    Off,
    /// Started, not confined yet.
    Starting,
    /// At work.
    Ready,
    /// Died; starts again at an alarm.
    Down,
}

/// Whether a worker of TLS has certificates that it can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// It has not said yet.
    No,
    /// It has.
    Yes,
    /// It has none, and why.
    Wrong(String),
}

/// One worker as the supervisor sees it.
#[derive(Debug)]
pub struct Link {
    /// Which.
    pub worker: Worker,
    /// What it does.
    pub presence: Presence,
    /// Its process id; 0 when there is none.
    pub pid: i32,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it was lost, until it is ready again.
    pub why: String,
    /// What of its confinement is missing.
    pub missing: Vec<Missing>,
    /// Messages that were given up because too many waited.
    pub dropped: u64,
    /// Of TLS: what it serves; none when nobody needs it any more.
    pub set: Option<Rc<Set>>,
    /// Of TLS: whether it can.
    pub keyed: Keyed,
    /// Of TLS: why its newest files are not those in use; empty where they are.
    pub stale: String,
    /// Of TLS: how often it was given files and has not said whether it can use them.
    pub handed: u32,
    /// Of TLS: connections that it has.
    pub holds: usize,
    /// Of TLS: why a handshake failed is not said again before.
    pub quiet_until: Duration,
    /// The way to it.
    pub channel: Option<OwnedFd>,
    /// Holds it to its table.
    pub referee: Referee,
    /// Messages that it has not taken yet.
    pub waiting: VecDeque<Message>,
    /// It is polled for room to write.
    pub wants_write: bool,
    /// When it was started.
    pub started: Duration,
    /// How often it died soon.
    pub failures: u32,
    /// Messages that were heard out of turn, in the wake-up of that moment.
    pub out_of_turn: (Duration, usize),
    /// A packet of it is being heard.
    hears: bool,
}

impl Link {
    /// One that is not at work yet.
    pub fn new(worker: Worker) -> Self {
        Self {
            worker,
            presence: Presence::Off,
            pid: 0,
            restarts: 0,
            why: String::new(),
            missing: Vec::new(),
            dropped: 0,
            set: None,
            keyed: Keyed::No,
            stale: String::new(),
            handed: 0,
            holds: 0,
            quiet_until: Duration::ZERO,
            channel: None,
            referee: Referee::new(worker),
            waiting: VecDeque::new(),
            wants_write: false,
            started: Duration::ZERO,
            failures: 0,
            out_of_turn: (Duration::ZERO, 0),
            hears: false,
        }
    }

    /// Messages that wait for the channel.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }
}

/// All workers.
#[derive(Debug)]
pub struct Staff {
    /// By index, see [`WORKERS`].
    pub links: Vec<Link>,
    /// Those of a former version that bring what they have to its end.
    pub leaving: Vec<Leaving>,
    retired: Vec<i32>,
    /// Where messages are heard into.
    pub buffer: Vec<u8>,
    /// Where packets for them are made.
    pub packet: Packet,
}

impl Staff {
    /// Nobody at work yet.
    pub fn new() -> Self {
        let (leaving, retired, buffer) = (Vec::new(), Vec::new(), Vec::new());
        Self { links: WORKERS.map(Link::new).into(), leaving, retired, buffer, packet: Packet::default() }
    }

    /// The index of a worker.
    pub fn index(worker: Worker) -> u32 {
        match worker {
            Worker::Resolver => 0,
            Worker::Builtin => 1,
            Worker::Proxy => 2,
            Worker::Registrar => 3,
            Worker::Header => 4,
            Worker::Ledger => 5,
            Worker::Firewall => 6,
            Worker::Sensor => 7,
            // The first of them; there may be none, or more.
            Worker::Tls => 8,
        }
    }

    /// A worker's link.
    pub fn link(&self, worker: Worker) -> &Link {
        &self.links[Self::index(worker) as usize]
    }

    /// A link, by its index.
    pub fn link_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.links.get_mut(index as usize)
    }

    /// Process numbers of those that were killed and not reaped yet.
    pub fn retired(&self) -> &[i32] {
        &self.retired
    }

    /// Those of a former version.
    pub fn retired_before(&mut self, pids: &[i32]) {
        self.retired.extend_from_slice(pids);
    }

    /// A process whose end is nobody's news.
    pub fn retire(&mut self, pid: i32) {
        self.retired.push(pid);
    }

    /// A worker that nobody needs any more: it ends by itself when its channel closes.
    pub fn retire_link(&mut self, index: u32) {
        let Some(link) = self.links.get_mut(index as usize) else { return };
        let gone = std::mem::take(&mut link.pid);
        let fresh = Link::new(link.worker);
        *link = fresh;
        if gone != 0 {
            self.retired.push(gone);
        }
    }

    /// Whether this was a worker that was killed; true once.
    pub fn was_retired(&mut self, pid: i32) -> bool {
        let at = self.retired.iter().position(|&p| p == pid);
        at.map(|at| self.retired.swap_remove(at)).is_some()
    }

    /// The worker with this process id.
    pub fn by_pid(&self, pid: i32) -> Option<u32> {
        self.links.iter().position(|l| l.pid == pid && pid != 0).and_then(|i| u32::try_from(i).ok())
    }
}

impl Supervisor {
    /// Starts a worker unless it runs or will be started again anyway.
    pub fn need_worker(&mut self, worker: Worker) {
        if self.staff.link(worker).presence == Presence::Off {
            self.start_worker(Staff::index(worker));
        }
    }

    /// An alarm of a worker that died.
    pub fn start_worker_again(&mut self, index: u8) {
        let index = u32::from(index);
        if self.stopping.is_none() && self.staff.link_mut(index).is_some_and(|l| l.presence == Presence::Down)
        {
            self.start_worker(index);
        }
    }

    /// The worker's channel has something to say or room to take more.
    pub fn worker_event(&mut self, index: u32, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            self.push_waiting(index);
        }
        // A bounded number of messages a wake-up, so that a chatty worker cannot starve the clients.
        let mut heard = 0;
        while heard < HEARD {
            match self.hear_packet(index) {
                0 => break,
                messages => heard += messages,
            }
        }
    }

    /// Hears the messages of one packet; how many, 0 when there is nothing more to hear, or one is being heard.
    pub fn hear_packet(&mut self, index: u32) -> usize {
        let Some(link) = self.staff.link_mut(index) else { return 0 };
        if std::mem::replace(&mut link.hears, true) {
            return 0;
        }
        let mut buffer = std::mem::take(&mut self.staff.buffer);
        buffer.resize(MAX_MESSAGE, 0);
        let heard = self.hear(index, &mut buffer);
        self.staff.buffer = buffer;
        if let Some(link) = self.staff.link_mut(index) {
            link.hears = false;
        }
        heard
    }

    fn hear(&mut self, index: u32, buffer: &mut [u8]) -> usize {
        let Some(link) = self.staff.link_mut(index) else { return 0 };
        let Some(channel) = &link.channel else { return 0 };
        let received = match seqpacket::recv(channel, buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return 0,
            Err(error) => {
                self.lose_worker(index, &format!("its channel failed: {error}"));
                return 0;
            }
        };
        if received.len == 0 {
            self.lose_worker(index, "it closed its channel");
            return 0;
        }
        let packet = buffer.get(..received.len).unwrap_or_default();
        if !shares_packets(link.worker) {
            return usize::from(self.hear_message(index, packet));
        }
        let (pid, mut heard) = (link.pid, 0);
        for message in parts(packet) {
            match message {
                Ok(message) if self.hear_message(index, message) => heard += 1,
                Ok(_) => return 0,
                Err(error) => {
                    self.lose_worker(index, &format!("it sent what it may not send: {error}"));
                    return 0;
                }
            }
            // What it led to may have cost it its place.
            if self.staff.links.get(index as usize).is_none_or(|link| link.pid != pid) {
                return 0;
            }
        }
        heard
    }

    fn hear_message(&mut self, index: u32, bytes: &[u8]) -> bool {
        let Some(link) = self.staff.link_mut(index) else { return false };
        let was_ready = link.referee.ready();
        let heard = match link.worker {
            Worker::Resolver => link.referee.from_resolver(bytes).map(Heard::Resolver),
            Worker::Builtin => link.referee.from_builtin(bytes).map(Heard::Builtin),
            Worker::Proxy => link.referee.from_proxy(bytes).map(Heard::Proxy),
            Worker::Registrar => link.referee.from_registrar(bytes).map(Heard::Registrar),
            Worker::Header => link.referee.from_header(bytes).map(Heard::Header),
            Worker::Tls => link.referee.from_tls(bytes).map(Heard::Tls),
            Worker::Ledger => link.referee.from_ledger(bytes).map(Heard::Ledger),
            Worker::Firewall => link.referee.from_firewall(bytes).map(Heard::Firewall),
            Worker::Sensor => link.referee.from_sensor(bytes).map(Heard::Sensor),
        };
        match heard {
            Ok(
                Heard::Resolver(FromResolver::Ready { missing })
                | Heard::Builtin(FromBuiltin::Ready { missing })
                | Heard::Proxy(FromProxy::Ready { missing })
                | Heard::Registrar(FromRegistrar::Ready { missing })
                | Heard::Header(FromHeader::Ready { missing })
                | Heard::Tls(FromTls::Ready { missing })
                | Heard::Ledger(FromLedger::Ready { missing })
                | Heard::Firewall(FromFirewall::Ready { missing })
                | Heard::Sensor(FromSensor::Ready { missing }),
            ) if !was_ready => {
                self.worker_ready(index, missing);
            }
            Ok(Heard::Resolver(message)) => self.heard_resolver(message),
            Ok(Heard::Builtin(message)) => self.heard_builtin(message),
            Ok(Heard::Proxy(message)) => self.heard_proxy(message),
            Ok(Heard::Registrar(message)) => self.heard_registrar(message),
            Ok(Heard::Header(message)) => self.heard_header(message),
            Ok(Heard::Tls(message)) => self.heard_tls(index, message),
            Ok(Heard::Ledger(message)) => self.heard_ledger(message),
            Ok(Heard::Firewall(message)) => self.heard_firewall(message),
            Ok(Heard::Sensor(message)) => self.heard_sensor(message),
            Err(error) => {
                self.lose_worker(index, &format!("it sent what it may not send: {error}"));
                return false;
            }
        }
        true
    }

    fn worker_ready(&mut self, index: u32, missing: Vec<Missing>) {
        let Some(link) = self.staff.link_mut(index) else { return };
        link.presence = Presence::Ready;
        link.missing = missing;
        link.why.clear();
        let worker = link.worker;
        self.push_waiting(index);
        match worker {
            Worker::Builtin => self.builtin_ready(),
            Worker::Proxy => self.proxy_ready(),
            Worker::Registrar => self.registrar_ready(),
            Worker::Header => self.header_has_room(),
            Worker::Tls => self.hand_files(index),
            Worker::Resolver | Worker::Ledger => {}
            Worker::Firewall => self.firewall_ready(),
            Worker::Sensor => self.sensor_ready(),
        }
    }

    /// A worker is gone or must go: its process is killed, what it held is given up, and it is started again later.
    pub fn lose_worker(&mut self, index: u32, why: &str) {
        let now = self.stamp.mono();
        let Some(link) = self.staff.link_mut(index) else { return };
        let worker = link.worker;
        let gone = std::mem::take(&mut link.pid);
        if gone != 0 {
            self.signal(gone, Signal::KILL);
            // Of another one's child there is nothing to reap.
            if self.children.orphans.remove(&gone).is_none() {
                self.staff.retired.push(gone);
            }
        }
        let Some(link) = self.staff.link_mut(index) else { return };
        link.channel = None;
        link.presence = Presence::Down;
        why.clone_into(&mut link.why);
        link.wants_write = false;
        link.waiting.clear();
        // One that worked for a minute starts at once; one that dies at once waits longer each time.
        link.failures =
            if now.saturating_sub(link.started) > Duration::from_secs(60) { 0 } else { link.failures + 1 };
        let wait = Duration::from_millis(match link.failures {
            0 | 1 => 0,
            n => 100 << n.min(8),
        });
        let Ok(alarm) = u8::try_from(index) else { return };
        self.timers.set(now + wait, Alarm::Worker(alarm));
        // One that was sent away with the end of everything is not lost.
        if self.stopping.is_none() && self.exit.is_none() {
            let text =
                format!("worker {} lost: {why}; it starts again in {} ms", worker.name(), wait.as_millis());
            self.say(Level::Error, &text);
        }
        match worker {
            Worker::Resolver => self.resolver_lost(),
            Worker::Builtin => self.builtin_lost(),
            Worker::Proxy => self.proxy_lost(),
            Worker::Registrar => self.registrar_lost(),
            Worker::Header => self.header_lost(),
            Worker::Tls => self.tls_lost(index),
            Worker::Ledger => self.ledger_lost(),
            Worker::Firewall => self.firewall_lost(),
            Worker::Sensor => self.sensor_lost(),
        }
    }

    /// A worker's process has ended.
    pub fn worker_ended(&mut self, index: u32) {
        let Some(link) = self.staff.link_mut(index) else { return };
        link.pid = 0;
        if matches!(link.presence, Presence::Starting | Presence::Ready) {
            self.lose_worker(index, "its process ended");
        }
    }
}

enum Heard {
    Resolver(FromResolver),
    Builtin(FromBuiltin),
    Proxy(FromProxy),
    Registrar(FromRegistrar),
    Header(FromHeader),
    Tls(FromTls),
    Ledger(FromLedger),
    Firewall(FromFirewall),
    Sensor(FromSensor),
}
