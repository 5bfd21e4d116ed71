//! The IP options with which a connection came (IPv4), as bytes. Understands none of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The most that an IPv4 header holds, in bytes.
const MOST: usize = 40;

/// The options that answers on this socket would carry: those of the connection, turned round. Linux gives them as
/// they stand in a header, without the address that BSD puts before them.
///
/// # Errors
/// `ENOTSOCK`; `ENOPROTOOPT` or `EOPNOTSUPP` when it is no IPv4 socket.
pub fn get(socket: impl AsFd) -> io::Result<Vec<u8>> {
    let mut place = [0u8; MOST];
    let mut length = libc::socklen_t::try_from(place.len()).unwrap_or(0);
    // SAFETY: the buffer has `length` bytes, and the kernel says how many it filled.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            place.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(length).unwrap_or(0);
    Ok(place.get(..length).unwrap_or(&place).to_vec())
}

/// Answers carry no options any more.
///
/// # Errors
/// From setsockopt(2).
pub fn clear(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: no bytes are given.
    let result = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, std::ptr::null(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_plain_connection_has_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(super::get(&stream).unwrap(), b"");
        super::clear(&stream).unwrap();
        assert!(super::get(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
