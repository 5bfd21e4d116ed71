//! The PROXY header that a target of `redirect` gets before the client's first byte: who the client is, and where it came
//! to (HAProxy's doc/proxy-protocol.txt, versions 1 and 2). Writes headers and reads none: a header that comes in is a
//! stranger's word and a worker's business.

use portreeve_conf::ProxyVersion;
use std::net::{IpAddr, SocketAddr};

/// What every header of version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const ON_BEHALF: u8 = 0x21;
/// Version 2, command LOCAL: the receiver uses the connection's own addresses.
const OF_OUR_OWN: u8 = 0x20;
/// The low half of version 2's family byte.
const STREAM: u8 = 0x1;

/// The header for a stream. Without the address of an end, or with two of different families, the receiver is told that
/// nothing is known.
pub fn stream(version: ProxyVersion, peer: Option<SocketAddr>, local: Option<SocketAddr>) -> Vec<u8> {
    let ends = peer.zip(local).map(|(peer, local)| {
        ((peer.ip().to_canonical(), peer.port()), (local.ip().to_canonical(), local.port()))
    });
    match (version, ends) {
        (ProxyVersion::V1, Some(((from @ IpAddr::V4(_), port), (to @ IpAddr::V4(_), at)))) => {
            format!("PROXY TCP4 {from} {to} {port} {at}\r\n").into_bytes()
        }
        (ProxyVersion::V1, Some(((from @ IpAddr::V6(_), port), (to @ IpAddr::V6(_), at)))) => {
            format!("PROXY TCP6 {from} {to} {port} {at}\r\n").into_bytes()
        }
        (ProxyVersion::V1, _) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyVersion::V2, Some(((IpAddr::V4(from), port), (IpAddr::V4(to), at)))) => binary(
            ON_BEHALF,
            0x10 | STREAM,
            &[&from.octets(), &to.octets(), &port.to_be_bytes(), &at.to_be_bytes()],
        ),
        (ProxyVersion::V2, Some(((IpAddr::V6(from), port), (IpAddr::V6(to), at)))) => binary(
            ON_BEHALF,
            0x20 | STREAM,
            &[&from.octets(), &to.octets(), &port.to_be_bytes(), &at.to_be_bytes()],
        ),
        (ProxyVersion::V2, _) => binary(OF_OUR_OWN, 0, &[]),
    }
}

fn binary(command: u8, family: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    // At most 36 bytes.
    let length = u16::try_from(body.len()).unwrap_or(0).to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_workers::protocol::MAX_HEAD;

    fn header(version: ProxyVersion, peer: &str, local: &str) -> Vec<u8> {
        stream(version, peer.parse().ok(), local.parse().ok())
    }

    #[test]
    fn lines_of_version_1() {
        let rows = [
            ("192.0.2.1:4000", "192.0.2.9:80", "PROXY TCP4 192.0.2.1 192.0.2.9 4000 80\r\n"),
            (
                "[::ffff:192.0.2.1]:4000",
                "[::ffff:192.0.2.9]:80",
                "PROXY TCP4 192.0.2.1 192.0.2.9 4000 80\r\n",
            ),
            ("[2001:db8::1]:4000", "[2001:db8::9]:80", "PROXY TCP6 2001:db8::1 2001:db8::9 4000 80\r\n"),
            ("192.0.2.1:4000", "", "PROXY UNKNOWN\r\n"),
            ("192.0.2.1:4000", "[2001:db8::9]:80", "PROXY UNKNOWN\r\n"),
        ];
        for (peer, local, line) in rows {
            assert_eq!(String::from_utf8(header(ProxyVersion::V1, peer, local)).unwrap(), line);
        }
        let longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
        assert!(header(ProxyVersion::V1, longest, longest).len() <= MAX_HEAD);
    }

    #[test]
    fn bytes_of_version_2() {
        let four = header(ProxyVersion::V2, "[::ffff:192.0.2.1]:4000", "[::ffff:192.0.2.9]:80");
        assert_eq!(four[..12], *SIGNATURE);
        assert_eq!(four[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 9, 15, 160, 0, 80]);
        let six = header(ProxyVersion::V2, "[2001:db8::1]:4000", "[2001:db8::9]:80");
        assert_eq!((six[12..16].to_vec(), six.len()), (vec![0x21, 0x21, 0, 36], 52));
        assert_eq!(header(ProxyVersion::V2, "192.0.2.1:4000", "")[12..], [0x20, 0, 0, 0]);
    }
}
