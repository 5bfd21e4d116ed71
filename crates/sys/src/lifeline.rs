//! What a worker's life hangs on: the reading end of a pipe whose writing end the supervisor has, and whoever stands by for it. When the
//! last of them is gone the kernel kills the worker, whatever it does at that moment. The kernel's own signal for a parent's death
//! (`PR_SET_PDEATHSIG`) kills when that one process ends, also where another one takes its place with all that it had.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `F_SETSIG`, which libc has not.
const SET_SIGNAL: libc::c_int = 10;

/// The supervisor's part.
#[derive(Debug)]
pub struct Lifeline {
    /// From which each worker gets a reading end.
    pub read: OwnedFd,
    /// As long as somebody has it the workers live.
    pub write: OwnedFd,
}

impl Lifeline {
    /// A new one.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// A reading end for one worker: a description of its own, since the kernel remembers one process to kill for each.
    ///
    /// # Errors
    /// There is no /proc; `EMFILE`.
    pub fn end(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.read.as_raw_fd());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?)
    }
}

/// From here on this process is killed when nobody has the writing end any more. Call it once its ids are what they will be.
///
/// # Errors
/// `EINVAL` it is no pipe; `EPIPE` there is nobody any more.
pub fn hang_on(end: impl AsFd) -> io::Result<()> {
    let end = end.as_fd();
    if FileType::from_raw_mode(rustix::fs::fstat(end)?.st_mode) != FileType::Fifo {
        return Err(Errno::INVAL.into());
    }
    let ok = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    let own = libc::c_int::try_from(std::process::id()).unwrap_or(0);
    // SAFETY: plain integers, for a descriptor that is open.
    ok(unsafe { libc::fcntl(end.as_raw_fd(), SET_SIGNAL, libc::SIGKILL) })?;
    // SAFETY: as above.
    ok(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETOWN, own) })?;
    // SAFETY: as above. rustix has no O_ASYNC.
    ok(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) })?;
    // Whoever went before the kernel was told sends no signal.
    let mut polled = [PollFd::new(&end, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    if polled.iter().any(|polled| polled.revents().contains(PollFlags::HUP)) {
        return Err(Errno::PIPE.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pipe_and_what_has_nobody_is_told() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(hang_on(&null).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let line = Lifeline::new().unwrap();
        let end = line.end().unwrap();
        drop(line);
        // Not `hang_on`: it would be this process that is killed, were it not for the look.
        let mut polled = [PollFd::new(&end, PollFlags::IN)];
        poll(&mut polled, None).unwrap();
        assert!(polled[0].revents().contains(PollFlags::HUP));
    }
}
