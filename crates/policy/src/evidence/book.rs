//! The book of who is suspected of what. Weighs a piece of evidence and says when it is enough; the caller asks whether the source
//! may be banned, and comes back for the sentence.

use super::rollup::{Good, Wider, look};
use super::scores::{Held, MOST_SCORED, MOST_SUSPECTED, Scores};
use super::settings::BanPolicy;
use super::strikes::Strikes;
use super::{Evidence, Grade, Kind};
use crate::denied::Denied;
use crate::prefix::Prefix;
use std::net::IpAddr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// So long a source is remembered as well-behaved, at most.
const GOOD_FOR: Duration = Duration::from_secs(7 * 86_400);

/// What a piece of evidence came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// By the policy it is never enough; or it is held against nobody.
    Ignored,
    /// Scored; the share of what it takes.
    Scored(f64),
    /// It may be forged, and there is a lot of it: reported, and nothing else.
    Suspected(f64),
    /// Enough: the source is to be banned, if that may be.
    Due(Due),
}

/// Enough for a ban.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The source's subscriber.
    pub network: Prefix,
    /// Whose evidence was the last.
    pub source: IpAddr,
    /// The score.
    pub level: f64,
    /// What is held against it, in words.
    pub why: String,
    /// Instances told some of it.
    pub authenticated: bool,
    /// A proxy says who it is.
    pub proxied: bool,
}

/// For how long, and why not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// For so long; the how manieth ban it is.
    Ban(Duration, u32),
    /// The policy only reports.
    OnlyReported,
    /// There are as many bans for evidence as may be.
    TooMany(u32),
    /// There were as many within this minute as may be.
    TooFast(u32),
}

/// What stands against a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The grade; of `Proven` what was told of authenticated evidence is part of it.
    pub grade: Grade,
    /// By the word of a proxy.
    pub proxied: bool,
    /// The share of what a ban takes.
    pub level: f64,
    /// What.
    pub held: Held,
}

/// Everything that is held against anybody.
#[derive(Clone, Debug)]
pub struct Scorebook {
    policy: BanPolicy,
    scores: Scores,
    proxied: Scores,
    suspected: Scores,
    strikes: Strikes,
    good: Good,
    /// Since when the minute counts, and what it has.
    minute: (Duration, u32),
    /// Sentences that a bound has prevented.
    prevented: u64,
}

impl Default for Scorebook {
    fn default() -> Self {
        Self::new(BanPolicy::default())
    }
}

impl Scorebook {
    /// An empty one.
    pub fn new(policy: BanPolicy) -> Self {
        let half_life = policy.half_life;
        Self {
            scores: Scores::new(MOST_SCORED, half_life),
            proxied: Scores::new(MOST_SCORED, half_life),
            suspected: Scores::new(MOST_SUSPECTED, half_life),
            strikes: Strikes::default(),
            good: Good::default(),
            minute: (Duration::ZERO, 0),
            prevented: 0,
            policy,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &BanPolicy {
        &self.policy
    }

    /// Another policy; what is held against whom stays.
    pub fn go_by(&mut self, policy: BanPolicy, now: Duration) {
        for scores in self.tables_mut() {
            scores.decay_by(policy.half_life, now);
        }
        self.policy = policy;
    }

    pub(super) fn tables(&self) -> [&Scores; 3] {
        [&self.scores, &self.proxied, &self.suspected]
    }

    pub(super) fn tables_mut(&mut self) -> [&mut Scores; 3] {
        [&mut self.scores, &mut self.proxied, &mut self.suspected]
    }

    pub(super) fn struck(&self) -> &Strikes {
        &self.strikes
    }

    fn table(&mut self, grade: Grade, proxied: bool) -> &mut Scores {
        match (grade, proxied) {
            (Grade::Forgeable, _) => &mut self.suspected,
            (_, true) => &mut self.proxied,
            (_, false) => &mut self.scores,
        }
    }

    /// Weighs evidence.
    pub fn weigh(&mut self, evidence: &Evidence<'_>, now: Duration) -> Outcome {
        let network = Prefix::subscriber(evidence.source);
        if evidence.kind == Kind::Success {
            if evidence.grade == Grade::Authenticated && !evidence.proxied {
                self.behaves_well(evidence.source, now);
            }
            return Outcome::Ignored;
        }
        let Some(threshold) = self.policy.threshold(evidence.grade, evidence.service) else {
            return Outcome::Ignored;
        };
        if evidence.count == 0 {
            return Outcome::Ignored;
        }
        if evidence.grade != Grade::Forgeable {
            self.good.forget(&network);
        }
        let piece = 1.0 / f64::from(threshold);
        let share = (f64::from(evidence.count) * piece).min(64.0);
        let table = self.table(evidence.grade, evidence.proxied);
        let before = table.level(&network, now);
        let level = table.add(network, share, evidence, now);
        // Rounded to the nearest piece: five within a second are five, although the first has decayed a little.
        let enough = |level: f64| level >= 1.0 - piece / 2.0;
        if !enough(level) {
            return Outcome::Scored(level);
        }
        if evidence.grade == Grade::Forgeable {
            return if enough(before) { Outcome::Scored(level) } else { Outcome::Suspected(level) };
        }
        let held = table.get(&network, now);
        let (why, authenticated) = match held {
            Some(held) => (held.words(), held.authenticated),
            // The table is full of those that have more.
            None => (evidence.kind.counted(evidence.count), evidence.grade == Grade::Authenticated),
        };
        Outcome::Due(Due {
            network,
            source: evidence.source.to_canonical(),
            level,
            why,
            authenticated,
            proxied: evidence.proxied,
        })
    }

    /// The sentence for what is due; its score is spent. `held` are the bans for evidence that there are.
    pub fn sentence(&mut self, due: &Due, held: usize, now: Duration) -> Sentence {
        self.spend(due);
        if !self.policy.act {
            return Sentence::OnlyReported;
        }
        if let Some(bound) = self.bound(held, now) {
            return bound;
        }
        let strikes = self.strikes.of(&due.network, now).saturating_add(1);
        let time = self.policy.time_of(if due.authenticated { strikes } else { 1 });
        self.strikes.set(
            due.network,
            strikes,
            now.saturating_add(time).saturating_add(self.policy.memory),
            now,
        );
        Sentence::Ban(time, strikes)
    }

    /// What is due is not done, since nobody may be banned there; its score is spent, and the next report needs as much again.
    pub fn spend(&mut self, due: &Due) {
        self.table(Grade::Proven, due.proxied).remove(&due.network);
    }

    fn bound(&mut self, held: usize, now: Duration) -> Option<Sentence> {
        let bound = if held >= self.policy.most as usize {
            Some(Sentence::TooMany(self.policy.most))
        } else {
            if now.saturating_sub(self.minute.0) >= MINUTE {
                self.minute = (now, 0);
            }
            self.minute.1 = self.minute.1.saturating_add(1);
            (self.minute.1 > self.policy.most_a_minute)
                .then_some(Sentence::TooFast(self.policy.most_a_minute))
        };
        self.prevented += u64::from(bound.is_some());
        bound
    }

    /// Which wider networks are to be banned around a source that has just been banned, the longest first.
    pub fn wider(&self, network: &Prefix, denied: &Denied, now: Duration) -> Vec<Wider> {
        let address = network.address();
        // Where translators put others into one /64 nobody is anybody's neighbour.
        let alone = address.is_ipv6() && Prefix::subscriber(address).is_host();
        let lengths =
            self.policy.lengths(address.is_ipv4()).filter(|length| !alone && *length < network.len());
        let scored = |wide: Prefix| self.scores.inside(wide, now).copied().collect();
        lengths
            .map(|length| Prefix::around(address, length))
            .filter(|wide| denied.get(*wide).is_none_or(|ban| !ban.lasts(now)))
            .filter_map(|wide| look(&self.policy, denied, &self.good, scored, wide, now))
            .collect()
    }

    /// The sentence for a wider network; `held` of them are banned.
    pub fn sentence_wide(&mut self, network: Prefix, held: usize, now: Duration) -> Sentence {
        if held >= self.policy.rollup_most as usize {
            self.prevented += 1;
            return Sentence::TooMany(self.policy.rollup_most);
        }
        let strikes = self.strikes.of(&network, now).saturating_add(1);
        let time = self.policy.time_of(1);
        self.strikes.set(network, strikes, now.saturating_add(time).saturating_add(self.policy.memory), now);
        Sentence::Ban(time, strikes)
    }

    /// Whether it matters who behaves well.
    pub fn rolls_up(&self) -> bool {
        self.policy.rollup_v4.is_some() || self.policy.rollup_v6.is_some()
    }

    /// A source was served and nothing was held against it, or has logged in.
    pub fn behaves_well(&mut self, source: IpAddr, now: Duration) {
        let network = Prefix::subscriber(source);
        if self.rolls_up() && self.scores.get(&network, now).is_none() {
            self.good.note(network, now.saturating_add(GOOD_FOR), now);
        }
    }

    /// A ban of before is known again: it counts.
    pub fn remember(&mut self, network: Prefix, strikes: u32, until: Duration, now: Duration) {
        if strikes > self.strikes.of(&network, now) {
            self.strikes.set(network, strikes, until, now);
        }
    }

    /// Somebody is let in again by hand: nothing is held against it any more.
    pub fn pardon(&mut self, network: &Prefix) {
        let inside: Vec<Prefix> = self
            .tables()
            .iter()
            .flat_map(|scores| scores.inside(*network, Duration::ZERO).copied().collect::<Vec<_>>())
            .collect();
        for one in inside {
            for scores in self.tables_mut() {
                scores.remove(&one);
            }
        }
        self.strikes.forget(network);
    }

    /// What stands against an address.
    pub fn against(&self, address: IpAddr, now: Duration) -> Vec<Standing> {
        let network = Prefix::subscriber(address);
        let tables = [
            (&self.scores, Grade::Proven, false),
            (&self.proxied, Grade::Proven, true),
            (&self.suspected, Grade::Forgeable, false),
        ];
        let standing = |(scores, grade, proxied): (&Scores, Grade, bool)| {
            let held = scores.get(&network, now)?.clone();
            Some(Standing { grade, proxied, level: scores.level(&network, now), held })
        };
        tables.into_iter().filter_map(standing).collect()
    }

    /// Former bans of a network that still count.
    pub fn strikes(&self, network: &Prefix, now: Duration) -> u32 {
        self.strikes.of(network, now)
    }

    /// Those with the highest scores that may ban.
    pub fn highest(&self, now: Duration) -> impl Iterator<Item = (Prefix, &Held, f64)> {
        self.scores.highest(now)
    }

    /// How many sources are held in each table: those that may be banned, those that a proxy names, suspected ones, former
    /// bans, well-behaved ones.
    pub fn sizes(&self) -> [usize; 5] {
        let Self { scores, proxied, suspected, strikes, good, .. } = self;
        [scores.len(), proxied.len(), suspected.len(), strikes.len(), good.len()]
    }

    /// Sources that were pushed out of a full table: of those that may be banned, and of suspected ones.
    pub fn pushed_out(&self) -> (u64, u64) {
        (self.scores.pushed_out() + self.proxied.pushed_out(), self.suspected.pushed_out())
    }

    /// Bans that a bound has prevented.
    pub fn prevented(&self) -> u64 {
        self.prevented
    }
}
