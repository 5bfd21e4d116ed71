//! The time as logs write it: `YY/M/D@HH:MM:SS`, month and day without padding (reference xinetd §10.2).
//! Owns the current second in local time, so that a connection does not pay for a calendar.

use portreeve_sys::clock;
use std::time::Duration;

/// The current moment, refreshed once per wake-up of the loop.
#[derive(Debug)]
pub struct Stamp {
    mono: Duration,
    wall: i64,
    civil: clock::Civil,
    text: String,
}

impl Stamp {
    /// The moment of the call.
    pub fn new() -> Self {
        let wall = clock::wall_seconds();
        let civil = clock::local(wall);
        let text = written(&civil);
        Self { mono: clock::monotonic(), wall, civil, text }
    }

    /// Looks at the clocks; the calendar is asked only when the second has changed.
    pub fn refresh(&mut self) {
        self.mono = clock::monotonic();
        let wall = clock::wall_seconds();
        if wall != self.wall {
            self.wall = wall;
            self.civil = clock::local(wall);
            self.text = written(&self.civil);
        }
    }

    /// Monotonic time.
    pub fn mono(&self) -> Duration {
        self.mono
    }

    /// Seconds since 1970.
    pub fn wall(&self) -> i64 {
        self.wall
    }

    /// Minute of the local day.
    pub fn minute(&self) -> u16 {
        u16::from(self.civil.hour) * 60 + u16::from(self.civil.minute)
    }

    /// `YY/M/D@HH:MM:SS`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn written(civil: &clock::Civil) -> String {
    format!(
        "{:02}/{}/{}@{:02}:{:02}:{:02}",
        civil.year.rem_euclid(100),
        civil.month,
        civil.day,
        civil.hour,
        civil.minute,
        civil.second
    )
}
