//! Starts processes without copying the supervisor: `clone(VM, FILES)` on a stack of its own, then the raw
//! calls of `child.rs`. Owns that stack and knows what the kernel can do. Does not reap; see [`crate::reap`].
//!
//! The parent waits until the child execs or fails, so the outcome of execve is known when `spawn` returns, or, of several that were
//! launched, when they have landed (`flight.rs`). The cost does not grow with the supervisor's memory or its number of listeners (design §5).

use crate::child::{Plan, Report, SOURCES, enter};
pub use crate::child::{Stage, Stays};
use crate::farewell::{Connection, Farewells};
use crate::flight::Flights;
pub use crate::flight::{MOST_IN_FLIGHT, NotStarted};
use crate::identity::Own;
pub use crate::image::{Ids, Image, ImageBuilder, RlimitKind};
use crate::limits;
use crate::listen_pid::ListenPid;
use crate::signals;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use rustix::thread::futex;
use rustix::time::Timespec;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The kernel made no process (EAGAIN: a limit on processes; ENOMEM).
    #[error("clone: {0}")]
    Clone(Errno),
    /// A process was made, failed at `stage` and exits with status 1; it must still be reaped.
    #[error("{stage}: {errno}")]
    Child {
        /// The child, which is or will be a zombie.
        pid: Pid,
        /// The step that failed.
        stage: Stage,
        /// Its error.
        errno: Errno,
    },
}

/// What the program finds on its descriptors 0, 1, 2 (and 3).
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// One descriptor, the client, on all three.
    Client(BorrowedFd<'a>),
    /// One each, and for workers a fourth on descriptor 3.
    Separate {
        /// Becomes 0.
        stdin: BorrowedFd<'a>,
        /// Becomes 1.
        stdout: BorrowedFd<'a>,
        /// Becomes 2.
        stderr: BorrowedFd<'a>,
        /// Becomes 3.
        extra: Option<BorrowedFd<'a>>,
    },
    /// As systemd hands sockets over (sd_listen_fds(3)); LISTEN_PID is added to the environment, LISTEN_FDS is the caller's.
    Listen {
        /// Becomes 0, 1 and 2.
        null: BorrowedFd<'a>,
        /// Become 3 and what follows, at most [`MOST_SOCKETS`]; more are left out.
        sockets: &'a [BorrowedFd<'a>],
    },
}

/// The most sockets of [`Stdio::Listen`].
pub const MOST_SOCKETS: usize = SOURCES - 4;

impl Stdio<'_> {
    fn sources(&self) -> ([c_int; SOURCES], usize) {
        let mut all = [-1; SOURCES];
        let mut count = 0;
        let mut add = |fd: BorrowedFd<'_>| {
            if let Some(place) = all.get_mut(count).filter(|_| count + 1 < SOURCES) {
                *place = fd.as_raw_fd();
                count += 1;
            }
        };
        match self {
            Self::Client(fd) => [fd; 3].into_iter().for_each(|fd| add(*fd)),
            Self::Separate { stdin, stdout, stderr, extra } => {
                [stdin, stdout, stderr].into_iter().chain(extra).for_each(|fd| add(*fd));
            }
            Self::Listen { null, sockets } => {
                [null; 3].into_iter().chain(*sockets).for_each(|fd| add(*fd));
            }
        }
        (all, count)
    }
}

/// Starts processes. One per thread that starts any; it is not `Send`, because it remembers this thread's signal
/// mask.
#[derive(Debug)]
pub struct Spawner {
    stack: Stack,
    /// Scratch for argv and envp, so that a start allocates nothing once the largest image has been seen.
    pointers: Vec<*const c_char>,
    pub(crate) share_table: bool,
    /// A program was executed in a table of its own.
    pub(crate) proven: bool,
    pub(crate) root: bool,
    pub(crate) mask_is_full: bool,
    pub(crate) ignored: u64,
    /// The limit on descriptors, as it was then, or what is below it ([`Spawner::keep_below`]).
    pub(crate) descriptors: u64,
    /// What no child need take.
    pub(crate) own: Own,
    /// What takes the security context of the next program: of the child that writes there.
    exec_context: &'static CStr,
    /// What was launched and has not landed.
    pub(crate) flights: Flights,
    /// Clients on this host that are to be let go.
    pub(crate) farewells: Rc<Farewells>,
}

impl Spawner {
    /// Maps the stack and looks once at what does not change later: the kernel's abilities, whether this is root,
    /// the signal mask and the ignored signals. Call it after [`signals::take_over`], which makes the last two
    /// free; without it `spawn` blocks signals itself and resets what is ignored.
    ///
    /// # Errors
    /// `ENOMEM` when the stack cannot be mapped.
    pub fn new() -> Result<Self, Errno> {
        Farewells::collect_left();
        Ok(Self {
            stack: Stack::map()?,
            pointers: Vec::with_capacity(64),
            share_table: close_range_exists(),
            proven: false,
            root: rustix::process::geteuid().is_root(),
            mask_is_full: signals::mask_is_full(),
            ignored: signals::ignored(),
            descriptors: limits::nofile().soft,
            own: Own::look(),
            exec_context: c"/proc/thread-self/attr/exec",
            flights: Flights::default(),
            farewells: Rc::default(),
        })
    }

    /// A connection that was just accepted, over a unix socket where it `is_local`. Nobody waits where it is let go; of those that are local
    /// that happens when the turn ends ([`Spawner::land`]).
    #[must_use]
    pub fn connection(&self, fd: OwnedFd, is_local: bool) -> Connection {
        self.farewells.connection(fd, is_local)
    }

    /// Closes a listening unix socket, whose queue has what clients have sent along, when the turn ends; `now` where its name has to be
    /// free at once, as one of the abstract namespace has.
    pub fn part_from(&self, listener: OwnedFd, now: bool) {
        self.farewells.part_from(listener, now);
    }

    /// How many connections are to be let go. Some behind [`Spawner::land`]: no process could be made, and it is to be called again soon.
    #[must_use]
    pub fn to_let_go(&self) -> usize {
        self.farewells.waiting()
    }

    /// What the supervisor keeps stands from this number on: who is short-lived, clients and what is opened for a moment, has what is below.
    pub fn keep_below(&mut self, number: u64) {
        self.descriptors = self.descriptors.min(number);
    }

    /// Whether a child of ours is who the image wants. In a namespace of users it is not, though the numbers are the same.
    pub(crate) fn has_ids(&self, image: &Image) -> bool {
        image.sandbox.is_none() && image.ids.as_ref().is_some_and(|ids| self.own.has(ids, self.root))
    }

    /// Whether it works where the image wants. In a namespace of mounts it does not, though the path is the same.
    pub(crate) fn works_there(&self, image: &Image) -> bool {
        image.sandbox.is_none() && self.own.works_in(&image.dir)
    }

    /// Starts `image` with `extra_env` after its environment. Returns when the program has been executed or has
    /// failed to be.
    ///
    /// # Errors
    /// [`SpawnError`]; after `Child` the process exists and must be reaped like one that ran.
    pub fn spawn(&mut self, image: &Image, extra_env: &[&CStr], stdio: Stdio<'_>) -> Result<Pid, SpawnError> {
        self.spawn_labeled(image, extra_env, stdio, None)
    }

    /// The same in a security context of its own ([`crate::label`]). Where it cannot be set the program is not executed.
    ///
    /// # Errors
    /// As [`Spawner::spawn`]; the stage is `Label`.
    pub fn spawn_labeled(
        &mut self,
        image: &Image,
        extra_env: &[&CStr],
        stdio: Stdio<'_>,
        label: Option<&CStr>,
    ) -> Result<Pid, SpawnError> {
        self.spawn_program(image, extra_env, stdio, label, None)
    }

    /// The same, and what is executed is what `program` has open, whatever the image's path leads to by now; with the path and the
    /// arguments of the image. It has the number behind those of `stdio`.
    ///
    /// # Errors
    /// As [`Spawner::spawn_labeled`].
    pub fn spawn_program(
        &mut self,
        image: &Image,
        extra_env: &[&CStr],
        stdio: Stdio<'_>,
        label: Option<&CStr>,
        program: Option<(BorrowedFd<'_>, Stays)>,
    ) -> Result<Pid, SpawnError> {
        // Nobody who is under way waits for this one.
        self.flights.wait();
        let outcome = self.clone_into(image, extra_env, stdio, label, program);
        let Err(SpawnError::Child { pid, stage: Stage::CloseRange, .. }) = outcome else { return outcome };
        // close_range is there, but not with UNSHARE (a sandboxed kernel, a system call filter). Do without it
        // from now on. The failed child has not done anything; nobody else must hear of it.
        self.share_table = false;
        while matches!(rustix::process::waitpid(Some(pid), WaitOptions::empty()), Err(Errno::INTR)) {}
        self.clone_into(image, extra_env, stdio, label, program)
    }

    fn clone_into(
        &mut self,
        image: &Image,
        extra: &[&CStr],
        stdio: Stdio<'_>,
        label: Option<&CStr>,
        program: Option<(BorrowedFd<'_>, Stays)>,
    ) -> Result<Pid, SpawnError> {
        self.pointers.clear();
        self.pointers.extend(image.argv.pointers());
        self.pointers.push(ptr::null());
        let environment = self.pointers.len();
        self.pointers.extend(image.env.pointers());
        self.pointers.extend(extra.iter().map(|s| s.as_ptr()));
        let listen_pid = matches!(stdio, Stdio::Listen { .. }).then(ListenPid::new);
        self.pointers.extend(listen_pid.as_ref().map(ListenPid::pointer));
        self.pointers.push(ptr::null());

        let (mut sources, mut count) = stdio.sources();
        if let (Some((fd, _)), Some(place)) = (program, sources.get_mut(count)) {
            *place = fd.as_raw_fd();
            count += 1;
        }
        let sources = sources.get(..count).unwrap_or(&sources);
        let highest = sources.iter().copied().max().unwrap_or(2).max(2);
        let plan = Plan {
            image,
            argv: self.pointers.as_ptr(),
            envp: self.pointers.as_ptr().wrapping_add(environment),
            sources,
            unshare_from: self.share_table.then_some(highest.unsigned_abs().saturating_add(1)),
            others_from: None,
            lent: None,
            has_ids: self.has_ids(image),
            works_there: self.works_there(image),
            label: label.map(|label| (label, self.exec_context)),
            root: self.root,
            ignored: self.ignored,
            listen_pid: listen_pid.as_ref(),
            program: program.map(|(_, stays)| stays),
            report: Report::default(),
        };

        let flags = if self.share_table { libc::CLONE_FILES } else { 0 };
        // The kernel sets this to 0 and wakes who waits for it when the child gives up our memory: at exec or exit.
        let in_our_memory = AtomicU32::new(1);
        let blocked = (!self.mask_is_full).then(signals::block_all);
        // SAFETY: until the kernel has cleared `in_our_memory` this function does nothing but wait, so plan, image, pointers and the word
        // itself outlive the child's use of them, and &mut self keeps the stack to one child at a time. Every signal is blocked. Of what
        // the two share in libc a sandbox touches errno, which waiting (rustix, raw calls) does not, nor a child in flight.
        let result = unsafe { clone_child(&self.stack, flags, &raw const plan, in_our_memory.as_ptr()) };
        let killed = result.is_ok_and(|pid| wait_for_exec(&in_our_memory, pid));
        if let Some(previous) = blocked {
            signals::restore(&previous);
        }
        let pid = result.map_err(SpawnError::Clone)?;
        let report = plan.report.get();
        self.proven |= self.share_table && report.is_none() && !killed;
        match report {
            None if killed => Err(SpawnError::Child { pid, stage: Stage::Exec, errno: Errno::INTR }),
            None => image.onward.as_ref().map_or(Ok(()), |way| way.go(pid)).map(|()| pid).map_err(|errno| {
                // Without its bounds it is not to run.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                SpawnError::Child { pid, stage: Stage::Cgroup, errno }
            }),
            Some((stage, errno)) => {
                Err(SpawnError::Child { pid, stage, errno: Errno::from_raw_os_error(errno) })
            }
        }
    }
}

/// Makes the process that carries out `plan` in our memory; `flags` besides those that this takes. `in_our_memory` is 1, and 0 once it
/// has left.
///
/// # Safety
/// Until then `plan`, all that it refers to, the word and the stack stay, nobody but this child uses the stack, nothing of it all is
/// written but atomics, and every signal is blocked, so that no handler of ours runs in the child. It never returns into the caller's
/// frame: it makes raw calls only, and those of a sandbox, which write errno.
pub(crate) unsafe fn clone_child(
    stack: &Stack,
    flags: c_int,
    plan: *const Plan<'_>,
    in_our_memory: *mut u32,
) -> Result<Pid, Errno> {
    let flags = flags | libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let none = ptr::null_mut::<c_void>();
    let plan = plan.cast::<c_void>().cast_mut();
    // SAFETY: `enter` gets a live Plan, as the caller promises; the stack is mapped, aligned and ends in a guard page.
    let result = unsafe { libc::clone(enter, stack.top(), flags, plan, none, none, in_our_memory) };
    if result < 0 {
        return Err(last_errno());
    }
    Pid::from_raw(result).ok_or(Errno::CHILD)
}

/// How often a child that has not executed yet is looked at. Far longer than an execve usually takes.
pub(crate) const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// So often is it looked at before it is killed in any case: five seconds, for a program on a slow disk.
pub(crate) const LOOKS: u32 = 500;

/// Waits until the child has executed its program or has ended; true when it had to be killed.
///
/// This is what CLONE_VFORK does, but for one thing: once the child has its service's uid, any process of that uid may
/// stop it, and vfork would wait for as long as it stays stopped, with the whole supervisor. Such a child is killed.
pub(crate) fn wait_for_exec(in_our_memory: &AtomicU32, pid: Pid) -> bool {
    let (mut looks, mut killed) = (0, false);
    while in_our_memory.load(Ordering::Acquire) != 0 {
        if looks > 0 && !killed {
            killed = kill_if_stopped(pid, looks >= LOOKS);
        }
        looks += u32::from(!sleep_until_it_leaves(in_our_memory));
    }
    killed
}

/// Sleeps until a child may have left our memory, at most [`LOOK`]; false when that has passed.
pub(crate) fn sleep_until_it_leaves(in_our_memory: &AtomicU32) -> bool {
    // Not a private futex: the kernel's wake at exec and exit is not.
    futex::wait(in_our_memory, futex::Flags::empty(), 1, Some(&LOOK)) != Err(Errno::TIMEDOUT)
}

/// Whether it was killed: because somebody has stopped it, or in any case.
pub(crate) fn kill_if_stopped(pid: Pid, in_any_case: bool) -> bool {
    // One that gives no signal at its end is a child, too.
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let only_look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT | all;
    let stopped = || matches!(rustix::process::waitid(WaitId::Pid(pid), only_look), Ok(Some(_)));
    (in_any_case || stopped()) && rustix::process::kill_process(pid, Signal::KILL).is_ok()
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// UNSHARE came in the same kernel as the call itself (5.9), so an empty range without it is a probe that cannot
/// change this process.
fn close_range_exists() -> bool {
    // SAFETY: the range holds no descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) == 0 }
}

/// A child's stack: grows down towards a page that cannot be touched.
#[derive(Debug)]
pub(crate) struct Stack {
    base: *mut c_void,
    size: usize,
}

impl Stack {
    /// The child calls a handful of small functions; unused pages are never backed.
    const USABLE: usize = 64 * 1024;

    pub(crate) fn map() -> Result<Self, Errno> {
        let guard = rustix::param::page_size();
        let size = Self::USABLE.saturating_add(guard);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::STACK | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), size, protection, flags)? };
        let stack = Self { base, size };
        // SAFETY: the first page belongs to the mapping just made, and nobody uses it.
        unsafe { rustix::mm::mprotect(base, guard, MprotectFlags::empty())? };
        Ok(stack)
    }

    /// One past the highest byte, page-aligned.
    pub(crate) fn top(&self) -> *mut c_void {
        self.base.wrapping_byte_add(self.size)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: base and size are this mapping's, and no child runs on it: spawn returns only after the child left our memory, and what
        // is in flight is waited for before its stack goes.
        let _ = unsafe { rustix::mm::munmap(self.base, self.size) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn without_close_range_nothing_leaks_either() {
        crate::stdio::seal_inherited().unwrap();
        let mut spawner = Spawner::new().unwrap();
        spawner.share_table = false;
        let open: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let image = ImageBuilder {
            path: c"/bin/sh".into(),
            argv: vec![c"sh".into(), c"-c".into(), c"ls /proc/$$/fd".into()],
            ..ImageBuilder::default()
        };
        let pid = spawner.spawn(&image.build(), &[], Stdio::Client(write.as_fd())).unwrap();
        drop(write);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
        assert_eq!(text, "0\n1\n2\n");
        assert_eq!(open.len(), 100);
    }

    #[test]
    fn a_program_has_the_context_or_is_not_executed() {
        let here = std::env::temp_dir().join(format!("portreeve-spawn-label-{}", std::process::id()));
        std::fs::write(&here, "").unwrap();
        let path: &'static CStr =
            Box::leak(std::ffi::CString::new(here.to_str().unwrap()).unwrap().into_boxed_c_str());
        let mut spawner = Spawner::new().unwrap();
        spawner.exec_context = path;
        let image = ImageBuilder {
            path: c"/bin/sh".into(),
            argv: vec![c"sh".into(), c"-c".into(), c"ls /proc/$$/fd".into()],
            ..ImageBuilder::default()
        }
        .build();
        let start = |spawner: &mut Spawner| {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let label = Some(c"system_u:system_r:inetd_child_t:s2:c5");
            let started = spawner.spawn_labeled(&image, &[], Stdio::Client(write.as_fd()), label);
            drop(write);
            let mut text = String::new();
            std::fs::File::from(read).read_to_string(&mut text).unwrap();
            let (Ok(pid) | Err(SpawnError::Child { pid, .. })) = started else { panic!("{started:?}") };
            rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap();
            (started.map(|_| text.clone()), text)
        };
        assert_eq!(start(&mut spawner).0.unwrap(), "0\n1\n2\n");
        assert_eq!(std::fs::read(&here).unwrap(), b"system_u:system_r:inetd_child_t:s2:c5");
        std::fs::remove_file(&here).unwrap();
        // Gone; takes nothing (no room on the device); takes no such context, as the kernel without SELinux does.
        for (file, wanted) in [(path, Errno::NOENT), (c"/dev/full", Errno::NOSPC)] {
            spawner.exec_context = file;
            let (started, text) = start(&mut spawner);
            let Err(SpawnError::Child { stage, errno, .. }) = started else { panic!("{started:?}") };
            assert_eq!((stage, errno, text.as_str()), (Stage::Label, wanted, ""), "nothing was executed");
        }
        if !std::path::Path::new(crate::label::SELINUX).join("enforce").exists() {
            spawner.exec_context = c"/proc/thread-self/attr/exec";
            let (started, text) = start(&mut spawner);
            let Err(SpawnError::Child { stage, .. }) = started else { panic!("{started:?}") };
            assert_eq!((stage, text.as_str()), (Stage::Label, ""));
        }
    }

    #[test]
    fn every_stage_comes_back_from_its_number() {
        for stage in
            [Stage::Cgroup, Stage::CloseRange, Stage::Label, Stage::Setuid, Stage::Setsid, Stage::Exec]
        {
            let report = Report::default();
            assert_eq!(report.get(), None);
            report.set(stage, libc::EAGAIN);
            assert_eq!(report.get(), Some((stage, libc::EAGAIN)));
        }
    }
}
