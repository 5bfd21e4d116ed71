//! Ended children, one at a time, with what they used; and signals to running ones. Never blocks.

pub use rustix::process::{Pid, Signal};
use std::mem::MaybeUninit;
use std::time::Duration;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited with this status (0-255).
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

/// A child that has ended and has been removed from the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its process id, free for reuse from now on.
    pub pid: Pid,
    /// How it ended.
    pub status: Status,
    /// CPU time in user mode, microseconds, waited-for descendants included.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds, waited-for descendants included.
    pub system_us: u64,
    /// Largest resident size, KiB.
    pub max_rss_kib: u64,
}

/// Reaps one ended child of this process, or returns none when none has ended (or there are none). The kernel walks over all children
/// that run to find it: about a tenth of a microsecond for each.
#[must_use]
pub fn reap_next() -> Option<Reaped> {
    reap(-1)
}

/// Reaps this child if it has ended; how many others there are does not matter. None also when it is no child of this process.
#[must_use]
pub fn reap_one(pid: Pid) -> Option<Reaped> {
    reap(pid.as_raw_nonzero().get())
}

/// -1 is any child.
fn reap(which: i32) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both out-pointers are valid; WNOHANG without WUNTRACED reports ended children only.
        let pid = unsafe { libc::wait4(which, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        if pid < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
            continue;
        }
        if pid <= 0 {
            return None;
        }
        // SAFETY: zeroed before the call and filled by it.
        let usage = unsafe { usage.assume_init() };
        return Some(Reaped {
            pid: Pid::from_raw(pid)?,
            status: if libc::WIFSIGNALED(status) {
                Status::Signaled(libc::WTERMSIG(status))
            } else {
                Status::Exited(libc::WEXITSTATUS(status))
            },
            user_us: microseconds(usage.ru_utime),
            system_us: microseconds(usage.ru_stime),
            max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        });
    }
}

fn microseconds(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_usec).unwrap_or(0);
    u64::try_from((Duration::from_secs(seconds) + Duration::from_micros(rest)).as_micros())
        .unwrap_or(u64::MAX)
}

/// Sends `signal` to the process. Only for children not yet reaped: after that the number may be anybody's.
///
/// # Errors
/// `ESRCH` no such process, `EPERM`.
pub fn kill(pid: Pid, signal: Signal) -> rustix::io::Result<()> {
    rustix::process::kill_process(pid, signal)
}

/// Sends `signal` to the process group that `leader` leads.
///
/// # Errors
/// `ESRCH` no such group, `EPERM`.
pub fn kill_group(leader: Pid, signal: Signal) -> rustix::io::Result<()> {
    rustix::process::kill_process_group(leader, signal)
}
