//! Fields of the daemon's JSON answers, read leniently: an older or newer daemon may leave some out, and a missing
//! number must not keep the rest from being shown.

use serde_json::Value;

/// The elements of an array field; none when it is missing.
pub fn items<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text field; empty when it is missing.
pub fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A number field.
pub fn number(object: &Value, name: &str) -> Option<u64> {
    object.get(name).and_then(Value::as_u64)
}

/// A number field as text; `-` when it is missing or null.
pub fn count(object: &Value, name: &str) -> String {
    number(object, name).map_or_else(|| "-".to_owned(), |n| n.to_string())
}

/// `file:line` of an object that has both.
pub fn place(object: &Value) -> String {
    match (text(object, "file"), number(object, "line")) {
        ("", _) => String::new(),
        (file, Some(line)) => format!("{file}:{line}"),
        (file, None) => file.to_owned(),
    }
}

/// A span of seconds in its two largest units: `3d 4h`, `59s`.
pub fn span(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units {
        if rest >= size || !parts.is_empty() || unit == "s" {
            parts.push((rest / size, unit));
            rest %= size;
        }
    }
    let alone = parts.len() == 1;
    let shown = parts.iter().take(2).filter(|(n, _)| *n > 0 || alone);
    shown.map(|(n, unit)| format!("{n}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (seconds, wanted) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (90_061, "1d 1h"),
            (86_460, "1d"),
        ] {
            assert_eq!(span(seconds), wanted);
        }
    }
}
