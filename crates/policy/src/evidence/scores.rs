//! Scores that decay: a bounded table of sources, each with what is held against it.
//!
//! A score is a share of what a ban takes, and halves with each half-life. It is kept as the moment at which nothing of it is left
//! (1/1024): that moves on with each piece of evidence, and two scores compare by it at any time. A full table loses the source that
//! has least; who has more is pushed out by nobody who has less.

use super::{Evidence, Kind};
use crate::prefix::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Sources with evidence that may ban, at most.
pub const MOST_SCORED: usize = 32_768;
/// Sources with evidence that may be forged, at most.
pub const MOST_SUSPECTED: usize = 16_384;
/// A score below one of so many parts is none.
const PARTS: f64 = 1024.0;

/// What is held against a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// When nothing of its score is left.
    pub until: Duration,
    /// Pieces of each kind since its score was nothing, in the order of [`Kind::ALL`].
    pub counts: [u32; Kind::ALL.len()],
    /// The service of the last piece; may be empty.
    pub service: Rc<str>,
    /// When the last piece came.
    pub last: Duration,
    /// Some of it was said by an instance, or by root.
    pub authenticated: bool,
}

impl Held {
    /// What it was, in words: `3 failed logins, 1 scan, the last at s1`.
    pub fn words(&self) -> String {
        let counted = Kind::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        let mut text = counted.map(|(kind, count)| kind.counted(count)).collect::<Vec<_>>().join(", ");
        if !self.service.is_empty() {
            text.push_str(if self.counts.iter().sum::<u32>() > 1 { ", the last at " } else { " at " });
            text.push_str(&self.service);
        }
        text
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    entries: BTreeMap<Prefix, Held>,
    ends: BTreeSet<(Duration, Prefix)>,
    most: usize,
    half_life: Duration,
    pushed_out: u64,
}

impl Scores {
    pub(crate) fn new(most: usize, half_life: Duration) -> Self {
        Self { entries: BTreeMap::new(), ends: BTreeSet::new(), most, half_life, pushed_out: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sources that made room for others while something was left of their score.
    pub(crate) fn pushed_out(&self) -> u64 {
        self.pushed_out
    }

    /// The share of a ban that is left at `now` of a score that is nothing at `until`.
    fn level_of(&self, until: Duration, now: Duration) -> f64 {
        let left = until.saturating_sub(now).as_secs_f64() / self.half_life.as_secs_f64();
        if left <= 0.0 { 0.0 } else { left.exp2() / PARTS }
    }

    fn until_of(&self, level: f64, now: Duration) -> Duration {
        let left = (level * PARTS).log2() * self.half_life.as_secs_f64();
        now.saturating_add(Duration::try_from_secs_f64(left).unwrap_or_default())
    }

    pub(crate) fn level(&self, network: &Prefix, now: Duration) -> f64 {
        self.entries.get(network).map_or(0.0, |held| self.level_of(held.until, now))
    }

    pub(crate) fn get(&self, network: &Prefix, now: Duration) -> Option<&Held> {
        self.entries.get(network).filter(|held| held.until > now)
    }

    /// Adds this share of a ban, and returns the score.
    pub(crate) fn add(&mut self, network: Prefix, share: f64, evidence: &Evidence<'_>, now: Duration) -> f64 {
        self.expire(now);
        let level = self.level(&network, now) + share;
        let until = self.until_of(level, now);
        let former = self.entries.remove(&network);
        if let Some(former) = &former {
            self.ends.remove(&(former.until, network));
        } else if self.entries.len() >= self.most {
            // Whoever has less than the newcomer goes; else the newcomer does.
            match self.ends.first().copied() {
                Some((end, least)) if end < until => {
                    self.ends.remove(&(end, least));
                    self.entries.remove(&least);
                    self.pushed_out += 1;
                }
                _ => {
                    self.pushed_out += 1;
                    return level;
                }
            }
        }
        let mut held = former.unwrap_or_else(|| Held {
            until,
            counts: [0; Kind::ALL.len()],
            service: "".into(),
            last: now,
            authenticated: false,
        });
        (held.until, held.last) = (until, now);
        held.authenticated |= evidence.grade == super::Grade::Authenticated;
        if *held.service != *evidence.service {
            held.service = evidence.service.into();
        }
        let at = Kind::ALL.iter().position(|kind| *kind == evidence.kind);
        if let Some(count) = at.and_then(|at| held.counts.get_mut(at)) {
            *count = count.saturating_add(evidence.count);
        }
        self.ends.insert((until, network));
        self.entries.insert(network, held);
        level
    }

    pub(crate) fn remove(&mut self, network: &Prefix) -> Option<Held> {
        let held = self.entries.remove(network)?;
        self.ends.remove(&(held.until, *network));
        Some(held)
    }

    /// A score of before, in place of what there is.
    pub(crate) fn restore(&mut self, network: Prefix, held: Held, now: Duration) {
        self.remove(&network);
        if held.until > now && self.entries.len() < self.most {
            self.ends.insert((held.until, network));
            self.entries.insert(network, held);
        }
    }

    /// Forgets the sources of whose score nothing is left.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(&(until, network)) = self.ends.first()
            && until <= now
        {
            self.ends.remove(&(until, network));
            self.entries.remove(&network);
        }
    }

    /// The sources within a network of whose score something is left.
    pub(crate) fn inside(&self, network: Prefix, now: Duration) -> impl Iterator<Item = &Prefix> {
        self.entries
            .range(network..=Prefix::host(network.last()))
            .filter(move |(one, held)| network.covers(one) && held.until > now)
            .map(|(one, _)| one)
    }

    /// Those with most, the highest first.
    pub(crate) fn highest(&self, now: Duration) -> impl Iterator<Item = (Prefix, &Held, f64)> {
        self.ends.iter().rev().filter_map(move |(until, network)| {
            let level = self.level_of(*until, now);
            self.entries.get(network).filter(|_| level > 0.0).map(|held| (*network, held, level))
        })
    }

    /// Another half-life: every score stays what it is at `now`, and decays by the new one.
    pub(crate) fn decay_by(&mut self, half_life: Duration, now: Duration) {
        if half_life == self.half_life {
            return;
        }
        self.expire(now);
        let levels: Vec<(Prefix, f64)> =
            self.entries.iter().map(|(network, held)| (*network, self.level_of(held.until, now))).collect();
        self.half_life = half_life;
        self.ends.clear();
        for (network, level) in levels {
            let until = self.until_of(level, now);
            if let Some(held) = self.entries.get_mut(&network) {
                held.until = until;
            }
            self.ends.insert((until, network));
        }
    }
}
