//! Any bytes as what a packet socket brings, from its IP header on: read without a panic, the addresses and ports are those of the
//! packet, the flags say the kind, and what is cut off behind the headers changes nothing.

#[path = "../../../crates/workers/src/sensor/packet.rs"]
mod packet;

use crate::protocol::ScanKind;
use packet::read;

/// One input.
pub fn run(input: &[u8]) {
    let Some(found) = read(input) else { return };
    let v4 = input.first().is_some_and(|first| first >> 4 == 4);
    assert_eq!((found.from.is_ipv4(), found.to.is_ipv4()), (v4, v4));
    let (from, to) = if v4 { (12..16, 16..20) } else { (8..24, 24..40) };
    let octets = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    assert_eq!(octets(found.from.ip()), input[from]);
    assert_eq!(octets(found.to.ip()), input[to]);
    // Headers of at most eight extensions and of TCP; what follows is not looked at.
    if v4 {
        let header = usize::from(input[0] & 15) * 4;
        let ports = [found.from.port().to_be_bytes(), found.to.port().to_be_bytes()].concat();
        assert_eq!(ports, input[header..header + 4]);
        assert_eq!(read(&input[..input.len().min(header + 20)]), Some(found), "the payload changes it");
        if !matches!(found.kind, ScanKind::Udp | ScanKind::Odd) {
            assert_eq!(input[9], 6);
            assert_eq!(input[header + 13] & 4, 0, "a reset is nobody's probe");
        }
    }
}
