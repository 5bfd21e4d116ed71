//! RPC services at rpcbind: which entries it is to have, kept true while rpcbind comes and goes. Speaks to nobody: the
//! supervisor connects, since rpcbind goes by who does (root over the local socket, else a port that only root may take),
//! and the registrar talks.
//!
//! What is wanted follows from the listeners and is made anew whenever one changes. rpcbind's end closes the connection;
//! the connection is sought again, longer apart each time, and everything is entered again. Once a minute the entries are
//! compared although nothing has happened. An entry of somebody else is replaced only if no socket of this host is there.

use crate::machine::percent_m;
use crate::slot::{Slot, SlotId, State};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_sys::{process, socket, unix};
use portreeve_workers::protocol::{
    Entered, FromRegistrar, MAX_REGISTRATIONS, Registration, ToRegistrar, Trouble, Worker,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Where rpcbind listens for this host alone.
const LOCAL: &str = "/run/rpcbind.sock";
/// Where it listens otherwise.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 111);
/// Ports below 1024 that nobody was given by IANA, so that our connection takes none that a server will want.
const RESERVED: [std::ops::RangeInclusive<u16>; 2] = [811..=827, 834..=846];
/// How often the entries are compared although nothing has happened.
const CHECK: Duration = Duration::from_secs(60);
/// The longest time between two tries to reach rpcbind, as a power of two in seconds.
const LONGEST_WAIT: u32 = 6;
/// How long serving waits at its end for rpcbind to forget us.
const FAREWELL: Duration = Duration::from_secs(2);

/// One entry that rpcbind is to have.
#[derive(Debug)]
struct Wanted {
    slot: SlotId,
    registration: Registration,
    /// What stands in its place is dead and may go.
    replace: bool,
    /// What came of it at this rpcbind; `None` while nobody knows.
    entered: Option<Entered>,
}

/// What rpcbind is to know.
#[derive(Debug, Default)]
pub struct Registry {
    /// A listener has changed since the list was made.
    pub stale: bool,
    /// The entries are to be compared although no listener has changed: a reload.
    pub doubtful: bool,
    wanted: Vec<Wanted>,
    withdrawn: Vec<Registration>,
    /// The registrar has a connection.
    open: bool,
    /// Tries to reach rpcbind since it last answered.
    attempts: u32,
    round: u64,
    /// The list that is being worked through.
    asked: Option<u64>,
    /// When something is to be done next, and for when an alarm is set.
    due: Duration,
    alarm: Option<Duration>,
    /// It was said that rpcbind cannot be reached.
    complained: bool,
    /// When serving ends whatever rpcbind does.
    leave_by: Option<Duration>,
}

impl Registry {
    /// Entries that are wanted.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Entries of a slot: how many rpcbind has, of how many, and why not all.
    pub fn of(&self, slot: SlotId) -> (usize, usize, Option<String>) {
        let own = || self.wanted.iter().filter(|wanted| wanted.slot == slot);
        let fine = |wanted: &&Wanted| matches!(wanted.entered, Some(Entered::Registered | Entered::NoPlace));
        let note = own().find(|wanted| !fine(wanted)).map(|wanted| match &wanted.entered {
            None => "not registered yet: rpcbind has not answered".to_owned(),
            Some(entered) => obstacle(entered),
        });
        (own().filter(fine).count(), own().count(), note)
    }

    /// A service that keeps its entries although serving ends: a program of its own goes on with the socket.
    pub fn let_be(&mut self, slot: SlotId) {
        self.wanted.retain(|wanted| wanted.slot != slot);
    }
}

fn obstacle(entered: &Entered) -> String {
    match entered {
        Entered::Registered | Entered::NoPlace => String::new(),
        Entered::Refused => "rpcbind refused it".to_owned(),
        Entered::Taken { address, owner } => {
            let address = address.map_or_else(|| "somewhere else".to_owned(), |at| at.to_string());
            let owner = if owner.is_empty() { String::new() } else { format!(", owner {owner}") };
            format!("rpcbind has another program there: {address}{owner}; `rpcinfo -d` removes it")
        }
    }
}

/// What rpcbind is to know of a slot. A socket for both families is two entries.
fn registrations(slot: &Slot) -> Vec<Registration> {
    let (Some(rpc), Some(listener)) = (slot.service.rpc, slot.sole()) else { return Vec::new() };
    let Some(address) = listener.address().address() else { return Vec::new() };
    let both = address.is_ipv6() && address.ip().is_unspecified() && !slot.service.listen.v6only;
    let four = both.then(|| SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())));
    let entries = move |version| {
        four.into_iter().chain([address]).map(move |address| Registration {
            program: rpc.program,
            version,
            datagrams: !slot.is_stream(),
            address,
        })
    };
    (rpc.versions.0..=rpc.versions.1).flat_map(entries).collect()
}

impl Supervisor {
    /// Makes the list anew if a listener has changed, and has it worked through.
    pub fn renew_registrations(&mut self) {
        if !std::mem::take(&mut self.registry.stale) {
            return;
        }
        let mut now = Vec::new();
        for (&slot, held) in self.slots.iter().filter(|(_, slot)| slot.status != State::Removed) {
            now.extend(registrations(held).into_iter().map(|registration| (slot, registration)));
        }
        if now.len() > MAX_REGISTRATIONS {
            let text =
                format!("{} RPC registrations are wanted, {MAX_REGISTRATIONS} at most are made", now.len());
            self.say(Level::Error, &text);
            now.truncate(MAX_REGISTRATIONS);
        }
        let mut before = std::mem::take(&mut self.registry.wanted);
        let mut changed = false;
        for (slot, registration) in now {
            let at = before.iter().position(|wanted| wanted.registration == registration);
            let mut wanted = match at {
                Some(at) => before.swap_remove(at),
                None => {
                    changed = true;
                    Wanted { slot, registration, replace: false, entered: None }
                }
            };
            wanted.slot = slot;
            self.registry.wanted.push(wanted);
        }
        changed |= !before.is_empty();
        let gone = before.into_iter().map(|wanted| wanted.registration);
        self.registry.withdrawn.extend(gone);
        let surplus = self.registry.withdrawn.len().saturating_sub(MAX_REGISTRATIONS);
        self.registry.withdrawn.drain(..surplus);
        // A service of ours that moved stands in its own way.
        let own = self.registry.withdrawn.clone();
        for wanted in &mut self.registry.wanted {
            wanted.replace |= own.iter().any(|one| one.same_entry(&wanted.registration));
        }
        if changed | std::mem::take(&mut self.registry.doubtful) {
            self.register();
        }
    }

    /// Has the list worked through, at a new connection if there is none.
    fn register(&mut self) {
        if self.registry.wanted.is_empty() && self.registry.withdrawn.is_empty() {
            return;
        }
        self.need_worker(Worker::Registrar);
        if self.staff.link(Worker::Registrar).presence != Presence::Ready {
            return;
        }
        if !self.registry.open {
            // Between two tries nothing but the alarm makes another.
            if self.registry.attempts > 0 && self.stamp.mono() < self.registry.due {
                return;
            }
            match connect() {
                Ok(fd) => self.registry.open = self.tell_registrar(&ToRegistrar::Connection, Some(fd)),
                Err(error) => return self.rpcbind_is_away(&percent_m(&error)),
            }
        }
        self.registry.round += 1;
        let list = ToRegistrar::List {
            round: self.registry.round,
            wanted: self.registry.wanted.iter().map(|wanted| (wanted.registration, wanted.replace)).collect(),
            withdrawn: self.registry.withdrawn.clone(),
        };
        self.registry.asked = self.tell_registrar(&list, None).then_some(self.registry.round);
        self.look_again_in(CHECK);
    }

    fn tell_registrar(&mut self, message: &ToRegistrar, fd: Option<OwnedFd>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Registrar, bytes, fd.map(Into::into))
    }

    fn look_again_in(&mut self, wait: Duration) {
        let at = self.stamp.mono() + wait;
        self.registry.due = at;
        // One alarm at a time, the earliest; one that comes too early sets the next.
        if self.registry.alarm.is_none_or(|set| at < set) {
            self.registry.alarm = Some(at);
            self.timers.set(at, Alarm::Registrations);
        }
    }

    /// The alarm.
    pub fn registrations_alarm(&mut self) {
        let now = self.stamp.mono();
        if self.registry.alarm.is_some_and(|set| set > now) {
            return;
        }
        self.registry.alarm = None;
        if self.stopping.is_some() {
            return;
        }
        if now >= self.registry.due {
            self.register();
        } else {
            self.look_again_in(self.registry.due - now);
        }
    }

    /// The registrar is ready.
    pub fn registrar_ready(&mut self) {
        self.register();
    }

    /// The registrar is gone, and the connection with it.
    pub fn registrar_lost(&mut self) {
        self.registry.open = false;
        self.registry.asked = None;
        // As soon as there is another.
        self.registry.due = Duration::ZERO;
    }

    /// The registrar has spoken.
    pub fn heard_registrar(&mut self, message: FromRegistrar) {
        match message {
            FromRegistrar::Ready { .. } => {}
            FromRegistrar::Lost { why } => {
                self.registry.open = false;
                self.registry.asked = None;
                for wanted in &mut self.registry.wanted {
                    wanted.entered = None;
                }
                let why = match why {
                    Trouble::Closed => "it has closed the connection".to_owned(),
                    Trouble::Failed(errno) => percent_m(&Errno::from_raw_os_error(i32::from(errno)).into()),
                    Trouble::Silent => "it does not answer".to_owned(),
                    Trouble::Nonsense => "what it answers is no answer".to_owned(),
                };
                self.rpcbind_is_away(&why);
            }
            FromRegistrar::Done { round, entered } => {
                // A newer list is under way where the numbers differ.
                if self.registry.asked == Some(round) && entered.len() == self.registry.wanted.len() {
                    self.registry.asked = None;
                    self.registrations_done(entered);
                }
            }
        }
    }

    fn registrations_done(&mut self, all: Vec<Entered>) {
        self.registry.withdrawn.clear();
        self.registry.attempts = 0;
        if std::mem::take(&mut self.registry.complained) {
            self.say(Level::Notice, "rpcbind answers: the RPC services are registered");
        }
        let mut again = false;
        for (index, entered) in all.into_iter().enumerate() {
            let Some(wanted) = self.registry.wanted.get_mut(index) else { break };
            let Registration { program, version, datagrams, .. } = wanted.registration;
            let (slot, netid) = (wanted.slot, wanted.registration.netid());
            if let Entered::Taken { address: Some(address), .. } = &entered
                && !wanted.replace
            {
                let address = *address;
                if self.is_dead(address, datagrams) {
                    let text = format!(
                        "rpcbind has program={program} version={version} {netid} at {address}, where nobody is: replaced"
                    );
                    self.say(Level::Notice, &text);
                    if let Some(wanted) = self.registry.wanted.get_mut(index) {
                        wanted.replace = true;
                    }
                    again = true;
                    continue;
                }
            }
            let Some(wanted) = self.registry.wanted.get_mut(index) else { break };
            wanted.replace = false;
            let news = wanted.entered.as_ref() != Some(&entered);
            let failed = matches!(entered, Entered::Taken { .. } | Entered::Refused);
            let text = obstacle(&entered);
            wanted.entered = Some(entered);
            if news && failed {
                let name = crate::programs::slot_name(self, slot);
                let text = format!(
                    "pmap_set failed. service={name} program={program} version={version}: {netid}: {text}"
                );
                self.say(Level::Error, &text);
            }
        }
        if again {
            self.register();
        }
    }

    /// Whether nobody serves at an address that rpcbind has for a program of ours: no socket of this host is there, or one
    /// of ours that is another service.
    fn is_dead(&self, address: SocketAddr, datagrams: bool) -> bool {
        let ours = |slot: &Slot| {
            let mut addresses = slot.listeners.iter().filter_map(|listener| listener.address().address());
            addresses.any(|at| {
                let family = at.is_ipv6() == address.is_ipv6() || at.is_ipv6() && !slot.service.listen.v6only;
                at.port() == address.port() && slot.is_stream() != datagrams && family
            })
        };
        self.slots.values().any(ours) || !socket::is_bound(address, datagrams)
    }

    /// rpcbind cannot be reached: said once, tried again at an alarm.
    fn rpcbind_is_away(&mut self, why: &str) {
        if self.stopping.is_some() {
            self.registry.withdrawn.clear();
            return;
        }
        if !std::mem::replace(&mut self.registry.complained, true) {
            let text = format!("rpcbind: {why}; RPC services are registered when it answers");
            self.say(Level::Error, &text);
        }
        let wait = Duration::from_secs(1 << self.registry.attempts.min(LONGEST_WAIT));
        self.registry.attempts += 1;
        self.look_again_in(wait);
    }

    /// Serving ends: rpcbind is to forget what is no longer listened to.
    pub fn withdraw_all(&mut self) {
        self.registry.stale = true;
        self.renew_registrations();
        if !self.registry.withdrawn.is_empty() {
            let by = self.stamp.mono() + FAREWELL;
            self.registry.leave_by = Some(by);
            self.timers.set(by, Alarm::Registrations);
        }
    }

    /// Whether the end waits for rpcbind.
    pub fn is_withdrawing(&self) -> bool {
        self.registry.asked.is_some()
            && self.registry.open
            && !self.registry.withdrawn.is_empty()
            && self.registry.leave_by.is_some_and(|by| self.stamp.mono() < by)
    }
}

/// A connection to rpcbind as it will know us by: the local socket, where it asks the kernel for the user, else TCP.
fn connect() -> io::Result<OwnedFd> {
    match unix::connect_now(Path::new(LOCAL)) {
        Ok(fd) => return Ok(fd),
        Err(errno) if !process::is_root() => return Err(errno.into()),
        Err(_) => {}
    }
    socket::connect_from(LOOPBACK, RESERVED.into_iter().flatten())
}
