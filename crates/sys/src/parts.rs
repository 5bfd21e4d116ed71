//! A file that one program writes whole and many read in parts: written aside and renamed, and believed only if nobody but
//! its owner can have written it. What is in it must still be checked by whoever reads it.
//!
//! [`replace`] writes a new file and renames it, so whoever has the old one open keeps it as it was. Read, not mapped: a few
//! short reads cost a fresh process a quarter of what the faults and the end of a mapping do, and a file that somebody cuts by
//! hand ends in an error, where a mapping would raise SIGBUS.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

/// Parts that are kept; the last is the rest of the file.
const PARTS: usize = 14;
/// So many parts are short ones; each further is eight times as long as the one before, so that reading much takes few.
const SHORT: usize = 8;
/// Bytes of a short part.
const PART: usize = 1024;
/// A part begins at a multiple of this.
const GRAIN: usize = 512;

/// An open file, of which only what is asked for is read, and nothing twice.
#[derive(Debug)]
pub struct Parts {
    file: File,
    len: usize,
    parts: [OnceLock<Part>; PARTS],
}

#[derive(Debug)]
struct Part {
    at: usize,
    bytes: Vec<u8>,
}

impl Part {
    fn get(&self, at: usize, len: usize) -> Option<&[u8]> {
        let start = at.checked_sub(self.at)?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl Parts {
    /// Opens the file at `path`, if it is a regular file, no link, of the user `owner` or of root, that neither its group nor
    /// others may write, with 1 to `most` bytes.
    ///
    /// # Errors
    /// `ENOENT`, `ELOOP` (a link), `EPERM` (not to be trusted), `EFBIG`, `EINVAL` (empty), what open(2) says.
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
        Ok(Self { file: File::from(fd), len, parts: [const { OnceLock::new() }; PARTS] })
    }

    /// How many bytes it had when it was opened; not none.
    #[must_use]
    pub fn size(&self) -> usize {
        self.len
    }

    /// `len` bytes at `at`; nothing if they are not there or cannot be read. What was given once is given again.
    #[must_use]
    pub fn part(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.len)?;
        for (index, place) in self.parts.iter().enumerate() {
            let part = match place.get() {
                Some(part) => part,
                None => {
                    let size = match index {
                        _ if index + 1 == PARTS => self.len,
                        _ => PART << (3 * (index + 1).saturating_sub(SHORT)),
                    };
                    // What comes last in a file is read with what is before it.
                    let start = (at - at % GRAIN).min(self.len.saturating_sub(size));
                    let read = self.read(start, start.saturating_add(size).max(end).min(self.len))?;
                    // Another thread may have been here first; then its part is looked at, and ours goes to the next place.
                    let _ = place.set(read);
                    place.get()?
                }
            };
            if let Some(bytes) = part.get(at, len) {
                return Some(bytes);
            }
        }
        None
    }

    fn read(&self, start: usize, end: usize) -> Option<Part> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(end.checked_sub(start)?).ok()?;
        while start + bytes.len() < end {
            let at = u64::try_from(start + bytes.len()).ok()?;
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => return None,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        bytes.truncate(end - start);
        Some(Part { at: start, bytes })
    }
}

/// Puts `bytes` at `path`, whole or not at all: written to a new file beside it, flushed to the disk, given `mode`, renamed.
/// What was there stays as it was for whoever has it open.
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
        let path = std::env::temp_dir().join(format!("portreeve-parts-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn refused(path: &Path) -> Option<i32> {
        Parts::open(path, me(), 100).unwrap_err().raw_os_error()
    }

    #[test]
    fn what_is_written_is_read_and_an_open_file_survives_the_next() {
        let here = directory("replace");
        let path = here.join("file");
        replace(&path, b"first", 0o644).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        let first = Parts::open(&path, me(), 100).unwrap();
        replace(&path, b"second one", 0o644).unwrap();
        assert_eq!(first.part(0, 5), Some(&b"first"[..]));
        assert_eq!(Parts::open(&path, me(), 100).unwrap().part(0, 10), Some(&b"second one"[..]));
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
    fn every_part_is_that_of_the_file() {
        let here = directory("parts");
        let path = here.join("file");
        for size in [1, 2047, 2048, 4096, 4097, 10_000, 300_000] {
            let whole: Vec<u8> = (0..size).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
            replace(&path, &whole, 0o644).unwrap();
            // Backwards, forwards, and far apart: more places than parts.
            for step in [1_usize, 997, 4096] {
                for reversed in [false, true] {
                    let file = Parts::open(&path, me(), 1 << 20).unwrap();
                    let mut starts: Vec<usize> = (0..size).step_by(step.max(size / 200)).collect();
                    if reversed {
                        starts.reverse();
                    }
                    for at in starts {
                        for len in [0, 1, 5, 5000] {
                            assert_eq!(file.part(at, len), whole.get(at..at + len), "{size} {at} {len}");
                        }
                    }
                }
            }
            let file = Parts::open(&path, me(), 1 << 20).unwrap();
            assert_eq!(file.size(), size);
            assert_eq!(file.part(0, size), Some(&whole[..]));
            assert_eq!(file.part(0, size + 1), None);
            assert_eq!(file.part(size, 1), None);
            assert_eq!(file.part(usize::MAX, 2), None);
        }
        // Somebody cuts it by hand: what was read stays, the rest is not there.
        let file = Parts::open(&path, me(), 1 << 20).unwrap();
        assert!(file.part(0, 10).is_some());
        File::options().write(true).open(&path).unwrap().set_len(10_000).unwrap();
        assert!(file.part(0, 10).is_some());
        assert_eq!(file.part(200_000, 10), None);
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
