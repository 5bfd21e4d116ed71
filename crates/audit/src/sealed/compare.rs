//! A baseline and what is there now, side by side: both come in one order, so that neither is ever held whole.

use super::crew::{Seen, Task, work};
use super::entry::{Content, Entry, Kind, order};
use super::mask::Mask;
use super::reading::Reading;
use super::rules::Rules;
use super::tree::{Step, Tree};
use rustix::io::Errno;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::iter::Peekable;

/// What became of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added(Box<Entry>),
    /// It is gone.
    Removed(Box<Entry>),
    /// It is another: before, now, in what.
    Changed(Box<Entry>, Box<Entry>, Mask),
    /// It could not be looked at.
    Unseen(Vec<u8>, i32),
}

impl Change {
    /// The path.
    pub fn path(&self) -> &[u8] {
        match self {
            Change::Added(entry) | Change::Removed(entry) | Change::Changed(_, entry, _) => &entry.path,
            Change::Unseen(path, _) => path,
        }
    }
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every file.
    All,
    /// What is not untouched since (inode, size, mtime, ctime), and a sample of the others.
    Touched(Sample),
}

/// Which untouched files are read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// One of this many; 0: none.
    pub one_of: u64,
    /// Which ones: nobody should know before.
    pub seed: u64,
    /// When the record was begun, in seconds since 1970. What was changed about then is read: it may have been changed again within the
    /// same tick of the clock.
    pub recorded: i64,
}

/// Seconds between a change and the record within which another change may leave no trace.
const RACY: i64 = 2;

impl Sample {
    /// Whether the path of this number may be taken for what it was.
    fn trusts(self, number: u64, before: &Entry) -> bool {
        if before.ctime.0.max(before.mtime.0).saturating_add(RACY) > self.recorded {
            return false;
        }
        self.one_of == 0
            || before.kind != Kind::File
            || !mixed(number ^ self.seed).is_multiple_of(self.one_of)
    }
}

/// Neighbours are told apart (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let one = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let two = (one ^ one >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    two ^ two >> 31
}

/// The tasks of a comparison: what is there, and what was.
struct Tasks<'t, 'r, I: Iterator<Item = Result<Entry, String>>> {
    tree: Peekable<&'t mut Tree<'r>>,
    before: Peekable<I>,
    rules: &'r Rules,
    depth: Depth,
    number: u64,
    damaged: &'t RefCell<Option<String>>,
}

impl<I: Iterator<Item = Result<Entry, String>>> Tasks<'_, '_, I> {
    fn trusts(&mut self, before: &Entry) -> bool {
        self.number += 1;
        match self.depth {
            Depth::All => false,
            // What nothing is known of cannot be taken for it.
            Depth::Touched(sample) => {
                !matches!(before.content, Content::Changing | Content::Unreadable(_))
                    && sample.trusts(self.number, before)
            }
        }
    }

    /// The next recorded path that the rules still look at.
    fn recorded(&mut self) -> Option<Box<Entry>> {
        match self.before.next()? {
            Ok(entry) => Some(Box::new(entry)),
            Err(why) => {
                self.damaged.replace(Some(why));
                None
            }
        }
    }
}

impl<I: Iterator<Item = Result<Entry, String>>> Iterator for Tasks<'_, '_, I> {
    type Item = Task;

    fn next(&mut self) -> Option<Task> {
        loop {
            if let Some(Err(_)) = self.before.peek() {
                self.recorded();
            }
            if self.damaged.borrow().is_some() {
                return None;
            }
            let earlier = match (self.before.peek(), self.tree.peek()) {
                (None, None) => return None,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(Ok(before)), Some(step)) => order(&before.path, &step.path),
                (Some(Err(_)), Some(_)) => continue,
            };
            match earlier {
                Ordering::Less => {
                    let before = self.recorded()?;
                    if !self.rules.mask(&before.path).is_empty() {
                        return Some(Task::Gone(before));
                    }
                }
                Ordering::Equal => {
                    let before = self.recorded()?;
                    let trusts = self.trusts(&before);
                    return self.tree.next().map(|step: Step| Task::Look(step, Some(before), trusts));
                }
                Ordering::Greater => return self.tree.next().map(|step| Task::Look(step, None, false)),
            }
        }
    }
}

/// A comparison.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// What is looked at.
    pub rules: &'a Rules,
    /// How much is read.
    pub depth: Depth,
    /// Threads that read.
    pub workers: usize,
    /// How it is read.
    pub reading: &'a Reading,
}

impl<'a> Comparison<'a> {
    /// Compares what is in the tree with `before`, and tells of every path: what became of it, `None` where nothing did, and as it is now.
    ///
    /// # Errors
    /// What `tell` says, or that the baseline cannot be read to its end.
    pub fn run(
        &self,
        before: impl Iterator<Item = Result<Entry, String>>,
        tree: &mut Tree<'a>,
        mut tell: impl FnMut(Option<Change>, Option<&Entry>) -> Result<(), String>,
    ) -> Result<(), String> {
        let damaged = RefCell::new(None);
        let tasks = Tasks {
            tree: tree.peekable(),
            before: before.peekable(),
            rules: self.rules,
            depth: self.depth,
            number: 0,
            damaged: &damaged,
        };
        work(tasks, self.workers, self.reading, |Seen { path, mask, before, now }| match (before, now) {
            (None, Err(Errno::NOENT)) => Ok(()),
            (Some(before), Err(Errno::NOENT)) => tell(Some(Change::Removed(before)), None),
            (_, Err(error)) => tell(Some(Change::Unseen(path, error.raw_os_error())), None),
            (None, Ok(now)) => tell(Some(Change::Added(Box::new(now.clone()))), Some(&now)),
            (Some(before), Ok(now)) => {
                let what = what_counts(&now, &before, mask);
                let changed =
                    (!what.is_empty()).then(|| Change::Changed(before, Box::new(now.clone()), what));
                tell(changed, Some(&now))
            }
        })?;
        damaged.into_inner().map_or(Ok(()), Err)
    }
}

/// What differs and counts.
pub fn what_counts(now: &Entry, before: &Entry, mask: Mask) -> Mask {
    // The time of a directory is that of its last new or lost name, which is told by itself.
    let time = if now.kind == Kind::Directory { Mask::ALL.without('m') } else { Mask::ALL };
    now.differs(before).and(mask).and(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_of_so_many_and_another_each_time() {
        let taken = |seed| (0..10_000).filter(|n| mixed(n ^ seed).is_multiple_of(50)).collect::<Vec<u64>>();
        let (one, other) = (taken(1), taken(2));
        assert!((120..300).contains(&one.len()) && (120..300).contains(&other.len()));
        assert!(one.iter().filter(|n| other.contains(n)).count() < 30);
    }
}
