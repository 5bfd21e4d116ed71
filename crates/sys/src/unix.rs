//! Unix sockets. The control socket: where it stands, with which mode and owner, and who connected; and a way to others. Replaces a stale socket only
//! when nobody answers on it. Speaks no protocol.

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Another process answers on it.
    #[error("{}: another process serves this socket", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has the name; it is left alone.
    #[error("{}: exists and is not a socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{}: a socket's path has at most 107 bytes", .0.display())]
    TooLong(PathBuf),
    /// Others could replace the socket.
    #[error("{}: the directory may be written by others (mode {mode:o}, owner {uid})", dir.display())]
    UnsafeDirectory {
        /// The directory.
        dir: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// A system call failed.
    #[error("{}: {call}: {errno}", path.display())]
    Os {
        /// The socket.
        path: PathBuf,
        /// The call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
}

/// Who is at the other end of a connected Unix socket, as the kernel recorded it at connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 when it lives in a namespace that this process cannot see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// A nonblocking, close-on-exec stream socket that is connected to the one at `path`.
///
/// # Errors
/// `EAGAIN` when its queue is full: the kernel does not go on by itself then, as it does with TCP. Else connect(2)'s.
pub fn begin_stream(path: &str) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(path)?)?;
    Ok(fd)
}

/// Binds and listens on a stream socket at `path`, with `mode` and, when given, `owner` (uid, gid). Nonblocking
/// and close-on-exec. From birth until mode and owner are right nobody else can connect.
///
/// # Errors
/// [`UnixError`]; the file is removed again when a later step fails.
pub fn listen(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<OwnedFd, UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let address = SocketAddrUnix::new(path).map_err(|_| UnixError::TooLong(path.to_owned()))?;
    check_directory(path)?;
    clear_stale(path, &address)?;
    let fd = stream().map_err(os("socket"))?;
    // The mode of an unbound socket is the mode its file is born with.
    rustix::fs::fchmod(&fd, Mode::empty()).map_err(os("fchmod"))?;
    rustix::net::bind(&fd, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => UnixError::InUse(path.to_owned()),
        errno => os("bind")(errno),
    })?;
    let finish = || {
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(os("chown"))?;
        }
        rustix::net::listen(&fd, i32::MAX).map_err(os("listen"))?;
        rustix::fs::chmod(path, Mode::from_bits_truncate(mode)).map_err(os("chmod"))
    };
    match finish() {
        Ok(()) => Ok(fd),
        Err(error) => {
            let _ = rustix::fs::unlink(path);
            Err(error)
        }
    }
}

/// Connects to the control socket at `path` (blocking, close-on-exec).
///
/// # Errors
/// `ENOENT` no such socket, `ECONNREFUSED` nobody serves it, `EACCES`.
pub fn connect(path: &Path) -> rustix::io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&fd, &address)?;
    Ok(fd)
}

/// Connects to the socket at `path` without waiting; the descriptor is nonblocking and close-on-exec.
///
/// # Errors
/// `ENOENT`, `ECONNREFUSED`, `EACCES` as [`connect`]; `EAGAIN` when the queue of whoever serves it is full.
pub fn connect_now(path: &Path) -> rustix::io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let fd = stream()?;
    rustix::net::connect(&fd, &address)?;
    Ok(fd)
}

/// Who connected.
///
/// # Errors
/// `ENOTCONN`, `ENOTSOCK`.
pub fn peer_credentials(fd: impl AsFd) -> rustix::io::Result<Peer> {
    // Not rustix's: its pid cannot be 0, which is what the kernel says of a process of another pid namespace.
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the out-pointers are valid, and `size` is the size of what the first one points to.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut size,
        )
    };
    if result != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(Peer { pid: found.pid, uid: found.uid, gid: found.gid })
}

fn stream() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Who may write the directory may put a socket of his own there, so only root and this user may (or it is sticky).
fn check_directory(path: &Path) -> Result<(), UnixError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = rustix::fs::stat(parent).map_err(|errno| UnixError::Os {
        path: parent.to_owned(),
        call: "stat",
        errno,
    })?;
    let own = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    let open = stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0;
    if own && !open {
        return Ok(());
    }
    Err(UnixError::UnsafeDirectory { dir: parent.to_owned(), mode: stat.st_mode & 0o7777, uid: stat.st_uid })
}

/// Removes what an ended process left. A socket is stale when connecting to it is refused; anything else, a full
/// queue included, is somebody.
fn clear_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), UnixError> {
    let os = |call| move |errno| UnixError::Os { path: path.to_owned(), call, errno };
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(os("lstat")(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(UnixError::NotASocket(path.to_owned()));
    }
    let probe = stream().map_err(os("socket"))?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => rustix::fs::unlink(path).map_err(os("unlink")),
        Err(Errno::NOENT) => Ok(()),
        _ => Err(UnixError::InUse(path.to_owned())),
    }
}
