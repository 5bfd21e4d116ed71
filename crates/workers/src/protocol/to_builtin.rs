//! What the supervisor tells the builtin worker.

use super::policy::Policy;
use super::wire::{BadMessage, Reader, Writer};
use std::net::SocketAddr;

/// The most ports in [`ToBuiltin::BuiltinPorts`].
pub const MAX_PORTS: usize = 16 * 1024;

const SERVE: u8 = 33;
const DATAGRAMS: u8 = 34;
const PORTS: u8 = 40;
const END: u8 = 41;
const REPORT: u8 = 44;

/// The longest of the two texts of a [`ToBuiltin::Report`].
pub const MAX_REPORT: usize = 128 * 1024;

/// The built-in services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuiltinKind {
    /// RFC 862: what comes goes back.
    Echo,
    /// RFC 863: what comes is thrown away.
    Discard,
    /// RFC 864: lines of printable characters without end.
    Chargen,
    /// RFC 867: the local time as text.
    Daytime,
    /// RFC 868: the seconds since 1900 as four bytes.
    Time,
    /// What runs, as a text.
    Servers,
    /// What is served, as a text.
    Services,
    /// Both, asked for line by line.
    Xadmin,
    /// Says nothing, and throws away what comes.
    Trap,
    /// Says a character now and then, and reads nothing.
    Tarpit,
}

impl BuiltinKind {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [BuiltinKind; 10] = [
        BuiltinKind::Echo,
        BuiltinKind::Discard,
        BuiltinKind::Chargen,
        BuiltinKind::Daytime,
        BuiltinKind::Time,
        BuiltinKind::Servers,
        BuiltinKind::Services,
        BuiltinKind::Xadmin,
        BuiltinKind::Trap,
        BuiltinKind::Tarpit,
    ];

    /// Whether its clients are told what a [`ToBuiltin::Report`] says; such a one has no datagrams.
    pub fn reports(self) -> bool {
        matches!(self, BuiltinKind::Servers | BuiltinKind::Services | BuiltinKind::Xadmin)
    }

    /// Whether it has no datagrams.
    pub fn is_stream_only(self) -> bool {
        self.reports() || self.holds()
    }

    /// Whether it keeps its clients as long as they stay, since that is what it is for.
    pub fn holds(self) -> bool {
        matches!(self, BuiltinKind::Trap | BuiltinKind::Tarpit)
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Self::ALL.get(usize::from(input.u8()?)).copied().ok_or(BadMessage::BadValue("built-in"))
    }

    fn put(self, writer: &mut Writer<'_>) {
        writer.u8(match self {
            BuiltinKind::Echo => 0,
            BuiltinKind::Discard => 1,
            BuiltinKind::Chargen => 2,
            BuiltinKind::Daytime => 3,
            BuiltinKind::Time => 4,
            BuiltinKind::Servers => 5,
            BuiltinKind::Services => 6,
            BuiltinKind::Xadmin => 7,
            BuiltinKind::Trap => 8,
            BuiltinKind::Tarpit => 9,
        });
    }
}

/// What the supervisor tells the builtin worker.
///
/// A datagram service begins with a [`ToBuiltin::Datagrams`] for each of its sockets, which it carries, followed by the messages of
/// [`super::rules_messages`]; the worker reads no datagram before [`Policy::RulesEnd`]. New rules are the same
/// messages again: the old ones hold until the new end.
#[derive(Clone, Debug, PartialEq)]
pub enum ToBuiltin {
    /// Serve this client. Carries its descriptor. Answered by exactly one `Done`.
    Serve {
        /// The supervisor's mark of this client.
        ticket: u64,
        /// What to be.
        kind: BuiltinKind,
        /// End after this many seconds without progress; 0 means an hour.
        idle_seconds: u32,
        /// The peer as it arrived.
        peer: SocketAddr,
    },
    /// What the next client of a kind that reports is told. Carries a file with the two texts, one behind the other, each at most
    /// [`MAX_REPORT`] long.
    Report {
        /// Bytes about what runs.
        servers: u32,
        /// Bytes about what is served.
        services: u32,
    },
    /// Answer the datagrams of a bound socket once its rules are complete. Carries the socket. A slot that is in use is
    /// replaced.
    Datagrams {
        /// The supervisor's mark of this service.
        slot: u32,
        /// What to be.
        kind: BuiltinKind,
        /// Whether it is a further socket of the service, and not its first.
        more: bool,
    },
    /// Who may use a datagram service.
    Policy(Policy),
    /// The ports of our own built-ins: a datagram from one of them is never answered. Replaces the former list.
    BuiltinPorts(Vec<u16>),
    /// End a client. Answered by its `Done`; an unknown ticket has just ended and is ignored.
    End {
        /// Which.
        ticket: u64,
    },
}

impl ToBuiltin {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            ToBuiltin::Serve { .. } | ToBuiltin::Report { .. } | ToBuiltin::Datagrams { .. } => true,
            ToBuiltin::Policy(policy) => policy.carries_descriptor(),
            ToBuiltin::BuiltinPorts(_) | ToBuiltin::End { .. } => false,
        }
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list or name beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToBuiltin::Serve { ticket, kind, idle_seconds, peer } => {
                writer = Writer::new(out, SERVE);
                writer.u64(*ticket);
                kind.put(&mut writer);
                writer.u32(*idle_seconds);
                writer.socket_address(*peer);
            }
            ToBuiltin::Report { servers, services } => {
                writer = Writer::new(out, REPORT);
                writer.u32(*servers);
                writer.u32(*services);
            }
            ToBuiltin::Datagrams { slot, kind, more } => {
                writer = Writer::new(out, DATAGRAMS);
                writer.u32(*slot);
                kind.put(&mut writer);
                writer.flag(*more);
            }
            ToBuiltin::Policy(policy) => return policy.encode(out),
            ToBuiltin::BuiltinPorts(ports) => {
                writer = Writer::new(out, PORTS);
                writer.count("ports", ports.len(), MAX_PORTS)?;
                ports.iter().for_each(|port| writer.u16(*port));
            }
            ToBuiltin::End { ticket } => {
                writer = Writer::new(out, END);
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
            SERVE => ToBuiltin::Serve {
                ticket: input.u64()?,
                kind: BuiltinKind::take(&mut input)?,
                idle_seconds: input.u32()?,
                peer: input.socket_address()?,
            },
            REPORT => {
                let mut length = || match input.u32()? {
                    length if length as usize <= MAX_REPORT => Ok(length),
                    _ => Err(BadMessage::TooLong("report")),
                };
                ToBuiltin::Report { servers: length()?, services: length()? }
            }
            DATAGRAMS => ToBuiltin::Datagrams {
                slot: input.u32()?,
                kind: match BuiltinKind::take(&mut input)? {
                    kind if kind.is_stream_only() => return Err(BadMessage::BadValue("built-in")),
                    kind => kind,
                },
                more: input.flag("more")?,
            },
            PORTS => ToBuiltin::BuiltinPorts(input.list("ports", MAX_PORTS, Reader::u16)?),
            END => ToBuiltin::End { ticket: input.u64()? },
            other => ToBuiltin::Policy(Policy::take(other, &mut input)?),
        };
        input.finish()?;
        Ok(message)
    }
}
