//! Both ends of the connection on a descriptor, as tcpd finds them: the peer, or of an unconnected datagram socket the sender
//! of the datagram that waits there. The datagram stays; [`swallow`] takes it away.

use crate::names;
use hosts_access::{Host, Request};
use portreeve_sys::source::reason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// Both ends. An end that is no IP address counts as unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The peer.
    pub client: Option<SocketAddr>,
    /// Our address of this connection.
    pub server: Option<SocketAddr>,
    /// The client is the sender of a datagram that waits: a refusal must swallow it, and ident has nobody to ask.
    pub datagram: bool,
}

impl Ends {
    /// The ends of `socket`. What cannot be found out is said and left unknown.
    pub fn of(socket: impl AsFd, warn: &mut dyn FnMut(Vec<u8>)) -> Self {
        let socket = socket.as_fd();
        let mut ends = Self::default();
        match rustix::net::getpeername(socket) {
            Ok(address) => ends.client = address.and_then(portreeve_sys::socket::ip),
            Err(_) => {
                ends.datagram = true;
                match sender(socket) {
                    Ok(address) => ends.client = address,
                    Err(errno) => {
                        warn(said(b"can't get client address: ", errno));
                        return ends;
                    }
                }
            }
        }
        match rustix::net::getsockname(socket) {
            Ok(address) => ends.server = portreeve_sys::socket::ip(address),
            Err(errno) => warn(said(b"getsockname: ", errno)),
        }
        ends
    }

    /// Puts the ends into a request, addresses as text.
    pub fn tell(&self, request: &mut Request) {
        request.client = host(self.client);
        request.server = host(self.server);
    }
}

fn host(address: Option<SocketAddr>) -> Host {
    let addr = address.map(names::numeric).unwrap_or_default();
    Host { addr, socket: address, ..Host::default() }
}

/// The sender of the datagram that waits. It is there already when a super-server starts us; one that was dropped meanwhile
/// (a bad checksum) is not waited for for ever. What can have no datagram (a pipe, a socket that listens) is not waited for.
fn sender(socket: BorrowedFd<'_>) -> Result<Option<SocketAddr>, Errno> {
    let mut place = [0_u8; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let mut waited = false;
    loop {
        match rustix::net::recvfrom(socket, &mut place[..], flags) {
            Ok((.., address)) => return Ok(address.and_then(portreeve_sys::socket::ip)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if !waited => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&WAIT));
                waited = true;
            }
            Err(errno) => return Err(errno),
        }
    }
}

const WAIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Reads the datagram away that waits, if any: otherwise a super-server would start us for it again.
pub fn swallow(socket: impl AsFd) {
    let mut place = [0_u8; 1];
    let _ = rustix::net::recv(socket, &mut place[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC);
}

/// `text` with the system's word for an error.
pub(crate) fn said(text: &[u8], errno: Errno) -> Vec<u8> {
    [text, reason(&errno.into()).as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn streams_datagrams_and_files() {
        let mut silent = |text: Vec<u8>| panic!("{}", text.escape_ascii());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let wanted =
            Ends { client: client.local_addr().ok(), server: server.local_addr().ok(), datagram: false };
        assert_eq!(Ends::of(&server, &mut silent), wanted);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"one", socket.local_addr().unwrap()).unwrap();
        sender.send_to(b"two", socket.local_addr().unwrap()).unwrap();
        let wanted =
            Ends { client: sender.local_addr().ok(), server: socket.local_addr().ok(), datagram: true };
        assert_eq!(Ends::of(&socket, &mut silent), wanted);
        swallow(&socket);
        let mut place = [0; 9];
        assert_eq!(socket.recv(&mut place).unwrap(), 3);
        assert_eq!(&place[..3], b"two", "the peeked datagram stayed until it was swallowed");

        let mut said = Vec::new();
        let file = std::fs::File::open("/dev/null").unwrap();
        let ends = Ends::of(&file, &mut |text| said.push(String::from_utf8(text).unwrap()));
        assert_eq!(said, ["can't get client address: Socket operation on non-socket"]);
        assert_eq!(ends, Ends { datagram: true, ..Ends::default() });
        // No datagram ever comes here, and the system says so: nothing is to be waited for.
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        assert_eq!(super::sender(pipe.as_fd()), Err(Errno::NOTSOCK));
        assert_eq!(super::sender(listener.as_fd()), Err(Errno::NOTCONN));
        let mut request = Request::default();
        wanted.tell(&mut request);
        assert_eq!(request.client.addr.as_bytes(), b"127.0.0.1");
    }
}
