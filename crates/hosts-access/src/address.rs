//! Addresses and numbers as the original's C library reads them (reference A6.2): `inet_addr`, `atoi`, `%d %u %o`, numeric
//! IPv6 with a scope. Every laxity is on purpose: tables rely on them.

use std::net::Ipv6Addr;

/// `0x`: 16, `0`: 8, otherwise 10; the digits of that base, and what follows them. `None` without a digit or beyond 32 bits.
fn unsigned(text: &[u8]) -> Option<(u32, &[u8])> {
    let (base, digits) = match text {
        [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit() => (16, text.get(2..)?),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let length = digits.iter().position(|byte| !char::from(*byte).is_digit(base)).unwrap_or(digits.len());
    let (number, rest) = digits.split_at_checked(length)?;
    let mut value = 0_u64;
    for digit in number {
        value = value * u64::from(base) + u64::from(char::from(*digit).to_digit(base)?);
        u32::try_from(value).ok()?;
    }
    (length > 0).then_some((u32::try_from(value).ok()?, rest))
}

/// `inet_addr`: one to four numbers, decimal, octal or hexadecimal, with dots between; blank and anything may follow.
#[must_use]
pub fn inet_addr(text: &[u8]) -> Option<u32> {
    let mut rest = text;
    let mut high = 0_u32;
    for part in 0..4_u32 {
        if !rest.first()?.is_ascii_digit() {
            return None;
        }
        let (value, after) = unsigned(rest)?;
        match after {
            [b'.', next @ ..] if part < 3 => {
                let value = u8::try_from(value).ok()?;
                high |= u32::from(value) << (24 - 8 * part);
                rest = next;
            }
            [] | [b' ' | b'\t'..=b'\r' | 0, ..] => {
                // The last number fills all bytes that are left.
                let limit = u32::MAX >> (8 * part);
                return (value <= limit).then_some(high | value);
            }
            _ => return None,
        }
    }
    None
}

/// The address of four dot-separated runs in `inet_addr`'s spelling. 255.255.255.255 is `None`: the original takes it for
/// the mark of an invalid one.
#[must_use]
pub fn dot_quad(text: &[u8]) -> Option<u32> {
    // The usual spelling first: this is asked for every net of a table.
    plain_quad(text).or_else(|| other_quad(text)).filter(|address| *address != u32::MAX)
}

#[cold]
fn other_quad(text: &[u8]) -> Option<u32> {
    let runs = text.split(|byte| *byte == b'.').filter(|run| !run.is_empty()).count();
    if runs == 4 { inet_addr(text) } else { None }
}

/// Four decimal numbers without leading zeros.
fn plain_quad(text: &[u8]) -> Option<u32> {
    let mut address = 0_u32;
    let mut part = 0_u32;
    let mut digits = 0_u8;
    let mut dots = 0_u8;
    for byte in text {
        match *byte {
            digit @ b'0'..=b'9' if digits == 0 || part > 0 => {
                part = part * 10 + u32::from(digit - b'0');
                digits += 1;
                if part > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 => {
                address = (address << 8) | part;
                part = 0;
                digits = 0;
                dots += 1;
                if dots > 3 {
                    return None;
                }
            }
            _ => return None,
        }
    }
    (digits > 0 && dots == 3).then_some((address << 8) | part)
}

/// The address of a `::ffff:a.b.c.d` text without its prefix; any other text as it is.
#[must_use]
#[inline]
pub fn without_mapping(text: &[u8]) -> &[u8] {
    match text.split_at_checked(7) {
        Some((prefix, quad))
            if prefix.starts_with(b"::")
                && prefix.eq_ignore_ascii_case(b"::ffff:")
                && dot_quad(quad).is_some() =>
        {
            quad
        }
        _ => text,
    }
}

/// C's white space.
#[must_use]
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Without white space at both ends.
#[must_use]
pub fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// White space, a sign, and digits of `base`, clamped to 64 bits as `strtoul` does: negative, magnitude, whether it
/// overflowed, and what follows. `None` without a digit.
fn signed_digits(text: &[u8], base: u32) -> Option<(bool, u64, bool, &[u8])> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let text = text.get(start..)?;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let length = digits.iter().position(|byte| !char::from(*byte).is_digit(base)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
    let mut value = Some(0_u64);
    for digit in digits {
        let digit = u64::from(char::from(*digit).to_digit(base)?);
        value = value.and_then(|value| value.checked_mul(u64::from(base))?.checked_add(digit));
    }
    Some((negative, value.unwrap_or(u64::MAX), value.is_none(), rest))
}

/// `strtol` and the cut to 32 bits that `atoi` and `%d` make of it, with what follows the digits.
fn signed(text: &[u8]) -> Option<(i32, &[u8])> {
    let (negative, magnitude, _, rest) = signed_digits(text, 10)?;
    let value = i128::from(magnitude) * if negative { -1 } else { 1 };
    let clamped = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    #[expect(clippy::cast_possible_truncation, reason = "the original's cut to an int")]
    Some((clamped as i32, rest))
}

/// `atoi`: 0 without a digit; wraps beyond 32 bits.
#[must_use]
pub fn atoi(text: &[u8]) -> i32 {
    signed(text).map_or(0, |(value, _)| value)
}

/// The whole text as `%d`: wraps beyond 32 bits.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<i32> {
    signed(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// The whole text as `%u` (base 10) or `%o` (base 8): a sign is allowed, and it wraps at 32 bits.
fn unsigned_conversion(text: &[u8], base: u32) -> Option<u32> {
    let (negative, magnitude, overflowed, rest) = signed_digits(text, base)?;
    let value = if negative && !overflowed { magnitude.wrapping_neg() } else { magnitude };
    #[expect(clippy::cast_possible_truncation, reason = "the original's cut to an unsigned int")]
    rest.is_empty().then_some(value as u32)
}

/// The whole text as `%o`.
#[must_use]
pub fn octal(text: &[u8]) -> Option<u32> {
    unsigned_conversion(text, 8)
}

/// The port that a daemon pattern names, if it is an unsigned number up to 65535 in `%u` syntax.
#[must_use]
#[inline]
pub fn port(text: &[u8]) -> Option<u16> {
    // Names are not numbers: most tokens end here.
    if text.first().is_none_or(u8::is_ascii_alphabetic) {
        return None;
    }
    u16::try_from(unsigned_conversion(text, 10)?).ok()
}

/// What stands behind the `%` of an IPv6 address. It never counts in a comparison, but a wrong one makes the text no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// None, or a number: always right.
    Fine,
    /// The name of an interface: right if there is one of this name.
    Interface(&'a [u8]),
}

/// A numeric IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6<'a> {
    /// Its 128 bits.
    pub bits: u128,
    /// Its scope.
    pub scope: Scope<'a>,
}

/// A numeric IPv6 address with or without a scope, in any spelling.
#[must_use]
pub fn v6(text: &[u8]) -> Option<V6<'_>> {
    let (numeric, scope) = match text.iter().position(|byte| *byte == b'%') {
        Some(mark) => (text.get(..mark)?, text.get(mark + 1..)),
        None => (text, None),
    };
    let bits = v6_bits(numeric)?;
    let scope = match scope {
        None => Scope::Fine,
        Some(name) => {
            let number = name.first().is_some_and(u8::is_ascii_digit)
                && unsigned_digits(name).is_some_and(|number| number <= u64::from(u32::MAX));
            let address = Ipv6Addr::from(bits);
            let link_local = address.is_unicast_link_local()
                || (address.is_multicast() && address.segments()[0] & 0x000f == 2);
            match (number, link_local) {
                (true, _) => Scope::Fine,
                (false, true) => Scope::Interface(name),
                (false, false) => return None,
            }
        }
    };
    Some(V6 { bits, scope })
}

/// A numeric IPv6 address without a scope, as `inet_pton` reads it: this is asked for every bracketed word of a table.
fn v6_bits(text: &[u8]) -> Option<u128> {
    let (mut bits, mut groups) = (0_u128, 0_u32);
    let mut gap = text.starts_with(b"::").then_some(0);
    let mut rest = if gap.is_some() { text.get(2..)? } else { text };
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at_checked(length)?;
        if after.first() == Some(&b'.') {
            bits = (bits << 32) | u128::from(plain_quad(rest)?);
            groups += 2;
            break;
        }
        if length == 0 || length > 4 {
            return None;
        }
        let group = digits.iter().fold(0, |group, digit| {
            let value = if digit.is_ascii_digit() { digit & 0xf } else { (digit & 0xf) + 9 };
            (group << 4) | u128::from(value)
        });
        bits = (bits << 16) | group;
        groups += 1;
        rest = match after {
            [] => break,
            [b':', b':', rest @ ..] if gap.is_none() => {
                gap = Some(groups);
                rest
            }
            [b':', rest @ ..] if !rest.is_empty() && groups < 8 => rest,
            _ => return None,
        };
    }
    match gap {
        None => (groups == 8).then_some(bits),
        // The gap stands for at least one group.
        Some(before) if groups < 8 => {
            let behind = 16 * (groups - before);
            let low = bits & !u128::MAX.checked_shl(behind).unwrap_or(0);
            let high = bits.checked_shr(behind).unwrap_or(0);
            Some(high.checked_shl(16 * (8 - before)).unwrap_or(0) | low)
        }
        Some(_) => None,
    }
}

/// The whole text as decimal digits.
fn unsigned_digits(text: &[u8]) -> Option<u64> {
    let (_, value, overflowed, rest) = signed_digits(text, 10)?;
    (rest.is_empty() && !overflowed).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Scope, atoi, decimal, dot_quad, inet_addr, octal, port, v6, without_mapping};

    #[test]
    fn inet_addr_reads_every_spelling() {
        for (text, address) in [
            ("1.2.3.4", Some(0x0102_0304)),
            ("012.0.0.0", Some(0x0a00_0000)),
            ("0x7f.0.0.1", Some(0x7f00_0001)),
            ("10.1", Some(0x0a00_0001)),
            ("1.2.3", Some(0x0102_0003)),
            ("4294967295", Some(u32::MAX)),
            ("1.2.3.4 x", Some(0x0102_0304)),
            ("1.2.3.256", None),
            ("1.2.3.4.", None),
            ("1.2.3.08", None),
            ("0x.0.0.1", None),
            ("1..2.3", None),
            ("", None),
            ("4294967296", None),
            ("1.16777216", None),
        ] {
            assert_eq!(inet_addr(text.as_bytes()), address, "{text}");
        }
    }

    #[test]
    fn a_dot_quad_has_four_runs_and_is_not_the_broadcast_address() {
        assert_eq!(dot_quad(b"10.1"), None);
        assert_eq!(dot_quad(b"255.255.255.255"), None);
        assert_eq!(dot_quad(b"255.255.255.254"), Some(0xffff_fffe));
        assert_eq!(dot_quad(b"0xff.0.0.0"), Some(0xff00_0000));
        assert_eq!(dot_quad(b"010.0.0.1"), Some(0x0800_0001));
    }

    #[test]
    fn numbers_wrap_and_clamp_as_in_c() {
        assert_eq!(
            ["08", "+8", "8x", "4294967304", "x", "", "-1"].map(|text| atoi(text.as_bytes())),
            [8, 8, 8, 8, 0, 0, -1]
        );
        assert_eq!(atoi(b"99999999999999999999"), -1);
        assert_eq!(decimal(b"99999999999"), Some(1_215_752_191));
        assert_eq!([decimal(b"5x"), decimal(b"5 5"), decimal(b"")], [None; 3]);
        assert_eq!(octal(b"777"), Some(0o777));
        assert_eq!([octal(b"8"), octal(b"08")], [None; 2]);
        for (text, number) in [
            ("22", Some(22)),
            ("+22", Some(22)),
            ("022", Some(22)),
            ("4294967318", Some(22)),
            ("-4294967274", Some(22)),
            ("-22", None),
            ("22x", None),
            ("0x16", None),
            ("65536", None),
            ("65535", Some(65535)),
            ("99999999999999999999", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(port(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_lose_their_prefix() {
        assert_eq!(without_mapping(b"::FFFF:10.0.0.1"), b"10.0.0.1");
        for kept in [&b"::ffff:a00:1"[..], b"0:0:0:0:0:ffff:10.0.0.1", b"10.0.0.1", b"::1", b"::ffff:10.0.0"]
        {
            assert_eq!(without_mapping(kept), kept);
        }
    }

    #[test]
    fn scopes() {
        assert_eq!(v6(b"2001:DB8:0::1").map(|address| address.bits), Some(0x2001_0db8 << 96 | 1));
        assert_eq!(v6(b"fe80::1%lo").map(|address| address.scope), Some(Scope::Interface(b"lo")));
        assert_eq!(v6(b"fe80::1%3").map(|address| address.scope), Some(Scope::Fine));
        assert_eq!([v6(b"2001:db8::1%lo"), v6(b"fe80::1%3x").filter(|a| a.scope == Scope::Fine)], [None; 2]);
        assert_eq!([v6(b"10.0.0.1"), v6(b"::g"), v6(b"")], [None; 3]);
    }
}
