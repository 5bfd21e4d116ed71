//! Takes what is denied to the kernel: who tripped a sensor is dropped there, for every port of this host, until its time is
//! over. Owns what the firewall worker said of it; who is denied is decided in policy, and checked by this daemon as well.
//!
//! A source that tripped a sensor is banned by its /64 in IPv6, which is what one subscriber has; where somebody protected lies in
//! it, by the address. Under the names of xinetd and inetd nothing is taken to the kernel: their users count the FAIL lines that a
//! dropped packet never makes.

use crate::ban_list::millis_until;
use crate::json::Json;
use crate::options::Program;
use crate::protection::Protection;
use crate::staff::{Presence, Staff};
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::{Ban, Prefix, later};
use portreeve_workers::protocol::{FromFirewall, Hold, MAX_BANS, ToFirewall, Worker};
use rustix::fd::OwnedFd;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is known of the kernel's bans.
#[derive(Debug, Default)]
pub struct Bans {
    /// What the kernel gives to a socket stays while this copy of it does.
    sockets: Option<(OwnedFd, OwnedFd)>,
    /// What the worker said last.
    pub standing: Standing,
    /// What is known of the ledger's store of them.
    pub keeping: crate::ban_keeping::Keeping,
    /// Whom no ban touches, and when that was looked up.
    pub protection: Option<(Duration, Protection)>,
}

/// Whether the kernel enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked of it yet, or no answer has come.
    #[default]
    Unknown,
    /// So many of so many, when it was looked at; all of them since.
    Enforced {
        /// How the kernel holds the table.
        hold: Hold,
        /// Then in force.
        enforced: u32,
        /// Then wanted.
        wanted: u32,
    },
    /// It does not: errno. The daemon's own check is the only one.
    Refused(u16),
}

/// What the subscriber has whose one address this is, where that is more.
fn subscriber(network: &Prefix) -> Option<Prefix> {
    let whole = Prefix::subscriber(network.address());
    (network.is_host() && whole != *network).then_some(whole)
}

impl Supervisor {
    /// Whether bans go to the kernel here.
    pub fn bans_in_kernel(&self) -> bool {
        self.options.program == Program::Portreeve && portreeve_sys::process::is_root()
    }

    /// At the start: what a former run left in the kernel is not what is denied now.
    pub fn begin_bans(&mut self) {
        if self.bans_in_kernel() && portreeve_sys::netlink::has_table(portreeve_workers::FIREWALL_TABLE) {
            self.need_worker(Worker::Firewall);
        }
        // After an upgrade the worker is there, and what it said is forgotten.
        self.tell_firewall(&ToFirewall::Stand, None);
    }

    /// Entries of the list have changed: the kernel gets what follows.
    pub fn tell_kernel_of_bans(&mut self, networks: &[Prefix]) {
        if !self.bans_in_kernel() || networks.is_empty() {
            return;
        }
        let now = self.stamp.mono();
        let (mut bans, mut pardons) = (Vec::new(), Vec::new());
        for network in networks {
            self.warn_of_protected(network);
            for part in [Some(*network), subscriber(network)].into_iter().flatten() {
                match self.wanted_of_kernel(&part, now) {
                    Some(until) => bans.push((part, until.map(|until| millis_until(until, now)))),
                    None => pardons.push(part),
                }
            }
        }
        if !bans.is_empty() {
            self.need_worker(Worker::Firewall);
        }
        for part in pardons.chunks(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Pardon(part.to_vec()), None);
        }
        for part in bans.chunks(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Bans(part.to_vec()), None);
        }
        // A full message says that another one follows.
        if !bans.is_empty() && bans.len().is_multiple_of(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Bans(Vec::new()), None);
        }
    }

    /// Until when the kernel is to drop exactly this network, the inner `None` being for ever; `None` when it is not.
    fn wanted_of_kernel(&mut self, network: &Prefix, now: Duration) -> Option<Option<Duration>> {
        let own = self.host.denied.get(*network).filter(|ban| ban.lasts(now) && !ban.inside);
        // One that tripped a sensor is banned with its network, where that can be.
        let tripped = own.is_some_and(|ban| ban.term.is_some());
        let mut end = own.map(|ban| ban.until);
        if tripped
            && let Some(whole) = subscriber(network)
            && self.protected_in(&whole).is_none()
        {
            return None;
        }
        if !network.is_host() && network.address().is_ipv6() {
            let of_it = |host: &Prefix, ban: &Ban| ban.term.is_some() && subscriber(host) == Some(*network);
            let inside =
                self.host.denied.inside(*network).filter(|(host, ban)| ban.lasts(now) && of_it(host, ban));
            end = inside.map(|(_, ban)| ban.until).chain(end).reduce(later);
        }
        end.filter(|_| self.protected_in(network).is_none())
    }

    /// Says of one that tripped a sensor that it stays with this daemon's own check.
    fn warn_of_protected(&mut self, network: &Prefix) {
        // Of a loopback address nothing else can be expected.
        let tripped = self.host.denied.get(*network).is_some_and(|ban| ban.term.is_some());
        if tripped
            && !network.address().is_loopback()
            && let Some(why) = self.protected_in(network)
        {
            let text =
                format!("{network} is denied by this daemon alone and not banned in the kernel: {why}");
            self.say(Level::Warning, &text);
        }
    }

    fn tell_firewall(&mut self, message: &ToFirewall, fd: Option<OwnedFd>) -> bool {
        if self.staff.link(Worker::Firewall).presence != Presence::Ready {
            return false; // it will get the whole list
        }
        let mut bytes = Vec::new();
        let told = message.encode(&mut bytes).is_ok() && self.tell(Worker::Firewall, bytes, fd);
        if !told && self.staff.link(Worker::Firewall).presence == Presence::Ready {
            // Its list is not ours any more; the next one gets the whole of it, and the kernel goes on meanwhile.
            self.lose_worker(Staff::index(Worker::Firewall), "it does not take what it is told");
        }
        told
    }

    /// The worker is ready: it gets its sockets and everybody who is denied.
    pub fn firewall_ready(&mut self) {
        if self.bans.sockets.is_none() {
            let both =
                portreeve_sys::netlink::asking().and_then(|a| Ok((a, portreeve_sys::netlink::listening()?)));
            match both {
                Ok(both) => self.bans.sockets = Some(both),
                Err(error) => {
                    let errno = error.raw_os_error().and_then(|errno| u16::try_from(errno).ok());
                    return self.kernel_refuses(errno.unwrap_or(0));
                }
            }
        }
        let copies =
            self.bans.sockets.as_ref().map(|(asking, listening)| (asking.try_clone(), listening.try_clone()));
        if let Some((Ok(asking), Ok(listening))) = copies {
            self.tell_firewall(&ToFirewall::Asking, Some(asking));
            self.tell_firewall(&ToFirewall::Listening, Some(listening));
        }
        let now = self.stamp.mono();
        let all: Vec<Prefix> = self.host.denied.iter().map(|(network, _)| network).collect();
        let mut list = BTreeMap::new();
        for network in &all {
            for part in [Some(*network), subscriber(network)].into_iter().flatten() {
                if !list.contains_key(&part)
                    && let Some(until) = self.wanted_of_kernel(&part, now)
                {
                    list.insert(part, until.map(|until| millis_until(until, now)));
                }
            }
        }
        let list: Vec<_> = list.into_iter().collect();
        for part in list.chunks(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Bans(part.to_vec()), None);
        }
        self.tell_firewall(&ToFirewall::Stand, None);
    }

    /// What is in force in the kernel, for `status` and `denied`.
    pub fn bans_view(&self, j: &mut Json) {
        let worker = self.staff.link(Worker::Firewall).presence;
        j.map("bans", |j| match (self.bans_in_kernel(), self.bans.standing) {
            (false, _) => j.text("kernel", "not used"),
            (true, Standing::Enforced { hold, enforced, wanted }) => {
                j.text(
                    "kernel",
                    if worker == Presence::Ready { "enforced" } else { "the firewall worker is away" },
                );
                j.plain("enforced", enforced);
                j.plain("wanted", wanted);
                j.text(
                    "table",
                    match hold {
                        Hold::OwnedAndKept => "ours alone, and it stays when we end",
                        Hold::Owned => "ours alone, until we end",
                        Hold::Open => "open to every process with CAP_NET_ADMIN",
                    },
                );
            }
            (true, Standing::Refused(errno)) => {
                let error = std::io::Error::from_raw_os_error(errno.into());
                j.text("kernel", format!("refused: {}", crate::machine::percent_m(&error)));
            }
            (true, Standing::Unknown) if worker == Presence::Off => j.text("kernel", "nobody was banned yet"),
            (true, Standing::Unknown) => j.text("kernel", "the firewall worker is away"),
        });
    }

    /// Whether the kernel drops whom it is told to.
    pub fn kernel_enforces(&self) -> bool {
        self.bans_in_kernel() && matches!(self.bans.standing, Standing::Enforced { .. })
    }

    /// The worker is gone; the kernel's table is not.
    pub fn firewall_lost(&mut self) {
        self.bans.standing = Standing::Unknown;
    }

    /// The worker has spoken.
    pub fn heard_firewall(&mut self, message: FromFirewall) {
        match message {
            FromFirewall::Ready { .. } => {}
            FromFirewall::Standing { hold, wanted, enforced, strange, rebuilt } => {
                if rebuilt || enforced != wanted || strange != 0 {
                    let how = match (rebuilt, strange) {
                        (true, _) => "somebody had removed or changed the table".to_owned(),
                        (false, 0) => "some were missing".to_owned(),
                        (false, n) => format!("{n} were not ours or had another end"),
                    };
                    let text = format!(
                        "bans in the kernel: {enforced} of {wanted} were in force: {how}; all are in force again"
                    );
                    self.say(Level::Warning, &text);
                } else if matches!(self.bans.standing, Standing::Refused(_)) {
                    self.say(Level::Notice, &format!("bans in the kernel: all {wanted} are in force again"));
                }
                self.filters_stale |= !matches!(self.bans.standing, Standing::Enforced { .. });
                self.bans.standing = Standing::Enforced { hold, enforced, wanted };
            }
            FromFirewall::Refused { errno, .. } => self.kernel_refuses(errno),
        }
    }

    fn kernel_refuses(&mut self, errno: u16) {
        if self.bans.standing == Standing::Refused(errno) {
            return;
        }
        self.bans.standing = Standing::Refused(errno);
        self.filters_stale = true;
        let error = std::io::Error::from_raw_os_error(errno.into());
        let text = format!(
            "bans in the kernel: it does not take them ({}); this daemon's own check is the only one",
            crate::machine::percent_m(&error)
        );
        self.say(Level::Error, &text);
    }
}
