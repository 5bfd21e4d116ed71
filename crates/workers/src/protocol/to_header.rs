//! What the supervisor tells the header worker.

use super::wire::{BadMessage, Reader, Writer};

const READ: u8 = 96;
const FORGET: u8 = 97;

/// What is expected in front of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// A PROXY header, version 1 or 2.
    Proxy,
    /// A line of tcpmux.
    Mux,
}

/// What the supervisor tells the header worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHeader {
    /// A connection to read from. Carries a copy of its descriptor; the supervisor keeps its own. Answered by one `Read`,
    /// unless it is forgotten before.
    Read {
        /// The supervisor's mark of this connection.
        ticket: u64,
        /// What must come.
        what: Preamble,
    },
    /// Close the copy. Not answered; an answer may be on its way already.
    Forget {
        /// Which.
        ticket: u64,
    },
}

impl ToHeader {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// None today; the others of its kind have some.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToHeader::Read { ticket, what } => {
                writer = Writer::new(out, READ);
                writer.u64(*ticket);
                writer.u8(match what {
                    Preamble::Proxy => 0,
                    Preamble::Mux => 1,
                });
            }
            ToHeader::Forget { ticket } => {
                writer = Writer::new(out, FORGET);
                writer.u64(*ticket);
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
            READ => ToHeader::Read {
                ticket: input.u64()?,
                what: match input.u8()? {
                    0 => Preamble::Proxy,
                    1 => Preamble::Mux,
                    _ => return Err(BadMessage::BadValue("preamble")),
                },
            },
            FORGET => ToHeader::Forget { ticket: input.u64()? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}
