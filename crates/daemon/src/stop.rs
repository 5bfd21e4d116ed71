//! How serving ends: TERM, QUIT and INT (reference xinetd §11.2), and how instances are told to end, without ever
//! waiting for them in the loop.

use crate::children::Child;
use crate::escape::escaped;
use crate::headers::Headers;
use crate::names::Parked;
use crate::options::Program;
use crate::slot::{Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{Diagnostic, Level, Severity, Stop};
use portreeve_sys::reap::Signal;
use portreeve_workers::protocol::Worker;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How long an instance may take to end after SIGTERM before it is killed (xinetd: 2.5 s of 4).
pub const GRACE: Duration = Duration::from_millis(2500);

/// Errors of the configuration that are shown when it is why nothing starts.
const MOST_REASONS: usize = 10;

/// In which way serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// End built-ins, and external instances unless they are to be left.
    Term,
    /// Leave everything as it is.
    Quit,
}

impl Supervisor {
    /// Stops serving. The loop ends when the instances that must end have ended.
    pub fn stop(&mut self, how: Stopping) {
        if self.stopping.is_some() {
            // Told twice: at once.
            self.finish();
            return;
        }
        self.stopping = Some(how);
        self.say(Level::Warning, "Exiting...");
        // Nobody is started from here on: neither who waits for a name or another try, nor by a reading under way.
        self.reading = None;
        self.parked = Parked::default();
        self.headers = Headers::default();
        self.children.put_off.clear();
        self.children.seatless.clear();
        self.children.sealed.values_mut().for_each(|behind| behind.client = None);
        self.end_asked_hooks();
        let _ = portreeve_sys::systemd::notify("STOPPING=1");
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            self.poll_slot(id, false);
            let stays = self.slots.get(&id).is_some_and(|slot| {
                let left = how == Stopping::Quit || !self.ends_with_us(slot);
                left && slot.status == State::Suspended
            });
            if !stays && self.keepers.stored.is_empty() {
                self.close_listeners(id);
            }
            if let Some(slot) = self.slots.get_mut(&id) {
                // The file of a unix socket leads to whoever has the socket.
                slot.listeners.clear();
                if let Some(trouble) = slot.trouble.made() {
                    trouble.missing.clear();
                }
                if how == Stopping::Quit && slot.status == State::Suspended {
                    self.registry.let_be(id);
                }
            }
        }
        self.withdraw_all();
        if how == Stopping::Quit {
            self.finish();
            return;
        }
        let ending: Vec<SlotId> =
            self.slots.iter().filter(|(_, slot)| self.ends_with_us(slot)).map(|(&id, _)| id).collect();
        for id in ending {
            self.end_programs(id, Signal::TERM);
        }
        self.stop_if_done();
    }

    /// Whether the instances of a service end when serving ends. Called as xinetd or inetd, those of programs stay unless
    /// the entry says otherwise; an RPC program nobody could find again (reference xinetd §11.2).
    fn ends_with_us(&self, slot: &Slot) -> bool {
        let ours = self.options.program == Program::Portreeve || slot.service.rpc.is_some();
        slot.service.stop.unwrap_or(if ours { Stop::End } else { Stop::Leave }) == Stop::End
    }

    /// Sends a signal to the programs of a slot; those that get TERM are killed later if they must be.
    pub fn end_programs(&mut self, id: SlotId, signal: Signal) {
        let name = crate::programs::slot_name(self, id);
        let kill_at = self.stamp.mono() + GRACE;
        for pid in self.children.of(id) {
            self.say(Level::Warning, &format!("Sending signal {} to {name} server {pid}", signal.as_raw()));
            self.signal(pid, signal);
            if signal == Signal::TERM
                && let Some(child) = self.children.programs.get_mut(&pid)
            {
                child.kill_at = Some(kill_at);
                self.timers.set(kill_at, Alarm::Kill);
            }
        }
    }

    /// Somebody was told to end some time ago.
    pub fn kill_alarm(&mut self) {
        let now = self.stamp.mono();
        let late = |c: &Child| c.kill_at.is_some_and(|at| at <= now);
        let late: Vec<i32> =
            self.children.programs.iter().filter(|(_, c)| late(c)).map(|(&p, _)| p).collect();
        for pid in late {
            self.signal(pid, Signal::KILL);
            if let Some(child) = self.children.programs.get_mut(&pid) {
                child.kill_at = None;
            }
        }
    }

    /// Ends the loop when nobody is left who must end first.
    pub fn stop_if_done(&mut self) {
        if self.stopping == Some(Stopping::Term)
            && !self.children.programs.values().any(|c| c.kill_at.is_some())
        {
            let by_default = self.options.program == Program::Portreeve;
            let waits = self.children.programs.values().any(|c| match self.slots.get(&c.slot) {
                Some(slot) => self.ends_with_us(slot),
                None => by_default,
            });
            if !waits {
                self.finish();
            }
        }
    }

    /// Ends before serving has begun. In the background whoever started it would see a status alone, so the reason goes
    /// to where they read; in the foreground the log says it there.
    pub fn end_unstarted(&mut self, code: u8, why: &str, diagnostics: &[Diagnostic]) {
        self.exit = Some(ExitCode::from(code));
        if let Some(readiness) = self.readiness.take() {
            let word = self.options.program.word();
            let mut text = String::new();
            let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
            for Diagnostic { place, message, .. } in errors.take(MOST_REASONS) {
                let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
                let _ = writeln!(text, "{word}: {}", escaped(&format!("{place}{message}")));
            }
            let config = self.options.sources.main().display().to_string();
            let _ = writeln!(text, "{word}: not started: {why} ({})", escaped(&config));
            readiness.refuse(code, &text);
        }
        self.finish();
    }

    /// The last act: files that name this process go.
    pub fn finish(&mut self) {
        if let Some(path) = &self.options.pidfile {
            let _ = std::fs::remove_file(path);
        }
        self.control.remove_socket();
        self.part_from_ledger();
        for link in &self.staff.links {
            // It ends with us, or before.
            if link.worker == Worker::Ledger {
                continue;
            }
            // It has a last errand, and ends with us.
            if link.worker == Worker::Registrar && self.is_withdrawing() {
                continue;
            }
            self.signal(link.pid, Signal::TERM);
        }
        if self.exit.is_none() {
            self.exit = Some(ExitCode::SUCCESS);
        }
    }
}
