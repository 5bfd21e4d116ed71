//! The SHA-256 of programs, by what tells their content. A process of `portreeve` reads each file from the descriptor that it is given
//! and says one line; nothing is hashed here and nothing is waited for. How many read at once, wait, and are remembered is bounded. Those
//! that lie where somebody else answers are opened by that process too, which leaves what it reads in memory (`elsewhere`); one that gets no
//! answer may not even be killed, so these have places of their own.

use crate::elsewhere::{self, Content, Found};
use crate::hire::companion;
use crate::machine::error_text;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{ProgramDigest, program_digest};
use portreeve_sys::reap::{Pid, Signal, Status, kill};
use portreeve_sys::sandbox::Sandbox;
use portreeve_sys::source::Identity;
use portreeve_sys::spawn::{ImageBuilder, SpawnError, Stays, Stdio};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::time::Duration;

/// Files that are read at once: what is to be served has the processors.
const MOST_AT_ONCE: usize = 2;
/// The same of files that lie elsewhere, those included that nobody answers for.
pub const MOST_ELSEWHERE: usize = 16;
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
    job: Job,
}

/// What is read.
#[derive(Debug)]
pub enum Job {
    /// What is open.
    Open(Identity, OwnedFd),
    /// What a path leads to that nobody here may look up.
    Elsewhere {
        /// The path.
        server: String,
        /// Where it is written to.
        memory: OwnedFd,
        /// What was read before: an equal one is not read again.
        former: Option<Identity>,
        /// The most bytes.
        room: u64,
    },
}

impl Job {
    fn is_of(&self, identity: &Identity) -> bool {
        matches!(self, Self::Open(own, _) if own == identity)
    }

    /// What the process has on its standard input, and the words that it is called with.
    fn told(&self) -> Result<(&OwnedFd, Vec<CString>), Errno> {
        match self {
            Self::Open(_, program) => Ok((program, Vec::new())),
            Self::Elsewhere { server, memory, former, room } => {
                let words =
                    [Some(server.clone()), Some(room.to_string()), former.as_ref().map(identity_text)];
                let words = words.into_iter().flatten().map(CString::new).collect::<Result<_, _>>();
                Ok((memory, words.map_err(|_| Errno::INVAL)?))
            }
        }
    }
}

impl Hashing {
    /// What is known of this content.
    pub fn of(&self, identity: &Identity, now: Duration) -> Option<&Known> {
        self.known.get(identity).filter(|known| known.until.is_none_or(|until| now < until))
    }

    /// How many are read or wait.
    pub fn len(&self) -> usize {
        self.reading.len() + self.waiting.len() - self.elsewhere()
    }

    /// How many of those are read that lie elsewhere.
    pub fn elsewhere(&self) -> usize {
        self.reading.iter().filter(|reading| matches!(reading.job, Job::Elsewhere { .. })).count()
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
        let reads = hashing.reading.iter().any(|reading| reading.job.is_of(&identity));
        let waits = hashing.waiting.iter().any(|(waiting, _)| *waiting == identity);
        if !reads && !waits && hashing.waiting.len() < MOST_WAITING {
            hashing.waiting.push_back((identity, program));
            self.hash_next();
        }
    }

    fn hash_next(&mut self) {
        while self.hashing.reading.len() - self.hashing.elsewhere() < MOST_AT_ONCE
            && let Some((identity, program)) = self.hashing.waiting.pop_front()
        {
            if let Err(why) = self.begin_hashing(Job::Open(identity, program)) {
                self.hashed(identity, Err(format!("it could not be hashed: {why}")));
            }
        }
    }

    /// Starts the process that reads.
    ///
    /// # Errors
    /// Why there is none.
    pub fn begin_hashing(&mut self, job: Job) -> Result<(), String> {
        let (pid, said) = self.start_hashing(&job)?;
        self.timers.set(self.stamp.mono() + PATIENCE, Alarm::Hashed(pid));
        self.hashing.reading.push(Reading { pid, said, job });
        Ok(())
    }

    fn start_hashing(&mut self, job: &Job) -> Result<(i32, OwnedFd), String> {
        let text = |errno: Errno| crate::machine::percent_m(&errno.into());
        let (file, words) = job.told().map_err(text)?;
        let path = companion()?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (said, says) = rustix::pipe::pipe_with(flags).map_err(text)?;
        let (flags, mode) =
            (rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
        let null = rustix::fs::open("/dev/null", flags, mode).map_err(text)?;
        let image = ImageBuilder {
            path,
            argv: [c"portreeve", c"worker", c"digest"].into_iter().map(CStr::to_owned).chain(words).collect(),
            dir: c"/".to_owned(),
            new_session: true,
            nice: Some(5),
            sandbox: Some(Box::new(Sandbox { no_new_privs: true, ..Sandbox::default() })),
            ..ImageBuilder::default()
        }
        .build();
        let stdio =
            Stdio::Separate { stdin: file.as_fd(), stdout: says.as_fd(), stderr: null.as_fd(), extra: None };
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
        let Reading { said, job, .. } = self.hashing.reading.swap_remove(at);
        let mut line = [0; LONGEST];
        let length = rustix::io::read(&said, &mut line).unwrap_or(0);
        let line = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
        let sentence = || portreeve_workers::protocol::sentence(&line);
        match job {
            Job::Open(identity, _) => {
                let found = match status {
                    Status::Exited(0) => {
                        understood(&line).ok_or_else(|| "what hashes it was not understood".to_owned())
                    }
                    Status::Exited(_) if !line.is_empty() => {
                        Err(format!("it could not be hashed: {}", sentence()))
                    }
                    _ => Err("what hashes it has died, or took too long".to_owned()),
                };
                self.hashed(identity, found);
            }
            Job::Elsewhere { server, memory, former, .. } => {
                let found = match status {
                    Status::Exited(0) if line.trim_end() == SAME && former.is_some() => Found::Same,
                    Status::Exited(0) => match self.content(&line, memory) {
                        Ok(content) => Found::Other(content),
                        Err(why) => Found::Nothing(why),
                    },
                    Status::Exited(_) if !line.is_empty() => Found::Nothing(sentence()),
                    _ => Found::Silence,
                };
                self.hashing.read += u64::from(matches!(found, Found::Other(_)));
                self.hashing.failed += u64::from(matches!(found, Found::Nothing(_) | Found::Silence));
                self.looked_elsewhere(&server, found);
            }
        }
        self.hash_next();
        true
    }

    /// What was read into memory, kept out of the way of what children get.
    fn content(&self, line: &str, memory: OwnedFd) -> Result<Content, String> {
        let text = |errno: Errno| format!("it cannot be held: {}", error_text(&errno.into()));
        let (said, identity) =
            line.trim_end().split_once(" of ").ok_or("what hashes it was not understood")?;
        let (said, is_loose) = said.strip_suffix(" loose").map_or((said, false), |said| (said, true));
        let ((digest, stays), identity) =
            understood(said).zip(identity_of(identity)).ok_or("what hashes it was not understood")?;
        elsewhere::seal(&memory).map_err(text)?;
        let parked = portreeve_sys::highfd::park(memory, self.base);
        let memory = parked.map_err(|error| format!("it cannot be held: {}", error_text(&error)))?;
        Ok(Content { identity, digest, stays, is_loose, memory })
    }

    fn hashed(&mut self, identity: Identity, found: Result<(ProgramDigest, Stays), String>) {
        self.hashing.read += u64::from(found.is_ok());
        self.hashing.failed += u64::from(found.is_err());
        let until = found.is_err().then(|| self.stamp.mono() + AGAIN);
        self.hashing.learn(identity, Known { found, until });
        self.programs_known(|slot| slot.verified.awaits.as_ref() == Some(&identity));
    }
}

/// What the process says of a file that is what it was.
const SAME: &str = "same";

/// What tells a content, as words are told it.
pub fn identity_text(identity: &Identity) -> String {
    let Identity { dev, inode, size, mtime, ctime } = identity;
    format!("{dev}:{inode}:{size}:{mtime}:{ctime}")
}

/// The same, read.
pub fn identity_of(text: &str) -> Option<Identity> {
    let words: Vec<&str> = text.split(':').collect();
    let [dev, inode, size, mtime, ctime] = words.as_slice() else { return None };
    Some(Identity {
        dev: dev.parse().ok()?,
        inode: inode.parse().ok()?,
        size: size.parse().ok()?,
        mtime: mtime.parse().ok()?,
        ctime: ctime.parse().ok()?,
    })
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
        let identity = Identity { dev: 1, inode: 2, size: 3, mtime: -4, ctime: 5 };
        assert_eq!(identity_of(&identity_text(&identity)), Some(identity));
        for odd in ["", "1:2:3:4", "1:2:3:4:x", "1:2:3:4:5:6"] {
            assert_eq!(identity_of(odd), None, "{odd}");
        }
        for odd in ["", "elf", &digits, &format!("{digits} x"), &format!("{} elf", &digits[2..])] {
            assert_eq!(understood(odd), None, "{odd}");
        }
    }
}
