//! A baseline and what is there now, side by side: both come in one order, so that neither is ever held whole.

use super::crew::{Progress, Seen, Task, work};
use super::entry::{Entry, Kind, order};
use super::mask::Mask;
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
    /// Files that are not untouched since (inode, size, mtime, ctime), and one of this many of the others; 0: none.
    Touched(u64),
}

/// The tasks of a comparison: what is there, and what was.
struct Tasks<'t, 'r, I: Iterator<Item = Result<Entry, String>>> {
    tree: Peekable<&'t mut Tree<'r>>,
    before: Peekable<I>,
    rules: &'r Rules,
    depth: Depth,
    untouched: u64,
    damaged: &'t RefCell<Option<String>>,
}

impl<I: Iterator<Item = Result<Entry, String>>> Tasks<'_, '_, I> {
    fn trusting(&mut self) -> bool {
        let Depth::Touched(sample) = self.depth else { return false };
        self.untouched += 1;
        sample == 0 || !self.untouched.is_multiple_of(sample)
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
                    let trusting = self.trusting();
                    return self.tree.next().map(|step: Step| Task::Look(step, Some(before), trusting));
                }
                Ordering::Greater => return self.tree.next().map(|step| Task::Look(step, None, false)),
            }
        }
    }
}

/// Compares what `rules` look at with `before`, and tells of every path: what became of it, `None` where nothing did, and as it is now.
///
/// # Errors
/// What `tell` says, or that the baseline cannot be read to its end.
pub fn compare<'a>(
    rules: &'a Rules,
    before: impl Iterator<Item = Result<Entry, String>>,
    tree: &mut Tree<'a>,
    depth: Depth,
    workers: usize,
    progress: &Progress,
    mut tell: impl FnMut(Option<Change>, Option<&Entry>) -> Result<(), String>,
) -> Result<(), String> {
    let damaged = RefCell::new(None);
    let tasks = Tasks {
        tree: tree.peekable(),
        before: before.peekable(),
        rules,
        depth,
        untouched: 0,
        damaged: &damaged,
    };
    work(tasks, workers, progress, |Seen { path, before, now }| match (before, now) {
        (None, Err(Errno::NOENT)) => Ok(()),
        (Some(before), Err(Errno::NOENT)) => tell(Some(Change::Removed(before)), None),
        (_, Err(error)) => tell(Some(Change::Unseen(path, error.raw_os_error())), None),
        (None, Ok(now)) => tell(Some(Change::Added(Box::new(now.clone()))), Some(&now)),
        (Some(before), Ok(now)) => {
            // The time of a directory is that of its last new or lost name, which is told by itself.
            let time = if now.kind == Kind::Directory {
                Mask::usual().without('m')
            } else {
                Mask::usual().with('m')
            };
            let what = now.differs(&before).and(rules.mask(&path)).and(time.with('c').with('i').with('d'));
            let changed = (!what.is_empty()).then(|| Change::Changed(before, Box::new(now.clone()), what));
            tell(changed, Some(&now))
        }
    })?;
    damaged.into_inner().map_or(Ok(()), Err)
}
