//! Waiting for a condition: polled, with a deadline, never a fixed sleep. Decides nothing else.

use std::time::{Duration, Instant};

/// How long a condition may take that should come at once. Generous: a busy machine is not a failure.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Asks `condition` until it gives a value; `None` when the deadline passed first.
pub fn until<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(STEP);
    }
}

/// Panics with `what` unless `condition` comes true before [`DEADLINE`].
pub fn must(what: &str, mut condition: impl FnMut() -> bool) {
    if until(DEADLINE, || condition().then_some(())).is_none() {
        panic!("did not happen within {DEADLINE:?}: {what}");
    }
}

/// Panics if `condition` comes true within `for_` : for what must stay as it is. The time is the proof's strength, so
/// it is only as long as the original needs to show the opposite.
pub fn never(what: &str, for_: Duration, mut condition: impl FnMut() -> bool) {
    if until(for_, || condition().then_some(())).is_some() {
        panic!("must not happen: {what}");
    }
}

/// A window of access_times, in UTC, in which this moment does not lie.
pub fn closed_hours() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let hour = (now.as_secs() / 3600 + 2) % 24;
    format!("{hour}:00-{hour}:01")
}

/// Waits until the one-minute load average of the machine is above zero, busy meanwhile.
pub fn some_load() {
    must("a load average above 0", || {
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        text.split(' ').next().and_then(|w| w.parse::<f64>().ok()).is_some_and(|load| load > 0.0)
    });
}
