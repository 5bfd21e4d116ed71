//! Packet filters on sockets. On listeners: which source addresses may open a connection; the kernel drops a refused
//! SYN before the server that waits on the socket can accept it. On a packet socket: what may be a probe (`probes`).
//! Compiles sets of addresses and ports into classic BPF; decides nothing about who is refused.

mod probes;
mod program;
mod ranges;

pub use probes::{Silent, probes};
pub(crate) use program::Program;
use program::{AND, JUMP_EQ, LOAD_BYTE, NETWORK_HEADER};
use ranges::Ranges;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// One instruction of classic BPF; the layout of `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub(crate) code: u16,
    pub(crate) jt: u8,
    pub(crate) jf: u8,
    pub(crate) k: u32,
}

impl Insn {
    /// The program that lets nothing pass.
    pub(crate) const NOTHING: [Insn; 1] = [Insn { code: program::RETURN, jt: 0, jf: 0, k: 0 }];
}

/// The address sets need more instructions than the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address lists need {needed} filter instructions, the kernel takes {MOST}; use fewer or wider networks"
)]
pub struct TooLong {
    /// Instructions that the program has.
    pub needed: usize,
}

/// BPF_MAXINSNS. The kernel may still refuse less with `ENOMEM` (`net.core.optmem_max`), which [`attach`] reports.
const MOST: usize = 4096;

/// Address prefixes of IPv4 and IPv6: address and length in bits. Bits beyond the length are ignored.
pub type Prefixes<'a> = (&'a [(u32, u8)], &'a [(u128, u8)]);

/// The program that lets a packet pass when its source is not denied and, with `allow`, is allowed. Packets of
/// neither IPv4 nor IPv6 are dropped. On a dual-stack socket IPv4 clients come as IPv4 packets and are looked up
/// among the IPv4 prefixes.
///
/// # Errors
/// [`TooLong`].
pub fn allow_sources(
    deny_v4: &[(u32, u8)],
    deny_v6: &[(u128, u8)],
    allow: Option<Prefixes<'_>>,
) -> Result<Vec<Insn>, TooLong> {
    // Both families as 128-bit ranges; IPv4 fills the top word, so that one tree walker serves both.
    let wide = |&(address, bits): &(u32, u8)| (u128::from(address) << 96, bits.min(32));
    let deny4 = Ranges::of(deny_v4.iter().map(wide));
    let deny6 = Ranges::of(deny_v6.iter().copied());
    let everyone = || Ranges(vec![(0, u128::MAX)]);
    let (allow4, allow6) = match allow {
        None => (everyone(), everyone()),
        Some((v4, v6)) => (Ranges::of(v4.iter().map(wide)), Ranges::of(v6.iter().copied())),
    };
    let mut program = Program::default();
    let v6 = program.words(&allow6.without(&deny6).0, 8); // where the source stands in the header
    let v4 = program.words(&allow4.without(&deny4).0, 12);
    let neither = program.verdict(false);
    let not_v4 = program.branch(JUMP_EQ, 0x60, v6, neither);
    program.branch(JUMP_EQ, 0x40, v4, not_v4);
    program.push(AND, 0xf0);
    program.push(LOAD_BYTE, NETWORK_HEADER); // version and header length
    program.finish()
}

/// The program that lets a packet pass when it was sent to this host alone: no broadcast, no multicast, no copy of our
/// own. A datagram service that answers a crowd's address answers in a crowd, and the sender may be forged.
#[must_use]
pub fn unicast_only() -> Vec<Insn> {
    const PACKET_TYPE: u32 = 0xffff_f004; // SKF_AD_OFF + SKF_AD_PKTTYPE
    const HOST: u32 = 0; // PACKET_HOST
    let insn = |code, jf, k| Insn { code, jt: 0, jf, k };
    vec![
        insn(program::LOAD_WORD, 0, PACKET_TYPE),
        insn(JUMP_EQ, 1, HOST),
        insn(program::RETURN, 0, u32::MAX),
        insn(program::RETURN, 0, 0),
    ]
}

/// Messages of netlink but those that name this port as theirs.
pub(crate) fn not_from_port(port: u32) -> Vec<Insn> {
    /// `nlmsg_pid` in the header of a message, in the machine's own order; a filter loads it in the network's.
    const SENDER: u32 = 12;
    let insn = |code, jf, k| Insn { code, jt: 0, jf, k };
    vec![
        insn(program::LOAD_WORD, 0, SENDER),
        insn(JUMP_EQ, 1, u32::from_be_bytes(port.to_ne_bytes())),
        insn(program::RETURN, 0, 0),
        insn(program::RETURN, 0, u32::MAX),
    ]
}

/// Puts `program` on a socket in place of the one it has. Sockets accepted from now on carry it too, so a client
/// once let in stays so only while it is not denied by the program of its own time.
///
/// # Errors
/// `ENOMEM` when it is longer than `net.core.optmem_max` allows, `EINVAL` when it is empty, `EPERM` when the
/// socket's filter is locked.
pub fn attach(fd: impl AsFd, program: &[Insn]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let header = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: Insn has the layout of sock_filter and `len` of them follow; the kernel copies and verifies them.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const header).cast(),
            libc::socklen_t::try_from(size_of_val(&header)).unwrap_or(0),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the filter off a socket; without one it does nothing.
///
/// # Errors
/// `EPERM` when it is locked.
pub fn detach(fd: impl AsFd) -> io::Result<()> {
    let unused: i32 = 0;
    // SAFETY: the option takes no value; an int is passed because the kernel asks for at least one.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            (&raw const unused).cast(),
            libc::socklen_t::try_from(size_of_val(&unused)).unwrap_or(0),
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::program::{JUMP, JUMP_GE, LOAD_WORD, RETURN};
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does with the program for a packet whose network header starts with `packet`.
    fn passes(program: &[Insn], packet: &[u8]) -> bool {
        let mut accumulator = 0u32;
        let mut at = 0;
        for _ in 0..program.len() {
            let Insn { code, jt, jf, k } = program[at];
            let offset = k.wrapping_sub(NETWORK_HEADER) as usize;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            at += 1;
            match code {
                LOAD_BYTE => accumulator = u32::from(packet[offset]),
                LOAD_WORD => {
                    accumulator = u32::from_be_bytes(packet[offset..offset + 4].try_into().unwrap());
                }
                AND => accumulator &= k,
                JUMP => at += k as usize,
                JUMP_EQ => at += jump(accumulator == k),
                JUMP_GE => at += jump(accumulator >= k),
                RETURN => return k != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
        panic!("the program does not end")
    }

    fn v4(source: u32) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&source.to_be_bytes());
        packet
    }

    fn v6(source: u128) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x6c; // part of the traffic class stands in the same byte
        packet[8..24].copy_from_slice(&source.to_be_bytes());
        packet
    }

    fn within4(list: &[(u32, u8)], address: u32) -> bool {
        list.iter().any(|&(net, bits)| (net ^ address).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0)
    }

    fn within6(list: &[(u128, u8)], address: u128) -> bool {
        list.iter().any(|&(net, bits)| (net ^ address).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0)
    }

    #[test]
    fn nobody_and_everybody() {
        let open = allow_sources(&[], &[], None).unwrap();
        assert!(passes(&open, &v4(1)) && passes(&open, &v6(1)));
        assert!(!passes(&open, &[0x50; 40]), "neither IPv4 nor IPv6");
        let closed = allow_sources(&[], &[], Some((&[], &[]))).unwrap();
        assert!(!passes(&closed, &v4(1)) && !passes(&closed, &v6(1)));
        let family = allow_sources(&[(0, 0)], &[], None).unwrap();
        assert!(!passes(&family, &v4(u32::MAX)) && passes(&family, &v6(u128::MAX)));
    }

    #[test]
    fn deny_wins_over_allow() {
        let program =
            allow_sources(&[(0x0a01_0000, 16)], &[], Some((&[(0x0a00_0000, 8)], &[(1, 128)]))).unwrap();
        for (address, expected) in [
            (0x0a00_0001, true),
            (0x0a00_ffff, true),
            (0x0a01_0000, false),
            (0x0a01_ffff, false),
            (0x0a02_0000, true),
            (0x0aff_ffff, true),
            (0x0b00_0000, false),
            (0x09ff_ffff, false),
        ] {
            assert_eq!(passes(&program, &v4(address)), expected, "{address:#x}");
        }
        assert!(passes(&program, &v6(1)) && !passes(&program, &v6(2)) && !passes(&program, &v6(0)));
    }

    #[test]
    fn long_lists_work_up_to_the_kernels_limit_and_then_are_an_error() {
        let list: Vec<(u32, u8)> = (0..1500).map(|i| (i * 7919, 32)).collect();
        let program = allow_sources(&list, &[], None).unwrap();
        assert!(program.len() <= MOST);
        for &(address, _) in &list {
            assert!(!passes(&program, &v4(address)));
            assert!(passes(&program, &v4(address + 1)) && passes(&program, &v4(address.wrapping_sub(1))));
        }
        let list: Vec<(u32, u8)> = (0..5000).map(|i| (i * 7919, 32)).collect();
        let error = allow_sources(&list, &[], None).unwrap_err();
        assert!(error.needed > MOST && error.to_string().contains("4096"), "{error}");
        // Adjacent addresses become one network, however many there are.
        let list: Vec<(u32, u8)> = (0..65536).map(|i| (0x0a00_0000 + i, 32)).collect();
        assert!(allow_sources(&list, &[], None).unwrap().len() < 20);
    }

    fn prefixes4() -> impl Strategy<Value = Vec<(u32, u8)>> {
        // Few distinct addresses, so that prefixes nest and touch.
        prop::collection::vec(
            (
                prop::sample::select(vec![
                    0u32,
                    1,
                    0x0a00_0000,
                    0x0a00_00ff,
                    0x0a01_0203,
                    0x7fff_ffff,
                    0x8000_0000,
                    u32::MAX,
                ]),
                0u8..=32,
            ),
            0..12,
        )
    }

    fn prefixes6() -> impl Strategy<Value = Vec<(u128, u8)>> {
        let base = 0x2001_0db8_0000_0000_0000_0000_0000_0000u128;
        prop::collection::vec(
            (
                prop::sample::select(vec![
                    0u128,
                    1,
                    base,
                    base | 0xffff_ffff,
                    base | (1 << 32),
                    base | (0xffff_ffff << 32),
                    base | (1 << 64),
                    base ^ (1 << 96),
                    u128::MAX,
                ]),
                0u8..=128,
            ),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_reading(
            deny4 in prefixes4(), deny6 in prefixes6(), allow4 in prefixes4(), allow6 in prefixes6(),
            limited in any::<bool>(), random4 in any::<u32>(), random6 in any::<u128>(), step in 0u8..3,
        ) {
            let allow: Option<Prefixes> = limited.then_some((&allow4[..], &allow6[..]));
            let program = allow_sources(&deny4, &deny6, allow).unwrap();
            // Each bound of each prefix and its neighbours, and anything else.
            let near4 = deny4.iter().chain(&allow4).flat_map(|&(a, bits)| {
                let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                [a & !host, a | host]
            });
            for address in near4.chain([random4]).map(|a| a.wrapping_add(u32::from(step)).wrapping_sub(1)) {
                let expected = !within4(&deny4, address) && (!limited || within4(&allow4, address));
                prop_assert_eq!(passes(&program, &v4(address)), expected, "{:#x}", address);
            }
            let near6 = deny6.iter().chain(&allow6).flat_map(|&(a, bits)| {
                let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                [a & !host, a | host]
            });
            for address in near6.chain([random6]).map(|a| a.wrapping_add(u128::from(step)).wrapping_sub(1)) {
                let expected = !within6(&deny6, address) && (!limited || within6(&allow6, address));
                prop_assert_eq!(passes(&program, &v6(address)), expected, "{:#x}", address);
            }
        }
    }
}
