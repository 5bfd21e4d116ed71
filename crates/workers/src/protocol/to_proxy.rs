//! What the supervisor tells the proxy worker. A connection comes in two messages, because each carries one descriptor:
//! [`ToProxy::Client`], and behind it [`ToProxy::Target`]; another of these for each target that was not reached.

use super::policy::Policy;
use super::wire::{BadMessage, Reader, Writer};

/// The longest banner that travels, in bytes; a longer one is cut.
pub const MAX_BANNER: usize = 60 * 1024;

/// The longest PROXY header that we send, in bytes: the longest line of its version 1 (doc/proxy-protocol.txt, section 2.1).
pub const MAX_HEAD: usize = 107;

const CLIENT: u8 = 65;
const TARGET: u8 = 66;
const DROP: u8 = 67;
const DATAGRAMS: u8 = 68;
const FLOWS: u8 = 69;
const FLOW: u8 = 70;
const NO_FLOW: u8 = 71;

/// What the supervisor tells the proxy worker.
#[derive(Clone, Debug, PartialEq)]
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
    /// A target for a client or a flow that has none. Carries the socket, whose connect is under way (that of a flow is
    /// connected). Answered by `Unreached` if it comes to nothing; an unknown ticket has just ended and is ignored.
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
    /// Who may use a datagram service.
    Policy(Policy),
    /// Carry the datagrams of a bound socket once its rules are complete. Carries the socket. A slot that is in use is
    /// replaced, and its flows end.
    Datagrams {
        /// The supervisor's mark of this service.
        slot: u32,
        /// Whether it is a further socket of the service, and not its first.
        more: bool,
    },
    /// The bounds of a datagram service's flows; those that there are stay.
    Flows {
        /// Of which service.
        slot: u32,
        /// Most of them.
        most: u32,
        /// Most of one source.
        per_source: u32,
        /// By which lengths of IPv4 and IPv6 networks a source is counted.
        prefix: (u8, u8),
        /// End one after this many seconds without a datagram; at least 1.
        idle_seconds: u32,
    },
    /// A flow that the worker has asked for by `Want`. Carries a socket that is connected to the target. Answered by exactly one
    /// `Done`.
    Flow {
        /// The worker's mark of it.
        number: u64,
        /// The supervisor's mark of it.
        ticket: u64,
        /// Say `Reached` when it has answered.
        tell: bool,
    },
    /// There is none for the `Want` of this number.
    NoFlow {
        /// The worker's mark of it.
        number: u64,
    },
}

impl ToProxy {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            ToProxy::Client { .. } | ToProxy::Target { .. } => true,
            ToProxy::Datagrams { .. } | ToProxy::Flow { .. } => true,
            ToProxy::Policy(policy) => policy.carries_descriptor(),
            ToProxy::End { .. } | ToProxy::Flows { .. } | ToProxy::NoFlow { .. } => false,
        }
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
            ToProxy::Policy(policy) => return policy.encode(out),
            ToProxy::Datagrams { slot, more } => {
                writer = Writer::new(out, DATAGRAMS);
                writer.u32(*slot);
                writer.flag(*more);
            }
            ToProxy::Flows { slot, most, per_source, prefix, idle_seconds } => {
                writer = Writer::new(out, FLOWS);
                writer.u32(*slot);
                writer.u32(*most);
                writer.u32(*per_source);
                writer.u8(prefix.0);
                writer.u8(prefix.1);
                writer.u32(*idle_seconds);
            }
            ToProxy::Flow { number, ticket, tell } => {
                writer = Writer::new(out, FLOW);
                writer.u64(*number);
                writer.u64(*ticket);
                writer.flag(*tell);
            }
            ToProxy::NoFlow { number } => {
                writer = Writer::new(out, NO_FLOW);
                writer.u64(*number);
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
            DATAGRAMS => ToProxy::Datagrams { slot: input.u32()?, more: input.flag("more")? },
            FLOWS => ToProxy::Flows {
                slot: input.u32()?,
                most: input.u32()?,
                per_source: input.u32()?,
                prefix: (input.u8()?, input.u8()?),
                idle_seconds: input.u32()?,
            },
            FLOW => ToProxy::Flow { number: input.u64()?, ticket: input.u64()?, tell: input.flag("tell")? },
            NO_FLOW => ToProxy::NoFlow { number: input.u64()? },
            other => ToProxy::Policy(Policy::take(other, &mut input)?),
        };
        input.finish()?;
        Ok(message)
    }
}
