//! Takes what is denied to the kernel: who tripped a sensor is dropped there, for every port of this host, until its time is
//! over. Owns what the firewall worker said of it; who is denied is decided in policy, and checked by this daemon as well.
//!
//! A source that tripped a sensor is banned by its /64 in IPv6, which is what one subscriber has; where somebody protected lies in
//! it, by the address. Under the names of xinetd and inetd nothing is taken to the kernel: their users count the FAIL lines that a
//! dropped packet never makes.

use crate::ban_kernel;
use crate::ban_list::millis_until;
use crate::json::Json;
use crate::options::Program;
use crate::protection::Protection;
use crate::staff::{Presence, Staff};
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::Prefix;
use portreeve_workers::protocol::{FromFirewall, Hold, MAX_BANS, ToFirewall, Worker};
use rustix::fd::OwnedFd;
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
    /// Changes that the worker was told since its list was whole, and those that it has answered for.
    told: u64,
    heard: u64,
    /// Whose connections are to be cut once there is a worker.
    to_cut: Vec<Prefix>,
    /// Connections that were cut.
    cut: u64,
    /// How often something was missing in the kernel, when that was said, and how often it was not said since.
    repairs: u64,
    repair_said: Option<Duration>,
    repairs_unsaid: u64,
    /// A list that was checked and is on its way into the list.
    pub importing: Option<crate::ban_import::Importing>,
    /// One that was applied, and that the ledger has still to keep.
    pub applied: Option<crate::ban_import::Applied>,
    /// Bans that are being removed.
    pub removing: Option<crate::ban_removal::Removing>,
    /// Whom no ban touches, and when that was looked up.
    pub protection: Option<(Duration, Protection)>,
    /// The groups whose members' sessions are protected, where the configuration names them.
    pub groups: Option<Vec<String>>,
}

impl Bans {
    /// Changes that the kernel has not confirmed yet.
    pub fn on_their_way(&self) -> u64 {
        self.told.saturating_sub(self.heard)
    }
}

/// A network, and the milliseconds that are left of its ban.
type Left = (Prefix, Option<u64>);

/// Networks that may wait for a worker to cut their connections.
const MOST_TO_CUT: usize = 4096;
/// Between two words on repairs.
const QUIET: Duration = Duration::from_secs(1);

/// Whether the kernel enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked of it yet, or no answer has come.
    #[default]
    Unknown,
    /// All that it was told and has answered for.
    Enforced {
        /// How the kernel holds the table.
        hold: Hold,
        /// So many.
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
        // After an upgrade the worker is there, and what it said is forgotten.
        self.tell_firewall(&ToFirewall::Stand, None);
    }

    /// Entries of the list have changed: the kernel gets what follows. `more`: further ones come at once, and the kernel is to have all in
    /// one, once [`Supervisor::end_of_more`] is called; what is told without it meanwhile goes before them.
    pub fn tell_kernel_of_bans(&mut self, networks: &[Prefix], more: bool) {
        if !self.bans_in_kernel() || (networks.is_empty() && more) {
            return;
        }
        let now = self.stamp.mono();
        networks.iter().for_each(|network| self.warn_of_protected(network));
        let (bans, pardons) = self.kernel_changes(networks, now);
        if !bans.is_empty() {
            self.need_worker(Worker::Firewall);
        }
        for part in pardons.chunks(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Pardon(part.to_vec()), None);
        }
        self.tell_kernel_all(bans, more);
    }

    /// What changes in the kernel, with the milliseconds that are left of each ban.
    fn kernel_changes(&mut self, networks: &[Prefix], now: Duration) -> (Vec<Left>, Vec<Prefix>) {
        // Borrowed apart from the list, since to ask for protection may look at the machine.
        let denied = std::mem::take(&mut self.host.denied);
        let changes =
            ban_kernel::changes(&denied, &mut |network| self.protected_in(network).is_some(), networks, now);
        self.host.denied = denied;
        let bans = changes.bans.into_iter();
        (
            bans.map(|(part, until)| (part, until.map(|until| millis_until(until, now)))).collect(),
            changes.pardons,
        )
    }

    fn tell_kernel_all(&mut self, bans: Vec<Left>, more: bool) {
        let parts = bans.chunks(MAX_BANS);
        let in_parts = parts.len() > 1;
        for part in parts {
            self.tell_firewall(&ToFirewall::Bans { bans: part.to_vec(), more: more || in_parts }, None);
        }
        if in_parts && !more {
            self.end_of_more();
        }
    }

    /// What was said to be followed by more is over.
    pub fn end_of_more(&mut self) {
        self.tell_firewall(&ToFirewall::Bans { bans: Vec::new(), more: false }, None);
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
        let count = match message {
            ToFirewall::Bans { bans, .. } => bans.len(),
            ToFirewall::Pardon(networks) => networks.len(),
            _ => 0,
        };
        let mut bytes = Vec::new();
        let told =
            message.encode(&mut bytes).is_ok() && self.tell(Worker::Firewall, bytes, fd.map(Into::into));
        if !told && self.staff.link(Worker::Firewall).presence == Presence::Ready {
            // Its list is not ours any more; the next one gets the whole of it, and the kernel goes on meanwhile.
            self.lose_worker(Staff::index(Worker::Firewall), "it does not take what it is told");
        }
        self.bans.told += count as u64;
        if *message == ToFirewall::Stand {
            self.bans.told = 0;
        }
        told
    }

    /// The worker is ready: it gets its sockets and everybody who is denied.
    pub fn firewall_ready(&mut self) {
        // Without it connections are not cut, which is said when it is asked for.
        if let Ok(diag) = portreeve_sys::sock_diag::asking() {
            self.tell_firewall(&ToFirewall::Diag, Some(diag));
        }
        if self.bans.sockets.is_none() {
            let both = portreeve_sys::netlink::asking().and_then(|asking| {
                let listening = portreeve_sys::netlink::listening_but_to(&asking)?;
                Ok((asking, listening))
            });
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
        if let (Some((Ok(asking), Ok(listening))), Ok(looking)) = (copies, portreeve_sys::netlink::asking()) {
            self.tell_firewall(&ToFirewall::Asking, Some(asking));
            self.tell_firewall(&ToFirewall::Looking, Some(looking));
            self.tell_firewall(&ToFirewall::Listening, Some(listening));
        }
        let now = self.stamp.mono();
        let all: Vec<Prefix> = self.host.denied.iter().map(|(network, _)| network).collect();
        let (mut bans, _) = self.kernel_changes(&all, now);
        bans.sort_unstable_by_key(|(part, _)| *part);
        bans.dedup_by_key(|(part, _)| *part);
        self.tell_kernel_all(bans, false);
        self.tell_firewall(&ToFirewall::Stand, None);
        let cut = std::mem::take(&mut self.bans.to_cut);
        self.cut_connections(&cut);
    }

    /// Ends what these networks have running here: our own instances that serve them, and in the kernel every connection with them, to
    /// whichever port. Call it once they are banned. Returns how many instances were told to end.
    pub fn cut_off(&mut self, networks: &[Prefix]) -> usize {
        let ended = self.end_instances_of(networks);
        if self.bans_in_kernel() {
            if self.staff.link(Worker::Firewall).presence == Presence::Ready {
                self.cut_connections(networks);
            } else {
                // Once it is there.
                self.need_worker(Worker::Firewall);
                let room = MOST_TO_CUT.saturating_sub(self.bans.to_cut.len());
                self.bans.to_cut.extend(networks.iter().take(room));
            }
        }
        ended
    }

    fn cut_connections(&mut self, networks: &[Prefix]) {
        // Nobody's but theirs: who is protected is not dropped, and keeps what he has.
        let networks: Vec<Prefix> =
            networks.iter().filter(|network| self.protected_in(network).is_none()).copied().collect();
        for part in networks.chunks(MAX_BANS) {
            self.tell_firewall(&ToFirewall::Cut(part.to_vec()), None);
        }
    }

    /// What is in force in the kernel, for `status` and `denied`.
    pub fn bans_view(&self, j: &mut Json) {
        let worker = self.staff.link(Worker::Firewall).presence;
        j.map("bans", |j| match (self.bans_in_kernel(), self.bans.standing) {
            (false, _) => j.text("kernel", "not used"),
            (true, Standing::Enforced { hold, wanted }) => {
                j.text(
                    "kernel",
                    if worker == Presence::Ready { "enforced" } else { "the firewall worker is away" },
                );
                j.plain("enforced", wanted);
                j.plain("wanted", wanted);
                j.plain("on_their_way", self.bans.on_their_way());
                j.plain("repairs", self.bans.repairs);
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

    /// Whether the kernel has to come to more than so many changes. One that refuses is not waited for.
    pub fn kernel_is_crowded(&self, most: u64) -> bool {
        self.kernel_enforces()
            && self.staff.link(Worker::Firewall).presence == Presence::Ready
            && self.bans.on_their_way() > most
    }

    /// Whether the kernel drops whom it is told to.
    pub fn kernel_enforces(&self) -> bool {
        self.bans_in_kernel() && matches!(self.bans.standing, Standing::Enforced { .. })
    }

    /// The worker is gone; the kernel's table is not.
    pub fn firewall_lost(&mut self) {
        self.bans.standing = Standing::Unknown;
        self.bans.heard = 0;
    }

    /// The worker has spoken.
    pub fn heard_firewall(&mut self, message: FromFirewall) {
        match message {
            FromFirewall::Ready { .. } => {}
            FromFirewall::Standing { hold, wanted, enforced, strange, rebuilt, changes } => {
                if rebuilt || enforced != wanted || strange != 0 {
                    let how = match (rebuilt, strange) {
                        (true, _) => "somebody had removed or changed the table".to_owned(),
                        (false, 0) => "some were missing".to_owned(),
                        (false, n) => format!("{n} were not ours or had another end"),
                    };
                    self.repaired(&format!(
                        "{enforced} of {wanted} were in force: {how}; all are in force again"
                    ));
                } else if matches!(self.bans.standing, Standing::Refused(_)) {
                    self.say(Level::Notice, &format!("bans in the kernel: all {wanted} are in force again"));
                }
                self.filters_stale |= !matches!(self.bans.standing, Standing::Enforced { .. });
                // What was missing is in force by now.
                self.bans.standing = Standing::Enforced { hold, wanted };
                self.bans.heard = changes;
            }
            FromFirewall::Refused { errno, .. } => self.kernel_refuses(errno),
            FromFirewall::Cut { connections, errno } => self.heard_cut(connections, errno),
        }
    }

    /// Something was missing. Said once in a while, since whoever undoes it again and again shall not fill the log.
    fn repaired(&mut self, text: &str) {
        let (now, bans) = (self.stamp.mono(), &mut self.bans);
        bans.repairs += 1;
        if bans.repair_said.is_some_and(|said| now.saturating_sub(said) < QUIET) {
            bans.repairs_unsaid += 1;
            return;
        }
        bans.repair_said = Some(now);
        let before = match std::mem::take(&mut bans.repairs_unsaid) {
            0 => String::new(),
            n => format!(" (and {n} times more since this was said)"),
        };
        self.say(Level::Warning, &format!("bans in the kernel: {text}{before}"));
    }

    fn heard_cut(&mut self, connections: u32, errno: u16) {
        self.bans.cut = self.bans.cut.saturating_add(connections.into());
        if connections > 0 {
            self.say(Level::Notice, &format!("{connections} connection(s) of who is banned are cut"));
        }
        if errno != 0 {
            let error = std::io::Error::from_raw_os_error(errno.into());
            let text = format!(
                "connections of who is banned are not cut ({}): what comes from there is dropped, and each ends by its own time-outs",
                crate::machine::percent_m(&error)
            );
            self.say(Level::Warning, &text);
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
