//! The upgrade as the version that goes sees it: finds the new executable, has it probed while it serves on, and executes it.
//! A failure at any step leaves everything as it is, and is said.

use super::guard::Starter;
use super::leave::fd;
use super::probe::Probing;
use super::settle::Settling;
use super::{Role, guard};
use crate::control::failure;
use crate::machine::percent_m;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_handover::State;
use portreeve_sys::{handover, main_process, seqpacket};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How long systemd may take until it can be told of who stands by. Nobody is served meanwhile.
const HEARING: Duration = Duration::from_millis(500);

/// What is needed to go over to another executable, and how far that is.
#[derive(Debug, Default)]
pub struct Upgrade {
    /// Where the executable was when the first of them was started; that is where the next is expected.
    pub executable: PathBuf,
    /// The one that runs, to go back to.
    pub back: Option<OwnedFd>,
    /// What was left is taken as it is: nobody can go on from it after us.
    pub takes: bool,
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
/// Comes back only with the reason why not. Takes no descriptor: it may be that there is none.
pub fn back(held: i32, argv: &[OsString], state: i32, named: &[i32]) -> std::io::Error {
    let open: Vec<i32> = named.iter().copied().chain([state]).collect();
    handover::keep_over_exec(&open, true);
    handover::exec_left(held, &Role::Returned(state).arguments(argv))
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
        if self.reading.is_some() || self.rekeying.is_some() || self.stopping.is_some() || self.exit.is_some()
        {
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
        // Who has not its own table yet would find descriptors open in it that are to outlive our exec.
        self.land();
        if let Some(why) = self.ways.in_the_way_of_exec() {
            return why;
        }
        self.say(Level::Notice, "Upgrade: the new executable takes over");
        self.write_logs();
        // What waits before the channel goes with what waits for it.
        self.end_import();
        self.end_removal();
        self.hand_over_events();
        let mut state = self.leave();
        state.asked_by = client;
        let named: Vec<i32> = match state.encode() {
            Ok((_, fds)) => fds.into_iter().map(|fd| fd.0).collect(),
            Err(error) => return format!("the state cannot be handed over: {error}"),
        };
        let why = self.become_guarded(executable, state, &named);
        handover::keep_over_exec(&named, false);
        why
    }

    /// Who would start us again.
    fn starter(&self) -> Starter {
        match &self.keepers.watcher {
            None => guard::starter(),
            Some(_) if self.watcher_knows_who_stands_by() => Starter::Watcher,
            Some(_) => Starter::Other,
        }
    }

    fn become_guarded(&mut self, executable: &OwnedFd, mut state: State, named: &[i32]) -> String {
        let lost = |error: std::io::Error| format!("the state cannot be handed over: {}", percent_m(&error));
        let pair = match seqpacket::pair() {
            Ok(pair) => pair,
            Err(error) => return lost(error),
        };
        state.guard = Some(fd(&pair.0));
        // The guard would kill us in an exec that waits for a thread, and that thread would keep every port: nobody would serve.
        if let Some(why) = self.ways.in_the_way_of_exec() {
            return why;
        }
        let starter = self.starter();
        // From here to the exec nothing else may be started: it would inherit every client. Where somebody else starts us again and
        // cannot be told not to, the process beside has nothing either: it would be in the way.
        handover::keep_over_exec(named, starter != Starter::Other);
        let guard = match self
            .upgrade
            .back
            .as_ref()
            .map(|held| guard::start(held, &self.options.argv, pair, starter))
        {
            Some(Ok(guard)) => guard,
            Some(Err(error)) => {
                return format!("no process can stand by meanwhile: {}", percent_m(&error));
            }
            None => return "there is no way back to this version".to_owned(),
        };
        // Its end is nobody's news, neither there nor, if it comes to nothing, here; systemd's child is none of ours.
        if starter != Starter::Systemd {
            self.staff.retire(guard.pid);
            state.retired.push(guard.pid);
        }
        let sealed = state.encode().map_err(std::io::Error::other);
        let sealed = sealed.and_then(|(bytes, _)| handover::seal(&bytes));
        let sealed = sealed.and_then(|sealed| guard.stand_by(&sealed, starter).map(|()| sealed));
        let sealed = sealed.and_then(|sealed| match starter {
            Starter::Systemd => main_process::hand_to(guard.pid, HEARING).map(|()| sealed),
            Starter::Nobody | Starter::Watcher | Starter::Other => Ok(sealed),
        });
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                guard::call_off(&guard.channel);
                return lost(error);
            }
        };
        let number = handover::number(&sealed);
        let kept = [number, handover::number(&guard.channel)];
        let argv = Role::Successor(number).arguments(&self.options.argv);
        self.tell_watcher_who_stands_by((starter == Starter::Watcher).then_some(guard.pid));
        handover::keep_over_exec(named, true);
        handover::keep_over_exec(&kept, true);
        let error = handover::exec(executable.as_fd(), &argv);
        handover::keep_over_exec(&kept, false);
        guard::dismiss(&guard.channel, starter);
        self.tell_watcher_we_stand(false);
        format!("the new executable cannot be executed: {}", percent_m(&error))
    }
}
