//! The PROXY header, versions 1 and 2, as HAProxy's specification has it. Pure: bytes in, addresses out. Strict, because the
//! answer decides who a client is: what the specification forbids is no header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, in bytes. Version 1 has at most 107; of version 2 the specification promises that
/// 16 + 216 fit, and a proxy may add fields (a certificate's name, an id).
pub const MAX_PROXY_HEADER: usize = 4096;

/// The longest header of version 1, with its CR LF.
const LONGEST_V1: usize = 107;
const PREFIX_V1: &[u8] = b"PROXY ";
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_V2: usize = 16;

/// The two ends of the connection that a proxy passes on. Mapped IPv4 addresses are unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client.
    pub from: SocketAddr,
    /// Where it connected to.
    pub to: SocketAddr,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// They break the specification.
    Malformed,
    /// They could go on beyond the longest header.
    TooLong,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The beginning of a header, all of them: more must come.
    Begun,
    /// A header of this many bytes, which names these ends; `None` where the proxy speaks for itself (LOCAL, UNKNOWN,
    /// UNSPEC, a client of its own Unix socket) and the socket's peer counts.
    Whole(usize, Option<Endpoints>),
    /// No header.
    Bad(Unreadable),
}

/// Reads the header in front of `bytes`. What follows it is not looked at.
pub fn proxy_header(bytes: &[u8]) -> ProxyHeader {
    match bytes.first() {
        None => ProxyHeader::Begun,
        Some(b'P') => version_1(bytes),
        Some(_) => version_2(bytes),
    }
}

/// Whether `bytes` and `pattern` agree as far as both go.
fn agree(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.iter().zip(pattern).all(|(a, b)| a == b)
}

fn version_1(bytes: &[u8]) -> ProxyHeader {
    if !agree(bytes, PREFIX_V1) {
        return ProxyHeader::Bad(Unreadable::Malformed);
    }
    let window = bytes.get(..LONGEST_V1).unwrap_or(bytes);
    // The first of either ends the line; only the pair does so rightly.
    let Some(at) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        let full = window.len() == LONGEST_V1;
        return if full { ProxyHeader::Bad(Unreadable::TooLong) } else { ProxyHeader::Begun };
    };
    match (window.get(at), window.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if window.len() < LONGEST_V1 => return ProxyHeader::Begun,
        _ => return ProxyHeader::Bad(Unreadable::Malformed),
    }
    let line = window.get(PREFIX_V1.len()..at).and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(fields_1) {
        Some(ends) => ProxyHeader::Whole(at + 2, ends),
        None => ProxyHeader::Bad(Unreadable::Malformed),
    }
}

fn fields_1(line: &str) -> Option<Option<Endpoints>> {
    // Whatever an UNKNOWN goes on with is to be ignored.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (from, to) = (address()?, address()?);
    let (from_port, to_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some(Some(ends(from, from_port, to, to_port)))
}

/// Decimal digits without a sign or a leading zero.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn version_2(bytes: &[u8]) -> ProxyHeader {
    if !agree(bytes, SIGNATURE) {
        return ProxyHeader::Bad(Unreadable::Malformed);
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_V2>() else {
        // A wrong version is known before the length is there.
        let wrong = bytes.get(12).is_some_and(|version| version >> 4 != 2);
        return if wrong { ProxyHeader::Bad(Unreadable::Malformed) } else { ProxyHeader::Begun };
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, 0x20 | 0x21) {
        return ProxyHeader::Bad(Unreadable::Malformed);
    }
    if HEAD_V2 + length > MAX_PROXY_HEADER {
        return ProxyHeader::Bad(Unreadable::TooLong);
    }
    let Some(block) = rest.get(..length) else { return ProxyHeader::Begun };
    let ends = match (command, family) {
        // LOCAL: whatever the block says is to be ignored.
        (0x20, _) => Some(None),
        (_, 0x00) => Some(None),
        (_, 0x11) => block.first_chunk::<12>().map(|block| Some(ends_4(block))),
        (_, 0x21) => block.first_chunk::<36>().map(|block| Some(ends_6(block))),
        // A client of a Unix socket is on the proxy's own machine.
        (_, 0x31) => block.first_chunk::<216>().map(|_| None),
        // Datagrams do not come this way; other families do not exist.
        _ => None,
    };
    match ends {
        Some(ends) => ProxyHeader::Whole(HEAD_V2 + length, ends),
        None => ProxyHeader::Bad(Unreadable::Malformed),
    }
}

fn ends_4(block: &[u8; 12]) -> Endpoints {
    let [a, b, c, d, e, f, g, h, from_high, from_low, to_high, to_low] = *block;
    let (from, to) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    let ports = [u16::from_be_bytes([from_high, from_low]), u16::from_be_bytes([to_high, to_low])];
    ends(from.into(), ports[0], to.into(), ports[1])
}

fn ends_6(block: &[u8; 36]) -> Endpoints {
    let half = |at: usize| {
        let mut octets = [0u8; 16];
        octets.iter_mut().zip(block.iter().skip(at)).for_each(|(to, from)| *to = *from);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let [.., from_high, from_low, to_high, to_low] = *block;
    let ports = [u16::from_be_bytes([from_high, from_low]), u16::from_be_bytes([to_high, to_low])];
    ends(half(0), ports[0], half(16), ports[1])
}

fn ends(from: IpAddr, from_port: u16, to: IpAddr, to_port: u16) -> Endpoints {
    let end = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    Endpoints { from: end(from, from_port), to: end(to, to_port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    fn whole(bytes: &[u8]) -> (usize, Option<(String, String)>) {
        match proxy_header(bytes) {
            ProxyHeader::Whole(n, ends) => (n, ends.map(|e| (e.from.to_string(), e.to.to_string()))),
            other => panic!("{other:?} for {:?}", bytes.escape_ascii().to_string()),
        }
    }

    fn pair(from: &str, to: &str) -> Option<(String, String)> {
        Some((from.to_owned(), to.to_owned()))
    }

    #[test]
    fn version_1_names_both_ends() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
        assert_eq!(whole(line), (line.len(), pair("192.0.2.7:56324", "198.51.100.1:443")));
        let with_more = [&line[..], b"GET / HTTP/1.0\r\n"].concat();
        assert_eq!(whole(&with_more).0, line.len(), "what follows is not the header's");
        let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n";
        assert_eq!(whole(line).1, pair("[2001:db8::7]:0", "[2001:db8::1]:65535"));
        let line = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2\r\n";
        assert_eq!(whole(line).1, pair("192.0.2.7:1", "192.0.2.1:2"), "mapped addresses are unwrapped");
        for line in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN what ever 1 2 3\r\n"] {
            assert_eq!(whole(line), (line.len(), None));
        }
    }

    #[test]
    fn version_1_is_read_strictly() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
        assert_eq!(proxy_header(&long), ProxyHeader::Bad(Unreadable::TooLong));
        let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat();
        assert_eq!(whole(&longest).0, LONGEST_V1);
        for bad in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\rx",
            "PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 056324 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +5 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 5\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.1 5 6\r\n",
            "PROXY TCP4 192.0.2 198.51.100.1 5 6\r\n",
            "PROXY TCP4 ::1 ::1 5 6\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 5 6\r\n",
            "PROXY TCP6 fe80::1%lo fe80::2 5 6\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 5 6\r\n",
            "PROXY UNKNOWNx\r\n",
            "PROXY \r\n",
            "PROXY\r\n",
            "proxy TCP4 192.0.2.7 198.51.100.1 5 6\r\n",
            "POST / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.7\u{e9} 198.51.100.1 5 6\r\n",
            "GET / HTTP/1.1\r\n",
        ] {
            assert_eq!(proxy_header(bad.as_bytes()), ProxyHeader::Bad(Unreadable::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn version_2_names_both_ends_and_skips_what_follows_them() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb];
        let both = pair("192.0.2.7:12345", "198.51.100.1:443");
        assert_eq!(whole(&v2(0x21, 0x11, &four)), (28, both.clone()));
        let fields = [&four[..], &[0x02, 0, 3, b'a', b'b', b'c']].concat();
        assert_eq!(whole(&v2(0x21, 0x11, &fields)), (34, both));
        let mut six = [0u8; 36];
        for (at, last) in [(0, 7), (16, 1)] {
            six[at..at + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            six[at + 15] = last;
        }
        six[32..].copy_from_slice(&[0, 80, 0, 81]);
        assert_eq!(whole(&v2(0x21, 0x21, &six)).1, pair("[2001:db8::7]:80", "[2001:db8::1]:81"));
        assert_eq!(whole(&v2(0x20, 0x11, &four)), (28, None), "LOCAL is the proxy itself");
        assert_eq!(whole(&v2(0x20, 0x00, &[])), (16, None));
        assert_eq!(whole(&v2(0x21, 0x00, b"what ever")), (25, None));
        assert_eq!(whole(&v2(0x21, 0x31, &[0; 216])), (232, None));
    }

    #[test]
    fn version_2_is_read_strictly() {
        let four = [0u8; 12];
        for (command, family, block) in [
            (0x22, 0x11, &four[..]),
            (0x11, 0x11, &four),
            (0x31, 0x11, &four),
            (0x21, 0x12, &four),
            (0x21, 0x10, &four),
            (0x21, 0x41, &[0; 300]),
            (0x21, 0x11, &[0; 11]),
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x31, &[0; 215]),
        ] {
            let bad = v2(command, family, block);
            let found = proxy_header(&bad);
            assert_eq!(found, ProxyHeader::Bad(Unreadable::Malformed), "{command:x} {family:x}");
        }
        let longest = v2(0x20, 0, &vec![0; MAX_PROXY_HEADER - HEAD_V2]);
        assert_eq!(whole(&longest).0, MAX_PROXY_HEADER);
        let long = v2(0x20, 0, &vec![0; MAX_PROXY_HEADER - HEAD_V2 + 1]);
        assert_eq!(proxy_header(&long[..16]), ProxyHeader::Bad(Unreadable::TooLong), "known from the length");
        assert_eq!(proxy_header(b"\r\n\r\n\0\r\nQUIT\n\x31"), ProxyHeader::Bad(Unreadable::Malformed));
        assert_eq!(proxy_header(b"\r\n\r\nGET"), ProxyHeader::Bad(Unreadable::Malformed));
    }

    #[test]
    fn every_beginning_of_a_header_is_one() {
        let four = [&[192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb][..], &[4, 0, 1, 9]].concat();
        let headers: [&[u8]; 4] = [
            b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n",
            b"PROXY UNKNOWN\r\n",
            &v2(0x21, 0x11, &four),
            &v2(0x20, 0x00, &[]),
        ];
        for header in headers {
            for end in 0..header.len() {
                assert_eq!(proxy_header(&header[..end]), ProxyHeader::Begun, "{end} of {header:?}");
            }
            assert_eq!(whole(header).0, header.len());
        }
    }
}
