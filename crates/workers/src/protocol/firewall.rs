//! The conversation with the firewall worker: who is banned and until when, and what the kernel makes of it.
//!
//! The list is sent whole to a worker that begins (`Bans` until `Stand`), and in changes afterwards. Both sides count the changes
//! since `Stand`, so that what is in force is never said to be more than it is.

use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::Prefix;

/// The most bans, or pardons, in one message.
pub const MAX_BANS: usize = 2048;

const ASKING: u8 = 120;
const LISTENING: u8 = 121;
const BANS: u8 = 122;
const STAND: u8 = 123;
const PARDON: u8 = 124;
const DIAG: u8 = 125;
const CUT: u8 = 126;
const LOOKING: u8 = 127;

/// What the supervisor tells the firewall worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToFirewall {
    /// The socket to change the kernel's table with. Carries its descriptor.
    Asking,
    /// The socket to look at the kernel's table with. Carries its descriptor.
    Looking,
    /// The socket that tells of changes. Carries its descriptor.
    Listening,
    /// The socket to find and end connections with. Carries its descriptor.
    Diag,
    /// These are banned, each for so many milliseconds more; none is for ever. Before `Stand` they are kept until then.
    Bans {
        /// They.
        bans: Vec<(Prefix, Option<u64>)>,
        /// There are more in another message: they go to the kernel together, once an empty list without this comes. A list that is not
        /// empty and comes without this goes by itself, before them.
        more: bool,
    },
    /// The list is whole: the kernel shall have it. Answered by [`FromFirewall::Standing`] or [`FromFirewall::Refused`].
    Stand,
    /// These are banned no more.
    Pardon(Vec<Prefix>),
    /// The connections that these have are ended. Answered by [`FromFirewall::Cut`].
    Cut(Vec<Prefix>),
}

/// How the kernel holds our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody else can change it, and it outlives us.
    OwnedAndKept,
    /// Nobody else can change it; it goes with the socket.
    Owned,
    /// Everybody with the capability can change it.
    Open,
}

impl Hold {
    const ALL: [Hold; 3] = [Hold::OwnedAndKept, Hold::Owned, Hold::Open];
}

/// What the firewall worker tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromFirewall {
    /// First message: it is confined and waits for its sockets.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// What a look at the kernel found, after which all of it is in force.
    Standing {
        /// How the kernel holds the table.
        hold: Hold,
        /// Bans that are wanted.
        wanted: u32,
        /// Those of them that the kernel had.
        enforced: u32,
        /// Others that it had, or had with another end.
        strange: u32,
        /// Somebody had changed the table itself.
        rebuilt: bool,
        /// So many changes since `Stand` are in it, one for each network.
        changes: u64,
    },
    /// Connections of those who are banned were ended.
    Cut {
        /// So many.
        connections: u32,
        /// Why no more; 0 when all were.
        errno: u16,
    },
    /// The kernel does not take the list: errno. It is tried again, without end.
    Refused {
        /// Of the system call.
        errno: u16,
        /// Bans that are wanted and not in force.
        wanted: u32,
    },
}

impl ToFirewall {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        matches!(self, ToFirewall::Asking | ToFirewall::Looking | ToFirewall::Listening | ToFirewall::Diag)
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToFirewall::Asking => writer = Writer::new(out, ASKING),
            ToFirewall::Looking => writer = Writer::new(out, LOOKING),
            ToFirewall::Listening => writer = Writer::new(out, LISTENING),
            ToFirewall::Diag => writer = Writer::new(out, DIAG),
            ToFirewall::Bans { bans, more } => {
                writer = Writer::new(out, BANS);
                writer.count("bans", bans.len(), MAX_BANS)?;
                for (prefix, left) in bans {
                    writer.prefix(prefix);
                    writer.option(*left, Writer::u64);
                }
                writer.flag(*more);
            }
            ToFirewall::Stand => writer = Writer::new(out, STAND),
            ToFirewall::Pardon(prefixes) => {
                writer = Writer::new(out, PARDON);
                writer.count("pardons", prefixes.len(), MAX_BANS)?;
                prefixes.iter().for_each(|prefix| writer.prefix(prefix));
            }
            ToFirewall::Cut(prefixes) => {
                writer = Writer::new(out, CUT);
                writer.count("networks", prefixes.len(), MAX_BANS)?;
                prefixes.iter().for_each(|prefix| writer.prefix(prefix));
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
            ASKING => ToFirewall::Asking,
            LOOKING => ToFirewall::Looking,
            LISTENING => ToFirewall::Listening,
            DIAG => ToFirewall::Diag,
            BANS => ToFirewall::Bans {
                bans: input.list("bans", MAX_BANS, |input| {
                    Ok((input.prefix()?, input.option("left", Reader::u64)?))
                })?,
                more: input.flag("more")?,
            },
            CUT => ToFirewall::Cut(input.list("networks", MAX_BANS, Reader::prefix)?),
            STAND => ToFirewall::Stand,
            PARDON => ToFirewall::Pardon(input.list("pardons", MAX_BANS, Reader::prefix)?),
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

impl FromFirewall {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// None of these can be too long.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromFirewall::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromFirewall::Standing { hold, wanted, enforced, strange, rebuilt, changes } => {
                writer = Writer::new(out, tag::STANDING);
                writer.u8(match hold {
                    Hold::OwnedAndKept => 0,
                    Hold::Owned => 1,
                    Hold::Open => 2,
                });
                writer.u32(*wanted);
                writer.u32(*enforced);
                writer.u32(*strange);
                writer.flag(*rebuilt);
                writer.u64(*changes);
            }
            FromFirewall::Cut { connections, errno } => {
                writer = Writer::new(out, tag::CUT);
                writer.u32(*connections);
                writer.u16(*errno);
            }
            FromFirewall::Refused { errno, wanted } => {
                writer = Writer::new(out, tag::REFUSED);
                writer.u16(*errno);
                writer.u32(*wanted);
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
            tag::READY => FromFirewall::Ready { missing: take_ready(&mut input)? },
            tag::STANDING => FromFirewall::Standing {
                hold: *Hold::ALL.get(usize::from(input.u8()?)).ok_or(BadMessage::BadValue("hold"))?,
                wanted: input.u32()?,
                enforced: input.u32()?,
                strange: input.u32()?,
                rebuilt: input.flag("rebuilt")?,
                changes: input.u64()?,
            },
            tag::CUT => FromFirewall::Cut { connections: input.u32()?, errno: input.u16()? },
            tag::REFUSED => FromFirewall::Refused { errno: input.u16()?, wanted: input.u32()? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}
