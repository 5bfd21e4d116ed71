//! The conversation with the registrar: what rpcbind is to know of our RPC services, and what came of it.
//!
//! The list is always sent whole. A registrar that begins anew knows nothing of the former one, and needs to know nothing.

use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};
use std::net::SocketAddr;

/// The most registrations at a time, and the most withdrawals.
pub const MAX_REGISTRATIONS: usize = 512;
/// The longest name of an owner that is reported.
pub const MAX_OWNER: usize = 64;

const CONNECTION: u8 = 97;
const LIST: u8 = 98;

/// One entry of rpcbind's table (RFC 1833): a version of a program, and where it is served. The address also says the
/// netid: tcp or udp, tcp6 or udp6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registration {
    /// Program number.
    pub program: u32,
    /// Version.
    pub version: u32,
    /// udp, else tcp.
    pub datagrams: bool,
    /// Where it is served.
    pub address: SocketAddr,
}

impl Registration {
    /// `tcp`, `udp`, `tcp6` or `udp6`.
    pub fn netid(&self) -> &'static str {
        match (self.datagrams, self.address.is_ipv6()) {
            (false, false) => "tcp",
            (false, true) => "tcp6",
            (true, false) => "udp",
            (true, true) => "udp6",
        }
    }

    /// Whether both would be the same entry of rpcbind's table, wherever they point.
    pub fn same_entry(&self, other: &Self) -> bool {
        (self.program, self.version, self.netid()) == (other.program, other.version, other.netid())
    }

    fn put(&self, writer: &mut Writer<'_>) {
        writer.u32(self.program);
        writer.u32(self.version);
        writer.flag(self.datagrams);
        writer.socket_address(self.address);
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(Self {
            program: input.u32()?,
            version: input.u32()?,
            datagrams: input.flag("datagrams")?,
            address: input.socket_address()?,
        })
    }
}

/// What the supervisor tells the registrar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRegistrar {
    /// A connection to rpcbind, made or under way, with the supervisor's credentials. Carries its descriptor; a former one
    /// is closed. Answered by nothing.
    Connection,
    /// What rpcbind is to know, and what it is to forget. Answered by [`FromRegistrar::Done`] or [`FromRegistrar::Lost`].
    List {
        /// The supervisor's mark of this list.
        round: u64,
        /// To be registered; with `true` an entry that is there instead goes.
        wanted: Vec<(Registration, bool)>,
        /// To be taken away, where they still point there.
        withdrawn: Vec<Registration>,
    },
}

/// What became of one wanted registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// rpcbind has it.
    Registered,
    /// rpcbind has another in its place, and it was not to go.
    Taken {
        /// Where that one points, if it is an address of this family.
        address: Option<SocketAddr>,
        /// Whose it is, as rpcbind says; empty where it does not say.
        owner: String,
    },
    /// rpcbind said no.
    Refused,
    /// This rpcbind knows only version 2, which has no place for it.
    NoPlace,
}

/// Why a connection to rpcbind is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It was closed at the other end: rpcbind has ended.
    Closed,
    /// A system call failed; errno.
    Failed(u16),
    /// There was no answer in time.
    Silent,
    /// What came is no answer.
    Nonsense,
}

/// What the registrar tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromRegistrar {
    /// First message: it is confined and waits for a connection.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// A list was worked through.
    Done {
        /// Of the list.
        round: u64,
        /// For each wanted registration, in the list's order.
        entered: Vec<Entered>,
    },
    /// The connection is gone, and the list with it if one was being worked through.
    Lost {
        /// Why.
        why: Trouble,
    },
}

impl ToRegistrar {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        matches!(self, ToRegistrar::Connection)
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToRegistrar::Connection => writer = Writer::new(out, CONNECTION),
            ToRegistrar::List { round, wanted, withdrawn } => {
                writer = Writer::new(out, LIST);
                writer.u64(*round);
                writer.count("wanted", wanted.len(), MAX_REGISTRATIONS)?;
                for (registration, replace) in wanted {
                    registration.put(&mut writer);
                    writer.flag(*replace);
                }
                writer.count("withdrawn", withdrawn.len(), MAX_REGISTRATIONS)?;
                withdrawn.iter().for_each(|registration| registration.put(&mut writer));
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            CONNECTION => ToRegistrar::Connection,
            LIST => ToRegistrar::List {
                round: input.u64()?,
                wanted: input.list("wanted", MAX_REGISTRATIONS, |input| {
                    Ok((Registration::take(input)?, input.flag("replace")?))
                })?,
                withdrawn: input.list("withdrawn", MAX_REGISTRATIONS, Registration::take)?,
            },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

impl FromRegistrar {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list or name beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromRegistrar::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromRegistrar::Done { round, entered } => {
                writer = Writer::new(out, tag::REGISTERED);
                writer.u64(*round);
                writer.count("entered", entered.len(), MAX_REGISTRATIONS)?;
                for one in entered {
                    match one {
                        Entered::Registered => writer.u8(0),
                        Entered::Taken { address, owner } => {
                            writer.u8(1);
                            writer.option(*address, |writer, address| writer.socket_address(address));
                            writer.printable("owner", owner.as_bytes(), MAX_OWNER)?;
                        }
                        Entered::Refused => writer.u8(2),
                        Entered::NoPlace => writer.u8(3),
                    }
                }
            }
            FromRegistrar::Lost { why } => {
                writer = Writer::new(out, tag::RPCBIND_LOST);
                let (number, errno) = match why {
                    Trouble::Closed => (0, 0),
                    Trouble::Failed(errno) => (1, *errno),
                    Trouble::Silent => (2, 0),
                    Trouble::Nonsense => (3, 0),
                };
                writer.u8(number);
                writer.u16(errno);
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            tag::READY => FromRegistrar::Ready { missing: take_ready(&mut input)? },
            tag::REGISTERED => FromRegistrar::Done {
                round: input.u64()?,
                entered: input.list("entered", MAX_REGISTRATIONS, take_entered)?,
            },
            tag::RPCBIND_LOST => FromRegistrar::Lost {
                why: match (input.u8()?, input.u16()?) {
                    (0, 0) => Trouble::Closed,
                    (1, errno) => Trouble::Failed(errno),
                    (2, 0) => Trouble::Silent,
                    (3, 0) => Trouble::Nonsense,
                    _ => return Err(BadMessage::BadValue("trouble")),
                },
            },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

fn take_entered(input: &mut Reader<'_>) -> Result<Entered, BadMessage> {
    Ok(match input.u8()? {
        0 => Entered::Registered,
        1 => {
            let address = input.option("address", Reader::socket_address)?;
            let owner = input.printable("owner", MAX_OWNER)?;
            let owner = String::from_utf8(owner).map_err(|_| BadMessage::BadValue("owner"))?;
            Entered::Taken { address, owner }
        }
        2 => Entered::Refused,
        3 => Entered::NoPlace,
        _ => return Err(BadMessage::BadValue("entered")),
    })
}
