//! Who a client is beyond its address: the host name that hosts.allow and hosts.deny see, and the user that its ident
//! server names. What could not be asked for is told apart from what is not there, always.

use super::wire::{BadMessage, Reader, Writer};

/// The longest line of an ident server that is passed on.
pub const MAX_IDENT: usize = 512;
/// The longest user name that is passed on: what the tables' language holds (reference tcp-wrappers A10).
const MAX_USER: usize = 127;

/// The name of a host, checked as TCP Wrappers checks it (reference tcp-wrappers A11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// A name that leads back to the address.
    Name(String),
    /// The address has no name.
    Unknown,
    /// It has one that cannot be true: `paranoid`.
    Paranoid(Mismatch),
    /// Nobody could be asked.
    Unavailable,
}

/// What is wrong with a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The name is itself an address, or no name of a host.
    NoName,
    /// The name has no address.
    NoAddress,
    /// The name service calls the host otherwise.
    OtherName,
    /// The name leads elsewhere.
    OtherAddress,
}

const MISMATCHES: [Mismatch; 4] =
    [Mismatch::NoName, Mismatch::NoAddress, Mismatch::OtherName, Mismatch::OtherAddress];

impl Mismatch {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Mismatch::NoName => "its reverse name is no host name",
            Mismatch::NoAddress => "its reverse name has no address",
            Mismatch::OtherName => "its reverse name is not the host's official one",
            Mismatch::OtherAddress => "its reverse name leads elsewhere",
        }
    }
}

impl HostName {
    pub(super) fn put(&self, out: &mut Writer<'_>) -> Result<(), BadMessage> {
        match self {
            HostName::Unavailable => out.u8(0),
            HostName::Unknown => out.u8(1),
            HostName::Name(name) => {
                out.u8(2);
                out.host("host name", name)?;
            }
            HostName::Paranoid(why) => {
                out.u8(3 + (MISMATCHES.iter().position(|m| m == why).unwrap_or(0) as u8))
            }
        }
        Ok(())
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(match input.u8()? {
            0 => HostName::Unavailable,
            1 => HostName::Unknown,
            2 => HostName::Name(input.host("host name")?),
            other => {
                let why = MISMATCHES.get(usize::from(other) - 3).ok_or(BadMessage::BadValue("host name"))?;
                HostName::Paranoid(*why)
            }
        })
    }
}

/// What asking an ident server came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentAnswer {
    /// It has answered with a line.
    Line {
        /// The user, where the line names one as TCP Wrappers reads it (reference tcp-wrappers A11).
        user: Option<Vec<u8>>,
        /// Whether xinetd takes the line for an answer (reference xinetd §10.3).
        good: bool,
        /// What xinetd logs: of a good line what follows the second colon, otherwise all of it.
        text: Vec<u8>,
    },
    /// It has not: a true negative.
    Failed(IdentFailure),
    /// Nobody could be asked: too many questions at once, or no resolver.
    Unavailable,
}

/// Why an ident server has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentFailure {
    /// Nobody listens there.
    NoServer,
    /// It took too long.
    Timeout,
    /// We could not ask: no socket, no route.
    System,
    /// The connection broke.
    Receiving,
}

const FAILURES: [IdentFailure; 4] =
    [IdentFailure::NoServer, IdentFailure::Timeout, IdentFailure::System, IdentFailure::Receiving];

impl IdentFailure {
    /// xinetd's words (reference xinetd §10.3).
    pub fn text(self) -> &'static str {
        match self {
            IdentFailure::NoServer => "no server",
            IdentFailure::Timeout => "timeout",
            IdentFailure::System => "system error",
            IdentFailure::Receiving => "error while receiving response",
        }
    }
}

impl IdentAnswer {
    pub(super) fn put(&self, out: &mut Writer<'_>) -> Result<(), BadMessage> {
        match self {
            IdentAnswer::Unavailable => out.u8(0),
            IdentAnswer::Line { user, good, text } => {
                out.u8(1);
                out.flag(user.is_some());
                if let Some(user) = user {
                    out.printable("user", user, MAX_USER)?;
                }
                out.flag(*good);
                out.printable("ident line", text, MAX_IDENT)?;
            }
            IdentAnswer::Failed(why) => {
                out.u8(2 + (FAILURES.iter().position(|f| f == why).unwrap_or(0) as u8))
            }
        }
        Ok(())
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(match input.u8()? {
            0 => IdentAnswer::Unavailable,
            1 => IdentAnswer::Line {
                user: input.option("user", |input| input.printable("user", MAX_USER))?,
                good: input.flag("ident line")?,
                text: input.printable("ident line", MAX_IDENT)?,
            },
            other => {
                let why = FAILURES.get(usize::from(other) - 2).ok_or(BadMessage::BadValue("ident answer"))?;
                IdentAnswer::Failed(*why)
            }
        })
    }
}
