//! How much of the processors' time and of what disks do the processes of a service have (systemd.resource-control(5)), in the terms of
//! the kernel. Pure: whether the machine can keep it is the daemon's to find out.

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;
/// The kernel counts in no smaller steps, microseconds.
const STEP: u64 = 1_000;
/// The period where none is said, microseconds.
const PERIOD: u64 = 100_000;
/// What somebody weighs of whom nothing is said.
const DEFAULT: u16 = 100;
/// The most that somebody weighs.
const MOST: u16 = 10_000;

/// `CPUQuota`, with `CPUQuotaPeriodSec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So long may processors work for it in each period, all together; microseconds.
    pub time: u64,
    /// Microseconds.
    pub period: u64,
}

impl Quota {
    /// Hundredths of a percent of one processor; the period is brought within what the kernel takes, as systemd does.
    pub(super) fn new(share: u64, period: Option<u64>) -> Self {
        let each_second = share.saturating_mul(SECOND / 10_000).max(1);
        let least = STEP.saturating_mul(SECOND).checked_div(each_second).unwrap_or(SECOND);
        let period =
            period.filter(|span| *span != u64::MAX).unwrap_or(PERIOD).max(STEP).max(least).min(SECOND);
        Self { time: (each_second.saturating_mul(period) / SECOND).max(STEP), period }
    }
}

/// What somebody has beside others who want it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// What nobody else wants.
    Idle,
    /// 1 to 10000; 100 where nothing is said.
    Of(u16),
}

impl Weight {
    /// What a group has of which nothing is said.
    pub const DEFAULT: Self = Self::Of(DEFAULT);
}

/// A share of one processor, in hundredths of a percent: `20%`, `150.5%`. More than nothing.
pub(super) fn share(text: &str) -> Option<u64> {
    /// More processors than there are anywhere.
    const MOST: usize = 8;
    let text = text.strip_suffix('%')?;
    let (whole, part) = text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let number = |text: &str, most: usize| {
        let fine = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fine.then(|| text.parse::<u64>().ok()).flatten()
    };
    let part = match part {
        None => 0,
        Some(part) if part.len() == 1 => number(part, 1)? * 10,
        Some(part) => number(part, 2)?,
    };
    Some(number(whole, MOST)? * 100 + part).filter(|share| *share > 0)
}

/// `1` to `10000`, or `idle` where that may be.
pub(super) fn weight(text: &str, idle: bool) -> Option<Weight> {
    if text == "idle" && idle {
        return Some(Weight::Idle);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse::<u16>().ok()).flatten();
    number.filter(|weight| (1..=MOST).contains(weight)).map(Weight::Of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, wanted) in [
            ("20%", Some(2_000)),
            ("150.5%", Some(15_050)),
            ("0.01%", Some(1)),
            ("800%", Some(80_000)),
            ("0%", None),
            ("0.00%", None),
            ("20", None),
            ("%", None),
            (".5%", None),
            ("5.%", None),
            ("1.234%", None),
            ("-1%", None),
            ("+1%", None),
            ("infinity", None),
            ("999999999%", None),
        ] {
            assert_eq!(share(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_quota_is_within_what_the_kernel_takes() {
        let of = |share, period| {
            let quota = Quota::new(share, period);
            (quota.time, quota.period)
        };
        // As systemd 252 writes them (cgroup_cpu_adjust_period).
        assert_eq!(of(2_000, None), (20_000, 100_000));
        assert_eq!(of(20_000, Some(u64::MAX)), (200_000, 100_000));
        assert_eq!(of(5_000, Some(10_000)), (5_000, 10_000));
        assert_eq!(of(10_000, Some(0)), (1_000, 1_000));
        assert_eq!(of(10_000, Some(5_000_000)), (1_000_000, 1_000_000));
        // One percent of 10 ms is less than the kernel counts in.
        assert_eq!(of(100, Some(10_000)), (1_000, 100_000));
        assert_eq!(of(1, None), (1_000, 1_000_000));
    }

    #[test]
    fn weights() {
        for (text, wanted) in [
            ("1", Some(Weight::Of(1))),
            ("10000", Some(Weight::Of(10_000))),
            ("idle", Some(Weight::Idle)),
            ("0", None),
            ("10001", None),
            ("99999999999", None),
            ("+5", None),
            ("", None),
            ("Idle", None),
        ] {
            assert_eq!(weight(text, true), wanted, "{text}");
        }
        assert_eq!(weight("idle", false), None);
    }
}
