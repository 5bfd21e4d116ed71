//! Numbers of units: rates of starting, resource limits.

use super::unit::span;

/// What an interval and a burst come to as `cps`: connections a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Off.
    Off,
    /// This many a second.
    Exactly(u32),
    /// The next whole number of them.
    Nearly(u32),
}

/// A rate; `interval` and `burst` as written or by default.
pub(crate) fn rate(interval: &str, burst: &str) -> Option<Rate> {
    let (interval, burst) = (span(interval)?, burst.parse::<u32>().ok()?);
    if interval == 0 || burst == 0 {
        return Some(Rate::Off);
    }
    let scaled = u64::from(burst).checked_mul(1_000_000)?;
    let rate = u32::try_from(scaled.div_ceil(interval)).ok()?;
    Some(if scaled % interval == 0 { Rate::Exactly(rate) } else { Rate::Nearly(rate) })
}

/// A resource limit: what xinetd's `rlimit_…` takes, and whether soft and hard limit differ (then it is the soft one).
pub(crate) fn resource(key: &str, value: &str) -> Option<(String, bool)> {
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let read = |text: &str| match text.trim() {
        "infinity" => Some("UNLIMITED".to_owned()),
        text if key == "LimitCPU" => span(text).map(|time| time.div_ceil(1_000_000).to_string()),
        text if key == "LimitNOFILE" => text.parse::<u64>().ok().map(|number| number.to_string()),
        // A plain number is microseconds there.
        text if key == "LimitRTTIME" => {
            text.parse().ok().or_else(|| span(text)).map(|time: u64| time.to_string())
        }
        text if key == "LimitNICE" => nice(text).map(|number| number.to_string()),
        text => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let shift = match text.get(digits.len()..)? {
                "" | "B" => 0,
                "K" => 10,
                "M" => 20,
                "G" => 30,
                "T" => 40,
                "P" => 50,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(1 << shift).map(|bytes| bytes.to_string())
        }
    };
    let (soft, hard) = (read(soft)?, read(hard)?);
    // There 0 means unchanged.
    (soft != "0" || !zero_is_none(key)).then(|| (soft.clone(), soft != hard))
}

/// Of what xinetd has too, 0 is no limit.
fn zero_is_none(key: &str) -> bool {
    ["LimitAS", "LimitCPU", "LimitDATA", "LimitRSS", "LimitSTACK", "LimitNOFILE"].contains(&key)
}

/// A nice value with its sign, or the kernel's number, which is 20 minus it.
fn nice(text: &str) -> Option<i64> {
    let number = text.parse::<i64>().ok()?;
    match text.starts_with(['+', '-']) {
        true => Some(20 - number).filter(|number| (1..=40).contains(number)),
        false => Some(number).filter(|number| (0..=40).contains(number)),
    }
}

/// The value of `Limit…=` for one of `rlimit_…`; `None` where it changes nothing or is none.
pub(crate) fn written(key: &str, value: &str) -> Option<String> {
    if value.eq_ignore_ascii_case("UNLIMITED") {
        return Some("infinity".to_owned());
    }
    let number = crate::number::size(value)?;
    (number != 0 || !zero_is_none(key)).then(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (interval, burst, wanted) in [
            ("2s", "200", Some(Rate::Exactly(100))),
            ("1", "50", Some(Rate::Exactly(50))),
            ("1min", "7", Some(Rate::Nearly(1))),
            ("0", "7", Some(Rate::Off)),
            ("500ms", "3", Some(Rate::Exactly(6))),
            ("x", "3", None),
            ("1 s", "-3", None),
        ] {
            assert_eq!(rate(interval, burst), wanted, "{interval} {burst}");
        }
    }

    #[test]
    fn resources() {
        let of = |key, value| resource(key, value);
        assert_eq!(of("LimitAS", "2G"), Some(("2147483648".into(), false)));
        assert_eq!(of("LimitNOFILE", "1024:524288"), Some(("1024".into(), true)));
        assert_eq!(of("LimitCPU", "1min"), Some(("60".into(), false)));
        assert_eq!(of("LimitAS", "infinity"), Some(("UNLIMITED".into(), false)));
        assert_eq!(of("LimitAS", "x"), None);
        assert_eq!(of("LimitNOFILE", "0"), None);
        assert_eq!(written("LimitAS", "8M").as_deref(), Some("8388608"));
        assert_eq!(written("LimitAS", "0"), None);
        assert_eq!(written("LimitAS", "unlimited").as_deref(), Some("infinity"));
        assert_eq!(of("LimitCORE", "0"), Some(("0".into(), false)));
        assert_eq!(written("LimitCORE", "0").as_deref(), Some("0"));
        assert_eq!(of("LimitNICE", "-5"), Some(("25".into(), false)));
        assert_eq!(of("LimitRTTIME", "1ms"), Some(("1000".into(), false)));
        assert_eq!(written("LimitRTTIME", "1000").as_deref(), Some("1000"));
    }
}
