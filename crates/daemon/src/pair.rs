//! The two ends of a connection within this host, for a program whose client is behind TLS: one for the program, one for the
//! worker. TCP over loopback where it is to be had, so that programs find what they expect of a socket; else a pair of Unix
//! sockets. Never waits.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::net::{Ipv4Addr, SocketAddr};

/// Strangers that may have connected to our listener before we did, and are turned away.
const STRANGERS: usize = 4;

/// The program's end, which blocks, and the worker's.
pub fn pair(nodelay: bool) -> Result<(OwnedFd, OwnedFd), Errno> {
    match loopback(nodelay) {
        Ok(pair) => Ok(pair),
        Err(_) => {
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        }
    }
}

fn loopback(nodelay: bool) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        || rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP));
    // A listener for this one connection: nobody can fill the queue of one that does not stay.
    let listener = socket()?;
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&listener, STRANGERS as i32)?;
    let address = SocketAddr::try_from(rustix::net::getsockname(&listener)?)?;
    let worker = socket()?;
    match rustix::net::connect(&worker, &address) {
        // Within the host it is done by now, or it is refused by a filter.
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(errno) => return Err(errno),
    }
    let own = SocketAddr::try_from(rustix::net::getsockname(&worker)?)?;
    for _ in 0..=STRANGERS {
        let (program, peer) = rustix::net::acceptfrom_with(&listener, SocketFlags::CLOEXEC)?;
        if peer.and_then(|peer| SocketAddr::try_from(peer).ok()) != Some(own) {
            continue;
        }
        sockopt::set_tcp_nodelay(&worker, true)?;
        sockopt::set_tcp_nodelay(&program, nodelay)?;
        return Ok((program, worker));
    }
    Err(Errno::CONNREFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_says_the_other_hears() {
        let (program, worker) = pair(false).unwrap();
        rustix::io::write(&worker, b"x").unwrap();
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&program, &mut byte), Ok(1));
        let peer = SocketAddr::try_from(rustix::net::getpeername(&program).unwrap().unwrap()).unwrap();
        assert!(peer.ip().is_loopback());
    }
}
