//! Connections to given networks, found and ended through sock_diag(7): SOCK_DESTROY of Linux 4.9 and later, where it was built with
//! CONFIG_INET_DIAG_DESTROY. Each is named to the kernel with its cookie, so that whoever has the same addresses a moment later
//! is another one and stays. Whose connections are to end is not decided here.

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections of one look at most; the next look finds the others.
const MOST: usize = 1 << 18;
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
/// NLM_F_REQUEST and NLM_F_DUMP; NLM_F_REQUEST and NLM_F_ACK.
const DUMP: u16 = 0x301;
const ACKNOWLEDGED: u16 = 0x5;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Every state of TCP in which there is a peer and somebody who has the socket: not LISTEN, TIME_WAIT, CLOSE.
const WITH_PEER: u32 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 12;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A connection as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    family: u8,
    protocol: u8,
    /// inet_diag_sockid: ports, addresses, interface, cookie.
    id: [u8; 48],
}

impl Connection {
    /// Whom it is with; IPv4 that came mapped is IPv4.
    pub fn peer(&self) -> IpAddr {
        let far = self.id.get(20..36).unwrap_or_default();
        if self.family == 2 {
            let v4 = far.first_chunk::<4>().copied().unwrap_or_default();
            IpAddr::V4(Ipv4Addr::from(v4))
        } else {
            let v6 = far.first_chunk::<16>().copied().unwrap_or_default();
            Ipv6Addr::from(v6).to_canonical()
        }
    }
}

/// Connections of TCP, and of UDP where a socket has a peer, of this network namespace, whose peer is `wanted`. `within`: a network that
/// holds all who are wanted, so that the kernel need not tell of the others.
///
/// # Errors
/// The kernel lists no sockets.
pub fn connections(
    fd: impl AsFd,
    within: Option<(IpAddr, u8)>,
    wanted: impl Fn(IpAddr) -> bool,
) -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    for (family, protocol) in [(2u8, TCP), (10, TCP), (2, UDP), (10, UDP)] {
        if family == 2 && within.is_some_and(|(address, _)| address.is_ipv6()) {
            continue;
        }
        let states = if protocol == TCP { WITH_PEER } else { 1 << 1 };
        let mut question = vec![family, protocol, 0, 0];
        question.extend_from_slice(&u32::to_ne_bytes(states));
        // inet_diag_sockid: any.
        question.resize(56, 0);
        if let Some((address, length)) = within {
            question.extend(condition(address, length));
        }
        send(&fd, BY_FAMILY, DUMP, &question)?;
        let listed = each(&fd, |body| {
            let Some(one) = connection(body, family, protocol) else { return };
            if found.len() < MOST && wanted(one.peer()) {
                found.push(one);
            }
        });
        match listed {
            // No UDP diag in this kernel.
            Err(error) if protocol == UDP && Errno::from_io_error(&error) == Some(Errno::NOENT) => {}
            other => other?,
        }
    }
    Ok(found)
}

/// Ends a connection, as if its peer had reset it; the peer is told so. False when it is over already.
///
/// # Errors
/// No capability (`EPERM`), or a kernel that cannot (`EOPNOTSUPP`).
pub fn destroy(fd: impl AsFd, connection: &Connection) -> io::Result<bool> {
    let mut order = vec![connection.family, connection.protocol, 0, 0];
    order.extend_from_slice(&u32::MAX.to_ne_bytes());
    order.extend_from_slice(&connection.id);
    send(&fd, DESTROY, ACKNOWLEDGED, &order)?;
    match each(&fd, |_| {}) {
        Ok(()) => Ok(true),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::STALE)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The attribute that has the kernel tell only of those whose peer lies in this network (INET_DIAG_BC_D_COND); IPv4 meets mapped addresses.
fn condition(address: IpAddr, length: u8) -> Vec<u8> {
    /// INET_DIAG_REQ_BYTECODE.
    const BYTECODE: u16 = 1;
    const D_COND: u8 = 8;
    let (family, octets) = match address {
        IpAddr::V4(v4) => (2u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10, v6.octets().to_vec()),
    };
    let size = 4 + 8 + octets.len();
    // inet_diag_bc_op: where to go on if so (behind the end: it is wanted), and if not (beyond it: it is not).
    let mut code = vec![D_COND, u8::try_from(size).unwrap_or(u8::MAX)];
    code.extend_from_slice(&u16::try_from(size + 4).unwrap_or(u16::MAX).to_ne_bytes());
    // inet_diag_hostcond: any port.
    code.extend_from_slice(&[family, length, 0, 0]);
    code.extend_from_slice(&(-1i32).to_ne_bytes());
    code.extend_from_slice(&octets);
    let mut attribute = u16::try_from(4 + code.len()).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    attribute.extend_from_slice(&BYTECODE.to_ne_bytes());
    attribute.extend(code);
    attribute
}

fn send(fd: impl AsFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    rustix::net::sendto(fd, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Gives each answer to `take`, until the kernel says that it was the last, or what is wrong.
fn each(fd: impl AsFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (kept, count) = match rustix::net::recv(&fd, &mut buffer[..], RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if count > kept || count == 0 {
            return Err(io::Error::other("sock_diag gave an answer that was cut off"));
        }
        let mut bytes = buffer.get(..kept).unwrap_or_default();
        while let Some((kind, body, rest)) = message(bytes) {
            bytes = rest;
            match kind {
                DONE | ERROR => {
                    return match body.first_chunk().map_or(0, |number| i32::from_ne_bytes(*number)) {
                        0 => Ok(()),
                        number => {
                            Err(io::Error::from_raw_os_error(number.checked_neg().unwrap_or(libc::EIO)))
                        }
                    };
                }
                BY_FAMILY => take(body),
                _ => {}
            }
        }
    }
}

/// The first message: its kind, its body and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// inet_diag_msg: family, state, timer, retransmissions, then the id.
fn connection(body: &[u8], family: u8, protocol: u8) -> Option<Connection> {
    let id = body.get(4..52)?.try_into().ok()?;
    (body.first() == Some(&family)).then_some(Connection { family, protocol, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sock_diag::asking;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    fn of(port: u16, found: &[Connection]) -> usize {
        let bytes = port.to_be_bytes();
        found.iter().filter(|one| one.id[..2] == bytes || one.id[2..4] == bytes).count()
    }

    #[test]
    fn connections_of_a_network_are_found_and_no_others() {
        let listener = TcpListener::bind("127.0.0.7:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect(("127.0.0.7", port)).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(("127.0.0.7", 9)).unwrap();
        let fd = asking().unwrap();
        let look = |address: &str, length: u8| {
            let address: IpAddr = address.parse().unwrap();
            connections(&fd, Some((address, length)), |_| true).unwrap()
        };
        let found = look("127.0.0.7", 32);
        assert!(found.iter().all(|one| one.peer() == IpAddr::from([127, 0, 0, 7])), "{found:?}");
        assert_eq!(of(port, &found), 1, "the client's end: {found:?}");
        assert_eq!(of(udp.local_addr().unwrap().port(), &found), 1);
        assert_eq!(of(port, &look("127.0.0.0", 8)), 2, "both ends");
        assert_eq!(of(port, &look("198.51.100.0", 24)), 0);
        assert_eq!(of(port, &look("2001:db8::", 32)), 0);
        let all = connections(&fd, None, |peer| peer == IpAddr::from([127, 0, 0, 7])).unwrap();
        assert_eq!(of(port, &all), 1);
    }

    #[test]
    fn nonsense_is_no_connection_and_no_panic() {
        let mut bytes = Vec::new();
        for length in 0..80usize {
            bytes.resize(length, 0xff);
            let _ = (message(&bytes), connection(&bytes, 0xff, TCP).map(|one| one.peer()));
        }
        assert_eq!(connection(&[2; 51], 2, TCP), None);
    }
}
