//! Many files looked at at once, told in the order in which they were asked for. What waits is bounded, so memory is too.

use super::entry::Entry;
use super::look::{CHUNK, look};
use super::tree::Step;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Paths under way at once; each holds a descriptor of its directory at most.
const WINDOW: usize = 256;

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// A path that is there, with what is known of it. Whether a file that is untouched need not be read.
    Look(Step, Option<Box<Entry>>, bool),
    /// A path that is no longer there.
    Gone(Box<Entry>),
}

/// What was found.
#[derive(Debug)]
pub struct Seen {
    /// The path.
    pub path: Vec<u8>,
    /// As it was.
    pub before: Option<Box<Entry>>,
    /// As it is; `Err(NOENT)`: it is not there.
    pub now: Result<Entry, Errno>,
}

/// How far it has come; others may look.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of files read.
    pub bytes: AtomicU64,
    /// Paths done.
    pub paths: AtomicU64,
}

/// Does all tasks with `workers` threads and tells of each in the tasks' order. `tell` may end it by an error.
///
/// # Errors
/// What `tell` says.
pub fn work<E>(
    tasks: impl Iterator<Item = Task>,
    workers: usize,
    progress: &Progress,
    mut tell: impl FnMut(Seen) -> Result<(), E>,
) -> Result<(), E> {
    let (to_crew, jobs) = sync_channel::<(u64, Task)>(WINDOW);
    let (done, from_crew) = sync_channel::<(u64, Seen)>(WINDOW);
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            let (jobs, done) = (&jobs, done.clone());
            scope.spawn(move || {
                let mut buffer = vec![0; CHUNK];
                while let Some((number, task)) = next(jobs) {
                    if done.send((number, one(task, &mut buffer, &progress.bytes))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut tasks = tasks.enumerate();
        let (mut early, mut due, mut under_way) = (BTreeMap::new(), 0_u64, 0_usize);
        let mut exhausted = false;
        // Dropped at the end of this block, so that the crew goes home whatever happens.
        let to_crew = to_crew;
        loop {
            while !exhausted && under_way < WINDOW {
                match tasks.next() {
                    Some((number, task)) => {
                        let _ = to_crew.send((number as u64, task));
                        under_way += 1;
                    }
                    None => exhausted = true,
                }
            }
            if under_way == 0 {
                return Ok(());
            }
            let Ok((number, seen)) = from_crew.recv() else { return Ok(()) };
            early.insert(number, seen);
            while let Some(seen) = early.remove(&due) {
                (due, under_way) = (due + 1, under_way - 1);
                progress.paths.fetch_add(1, Ordering::Relaxed);
                tell(seen)?;
            }
        }
    })
}

fn next(jobs: &Mutex<Receiver<(u64, Task)>>) -> Option<(u64, Task)> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn one(task: Task, buffer: &mut [u8], read: &AtomicU64) -> Seen {
    match task {
        Task::Gone(before) => {
            Seen { path: before.path.clone(), before: Some(before), now: Err(Errno::NOENT) }
        }
        Task::Look(step, before, trusting) => {
            let now = look(&step, before.as_deref().filter(|_| trusting), buffer, read);
            Seen { path: step.path, before, now }
        }
    }
}
