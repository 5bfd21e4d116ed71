//! Which devices the processes of a control group may open and make: a program that the kernel runs at each open(2) and mknod(2) of one
//! (BPF_PROG_TYPE_CGROUP_DEVICE). A list of rules in, nothing else; what is on no rule is refused.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Register 1 holds the context at first: type and access, major, minor, each 32 bits.
fn program(rules: &[Rule]) -> Vec<Insn> {
    let insn =
        |code, to: u8, from: u8, offset, value| Insn { code, registers: from << 4 | to, offset, value };
    /// BPF_LDX | BPF_MEM | BPF_W.
    const LOAD: u8 = 0x61;
    /// BPF_ALU | BPF_MOV | BPF_X, | BPF_AND | BPF_K, | BPF_RSH | BPF_K.
    const COPY: u8 = 0xbc;
    const AND: u8 = 0x54;
    const SHIFT: u8 = 0x74;
    /// BPF_ALU | BPF_MOV | BPF_K.
    const SET: u8 = 0xb4;
    /// BPF_JMP32 | BPF_JNE | BPF_K, | BPF_JSET | BPF_K; BPF_JMP | BPF_EXIT.
    const UNLESS: u8 = 0x56;
    const IF_ANY: u8 = 0x46;
    const EXIT: u8 = 0x95;
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

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const TYPE: u32 = 15;
const ATTACH_TYPE: u32 = 6;

/// The first fields of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    program: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// The same for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

fn bpf<T>(command: c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as the structure has; pointers in it are those of live objects of the caller.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}

/// From now on the processes of this group may have what these rules allow, and nothing else; those that it had before are replaced
/// at one stroke. What is open stays open.
///
/// # Errors
/// `EPERM`, `EINVAL` and `ENOSYS`: the kernel takes no such program.
pub fn restrict(group: &OwnedFd, rules: &[Rule]) -> io::Result<()> {
    let instructions = program(rules);
    let load = Load {
        kind: TYPE,
        count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        program: instructions.as_ptr() as u64,
        licence: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
    };
    let program = bpf(PROG_LOAD, &load)?;
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec as all of its kind.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    // Without a flag there is one program of the group's own at a time; those of groups above run too.
    bpf(PROG_ATTACH, &attach(group, &program)).map(drop)
}

fn attach(group: &OwnedFd, program: &OwnedFd) -> Attach {
    let number = |fd: &OwnedFd| fd.as_raw_fd().cast_unsigned();
    Attach { group: number(group), program: number(program), kind: ATTACH_TYPE, flags: 0 }
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
