//! Sockets that a super-server opens: stream listeners, datagram sockets, raw and seqpacket ones. Chooses options
//! and their order; accepting and everything on the accepted socket is rustix's.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, sockopt,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How to open a listening or bound socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions<'a> {
    /// Of an IPv6 socket: serve IPv6 alone, or IPv4 too (as mapped addresses).
    pub v6only: bool,
    /// What it does without a word ([`v6only_unsaid`]), where that was just asked: the same need not be said.
    pub v6only_unsaid: Option<bool>,
    /// TCP_NODELAY; accepted sockets inherit it, so it costs nothing per connection.
    pub nodelay: bool,
    /// SO_KEEPALIVE; inherited as well.
    pub keepalive: bool,
    /// Length of the accept queue; none takes all that the kernel allows (`net.core.somaxconn`).
    pub backlog: Option<u32>,
    /// Beside another socket of this user that has SO_REUSEPORT (see [`share`]). Once it listens, or is bound where it is one of datagrams, it
    /// shares with nobody.
    pub beside: bool,
    /// IP_FREEBIND: the address need not be one of this host yet.
    pub freebind: bool,
    /// SO_BINDTODEVICE: only what comes in by this interface.
    pub device: Option<&'a str>,
}

impl ListenOptions<'_> {
    /// The kernel cuts the number to somaxconn, read anew for each listener; reading it here would only be older.
    fn queue(&self) -> i32 {
        self.backlog.map_or(i32::MAX, |n| i32::try_from(n).unwrap_or(i32::MAX))
    }
}

/// Opens a nonblocking, close-on-exec stream listener of an IP protocol; 0 is TCP.
///
/// # Errors
/// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`; `EPROTONOSUPPORT` where the kernel has no such protocol; `EAFNOSUPPORT` when it
/// has no IPv6, and then falling back is the caller's decision.
pub fn listen_stream(address: SocketAddr, protocol: u32, options: ListenOptions<'_>) -> io::Result<OwnedFd> {
    let fd = open(address, SocketType::STREAM, named(protocol), options)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if options.nodelay {
        sockopt::set_tcp_nodelay(&fd, true)?;
    }
    if options.keepalive {
        sockopt::set_socket_keepalive(&fd, true)?;
    }
    if options.beside {
        share(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, options.queue())?;
    if options.beside {
        share(&fd, false)?;
    }
    Ok(fd)
}

/// Whether a new IPv6 socket serves IPv6 alone where nothing is said (net.ipv6.bindv6only); none where there is no IPv6. For who opens
/// many of them at once.
#[must_use]
pub fn v6only_unsaid() -> Option<bool> {
    let probe =
        rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    sockopt::ipv6_v6only(probe.ok()?).ok()
}

/// Whether another socket of this user, and of nobody else, may be opened where this one is (SO_REUSEPORT, socket(7)).
///
/// # Errors
/// None of a socket of the Internet's families.
pub fn share(fd: impl AsFd, shared: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(fd, shared)?)
}

/// Opens a nonblocking, close-on-exec datagram socket of an IP protocol; 0 is UDP. No SO_REUSEADDR, not even for a moment: with it anybody's
/// program could bind the same port and take the datagrams. A group address is joined, on the interface of `options` or the one that the routes say.
///
/// # Errors
/// As [`listen_stream`]; `ENODEV` when no interface leads to the group.
pub fn bind_dgram(address: SocketAddr, protocol: u32, options: ListenOptions<'_>) -> io::Result<OwnedFd> {
    let fd = open(address, SocketType::DGRAM, named(protocol), options)?;
    if options.beside {
        share(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    if options.beside {
        share(&fd, false)?;
    }
    if address.ip().is_multicast() {
        let index = options.device.map_or(Ok(0), |name| rustix::net::netdevice::name_to_index(&fd, name))?;
        match address {
            SocketAddr::V4(group) => {
                let any = Ipv4Addr::UNSPECIFIED;
                sockopt::set_ip_add_membership_with_ifindex(&fd, group.ip(), &any, index)?;
            }
            SocketAddr::V6(group) => sockopt::set_ipv6_add_membership(&fd, group.ip(), index)?,
        }
    }
    Ok(fd)
}

/// Binds the socket to an interface (SO_BINDTODEVICE, socket(7)).
///
/// # Errors
/// `ENODEV` when there is none of this name.
fn bind_to_device(fd: impl AsFd, name: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
    // SAFETY: the pointer and length are those of `name`; the kernel copies it and wants no NUL behind it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The interface that a socket is bound to, by the name that it has now.
///
/// # Errors
/// `ENODEV` when that is gone: nothing will ever come by this socket.
pub fn device(fd: impl AsFd) -> io::Result<Option<String>> {
    let mut name = [0u8; libc::IFNAMSIZ];
    let mut length = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::INVAL)?;
    // SAFETY: `name` has `length` bytes, which the kernel writes to and cuts `length` to what it wrote.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let name = name.get(..length as usize).unwrap_or_default();
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    Ok((!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()))
}

/// Opens a nonblocking raw socket of an IP protocol, bound to the address.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW, `EINVAL` for protocol 0 or above 255, else as [`listen_stream`].
pub fn bind_raw(address: SocketAddr, protocol: u32, options: ListenOptions<'_>) -> io::Result<OwnedFd> {
    let protocol = core::num::NonZeroU32::new(protocol).filter(|p| p.get() < 256).ok_or(Errno::INVAL)?;
    let fd = open(address, SocketType::RAW, Some(Protocol::from_raw(protocol)), options)?;
    rustix::net::bind(&fd, &address)?;
    Ok(fd)
}

/// A protocol by its number; 0 is the usual one of a type.
fn named(protocol: u32) -> Option<Protocol> {
    core::num::NonZeroU32::new(protocol).map(Protocol::from_raw)
}

/// The number of a socket's protocol (SO_PROTOCOL).
///
/// # Errors
/// From getsockopt(2).
pub fn protocol(fd: impl AsFd) -> io::Result<u32> {
    Ok(sockopt::socket_protocol(fd)?.map_or(0, |protocol| protocol.as_raw().get()))
}

/// Opens a nonblocking seqpacket listener (SCTP is the one IP protocol that has it).
///
/// # Errors
/// `EPROTONOSUPPORT` or `ESOCKTNOSUPPORT` where the kernel has no such protocol, else as [`listen_stream`].
pub fn listen_seqpacket(
    address: SocketAddr,
    protocol: u32,
    options: ListenOptions<'_>,
) -> io::Result<OwnedFd> {
    let fd = open(address, SocketType::SEQPACKET, named(protocol), options)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, options.queue())?;
    Ok(fd)
}

/// Begins to connect over TCP from a port that only root may take, the first of `ports` that is free. Nonblocking: the
/// connection may be under way when this returns.
///
/// # Errors
/// `EACCES` without the right to such ports, `EADDRINUSE` when none of them is free, else as connect(2).
pub fn connect_from(to: SocketAddr, ports: impl Iterator<Item = u16>) -> io::Result<OwnedFd> {
    let from = match to {
        SocketAddr::V4(_) => std::net::IpAddr::from([0; 4]),
        SocketAddr::V6(_) => std::net::IpAddr::from([0u16; 8]),
    };
    for port in ports {
        let fd = open(to, SocketType::STREAM, None, ListenOptions::default())?;
        match rustix::net::bind(&fd, &SocketAddr::new(from, port)) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => continue,
            Err(error) => return Err(error.into()),
        }
        return match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(fd),
            // A connection of before holds this pair of ports.
            Err(Errno::ADDRNOTAVAIL) => continue,
            Err(error) => Err(error.into()),
        };
    }
    Err(Errno::ADDRINUSE.into())
}

/// Whether a socket of this host is bound at `address`. Found out by binding there for a moment, without listening; what
/// cannot be found out counts as bound.
pub fn is_bound(address: SocketAddr, datagrams: bool) -> bool {
    let kind = if datagrams { SocketType::DGRAM } else { SocketType::STREAM };
    let Ok(fd) = open(address, kind, None, ListenOptions { v6only: true, ..ListenOptions::default() }) else {
        return true;
    };
    // With it, connections that have ended are no obstacle; a listener is one. Datagram sockets could share the port.
    if !datagrams && sockopt::set_socket_reuseaddr(&fd, true).is_err() {
        return true;
    }
    rustix::net::bind(&fd, &address).is_err()
}

/// Binds a socket that is to connect to an address that is none of this host (IP_TRANSPARENT, ip(7)), without taking a port yet.
///
/// # Errors
/// `EAFNOSUPPORT` for an address of the other family, `EPERM` without CAP_NET_ADMIN or CAP_NET_RAW.
pub fn speak_for(fd: impl AsFd, ip: std::net::IpAddr) -> io::Result<()> {
    let v6 = sockopt::socket_domain(&fd)? == AddressFamily::INET6;
    if v6 != ip.is_ipv6() {
        return Err(Errno::AFNOSUPPORT.into());
    }
    let (level, option) = match v6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
        false => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    };
    set_on(fd.as_fd(), level, option)?;
    // Otherwise a port of this address would be taken for this connection alone, whatever the target.
    set_on(fd.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    Ok(rustix::net::bind(&fd, &SocketAddr::new(ip, 0))?)
}

fn set_on(fd: std::os::fd::BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer is to an int that lives for the call, and the length is that of an int.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether an address is one of this host. Found out by binding to it for a moment; what cannot be found out counts as one.
pub fn is_own(ip: std::net::IpAddr) -> bool {
    let address = SocketAddr::new(ip.to_canonical(), 0);
    let Ok(fd) = open(address, SocketType::DGRAM, None, ListenOptions::default()) else { return true };
    rustix::net::bind(&fd, &address) != Err(Errno::ADDRNOTAVAIL)
}

fn open(
    address: SocketAddr,
    kind: SocketType,
    protocol: Option<Protocol>,
    options: ListenOptions<'_>,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, kind, flags, protocol)?;
    if address.is_ipv6() && kind != SocketType::RAW && options.v6only_unsaid != Some(options.v6only) {
        // Said, because the default is the administrator's (net.ipv6.bindv6only).
        sockopt::set_ipv6_v6only(&fd, options.v6only)?;
    }
    if options.freebind {
        match address {
            SocketAddr::V4(_) => sockopt::set_ip_freebind(&fd, true)?,
            SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&fd, true)?,
        }
    }
    if let Some(name) = options.device {
        bind_to_device(&fd, name)?;
    }
    Ok(fd)
}

/// The sender of the next datagram, which stays in the queue. None when nothing is waiting.
///
/// # Errors
/// A pending error of the socket (`ECONNREFUSED` from an earlier reply), which this call clears.
pub fn peek_source(fd: impl AsFd) -> io::Result<Option<SocketAddr>> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let mut buffer = [0u8; 1];
    loop {
        return match rustix::net::recvfrom(&fd, &mut buffer[..], flags) {
            Ok((.., address)) => Ok(address.and_then(ip)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// The address as an IP one; none for other families.
#[must_use]
pub fn ip(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok()
}

/// The address under which a client from `peer` most likely comes to a listener at `bound`: where that is every address of this
/// host, the one that a connection to the client would have. Sends nothing. None where there is no way to it.
#[must_use]
pub fn address_towards(bound: SocketAddr, peer: SocketAddr) -> Option<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return Some(bound);
    }
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    // A datagram socket takes any port but 0.
    let mut to = peer;
    to.set_port(9);
    rustix::net::connect(&socket, &to).ok()?;
    let mut own = ip(rustix::net::getsockname(&socket).ok()?)?;
    own.set_port(bound.port());
    Some(own)
}

/// Sends what the socket takes at once and never waits or raises SIGPIPE: for banners and refusals.
///
/// # Errors
/// `EAGAIN` when the queue is full, `EPIPE`/`ECONNRESET` when the client has gone.
pub fn send_now(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(&fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// SO_RCVLOWAT: a stream socket is readable from this many bytes on, or when no more can come. A receive that may block waits
/// for as many, so whoever changes it for a look sets it back to 1.
///
/// # Errors
/// From setsockopt(2); `EINVAL` for more than an `int` holds.
pub fn set_low_water(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).map_err(|_| Errno::INVAL)?;
    set_int(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, value)
}

/// IP_RECVERR: a connected datagram socket hears all that ICMP says of its peer, and not only what is final. It is kept beside as well, and
/// must be taken with [`forget_errors`]: until then the socket is never quiet.
///
/// # Errors
/// From setsockopt(2).
pub fn hear_errors(fd: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::SOL_IPV6, libc::IPV6_RECVERR) } else { (libc::SOL_IP, libc::IP_RECVERR) };
    set_int(fd, level, option, 1)
}

/// Takes what ICMP has said of datagrams, a bounded part of it.
pub fn forget_errors(fd: impl AsFd) {
    const MOST: usize = 64;
    for _ in 0..MOST {
        let flags = RecvFlags::DONTWAIT | RecvFlags::ERRQUEUE;
        if rustix::net::recv(&fd, &mut [0_u8; 1], flags).is_err() {
            return;
        }
    }
}

fn set_int(fd: impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer is to an int that lives for the call, and the length is that of an int.
    let result =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
