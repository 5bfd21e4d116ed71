//! One connection that is read. It is only looked at until the header is whole, and then exactly that is taken: what follows
//! stays in the socket for whoever serves the client, and a worker that dies meanwhile has lost nothing. Knows no epoll.

use super::mux::{MAX_MUX_LINE, MuxLine, mux_line};
use super::proxy::{MAX_PROXY_HEADER, ProxyHeader, Unreadable, proxy_header};
use crate::protocol::{Fault, Found, Preamble};
use portreeve_sys::socket::set_low_water;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::fd::OwnedFd;

/// The most bytes that are looked at.
pub(super) const WINDOW: usize =
    if MAX_PROXY_HEADER > MAX_MUX_LINE { MAX_PROXY_HEADER } else { MAX_MUX_LINE };

/// A connection whose first bytes are awaited.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) fd: OwnedFd,
    what: Preamble,
    /// As many bytes must be there before it is looked at again.
    wanted: usize,
}

/// What bytes are, as far as they have come.
enum Seen {
    Begun,
    Whole(usize, Found),
    Bad(Fault),
}

impl Reading {
    pub(super) fn new(fd: OwnedFd, what: Preamble) -> Self {
        Reading { fd, what, wanted: 1 }
    }

    /// Looks at what has come. The answer, once there is one. `ended`: nothing more comes than what is there.
    pub(super) fn step(&mut self, window: &mut [u8; WINDOW], ended: bool) -> Option<Found> {
        let seen = match receive(&self.fd, window, RecvFlags::PEEK) {
            Ok(0) => return self.leave(Found::Failed(Fault::Ended)),
            // Woken for more than can be seen: an urgent byte parts what has come, and would wake again and again.
            Ok(n) if n < self.wanted && !ended => return self.leave(Found::Failed(Fault::Malformed)),
            Ok(n) => n,
            Err(Errno::AGAIN) if !ended => return None,
            Err(_) => return self.leave(Found::Failed(Fault::Ended)),
        };
        match judge(self.what, window.get(..seen).unwrap_or_default()) {
            Seen::Begun if ended => self.leave(Found::Failed(Fault::Ended)),
            Seen::Begun => {
                // Without it the kernel would call again and again for the bytes that were seen.
                self.wanted = seen + 1;
                match set_low_water(&self.fd, self.wanted) {
                    Ok(()) => None,
                    Err(_) => Some(Found::Failed(Fault::Ended)),
                }
            }
            Seen::Whole(end, found) => {
                let header = window.get_mut(..end).unwrap_or_default();
                let taken = receive(&self.fd, header, RecvFlags::empty());
                // Fewer than were seen: the sender has put an urgent byte into its header.
                self.leave(if taken == Ok(end) { found } else { Found::Failed(Fault::Malformed) })
            }
            Seen::Bad(fault) => {
                if self.what == Preamble::Mux {
                    // What is left unread would reset the connection, and with it the answer.
                    let _ = receive(&self.fd, window, RecvFlags::empty());
                }
                self.leave(Found::Failed(fault))
            }
        }
    }

    /// The socket is as it was: whoever reads from it next waits for one byte.
    fn leave(&self, found: Found) -> Option<Found> {
        if self.wanted > 1 && set_low_water(&self.fd, 1).is_err() {
            return Some(Found::Failed(Fault::Ended));
        }
        Some(found)
    }
}

fn judge(what: Preamble, bytes: &[u8]) -> Seen {
    match what {
        Preamble::Proxy => match proxy_header(bytes) {
            ProxyHeader::Begun => Seen::Begun,
            ProxyHeader::Whole(end, Some(ends)) => {
                Seen::Whole(end, Found::Proxied { from: ends.from, to: ends.to })
            }
            ProxyHeader::Whole(end, None) => Seen::Whole(end, Found::Direct),
            ProxyHeader::Bad(Unreadable::Malformed) => Seen::Bad(Fault::Malformed),
            ProxyHeader::Bad(Unreadable::TooLong) => Seen::Bad(Fault::TooLong),
        },
        Preamble::Mux => match mux_line(bytes) {
            MuxLine::Begun => Seen::Begun,
            MuxLine::Whole(end, name) => Seen::Whole(end, Found::Name(name.to_vec())),
            MuxLine::Malformed => Seen::Bad(Fault::Malformed),
            MuxLine::TooLong => Seen::Bad(Fault::TooLong),
        },
    }
}

fn receive(fd: &OwnedFd, buffer: &mut [u8], flags: RecvFlags) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(fd, &mut *buffer, flags | RecvFlags::DONTWAIT) {
            Ok((n, _)) => return Ok(n),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
