//! Sockets that listen in the file system or in the abstract namespace: where their file stands, who may connect from its first moment
//! on, and when it may be removed. Trusts no directory that others could change; removes what nobody serves, and what it made
//! itself, nothing else.

use crate::unix::UnixError;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Of unix sockets (linux/un.h): opens the file that one is bound to, close-on-exec.
const SIOCUNIXFILE: libc::Ioctl = 0x89e0;

/// The kinds of unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Stream,
    Dgram,
    Seqpacket,
}

/// Who may connect: what the file of a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Permissions.
    pub mode: u32,
    /// Owner; this process where there is none.
    pub owner: Option<u32>,
    /// Group; that of this process where there is none.
    pub group: Option<u32>,
}

/// A file, told from one that came to stand under its name later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
}

impl FileId {
    fn of(stat: &Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino }
    }
}

/// What a unix socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A file, under the path that was given to bind(2).
    Path(OsString),
    /// A name of the abstract namespace.
    Abstract(Vec<u8>),
}

/// Binds, and unless it is for datagrams listens on, a socket at `path`. Nonblocking and close-on-exec. A socket that nobody serves
/// is replaced. Until owner, group and mode are what `rights` says nobody can connect; the mode does not go through the umask.
///
/// # Errors
/// [`UnixError`]; the file is removed again when a later step fails.
pub fn listen(path: &Path, kind: Kind, rights: &Rights) -> Result<(OwnedFd, FileId), UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let address = SocketAddrUnix::new(path).map_err(|_| UnixError::TooLong(path.to_owned()))?;
    let directory = directory(path, rights.owner)?;
    let name = path.file_name().ok_or_else(|| UnixError::NotASocket(path.to_owned()))?;
    clear_stale(path, &directory, name, &address)?;
    let fd = socket(kind).map_err(os("socket"))?;
    // The mode of an unbound socket is the mode its file is born with.
    rustix::fs::fchmod(&fd, Mode::empty()).map_err(os("fchmod"))?;
    // By its path, which is what others are told of it: nobody who is not trusted can change where that leads.
    rustix::net::bind(&fd, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => UnixError::InUse(path.to_owned()),
        errno => os("bind")(errno),
    })?;
    let (file, stat) = find(&directory, name).map_err(os("open"))?;
    // Whoever owns the directory could have put another file there, which must not be given to anybody.
    let own = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_nlink == 1;
    if !is_socket(&stat) || !own || stat.st_mode & 0o7777 != 0 {
        return Err(UnixError::Replaced(path.to_owned()));
    }
    let finish = || {
        give(path, &file, rights)?;
        if kind == Kind::Dgram { Ok(()) } else { rustix::net::listen(&fd, i32::MAX).map_err(os("listen")) }
    };
    if let Err(error) = finish() {
        let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        return Err(error);
    }
    Ok((fd, FileId::of(&stat)))
}

/// Binds, and unless it is for datagrams listens on, a socket of the abstract namespace: everybody who has the same network namespace may
/// connect.
///
/// # Errors
/// `EADDRINUSE`; `EINVAL` for a name of more than 107 bytes.
pub fn listen_abstract(name: &[u8], kind: Kind) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new_abstract_name(name)?;
    let fd = socket(kind)?;
    rustix::net::bind(&fd, &address)?;
    if kind != Kind::Dgram {
        rustix::net::listen(&fd, i32::MAX)?;
    }
    Ok(fd)
}

/// Gives the file of a socket other rights.
///
/// # Errors
/// [`UnixError::Replaced`] when another file stands there now; else as [`listen`].
pub fn set_rights(path: &Path, id: FileId, rights: &Rights) -> Result<(), UnixError> {
    let directory = directory(path, rights.owner)?;
    let found = path.file_name().and_then(|name| find(&directory, name).ok());
    let Some((file, _)) = found.filter(|(_, stat)| is_socket(stat) && FileId::of(stat) == id) else {
        return Err(UnixError::Replaced(path.to_owned()));
    };
    give(path, &file, rights)
}

/// Removes the file of a socket if it is still the one that was made. Whether it was.
pub fn remove(path: &Path, id: FileId, owner: Option<u32>) -> bool {
    let Some((directory, name)) = directory(path, owner).ok().zip(path.file_name()) else { return false };
    let ours = find(&directory, name).is_ok_and(|(_, stat)| is_socket(&stat) && FileId::of(&stat) == id);
    ours && rustix::fs::unlinkat(&directory, name, AtFlags::empty()).is_ok()
}

/// The file of a socket that was bound at `path`, if it is what stands there now. Who may not ask the kernel which file that is
/// (CAP_NET_ADMIN) takes any socket there for it.
pub fn file_of(fd: impl AsFd, path: &Path) -> Option<FileId> {
    let stat = rustix::fs::lstat(path).ok().filter(is_socket)?;
    match bound_file(fd) {
        Ok(file) => {
            rustix::fs::fstat(file).ok().map(|stat| FileId::of(&stat)).filter(|id| *id == FileId::of(&stat))
        }
        Err(_) => Some(FileId::of(&stat)),
    }
}

/// The file that a unix socket was bound to, opened as a path alone.
fn bound_file(fd: impl AsFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the request takes no argument and changes nothing; `fd` is open.
    let file = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), SIOCUNIXFILE) };
    if file < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// What a unix socket is bound to; `None` of one that is not bound, or of another family.
pub fn name_of(fd: impl AsFd) -> Option<Name> {
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(fd).ok()?).ok()?;
    if let Some(name) = address.abstract_name() {
        return Some(Name::Abstract(name.to_vec()));
    }
    let path = address.path()?;
    Some(Name::Path(OsString::from_vec(path.to_bytes().to_vec())))
}

fn socket(kind: Kind) -> rustix::io::Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Dgram => SocketType::DGRAM,
        Kind::Seqpacket => SocketType::SEQPACKET,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}

/// The file of this name, whatever it is; a link is not followed.
fn find(directory: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, Stat), Errno> {
    let file = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    Ok((file, stat))
}

/// Owner, group and mode of the very file that was opened.
fn give(path: &Path, file: &OwnedFd, rights: &Rights) -> Result<(), UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let (uid, gid) = (
        rights.owner.unwrap_or(rustix::process::geteuid().as_raw()),
        rights.group.unwrap_or(rustix::process::getegid().as_raw()),
    );
    let stat = rustix::fs::fstat(file).map_err(os("fstat"))?;
    // A descriptor of this kind takes no fchmod(2); its name in /proc leads to the file itself.
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    if (stat.st_uid, stat.st_gid) != (uid, gid) {
        // Nobody gains by the new owner what the old mode was not meant to give.
        rustix::fs::chmod(&itself, Mode::empty()).map_err(os("chmod"))?;
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(os("chown"))?;
    }
    rustix::fs::chmod(&itself, Mode::from_bits_truncate(rights.mode)).map_err(os("chmod"))
}

/// Removes what an ended process left. A socket is stale when connecting to it is refused; anything else, a full queue and
/// a socket of another kind included, is somebody.
fn clear_stale(
    path: &Path,
    directory: &OwnedFd,
    name: &OsStr,
    address: &SocketAddrUnix,
) -> Result<(), UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let stat = match find(directory, name) {
        Ok((_, stat)) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(os("open")(errno)),
    };
    if !is_socket(&stat) {
        return Err(UnixError::NotASocket(path.to_owned()));
    }
    let probe = socket(Kind::Stream).map_err(os("socket"))?;
    match rustix::net::connect(&probe, address) {
        // Whoever has bound there meanwhile is not taken for what was looked at.
        Err(Errno::CONNREFUSED)
            if find(directory, name).is_ok_and(|(_, now)| FileId::of(&now) == FileId::of(&stat)) =>
        {
            rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(os("unlink"))
        }
        Err(Errno::NOENT) => Ok(()),
        _ => Err(UnixError::InUse(path.to_owned())),
    }
}

/// The directory of `path`, opened step by step: whoever may write one of them may lead us elsewhere, so only root and this user may, or
/// it is sticky; the last one may also be the socket's owner's. Links count where nobody else could have made them.
fn directory(path: &Path, owner: Option<u32>) -> Result<OwnedFd, UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let open = |at: &OwnedFd, name: &OsStr| find(at, name).map_err(os("open"));
    let start = |absolute| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let start = if absolute { c"/" } else { c"." };
        openat(CWD, start, flags, Mode::empty()).map_err(os("open"))
    };
    let us = [0, rustix::process::geteuid().as_raw()];
    let parent = path.parent().unwrap_or(Path::new(""));
    let mut steps: VecDeque<OsString> = steps(parent).collect();
    let mut shown = std::path::PathBuf::from(if path.is_absolute() { "/" } else { "." });
    let (mut here, mut links) = (start(path.is_absolute())?, 0);
    loop {
        let stat = rustix::fs::fstat(&here).map_err(os("fstat"))?;
        let trusted = us.contains(&stat.st_uid) || steps.is_empty() && Some(stat.st_uid) == owner;
        let open_to_others = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
        if !trusted || open_to_others {
            let (dir, mode, uid) = (shown, stat.st_mode & 0o7777, stat.st_uid);
            return Err(UnixError::UnsafeDirectory { dir, mode, uid });
        }
        let Some(step) = steps.pop_front() else { return Ok(here) };
        let (next, stat) = open(&here, &step)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                shown.push(&step);
                here = next;
            }
            FileType::Symlink if us.contains(&stat.st_uid) && links < MOST_LINKS => {
                links += 1;
                let target = rustix::fs::readlinkat(&next, c"", Vec::new()).map_err(os("readlink"))?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_owned();
                if target.is_absolute() {
                    (here, shown) = (start(true)?, "/".into());
                }
                for step in self::steps(&target).rev() {
                    steps.push_front(step);
                }
            }
            FileType::Symlink => return Err(os("open")(Errno::LOOP)),
            _ => return Err(os("open")(Errno::NOTDIR)),
        }
    }
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}
