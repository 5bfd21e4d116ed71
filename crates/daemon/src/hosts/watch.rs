//! News of the tables without a client: inotify on their directory (editors rename) and on the files themselves (links, mounts).
//! Each decision looks at the files anyway; this is for whoever holds a copy of them, and so that a broken edit is told at
//! once. Where inotify does not work they are looked at every second.

use crate::supervisor::{Supervisor, Token};
use crate::timers::Alarm;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::mem::MaybeUninit;
use std::time::Duration;

/// How often the tables are looked at where nothing tells of their changes.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a change they are looked at.
const SETTLE: Duration = Duration::from_millis(50);
/// Events that are read at one wake-up.
const EVENTS: usize = 256;

/// The watch over the tables.
#[derive(Debug, Default)]
pub struct Watch {
    inotify: Option<OwnedFd>,
    alarm_set: bool,
}

impl Watch {
    /// A watch over their directory; none where that cannot be had.
    pub fn new() -> Self {
        let watch = || {
            let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let flags = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            inotify::add_watch(&fd, "/etc", flags)?;
            rustix::io::Result::Ok(fd)
        };
        Self { inotify: watch().ok(), alarm_set: false }
    }

    /// Whether the kernel tells of changes.
    pub fn is_on(&self) -> bool {
        self.inotify.is_some()
    }

    /// The descriptor, to be polled.
    pub fn fd(&self) -> Option<&OwnedFd> {
        self.inotify.as_ref()
    }

    /// Watches what the paths lead to now; a name that was watched is watched once.
    fn add(&self, paths: [&str; 2]) {
        let Some(fd) = &self.inotify else { return };
        let flags = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        for path in paths {
            // One that is not there shows in the directory when it comes.
            let _ = inotify::add_watch(fd, path, flags);
        }
    }

    /// Takes the events. Whether one of them may be about the tables.
    fn take(&self) -> bool {
        let Some(fd) = &self.inotify else { return true };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(fd, &mut space);
        let mut news = false;
        for _ in 0..EVENTS {
            match reader.next() {
                Ok(event) => {
                    let other = event.file_name().is_some_and(|name| !name.to_bytes().starts_with(b"hosts."));
                    news |= !other || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(_) => break,
            }
        }
        news
    }
}

impl Supervisor {
    /// Starts to watch, once.
    pub fn begin_to_watch_tables(&mut self) {
        if let Some(fd) = self.watch_over.fd()
            && self.watch(fd.as_fd(), Token::Tables).is_err()
        {
            self.watch_over = Watch::default();
        }
        self.refresh_tables();
        self.watch_tables();
    }

    /// Watches the files that are there now.
    pub fn watch_tables(&mut self) {
        self.watch_over.add(self.hosts.paths());
        if !self.watch_over.is_on() && !self.watch_over.alarm_set {
            self.watch_over.alarm_set = true;
            self.timers.set(self.stamp.mono() + LOOK, Alarm::Tables);
        }
    }

    /// The kernel has told something.
    pub fn tables_event(&mut self) {
        // An editor that writes in place empties the table first; clients do not wait for this.
        if self.watch_over.take() && !std::mem::replace(&mut self.watch_over.alarm_set, true) {
            self.timers.set(self.stamp.mono() + SETTLE, Alarm::Tables);
        }
    }

    /// It is time to look.
    pub fn look_at_tables(&mut self) {
        self.watch_over.alarm_set = false;
        self.refresh_tables();
        if self.hosts.prepare() {
            // Their texts are let go once that is done, without a client too.
            self.timers.set(self.stamp.mono() + LOOK, Alarm::Tables);
        }
        self.watch_tables();
    }
}
