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
    (soft != "0").then(|| (soft.clone(), soft != hard))
}

/// The value of `Limit…=` for one of `rlimit_…`; `None` where it changes nothing or is none.
pub(crate) fn written(value: &str) -> Option<String> {
    if value.eq_ignore_ascii_case("UNLIMITED") {
        return Some("infinity".to_owned());
    }
    let number = crate::number::size(value)?;
    (number != 0).then(|| number.to_string())
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
        assert_eq!(written("8M").as_deref(), Some("8388608"));
        assert_eq!(written("0"), None);
        assert_eq!(written("unlimited").as_deref(), Some("infinity"));
    }
}
