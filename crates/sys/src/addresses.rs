//! This host's own addresses: rtnetlink(7), one dump. What they are for is not known here.

use crate::dump::{self, attribute};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// RTM_GETADDR and the kind of its answers, RTM_NEWADDR.
const GET: u16 = 22;
const NEW: u16 = 20;
/// Of struct ifaddrmsg.
const HEAD: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// A socket to ask with.
///
/// # Errors
/// The kernel has no rtnetlink.
pub fn asking() -> io::Result<OwnedFd> {
    dump::asking(None)
}

/// The addresses of all interfaces.
///
/// # Errors
/// The kernel's.
pub fn own(fd: impl AsFd) -> io::Result<Vec<IpAddr>> {
    Ok(dump::all(fd, GET, NEW, &[0; HEAD], address)?.sockets)
}

fn address(body: &[u8]) -> Option<IpAddr> {
    let attributes = body.get(HEAD..)?;
    // The other end of a line that has one is `IFA_ADDRESS`.
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_ours() {
        let own = own(asking().unwrap()).unwrap();
        assert!(own.contains(&Ipv4Addr::LOCALHOST.into()), "{own:?}");
    }
}
