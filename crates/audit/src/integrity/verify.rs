//! One file beside what dpkg knows of it: is it there, is it a regular file, its sum, and what an administrator ordered of owner and mode.
//! No link leads out of the root; nothing but regular files is ever opened for reading.

use super::columns::{Columns, Property};
use super::dpkg::{Listed, Ordered};
use md5::{Digest, Md5};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is as it was, as far as that is known.
    Same,
    /// It is not there.
    Missing,
    /// It differs.
    Differs {
        /// In what.
        columns: Columns,
        /// The sums, expected and found, where they differ.
        sums: Option<([u8; 16], [u8; 16])>,
    },
    /// rpm's own columns.
    Told(String),
    /// This user may not read it.
    Unreadable(String),
}

impl Found {
    /// The nine columns.
    pub fn columns(&self) -> String {
        match self {
            Found::Missing => "missing  ".to_owned(),
            Found::Differs { columns, .. } => columns.to_string(),
            Found::Told(columns) => columns.clone(),
            Found::Same => ".........".to_owned(),
            Found::Unreadable(_) => "?????????".to_owned(),
        }
    }

    /// What differs, in words.
    pub fn words(&self) -> Vec<&'static str> {
        match self {
            Found::Missing => vec!["missing"],
            Found::Differs { columns, .. } => columns.words(),
            Found::Told(columns) => super::rpm::words(columns),
            Found::Same | Found::Unreadable(_) => Vec::new(),
        }
    }
}

/// Looks below one root.
#[derive(Debug)]
pub(super) struct Verifier {
    root: OwnedFd,
}

impl Verifier {
    pub(super) fn new(root: &Path) -> io::Result<Verifier> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Verifier { root: rustix::fs::openat(CWD, root, flags, Mode::empty())? })
    }

    fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
        let relative = match path.get(start..) {
            Some(b"") | None => b".",
            Some(relative) => relative,
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, relative, flags, Mode::empty(), resolve)
    }

    /// What is found, and how many bytes were read for it.
    pub(super) fn look(&self, listed: &Listed, ordered: Option<&Ordered>, buffer: &mut [u8]) -> (Found, u64) {
        let unreadable = |error: Errno| {
            let text = io::Error::from(error).to_string();
            Found::Unreadable(text.split(" (os error").next().unwrap_or(&text).to_owned())
        };
        let fd = match self.open(listed.really(), OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) if listed.may_be_missing => return (Found::Same, 0),
            Err(Errno::NOENT | Errno::NOTDIR) => return (Found::Missing, 0),
            Err(error) => return (unreadable(error), 0),
        };
        let stat = match rustix::fs::fstat(&fd) {
            Ok(stat) => stat,
            Err(error) => return (unreadable(error), 0),
        };
        let mut columns = Columns::default();
        if let Some(ordered) = ordered {
            columns.mode = Property::of(stat.st_mode & 0o7777 == ordered.mode);
            let owner = |known: Option<u32>, is| known.map_or(Property::Unknown, |id| Property::of(id == is));
            columns.user = owner(ordered.uid, stat.st_uid);
            columns.group = owner(ordered.gid, stat.st_gid);
        }
        let (mut sums, mut bytes) = (None, 0);
        if let Some(expected) = listed.sum {
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                columns.mode = Property::Differs;
                columns.content = Property::Differs;
            } else {
                match self.sum(listed.really(), buffer) {
                    Ok((sum, length)) => {
                        bytes = length;
                        columns.content = Property::of(sum == expected);
                        sums = (sum != expected).then_some((expected, sum));
                    }
                    Err(error) => return (unreadable(error), 0),
                }
            }
        }
        (if columns.differ() { Found::Differs { columns, sums } } else { Found::Same }, bytes)
    }

    fn sum(&self, path: &[u8], buffer: &mut [u8]) -> rustix::io::Result<([u8; 16], u64)> {
        // It was a regular file a moment ago; should it be something else now, nothing waits for a reader or a line.
        let file = self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        let mut digest = Md5::new();
        // A file that grows while it is read is read to where it ended.
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        let mut all = 0;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = match rustix::io::read(&file, buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => break,
                Ok(read) => read,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            digest.update(buffer.get(..read).unwrap_or_default());
            left -= read as u64;
            all += read as u64;
        }
        Ok((digest.finalize().into(), all))
    }
}
