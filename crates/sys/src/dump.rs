//! A list that the kernel gives over netlink(7): one question, many answers, up to a bound.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::io;
use std::time::Duration;

/// Entries of one list at most; the rest is left out and [`Dump::cut`] says so.
pub const MOST: usize = 1 << 20;
/// The kernel answers within the call; a longer wait is a fault.
const PATIENCE: Duration = Duration::from_secs(10);
/// NLM_F_REQUEST.
pub(crate) const REQUEST: u16 = 1;
/// NLM_F_REQUEST and NLM_F_DUMP.
const DUMP: u16 = 0x301;
pub(crate) const ERROR: u16 = 2;
const DONE: u16 = 3;

/// What one dump brought.
#[derive(Debug)]
pub struct Dump<T> {
    /// The entries, as the kernel orders them.
    pub sockets: Vec<T>,
    /// There were more than [`MOST`].
    pub cut: bool,
}

/// A socket to ask with.
///
/// # Errors
/// The kernel has no such netlink.
pub(crate) fn asking(protocol: Option<Protocol>) -> io::Result<OwnedFd> {
    let fd =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    let _ = set_socket_recv_buffer_size_force(&fd, 1 << 20);
    set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
    Ok(fd)
}

/// Asks a question.
///
/// # Errors
/// The kernel's.
pub(crate) fn send(fd: impl AsFd, kind: u16, flags: u16, question: &[u8]) -> io::Result<()> {
    let length = u32::try_from(16 + question.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(question);
    rustix::net::sendto(&fd, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Asks for all of a kind, and reads each answer's body.
///
/// # Errors
/// The kernel's, or an answer that is none.
pub(crate) fn all<T>(
    fd: impl AsFd,
    ask: u16,
    answer: u16,
    question: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Dump<T>> {
    send(&fd, ask, DUMP, question)?;
    let mut found = Dump { sockets: Vec::new(), cut: false };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (kept, count) = match rustix::net::recv(&fd, &mut buffer[..], RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        // MSG_TRUNC gives the whole length.
        if count > kept {
            return Err(io::Error::other("an answer of netlink was cut off"));
        }
        if count == 0 {
            return Err(io::Error::other("netlink gave an empty answer"));
        }
        let mut bytes = buffer.get(..kept).unwrap_or_default();
        while let Some((kind, body, rest)) = message(bytes) {
            bytes = rest;
            match kind {
                // A dump that failed ends with its error; 0 is none.
                DONE if word(body, 0).is_some_and(|number| number.cast_signed() < 0) => {
                    return Err(error(body));
                }
                DONE => return Ok(found),
                ERROR => return Err(error(body)),
                kind if kind == answer && found.sockets.len() < MOST => found.sockets.extend(read(body)),
                kind if kind == answer => found.cut = true,
                _ => {}
            }
        }
    }
}

/// The first message: its kind, its body and what follows it.
pub(crate) fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(word(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

pub(crate) fn error(body: &[u8]) -> io::Error {
    let number = word(body, 0).map_or(0, u32::cast_signed);
    io::Error::from_raw_os_error(number.checked_neg().filter(|number| *number > 0).unwrap_or(libc::EIO))
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The first attribute of a kind.
pub(crate) fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_message_and_no_panic() {
        let mut bytes = Vec::new();
        for length in 0..120usize {
            bytes.resize(length, 0xff);
            let _ = (message(&bytes), attribute(&bytes, 1));
        }
        assert!(message(&[0; 20]).is_none());
        assert_eq!(error(&[]).raw_os_error(), Some(libc::EIO));
    }
}
