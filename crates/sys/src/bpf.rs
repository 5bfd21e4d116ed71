//! bpf(2): programs of a few instructions that the kernel runs for the processes of a control group, loaded, attached, found again and
//! taken away. What they decide is written in [`crate::device_filter`] and [`crate::address_filter`].

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    pub(crate) code: u8,
    /// The source above, the destination below.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) value: i32,
}

pub(crate) fn insn(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Insn {
    Insn { code, registers: from << 4 | to, offset, value }
}

/// BPF_LDX | BPF_MEM | BPF_W.
pub(crate) const LOAD: u8 = 0x61;
/// BPF_ALU | BPF_MOV | BPF_X.
pub(crate) const COPY: u8 = 0xbc;
/// BPF_ALU | BPF_AND | BPF_K.
pub(crate) const AND: u8 = 0x54;
/// BPF_ALU | BPF_RSH | BPF_K.
pub(crate) const SHIFT: u8 = 0x74;
/// BPF_ALU | BPF_MOV | BPF_K.
pub(crate) const SET: u8 = 0xb4;
/// BPF_ALU64 | BPF_MOV | BPF_X: the only one for addresses in memory.
pub(crate) const COPY_WHOLE: u8 = 0xbf;
/// BPF_ALU64 | BPF_ADD | BPF_K.
pub(crate) const ADD_WHOLE: u8 = 0x07;
/// BPF_JMP32 | BPF_JNE | BPF_K.
pub(crate) const UNLESS: u8 = 0x56;
/// BPF_JMP32 | BPF_JSET | BPF_K.
pub(crate) const IF_ANY: u8 = 0x46;
/// BPF_JMP | BPF_CALL.
pub(crate) const CALL: u8 = 0x85;
/// BPF_JMP | BPF_EXIT.
pub(crate) const EXIT: u8 = 0x95;

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_DETACH: c_long = 9;
const PROG_GET_FD_BY_ID: c_long = 13;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const PROG_QUERY: c_long = 16;

/// The kernel has at most so many programs of a kind in one group.
const MOST: usize = 64;
/// BPF_OBJ_NAME_LEN.
const NAME: usize = 16;

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
    name: [u8; NAME],
}

/// The same for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The same for BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    group: u32,
    kind: u32,
    flags: u32,
    attached: u32,
    ids: u64,
    count: u32,
    nothing: u32,
}

/// The same for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// The same for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct ByFd {
    program: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct Info {
    before: [u64; 8],
    name: [u8; NAME],
}

/// # Safety
/// Each address in the attributes is that of memory which lives, and is as long as the attributes say; what the kernel writes to may be
/// written.
unsafe fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes as many bytes as the structure has; the rest is the caller's.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn spelled(name: &str) -> [u8; NAME] {
    let mut field = [0; NAME];
    field.iter_mut().take(NAME - 1).zip(name.bytes()).for_each(|(to, from)| *to = from);
    field
}

/// Gives the kernel a program of this kind (BPF_PROG_TYPE_…); its name has at most 15 letters.
///
/// # Errors
/// `EPERM`, `EINVAL`, `EACCES` and `ENOSYS`: the kernel takes no such program.
pub(crate) fn load(kind: u32, name: &str, instructions: &[Insn]) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind,
        count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        program: instructions.as_ptr() as u64,
        licence: c"MIT".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
        name: spelled(name),
    };
    // SAFETY: there are as many instructions as it says, and the licence ends with a zero; the kernel writes to neither.
    let program = unsafe { bpf(PROG_LOAD, &mut load)? };
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec as all of its kind.
    Ok(unsafe { OwnedFd::from_raw_fd(program) })
}

/// Has a program run for the processes of a group (BPF_CGROUP_…). `flags`: 0, the only one of the group's own, in the place of the one
/// before; [`BESIDE`], beside others.
///
/// # Errors
/// `EPERM`: the group, or one above, has one that suffers no other.
pub(crate) fn attach(group: &OwnedFd, program: &OwnedFd, kind: u32, flags: u32) -> io::Result<()> {
    let mut attach = Attach { group: number(group), program: number(program), kind, flags };
    // SAFETY: there is no address in it.
    unsafe { bpf(PROG_ATTACH, &mut attach) }.map(drop)
}

/// BPF_F_ALLOW_MULTI: a packet passes where all programs let it pass, those of groups above and below too.
pub(crate) const BESIDE: u32 = 2;

/// Takes a program of a group away.
///
/// # Errors
/// `ENOENT`: it has it not.
pub(crate) fn detach(group: &OwnedFd, program: &OwnedFd, kind: u32) -> io::Result<()> {
    let mut attach = Attach { group: number(group), program: number(program), kind, flags: 0 };
    // SAFETY: there is no address in it.
    unsafe { bpf(PROG_DETACH, &mut attach) }.map(drop)
}

/// The programs of a group's own that have this name.
///
/// # Errors
/// `EPERM`: only who has CAP_SYS_ADMIN may ask.
pub(crate) fn named(group: &OwnedFd, kind: u32, name: &str) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MOST];
    let count = u32::try_from(MOST).unwrap_or(0);
    let ids_at = ids.as_mut_ptr() as u64;
    let mut query =
        Query { group: number(group), kind, flags: 0, attached: 0, ids: ids_at, count, nothing: 0 };
    // SAFETY: there is room for as many numbers as it says.
    unsafe { bpf(PROG_QUERY, &mut query)? };
    let count = usize::try_from(query.count).unwrap_or(0);
    let mut found = Vec::new();
    for id in ids.into_iter().take(count) {
        // SAFETY: there is no address in it.
        let program = match unsafe { bpf(PROG_GET_FD_BY_ID, &mut ById { id, next: 0, flags: 0 }) } {
            // SAFETY: the kernel has just made this descriptor for us, close-on-exec as all of its kind.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
            // Taken away meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(error) => return Err(error),
        };
        let mut info = Info::default();
        let length = u32::try_from(size_of::<Info>()).unwrap_or(0);
        let mut by_fd =
            ByFd { program: number(&program), length, info: std::ptr::from_mut(&mut info) as u64 };
        // SAFETY: there is room for as many bytes as it says, and any bytes are such a structure.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut by_fd)? };
        if info.name == spelled(name) {
            found.push(program);
        }
    }
    Ok(found)
}
