//! Asks the client's host who owns the connection (RFC 1413, reference A11). Waits, for at most the whole deadline, and
//! uses no signal for it. What an answer means is decided in [`hosts_access::ident`].

use hosts_access::Field;
use hosts_access::ident::{LONGEST, PORT, Question, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The user at `client` who talks to `server` (our end), or `unknown`. `timeout` covers all of it.
#[must_use]
pub fn user(client: SocketAddr, server: SocketAddr, timeout: Duration) -> Field {
    ask(client, server, PORT, timeout).unwrap_or(Field::from("unknown"))
}

fn ask(client: SocketAddr, server: SocketAddr, port: u16, timeout: Duration) -> Option<Field> {
    if client.is_ipv4() != server.is_ipv4() {
        return None;
    }
    let deadline = Deadline(Instant::now().checked_add(timeout)?);
    let question = Question { theirs: client.port(), ours: server.port() };
    let family = if client.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).ok()?;
    // From the very address that the connection came to: their end knows the connection by it.
    rustix::net::bind(&socket, &at_port(server, 0)).ok()?;
    connect(&socket, at_port(client, port), deadline)?;
    send(&socket, question.line().as_bytes(), deadline)?;
    receive(&socket, question, deadline)
}

fn connect(socket: &OwnedFd, to: SocketAddr, deadline: Deadline) -> Option<()> {
    match rustix::net::connect(socket, &to) {
        Ok(()) => Some(()),
        // An interrupted connect goes on by itself.
        Err(Errno::INPROGRESS | Errno::INTR) => {
            deadline.wait(socket, PollFlags::OUT)?;
            rustix::net::sockopt::socket_error(socket).ok()?.ok()
        }
        Err(_) => None,
    }
}

fn send(socket: &OwnedFd, mut bytes: &[u8], deadline: Deadline) -> Option<()> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::AGAIN) => deadline.wait(socket, PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(())
}

fn receive(socket: &OwnedFd, question: Question, deadline: Deadline) -> Option<Field> {
    let mut place = [0_u8; LONGEST];
    let mut length = 0;
    loop {
        let free = place.get_mut(length..)?;
        match rustix::net::recv(socket, free, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((count, _)) => length += count,
            Err(Errno::AGAIN) => deadline.wait(socket, PollFlags::IN)?,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        match question.reply(place.get(..length)?) {
            Reply::Incomplete => {}
            Reply::User(user) => return Some(user),
            Reply::Unknown => return None,
        }
    }
}

fn at_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    /// Waits until the socket is ready; `None` when the deadline came first.
    fn wait(self, socket: &OwnedFd, flags: PollFlags) -> Option<()> {
        loop {
            let left = self.0.checked_duration_since(Instant::now())?;
            let left = Timespec::try_from(left).ok()?;
            match poll(&mut [PollFd::new(socket, flags)], Some(&left)) {
                Ok(0) => return None,
                Ok(_) => return Some(()),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Asks a listener that answers a question with what `answer` makes of it, in two pieces.
    fn ask_one(answer: impl FnOnce(&str) -> Option<String> + Send) -> Option<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, from) = listener.accept().unwrap();
                assert_eq!(from.ip().to_string(), "127.0.0.2");
                let mut question = [0; 64];
                let count = stream.read(&mut question).unwrap();
                if let Some(answer) = answer(std::str::from_utf8(&question[..count]).unwrap()) {
                    let (one, two) = answer.split_at(answer.len() / 2);
                    stream.write_all(one.as_bytes()).unwrap();
                    stream.write_all(two.as_bytes()).unwrap();
                } else {
                    let _ = stream.read(&mut question); // until the deadline closes it
                }
            });
            let client = "127.0.0.1:6193".parse().unwrap();
            let server = "127.0.0.2:23".parse().unwrap();
            let found = ask(client, server, port, Duration::from_millis(500))?;
            Some(String::from_utf8_lossy(found.as_bytes()).into_owned())
        })
    }

    #[test]
    fn answers_over_a_socket() {
        let good = |question: &str| {
            assert_eq!(question, "6193,23\r\n");
            Some("6193, 23 : USERID : UNIX : joe\r\n".to_owned())
        };
        assert_eq!(ask_one(good).as_deref(), Some("joe"));
        assert_eq!(ask_one(|_| Some("6193,23:ERROR:NO-USER\r\n".to_owned())), None);
        assert_eq!(ask_one(|_| Some("6193,23:USERID:UNIX:joe".to_owned())), None, "no newline");
        assert_eq!(ask_one(|_| None), None, "silence");
    }

    #[test]
    fn nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (client, server) = ("127.0.0.1:6193".parse().unwrap(), "127.0.0.2:23".parse().unwrap());
        assert_eq!(ask(client, server, port, Duration::from_secs(5)), None);
        let six = "[::1]:6193".parse().unwrap();
        assert_eq!(ask(six, server, port, Duration::from_secs(5)), None, "two families");
    }
}
