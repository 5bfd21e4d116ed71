//! A classic BPF program that searches an address: written backwards, balanced, every jump in reach.

use super::{Insn, MOST, TooLong};
use std::collections::BTreeMap;

pub(super) const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
pub(super) const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
pub(super) const LOAD_BYTE_AT_X: u16 = 0x50; // BPF_LD | BPF_B | BPF_IND
pub(super) const LOAD_HALF_AT_X: u16 = 0x48; // BPF_LD | BPF_H | BPF_IND
pub(super) const X_HEADER_LENGTH: u16 = 0xb1; // BPF_LDX | BPF_B | BPF_MSH: four times the lower half of a byte
pub(super) const X_NUMBER: u16 = 0x01; // BPF_LDX | BPF_IMM
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
pub(super) const JUMP_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K
pub(super) const NETWORK_HEADER: u32 = 0xfff0_0000; // SKF_NET_OFF: counted from the IP header

/// An instruction's place, counted from the end of the program.
pub(super) type Label = usize;

/// A program written from its end to its start. BPF jumps forward only, so every target exists before the jump to
/// it, and its distance is known.
#[derive(Default)]
pub(crate) struct Program {
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
    pub(crate) fn push(&mut self, code: u16, k: u32) -> Label {
        self.backwards.push(Insn { code, jt: 0, jf: 0, k });
        self.backwards.len() - 1
    }

    /// A return within reach of the next instructions; far ones are written again, which is cheaper than a jump.
    pub(super) fn verdict(&mut self, pass: bool) -> Label {
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

    /// Code that goes on there, for an instruction written next.
    pub(crate) fn jump(&mut self, label: Label) -> Label {
        match self.distance(label) {
            0 => label,
            distance => self.push(JUMP, u32::try_from(distance).unwrap_or(u32::MAX)),
        }
    }

    pub(crate) fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let yes = self.near(yes, 1); // one more when `no` needs a long jump
        let no = self.near(no, 0);
        let short = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let (jt, jf) = (short(self.distance(yes)), short(self.distance(no)));
        self.backwards.push(Insn { code, jt, jf, k });
        self.backwards.len() - 1
    }

    /// Code that passes what `ranges` holds, reading words from `offset` behind the start of the network header.
    pub(super) fn words(&mut self, ranges: &[(u128, u128)], offset: u32) -> Label {
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

    /// Code that passes a port at `X + 2` that is in none of these ranges, which are in order and do not meet.
    pub(super) fn port_outside(&mut self, ranges: &[(u16, u16)]) -> Label {
        match ranges {
            [] => return self.verdict(true),
            [(0, u16::MAX)] => return self.verdict(false),
            _ => {}
        }
        let mut leaves = Vec::with_capacity(ranges.len() * 2 + 1);
        let mut next = 0u32;
        for &(from, to) in ranges {
            if next < u32::from(from) {
                leaves.push((next, Leaf::Verdict(true)));
            }
            leaves.push((u32::from(from), Leaf::Verdict(false)));
            next = u32::from(to) + 1;
        }
        if next <= u32::from(u16::MAX) {
            leaves.push((next, Leaf::Verdict(true)));
        }
        self.tree(&leaves, 0);
        self.push(LOAD_HALF_AT_X, 2)
    }

    pub(crate) fn finish(mut self) -> Result<Vec<Insn>, TooLong> {
        let needed = self.backwards.len();
        if needed > MOST {
            return Err(TooLong { needed });
        }
        self.backwards.reverse();
        Ok(self.backwards)
    }
}
