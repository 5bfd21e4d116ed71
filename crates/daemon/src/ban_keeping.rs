//! Bans over restarts: the ledger keeps them by the wall's clock, and gives them back to a supervisor that begins. Owns what is known
//! of the store; what is banned is the list's.
//!
//! Whenever the ledger opens, its store is compared with the list: at the start the list learns from the store, afterwards the
//! store from the list. So it does not matter what a ledger that died has still written, nor what happened while there was none.

use crate::ban_list::millis_until;
use crate::ban_orders::too_wide;
use crate::ledger::Journal;
use crate::options::Program;
use crate::staff::{Presence, Staff};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_handover::LedgerState;
use portreeve_policy::{Ban, MOST_BANS, Prefix};
use portreeve_sys::clock;
use portreeve_workers::protocol::{BanOrder, KeptBan, MAX_KEPT, MAX_REASON, Maker, Worker};
use std::collections::BTreeSet;
use std::time::Duration;

/// After how long a store that could not be written is compared again.
const AGAIN: Duration = Duration::from_secs(10);
/// Ends that differ by no more are the same: the two clocks are read one after the other.
const SLACK: u64 = 2000;
/// A clock that moved by no more seconds was not set.
const SET: u64 = 2;
/// The ledger tells of no more bans: those that there can be, and former ones.
const MOST_TOLD: usize = MOST_BANS + 100_000;
/// So many bans of the store are passed on together.
const TOGETHER: usize = 2000;

/// What is known of the store.
#[derive(Debug, Default)]
pub struct Keeping {
    /// It has been asked, and has not said everything yet.
    asked: bool,
    /// A former version has asked it, and knew what for: what it says until it has said everything counts for nothing.
    stale: bool,
    /// What the store has to be told when it has said everything.
    differs: BTreeSet<Prefix>,
    /// New on the list by what it said, and not passed on yet.
    adopted: Vec<Prefix>,
    count: usize,
    /// Bans that it has told of.
    told: usize,
    /// Seconds by which the wall's clock was ahead of the monotonic one when that was looked at last.
    ahead: Option<i64>,
    /// Why the store is not what the list is; empty when it is.
    trouble: String,
    /// A part of what was to be kept together was not told: so the rest of it is not kept either.
    torn: bool,
    /// The same of what was to be forgotten together.
    torn_off: bool,
}

impl Keeping {
    /// With what the next version is to know.
    pub fn leave(&self, ledger: LedgerState) -> LedgerState {
        LedgerState { asked: self.asked || self.stale, not_kept: self.trouble.clone(), ..ledger }
    }
}

impl Supervisor {
    fn keeps_bans(&self) -> bool {
        self.options.program == Program::Portreeve
    }

    /// There shall be a ledger: it is started without waiting for an event, since it has the bans.
    pub fn want_bans_kept(&mut self) {
        if self.keeps_bans() && self.announcer.ledger.is_on() {
            self.need_worker(Worker::Ledger);
        }
    }

    /// Why bans do not outlast a restart; `None` when they do.
    pub fn not_kept(&self) -> Option<String> {
        let ledger = &self.announcer.ledger;
        match ledger.journal {
            _ if !self.keeps_bans() => Some("under this name none are".to_owned()),
            Journal::Off => Some(format!("there is no ledger: {}", ledger.place)),
            Journal::Failed => Some(format!("the ledger cannot be opened: {}", ledger.place)),
            Journal::Wanted | Journal::Open => {
                let trouble = &self.bans.keeping.trouble;
                (!trouble.is_empty()).then(|| format!("the ledger does not take them: {trouble}"))
            }
        }
    }

    /// The ledger is open: its store is compared with the list.
    pub fn compare_kept_bans(&mut self) {
        let keeping = &self.bans.keeping;
        if !self.keeps_bans()
            || keeping.asked
            || keeping.stale
            || self.announcer.ledger.journal != Journal::Open
        {
            return;
        }
        let all = self.host.denied.iter().map(|(network, _)| network).collect();
        let asked = self.order_ledger(&BanOrder::Recall);
        let trouble = std::mem::take(&mut self.bans.keeping.trouble);
        let ahead = self.bans.keeping.ahead;
        self.bans.keeping = Keeping { asked, differs: all, trouble, ahead, ..Keeping::default() };
    }

    /// Once a turn: where somebody has set the wall's clock, the store is told the ends anew, since it has them by that clock.
    pub fn look_at_clocks(&mut self) {
        let now = self.stamp.mono().as_secs();
        let ahead = self.stamp.wall().saturating_sub(i64::try_from(now).unwrap_or(0));
        let before = self.bans.keeping.ahead.replace(ahead).unwrap_or(ahead);
        if before.abs_diff(ahead) > SET && !self.host.denied.is_empty() && self.keeps_bans() {
            self.say(
                Level::Notice,
                &format!("the clock was set by {} s: the ledger is told when bans end", ahead - before),
            );
            self.compare_kept_bans();
        }
    }

    /// The ledger is gone; the next one is asked anew.
    pub fn keeping_lost(&mut self) {
        (self.bans.keeping.asked, self.bans.keeping.stale) = (false, false);
        self.pass_on_adopted(false);
    }

    /// What a former version left. What the store lacked, or was about to say, is found by asking it again.
    pub fn take_over_keeping(&mut self, left: &LedgerState) {
        self.bans.keeping.stale = left.asked;
        self.bans.keeping.trouble.clone_from(&left.not_kept);
        if !left.not_kept.is_empty() {
            self.timers.set(self.stamp.mono(), Alarm::Keep);
        }
    }

    /// These were banned or let in again, not by the course of time: the store is told.
    pub fn keep_bans(&mut self, networks: &[Prefix]) {
        if !self.keeps_bans() {
            return;
        }
        if self.bans.keeping.asked {
            self.bans.keeping.differs.extend(networks);
            return;
        }
        match self.announcer.ledger.journal {
            Journal::Open => {}
            Journal::Wanted => return self.need_worker(Worker::Ledger),
            Journal::Off | Journal::Failed => return,
        }
        let (keep, forget) = self.to_keep(networks);
        self.forget(&forget);
        for part in keep.chunks(MAX_KEPT) {
            self.order_ledger(&BanOrder::Keep(part.to_vec()));
        }
    }

    /// The same of a list: all of it is kept or nothing, whoever is killed meanwhile. `last`: this is the rest of it.
    pub fn keep_together(&mut self, networks: &[Prefix], last: bool) {
        if self.bans.keeping.asked || !self.keeps_bans() || self.announcer.ledger.journal != Journal::Open {
            // Whatever differs when the ledger has told of its store is kept together as well.
            return self.keep_bans(networks);
        }
        let (keep, forget) = self.to_keep(networks);
        self.forget(&forget);
        for part in keep.chunks(MAX_KEPT) {
            self.bans.keeping.torn |= !self.order_ledger(&BanOrder::Gather(part.to_vec()));
        }
        // What is torn is told anew, since the store is compared then.
        if last && !std::mem::take(&mut self.bans.keeping.torn) {
            self.order_ledger(&BanOrder::KeepGathered);
        }
    }

    /// These were let in by one order, with those that follow: all of them are forgotten or none. `last`: this is the rest of them.
    pub fn forget_together(&mut self, networks: &[Prefix], last: bool) {
        if self.bans.keeping.asked || !self.keeps_bans() || self.announcer.ledger.journal != Journal::Open {
            // What the store has beyond the list is found when it has told of it.
            return self.keep_bans(networks);
        }
        let names: Vec<String> = networks.iter().map(full_form).collect();
        for part in names.chunks(MAX_KEPT) {
            self.bans.keeping.torn_off |= !self.order_ledger(&BanOrder::GatherForgotten(part.to_vec()));
        }
        if last && !std::mem::take(&mut self.bans.keeping.torn_off) {
            self.order_ledger(&BanOrder::ForgetGathered);
        }
    }

    fn to_keep(&self, networks: &[Prefix]) -> (Vec<KeptBan>, Vec<String>) {
        let (mut keep, mut forget) = (Vec::new(), Vec::new());
        for network in networks {
            match self.host.denied.get(*network) {
                Some(ban) => keep.push(self.as_kept(*network, ban)),
                None => forget.push(full_form(network)),
            }
        }
        (keep, forget)
    }

    fn forget(&mut self, networks: &[String]) {
        for part in networks.chunks(MAX_KEPT) {
            self.order_ledger(&BanOrder::Forget(part.to_vec()));
        }
    }

    fn as_kept(&self, network: Prefix, ban: &Ban) -> KeptBan {
        let wall = wall_micros();
        let until = ban.until.map(|until| on_the_wall(until, self.stamp.mono(), wall));
        let term = ban.term.flatten().map_or(0, |term| i64::try_from(term.as_micros()).unwrap_or(i64::MAX));
        let since = until.filter(|_| term > 0).map_or(wall, |until| until.saturating_sub(term));
        let reason = ban.reason.to_string();
        let maker = match (ban.term, ban.strikes, ban.inside) {
            (Some(_), ..) => Maker::Sensor,
            (None, 0, _) => Maker::Operator,
            (None, _, false) => Maker::Evidence,
            (None, _, true) => Maker::EvidenceInside,
        };
        KeptBan { network: full_form(&network), since, until, maker, strikes: ban.strikes, reason }
    }

    /// Sends it; whether that could be done. It counts among what the ledger has to answer, in its turn.
    fn order_ledger(&mut self, order: &BanOrder) -> bool {
        let mut bytes = Vec::new();
        if self.staff.link(Worker::Ledger).presence != Presence::Ready || order.encode(&mut bytes).is_err() {
            return false;
        }
        self.announcer.ledger.sent.push_back((0, 0));
        if self.tell(Worker::Ledger, bytes, None) {
            return true;
        }
        if self.announcer.ledger.journal == Journal::Open {
            // Too many wait for it; one that was lost has taken what was sent with it.
            self.announcer.ledger.sent.pop_back();
            self.keeping_failed("too much waits for it".to_owned());
        }
        false
    }

    fn keeping_failed(&mut self, why: String) {
        if self.bans.keeping.trouble.is_empty() {
            self.say(Level::Error, &format!("bans are not kept over a restart: the ledger says: {why}"));
        }
        self.bans.keeping.trouble = why;
        self.timers.set(self.stamp.mono() + AGAIN, Alarm::Keep);
    }

    /// The ledger has kept or forgotten what it was told to, or could not.
    pub fn heard_kept(&mut self, trouble: String, gathered: bool) {
        if gathered {
            self.list_is_kept();
        }
        if !trouble.is_empty() {
            self.keeping_failed(trouble);
        } else if !std::mem::take(&mut self.bans.keeping.trouble).is_empty() {
            self.say(Level::Notice, "bans are kept over a restart again");
            // What it missed in the meantime.
            self.compare_kept_bans();
        }
    }

    /// The ledger says what it has.
    pub fn heard_recalled(&mut self, bans: Vec<KeptBan>, last: bool, trouble: String) {
        if self.bans.keeping.stale {
            if last {
                self.bans.keeping.stale = false;
                self.compare_kept_bans();
            }
            return;
        }
        if !self.bans.keeping.asked {
            let index = Staff::index(Worker::Ledger);
            self.lose_worker(index, "it has told bans that it was not asked for");
            return;
        }
        if !trouble.is_empty() {
            self.bans.keeping.asked = false;
            return self.keeping_failed(trouble);
        }
        self.bans.keeping.told += bans.len();
        if self.bans.keeping.told > MOST_TOLD {
            let index = Staff::index(Worker::Ledger);
            self.lose_worker(index, "it has told more bans than there can be");
            return;
        }
        let mut forget = Vec::new();
        for kept in bans {
            if let Some(unwanted) = self.compare_kept(kept) {
                forget.push(unwanted);
            }
        }
        if self.bans.keeping.adopted.len() >= TOGETHER || last {
            self.pass_on_adopted(!last);
        }
        self.bans.keeping.differs.extend(forget);
        if !last {
            return;
        }
        self.announcer.ledger.recalled = true;
        let keeping = std::mem::take(&mut self.bans.keeping);
        self.bans.keeping.ahead = keeping.ahead;
        if keeping.count > 0 {
            self.say(Level::Notice, &format!("{} ban(s) of before are in force again", keeping.count));
        }
        if keeping.differs.is_empty() && !keeping.trouble.is_empty() {
            self.say(Level::Notice, "bans are kept over a restart again");
        } else {
            // Until it has taken what it was told.
            self.bans.keeping.trouble = keeping.trouble;
        }
        let differs: Vec<Prefix> = keeping.differs.into_iter().collect();
        // A list that is being applied has its end still to come.
        self.keep_together(&differs, self.bans.importing.is_none());
    }

    /// Compares one of the store with the list; gives it back where the store should not have it.
    fn compare_kept(&mut self, kept: KeptBan) -> Option<Prefix> {
        let network: Prefix = kept.network.parse().ok().filter(|network| too_wide(network).is_none())?;
        let (wall, now) = (wall_micros(), self.stamp.mono());
        let for_evidence = matches!(kept.maker, Maker::Evidence | Maker::EvidenceInside);
        if for_evidence && let Some(until) = kept.until {
            let ago = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            let end = now.saturating_add(ago(until.saturating_sub(wall)));
            let counts = (end + self.book.policy().memory).saturating_sub(ago(wall.saturating_sub(until)));
            if counts > now {
                self.book.remember(network, kept.strikes, counts, now);
            }
        }
        let left = match kept.until {
            Some(until) => Some(left_of(kept.since, until, wall)?),
            None => None,
        };
        if let Some(own) = self.host.denied.get(network) {
            if agree(own.until, kept.until, now, wall) {
                self.bans.keeping.differs.remove(&network);
            }
            return None;
        }
        if self.announcer.ledger.recalled || self.bans.keeping.differs.contains(&network) {
            return Some(network);
        }
        // What stands there is the ledger's word alone, and no ban from any origin touches who is protected. A sensor's is this daemon's
        // own check, as ever.
        if kept.maker != Maker::Sensor
            && let Some(why) = self.protected_in(&network)
        {
            self.say(
                Level::Warning,
                &format!("the ban of {network} in the ledger is not in force again: {why}"),
            );
            return None;
        }
        let term = kept
            .until
            .map(|until| Duration::from_micros(u64::try_from(until.saturating_sub(kept.since)).unwrap_or(0)));
        let short = kept.reason.char_indices().take_while(|(at, c)| at + c.len_utf8() <= MAX_REASON);
        let reason: String = short.map(|(_, c)| if c.is_control() { ' ' } else { c }).collect();
        let ban = Ban {
            until: left.map(|left| now.saturating_add(Duration::from_millis(left))),
            term: (kept.maker == Maker::Sensor).then_some(term),
            strikes: if for_evidence { kept.strikes.max(1) } else { 0 },
            inside: kept.maker == Maker::EvidenceInside,
            reason: reason.into(),
        };
        if self.host.denied.deny(network, ban).is_ok() {
            self.bans.keeping.adopted.push(network);
            // By a clock that was set back since: the store is told the end by that of now.
            let whole = |until: i64| until.saturating_sub(wall) > until.saturating_sub(kept.since);
            if kept.until.is_some_and(whole) {
                self.bans.keeping.differs.insert(network);
            }
            self.bans.keeping.count += 1;
        }
        None
    }

    fn pass_on_adopted(&mut self, more: bool) {
        let adopted = std::mem::take(&mut self.bans.keeping.adopted);
        if !adopted.is_empty() {
            self.some_bans_changed(&adopted, more);
        }
        if !more {
            self.end_of_more();
        }
    }
}

/// A monotonic moment by the wall's clock, microseconds since 1970.
fn on_the_wall(until: Duration, now: Duration, wall: i64) -> i64 {
    let left = i64::try_from(millis_until(until, now)).unwrap_or(i64::MAX);
    wall.saturating_add(left.saturating_mul(1000))
}

/// Whether the end in the store is that of the list, by the clock of now, even where that was set since.
fn agree(own: Option<Duration>, kept: Option<i64>, now: Duration, wall: i64) -> bool {
    match (own, kept.map(|until| until.saturating_sub(wall) / 1000)) {
        (None, None) => true,
        (Some(until), Some(stands)) => {
            i64::try_from(millis_until(until, now)).is_ok_and(|left| left.abs_diff(stands) <= SLACK)
        }
        _ => false,
    }
}

/// Milliseconds that are left of a ban of the store; `None` when it is over. Never more than the whole of it, though the clock was set back
/// since; where it was set forward while nobody ran, it ends the earlier.
fn left_of(since: i64, until: i64, wall: i64) -> Option<u64> {
    let whole = until.saturating_sub(since);
    let left = until.saturating_sub(wall).min(whole) / 1000;
    u64::try_from(left).ok().filter(|left| *left > 0)
}

/// As the store has networks: with the length, always.
fn full_form(network: &Prefix) -> String {
    format!("{}/{}", network.address(), network.len())
}

/// Microseconds since 1970.
fn wall_micros() -> i64 {
    i64::try_from(clock::wall().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{SLACK, agree, left_of, on_the_wall};
    use crate::ban_list::millis_until;
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000;

    proptest! {
        /// While we run, the clock on the wall is set again and again: list and kernel count by the other clock, and the store is told
        /// anew where it would be wrong by more than two seconds. So whenever we are killed, what the store gives back ends when it should.
        #[test]
        fn a_clock_that_is_set_while_we_run_moves_no_end(
            term in 1u64..10_000,
            steps in proptest::collection::vec((0u64..100, prop_oneof![Just(0i64), -100_000i64..100_000]), 1..30),
        ) {
            let until = Duration::from_secs(1000 + term);
            let (mut now, mut wall) = (Duration::from_secs(1000), 1_700_000_000 * SECOND);
            let mut kept = on_the_wall(until, now, wall);
            for (passed, set) in steps {
                now += Duration::from_secs(passed);
                wall += (i64::try_from(passed).unwrap() + set) * SECOND;
                let left = millis_until(until, now);
                prop_assert_eq!(left, 1000 * (1000 + term).saturating_sub(now.as_secs()), "what the kernel is told");
                let good = agree(Some(until), Some(kept), now, wall);
                if left > 0 {
                    prop_assert_eq!(good, (kept - on_the_wall(until, now, wall)).unsigned_abs() <= SLACK * 1000);
                }
                if !good {
                    kept = on_the_wall(until, now, wall);
                }
                let back = left_of(kept - i64::try_from(term).unwrap() * SECOND, kept, wall).unwrap_or(0);
                prop_assert!(left == 0 || back.abs_diff(left) <= SLACK, "{} of {}", back, left);
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_makes_no_ban_longer() {
        for (wall, left) in [
            (100 * SECOND, Some(600_000)),
            (400 * SECOND, Some(300_000)),
            (700 * SECOND, None),
            // Set back by years, and forward.
            (-SECOND * 1_000_000_000, Some(600_000)),
            (SECOND * 1_000_000_000, None),
        ] {
            assert_eq!(left_of(100 * SECOND, 700 * SECOND, wall), left, "{wall}");
        }
        assert_eq!(left_of(i64::MAX, i64::MIN, 0), None, "nonsense");
        assert_eq!(left_of(i64::MIN, i64::MAX, i64::MIN), Some(i64::MAX.unsigned_abs() / 1000));
    }
}
