//! What runs between clone and execve, in a child that shares the supervisor's memory. Raw system calls only: no
//! allocation, no lock, no panic, no libc function with state. Decides nothing; it carries out an [`Image`].
//!
//! glibc's setuid family would broadcast to all threads and must not run here, hence [`crate::raw`]. Nor may anything write `errno`, which is
//! that of the thread that started the child and may be at work; but a sandbox is put on while that thread waits.

use crate::image::Image;
use crate::lent::Borrower;
use crate::listen_pid::ListenPid;
use crate::raw::{Word, call};
use crate::sandbox::Sandbox;
use crate::signals;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};

/// The step at which a child failed before execve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Stage {
    /// Joining the control group.
    Cgroup = 1,
    /// Getting a descriptor table of its own.
    CloseRange,
    /// Setting the security context of the program.
    Label,
    /// Taking the group id.
    Setgid,
    /// Taking the supplementary groups.
    Setgroups,
    /// Taking the user id.
    Setuid,
    /// Setting the file mode creation mask (cannot fail; named for completeness).
    Umask,
    /// Setting the niceness (errors are ignored as xinetd ignores them).
    Nice,
    /// Entering the working directory.
    Chdir,
    /// Putting the descriptors in place.
    Dup,
    /// Setting a limit (errors are ignored as xinetd ignores them).
    Rlimit,
    /// Starting a session.
    Setsid,
    /// Executing the program.
    Exec,
    /// Putting on a part of the sandbox; which one, [`crate::sandbox::Sandbox::failed`] says.
    Sandbox,
}

impl Stage {
    const ALL: [Self; 14] = [
        Self::Cgroup,
        Self::CloseRange,
        Self::Label,
        Self::Setgid,
        Self::Setgroups,
        Self::Setuid,
        Self::Umask,
        Self::Nice,
        Self::Chdir,
        Self::Dup,
        Self::Rlimit,
        Self::Setsid,
        Self::Exec,
        Self::Sandbox,
    ];

    /// The name of the system call, as messages give it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::CloseRange => "close_range",
            Self::Label => "attr/exec",
            Self::Setgid => "setgid",
            Self::Setgroups => "setgroups",
            Self::Setuid => "setuid",
            Self::Umask => "umask",
            Self::Nice => "nice",
            Self::Chdir => "chdir",
            Self::Dup => "dup",
            Self::Rlimit => "setrlimit",
            Self::Setsid => "setsid",
            Self::Exec => "execve",
            Self::Sandbox => "sandbox",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a failing child writes what happened; read by the parent after clone has returned.
#[derive(Debug, Default)]
pub(crate) struct Report {
    stage: AtomicU32,
    errno: AtomicI32,
}

impl Report {
    pub(crate) fn set(&self, stage: Stage, errno: c_int) {
        self.errno.store(errno, Ordering::Relaxed);
        self.stage.store(stage as u32, Ordering::Relaxed);
        // Before the kernel says that we have left.
        fence(Ordering::SeqCst);
    }

    /// The failure, or none when the program was executed.
    pub(crate) fn get(&self) -> Option<(Stage, c_int)> {
        let number = self.stage.load(Ordering::Relaxed);
        let stage = Stage::ALL.into_iter().find(|&s| s as u32 == number)?;
        Some((stage, self.errno.load(Ordering::Relaxed)))
    }
}

/// The most descriptors that are put in place: the last place is for the program itself.
pub(crate) const SOURCES: usize = 20;

/// Everything the child reads. All of it stays in place until the child execs or exits.
pub(crate) struct Plan<'a> {
    pub(crate) image: &'a Image,
    pub(crate) argv: *const *const c_char,
    pub(crate) envp: *const *const c_char,
    /// `sources[i]` becomes descriptor `i`.
    pub(crate) sources: &'a [c_int],
    /// With a shared table: the first descriptor that the child does not need. Everything from here on is never
    /// copied, however many listeners the parent holds.
    pub(crate) unshare_from: Option<u32>,
    /// With a shared table: from here to the client are those of others, who wait for them to be closed.
    pub(crate) others_from: Option<u32>,
    /// Of one in flight: the clients in our table.
    pub(crate) lent: Option<Borrower>,
    /// The ids and groups of the image are ours: the child has them.
    pub(crate) has_ids: bool,
    /// So is its directory.
    pub(crate) works_there: bool,
    /// The security context of the program, and the file that takes it; none leaves it to the policy.
    pub(crate) label: Option<(&'a CStr, &'a CStr)>,
    /// Whether the parent may change groups.
    pub(crate) root: bool,
    /// Signals (bit n-1) that the parent ignores and that the program must find at their default.
    pub(crate) ignored: u64,
    /// The variable, among those of `envp`, that is to hold the child's pid.
    pub(crate) listen_pid: Option<&'a ListenPid>,
    /// The last of `sources` is the program, to be executed by its descriptor; whether that stays open for it.
    pub(crate) program: Option<Stays>,
    pub(crate) report: Report,
}

/// Whether the descriptor of a program is open in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is a script: its interpreter reads it by `/dev/fd/N`.
    Open,
    /// The kernel has mapped it, and nobody needs it any more.
    Closed,
}

// The 32-bit ABIs of these calls under their old names take 16-bit ids.
#[cfg(any(target_arch = "x86", target_arch = "arm"))]
mod nr {
    pub(super) use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}
#[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
mod nr {
    pub(super) use libc::{
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
}

/// Entry point for clone. Returns (so that libc's clone calls exit) only when a stage failed.
///
/// `plan` must point to a [`Plan`] that lives, and of which nobody writes but atomics, until this process execs or exits.
/// (clone takes no pointer to an unsafe function, so this cannot be one.)
pub(crate) extern "C" fn enter(plan: *mut c_void) -> c_int {
    // SAFETY: the one caller, `clone_child`, promises that it lives and that nobody changes it.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    if let Err((stage, errno)) = plan.carry_out() {
        plan.report.set(stage, errno);
    }
    1
}

type Step = Result<(), (Stage, c_int)>;

fn check(stage: Stage, result: Result<usize, c_int>) -> Result<usize, (Stage, c_int)> {
    result.map_err(|errno| (stage, errno))
}

impl Plan<'_> {
    /// xinetd's order (xinetd.md §7), after the security context and the sandbox's namespaces: gid, groups, uid, umask, nice, descriptors, limits, session, the
    /// sandbox's filters, exec. Limits
    /// come after the uid on purpose: raising one above the hard limit must fail where it fails under xinetd.
    fn carry_out(&self) -> Step {
        let take = || self.join_cgroup().and_then(|()| self.take_own_table());
        self.lent.as_ref().map_or_else(take, |lent| lent.leave_table(take))?;
        self.take_label()?;
        let sandbox = self.image.sandbox.as_deref();
        let failed = |errno| (Stage::Sandbox, errno);
        sandbox.map_or(Ok(()), Sandbox::enter).map_err(failed)?;
        self.take_ids()?;
        sandbox.map_or(Ok(()), Sandbox::raise).map_err(failed)?;
        self.take_surroundings()?;
        self.place_descriptors()?;
        self.take_limits();
        if self.image.new_session {
            // SAFETY: setsid takes no argument.
            check(Stage::Setsid, unsafe { call(libc::SYS_setsid, []) })?;
        }
        self.reset_signals();
        if let Some(variable) = self.listen_pid {
            // SAFETY: getpid takes no argument and cannot fail.
            let pid = unsafe { call(libc::SYS_getpid, []) };
            variable.set(pid.unwrap_or(0) as u32);
        }
        sandbox.map_or(Ok(()), Sandbox::close).map_err(failed)?;
        if self.program.is_some() {
            let fd = self.sources.len().saturating_sub(1);
            let path = c"";
            // SAFETY: as below; the path is empty, so what is executed is what the descriptor has open.
            let result = unsafe {
                let flags = libc::AT_EMPTY_PATH;
                call(
                    libc::SYS_execveat,
                    [fd.word(), path.as_ptr().word(), self.argv.word(), self.envp.word(), flags.word()],
                )
            };
            return check(Stage::Exec, result).map(|_| ());
        }
        // SAFETY: path is NUL-terminated; argv and envp are NULL-terminated arrays of NUL-terminated strings.
        // All of it is the parent's memory, which lives until execve has copied it.
        let result = unsafe {
            call(libc::SYS_execve, [self.image.path.as_ptr().word(), self.argv.word(), self.envp.word()])
        };
        check(Stage::Exec, result).map(|_| ())
    }

    fn join_cgroup(&self) -> Step {
        // Before the table is cut: cgroup files may stand above the client's descriptor.
        let Some(procs) = &self.image.cgroup_procs else { return Ok(()) };
        let fd = std::os::fd::AsRawFd::as_raw_fd(procs);
        let zero = c"0"; // "the writer" to cgroup.procs
        // SAFETY: one byte is read from a static string.
        check(Stage::Cgroup, unsafe { call(libc::SYS_write, [fd.word(), zero.as_ptr().word(), 1]) })?;
        Ok(())
    }

    fn take_own_table(&self) -> Step {
        let Some(first) = self.unshare_from else { return Ok(()) };
        // SAFETY: with UNSHARE only the new private table loses descriptors; the parent's keeps them all.
        let result = unsafe {
            call(libc::SYS_close_range, [first.word(), u32::MAX.word(), libc::CLOSE_RANGE_UNSHARE.word()])
        };
        check(Stage::CloseRange, result)?;
        // The programs of other clients may be at their end before this one is executed. Should it fail, execve closes them. Not all that is
        // below: closing a log on a network file system writes it back, and for that execve does not wait.
        if let (Some(from), Some(last)) = (self.others_from, first.checked_sub(2))
            && from <= last
        {
            // SAFETY: this table is the child's own by now.
            let _ = unsafe { call(libc::SYS_close_range, [from.word(), last.word(), 0]) };
        }
        Ok(())
    }

    /// While it is root's still, and in a table of its own. The descriptor is close-on-exec; the context counts from execve on.
    fn take_label(&self) -> Step {
        let Some((label, file)) = self.label else { return Ok(()) };
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        // SAFETY: `file` is NUL-terminated and lives as long as the parent waits.
        let fd =
            unsafe { call(libc::SYS_openat, [libc::AT_FDCWD.word(), file.as_ptr().word(), flags.word()]) };
        let fd = check(Stage::Label, fd)?;
        let length = label.to_bytes().len();
        // SAFETY: `label` has `length` bytes and lives as long as the parent waits.
        let written = unsafe { call(libc::SYS_write, [fd, label.as_ptr().word(), length]) };
        let written = check(Stage::Label, written)?;
        // A part of it would be another context.
        if written != length {
            return Err((Stage::Label, libc::EIO));
        }
        // SAFETY: a descriptor of this child's own table.
        let _ = unsafe { call(libc::SYS_close, [fd]) };
        Ok(())
    }

    fn take_ids(&self) -> Step {
        let sandbox = self.image.sandbox.as_deref();
        let enter = || sandbox.map_or(Ok(()), Sandbox::enter_users).map_err(|errno| (Stage::Sandbox, errno));
        let Some(ids) = &self.image.ids else { return enter() };
        if self.has_ids {
            return self.hide();
        }
        // SAFETY: plain integers.
        check(Stage::Setgid, unsafe {
            call(nr::SETRESGID, [ids.gid.word(), ids.gid.word(), ids.gid.word()])
        })?;
        if self.root {
            let (count, list) = (ids.groups.len(), ids.groups.as_ptr());
            // SAFETY: `list` holds `count` gids.
            check(Stage::Setgroups, unsafe { call(nr::SETGROUPS, [count, list.word()]) })?;
        }
        enter()?;
        // SAFETY: plain integers.
        check(Stage::Setuid, unsafe {
            call(nr::SETRESUID, [ids.uid.word(), ids.uid.word(), ids.uid.word()])
        })?;
        self.hide()
    }

    /// The memory is the supervisor's until execve. With fs.suid_dumpable set, whoever has this user could trace it, and a kernel
    /// before 5.16 that dumps this process ends all that share the memory. Without it the kernel has just said the same.
    fn hide(&self) -> Step {
        // SAFETY: plain integers.
        let hidden = unsafe { call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.word(), 0, 0, 0, 0]) };
        check(Stage::Setuid, hidden)?;
        Ok(())
    }

    fn take_surroundings(&self) -> Step {
        if let Some(mask) = self.image.umask {
            // SAFETY: a plain integer; the mask is the child's own, since CLONE_FS is not given.
            let _ = unsafe { call(libc::SYS_umask, [mask.word()]) };
        }
        if let Some(increment) = self.image.nice {
            // SAFETY: plain integers. The raw getpriority answers 20 - nice, so that it is never negative.
            unsafe {
                let now = call(libc::SYS_getpriority, [libc::PRIO_PROCESS.word(), 0]).unwrap_or(20);
                let now = 20 - c_int::try_from(now).unwrap_or(20);
                let wanted = now.saturating_add(increment).clamp(-20, 19);
                let _ = call(libc::SYS_setpriority, [libc::PRIO_PROCESS.word(), 0, wanted.word()]);
            }
        }
        if !self.image.dir.is_empty() && !self.works_there {
            // SAFETY: a NUL-terminated string; the directory is the child's own, since CLONE_FS is not given.
            check(Stage::Chdir, unsafe { call(libc::SYS_chdir, [self.image.dir.as_ptr().word()]) })?;
        }
        Ok(())
    }

    /// Sources may stand among the targets, so those are moved above all targets first.
    fn place_descriptors(&self) -> Step {
        let above = self.sources.len();
        let mut target: c_int = 0;
        let mut moved = [0; SOURCES];
        for (slot, &source) in moved.iter_mut().zip(self.sources) {
            let in_the_way = source != target && usize::try_from(source).is_ok_and(|s| s < above);
            *slot = if in_the_way {
                // SAFETY: plain integers; the table is the child's own by now.
                let copy =
                    unsafe { call(libc::SYS_fcntl, [source.word(), libc::F_DUPFD_CLOEXEC.word(), above]) };
                check(Stage::Dup, copy)? as c_int
            } else {
                source
            };
            target += 1;
        }
        target = 0;
        for (at, &source) in moved.iter().take(above).enumerate() {
            let closes = self.program == Some(Stays::Closed) && at + 1 == above;
            let (flag, flags) = if closes { (libc::FD_CLOEXEC, libc::O_CLOEXEC) } else { (0, 0) };
            // SAFETY: plain integers. dup3 refuses equal numbers, and there only close-on-exec is in the way.
            let result = unsafe {
                if source == target {
                    call(libc::SYS_fcntl, [source.word(), libc::F_SETFD.word(), flag.word()])
                } else {
                    call(libc::SYS_dup3, [source.word(), target.word(), flags.word()])
                }
            };
            check(Stage::Dup, result)?;
            target += 1;
        }
        Ok(())
    }

    fn take_limits(&self) {
        for limit in &self.image.rlimits {
            let nothing = std::ptr::null_mut::<c_void>();
            // SAFETY: `value` has the layout of struct rlimit64, which the kernel reads.
            let _ = unsafe {
                call(
                    libc::SYS_prlimit64,
                    [0, limit.resource.word(), limit.value.as_ptr().word(), nothing.word()],
                )
            };
        }
    }

    /// The parent blocks every signal while it clones. A handler of the parent must not run here, and none can:
    /// the supervisor installs none, and takes those of std away (`signals::take_over`).
    fn reset_signals(&self) {
        let default = signals::DEFAULT;
        let nothing = std::ptr::null_mut::<c_void>();
        let mut left = self.ignored;
        while left != 0 {
            let signo = left.trailing_zeros().saturating_add(1);
            // SAFETY: `default` is at least as large as the kernel's struct sigaction, and zero is SIG_DFL.
            let _ = unsafe {
                call(
                    libc::SYS_rt_sigaction,
                    [signo.word(), default.as_ptr().word(), nothing.word(), size_of::<u64>()],
                )
            };
            left &= left - 1;
        }
        let none = 0u64;
        // SAFETY: the kernel reads an eight-byte signal set.
        let _ = unsafe {
            let set = (&raw const none).word();
            call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK.word(), set, nothing.word(), size_of::<u64>()])
        };
    }
}
