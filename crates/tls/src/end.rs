//! One end of a connection, in the clear or by TLS: reads and writes plaintext, whatever lies below. Never waits.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustls::Connection;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

/// Reads from the socket for one read of plaintext, before the others get their turn.
const FILLS: usize = 4;
/// The most plaintext, and as much of its encryption, that TLS keeps for a socket that takes nothing.
const PENDING: usize = 32 * 1024;

/// An end, and what is known of its socket since the last event (epoll tells of changes only).
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) fd: OwnedFd,
    pub(crate) secure: Option<Box<Connection>>,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// It has closed its half: a short read is not the last one.
    pub(crate) closing: bool,
    said_goodbye: bool,
}

/// What came of a read or a write.
#[derive(Debug)]
pub(crate) enum Moved {
    /// So many bytes; of a read 0 is the end, as the other side has said.
    Bytes(usize),
    /// Nothing now; an event will tell.
    Later,
    /// Nothing yet, and there is more to do: after the others.
    Again,
    /// The end without a word of TLS: it may have been cut off.
    Cut,
    /// It is broken.
    Gone,
}

/// How far a handshake is.
#[derive(Debug)]
pub(crate) enum Shake {
    Done,
    Later,
    Again,
    Failed(String),
}

struct Wire<'a>(&'a OwnedFd);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl End {
    pub(crate) fn new(fd: OwnedFd, secure: Option<Connection>) -> Self {
        let secure = secure.map(|mut connection| {
            connection.set_buffer_limit(Some(PENDING));
            Box::new(connection)
        });
        End { fd, secure, readable: false, writable: false, closing: false, said_goodbye: false }
    }

    /// Takes the handshake as far as it goes now.
    pub(crate) fn shake(&mut self) -> Shake {
        for _ in 0..FILLS {
            if let Moved::Gone = self.flush() {
                return Shake::Failed("the connection broke".to_owned());
            }
            let Some(connection) = &self.secure else { return Shake::Done };
            if !connection.is_handshaking() {
                return Shake::Done;
            }
            if !self.readable {
                return Shake::Later;
            }
            match self.fill() {
                Filled::Some | Filled::Nothing => {}
                Filled::End => return Shake::Failed("the connection was closed".to_owned()),
                Filled::Wrong(why) => return Shake::Failed(why),
                Filled::Gone => return Shake::Failed("the connection broke".to_owned()),
            }
        }
        Shake::Again
    }

    /// Reads from the socket into TLS.
    fn fill(&mut self) -> Filled {
        let Some(connection) = &mut self.secure else { return Filled::Nothing };
        match connection.read_tls(&mut Wire(&self.fd)) {
            Ok(0) => {
                self.readable = false;
                // Tells the reader that nothing more comes.
                let _ = connection.process_new_packets();
                return Filled::End;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Filled::Nothing;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Filled::Nothing,
            Err(_) => return Filled::Gone,
        }
        match connection.process_new_packets() {
            Ok(_) => Filled::Some,
            Err(error) => {
                // The alert that tells the other side why.
                let _ = self.flush();
                Filled::Wrong(error.to_string())
            }
        }
    }

    /// Reads plaintext.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Moved {
        if self.secure.is_none() {
            if !self.readable {
                return Moved::Later;
            }
            return match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((n, _)) => {
                    // It had no more, and whatever comes brings an event; an end that has come already brings none.
                    if n < buffer.len() && !self.closing {
                        self.readable = false;
                    }
                    Moved::Bytes(n)
                }
                Err(Errno::INTR) => Moved::Again,
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    Moved::Later
                }
                Err(_) => Moved::Gone,
            };
        }
        for _ in 0..FILLS {
            let Some(connection) = &mut self.secure else { return Moved::Gone };
            match connection.reader().read(buffer) {
                Ok(n) => return Moved::Bytes(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Moved::Cut,
                Err(_) => return Moved::Gone,
            }
            if !self.readable {
                return Moved::Later;
            }
            match self.fill() {
                // What TLS itself has to say: tickets, new keys.
                Filled::Some => {
                    let _ = self.flush();
                }
                Filled::Nothing | Filled::End => {}
                Filled::Wrong(_) | Filled::Gone => return Moved::Gone,
            }
        }
        Moved::Again
    }

    /// Writes plaintext, of which less may be taken.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Moved {
        match self.flush() {
            Moved::Bytes(_) => {}
            other => return other,
        }
        let Some(connection) = &mut self.secure else {
            return match rustix::net::send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => Moved::Bytes(n),
                Err(Errno::INTR) => Moved::Again,
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    Moved::Later
                }
                Err(_) => Moved::Gone,
            };
        };
        let Ok(taken) = connection.writer().write(bytes) else { return Moved::Gone };
        match self.flush() {
            Moved::Gone => Moved::Gone,
            _ if taken == 0 => Moved::Later,
            _ => Moved::Bytes(taken),
        }
    }

    /// Sends what TLS has ready. `Bytes` when nothing is left of it.
    pub(crate) fn flush(&mut self) -> Moved {
        while self.secure.as_ref().is_some_and(|connection| connection.wants_write()) {
            let Some(connection) = self.secure.as_mut().filter(|_| self.writable) else {
                return Moved::Later;
            };
            match connection.write_tls(&mut Wire(&self.fd)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Moved::Gone,
            }
        }
        if self.writable { Moved::Bytes(0) } else { Moved::Later }
    }

    /// Says that nothing more comes from here; `whole` is false where that is not certain, and then TLS does not say so.
    pub(crate) fn finish(&mut self, whole: bool) -> Moved {
        if let Some(connection) = self.secure.as_mut().filter(|_| whole && !self.said_goodbye) {
            connection.send_close_notify();
            self.said_goodbye = true;
        }
        match self.flush() {
            Moved::Later if self.secure.as_ref().is_some_and(|connection| connection.wants_write()) => {
                Moved::Later
            }
            Moved::Gone => Moved::Gone,
            _ => {
                let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
                Moved::Bytes(0)
            }
        }
    }

    /// Ends the connection, whoever else may still hold a descriptor.
    pub(crate) fn hang_up(&self, chunk: &mut [u8]) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        // Closing over what was said already would answer it with a reset, and that can overtake an alert.
        let _ = rustix::net::recv(&self.fd, chunk, RecvFlags::DONTWAIT);
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }
}

enum Filled {
    Some,
    Nothing,
    End,
    Wrong(String),
    Gone,
}
