//! Messages with descriptors between the supervisor and its workers: one, or a few where the receiver asks for them. Keeps message
//! bounds, never blocks, never raises SIGPIPE, and lets no surplus descriptor stay open. Knows no message.

use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// Its length; 0 when the other side has closed.
    pub len: usize,
    /// The descriptor that came with it, close-on-exec.
    pub fd: Option<OwnedFd>,
    /// One came with it, and this process has no number left for it: it is closed.
    pub lost: bool,
}

/// Most descriptors that travel beside one message.
pub const MOST_ATTACHED: usize = 32;

/// A received message with any number of descriptors.
#[derive(Debug)]
pub struct ReceivedAll {
    /// Its length; 0 when the other side has closed.
    pub len: usize,
    /// The descriptors that came with it, close-on-exec, in the order in which they were attached.
    pub fds: Vec<OwnedFd>,
    /// More came with it, and this process has no numbers left for them: the last ones, which are closed.
    pub lost: bool,
}

/// A connected pair, both ends close-on-exec and nonblocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one message, whole or not at all.
///
/// # Errors
/// `EAGAIN` when the queue is full, `EPIPE` or `ECONNRESET` when the other side has gone, `EMSGSIZE`.
/// `EINVAL` for an empty message, which the other side could not tell from a close.
pub fn send(fd: impl AsFd, message: &[u8], attached: Option<BorrowedFd<'_>>) -> io::Result<()> {
    match attached {
        Some(attached) => send_all(fd, message, &[attached]),
        None => send_all(fd, message, &[]),
    }
}

/// Sends one message, whole or not at all, with up to [`MOST_ATTACHED`] descriptors. The other side takes it with [`recv_all`].
///
/// # Errors
/// As [`send`]; `EINVAL` also for more descriptors than that.
pub fn send_all(fd: impl AsFd, message: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
    if message.is_empty() || attached.len() > MOST_ATTACHED {
        return Err(Errno::INVAL.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ATTACHED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !attached.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(attached));
    }
    loop {
        match rustix::net::sendmsg(&fd, &[IoSlice::new(message)], &mut control, flags) {
            Ok(_) => return Ok(()), // seqpacket never sends a part
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends one message by the descriptor of this number, which was inherited, if it is such a socket.
///
/// # Errors
/// As [`send`]; `EBADF` when there is no such descriptor, `ENOTSOCK` or `EPROTOTYPE` when it is something else.
pub fn send_by_number(number: i32, message: &[u8]) -> io::Result<()> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is no special one, and it is only lent to calls that return before this function does: should nothing be
    // open there, each of them says EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    if rustix::net::sockopt::socket_type(fd)? != SocketType::SEQPACKET {
        return Err(Errno::PROTOTYPE.into());
    }
    send(fd, message, None)
}

/// Receives one message into `buffer`. Where its descriptor cannot be had (`RLIMIT_NOFILE`), the message comes without it and says so.
///
/// # Errors
/// `EAGAIN` when there is none; `EMSGSIZE` when it was longer than `buffer` or carried more than one descriptor:
/// the message is gone then, and every descriptor of it is closed.
pub fn recv(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    // Room for one: the kernel itself discards what does not fit and says so.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match rustix::net::recvmsg(&fd, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = control.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let mut first = None;
    let mut surplus = false;
    for fd in fds.by_ref().flatten() {
        surplus |= first.is_some();
        first.get_or_insert(fd); // a second one is dropped, and so closed
    }
    let short = message.flags.contains(ReturnFlags::CTRUNC);
    let lost = short && first.is_none();
    if surplus || message.flags.contains(ReturnFlags::TRUNC) || (short && !lost) {
        return Err(Errno::MSGSIZE.into());
    }
    Ok(Received { len: message.bytes, fd: first, lost })
}

/// Receives one message into `buffer`, with up to [`MOST_ATTACHED`] descriptors. Where some of them cannot be had (`RLIMIT_NOFILE`), it
/// comes without the last ones and says so.
///
/// # Errors
/// `EAGAIN` when there is none; `EMSGSIZE` when it was longer than `buffer`: it is gone then, and every descriptor of it is closed.
pub fn recv_all(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<ReceivedAll> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ATTACHED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match rustix::net::recvmsg(&fd, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for one in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = one {
            fds.extend(came);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE.into());
    }
    Ok(ReceivedAll { len: message.bytes, fds, lost: message.flags.contains(ReturnFlags::CTRUNC) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn errno(error: &io::Error) -> Errno {
        Errno::from_io_error(error).unwrap()
    }

    #[test]
    fn a_number_is_such_a_socket_or_nothing_is_said() {
        let (a, b) = pair().unwrap();
        send_by_number(a.as_raw_fd(), b"one").unwrap();
        assert_eq!(recv(&b, &mut [0; 16]).unwrap().len, 3);
        let file = std::fs::File::open("/dev/null").unwrap();
        let stream = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        for (number, why) in [
            (-1, Errno::BADF),
            (1_000_000, Errno::BADF),
            (file.as_raw_fd(), Errno::NOTSOCK),
            (stream.as_raw_fd(), Errno::PROTOTYPE),
        ] {
            assert_eq!(errno(&send_by_number(number, b"one").unwrap_err()), why, "{number}");
        }
        drop(b);
        assert_eq!(errno(&send_by_number(a.as_raw_fd(), b"one").unwrap_err()), Errno::PIPE);
    }

    #[test]
    fn messages_keep_their_bounds() {
        let (a, b) = pair().unwrap();
        send(&a, b"one", None).unwrap();
        send(&a, b"three", None).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(recv(&b, &mut buffer).unwrap().len, 3);
        assert_eq!(recv(&b, &mut buffer).unwrap().len, 5);
        assert_eq!(&buffer[..5], b"three");
        assert_eq!(errno(&recv(&b, &mut buffer).unwrap_err()), Errno::AGAIN);
        drop(a);
        assert_eq!(recv(&b, &mut buffer).unwrap().len, 0);
        assert_eq!(errno(&send(&b, b"x", None).unwrap_err()), Errno::PIPE);
        assert_eq!(errno(&send(&b, b"", None).unwrap_err()), Errno::INVAL);
    }

    #[test]
    fn a_descriptor_arrives_close_on_exec() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&a, b"fd", Some(write.as_fd())).unwrap();
        drop(write);
        let got = recv(&b, &mut [0; 8]).unwrap().fd.unwrap();
        assert!(rustix::io::fcntl_getfd(&got).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        rustix::io::write(&got, b"through").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 16]).unwrap(), 7);
    }

    #[test]
    fn several_descriptors_come_in_their_order() {
        let (a, b) = pair().unwrap();
        let ends: Vec<_> = (0..MOST_ATTACHED).map(|_| rustix::pipe::pipe().unwrap()).collect();
        let attached: Vec<_> = ends.iter().map(|(_, write)| write.as_fd()).collect();
        send_all(&a, b"all", &attached).unwrap();
        assert_eq!(errno(&send_all(&a, b"x", &[attached[0]; MOST_ATTACHED + 1]).unwrap_err()), Errno::INVAL);
        let got = recv_all(&b, &mut [0; 8]).unwrap();
        assert_eq!((got.len, got.fds.len(), got.lost), (3, MOST_ATTACHED, false));
        for ((read, _), came) in ends.iter().zip(&got.fds) {
            assert!(rustix::io::fcntl_getfd(came).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            rustix::io::write(came, b"x").unwrap();
            assert_eq!(rustix::io::read(read, &mut [0; 2]).unwrap(), 1);
        }
        send_all(&a, b"longer than four", &attached[..2]).unwrap();
        drop((ends, got));
        assert_eq!(errno(&recv_all(&b, &mut [0; 4]).unwrap_err()), Errno::MSGSIZE);
        assert_eq!(errno(&recv_all(&b, &mut [0; 4]).unwrap_err()), Errno::AGAIN);
        drop(a);
        assert_eq!(recv_all(&b, &mut [0; 4]).unwrap().len, 0);
    }

    #[test]
    fn too_long_is_an_error_and_closes_what_came() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        send(&a, b"longer than four", Some(write.as_fd())).unwrap();
        send(&a, b"next", None).unwrap();
        drop(write);
        assert_eq!(errno(&recv(&b, &mut [0; 4]).unwrap_err()), Errno::MSGSIZE);
        assert_eq!(rustix::io::read(&read, &mut [0; 1]).unwrap(), 0, "the write end is still open somewhere");
        assert_eq!(recv(&b, &mut [0; 4]).unwrap().len, 4, "the queue goes on");
    }

    #[test]
    fn two_descriptors_are_an_error_and_none_stays_open() {
        let (a, b) = pair().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [write.as_fd(), write.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        rustix::net::sendmsg(&a, &[IoSlice::new(b"two")], &mut control, SendFlags::empty()).unwrap();
        drop(write);
        assert_eq!(errno(&recv(&b, &mut [0; 8]).unwrap_err()), Errno::MSGSIZE);
        assert_eq!(rustix::io::read(&read, &mut [0; 1]).unwrap(), 0, "a surplus descriptor stayed open");
    }

    #[test]
    fn a_full_queue_does_not_block() {
        let (a, b) = pair().unwrap();
        let error = (0..100_000).find_map(|_| send(&a, &[7; 1024], None).err()).unwrap();
        assert_eq!(errno(&error), Errno::AGAIN);
        assert!(b.as_raw_fd() > 2);
    }
}
