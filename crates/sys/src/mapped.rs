//! A file that one program writes whole and many map: written aside and renamed, mapped read-only, and believed only if
//! nobody but its owner can have written it. What is in it must still be checked by whoever reads it.
//!
//! A mapped file that is cut while it is read raises SIGBUS, and one that is rewritten in place changes under the reader.
//! [`replace`] does neither: it writes a new file and renames it, so a mapping keeps the old one until it is dropped. That
//! nobody else does it either is what the checks of owner and mode are for: only the owner (root) could, by hand.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::ptr::NonNull;

/// A file in memory, read-only.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is never written through, and its pages belong to no thread.
unsafe impl Send for Mapped {}
// SAFETY: as above: any number of threads may read it at once.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps the file at `path`, if it is a regular file, no link, of the user `owner` or of root, that neither its group nor
    /// others may write, with 1 to `most` bytes.
    ///
    /// # Errors
    /// `ENOENT`, `ELOOP` (a link), `EPERM` (not to be trusted), `EFBIG`, what open(2) and mmap(2) say.
    pub fn open(path: &Path, owner: u32, most: usize) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let trusted = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && (stat.st_uid == owner || stat.st_uid == 0)
            && !mode.intersects(Mode::WGRP | Mode::WOTH);
        if !trusted {
            return Err(Errno::PERM.into());
        }
        let len = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if len > most {
            return Err(Errno::FBIG.into());
        }
        if len == 0 {
            return Err(Errno::INVAL.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice; `fd` is open and nothing else refers to the pages.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, &fd, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }
}

impl std::ops::Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` is a readable mapping of `len` bytes that lives until `drop`; the file is replaced, never cut or
        // rewritten (see the top of this file).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `open`, whole; no slice of it outlives `self`.
        // Unmapping what was mapped cannot fail.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Puts `bytes` at `path`, whole or not at all: written to a new file beside it, flushed to the disk, given `mode`, renamed.
/// What was there stays valid for whoever has it open or mapped.
///
/// # Errors
/// `ENOENT` (the directory), `EACCES`, `ENOSPC`…; then the old file still stands.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let beside = path.with_file_name(aside(name));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(CWD, &beside, flags, Mode::RUSR | Mode::WUSR)?;
    let written = write_whole(File::from(fd), bytes, mode)
        .and_then(|()| rustix::fs::rename(&beside, path).map_err(io::Error::from));
    if written.is_err() {
        // The error that is reported is that of the writing.
        let _ = rustix::fs::unlinkat(CWD, &beside, AtFlags::empty());
        return written;
    }
    // After a crash the name may lead to the old file: its identity then tells that it is stale.
    Ok(())
}

fn aside(name: &OsStr) -> OsString {
    // Two namespaces may share the directory and have processes of one number.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}.{}.{}", std::process::id(), now.tv_sec, now.tv_nsec));
    aside
}

fn write_whole(mut file: File, bytes: &[u8], mode: u32) -> io::Result<()> {
    file.write_all(bytes)?;
    rustix::fs::fchmod(&file, Mode::from_bits_truncate(mode))?; // whatever the mask is
    file.sync_all() // a rename may reach the disk before the bytes do
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("portreeve-mapped-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn refused(path: &Path) -> Option<i32> {
        Mapped::open(path, me(), 100).unwrap_err().raw_os_error()
    }

    #[test]
    fn what_is_written_is_mapped_and_a_mapping_survives_the_next() {
        let here = directory("replace");
        let path = here.join("file");
        replace(&path, b"first", 0o644).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        let first = Mapped::open(&path, me(), 100).unwrap();
        replace(&path, b"second one", 0o644).unwrap();
        assert_eq!(&*first, b"first");
        assert_eq!(&*Mapped::open(&path, me(), 100).unwrap(), b"second one");
        assert_eq!(std::fs::read_dir(&here).unwrap().count(), 1, "nothing is left aside");
        assert_eq!(
            replace(&here.join("none/file"), b"x", 0o644).unwrap_err().raw_os_error(),
            Some(libc::ENOENT)
        );
        std::fs::create_dir(here.join("directory")).unwrap();
        assert!(replace(&here.join("directory"), b"x", 0o644).is_err());
        assert_eq!(std::fs::read_dir(&here).unwrap().count(), 2, "nothing is left aside after a failure");
        std::fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn a_file_that_others_could_write_is_not_believed() {
        let here = directory("trust");
        let path = here.join("file");
        assert_eq!(refused(&path), Some(libc::ENOENT));
        replace(&path, b"x", 0o664).unwrap();
        assert_eq!(refused(&path), Some(libc::EPERM), "its group may write");
        replace(&path, b"x", 0o646).unwrap();
        assert_eq!(refused(&path), Some(libc::EPERM), "others may write");
        replace(&path, b"x", 0o644).unwrap();
        symlink(&path, here.join("link")).unwrap();
        assert_eq!(refused(&here.join("link")), Some(libc::ELOOP));
        assert_eq!(refused(&here), Some(libc::EPERM), "a directory");
        replace(&path, b"", 0o644).unwrap();
        assert_eq!(refused(&path), Some(libc::EINVAL));
        replace(&path, &[0; 101], 0o644).unwrap();
        assert_eq!(refused(&path), Some(libc::EFBIG));
        if me() == 0 {
            replace(&path, b"x", 0o644).unwrap();
            std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
            assert_eq!(refused(&path), Some(libc::EPERM), "somebody else's");
        }
        std::fs::remove_dir_all(here).unwrap();
    }
}
