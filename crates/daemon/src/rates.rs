//! Carries out what the rate limit asks of a listener (pause, close, open again) and says it in xinetd's words, which
//! log scrapers wait for. What the rate is stands in policy.

use crate::duty::Duty;
use crate::slot::{Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::RateChange;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsFd;
use std::time::Duration;

/// The shortest queue of clients: twice xinetd's.
const SHORTEST_QUEUE: u32 = 128;

/// How many clients the kernel holds for a service: as many as its rate takes within its wait, so that an overload is over
/// for everybody as soon as it is said to be. Without a rate as many as the kernel allows (`net.core.somaxconn`).
fn queue((rate, wait): (u32, u32)) -> i32 {
    match rate.saturating_mul(wait.max(1)).max(SHORTEST_QUEUE) {
        _ if rate == 0 => i32::MAX,
        length => i32::try_from(length).unwrap_or(i32::MAX),
    }
}

impl Slot {
    /// How many clients the kernel holds for it, where it holds any. Those of a held one are all that come; a program that accepts by
    /// itself has its own idea of a rate.
    pub fn queue(&self) -> i32 {
        if self.service.wait || self.order.duty == Duty::Hold {
            i32::MAX
        } else {
            queue(self.service.limits.cps.value)
        }
    }
}

/// Whether the peer has reset this connection: nobody is there to be served. One that was only closed by the peer may be
/// half of a conversation.
pub fn is_gone(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

impl Supervisor {
    /// Bounds the kernel's queue of a stream service whose clients are accepted here.
    pub fn bound_queue(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.is_stream() && !slot.service.wait) else {
            return;
        };
        for listener in &slot.listeners {
            // What listen(2) said before stands otherwise.
            let _ = rustix::net::listen(&listener.fd, slot.queue());
        }
    }

    /// The rate state of a slot has changed.
    pub fn rate_changed(&mut self, id: SlotId, change: RateChange) {
        match change {
            RateChange::Throttled { .. } => {}
            RateChange::Paused { until } => {
                self.pause(id, until, "more connections per second than cps allows");
            }
            RateChange::Closed { until } => {
                self.poll_slot(id, false);
                self.shut_listeners(id);
                self.close_listeners(id);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.forget_missing();
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
        let (name, seconds) = (&slot.service.name, slot.service.limits.cps.value.1);
        let text = if overloaded {
            format!(
                "Deactivating service {name} due to excessive incoming connections.  Restarting in {seconds} seconds."
            )
        } else {
            format!("Activating service {name}")
        };
        self.say(Level::Error, &text);
    }

    /// The service has had its starts of the minute: its clients wait in the kernel's queue.
    pub fn rest_for_the_minute(&mut self, id: SlotId, until: Duration) {
        self.pause(id, until, "as many starts as starts_per_minute allows");
        self.say_minute(id);
    }

    /// Says that a service has had its starts of the minute, once a minute.
    pub fn say_minute(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.told.minute.is_some_and(|at| now.saturating_sub(at) < Duration::from_secs(60)) {
            return;
        }
        slot.told.minute = Some(now);
        let text = format!(
            "service {}: {} starts within a minute; its clients wait until there is room",
            slot.service.id,
            slot.service.starts_per_minute.value.unwrap_or(0)
        );
        self.say(Level::Error, &text);
    }

    fn reopen_after_rate(&mut self, id: SlotId) {
        match self.slots.get(&id).map(|slot| &slot.status) {
            Some(State::Closed(_)) => self.open_slot(id),
            Some(State::Paused(..)) => self.resume_slot(id),
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
        if !slot.state.was_called() {
            // Nothing is due, and its policy need not be made for that.
            return;
        }
        if let Some(change) = slot.state.tick(slot.rules(), &now) {
            self.rate_changed(id, change);
        } else {
            self.watch_rate(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::queue;

    #[test]
    fn the_queue_is_what_the_rate_takes_within_its_wait() {
        for (cps, wanted) in [
            ((50, 10), 500),
            ((50, 0), 128),
            ((500, 0), 500),
            ((1, 1), 128),
            ((0, 0), i32::MAX),
            ((0, 10), i32::MAX),
            ((u32::MAX, 2), i32::MAX),
        ] {
            assert_eq!(queue(cps), wanted, "{cps:?}");
        }
    }
}
