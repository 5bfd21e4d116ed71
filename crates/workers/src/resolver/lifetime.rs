//! How long the addresses of a name hold: the least TTL in an answer of the domain name system (RFC 1035 §4.1), as anybody may have sent it.
//! Pure: reads bytes, asks nobody. A name that the hosts file has is not the domain name system's to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records of one answer that are looked at.
const MOST: u16 = 512;
const HEADER: usize = 12;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// The addresses of an answer, and the least time in seconds that a record on the way to them holds; `None` where it is no answer with an
/// address.
pub(super) fn lifetime(message: &[u8]) -> Option<(u32, Vec<IpAddr>)> {
    let number = |at: usize| Some(u16::from_be_bytes(*message.get(at..)?.first_chunk()?));
    // A response, without an error.
    let flags = number(2)?;
    if flags & 0x8000 == 0 || flags & 0x000f != 0 {
        return None;
    }
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = HEADER;
    for _ in 0..questions.min(MOST) {
        at = after_name(message, at)?.checked_add(4)?;
    }
    let (mut least, mut addresses) = (u32::MAX, Vec::new());
    for _ in 0..answers.min(MOST) {
        at = after_name(message, at)?;
        let record = message.get(at..at.checked_add(10)?)?;
        let (kind, class) = (number(at)?, number(at.checked_add(2)?)?);
        let time = u32::from_be_bytes(*record.get(4..)?.first_chunk()?);
        let length = usize::from(number(at.checked_add(8)?)?);
        at = at.checked_add(10)?;
        let data = message.get(at..at.checked_add(length)?)?;
        at = at.checked_add(length)?;
        let address = match (class, kind) {
            (INTERNET, A) => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
            (INTERNET, AAAA) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
            (INTERNET, CNAME) => {
                least = least.min(holds(time));
                continue;
            }
            _ => continue,
        };
        least = least.min(holds(time));
        addresses.push(address);
    }
    (!addresses.is_empty()).then_some((least, addresses))
}

/// What has the highest bit is no time (RFC 2181 §8).
fn holds(time: u32) -> u32 {
    if time > i32::MAX.unsigned_abs() { 0 } else { time }
}

/// Where a name ends; where it is continued elsewhere does not matter.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length & 0xc0 {
            0xc0 => return message.get(at..at.checked_add(2)?).map(|_| at + 2),
            0 if length == 0 => return at.checked_add(1),
            0 => at = at.checked_add(length)?.checked_add(1)?,
            _ => return None,
        }
    }
}

/// Whether a line of a hosts file is about this name.
pub(super) fn is_about(line: &str, name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let line = line.split('#').next().unwrap_or_default();
    line.split_ascii_whitespace().skip(1).any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `a.example` asked for, with these records: type, TTL, data.
    fn answer(records: &[(u16, u32, &[u8])]) -> Vec<u8> {
        let mut message = vec![0, 7, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        message.extend_from_slice(b"\x01a\x07example\0\0\x01\0\x01");
        for (kind, time, data) in records {
            message.extend_from_slice(b"\xc0\x0c");
            message.extend_from_slice(&kind.to_be_bytes());
            message.extend_from_slice(&[0, 1]);
            message.extend_from_slice(&time.to_be_bytes());
            message.extend_from_slice(&(data.len() as u16).to_be_bytes());
            message.extend_from_slice(data);
        }
        message
    }

    #[test]
    fn the_least_time_on_the_way_counts() {
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let (a, six) = ([192, 0, 2, 1], [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(lifetime(&answer(&[(A, 300, &a)])), Some((300, vec![one])));
        assert_eq!(lifetime(&answer(&[(CNAME, 30, b"\xc0\x0c"), (A, 300, &a)])), Some((30, vec![one])));
        // Of another kind: a signature, say.
        assert_eq!(
            lifetime(&answer(&[(46, 1, b"x"), (A, 300, &a), (A, 200, &a)])),
            Some((200, vec![one, one]))
        );
        assert_eq!(
            lifetime(&answer(&[(AAAA, 5, &six)])).unwrap().1,
            ["2001:db8::1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(lifetime(&answer(&[(A, u32::MAX, &a)])).unwrap().0, 0);
        assert_eq!(lifetime(&answer(&[(CNAME, 30, b"\xc0\x0c")])), None);
        assert_eq!(lifetime(&answer(&[(A, 30, b"12345")])), None);
        let fine = answer(&[(A, 300, &a)]);
        for (at, byte) in [(2, 0x01), (3, 0x83), (12, 0x40), (7, 2)] {
            let mut bad = fine.clone();
            bad[at] = byte;
            assert_eq!(lifetime(&bad), None, "{at}");
        }
        for length in 0..fine.len() {
            assert_eq!(lifetime(&fine[..length]), None, "{length}");
        }
    }

    #[test]
    fn names_of_the_hosts_file() {
        for (line, name, wanted) in [
            ("127.0.0.1 localhost web", "WEB", true),
            ("127.0.0.1\tweb.example # other", "web.example.", true),
            ("127.0.0.1 other # web", "web", false),
            ("# 127.0.0.1 web", "web", false),
            ("web", "web", false),
            ("127.0.0.1 web.example", "web", false),
        ] {
            assert_eq!(is_about(line, name), wanted, "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = lifetime(&bytes);
            let mut answered = answer(&[]);
            answered[7] = 200;
            answered.extend(bytes);
            let _ = lifetime(&answered);
        }
    }
}
