//! This process itself: going to the background, giving up privileges, finding its own executable.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions};
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Real user id.
#[must_use]
pub fn uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Effective user id.
#[must_use]
pub fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Effective group id.
#[must_use]
pub fn egid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// Whether the effective user is root.
#[must_use]
pub fn is_root() -> bool {
    euid() == 0
}

/// Whether this is the init process of its pid namespace (a container): orphans then come to us to be reaped.
#[must_use]
pub fn is_pid1() -> bool {
    std::process::id() == 1
}

/// Which of the two processes [`daemonize`] has returned in.
#[derive(Debug)]
pub enum Side {
    /// The one that was started: end with this status now.
    Launcher(u8),
    /// The one in the background: report when ready.
    Daemon(Readiness),
}

/// The launcher waits for this. Dropped without a report, the launcher ends with status 1.
#[derive(Debug)]
pub struct Readiness {
    launcher: OwnedFd,
    /// The launcher's standard error, for as long as somebody may still read there.
    terminal: Option<OwnedFd>,
}

impl Readiness {
    /// Ends the launcher with `status`: 0 when this daemon serves.
    pub fn report(self, status: u8) {
        let _ = rustix::io::write(&self.launcher, &[status]);
    }

    /// The same after `why` has been written where the launcher's caller reads it, although this process may have
    /// turned its own descriptors to `/dev/null` already. What a full pipe does not take is lost.
    pub fn refuse(self, status: u8, why: &str) {
        if let Some(terminal) = &self.terminal {
            let _ = rustix::io::write(terminal, why.as_bytes());
        }
        self.report(status);
    }
}

/// Forks into a session of its own. The launcher's side returns only when the daemon has reported or ended, so
/// its exit status is the truth about the start. Call it first thing: before threads, tables and signal set-up.
/// The daemon keeps the working directory, the mask and descriptors 0-2; see [`crate::stdio::redirect_to_null`].
///
/// # Errors
/// `EBUSY` when the process has threads already; from pipe and fork.
pub fn daemonize() -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(Errno::BUSY.into());
    }
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so no lock can be held by a thread that the child lacks, and the child
    // may go on as any program does.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        drop(read);
        rustix::process::setsid()?;
        let terminal = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok();
        return Ok(Side::Daemon(Readiness { launcher: write, terminal }));
    }
    drop(write);
    let mut status = [1u8];
    loop {
        match rustix::io::read(&read, &mut status) {
            Err(Errno::INTR) => {}
            Ok(1) => return Ok(Side::Launcher(status[0])),
            _ => break,
        }
    }
    // It ended without a word; its own status says more than ours could.
    let ended = Pid::from_raw(pid)
        .and_then(|p| rustix::process::waitpid(Some(p), WaitOptions::empty()).ok().flatten());
    let code = ended.and_then(|(_, s)| s.exit_status()).and_then(|c| u8::try_from(c).ok());
    Ok(Side::Launcher(code.filter(|&c| c != 0).unwrap_or(1)))
}

/// The path that execve was given for this process, as it was given: a link's own name, whatever argv\[0\] says. None where
/// the kernel does not say.
#[must_use]
pub fn started_by() -> Option<OsString> {
    // SAFETY: reads a word that the kernel put beside the environment.
    let text = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const c_char;
    if text.is_null() {
        return None;
    }
    // SAFETY: the kernel's own NUL-terminated copy of the path, on the first stack, which stays mapped.
    let text = unsafe { CStr::from_ptr(text) };
    Some(OsStr::from_bytes(text.to_bytes()).to_owned())
}

/// No execve from here on gains privileges (set-user-id, file capabilities). Inherited by children.
///
/// # Errors
/// `EINVAL` before Linux 3.5.
pub fn no_new_privs() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Whether this process may be traced by its own user and leave a core file.
///
/// # Errors
/// From prctl.
pub fn set_dumpable(allowed: bool) -> io::Result<()> {
    let behavior = if allowed { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    Ok(rustix::process::set_dumpable_behavior(behavior)?)
}

/// Gives up root for good: no supplementary groups, then `gid` and `uid` as real, effective and saved ids, in all
/// threads. Checks that the way back is closed.
///
/// # Errors
/// `EPERM` when not root; `EINVAL` for uid 0, which is no one to become; `EPERM` when root could be regained.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    if uid == 0 {
        return Err(Errno::INVAL.into());
    }
    let ok = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: an empty list is read nowhere. libc's wrappers, not raw calls: they reach every thread.
    ok(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: plain integers.
    ok(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain integers.
    ok(unsafe { libc::setresuid(uid, uid, uid) })?;
    // SAFETY: plain integers.
    if unsafe { libc::setresuid(0, 0, 0) } == 0 {
        return Err(Errno::PERM.into());
    }
    Ok(())
}

/// Orphans among our descendants come to this process to be reaped.
pub fn adopt_orphans() {
    // SAFETY: sets a flag of this process; a kernel that does not know it says so and changes nothing.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Whether this is a child of this process, ended and not reaped included.
#[must_use]
pub fn is_child(pid: i32) -> bool {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let only_look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Pid::from_raw(pid).is_some_and(|pid| waitid(WaitId::Pid(pid), only_look).is_ok())
}

/// Gives back to the kernel what the allocator holds free. Worth its millisecond after a configuration has been read:
/// of a thousand services' 9.6 MiB it returns 2.2.
pub fn trim_heap() {
    // SAFETY: malloc_trim takes the allocator's own locks and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// The path by which this process can execute itself again: the very file that runs now, even after the one on
/// disk has been replaced or removed; without /proc, the path it was started by.
///
/// # Errors
/// When neither is known.
pub fn executable() -> io::Result<CString> {
    let own = c"/proc/self/exe";
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    if rustix::fs::open(own, flags, Mode::empty()).is_ok() {
        return Ok(own.to_owned());
    }
    let path = std::env::current_exe()?;
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}
