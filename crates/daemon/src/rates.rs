//! Carries out what the rate limit asks of a listener (pause, close, open again) and says it in xinetd's words, which
//! log scrapers wait for. What the rate is stands in policy.

use crate::slot::{SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::RateChange;

impl Supervisor {
    /// The rate state of a slot has changed.
    pub fn rate_changed(&mut self, id: SlotId, change: RateChange) {
        match change {
            RateChange::Throttled { .. } => {}
            RateChange::Paused { until } => {
                self.pause(id, until, "more connections per second than cps allows");
            }
            RateChange::Closed { until } => {
                self.poll_slot(id, false);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.listener = None;
                    slot.status = State::Closed(until);
                    self.registry.stale = true;
                }
            }
            RateChange::Resumed => self.reopen_after_rate(id),
        }
        self.say_rate(id, change != RateChange::Resumed);
        self.watch_rate(id);
    }

    /// Says when an overload begins and when it ends, once each, however often it changes its shape in between.
    pub fn say_rate(&mut self, id: SlotId, overloaded: bool) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.overloaded == overloaded {
            return;
        }
        slot.overloaded = overloaded;
        // xinetd names the service here, not its id.
        let (name, seconds) = (&slot.service.name, slot.service.cps.value.1);
        let text = if overloaded {
            format!(
                "Deactivating service {name} due to excessive incoming connections.  Restarting in {seconds} seconds."
            )
        } else {
            format!("Activating service {name}")
        };
        self.say(Level::Error, &text);
    }

    fn reopen_after_rate(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match slot.status {
            State::Closed(_) => self.open_slot(id),
            State::Paused(..) => {
                slot.status = State::Active;
                self.poll_slot(id, true);
            }
            _ => {}
        }
    }

    /// Sets the alarm at which the rate of a slot is to be looked at again.
    pub fn watch_rate(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let deadline = slot.state.deadline();
        if deadline.is_some() && deadline != slot.rate_alarm {
            slot.rate_alarm = deadline;
            if let Some(at) = deadline {
                self.timers.set(at, Alarm::Rate(id));
            }
        }
    }

    /// The alarm.
    pub fn rate_alarm(&mut self, id: SlotId) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.rate_alarm = None;
        if let Some(change) = slot.state.tick(&slot.rules, &now) {
            self.rate_changed(id, change);
        } else {
            self.watch_rate(id);
        }
    }
}
