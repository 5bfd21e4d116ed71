//! What the kernel has, compared with what it is to have, and mended: in steps, so that a ban that comes meanwhile waits for one of
//! them at most. Never undoes such a ban nor misses it: whatever changes while a comparison goes on is not judged by it.
//!
//! A dump alone proves nothing missing: while the kernel makes a set's hash larger, and while elements come and go, it leaves out some
//! that are in force. So whatever it lacks is asked for by itself.

use super::enforcer::{Enforcer, SLACK, left};
use super::table::{Kin, TABLE, elements_in, kind};
use super::wanted::Met;
use portreeve_policy::Prefix;
use portreeve_sys::clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

/// Entries of the list that one step looks through for those that were not met.
const LOOKED_THROUGH: usize = 4096;
/// Elements of a portion that the kernel did not fill: it has come to the end of the set.
const FEW: usize = 256;
/// Elements that one step asks for by themselves.
const ASKED: usize = 128;
/// After so many in a row that are missing indeed, the others are taken to be.
const CONVINCED: usize = 512;
/// Elements that one step mends, in one transaction: about two milliseconds.
const MENDED: usize = 256;
/// Looks at table, chains and rules, where somebody changes others meanwhile.
const TRIES: usize = 8;

/// What a comparison with the kernel found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bans that are wanted now.
    pub wanted: usize,
    /// Those of them that the kernel had.
    pub enforced: usize,
    /// Elements that nobody wanted, and ends that differed.
    pub strange: usize,
    /// The table, a chain or a rule was not ours any more: everything was made anew.
    pub rebuilt: bool,
}

/// A comparison on its way.
#[derive(Debug)]
pub(super) struct Comparison {
    stage: Stage,
    /// Wanted, and in no dump.
    doubtful: VecDeque<Prefix>,
    /// So many of these in a row were missing indeed.
    missing_in_a_row: usize,
    /// Missing indeed, or there with another end.
    missing: BTreeSet<Prefix>,
    /// There, and not wanted, or with another end.
    strange: BTreeSet<Prefix>,
    /// Let in since it began: what was told before that may still name them.
    pardoned: BTreeSet<Prefix>,
    found: Found,
}

#[derive(Debug)]
enum Stage {
    /// Table, chains and rules.
    Skeleton,
    /// The elements of these sets; `true`: of the first one they are coming.
    Sets(VecDeque<Kin>, bool),
    /// Those behind this one that nobody told of.
    Unmet(Option<Prefix>),
    /// Each of these by itself.
    Doubts,
    Mend,
}

impl Comparison {
    fn new() -> Self {
        Comparison {
            stage: Stage::Skeleton,
            doubtful: VecDeque::new(),
            missing_in_a_row: 0,
            missing: BTreeSet::new(),
            strange: BTreeSet::new(),
            pardoned: BTreeSet::new(),
            found: Found::default(),
        }
    }

    /// This one is given to the kernel now, or taken from it. `before`: the list says that the kernel has it; whether it has.
    pub(super) fn changed(&mut self, prefix: &Prefix, pardoned: bool, before: bool) -> bool {
        let strange = self.strange.remove(prefix);
        let missing = self.missing.remove(prefix);
        if pardoned {
            self.pardoned.insert(*prefix);
        }
        strange || (before && !missing)
    }
}

impl Enforcer {
    /// Compares the kernel with what is wanted, and repairs it, however long that takes: so it looks at the clock by itself.
    ///
    /// # Errors
    /// It could not be repaired.
    pub fn compare(&mut self) -> io::Result<Found> {
        self.begin_to_compare();
        loop {
            if let Some(found) = self.compare_on(clock::monotonic())? {
                return Ok(found);
            }
        }
    }

    /// Begins a comparison, in place of one that goes on.
    pub fn begin_to_compare(&mut self) {
        self.wanted.begin_round();
        self.comparison = Some(Comparison::new());
    }

    /// Whether a comparison goes on.
    pub fn compares(&self) -> bool {
        self.comparison.is_some()
    }

    /// Whether one has come to what is missing, or may be.
    pub(super) fn mends(&self) -> bool {
        let stage = self.comparison.as_ref().map(|comparison| &comparison.stage);
        matches!(stage, Some(Stage::Doubts | Stage::Mend))
    }

    /// One step of it: milliseconds at most, unless the whole table has to be made anew. What it found, once it is over and all is mended.
    ///
    /// # Errors
    /// It could not be repaired. Then it is over, too.
    pub fn compare_on(&mut self, now: Duration) -> io::Result<Option<Found>> {
        let Some(mut comparison) = self.comparison.take() else { return Ok(None) };
        let next = match std::mem::replace(&mut comparison.stage, Stage::Mend) {
            Stage::Skeleton => match self.is_intact()? {
                true => Stage::Sets(self.kin.iter().copied().collect(), false),
                false => return self.replace_table(comparison.found, now).map(Some),
            },
            Stage::Sets(mut left, begun) => {
                match self.look_at_set(&mut comparison, left.front().copied(), begun, now) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return self.replace_table(comparison.found, now).map(Some);
                    }
                    Ok(true) => Stage::Sets(left, true),
                    Ok(false) => {
                        left.pop_front();
                        if left.is_empty() { Stage::Unmet(None) } else { Stage::Sets(left, false) }
                    }
                    Err(error) => return Err(error),
                }
            }
            Stage::Unmet(after) => {
                let (unmet, next) = self.wanted.unmet(after, LOOKED_THROUGH);
                comparison.doubtful.extend(unmet);
                next.map_or(Stage::Doubts, |next| Stage::Unmet(Some(next)))
            }
            Stage::Doubts if comparison.doubtful.is_empty() => {
                self.wanted.expire(now);
                let wanted = self.wanted.len();
                // Those with another end are in force, too.
                let missing = comparison.missing.difference(&comparison.strange).count();
                let enforced = wanted.saturating_sub(missing);
                let strange = comparison.strange.len();
                comparison.found = Found { wanted, enforced, strange, rebuilt: false };
                Stage::Mend
            }
            Stage::Doubts => {
                self.ask_for_doubtful(&mut comparison, now)?;
                Stage::Doubts
            }
            Stage::Mend if comparison.missing.is_empty() && comparison.strange.is_empty() => {
                return Ok(Some(comparison.found));
            }
            Stage::Mend => {
                self.mend_some(&mut comparison, now)?;
                Stage::Mend
            }
        };
        comparison.stage = next;
        self.comparison = Some(comparison);
        Ok(None)
    }

    pub(super) fn is_intact(&mut self) -> io::Result<bool> {
        for _ in 0..TRIES {
            let before = self.netlink.generation()?;
            let skeleton = match self.look_at_skeleton() {
                Ok(skeleton) => skeleton,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            if skeleton == self.skeleton {
                return Ok(true);
            }
            if self.netlink.generation()? == before {
                break;
            }
        }
        Ok(false)
    }

    fn replace_table(&mut self, found: Found, now: Duration) -> io::Result<Found> {
        self.rebuild(now)?;
        // What of it was in force is not known: somebody else's rules may have stood before ours.
        Ok(Found { wanted: self.wanted.len(), enforced: 0, rebuilt: true, ..found })
    }

    /// Reads a portion of a set; whether there is more of it.
    fn look_at_set(
        &mut self,
        comparison: &mut Comparison,
        kin: Option<Kin>,
        begun: bool,
        now: Duration,
    ) -> io::Result<bool> {
        let Some(kin) = kin else { return Ok(false) };
        if !begun {
            let name = kin.set();
            self.looking.ask_for_portions(kind::GET_ELEMENTS, |question| {
                question.put_str(1, TABLE);
                question.put_str(2, &name);
            })?;
            return Ok(true);
        }
        let (wanted, slack) = (&mut self.wanted, SLACK + self.late);
        let (mut told, mut before) = (0, 0);
        let more = self.looking.portion(|message| {
            for (key, millis) in elements_in(message.attributes()) {
                told += 1;
                let Some(prefix) = kin.prefix(key) else { continue };
                let end = millis.map(Duration::from_millis);
                match wanted.meet(&prefix) {
                    Met::Before => before += 1,
                    Met::Now(until) if agree(end, until, now, slack) => {}
                    Met::Now(_) => {
                        comparison.strange.insert(prefix);
                        comparison.missing.insert(prefix);
                    }
                    // It goes by itself about now; or it has been taken out since that was told.
                    Met::Unwanted if end.is_some_and(|end| end <= SLACK) => {}
                    Met::Unwanted if comparison.pardoned.contains(&prefix) => {}
                    Met::Unwanted => drop(comparison.strange.insert(prefix)),
                }
            }
        })?;
        // What one adds during a dump comes at its end, so it would go on for as long as there is one more in each step.
        Ok(more && (told == 0 || told > FEW || before < told))
    }

    fn ask_for_doubtful(&mut self, comparison: &mut Comparison, now: Duration) -> io::Result<()> {
        let lasting = |until: Option<Duration>| until.is_none_or(|until| until > now + SLACK);
        let mut asked: Vec<Prefix> = Vec::new();
        while asked.len() < ASKED
            && let Some(prefix) = comparison.doubtful.pop_front()
        {
            // One that has changed since is not judged, and one that ends about now is not waited for.
            if matches!(self.wanted.meet(&prefix), Met::Now(until) if lasting(until)) {
                asked.push(prefix);
            }
        }
        if comparison.missing_in_a_row >= CONVINCED {
            comparison.missing.extend(asked);
            return Ok(());
        }
        let mut rest = &asked[..];
        while let Some((first, others)) = rest.split_first() {
            let kin = Kin::of(first);
            let same = 1 + others.iter().take_while(|prefix| Kin::of(prefix) == kin).count();
            let (of_kin, behind) = rest.split_at(same.min(rest.len()));
            let has = self.has_from_the_first(kin, of_kin)?;
            match of_kin.get(has) {
                // The kernel stops at one that it does not have.
                Some(missing) => {
                    comparison.missing.insert(*missing);
                    comparison.missing_in_a_row = if has == 0 { comparison.missing_in_a_row + 1 } else { 1 };
                    rest = rest.get(has + 1..).unwrap_or_default();
                }
                None => {
                    comparison.missing_in_a_row = 0;
                    rest = behind;
                }
            }
        }
        Ok(())
    }

    /// How many of these the kernel has, counted until the first that it has not.
    fn has_from_the_first(&mut self, kin: Kin, prefixes: &[Prefix]) -> io::Result<usize> {
        let mut has = 0;
        let asked = self.netlink.ask(
            kind::GET_ELEMENTS,
            false,
            |question| question.keys(kin, prefixes),
            |message| has += elements_in(message.attributes()).count(),
        );
        match asked {
            Ok(()) => Ok(prefixes.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(has.min(prefixes.len().saturating_sub(1)))
            }
            Err(error) => Err(error),
        }
    }

    fn mend_some(&mut self, comparison: &mut Comparison, now: Duration) -> io::Result<()> {
        let strange = comparison.strange.iter().take(MENDED);
        let some: BTreeSet<Prefix> = strange.chain(comparison.missing.iter().take(MENDED)).copied().collect();
        let (mut gone, mut new) = (BTreeSet::new(), BTreeMap::new());
        for prefix in &some {
            if comparison.strange.remove(prefix) {
                gone.insert(*prefix);
            }
            if comparison.missing.remove(prefix)
                && let Some(until) = self.wanted.get(prefix)
                && left(until, now).is_some()
            {
                new.insert(*prefix, until);
            }
        }
        self.change(&gone, &new, now)?;
        if self.made_anew() {
            // With everything in it.
            (comparison.missing, comparison.strange) = Default::default();
            comparison.found.rebuilt = true;
        }
        Ok(())
    }
}

/// Whether the kernel's end of a ban is the one that is wanted.
fn agree(kernel: Option<Duration>, until: Option<Duration>, now: Duration, slack: Duration) -> bool {
    match (kernel, until) {
        (None, None) => true,
        (Some(left), Some(until)) => (now + left).abs_diff(until) <= slack,
        _ => false,
    }
}
