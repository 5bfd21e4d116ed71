//! What every reload ends with once the services are known, and the reload that finds nothing changed: a reading depends on nothing but
//! what it asked of the machine, so where all is answered as before, the services in force are what it would come to. Says what such a
//! reload always said; parses nothing and compiles nothing.

use crate::launch::Plan;
use crate::reading::Purpose;
use crate::reload::Changes;
use crate::slot::{Slot, State};
use crate::supervisor::Supervisor;
use portreeve_conf::{Classic, Diagnostic, Level, Reading};
use std::process::ExitCode;
use std::rc::Rc;

/// So many lines and findings are kept to be said again; a configuration with more is read anew each time.
const MOST_SAID: usize = 4096;

/// What the last reading said, and to how many services it came.
#[derive(Debug)]
pub struct Said {
    log: Vec<Classic>,
    diagnostics: Vec<Diagnostic>,
    services: usize,
}

impl Said {
    /// Of a reading that is put into force; `None` where it is too much to be kept.
    pub fn by(reading: &Reading) -> Option<Rc<Self>> {
        let services = reading.services.len();
        (reading.log.len() + reading.diagnostics.len() <= MOST_SAID).then(|| {
            let (log, diagnostics) = (reading.log.clone(), reading.diagnostics.clone());
            Rc::new(Self { log, diagnostics, services })
        })
    }
}

impl Supervisor {
    /// Whether the services in force are all that the last reading came to, and nothing else: none of an earlier one goes on, and none
    /// failed to be added.
    pub fn is_as_read(&self) -> bool {
        let Some(said) = &self.said else { return false };
        let mut services = 0;
        let mut in_force = self.slots.values().filter(|slot| slot.status != State::Removed);
        in_force.all(|slot| {
            services += 1;
            Rc::ptr_eq(&slot.origin, &self.answers)
        }) && services == said.services
    }

    /// A reload for which the machine has answered as before.
    pub fn remain(&mut self, purpose: Purpose) {
        let Some(said) = self.said.clone() else { return };
        for line in &said.log {
            self.say(line.level, &line.text);
        }
        self.begin_swap();
        self.bans.protection = None;
        self.want_sensor(self.sensor.wanted);
        self.trusted.look_again();
        let mut changes = Changes { applied: true, ..Changes::default() };
        for slot in self.slots.values_mut().filter(|slot| slot.status != State::Removed) {
            if slot.service.sandbox.is_some() {
                // Links that it names may lead elsewhere by now.
                slot.plan = Plan::of(&slot.service, slot.group, &self.inherited);
            }
            let text = format!("readjusting service {}", slot.id());
            self.log.say(&self.stamp, Level::Notice, &text);
            changes.kept.push(slot.service.id.clone());
        }
        self.spare.held = self.are_held();
        self.conclude(false, &changes);
        self.reloaded(purpose, changes, said.diagnostics.clone());
    }

    /// What a reload says and does before it looks at the services.
    pub fn begin_swap(&mut self) {
        self.say(Level::Notice, "Swapping defaults");
        portreeve_sys::clock::load_zone();
    }

    /// The services are what they are to be: what is not of one service, and what is said of all.
    pub fn conclude(&mut self, start: bool, changes: &Changes) {
        self.tls_reloaded();
        self.ledger_reloaded();
        self.read_ban_settings();
        let (left, held) = (self.spare.take_streams(), self.spare.held);
        self.spare.let_go(&self.spawner);
        self.generation += 1;
        if !start {
            self.sinks.reopen();
            self.log.reopen();
        }
        self.end_passing_orders();
        self.tell_builtin_ports();
        (self.registry.stale, self.registry.doubtful) = (true, true);
        let slots = &self.slots;
        self.elsewhere.keep_only(|server| slots.values().any(|slot| crate::verify::is_of(slot, server)));
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            self.verify_ahead(id);
            self.attach_filter(id);
            // A rate that was switched off ends its overload.
            self.rate_alarm(id);
        }
        self.serve_left(left, held);
        self.tidy_groups();
        self.say_unkept();
        let available = self.slots.values().filter(|s| s.available()).count();
        if start {
            let s = if available == 1 { "" } else { "s" };
            self.say(Level::Notice, &format!("Started working: {available} available service{s}"));
            return;
        }
        let old = changes.kept.len() + changes.changed.len() + changes.held.len();
        let text = format!(
            "Reconfigured: new={} old={old} dropped={} (services)",
            changes.new.len(),
            changes.dropped.len()
        );
        self.say(Level::Notice, &text);
        let removed = |slot: &Slot| slot.status == State::Removed;
        if self.slots.values().all(removed) && !self.options.stayalive {
            self.critical("hard_reconfig", "No available services. Exiting");
            self.exit = Some(ExitCode::FAILURE);
            self.finish();
        }
    }
}
