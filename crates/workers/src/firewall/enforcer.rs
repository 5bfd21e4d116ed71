//! Keeps the kernel's bans what they are to be. Owns our table and the list that it is compared with; touches no other table,
//! and decides about nobody.
//!
//! What is wanted is kept (`wanted`) with its end, in monotonic time; the kernel counts the time of each element by itself. Every
//! change is one transaction. One that the kernel refuses, because what it holds is not what was thought, is made in parts, and where
//! the table itself is not ours any more, a new table is: again one transaction, so that no packet passes in between. What others have
//! done to the elements is found by `comparison`.

use super::attribute::Attributes;
use super::comparison::Comparison;
use super::netlink::Netlink;
use super::table::{DORMANT, Kin, OWNER, PERSIST, TABLE, kind};
use super::wanted::Wanted;
use crate::protocol::Hold;
use portreeve_policy::Prefix;
use portreeve_sys::clock;
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

/// A difference of ends that is none: the kernel counts in its own ticks, and a dump takes its time.
pub(super) const SLACK: Duration = Duration::from_secs(2);

/// The time of one that is put in to be taken out in the same transaction.
const PASSING: Duration = Duration::from_secs(1);

/// How the table is held, the best way first; and as on a kernel before 5.12.
pub(super) const HOLDS: &[Hold] = &[Hold::OwnedAndKept, Hold::Owned, Hold::Open];
pub(super) const OPEN: &[Hold] = &[Hold::Open];

/// The kernel's bans.
#[derive(Debug)]
pub struct Enforcer {
    pub(super) netlink: Netlink,
    /// Tells of what is in the sets, a portion at a time, while the other one changes them.
    pub(super) looking: Netlink,
    hold: Hold,
    pub(super) wanted: Wanted,
    /// Sets that the kernel has.
    pub(super) kin: BTreeSet<Kin>,
    /// Handles of our chains and rules, as the kernel numbered them: a rule in their midst or in their place shows.
    pub(super) skeleton: Vec<(u16, u64)>,
    pub(super) comparison: Option<Comparison>,
    /// A change found the table so that all of it had to be made anew.
    made_anew: bool,
    /// The longest that a change has taken since the table was made: so much later the kernel may end a ban.
    pub(super) late: Duration,
}

impl Enforcer {
    /// Takes the table over two sockets of [`portreeve_sys::netlink::asking`], the first of which owns it, with these bans: address, and
    /// monotonic moment of its end. What a former one of us left is replaced in one transaction.
    ///
    /// # Errors
    /// No capability, no nf_tables, or another process owns the table.
    pub fn begin(
        sockets: (OwnedFd, OwnedFd),
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        Self::begin_as(HOLDS, sockets, bans, now)
    }

    /// The same with a table that has no owner, as on a kernel before 5.12.
    ///
    /// # Errors
    /// As [`Enforcer::begin`].
    pub fn begin_open(
        sockets: (OwnedFd, OwnedFd),
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        Self::begin_as(OPEN, sockets, bans, now)
    }

    /// The same with the first of these that the kernel has.
    pub(super) fn begin_as(
        holds: &[Hold],
        sockets: (OwnedFd, OwnedFd),
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        let mut enforcer = Enforcer {
            netlink: Netlink::over(sockets.0),
            looking: Netlink::over(sockets.1),
            hold: Hold::Open,
            wanted: Wanted::new(bans),
            kin: BTreeSet::new(),
            skeleton: Vec::new(),
            comparison: None,
            made_anew: false,
            late: Duration::ZERO,
        };
        let mut refused = io::Error::other("nothing was tried");
        for &hold in holds {
            enforcer.hold = hold;
            match enforcer.rebuild(now) {
                Ok(()) => return Ok(enforcer),
                // Flags that this kernel does not know.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                    refused = error
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// How the kernel holds the table.
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// The socket that owns the table; a copy of it keeps the table when this process ends.
    pub fn socket(&self) -> &OwnedFd {
        self.netlink.fd()
    }

    /// Bans that are wanted, those that have ended in the meantime included.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether nobody is banned.
    pub fn is_empty(&self) -> bool {
        self.wanted.len() == 0
    }

    fn flags(&self) -> u32 {
        match self.hold {
            Hold::OwnedAndKept => OWNER | PERSIST,
            Hold::Owned => OWNER,
            Hold::Open => 0,
        }
    }

    /// Bans, or gives a ban another end.
    ///
    /// # Errors
    /// The kernel has refused it by itself, and the table anew. The wish is kept for the next comparison.
    pub fn ban(&mut self, bans: &[(Prefix, Option<Duration>)], now: Duration) -> io::Result<()> {
        let mut known = BTreeSet::new();
        for (prefix, until) in bans {
            let former = self.wanted.insert(*prefix, *until);
            if self.kernel_has(prefix, former, false, now) {
                known.insert(*prefix);
            }
        }
        let new: BTreeMap<_, _> = bans.iter().copied().collect();
        self.change(&known, &new, now)
    }

    /// Ends bans before their time.
    ///
    /// # Errors
    /// As [`Enforcer::ban`].
    pub fn pardon(&mut self, prefixes: &[Prefix], now: Duration) -> io::Result<()> {
        let mut known = BTreeSet::new();
        for prefix in prefixes {
            let former = self.wanted.remove(prefix);
            if self.kernel_has(prefix, former, true, now) {
                known.insert(*prefix);
            }
        }
        self.change(&known, &BTreeMap::new(), now)
    }

    /// Whether the kernel has one that is changed now, as far as is known; `former` is what the list had.
    fn kernel_has(
        &mut self,
        prefix: &Prefix,
        former: Option<Option<Duration>>,
        pardoned: bool,
        now: Duration,
    ) -> bool {
        // The kernel may end one later than the list, and before Linux 6.12 an element keeps its end, whatever a new one of its name says.
        let ended = self.wanted.ended(prefix).map(Some);
        let has = former.or(ended).is_some_and(|until| until.is_none_or(|until| until + self.late > now));
        self.comparison.as_mut().map_or(has, |comparison| comparison.changed(prefix, pardoned, has))
    }

    /// Forgets what has ended by `now`; the kernel has done so by itself.
    pub fn expire(&mut self, now: Duration) {
        self.wanted.expire(now);
        self.wanted.forget_ended(now.saturating_sub(self.late));
    }

    /// Takes these out of the kernel and puts those in, in one transaction. Where the kernel does not have what was thought, each by itself.
    pub(super) fn change(
        &mut self,
        gone: &BTreeSet<Prefix>,
        new: &BTreeMap<Prefix, Option<Duration>>,
        now: Duration,
    ) -> io::Result<()> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let Err(error) = self.transact(gone, new, now) else { return Ok(()) };
        // One has ended by itself a moment ago, or somebody else was there.
        let all: BTreeSet<Prefix> = gone.iter().chain(new.keys()).copied().collect();
        let all: Vec<Prefix> = all.into_iter().collect();
        if self.is_intact()? && self.change_apart(&all, gone, new, now).is_ok() {
            return Ok(());
        }
        self.made_anew = true;
        self.rebuild(now).map_err(|_| error)
    }

    /// The same in halves, and those in halves; of one alone the kernel need not have had what goes.
    fn change_apart(
        &mut self,
        all: &[Prefix],
        gone: &BTreeSet<Prefix>,
        new: &BTreeMap<Prefix, Option<Duration>>,
        now: Duration,
    ) -> io::Result<()> {
        for half in [&all[..all.len() / 2], &all[all.len() / 2..]] {
            let without: BTreeSet<Prefix> =
                half.iter().filter(|prefix| gone.contains(prefix)).copied().collect();
            let with: BTreeMap<_, _> =
                half.iter().filter_map(|prefix| Some((*prefix, *new.get(prefix)?))).collect();
            match self.transact(&without, &with, now) {
                Ok(()) => {}
                Err(_) if half.len() > 1 => self.change_apart(half, gone, new, now)?,
                Err(_) => self.transact(&BTreeSet::new(), &with, now)?,
            }
        }
        Ok(())
    }

    fn transact(
        &mut self,
        gone: &BTreeSet<Prefix>,
        new: &BTreeMap<Prefix, Option<Duration>>,
        now: Duration,
    ) -> io::Result<()> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let fresh: BTreeSet<Kin> = new.keys().map(Kin::of).filter(|kin| !self.kin.contains(kin)).collect();
        self.netlink.transact(|batch| {
            fresh.iter().for_each(|kin| batch.new_set(*kin));
            for (kin, prefixes) in by_kin(gone.iter()) {
                // What the kernel does not have it does not take out, nor anything else of the batch: so it is put in first, which changes
                // nothing where it is there. Many may end by themselves just now.
                batch.elements(true, kin, prefixes.iter().map(|prefix| (*prefix, Some(PASSING))));
                batch.elements(false, kin, prefixes.into_iter().map(|prefix| (prefix, None)));
            }
            for (kin, prefixes) in by_kin(new.keys()) {
                batch.elements(
                    true,
                    kin,
                    prefixes.into_iter().filter_map(|prefix| Some((prefix, left(*new.get(prefix)?, now)?))),
                );
            }
        })?;
        self.late = self.late.max(clock::monotonic().saturating_sub(now));
        self.kin.extend(&fresh);
        if !fresh.is_empty() {
            self.skeleton = self.look_at_skeleton()?;
        }
        Ok(())
    }

    /// Whether a change since this was asked last has found the table so that all of it had to be made anew.
    pub(super) fn made_anew(&mut self) -> bool {
        std::mem::take(&mut self.made_anew)
    }

    /// The number of the socket by which the changes are made: notifications of our own bear it.
    pub(super) fn port(&self) -> Option<u32> {
        self.netlink.port()
    }

    /// The table's chains and rules by the numbers that the kernel gave them.
    pub(super) fn look_at_skeleton(&mut self) -> io::Result<Vec<(u16, u64)>> {
        let mut handles = Vec::new();
        self.netlink.ask(
            kind::GET_TABLE,
            false,
            |question| question.put_str(1, TABLE),
            |message| {
                let attributes = message.attributes();
                handles.extend(attributes.u64(4).map(|handle| (kind::GET_TABLE, handle)));
                // A table that sleeps drops nobody.
                handles.extend(attributes.u32(2).map(|flags| (kind::GET_TABLE, u64::from(flags & DORMANT))));
            },
        )?;
        // Handles: of chains attribute 2, of rules 3.
        for (kind, number) in [(kind::GET_CHAIN, 2), (kind::GET_RULE, 3)] {
            self.netlink.ask(
                kind,
                true,
                |question| question.put_str(1, TABLE),
                |message| {
                    let attributes: Attributes<'_> = message.attributes();
                    if attributes.str(1) == Some(TABLE) {
                        handles.extend(attributes.u64(number).map(|handle| (kind, handle)));
                        // What a chain does with who is not banned; of rules this is no number.
                        let policy = attributes.u32(5).filter(|_| kind == kind::GET_CHAIN);
                        handles.extend(policy.map(|policy| (kind, u64::from(policy))));
                    }
                },
            )?;
        }
        Ok(handles)
    }

    /// Whether there is a table of our name that nobody owns or ever did.
    fn stands_without_owner(&mut self) -> io::Result<bool> {
        let mut found = false;
        let asked = self.netlink.ask(
            kind::GET_TABLE,
            false,
            |question| question.put_str(1, TABLE),
            |message| found = message.attributes().u32(2).is_some_and(|flags| flags & OWNER == 0),
        );
        match asked {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|()| found),
        }
    }

    /// Makes the table anew with everything in it, in place of what is there: one transaction.
    pub(super) fn rebuild(&mut self, now: Duration) -> io::Result<()> {
        self.expire(now);
        let flags = self.flags();
        // One that a former owner left is taken over first: the kernel gives it to nobody within a batch that also deletes it.
        let left_behind = self.netlink.transact(|batch| batch.new_table(flags));
        let exists = match left_behind {
            Ok(()) => true,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                // Flags that the kernel does not know, or does not give to a table that has none: a saved ruleset that was
                // loaded again, for one. Such a one is everybody's, so it can be deleted.
                if flags & OWNER == 0 || !self.stands_without_owner()? {
                    return Err(error);
                }
                true
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => true,
            Err(error) => return Err(error),
        };
        let kin: BTreeSet<Kin> =
            self.wanted.iter().map(|(prefix, _)| Kin::of(prefix)).chain(usual()).collect();
        let wanted = &self.wanted;
        self.netlink.transact(|batch| {
            if exists {
                batch.delete_table();
            }
            batch.new_table(flags);
            batch.new_chains();
            kin.iter().for_each(|kin| batch.new_set(*kin));
            for (kin, prefixes) in by_kin(wanted.iter().map(|(prefix, _)| prefix)) {
                batch.elements(
                    true,
                    kin,
                    prefixes.into_iter().filter_map(|prefix| Some((prefix, left(wanted.get(prefix)?, now)?))),
                );
            }
        })?;
        self.late = clock::monotonic().saturating_sub(now);
        // What it has found is not there any more.
        self.comparison = None;
        self.kin = kin;
        self.skeleton = self.look_at_skeleton()?;
        Ok(())
    }
}

/// Single hosts and what one household of IPv6 has: there from the start, so that most bans add one element and no rule.
fn usual() -> [Kin; 2] {
    [Prefix::host([0, 0, 0, 0].into()), Prefix::around([0u16; 8].into(), 64)].map(|prefix| Kin::of(&prefix))
}

fn by_kin<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> BTreeMap<Kin, Vec<&'a Prefix>> {
    let mut groups: BTreeMap<Kin, Vec<&Prefix>> = BTreeMap::new();
    for prefix in prefixes {
        groups.entry(Kin::of(prefix)).or_default().push(prefix);
    }
    groups
}

/// The time that is left of a ban, the inner `None` being for ever; one that has ended is none.
fn left(until: Option<Duration>, now: Duration) -> Option<Option<Duration>> {
    match until {
        None => Some(None),
        Some(until) => until.checked_sub(now).filter(|left| !left.is_zero()).map(Some),
    }
}
