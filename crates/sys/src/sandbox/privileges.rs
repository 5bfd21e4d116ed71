//! Capabilities, session keyring, `no_new_privs` and filters of a child before execve. Raw calls; no allocation.

use super::{Capabilities, Keyring, call};
use crate::filter::Insn;
use std::ffi::{c_int, c_long};

/// The kernel knows fewer; the first number that it does not know ends the walk.
const MOST: u32 = 64;
/// _LINUX_CAPABILITY_VERSION_3.
const VERSION: u32 = 0x2008_0522;
const SECCOMP_SET_MODE_FILTER: usize = 1;

fn prctl(what: c_int, argument: usize, more: usize) -> Result<c_long, c_int> {
    call(libc::SYS_prctl, [what as usize, argument, more, 0, 0])
}

/// Takes out of the bounding set what is not in `keep`.
pub(super) fn bound(keep: Capabilities) -> Result<(), c_int> {
    if keep == Capabilities::MAX {
        return Ok(());
    }
    for number in 0..MOST {
        if keep >> number & 1 == 1 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, number as usize, 0) {
            Ok(_) => {}
            // There is no such capability, and none above it.
            Err(libc::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    bound_inherited(keep)
}

/// What is inheritable becomes permitted at execve for root, whatever the bounding set says (capabilities(7)).
fn bound_inherited(keep: Capabilities) -> Result<(), c_int> {
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [[0_u32; 3]; 2];
    let pointers = ((&raw const header) as usize, (&raw mut sets) as usize);
    call(libc::SYS_capget, [pointers.0, pointers.1, 0, 0, 0])?;
    let [[_, _, low], [_, _, high]] = &mut sets;
    let before = (*low, *high);
    *low &= keep as u32;
    *high &= (keep >> 32) as u32;
    if (*low, *high) == before {
        return Ok(());
    }
    call(libc::SYS_capset, [pointers.0, pointers.1, 0, 0, 0]).map(|_| ())
}

/// What is permitted stays so when the user changes.
pub(super) fn keep_over_ids() -> Result<(), c_int> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(|_| ())
}

/// Sets the secure bits, and no others. Needs CAP_SETPCAP, which is made effective where it is permitted alone: who has changed the user
/// and has kept what was permitted ([`keep_over_ids`]). `keeps`: that goes on, for [`raise`]; else nothing of it stays.
pub(super) fn secure(bits: u32, keeps: bool) -> Result<(), c_int> {
    const SETPCAP: u32 = 1 << 8;
    let set = || prctl(libc::PR_SET_SECUREBITS, bits as usize, 0).map(|_| ());
    let header = Header { version: VERSION, pid: 0 };
    let mut sets = [[0_u32; 3]; 2];
    let pointers = ((&raw const header) as usize, (&raw mut sets) as usize);
    call(libc::SYS_capget, [pointers.0, pointers.1, 0, 0, 0])?;
    let [[effective, permitted, _], [high, permitted_high, _]] = &mut sets;
    if *effective & SETPCAP != 0 {
        return set();
    }
    *effective |= *permitted & SETPCAP;
    call(libc::SYS_capset, [pointers.0, pointers.1, 0, 0, 0])?;
    set()?;
    if keeps {
        return Ok(());
    }
    (*effective, *permitted, *high, *permitted_high) = (0, 0, 0, 0);
    call(libc::SYS_capset, [pointers.0, pointers.1, 0, 0, 0]).map(|_| ())
}

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// Makes these, and no others, permitted, inheritable and ambient.
pub(super) fn raise(capabilities: Capabilities) -> Result<(), c_int> {
    let header = Header { version: VERSION, pid: 0 };
    let (low, high) = (capabilities as u32, (capabilities >> 32) as u32);
    // Effective, permitted, inheritable; the lower 32 first.
    let sets: [[u32; 3]; 2] = [[low; 3], [high; 3]];
    let pointers = ((&raw const header) as usize, (&raw const sets) as usize);
    call(libc::SYS_capset, [pointers.0, pointers.1, 0, 0, 0])?;
    for number in 0..MOST {
        if capabilities >> number & 1 == 1 {
            let raise = libc::PR_CAP_AMBIENT_RAISE as usize;
            prctl(libc::PR_CAP_AMBIENT, raise, number as usize)?;
        }
    }
    Ok(())
}

/// Gives this process a session keyring of its own. It is its user's, and counts against what keys the user may have.
pub(super) fn keyring(which: Keyring) -> Result<(), c_int> {
    /// KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_LINK.
    const JOIN: usize = 1;
    const LINK: usize = 8;
    /// KEY_SPEC_SESSION_KEYRING, KEY_SPEC_USER_KEYRING.
    const SESSION: usize = (-3_isize).cast_unsigned();
    const USER: usize = (-4_isize).cast_unsigned();
    call(libc::SYS_keyctl, [JOIN, 0, 0, 0, 0])?;
    match which {
        Keyring::Shared => call(libc::SYS_keyctl, [LINK, USER, SESSION, 0, 0]).map(|_| ()),
        Keyring::Inherit | Keyring::Private => Ok(()),
    }
}

pub(super) fn no_new_privs() -> Result<(), c_int> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(|_| ())
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const Insn,
}

/// Installs a filter of system calls.
pub(super) fn filter(filter: &[Insn]) -> Result<(), c_int> {
    let Ok(length) = u16::try_from(filter.len()) else { return Err(libc::EINVAL) };
    let program = Program { length, filter: filter.as_ptr() };
    call(libc::SYS_seccomp, [SECCOMP_SET_MODE_FILTER, 0, (&raw const program) as usize, 0, 0]).map(|_| ())
}
