//! Who may say what, and when: the table that the supervisor holds a worker to.

use super::wire::{BadMessage, Reader, Writer};
use super::{
    FromBuiltin, FromFirewall, FromHeader, FromLedger, FromProxy, FromRegistrar, FromResolver, FromSensor,
    FromTls,
};

/// The tags of everything that a worker can say. The numbers of the two directions do not overlap, so that a message
/// that comes back from a confused worker is not understood as another.
pub(super) mod tag {
    pub(in super::super) const READY: u8 = 1;
    pub(in super::super) const DONE: u8 = 2;
    pub(in super::super) const DATAGRAMS: u8 = 3;
    pub(in super::super) const RATE: u8 = 4;
    pub(in super::super) const NAMES: u8 = 5;
    pub(in super::super) const ANSWER: u8 = 6;
    pub(in super::super) const HOST: u8 = 7;
    pub(in super::super) const USER: u8 = 8;
    pub(in super::super) const PONG: u8 = 9;
    pub(in super::super) const CARRIED: u8 = 10;
    pub(in super::super) const REGISTERED: u8 = 11;
    pub(in super::super) const RPCBIND_LOST: u8 = 12;
    pub(in super::super) const REACHED: u8 = 20;
    pub(in super::super) const UNREACHED: u8 = 21;
    pub(in super::super) const WANT: u8 = 22;
    pub(in super::super) const HEADER: u8 = 30;
    pub(in super::super) const KEYED: u8 = 40;
    pub(in super::super) const SHAKEN: u8 = 41;
    pub(in super::super) const SEALED: u8 = 42;
    pub(in super::super) const OPENED: u8 = 50;
    pub(in super::super) const CLOSED: u8 = 51;
    pub(in super::super) const WRITTEN: u8 = 52;
    pub(in super::super) const KEPT: u8 = 53;
    pub(in super::super) const RECALLED: u8 = 54;
    pub(in super::super) const STANDING: u8 = 60;
    pub(in super::super) const REFUSED: u8 = 61;
    pub(in super::super) const CUT: u8 = 62;
    pub(in super::super) const WATCHING: u8 = 70;
    pub(in super::super) const SCANS: u8 = 71;
}

/// A worker by its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Worker {
    /// Asks the name services.
    Resolver,
    /// Answers the built-in services.
    Builtin,
    /// Carries bytes between clients and the targets of `redirect`.
    Proxy,
    /// Tells rpcbind where RPC services are.
    Registrar,
    /// Reads what stands in front of a connection: PROXY headers, lines of tcpmux.
    Header,
    /// Speaks TLS with clients or targets. Part of the executable `portreeve`; one process for each set of certificates.
    Tls,
    /// Writes the journal of events. Part of the executable `portreeve`.
    Ledger,
    /// Has the kernel drop who is banned.
    Firewall,
    /// Watches for stealth scans.
    Sensor,
}

impl Worker {
    /// All of them.
    pub const ALL: [Worker; 9] = [
        Worker::Resolver,
        Worker::Builtin,
        Worker::Proxy,
        Worker::Registrar,
        Worker::Header,
        Worker::Tls,
        Worker::Ledger,
        Worker::Firewall,
        Worker::Sensor,
    ];

    /// The word that stands on the worker's command line and in messages to people.
    pub fn name(self) -> &'static str {
        match self {
            Worker::Resolver => "resolver",
            Worker::Builtin => "builtin",
            Worker::Proxy => "proxy",
            Worker::Registrar => "registrar",
            Worker::Header => "header",
            Worker::Tls => "tls",
            Worker::Ledger => "ledger",
            Worker::Firewall => "firewall",
            Worker::Sensor => "sensor",
        }
    }

    /// The worker of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|worker| worker.name() == name)
    }
}

/// One row: a message, its name, and who may send it. `READY` comes first and once, the others after it.
struct Row {
    tag: u8,
    name: &'static str,
    senders: &'static [Worker],
}

const TABLE: &[Row] = &[
    Row { tag: tag::READY, name: "Ready", senders: &Worker::ALL },
    Row { tag: tag::DONE, name: "Done", senders: &[Worker::Builtin] },
    Row { tag: tag::CARRIED, name: "Done", senders: &[Worker::Proxy] },
    Row { tag: tag::REGISTERED, name: "Done", senders: &[Worker::Registrar] },
    Row { tag: tag::RPCBIND_LOST, name: "Lost", senders: &[Worker::Registrar] },
    Row { tag: tag::REACHED, name: "Reached", senders: &[Worker::Proxy, Worker::Tls] },
    Row { tag: tag::UNREACHED, name: "Unreached", senders: &[Worker::Proxy, Worker::Tls] },
    Row { tag: tag::KEYED, name: "Keyed", senders: &[Worker::Tls] },
    Row { tag: tag::SHAKEN, name: "Shaken", senders: &[Worker::Tls] },
    Row { tag: tag::SEALED, name: "Done", senders: &[Worker::Tls] },
    Row { tag: tag::WANT, name: "Want", senders: &[Worker::Proxy] },
    Row { tag: tag::DATAGRAMS, name: "Datagrams", senders: &[Worker::Builtin, Worker::Proxy] },
    Row { tag: tag::RATE, name: "Rate", senders: &[Worker::Builtin, Worker::Proxy] },
    Row { tag: tag::NAMES, name: "Names", senders: &[Worker::Resolver] },
    Row { tag: tag::ANSWER, name: "Answer", senders: &[Worker::Resolver] },
    Row { tag: tag::HOST, name: "Host", senders: &[Worker::Resolver] },
    Row { tag: tag::PONG, name: "Pong", senders: &[Worker::Resolver] },
    Row { tag: tag::USER, name: "User", senders: &[Worker::Resolver] },
    Row { tag: tag::STANDING, name: "Standing", senders: &[Worker::Firewall] },
    Row { tag: tag::REFUSED, name: "Refused", senders: &[Worker::Firewall] },
    Row { tag: tag::CUT, name: "Cut", senders: &[Worker::Firewall] },
    Row { tag: tag::WATCHING, name: "Watching", senders: &[Worker::Sensor] },
    Row { tag: tag::SCANS, name: "Scans", senders: &[Worker::Sensor] },
    Row { tag: tag::HEADER, name: "Read", senders: &[Worker::Header] },
    Row { tag: tag::OPENED, name: "Opened", senders: &[Worker::Ledger] },
    Row { tag: tag::CLOSED, name: "Closed", senders: &[Worker::Ledger] },
    Row { tag: tag::KEPT, name: "Kept", senders: &[Worker::Ledger] },
    Row { tag: tag::RECALLED, name: "Recalled", senders: &[Worker::Ledger] },
    Row { tag: tag::WRITTEN, name: "Written", senders: &[Worker::Ledger] },
];

/// The supervisor's judge of one worker process. An error means: kill it and log why.
///
/// It knows nothing of tickets and slots: that a ticket is really open is for the holder of the tickets to check.
#[derive(Clone, Debug)]
pub struct Referee {
    worker: Worker,
    ready: bool,
}

impl Referee {
    /// For a worker that was just started.
    pub fn new(worker: Worker) -> Self {
        Self { worker, ready: false }
    }

    /// For a worker that another version of the supervisor has started.
    pub fn resumed(worker: Worker, ready: bool) -> Self {
        Self { worker, ready }
    }

    /// Whether the worker has said `Ready`.
    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Reads a message of the builtin worker.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_builtin(&mut self, bytes: &[u8]) -> Result<FromBuiltin, BadMessage> {
        self.admit(bytes)?;
        let message = FromBuiltin::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the proxy worker.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_proxy(&mut self, bytes: &[u8]) -> Result<FromProxy, BadMessage> {
        self.admit(bytes)?;
        let message = FromProxy::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the registrar.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_registrar(&mut self, bytes: &[u8]) -> Result<FromRegistrar, BadMessage> {
        self.admit(bytes)?;
        let message = FromRegistrar::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the header worker.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_header(&mut self, bytes: &[u8]) -> Result<FromHeader, BadMessage> {
        self.admit(bytes)?;
        let message = FromHeader::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of a worker that serves TLS.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_tls(&mut self, bytes: &[u8]) -> Result<FromTls, BadMessage> {
        self.admit(bytes)?;
        let message = FromTls::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the ledger.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_ledger(&mut self, bytes: &[u8]) -> Result<FromLedger, BadMessage> {
        self.admit(bytes)?;
        let message = FromLedger::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the firewall worker.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_firewall(&mut self, bytes: &[u8]) -> Result<FromFirewall, BadMessage> {
        self.admit(bytes)?;
        let message = FromFirewall::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the sensor.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_sensor(&mut self, bytes: &[u8]) -> Result<FromSensor, BadMessage> {
        self.admit(bytes)?;
        let message = FromSensor::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    /// Reads a message of the resolver worker.
    ///
    /// # Errors
    /// A message that does not decode, or that this worker may not send now.
    pub fn from_resolver(&mut self, bytes: &[u8]) -> Result<FromResolver, BadMessage> {
        self.admit(bytes)?;
        let message = FromResolver::decode(bytes)?;
        self.ready = true;
        Ok(message)
    }

    fn admit(&self, bytes: &[u8]) -> Result<(), BadMessage> {
        let first = *bytes.first().ok_or(BadMessage::Empty)?;
        let row = TABLE.iter().find(|row| row.tag == first).ok_or(BadMessage::UnknownTag(first))?;
        let now = (row.tag == tag::READY) != self.ready;
        if now && row.senders.contains(&self.worker) { Ok(()) } else { Err(BadMessage::OutOfTurn(row.name)) }
    }
}

/// A part of the confinement that a worker could not put on; it goes on without it and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It runs as the supervisor's own user (a supervisor without root).
    OwnUser,
    /// The kernel has no Landlock.
    Landlock,
    /// The kernel's Landlock lacks some of what was asked for.
    LandlockPart,
    /// No seccomp filter.
    Seccomp,
    /// `no_new_privs` was refused.
    NoNewPrivileges,
    /// It would outlive the supervisor.
    ParentDeath,
    /// A resource limit could not be set.
    Limits,
    /// It could be traced or dumped by its own user.
    Dumpable,
}

impl Missing {
    /// All of them, in the order of their bits.
    pub const ALL: [Missing; 8] = [
        Missing::OwnUser,
        Missing::Landlock,
        Missing::LandlockPart,
        Missing::Seccomp,
        Missing::NoNewPrivileges,
        Missing::ParentDeath,
        Missing::Limits,
        Missing::Dumpable,
    ];

    /// The word for `status`.
    pub fn word(self) -> &'static str {
        match self {
            Missing::OwnUser => "own user",
            Missing::Landlock => "Landlock",
            Missing::LandlockPart => "part of Landlock",
            Missing::Seccomp => "seccomp",
            Missing::NoNewPrivileges => "no_new_privs",
            Missing::ParentDeath => "end with the supervisor",
            Missing::Limits => "resource limits",
            Missing::Dumpable => "protection from tracing",
        }
    }
}

/// `Ready` is the same for every worker: one byte with a bit per missing part.
pub(super) fn put_ready(out: &mut Writer<'_>, missing: &[Missing]) {
    let mut bits = 0u8;
    for (position, part) in Missing::ALL.iter().enumerate() {
        if missing.contains(part) {
            bits |= 1 << position;
        }
    }
    out.u8(bits);
}

pub(super) fn take_ready(input: &mut Reader<'_>) -> Result<Vec<Missing>, BadMessage> {
    let bits = input.u8()?;
    Ok(Missing::ALL
        .iter()
        .enumerate()
        .filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, part)| *part)
        .collect())
}
