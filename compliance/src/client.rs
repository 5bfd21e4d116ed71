//! Clients: connections and datagrams from any address of the world. They never wait without a deadline, and they report
//! what happened instead of failing.

use crate::wait::{DEADLINE, until};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How a conversation ended, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed.
    Closed,
    /// The other side reset the connection.
    Reset,
    /// The connection was refused.
    Refused,
    /// No answer to the connection request: dropped on the way.
    Dropped,
    /// Still open when the client stopped waiting.
    Open,
}

/// What a client got.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// All bytes, in order.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} then {:?}", String::from_utf8_lossy(&self.bytes), self.end)
    }
}

impl Answer {
    /// The expected answer: these bytes, then a clean close.
    pub fn closed(text: &str) -> Answer {
        Answer { bytes: text.as_bytes().to_vec(), end: End::Closed }
    }

    /// The expected answer: no connection.
    pub fn refused() -> Answer {
        Answer { bytes: Vec::new(), end: End::Refused }
    }

    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// The socket, blocking.
    pub stream: TcpStream,
}

/// The address a client at `from` reaches the super-server under: the loopback address of its family.
fn server_for(from: IpAddr) -> IpAddr {
    match from {
        IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
    }
}

fn parse(address: &str) -> IpAddr {
    address.parse().unwrap_or_else(|_| panic!("`{address}` is not an address"))
}

/// Connects from `from` to the port at the loopback address of the same family.
///
/// # Errors
/// How it ended instead: refused, reset or dropped.
pub fn dial(from: &str, port: u16) -> Result<Connection, End> {
    dial_to(from, &server_for(parse(from)).to_string(), port, DEADLINE)
}

/// Connects from `from` to `to`, waiting for at most `patience`.
///
/// # Errors
/// How it ended instead: refused, reset or dropped.
pub fn dial_to(from: &str, to: &str, port: u16, patience: Duration) -> Result<Connection, End> {
    let (from, to) = (parse(from), SocketAddr::new(parse(to), port));
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
    bind(&socket, &SocketAddr::new(from, 0)).unwrap_or_else(|e| panic!("bind to {from}: {e}"));
    match connect(&socket, &to) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
            let timeout = Timespec {
                tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(patience.subsec_nanos()),
            };
            if poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
                return Err(End::Dropped);
            }
            match sockopt::socket_error(&socket).expect("the socket's error") {
                Ok(()) => {}
                Err(Errno::CONNREFUSED) => return Err(End::Refused),
                Err(Errno::TIMEDOUT) => return Err(End::Dropped),
                Err(_) => return Err(End::Reset),
            }
        }
        Err(Errno::CONNREFUSED) => return Err(End::Refused),
        Err(e) => panic!("connect from {from} to {to}: {e}"),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false).expect("to block");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
    Ok(Connection { stream })
}

/// Connects, sends `bytes`, reads until the end.
pub fn talk(from: &str, port: u16, bytes: &[u8]) -> Answer {
    match dial(from, port) {
        Ok(mut connection) => {
            connection.send(bytes);
            connection.read_all()
        }
        Err(end) => Answer { bytes: Vec::new(), end },
    }
}

/// Connects to `to` and reads until the end.
pub fn talk_to(from: &str, to: &str, port: u16) -> Answer {
    match dial_to(from, to, port, DEADLINE) {
        Ok(mut connection) => connection.read_all(),
        Err(end) => Answer { bytes: Vec::new(), end },
    }
}

impl Connection {
    /// Sends; an error shows when reading.
    pub fn send(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let _ = self.stream.write_all(bytes);
        }
    }

    /// Closes the sending half.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads until the end of the connection.
    pub fn read_all(&mut self) -> Answer {
        self.read_for(DEADLINE)
    }

    /// Reads until the end of the connection or for this long.
    pub fn read_for(&mut self, patience: Duration) -> Answer {
        self.read_while(patience, |_| true)
    }

    /// Reads until the bytes end in `mark`, the connection ends, or the deadline passes.
    pub fn read_until(&mut self, mark: &[u8]) -> Answer {
        self.read_while(DEADLINE, |bytes| !bytes.ends_with(mark))
    }

    /// Reads this many bytes, or to the end.
    pub fn read_count(&mut self, count: usize) -> Answer {
        self.read_while(DEADLINE, |bytes| bytes.len() < count)
    }

    fn read_while(&mut self, patience: Duration, more: impl Fn(&[u8]) -> bool) -> Answer {
        let end_of_patience = Instant::now() + patience;
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 16384];
        while more(&bytes) {
            let left = end_of_patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer { bytes, end: End::Open };
            }
            self.stream.set_read_timeout(Some(left)).expect("a deadline");
            match self.stream.read(&mut chunk) {
                Ok(0) => return Answer { bytes, end: End::Closed },
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Answer { bytes, end: End::Open };
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Answer { bytes, end: End::Reset },
            }
        }
        Answer { bytes, end: End::Open }
    }
}

/// A datagram socket at `from`, aimed at the port.
pub fn datagram_socket(from: &str, port: u16) -> UdpSocket {
    let from = parse(from);
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).expect("a datagram socket");
    socket.connect(SocketAddr::new(server_for(from), port)).expect("an address");
    socket
}

/// Sends one datagram and waits for an answer for at most `patience`; `None` when there was none.
pub fn ask(socket: &UdpSocket, bytes: &[u8], patience: Duration) -> Option<Vec<u8>> {
    socket.send(bytes).ok()?;
    hear(socket, patience)
}

/// Asks again until there is an answer, within the deadline: xinetd throws away whatever waits in the queue after each
/// datagram, so a single question may be lost there.
pub fn ask_again(socket: &UdpSocket, bytes: &[u8]) -> Option<Vec<u8>> {
    until(DEADLINE, || ask(socket, bytes, Duration::from_millis(250)))
}

/// Waits for one datagram.
pub fn hear(socket: &UdpSocket, patience: Duration) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(patience)).expect("a deadline");
    let mut buffer = vec![0_u8; 65536];
    let count = socket.recv(&mut buffer).ok()?;
    buffer.truncate(count);
    Some(buffer)
}
