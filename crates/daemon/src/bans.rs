//! Takes what is denied to the kernel: who tripped a sensor is dropped there, for every port of this host, until its time is
//! over. Owns what the firewall worker said of it; who is denied is decided in policy, and checked by this daemon as well.
//!
//! IPv6 is banned by the /64, which is what one subscriber has; where somebody protected lies in it, by the address. Under the
//! names of xinetd and inetd nothing is taken to the kernel: their users count the FAIL lines that a dropped packet never makes.

use crate::json::Json;
use crate::options::Program;
use crate::protection::{Protection, Why};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::Prefix;
use portreeve_workers::protocol::{FromFirewall, Hold, MAX_BANS, ToFirewall, Worker};
use rustix::fd::OwnedFd;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// A look at whom no ban touches holds for so long.
const FRESH: Duration = Duration::from_secs(1);

/// What is known of the kernel's bans.
#[derive(Debug, Default)]
pub struct Bans {
    /// What the kernel gives to a socket stays while this copy of it does.
    sockets: Option<(OwnedFd, OwnedFd)>,
    /// What the worker said last.
    pub standing: Standing,
    protection: Option<(Duration, Protection)>,
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
    }

    /// A source is denied until a moment, or no more.
    pub fn ban_changed(&mut self, address: IpAddr, denied: bool, until: Option<Duration>) {
        if !self.bans_in_kernel() {
            return;
        }
        if denied {
            let Some(prefix) = self.bannable(address, true) else { return };
            self.need_worker(Worker::Firewall);
            let left = until.map(|until| until.saturating_sub(self.stamp.mono()).as_millis());
            let left = left.map(|millis| u64::try_from(millis).unwrap_or(u64::MAX));
            self.tell_firewall(&ToFirewall::Bans(vec![(prefix, left)]), None);
        } else {
            let host = Prefix::host(address);
            let network = Prefix::subscriber(address);
            // Another address of the same network may still be denied.
            let others = self.host.denied.iter().any(|(ip, _)| ip != address && network.contains(ip));
            let mut pardons = vec![host];
            if network != host && !others {
                pardons.push(network);
            }
            self.tell_firewall(&ToFirewall::Pardon(pardons), None);
        }
    }

    /// The network to ban for an address; `None`, which is said where asked, when no ban may touch it.
    fn bannable(&mut self, address: IpAddr, aloud: bool) -> Option<Prefix> {
        let now = self.stamp.mono();
        if self.bans.protection.as_ref().is_none_or(|(looked, _)| now.saturating_sub(*looked) >= FRESH) {
            self.bans.protection = Some((now, Protection::look(Path::new("/"))));
        }
        let (_, protection) = self.bans.protection.as_ref()?;
        let host = Prefix::host(address);
        let network = Prefix::subscriber(address);
        let why = |prefix: &Prefix| match protection.why(prefix) {
            None if self.host.protect.meets(prefix) => Some(None),
            None => None,
            why => Some(why),
        };
        match (why(&network), why(&host)) {
            (None, _) => Some(network),
            (_, None) => Some(host),
            (_, Some(reason)) => {
                // Of a loopback address nothing else can be expected.
                if aloud && !address.to_canonical().is_loopback() {
                    let reason =
                        reason.map_or_else(|| "`protect` names it".to_owned(), |why: Why| why.to_string());
                    let text = format!(
                        "{host} is denied by this daemon alone and not banned in the kernel: {reason}"
                    );
                    self.say(Level::Warning, &text);
                }
                None
            }
        }
    }

    fn tell_firewall(&mut self, message: &ToFirewall, fd: Option<OwnedFd>) -> bool {
        if self.staff.link(Worker::Firewall).presence != Presence::Ready {
            return false; // it will get the whole list
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Firewall, bytes, fd)
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
        let denied: Vec<_> = self.host.denied.iter().collect();
        let mut list = Vec::with_capacity(denied.len());
        for (address, until) in denied {
            let left =
                until.map(|until| u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX));
            list.extend(
                self.bannable(address, false).filter(|_| left != Some(0)).map(|prefix| (prefix, left)),
            );
        }
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
        let error = std::io::Error::from_raw_os_error(errno.into());
        let text = format!(
            "bans in the kernel: it does not take them ({}); this daemon's own check is the only one",
            crate::machine::percent_m(&error)
        );
        self.say(Level::Error, &text);
    }
}
