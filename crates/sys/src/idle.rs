//! Another process by a descriptor that stays its own, and since when its connection has been silent.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal};
use std::io;
use std::time::Duration;

/// A process: whoever gets its number after it has ended is not meant.
#[derive(Debug)]
pub struct Process(OwnedFd);

/// Offsets in the kernel's `struct tcp_info`, in milliseconds: last data sent, last data received.
const SENT: usize = 44;
const RECEIVED: usize = 52;
const LENGTH: usize = 104;

impl From<OwnedFd> for Process {
    /// The process of a pidfd.
    fn from(pidfd: OwnedFd) -> Self {
        Self(pidfd)
    }
}

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// `ESRCH` when there is none; `EMFILE`.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self(rustix::process::pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended and was reaped; `EPERM`.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(&self.0, signal)?)
    }

    /// Whether it has ended, waiting for that at most so long.
    #[must_use]
    pub fn ended_within(&self, patience: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut waits = [PollFd::new(&self.0, PollFlags::IN)];
        let patience = Timespec::try_from(patience).ok();
        matches!(poll(&mut waits, patience.as_ref()), Ok(n) if n > 0)
    }

    /// For how long no data has come or gone on its TCP connection at `fd`. None where that is no connection, or may not be seen.
    #[must_use]
    pub fn silent(&self, fd: i32) -> Option<Duration> {
        let socket = rustix::process::pidfd_getfd(self.0.as_fd(), fd, PidfdGetfdFlags::empty()).ok()?;
        let mut info = [0u8; LENGTH];
        let mut length = libc::socklen_t::try_from(LENGTH).ok()?;
        // SAFETY: the buffer has `length` bytes, and the kernel writes no more.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        // The first byte is the state: 1 is established, 10 listens.
        if result != 0 || usize::try_from(length).ok()? < RECEIVED + 4 || info.first() == Some(&10) {
            return None;
        }
        let word = |at: usize| Some(u32::from_ne_bytes(info.get(at..at + 4)?.try_into().ok()?));
        Some(Duration::from_millis(u64::from(word(SENT)?.min(word(RECEIVED)?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    #[test]
    fn a_process_keeps_its_descriptor_and_its_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        let mut child = Command::new("sleep").arg("60").stdin(OwnedFd::from(other)).spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        one.write_all(b"x").unwrap();
        let silent = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            process.silent(0).filter(|silent| *silent >= Duration::from_millis(50))
        });
        assert!(silent.is_some());
        assert_eq!(process.silent(1), None);
        assert!(!process.ended_within(Duration::ZERO));
        process.signal(Signal::TERM).unwrap();
        assert!(process.ended_within(Duration::from_secs(20)));
        child.wait().unwrap();
        assert!(process.signal(Signal::TERM).is_err(), "whoever has its number now is not meant");
    }
}
