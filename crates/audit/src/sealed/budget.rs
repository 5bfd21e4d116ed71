//! What a run may take of a machine that has other work: bytes a second, and a share of its processors. Who went over sleeps; nothing is skipped.

use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest sleep at once, so that an end that is ordered meanwhile is met.
const LONGEST: Duration = Duration::from_millis(100);

/// What may be taken.
#[derive(Debug)]
pub struct Budget {
    /// Bytes read in a second.
    rate: Option<u64>,
    /// Hundredths of all processors together.
    share: Option<(u32, usize)>,
    begun: Instant,
    cpu: Duration,
    read: AtomicU64,
}

/// The processor time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

impl Budget {
    /// From now on: bytes a second, and hundredths of this many processors.
    pub fn new(rate: Option<u64>, share: Option<(u32, usize)>) -> Self {
        Self { rate, share, begun: Instant::now(), cpu: cpu(), read: AtomicU64::new(0) }
    }

    /// These bytes were read; how long it is too early for more.
    pub fn debt(&self, bytes: u64) -> Duration {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let elapsed = self.begun.elapsed();
        let by_rate = self.rate.map_or(Duration::ZERO, |rate| due(read, rate));
        let by_share = self.share.map_or(Duration::ZERO, |(hundredths, processors)| {
            stretched(cpu().saturating_sub(self.cpu), hundredths, processors)
        });
        by_rate.max(by_share).saturating_sub(elapsed)
    }

    /// As [`Budget::debt`], and sleeps that long, or until `over` says that it is over.
    pub fn spend(&self, bytes: u64, over: impl Fn() -> bool) {
        let mut left = self.debt(bytes);
        while !left.is_zero() && !over() {
            std::thread::sleep(left.min(LONGEST));
            left = self.debt(0);
        }
    }
}

/// When so many bytes are due at a rate.
fn due(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
}

/// How long a run must last that took so much processor time.
fn stretched(cpu: Duration, hundredths: u32, processors: usize) -> Duration {
    let shares = u64::from(hundredths.max(1)) * u64::try_from(processors.max(1)).unwrap_or(1);
    let nanos = cpu.as_nanos() * 100 / u128::from(shares);
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_says_how_long_it_must_last() {
        assert_eq!(due(100 << 20, 50 << 20), Duration::from_secs(2));
        assert_eq!(due(1, 0), Duration::from_secs(1));
        assert_eq!(stretched(Duration::from_secs(1), 25, 2), Duration::from_secs(2));
        assert_eq!(stretched(Duration::from_secs(1), 100, 1), Duration::from_secs(1));
    }

    #[test]
    fn nothing_is_owed_without_a_limit() {
        assert_eq!(Budget::new(None, None).debt(u64::MAX / 2), Duration::ZERO);
        let budget = Budget::new(Some(1000), None);
        assert!(budget.debt(1_000_000) > Duration::from_secs(900));
    }
}
