//! What is to happen later: one heap of moments. A moment that has become pointless is recognised when it comes;
//! nothing is ever taken out early. Bounded by what the callers bound: services, retries, parked clients.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What happens at a moment. Numbers are slots, tickets and the like of the part that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Try to open the listener of a slot again.
    Listen(u32),
    /// The rate state of a slot may change.
    Rate(u32),
    /// Poll the listener of a slot again.
    Unpause(u32),
    /// Give a carried client its next target.
    Aim(u64),
    /// Look up the target names of a slot.
    Targets(u32),
    /// Start the oldest of the put-off programs.
    Retry,
    /// A parked client has waited long enough for an answer.
    Parked(u64),
    /// A connection has waited long enough for its header.
    Headers,
    /// The resolver has had its time to say that it is there.
    Ping(u64),
    /// The tables are to be looked at.
    Tables,
    /// A command of the tables has had its time.
    Hook(i32),
    /// An entry of the sensor list ends.
    Denied,
    /// Start a worker again.
    Worker(u8),
    /// A reading of the configuration has waited long enough for the resolver.
    Reading(u64),
    /// Poll the control socket again.
    ControlAgain,
    /// Connections that could not be let go wait for another try.
    Farewells,
    /// A control client has had its time.
    Control(u64),
    /// Instances that were asked to end have not.
    Kill,
    /// Filters may be renewed again.
    Filters,
    /// More children have ended than were handled at once.
    Ends,
    /// This child has ended, and perhaps others, as was heard before its turn.
    Ended(i32),
    /// Workers of TLS have had their time to look at new certificates.
    Keyed,
    /// rpcbind is to be asked again.
    Registrations,
    /// Who had to come to an end before an upgrade has had the time for it.
    Settled,
    /// The new executable has had its time to answer.
    Probe(i32),
    /// What reads the settings of bans has had its time.
    BanSettings(i32),
    /// What hashes a program has had its time.
    Hashed(i32),
    /// Whoever holds our sockets has not heard everything.
    Keepers,
    /// The service manager wants a sign of life.
    Watchdog,
    /// Something in a log buffer could not be written.
    Flush,
    /// Events for the ledger have waited long enough.
    Events,
    /// The ledger's store of bans is to be compared with the list again.
    Keep,
    /// The list of bans that is being applied goes on.
    Import,
    /// More bans are to be removed.
    Unban,
    /// A ledger that could not be opened is to be tried again.
    Ledger,
    /// Who waits for a seat has waited long enough; the turn itself looks.
    Seats,
    /// The interfaces of listeners are to be looked at.
    Devices,
    /// What a reading set off is over: its code rests, and its memory is given back.
    Rest,
}

/// The moments to come.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Duration, Alarm)>>,
}

impl Timers {
    /// Sets an alarm.
    pub fn set(&mut self, at: Duration, alarm: Alarm) {
        self.heap.push(Reverse((at, alarm)));
    }

    /// The alarms whose time has come, one a call.
    pub fn due(&mut self, now: Duration) -> Option<Alarm> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, alarm))| alarm)
    }

    /// How long until the next alarm.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_come_in_order_and_only_when_due() {
        let mut timers = Timers::default();
        timers.set(Duration::from_secs(3), Alarm::Retry);
        timers.set(Duration::from_secs(1), Alarm::Denied);
        assert_eq!(timers.wait(Duration::ZERO), Some(Duration::from_secs(1)));
        assert_eq!(timers.due(Duration::ZERO), None);
        assert_eq!(timers.due(Duration::from_secs(9)), Some(Alarm::Denied));
        assert_eq!(timers.due(Duration::from_secs(9)), Some(Alarm::Retry));
        assert_eq!(timers.due(Duration::from_secs(9)), None);
    }
}
