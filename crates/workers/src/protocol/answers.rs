//! What the resolver answers to a question about a database, as bytes and back.

use super::wire::{BadMessage, Reader, Writer};
use std::net::IpAddr;

/// The most addresses in one answer.
pub const MAX_ADDRESSES: usize = 256;
/// The most groups of one user in an answer: more than any real user has, far below what a message holds.
pub const MAX_GROUPS: usize = 4096;

/// The answer to a [`super::Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The database was asked and has no such entry.
    NotFound,
    /// The database could not be asked (a temporary failure, a full queue).
    Unavailable,
    /// A user.
    User {
        /// Login name.
        name: String,
        /// User id.
        uid: u32,
        /// Primary group.
        gid: u32,
    },
    /// A group's id.
    Group(u32),
    /// All groups of a user, the primary one included. At most [`MAX_GROUPS`].
    Groups(Vec<u32>),
    /// A port in host order.
    Port(u16),
    /// A protocol number.
    Protocol(i32),
    /// An RPC program number.
    RpcNumber(u32),
    /// A network number in host order, as glibc gives it.
    Network(u32),
    /// At least one address, at most [`MAX_ADDRESSES`].
    Addresses(Vec<IpAddr>),
    /// The same, and for how many seconds they hold, where that is known.
    Target(Vec<IpAddr>, Option<u32>),
    /// Whether the host is in the netgroup.
    Member(bool),
}

pub(super) fn put_answer(writer: &mut Writer<'_>, answer: &Answer) -> Result<(), BadMessage> {
    match answer {
        Answer::NotFound => writer.u8(0),
        Answer::Unavailable => writer.u8(1),
        Answer::User { name, uid, gid } => {
            writer.u8(2);
            writer.name("user", name)?;
            writer.u32(*uid);
            writer.u32(*gid);
        }
        Answer::Group(gid) => {
            writer.u8(3);
            writer.u32(*gid);
        }
        Answer::Groups(list) => {
            writer.u8(4);
            writer.count("groups", list.len(), MAX_GROUPS)?;
            list.iter().for_each(|gid| writer.u32(*gid));
        }
        Answer::Port(port) => {
            writer.u8(5);
            writer.u16(*port);
        }
        Answer::Protocol(number) => {
            writer.u8(6);
            writer.u32(number.cast_unsigned());
        }
        Answer::RpcNumber(number) => {
            writer.u8(7);
            writer.u32(*number);
        }
        Answer::Network(number) => {
            writer.u8(8);
            writer.u32(*number);
        }
        Answer::Addresses(list) => {
            writer.u8(9);
            writer.count("addresses", list.len(), MAX_ADDRESSES)?;
            list.iter().for_each(|address| writer.ip(*address));
        }
        Answer::Target(list, seconds) => {
            writer.u8(11);
            writer.count("addresses", list.len(), MAX_ADDRESSES)?;
            list.iter().for_each(|address| writer.ip(*address));
            writer.flag(seconds.is_some());
            writer.u32(seconds.unwrap_or_default());
        }
        Answer::Member(member) => {
            writer.u8(10);
            writer.flag(*member);
        }
    }
    Ok(())
}

pub(super) fn take_answer(input: &mut Reader<'_>) -> Result<Answer, BadMessage> {
    Ok(match input.u8()? {
        0 => Answer::NotFound,
        1 => Answer::Unavailable,
        2 => Answer::User { name: input.name("user")?, uid: input.u32()?, gid: input.u32()? },
        3 => Answer::Group(input.u32()?),
        4 => Answer::Groups(input.list("groups", MAX_GROUPS, Reader::u32)?),
        5 => Answer::Port(input.u16()?),
        6 => Answer::Protocol(input.u32()?.cast_signed()),
        7 => Answer::RpcNumber(input.u32()?),
        8 => Answer::Network(input.u32()?),
        9 => Answer::Addresses(input.list("addresses", MAX_ADDRESSES, Reader::ip)?),
        10 => Answer::Member(input.flag("member")?),
        11 => {
            let addresses = input.list("addresses", MAX_ADDRESSES, Reader::ip)?;
            let (known, seconds) = (input.flag("time")?, input.u32()?);
            Answer::Target(addresses, known.then_some(seconds))
        }
        _ => return Err(BadMessage::BadValue("answer")),
    })
}
