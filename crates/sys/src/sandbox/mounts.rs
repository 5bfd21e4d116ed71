//! The view of the file system that a child gets, in a mount namespace of its own. Raw calls; no allocation.
//!
//! What is to stay writable, and the nothing that covers what is inaccessible, are taken as detached trees before anything is changed;
//! then the steps are carried out in their order, so a deeper one stands above a shallower one. Needs Linux 5.12 (mount_setattr).
//!
//! No link is followed on the way to a path: whoever may put one there would say what is covered, and what stays writable.

use super::call;
use std::ffi::{CStr, CString, c_int, c_long};
use std::sync::atomic::{AtomicI32, Ordering};

/// What is done with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Nothing below can be written.
    ReadOnly,
    /// It stays as it is outside, within what is read-only.
    AsOutside,
    /// Nothing is there.
    Inaccessible,
    /// An empty file system in memory: MS_… flags and options.
    Empty {
        /// MS_….
        flags: u64,
        /// As mount(2) takes them.
        options: CString,
    },
    /// /dev with null, zero, full, random, urandom and tty, and terminals, shared memory and the log as outside.
    Devices,
    /// /proc, mounted anew with these options.
    Processes(CString),
}

/// A step.
#[derive(Debug)]
pub struct Mount {
    path: CString,
    kind: MountKind,
    /// It need not be there.
    optional: bool,
    /// What asked for it, for messages.
    pub(super) because: String,
    /// A tree that was taken in advance.
    tree: AtomicI32,
}

/// A name that led to a path when the steps were made.
#[derive(Debug)]
pub struct Link {
    /// As it was written.
    pub name: CString,
    /// Where it led, without links.
    pub path: CString,
}

impl Mount {
    /// A step at `path`.
    pub fn new(path: CString, kind: MountKind, optional: bool, because: String) -> Self {
        Self { path, kind, optional, because, tree: AtomicI32::new(NONE) }
    }
}

const NONE: c_int = -1;
pub(super) const HERE: usize = libc::AT_FDCWD as usize;
pub(super) const RECURSIVE: usize = 0x8000; // AT_RECURSIVE
const CLONE: usize = 1 | libc::O_CLOEXEC as usize; // OPEN_TREE_CLONE
pub(super) const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const FROM_TREE: usize = 0x4; // MOVE_MOUNT_F_EMPTY_PATH
const TO_DESCRIPTOR: usize = 0x40; // MOVE_MOUNT_T_EMPTY_PATH
const READ_ONLY: u64 = 1; // MOUNT_ATTR_RDONLY
const NO_DEVICE: u64 = 4; // MOUNT_ATTR_NODEV
const NO_LINKS: u64 = 2 | 4; // RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
/// A root of the program's own need not have the first of them, and has one where a program and what that needs may be.
const SCRATCHES: [&CStr; 8] = [c"/dev", c"/proc", c"/sys", c"/run", c"/usr", c"/bin", c"/lib", c"/etc"];
const NOTHING: &CStr = c"nothing";
const NO_DIRECTORY: &CStr = c"nowhere";

/// `struct mount_attr`.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

pub(super) fn pointer(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub(super) fn close(fd: c_int) {
    let _ = call(libc::SYS_close, [fd as usize, 0, 0, 0, 0]);
}

pub(super) fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: u64,
    options: &CStr,
) -> Result<(), c_int> {
    let all = [pointer(source), pointer(target), pointer(kind), flags as usize, pointer(options)];
    call(libc::SYS_mount, all).map(|_| ())
}

/// `struct open_how`.
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// A place in the file system, for as long as this lives.
pub(super) struct Place(pub(super) c_int);

impl Place {
    pub(super) fn of(path: &CStr, more: c_int) -> Result<Self, c_int> {
        let flags = (libc::O_PATH | libc::O_CLOEXEC | more) as u64;
        let how = How { flags, mode: 0, resolve: NO_LINKS };
        let all = [HERE, pointer(path), (&raw const how) as usize, size_of::<How>(), 0];
        call(libc::SYS_openat2, all).map(|fd| Self(fd as c_int))
    }

    /// Lays a tree over it.
    pub(super) fn cover(&self, tree: c_int) -> Result<(), c_int> {
        let flags = FROM_TREE | TO_DESCRIPTOR;
        let all = [tree as usize, pointer(c""), self.0 as usize, pointer(c""), flags];
        call(libc::SYS_move_mount, all).map(|_| ())
    }

    /// Mounts something new over it: mount(2) takes paths alone, and this one has no part that could be a link.
    pub(super) fn mount(&self, kind: &CStr, flags: u64, options: &CStr) -> Result<(), c_int> {
        call(libc::SYS_fchdir, [self.0 as usize, 0, 0, 0, 0])?;
        mount(kind, c".", kind, flags, options)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        close(self.0);
    }
}

/// A tree that can be put elsewhere.
pub(super) fn take(path: &CStr, how: usize) -> Result<c_int, c_int> {
    call(libc::SYS_open_tree, [HERE, pointer(path), CLONE | how, 0, 0]).map(|fd| fd as c_int)
}

/// The same, of a place.
pub(super) fn take_at(place: &Place) -> Result<c_int, c_int> {
    let how = CLONE | RECURSIVE | EMPTY_PATH;
    call(libc::SYS_open_tree, [place.0 as usize, pointer(c""), how, 0, 0]).map(|fd| fd as c_int)
}

fn put(tree: c_int, path: &CStr) -> Result<(), c_int> {
    Place::of(path, 0)?.cover(tree)
}

fn change(at: usize, path: &CStr, how: usize, set: u64) -> Result<(), c_int> {
    let attributes = Attributes { set, clear: 0, propagation: 0, userns: 0 };
    let all = [at, pointer(path), how, (&raw const attributes) as usize, size_of::<Attributes>()];
    call(libc::SYS_mount_setattr, all).map(|_| ())
}

fn read_only(at: usize, path: &CStr, how: usize) -> Result<(), c_int> {
    change(at, path, how, READ_ONLY)
}

/// That what was a link when the steps were made still leads there: else one would lie beside what it is about. By device and inode; what
/// is on neither side may be missing.
pub(super) fn lead_there(links: &[Link], at: impl Fn(usize)) -> Result<(), c_int> {
    let identity = |path: &CStr| {
        let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
        let flags = 0;
        match call(libc::SYS_newfstatat, [HERE, pointer(path), found.as_mut_ptr() as usize, flags, 0]) {
            // SAFETY: zeroed memory is a valid stat, and the kernel has filled it.
            Ok(_) => Ok(Some(unsafe { found.assume_init() }).map(|found| (found.st_dev, found.st_ino))),
            Err(libc::ENOENT | libc::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    };
    for (index, link) in links.iter().enumerate() {
        at(index);
        if identity(&link.name)? != identity(&link.path)? {
            return Err(libc::ESTALE);
        }
    }
    Ok(())
}

/// What is mounted outside from now on is seen in here, and nothing the other way.
pub(super) fn apart() -> Result<(), c_int> {
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_SLAVE, c"")
}

/// Carries the steps out; `at` is told of each one. This process has a mount namespace of its own.
pub(super) fn make(mounts: &[Mount], ipc: bool, at: impl Fn(usize)) -> Result<(), c_int> {
    apart()?;
    let devices = mounts.iter().position(|step| step.kind == MountKind::Devices);
    let mut kept = Kept::nothing();
    if let Some(index) = devices {
        at(index);
        kept = Kept::take();
        // A node that lies elsewhere is as good as one in /dev.
        change(HERE, c"/", RECURSIVE, NO_DEVICE)?;
    }
    let mut covered = false;
    for (index, step) in mounts.iter().enumerate() {
        at(index);
        step.tree.store(NONE, Ordering::Relaxed);
        match step.kind {
            MountKind::AsOutside => match Place::of(&step.path, 0).and_then(|place| take_at(&place)) {
                Ok(tree) => step.tree.store(tree, Ordering::Relaxed),
                Err(libc::ENOENT) if step.optional => {}
                Err(errno) => return Err(errno),
            },
            MountKind::Inaccessible => covered = true,
            _ => {}
        }
    }
    if covered {
        cover(mounts, &at)?;
    }
    for (index, step) in mounts.iter().enumerate() {
        at(index);
        match step.carry_out(&kept) {
            Ok(()) => {}
            Err(libc::ENOENT | libc::ENOTDIR) if step.optional => {}
            Err(errno) => return Err(errno),
        }
        let tree = step.tree.swap(NONE, Ordering::Relaxed);
        if tree != NONE {
            close(tree);
        }
    }
    kept.close();
    if ipc {
        // The message queues are those of the new namespace.
        match mount(c"mqueue", c"/dev/mqueue", c"mqueue", NO_PROGRAMS, c"") {
            Ok(()) | Err(libc::ENOENT | libc::ENODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    // The directory of before may lie below a cover.
    call(libc::SYS_chdir, [pointer(c"/"), 0, 0, 0, 0]).map(|_| ())
}

pub(super) const NO_PROGRAMS: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Takes for each inaccessible path what will cover it: an empty directory, or an empty file, that nobody may open. They are made in a
/// file system in memory that lies over a directory that is no link for as long as that takes.
fn cover(mounts: &[Mount], at: &impl Fn(usize)) -> Result<(), c_int> {
    /// In `tree`: a directory, a file, to be taken.
    const DIRECTORY: c_int = -2;
    const FILE: c_int = -3;
    let inaccessible = || mounts.iter().enumerate().filter(|(_, m)| m.kind == MountKind::Inaccessible);
    for (index, step) in inaccessible() {
        at(index);
        let what = match Place::of(&step.path, libc::O_DIRECTORY) {
            Ok(_) => DIRECTORY,
            Err(libc::ENOTDIR) => FILE,
            Err(libc::ENOENT) if step.optional => continue,
            Err(errno) => return Err(errno),
        };
        step.tree.store(what, Ordering::Relaxed);
    }
    let found = SCRATCHES.into_iter().find_map(|path| Some((path, Place::of(path, libc::O_DIRECTORY).ok()?)));
    let (path, below) = found.ok_or(libc::ENOENT)?;
    below.mount(c"tmpfs", NO_PROGRAMS, c"mode=0755,nr_inodes=4,size=4k")?;
    let scratch = Place::of(path, libc::O_DIRECTORY)?;
    let place = scratch.0 as usize;
    call(libc::SYS_mkdirat, [place, pointer(NO_DIRECTORY), 0, 0, 0])?;
    call(libc::SYS_mknodat, [place, pointer(NOTHING), libc::S_IFREG as usize, 0, 0])?;
    for (index, step) in inaccessible() {
        at(index);
        let source = match step.tree.load(Ordering::Relaxed) {
            DIRECTORY => NO_DIRECTORY,
            FILE => NOTHING,
            _ => continue,
        };
        let tree = call(libc::SYS_open_tree, [place, pointer(source), CLONE, 0, 0])? as c_int;
        read_only(tree as usize, c"", EMPTY_PATH)?;
        step.tree.store(tree, Ordering::Relaxed);
    }
    call(libc::SYS_umount2, [pointer(path), libc::MNT_DETACH as usize, 0, 0, 0]).map(|_| ())
}

impl Mount {
    fn carry_out(&self, kept: &Kept) -> Result<(), c_int> {
        match &self.kind {
            MountKind::AsOutside | MountKind::Inaccessible => match self.tree.load(Ordering::Relaxed) {
                NONE => Ok(()),
                tree => put(tree, &self.path),
            },
            MountKind::ReadOnly if self.path.as_c_str() == c"/" => read_only(HERE, c"/", RECURSIVE),
            MountKind::ReadOnly => {
                let place = Place::of(&self.path, 0)?;
                let tree = take_at(&place)?;
                let done =
                    read_only(tree as usize, c"", EMPTY_PATH | RECURSIVE).and_then(|()| place.cover(tree));
                close(tree);
                done
            }
            MountKind::Empty { flags, options } => {
                Place::of(&self.path, libc::O_DIRECTORY)?.mount(c"tmpfs", *flags, options)
            }
            MountKind::Processes(options) => {
                Place::of(&self.path, libc::O_DIRECTORY)?.mount(c"proc", NO_PROGRAMS, options)
            }
            MountKind::Devices => devices(kept),
        }
    }
}

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

struct Kept {
    trees: [c_int; KEPT.len()],
    /// Where /dev/log points to, NUL-terminated; empty where it is no link.
    log: [u8; 128],
}

impl Kept {
    fn nothing() -> Self {
        Self { trees: [NONE; KEPT.len()], log: [0; 128] }
    }

    fn take() -> Self {
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

    fn close(&self) {
        self.trees.iter().filter(|tree| **tree != NONE).for_each(|tree| close(*tree));
    }
}

fn devices(kept: &Kept) -> Result<(), c_int> {
    mount(
        c"tmpfs",
        c"/dev",
        c"tmpfs",
        libc::MS_NOSUID | libc::MS_NOEXEC,
        c"mode=0755,nr_inodes=64,size=64k",
    )?;
    let mask = call(libc::SYS_umask, [0, 0, 0, 0, 0])?;
    let made = fill(kept);
    call(libc::SYS_umask, [mask as usize, 0, 0, 0, 0])?;
    made?;
    read_only(HERE, c"/dev", 0)
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
