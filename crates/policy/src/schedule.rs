//! access_times: in which minutes of the day a service is open (reference xinetd §3.4).
//!
//! Windows are local minutes of the day, both ends inclusive, as a union; a window whose start is after its end is
//! never open (the parser refuses it). Days and dates do not exist, and running servers are not touched.

/// Minutes of a day.
pub const DAY: u16 = 1440;

/// Whether `minute` lies in one of `windows`.
pub fn is_open(windows: &[(u16, u16)], minute: u16) -> bool {
    windows.iter().any(|&(start, end)| (start..=end).contains(&minute))
}

/// The minute of the day at which the service is next open: `minute` itself when it is open now, else the nearest
/// start, tomorrow's if need be. `None` when no window ever opens.
pub fn next_open(windows: &[(u16, u16)], minute: u16) -> Option<u16> {
    if is_open(windows, minute) {
        return Some(minute);
    }
    windows
        .iter()
        .filter(|&&(start, end)| start <= end && start < DAY)
        .map(|&(start, _)| start)
        .min_by_key(|&start| ahead(minute, start))
}

/// Minutes from `minute` until the service is next open, 0 when it is open now.
pub fn minutes_until_open(windows: &[(u16, u16)], minute: u16) -> Option<u16> {
    next_open(windows, minute).map(|open| ahead(minute, open))
}

/// Minutes from `from` forward to `to`, over midnight if need be.
fn ahead(from: u16, to: u16) -> u16 {
    (to % DAY + DAY - from % DAY) % DAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inclusive() {
        let windows = [(480, 720)];
        assert_eq!([479, 480, 720, 721].map(|m| is_open(&windows, m)), [false, true, true, false]);
    }

    #[test]
    fn windows_are_a_union() {
        let windows = [(0, 10), (5, 20), (100, 100)];
        assert_eq!(
            [0, 15, 20, 21, 100, 101].map(|m| is_open(&windows, m)),
            [true, true, true, false, true, false]
        );
    }

    #[test]
    fn next_opening() {
        for (windows, minute, expected) in [
            (&[(480, 720)][..], 100, Some(480)),
            (&[(480, 720)], 500, Some(500)),
            (&[(480, 720)], 721, Some(480)),
            (&[(480, 720), (800, 900)], 721, Some(800)),
            (&[(0, 0)], 1, Some(0)),
            (&[(720, 480)], 500, None),
            (&[], 500, None),
        ] {
            assert_eq!(next_open(windows, minute), expected, "{windows:?} at {minute}");
        }
    }

    #[test]
    fn the_next_opening_is_the_first_open_minute_walked_to() {
        let windows = [(480, 490), (1439, 1439), (3, 5)];
        for minute in 0..DAY {
            let walked = (0..DAY).find(|step| is_open(&windows, (minute + step) % DAY));
            assert_eq!(minutes_until_open(&windows, minute), walked, "from {minute}");
        }
    }
}
