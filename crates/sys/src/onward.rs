//! From the control group in which a program begins into the one that it is to be in. The supervisor waits until a child has executed
//! its program, and a child whose group has spent its processors' time would make it wait for more; so it moves the child itself, then.

use crate::cgroup::joining;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;

/// The way on.
#[derive(Debug)]
pub struct Onward {
    /// Who is in the one.
    from: OwnedFd,
    /// By which one comes into the other.
    to: OwnedFd,
}

impl Onward {
    /// # Errors
    /// As open(2).
    pub fn new(from: &OwnedFd, to: &OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let from = rustix::fs::openat(from, "cgroup.procs", flags, Mode::empty())?;
        Ok(Self { from, to: joining(to)? })
    }

    /// The same once more.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { from: self.from.try_clone()?, to: self.to.try_clone()? })
    }

    /// Moves a child of ours on, and whomever it has started meanwhile. Who has ended needs no group.
    ///
    /// # Errors
    /// `ENODEV` where the group has been removed.
    pub(crate) fn go(&self, child: Pid) -> Result<(), Errno> {
        /// Each round finds who came meanwhile.
        const ROUNDS: usize = 8;
        let go = |pid: &[u8]| match rustix::io::write(&self.to, pid) {
            Ok(_) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno),
        };
        go(child.as_raw_nonzero().to_string().as_bytes())?;
        for _ in 0..ROUNDS {
            let mut text = [0; 4096];
            let length = rustix::io::pread(&self.from, &mut text[..], 0)?;
            let left = text.get(..length).unwrap_or_default();
            if left.is_empty() {
                break;
            }
            // A number that is cut off is read again in the next round.
            let whole = left.split_inclusive(|byte| *byte == b'\n').filter_map(|pid| pid.strip_suffix(b"\n"));
            whole.filter(|pid| *pid != b"0").try_for_each(go)?;
        }
        Ok(())
    }
}
