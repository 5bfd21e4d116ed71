//! A file that is read whole and that somebody edits while we run: opened without waiting, bounded, and with what tells
//! one content from another. Follows links: such files may be links.

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// What tells two contents of a file apart: if all of it is equal, and `ctime` is not of this very moment, nobody has
/// written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970. Anybody who may write to the file can set it.
    pub mtime: i64,
    /// Last change of content or inode, nanoseconds since 1970. Nobody can set it but by the clock.
    pub ctime: i64,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Source {
    /// Nothing.
    Missing,
    /// A directory: it opens, and holds no byte.
    Directory(Identity),
    /// Something that can be read.
    Readable(Readable),
}

/// An open file, not yet read.
#[derive(Debug)]
pub struct Readable {
    file: File,
    identity: Identity,
    regular: bool,
}

impl Source {
    /// Opens `path` for reading. Never waits, and so takes no pipe and no socket.
    ///
    /// # Errors
    /// `EACCES`, `ELOOP`, `ENOTDIR`…: what is there cannot be opened. `EINVAL` for a pipe.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Self::Missing),
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&fd)?;
        let identity = Identity::of(&stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Self::Directory(identity)),
            kind @ (FileType::RegularFile | FileType::CharacterDevice) => Ok(Self::Readable(Readable {
                file: File::from(fd),
                identity,
                regular: kind == FileType::RegularFile,
            })),
            _ => Err(Errno::INVAL.into()),
        }
    }
}

impl Readable {
    /// What it was when it was opened.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it is a regular file: only of such does the identity tell the content.
    #[must_use]
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// All its bytes, from the first.
    ///
    /// # Errors
    /// `EFBIG` beyond `most` bytes; what read(2) says.
    pub fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let expected = usize::try_from(self.identity.size).unwrap_or(usize::MAX);
        if self.regular && expected > most {
            return Err(Errno::FBIG.into());
        }
        let expected = expected.min(most);
        let mut bytes = Vec::new();
        let mut room = expected.saturating_add(1);
        loop {
            bytes.try_reserve_exact(room).map_err(|_| io::Error::from(Errno::NOMEM))?;
            let offered = bytes.capacity().saturating_sub(bytes.len());
            let at = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let spare = rustix::buffer::spare_capacity(&mut bytes);
            let read = match self.regular {
                true => rustix::io::pread(&self.file, spare, at),
                false => rustix::io::read(&self.file, spare),
            };
            match read {
                Ok(_) if bytes.len() > most => return Err(Errno::FBIG.into()),
                Ok(0) => return Ok(bytes),
                // One more call would say the same of a file that gives less than asked for, and all that it said it has.
                Ok(read) if self.regular && read < offered && bytes.len() == expected => return Ok(bytes),
                Ok(_) => room = 1 << 16,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether the open file still is what it was when it was opened.
    ///
    /// # Errors
    /// From fstat(2).
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Identity::of(&rustix::fs::fstat(&self.file)?) == self.identity)
    }
}

impl Identity {
    /// Of what `path` leads to, without opening it; `None` when that is nothing.
    ///
    /// # Errors
    /// From stat(2), but for `ENOENT`.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match rustix::fs::stat(path) {
            Ok(stat) => Ok(Some(Self::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(rest).unwrap_or(0))
        };
        Self {
            dev: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Whether every user may read the file at `path`: it and each directory above it, links resolved, let everybody in.
///
/// # Errors
/// From stat(2) and realpath(3).
pub fn is_public(path: &Path) -> io::Result<bool> {
    let real = std::fs::canonicalize(path)?;
    let mode = |path: &Path| Ok(Mode::from_raw_mode(rustix::fs::stat(path)?.st_mode));
    let mut public = Mode::contains(&mode(&real)?, Mode::ROTH);
    for above in real.ancestors().skip(1) {
        let mode: io::Result<Mode> = mode(above);
        public &= mode?.contains(Mode::XOTH);
    }
    Ok(public)
}

/// strerror(3)'s text, without the ` (os error N)` that std adds.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("portreeve-source-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn open(path: &Path) -> Readable {
        match Source::open(path).unwrap() {
            Source::Readable(readable) => readable,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_path_leads_to() {
        let here = directory("kinds");
        assert!(matches!(Source::open(&here.join("none")).unwrap(), Source::Missing));
        assert!(matches!(Source::open(&here).unwrap(), Source::Directory(_)));
        // The kernel gives this one a page at a time, and says that it has none.
        let kernel = open(Path::new("/proc/self/smaps")).read(1 << 20).unwrap();
        assert!(kernel.len() > 1 << 13 && kernel.ends_with(b"\n"));
        let below = here.join("file");
        std::fs::write(&below, "x").unwrap();
        assert_eq!(Source::open(&below.join("y")).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
        std::os::unix::fs::symlink("loop", here.join("loop")).unwrap();
        let error = Source::open(&here.join("loop")).unwrap_err();
        assert_eq!(reason(&error), "Too many levels of symbolic links");
        let pipe = here.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(Source::open(&pipe).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        let null = open(Path::new("/dev/null"));
        assert!(!null.is_regular());
        assert_eq!(null.read(10).unwrap(), b"");
        assert_eq!(open(Path::new("/dev/zero")).read(10).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        std::fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn the_size_is_bounded_and_changes_show() {
        let here = directory("size");
        let path = here.join("file");
        std::fs::write(&path, "0123456789").unwrap();
        let opened = open(&path);
        assert_eq!(opened.read(10).unwrap(), b"0123456789");
        assert_eq!(opened.read(10).unwrap(), b"0123456789", "again from the first byte");
        assert_eq!(opened.read(9).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        assert!(opened.is_unchanged().unwrap());
        assert_eq!(open(&path).identity(), opened.identity());
        assert_eq!(Identity::at(&path).unwrap(), Some(opened.identity()));
        assert_eq!(Identity::at(&here.join("none")).unwrap(), None);
        std::fs::write(&path, "01234").unwrap();
        assert!(!opened.is_unchanged().unwrap());
        std::fs::remove_dir_all(here).unwrap();
    }
}
