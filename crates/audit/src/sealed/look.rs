//! One path, as it is: what the kernel says of it and the digest of what is in it. Opens nothing but files and directories, follows
//! no link, changes no time of access where it may help it.

use super::entry::{Content, Entry, Kind, Moment};
use super::tree::Step;
use ring::digest::{Context, SHA256, digest};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// What is read at once.
pub const CHUNK: usize = 256 * 1024;

/// How often a file that changes while it is read is begun anew.
const TRIES: usize = 3;

/// Most bytes of the names of attributes, and of the value of one: what the kernel allows.
const ATTRIBUTES: usize = 64 * 1024;

/// Looks at one path. With `before`, a file that is untouched since keeps its digest unread. `read` counts bytes read.
///
/// # Errors
/// What statx(2) says; `NOENT` when it has gone meanwhile.
pub fn look(
    step: &Step,
    before: Option<&Entry>,
    buffer: &mut [u8],
    read: &AtomicU64,
) -> rustix::io::Result<Entry> {
    let seen = stat(step)?;
    let mut entry = entry(step.path.clone(), &seen)?;
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
        if let Some(before) = before.filter(|before| entry.is_untouched(before)) {
            entry.content = before.content.clone();
        } else {
            content(&fd, step, &mut entry, buffer, read);
        }
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

/// Reads until the file is the same before and after.
fn content(fd: &OwnedFd, step: &Step, entry: &mut Entry, buffer: &mut [u8], read: &AtomicU64) {
    for _ in 0..TRIES {
        let before = match rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) {
            Ok(before) if before.stx_ino == entry.inode => before,
            Ok(_) | Err(_) => {
                entry.content = Content::Changing;
                return;
            }
        };
        let mut context = Context::new(&SHA256);
        let mut at = 0_u64;
        loop {
            match rustix::io::pread(fd, &mut *buffer, at) {
                Ok(0) => break,
                Ok(n) => {
                    context.update(buffer.get(..n).unwrap_or_default());
                    at += n as u64;
                    read.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    entry.content = Content::Unreadable(error.raw_os_error());
                    return;
                }
            }
        }
        let Ok(after) = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS) else {
            break;
        };
        let state = |seen: &Statx| {
            (seen.stx_size, (seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec), seen.stx_ctime.tv_nsec)
        };
        if state(&before) == state(&after) && after.stx_size == at {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(context.finish().as_ref());
            if let Ok(now) = self::entry(step.path.clone(), &after) {
                (entry.size, entry.mtime, entry.ctime) = (now.size, now.mtime, now.ctime);
            }
            entry.content = Content::Digest(bytes);
            return;
        }
    }
    entry.content = Content::Changing;
}

type Attributes = Vec<(Vec<u8>, [u8; 16])>;

fn attributes(fd: &OwnedFd) -> Attributes {
    let mut names = [0; 1024];
    let found = match rustix::fs::flistxattr(fd, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Vec::new(),
        Ok(n) => names.get(..n).unwrap_or_default().to_vec(),
        Err(_) => {
            let mut all = vec![0; ATTRIBUTES];
            let n = rustix::fs::flistxattr(fd, &mut all[..]).unwrap_or(0);
            all.truncate(n);
            all
        }
    };
    digests(&found, |name, value| rustix::fs::fgetxattr(fd, name, value))
}

/// Of what is not opened: by its name, in the directory that was opened.
fn attributes_of_name(step: &Step) -> Attributes {
    let path = [format!("/proc/self/fd/{}/", step.dir.as_raw_fd()).as_bytes(), &step.name].concat();
    let mut names = vec![0; ATTRIBUTES];
    let n = rustix::fs::llistxattr(path.as_slice(), &mut names[..]).unwrap_or(0);
    names.truncate(n);
    digests(&names, |name, value| rustix::fs::lgetxattr(path.as_slice(), name, value))
}

fn digests(names: &[u8], get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>) -> Attributes {
    let mut value = Vec::new();
    let mut all: Attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        value.resize(ATTRIBUTES, 0);
        let n = get(name, &mut value).unwrap_or(0);
        let mut first = [0; 16];
        let whole = digest(&SHA256, value.get(..n).unwrap_or_default());
        first.copy_from_slice(whole.as_ref().get(..16).unwrap_or(&[0; 16]));
        all.push((name.to_vec(), first));
    }
    all.sort_unstable();
    all
}
