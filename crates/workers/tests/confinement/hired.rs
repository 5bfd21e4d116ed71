//! A worker as the supervisor starts it, with the supervisor's end of its channel.

use portreeve_sys::seqpacket;
use portreeve_sys::spawn::{ImageBuilder, Spawner, Stdio};
use portreeve_workers::protocol::{MAX_MESSAGE, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// The worker.
pub(crate) struct Hired {
    pid: Pid,
    channel: OwnedFd,
}

impl Hired {
    pub(crate) fn new(worker: Worker) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let word = |text: &str| CString::new(text).unwrap();
        let path: PathBuf = std::env::current_exe().unwrap();
        let image = ImageBuilder {
            path: word(path.to_str().unwrap()),
            argv: ["confinement", "--child", "worker", worker.name()].map(word).into(),
            dir: word("/"),
            ..ImageBuilder::default()
        }
        .build();
        let stdio = Stdio::Separate {
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: rustix::stdio::stderr(),
            extra: Some(theirs.as_fd()),
        };
        let pid = Spawner::new().unwrap().spawn(&image, &[], stdio).unwrap();
        Hired { pid, channel }
    }

    pub(crate) fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        seqpacket::send(&self.channel, bytes, fd).unwrap();
    }

    pub(crate) fn hear(&self) -> Vec<u8> {
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        let n = poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(n, 1, "the worker says nothing");
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = seqpacket::recv(&self.channel, &mut buffer).unwrap().len;
        buffer.truncate(length);
        buffer
    }

    /// Closes the channel; the worker must go by itself and without complaint.
    pub(crate) fn dismiss(self) {
        drop(self.channel);
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
    }
}
