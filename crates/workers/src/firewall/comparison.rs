//! What the kernel has, compared with what it is to have, and mended: in steps, so that a ban that comes meanwhile waits for one of
//! them at most. Never undoes such a ban nor misses it: what changes meanwhile changes the list and the kernel together.
//!
//! Who is to be there is asked for by name: that costs the same for the first and the millionth. What else is there only a dump tells, for
//! each portion of which the kernel walks over all that it has told, and which proves nothing missing: while the kernel makes a set's hash
//! larger, and while elements come and go, it leaves out some that are in force. So a dump is made only where somebody may have put one in.

use super::enforcer::{Enforcer, SLACK};
use super::table::{Kin, TABLE, elements_in, kind};
use super::wanted::Met;
use portreeve_policy::Prefix;
use portreeve_sys::clock;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

/// Elements that one step asks for, and puts back: half a millisecond.
const ASKED: usize = 128;
/// After one that is missing the next is asked for with so few others: more may be.
const FEW_ASKED: usize = 2;
/// After so many in a row that are missing, a step asks for one, and where that is missing puts so many back.
const CONVINCED: usize = 512;
const UNASKED: usize = 512;
/// Elements of a portion that the kernel did not fill: it has come to the end of the set.
const FEW: usize = 256;
/// Elements that one step takes out, in one transaction.
const TAKEN_OUT: usize = 256;
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

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What is wanted, and whether it is there.
    Wanted,
    /// What is there, and nobody wants.
    Strangers,
}

/// A comparison on its way.
#[derive(Debug)]
pub(super) struct Comparison {
    stage: Stage,
    scope: Scope,
    /// Wanted and not there, and so many of the last ones in a row.
    missing: usize,
    missing_in_a_row: usize,
    /// There with another end.
    differed: usize,
    /// There, and not wanted; those that were taken out already.
    strange: BTreeSet<Prefix>,
    taken_out: usize,
    /// Let in since it began: what was told before that may still name them.
    pardoned: BTreeSet<Prefix>,
}

#[derive(Debug)]
enum Stage {
    /// Table, chains and rules.
    Skeleton,
    /// The list behind this one.
    List(Option<Prefix>),
    /// The elements of these sets; `true`: of the first one they are coming.
    Sets(VecDeque<Kin>, bool),
    /// What nobody wants.
    Strange,
}

impl Comparison {
    fn new(scope: Scope) -> Self {
        Comparison {
            stage: Stage::Skeleton,
            scope,
            missing: 0,
            missing_in_a_row: 0,
            differed: 0,
            strange: BTreeSet::new(),
            taken_out: 0,
            pardoned: BTreeSet::new(),
        }
    }

    /// This one is given to the kernel now, or taken from it. `before`: the list says that the kernel has it; whether it has, as far as is known.
    pub(super) fn changed(&mut self, prefix: &Prefix, pardoned: bool, before: bool) -> bool {
        if pardoned {
            self.pardoned.insert(*prefix);
        }
        self.strange.remove(prefix) || before
    }
}

impl Enforcer {
    /// Compares the kernel with what is wanted, and repairs it, however long that takes: so it looks at the clock by itself.
    ///
    /// # Errors
    /// It could not be repaired.
    pub fn compare(&mut self) -> io::Result<Found> {
        let missing = self.compare_all(Scope::Wanted)?;
        if missing.rebuilt {
            return Ok(missing);
        }
        let strange = self.compare_all(Scope::Strangers)?;
        let lacked = missing.wanted - missing.enforced;
        Ok(Found {
            enforced: strange.enforced.saturating_sub(lacked),
            strange: missing.strange + strange.strange,
            ..strange
        })
    }

    fn compare_all(&mut self, scope: Scope) -> io::Result<Found> {
        self.begin_to_compare(scope);
        loop {
            if let Some(found) = self.compare_on(clock::monotonic())? {
                return Ok(found);
            }
        }
    }

    /// Begins a comparison, in place of one that goes on.
    pub fn begin_to_compare(&mut self, scope: Scope) {
        self.wanted.begin_round();
        self.made_anew();
        self.comparison = Some(Comparison::new(scope));
    }

    /// Whether a comparison goes on.
    pub fn compares(&self) -> bool {
        self.comparison.is_some()
    }

    /// Whether one goes on that is for this.
    pub(super) fn compares_for(&self, scope: Scope) -> bool {
        self.comparison.as_ref().is_some_and(|comparison| comparison.scope == scope)
    }

    /// One step of it: a millisecond at most, unless the whole table has to be made anew; one of a dump as long as the kernel takes to walk over
    /// the set. What it found, once it is over and all is mended.
    ///
    /// # Errors
    /// It could not be repaired. Then it is over, too.
    pub fn compare_on(&mut self, now: Duration) -> io::Result<Option<Found>> {
        let Some(mut comparison) = self.comparison.take() else { return Ok(None) };
        let next = match std::mem::replace(&mut comparison.stage, Stage::Strange) {
            Stage::Skeleton => match self.is_intact()? {
                true if comparison.scope == Scope::Wanted => Stage::List(None),
                true => Stage::Sets(self.kin.iter().copied().collect(), false),
                false => return self.replace_table(&comparison, now).map(Some),
            },
            Stage::List(after) => match self.go_through_list(&mut comparison, after, now)? {
                Some(last) => Stage::List(Some(last)),
                None => Stage::Strange,
            },
            Stage::Sets(mut left, begun) => {
                match self.look_at_set(&mut comparison, left.front().copied(), begun) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return self.replace_table(&comparison, now).map(Some);
                    }
                    Ok(true) => Stage::Sets(left, true),
                    Ok(false) => {
                        left.pop_front();
                        if left.is_empty() { Stage::Strange } else { Stage::Sets(left, false) }
                    }
                    Err(error) => return Err(error),
                }
            }
            Stage::Strange if comparison.strange.is_empty() => {
                self.wanted.expire(now);
                let wanted = self.wanted.len();
                return Ok(Some(Found {
                    wanted,
                    enforced: wanted.saturating_sub(comparison.missing),
                    strange: comparison.differed + comparison.taken_out,
                    rebuilt: false,
                }));
            }
            Stage::Strange => {
                self.take_out_some(&mut comparison, now)?;
                Stage::Strange
            }
        };
        if self.made_anew() {
            return Ok(Some(self.made_anew_of(&comparison)));
        }
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

    fn replace_table(&mut self, comparison: &Comparison, now: Duration) -> io::Result<Found> {
        self.rebuild(now)?;
        Ok(self.made_anew_of(comparison))
    }

    /// What of it was in force is not known: somebody else's rules may have stood before ours.
    fn made_anew_of(&self, comparison: &Comparison) -> Found {
        let strange = comparison.differed + comparison.taken_out;
        Found { wanted: self.wanted.len(), enforced: 0, strange, rebuilt: true }
    }

    /// Asks for some of the list behind this one, and puts back what is missing; the last of them, `None` where there are no more.
    fn go_through_list(
        &mut self,
        comparison: &mut Comparison,
        after: Option<Prefix>,
        now: Duration,
    ) -> io::Result<Option<Prefix>> {
        let mut convinced = comparison.missing_in_a_row >= CONVINCED;
        let most = if convinced { UNASKED } else { ASKED };
        let mut some = self.wanted.behind(after, most);
        // Or it would go on for as long as there is one more behind it in each step: who is banned meanwhile is in the kernel.
        let end = some.len() < most;
        if let Some(&(first, _)) = some.first().filter(|_| convinced)
            && !self.told_of(Kin::of(&first), &[(first, None)])?.is_empty()
        {
            (convinced, comparison.missing_in_a_row) = (false, 0);
            some.truncate(ASKED);
        }
        let last = some.last().map(|(last, _)| *last).filter(|_| !end || some.len() == ASKED && most > ASKED);
        // One that ends about now is not waited for.
        some.retain(|(_, until)| until.is_none_or(|until| until > now + SLACK));
        let (mut gone, mut new) = (BTreeSet::new(), BTreeMap::new());
        if convinced {
            new.extend(some);
        } else {
            some.sort_by_key(|(prefix, _)| Kin::of(prefix));
            for of_kin in some.chunk_by(|one, other| Kin::of(&one.0) == Kin::of(&other.0)) {
                self.judge(comparison, of_kin, now, &mut gone, &mut new)?;
            }
        }
        comparison.differed += gone.len();
        comparison.missing += new.len() - gone.len();
        self.change(&gone, &new, now)?;
        Ok(last)
    }

    /// Which of these, all of one set, have to be put in, or taken out and put in again.
    fn judge(
        &mut self,
        comparison: &mut Comparison,
        mut rest: &[(Prefix, Option<Duration>)],
        now: Duration,
        gone: &mut BTreeSet<Prefix>,
        new: &mut BTreeMap<Prefix, Option<Duration>>,
    ) -> io::Result<()> {
        let slack = SLACK + self.late;
        let mut most = rest.len();
        while let Some((first, _)) = rest.first() {
            let told = self.told_of(Kin::of(first), rest.get(..most).unwrap_or(rest))?;
            for ((prefix, until), millis) in rest.iter().zip(&told) {
                if !agree(millis.map(Duration::from_millis), *until, now, slack) {
                    gone.insert(*prefix);
                    new.insert(*prefix, *until);
                }
            }
            let (has, behind) = rest.split_at(told.len());
            let row = &mut comparison.missing_in_a_row;
            *row = if has.is_empty() { *row } else { 0 };
            rest = match behind.split_first() {
                // The kernel stops at one that it does not have, and what was asked behind it was asked in vain.
                Some(((missing, until), behind)) if told.len() < most => {
                    new.insert(*missing, *until);
                    *row += 1;
                    most = FEW_ASKED;
                    behind
                }
                _ => {
                    most *= 2;
                    behind
                }
            };
        }
        Ok(())
    }

    /// What the kernel says of these, all of one set, up to the first that it does not have: milliseconds left, `None` being for ever.
    fn told_of(&mut self, kin: Kin, some: &[(Prefix, Option<Duration>)]) -> io::Result<Vec<Option<u64>>> {
        let mut told = Vec::with_capacity(some.len());
        let asked = self.netlink.ask(
            kind::GET_ELEMENTS,
            false,
            |question| question.keys(kin, some.iter().map(|(prefix, _)| prefix)),
            |message| told.extend(elements_in(message.attributes()).map(|(_, millis)| millis)),
        );
        match asked {
            Ok(()) if told.len() == some.len() => Ok(told),
            Ok(()) => Err(io::Error::other("the kernel has not told of all that it was asked for")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                told.truncate(some.len().saturating_sub(1));
                Ok(told)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a portion of a set; whether there is more of it.
    fn look_at_set(
        &mut self,
        comparison: &mut Comparison,
        kin: Option<Kin>,
        begun: bool,
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
        let wanted = &mut self.wanted;
        let (mut told, mut before) = (0, 0);
        let more = self.looking.portion(|message| {
            for (key, millis) in elements_in(message.attributes()) {
                told += 1;
                let Some(prefix) = kin.prefix(key) else { continue };
                match wanted.meet(&prefix) {
                    Met::Before => before += 1,
                    Met::Now => {}
                    // It goes by itself about now; or it has been taken out since that was told.
                    Met::Unwanted if millis.is_some_and(|left| Duration::from_millis(left) <= SLACK) => {}
                    Met::Unwanted if comparison.pardoned.contains(&prefix) => {}
                    Met::Unwanted => drop(comparison.strange.insert(prefix)),
                }
            }
        })?;
        // What one adds during a dump comes at its end, so it would go on for as long as there is one more in each step.
        Ok(more && (told == 0 || told > FEW || before < told))
    }

    fn take_out_some(&mut self, comparison: &mut Comparison, now: Duration) -> io::Result<()> {
        let some: BTreeSet<Prefix> = comparison.strange.iter().take(TAKEN_OUT).copied().collect();
        comparison.strange.retain(|prefix| !some.contains(prefix));
        comparison.taken_out += some.len();
        self.change(&some, &BTreeMap::new(), now)
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
