//! Signs of life from the loop, for a service manager that asks for them (`WatchdogSec=`). A loop that hangs gives none.

use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_sys::systemd;
use std::time::Duration;

/// No manager is told more often than this.
const SHORTEST: Duration = Duration::from_millis(10);

impl Supervisor {
    /// Gives one, and sets the alarm for the next. Does nothing where nobody asks.
    pub fn sign_of_life(&mut self) {
        let variable = |name| std::env::var(name).ok();
        let (within, of) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
        if let Some(every) = interval(within.as_deref(), of.as_deref(), std::process::id()) {
            let _ = systemd::notify("WATCHDOG=1");
            self.timers.set(self.stamp.mono() + every, Alarm::Watchdog);
        }
    }
}

/// Half the time within which the manager wants a sign, if it wants it of process `own`.
fn interval(within: Option<&str>, of: Option<&str>, own: u32) -> Option<Duration> {
    let within = within?.parse::<u64>().ok().filter(|within| *within > 0)?;
    let mine = of.is_none_or(|pid| pid.parse() == Ok(own));
    mine.then(|| Duration::from_micros(within / 2).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_in_the_time_and_only_if_this_process_is_meant() {
        for (within, of, wanted) in [
            (None, None, None),
            (Some("5000000"), None, Some(2500)),
            (Some("5000000"), Some("7"), Some(2500)),
            (Some("5000000"), Some("8"), None),
            (Some("5000000"), Some(""), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), Some("7"), None),
            (Some("1"), Some("7"), Some(10)),
        ] {
            assert_eq!(interval(within, of, 7), wanted.map(Duration::from_millis), "{within:?} {of:?}");
        }
    }
}
