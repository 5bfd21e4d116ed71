//! Clocks and the civil time of this host. Reads no configuration; the time zone is what TZ or /etc/localtime say
//! when [`load_zone`] is called.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

fn duration(time: Timespec) -> Duration {
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// Time since some fixed moment; never goes back, is not moved by clock changes, and stands still in suspend.
#[must_use]
pub fn monotonic() -> Duration {
    duration(clock_gettime(ClockId::Monotonic))
}

/// As [`monotonic`], at the resolution of the kernel's tick (1-10 ms) and a fraction of its cost. At most one
/// tick behind; for deadlines and durations in seconds.
#[must_use]
pub fn monotonic_coarse() -> Duration {
    duration(clock_gettime(ClockId::MonotonicCoarse))
}

/// Seconds since 1970-01-01 UTC, as time(2): at most one tick behind.
#[must_use]
pub fn wall_seconds() -> i64 {
    clock_gettime(ClockId::RealtimeCoarse).tv_sec
}

/// Time since 1970-01-01 UTC; zero should the clock stand before it.
#[must_use]
pub fn wall() -> Duration {
    duration(clock_gettime(ClockId::Realtime))
}

unsafe extern "C" {
    // POSIX; the libc crate has it for some targets only.
    fn tzset();
}

/// Reads the time zone (again). Call it at start and at each reload: [`local`] itself never looks at files.
pub fn load_zone() {
    // SAFETY: tzset reads TZ. Nothing in this program writes the environment (clippy.toml forbids it), so no
    // other thread can be changing it.
    unsafe { tzset() };
}

/// A moment as clocks on the wall show it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, as in 2026.
    pub year: i32,
    /// 1-12.
    pub month: u8,
    /// 1-31.
    pub day: u8,
    /// 0-23.
    pub hour: u8,
    /// 0-59.
    pub minute: u8,
    /// 0-60 (leap second).
    pub second: u8,
    /// 0-6, 0 is Sunday.
    pub weekday: u8,
    /// Seconds east of UTC.
    pub offset: i32,
    zone: [u8; 15],
    zone_len: u8,
}

impl Civil {
    /// The abbreviation of the time zone, as `CET`; empty when it is not text.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.zone.get(..usize::from(self.zone_len)).and_then(|z| std::str::from_utf8(z).ok()).unwrap_or("")
    }
}

/// The civil time here at `seconds` since 1970 UTC; 1970-01-01 for a year that no calendar holds.
#[must_use]
pub fn local(seconds: i64) -> Civil {
    // SAFETY: tm is a plain structure for which zero is valid.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid; localtime_r writes `tm` or returns null.
    if unsafe { libc::localtime_r(&seconds, &raw mut tm) }.is_null() {
        tm.tm_year = 70;
        tm.tm_mday = 1;
    }
    let small = |n: i32| u8::try_from(n).unwrap_or(0);
    let mut civil = Civil {
        year: tm.tm_year.saturating_add(1900),
        month: small(tm.tm_mon).saturating_add(1),
        day: small(tm.tm_mday),
        hour: small(tm.tm_hour),
        minute: small(tm.tm_min),
        second: small(tm.tm_sec),
        weekday: small(tm.tm_wday),
        offset: i32::try_from(tm.tm_gmtoff).unwrap_or(0),
        zone: [0; 15],
        zone_len: 0,
    };
    if !tm.tm_zone.is_null() {
        // SAFETY: tm_zone points to a NUL-terminated name that libc keeps until the next tzset; it is copied here.
        let name = unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) }.to_bytes();
        if let Some(place) = civil.zone.get_mut(..name.len()) {
            place.copy_from_slice(name);
            civil.zone_len = u8::try_from(name.len()).unwrap_or(0);
        }
    }
    civil
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_and_do_not_go_back() {
        let first = monotonic();
        let coarse = monotonic_coarse();
        assert!(monotonic() >= first);
        assert!(coarse <= monotonic());
        let std = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(wall().as_secs().abs_diff(std) <= 1);
        assert!(wall_seconds().unsigned_abs().abs_diff(std) <= 1);
    }

    #[test]
    fn local_is_utc_plus_offset() {
        load_zone();
        for seconds in [0i64, 951_782_400, 1_795_000_000, 4_102_444_799, -1] {
            let civil = local(seconds);
            let shown = seconds + i64::from(civil.offset);
            assert_eq!(i64::from(civil.second), shown.rem_euclid(60), "{seconds}");
            assert_eq!(i64::from(civil.minute), shown.rem_euclid(3600) / 60, "{seconds}");
            assert_eq!(i64::from(civil.hour), shown.rem_euclid(86400) / 3600, "{seconds}");
            assert_eq!(i64::from(civil.weekday), (shown.div_euclid(86400) + 4).rem_euclid(7), "{seconds}");
            assert!(!civil.zone().is_empty());
        }
    }

    #[test]
    fn a_year_out_of_range_is_not_a_panic() {
        for seconds in [i64::MAX, i64::MIN] {
            let civil = local(seconds);
            assert_eq!((civil.year, civil.month, civil.day), (1970, 1, 1));
        }
    }
}
