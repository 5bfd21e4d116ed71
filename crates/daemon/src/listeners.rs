//! Opens the sockets of services: family and address as reference xinetd §2.3, taken over from systemd or from the
//! service that had the address before, parked at high descriptor numbers so that children need not close them.

use portreeve_conf::{FamilyFlag, Listen, SocketType};
use portreeve_sys::{filter, highfd, socket};
use rustix::fd::{AsFd, OwnedFd};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Sockets that wait for a service to want them: from LISTEN_FDS, or of a service that a reload removes.
#[derive(Debug, Default)]
pub struct Spare {
    sockets: Vec<(SocketAddr, SocketType, OwnedFd)>,
}

impl Spare {
    /// Keeps a socket for whoever wants its address.
    pub fn keep(&mut self, address: SocketAddr, kind: SocketType, fd: OwnedFd) {
        self.sockets.push((address, kind, fd));
    }

    /// Takes the sockets that systemd handed over. Others than IP sockets are dropped.
    pub fn from_systemd(base: i32) -> Self {
        let mut spare = Self::default();
        for portreeve_sys::systemd::Inherited { fd, .. } in portreeve_sys::systemd::listen_fds() {
            let kind = match rustix::net::sockopt::socket_type(&fd) {
                Ok(rustix::net::SocketType::STREAM) if listens(&fd) => SocketType::Stream,
                Ok(rustix::net::SocketType::DGRAM) => SocketType::Dgram,
                _ => continue,
            };
            if let Ok(address) = bound_to(&fd)
                && let Ok(()) = rustix::io::ioctl_fionbio(&fd, true)
                && let Ok(fd) = highfd::park(fd, base)
            {
                spare.keep(address, kind, fd);
            }
        }
        spare
    }

    /// A socket of one that is not to be had this way is closed, so that the address can be bound anew.
    fn take(&mut self, address: SocketAddr, listen: &Listen) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(a, k, _)| *a == address && *k == listen.socket)?;
        let fd = self.sockets.swap_remove(at).2;
        let families = !address.is_ipv6()
            || listen.socket == SocketType::Raw
            || rustix::net::sockopt::ipv6_v6only(&fd).is_ok_and(|only| only == listen.v6only);
        (families && adopt(&fd, listen).is_ok()).then_some(fd)
    }
}

fn listens(fd: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(false)
}

/// Makes a socket that served otherwise before as `open` would have made it: it may block (a wait=yes program had it),
/// carry a filter of addresses, or have other options.
pub fn adopt(fd: impl AsFd, listen: &Listen) -> std::io::Result<()> {
    let fd = fd.as_fd();
    rustix::io::ioctl_fionbio(fd, true)?;
    filter::detach(fd)?;
    set_options(fd, listen)
}

/// Sets the options that may change while a socket serves; connections accepted from now on have them.
pub fn set_options(fd: impl AsFd, listen: &Listen) -> std::io::Result<()> {
    if listen.socket == SocketType::Stream {
        rustix::net::sockopt::set_tcp_nodelay(&fd, listen.nodelay)?;
        rustix::net::sockopt::set_socket_keepalive(&fd, listen.keepalive)?;
    }
    Ok(())
}

/// Whether a service needs another socket than the one it had.
pub fn moved(old: &Listen, new: &Listen) -> bool {
    address(old) != address(new) || old.family != new.family || old.v6only != new.v6only
}

/// The address that a service listens at.
pub fn address(listen: &Listen) -> SocketAddr {
    let ip = match (&listen.bind, listen.family) {
        (Some((_, ip)), _) => *ip,
        (None, FamilyFlag::V4) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (None, _) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, listen.port)
}

/// What came of opening a listener.
#[derive(Debug)]
pub struct Opened {
    /// The socket, non-blocking, parked.
    pub fd: OwnedFd,
    /// Where it is bound; a port 0 is resolved.
    pub address: SocketAddr,
    /// IPv6 was not to be had and IPv4 was taken.
    pub fell_back: bool,
}

/// Opens the listener of a service.
pub fn open(listen: &Listen, spare: &mut Spare, base: i32) -> std::io::Result<Opened> {
    let wanted = address(listen);
    if let Some(fd) = spare.take(wanted, listen) {
        return Ok(Opened { fd, address: wanted, fell_back: false });
    }
    let may_fall_back = listen.bind.is_none() && listen.family == FamilyFlag::Unset && wanted.is_ipv6();
    match open_at(listen, wanted) {
        Err(error) if may_fall_back && no_ipv6(&error) => {
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), listen.port);
            let fd = match spare.take(v4, listen) {
                Some(fd) => fd,
                None => open_at(listen, v4)?,
            };
            finish(fd, base, true)
        }
        Err(error) => Err(error),
        Ok(fd) => finish(fd, base, false),
    }
}

fn no_ipv6(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn open_at(listen: &Listen, address: SocketAddr) -> std::io::Result<OwnedFd> {
    let options = socket::ListenOptions {
        v6only: listen.v6only,
        nodelay: listen.nodelay,
        keepalive: listen.keepalive,
        ..socket::ListenOptions::default()
    };
    let protocol = u32::try_from(listen.protocol.1).unwrap_or(0);
    match listen.socket {
        SocketType::Stream => socket::listen_stream(address, options),
        SocketType::Dgram => socket::bind_dgram(address, options),
        SocketType::Seqpacket => socket::listen_seqpacket(address, protocol, options),
        SocketType::Raw => socket::bind_raw(address, protocol, options),
    }
}

fn finish(fd: OwnedFd, base: i32, fell_back: bool) -> std::io::Result<Opened> {
    let address = bound_to(&fd)?;
    let fd = highfd::park(fd, base)?;
    Ok(Opened { fd, address, fell_back })
}

/// The local address of a socket.
pub fn bound_to(fd: impl AsFd) -> std::io::Result<SocketAddr> {
    let any = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(any).map_err(|_| std::io::Error::from(std::io::ErrorKind::Unsupported))
}
