//! Which ports somebody has, and whether a packet belongs to a connection: sock_diag(7) over netlink(7), asked by ports alone. What
//! a port is for is not known here.

use crate::dump::{self, ERROR, REQUEST, error, message};
use crate::sock_diag::{BY_FAMILY, CLOSE, ESTABLISHED, LISTEN, inet_socket};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// TCP ports where somebody listens whom more than this host itself can reach.
///
/// # Errors
/// The kernel's; see [`is_unsupported`](crate::sock_diag::is_unsupported).
pub fn listening(fd: impl AsFd, v6: bool) -> io::Result<Vec<u16>> {
    ports(fd, v6, 6, 1 << LISTEN)
}

/// UDP ports that somebody has, whether for everybody or for one peer.
///
/// # Errors
/// The kernel's; see [`is_unsupported`](crate::sock_diag::is_unsupported).
pub fn receiving(fd: impl AsFd, v6: bool) -> io::Result<Vec<u16>> {
    ports(fd, v6, 17, 1 << CLOSE | 1 << ESTABLISHED)
}

fn ports(fd: impl AsFd, v6: bool, protocol: u8, states: u32) -> io::Result<Vec<u16>> {
    let mut question = vec![if v6 { 10u8 } else { 2 }, protocol, 0, 0];
    question.extend_from_slice(&states.to_ne_bytes());
    question.resize(56, 0);
    let port = |body: &[u8]| {
        let socket = inet_socket(body, v6)?;
        let inside = socket.address.to_canonical().is_loopback();
        (!inside && socket.port != 0).then_some(socket.port)
    };
    Ok(dump::all(fd, BY_FAMILY, BY_FAMILY, &question, port)?.sockets)
}

/// Whether TCP has a socket for what comes from `peer` to `local`: a connection, also one that is being made or has just ended,
/// or a listener. Both of one family.
///
/// # Errors
/// The kernel's; see [`is_unsupported`](crate::sock_diag::is_unsupported).
pub fn is_known(fd: impl AsFd, local: SocketAddr, peer: SocketAddr) -> io::Result<bool> {
    let mut question = vec![if local.is_ipv6() { 10u8 } else { 2 }, 6, 0, 0];
    question.extend_from_slice(&u32::MAX.to_ne_bytes());
    // inet_diag_sockid, seen from here.
    question.extend_from_slice(&local.port().to_be_bytes());
    question.extend_from_slice(&peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let mut place = [0; 16];
        match address {
            IpAddr::V4(v4) => place.iter_mut().zip(v4.octets()).for_each(|(to, byte)| *to = byte),
            IpAddr::V6(v6) => place = v6.octets(),
        }
        question.extend_from_slice(&place);
    }
    // Any interface; and no cookie (INET_DIAG_NOCOOKIE).
    question.extend_from_slice(&0u32.to_ne_bytes());
    question.extend_from_slice(&[0xff; 8]);
    dump::send(&fd, BY_FAMILY, REQUEST, &question)?;
    let mut buffer = [0; 2048];
    let (kept, _) = rustix::net::recv(&fd, &mut buffer[..], RecvFlags::TRUNC)?;
    match message(buffer.get(..kept).unwrap_or_default()) {
        Some((BY_FAMILY, ..)) => Ok(true),
        Some((ERROR, body, _)) => match error(body) {
            none if Errno::from_io_error(&none) == Some(Errno::NOENT) => Ok(false),
            error => Err(error),
        },
        _ => Err(io::Error::other("sock_diag gave no answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sock_diag::asking;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_port_and_a_connection_are_known() {
        let fd = asking().unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let inside = UdpSocket::bind("127.0.0.1:0").unwrap();
        let all = receiving(&fd, false).unwrap();
        assert!(all.contains(&udp.local_addr().unwrap().port()));
        assert!(!all.contains(&inside.local_addr().unwrap().port()), "nobody outside reaches it");
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        assert!(listening(&fd, false).unwrap().contains(&port));
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert!(is_known(&fd, local, peer).unwrap() && is_known(&fd, peer, local).unwrap());
        let stranger: SocketAddr = "127.0.0.1:1".parse().unwrap();
        assert!(is_known(&fd, peer, stranger).unwrap(), "somebody listens there");
        assert!(!is_known(&fd, local, stranger).unwrap());
        assert!(!is_known(&fd, "[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap()).unwrap());
    }
}
