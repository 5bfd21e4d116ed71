//! /dev with the few devices that do nothing. Raw calls; no allocation.

use super::call;
use super::mounts::{HERE, NONE, RECURSIVE, close, mount, pointer, put, read_only, take};
use std::ffi::{CStr, c_int, c_long};

/// What of /dev stays as it is outside.
const KEPT: [&CStr; 5] = [c"/dev/pts", c"/dev/shm", c"/dev/mqueue", c"/dev/hugepages", c"/dev/log"];
const LOG: usize = 4;
/// Name, major and minor number.
const NODES: [(&CStr, u32, u32); 7] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
    (c"/dev/ptmx", 5, 2),
];
const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// Whether a path lies in what of /dev is as outside, so that nothing new can be made there.
#[must_use]
pub fn is_kept(path: &str) -> bool {
    let below = |kept: &CStr| {
        path.as_bytes().strip_prefix(kept.to_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    };
    KEPT.into_iter().any(below)
}

/// What of /dev there is outside.
pub(super) struct Kept {
    trees: [c_int; KEPT.len()],
    /// Where /dev/log points to, NUL-terminated; empty where it is no link.
    log: [u8; 128],
}

impl Kept {
    pub(super) fn nothing() -> Self {
        Self { trees: [NONE; KEPT.len()], log: [0; 128] }
    }

    pub(super) fn take() -> Self {
        let mut kept = Self::nothing();
        for (tree, path) in kept.trees.iter_mut().zip(KEPT) {
            *tree = take(path, RECURSIVE).unwrap_or(NONE);
        }
        let buffer = (&raw mut kept.log) as usize;
        // One byte stays zero.
        let room = kept.log.len() - 1;
        let _: Result<c_long, c_int> =
            call(libc::SYS_readlinkat, [HERE, pointer(c"/dev/log"), buffer, room, 0]);
        kept
    }

    pub(super) fn close(&self) {
        self.trees.iter().filter(|tree| **tree != NONE).for_each(|tree| close(*tree));
    }

    /// Puts a new /dev over the old one; `more` makes what else is to be in it.
    pub(super) fn devices(&self, more: impl FnOnce() -> Result<(), c_int>) -> Result<(), c_int> {
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        mount(c"tmpfs", c"/dev", c"tmpfs", flags, c"mode=0755,nr_inodes=2k,size=64k")?;
        let mask = call(libc::SYS_umask, [0, 0, 0, 0, 0])?;
        let made = fill(self);
        call(libc::SYS_umask, [mask as usize, 0, 0, 0, 0])?;
        made?;
        more()?;
        read_only(HERE, c"/dev", 0)
    }
}

fn fill(kept: &Kept) -> Result<(), c_int> {
    for (path, major, minor) in NODES {
        let mode = (libc::S_IFCHR | 0o666) as usize;
        let device = libc::makedev(major, minor) as usize;
        call(libc::SYS_mknodat, [HERE, pointer(path), mode, device, 0])?;
    }
    for (target, path) in LINKS {
        call(libc::SYS_symlinkat, [pointer(target), HERE, pointer(path), 0, 0])?;
    }
    for (index, (path, tree)) in KEPT.into_iter().zip(kept.trees).enumerate() {
        if tree == NONE {
            continue;
        }
        if index == LOG {
            match kept.log {
                [0, ..] => call(libc::SYS_mknodat, [HERE, pointer(path), libc::S_IFREG as usize, 0, 0])?,
                _ => {
                    let target = (&raw const kept.log) as usize;
                    call(libc::SYS_symlinkat, [target, HERE, pointer(path), 0, 0])?;
                    continue;
                }
            };
        } else {
            call(libc::SYS_mkdirat, [HERE, pointer(path), 0o755, 0, 0])?;
        }
        put(tree, path)?;
    }
    Ok(())
}
