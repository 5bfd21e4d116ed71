//! What a certificate says of itself (RFC 5280): the time in which it is valid, and its subject as text. Checks no
//! signature; that is rustls' work. A client's certificate comes through here, after rustls has verified it.

use crate::der::{Der, SEQUENCE, SET};
use std::fmt::Write;

/// The longest subject that is passed on; of a longer one nothing is, since half a name may be somebody else's.
pub(crate) const LONGEST_SUBJECT: usize = 512;

/// What is read of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// First second of its validity, since 1970.
    pub not_before: i64,
    /// Last second of its validity, since 1970.
    pub not_after: i64,
    /// The subject as RFC 4514 writes it, without control characters; `None` where it is longer than 512 bytes.
    pub subject: Option<String>,
}

/// Reads a certificate in DER; `None` where it is none.
pub fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut tbs = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    let (tag, _) = tbs.next()?;
    // The version may be left out; the serial number comes next.
    if tag == 0xa0 {
        tbs.next()?;
    }
    tbs.take(SEQUENCE)?; // signature algorithm
    tbs.take(SEQUENCE)?; // issuer
    let mut validity = Der(tbs.take(SEQUENCE)?);
    let not_before = time(validity.next()?)?;
    let not_after = time(validity.next()?)?;
    let subject = name(tbs.take(SEQUENCE)?)?;
    Some(Facts { not_before, not_after, subject: Some(subject).filter(|name| name.len() <= LONGEST_SUBJECT) })
}

/// UTCTime or GeneralizedTime, in the only forms that RFC 5280 §4.1.2.5 allows.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0i64, |n, &digit| n * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (0x17, 12) => {
            let (year, rest) = digits.split_at(2);
            (if number(year) < 50 { 2000 } else { 1900 } + number(year), rest)
        }
        (0x18, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let mut parts = rest.chunks(2).map(number);
    let mut next = |most: i64| parts.next().filter(|&part| part <= most);
    let (month, day, hour, minute, second) = (next(12)?, next(31)?, next(23)?, next(59)?, next(60)?);
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a date of the Gregorian calendar (H. Hinnant's algorithm).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A moment as a date, `2031-05-09`.
pub(crate) fn date(seconds: i64) -> String {
    let shifted = seconds.div_euclid(86_400) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Names of attributes by the bytes of their OIDs: RFC 4514 §3, and the two that clients' certificates often have.
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// A name as RFC 4514 writes it: the last part first.
fn name(parts: &[u8]) -> Option<String> {
    let mut texts = Vec::new();
    let mut parts = Der(parts);
    while !parts.0.is_empty() {
        let mut values = Der(parts.take(SET)?);
        let mut text = String::new();
        while !values.0.is_empty() {
            let mut pair = Der(values.take(SEQUENCE)?);
            if !text.is_empty() {
                text.push('+');
            }
            let oid = pair.take(0x06)?;
            match ATTRIBUTES.iter().find(|(known, _)| *known == oid) {
                Some((_, short)) => text.push_str(short),
                None => dotted(oid, &mut text)?,
            }
            text.push('=');
            value(pair.next()?, &mut text);
        }
        texts.push(text);
    }
    texts.reverse();
    Some(texts.join(","))
}

fn dotted(oid: &[u8], out: &mut String) -> Option<()> {
    let (mut number, mut first) = (0u64, true);
    for &byte in oid {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = match first {
            true => write!(out, "{}.{}", (number / 40).min(2), number - 40 * (number / 40).min(2)),
            false => write!(out, ".{number}"),
        };
        (number, first) = (0, false);
    }
    (!first).then_some(())
}

/// A value: text with the escapes of RFC 4514 §2.4, what is no text in hexadecimal.
fn value((tag, bytes): (u8, &[u8]), out: &mut String) {
    let text = match tag {
        0x0c => String::from_utf8(bytes.to_vec()).ok(),
        0x12 | 0x13 | 0x14 | 0x16 if bytes.is_ascii() => Some(String::from_utf8_lossy(bytes).into_owned()),
        0x1e if bytes.len() % 2 == 0 => {
            let units = bytes.chunks(2).map(|pair| pair.iter().fold(0u16, |n, &b| n << 8 | u16::from(b)));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    };
    let Some(text) = text else {
        out.push('#');
        for byte in bytes {
            let _ = write!(out, "{byte:02x}");
        }
        return;
    };
    let last = text.chars().count().saturating_sub(1);
    for (at, letter) in text.chars().enumerate() {
        match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => out.extend(['\\', letter]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            _ if letter.is_control()
                || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') =>
            {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(out, "\\{byte:02X}");
                }
            }
            _ => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, tag, seconds, shown) in [
            ("700101000000Z", 0x17, 0, "1970-01-01"),
            ("491231235959Z", 0x17, 2_524_607_999, "2049-12-31"),
            ("500101000000Z", 0x17, -631_152_000, "1950-01-01"),
            ("20240229120000Z", 0x18, 1_709_208_000, "2024-02-29"),
            ("99991231235959Z", 0x18, 253_402_300_799, "9999-12-31"),
        ] {
            assert_eq!(time((tag, text.as_bytes())), Some(seconds), "{text}");
            assert_eq!(date(seconds), shown);
        }
        for bad in ["", "Z", "7001010000Z", "700101000000", "700101000000+0000", "701301000000Z"] {
            assert_eq!(time((0x17, bad.as_bytes())), None, "{bad}");
        }
    }

    fn element(tag: u8, value: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(value.len()).unwrap()], value].concat()
    }

    fn part(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        let pair = element(SEQUENCE, &[element(6, oid), element(tag, text)].concat());
        element(SET, &pair)
    }

    #[test]
    fn a_subject_cannot_pass_for_another() {
        let cn = [0x55, 4, 3];
        let o = [0x55, 4, 10];
        for (parts, wanted) in [
            (vec![part(&o, 0x0c, b"Market"), part(&cn, 0x13, b"reeve")], "CN=reeve,O=Market"),
            (vec![part(&cn, 0x0c, b"a,O=Market")], "CN=a\\,O\\=Market"),
            (vec![part(&cn, 0x0c, b" #a\n\0 ")], "CN=\\ #a\\0A\\00\\ "),
            (vec![part(&cn, 0x13, &[0xe9])], "CN=#e9"),
            (vec![part(&cn, 0x1e, &[0, b'x', 0x20, 0xac])], "CN=x\u{20ac}"),
            (vec![part(&[0x2a, 3, 0x84, 1], 0x0c, b"x")], "1.2.3.513=x"),
            (vec![], ""),
        ] {
            assert_eq!(name(&parts.concat()).as_deref(), Some(wanted));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            facts(&bytes);
            if let Some(text) = name(&bytes) {
                prop_assert!(!text.chars().any(char::is_control));
            }
        }

        #[test]
        fn dates_are_the_inverse_of_days(day in -700_000i64..3_000_000) {
            let text = date(day * 86_400);
            let parts: Vec<i64> = text.split('-').filter_map(|part| part.parse().ok()).collect();
            if let [year, month, dom] = parts[..] {
                prop_assert_eq!(days(year, month, dom), day);
            }
        }
    }
}
