//! The network namespace of a socket that another process holds, looked at through a copy of its descriptor. Only for what is known to be a
//! socket: the copy of anything else could be waited for when it is closed.

use rustix::fd::{AsRawFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;

/// The number of that namespace, as lsns(8) shows it, and a descriptor of it (SIOCGSKNS, socket ioctls of Linux 4.10). `number` is the
/// socket's descriptor in the process, `inode` tells whether it is still that socket.
///
/// # Errors
/// The process has ended, has closed it, or may not be looked into.
pub fn of_socket(pid: u32, number: u32, inode: u32) -> io::Result<(u64, OwnedFd)> {
    const SIOCGSKNS: libc::Ioctl = 0x894C;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    let held = pidfd_open(pid, PidfdFlags::empty())?;
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    let socket = pidfd_getfd(&held, number, PidfdGetfdFlags::empty())?;
    if rustix::fs::fstat(&socket)?.st_ino != u64::from(inode) {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the descriptor is open; this request reads and writes no memory of ours.
    let space = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if space < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows of it.
    let space = unsafe { OwnedFd::from_raw_fd(space) };
    Ok((rustix::fs::fstat(&space)?.st_ino, space))
}
