//! The SHA-256 of programs, by what tells their content. A process of `portreeve` reads each file from the descriptor that it is given
//! and says one line; nothing is hashed here and nothing is waited for. How many read at once, wait, and are remembered is bounded.

use crate::hire::companion;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{ProgramDigest, program_digest};
use portreeve_sys::reap::{Pid, Signal, Status, kill};
use portreeve_sys::sandbox::Sandbox;
use portreeve_sys::source::Identity;
use portreeve_sys::spawn::{ImageBuilder, SpawnError, Stays, Stdio};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Files that are read at once: what is to be served has the processors.
const MOST_AT_ONCE: usize = 2;
/// Files that wait for their turn. Whoever finds no room asks again.
pub const MOST_WAITING: usize = 256;
/// Contents that are remembered. When there are more, all are read again.
const MOST_KNOWN: usize = 4096;
/// How long the reading of one may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// When one that could not be read is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// The longest line that is listened to.
const LONGEST: usize = 512;

/// What is known of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its digest and how it is executed, or why it could not be read.
    pub found: Result<(ProgramDigest, Stays), String>,
    /// It is to be read again from this moment on.
    until: Option<Duration>,
}

/// The contents, and who reads which.
#[derive(Debug, Default)]
pub struct Hashing {
    known: HashMap<Identity, Known>,
    reading: Vec<Reading>,
    waiting: VecDeque<(Identity, OwnedFd)>,
    /// Files that were read since the start.
    pub read: u64,
    /// Files that could not be.
    pub failed: u64,
}

#[derive(Debug)]
struct Reading {
    pid: i32,
    said: OwnedFd,
    identity: Identity,
}

impl Hashing {
    /// What is known of this content.
    pub fn of(&self, identity: &Identity, now: Duration) -> Option<&Known> {
        self.known.get(identity).filter(|known| known.until.is_none_or(|until| now < until))
    }

    /// How many are read or wait.
    pub fn len(&self) -> usize {
        self.reading.len() + self.waiting.len()
    }

    /// The processes that read now.
    pub fn readers(&self) -> impl Iterator<Item = i32> {
        self.reading.iter().map(|reading| reading.pid)
    }

    fn learn(&mut self, identity: Identity, known: Known) {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(identity, known);
    }
}

impl Supervisor {
    /// Has a program hashed, unless that is under way.
    pub fn hash(&mut self, identity: Identity, program: OwnedFd) {
        let hashing = &mut self.hashing;
        let reads = hashing.reading.iter().any(|reading| reading.identity == identity);
        let waits = hashing.waiting.iter().any(|(waiting, _)| *waiting == identity);
        if !reads && !waits && hashing.waiting.len() < MOST_WAITING {
            hashing.waiting.push_back((identity, program));
            self.hash_next();
        }
    }

    fn hash_next(&mut self) {
        while self.hashing.reading.len() < MOST_AT_ONCE
            && let Some((identity, program)) = self.hashing.waiting.pop_front()
        {
            match self.start_hashing(&program) {
                Ok((pid, said)) => {
                    self.timers.set(self.stamp.mono() + PATIENCE, Alarm::Hashed(pid));
                    self.hashing.reading.push(Reading { pid, said, identity });
                }
                Err(why) => self.hashed(identity, Err(format!("it could not be hashed: {why}"))),
            }
        }
    }

    fn start_hashing(&mut self, program: &OwnedFd) -> Result<(i32, OwnedFd), String> {
        let text = |errno: rustix::io::Errno| crate::machine::percent_m(&errno.into());
        let path = companion()?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (said, says) = rustix::pipe::pipe_with(flags).map_err(text)?;
        let (flags, mode) =
            (rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
        let null = rustix::fs::open("/dev/null", flags, mode).map_err(text)?;
        let image = ImageBuilder {
            path,
            argv: vec![c"portreeve".to_owned(), c"worker".to_owned(), c"digest".to_owned()],
            dir: c"/".to_owned(),
            new_session: true,
            nice: Some(5),
            sandbox: Some(Box::new(Sandbox { no_new_privs: true, ..Sandbox::default() })),
            ..ImageBuilder::default()
        }
        .build();
        let stdio = Stdio::Separate {
            stdin: program.as_fd(),
            stdout: says.as_fd(),
            stderr: null.as_fd(),
            extra: None,
        };
        match self.spawner.spawn(&image, &[], stdio) {
            Ok(pid) => Ok((pid.as_raw_nonzero().get(), said)),
            Err(SpawnError::Child { pid, errno, .. }) => {
                self.staff.retire(pid.as_raw_nonzero().get());
                Err(text(errno))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// One has had its time.
    pub fn hashing_late(&mut self, pid: i32) {
        if self.hashing.reading.iter().any(|reading| reading.pid == pid)
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill(pid, Signal::KILL);
        }
    }

    /// A process has ended; whether it was one that hashed.
    pub fn hashing_ended(&mut self, pid: i32, status: Status) -> bool {
        let Some(at) = self.hashing.reading.iter().position(|reading| reading.pid == pid) else {
            return false;
        };
        let Reading { said, identity, .. } = self.hashing.reading.swap_remove(at);
        let mut line = [0; LONGEST];
        let length = rustix::io::read(&said, &mut line).unwrap_or(0);
        let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
        let found = match status {
            Status::Exited(0) => {
                understood(&line).ok_or_else(|| "what hashes it was not understood".to_owned())
            }
            Status::Exited(_) if !line.is_empty() => {
                Err(format!("it could not be hashed: {}", portreeve_workers::protocol::sentence(&line)))
            }
            _ => Err("what hashes it has died, or took too long".to_owned()),
        };
        self.hashed(identity, found);
        self.hash_next();
        true
    }

    fn hashed(&mut self, identity: Identity, found: Result<(ProgramDigest, Stays), String>) {
        self.hashing.read += u64::from(found.is_ok());
        self.hashing.failed += u64::from(found.is_err());
        let until = found.is_err().then(|| self.stamp.mono() + AGAIN);
        self.hashing.learn(identity, Known { found, until });
        self.programs_known(&identity);
    }
}

/// `DIGEST elf` or `DIGEST script`.
fn understood(line: &str) -> Option<(ProgramDigest, Stays)> {
    let (digest, kind) = line.trim_end().split_once(' ')?;
    let stays = match kind {
        "elf" => Stays::Closed,
        "script" => Stays::Open,
        _ => return None,
    };
    Some((program_digest(digest)?, stays))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_understood() {
        let digits = "0f".repeat(32);
        assert_eq!(understood(&format!("{digits} elf\n")), Some(([0x0f; 32], Stays::Closed)));
        assert_eq!(understood(&format!("{digits} script\n")), Some(([0x0f; 32], Stays::Open)));
        for odd in ["", "elf", &digits, &format!("{digits} x"), &format!("{} elf", &digits[2..])] {
            assert_eq!(understood(odd), None, "{odd}");
        }
    }
}
