//! All bans removed by command: a part in each turn of the loop, since others are served and banned meanwhile. Who is banned after the
//! order stays banned. The ledger forgets them at the end, all of them or none. Owns how far it has come; a single ban is removed by `ban_orders`.

use crate::control::failure;
use crate::json::Json;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::Prefix;
use portreeve_workers::protocol::{Banned, EventKind};
use std::collections::BTreeSet;
use std::time::Duration;

/// Bans that are removed in one turn: a millisecond of this process, and two of the kernel. The time until the next turn.
const PART: usize = 250;
const TURN: Duration = Duration::from_millis(1);
/// Changes that the kernel may have to come: whoever is banned meanwhile waits for them.
const AHEAD: u64 = 250;
/// While the kernel or the ledger has more to do, this waits, but not longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pardons that are an event each; of more, which the ledger could not take at once, each family is one.
const MOST_NOTED: usize = 1000;

/// A removal on its way.
#[derive(Debug)]
pub struct Removing {
    client: u32,
    uid: Option<u32>,
    /// Those up to here are done.
    after: Option<Prefix>,
    /// Banned since the order.
    spared: BTreeSet<Prefix>,
    /// Each is an event.
    each_noted: bool,
    /// Removed of IPv4 and of IPv6.
    removed: [usize; 2],
    /// When it last went on.
    moved: Duration,
}

impl Supervisor {
    /// `unban all`. The client is answered when it is done.
    pub fn begin_removal(&mut self, client: u32, uid: Option<u32>) {
        if self.bans.removing.is_some() {
            return self.answer(client, failure("they are being removed already"));
        }
        self.drop_ended_bans();
        // What is left of a list that is being applied was banned before.
        self.spare_from_import(None);
        self.bans.removing = Some(Removing {
            client,
            uid,
            after: None,
            spared: BTreeSet::new(),
            each_noted: self.host.denied.len() <= MOST_NOTED,
            removed: [0, 0],
            moved: self.stamp.mono(),
        });
        self.go_on_with_removal();
    }

    /// Removes a part.
    pub fn go_on_with_removal(&mut self) {
        let now = self.stamp.mono();
        let Some(removing) = &self.bans.removing else { return };
        let crowded = self.kernel_is_crowded(AHEAD) || self.ledger_is_crowded();
        if crowded && now.saturating_sub(removing.moved) < PATIENCE || self.remove_part(PART) {
            self.timers.set(now + TURN, Alarm::Unban);
        }
    }

    /// The rest at once: what follows cannot wait for it.
    pub fn end_removal(&mut self) {
        while self.remove_part(usize::MAX) {}
    }

    /// These have changed while a removal goes on: those that are banned now were banned after the order.
    pub fn spare_from_removal(&mut self, networks: &[Prefix]) {
        if let Some(removing) = &mut self.bans.removing {
            removing
                .spared
                .extend(networks.iter().filter(|network| self.host.denied.get(**network).is_some()));
        }
    }

    /// Removes so many at most; whether any are left.
    fn remove_part(&mut self, most: usize) -> bool {
        let Some(mut removing) = self.bans.removing.take() else { return false };
        removing.moved = self.stamp.mono();
        let looked: Vec<Prefix> =
            self.host.denied.after(removing.after).take(most).map(|(network, _)| network).collect();
        let gone: Vec<Prefix> =
            looked.iter().filter(|network| !removing.spared.contains(network)).copied().collect();
        for network in &gone {
            self.host.denied.remove(*network);
            self.book.pardon(network);
            removing.removed[usize::from(network.address().is_ipv6())] += 1;
        }
        if removing.each_noted {
            self.note_pardons(&gone, removing.uid);
        }
        if !gone.is_empty() {
            self.bans_changed(&gone);
        }
        self.forget_together(&gone, looked.len() != most);
        if let Some(last) = looked.last().filter(|_| looked.len() == most) {
            removing.after = Some(*last);
            let done = removing.removed.iter().sum();
            self.tell_progress(removing.client, done, done + self.host.denied.len());
            self.bans.removing = Some(removing);
            return true;
        }
        let Removing { client, uid, each_noted, removed, .. } = removing;
        if !each_noted {
            self.note_many_pardons(removed, uid);
        }
        let removed: usize = removed.iter().sum();
        self.say(Level::Notice, &format!("{removed} ban(s) removed by command"));
        let answer = Json::object(|j| {
            j.plain("ok", true);
            j.plain("removed", removed);
        });
        self.answer(client, answer);
        false
    }

    /// An event for each.
    pub fn note_pardons(&mut self, gone: &[Prefix], uid: Option<u32>) {
        for network in gone {
            let banned = Banned { network: *network, origin: "operator", uid, for_us: None };
            self.announcer.of_ban(&self.stamp, EventKind::Unban, banned, "");
        }
    }

    /// One for each family, with their number.
    fn note_many_pardons(&mut self, removed: [usize; 2], uid: Option<u32>) {
        let families = [Prefix::around([0u8; 4].into(), 0), Prefix::around([0u16; 8].into(), 0)];
        for (network, count) in families.into_iter().zip(removed).filter(|(_, count)| *count > 0) {
            let banned = Banned { network, origin: "operator", uid, for_us: None };
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.announcer.of_bans(&self.stamp, EventKind::Unban, banned, "all", count);
        }
    }
}
