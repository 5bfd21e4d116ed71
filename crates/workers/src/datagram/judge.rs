//! Who may send a datagram to one service: the pushed rules, and their state. The verdict is `policy`'s; host names cannot be asked
//! for here, so where a rule could match by name the datagram is refused (`Unavailable`, design §2).

use super::report::Report;
use super::tables::Texts;
use crate::protocol::{BadMessage, Datagrams, Policy, RateNote, RulesInParts};
use portreeve_policy::{
    Arrival, Ban, CompiledRules, Facts, HostState, Names, Now, Prefix, Proof, RateChange, Reason,
    ServiceState, Tables, Verdict, decide_datagram,
};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What stands for all services of a worker: who is denied, and the tables.
#[derive(Default)]
pub(crate) struct Standing {
    host: HostState,
    tables: Texts,
}

impl Standing {
    /// New tables.
    pub(crate) fn read(
        &mut self,
        file: OwnedFd,
        allow: crate::protocol::TableSent,
        deny: crate::protocol::TableSent,
    ) {
        self.tables = Texts::read(file, allow, deny);
    }

    /// Bans begin, each for so many milliseconds.
    pub(crate) fn ban(&mut self, bans: Vec<(Prefix, Option<u64>)>, now: Duration) {
        self.host.denied.expire(now);
        for (network, left) in bans {
            let until = left.map(|ms| now.saturating_add(Duration::from_millis(ms)));
            // Full here is full there: the supervisor's list has the same bound and reports it.
            let _ = self.host.denied.deny(network, Ban::by_hand(until, ""));
        }
    }

    /// Bans end before their time.
    pub(crate) fn pardon(&mut self, networks: Vec<Prefix>) {
        for network in networks {
            self.host.denied.remove(network);
        }
    }

    /// When [`Standing::tick`] is next needed.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.host.denied.next_expiry()
    }

    /// Lets bans end.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.deadline().is_some_and(|next| next <= now) {
            self.host.denied.expire(now);
        }
    }
}

/// The rules of one service.
pub(crate) struct Judge {
    slot: u32,
    /// New rules whose end has not come yet.
    incoming: Option<RulesInParts>,
    rules: Option<(CompiledRules, bool)>,
    /// Under which name the tables are asked; `None`: they are not.
    wrapped: Option<String>,
    state: ServiceState,
    paused: bool,
    /// Until when the starts of the minute are used up.
    rests: Option<Duration>,
    pub(crate) report: Report,
}

impl Judge {
    /// One that waits for its rules.
    pub(crate) fn new(slot: u32) -> Self {
        Judge {
            slot,
            incoming: None,
            rules: None,
            wrapped: None,
            state: ServiceState::new(),
            paused: false,
            rests: None,
            report: Report::default(),
        }
    }

    /// What is told of this service's rules. Complete ones take effect; the counters stay.
    ///
    /// # Errors
    /// Parts without a head.
    pub(crate) fn obey(&mut self, policy: Policy) -> Result<(), BadMessage> {
        match policy {
            Policy::RulesHead { log_served, head, .. } => {
                self.incoming = Some(RulesInParts::new(head, log_served));
            }
            Policy::RulesPart { list, patterns, .. } => {
                let rules = self.incoming.as_mut().ok_or(BadMessage::OutOfTurn("RulesPart"))?;
                rules.add(list, patterns)?;
            }
            Policy::RulesEnd { .. } => {
                let rules = self.incoming.take().ok_or(BadMessage::OutOfTurn("RulesEnd"))?;
                let log_served = rules.log_served;
                self.rules = Some((CompiledRules::new(rules.finish()), log_served));
                self.rests = None;
            }
            Policy::Wrapped { daemon, .. } => self.wrapped = daemon,
            Policy::Tables { .. } | Policy::Forget { .. } | Policy::Bans(_) | Policy::Pardon(_) => {}
        }
        Ok(())
    }

    /// Whether it has rules.
    pub(crate) fn is_ready(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether a limit wants datagrams to be left in the kernel's queue.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused || self.rests.is_some()
    }

    /// How many datagrams may be read before the first of them is judged: what the rate limit leaves in the kernel's queue stays there.
    pub(crate) fn at_once(&self, now: &Now) -> usize {
        let rules = self.rules.as_ref();
        rules.map_or(0, |(rules, _)| usize::try_from(self.state.at_once(rules, now)).unwrap_or(usize::MAX))
    }

    /// Whether a datagram's verdict hangs on the time of day.
    pub(crate) fn asks_the_time(&self) -> bool {
        self.rules.as_ref().is_some_and(|(rules, _)| rules.rules().windows.is_some())
    }

    /// Whether the sources of served datagrams are to be named.
    pub(crate) fn names_served(&self) -> bool {
        self.rules.as_ref().is_some_and(|(_, log_served)| *log_served)
    }

    /// Whether a datagram is admitted, and what the supervisor must hear of the rate. A refused one is in the report.
    pub(crate) fn judge(
        &mut self,
        source: SocketAddr,
        local: impl FnOnce() -> Option<SocketAddr>,
        standing: &mut Standing,
        now: &Now,
    ) -> (bool, Option<RateNote>) {
        let Some((rules, _)) = self.rules.as_ref() else { return (false, None) };
        let arrival = Arrival { peer: source.into(), proof: Proof::Nothing };
        let load = rules.rules().max_load.and_then(|_| portreeve_sys::limits::load_average());
        let tables = if self.wrapped.is_some() { Tables::NotAsked } else { Tables::Off };
        let mut facts = Facts { names: Names::Unavailable, load, tables };
        let host = &mut standing.host;
        let mut verdict = decide_datagram(rules, &self.state, host, &arrival, &facts, now, false);
        if let (Verdict::NeedTables, Some(daemon)) = (&verdict, &self.wrapped) {
            facts.tables = standing.tables.ask(daemon, source, local());
            verdict = decide_datagram(rules, &self.state, host, &arrival, &facts, now, true);
        }
        match verdict {
            Verdict::Admit(_) => (true, None),
            Verdict::Refuse(refusal) => {
                self.report.refused(source, refusal.reason, now.mono);
                let note = match (refusal.change, refusal.rest) {
                    (Some(change), _) => Some(self.follow(change, now.mono)),
                    // Said once, however many come that cannot be left in the queue.
                    (None, Some(until)) if self.rests.replace(until).is_none() => {
                        Some(RateNote::Full { seconds: seconds(until, now.mono) })
                    }
                    _ => None,
                };
                (false, note)
            }
            // It has been told that they are unavailable and does not ask; if it did, the answer is the same.
            Verdict::NeedNames | Verdict::NeedTables => {
                self.report.refused(source, Reason::Address, now.mono);
                (false, None)
            }
        }
    }

    /// What the rate limit wants, and what is to be said about it.
    fn follow(&mut self, change: RateChange, now: Duration) -> RateNote {
        self.paused = !change.accepts();
        match change {
            RateChange::Throttled { until } => RateNote::Tripped { seconds: seconds(until, now) },
            RateChange::Paused { until } => RateNote::Paused { seconds: seconds(until, now) },
            // The socket is the supervisor's to close; here the queue is left alone, and the log line is the same.
            RateChange::Closed { until } => RateNote::Tripped { seconds: seconds(until, now) },
            RateChange::Resumed => RateNote::Resumed,
        }
    }

    /// When [`Judge::tick`] is next needed.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        [self.state.deadline(), self.report.deadline(), self.rests].into_iter().flatten().min()
    }

    /// Lets time pass: pauses end, reports leave.
    pub(crate) fn tick(&mut self, now: &Now) -> (Option<RateNote>, Option<Datagrams>) {
        self.rests = self.rests.filter(|&until| until > now.mono);
        let change = match &self.rules {
            Some((rules, _)) => self.state.tick(rules, now),
            None => None,
        };
        let note = change.map(|change| self.follow(change, now.mono));
        (note, self.report.take(self.slot, now.mono))
    }

    /// The last report.
    pub(crate) fn last_words(&mut self, now: Duration) -> Option<Datagrams> {
        self.report.take_now(self.slot, now)
    }
}

/// Whole seconds from `now` until then.
fn seconds(until: Duration, now: Duration) -> u32 {
    u32::try_from(until.saturating_sub(now).as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::rules_messages;
    use portreeve_policy::Rules;

    fn judge(rules: &Rules) -> Judge {
        let mut judge = Judge::new(1);
        for message in rules_messages(1, false, rules).unwrap() {
            judge.obey(message).unwrap();
        }
        judge
    }

    #[test]
    fn the_starts_of_a_minute_are_counted_and_the_rest_waits_in_the_queue() {
        let rules = |starts| Rules { cps: (0, 0), starts_per_minute: starts, ..Rules::default() };
        let mut judge = judge(&rules(Some(2)));
        let mut standing = Standing::default();
        let at = |seconds: u64| Now { mono: Duration::from_secs(seconds), minute: 0 };
        // Sources may be forged, so nobody has a share of his own.
        let mut ask = |judge: &mut Judge, from: &str, seconds: u64| {
            judge.judge(from.parse().unwrap(), || None, &mut standing, &at(seconds))
        };
        assert_eq!(ask(&mut judge, "192.0.2.1:2000", 100), (true, None));
        assert_eq!(ask(&mut judge, "192.0.2.2:2000", 110), (true, None));
        let full = RateNote::Full { seconds: 40 };
        assert_eq!(ask(&mut judge, "192.0.2.3:2000", 120), (false, Some(full)));
        assert!(judge.is_paused());
        // Where the queue is not left alone, for the flows that go on, it is said once.
        assert_eq!(ask(&mut judge, "192.0.2.4:2000", 121), (false, None));
        assert_eq!(judge.deadline().map(|until| until <= Duration::from_secs(160)), Some(true));
        judge.tick(&at(159));
        assert!(judge.is_paused());
        judge.tick(&at(160));
        assert!(!judge.is_paused());
        assert_eq!(ask(&mut judge, "192.0.2.3:2000", 160), (true, None));
        assert!(matches!(
            ask(&mut judge, "192.0.2.3:2000", 160),
            (false, Some(RateNote::Full { seconds: 10 }))
        ));
        // New rules count from the same starts.
        for message in rules_messages(1, false, &rules(Some(3))).unwrap() {
            judge.obey(message).unwrap();
        }
        assert!(!judge.is_paused());
        assert_eq!(ask(&mut judge, "192.0.2.3:2000", 161), (true, None));
        assert!(!ask(&mut judge, "192.0.2.3:2000", 161).0);
    }
}
