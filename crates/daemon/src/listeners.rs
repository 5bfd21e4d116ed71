//! Opens the sockets of services: family and address as reference xinetd §2.3, taken over from systemd or from the
//! service that had the place before, parked at high descriptor numbers so that children need not close them.

use portreeve_conf::{Endpoint, Listen, SocketType};
use portreeve_sys::{filter, highfd, socket};
use rustix::fd::{AsFd, OwnedFd};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Sockets that wait for a service to want them: from LISTEN_FDS, or of a service that a reload removes or moves.
#[derive(Debug, Default)]
pub struct Spare {
    sockets: Vec<(Endpoint, SocketType, OwnedFd)>,
    /// What the service manager calls those that it handed over.
    pub names: Vec<String>,
    /// Somebody else holds them too: whoever is to be closed is shut down.
    pub held: bool,
}

impl Spare {
    /// Keeps a socket for whoever wants its place.
    pub fn keep(&mut self, place: Endpoint, kind: SocketType, fd: OwnedFd) {
        self.sockets.push((place, kind, fd));
    }

    /// Takes the sockets that systemd handed over. Others than IP sockets are dropped.
    pub fn from_systemd(base: i32) -> Self {
        let mut spare = Self::default();
        for portreeve_sys::systemd::Inherited { fd, name } in portreeve_sys::systemd::listen_fds() {
            spare.names.push(name);
            let kind = match rustix::net::sockopt::socket_type(&fd) {
                Ok(rustix::net::SocketType::STREAM) if listens(&fd) => SocketType::Stream,
                Ok(rustix::net::SocketType::DGRAM) => SocketType::Dgram,
                _ => continue,
            };
            if let Ok(place) = bound_to(&fd)
                && let Ok(()) = rustix::io::ioctl_fionbio(&fd, true)
                && let Ok(fd) = highfd::park(fd, base)
            {
                spare.keep(place, kind, fd);
            }
        }
        spare
    }

    /// A socket of one that is not to be had this way is closed, so that the place can be bound anew.
    fn take(&mut self, place: &Endpoint, listen: &Listen) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(p, k, _)| p == place && *k == listen.socket)?;
        let fd = self.sockets.swap_remove(at).2;
        let families = !place.address().is_some_and(|address| address.is_ipv6())
            || listen.socket == SocketType::Raw
            || rustix::net::sockopt::ipv6_v6only(&fd).is_ok_and(|only| only == listen.v6only);
        let same = socket::protocol(&fd).is_ok_and(|number| number == number_of(listen));
        (families && same && adopt(&fd, listen).is_ok()).then_some(fd)
    }

    /// Closes what may be in the way of this place: a spare socket of the same port, as that of every address is where one
    /// address is to be bound. Whether there was any.
    fn make_way(&mut self, place: &Endpoint) -> bool {
        let before = self.sockets.len();
        let port = |place: &Endpoint| place.address().map(|address| address.port());
        let held = self.held;
        self.sockets.retain(|(other, _, fd)| {
            let stays = port(other).is_none() || port(other) != port(place);
            if held && !stays {
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Read);
            }
            stays
        });
        self.sockets.len() < before
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

/// Numbers of protocols (/etc/protocols).
const TCP: u32 = 6;
const MPTCP: u32 = 262;

fn number_of(listen: &Listen) -> u32 {
    u32::try_from(listen.protocol.1).unwrap_or(0)
}

/// Sets the options that may change while a socket serves; connections accepted from now on have them.
pub fn set_options(fd: impl AsFd, listen: &Listen) -> std::io::Result<()> {
    if listen.socket == SocketType::Stream {
        // Of TCP's kin alone; another protocol that was told to have it says that it has none.
        if listen.nodelay || matches!(number_of(listen), TCP | MPTCP) {
            rustix::net::sockopt::set_tcp_nodelay(&fd, listen.nodelay)?;
        }
        rustix::net::sockopt::set_socket_keepalive(&fd, listen.keepalive)?;
    }
    Ok(())
}

/// Whether a socket of the service as it was may serve it as it is to be, at the same place.
pub fn stays(old: &Listen, new: &Listen) -> bool {
    old.family == new.family && old.v6only == new.v6only
}

/// What came of opening a listener.
#[derive(Debug)]
pub struct Opened {
    /// The socket, non-blocking, parked.
    pub fd: OwnedFd,
    /// Where it is bound; a port 0 is resolved.
    pub address: Endpoint,
    /// IPv6 was not to be had and IPv4 was taken.
    pub fell_back: bool,
}

/// Opens one listener of a service.
pub fn open(listen: &Listen, place: &Endpoint, spare: &mut Spare, base: i32) -> std::io::Result<Opened> {
    if let Some(fd) = spare.take(place, listen) {
        return Ok(Opened { fd, address: place.clone(), fell_back: false });
    }
    let opened = match open_at(listen, place) {
        Err(error) if in_use(&error) && spare.make_way(place) => open_at(listen, place),
        other => other,
    };
    match opened {
        Err(error) if listen.may_fall_back() && no_ipv6(&error) => {
            let Endpoint::Inet { address, device } = place else { return Err(error) };
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            let v4 = Endpoint::Inet { address, device: device.clone() };
            let fd = match spare.take(&v4, listen) {
                Some(fd) => fd,
                None => open_at(listen, &v4)?,
            };
            finish(fd, base, true)
        }
        Err(error) => Err(error),
        Ok(fd) => finish(fd, base, false),
    }
}

fn in_use(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::ADDRINUSE)
}

fn no_ipv6(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn open_at(listen: &Listen, place: &Endpoint) -> std::io::Result<OwnedFd> {
    let Endpoint::Inet { address, device } = place else {
        return Err(std::io::ErrorKind::Unsupported.into());
    };
    let options = socket::ListenOptions {
        v6only: listen.v6only,
        nodelay: listen.nodelay,
        keepalive: listen.keepalive,
        device: device.as_deref(),
        ..socket::ListenOptions::default()
    };
    let protocol = number_of(listen);
    match listen.socket {
        SocketType::Stream => socket::listen_stream(*address, protocol, options),
        SocketType::Dgram => socket::bind_dgram(*address, protocol, options),
        SocketType::Seqpacket => socket::listen_seqpacket(*address, protocol, options),
        SocketType::Raw => socket::bind_raw(*address, protocol, options),
    }
}

fn finish(fd: OwnedFd, base: i32, fell_back: bool) -> std::io::Result<Opened> {
    let address = bound_to(&fd)?;
    let fd = highfd::park(fd, base)?;
    Ok(Opened { fd, address, fell_back })
}

/// Where a socket is bound.
pub fn bound_to(fd: impl AsFd) -> std::io::Result<Endpoint> {
    let address = local_address(fd.as_fd())?;
    Ok(Endpoint::Inet { address, device: socket::device(fd)? })
}

/// The local address of an IP socket.
pub fn local_address(fd: impl AsFd) -> std::io::Result<SocketAddr> {
    let any = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(any).map_err(|_| std::io::Error::from(std::io::ErrorKind::Unsupported))
}
