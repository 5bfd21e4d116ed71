//! The listening sockets of one network namespace, in one form for all kinds.

use crate::bounded;
use crate::namespaces::Namespace;
use crate::scope::{self, Scope};
use portreeve_sys::sock_diag::{self, Dump, Transport};
use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    UdpLite,
    Sctp,
    Raw,
    Packet,
    Vsock,
    UnixStream,
    UnixSeqpacket,
    UnixDatagram,
}

impl Protocol {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::UdpLite => "udplite",
            Protocol::Sctp => "sctp",
            Protocol::Raw => "raw",
            Protocol::Packet => "packet",
            Protocol::Vsock => "vsock",
            Protocol::UnixStream => "unix-stream",
            Protocol::UnixSeqpacket => "unix-seqpacket",
            Protocol::UnixDatagram => "unix-dgram",
        }
    }
}

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Place {
    /// Address and port; for raw sockets the number of the protocol.
    Ip { address: IpAddr, port: u16, v6_only: bool },
    /// A path, or a NUL and an abstract name.
    Unix(Vec<u8>),
    /// The Ethernet protocol: 3 for all.
    Packet(u16),
    /// The context, `u32::MAX` for any, and the port.
    Vsock(u32, u32),
}

/// A socket that somebody can send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub place: Place,
    /// The interface that it is bound to.
    pub interface: Option<String>,
    /// Who made it.
    pub uid: Option<u32>,
    /// Its inode, by which processes hold it.
    pub inode: u32,
}

impl Socket {
    /// From where it can be reached, were no firewall there.
    pub fn scope(&self) -> Scope {
        match &self.place {
            Place::Ip { address, .. } => scope::of(*address, self.interface.as_deref()),
            Place::Unix(_) => Scope::Host,
            Place::Packet(_) => Scope::Link,
            // 1 is this machine itself; others are the host and its guests.
            Place::Vsock(1, _) => Scope::Host,
            Place::Vsock(..) => Scope::Link,
        }
    }

    /// The port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self.place {
            Place::Ip { port, .. } if self.protocol != Protocol::Raw => Some(port),
            _ => None,
        }
    }

    /// The address as people and machines read it: `0.0.0.0:22`, `[::]:22`, `@abstract`, `/run/x`.
    pub fn address(&self) -> String {
        let on = self.interface.as_ref().map_or_else(String::new, |name| format!("%{name}"));
        match &self.place {
            Place::Ip { address: IpAddr::V4(ip), port, .. } => format!("{ip}{on}:{port}"),
            Place::Ip { address: IpAddr::V6(ip), port, .. } => format!("[{ip}{on}]:{port}"),
            Place::Unix(name) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                match name.split_first() {
                    Some((0, rest)) => format!("@{}", text(rest).replace('\0', "@")),
                    _ => text(name).trim_end_matches('\0').to_owned(),
                }
            }
            Place::Packet(protocol) => {
                let what = if *protocol == 3 { "*".to_owned() } else { format!("0x{protocol:04x}") };
                format!("{what}:{}", self.interface.as_deref().unwrap_or("*"))
            }
            Place::Vsock(u32::MAX, port) => format!("*:{port}"),
            Place::Vsock(context, port) => format!("{context}:{port}"),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.word(), self.address())
    }
}

/// What is missing where the kernel has vsock sockets and lists none.
pub const NO_VSOCK: &str = "vsock sockets: this kernel does not list them (vsock_diag)";

/// The sockets of a namespace.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Those that listen, or have a name and no peer.
    pub all: Vec<Socket>,
    /// Kinds that could not be listed, and why.
    pub gaps: Vec<String>,
}

/// Lists the sockets of a namespace. Another one than this process's is entered by a thread that ends with the list.
///
/// # Errors
/// It cannot be entered, or the kernel has no sock_diag.
pub fn of(namespace: &Namespace) -> io::Result<Sockets> {
    if namespace.own {
        return here();
    }
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().spawn_scoped(scope, || {
            let net = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.fd.as_fd(), net)?;
            here()
        })?;
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside of it failed")))
    })
}

fn here() -> io::Result<Sockets> {
    let fd = sock_diag::asking()?;
    let mut found = Sockets::default();
    let kinds = [
        (Protocol::Tcp, Transport::Tcp),
        (Protocol::Udp, Transport::Udp),
        (Protocol::UdpLite, Transport::UdpLite),
        (Protocol::Sctp, Transport::Sctp),
        (Protocol::Raw, Transport::Raw),
    ];
    for (protocol, transport) in kinds {
        for v6 in [false, true] {
            match sock_diag::inet(&fd, v6, transport) {
                Ok(dump) => found.add(protocol, dump, |socket| Some(internet(&fd, protocol, socket))),
                Err(error) if sock_diag::is_unsupported(&error) => found.add_from_proc(protocol, v6),
                Err(error) => {
                    found.gaps.push(format!("{} sockets: {}", protocol.word(), bounded::words(&error)))
                }
            }
        }
    }
    match sock_diag::unix(&fd) {
        Ok(dump) => found.add(Protocol::UnixStream, dump, unix),
        Err(error) => found.gaps.push(format!("unix sockets: {}", bounded::words(&error))),
    }
    match sock_diag::packet(&fd) {
        Ok(dump) => found.add(Protocol::Packet, dump, |socket| Some(packet(&fd, socket))),
        Err(error) => found.gaps.push(format!("packet sockets: {}", bounded::words(&error))),
    }
    match sock_diag::vsock(&fd) {
        Ok(dump) => found.add(Protocol::Vsock, dump, |socket| {
            let place = Place::Vsock(socket.context, socket.port);
            Some(Socket { protocol: Protocol::Vsock, place, interface: None, uid: None, inode: socket.inode })
        }),
        Err(error) if sock_diag::is_unsupported(&error) => {
            if Path::new("/dev/vsock").exists() {
                found.gaps.push(NO_VSOCK.to_owned());
            }
        }
        Err(error) => found.gaps.push(format!("vsock sockets: {}", bounded::words(&error))),
    }
    Ok(found)
}

fn internet(fd: impl AsFd, protocol: Protocol, socket: sock_diag::Inet) -> Socket {
    Socket {
        protocol,
        place: Place::Ip {
            address: socket.address,
            port: socket.port,
            v6_only: socket.v6_only.unwrap_or(false),
        },
        interface: interface(fd, socket.interface),
        uid: Some(socket.uid),
        inode: socket.inode,
    }
}

fn interface(fd: impl AsFd, index: u32) -> Option<String> {
    (index != 0).then(|| sock_diag::interface(fd, index).unwrap_or_else(|| index.to_string()))
}

/// None without a name: nobody can send to it.
fn unix(socket: sock_diag::Unix) -> Option<Socket> {
    let protocol = match socket.kind {
        1 => Protocol::UnixStream,
        5 => Protocol::UnixSeqpacket,
        _ => Protocol::UnixDatagram,
    };
    let place = Place::Unix(socket.name?);
    Some(Socket { protocol, place, interface: None, uid: socket.uid, inode: socket.inode })
}

fn packet(fd: impl AsFd, socket: sock_diag::Packet) -> Socket {
    Socket {
        protocol: Protocol::Packet,
        place: Place::Packet(socket.protocol),
        interface: interface(fd, socket.interface),
        uid: socket.uid,
        inode: socket.inode,
    }
}

impl Sockets {
    fn add<T>(&mut self, protocol: Protocol, dump: Dump<T>, read: impl Fn(T) -> Option<Socket>) {
        if dump.cut {
            self.gaps.push(format!("{} sockets: more than {}", protocol.word(), sock_diag::MOST));
        }
        self.all.extend(dump.sockets.into_iter().filter_map(read));
    }

    /// What sock_diag does not list on this kernel stands in a table of /proc, if there is any such socket.
    fn add_from_proc(&mut self, protocol: Protocol, v6: bool) {
        /// A table of a hundred thousand sockets.
        const LONGEST: usize = 16 << 20;
        let name = format!("{}{}", protocol.word(), if v6 { "6" } else { "" });
        let path = Path::new("/proc/thread-self/net").join(name);
        // No table: the kernel has no such protocol.
        let Ok(text) = bounded::file(&path, LONGEST) else { return };
        if text.len() == LONGEST {
            self.gaps.push(format!("{} sockets: {} is too long", protocol.word(), path.display()));
        }
        let text = String::from_utf8_lossy(&text);
        let sockets = text.lines().skip(1).filter_map(|line| row(protocol, line));
        self.all.extend(sockets);
    }
}

/// A row of /proc/net/raw and its like: number, local, remote, state, queues, timer, retransmissions, uid, timeout, inode.
fn row(protocol: Protocol, line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace();
    let local = words.nth(1)?;
    let state = words.nth(1)?;
    // Without a peer.
    if state != "07" {
        return None;
    }
    let uid = words.nth(3)?.parse().ok();
    let inode = words.nth(1)?.parse().ok()?;
    let (digits, port) = local.split_once(':')?;
    let part = |at: usize| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok();
    let address = match digits.len() {
        8 => IpAddr::V4(Ipv4Addr::from(part(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&part(at * 8)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    let place = Place::Ip { address, port, v6_only: false };
    Some(Socket { protocol, place, interface: None, uid, inode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_proc() {
        let line = "    1: 0100007F:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000 0";
        let socket = row(Protocol::Raw, line).unwrap();
        assert_eq!(
            (socket.to_string().as_str(), socket.inode, socket.uid),
            ("raw 127.0.0.1:1", 4711, Some(0))
        );
        assert_eq!((socket.port(), socket.scope()), (None, Scope::Host));
        let six = "   58: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 07 0:0 00:0 0 1000 0 9 2 0 0";
        assert_eq!(row(Protocol::Raw, six).unwrap().address(), "[::1]:58");
        for odd in [
            "",
            "a b c d",
            &line.replace(" 07 ", " 01 "),
            &line.replace("0100007F", "010000"),
            &line.replace("4711", "x"),
        ] {
            assert_eq!(row(Protocol::Raw, odd), None, "{odd}");
        }
    }

    #[test]
    fn addresses_are_text() {
        let of = |protocol, place, interface: Option<&str>| {
            let interface = interface.map(str::to_owned);
            Socket { protocol, place, interface, uid: None, inode: 1 }.address()
        };
        assert_eq!(of(Protocol::UnixStream, Place::Unix(b"\0a\0b\xff".to_vec()), None), "@a@b\u{fffd}");
        assert_eq!(of(Protocol::UnixStream, Place::Unix(b"/run/x\0".to_vec()), None), "/run/x");
        assert_eq!(of(Protocol::Packet, Place::Packet(3), None), "*:*");
        assert_eq!(of(Protocol::Packet, Place::Packet(0x800), Some("eth0")), "0x0800:eth0");
        assert_eq!(of(Protocol::Vsock, Place::Vsock(u32::MAX, 5), None), "*:5");
        let v6 = Place::Ip { address: "fe80::1".parse().unwrap(), port: 5, v6_only: false };
        assert_eq!(of(Protocol::Tcp, v6, Some("eth0")), "[fe80::1%eth0]:5");
    }
}
