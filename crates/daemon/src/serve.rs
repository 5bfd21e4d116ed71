//! THE loop: wait, read the clocks once, handle what is ready, let the alarms that are due go off, write the logs.
//! Nothing in it may wait for anything but epoll, and for the programs of this turn to be executed.

use crate::log::SinkError;
use crate::supervisor::{Supervisor, Token};
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_sys::clock;
use rustix::event::{Timespec, epoll};
use std::process::ExitCode;
use std::time::Duration;

/// Most events handled per wake-up; more come with the next.
const EVENTS: usize = 64;

/// How long what a log did not take waits before it is tried again.
const LOG_RETRY: Duration = Duration::from_secs(1);

/// How long a connection waits that could not be let go.
const FAREWELL_RETRY: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Serves until told to stop.
    pub fn serve(mut self) -> ExitCode {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.answer_keyed(false);
            self.post();
            self.go_on_with_upgrade();
            self.pass_on_events();
            // Whatever was launched since; before the logs, since it may have failed.
            self.land();
            self.let_go_again();
            self.write_logs();
            if let Some(code) = self.exit
                && !self.is_withdrawing()
                && !self.is_parting_from_ledger()
            {
                crate::groups::end();
                return code;
            }
            let timeout = self.timers.wait(clock::monotonic()).map(|wait| Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(3600),
                tv_nsec: i64::from(wait.subsec_nanos()),
            });
            events.clear();
            let waited =
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref());
            self.stamp.refresh();
            self.look_at_clocks();
            if let Err(error) = waited
                && error != rustix::io::Errno::INTR
            {
                self.say(Level::Error, &format!("epoll_wait failed: {error}"));
                return ExitCode::FAILURE;
            }
            // Ends of children come first: they free seats that the arrivals of this wake-up may want.
            if events.iter().any(|e: &epoll::Event| e.data.u64() == Token::Signals.raw()) {
                self.take_signals();
            }
            for event in &events {
                self.handle(event);
            }
            while let Some(alarm) = self.timers.due(self.stamp.mono()) {
                self.ring(alarm);
            }
            // Whoever was launched in this turn is landed before anything that may take longer.
            self.land();
            self.seat_who_waits();
            self.renew_filters();
            if self.registry.stale {
                self.tell_keepers();
            }
            self.renew_registrations();
        }
    }

    /// A reading leaves holes in the heap that nothing here will ever fill, and code that nothing runs until the next. Not at once, when
    /// clients wait, and not between two that follow one another.
    fn rest(&self) {
        if self.stamp.mono() >= self.rest_at {
            portreeve_sys::process::trim_heap();
            portreeve_sys::code::let_go();
        }
    }

    fn handle(&mut self, event: &epoll::Event) {
        match Token::from_raw(event.data.u64()) {
            Some(Token::Listener(id, number)) => self.arrivals(id, number),
            Some(Token::Worker(index)) => self.worker_event(index, event.flags),
            Some(Token::Leaving(number)) => self.leaving_event(number, event.flags),
            Some(Token::Witness(number)) => self.witness_event(number),
            Some(Token::Orphan(number)) => self.orphan_ended(number),
            Some(Token::Control) => self.accept_control(),
            Some(Token::ControlClient(client)) => self.control_event(client),
            Some(Token::Tables) => self.tables_event(),
            Some(Token::Ways) => self.heard_ways(),
            Some(Token::Signals) | None => {}
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Listen(slot) => self.listen_again(slot),
            Alarm::Rate(slot) => self.rate_alarm(slot),
            Alarm::Unpause(slot) => self.unpause(slot),
            Alarm::Aim(ticket) => self.aim(ticket),
            Alarm::Targets(slot) => self.refresh_targets(slot),
            Alarm::Retry => self.retry_starts(),
            Alarm::Parked(ticket) => self.answer_late(ticket),
            Alarm::Headers => self.headers_late(),
            Alarm::Hook(pid) => self.hook_late(pid),
            Alarm::Tables => self.look_at_tables(),
            Alarm::Ping(ticket) => self.ping_late(ticket),
            Alarm::Denied => self.expire_denied(),
            Alarm::Worker(index) => self.start_worker_again(index),
            Alarm::Reading(number) => self.reading_due(number),
            Alarm::Control(client) => self.control_late(client),
            Alarm::ControlAgain => self.watch_control(),
            Alarm::Kill => self.kill_alarm(),
            Alarm::Filters => self.filters_set = false,
            Alarm::Ends => self.bury_late(),
            Alarm::Ended(pid) => self.ended_meanwhile(pid),
            Alarm::Keyed => self.answer_keyed(false),
            Alarm::Registrations => self.registrations_alarm(),
            // The loop looks at it in each turn.
            Alarm::Settled => {}
            Alarm::Probe(pid) => self.probe_late(pid),
            Alarm::BanSettings(pid) => self.ban_settings_late(pid),
            Alarm::Hashed(pid) => self.hashing_late(pid),
            Alarm::Keepers => self.tell_keepers(),
            Alarm::Watchdog => self.sign_of_life(),
            Alarm::Devices => self.look_at_devices(),
            // The turn itself looks after these.
            Alarm::Events | Alarm::Seats => {}
            Alarm::Ledger => self.ledger_again(),
            Alarm::Import => self.go_on_with_import(),
            Alarm::Unban => self.go_on_with_removal(),
            Alarm::Keep => self.compare_kept_bans(),
            Alarm::Flush => self.flush_set = false,
            Alarm::Farewells => self.farewells_set = false,
            Alarm::Rest => self.rest(),
        }
    }

    /// Connections that could not be let go in this turn, for want of a process, are in the next, which must not be far.
    fn let_go_again(&mut self) {
        if self.spawner.to_let_go() > 0 && !self.farewells_set {
            self.farewells_set = true;
            self.timers.set(self.stamp.mono() + FAREWELL_RETRY, Alarm::Farewells);
        }
    }

    /// Writes what the logs have gathered, once per wake-up. What a log does not take is tried again later.
    pub fn write_logs(&mut self) {
        let services = self.sinks.flush();
        for news in self.sinks.news() {
            let text = match news {
                SinkError::Soft(id) => format!("Size of {id} log exceeded soft limit"),
                SinkError::Hard(id) => format!("Size of {id} log exceeded hard limit"),
                SinkError::Write(path, error) => {
                    format!("cannot write log {path}: {error}; records are kept back, then dropped")
                }
            };
            self.say(Level::Error, &text);
        }
        let own = self.log.flush();
        // One alarm at a time: one a wake-up would keep as many of them going as there were wake-ups.
        if !(self.flush_set || services && own) {
            self.flush_set = true;
            self.timers.set(self.stamp.mono() + LOG_RETRY, Alarm::Flush);
        }
    }
}
