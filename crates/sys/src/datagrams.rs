//! Many datagrams in one call, and many answers in one call (recvmmsg(2), sendmmsg(2)). Each datagram stays one, with its own
//! sender; what they mean is not known here.

use crate::pktinfo;
use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams of one call.
pub const MANY: usize = 32;
/// No datagram is longer, so none is cut.
pub const LONGEST: usize = 65_536;
/// From one place to the next: not a power of two, or the first bytes of all of them would share the same few lines of the cache.
const STRIDE: usize = LONGEST + 192;

/// Room for the datagrams of one call. Of its two mebibytes the kernel gives what was once needed: a page for each place, where
/// datagrams are short.
pub struct Batch {
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    lengths: Box<[usize]>,
    count: usize,
}

/// An answer to one datagram of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The number of the datagram.
    pub to: usize,
    /// What its sender is sent.
    pub bytes: &'a [u8],
}

impl Default for Batch {
    fn default() -> Self {
        // SAFETY: zeros are an address: numbers all of it.
        let name: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
        Batch {
            bytes: vec![0; MANY * STRIDE].into(),
            names: vec![name; MANY].into(),
            lengths: vec![0; MANY].into(),
            count: 0,
        }
    }
}

impl Batch {
    /// Takes what has come without waiting, `most` datagrams at most and never more than [`MANY`]. How many they are: fewer than were
    /// asked for when no more is there.
    ///
    /// # Errors
    /// `EAGAIN` where there is none; else the socket's.
    pub fn receive(&mut self, fd: impl AsFd, most: usize) -> Result<usize, Errno> {
        self.count = 0;
        let most = most.min(MANY);
        let mut parts: [MaybeUninit<libc::iovec>; MANY] = [const { MaybeUninit::uninit() }; MANY];
        // SAFETY: a mmsghdr of zeros is one: no name, no parts, no control bytes.
        let mut messages: [libc::mmsghdr; MANY] = unsafe { MaybeUninit::zeroed().assume_init() };
        let places = self.bytes.chunks_exact_mut(STRIDE).zip(self.names.iter_mut());
        for (((bytes, name), part), message) in places.zip(&mut parts).zip(&mut messages).take(most) {
            let part = part.write(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: LONGEST });
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            message.msg_hdr.msg_namelen = length_of::<libc::sockaddr_storage>();
        }
        let count = number(most);
        let fd = fd.as_fd().as_raw_fd();
        // SAFETY: each of the first `count` headers has one part, of LONGEST bytes of ours, and a name of its true length; all of them
        // live until the call is over, and nothing else refers to those bytes meanwhile.
        let came = unsafe {
            libc::recvmmsg(fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let came = usize::try_from(came).map_err(|_| pktinfo::last_error())?;
        for (length, message) in self.lengths.iter_mut().zip(&messages).take(came) {
            *length = usize::try_from(message.msg_len).unwrap_or(0).min(LONGEST);
        }
        self.count = came.min(most);
        Ok(self.count)
    }

    /// One that was received, and its sender, who may be forged. `None` also where the sender is none of IP.
    pub fn datagram(&self, place: usize) -> Option<(&[u8], SocketAddr)> {
        let length = *self.lengths.get(..self.count)?.get(place)?;
        let bytes = self.bytes.get(place * STRIDE..)?.get(..length)?;
        // SAFETY: the kernel has filled in the names of those that it counted, and of each place before it was ever used all is zero.
        let source = unsafe { pktinfo::address(self.names.get(place)?) };
        Some((bytes, source?))
    }

    /// Sends answers to the senders of this batch, without waiting: [`MANY`] of them. What the kernel does not take is lost, as answers to
    /// datagrams may be, and the next ones are sent none the less.
    pub fn answer(&self, fd: impl AsFd, answers: &[Answer<'_>]) {
        let mut parts: [MaybeUninit<libc::iovec>; MANY] = [const { MaybeUninit::uninit() }; MANY];
        // SAFETY: a mmsghdr of zeros is one: no name, no parts, no control bytes.
        let mut messages: [libc::mmsghdr; MANY] = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut count = 0;
        for ((answer, part), message) in answers.iter().zip(&mut parts).zip(&mut messages) {
            let Some(name) = self.names.get(answer.to) else { break };
            let bytes = answer.bytes;
            let part =
                part.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_name = std::ptr::from_ref(name).cast_mut().cast();
            message.msg_hdr.msg_namelen = match libc::c_int::from(name.ss_family) {
                libc::AF_INET => length_of::<libc::sockaddr_in>(),
                _ => length_of::<libc::sockaddr_in6>(),
            };
            count += 1;
        }
        let mut rest = messages.get_mut(..count).unwrap_or_default();
        while !rest.is_empty() {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: each header has one part and a name, with their true lengths; all of them live for the call, and the kernel
            // writes nothing but the lengths in the headers.
            let sent = unsafe {
                libc::sendmmsg(fd.as_fd().as_raw_fd(), rest.as_mut_ptr(), number(rest.len()), flags)
            };
            // The first of those left is the one that was not taken; of those after it nothing is known.
            let done = usize::try_from(sent).unwrap_or(0).max(1).min(rest.len());
            rest = rest.get_mut(done..).unwrap_or_default();
        }
    }
}

fn number(count: usize) -> libc::c_uint {
    libc::c_uint::try_from(count).unwrap_or(0)
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    fn clients(bound: &str, count: usize) -> Vec<UdpSocket> {
        let client = |_| {
            let client = UdpSocket::bind(bound).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client
        };
        (0..count).map(client).collect()
    }

    fn round(server: &str, client: &str, to: &str) {
        let server = UdpSocket::bind(server).unwrap();
        let to: SocketAddr = format!("{to}:{}", server.local_addr().unwrap().port()).parse().unwrap();
        let clients = clients(client, 5);
        let said = |n: usize| vec![b'a' + n as u8; [1, 0, LONGEST - 1000, 700, 3][n]];
        for (n, client) in clients.iter().enumerate() {
            client.send_to(&said(n), to).unwrap();
        }
        let mut batch = Batch::default();
        assert_eq!(batch.receive(&server, 3), Ok(3), "no more than were asked for");
        for (n, client) in clients.iter().enumerate().take(3) {
            let (bytes, source) = batch.datagram(n).unwrap();
            assert_eq!(bytes, said(n));
            let sender = client.local_addr().unwrap();
            assert_eq!((source.ip().to_canonical(), source.port()), (sender.ip(), sender.port()));
        }
        assert!(batch.datagram(3).is_none());
        // Not all are answered, and not in their order.
        batch.answer(&server, &[Answer { to: 2, bytes: b"two" }, Answer { to: 0, bytes: b"zero" }]);
        assert_eq!(batch.receive(&server, MANY + 9), Ok(2), "what is left, and no wait for more");
        let (bytes, _) = batch.datagram(1).unwrap();
        batch.answer(&server, &[Answer { to: 1, bytes }, Answer { to: 99, bytes }]);
        assert_eq!((batch.receive(&server, MANY), batch.datagram(0).is_none()), (Err(Errno::AGAIN), true));
        let heard = |n: usize| {
            let mut buffer = [0; 64];
            let (length, from) = clients[n].recv_from(&mut buffer).unwrap();
            assert_eq!(from, to);
            buffer[..length].to_vec()
        };
        assert_eq!((heard(2), heard(0), heard(4)), (b"two".to_vec(), b"zero".to_vec(), said(4)));
        for n in [1, 3] {
            clients[n].set_nonblocking(true).unwrap();
            assert!(clients[n].recv(&mut [0; 8]).is_err(), "nobody answered {n}");
        }
    }

    #[test]
    fn each_datagram_keeps_its_bytes_and_its_sender() {
        round("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1");
        if UdpSocket::bind("[::1]:0").is_ok() {
            round("[::]:0", "127.0.0.1:0", "127.0.0.1");
            round("[::]:0", "[::1]:0", "[::1]");
        }
    }

    #[test]
    fn an_answer_that_the_kernel_does_not_take_stops_no_other() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let clients = clients("127.0.0.1:0", 3);
        for client in &clients {
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::default();
        assert_eq!(batch.receive(&server, MANY), Ok(3));
        let long = vec![0; LONGEST];
        let answers = [
            Answer { to: 0, bytes: &long },
            Answer { to: 1, bytes: b"one" },
            Answer { to: 0, bytes: &long },
            Answer { to: 2, bytes: b"two" },
        ];
        batch.answer(&server, &answers);
        for client in &clients[1..] {
            assert_eq!(client.recv(&mut [0; 8]).unwrap(), 3);
        }
    }
}
