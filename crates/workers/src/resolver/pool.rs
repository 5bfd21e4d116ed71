//! The threads that wait for the name service, and the way their answers take back.

use super::lookup::{self, Lookup};
use super::queue::{Fate, Job, Queue, job_of};
use super::unavailable;
use crate::protocol::{Answer, FromResolver, HostName, IdentAnswer, IdentFailure, NamesAnswer, ToResolver};
use portreeve_sys::{clock, seqpacket};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Threads that take any job, and one more that takes only those that do not ask the network. Whoever owns a reverse zone can
/// keep a thread for as long as his name server likes to; the supervisor lets few of one source wait.
const THREADS: usize = 16;
/// The name service's plug-ins are C and keep large things on the stack.
const STACK: usize = 1024 * 1024;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    news: Condvar,
}

impl Shared {
    /// A thread that panicked has not left the queue half-changed: nothing in it panics between two changes.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pool.
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// What the caller needs to do the work itself, where no thread could be made (a limit on processes): slow names then
    /// hold up the others, but there are names.
    alone: Option<(Arc<OwnedFd>, Arc<dyn Lookup>)>,
}

impl Pool {
    /// Starts the threads, or as many as can be had; they end with the process.
    pub(super) fn start(channel: &Arc<OwnedFd>, names: &Arc<dyn Lookup>) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |number| {
            let (shared, channel, names) = (shared.clone(), channel.clone(), names.clone());
            std::thread::Builder::new()
                .name(format!("names-{number}"))
                .stack_size(STACK)
                .spawn(move || work(&shared, &channel, names.as_ref(), number < THREADS))
        };
        let started = (0..=THREADS).take_while(|&number| start(number).is_ok()).count();
        let alone = (started == 0).then(|| (channel.clone(), names.clone()));
        Pool { shared, alone }
    }

    /// Takes a question in; what can be answered at once is.
    pub(super) fn ask(&self, question: ToResolver) -> Option<FromResolver> {
        let refused = unavailable(&question);
        let Some((ticket, job)) = job_of(question) else { return Some(refused) };
        let fate = self.shared.queue().ask(ticket, job, clock::monotonic());
        match fate {
            Fate::Queued => {
                // All: the one that wakes might not be one that takes this job.
                self.shared.news.notify_all();
                if let Some((channel, names)) = &self.alone {
                    let job = next(&self.shared, true);
                    let _ = answer(&self.shared, channel, names.as_ref(), &job);
                }
                None
            }
            Fate::Joined => None,
            Fate::Known(found) => Some(found.message(ticket)),
            Fate::Full => Some(refused),
        }
    }
}

fn work(shared: &Shared, channel: &OwnedFd, names: &dyn Lookup, slow_too: bool) {
    loop {
        let job = next(shared, slow_too);
        if answer(shared, channel, names, &job).is_err() {
            return; // the supervisor has gone; the main thread sees it too and ends the process
        }
    }
}

/// Looks one thing up and tells everybody who asked for it.
fn answer(shared: &Shared, channel: &OwnedFd, names: &dyn Lookup, job: &Job) -> io::Result<()> {
    let found = match job {
        Job::Names(address) => Found::Names(lookup::host_names(names, *address)),
        Job::Host(address) => Found::Host(lookup::host(names, *address)),
        Job::Entry(question) => Found::Entry(lookup::entry(names, question)),
    };
    let tickets = shared.queue().done(job, &found, clock::monotonic());
    for ticket in tickets {
        say(channel, &found.message(ticket))?;
    }
    Ok(())
}

/// What a job found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Names(NamesAnswer),
    Host(HostName),
    Entry(Answer),
}

impl Found {
    fn message(&self, ticket: u64) -> FromResolver {
        match self.clone() {
            Found::Names(names) => FromResolver::Names { ticket, names },
            Found::Host(host) => FromResolver::Host { ticket, host },
            Found::Entry(answer) => FromResolver::Answer { ticket, answer },
        }
    }
}

fn next(shared: &Shared, slow_too: bool) -> Job {
    let mut queue = shared.queue();
    loop {
        if let Some(job) = queue.take(slow_too) {
            return job;
        }
        queue = shared.news.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Sends one message and waits for room. An answer that the protocol does not carry (a user's name with a control
/// character) is as good as none.
pub(super) fn say(channel: &OwnedFd, message: &FromResolver) -> io::Result<()> {
    let mut bytes = Vec::new();
    if message.encode(&mut bytes).is_err() {
        plain(message).encode(&mut bytes).map_err(io::Error::other)?;
    }
    loop {
        match seqpacket::send(channel.as_fd(), &bytes, None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut wait = [PollFd::new(channel, PollFlags::OUT)];
                match poll(&mut wait, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            other => return other,
        }
    }
}

fn plain(message: &FromResolver) -> FromResolver {
    match message {
        FromResolver::Ready { .. } => FromResolver::Ready { missing: Vec::new() },
        FromResolver::Names { ticket, .. } => {
            FromResolver::Names { ticket: *ticket, names: NamesAnswer::Unavailable }
        }
        FromResolver::Answer { ticket, .. } => {
            FromResolver::Answer { ticket: *ticket, answer: Answer::Unavailable }
        }
        FromResolver::Host { ticket, .. } => {
            FromResolver::Host { ticket: *ticket, host: HostName::Unavailable }
        }
        FromResolver::Pong { ticket } => FromResolver::Pong { ticket: *ticket },
        FromResolver::User { ticket, .. } => {
            FromResolver::User { ticket: *ticket, answer: IdentAnswer::Failed(IdentFailure::Receiving) }
        }
    }
}
