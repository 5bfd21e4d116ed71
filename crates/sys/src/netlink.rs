//! Sockets to the kernel's packet filter (nf_tables over netlink(7)). They are made by who has the privilege and handed to
//! who does the work; what is said over them is not known here.

use rustix::fd::OwnedFd;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;

/// The group that is told of every change of nf_tables (NFNLGRP_NFTABLES, 7).
const CHANGES: u32 = 1 << (7 - 1);
/// Bytes that the kernel keeps for a reader who is late.
const QUEUE: usize = 4 << 20;
/// Bytes of one batch at most: more than a million elements of IPv6 with an end.
const BATCH: usize = 64 << 20;

/// A socket to ask and to change with. What it makes with the flag `owner` is its own.
///
/// # Errors
/// The kernel has no netfilter.
pub fn asking() -> io::Result<OwnedFd> {
    let fd = open(0)?;
    // Without the capability the kernel's own bound stays, and a batch beyond it is refused as a whole.
    let _ = sockopt::set_socket_send_buffer_size_force(&fd, BATCH);
    Ok(fd)
}

/// A socket that is told of every change, by whomever.
///
/// # Errors
/// The kernel has no netfilter, or this process may not listen.
pub fn listening() -> io::Result<OwnedFd> {
    open(CHANGES)
}

/// The same, but for the changes that are made over this socket: whoever makes them knows, and a long list of them fills no queue.
///
/// # Errors
/// As [`listening`].
pub fn listening_but_to(own: &OwnedFd) -> io::Result<OwnedFd> {
    let fd = listening()?;
    let own = SocketAddrNetlink::try_from(rustix::net::getsockname(own)?)?;
    crate::filter::attach(&fd, &crate::filter::not_from_port(own.pid()))?;
    Ok(fd)
}

/// Whether the kernel has an nf_tables table of family inet with this name; false where that cannot be known.
pub fn has_table(name: &str) -> bool {
    asked_for_table(name).unwrap_or(false)
}

fn asked_for_table(name: &str) -> io::Result<bool> {
    /// NFT_MSG_GETTABLE of the nf_tables subsystem.
    const GET_TABLE: u16 = 10 << 8 | 1;
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const INET: u8 = 1;
    let fd = open(0)?;
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    let attribute = 4 + value.len();
    value.resize(value.len().next_multiple_of(4), 0);
    let length = u32::try_from(20 + 4 + value.len()).map_err(io::Error::other)?;
    let mut question = length.to_ne_bytes().to_vec();
    for half in [GET_TABLE, REQUEST, 1, 0, 0, 0] {
        question.extend_from_slice(&half.to_ne_bytes());
    }
    question.extend_from_slice(&[INET, 0, 0, 0]);
    question.extend_from_slice(&u16::try_from(attribute).map_err(io::Error::other)?.to_ne_bytes());
    question.extend_from_slice(&1u16.to_ne_bytes());
    question.extend_from_slice(&value);
    rustix::net::sendto(&fd, &question, SendFlags::DONTWAIT, &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 256];
    // The kernel has answered before the call was over.
    let (_, count) = rustix::net::recv(&fd, &mut answer[..], RecvFlags::DONTWAIT)?;
    Ok(count >= 20 && answer.get(4..6) != Some(&ERROR.to_ne_bytes()[..]))
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    let _ = sockopt::set_socket_recv_buffer_size_force(&fd, QUEUE);
    rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
    Ok(fd)
}
