//! A file that people and programs read by its name is replaced in one step: another file beside it, with the same owner, mode and
//! extended attributes (the SELinux label, the access list), written to the disk and renamed over it. Whoever opens the name finds the old contents or the
//! new ones. Names are resolved by descriptors: a link stays, and what it leads to is replaced.

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer chains of links are none that the kernel follows.
const LINKS: usize = 40;
/// How often, and how long apart, it is tried to get the lock of a file.
const TRIES: u32 = 50;
const APART: Duration = Duration::from_millis(100);
/// The longest list of attributes' names, and the longest value, of the kernel's own.
const LONGEST_ATTRIBUTE: usize = 64 << 10;
/// The access list, which a new file may have from its directory.
const ACCESS: &[u8] = b"system.posix_acl_access";
/// What says of the contents that they are as they were: the kernel writes them anew.
const OF_CONTENTS: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// Why a file is not replaced. `Display` is the end of a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be opened or read.
    #[error("{}", crate::source::reason(.0))]
    Open(#[source] io::Error),
    /// It is no regular file.
    #[error("it is no regular file")]
    Kind,
    /// Another program has locked it for five seconds.
    #[error("another program holds a lock on it")]
    Locked,
    /// Everybody may write it, or its directory.
    #[error("everybody may write {0}; take that away first (chmod o-w)")]
    Everybodys(&'static str),
    /// It has other names, which would keep the old contents.
    #[error("it has other names (hard links), which would keep the old contents")]
    Names,
    /// Somebody changed it since it was read.
    #[error("it was changed by somebody else in the meantime")]
    Changed,
    /// A file beside it cannot be made.
    #[error("no file can be made beside it: {}", crate::source::reason(.0))]
    Beside(#[source] io::Error),
    /// Owner or mode cannot be given to the new file.
    #[error("its owner and mode cannot be kept: {}", crate::source::reason(.0))]
    Owner(#[source] io::Error),
    /// An extended attribute cannot be given to the new file.
    #[error("its extended attribute {name} cannot be kept: {}", crate::source::reason(.error))]
    Attribute {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The new contents cannot be written.
    #[error("the new contents cannot be written: {}", crate::source::reason(.0))]
    Write(#[source] io::Error),
    /// The new file cannot take its place.
    #[error("it cannot be replaced: {}", crate::source::reason(.0))]
    Rename(#[source] io::Error),
    /// It is a mount of its own, as containers have files.
    #[error(
        "it is mounted by itself, so that it cannot be replaced in one step; edit it where it comes from"
    )]
    Mounted,
}

/// A file that is to be replaced: open, locked against others that replace it so, and known.
#[derive(Debug)]
pub struct Original {
    directory: OwnedFd,
    name: OsString,
    file: File,
    stat: Stat,
}

impl Original {
    /// Opens the file that `path` leads to, and locks it.
    ///
    /// # Errors
    /// All that stands against replacing it and can be known before.
    pub fn open(path: &Path) -> Result<Self, Refused> {
        for _ in 0..TRIES {
            let (directory, name, file) = resolve(path).map_err(|errno| Refused::Open(errno.into()))?;
            let stat = rustix::fs::fstat(&file).map_err(|errno| Refused::Open(errno.into()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Refused::Kind);
            }
            let found = Self { directory, name, file: file.into(), stat };
            match rustix::fs::flock(&found.file, FlockOperation::NonBlockingLockExclusive) {
                // Whoever had the lock may have replaced the file.
                Ok(()) if found.is_unchanged() => return found.accepted(),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => std::thread::sleep(APART),
                Err(errno) => return Err(Refused::Open(errno.into())),
            }
        }
        Err(Refused::Locked)
    }

    fn accepted(self) -> Result<Self, Refused> {
        let above = rustix::fs::fstat(&self.directory).map_err(|errno| Refused::Open(errno.into()))?;
        let mode = Mode::from_raw_mode(above.st_mode);
        if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
            return Err(Refused::Everybodys("its directory"));
        }
        if Mode::from_raw_mode(self.stat.st_mode).contains(Mode::WOTH) {
            return Err(Refused::Everybodys("it"));
        }
        if self.stat.st_nlink != 1 {
            return Err(Refused::Names);
        }
        Ok(self)
    }

    /// Its contents.
    ///
    /// # Errors
    /// From read(2); `EFBIG` for more than `most` bytes.
    pub fn read(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.rewind()?;
        (&self.file).take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(Errno::FBIG.into());
        }
        Ok(bytes)
    }

    /// Whether `path` leads to this file.
    pub fn is_at(&self, path: &Path) -> bool {
        rustix::fs::stat(path).is_ok_and(|stat| same_file(&stat, &self.stat))
    }

    /// Whether the name still leads to the file that was opened, and nobody has written to it.
    fn is_unchanged(&self) -> bool {
        rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|now| same_file(&now, &self.stat) && same_contents(&now, &self.stat))
    }

    /// Puts `contents` in its place. What comes back is the reason why the directory could not be brought to the disk: the
    /// file is replaced, and a power failure may undo it.
    ///
    /// # Errors
    /// The file is as it was, then.
    pub fn replace(self, contents: &[u8]) -> Result<Option<io::Error>, Refused> {
        let (name, file) = self.beside()?;
        let written = self.prepare(file, contents).and_then(|()| self.take_place(&name));
        if let Err(refused) = written {
            let _ = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
            return Err(refused);
        }
        let synced =
            rustix::fs::openat(&self.directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(rustix::fs::fsync);
        Ok(match synced {
            // Such a file system has nothing to bring to a disk.
            Ok(()) | Err(Errno::INVAL) => None,
            Err(errno) => Some(errno.into()),
        })
    }

    /// A new file in the same directory, nobody else's to read. Its name holds dots, so `includedir` does not read it.
    fn beside(&self) -> Result<(OsString, File), Refused> {
        let mut last = Errno::EXIST;
        for number in 0..TRIES {
            let mut name = OsString::from(".");
            name.push(&self.name);
            name.push(format!(".portreeve-{}-{number}", std::process::id()));
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&self.directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((name, file.into())),
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    last = errno;
                    break;
                }
            }
        }
        Err(Refused::Beside(last.into()))
    }

    fn prepare(&self, mut file: File, contents: &[u8]) -> Result<(), Refused> {
        let (owner, group) = (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid));
        let now = rustix::fs::fstat(&file).map_err(|errno| Refused::Owner(errno.into()))?;
        if (now.st_uid, now.st_gid) != (self.stat.st_uid, self.stat.st_gid) {
            rustix::fs::fchown(&file, Some(owner), Some(group))
                .map_err(|errno| Refused::Owner(errno.into()))?;
        }
        let failed = |name: &CString, errno: Errno| Refused::Attribute {
            name: name.to_string_lossy().into_owned(),
            error: errno.into(),
        };
        let names = |file: &File| attributes(file).map_err(|errno| failed(&CString::default(), errno));
        let (wanted, own) = (names(&self.file)?, names(&file)?);
        let access = |name: &&CString| name.as_bytes() == ACCESS;
        if let Some(name) = own.iter().find(access).filter(|name| !wanted.contains(name)) {
            rustix::fs::fremovexattr(&file, name).map_err(|errno| failed(name, errno))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.stat.st_mode))
            .map_err(|errno| Refused::Owner(errno.into()))?;
        for name in wanted.iter().filter(|name| !OF_CONTENTS.contains(&name.as_bytes())) {
            keep(&self.file, &file, name).map_err(|errno| failed(name, errno))?;
        }
        file.write_all(contents).map_err(Refused::Write)?;
        file.sync_all().map_err(Refused::Write)
    }

    fn take_place(&self, name: &OsString) -> Result<(), Refused> {
        if !self.is_unchanged() {
            return Err(Refused::Changed);
        }
        rustix::fs::renameat_with(&self.directory, name, &self.directory, &self.name, RenameFlags::empty())
            .map_err(|errno| match errno {
                Errno::BUSY => Refused::Mounted,
                errno => Refused::Rename(errno.into()),
            })
    }
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

fn same_contents(a: &Stat, b: &Stat) -> bool {
    let of = |stat: &Stat| {
        (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec, stat.st_nlink)
    };
    of(a) == of(b)
}

/// The directory and the name in it of the file that `path` leads to, and the file. Every link of the last component is read here, so
/// that its directory is known.
fn resolve(path: &Path) -> Result<(OwnedFd, OsString, OwnedFd), Errno> {
    let directory_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut from = rustix::fs::openat(CWD, ".", directory_flags, Mode::empty())?;
    let mut path: PathBuf = path.to_owned();
    for _ in 0..LINKS {
        let name = path.file_name().ok_or(Errno::ISDIR)?.to_owned();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        from = rustix::fs::openat(&from, above, directory_flags, Mode::empty())?;
        // Never waits for the other side of a fifo, and never becomes a controlling terminal.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::openat(&from, &name, flags, Mode::empty()) {
            Ok(file) => return Ok((from, name, file)),
            Err(Errno::LOOP) => {
                let target = rustix::fs::readlinkat(&from, &name, Vec::new())?;
                path = PathBuf::from(OsString::from_vec(target.into_bytes()));
            }
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::LOOP)
}

/// The names of a file's extended attributes; none where its file system has none.
fn attributes(file: &File) -> Result<Vec<CString>, Errno> {
    let mut list = vec![0; LONGEST_ATTRIBUTE];
    let length = match rustix::fs::flistxattr(file, &mut list) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
        Err(errno) => return Err(errno),
    };
    let names = list.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    Ok(names.filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect())
}

/// Gives `to` an attribute of `from`, unless it has it already: a label may be had and yet not be set.
fn keep(from: &File, to: &File, name: &CString) -> Result<(), Errno> {
    let wanted = value(from.as_fd(), name)?;
    if value(to.as_fd(), name).is_ok_and(|has| has == wanted) {
        return Ok(());
    }
    rustix::fs::fsetxattr(to, name, &wanted, XattrFlags::empty())
}

fn value(file: impl AsFd, name: &CString) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; LONGEST_ATTRIBUTE];
    let length = rustix::fs::fgetxattr(file, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}
