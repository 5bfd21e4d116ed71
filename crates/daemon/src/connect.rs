//! Sockets on their way to a target: connect(2) begun and not waited for (that of UDP is done at once), as the user of the service.

use crate::targets::Place;
use portreeve_sys::spawn::Ids;
use portreeve_sys::{acting, unix};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::net::{IpAddr, SocketAddr};

/// How to connect.
#[derive(Clone, Debug)]
pub struct Way {
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// By UDP.
    pub datagrams: bool,
    /// From this address, which is the client's and not ours.
    pub transparent: Option<IpAddr>,
    /// The service's ids, where we are root: ident servers, the kernel's rules and the owner of a unix socket see them; `None`: our own.
    pub ids: Option<Ids>,
}

/// Begins to connect.
///
/// # Errors
/// That of connect(2); `EAFNOSUPPORT` where the client to speak for is of the other family, `EPERM` without CAP_NET_ADMIN. A unix socket whose queue is full says `EAGAIN`: the kernel does not wait for it in our name.
pub fn begin(place: &Place, way: &Way) -> Result<OwnedFd, Errno> {
    match place {
        Place::Ip(address) => inet(*address, way),
        // As the service's user: otherwise whoever may write to a directory on the way could lead root to a socket that is
        // root's alone, and its owner would take the client for root.
        Place::Path(path) => match &way.ids {
            Some(ids) => {
                acting::as_user(ids.uid, ids.gid, &ids.groups, || unix::begin_stream(path)).flatten()
            }
            None => unix::begin_stream(path),
        },
    }
}

/// Whether an error of [`begin`] is none of the target's making, or soon over: a full queue of a unix socket, and what this
/// machine has none left of (descriptors, memory, ports).
pub fn may_pass(errno: Errno) -> bool {
    use Errno as E;
    matches!(errno, E::AGAIN | E::MFILE | E::NFILE | E::NOBUFS | E::NOMEM | E::ADDRNOTAVAIL | E::ADDRINUSE)
}

fn inet(target: SocketAddr, way: &Way) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (kind, protocol) =
        if way.datagrams { (SocketType::DGRAM, ipproto::UDP) } else { (SocketType::STREAM, ipproto::TCP) };
    let fd = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
    if !way.datagrams {
        sockopt::set_tcp_nodelay(&fd, true)?;
        if way.keepalive {
            sockopt::set_socket_keepalive(&fd, true)?;
        }
    }
    if way.datagrams {
        // Where it is refused, what is final is heard all the same.
        let _ = portreeve_sys::socket::hear_errors(&fd, target.is_ipv6());
    }
    if let Some(ip) = way.transparent {
        portreeve_sys::socket::speak_for(&fd, ip)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    // Root's own it is already.
    if let Some(ids) = way.ids.as_ref().filter(|ids| ids.uid != 0) {
        // A kernel that does not know it counts it as ours.
        let _ = rustix::fs::fchown(&fd, Some(rustix::fs::Uid::from_raw(ids.uid)), None);
    }
    match rustix::net::connect(&fd, &target) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(fd),
        Err(errno) => Err(errno),
    }
}
