//! The view of the file system that a child gets, in a mount namespace of its own. Raw calls; no allocation.
//!
//! What is to stay writable, what is bound, and the nothing that covers what is inaccessible, are taken as detached trees before anything
//! is changed; then the steps are carried out in their order, so a deeper one stands above a shallower one. Needs Linux 5.12
//! (mount_setattr).
//!
//! No link is followed on the way to a path: whoever may put one there would say what is covered, and what stays writable.

use super::call;
use super::devices::Kept;
use super::points::{self, Point};
use std::ffi::{CStr, CString, c_int};
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
    /// A place of the host is seen there.
    Bind {
        /// On the host, whatever the root is. Without links.
        source: CString,
        /// Nothing can be written there.
        read_only: bool,
        /// With all that is mounted below it.
        recursive: bool,
        /// A device there is none.
        no_devices: bool,
    },
    /// Whether programs are executed from there; with all below.
    Programs(bool),
}

/// A step.
#[derive(Debug)]
pub struct Mount {
    path: CString,
    /// What is done there.
    pub kind: MountKind,
    /// It need not be there; of a bind, its source.
    optional: bool,
    /// What asked for it, for messages.
    pub because: String,
    /// What later steps lie over, and is made here: of what is new.
    pub points: Vec<Point>,
    /// What is there is not known before it is put there: it lies in what is bound.
    pub in_bind: bool,
    /// A tree that was taken in advance.
    pub(super) tree: AtomicI32,
    /// The other one, where that cannot be told in advance: `tree` is of a directory, and this of a file.
    other: AtomicI32,
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
        let (tree, other) = (AtomicI32::new(NONE), AtomicI32::new(NONE));
        Self { path, kind, optional, because, points: Vec::new(), in_bind: false, tree, other }
    }
}

pub(super) const NONE: c_int = -1;
pub(super) const HERE: usize = libc::AT_FDCWD as usize;
pub(super) const RECURSIVE: usize = 0x8000; // AT_RECURSIVE
const CLONE: usize = 1 | libc::O_CLOEXEC as usize; // OPEN_TREE_CLONE
pub(super) const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
const FROM_TREE: usize = 0x4; // MOVE_MOUNT_F_EMPTY_PATH
const TO_DESCRIPTOR: usize = 0x40; // MOVE_MOUNT_T_EMPTY_PATH
const READ_ONLY: u64 = 1; // MOUNT_ATTR_RDONLY
const NO_DEVICE: u64 = 4; // MOUNT_ATTR_NODEV
const NO_EXECUTION: u64 = 8; // MOUNT_ATTR_NOEXEC
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

    pub(super) fn is_directory(&self) -> Result<bool, c_int> {
        is_directory(self.0)
    }

    /// Mounts something new over it: mount(2) takes paths alone, and this one has no part that could be a link.
    pub(super) fn mount(&self, kind: &CStr, flags: u64, options: &CStr) -> Result<(), c_int> {
        call(libc::SYS_fchdir, [self.0 as usize, 0, 0, 0, 0])?;
        mount(kind, c".", kind, flags, options)
    }
}

/// Whether a descriptor is one of a directory.
pub(super) fn is_directory(fd: c_int) -> Result<bool, c_int> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
    let all = [fd as usize, pointer(c""), found.as_mut_ptr() as usize, EMPTY_PATH, 0];
    call(libc::SYS_newfstatat, all)?;
    // SAFETY: zeroed memory is a valid stat, and the kernel has filled it.
    Ok(unsafe { found.assume_init() }.st_mode & libc::S_IFMT == libc::S_IFDIR)
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
pub(super) fn take_at(place: &Place, how: usize) -> Result<c_int, c_int> {
    let how = CLONE | how | EMPTY_PATH;
    call(libc::SYS_open_tree, [place.0 as usize, pointer(c""), how, 0, 0]).map(|fd| fd as c_int)
}

pub(super) fn put(tree: c_int, path: &CStr) -> Result<(), c_int> {
    Place::of(path, 0)?.cover(tree)
}

fn change(at: usize, path: &CStr, how: usize, set: u64, clear: u64) -> Result<(), c_int> {
    let attributes = Attributes { set, clear, propagation: 0, userns: 0 };
    let all = [at, pointer(path), how, (&raw const attributes) as usize, size_of::<Attributes>()];
    call(libc::SYS_mount_setattr, all).map(|_| ())
}

/// Changes what is at a path and all below it, and nothing beside that.
fn change_at(path: &CStr, set: u64, clear: u64) -> Result<(), c_int> {
    if path == c"/" {
        return change(HERE, path, RECURSIVE, set, clear);
    }
    let place = Place::of(path, 0)?;
    let tree = take_at(&place, RECURSIVE)?;
    let done =
        change(tree as usize, c"", EMPTY_PATH | RECURSIVE, set, clear).and_then(|()| place.cover(tree));
    close(tree);
    done
}

pub(super) fn read_only(at: usize, path: &CStr, how: usize) -> Result<(), c_int> {
    change(at, path, how, READ_ONLY, 0)
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

/// Takes what is bound, of the host; `at` is told of each step.
pub(super) fn take_sources(mounts: &[Mount], at: impl Fn(usize)) -> Result<(), c_int> {
    for step in mounts {
        step.tree.store(NONE, Ordering::Relaxed);
        step.other.store(NONE, Ordering::Relaxed);
    }
    for (index, step) in mounts.iter().enumerate() {
        let MountKind::Bind { source, read_only, recursive, no_devices } = &step.kind else { continue };
        at(index);
        let how = if *recursive { RECURSIVE } else { 0 };
        let tree = match Place::of(source, 0).and_then(|place| take_at(&place, how)) {
            Ok(tree) => tree,
            Err(libc::ENOENT) if step.optional => continue,
            Err(errno) => return Err(errno),
        };
        let flag = |on: &bool, flag: u64| if *on { flag } else { 0 };
        let set = flag(read_only, READ_ONLY) | flag(no_devices, NO_DEVICE);
        if set != 0 {
            change(tree as usize, c"", EMPTY_PATH | RECURSIVE, set, 0)?;
        }
        step.tree.store(tree, Ordering::Relaxed);
    }
    Ok(())
}

/// What is mounted outside from now on is seen in here, and nothing the other way.
pub(super) fn apart() -> Result<(), c_int> {
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_SLAVE, c"")
}

/// Carries the steps out; `at` is told of each one. This process has a mount namespace of its own, apart from others, and has taken the
/// sources.
pub(super) fn make(mounts: &[Mount], ipc: bool, at: impl Fn(usize)) -> Result<(), c_int> {
    let devices = mounts.iter().position(|step| step.kind == MountKind::Devices);
    let mut kept = Kept::nothing();
    if let Some(index) = devices {
        at(index);
        kept = Kept::take();
        // A node that lies elsewhere is as good as one in /dev.
        change(HERE, c"/", RECURSIVE, NO_DEVICE, 0)?;
    }
    let mut covered = false;
    for (index, step) in mounts.iter().enumerate() {
        at(index);
        match step.kind {
            MountKind::AsOutside => {
                match Place::of(&step.path, 0).and_then(|place| take_at(&place, RECURSIVE)) {
                    Ok(tree) => step.tree.store(tree, Ordering::Relaxed),
                    Err(libc::ENOENT) if step.optional => {}
                    Err(errno) => return Err(errno),
                }
            }
            MountKind::Inaccessible => covered = true,
            _ => {}
        }
    }
    if covered {
        cover(mounts, &at)?;
    }
    for (index, step) in mounts.iter().enumerate() {
        at(index);
        match step.carry_out(&kept, mounts, &at) {
            Ok(()) => {}
            // That of a bind is about its source alone.
            Err(libc::ENOENT | libc::ENOTDIR) if step.optional && !step.is_bind() => {}
            Err(errno) => return Err(errno),
        }
        for tree in [&step.tree, &step.other] {
            match tree.swap(NONE, Ordering::Relaxed) {
                NONE => {}
                tree => close(tree),
            }
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
            _ if step.in_bind => DIRECTORY,
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
    let taken = |source: &CStr| {
        let tree = call(libc::SYS_open_tree, [place, pointer(source), CLONE, 0, 0])? as c_int;
        read_only(tree as usize, c"", EMPTY_PATH).map(|()| tree)
    };
    for (index, step) in inaccessible() {
        at(index);
        let source = match step.tree.load(Ordering::Relaxed) {
            DIRECTORY => NO_DIRECTORY,
            FILE => NOTHING,
            _ => continue,
        };
        step.tree.store(taken(source)?, Ordering::Relaxed);
        if step.in_bind {
            step.other.store(taken(NOTHING)?, Ordering::Relaxed);
        }
    }
    call(libc::SYS_umount2, [pointer(path), libc::MNT_DETACH as usize, 0, 0, 0]).map(|_| ())
}

impl Mount {
    fn is_bind(&self) -> bool {
        matches!(self.kind, MountKind::Bind { .. })
    }

    fn carry_out(&self, kept: &Kept, all: &[Self], at: &impl Fn(usize)) -> Result<(), c_int> {
        match &self.kind {
            MountKind::Inaccessible if self.in_bind => {
                let place = Place::of(&self.path, 0)?;
                let tree = if place.is_directory()? { &self.tree } else { &self.other };
                place.cover(tree.load(Ordering::Relaxed))
            }
            MountKind::AsOutside | MountKind::Inaccessible => match self.tree.load(Ordering::Relaxed) {
                NONE => Ok(()),
                tree => put(tree, &self.path),
            },
            MountKind::Bind { .. } => match self.tree.load(Ordering::Relaxed) {
                NONE => Ok(()),
                tree => {
                    let place = Place::of(&self.path, 0)?;
                    match place.cover(tree) {
                        // One is a directory and the other is none, as mount(2) would say.
                        Err(libc::EINVAL) if place.is_directory()? != is_directory(tree)? => {
                            Err(libc::ENOTDIR)
                        }
                        done => done,
                    }
                }
            },
            MountKind::ReadOnly => change_at(&self.path, READ_ONLY, 0),
            MountKind::Programs(true) => change_at(&self.path, 0, NO_EXECUTION),
            MountKind::Programs(false) => change_at(&self.path, NO_EXECUTION, 0),
            MountKind::Empty { flags, options } if self.points.is_empty() => {
                Place::of(&self.path, libc::O_DIRECTORY)?.mount(c"tmpfs", *flags, options)
            }
            MountKind::Empty { flags, options } => {
                // What later steps lie over is made first.
                let first = flags & !libc::MS_RDONLY;
                Place::of(&self.path, libc::O_DIRECTORY)?.mount(c"tmpfs", first, options)?;
                let place = Place::of(&self.path, libc::O_DIRECTORY)?;
                points::make(&self.points, all, &place, at)?;
                if first == *flags { Ok(()) } else { read_only(place.0 as usize, c"", EMPTY_PATH) }
            }
            MountKind::Processes(options) => {
                Place::of(&self.path, libc::O_DIRECTORY)?.mount(c"proc", NO_PROGRAMS, options)
            }
            MountKind::Devices => kept.devices(|| match self.points.as_slice() {
                [] => Ok(()),
                points => points::make(points, all, &Place::of(&self.path, libc::O_DIRECTORY)?, at),
            }),
        }
    }
}
