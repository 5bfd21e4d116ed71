//! Packet filters on listening sockets: which source addresses may open a connection. The kernel drops a refused
//! SYN before the server that waits on the socket can accept it. Compiles address sets into classic BPF; decides
//! nothing about who is refused.

use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// One instruction of classic BPF; the layout of `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
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

/// Disjoint, sorted, inclusive ranges that do not touch.
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    fn of(prefixes: impl Iterator<Item = (u128, u8)>) -> Self {
        let mut list: Vec<(u128, u128)> = prefixes
            .map(|(address, bits)| {
                let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                (address & !host, address | host)
            })
            .collect();
        list.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(list.len());
        for (from, to) in list {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    fn without(&self, holes: &Self) -> Self {
        let mut left = Vec::new();
        for &(mut from, to) in &self.0 {
            let mut used_up = false;
            for &(hole_from, hole_to) in &holes.0 {
                if hole_to < from {
                    continue;
                }
                if hole_from > to {
                    break;
                }
                if hole_from > from {
                    left.push((from, hole_from - 1));
                }
                match hole_to.checked_add(1) {
                    Some(next) if next <= to => from = next,
                    _ => {
                        used_up = true;
                        break;
                    }
                }
            }
            if !used_up {
                left.push((from, to));
            }
        }
        Self(left)
    }
}

const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const NETWORK_HEADER: u32 = 0xfff0_0000; // SKF_NET_OFF: counted from the IP header

/// An instruction's place, counted from the end of the program.
type Label = usize;

/// A program written from its end to its start. BPF jumps forward only, so every target exists before the jump to
/// it, and its distance is known.
#[derive(Default)]
struct Program {
    backwards: Vec<Insn>,
    verdicts: [Option<Label>; 2],
}

/// What an interval of one 32-bit word leads to.
#[derive(Debug, PartialEq, Eq)]
enum Leaf {
    Verdict(bool),
    /// The verdict depends on the following words.
    Deeper(Vec<(u128, u128)>),
}

/// The intervals of the first word of `ranges`, each by its first value, covering all values.
fn intervals(ranges: &[(u128, u128)]) -> Vec<(u32, Leaf)> {
    let top = |n: u128| (n >> 96) as u32;
    let mut whole: BTreeMap<u32, u32> = BTreeMap::new();
    let mut parts: BTreeMap<u32, Vec<(u128, u128)>> = BTreeMap::new();
    for &(from, to) in ranges {
        // What remains of the bounds behind the first word, again in the upper bits.
        let (rest_from, rest_to) = (from << 32, (to << 32) | u128::from(u32::MAX));
        let (mut first, mut last) = (top(from), top(to));
        if first == last && (rest_from, rest_to) != (0, u128::MAX) {
            parts.entry(first).or_default().push((rest_from, rest_to));
            continue;
        }
        if rest_from != 0 {
            parts.entry(first).or_default().push((rest_from, u128::MAX));
            first = first.saturating_add(1); // not the last one: first < last here
        }
        if rest_to != u128::MAX {
            parts.entry(last).or_default().push((0, rest_to));
            let Some(previous) = last.checked_sub(1) else { continue };
            last = previous;
        }
        if first <= last {
            whole.insert(first, last);
        }
    }
    let mut marked: Vec<(u32, u32, Leaf)> =
        whole.into_iter().map(|(from, to)| (from, to, Leaf::Verdict(true))).collect();
    marked.extend(parts.into_iter().map(|(at, rest)| (at, at, Leaf::Deeper(rest))));
    marked.sort_unstable_by_key(|&(from, ..)| from);
    let mut all = Vec::with_capacity(marked.len() * 2 + 1);
    let mut next = Some(0u32); // the first value not covered yet
    for (from, to, leaf) in marked {
        if let Some(gap) = next.filter(|&n| n < from) {
            all.push((gap, Leaf::Verdict(false)));
        }
        all.push((from, leaf));
        next = to.checked_add(1);
    }
    if let Some(gap) = next {
        all.push((gap, Leaf::Verdict(false)));
    }
    all
}

impl Program {
    fn push(&mut self, code: u16, k: u32) -> Label {
        self.backwards.push(Insn { code, jt: 0, jf: 0, k });
        self.backwards.len() - 1
    }

    /// A return within reach of the next instructions; far ones are written again, which is cheaper than a jump.
    fn verdict(&mut self, pass: bool) -> Label {
        let slot = usize::from(pass);
        match self.verdicts.get(slot).copied().flatten() {
            Some(label) if self.distance(label) < 200 => label,
            _ => {
                let label = self.push(RETURN, if pass { u32::MAX } else { 0 });
                if let Some(place) = self.verdicts.get_mut(slot) {
                    *place = Some(label);
                }
                label
            }
        }
    }

    /// How far an instruction written now would have to jump.
    fn distance(&self, label: Label) -> usize {
        self.backwards.len().saturating_sub(label).saturating_sub(1)
    }

    /// A place that a conditional jump (8 bits of distance) reaches even after `more` further instructions.
    fn near(&mut self, label: Label, more: usize) -> Label {
        let distance = self.distance(label);
        if distance.saturating_add(more) <= 255 {
            return label;
        }
        self.push(JUMP, u32::try_from(distance).unwrap_or(u32::MAX))
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let yes = self.near(yes, 1); // one more when `no` needs a long jump
        let no = self.near(no, 0);
        let short = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let (jt, jf) = (short(self.distance(yes)), short(self.distance(no)));
        self.backwards.push(Insn { code, jt, jf, k });
        self.backwards.len() - 1
    }

    /// Code that passes what `ranges` holds, reading words from `offset` behind the start of the network header.
    fn words(&mut self, ranges: &[(u128, u128)], offset: u32) -> Label {
        match ranges {
            [] => self.verdict(false),
            [(0, u128::MAX)] => self.verdict(true),
            ranges => {
                self.tree(&intervals(ranges), offset);
                self.push(LOAD_WORD, NETWORK_HEADER.wrapping_add(offset))
            }
        }
    }

    /// A balanced search for the interval of the loaded word: the time of a packet grows with the logarithm.
    fn tree(&mut self, leaves: &[(u32, Leaf)], offset: u32) -> Label {
        match leaves {
            [] => self.verdict(false),
            [(_, Leaf::Verdict(pass))] => self.verdict(*pass),
            [(_, Leaf::Deeper(rest))] => self.words(rest, offset.wrapping_add(4)),
            [(_, before), only @ (value, _), (next, after)]
                if before == after && value.checked_add(1) == Some(*next) =>
            {
                let yes = self.tree(std::slice::from_ref(only), offset);
                let no = self.tree(leaves.get(..1).unwrap_or(&[]), offset);
                self.branch(JUMP_EQ, *value, yes, no)
            }
            leaves => {
                let (low, high) = leaves.split_at(leaves.len() / 2);
                let start = high.first().map_or(0, |&(start, _)| start);
                let yes = self.tree(high, offset);
                let no = self.tree(low, offset);
                self.branch(JUMP_GE, start, yes, no)
            }
        }
    }

    fn finish(mut self) -> Result<Vec<Insn>, TooLong> {
        let needed = self.backwards.len();
        if needed > MOST {
            return Err(TooLong { needed });
        }
        self.backwards.reverse();
        Ok(self.backwards)
    }
}
