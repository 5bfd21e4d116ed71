//! Many files looked at at once, told in the order in which they were asked for. What waits is bounded, so memory is too. Decides nothing
//! about what it sees.

use super::entry::Entry;
use super::look::{CHUNK, look};
use super::mask::Mask;
use super::reading::Reading;
use super::tree::Step;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Paths that are asked for and not looked at; each holds a descriptor of its directory at most.
const ASKED: usize = 256;

/// Paths that were looked at and whose turn to be told has not come: one huge file must not make all others wait.
const AHEAD: usize = 16 * 1024;

/// Tasks that are handed over at once, at most: a lock for each would cost as much as a small file.
const HANDFUL: usize = 16;

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// A path that is there, with what is known of it. Whether a path that is untouched need not be read.
    Look(Step, Option<Box<Entry>>, bool),
    /// A path that is no longer there.
    Gone(Box<Entry>),
}

/// What was found.
#[derive(Debug)]
pub struct Seen {
    /// The path.
    pub path: Vec<u8>,
    /// What counts of it.
    pub mask: Mask,
    /// As it was.
    pub before: Option<Box<Entry>>,
    /// As it is; `Err(NOENT)`: it is not there.
    pub now: Result<Entry, Errno>,
}

/// What lies between who asks and the crew.
#[derive(Default)]
struct Desk {
    tasks: VecDeque<(u64, Task)>,
    /// From the next that is due on.
    seen: VecDeque<Option<Seen>>,
    /// The number of the first in `seen`.
    due: u64,
    /// Asked for and not looked at.
    under_way: usize,
    over: bool,
    /// Who asks waits until this few are under way; else until the one that is due is there.
    waits: Option<usize>,
}

struct Crew {
    desk: Mutex<Desk>,
    to_do: Condvar,
    done: Condvar,
}

/// Says that it is over, however its owner ends.
struct Leaving<'a>(&'a Crew);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.to_do.notify_all();
        self.0.done.notify_all();
    }
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the crew, until it is over.
    fn work(&self, hands: usize, reading: &Reading) {
        let mut buffer = vec![0; CHUNK];
        let (mut mine, mut results) = (Vec::new(), Vec::new());
        loop {
            let mut desk = self.lock();
            for (number, seen) in results.drain(..) {
                let at = usize::try_from(number - desk.due).unwrap_or(usize::MAX);
                if let Some(place) = desk.seen.get_mut(at) {
                    *place = Some(seen);
                    desk.under_way -= 1;
                }
            }
            if desk.is_ripe() {
                self.done.notify_one();
            }
            loop {
                if desk.over {
                    return;
                }
                let share = (desk.tasks.len() / (2 * hands)).clamp(1, HANDFUL).min(desk.tasks.len());
                mine.extend(desk.tasks.drain(..share));
                if !mine.is_empty() {
                    break;
                }
                desk = self.to_do.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
            drop(desk);
            for (number, task) in mine.drain(..) {
                if !reading.progress.over.load(Ordering::Relaxed) {
                    results.push((number, one(task, &mut buffer, reading)));
                }
            }
        }
    }
}

impl Desk {
    /// Whether who asks can go on.
    fn is_ripe(&self) -> bool {
        let due = matches!(self.seen.front(), Some(Some(_)));
        self.waits.is_some_and(|few| if few > 0 { self.under_way <= few } else { due })
    }
}

/// Does all tasks with `workers` threads and tells of each in the tasks' order. `tell` may end it by an error.
///
/// # Errors
/// What `tell` says.
pub fn work<E>(
    mut tasks: impl Iterator<Item = Task>,
    workers: usize,
    reading: &Reading,
    mut tell: impl FnMut(Seen) -> Result<(), E>,
) -> Result<(), E> {
    let crew = Crew { desk: Mutex::default(), to_do: Condvar::new(), done: Condvar::new() };
    let hands = workers.max(1);
    let mut next = 0_u64;
    let mut exhausted = false;
    let result = std::thread::scope(|scope| {
        // However this block ends, the crew goes home.
        let _leaving = Leaving(&crew);
        for _ in 0..hands {
            let crew = &crew;
            scope.spawn(move || {
                let leaving = Leaving(crew);
                crew.work(hands, reading);
                // Its end was ordered; only a panic ends the others.
                std::mem::forget(leaving);
            });
        }
        let mut told = VecDeque::new();
        let mut asked = Vec::with_capacity(ASKED);
        loop {
            let mut desk = crew.lock();
            let room = |desk: &Desk| desk.under_way < ASKED && desk.seen.len() < AHEAD;
            while !desk.over && desk.seen.front().is_none_or(Option::is_none) {
                if exhausted && desk.seen.is_empty() {
                    return Ok(());
                }
                if !exhausted && room(&desk) {
                    break;
                }
                desk.waits = Some(if !exhausted && desk.seen.len() < AHEAD { ASKED / 2 } else { 0 });
                desk = crew
                    .done
                    .wait_while(desk, |desk| !desk.over && !desk.is_ripe())
                    .unwrap_or_else(PoisonError::into_inner);
                desk.waits = None;
            }
            if desk.over {
                return Ok(());
            }
            while let Some(Some(_)) = desk.seen.front() {
                told.extend(desk.seen.pop_front().flatten());
                desk.due += 1;
            }
            let wanted = if exhausted {
                0
            } else {
                (ASKED - desk.under_way.min(ASKED)).min(AHEAD.saturating_sub(desk.seen.len()))
            };
            drop(desk);
            for seen in told.drain(..) {
                reading.progress.paths.fetch_add(1, Ordering::Relaxed);
                tell(seen).inspect_err(|_| reading.progress.over.store(true, Ordering::Relaxed))?;
            }
            // Handfuls, so that the crew begins while the walk goes on.
            for _ in 0..wanted.div_ceil(HANDFUL) {
                asked.extend(tasks.by_ref().take(HANDFUL));
                exhausted |= asked.len() < HANDFUL;
                if asked.is_empty() {
                    break;
                }
                let mut desk = crew.lock();
                for task in asked.drain(..) {
                    desk.tasks.push_back((next, task));
                    desk.seen.push_back(None);
                    desk.under_way += 1;
                    next += 1;
                }
                drop(desk);
                crew.to_do.notify_one();
            }
        }
    });
    reading.progress.over.store(false, Ordering::Relaxed);
    result
}

fn one(task: Task, buffer: &mut [u8], reading: &Reading) -> Seen {
    match task {
        Task::Gone(before) => Seen {
            path: before.path.clone(),
            mask: Mask::default(),
            before: Some(before),
            now: Err(Errno::NOENT),
        },
        Task::Look(step, before, trusting) => {
            let now = look(&step, before.as_deref(), trusting, buffer, reading);
            Seen { path: step.path, mask: step.mask, before, now }
        }
    }
}
