//! The sockets of the calling thread's network namespace as the kernel lists them: sock_diag(7) over netlink(7). One dump for
//! each kind; what a socket is for is not known here.

use crate::dump::{self, attribute, word};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use crate::dump::{Dump, MOST};

/// SOCK_DIAG_BY_FAMILY, of the question and of each answer.
pub(crate) const BY_FAMILY: u16 = 20;
/// TCP_LISTEN as a state of any kind of socket.
pub(crate) const LISTEN: u32 = 10;
/// TCP_CLOSE: a socket without a peer.
pub(crate) const CLOSE: u32 = 7;
/// TCP_ESTABLISHED.
pub(crate) const ESTABLISHED: u32 = 1;
/// TCP_SYN_RECV: how the kernel shows a handshake that is under way.
const SYN_RECEIVED: u32 = 3;
/// TCP_NEW_SYN_RECV: how it looks for one.
const NEW_SYN_RECEIVED: u32 = 12;

/// A socket of the internet families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inet {
    /// Where it is bound.
    pub address: IpAddr,
    /// The port; for raw sockets the protocol's number.
    pub port: u16,
    /// The interface that it is bound to, 0 for none.
    pub interface: u32,
    /// IPv6 only; None where the kernel does not say.
    pub v6_only: Option<bool>,
    /// Who made it.
    pub uid: u32,
    /// The socket's inode.
    pub inode: u32,
}

/// A TCP connection, or one whose handshake is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// This side.
    pub local: SocketAddr,
    /// The other side.
    pub peer: SocketAddr,
    /// Whether the handshake is complete.
    pub established: bool,
    /// What the kernel tells this socket apart by, for as long as it runs: the same from the first packet on.
    pub cookie: u64,
    /// The socket's inode; 0 while nobody has accepted it.
    pub inode: u32,
}

/// A unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unix {
    /// SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5.
    pub kind: u8,
    /// Its name: a path, or a NUL and an abstract name; None without.
    pub name: Option<Vec<u8>>,
    /// Who made it, where the kernel says.
    pub uid: Option<u32>,
    /// The socket's inode.
    pub inode: u32,
}

/// A packet socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// SOCK_RAW 3, SOCK_DGRAM 2.
    pub kind: u8,
    /// The Ethernet protocol: 3 for all, 0 for none.
    pub protocol: u16,
    /// The interface, 0 for all.
    pub interface: u32,
    /// Who made it, where the kernel says.
    pub uid: Option<u32>,
    /// The socket's inode.
    pub inode: u32,
}

/// A listening vsock socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// The context that it is bound to; `u32::MAX` for any.
    pub context: u32,
    /// The port.
    pub port: u32,
    /// The socket's inode.
    pub inode: u32,
}

/// Transport protocols that [`inet`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
    UdpLite,
    Sctp,
    Raw,
}

/// A socket to ask with.
///
/// # Errors
/// The kernel has no sock_diag.
pub fn asking() -> io::Result<OwnedFd> {
    dump::asking(Some(netlink::SOCK_DIAG))
}

/// Whether an error of a dump means that this kernel does not list such sockets.
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT))
}

/// Listening sockets of a transport; those without connections: the bound ones without a peer.
///
/// # Errors
/// The kernel's; see [`is_unsupported`].
pub fn inet(fd: impl AsFd, v6: bool, transport: Transport) -> io::Result<Dump<Inet>> {
    let family = if v6 { 10u8 } else { 2 };
    let (protocol, states) = match transport {
        Transport::Tcp => (6u8, 1 << LISTEN),
        Transport::Sctp => (132, 1 << LISTEN),
        Transport::Udp => (17, 1 << CLOSE),
        Transport::UdpLite => (136, 1 << CLOSE),
        Transport::Raw => (255, 1 << CLOSE),
    };
    let mut question = vec![family, protocol, 0, 0];
    question.extend_from_slice(&u32::to_ne_bytes(states));
    // inet_diag_sockid: any.
    question.resize(56, 0);
    dump::all(fd, BY_FAMILY, BY_FAMILY, &question, |body| inet_socket(body, v6))
}

/// TCP connections of a family, established or in their handshake.
///
/// # Errors
/// The kernel's; see [`is_unsupported`].
pub fn connections(fd: impl AsFd, v6: bool) -> io::Result<Dump<Connection>> {
    let mut question = vec![if v6 { 10u8 } else { 2 }, 6, 0, 0];
    question
        .extend_from_slice(&u32::to_ne_bytes(1 << ESTABLISHED | 1 << SYN_RECEIVED | 1 << NEW_SYN_RECEIVED));
    question.resize(56, 0);
    dump::all(fd, BY_FAMILY, BY_FAMILY, &question, |body| connection(body, v6))
}

/// Unix sockets that listen, and datagram sockets without a peer.
///
/// # Errors
/// The kernel's; see [`is_unsupported`].
pub fn unix(fd: impl AsFd) -> io::Result<Dump<Unix>> {
    /// UDIAG_SHOW_NAME and UDIAG_SHOW_UID.
    const SHOW: u32 = 1 | 0x40;
    let mut question = vec![1u8, 0, 0, 0];
    for word in [1u32 << LISTEN | 1 << CLOSE, 0, SHOW, u32::MAX, u32::MAX] {
        question.extend_from_slice(&word.to_ne_bytes());
    }
    dump::all(fd, BY_FAMILY, BY_FAMILY, &question, unix_socket)
}

/// Packet sockets.
///
/// # Errors
/// The kernel's; see [`is_unsupported`].
pub fn packet(fd: impl AsFd) -> io::Result<Dump<Packet>> {
    /// PACKET_SHOW_INFO.
    const SHOW: u32 = 1;
    let mut question = vec![17u8, 0, 0, 0];
    for word in [0u32, SHOW, u32::MAX, u32::MAX] {
        question.extend_from_slice(&word.to_ne_bytes());
    }
    dump::all(fd, BY_FAMILY, BY_FAMILY, &question, packet_socket)
}

/// Vsock sockets that listen, and datagram sockets without a peer.
///
/// # Errors
/// The kernel's; see [`is_unsupported`].
pub fn vsock(fd: impl AsFd) -> io::Result<Dump<Vsock>> {
    let mut question = vec![40u8, 0, 0, 0];
    for word in [1u32 << LISTEN | 1 << CLOSE, 0, 0, u32::MAX, u32::MAX] {
        question.extend_from_slice(&word.to_ne_bytes());
    }
    dump::all(fd, BY_FAMILY, BY_FAMILY, &question, vsock_socket)
}

/// The name of an interface of this network namespace.
pub fn interface(fd: impl AsFd, index: u32) -> Option<String> {
    rustix::net::netdevice::index_to_name(fd, index).ok()
}

/// inet_diag_msg.
pub(crate) fn inet_socket(body: &[u8], v6: bool) -> Option<Inet> {
    /// INET_DIAG_SKV6ONLY.
    const V6_ONLY: u16 = 11;
    let address = if v6 {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(8..24)?).ok()?))
    } else {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(8..12)?).ok()?))
    };
    Some(Inet {
        address,
        port: u16::from_be_bytes(body.get(4..6)?.try_into().ok()?),
        interface: word(body, 40)?,
        v6_only: attribute(body.get(72..)?, V6_ONLY).and_then(|value| value.first()).map(|only| *only != 0),
        uid: word(body, 64)?,
        inode: word(body, 68)?,
    })
}

/// inet_diag_msg of a connection.
fn connection(body: &[u8], v6: bool) -> Option<Connection> {
    let address = |at: usize| match v6 {
        true => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(at..at + 16)?).ok()?))),
        false => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?))),
    };
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    Some(Connection {
        local: SocketAddr::new(address(8)?.to_canonical(), port(4)?),
        peer: SocketAddr::new(address(24)?.to_canonical(), port(6)?),
        established: u32::from(*body.get(1)?) == ESTABLISHED,
        cookie: u64::from(word(body, 44)?) | u64::from(word(body, 48)?) << 32,
        inode: word(body, 68)?,
    })
}

/// unix_diag_msg. None for a stream that does not listen.
fn unix_socket(body: &[u8]) -> Option<Unix> {
    /// UNIX_DIAG_NAME.
    const NAME: u16 = 0;
    /// UNIX_DIAG_UID.
    const UID: u16 = 7;
    let (kind, state) = (*body.get(1)?, *body.get(2)?);
    let attributes = body.get(16..)?;
    let listens = u32::from(state) == LISTEN || kind == 2;
    listens.then_some(Unix {
        kind,
        name: attribute(attributes, NAME).filter(|name| !name.is_empty()).map(<[u8]>::to_vec),
        uid: attribute(attributes, UID).and_then(|value| word(value, 0)),
        inode: word(body, 4)?,
    })
}

/// packet_diag_msg.
fn packet_socket(body: &[u8]) -> Option<Packet> {
    /// PACKET_DIAG_INFO.
    const INFO: u16 = 0;
    /// PACKET_DIAG_UID.
    const UID: u16 = 5;
    let attributes = body.get(16..)?;
    Some(Packet {
        kind: *body.get(1)?,
        protocol: u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?),
        interface: attribute(attributes, INFO).and_then(|value| word(value, 0)).unwrap_or(0),
        uid: attribute(attributes, UID).and_then(|value| word(value, 0)),
        inode: word(body, 4)?,
    })
}

/// vsock_diag_msg. None for a stream that does not listen.
fn vsock_socket(body: &[u8]) -> Option<Vsock> {
    /// SOCK_DGRAM.
    const DATAGRAMS: u8 = 2;
    let (kind, state) = (*body.get(1)?, *body.get(2)?);
    if u32::from(state) != LISTEN && kind != DATAGRAMS {
        return None;
    }
    Some(Vsock { context: word(body, 4)?, port: word(body, 8)?, inode: word(body, 20)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsRawFd;

    fn inode(fd: &impl AsRawFd) -> u32 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
        text.parse().unwrap()
    }

    #[test]
    fn own_sockets_are_listed() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = asking().unwrap();
        let all = inet(&fd, false, Transport::Tcp).unwrap();
        let found = all.sockets.iter().find(|socket| socket.inode == inode(&tcp)).expect("listed");
        assert_eq!(
            (found.address, found.port),
            (tcp.local_addr().unwrap().ip(), tcp.local_addr().unwrap().port())
        );
        assert!(!all.cut);
        let all = inet(&fd, false, Transport::Udp).unwrap();
        let found = all.sockets.iter().find(|socket| socket.inode == inode(&udp)).expect("listed");
        assert_eq!(found.port, udp.local_addr().unwrap().port());
        let there = unix(&fd).unwrap();
        assert!(there.sockets.iter().all(|socket| [1, 2, 5].contains(&socket.kind)));
        assert_eq!(interface(&fd, 1).as_deref(), Some("lo"));
    }

    #[test]
    fn own_connections_are_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let fd = asking().unwrap();
        let all = connections(&fd, false).unwrap().sockets;
        let one = all.iter().find(|one| one.inode == inode(&server)).expect("the server's side");
        assert_eq!((one.local, one.peer), (server.local_addr().unwrap(), client.local_addr().unwrap()));
        let other = all.iter().find(|one| one.inode == inode(&client)).expect("the client's side");
        assert!(one.established && other.established && one.cookie != other.cookie);
        let again = connections(&fd, false).unwrap().sockets;
        let again = again.iter().find(|found| found.inode == one.inode).expect("still there");
        assert_eq!(again.cookie, one.cookie);
    }

    /// As a kernel with vsock_diag answers: two messages, a stream that only is bound, and the end. Many kernels have no such answer, so
    /// these are bytes in the layout of linux/vm_sockets_diag.h.
    #[test]
    fn vsock_sockets_are_read_from_their_messages() {
        let socket = |kind: u8, state: u8, context: u32, port: u32, inode: u32| {
            let mut body = vec![40, kind, state, 0];
            // From, to, inode, and the two words of the cookie.
            for word in [context, port, u32::MAX, u32::MAX, inode, 7, 0] {
                body.extend_from_slice(&word.to_ne_bytes());
            }
            body
        };
        let message = |kind: u16, body: &[u8]| {
            let mut bytes = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
            for half in [kind, 2, 1, 0, 0, 0] {
                bytes.extend_from_slice(&half.to_ne_bytes());
            }
            bytes.extend_from_slice(body);
            bytes
        };
        let answer = [
            message(BY_FAMILY, &socket(1, 10, u32::MAX, 5555, 4711)),
            message(BY_FAMILY, &socket(1, 7, u32::MAX, 5556, 4712)),
            message(BY_FAMILY, &socket(5, 10, 3, 1024, 4713)),
            message(BY_FAMILY, &socket(2, 7, 2, 6000, 4714)),
            message(3, &[0; 4]),
        ]
        .concat();
        let (mut rest, mut found) = (answer.as_slice(), Vec::new());
        while let Some((kind, body, behind)) = dump::message(rest) {
            if kind == BY_FAMILY {
                found.extend(vsock_socket(body));
            }
            rest = behind;
        }
        let one = |context, port, inode| Vsock { context, port, inode };
        assert_eq!(found, [one(u32::MAX, 5555, 4711), one(3, 1024, 4713), one(2, 6000, 4714)]);
        assert!(rest.is_empty());
    }

    /// Where the kernel has vsock_diag, a real one.
    #[test]
    fn own_vsock_sockets_are_listed_or_the_kernel_says_that_it_cannot() {
        let fd = asking().unwrap();
        match vsock(&fd) {
            Ok(all) => assert!(!all.cut),
            Err(error) => assert!(is_unsupported(&error), "{error}"),
        }
    }

    #[test]
    fn nonsense_is_no_socket_and_no_panic() {
        let mut bytes = Vec::new();
        for length in 0..120usize {
            bytes.resize(length, 0xff);
            let _ = (inet_socket(&bytes, true), inet_socket(&bytes, false), unix_socket(&bytes));
            let _ = (connection(&bytes, true), connection(&bytes, false));
            let _ = (packet_socket(&bytes), vsock_socket(&bytes));
        }
        assert_eq!(inet_socket(&[0; 71], true), None);
    }
}
