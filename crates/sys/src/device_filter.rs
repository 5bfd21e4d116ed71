//! Which devices the processes of a control group may open and make: a program that the kernel runs at each open(2) and mknod(2) of one
//! (BPF_PROG_TYPE_CGROUP_DEVICE). A list of rules in, nothing else; what is on no rule is refused.

use crate::bpf::{self, AND, COPY, EXIT, IF_ANY, Insn, LOAD, SET, SHIFT, UNLESS, insn};
use std::io;
use std::os::fd::OwnedFd;

/// A node may be made.
pub const MAKE: u32 = 1;
/// It may be opened for reading.
pub const READ: u32 = 2;
/// It may be opened for writing.
pub const WRITE: u32 = 4;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A block device, else a character device.
    pub block: bool,
    /// Its major number; `None`: any.
    pub major: Option<u32>,
    /// Its minor number; `None`: any.
    pub minor: Option<u32>,
    /// [`MAKE`], [`READ`], [`WRITE`].
    pub may: u32,
}

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Register 1 holds the context at first: type and access, major, minor, each 32 bits.
fn program(rules: &[Rule]) -> Vec<Insn> {
    let mut all = vec![
        insn(LOAD, 2, 1, 0, 0),
        insn(COPY, 3, 2, 0, 0),
        insn(AND, 2, 0, 0, 0xffff),
        insn(SHIFT, 3, 0, 0, 16),
        insn(LOAD, 4, 1, 4, 0),
        insn(LOAD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.block { BLOCK } else { CHARACTER };
        let mut tests = vec![(UNLESS, 2, kind)];
        tests.push((IF_ANY, 3, (!rule.may & (MAKE | READ | WRITE)).cast_signed()));
        tests.extend(rule.major.map(|major| (UNLESS, 4, major.cast_signed())));
        tests.extend(rule.minor.map(|minor| (UNLESS, 5, minor.cast_signed())));
        let count = tests.len();
        for (at, (code, register, value)) in tests.into_iter().enumerate() {
            // To behind the two that allow it.
            let beyond = i16::try_from(count - at + 1).unwrap_or(i16::MAX);
            all.push(insn(code, register, 0, beyond, value));
        }
        all.push(insn(SET, 0, 0, 0, 1));
        all.push(insn(EXIT, 0, 0, 0, 0));
    }
    all.push(insn(SET, 0, 0, 0, 0));
    all.push(insn(EXIT, 0, 0, 0, 0));
    all
}

/// The kernel's numbers of these programs, and of where they run.
const TYPE: u32 = 15;
const ATTACH_TYPE: u32 = 6;

/// From now on the processes of this group may have what these rules allow, and nothing else; those that it had before are replaced
/// at one stroke. What is open stays open.
///
/// # Errors
/// `EPERM`, `EINVAL` and `ENOSYS`: the kernel takes no such program.
pub fn restrict(group: &OwnedFd, rules: &[Rule]) -> io::Result<()> {
    let program = bpf::load(TYPE, "portreeve_dev", &program(rules))?;
    // Without a flag there is one program of the group's own at a time; those of groups above run too.
    bpf::attach(group, &program, ATTACH_TYPE, 0)
}

/// The numbers of a node, and whether it is a block device; `None` where there is no device.
#[must_use]
pub fn node(path: &str) -> Option<(bool, u32, u32)> {
    use rustix::fs::FileType;
    let stat = rustix::fs::stat(path).ok()?;
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::BlockDevice => true,
        FileType::CharacterDevice => false,
        _ => return None,
    };
    Some((block, rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_leads_behind_its_rule() {
        let rule = |major, minor| Rule { block: false, major, minor, may: READ };
        for rules in [vec![], vec![rule(None, None)], vec![rule(Some(1), None), rule(Some(1), Some(3))]] {
            let program = program(&rules);
            let mut at = 6;
            for rule in &rules {
                let tests = 2 + usize::from(rule.major.is_some()) + usize::from(rule.minor.is_some());
                let next = at + tests + 2;
                for (test, insn) in program.iter().enumerate().skip(at).take(tests) {
                    assert_eq!(test + 1 + usize::try_from(insn.offset).unwrap(), next, "{rules:?}");
                }
                at = next;
            }
            assert_eq!(program.len(), at + 2);
        }
    }
}
