//! The state of cps as plain values, for a supervisor that is replaced by its next version. Whole: a flood that was refused
//! before is refused after.

use super::sources::SourceTable;
use super::window::Window;
use super::{Phase, Rate, RateChange};
use std::net::IpAddr;
use std::time::Duration;

/// Plain values. Times are monotonic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedRate {
    /// First second of the window.
    pub window_start: u64,
    /// Connections in it.
    pub window_count: u64,
    /// Sources with their connections, and whether they are refused; an IPv6 one by its /64, or by the address behind a translator.
    pub sources: Vec<(IpAddr, (u32, bool))>,
    /// What all sources have together that did not fit into the table.
    pub overflow: Option<(u32, bool)>,
    /// 0 open, 1 throttled, 2 paused, 3 closed.
    pub phase: u8,
    /// The end of the overload.
    pub until: Duration,
    /// The end of the pause.
    pub resume: Duration,
    /// The rate that tripped.
    pub tripped_at: u32,
    /// A change that was not told yet: 0 none, 1 throttled, 2 resumed.
    pub owed: u8,
}

impl Rate {
    pub(crate) fn save(&self) -> SavedRate {
        let (window_start, window_count) = self.window.parts();
        let (sources, overflow) = self.sources.save();
        let (phase, until, resume) = match self.phase {
            Phase::Open => (0, Duration::ZERO, Duration::ZERO),
            Phase::Throttled { until } => (1, until, Duration::ZERO),
            Phase::Paused { until, resume } => (2, until, resume),
            Phase::Closed { until } => (3, until, Duration::ZERO),
        };
        let owed = match self.owed {
            None | Some(RateChange::Paused { .. } | RateChange::Closed { .. }) => 0,
            Some(RateChange::Throttled { .. }) => 1,
            Some(RateChange::Resumed) => 2,
        };
        let tripped_at = self.tripped_at;
        SavedRate { window_start, window_count, sources, overflow, phase, until, resume, tripped_at, owed }
    }

    pub(crate) fn restore(saved: &SavedRate) -> Self {
        let &SavedRate { until, resume, .. } = saved;
        Rate {
            window: Window::of(saved.window_start, saved.window_count),
            sources: SourceTable::restore(&saved.sources, saved.overflow),
            phase: match saved.phase {
                1 => Phase::Throttled { until },
                2 => Phase::Paused { until, resume },
                3 => Phase::Closed { until },
                _ => Phase::Open,
            },
            tripped_at: saved.tripped_at,
            owed: match saved.owed {
                1 => Some(RateChange::Throttled { until }),
                2 => Some(RateChange::Resumed),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Pace;

    /// Two rates, one of them saved and restored before each step, say the same for ever.
    #[test]
    fn a_restored_rate_decides_as_the_one_it_was() {
        let mut one = Rate::default();
        let mut other = Rate::default();
        let mut seen = [0; 2];
        for step in 0..4000u64 {
            other = Rate::restore(&other.save());
            assert_eq!(one.save().phase, other.save().phase, "step {step}");
            let now = Duration::from_millis(1_000_000 + step * 7);
            let source: IpAddr = match step % 5 {
                0..3 => "192.0.2.1".parse().unwrap(),
                3 => "2001:db8::1".parse().unwrap(),
                _ => IpAddr::from([198, 51, 100, u8::try_from(step % 97).unwrap()]),
            };
            let pace = one.admit((20, 3), false, Some(source), now);
            assert_eq!(pace, other.admit((20, 3), false, Some(source), now), "step {step}");
            seen[usize::from(pace == Pace::Pass)] += 1;
            assert_eq!(one.tick((20, 3), now), other.tick((20, 3), now), "step {step}");
            assert_eq!(one.deadline(), other.deadline(), "step {step}");
        }
        assert!(seen.iter().all(|&n| n > 100), "both verdicts were met: {seen:?}");
    }
}
