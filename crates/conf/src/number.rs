//! Texts to numbers as strtol(3), strtoull(3) and xinetd's own suffixes read them, except that what does not fit is
//! refused instead of wrapped.

/// White space around a number that survives the splitting into words: vertical tab, form feed, carriage return.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r'))
}

/// A whole decimal number with an optional sign.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = trimmed(text);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A whole decimal number of this range.
pub(crate) fn within(text: &str, low: i64, high: i64) -> Option<i64> {
    integer(text).filter(|number| (low..=high).contains(number))
}

/// A whole decimal number that fits 32 bits without sign.
pub(crate) fn unsigned(text: &str) -> Option<u32> {
    integer(text).and_then(|number| u32::try_from(number).ok())
}

/// Digits behind a sign; a minus only where they are zeros, since what is below is none of these numbers.
fn without_sign(text: &str) -> Option<&str> {
    match text.strip_prefix('-') {
        Some(zeros) => zeros.bytes().all(|byte| byte == b'0').then_some(zeros),
        None => Some(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A whole decimal number that is not negative, up to 64 bits.
pub(crate) fn large(text: &str) -> Option<u64> {
    let text = trimmed(text);
    let digits = without_sign(text)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The number in front of a suffix of `size`, as xinetd shows it in its messages, and the factor.
pub(crate) fn without_suffix(text: &str) -> (&str, u64) {
    let text = text.trim_end_matches(['\x0b', '\x0c', '\r']);
    match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1024),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    }
}

/// A number of bytes with the suffix k or M.
pub(crate) fn size(text: &str) -> Option<u64> {
    let (number, factor) = without_suffix(text);
    large(number)?.checked_mul(factor)
}

/// Octal, as umask has it.
pub(crate) fn octal(text: &str) -> Option<u32> {
    let digits = without_sign(trimmed(text))?;
    if digits.is_empty() || !digits.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return None;
    }
    u32::from_str_radix(digits, 8).ok()
}

/// The decimal number at the beginning of a text, as sscanf("%lf") finds it, and whether something follows.
pub(crate) fn leading_decimal(text: &str) -> Option<(f64, bool)> {
    let text = trimmed(text);
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let start = usize::from(text.starts_with(['+', '-']));
    if let Some(digits) =
        text.get(start..).and_then(|rest| rest.strip_prefix("0x").or(rest.strip_prefix("0X")))
    {
        let (number, length) = hexadecimal(digits)?;
        let number = if text.starts_with('-') { -number } else { number };
        return number.is_finite().then_some((number, length < digits.len()));
    }
    let whole = digits(start);
    let mut end = whole;
    let mut any = whole > start;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        any |= fraction > whole + 1;
        end = fraction;
    }
    if !any {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(sign);
        if exponent > sign {
            end = exponent;
        }
    }
    let number: f64 = text.get(..end)?.parse().ok()?;
    number.is_finite().then_some((number, end < text.len()))
}

/// The number in hexadecimal at the beginning of a text, behind its `0x`: digits with a point, and a power of two. How long it is.
fn hexadecimal(text: &str) -> Option<(f64, usize)> {
    let (mut mantissa, mut power, mut lost) = (0u128, 0i64, false);
    let (mut end, mut behind_point) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        if byte == b'.' && !behind_point {
            behind_point = true;
        } else if let Some(digit) = char::from(byte).to_digit(16) {
            // What no longer fits only matters for the rounding.
            if mantissa >> 120 == 0 {
                mantissa = mantissa << 4 | u128::from(digit);
                power -= if behind_point { 4 } else { 0 };
            } else {
                lost |= digit != 0;
                power += if behind_point { 0 } else { 4 };
            }
        } else {
            break;
        }
        end = at + 1;
    }
    if end == 0 {
        return None;
    }
    let rest = text.get(end..).unwrap_or_default();
    if let Some(exponent) = rest.strip_prefix(['p', 'P']) {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        if count > 0 {
            let written = digits.get(..count)?.parse::<i64>().unwrap_or(1 << 40).min(1 << 40);
            power = power.saturating_add(if exponent.starts_with('-') { -written } else { written });
            end += 1 + (exponent.len() - digits.len()) + count;
        }
    }
    let mut number = (mantissa | u128::from(lost)) as f64;
    let power = i32::try_from(power.clamp(-5000, 5000)).ok()?;
    // In two steps, since a power by itself may lie outside where the number does not.
    number *= 2f64.powi(power / 2);
    number *= 2f64.powi(power - power / 2);
    Some((number, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strtol_does() {
        for (text, number) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("005", Some(5)),
            ("5\x0b", Some(5)),
            ("", None),
            ("+", None),
            ("+-5", None),
            ("20101x", None),
            ("0x10", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(integer(text), number, "{text:?}");
        }
        assert_eq!(unsigned("-1"), None);
        assert_eq!(unsigned("4294967296"), None);
        assert_eq!(within("65536", 0, 65535), None);
    }

    #[test]
    fn sizes_have_one_suffix() {
        for (text, number) in [
            ("5", Some(5)),
            ("5k", Some(5120)),
            ("5M", Some(5 << 20)),
            ("1G", None),
            ("m", None),
            ("-1", None),
            ("-0", Some(0)),
            ("-", None),
            ("+-0", None),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551615k", None),
        ] {
            assert_eq!(size(text), number, "{text:?}");
        }
        assert_eq!(without_suffix("xM").0, "x");
    }

    #[test]
    fn octal_and_decimal() {
        assert_eq!(octal("022"), Some(0o22));
        assert_eq!(octal("8"), None);
        assert_eq!((octal("-00"), octal("-01"), octal("-")), (Some(0), None, None));
        for (text, number) in [
            ("1.5", Some((1.5, false))),
            ("99.5x", Some((99.5, true))),
            (".5", Some((0.5, false))),
            ("5.", Some((5.0, false))),
            ("1e2", Some((100.0, false))),
            ("1e", Some((1.0, true))),
            ("-1", Some((-1.0, false))),
            ("0x2", Some((2.0, false))),
            ("0X1.8p1", Some((3.0, false))),
            ("-0x.8", Some((-0.5, false))),
            ("0x10p-2z", Some((4.0, true))),
            ("0xap", Some((10.0, true))),
            ("0xap+", Some((10.0, true))),
            ("0x1.2.3", Some((1.125, true))),
            ("0x1p99999", None),
            ("0x1p-99999", Some((0.0, false))),
            ("0x", None),
            ("0x.", Some((0.0, false))),
            ("0xg", None),
            (".", None),
            ("x", None),
            ("1e999", None),
        ] {
            assert_eq!(leading_decimal(text), number, "{text:?}");
        }
    }
}
