//! Moments and spans of time as people type and read them: `1h`, `today`, `2026-11-28 09:30`. Local time, unless a Z says otherwise.

use portreeve_sys::clock;
use std::time::Duration;

const DAY: i64 = 86_400;

/// A span: a number and `s`, `m`, `h`, `d` or `w`.
pub fn span(text: &str) -> Option<Duration> {
    let digits = text.strip_suffix(|c: char| c.is_ascii_alphabetic())?;
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        b'w' => 7 * 86_400,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let seconds = digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit)?;
    // A million years, so that sums of it are numbers still.
    (seconds < 1 << 45).then_some(Duration::from_secs(seconds))
}

/// The moment that is meant, in seconds since 1970; `now` is now.
pub fn moment(text: &str, now: i64) -> Option<i64> {
    let midnight = |at: i64| at - (at + i64::from(clock::local(at).offset)).rem_euclid(DAY);
    match text {
        "today" => return Some(midnight(now)),
        "yesterday" => return Some(midnight(midnight(now) - DAY / 2)),
        _ => {}
    }
    if let Some(span) = span(text) {
        return i64::try_from(span.as_secs()).ok().map(|seconds| now - seconds);
    }
    let (text, utc) = match text.strip_suffix(['Z', 'z']) {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':').map(number);
    let (hour, minute) = (time.next()??, time.next()??);
    let second = time.next().unwrap_or(Some(0))?;
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !fits || date.next().is_some() || time.next().is_some() {
        return None;
    }
    let civil = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    // The offset of the moment before the offset is known: the second look is right except in the hour that does not exist.
    let offset = |at: i64| if utc { 0 } else { i64::from(clock::local(at).offset) };
    Some(civil - offset(civil - offset(civil)))
}

fn number(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let in_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

/// A moment in microseconds since 1970, as a person reads it: local time to the millisecond.
pub fn local(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let c = clock::local(seconds);
    let millis = micros.rem_euclid(1_000_000) / 1_000;
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{millis:03}",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments() {
        assert_eq!(span("90m"), Some(Duration::from_secs(5_400)));
        for bad in ["", "h", "1", "1y", "-1h", "+1h", "1.5h", "99999999999999999999h", "9999999999999999w"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        let now = 1_795_854_818;
        assert_eq!(moment("1h", now), Some(now - 3_600));
        assert_eq!(moment("1970-01-01T00:00Z", now), Some(0));
        assert_eq!(moment("2026-11-28T08:33:38Z", now), Some(1_795_854_818));
        assert_eq!(moment("2000-02-29 23:59:59Z", now), Some(951_868_799));
        let today = moment("today", now).unwrap();
        assert!(today <= now && now - today < DAY);
        assert!(moment("yesterday", now).unwrap() < today);
        let written = local(now * 1_000_000 + 7_000);
        assert!(written.ends_with(".007"), "{written}");
        assert_eq!(moment(&written[..19], now), Some(now), "what is shown is understood");
        for bad in [
            "",
            "soon",
            "2026",
            "2026-13-01",
            "2026-01-01T25:00",
            "2026-01-01T1",
            "2026-1-1-1",
            "2026-01-01T1:2:3:4",
        ] {
            assert_eq!(moment(bad, now), None, "{bad}");
        }
    }
}
