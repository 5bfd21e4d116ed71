//! With whom the sockets of a control group may exchange packets: a program that the kernel runs for each IP packet that one of them
//! sends or gets (BPF_PROG_TYPE_CGROUP_SKB). Two lists of networks in, nothing else. Which group a socket is of was settled when it was made: an
//! accepted one is of its listener's, whoever has it.

use crate::bpf::{self, ADD_WHOLE, AND, BESIDE, CALL, COPY, COPY_WHOLE, EXIT, Insn, LOAD, SET, UNLESS, insn};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// An address, and how many of its leading bits count.
pub type Net = (IpAddr, u8);

/// The kernel's number of these programs.
const TYPE: u32 = 8;
/// Packets that come in, packets that go out.
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
/// By which they are found again.
const NAME: &str = "portreeve_addr";
/// The helper that reads from a packet (bpf_skb_load_bytes).
const READ: i32 = 26;
/// Where `struct __sk_buff` has the kind of packet, in the order of the network.
const PROTOCOL: i16 = 16;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

const PASS: i32 = 1;
const DROP: i32 = 0;

/// What is neither IPv4 nor IPv6, and what cannot be read, does not pass.
fn program(incoming: bool, allow: &[Net], deny: &[Net]) -> Vec<Insn> {
    let mut all = vec![insn(COPY_WHOLE, 6, 1, 0, 0), insn(LOAD, 7, 6, PROTOCOL, 0)];
    // Of the other side: the sender of what comes in, the receiver of what goes out.
    let (v4, v6) = if incoming { (12, 8) } else { (16, 24) };
    for (protocol, words, at) in [(IPV4, 1, v4), (IPV6, 4, v6)] {
        let block = block(words, at, allow, deny);
        all.push(insn(UNLESS, 7, 0, over(block.len()), i32::from(protocol.to_be())));
        all.extend(block);
    }
    all.extend(verdict(DROP));
    all
}

fn verdict(what: i32) -> [Insn; 2] {
    [insn(SET, 0, 0, 0, what), insn(EXIT, 0, 0, 0, 0)]
}

/// The way over so many instructions.
fn over(count: usize) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

/// Reads an address of so many words of 32 bits at this place of the packet into registers 1 and on, and looks for it in the lists. What
/// cannot be read leads behind the block.
fn block(words: u8, at: i32, allow: &[Net], deny: &[Net]) -> Vec<Insn> {
    let compared = compared(words, allow, deny);
    let size = i16::from(words) * 4;
    let mut all = vec![
        insn(COPY_WHOLE, 1, 6, 0, 0),
        insn(SET, 2, 0, 0, at),
        insn(COPY_WHOLE, 3, 10, 0, 0),
        insn(ADD_WHOLE, 3, 0, 0, i32::from(-size)),
        insn(SET, 4, 0, 0, i32::from(size)),
        insn(CALL, 0, 0, 0, READ),
        insn(UNLESS, 0, 0, over(usize::from(words) + compared.len()), 0),
    ];
    all.extend((0..words).map(|word| insn(LOAD, word + 1, 10, i16::from(word) * 4 - size, 0)));
    all.extend(compared);
    all
}

fn compared(words: u8, allow: &[Net], deny: &[Net]) -> Vec<Insn> {
    let mut all = Vec::new();
    let nets = allow.iter().map(|net| (net, PASS)).chain(deny.iter().map(|net| (net, DROP)));
    for (net, what) in nets.filter(|((address, _), _)| address.is_ipv4() == (words == 1)) {
        let tests = tests(*net, words);
        all.extend(&tests);
        all.extend(verdict(what));
        if tests.is_empty() {
            // Everybody is in it, and the kernel takes nothing that is never reached.
            return all;
        }
    }
    all.extend(verdict(PASS));
    all
}

/// Leads over the verdict that stands behind it unless the address is in the network.
fn tests((address, length): Net, words: u8) -> Vec<Insn> {
    let whole = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mut tests = Vec::new();
    for word in 0..words {
        let bits = u32::from(length).saturating_sub(u32::from(word) * 32).min(32);
        // As the packet has it, in the order of the network.
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be();
        let part = (whole >> (96 - u32::from(word) * 32)) & u128::from(u32::MAX);
        let wanted = u32::try_from(part).unwrap_or(0).to_be() & mask;
        let register = if bits == 32 { word + 1 } else { 0 };
        if bits > 0 && bits < 32 {
            tests.push(insn(COPY, 0, word + 1, 0, 0));
            tests.push(insn(AND, 0, 0, 0, mask.cast_signed()));
        }
        if bits > 0 {
            tests.push(insn(UNLESS, register, 0, 0, wanted.cast_signed()));
        }
    }
    let count = tests.len();
    for (at, insn) in tests.iter_mut().enumerate().filter(|(_, insn)| insn.code == UNLESS) {
        insn.offset = over(count - at - 1 + verdict(DROP).len());
    }
    tests
}

/// From now on the sockets that processes of this group make exchange packets with whoever is in `allow`, with nobody else who is in
/// `deny`, and with all others. Beside what other programs decide; what this program has decided before is replaced, and between the two
/// a packet passes where both let it.
///
/// # Errors
/// `EPERM`, `EINVAL`, `EACCES` and `ENOSYS`: the kernel takes no such program.
pub fn restrict(group: &OwnedFd, allow: &[Net], deny: &[Net]) -> io::Result<()> {
    for kind in [INGRESS, EGRESS] {
        let former = bpf::named(group, kind, NAME)?;
        let program = bpf::load(TYPE, NAME, &program(kind == INGRESS, allow, deny))?;
        bpf::attach(group, &program, kind, BESIDE)?;
        former.iter().try_for_each(|program| bpf::detach(group, program, kind))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel does with these instructions: whether the packet passes.
    fn run(program: &[Insn], protocol: u16, packet: &[u8]) -> bool {
        let (mut registers, mut stack, mut at) = ([0u64; 11], [0u8; 16], 0usize);
        for _ in 0..program.len() {
            let Insn { code, registers: both, offset, value } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            match code {
                // Addresses are not followed: there is one packet and one place.
                COPY_WHOLE | ADD_WHOLE => {}
                LOAD if from == 6 => registers[to] = u64::from(protocol.to_be()),
                LOAD => {
                    let start = usize::try_from(16 + offset).unwrap();
                    registers[to] =
                        u64::from(u32::from_ne_bytes(stack[start..start + 4].try_into().unwrap()));
                }
                SET => registers[to] = u64::from(value.cast_unsigned()),
                COPY => registers[to] = registers[from],
                AND => registers[to] &= u64::from(value.cast_unsigned()),
                CALL => {
                    assert_eq!(value, READ);
                    let [start, count] = [registers[2], registers[4]].map(|n| usize::try_from(n).unwrap());
                    let read = packet.get(start..start + count);
                    registers[0] = u64::from(read.is_none());
                    if let Some(read) = read {
                        stack[16 - count..].copy_from_slice(read);
                    }
                }
                UNLESS if registers[to] != u64::from(value.cast_unsigned()) => {
                    at += usize::try_from(offset).unwrap();
                }
                UNLESS => {}
                EXIT => return registers[0] == 1,
                _ => panic!("{code:#x}"),
            }
        }
        panic!("no end");
    }

    fn packet(from: IpAddr, to: IpAddr) -> (u16, Vec<u8>) {
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                (IPV4, [&[0; 12][..], &from.octets(), &to.octets()].concat())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                (IPV6, [&[0; 8][..], &from.octets(), &to.octets()].concat())
            }
            _ => panic!("{from} {to}"),
        }
    }

    fn nets(texts: &[&str]) -> Vec<Net> {
        let net = |text: &&str| {
            let (address, length) = text.split_once('/').unwrap();
            (address.parse().unwrap(), length.parse().unwrap())
        };
        texts.iter().map(net).collect()
    }

    #[test]
    fn the_lists_decide_by_the_other_side() {
        let (allow, deny) =
            (["10.1.0.0/16", "2001:db8:1::/48"], ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/37", "::1/128"]);
        let (allow, deny) = (nets(&allow), nets(&deny));
        let any = nets(&["0.0.0.0/0", "::/0"]);
        for (other, lists, all) in [
            ("10.1.2.3", true, true),
            ("10.2.2.3", false, false),
            ("11.0.0.1", true, false),
            ("192.0.2.1", false, false),
            ("192.0.2.2", true, false),
            ("2001:db8:1::5", true, true),
            ("2001:db8:2::5", false, false),
            ("2001:db8:7ff:ffff::", false, false),
            ("2001:db8:800::", true, false),
            ("::1", false, false),
            ("::2", true, false),
            ("::ffff:10.2.2.3", true, false),
        ] {
            let other: IpAddr = other.parse().unwrap();
            let own = if other.is_ipv4() { "10.2.0.1" } else { "::1" }.parse().unwrap();
            for (incoming, (protocol, packet)) in [(true, packet(other, own)), (false, packet(own, other))] {
                let of = |allow, deny| run(&program(incoming, allow, deny), protocol, &packet);
                assert_eq!((of(&allow, &deny), of(&allow, &any)), (lists, all), "{other} {incoming}");
                assert!(of(&[], &[]) && of(&any, &any) && !of(&[], &any));
            }
        }
        let nothing = program(true, &[], &[]);
        assert!(!run(&nothing, 0x0806, &[0; 40]), "no IP");
        assert!(!run(&nothing, IPV4, &[0; 15]) && !run(&nothing, IPV6, &[0; 23]), "cut off");
    }
}
