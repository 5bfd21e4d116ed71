//! Datagrams with the address of this host that they were sent to, and answers from that address (IP_PKTINFO, ip(7); IPV6_PKTINFO,
//! ipv6(7)): a socket that is bound to every address would answer from whichever the routes say.

use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// Its length; what was longer than the buffer is cut.
    pub len: usize,
    /// Its sender, who may be forged.
    pub source: SocketAddr,
    /// To which address of this host; none where the kernel was not asked to tell ([`tell`]).
    pub here: Option<Here>,
}

/// An address of this host, as a datagram was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Here {
    /// The address; an IPv4 one is mapped where the socket is an IPv6 one.
    pub ip: IpAddr,
    /// The interface, of a link-local address alone: elsewhere the routes say how to answer.
    pub interface: u32,
}

/// Control messages of one of either kind.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Asks the kernel to tell with each datagram where it was sent to.
///
/// # Errors
/// From setsockopt(2).
pub fn tell(fd: impl AsFd, v6: bool) -> io::Result<()> {
    let (level, option) = match v6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the pointer is to an int that lives for the call, and the length is that of an int.
    let result =
        unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives the next datagram, without waiting.
///
/// # Errors
/// `EAGAIN` when there is none; `EAFNOSUPPORT` for one that is not of IP; else from recvmsg(2).
pub fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Result<Came, Errno> {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage` and a valid `msghdr`: they hold numbers and raw pointers.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of_val(&name)).map_err(|_| Errno::INVAL)?;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer in `message` is to memory that lives for the call, with its true length.
    let read = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(read).map_err(|_| last_error())?;
    // SAFETY: the kernel has filled in `name`, whose storage is large enough and aligned for every family.
    let source = unsafe { address(&name) }.ok_or(Errno::AFNOSUPPORT)?;
    // SAFETY: the kernel has filled in the control messages and their length.
    Ok(Came { len, source, here: unsafe { here(&message) } })
}

/// Sends a datagram from an address of this host, without waiting.
///
/// # Errors
/// `EAGAIN` when the queue is full, `EINVAL` when the address is none of this host any more; else from sendmsg(2).
pub fn send(fd: impl AsFd, bytes: &[u8], to: SocketAddr, here: Option<Here>) -> Result<usize, Errno> {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage` and a valid `msghdr`: they hold numbers and raw pointers.
    let (mut name, mut message): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    message.msg_namelen = put_address(&mut name, to);
    message.msg_name = (&raw mut name).cast();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(here) = here {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: the control buffer is zeroed, aligned for a header, and longer than a header with either kind of data.
        message.msg_controllen = unsafe { put_here(&message, here) } as _;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer in `message` is to memory that lives for the call, with its true length; the kernel reads it only.
    let sent = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| last_error())
}

pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The address in a name, where it is one of IP.
///
/// # Safety
/// `name` was filled in by the kernel, or is all zeros.
pub(crate) unsafe fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: of this family, so the storage holds a `sockaddr_in`.
            let v4 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this family, so the storage holds a `sockaddr_in6`.
            let v6 = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn put_address(name: &mut libc::sockaddr_storage, to: SocketAddr) -> libc::socklen_t {
    let length = match to {
        SocketAddr::V4(to) => {
            // SAFETY: the storage is larger than a `sockaddr_in` and aligned for it.
            let v4 = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from(*to.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            // SAFETY: the storage is larger than a `sockaddr_in6` and aligned for it.
            let v6 = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = to.port().to_be();
            v6.sin6_addr.s6_addr = to.ip().octets();
            v6.sin6_scope_id = to.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    libc::socklen_t::try_from(length).unwrap_or(0)
}

/// # Safety
/// The kernel has filled in the control messages of `message` and their length.
unsafe fn here(message: &libc::msghdr) -> Option<Here> {
    // SAFETY: as the caller says.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give only headers that lie within the control messages.
        let (level, kind, data) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, libc::CMSG_DATA(header)) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a message of this kind holds an `in_pktinfo`, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                return Some(Here { ip: ip.into(), interface: 0 });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: a message of this kind holds an `in6_pktinfo`, perhaps unaligned.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if ip.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                return Some(Here { ip: ip.into(), interface });
            }
            _ => {}
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Writes the one control message and returns how long it is.
///
/// # Safety
/// The control buffer of `message` is zeroed, aligned for a header, and has room for one with either kind of data.
unsafe fn put_here(message: &libc::msghdr, here: Here) -> usize {
    // SAFETY: as the caller says, so the header is there, and its data behind it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let data = libc::CMSG_DATA(header);
        let length = match here.ip {
            IpAddr::V4(ip) => {
                let mut info: libc::in_pktinfo = core::mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from(ip).to_be();
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
                ((*header).cmsg_level, (*header).cmsg_type) = (libc::IPPROTO_IP, libc::IP_PKTINFO);
                size_of::<libc::in_pktinfo>()
            }
            IpAddr::V6(ip) => {
                let mut info: libc::in6_pktinfo = core::mem::zeroed();
                info.ipi6_addr.s6_addr = ip.octets();
                info.ipi6_ifindex = here.interface as _;
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
                ((*header).cmsg_level, (*header).cmsg_type) = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                size_of::<libc::in6_pktinfo>()
            }
        };
        let length = libc::c_uint::try_from(length).unwrap_or(0);
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        libc::CMSG_SPACE(length) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn round(bound: &str, to: &str, from: &str) {
        let server = UdpSocket::bind(bound).unwrap();
        let local = server.local_addr().unwrap();
        tell(&server, local.is_ipv6()).unwrap();
        let client = UdpSocket::bind((from, 0)).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let to: SocketAddr = (to.parse::<IpAddr>().unwrap(), local.port()).into();
        client.send_to(b"question", to).unwrap();
        let mut buffer = [0; 64];
        let came = loop {
            match receive(&server, &mut buffer) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        let sender = client.local_addr().unwrap();
        assert_eq!((came.len, &buffer[..came.len]), (8, &b"question"[..]));
        assert_eq!((came.source.ip().to_canonical(), came.source.port()), (sender.ip(), sender.port()));
        let here = came.here.unwrap();
        assert_eq!(here.ip.to_canonical(), to.ip());
        assert_eq!(receive(&server, &mut buffer), Err(Errno::AGAIN));
        assert_eq!(send(&server, b"answer", came.source, Some(here)), Ok(6));
        let (n, answered) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], answered), (&b"answer"[..], to), "{bound} {to}");
    }

    #[test]
    fn the_answer_comes_from_where_the_question_went() {
        round("0.0.0.0:0", "127.0.0.5", "127.0.0.1");
        round("[::]:0", "127.0.0.6", "127.0.0.1");
        round("127.0.0.7:0", "127.0.0.7", "127.0.0.1");
        if UdpSocket::bind("[::1]:0").is_ok() {
            round("[::]:0", "::1", "::1");
        }
    }

    #[test]
    fn nobody_is_told_who_did_not_ask() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"longer", server.local_addr().unwrap()).unwrap();
        let came = loop {
            match receive(&server, &mut [0; 2]) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        assert_eq!((came.len, came.here), (2, None));
        let foreign = Here { ip: "192.0.2.1".parse().unwrap(), interface: 0 };
        assert!(send(&server, b"x", came.source, Some(foreign)).is_err(), "no address of this host");
    }
}
