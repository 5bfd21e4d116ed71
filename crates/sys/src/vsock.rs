//! A vsock socket that another process holds, looked at through a copy of its descriptor: for kernels that do not list such sockets (vsock_diag).
//! Only for a descriptor that is known to be one: the copy of anything else could be waited for when it is closed.

use crate::sock_diag::Vsock;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;

/// Whether the kernel says that descriptor `number` of a process is a vsock socket. Opens nothing.
///
/// # Errors
/// The process has ended, has closed it, or may not be looked into.
pub fn is_one(proc: &std::path::Path, pid: u32, number: u32) -> io::Result<bool> {
    let path = proc.join(format!("{pid}/fd/{number}"));
    let mut name = [0; 32];
    let length = rustix::fs::getxattr(path, "system.sockprotoname", &mut name)?;
    Ok(name.get(..length).is_some_and(|name| name.trim_ascii_end().starts_with(b"AF_VSOCK")))
}

/// That socket, if it listens (or takes datagrams) and is still the one of this inode.
///
/// # Errors
/// The process has ended or may not be looked into.
pub fn listening(pid: u32, number: u32, inode: u32) -> io::Result<Option<Vsock>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    let held = pidfd_open(pid, PidfdFlags::empty())?;
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    let socket = pidfd_getfd(&held, number, PidfdGetfdFlags::empty())?;
    if rustix::fs::fstat(&socket)?.st_ino != u64::from(inode)
        || rustix::net::sockopt::socket_domain(&socket)? != AddressFamily::VSOCK
    {
        return Ok(None);
    }
    if !socket_acceptconn(&socket)? && socket_type(&socket)? != SocketType::DGRAM {
        return Ok(None);
    }
    let (context, port) = name(rustix::fd::AsFd::as_fd(&socket))?;
    Ok(Some(Vsock { context, port, inode }))
}

/// getsockname(2) of a vsock socket: context and port.
fn name(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    // SAFETY: all zeros are a valid sockaddr_vm.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_vm>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed; `address` has room for `length` bytes, and any bytes are a valid one.
    let done = unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if i32::from(address.svm_family) != libc::AF_VSOCK {
        return Err(Errno::AFNOSUPPORT.into());
    }
    Ok((address.svm_cid, address.svm_port))
}
