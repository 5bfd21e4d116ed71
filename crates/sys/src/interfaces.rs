//! The interfaces of the calling thread's network namespace with their addresses, and whether nftables has any table there: rtnetlink(7)
//! and nfnetlink. What an interface is for is not known here.

use crate::dump::{self, attribute, word};
use rustix::net::netlink;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What made it: `veth`, `bridge`, …; none for hardware.
    pub kind: Option<String>,
    /// The number of the interface that it is linked to, maybe in another namespace.
    pub link: Option<u32>,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Its addresses, and the lengths of their networks.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// RTM_GETLINK and its answer.
const LINKS: (u16, u16) = (18, 16);
/// RTM_GETADDR and its answer.
const ADDRESSES: (u16, u16) = (22, 20);
/// NFT_MSG_GETTABLE and its answer, of NFNL_SUBSYS_NFTABLES.
const TABLES: (u16, u16) = (0x0a01, 0x0a00);

/// Lists them.
///
/// # Errors
/// The kernel's.
pub fn all() -> io::Result<Vec<Interface>> {
    let fd = dump::asking(None)?;
    // ifinfomsg and ifaddrmsg: any.
    let mut found = dump::all(&fd, LINKS.0, LINKS.1, &[0; 16], interface)?.sockets;
    for (index, address, length) in dump::all(&fd, ADDRESSES.0, ADDRESSES.1, &[0; 8], address)?.sockets {
        if let Some(interface) = found.iter_mut().find(|interface| interface.index == index) {
            interface.addresses.push((address, length));
        }
    }
    Ok(found)
}

/// Whether nftables has a table in this namespace.
///
/// # Errors
/// The kernel's: it has no nftables, or this process may not ask.
pub fn has_nftables() -> io::Result<bool> {
    let fd = dump::asking(Some(netlink::NETFILTER))?;
    // nfgenmsg: any family.
    Ok(!dump::all(&fd, TABLES.0, TABLES.1, &[0; 4], |_| Some(()))?.sockets.is_empty())
}

/// ifinfomsg.
fn interface(body: &[u8]) -> Option<Interface> {
    const NAME: u16 = 3;
    const LINK: u16 = 5;
    const INFO: u16 = 18;
    const KIND: u16 = 1;
    /// IFF_LOOPBACK.
    const LOOPBACK: u32 = 8;
    let attributes = body.get(16..)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    Some(Interface {
        index: word(body, 4)?,
        name: text(attribute(attributes, NAME)?),
        kind: attribute(attributes, INFO).and_then(|info| attribute(info, KIND)).map(text),
        link: attribute(attributes, LINK).and_then(|value| word(value, 0)),
        loopback: word(body, 8)? & LOOPBACK != 0,
        addresses: Vec::new(),
    })
}

/// ifaddrmsg.
fn address(body: &[u8]) -> Option<(u32, IpAddr, u8)> {
    const ADDRESS: u16 = 1;
    /// Of a link from point to point, where the former is the other end's.
    const LOCAL: u16 = 2;
    let attributes = body.get(8..)?;
    let bytes = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    let address = match *body.first()? {
        2 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        10 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some((word(body, 4)?, address, *body.get(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let found = all().unwrap();
        let lo = found.iter().find(|interface| interface.loopback).expect("lo");
        assert_eq!((lo.name.as_str(), lo.index), ("lo", 1));
        let names: Vec<_> = std::fs::read_dir("/sys/class/net").unwrap().flatten().collect();
        assert!(!names.is_empty());
        let _ = has_nftables();
    }

    #[test]
    fn nonsense_is_no_interface_and_no_panic() {
        for length in 0..80usize {
            let bytes = vec![0xff; length];
            assert!(interface(&bytes).is_none() && address(&bytes).is_none());
        }
    }
}
