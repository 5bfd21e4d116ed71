//! What the supervisor tells the proxy worker. A connection comes in two messages, because each carries one descriptor:
//! [`ToProxy::Client`], and behind it [`ToProxy::Target`]; another of these for each target that was not reached.

use super::wire::{BadMessage, Reader, Writer};

/// The longest banner that travels, in bytes; a longer one is cut.
pub const MAX_BANNER: usize = 60 * 1024;

/// The longest PROXY header that we send, in bytes: the longest line of its version 1 (doc/proxy-protocol.txt, section 2.1).
pub const MAX_HEAD: usize = 107;

const CLIENT: u8 = 65;
const TARGET: u8 = 66;
const DROP: u8 = 67;

/// What the supervisor tells the proxy worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToProxy {
    /// A client. Carries its descriptor. Answered by exactly one `Done`.
    Client {
        /// The supervisor's mark of this connection.
        ticket: u64,
        /// End after this many seconds without progress; at least 1.
        idle_seconds: u32,
        /// What the client is told once the target has answered.
        banner: Vec<u8>,
        /// What the target is told before the client's first byte: a PROXY header, or nothing.
        head: Vec<u8>,
    },
    /// A target for a client that has none. Carries the socket, whose connect is under way. Answered by `Unreached` if it
    /// comes to nothing; an unknown ticket has just ended and is ignored.
    Target {
        /// The client's mark.
        ticket: u64,
        /// How long the target may take to accept.
        patience_seconds: u16,
        /// Say `Reached` when it has accepted.
        tell: bool,
    },
    /// End a connection. Answered by its `Done`; an unknown ticket has just ended and is ignored.
    End {
        /// Which.
        ticket: u64,
    },
}

impl ToProxy {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        matches!(self, ToProxy::Client { .. } | ToProxy::Target { .. })
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A banner beyond [`MAX_BANNER`], a head beyond [`MAX_HEAD`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToProxy::Client { ticket, idle_seconds, banner, head } => {
                writer = Writer::new(out, CLIENT);
                writer.u64(*ticket);
                writer.u32(*idle_seconds);
                writer.blob("banner", banner, MAX_BANNER)?;
                writer.blob("head", head, MAX_HEAD)?;
            }
            ToProxy::Target { ticket, patience_seconds, tell } => {
                writer = Writer::new(out, TARGET);
                writer.u64(*ticket);
                writer.u16(*patience_seconds);
                writer.flag(*tell);
            }
            ToProxy::End { ticket } => {
                writer = Writer::new(out, DROP);
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
            CLIENT => ToProxy::Client {
                ticket: input.u64()?,
                idle_seconds: input.u32()?,
                banner: input.blob("banner", MAX_BANNER)?,
                head: input.blob("head", MAX_HEAD)?,
            },
            TARGET => ToProxy::Target {
                ticket: input.u64()?,
                patience_seconds: input.u16()?,
                tell: input.flag("tell")?,
            },
            DROP => ToProxy::End { ticket: input.u64()? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}
