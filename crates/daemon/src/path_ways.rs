//! Connections to unix sockets, each begun by a thread that does nothing else. To look a path up may wait for whoever is behind its
//! filesystem (NFS, FUSE), and connect(2) does that before anything else: the loop must not. Decides nothing of targets; see `redirects`.
//!
//! A thread that waits for a dead filesystem lives until that answers or the supervisor goes; so both all threads and those of one path
//! have a bound, and who finds no place is served later, as at a socket whose queue is full. An exec would wait for it too, and nothing could end
//! that wait: an upgrade goes only while there is none.

use crate::connect::{self, Way};
use crate::supervisor::{Supervisor, Token};
use crate::targets::{Choice, Place};
use crate::timers::Alarm;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// So many threads at once, and so many for one path.
pub const MOST: usize = 256;
const MOST_OF_ONE: usize = 64;
/// It makes a few calls.
const STACK: usize = 128 * 1024;

/// What a thread has done.
#[derive(Debug)]
struct Done {
    number: u64,
    ticket: u64,
    path: Arc<str>,
    begun: Result<OwnedFd, Errno>,
}

/// What a client waits for.
#[derive(Debug)]
pub struct Awaited {
    number: u64,
    /// Where it was sent.
    pub choice: Choice,
    /// It is not waited for any longer from then on.
    pub until: Duration,
}

/// The threads that are on their way.
#[derive(Debug, Default)]
pub struct Ways {
    /// Set with the first thread.
    channel: Option<(Sender<Done>, Receiver<Done>, Arc<OwnedFd>)>,
    of: HashMap<Arc<str>, usize>,
    next: u64,
}

impl Ways {
    /// Threads that are on their way.
    pub fn len(&self) -> usize {
        self.of.values().sum()
    }

    /// Why nobody may execute anything in our place now: an exec waits until every other thread has ended, and one that waits for its filesystem
    /// cannot even be killed. Of one that has come back nothing is left but its end.
    pub fn in_the_way_of_exec(&self) -> Option<String> {
        let (path, _) = self.of.iter().max_by_key(|&(path, &count)| (count, path))?;
        let (count, path) = (self.len(), crate::escape::escaped(path));
        let elsewhere = if self.of.len() > 1 { " and elsewhere" } else { "" };
        Some(format!(
            "{count} connection(s) to a unix socket at {path}{elsewhere} on a filesystem that does not answer: \
             the upgrade would wait for them for ever; nothing was changed"
        ))
    }

    /// Starts one. Its number.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room or no thread.
    fn begin(&mut self, ticket: u64, path: &Arc<str>, way: Way) -> Result<u64, Errno> {
        let under_way = self.of.get(path).copied().unwrap_or(0);
        if under_way >= MOST_OF_ONE || self.len() >= MOST {
            return Err(Errno::AGAIN);
        }
        let Some((give, _, bell)) = &self.channel else { return Err(Errno::AGAIN) };
        let (give, bell, path) = (give.clone(), bell.clone(), path.clone());
        self.next += 1;
        let number = self.next;
        let place = Place::Path(path.clone());
        let work = {
            let path = path.clone();
            move || {
                let begun = connect::begin(&place, &way);
                // Nobody is left to hear it only when the supervisor ends.
                let _ = give.send(Done { number, ticket, path, begun });
                let _ = rustix::io::write(&*bell, &1_u64.to_ne_bytes());
            }
        };
        std::thread::Builder::new()
            .name("way".to_owned())
            .stack_size(STACK)
            .spawn(work)
            .map_err(|_| Errno::AGAIN)?;
        *self.of.entry(path).or_default() += 1;
        Ok(number)
    }

    fn take(&mut self) -> Option<Done> {
        let (_, done, _) = self.channel.as_ref()?;
        let done = done.try_recv().ok()?;
        if let Some(count) = self.of.get_mut(&done.path) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&done.path);
            }
        }
        Some(done)
    }
}

impl Supervisor {
    /// Sends a client on its way to a unix socket; what comes of it is heard by [`Self::heard_ways`], or is too late at `until`.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room or an upgrade waits until all have come back, or what the poller or the kernel has none left of.
    pub fn begin_way(
        &mut self,
        ticket: u64,
        path: &Arc<str>,
        choice: Choice,
        way: Way,
        until: Duration,
    ) -> Result<(), Errno> {
        if self.upgrade.settling.is_some() {
            return Err(Errno::AGAIN);
        }
        if self.ways.channel.is_none() {
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Out of the way of what children get.
            let bell = portreeve_sys::highfd::park(bell, self.base).map_err(|_| Errno::MFILE)?;
            self.watch(bell.as_fd(), Token::Ways)?;
            let (give, done) = channel();
            self.ways.channel = Some((give, done, Arc::new(bell)));
        }
        let number = self.ways.begin(ticket, path, way)?;
        if let Some(leg) = self.children.carried.get_mut(&ticket).and_then(|session| session.way.as_mut()) {
            leg.awaits = Some(Awaited { number, choice, until });
        }
        self.timers.set(until, Alarm::Aim(ticket));
        Ok(())
    }

    /// Threads have come back.
    pub fn heard_ways(&mut self) {
        if let Some((_, _, bell)) = &self.ways.channel {
            let _ = rustix::io::read(&**bell, &mut [0; 8]);
        }
        while let Some(done) = self.ways.take() {
            let leg = self.children.carried.get_mut(&done.ticket).and_then(|session| session.way.as_mut());
            // Whoever is not waited for any longer is not spoken to.
            let awaited = leg.and_then(|leg| leg.awaits.take_if(|awaited| awaited.number == done.number));
            if let Some(awaited) = awaited
                && self.on_its_way(done.ticket, &awaited.choice, done.begun)
            {
                self.aim(done.ticket);
            }
        }
    }
}
