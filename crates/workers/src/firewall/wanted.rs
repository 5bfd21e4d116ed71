//! Whom the kernel is to drop, and until when: the list, its ends in their order, and which of it the dump that goes on has
//! told of. Pure; neither decides who is banned nor asks the kernel.

use portreeve_policy::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

/// A ban of the list.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Monotonic; `None` is for ever.
    until: Option<Duration>,
    /// The comparison whose dump has last told of it.
    met: u32,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    entries: BTreeMap<Prefix, Entry>,
    ends: BTreeSet<(Duration, Prefix)>,
    /// What has ended here, and may be in the kernel for a little longer: when; and in the order of that.
    ended: BTreeMap<Prefix, Duration>,
    ended_first: BTreeSet<(Duration, Prefix)>,
    round: u32,
}

impl Wanted {
    pub(super) fn new(bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>) -> Self {
        let mut wanted = Wanted::default();
        for (prefix, until) in bans {
            wanted.insert(prefix, until);
        }
        wanted
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The end of the ban of exactly this network, the inner `None` being for ever.
    pub(super) fn get(&self, prefix: &Prefix) -> Option<Option<Duration>> {
        self.entries.get(prefix).map(|entry| entry.until)
    }

    /// Takes one in, in place of what it was; its former end, where it had one. The comparison has no word on what changed meanwhile.
    pub(super) fn insert(&mut self, prefix: Prefix, until: Option<Duration>) -> Option<Option<Duration>> {
        let former = self.entries.insert(prefix, Entry { until, met: self.round });
        if let Some(Entry { until: Some(former), .. }) = former {
            self.ends.remove(&(former, prefix));
        }
        if let Some(until) = until {
            self.ends.insert((until, prefix));
        }
        former.map(|former| former.until)
    }

    /// Takes one out; its end.
    pub(super) fn remove(&mut self, prefix: &Prefix) -> Option<Option<Duration>> {
        let former = self.entries.remove(prefix)?;
        if let Some(until) = former.until {
            self.ends.remove(&(until, *prefix));
        }
        Some(former.until)
    }

    /// Forgets what has ended by `now`. Costs what has ended, not what has not.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(&(until, prefix)) = self.ends.first()
            && until <= now
        {
            self.ends.pop_first();
            self.entries.remove(&prefix);
            if let Some(former) = self.ended.insert(prefix, until) {
                self.ended_first.remove(&(former, prefix));
            }
            self.ended_first.insert((until, prefix));
        }
    }

    /// Forgets what had ended by then, for the kernel too.
    pub(super) fn forget_ended(&mut self, by: Duration) {
        while let Some(&(until, prefix)) = self.ended_first.first()
            && until <= by
        {
            self.ended_first.pop_first();
            self.ended.remove(&prefix);
        }
    }

    /// When the last ban of this network ended here, if the kernel may still have it.
    pub(super) fn ended(&self, prefix: &Prefix) -> Option<Duration> {
        self.ended.get(prefix).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Prefix, Option<Duration>)> {
        self.entries.iter().map(|(prefix, entry)| (prefix, entry.until))
    }

    /// A comparison begins: nothing has been met.
    pub(super) fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The comparison meets one.
    pub(super) fn meet(&mut self, prefix: &Prefix) -> Met {
        match self.entries.get_mut(prefix) {
            None => Met::Unwanted,
            Some(entry) if entry.met == self.round => Met::Before,
            Some(entry) => {
                entry.met = self.round;
                Met::Now
            }
        }
    }

    /// The next `most` behind `after`, with their ends.
    pub(super) fn behind(&self, after: Option<Prefix>, most: usize) -> Vec<(Prefix, Option<Duration>)> {
        let behind = self.entries.range((after.map_or(Unbounded, Excluded), Unbounded));
        behind.take(most).map(|(prefix, entry)| (*prefix, entry.until)).collect()
    }
}

/// What the list says of a network that the comparison has found in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is not to be there.
    Unwanted,
    /// It was met already, or has changed since the comparison began.
    Before,
    /// It is to be there.
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(n: u8) -> Prefix {
        Prefix::host([192, 0, 2, n].into())
    }

    proptest! {
        /// Against a plain map, whose ends are looked for one by one.
        #[test]
        fn the_list_is_a_map_that_forgets_what_has_ended(
            acts in proptest::collection::vec((0u8..8, 0u8..8, 0u64..10), 1..80)
        ) {
            let (mut wanted, mut model) = (Wanted::default(), BTreeMap::new());
            for (act, n, at) in acts {
                let until = (at > 0).then(|| Duration::from_secs(at));
                match act {
                    0..=3 => prop_assert_eq!(wanted.insert(host(n), until), model.insert(host(n), until)),
                    4..=5 => prop_assert_eq!(wanted.remove(&host(n)), model.remove(&host(n))),
                    _ => {
                        let now = Duration::from_secs(at);
                        wanted.expire(now);
                        model.retain(|_, until: &mut Option<Duration>| until.is_none_or(|until| until > now));
                    }
                }
                prop_assert_eq!(wanted.iter().map(|(p, u)| (*p, u)).collect::<BTreeMap<_, _>>(), model.clone());
                let ends: BTreeSet<_> = model.iter().filter_map(|(p, u)| Some(((*u)?, *p))).collect();
                prop_assert_eq!(&wanted.ends, &ends);
                prop_assert_eq!(wanted.ended.len(), wanted.ended_first.len());
            }
        }
    }

    #[test]
    fn what_has_ended_is_known_until_the_kernel_has_forgotten_it() {
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        let mut wanted = Wanted::new([(host(0), Some(one)), (host(1), Some(two)), (host(2), None)]);
        wanted.expire(two);
        assert_eq!([host(0), host(1), host(2)].map(|host| wanted.ended(&host)), [Some(one), Some(two), None]);
        wanted.forget_ended(one);
        assert_eq!([host(0), host(1)].map(|host| wanted.ended(&host)), [None, Some(two)]);
    }

    #[test]
    fn what_is_taken_in_while_a_round_goes_on_is_none_of_its_business() {
        let mut wanted = Wanted::new((0..5).map(|n| (host(n), None)));
        wanted.begin_round();
        assert_eq!(wanted.meet(&host(0)), Met::Now);
        assert_eq!(wanted.meet(&host(0)), Met::Before);
        assert_eq!(wanted.meet(&host(9)), Met::Unwanted);
        wanted.insert(host(1), Some(Duration::from_secs(1)));
        wanted.insert(host(9), None);
        assert_eq!((wanted.meet(&host(1)), wanted.meet(&host(9))), (Met::Before, Met::Before));
        assert_eq!(wanted.behind(None, 2), [(host(0), None), (host(1), Some(Duration::from_secs(1)))]);
        assert_eq!(wanted.behind(Some(host(3)), 9), [(host(4), None), (host(9), None)]);
    }
}
