//! Starts that nobody waits for one by one: while the children of some clients go on to their execve, the next clients are accepted and
//! decided. Owns what such a child reads in our memory (its plan, its words, its stack) and the client's descriptor, until the kernel says
//! that the child has left it; that is looked at for all of them at once ([`Spawner::land`]). Only plain images fly: what is put into a
//! sandbox or a control group, or is executed by a descriptor, is waited for ([`Spawner::spawn`]).
//!
//! On one processor it is a third of the supervisor's time for a connection: no switch to each child and back.

use crate::child::{Plan, Report, Stage};
use crate::image::Image;
use crate::raw::LEAVES_ERRNO;
use crate::spawn::{LOOKS, Spawner, Stack, clone_child, kill_if_stopped, sleep_until_it_leaves};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::Pid;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
#[derive(Debug, Default)]
pub(crate) struct Flights {
    /// Each flight is a `Box` that was leaked: a child reads it, and meanwhile nobody here has a `&mut` to it.
    aloft: Vec<Aloft>,
    /// The same, of which nobody reads any.
    grounded: Vec<NonNull<Flight>>,
    failed: Vec<NotStarted>,
    /// Whether a child in flight may take other ids, once this was asked for those that are aloft.
    ids_may_change: Cell<Option<bool>>,
}

#[derive(Debug)]
struct Aloft {
    flight: NonNull<Flight>,
    /// The flight's plan refers to it.
    image: Rc<Image>,
    /// None once the child has left.
    client: Option<OwnedFd>,
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
        client: OwnedFd,
        tag: u32,
    ) -> Result<Pid, (Errno, OwnedFd)> {
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
                let client = Some(client);
                self.flights.aloft.push(Aloft { flight, image, client, tag, pid, killed: false });
                Ok(pid)
            }
            Err(errno) => {
                // SAFETY: no child came to be, so nobody else has it.
                unsafe { (*at).plan = None };
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
        let failed = std::mem::take(&mut self.flights.failed);
        if failed.iter().any(|one| one.stage == Stage::CloseRange) {
            // The next one is waited for, and shows whether that is for good.
            self.proven = false;
        }
        failed
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
        let clients = self.aloft.iter().filter_map(|aloft| aloft.client.as_ref());
        clients.map(|client| client.as_raw_fd().unsigned_abs()).min()
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

    /// Each client's descriptor goes as soon as its child is seen to have left, so that nobody who was served waits for a slow one. A child
    /// that takes long is looked at, and killed if it is stopped or its time is over: one time for all of them.
    pub(crate) fn wait(&mut self) {
        self.ids_may_change.set(None);
        let mut looks = 0;
        loop {
            // The last one: while we sleep until it is off, so are the others.
            let mut last = None;
            for aloft in &mut self.aloft {
                // SAFETY: the word of a live flight; both sides use it as an atomic.
                let word = unsafe { &*ptr::addr_of!((*aloft.flight.as_ptr()).in_our_memory) };
                if word.load(Ordering::Acquire) == 0 {
                    if let Some(client) = aloft.client.take() {
                        let_go(client);
                    }
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
        for Aloft { flight, image, tag, killed, .. } in self.aloft.drain(..) {
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

/// Closes a client's descriptor here, without a wait: its program may be at its end, so that this is the last one, and may have asked that
/// closing wait for the client to take what was sent (SO_LINGER). The kernel sends it all the same. `{1, 0}` means a reset, and stays.
fn let_go(client: OwnedFd) {
    if sockopt::socket_linger(&client).is_ok_and(|time| time.is_some_and(|time| !time.is_zero())) {
        let _ = sockopt::set_socket_linger(&client, None);
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
mod tests {
    use super::*;
    use crate::image::{Ids, ImageBuilder};
    use crate::signals;
    use crate::spawn::Stdio;
    use rustix::pipe::{PipeFlags, pipe_with};
    use rustix::process::{WaitOptions, waitpid};
    use std::ffi::CString;
    use std::fs::File;
    use std::io::Read;

    fn image(path: &CStr, script: &CStr) -> ImageBuilder {
        let argv = vec![c"sh".into(), c"-c".into(), script.into()];
        ImageBuilder { path: path.into(), argv, env: vec![c"A=1".into()], ..ImageBuilder::default() }
    }

    fn pipe() -> (File, OwnedFd) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (read.into(), write)
    }

    fn status(pid: Pid) -> Option<i32> {
        waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
    }

    /// In a thread that has every signal blocked, and that has started a program.
    fn ready() -> Spawner {
        crate::stdio::seal_inherited().unwrap();
        signals::block_all();
        let mut spawner = Spawner::new().unwrap();
        let plain = image(c"/bin/sh", c"exit 0").build();
        let (_read, write) = pipe();
        assert!(!spawner.flies(&plain, write.as_fd()), "nothing is known of the kernel yet");
        let pid = spawner.spawn(&plain, &[], Stdio::Client(write.as_fd())).unwrap();
        assert_eq!(status(pid), Some(0));
        spawner
    }

    /// More than fit, each with words that are gone before it can have read them, and with an image that nobody else holds any more.
    #[test]
    fn each_gets_its_own_client_and_words() {
        let mut spawner = ready();
        let script = c"printf '%s ' \"$A\" \"$WHO\"; ls /proc/$$/fd";
        let mut readers = Vec::new();
        for number in 0..3 * MOST_IN_FLIGHT {
            let (read, write) = pipe();
            let word = CString::new(format!("WHO={number}")).unwrap();
            let image = Rc::new(image(c"/bin/sh", script).build());
            let pid = spawner.launch(&image, &[&word], write, 0).unwrap();
            readers.push((read, pid));
        }
        assert!(spawner.land().is_empty());
        for (number, (mut read, pid)) in readers.into_iter().enumerate() {
            let mut text = String::new();
            // It ends: nobody has the other end open but that program.
            read.read_to_string(&mut text).unwrap();
            assert_eq!((text, status(pid)), (format!("1 {number} 0\n1\n2\n"), Some(0)));
        }
        assert_eq!(spawner.flights.grounded.len(), MOST_IN_FLIGHT, "their room is used again");
    }

    #[test]
    fn who_fails_among_others_is_named_and_errno_is_left_alone() {
        let mut spawner = ready();
        let good = Rc::new(image(c"/bin/sh", c"exit 7").build());
        let missing = Rc::new(image(c"/nonexistent/program", c"").build());
        let mut lost = image(c"/bin/sh", c"exit 0");
        lost.dir = c"/nonexistent".into();
        let lost = Rc::new(lost.build());
        let mut pids = Vec::new();
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = 77 };
        for (tag, image) in [&good, &missing, &good, &lost, &missing, &good].into_iter().enumerate() {
            let (_, write) = pipe();
            pids.push(spawner.launch(image, &[], write, tag as u32).unwrap());
        }
        let failed = spawner.land();
        // SAFETY: this thread's own.
        assert_eq!(unsafe { *libc::__errno_location() }, 77);
        let told: Vec<_> =
            failed.iter().map(|f| (f.tag, f.stage, f.errno, Rc::ptr_eq(&f.image, &missing))).collect();
        let wanted = [(1, Stage::Exec, true), (3, Stage::Chdir, false), (4, Stage::Exec, true)]
            .map(|(tag, stage, same)| (tag, stage, Errno::NOENT, same));
        assert_eq!(told, wanted);
        let ends: Vec<_> = pids.into_iter().map(status).collect();
        assert_eq!(ends, [7, 1, 7, 1, 1, 7].map(Some));
        assert!(spawner.land().is_empty(), "it is told once");
        // One that is waited for waits for them, and takes nothing from what is to be told.
        let (_read, write) = pipe();
        let pid = spawner.launch(&missing, &[], write, 9).unwrap();
        let (_read, write) = pipe();
        let waited = spawner.spawn(&good, &[], Stdio::Client(write.as_fd())).unwrap();
        assert_eq!(spawner.launched(), 0);
        assert_eq!((status(pid), status(waited)), (Some(1), Some(7)));
        assert_eq!(spawner.land().iter().map(|f| f.tag).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn what_more_is_done_for_is_waited_for() {
        let mut spawner = ready();
        let mut grouped = image(c"/bin/sh", c"exit 0");
        grouped.cgroup_procs = Some(File::open("/dev/null").unwrap().into());
        let grouped = Rc::new(grouped.build());
        let (mut read, write) = pipe();
        assert!(!spawner.flies(&grouped, write.as_fd()));
        let refused = spawner.launch(&grouped, &[], write, 0);
        assert_eq!(refused.map_err(|(errno, _client)| errno), Err(Errno::NOSYS));
        assert_eq!(read.read(&mut [0]).unwrap(), 0, "the client came back, and went");
        // One thread with signals to handle, a kernel without the call, a client with one of the last numbers.
        let plain = image(c"/bin/sh", c"exit 0").build();
        let (_read, write) = pipe();
        let write = write.as_fd();
        assert!(spawner.flies(&plain, write));
        spawner.mask_is_full = false;
        assert!(!spawner.flies(&plain, write));
        (spawner.mask_is_full, spawner.share_table) = (true, false);
        assert!(!spawner.flies(&plain, write));
        (spawner.share_table, spawner.descriptors) =
            (true, u64::from(write.as_raw_fd().unsigned_abs()) + FREE);
        assert!(!spawner.flies(&plain, write));
        spawner.descriptors += 1;
        assert!(spawner.flies(&plain, write));
        let mut confined = image(c"/bin/sh", c"exit 0");
        confined.sandbox = Some(Box::default());
        assert!(!spawner.flies(&confined.build(), write));
    }

    /// Of others' ids only where no other child can make our memory theirs meanwhile; it is asked once for all that are aloft.
    #[test]
    fn other_ids_only_where_memory_stays_closed() {
        let mut spawner = ready();
        let ids = |uid, gid| Some(Ids { uid, gid, groups: vec![] });
        let (_read, write) = pipe();
        let flies = |spawner: &Spawner, ids| {
            spawner.flies(&ImageBuilder { ids, ..image(c"/bin/sh", c"exit 0") }.build(), write.as_fd())
        };
        let (uid, gid) = spawner.own.ids;
        let closed = std::fs::read("/proc/sys/fs/suid_dumpable").is_ok_and(|text| text == b"0\n");
        for (told, may) in [(None, closed), (Some(false), false), (Some(true), true)] {
            spawner.flights.ids_may_change.set(told);
            assert!(flies(&spawner, None) && flies(&spawner, ids(uid, gid)));
            assert_eq!((flies(&spawner, ids(uid + 1, gid)), flies(&spawner, ids(uid, gid + 1))), (may, may));
            assert_eq!(spawner.flights.ids_may_change.get(), Some(may));
            assert!(spawner.land().is_empty());
            assert_eq!(spawner.flights.ids_may_change.get(), None);
        }
    }

    /// A client that takes nothing, of a program that is at its end and has asked for a long farewell: closing does not wait.
    #[test]
    fn closing_waits_for_nobody() {
        use rustix::net::{
            AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen,
            socket_with,
        };
        let (tell, hear) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut spawner = ready();
            let tcp =
                || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            let (door, far) = (tcp(), tcp());
            bind(&door, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            listen(&door, 1).unwrap();
            connect(&far, &getsockname(&door).unwrap()).unwrap();
            let client = accept_with(&door, SocketFlags::CLOEXEC).unwrap();
            rustix::io::ioctl_fionbio(&client, true).unwrap();
            while rustix::io::write(&client, &[0; 65536]).is_ok() {}
            sockopt::set_socket_linger(&client, Some(std::time::Duration::from_secs(300))).unwrap();
            let image = Rc::new(image(c"/bin/sh", c"exit 0").build());
            let pid = spawner.launch(&image, &[], client, 0).unwrap();
            // It has ended, so the descriptor here is the last one.
            assert_eq!(status(pid), Some(0));
            assert!(spawner.land().is_empty());
            tell.send(far).unwrap();
        });
        let far = hear.recv_timeout(std::time::Duration::from_secs(60));
        // What was sent comes all the same, and then the end.
        let mut far = File::from(far.expect("closing lingers"));
        assert!(far.read_to_end(&mut Vec::new()).unwrap() > 65536);
    }

    /// Whoever lets go of the spawner waits for those that are under way: they read what goes with it.
    #[test]
    fn nothing_goes_while_somebody_reads_it() {
        let mut spawner = ready();
        let slow = Rc::new(image(c"/bin/sh", c"exit 5").build());
        let pids: Vec<_> =
            (0..MOST_IN_FLIGHT).map(|_| spawner.launch(&slow, &[c"B=2"], pipe().1, 0).unwrap()).collect();
        drop((spawner, slow));
        assert!(pids.into_iter().all(|pid| status(pid) == Some(5)));
    }
}
