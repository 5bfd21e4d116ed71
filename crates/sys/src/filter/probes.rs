//! The filter of a packet socket that lets pass what nobody here has asked for: TCP and UDP to ports where nothing is. All
//! else, which is nearly everything that a busy host receives, is left in the kernel without a copy. What passes is not judged
//! here, and not trusted: an odd packet rather passes than not.

use super::program::{
    AND, JUMP_EQ, JUMP_SET, LOAD_BYTE, LOAD_BYTE_AT_X, LOAD_HALF, LOAD_WORD, Label, Program, X_HEADER_LENGTH,
    X_NUMBER,
};
use super::{Insn, TooLong};

/// Ports to which nothing is a probe: ranges, in order, that do not meet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent<'a> {
    /// Of a SYN: where somebody listens.
    pub opening: &'a [(u16, u16)],
    /// Of a segment that looks as if there were a connection (ACK, or FIN and ACK, alone).
    pub answers: &'a [(u16, u16)],
    /// Of a datagram.
    pub datagrams: &'a [(u16, u16)],
}

const PROTOCOL: u32 = 0xffff_f000; // SKF_AD_OFF + SKF_AD_PROTOCOL
const PACKET_TYPE: u32 = 0xffff_f004; // SKF_AD_OFF + SKF_AD_PKTTYPE
const HARDWARE: u32 = 0xffff_f01c; // SKF_AD_OFF + SKF_AD_HATYPE
const TO_US: u32 = 0; // PACKET_HOST
const LOOPBACK: u32 = 772; // ARPHRD_LOOPBACK
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// Headers of IPv6 behind which there may be TCP: hop-by-hop, routing, fragment, authentication, destination.
const EXTENSIONS: [u32; 5] = [0, 43, 44, 51, 60];
const FIN: u32 = 1;
const SYN: u32 = 2;
const RST: u32 = 4;
const ACK: u32 = 0x10;
/// Without the two flags of congestion, which any SYN may have.
const FLAGS: u32 = 0x3f;

/// The program for a socket whose packets begin with the IP header.
///
/// # Errors
/// [`TooLong`].
pub fn probes(silent: Silent<'_>) -> Result<Vec<Insn>, TooLong> {
    let mut program = Program::default();
    let datagram = program.port_outside(silent.datagrams);
    let answer = program.port_outside(silent.answers);
    let opening = program.port_outside(silent.opening);
    let segment = segment(&mut program, answer, opening);
    let (pass, drop) = (program.verdict(true), program.verdict(false));

    // IPv6.
    let mut next = drop;
    for header in EXTENSIONS {
        next = program.branch(JUMP_EQ, header, pass, next);
    }
    let next = program.branch(JUMP_EQ, UDP, datagram, next);
    program.branch(JUMP_EQ, TCP, segment, next);
    program.push(LOAD_BYTE, 6);
    let v6 = program.push(X_NUMBER, 40);

    // IPv4: later fragments have no ports. The first of a segment is looked at whatever it says: no stack makes such.
    let drop = program.verdict(false);
    let next = program.branch(JUMP_EQ, UDP, datagram, drop);
    program.branch(JUMP_EQ, TCP, segment, next);
    program.push(LOAD_BYTE, 9);
    let whole = program.push(X_HEADER_LENGTH, 0);
    let pass = program.verdict(true);
    program.branch(JUMP_EQ, TCP, pass, whole);
    let first = program.push(LOAD_BYTE, 9);
    let next = program.branch(JUMP_SET, 0x2000, first, whole);
    let drop = program.verdict(false);
    program.branch(JUMP_SET, 0x1fff, drop, next);
    let v4 = program.push(LOAD_HALF, 6);

    let drop = program.verdict(false);
    let next = program.branch(JUMP_EQ, IPV6, v6, drop);
    program.branch(JUMP_EQ, IPV4, v4, next);
    let next = program.push(LOAD_WORD, PROTOCOL);
    program.branch(JUMP_EQ, LOOPBACK, drop, next);
    let next = program.push(LOAD_WORD, HARDWARE);
    program.branch(JUMP_EQ, TO_US, next, drop);
    program.push(LOAD_WORD, PACKET_TYPE);
    program.finish()
}

/// A TCP header at X.
fn segment(program: &mut Program, answer: Label, opening: Label) -> Label {
    let (pass, drop) = (program.verdict(true), program.verdict(false));
    let closing = program.branch(JUMP_EQ, FIN | ACK, answer, drop);
    let acknowledges = program.branch(JUMP_EQ, ACK, answer, closing);
    // Without ACK there is no segment but a SYN or a reset.
    let odd = program.branch(JUMP_SET, ACK, acknowledges, pass);
    let no_reset = program.branch(JUMP_SET, RST, drop, odd);
    program.branch(JUMP_EQ, SYN, opening, no_reset);
    program.push(AND, FLAGS);
    program.push(LOAD_BYTE_AT_X, 13)
}

#[cfg(test)]
mod tests {
    use super::super::program::{JUMP, JUMP_GE, LOAD_HALF_AT_X, RETURN};
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does with the program; a load behind the end of the packet drops it.
    fn passes(program: &[Insn], (kind, hardware, protocol): (u32, u32, u32), packet: &[u8]) -> bool {
        let load = |at: u32, count: usize| -> Option<u32> {
            let at = at as usize;
            let bytes = packet.get(at..at + count)?;
            Some(bytes.iter().fold(0, |all, &byte| all << 8 | u32::from(byte)))
        };
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let Insn { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |taken: bool| at += usize::from(if taken { jt } else { jf });
            let loaded = match (code, k) {
                (LOAD_WORD, PACKET_TYPE) => Some(kind),
                (LOAD_WORD, HARDWARE) => Some(hardware),
                (LOAD_WORD, PROTOCOL) => Some(protocol),
                (LOAD_BYTE, k) => load(k, 1),
                (LOAD_HALF, k) => load(k, 2),
                (LOAD_BYTE_AT_X, k) => load(x + k, 1),
                (LOAD_HALF_AT_X, k) => load(x + k, 2),
                (X_HEADER_LENGTH, k) => match load(k, 1) {
                    Some(byte) => {
                        x = 4 * (byte & 15);
                        continue;
                    }
                    None => None,
                },
                (X_NUMBER, k) => {
                    x = k;
                    continue;
                }
                (AND, k) => Some(a & k),
                (JUMP, k) => {
                    at += k as usize;
                    continue;
                }
                (JUMP_EQ, k) => {
                    jump(a == k);
                    continue;
                }
                (JUMP_GE, k) => {
                    jump(a >= k);
                    continue;
                }
                (JUMP_SET, k) => {
                    jump(a & k != 0);
                    continue;
                }
                (RETURN, k) => return k != 0,
                other => panic!("unknown instruction {other:x?}"),
            };
            match loaded {
                Some(value) => a = value,
                None => return false,
            }
        }
    }

    fn v4(protocol: u8, fragment: u16, options: usize, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x40 | u8::try_from(5 + options / 4).unwrap();
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = protocol;
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[6] = protocol;
        packet.extend_from_slice(payload);
        packet
    }

    fn tcp(port: u16, flags: u8) -> Vec<u8> {
        let mut segment = vec![0; 20];
        segment[2..4].copy_from_slice(&port.to_be_bytes());
        segment[13] = flags;
        segment
    }

    fn udp(port: u16) -> Vec<u8> {
        let mut datagram = vec![0; 8];
        datagram[2..4].copy_from_slice(&port.to_be_bytes());
        datagram
    }

    const HERE4: (u32, u32, u32) = (0, 1, IPV4);
    const HERE6: (u32, u32, u32) = (0, 1, IPV6);
    const SILENT: Silent<'_> = Silent {
        opening: &[(22, 22), (80, 90)],
        answers: &[(22, 22), (32768, 60999)],
        datagrams: &[(53, 53), (32768, 60999)],
    };

    #[test]
    fn probes_pass_and_what_is_asked_for_does_not() {
        let program = probes(SILENT).unwrap();
        for (flags, port, expected) in [
            (0x02, 23, true),  // SYN
            (0xc2, 23, true),  // with the flags of congestion
            (0x02, 22, false), // somebody listens
            (0x02, 85, false),
            (0x02, 40000, true), // nobody listens there, whoever connects from it
            (0x12, 23, false),   // SYN and ACK: an answer
            (0x04, 23, false),   // RST
            (0x14, 23, false),
            (0x01, 22, true), // FIN, NULL, XMAS: whoever listens
            (0x00, 22, true),
            (0x29, 22, true),
            (0x03, 22, true), // SYN and FIN
            (0x10, 23, true), // ACK
            (0x11, 23, true), // Maimon
            (0x10, 22, false),
            (0x11, 40000, false),
            (0x18, 23, false), // data
        ] {
            let segment = tcp(port, flags);
            for packet in [v4(6, 0, 0, &segment), v4(6, 0x4000, 8, &segment)] {
                assert_eq!(passes(&program, HERE4, &packet), expected, "{flags:#x} to {port}");
            }
            assert_eq!(passes(&program, HERE6, &v6(6, &segment)), expected, "{flags:#x} to {port}");
        }
        for (port, expected) in [(53, false), (54, true), (40000, false)] {
            assert_eq!(passes(&program, HERE4, &v4(17, 0, 0, &udp(port))), expected);
            assert_eq!(passes(&program, HERE6, &v6(17, &udp(port))), expected);
        }
    }

    #[test]
    fn only_what_came_to_this_host_by_a_wire() {
        let program = probes(Silent::default()).unwrap();
        let packet = v4(6, 0, 0, &tcp(23, 2));
        assert!(passes(&program, HERE4, &packet));
        for kind in 1..=4 {
            assert!(!passes(&program, (kind, 1, IPV4), &packet), "broadcast, multicast, another's, our own");
        }
        assert!(!passes(&program, (0, LOOPBACK, IPV4), &packet));
        assert!(!passes(&program, (0, 1, 0x0806), &packet), "ARP");
        assert!(!passes(&program, HERE4, &v4(1, 0, 0, &[8; 8])), "ICMP");
        assert!(!passes(&program, HERE6, &v6(58, &[128; 8])), "ICMPv6");
    }

    #[test]
    fn fragments_and_headers_in_between() {
        let program = probes(SILENT).unwrap();
        assert!(!passes(&program, HERE4, &v4(6, 0x2001, 0, &tcp(23, 2))), "a later one has no ports");
        assert!(passes(&program, HERE4, &v4(6, 0x2000, 0, &tcp(22, 2)[..8])), "a segment cut to pieces");
        assert!(passes(&program, HERE4, &v4(17, 0x2000, 0, &udp(54))));
        assert!(!passes(&program, HERE4, &v4(17, 0x2000, 0, &udp(53))), "long answers come in pieces");
        for header in [0, 43, 44, 51, 60] {
            assert!(passes(&program, HERE6, &v6(header, &[])), "{header} is looked at behind the filter");
        }
        assert!(!passes(&program, HERE4, &v4(6, 0, 0, &tcp(23, 2)[..13])), "too short for its flags");
    }

    proptest! {
        /// However many ports there are: the program is one that the kernel takes, and says what a plain list says.
        #[test]
        fn ports_are_found_among_many(cuts in proptest::collection::btree_set(0u16.., 0..800), asked in 0u16..) {
            let cuts: Vec<u16> = cuts.into_iter().collect();
            let ranges: Vec<(u16, u16)> = cuts.chunks_exact(2).map(|pair| (pair[0], pair[1] - 1)).filter(|(a, b)| a <= b).collect();
            let program = probes(Silent { opening: &ranges, ..Silent::default() }).unwrap();
            for port in cuts.iter().copied().chain([asked, 0, u16::MAX]) {
                let inside = ranges.iter().any(|(from, to)| (*from..=*to).contains(&port));
                prop_assert_eq!(passes(&program, HERE4, &v4(6, 0, 0, &tcp(port, 2))), !inside, "{}", port);
            }
        }
    }

    #[test]
    fn more_ports_than_the_kernel_takes_are_an_error() {
        let ranges: Vec<(u16, u16)> = (0..20_000).map(|n| (n * 3, n * 3)).collect();
        assert!(probes(Silent { opening: &ranges, ..Silent::default() }).is_err());
    }
}
