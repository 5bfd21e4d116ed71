//! The services' logs: files with soft and hard limits, shared by path, and syslog. Owns the descriptors and what has
//! not been written yet. A file that cannot be written (full disk) keeps a bounded backlog and counts what it drops.

use super::{BACKLOG, Stamp, shared};
use portreeve_conf::LogType;
use portreeve_sys::{file, syslog::Syslog};
use rustix::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Which log a service writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkId {
    /// None: xinetd logs nothing without log_type, log_on_* or not.
    None,
    /// syslog with this priority.
    Syslog(u16),
    /// A file of the table.
    File(usize),
}

/// What happened to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The soft limit was passed; logging goes on. Of which service (or the first of several).
    Soft(String),
    /// The hard limit was passed; logging stops until reload.
    Hard(String),
    /// It cannot be written: path and error.
    Write(String, String),
}

#[derive(Debug)]
struct FileLog {
    path: String,
    of: String,
    soft: Option<u64>,
    hard: Option<u64>,
    fd: OwnedFd,
    size: u64,
    buffer: Vec<u8>,
    users: u32,
    warned: bool,
    stopped: bool,
    failing: bool,
}

/// All service logs.
#[derive(Debug)]
pub struct Sinks {
    files: Vec<Option<FileLog>>,
    dirty: Vec<usize>,
    syslog: Syslog,
    dropped: u64,
    news: Vec<SinkError>,
}

impl Sinks {
    /// No log yet.
    pub fn new(word: &str) -> Self {
        Self { files: Vec::new(), dirty: Vec::new(), syslog: Syslog::new(word), dropped: 0, news: Vec::new() }
    }

    /// Opens the log a service asks for, or joins one that is open.
    pub fn open(&mut self, id: &str, log: &LogType) -> std::io::Result<SinkId> {
        let (path, soft, hard) = match log {
            LogType::None => return Ok(SinkId::None),
            LogType::Syslog { facility, level } => {
                return Ok(SinkId::Syslog(u16::try_from(facility | level).unwrap_or(30)));
            }
            LogType::File { path, soft, hard } => (path, *soft, *hard),
        };
        let same = |f: &FileLog| *path == f.path && f.soft == soft && f.hard == hard;
        for (index, slot) in self.files.iter_mut().enumerate() {
            if let Some(log) = slot.as_mut().filter(|f| same(f)) {
                log.users += 1;
                return Ok(SinkId::File(index));
            }
        }
        let fd = open_file(path)?;
        let size = size_of(&fd);
        let log = FileLog {
            path: path.to_string(),
            of: id.to_owned(),
            soft,
            hard,
            fd,
            size,
            buffer: Vec::new(),
            users: 1,
            warned: false,
            stopped: false,
            failing: false,
        };
        let index = self.files.iter().position(Option::is_none).unwrap_or(self.files.len());
        if index == self.files.len() {
            self.files.push(Some(log));
        } else {
            self.files[index] = Some(log);
        }
        Ok(SinkId::File(index))
    }

    /// A service no longer writes to this log.
    pub fn close(&mut self, id: SinkId) {
        let SinkId::File(index) = id else { return };
        self.flush_one(index);
        if let Some(slot) = self.files.get_mut(index)
            && let Some(log) = slot
        {
            log.users -= 1;
            if log.users == 0 {
                *slot = None;
            }
        }
    }

    /// Opens every file anew (rotation) and lifts the stop of a hard limit.
    pub fn reopen(&mut self) {
        self.flush();
        for log in self.files.iter_mut().flatten() {
            match open_file(&log.path) {
                Ok(fd) => {
                    log.size = size_of(&fd);
                    log.fd = fd;
                    log.stopped = false;
                    log.warned = false;
                }
                Err(error) => self.news.push(SinkError::Write(log.path.clone(), error.to_string())),
            }
        }
    }

    /// One record. `text` has been escaped by its writer.
    pub fn write(&mut self, id: SinkId, stamp: &Stamp, text: &[u8]) {
        match id {
            SinkId::None => {}
            SinkId::Syslog(priority) => {
                if !self.syslog.send(priority, text) {
                    self.dropped += 1;
                }
            }
            SinkId::File(index) => self.write_file(index, stamp, text),
        }
    }

    fn write_file(&mut self, index: usize, stamp: &Stamp, text: &[u8]) {
        let Some(log) = self.files.get_mut(index).and_then(Option::as_mut) else { return };
        if log.stopped || log.buffer.len() > BACKLOG {
            self.dropped += 1;
            return;
        }
        if log.buffer.is_empty() {
            self.dirty.push(index);
        }
        let before = log.buffer.len();
        log.buffer.extend_from_slice(stamp.text().as_bytes());
        log.buffer.extend_from_slice(b": ");
        log.buffer.extend_from_slice(text);
        log.buffer.push(b'\n');
        log.size += (log.buffer.len() - before) as u64;
        if log.soft.is_some_and(|soft| log.size > soft) && !log.warned {
            log.warned = true;
            self.news.push(SinkError::Soft(log.of.clone()));
        }
        if log.hard.is_some_and(|hard| log.size > hard) {
            log.stopped = true;
            self.news.push(SinkError::Hard(log.of.clone()));
        }
    }

    /// Writes what has been gathered. False when something had to stay behind.
    pub fn flush(&mut self) -> bool {
        let mut clean = true;
        for index in std::mem::take(&mut self.dirty) {
            if !self.flush_one(index) {
                self.dirty.push(index);
                clean = false;
            }
        }
        clean
    }

    fn flush_one(&mut self, index: usize) -> bool {
        let Some(log) = self.files.get_mut(index).and_then(Option::as_mut) else { return true };
        if log.buffer.is_empty() {
            return true;
        }
        let wrote = if is_shared(&log.path) {
            shared::write(log.fd.as_fd(), &log.buffer)
        } else {
            rustix::io::write(&log.fd, &log.buffer)
        };
        match wrote {
            Ok(n) => {
                log.buffer.drain(..n.min(log.buffer.len()));
                log.failing = false;
            }
            Err(error) => {
                if !log.failing {
                    log.failing = true;
                    self.news.push(SinkError::Write(log.path.clone(), error.to_string()));
                }
            }
        }
        log.buffer.is_empty()
    }

    /// What happened to the logs since the last call.
    pub fn news(&mut self) -> Vec<SinkError> {
        std::mem::take(&mut self.news)
    }

    /// Records that were lost, whatever the cause.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// `/dev/stdout` and `/dev/stderr` mean the supervisor's own, as containers expect; they may be sockets, which cannot be opened.
fn open_file(path: &str) -> std::io::Result<OwnedFd> {
    match path {
        "/dev/stdout" => rustix::stdio::stdout().try_clone_to_owned(),
        "/dev/stderr" => rustix::stdio::stderr().try_clone_to_owned(),
        path => file::open_append(Path::new(path), 0o644),
    }
}

fn is_shared(path: &str) -> bool {
    matches!(path, "/dev/stdout" | "/dev/stderr")
}

fn size_of(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
}
