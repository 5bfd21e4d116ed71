//! Unix sockets: the control socket, who connected to one, and a way to others. How one comes to stand in the file system is in
//! [`local`]. Speaks no protocol.

use crate::local;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// Another process answers on it.
    #[error("{}: another process serves this socket", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has the name; it is left alone.
    #[error("{}: exists and is not a socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Another file has its name by now; it is left alone.
    #[error("{}: another file has come to stand there", .0.display())]
    Replaced(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{}: a socket's path has at most 107 bytes", .0.display())]
    TooLong(PathBuf),
    /// Others could replace the socket.
    #[error("{}: others may write this directory (mode {mode:o}, owner {uid}); choose one of root's", dir.display())]
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

/// Binds and listens on a stream socket at `path`, with `mode` and, when given, `owner` (uid, gid), as [`local::listen`].
///
/// # Errors
/// [`UnixError`]; the file is removed again when a later step fails.
pub fn listen(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<OwnedFd, UnixError> {
    let (owner, group) = owner.unzip();
    let (fd, _) = local::listen(path, local::Kind::Stream, &local::Rights { mode, owner, group })?;
    Ok(fd)
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
