//! Starts that nobody waits for one by one: while the children of some clients go on to their execve, the next clients are accepted and
//! decided. Owns what such a child reads in our memory (its plan, its words, its stack), until the kernel says that the child has left it;
//! that is looked at for all of them at once ([`Spawner::land`]). Their clients' descriptors are lent (`lent.rs`). Only plain images fly: what
//! is put into a sandbox or a control group, or is executed by a descriptor, is waited for ([`Spawner::spawn`]).
//!
//! On one processor it is nearly half of the supervisor's time for a connection: no switch to each child and back, and few clients to close.

use crate::child::{Plan, Report, Stage};
use crate::farewell::Connection;
use crate::image::Image;
use crate::lent::Lent;
use crate::raw::LEAVES_ERRNO;
use crate::spawn::{LOOKS, Spawner, Stack, clone_child, kill_if_stopped, sleep_until_it_leaves};
use rustix::io::Errno;
use rustix::process::Pid;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many are in flight at once; the next waits for all of them.
pub const MOST_IN_FLIGHT: usize = 16;

/// So many descriptors must be free above a client's, for whatever else needs one before all have landed.
const FREE: u64 = 32;

/// A process that came to be and whose program did not: it exits with status 1 and must be reaped, as one that ran.
#[derive(Debug)]
pub struct NotStarted {
    /// What should have been.
    pub image: Rc<Image>,
    /// The caller's word for it.
    pub tag: u32,
    /// The step that failed.
    pub stage: Stage,
    /// Its error.
    pub errno: Errno,
}

/// Those that are under way, and room for more.
#[derive(Debug)]
pub(crate) struct Flights {
    /// Each flight is a `Box` that was leaked: a child reads it, and meanwhile nobody here has a `&mut` to it.
    aloft: Vec<Aloft>,
    /// The same, of which nobody reads any.
    grounded: Vec<NonNull<Flight>>,
    failed: Vec<NotStarted>,
    /// The clients' descriptors, in the order of `aloft`.
    lent: &'static Lent,
    /// Whether a child in flight may take other ids, once this was asked for those that are aloft.
    ids_may_change: Cell<Option<bool>>,
}

#[derive(Debug)]
struct Aloft {
    flight: NonNull<Flight>,
    /// The flight's plan refers to it.
    image: Rc<Image>,
    /// What was its client's number here; it may be another's by now.
    client: RawFd,
    /// A client on this host is not lent: it has its own way out.
    kept: Option<Connection>,
    tag: u32,
    pid: Pid,
    killed: bool,
}

/// What a child reads. The buffers are used again.
struct Flight {
    stack: Stack,
    words: Vec<u8>,
    pointers: Vec<*const c_char>,
    sources: [c_int; 3],
    in_our_memory: AtomicU32,
    /// Its references are to this flight and to the image.
    plan: Option<Plan<'static>>,
}

impl Spawner {
    /// Whether [`Spawner::launch`] can start this image for this client. Not before one was started in the other way: that has shown what the
    /// kernel can do. Nor where descriptors are short: in flight a client's stays open here longer.
    #[must_use]
    pub fn flies(&self, image: &Image, client: BorrowedFd<'_>) -> bool {
        let number = u64::from(client.as_raw_fd().unsigned_abs());
        LEAVES_ERRNO
            && self.proven
            && number.saturating_add(FREE) < self.descriptors
            && self.share_table
            && self.mask_is_full
            && image.sandbox.is_none()
            && image.cgroup_procs.is_none()
            && image.onward.is_none()
            && (self.keeps_ids(image) || self.flights.ids_may_change())
    }

    fn keeps_ids(&self, image: &Image) -> bool {
        image.ids.as_ref().is_none_or(|ids| (ids.uid, ids.gid) == self.own.ids)
    }

    /// Starts `image` with the client on 0, 1 and 2, and does not wait for its execve. The client's descriptor is closed here once the
    /// child has it; [`Spawner::land`] says what came to nothing, with this `tag`.
    ///
    /// # Errors
    /// No process was made; the client is given back.
    pub fn launch(
        &mut self,
        image: &Rc<Image>,
        extra_env: &[&CStr],
        client: Connection,
        tag: u32,
    ) -> Result<Pid, (Errno, Connection)> {
        if !self.flies(image, client.as_fd()) {
            return Err((Errno::NOSYS, client));
        }
        if self.flights.aloft.len() >= MOST_IN_FLIGHT {
            self.flights.wait();
        }
        let flight = match self.flights.room() {
            Ok(flight) => flight,
            Err(errno) => return Err((errno, client)),
        };
        let at = flight.as_ptr();
        let index = self.flights.aloft.len();
        // SAFETY: it is grounded, so nobody else has a reference to it.
        let outcome = unsafe {
            let environment = (*at).load(image, extra_env);
            (*at).sources = [client.as_raw_fd(); 3];
            *(*at).in_our_memory.get_mut() = 1;
            let plan = (*at).plan.insert(Plan {
                image: &*Rc::as_ptr(image),
                argv: (*at).pointers.as_ptr(),
                envp: (*at).pointers.as_ptr().wrapping_add(environment),
                sources: &*ptr::addr_of!((*at).sources),
                unshare_from: Some(client.as_raw_fd().max(2).unsigned_abs().saturating_add(1)),
                others_from: self.flights.first_client(),
                lent: if client.is_local() {
                    None
                } else {
                    self.flights.lent.lend(index, client.as_raw_fd())
                },
                has_ids: self.has_ids(image),
                works_there: self.works_there(image),
                label: None,
                root: self.root,
                ignored: self.ignored,
                listen_pid: None,
                program: None,
                report: Report::default(),
            });
            let plan = &raw const *plan;
            // The precondition of `clone_child`: from here on the flight is aloft, with the image that it refers to, and `wait`, which alone
            // brings it down, waits for the word. Nothing of it is written meanwhile but atomics. Every signal is blocked, and the child
            // leaves errno alone (`flies`): there is nothing that both it and we change.
            clone_child(&(*at).stack, libc::CLONE_FILES, plan, (*at).in_our_memory.as_ptr())
        };
        match outcome {
            Ok(pid) => {
                let image = Rc::clone(image);
                let number = client.as_raw_fd();
                // What is lent may be closed already, by who came along first.
                let kept = if client.is_local() {
                    Some(client)
                } else {
                    let _ = client.into_fd().into_raw_fd();
                    None
                };
                let client = number;
                self.flights.aloft.push(Aloft { flight, image, client, kept, tag, pid, killed: false });
                Ok(pid)
            }
            Err(errno) => {
                // SAFETY: no child came to be, so nobody else has it.
                unsafe { (*at).plan = None };
                self.flights.lent.taken_back(index);
                self.flights.grounded.push(flight);
                Err((errno, client))
            }
        }
    }

    /// How many were launched that have not landed; at most [`MOST_IN_FLIGHT`].
    #[must_use]
    pub fn launched(&self) -> usize {
        self.flights.aloft.len()
    }

    /// Waits until all that were launched have executed their programs or failed to, and closes their clients' descriptors here. To be
    /// called before anything else is waited for. Returns those that failed, the first launched first.
    pub fn land(&mut self) -> Vec<NotStarted> {
        self.flights.wait();
        self.farewells.say();
        let failed = std::mem::take(&mut self.flights.failed);
        if failed.iter().any(|one| one.stage == Stage::CloseRange) {
            // The next one is waited for, and shows whether that is for good.
            self.proven = false;
        }
        failed
    }
}

impl Default for Flights {
    fn default() -> Self {
        let (aloft, grounded, failed) = (Vec::new(), Vec::new(), Vec::new());
        Self { aloft, grounded, failed, lent: Lent::leaked(), ids_may_change: Cell::new(None) }
    }
}

impl Flights {
    /// A process that takes other ids sets whether its memory may be dumped, which is ours, to `fs.suid_dumpable`. While it is waited for it
    /// forbids it again by itself (`child.rs`); of several, one would allow it to the users of the others, who could then trace them, or
    /// have the kernel dump them and end whoever shares their memory. With 0, which is the kernel's default, there is nothing to undo.
    fn ids_may_change(&self) -> bool {
        self.ids_may_change.get().unwrap_or_else(|| {
            let may = std::fs::read("/proc/sys/fs/suid_dumpable").is_ok_and(|text| text.trim_ascii() == b"0");
            self.ids_may_change.set(Some(may));
            may
        })
    }

    /// The lowest number of a client that is aloft.
    fn first_client(&self) -> Option<u32> {
        self.aloft.iter().map(|aloft| aloft.client.unsigned_abs()).min()
    }

    /// One that nobody reads.
    fn room(&mut self) -> Result<NonNull<Flight>, Errno> {
        if let Some(flight) = self.grounded.pop() {
            return Ok(flight);
        }
        let flight = Box::new(Flight {
            stack: Stack::map()?,
            words: Vec::new(),
            pointers: Vec::new(),
            sources: [-1; 3],
            in_our_memory: AtomicU32::new(0),
            plan: None,
        });
        Ok(NonNull::from(Box::leak(flight)))
    }

    /// Each client's descriptor goes as soon as its child is seen not to need it, so that nobody who was served waits for a slow one. A
    /// child that takes long is looked at, and killed if it is stopped or its time is over: one time for all of them.
    pub(crate) fn wait(&mut self) {
        self.ids_may_change.set(None);
        let mut looks = 0;
        loop {
            // The last one: while we sleep until it is off, so are the others.
            let mut last = None;
            for (index, aloft) in self.aloft.iter_mut().enumerate() {
                // SAFETY: the word of a live flight; both sides use it as an atomic.
                let word = unsafe { &*ptr::addr_of!((*aloft.flight.as_ptr()).in_our_memory) };
                let has_left = word.load(Ordering::Acquire) == 0;
                self.lent.settle(index, has_left);
                if has_left {
                    continue;
                }
                last = Some(word);
                if looks > 0 && !aloft.killed {
                    aloft.killed = kill_if_stopped(aloft.pid, looks >= LOOKS);
                }
            }
            let Some(last) = last else { break };
            looks += u32::from(!sleep_until_it_leaves(last));
        }
        self.lent.clear();
        for Aloft { flight, image, kept, tag, killed, .. } in self.aloft.drain(..) {
            drop(kept);
            // SAFETY: its child has left our memory, so nobody else has it.
            let plan = unsafe { (*flight.as_ptr()).plan.take() };
            self.grounded.push(flight);
            let failure = match plan.and_then(|plan| plan.report.get()) {
                Some((stage, errno)) => Some((stage, Errno::from_raw_os_error(errno))),
                None => killed.then_some((Stage::Exec, Errno::INTR)),
            };
            if let Some((stage, errno)) = failure {
                self.failed.push(NotStarted { image, tag, stage, errno });
            }
        }
    }
}

impl Drop for Flights {
    fn drop(&mut self) {
        self.wait();
        for flight in self.grounded.drain(..) {
            // SAFETY: leaked by `room`, and nobody reads it.
            drop(unsafe { Box::from_raw(flight.as_ptr()) });
        }
    }
}

impl Flight {
    /// The pointers of the image's own words and, copied, of `words`, which may be gone before the child reads them; where the environment
    /// begins.
    fn load(&mut self, image: &Image, words: &[&CStr]) -> usize {
        self.pointers.clear();
        self.pointers.extend(image.argv.pointers());
        self.pointers.push(ptr::null());
        let environment = self.pointers.len();
        self.pointers.extend(image.env.pointers());
        self.words.clear();
        // They must not move once they have been pointed to.
        self.words.reserve(words.iter().map(|word| word.count_bytes().saturating_add(1)).sum());
        for word in words {
            let start = self.words.len();
            self.words.extend_from_slice(word.to_bytes_with_nul());
            self.pointers.push(self.words.as_ptr().wrapping_add(start).cast());
        }
        self.pointers.push(ptr::null());
        environment
    }
}

#[cfg(test)]
mod tests;
