//! Keeps the kernel's bans what they are to be. Owns our table and the list that it is compared with; touches no other table,
//! and decides about nobody.
//!
//! What is wanted is kept here with its end, in monotonic time; the kernel counts the time of each element by itself. Every
//! change is one transaction. A change that the kernel refuses, because what it holds is not what was thought, ends in a
//! comparison of everything, and that, where the table itself is not ours any more, in a new table: again one transaction, so
//! that no packet passes in between.

use super::attribute::Attributes;
use super::netlink::Netlink;
use super::table::{DORMANT, Kin, OWNER, PERSIST, TABLE, elements_in, kind};
use crate::protocol::Hold;
use portreeve_policy::Prefix;
use rustix::event::{Timespec, poll};
use rustix::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::time::Duration;

/// A difference of ends that is none: the kernel counts in its own ticks, and a dump takes its time.
const SLACK: Duration = Duration::from_secs(2);

/// Looks at most, until nothing seems to be missing or so many have shown nothing that was not seen before, and the time between them.
const LOOKS: usize = 40;
const IDLE_LOOKS: usize = 4;
const BETWEEN: Timespec = Timespec { tv_sec: 0, tv_nsec: 40_000_000 };

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

/// The kernel's bans.
#[derive(Debug)]
pub struct Enforcer {
    netlink: Netlink,
    hold: Hold,
    wanted: BTreeMap<Prefix, Option<Duration>>,
    /// Sets that the kernel has.
    kin: BTreeSet<Kin>,
    /// Handles of our chains and rules, as the kernel numbered them: a rule in their midst or in their place shows.
    skeleton: Vec<(u16, u64)>,
}

impl Enforcer {
    /// Takes the table over a socket of [`portreeve_sys::netlink::asking`], with these bans: address, and monotonic moment of its end. What a former one of us left is
    /// replaced in one transaction.
    ///
    /// # Errors
    /// No capability, no nf_tables, or another process owns the table.
    pub fn begin(
        socket: OwnedFd,
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        Self::begin_as(&[Hold::OwnedAndKept, Hold::Owned, Hold::Open], socket, bans, now)
    }

    /// The same with a table that has no owner, as on a kernel before 5.12.
    ///
    /// # Errors
    /// As [`Enforcer::begin`].
    pub fn begin_open(
        socket: OwnedFd,
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        Self::begin_as(&[Hold::Open], socket, bans, now)
    }

    fn begin_as(
        holds: &[Hold],
        socket: OwnedFd,
        bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
        now: Duration,
    ) -> io::Result<Self> {
        let mut enforcer = Enforcer {
            netlink: Netlink::over(socket),
            hold: Hold::Open,
            wanted: bans.into_iter().collect(),
            kin: BTreeSet::new(),
            skeleton: Vec::new(),
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
        self.wanted.is_empty()
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
    /// The kernel has refused twice: what it holds is not known. The wish is kept for the next comparison.
    pub fn ban(&mut self, bans: &[(Prefix, Option<Duration>)], now: Duration) -> io::Result<()> {
        let mut known = BTreeSet::new();
        for (prefix, until) in bans {
            if self.wanted.insert(*prefix, *until).is_some_and(|until| until.is_none_or(|until| until > now))
            {
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
        let known = prefixes
            .iter()
            .filter(|prefix| {
                self.wanted.remove(prefix).is_some_and(|until| until.is_none_or(|until| until > now))
            })
            .copied()
            .collect();
        self.change(&known, &BTreeMap::new(), now)
    }

    /// Forgets what has ended by `now`; the kernel has done so by itself.
    pub fn expire(&mut self, now: Duration) {
        self.wanted.retain(|_, until| until.is_none_or(|until| until > now));
    }

    fn change(
        &mut self,
        gone: &BTreeSet<Prefix>,
        new: &BTreeMap<Prefix, Option<Duration>>,
        now: Duration,
    ) -> io::Result<()> {
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let fresh: BTreeSet<Kin> = new.keys().map(Kin::of).filter(|kin| !self.kin.contains(kin)).collect();
        let done = self.netlink.transact(|batch| {
            fresh.iter().for_each(|kin| batch.new_set(*kin));
            for (kin, prefixes) in by_kin(gone.iter()) {
                batch.elements(false, kin, prefixes.into_iter().map(|prefix| (prefix, None)));
            }
            for (kin, prefixes) in by_kin(new.keys()) {
                batch.elements(
                    true,
                    kin,
                    prefixes.into_iter().filter_map(|prefix| left(prefix, *new.get(prefix)?, now)),
                );
            }
        });
        if let Err(error) = done {
            // It ended by itself a moment ago, or somebody else was there.
            return self.compare(now).map(drop).map_err(|_| error);
        }
        self.kin.extend(&fresh);
        if !fresh.is_empty() {
            self.skeleton = self.look_at_skeleton()?;
        }
        Ok(())
    }

    /// The number of the socket by which the changes are made: notifications of our own bear it.
    pub(super) fn port(&self) -> Option<u32> {
        self.netlink.port()
    }

    /// Compares the kernel with what is wanted, and repairs it.
    ///
    /// # Errors
    /// It could not be repaired.
    pub fn compare(&mut self, now: Duration) -> io::Result<Found> {
        self.expire(now);
        let mut found = Found { wanted: self.wanted.len(), ..Found::default() };
        let (intact, kernel) = match self.look_well(now) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (false, HashMap::new()),
            // It changed while it was told, again and again; or nothing is known.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (false, HashMap::new()),
            Err(error) => return Err(error),
        };
        let (mut missing, mut strange) = (BTreeMap::new(), BTreeSet::new());
        for (prefix, until) in &self.wanted {
            match kernel.get(prefix) {
                Some(end) if agree(*end, *until, now) => found.enforced += 1,
                Some(_) => {
                    found.enforced += 1;
                    found.strange += 1;
                    strange.insert(*prefix);
                    missing.insert(*prefix, *until);
                }
                // It ends about now, by the kernel's clock or by ours.
                None if until.is_some_and(|until| until <= now + SLACK) => found.enforced += 1,
                None => drop(missing.insert(*prefix, *until)),
            }
        }
        let unwanted = kernel.keys().filter(|prefix| !self.wanted.contains_key(prefix));
        strange.extend(unwanted.inspect(|_| found.strange += 1));
        if !intact {
            found.rebuilt = true;
            found.enforced = if kernel.is_empty() { 0 } else { found.enforced };
            return self.rebuild(now).map(|()| found);
        }
        if !(missing.is_empty() && strange.is_empty()) {
            let mended = self.netlink.transact(|batch| {
                for (kin, prefixes) in by_kin(strange.iter()) {
                    batch.elements(false, kin, prefixes.into_iter().map(|prefix| (prefix, None)));
                }
                for (kin, prefixes) in by_kin(missing.keys()) {
                    if !self.kin.contains(&kin) {
                        batch.new_set(kin);
                    }
                    batch.elements(
                        true,
                        kin,
                        prefixes.into_iter().filter_map(|prefix| left(prefix, *missing.get(prefix)?, now)),
                    );
                }
            });
            if mended.is_err() {
                found.rebuilt = true;
                return self.rebuild(now).map(|()| found);
            }
            self.kin.extend(missing.keys().map(Kin::of));
            self.skeleton = self.look_at_skeleton()?;
        }
        Ok(found)
    }

    /// What the kernel holds, looked at again where something seems to be missing: while the kernel makes a set's hash larger, which
    /// goes on after a long list has come, a dump leaves out elements that are in force.
    fn look_well(&mut self, now: Duration) -> io::Result<(bool, HashMap<Prefix, Option<Duration>>)> {
        let (mut intact, mut kernel) = self.look()?;
        let mut idle = 0;
        for _ in 1..LOOKS {
            let lasting = |until: &Option<Duration>| until.is_none_or(|until| until > now + SLACK);
            let lacks = |(prefix, until)| lasting(until) && !kernel.contains_key(prefix);
            if !intact || idle == IDLE_LOOKS || !self.wanted.iter().any(lacks) {
                break;
            }
            let before = kernel.len();
            // Not by sleep(3): the worker has no such call.
            let _ = poll(&mut [], Some(&BETWEEN));
            let (still, again) = self.look()?;
            intact = still;
            kernel.extend(again);
            idle = if kernel.len() > before { 0 } else { idle + 1 };
        }
        Ok((intact, kernel))
    }

    /// What the kernel holds: whether the skeleton is ours, and each element with the time that is left.
    fn look(&mut self) -> io::Result<(bool, HashMap<Prefix, Option<Duration>>)> {
        for _ in 0..4 {
            match self.look_once() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn look_once(&mut self) -> io::Result<(bool, HashMap<Prefix, Option<Duration>>)> {
        let before = self.netlink.generation()?;
        let skeleton = self.look_at_skeleton()?;
        let mut kernel = HashMap::with_capacity(self.wanted.len());
        for kin in self.kin.clone() {
            let name = kin.set();
            let asked = self.netlink.ask(
                kind::GET_ELEMENTS,
                true,
                |question| {
                    question.put_str(1, TABLE);
                    question.put_str(2, &name);
                },
                |message| {
                    for (key, millis) in elements_in(message.attributes()) {
                        if let Some(prefix) = kin.prefix(key) {
                            kernel.insert(prefix, millis.map(Duration::from_millis));
                        }
                    }
                },
            );
            match asked {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((false, kernel)),
                other => other?,
            }
        }
        if self.netlink.generation()? != before {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok((skeleton == self.skeleton, kernel))
    }

    /// The table's chains and rules by the numbers that the kernel gave them.
    fn look_at_skeleton(&mut self) -> io::Result<Vec<(u16, u64)>> {
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
    fn rebuild(&mut self, now: Duration) -> io::Result<()> {
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
        let kin: BTreeSet<Kin> = self.wanted.keys().map(Kin::of).chain(usual()).collect();
        let wanted = &self.wanted;
        self.netlink.transact(|batch| {
            if exists {
                batch.delete_table();
            }
            batch.new_table(flags);
            batch.new_chains();
            kin.iter().for_each(|kin| batch.new_set(*kin));
            for (kin, prefixes) in by_kin(wanted.keys()) {
                batch.elements(
                    true,
                    kin,
                    prefixes.into_iter().filter_map(|prefix| left(prefix, *wanted.get(prefix)?, now)),
                );
            }
        })?;
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

/// A ban with the time that is left of it; one that has ended is none.
fn left(prefix: &Prefix, until: Option<Duration>, now: Duration) -> Option<(&Prefix, Option<Duration>)> {
    match until {
        None => Some((prefix, None)),
        Some(until) => until.checked_sub(now).filter(|left| !left.is_zero()).map(|left| (prefix, Some(left))),
    }
}

/// Whether the kernel's end of a ban is the one that is wanted.
fn agree(kernel: Option<Duration>, until: Option<Duration>, now: Duration) -> bool {
    match (kernel, until) {
        (None, None) => true,
        (Some(left), Some(until)) => (now + left).abs_diff(until) <= SLACK,
        _ => false,
    }
}
