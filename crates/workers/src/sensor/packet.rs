//! What a packet says of itself: who sent what to which port. Reads the first bytes of packets that strangers wrote, and may be
//! lied to in each of them. Decides by the flags alone what kind of probe it would be; whether it is one is for others.

use crate::protocol::ScanKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Headers of IPv6 before the one of the protocol; more are nobody's, and the rest is not read.
const MOST_HEADERS: usize = 8;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// What may be a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Of which kind.
    pub kind: ScanKind,
    /// Who says to have sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

/// Reads a packet from its IP header on. `None` for what is no probe, or nothing that can be read.
#[must_use]
pub fn read(packet: &[u8]) -> Option<Candidate> {
    match packet.first()? >> 4 {
        4 => v4(packet),
        6 => v6(packet),
        _ => None,
    }
}

fn v4(packet: &[u8]) -> Option<Candidate> {
    let header = usize::from(packet.first()? & 15) * 4;
    let fragment = half(packet, 6)?;
    if header < 20 || fragment & 0x1fff != 0 {
        return None;
    }
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?)));
    let (from, to) = (address(12)?, address(16)?);
    // A header that is said to be longer than the packet holds nothing.
    let whole = usize::from(half(packet, 2)?);
    let left = whole.checked_sub(header)?;
    let more = fragment & 0x2000 != 0;
    protocol(*packet.get(9)?, packet.get(header..)?, left, more, (from, to))
}

fn v6(packet: &[u8]) -> Option<Candidate> {
    let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?)));
    let (from, to) = (address(8)?, address(24)?);
    let mut left = usize::from(half(packet, 4)?);
    let (mut next, mut rest, mut more) = (*packet.get(6)?, packet.get(40..)?, false);
    for _ in 0..MOST_HEADERS {
        let length = match next {
            // Hop-by-hop, routing, destination: in units of eight bytes without the first.
            0 | 43 | 60 => usize::from(*rest.get(1)?) * 8 + 8,
            44 => {
                let fragment = half(rest, 2)?;
                if fragment & 0xfff8 != 0 {
                    return None;
                }
                more = fragment & 1 != 0;
                8
            }
            // Authentication: in units of four bytes without the first two.
            51 => usize::from(*rest.get(1)?) * 4 + 8,
            protocol_number => return protocol(protocol_number, rest, left, more, (from, to)),
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
        left = left.checked_sub(length)?;
    }
    None
}

/// `left` bytes are said to follow, of which `rest` is what was read; `more` fragments come behind.
fn protocol(
    number: u8,
    rest: &[u8],
    left: usize,
    more: bool,
    (from, to): (IpAddr, IpAddr),
) -> Option<Candidate> {
    let ports = || Some((half(rest, 0)?, half(rest, 2)?));
    let found = |kind, (source, target)| Candidate {
        kind,
        from: SocketAddr::new(from, source),
        to: SocketAddr::new(to, target),
    };
    match number {
        UDP if left >= 8 => Some(found(ScanKind::Udp, ports()?)),
        // A TCP header in pieces hides its flags from who looks at packets, and is of no other use.
        TCP if more && (4..20).contains(&left) => Some(found(ScanKind::Odd, ports()?)),
        TCP if left >= 20 => {
            let header = usize::from(*rest.get(12)? >> 4) * 4;
            let kind = segment(*rest.get(13)?)?;
            let looks_connected = matches!(kind, ScanKind::Ack | ScanKind::Maimon);
            // With data, or the rest of it in fragments, it is nobody's probe.
            if header < 20 || looks_connected && (more || left > header) {
                return None;
            }
            Some(found(kind, ports()?))
        }
        _ => None,
    }
}

/// The kind of a segment by its flags, without those of congestion.
fn segment(flags: u8) -> Option<ScanKind> {
    const NMAP_XMAS: u8 = FIN | PSH | URG;
    const MAIMON: u8 = FIN | ACK;
    match flags & 0x3f {
        SYN => Some(ScanKind::Syn),
        0 => Some(ScanKind::Null),
        FIN => Some(ScanKind::Fin),
        NMAP_XMAS => Some(ScanKind::Xmas),
        ACK => Some(ScanKind::Ack),
        MAIMON => Some(ScanKind::Maimon),
        other if other & (RST | ACK) != 0 => None,
        _ => Some(ScanKind::Odd),
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        packet[16..20].copy_from_slice(&[198, 51, 100, 2]);
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        packet[6] = first;
        packet[8..10].copy_from_slice(&[0x20, 1]);
        packet[24..26].copy_from_slice(&[0x20, 2]);
        packet.extend_from_slice(payload);
        packet
    }

    fn tcp(flags: u8) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[..4].copy_from_slice(&[0x10, 0, 0, 23]);
        segment[12] = 0x50;
        segment[13] = flags;
        segment
    }

    fn kind(packet: &[u8]) -> Option<ScanKind> {
        read(packet).map(|candidate| candidate.kind)
    }

    #[test]
    fn flags_name_the_kind() {
        for (flags, expected) in [
            (0x02, Some(ScanKind::Syn)),
            (0xc2, Some(ScanKind::Syn)),
            (0x01, Some(ScanKind::Fin)),
            (0x00, Some(ScanKind::Null)),
            (0x29, Some(ScanKind::Xmas)),
            (0x11, Some(ScanKind::Maimon)),
            (0x10, Some(ScanKind::Ack)),
            (0x03, Some(ScanKind::Odd)),
            (0x08, Some(ScanKind::Odd)),
            (0x12, None),
            (0x04, None),
            (0x14, None),
            (0x18, None),
            (0x06, None),
        ] {
            assert_eq!(kind(&v4(6, 0, &tcp(flags))), expected, "{flags:#x}");
            assert_eq!(kind(&v6(6, &tcp(flags))), expected, "{flags:#x}");
        }
        let found = read(&v4(6, 0, &tcp(2))).unwrap();
        assert_eq!(found.from, "192.0.2.1:4096".parse().unwrap());
        assert_eq!(found.to, "198.51.100.2:23".parse().unwrap());
        assert_eq!(read(&v4(17, 0, &[0, 53, 0, 99, 0, 8, 0, 0])).unwrap().to.port(), 99);
    }

    #[test]
    fn data_is_nobodys_probe() {
        let data = [tcp(0x10), vec![0; 4]].concat();
        assert_eq!(kind(&v4(6, 0, &data)), None);
        assert_eq!(kind(&v4(6, 0x2000, &tcp(0x10))), None, "more of it comes");
        let data = [tcp(0x02), vec![0; 4]].concat();
        assert_eq!(kind(&v4(6, 0, &data)), Some(ScanKind::Syn), "a SYN may have some");
    }

    #[test]
    fn a_segment_in_pieces_is_odd() {
        assert_eq!(kind(&v4(6, 0x2000, &tcp(2)[..8])), Some(ScanKind::Odd));
        assert_eq!(kind(&v4(6, 0x2001, &tcp(2))), None, "a later piece has no ports");
        let whole = [vec![6, 0, 0, 0, 0, 0, 0, 0], tcp(2)].concat();
        assert_eq!(kind(&v6(44, &whole)), Some(ScanKind::Syn), "a fragment that is whole");
        let first = [vec![6, 0, 0, 1, 0, 0, 0, 0], tcp(2)[..8].to_vec()].concat();
        assert_eq!(kind(&v6(44, &first)), Some(ScanKind::Odd));
        let later = [vec![6, 0, 0, 9, 0, 0, 0, 0], tcp(2)].concat();
        assert_eq!(kind(&v6(44, &later)), None);
    }

    #[test]
    fn headers_in_between_are_passed_over_and_counted() {
        let option = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
        let behind = |count: usize| {
            let mut payload: Vec<u8> = (1..count).flat_map(|_| option(60)).collect();
            payload.extend(option(6));
            payload.extend(tcp(2));
            v6(60, &payload)
        };
        assert_eq!(kind(&behind(1)), Some(ScanKind::Syn));
        assert_eq!(kind(&behind(7)), Some(ScanKind::Syn));
        assert_eq!(kind(&behind(8)), None);
        let mut lies = behind(1);
        lies[41] = 200; // longer than what is there
        assert_eq!(kind(&lies), None);
    }

    proptest! {
        /// Whatever comes: no panic, and the addresses are those of the packet.
        #[test]
        fn any_bytes_are_read(mut bytes in proptest::collection::vec(0u8.., 0..200), version in 4u8..7) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 15;
            }
            if let Some(found) = read(&bytes) {
                prop_assert_eq!(found.from.is_ipv4(), version == 4);
                prop_assert_eq!(found.to.is_ipv4(), version == 4);
            }
        }
    }
}
