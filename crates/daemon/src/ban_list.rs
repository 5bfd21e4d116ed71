//! The list of bans as it changes: whoever decides by a copy of it is told, and whom no ban may touch is looked up. Owns when
//! entries end and what protection means for a network; what the kernel makes of it is `bans`', what an operator may order
//! `ban_orders`'.

use crate::datagrams::OWNERS;
use crate::protection::Protection;
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::{AddressSet, Prefix};
use portreeve_workers::protocol::{Banned, EventKind, MAX_BANS, Policy, Worker};
use std::path::Path;
use std::time::Duration;

/// A look at whom no ban touches holds for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Bans that end in one turn of the loop at most, and the time until the next one.
const ENDED: usize = 1000;
const SOON: Duration = Duration::from_millis(1);
/// Changes that the kernel may have to come while bans end: whoever is banned meanwhile waits for them. How long they wait for fewer: nobody
/// who asks the list takes one that has ended for a ban.
const AHEAD: u64 = 250;
const LATER: Duration = Duration::from_millis(5);

impl Supervisor {
    /// Entries of the list were made, changed or removed: whoever decides by a copy of it is told.
    pub fn bans_changed(&mut self, networks: &[Prefix]) {
        self.some_bans_changed(networks, false);
    }

    /// The same; `more`: further ones come at once, and the kernel is to have all in one.
    pub fn some_bans_changed(&mut self, networks: &[Prefix], more: bool) {
        if let Some(next) = self.host.denied.next_expiry() {
            self.timers.set(next.max(self.stamp.mono() + SOON), Alarm::Denied);
        }
        self.spare_from_removal(networks);
        for worker in OWNERS {
            self.tell_owner_of_bans(worker, networks);
        }
        self.tell_kernel_of_bans(networks, more);
        self.filters_stale = true;
    }

    /// Everything, for a worker that owns datagram sockets and begins.
    pub fn tell_all_bans(&mut self, worker: Worker) {
        let all: Vec<Prefix> = self.host.denied.iter().map(|(network, _)| network).collect();
        self.tell_owner_of_bans(worker, &all);
    }

    fn tell_owner_of_bans(&mut self, worker: Worker, networks: &[Prefix]) {
        if self.staff.link(worker).presence != Presence::Ready {
            return; // it will get the whole list
        }
        let now = self.stamp.mono();
        let (mut bans, mut pardons) = (Vec::new(), Vec::new());
        for network in networks {
            let ban = self.host.denied.get(*network).filter(|ban| ban.lasts(now));
            match ban.filter(|_| !self.host.protect.meets(network)) {
                Some(ban) => bans.push((*network, ban.until.map(|until| millis_until(until, now)))),
                None => pardons.push(*network),
            }
        }
        for part in pardons.chunks(MAX_BANS) {
            self.tell_policy(worker, Policy::Pardon(part.to_vec()), None);
        }
        for part in bans.chunks(MAX_BANS) {
            self.tell_policy(worker, Policy::Bans(part.to_vec()), None);
        }
    }

    /// Entries of the list have ended.
    pub fn expire_denied(&mut self) {
        // At the pace of the ledger, which is told of each.
        if self.ledger_is_crowded() {
            self.timers.set(self.stamp.mono() + SOON, Alarm::Denied);
            return;
        }
        if self.kernel_is_crowded(AHEAD) {
            self.timers.set(self.stamp.mono() + LATER, Alarm::Denied);
            return;
        }
        if self.drop_ended_bans() {
            self.say(Level::Info, "At least 1 DENY_TIME has expired, global_no_access list updated");
            if self.host.denied.is_empty() {
                self.say(Level::Info, "global_no_access list is empty.");
            }
        }
    }

    /// Takes what has ended off the list; whether there was anything.
    pub fn drop_ended_bans(&mut self) -> bool {
        // Many may end at the same moment, those of a list: others are served in between.
        let ended = self.host.denied.expire_some(self.stamp.mono(), ENDED);
        for network in &ended {
            let banned = Banned { network: *network, origin: "expired", uid: None, for_us: None };
            self.announcer.of_ban(&self.stamp, EventKind::Unban, banned, "");
        }
        if !ended.is_empty() {
            self.bans_changed(&ended);
        }
        !ended.is_empty()
    }

    /// Others are protected than before: what is banned around the one or the other is told anew.
    pub fn protect_instead(&mut self, protect: AddressSet) {
        let former = std::mem::replace(&mut self.host.protect, protect);
        let touched = |network: &Prefix| former.meets(network) || self.host.protect.meets(network);
        let networks: Vec<Prefix> =
            self.host.denied.iter().map(|(network, _)| network).filter(touched).collect();
        if !networks.is_empty() {
            self.bans_changed(&networks);
        }
    }

    /// Whom of `network` no ban may touch, and why; `None` when all of it may be banned.
    pub fn protected_in(&mut self, network: &Prefix) -> Option<String> {
        let now = self.stamp.mono();
        if self.bans.protection.as_ref().is_none_or(|(looked, _)| now.saturating_sub(*looked) >= FRESH) {
            self.bans.protection = Some((now, Protection::look(Path::new("/"), self.bans.groups.as_deref())));
        }
        let (_, protection) = self.bans.protection.as_ref()?;
        if let Some((whom, why)) = protection.find(network) {
            return Some(if whom == *network {
                why.to_string()
            } else {
                format!("{whom} is {}", why.of_it())
            });
        }
        let rule = self.host.protect.meeting(network)?;
        Some(format!(
            "`protect`, `proxy_from` or a protected `only_from` names {} ({}:{})",
            rule.text, rule.origin.file, rule.origin.line
        ))
    }
}

/// Milliseconds until a moment, as messages have them.
pub fn millis_until(until: Duration, now: Duration) -> u64 {
    u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX)
}
