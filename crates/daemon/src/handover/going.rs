//! The upgrade as the version that goes sees it: finds the new executable, has it probed while it serves on, and executes it.
//! A failure at any step leaves everything as it is, and is said.

use super::Role;
use super::probe::Probing;
use super::settle::Settling;
use crate::control::failure;
use crate::machine::percent_m;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_sys::handover;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsString;
use std::path::PathBuf;

/// What is needed to go over to another executable, and how far that is.
#[derive(Debug, Default)]
pub struct Upgrade {
    /// Where the executable was when the first of them was started; that is where the next is expected.
    pub executable: PathBuf,
    /// The one that runs, to go back to.
    pub back: Option<OwnedFd>,
    /// How often it was replaced.
    pub count: u64,
    /// The new one is being asked.
    pub probing: Option<Probing>,
    /// Somebody wants it as soon as a reading under way is done; the control client that asked.
    pub wanted: Option<Option<u32>>,
    /// The probe was content; who needs it gets a moment first.
    pub settling: Option<Settling>,
}

impl Upgrade {
    /// Of a process that was just started.
    pub fn new() -> Self {
        Self {
            executable: std::fs::read_link("/proc/self/exe").unwrap_or_default(),
            back: handover::own_executable().ok(),
            ..Self::default()
        }
    }

    /// Whether one is under way.
    pub fn is_under_way(&self) -> bool {
        self.probing.is_some() || self.settling.is_some() || self.wanted.is_some()
    }
}

/// Executes the running version again from the descriptor that is held of it: `state` and everything it names are still open.
/// Comes back only with the reason why not.
pub fn back(held: OwnedFd, argv: &[OsString], state: i32, named: &[i32]) -> std::io::Error {
    let number = handover::number(&held);
    let open: Vec<i32> = named.iter().copied().chain([state]).collect();
    handover::keep_over_exec(&open, true);
    // It is named in the state too; what is executed need not stay open over it.
    handover::keep_over_exec(&[number], false);
    handover::exec(&held, &Role::Returned(state).arguments(argv))
}

impl Supervisor {
    /// A signal or a control client wants the next version.
    pub fn upgrade(&mut self, client: Option<u32>) {
        if self.stopping.is_some() {
            return;
        }
        if self.upgrade.is_under_way() {
            self.end_upgrade(client, "an upgrade is under way");
            return;
        }
        self.upgrade.wanted = Some(client);
    }

    /// Once a turn of the loop: begins what is wanted, and goes when the probe is content.
    pub fn go_on_with_upgrade(&mut self) {
        if self.reading.is_some() || self.stopping.is_some() || self.exit.is_some() {
            return;
        }
        if let Some(client) = self.upgrade.wanted.take() {
            self.say(Level::Notice, &format!("Upgrade: asking {}", self.upgrade.executable.display()));
            if let Err(why) = self.begin_probe(client) {
                self.end_upgrade(client, &why);
            }
        }
        if let Some((executable, client)) = self.settled() {
            let why = self.become_next(&executable, client);
            self.rest_no_more();
            self.end_upgrade(client, &why);
        }
    }

    /// The upgrade is off; everything goes on as it was.
    pub fn end_upgrade(&mut self, client: Option<u32>, why: &str) {
        self.say(Level::Error, &format!("Upgrade: {why}; this version goes on"));
        if let Some(client) = client {
            self.answer(client, failure(&format!("{why}; the running version goes on")));
        }
    }

    /// Executes the new version in our place. Comes back only with the reason why not.
    fn become_next(&mut self, executable: &OwnedFd, client: Option<u32>) -> String {
        self.say(Level::Notice, "Upgrade: the new executable takes over");
        self.write_logs();
        let mut state = self.leave();
        state.asked_by = client;
        let (bytes, fds) = match state.encode() {
            Ok(encoded) => encoded,
            Err(error) => return format!("the state cannot be handed over: {error}"),
        };
        let sealed = match handover::seal(&bytes) {
            Ok(sealed) => sealed,
            Err(error) => return format!("the state cannot be handed over: {}", percent_m(&error)),
        };
        drop(bytes);
        let number = handover::number(&sealed);
        let argv = Role::Successor(number).arguments(&self.options.argv);
        // From here to the exec nothing may be started: it would inherit every client.
        let kept: Vec<i32> = fds.iter().map(|fd| fd.0).chain([number]).collect();
        handover::keep_over_exec(&kept, true);
        let error = handover::exec(executable.as_fd(), &argv);
        handover::keep_over_exec(&kept, false);
        format!("the new executable cannot be executed: {}", percent_m(&error))
    }
}
