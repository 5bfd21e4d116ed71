//! Processes that are no children of ours and that we are to notice the end of: a pidfd, which keeps its process number from meaning
//! anybody else, signals through it, and what the kernel still tells of how it ended.

use crate::reap::Status;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// A pidfd. Exact while the process is a child of ours that was not reaped, and nobody else reaps it meanwhile.
///
/// # Errors
/// `ESRCH` there is none, `EMFILE`, `ENOSYS` before Linux 5.3.
pub fn open(pid: i32) -> rustix::io::Result<OwnedFd> {
    pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

/// Sends a signal to that process and to no other.
///
/// # Errors
/// `ESRCH` it has ended and was reaped, `EPERM`.
pub fn signal(fd: impl AsFd, signal: Signal) -> rustix::io::Result<()> {
    pidfd_send_signal(fd, signal)
}

/// Whether it is there, ended and not reaped included.
#[must_use]
pub fn exists(fd: impl AsFd) -> bool {
    // SAFETY: plain integers and no information; signal 0 is sent to nobody.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_fd().as_raw_fd(),
            0,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    sent == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// How it has ended, where that can still be known: from its place in the process table while nobody has reaped it, behind that
/// from Linux 6.15 on.
#[must_use]
pub fn status(fd: impl AsFd, pid: i32) -> Option<Status> {
    let fd = fd.as_fd();
    let code = zombie(pid).filter(|_| exists(fd)).or_else(|| reaped(fd))?;
    Some(if libc::WIFSIGNALED(code) {
        Status::Signaled(libc::WTERMSIG(code))
    } else {
        Status::Exited(libc::WEXITSTATUS(code))
    })
}

/// The last field of its line, if it has ended.
fn zombie(pid: i32) -> Option<i32> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may hold anything, and is closed by the last parenthesis.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    fields.next().filter(|state| *state == "Z")?;
    fields.last()?.parse().ok()
}

/// What `PIDFD_GET_INFO` fills, in its first version.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;
const INFO_EXIT: u64 = 1 << 3;

fn reaped(fd: std::os::fd::BorrowedFd<'_>) -> Option<i32> {
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: INFO_EXIT, ..Info::default() };
    // SAFETY: the request says that it fills 64 bytes, which is what `info` has; a kernel that does not know it fills none.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), GET_INFO, &raw mut info) };
    (done == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn an_end_is_read_before_and_after_it_was_reaped() {
        for (script, wanted) in [("exit 7", Status::Exited(7)), ("kill -9 $$", Status::Signaled(9))] {
            let mut child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let fd = open(pid).unwrap();
            let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut polled, None).unwrap();
            assert!(exists(&fd));
            assert_eq!(status(&fd, pid), Some(wanted), "{script}");
            child.wait().unwrap();
            assert!(!exists(&fd));
            assert_eq!(signal(&fd, Signal::KILL), Err(Errno::SRCH));
            // Known by newer kernels, never another's.
            assert!(status(&fd, pid).is_none_or(|status| status == wanted), "{script}");
        }
    }

    #[test]
    fn one_that_runs_has_no_status() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let fd = open(pid).unwrap();
        assert_eq!(status(&fd, pid), None);
        signal(&fd, Signal::TERM).unwrap();
        child.wait().unwrap();
    }
}
