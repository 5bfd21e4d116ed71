//! Filters of system calls: rules about calls and their arguments, compiled into the classic BPF of seccomp(2). Decides nothing
//! about which calls are good; installs nothing (that is the child's, see `sandbox`).
//!
//! A call by another ABI than this program's own (32-bit on a 64-bit kernel, x32) ends the process: its numbers mean other calls.

use crate::filter::{Insn, Program, TooLong};
use std::collections::BTreeMap;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Makes it.
    Allow,
    /// Fails it with this error.
    Errno(u16),
    /// Ends the process by SIGSYS.
    Kill,
}

impl Answer {
    fn word(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Self::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// What must hold of the lower 32 bits of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is one of these.
    In(Vec<u32>),
    /// One of these bits is set.
    AnyOf(u32),
    /// All of these bits are set.
    AllOf(u32),
}

/// A call, what must hold of its arguments (index and test), and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The number of the call.
    pub call: u32,
    /// All of them.
    pub when: Vec<(u8, Test)>,
    /// The answer.
    pub answer: Answer,
}

const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const ANY: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// AUDIT_ARCH_… of this program.
const OURS: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};
/// Numbers from here on are those of x32.
const X32: u32 = 0x4000_0000;

/// Whether filters can be made for this machine.
pub const KNOWN: bool = OURS.is_some() && crate::calls::COMPLETE;

/// The program: of the rules about a call the first that holds gives the answer, else `otherwise`.
///
/// # Errors
/// [`TooLong`].
pub fn compile(rules: &[Rule], otherwise: Answer) -> Result<Vec<Insn>, TooLong> {
    let mut calls: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        calls.entry(rule.call).or_default().push(rule);
    }
    let mut program = Program::default();
    // Written from its end to its start: `Program` knows the distance of each jump then.
    let mut ends: Vec<(u32, usize)> = Vec::new();
    let mut end = |program: &mut Program, answer: Answer| {
        let word = answer.word();
        match ends.iter().find(|(known, _)| *known == word) {
            Some(&(_, label)) => label,
            None => {
                let label = program.push(RETURN, word);
                ends.push((word, label));
                label
            }
        }
    };
    let foreign = end(&mut program, Answer::Kill);
    let usual = end(&mut program, otherwise);
    let mut leaves: Vec<(u32, usize)> = vec![(0, usual)];
    for (&call, rules) in &calls {
        let mut label = usual;
        for rule in rules.iter().rev() {
            let yes = end(&mut program, rule.answer);
            label = conditions(&mut program, &rule.when, yes, label);
        }
        // A run of calls with one answer is one leaf.
        match leaves.last() {
            Some(&(start, _)) if start == call => {
                leaves.pop();
            }
            _ => {}
        }
        leaves.push((call, label));
        leaves.push((call.saturating_add(1), usual));
    }
    leaves.dedup_by(|next, before| next.1 == before.1);
    let mut label = tree(&mut program, &leaves);
    if cfg!(target_arch = "x86_64") {
        label = program.branch(LEAST, X32, foreign, label);
    }
    program.jump(label);
    let start = program.push(LOAD, NUMBER);
    program.branch(EQUAL, OURS.unwrap_or(0), start, foreign);
    program.push(LOAD, ARCH);
    program.finish()
}

/// Code that goes to `yes` where all hold, else to `no`.
fn conditions(program: &mut Program, when: &[(u8, Test)], yes: usize, no: usize) -> usize {
    let mut label = yes;
    for (argument, test) in when.iter().rev() {
        match test {
            Test::In(values) => {
                let mut next = no;
                for value in values {
                    next = program.branch(EQUAL, *value, label, next);
                }
                if values.is_empty() {
                    label = no;
                    continue;
                }
            }
            Test::AnyOf(mask) => {
                program.branch(ANY, *mask, label, no);
            }
            Test::AllOf(mask) => {
                program.branch(EQUAL, *mask, label, no);
                program.push(AND, *mask);
            }
        }
        let high = u32::from(cfg!(target_endian = "big")) * 4;
        label = program.push(LOAD, ARGUMENTS + 8 * u32::from(*argument) + high);
    }
    label
}

/// A balanced search for the number, which is loaded.
fn tree(program: &mut Program, leaves: &[(u32, usize)]) -> usize {
    match leaves {
        [] => program.push(RETURN, Answer::Kill.word()),
        [(_, label)] => *label,
        leaves => {
            let (low, high) = leaves.split_at(leaves.len() / 2);
            let start = high.first().map_or(0, |&(start, _)| start);
            let yes = tree(program, high);
            let no = tree(program, low);
            program.branch(LEAST, start, yes, no)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel's interpreter makes of a program: `data` is `struct seccomp_data` in words.
    fn run(program: &[Insn], data: &[u32; 16]) -> u32 {
        let (mut at, mut loaded) = (0usize, 0u32);
        loop {
            let Insn { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => loaded = data[k as usize / 4],
                AND => loaded &= k,
                EQUAL => at += jump(loaded == k),
                LEAST => at += jump(loaded >= k),
                ANY => at += jump(loaded & k != 0),
                0x05 => at += k as usize, // BPF_JMP | BPF_JA
                RETURN => return k,
                other => panic!("{other:x}"),
            }
        }
    }

    fn data(arch: u32, call: u32, arguments: [u32; 2]) -> [u32; 16] {
        let mut data = [0; 16];
        data[0] = call;
        data[1] = arch;
        // The upper halves are not looked at.
        data[4..8].copy_from_slice(&[arguments[0], 7, arguments[1], 7]);
        if cfg!(target_endian = "big") {
            data[4..8].copy_from_slice(&[7, arguments[0], 7, arguments[1]]);
        }
        data
    }

    /// The rules themselves.
    fn wanted(rules: &[Rule], otherwise: Answer, call: u32, arguments: [u32; 2]) -> Answer {
        let holds = |(index, test): &(u8, Test)| {
            let value = arguments[usize::from(*index)];
            match test {
                Test::In(values) => values.contains(&value),
                Test::AnyOf(mask) => value & mask != 0,
                Test::AllOf(mask) => value & mask == *mask,
            }
        };
        let rule = rules.iter().find(|rule| rule.call == call && rule.when.iter().all(holds));
        rule.map_or(otherwise, |rule| rule.answer)
    }

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![Just(Answer::Allow), Just(Answer::Kill), (1u16..5).prop_map(Answer::Errno)]
    }

    fn tests() -> impl Strategy<Value = Test> {
        prop_oneof![
            proptest::collection::vec(0u32..8, 0..4).prop_map(Test::In),
            (0u32..8).prop_map(Test::AnyOf),
            (0u32..8).prop_map(Test::AllOf),
        ]
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let when = proptest::collection::vec((0u8..2, tests()), 0..3);
        let rule = (0u32..400, when, answers()).prop_map(|(call, when, answer)| Rule { call, when, answer });
        proptest::collection::vec(rule, 0..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_program_answers_as_its_rules(rules in rules(), otherwise in answers(), pairs in proptest::collection::vec((0u32..8, 0u32..8), 4)) {
            let program = compile(&rules, otherwise).unwrap();
            let arch = OURS.unwrap_or(0);
            for call in (0..402).chain([X32 - 1]) {
                for &(a, b) in &pairs {
                    let said = run(&program, &data(arch, call, [a, b]));
                    prop_assert_eq!(said, wanted(&rules, otherwise, call, [a, b]).word(), "{} {} {}", call, a, b);
                }
            }
            // Calls of another ABI are never made.
            prop_assert_eq!(run(&program, &data(arch ^ 1, 1, [0, 0])), Answer::Kill.word());
            if cfg!(target_arch = "x86_64") {
                prop_assert_eq!(run(&program, &data(arch, X32 | 1, [0, 0])), Answer::Kill.word());
            }
        }
    }
}
