//! A packet socket: what comes in by any interface, as it comes, before anything of this host has taken or dropped it. Made by
//! who has CAP_NET_RAW, silent until somebody puts a filter on it. What the packets mean is not known here.

use crate::filter::{self, Insn};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt;
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};

/// Of each packet so much is read: headers of IP with their options, and of TCP.
pub const SEEN: usize = 192;
/// Packets of one call.
pub const MANY: usize = 256;
/// What the kernel keeps for a reader who is late, in bytes; beyond it packets are dropped and counted.
const QUEUE: usize = 4 << 20;
/// PACKET_IGNORE_OUTGOING; missing in libc's list for glibc.
const IGNORE_OUTGOING: libc::c_int = 23;

/// The socket, through which nothing comes yet.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW; `EAFNOSUPPORT` where the kernel has no packet sockets.
pub fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; a descriptor that is not negative is new and ours.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_PACKET, kind, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd)
    };
    // Until the reader has a filter of its own.
    filter::attach(&fd, &Insn::NOTHING)?;
    // A kernel without it (before 4.20) shows what goes out too, and the filter drops that.
    let _ = set(&fd, libc::SOL_PACKET, IGNORE_OUTGOING, &1i32);
    let _ = sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE);
    // SAFETY: a sockaddr_ll of zeros is one.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    // SAFETY: the address and its length belong together.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length_of(&address)) };
    if bound == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0)
}

fn set<T>(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes as the value has.
    let done = unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length_of(value))
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel counted since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that passed the filter, whether there was room for them or not.
    pub passed: u32,
    /// Those for which there was no room.
    pub dropped: u32,
}

/// Asks for the counters, which begin again with 0.
///
/// # Errors
/// The kernel's.
pub fn counted(fd: impl AsFd) -> io::Result<Counted> {
    let mut counters = [0u32; 2];
    let mut length = length_of(&counters);
    // SAFETY: the kernel writes at most `length` bytes: struct tpacket_stats, two numbers.
    let done = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counters.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let [passed, dropped] = counters;
    if done == 0 { Ok(Counted { passed, dropped }) } else { Err(io::Error::last_os_error()) }
}

/// Room for the packets of one call.
pub struct Batch {
    bytes: Box<[[u8; SEEN]]>,
    lengths: Box<[usize]>,
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { bytes: vec![[0; SEEN]; MANY].into(), lengths: vec![0; MANY].into(), count: 0 }
    }
}

impl Batch {
    /// Takes what has come, without waiting. How many they are; less than [`MANY`] when no more is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&mut self, fd: impl AsFd) -> io::Result<usize> {
        self.count = 0;
        let mut parts: [MaybeUninit<libc::iovec>; MANY] = [const { MaybeUninit::uninit() }; MANY];
        // SAFETY: a mmsghdr of zeros is one: no name, no parts, no control bytes.
        let mut messages: [libc::mmsghdr; MANY] = unsafe { MaybeUninit::zeroed().assume_init() };
        for ((bytes, part), message) in self.bytes.iter_mut().zip(&mut parts).zip(&mut messages) {
            let part = part.write(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: SEEN });
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
        }
        let most = u32::try_from(MANY).unwrap_or(1);
        // SAFETY: each of the MANY headers has one part, which points to SEEN bytes of ours; all of them live until the call
        // is over, and nothing else refers to those bytes meanwhile.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_fd().as_raw_fd(),
                messages.as_mut_ptr(),
                most,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return match io::Error::last_os_error() {
                error if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::INTR)) => Ok(0),
                error => Err(error),
            };
        };
        for (length, message) in self.lengths.iter_mut().zip(&messages).take(count) {
            *length = usize::try_from(message.msg_len).unwrap_or(0).min(SEEN);
        }
        self.count = count.min(MANY);
        Ok(self.count)
    }

    /// The beginnings of the packets, each from its IP header on.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let both = self.bytes.iter().zip(&self.lengths).take(self.count);
        both.map(|(bytes, length)| bytes.get(..*length).unwrap_or_default())
    }
}

const _: () = assert!(size_of::<[u32; 2]>() == 8, "struct tpacket_stats");

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;

    #[test]
    fn a_socket_is_silent_until_it_has_a_filter() {
        if !geteuid().is_root() {
            return;
        }
        let fd = match open() {
            Ok(fd) => fd,
            // A root without the capability.
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let mut batch = Batch::default();
        assert_eq!(batch.receive(&fd).unwrap(), 0);
        assert_eq!(counted(&fd).unwrap(), Counted::default());
    }
}
