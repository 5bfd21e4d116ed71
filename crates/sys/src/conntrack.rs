//! What connection tracking (conntrack) of the calling thread's network namespace knows of one TCP connection: one question over ctnetlink for
//! each, by the addresses and ports that its socket has, never a list of all. What that proves is not decided here.

use crate::dump::{self, ERROR, REQUEST, attribute, error, message, word};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, netlink};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// NFNL_SUBSYS_CTNETLINK.
const SUBSYSTEM: u16 = 1 << 8;
/// IPCTNL_MSG_CT_NEW, which every answer is.
const ENTRY: u16 = SUBSYSTEM;
/// IPCTNL_MSG_CT_GET.
const GET: u16 = SUBSYSTEM | 1;
/// CTA_TUPLE_ORIG and CTA_TUPLE_REPLY.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
/// CTA_STATUS.
const STATUS: u16 = 3;
/// CTA_PROTOINFO, in it CTA_PROTOINFO_TCP, in it CTA_PROTOINFO_TCP_STATE.
const PROTOCOL_STATE: [u16; 3] = [4, 1, 1];
/// CTA_ID.
const ID: u16 = 12;
/// CTA_TIMESTAMP, in it CTA_TIMESTAMP_START.
const START: [u16; 2] = [20, 1];
/// IPS_SEEN_REPLY.
const SEEN_REPLY: u32 = 1 << 1;
/// NLA_F_NESTED.
const NESTED: u16 = 1 << 15;
const TCP: u8 = 6;

/// TCP_CONNTRACK_*, as conntrack(8) names them.
const STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// An entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether it began with a packet from the peer. Otherwise the first packet that was tracked was this host's own.
    pub incoming: bool,
    /// Whether packets were seen in both directions.
    pub answered: bool,
    /// The state of TCP that it is in, in the words of conntrack(8).
    pub state: &'static str,
    /// What the kernel tells it apart by while it is there.
    pub id: u32,
    /// When it began, in nanoseconds since 1970 by the clock of that moment; where the kernel keeps it (nf_conntrack_timestamp).
    pub began: Option<u64>,
}

impl Entry {
    /// Whether TCP is established in it.
    pub fn is_established(&self) -> bool {
        self.state == "ESTABLISHED"
    }
}

/// A socket to ask with.
///
/// # Errors
/// The kernel has no netfilter.
pub fn asking() -> io::Result<OwnedFd> {
    dump::asking(Some(netlink::NETFILTER))
}

/// The entry of the connection that a socket of this host has with `peer`; `None` where there is none. Translation does not matter: a
/// socket has the addresses behind it, and so has one direction of the entry.
///
/// # Errors
/// The kernel's: `EPERM` without CAP_NET_ADMIN, `EINVAL` where it has no ctnetlink.
pub fn entry(fd: impl AsFd, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<Entry>> {
    let (local, peer) = (canonical(local), canonical(peer));
    let asked = tuple(local, peer);
    // nfgenmsg: family, version, resource.
    let mut question = vec![if local.is_ipv4() { 2u8 } else { 10 }, 0, 0, 0];
    question.extend(named(REPLY | NESTED, &asked));
    dump::send(&fd, GET, REQUEST, &question)?;
    let mut buffer = [0; 4096];
    let (kept, count) = loop {
        match rustix::net::recv(&fd, &mut buffer[..], RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    if count > kept {
        return Err(io::Error::other("an answer of connection tracking was cut off"));
    }
    match message(buffer.get(..kept).unwrap_or_default()) {
        Some((ENTRY, body, _)) => {
            let read = body.get(4..).and_then(|attributes| read(attributes, local, peer));
            read.map(Some)
                .ok_or_else(|| io::Error::other("connection tracking gave an answer that is no entry"))
        }
        Some((ERROR, body, _)) => match error(body) {
            none if Errno::from_io_error(&none) == Some(Errno::NOENT) => Ok(None),
            error => Err(error),
        },
        _ => Err(io::Error::other("connection tracking gave no answer")),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What a packet from one to the other has, as ctnetlink writes it.
fn tuple(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    // CTA_IP_V4_SRC and _DST, CTA_IP_V6_SRC and _DST.
    let (source, destination) = if from.is_ipv4() { (1, 2) } else { (3, 4) };
    let addresses = [named(source, &octets(from.ip())), named(destination, &octets(to.ip()))].concat();
    // CTA_PROTO_NUM, _SRC_PORT, _DST_PORT.
    let ports =
        [named(1, &[TCP]), named(2, &from.port().to_be_bytes()), named(3, &to.port().to_be_bytes())].concat();
    // CTA_TUPLE_IP, CTA_TUPLE_PROTO.
    [named(1 | NESTED, &addresses), named(2 | NESTED, &ports)].concat()
}

/// An attribute.
fn named(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn within<'a>(attributes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    path.iter().try_fold(attributes, |inside, kind| attribute(inside, *kind))
}

/// An entry that has the packets from `local` to `peer` as one of its directions.
fn read(attributes: &[u8], local: SocketAddr, peer: SocketAddr) -> Option<Entry> {
    let is_ours = |kind: u16| attribute(attributes, kind).is_some_and(|bytes| is_tuple(bytes, local, peer));
    let incoming = match (is_ours(REPLY), is_ours(ORIGINAL)) {
        (true, _) => true,
        (false, true) => false,
        (false, false) => return None,
    };
    let flags = u32::from_be(word(attribute(attributes, STATUS)?, 0)?);
    let state = usize::from(*within(attributes, &PROTOCOL_STATE)?.first()?);
    Some(Entry {
        incoming,
        answered: flags & SEEN_REPLY != 0,
        state: STATES.get(state).copied().unwrap_or("an unknown state"),
        id: u32::from_be(word(attribute(attributes, ID)?, 0)?),
        began: within(attributes, &START).and_then(|bytes| Some(u64::from_be_bytes(*bytes.first_chunk()?))),
    })
}

fn is_tuple(bytes: &[u8], from: SocketAddr, to: SocketAddr) -> bool {
    let wanted = tuple(from, to);
    let all: [&[u16]; 5] = if from.is_ipv4() {
        [&[1, 1], &[1, 2], &[2, 1], &[2, 2], &[2, 3]]
    } else {
        [&[1, 3], &[1, 4], &[2, 1], &[2, 2], &[2, 3]]
    };
    all.iter().all(|path| within(bytes, path).is_some_and(|value| Some(value) == within(&wanted, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// The attributes of an answer, as the kernel orders them.
    fn answer(original: &[u8], reply: &[u8], status: u32, state: u8, start: Option<u64>) -> Vec<u8> {
        let mut bytes = [
            named(ORIGINAL | NESTED, original),
            named(REPLY | NESTED, reply),
            named(STATUS, &status.to_be_bytes()),
            named(7, &432_000u32.to_be_bytes()),
            named(4 | NESTED, &named(1 | NESTED, &[named(1, &[state]), named(2, &[7])].concat())),
            named(ID, &0xabcd_u32.to_be_bytes()),
        ]
        .concat();
        if let Some(start) = start {
            bytes.extend(named(20 | NESTED, &named(1, &start.to_be_bytes())));
        }
        bytes
    }

    #[test]
    fn an_entry_is_read_from_either_direction_and_behind_translation() {
        for (local, peer, dialled) in [
            ("192.0.2.1:22", "198.51.100.7:4000", "192.0.2.9:2200"),
            ("[2001:db8::1]:22", "[fe80::7]:4000", "[2001:db8::9]:2200"),
        ] {
            let (local, peer, dialled) = (at(local), at(peer), at(dialled));
            let there = answer(&tuple(peer, dialled), &tuple(local, peer), 0x18e, 3, Some(7));
            let entry = read(&there, local, peer).expect("behind translation");
            assert!(entry.incoming && entry.answered && entry.is_established(), "{entry:?}");
            assert_eq!((entry.id, entry.began), (0xabcd, Some(7)));
            let begun_here = answer(&tuple(local, peer), &tuple(peer, local), 0x188, 2, None);
            let entry = read(&begun_here, local, peer).expect("from here");
            assert!(!entry.incoming && !entry.answered && entry.state == "SYN_RECV", "{entry:?}");
            assert_eq!(entry.began, None);
            let other = SocketAddr::new(peer.ip(), 4001);
            assert_eq!(read(&there, local, other), None);
            assert_eq!(read(&there, peer, local), None);
        }
    }

    #[test]
    fn a_connection_that_nobody_tracks_has_no_entry_or_the_kernel_says_why() {
        let fd = asking().unwrap();
        for (local, peer) in [
            ("192.0.2.1:22", "198.51.100.7:4000"),
            ("[2001:db8::1]:22", "[2001:db8::7]:4000"),
            ("[::ffff:192.0.2.1]:22", "[::ffff:198.51.100.7]:4000"),
        ] {
            match entry(&fd, at(local), at(peer)) {
                Ok(found) => assert_eq!(found, None),
                Err(error) => {
                    let known = [Errno::PERM, Errno::INVAL, Errno::OPNOTSUPP];
                    assert!(
                        Errno::from_io_error(&error).is_some_and(|errno| known.contains(&errno)),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn nonsense_is_no_entry_and_no_panic() {
        let (local, peer) = (at("192.0.2.1:22"), at("198.51.100.7:4000"));
        let whole = answer(&tuple(peer, local), &tuple(local, peer), 0x18e, 200, None);
        assert_eq!(read(&whole, local, peer).map(|entry| entry.state), Some("an unknown state"));
        for end in 0..whole.len() {
            let _ = read(&whole[..end], local, peer);
        }
        let mut bytes = Vec::new();
        for length in 0..120usize {
            bytes.resize(length, 0xff);
            assert_eq!(read(&bytes, local, peer), None);
        }
    }
}
