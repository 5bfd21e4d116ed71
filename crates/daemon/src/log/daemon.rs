//! The daemon's own log: syslog, a file (`-filelog`) or standard error. Says what xinetd says in xinetd's words, then
//! what xinetd keeps to itself. Values are escaped here, so that no caller can forget to.

use super::{BACKLOG, Stamp, shared};
use crate::escape::escaped;
use portreeve_conf::Level;
use portreeve_sys::{file, syslog::Syslog};
use rustix::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where the lines go.
#[derive(Debug)]
enum Sink {
    Syslog { facility: u16, to: Syslog },
    File { path: PathBuf, fd: OwnedFd },
    Stderr,
}

/// The daemon's log.
#[derive(Debug)]
pub struct Daemon {
    sink: Sink,
    word: &'static str,
    pid: u32,
    /// `word[pid]: `
    who: String,
    buffer: Vec<u8>,
    dropped: u64,
}

impl Daemon {
    /// A log on standard error.
    pub fn stderr(word: &'static str) -> Self {
        Self::with(Sink::Stderr, word)
    }

    /// A log in syslog under a shifted facility number.
    pub fn syslog(word: &'static str, facility: u16) -> Self {
        Self::with(Sink::Syslog { facility, to: Syslog::new(word) }, word)
    }

    /// A log in a file.
    pub fn file(word: &'static str, path: &Path) -> std::io::Result<Self> {
        let fd = file::open_append(path, 0o644)?;
        Ok(Self::with(Sink::File { path: path.to_path_buf(), fd }, word))
    }

    fn with(sink: Sink, word: &'static str) -> Self {
        let mut log = Self { sink, word, pid: 0, who: String::new(), buffer: Vec::new(), dropped: 0 };
        log.new_pid();
        log
    }

    /// To be called after the process id has changed (daemonising).
    pub fn new_pid(&mut self) {
        self.pid = std::process::id();
        self.who = format!("{}[{}]: ", self.word, self.pid);
    }

    /// Opens the file anew, so that it can be rotated (xinetd does not).
    pub fn reopen(&mut self) {
        if let Sink::File { path, fd } = &mut self.sink
            && let Ok(new) = file::open_append(path, 0o644)
        {
            *fd = new;
        }
    }

    /// Lines that were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// One line.
    pub fn say(&mut self, stamp: &Stamp, level: Level, text: &str) {
        self.say_as(stamp, level, None, text);
    }

    /// One line, in syslog under another (shifted) facility than the log's own.
    pub fn say_as(&mut self, stamp: &Stamp, level: Level, other: Option<u16>, text: &str) {
        let text = escaped(text);
        if let Sink::Syslog { facility, to } = &mut self.sink {
            if !to.send(other.unwrap_or(*facility) | severity(level), text.as_bytes()) {
                self.dropped += 1;
            }
            return;
        }
        if self.buffer.len() > BACKLOG {
            self.dropped += 1;
            return;
        }
        // A reload says a line of each service.
        for part in [stamp.text(), " ", &self.who, level_word(level), ": ", &text, "\n"] {
            self.buffer.extend_from_slice(part.as_bytes());
        }
    }

    /// A CRITICAL line, which xinetd writes with its process id and the name of a function.
    pub fn critical(&mut self, stamp: &Stamp, function: &str, text: &str) {
        let text = format!("{} {{{function}}} {text}", self.pid);
        match &self.sink {
            Sink::Syslog { .. } => self.say(stamp, Level::Critical, &format!("CRITICAL: {text}")),
            _ => self.say(stamp, Level::Critical, &text),
        }
    }

    /// Writes what has been gathered. False when something had to stay behind.
    pub fn flush(&mut self) -> bool {
        let wrote = match &self.sink {
            _ if self.buffer.is_empty() => return true,
            Sink::Syslog { .. } => return true,
            Sink::File { fd, .. } => rustix::io::write(fd, &self.buffer),
            Sink::Stderr => shared::write(rustix::stdio::stderr(), &self.buffer),
        };
        let n = wrote.unwrap_or(0).min(self.buffer.len());
        self.buffer.drain(..n);
        self.buffer.is_empty()
    }
}

/// The level as file logs write it.
fn level_word(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Notice => "NOTICE",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

/// syslog(3) severities.
fn severity(level: Level) -> u16 {
    match level {
        Level::Debug => 7,
        Level::Info => 6,
        Level::Notice => 5,
        Level::Warning => 4,
        Level::Error => 3,
        Level::Critical => 2,
    }
}
