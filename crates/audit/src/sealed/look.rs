//! One path, as it is: what the kernel says of it and the digest of what is in it. Opens nothing but files and directories, follows
//! no link, changes no time of access where it may help it.

use super::entry::{Content, Entry, Kind, Moment};
use super::hash::{Hash, Hasher};
use super::huge::{self, HUGE};
use super::mask::Mask;
use super::reading::Reading;
use super::tree::Step;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};

/// What is read at once.
pub const CHUNK: usize = 256 * 1024;

/// How often a file that changes while it is read is begun anew.
const TRIES: usize = 3;

/// Most bytes of a file that says it has none.
const SIZELESS: u64 = 16 << 20;

/// Most bytes of the names of attributes, and of the value of one: what the kernel allows.
const ATTRIBUTES: usize = 64 * 1024;

/// Looks at one path. Where it is `trusted`, a path that is untouched since `before` is taken for what it was, unopened.
///
/// # Errors
/// What statx(2) says; `NOENT` when it has gone meanwhile.
pub fn look(
    step: &Step,
    before: Option<&Entry>,
    trusted: bool,
    buffer: &mut [u8],
    reading: &Reading,
) -> rustix::io::Result<Entry> {
    let seen = stat(step)?;
    let mut entry = entry(step.path.clone(), &seen)?;
    if let Some(before) = before.filter(|before| trusted && entry.is_untouched(before)) {
        // What is not in the inode itself cannot have changed without its time.
        entry.content = before.content.clone();
        entry.target = before.target.clone();
        entry.attributes = before.attributes.clone();
        entry.flags = before.flags;
        return Ok(entry);
    }
    if entry.kind == Kind::Link {
        entry.target = rustix::fs::readlinkat(&step.dir, step.name.as_slice(), Vec::new())?.into_bytes();
    }
    if !matches!(entry.kind, Kind::File | Kind::Directory) {
        entry.attributes = attributes_of_name(step);
        return Ok(entry);
    }
    let fd = match open(step) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Err(Errno::NOENT),
        Err(error) => {
            if entry.kind == Kind::File {
                entry.content = Content::Unreadable(error.raw_os_error());
            }
            return Ok(entry);
        }
    };
    entry.attributes = attributes(&fd);
    entry.flags = rustix::fs::ioctl_getflags(&fd).ok().map(|flags| flags.bits());
    if entry.kind == Kind::File {
        let whole = matches!(before.map(|before| &before.content), Some(Content::Digest(_)));
        content(&fd, whole, &mut entry, buffer, reading);
    }
    Ok(entry)
}

fn stat(step: &Step) -> rustix::io::Result<Statx> {
    let what = StatxFlags::BASIC_STATS;
    rustix::fs::statx(
        &step.dir,
        step.name.as_slice(),
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        what,
    )
}

fn entry(path: Vec<u8>, seen: &Statx) -> rustix::io::Result<Entry> {
    let kind = match FileType::from_raw_mode(seen.stx_mode.into()) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Pipe,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => return Err(Errno::OPNOTSUPP),
    };
    let number = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
    let moment = |time: rustix::fs::StatxTimestamp| -> Moment { (time.tv_sec, time.tv_nsec) };
    let is_file = kind == Kind::File;
    Ok(Entry {
        path,
        kind,
        mode: u32::from(seen.stx_mode) & 0o7777,
        uid: seen.stx_uid,
        gid: seen.stx_gid,
        size: if is_file { seen.stx_size } else { 0 },
        mtime: moment(seen.stx_mtime),
        ctime: moment(seen.stx_ctime),
        inode: seen.stx_ino,
        device: number(seen.stx_dev_major, seen.stx_dev_minor),
        links: if is_file { seen.stx_nlink.into() } else { 1 },
        rdev: number(seen.stx_rdev_major, seen.stx_rdev_minor),
        content: Content::None,
        target: Vec::new(),
        attributes: Vec::new(),
        flags: None,
        known: Mask::ALL,
    })
}

fn open(step: &Step) -> rustix::io::Result<OwnedFd> {
    // NONBLOCK: it may have become a pipe by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(&step.dir, step.name.as_slice(), flags | OFlags::NOATIME, Mode::empty()) {
        // Not ours, and we are not root.
        Err(Errno::PERM) => rustix::fs::openat(&step.dir, step.name.as_slice(), flags, Mode::empty()),
        other => other,
    }
}

/// Reads until the file is the same before and after. A huge one is read as a `whole` where it is compared with such a digest.
fn content(fd: &OwnedFd, whole: bool, entry: &mut Entry, buffer: &mut [u8], reading: &Reading) {
    let blocks = entry.size >= HUGE && !whole;
    let named = |digest| if blocks { Content::Blocks(digest) } else { Content::Digest(digest) };
    let known = |entry: &Entry| reading.known(entry, blocks);
    for _ in 0..TRIES {
        if let Some(digest) = known(entry) {
            entry.content = named(digest);
            return;
        }
        let size = entry.size;
        let read = match blocks {
            true => huge::digest(fd, size, reading.hash, buffer, &mut |n| reading.read(n)),
            false => digest_of(fd, size, buffer, reading),
        };
        let digest = match read {
            Ok(digest) => Some(digest),
            // It has become shorter.
            Err(Errno::NODATA) => None,
            Err(error) => {
                entry.content = Content::Unreadable(error.raw_os_error());
                return;
            }
        };
        let Ok(after) = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) else {
            break;
        };
        let Ok(after) = self::entry(Vec::new(), &after) else { break };
        if (after.device, after.inode, after.kind) != (entry.device, entry.inode, entry.kind) {
            // Another file has its name.
            break;
        }
        let same = after.is_untouched(entry);
        (entry.size, entry.mtime, entry.ctime) = (after.size, after.mtime, after.ctime);
        if let Some(digest) = digest.filter(|_| same) {
            reading.note(entry, blocks, &digest);
            entry.content = named(digest);
            return;
        }
    }
    entry.content = Content::Changing;
}

/// The digest of the first `size` bytes: one that grows as fast as it is read must come to an end too.
fn digest_of(fd: &OwnedFd, size: u64, buffer: &mut [u8], reading: &Reading) -> rustix::io::Result<[u8; 32]> {
    let mut hasher = reading.hash.begin();
    let mut at = 0_u64;
    // What has no size can still have a content, as in /proc and /sys: then it ends where it ends.
    let size = if size == 0 { sizeless(fd, &mut hasher, buffer)? } else { size };
    while at < size {
        let wanted = usize::try_from(size - at).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        match rustix::io::pread(fd, &mut *room, at) {
            Ok(0) => return Err(Errno::NODATA),
            Ok(n) => {
                hasher.update(room.get(..n).unwrap_or_default());
                at += n as u64;
                if !reading.read(n as u64) {
                    return Err(Errno::INTR);
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

/// Reads a file that says it is empty. What is left to read: nothing.
fn sizeless(fd: &OwnedFd, hasher: &mut Hasher, buffer: &mut [u8]) -> rustix::io::Result<u64> {
    let mut at = 0_u64;
    loop {
        match rustix::io::pread(fd, &mut *buffer, at) {
            Ok(0) => return Ok(0),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                at += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if at > SIZELESS {
            return Err(Errno::FBIG);
        }
    }
}

type Attributes = Vec<(Vec<u8>, [u8; 16])>;

fn attributes(fd: &OwnedFd) -> Attributes {
    digests(&names(|room| rustix::fs::flistxattr(fd, room)), |name, value| {
        rustix::fs::fgetxattr(fd, name, value)
    })
}

/// Of what is not opened: by its name, in the directory that was opened.
fn attributes_of_name(step: &Step) -> Attributes {
    let path = [format!("/proc/self/fd/{}/", step.dir.as_raw_fd()).as_bytes(), &step.name].concat();
    let names = names(|room| rustix::fs::llistxattr(path.as_slice(), room));
    digests(&names, |name, value| rustix::fs::lgetxattr(path.as_slice(), name, value))
}

/// The names that a call gives; almost always few or none.
fn names(list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Vec<u8> {
    let mut few = [0; 1024];
    match list(&mut few) {
        Ok(n) => few.get(..n).unwrap_or_default().to_vec(),
        Err(Errno::RANGE) => {
            let mut all = vec![0; ATTRIBUTES];
            let n = list(&mut all).unwrap_or(0);
            all.truncate(n);
            all
        }
        Err(_) => Vec::new(),
    }
}

fn digests(names: &[u8], get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>) -> Attributes {
    let mut value = Vec::new();
    let mut all: Attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        value.resize(ATTRIBUTES, 0);
        let n = get(name, &mut value).unwrap_or(0);
        let mut first = [0; 16];
        let whole = Hash::Sha256.once(value.get(..n).unwrap_or_default());
        first.copy_from_slice(whole.get(..16).unwrap_or(&[0; 16]));
        all.push((name.to_vec(), first));
    }
    all.sort_unstable();
    all
}
