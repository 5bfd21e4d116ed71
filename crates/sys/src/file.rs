//! Files that a daemon writes as root: logs, dumps, pid files. Every name is opened so that a link or a fifo put
//! there by somebody else cannot redirect or stall it.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens a log to append to, creating it with `mode`. Never waits, neither for a reader of a fifo nor later for
/// room in one, and never becomes a controlling terminal. Follows links: a log may be one.
///
/// # Errors
/// `ENXIO` for a fifo without a reader, `EACCES`, `ENOENT` (the directory).
pub fn open_append(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::from_bits_truncate(mode))?)
}

/// Opens a file of ours to append to, 0600, following no link and only if it is a regular file of this user: for
/// dumps, which xinetd writes to a predictable name in /tmp (xinetd.md §11).
///
/// # Errors
/// `ELOOP` for a link; `EPERM` for a file of somebody else, with other links, or of another kind.
pub fn create_private(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    let stat = rustix::fs::fstat(&fd)?;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_nlink == 1
        && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !ours {
        return Err(Errno::PERM.into());
    }
    rustix::fs::fchmod(&fd, Mode::RUSR | Mode::WUSR)?;
    Ok(fd)
}

/// Writes this process's id to `path`, 0644. What stands there is removed, not written through.
///
/// # Errors
/// `EISDIR`/`EPERM` for a directory, `EEXIST` when somebody recreates the name at the same moment, `EACCES`.
pub fn write_pidfile(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::from_bits_truncate(0o644))?;
    rustix::fs::fchmod(&fd, Mode::from_bits_truncate(0o644))?; // whatever the mask is
    let mut file = std::fs::File::from(fd);
    writeln!(file, "{}", std::process::id())
}

/// The size of an open file in bytes; 0 for what is not a regular file.
///
/// # Errors
/// From fstat.
pub fn size(fd: impl AsFd) -> io::Result<u64> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(0);
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}
