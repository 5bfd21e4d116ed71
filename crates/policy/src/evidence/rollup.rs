//! When a network is banned whole: many of its sources are banned for what they did, they are most of those that are known of it,
//! and nobody well-behaved is among them. Off unless it is asked for.

use super::settings::BanPolicy;
use crate::denied::Denied;
use crate::prefix::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Well-behaved sources that are remembered, at most.
pub const MOST_GOOD: usize = 16_384;

/// Sources that have been served and did nothing wrong, as far as they are remembered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Good {
    entries: BTreeMap<Prefix, Duration>,
    ends: BTreeSet<(Duration, Prefix)>,
    /// Until this moment it is not known who is well-behaved: some were forgotten to make room.
    blind_until: Duration,
}

impl Good {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn note(&mut self, network: Prefix, until: Duration, now: Duration) {
        while let Some(&(end, one)) = self.ends.first()
            && (end <= now || (self.entries.len() >= MOST_GOOD && !self.entries.contains_key(&network)))
        {
            if end > now {
                self.blind_until = self.blind_until.max(end);
            }
            self.ends.remove(&(end, one));
            self.entries.remove(&one);
        }
        if let Some(former) = self.entries.insert(network, until) {
            self.ends.remove(&(former, network));
        }
        self.ends.insert((until, network));
    }

    pub(crate) fn forget(&mut self, network: &Prefix) {
        if let Some(until) = self.entries.remove(network) {
            self.ends.remove(&(until, *network));
        }
    }

    fn inside(&self, network: Prefix, now: Duration) -> Option<Prefix> {
        self.entries
            .range(network..=Prefix::host(network.last()))
            .find(|(one, until)| network.covers(one) && **until > now)
            .map(|(one, _)| *one)
    }
}

/// What comes of a look at a wider network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wider {
    /// It is to be banned whole.
    Ban(RollUp),
    /// It would be, but for this well-behaved neighbour.
    Spared(RollUp, Prefix),
    /// It would be, but it is not known who of it is well-behaved: too many are, and some were forgotten.
    Unknown(RollUp),
}

/// A network around many banned sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollUp {
    /// It.
    pub network: Prefix,
    /// Banned sources of it.
    pub banned: u32,
    /// Known ones.
    pub known: u32,
}

/// Looks at one length; `scored` are the sources of the network that have a score.
pub(crate) fn look(
    policy: &BanPolicy,
    denied: &Denied,
    good: &Good,
    scored: impl Fn(Prefix) -> Vec<Prefix>,
    network: Prefix,
    now: Duration,
) -> Option<Wider> {
    let by_evidence = denied.inside(network).filter(|(_, ban)| ban.lasts(now) && ban.is_for_evidence());
    // Of an IPv6 source a sensor denies the address: a subscriber counts once.
    let banned: BTreeSet<Prefix> = by_evidence
        .filter(|(one, _)| *one != network)
        .map(|(one, _)| if one.is_host() { Prefix::subscriber(one.address()) } else { one })
        .collect();
    let others = scored(network).into_iter().filter(|one| !banned.contains(one)).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (banned, known) = (count(banned.len()), count(banned.len().saturating_add(others)));
    let share = u64::from(banned) * 100 >= u64::from(policy.rollup_share) * u64::from(known);
    if banned < policy.rollup_sources || !share {
        return None;
    }
    let found = RollUp { network, banned, known };
    Some(match good.inside(network, now) {
        Some(neighbour) => Wider::Spared(found, neighbour),
        None if good.blind_until > now => Wider::Unknown(found),
        None => Wider::Ban(found),
    })
}
