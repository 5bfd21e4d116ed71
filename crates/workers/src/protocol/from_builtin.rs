//! What the builtin worker tells the supervisor.

use super::datagrams::{Datagrams, RateNote};
use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};

/// How a client of a built-in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The client closed, or had everything it came for.
    Complete,
    /// Nothing moved for the idle time.
    Idle,
    /// The connection broke (reset, unreachable).
    Broken,
    /// Not served: the worker has as many clients as it may.
    Full,
    /// Ended on the supervisor's word.
    Ended,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Complete, Outcome::Idle, Outcome::Broken, Outcome::Full, Outcome::Ended];

/// What the builtin worker tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromBuiltin {
    /// First message: it is confined and waits for clients.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// A client of `Serve` has ended and its descriptor is closed.
    Done {
        /// Of the client.
        ticket: u64,
        /// Bytes read from it.
        bytes_in: u64,
        /// Bytes written to it.
        bytes_out: u64,
        /// How it ended.
        outcome: Outcome,
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

impl FromBuiltin {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromBuiltin::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromBuiltin::Done { ticket, bytes_in, bytes_out, outcome } => {
                writer = Writer::new(out, tag::DONE);
                writer.u64(*ticket);
                writer.u64(*bytes_in);
                writer.u64(*bytes_out);
                writer.u8(match outcome {
                    Outcome::Complete => 0,
                    Outcome::Idle => 1,
                    Outcome::Broken => 2,
                    Outcome::Full => 3,
                    Outcome::Ended => 4,
                });
            }
            FromBuiltin::Datagrams(report) => {
                writer = Writer::new(out, tag::DATAGRAMS);
                report.put(&mut writer)?;
            }
            FromBuiltin::Rate { slot, note } => {
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
            tag::READY => FromBuiltin::Ready { missing: take_ready(&mut input)? },
            tag::DONE => FromBuiltin::Done {
                ticket: input.u64()?,
                bytes_in: input.u64()?,
                bytes_out: input.u64()?,
                outcome: *OUTCOMES.get(usize::from(input.u8()?)).ok_or(BadMessage::BadValue("outcome"))?,
            },
            tag::DATAGRAMS => FromBuiltin::Datagrams(Datagrams::take(&mut input)?),
            tag::RATE => {
                let (slot, note) = RateNote::take(&mut input)?;
                FromBuiltin::Rate { slot, note }
            }
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}
