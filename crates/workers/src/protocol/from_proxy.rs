//! What the proxy worker tells the supervisor.

use super::datagrams::{Datagrams, RateNote};
use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};
use std::net::SocketAddr;

/// How a carried connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carried {
    /// Both sides have closed.
    Complete,
    /// Nothing moved for the idle time.
    Idle,
    /// One side broke it off (reset, unreachable).
    Broken,
    /// Not carried: the worker has as many connections as it may.
    Full,
    /// Ended on the supervisor's word.
    Ended,
    /// A flow that made room for another.
    Crowded,
}

impl Carried {
    pub(super) fn put(self, out: &mut Writer<'_>) {
        out.u8(match self {
            Carried::Complete => 0,
            Carried::Idle => 1,
            Carried::Broken => 2,
            Carried::Full => 3,
            Carried::Ended => 4,
            Carried::Crowded => 5,
        });
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(match input.u8()? {
            0 => Carried::Complete,
            1 => Carried::Idle,
            2 => Carried::Broken,
            3 => Carried::Full,
            4 => Carried::Ended,
            5 => Carried::Crowded,
            _ => return Err(BadMessage::BadValue("outcome")),
        })
    }
}

/// What the proxy worker tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromProxy {
    /// First message: it is confined and waits for clients.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// A target has accepted, where this was asked for.
    Reached {
        /// Of the client.
        ticket: u64,
    },
    /// A target was not reached. The client waits for another one, or for `End`.
    Unreached {
        /// Of the client.
        ticket: u64,
        /// Why.
        errno: u16,
    },
    /// A connection has ended and both its descriptors are closed.
    Done {
        /// Of the client.
        ticket: u64,
        /// Bytes from the client to the target.
        bytes_in: u64,
        /// Bytes from the target to the client.
        bytes_out: u64,
        /// How it ended.
        outcome: Carried,
    },
    /// A source has begun a flow and needs a target. Answered by `Flow` or `NoFlow`.
    Want {
        /// To which service.
        slot: u32,
        /// The worker's mark of it.
        number: u64,
        /// Whose, as it arrived.
        source: SocketAddr,
        /// To which address of this host; none where the kernel does not tell.
        local: Option<SocketAddr>,
    },
    /// What happened at a datagram service since the last report.
    Datagrams(Datagrams),
    /// The rate limit of a datagram service changed its state.
    Rate {
        /// Which service.
        slot: u32,
        /// How.
        note: RateNote,
    },
}

impl FromProxy {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromProxy::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromProxy::Reached { ticket } => {
                writer = Writer::new(out, tag::REACHED);
                writer.u64(*ticket);
            }
            FromProxy::Unreached { ticket, errno } => {
                writer = Writer::new(out, tag::UNREACHED);
                writer.u64(*ticket);
                writer.u16(*errno);
            }
            FromProxy::Done { ticket, bytes_in, bytes_out, outcome } => {
                writer = Writer::new(out, tag::CARRIED);
                writer.u64(*ticket);
                writer.u64(*bytes_in);
                writer.u64(*bytes_out);
                outcome.put(&mut writer);
            }
            FromProxy::Want { slot, number, source, local } => {
                writer = Writer::new(out, tag::WANT);
                writer.u32(*slot);
                writer.u64(*number);
                writer.socket_address(*source);
                writer.option(*local, Writer::socket_address);
            }
            FromProxy::Datagrams(report) => {
                writer = Writer::new(out, tag::DATAGRAMS);
                report.put(&mut writer)?;
            }
            FromProxy::Rate { slot, note } => {
                writer = Writer::new(out, tag::RATE);
                note.put(&mut writer, *slot);
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
            tag::READY => FromProxy::Ready { missing: take_ready(&mut input)? },
            tag::REACHED => FromProxy::Reached { ticket: input.u64()? },
            tag::UNREACHED => FromProxy::Unreached { ticket: input.u64()?, errno: input.u16()? },
            tag::CARRIED => FromProxy::Done {
                ticket: input.u64()?,
                bytes_in: input.u64()?,
                bytes_out: input.u64()?,
                outcome: Carried::take(&mut input)?,
            },
            tag::WANT => FromProxy::Want {
                slot: input.u32()?,
                number: input.u64()?,
                source: input.socket_address()?,
                local: input.option("local", Reader::socket_address)?,
            },
            tag::DATAGRAMS => FromProxy::Datagrams(Datagrams::take(&mut input)?),
            tag::RATE => {
                let (slot, note) = RateNote::take(&mut input)?;
                FromProxy::Rate { slot, note }
            }
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}
