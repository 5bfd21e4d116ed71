//! A client of /dev/log that never waits. Writes lines exactly as glibc's syslog(3) does; what the socket does not
//! take is dropped and counted. Decides no priority and escapes nothing: that is the caller's.

use crate::clock;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where syslog daemons listen.
pub const PATH: &str = "/dev/log";

/// Longest text of one line; more is cut. glibc has no bound, but a datagram has, and syslogd cuts at 8 KiB.
const LONGEST: usize = 8 * 1024;

/// How long a daemon that could not be reached is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// A connection to the syslog daemon, made when first needed and again when it is lost.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    tag: Vec<u8>,
    line: Vec<u8>,
    stamp: Stamp,
    connection: Option<Connection>,
    not_before: Duration,
    dropped: u64,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    /// Some daemons listen on a stream socket; a NUL then ends each message.
    stream: bool,
}

/// "Nov  2 03:04:05" of one second, so that a burst of lines asks libc once.
#[derive(Debug, Default)]
struct Stamp {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Stamp {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

    fn at(&mut self, second: i64) -> &[u8] {
        if self.second != Some(second) {
            let t = clock::local(second);
            let month = Self::MONTHS.get(usize::from(t.month).wrapping_sub(1)).unwrap_or(&"Jan");
            self.text.clear();
            let _ = write!(self.text, "{month} {:2} {:02}:{:02}:{:02}", t.day, t.hour, t.minute, t.second);
            self.second = Some(second);
        }
        &self.text
    }
}

impl Syslog {
    /// A client that signs as `tag[pid]`. Connects to nothing yet.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Self::at(Path::new(PATH), tag)
    }

    /// As [`Syslog::new`], for a daemon that listens elsewhere.
    #[must_use]
    pub fn at(path: &Path, tag: &str) -> Self {
        Self {
            path: path.to_owned(),
            tag: format!("{tag}[{}]: ", std::process::id()).into_bytes(),
            line: Vec::with_capacity(256),
            stamp: Stamp::default(),
            connection: None,
            not_before: Duration::ZERO,
            dropped: 0,
        }
    }

    /// Sends `text` with `priority` (facility | severity, as LOG_DAEMON | LOG_INFO). Returns whether it was taken.
    pub fn send(&mut self, priority: u16, text: &[u8]) -> bool {
        self.line.clear();
        let _ = write!(self.line, "<{priority}>");
        self.line.extend_from_slice(self.stamp.at(clock::wall_seconds()));
        self.line.push(b' ');
        self.line.extend_from_slice(&self.tag);
        self.line.extend_from_slice(text.get(..LONGEST).unwrap_or(text));
        let taken = self.transmit();
        if !taken {
            self.dropped = self.dropped.saturating_add(1);
        }
        taken
    }

    /// Lines lost since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Forgets the connection: after a reload, or in a child that must not share it.
    pub fn close(&mut self) {
        self.connection = None;
        self.not_before = Duration::ZERO;
    }

    /// Once on the connection that is there, and once on a new one when that turns out to be dead.
    fn transmit(&mut self) -> bool {
        if self.connection.is_some() {
            match self.write_line() {
                Ok(()) => return true,
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::MSGSIZE) => return false, // alive, but not for this
                Err(_) => self.connection = None,
            }
        }
        let now = clock::monotonic_coarse();
        if now < self.not_before {
            return false;
        }
        match connect(&self.path) {
            Ok(connection) => self.connection = Some(connection),
            Err(_) => {
                self.not_before = now.saturating_add(PAUSE);
                return false;
            }
        }
        self.write_line().is_ok()
    }

    fn write_line(&mut self) -> Result<(), Errno> {
        let Some(connection) = &self.connection else { return Err(Errno::NOTCONN) };
        if connection.stream && self.line.last() != Some(&0) {
            self.line.push(0);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::net::send(&connection.fd, &self.line, flags)?;
        // A stream may take a part; the rest would be glued to the next line.
        if sent == self.line.len() { Ok(()) } else { Err(Errno::CONNRESET) }
    }
}

fn connect(path: &Path) -> Result<Connection, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let open = |kind| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        rustix::net::connect(&fd, &address).map(|()| fd)
    };
    match open(SocketType::DGRAM) {
        Ok(fd) => Ok(Connection { fd, stream: false }),
        Err(Errno::PROTOTYPE) => Ok(Connection { fd: open(SocketType::STREAM)?, stream: true }),
        Err(errno) => Err(errno),
    }
}
