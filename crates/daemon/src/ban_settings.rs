//! The policy of bans as portreeve.toml has it. The gate does not read that file: `portreeve` is started for it, at the start and at a
//! reload that finds another file, and says lines that policy reads. Until it has answered, and where it has nothing but a complaint,
//! the policy of before holds.

use crate::hire::companion;
use crate::ledger::{SETTINGS, settings_mark};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::evidence::BanPolicy;
use portreeve_sys::reap::{Pid, Signal, Status, kill};
use portreeve_sys::spawn::{ImageBuilder, SpawnError, Stdio};
use rustix::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much is listened to: what a pipe takes.
const MOST_SAID: usize = 64 * 1024;

/// What is known of the settings.
#[derive(Debug, Default)]
pub struct BanSettings {
    /// The file that was read last; the outer `None` before the first.
    mark: Option<Option<(u64, i64, i64, u64)>>,
    asked: Option<(i32, OwnedFd)>,
    /// What is wrong with it; empty when nothing is.
    pub trouble: String,
}

impl BanSettings {
    /// The process that reads them now.
    pub fn reader(&self) -> Option<i32> {
        self.asked.as_ref().map(|(pid, _)| *pid)
    }
}

impl Supervisor {
    /// Reads the settings, unless the file is the one that was read last and was right.
    pub fn read_ban_settings(&mut self) {
        let mark = settings_mark();
        let settings = &mut self.ban_settings;
        if settings.asked.is_some() || (settings.mark == Some(mark) && settings.trouble.is_empty()) {
            return;
        }
        settings.mark = Some(mark);
        if mark.is_none() {
            settings.trouble.clear();
            return self.go_by(BanPolicy::default());
        }
        match self.ask_for_settings() {
            Ok((pid, said)) => {
                self.timers.set(self.stamp.mono() + PATIENCE, Alarm::BanSettings(pid));
                self.ban_settings.asked = Some((pid, said));
            }
            Err(why) => self.settings_failed(format!("{SETTINGS} cannot be read: {why}")),
        }
    }

    fn ask_for_settings(&mut self) -> Result<(i32, OwnedFd), String> {
        let text = |errno: rustix::io::Errno| crate::machine::percent_m(&errno.into());
        let path = companion()?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (said, says) = rustix::pipe::pipe_with(flags).map_err(text)?;
        let (flags, mode) =
            (rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
        let null = rustix::fs::open("/dev/null", flags, mode).map_err(text)?;
        let image = ImageBuilder {
            path,
            argv: vec![c"portreeve".to_owned(), c"worker".to_owned(), c"bans".to_owned()],
            dir: c"/".to_owned(),
            new_session: true,
            ..ImageBuilder::default()
        }
        .build();
        let (stdin, stdout, stderr) = (null.as_fd(), says.as_fd(), null.as_fd());
        let stdio = Stdio::Separate { stdin, stdout, stderr, extra: None };
        match self.spawner.spawn(&image, &[], stdio) {
            Ok(pid) => Ok((pid.as_raw_nonzero().get(), said)),
            Err(SpawnError::Child { pid, errno, .. }) => {
                self.staff.retire(pid.as_raw_nonzero().get());
                Err(text(errno))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// It has had its time.
    pub fn ban_settings_late(&mut self, pid: i32) {
        if self.ban_settings.asked.as_ref().is_some_and(|(asked, _)| *asked == pid)
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill(pid, Signal::KILL);
        }
    }

    /// A process has ended; whether it was the one that read the settings.
    pub fn ban_settings_ended(&mut self, pid: i32, status: Status) -> bool {
        let Some((_, said)) = self.ban_settings.asked.take_if(|(asked, _)| *asked == pid) else {
            return false;
        };
        let mut bytes = vec![0; MOST_SAID];
        let mut length = 0;
        while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
            match rustix::io::read(&said, room) {
                Ok(0) | Err(_) => break,
                Ok(got) => length += got,
            }
        }
        bytes.truncate(length);
        let text = String::from_utf8_lossy(&bytes);
        match status {
            Status::Exited(0) => match BanPolicy::from_lines(&text) {
                Ok(policy) => {
                    if !std::mem::take(&mut self.ban_settings.trouble).is_empty() {
                        self.say(Level::Notice, &format!("{SETTINGS}: [bans] is right again"));
                    }
                    self.go_by(policy);
                }
                // Of another version, perhaps.
                Err(bad) => self.settings_failed(format!("{SETTINGS} was read, and not understood: {bad}")),
            },
            Status::Exited(_) if !text.is_empty() => {
                let first = text.lines().next().unwrap_or_default();
                self.settings_failed(portreeve_workers::protocol::sentence(first));
            }
            _ => self.settings_failed(format!("{SETTINGS} was not read: what reads it has died")),
        }
        true
    }

    fn go_by(&mut self, policy: BanPolicy) {
        if *self.book.policy() != policy {
            self.book.go_by(policy, self.stamp.mono());
        }
    }

    fn settings_failed(&mut self, why: String) {
        self.say(Level::Error, &format!("{why}; bans go by the policy of before"));
        self.ban_settings.trouble = why;
    }
}
