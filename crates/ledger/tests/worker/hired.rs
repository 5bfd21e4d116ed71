//! The ledger as the supervisor starts it, with the supervisor's end of its channel.

use portreeve_sys::seqpacket;
use portreeve_sys::spawn::{ImageBuilder, Spawner, Stdio};
use portreeve_workers::protocol::{
    Event, EventBatch, EventKind, FromLedger, MAX_MESSAGE, Missing, Referee, Worker,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The worker.
pub(crate) struct Hired {
    pid: Pid,
    channel: OwnedFd,
    referee: Referee,
}

impl Hired {
    /// One that keeps the ledger in this directory, or `off`.
    pub(crate) fn new(keep: &str) -> Self {
        Self::told(&[keep])
    }

    /// One of this directory that may have so many bytes and keeps for so many seconds.
    pub(crate) fn bounded(keep: &str, most_bytes: u64, seconds: u64) -> Self {
        Self::told(&[keep, &most_bytes.to_string(), &seconds.to_string()])
    }

    fn told(words: &[&str]) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let word = |text: &str| CString::new(text).unwrap();
        let image = ImageBuilder {
            path: word(std::env::current_exe().unwrap().to_str().unwrap()),
            argv: ["worker", "--child", "worker", "ledger"]
                .iter()
                .chain(words)
                .map(|text| word(text))
                .collect(),
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
        Hired { pid, channel, referee: Referee::new(Worker::Ledger) }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        seqpacket::send(&self.channel, bytes, None).unwrap();
    }

    pub(crate) fn hear(&mut self) -> FromLedger {
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        let n = poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(n, 1, "the worker says nothing");
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = seqpacket::recv(&self.channel, &mut buffer).unwrap().len;
        self.referee.from_ledger(&buffer[..length]).unwrap()
    }

    pub(crate) fn ready(&mut self) -> Vec<Missing> {
        match self.hear() {
            FromLedger::Ready { missing } => missing,
            other => panic!("{other:?}"),
        }
    }

    /// What of its memory is in memory.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Closes the channel; the worker must go by itself and without complaint.
    pub(crate) fn dismiss(self) {
        drop(self.channel);
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
    }

    pub(crate) fn kill(self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        waitpid(Some(self.pid), WaitOptions::empty()).unwrap();
    }
}

/// A batch of starts, of now.
pub(crate) fn batch(first: u64, count: u64, dropped: u64) -> Vec<u8> {
    starts(first, count).seal(SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), dropped)
}

/// One of another time, since 1970.
pub(crate) fn batch_since(time: Duration, first: u64, count: u64) -> Vec<u8> {
    starts(first, count).seal(time, 0)
}

fn starts(first: u64, count: u64) -> EventBatch {
    let mut batch = EventBatch::default();
    for id in first..first + count {
        assert!(batch.push(&Event {
            kind: EventKind::Start,
            id,
            at: Duration::from_micros(id),
            service: "s1",
            peer: Some("192.0.2.7:4000".parse().unwrap()),
            reason: "",
            rule: None,
            pid: 12,
            count: 1,
            ended: None,
            banned: None,
        }));
    }
    batch
}
