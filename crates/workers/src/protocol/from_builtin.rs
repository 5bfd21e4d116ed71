//! What the builtin worker tells the supervisor.

use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::Reason;
use std::net::SocketAddr;

/// The most sources in one [`FromBuiltin::Datagrams`] report, of the served and of the refused each.
pub const MAX_REPORTED: usize = 256;

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

/// A refused source that is due to be named in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose, as it arrived.
    pub source: SocketAddr,
    /// Why.
    pub reason: Reason,
    /// How many of its datagrams this report covers.
    pub count: u32,
}

/// A change of the rate limit of a datagram service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateNote {
    /// It tripped; sources above their share are refused for this many seconds.
    Tripped {
        /// The wait time of cps.
        seconds: u32,
    },
    /// The service as a whole is paused for this many seconds: datagrams wait in the kernel's queue.
    Paused {
        /// How long.
        seconds: u32,
    },
    /// All is as before.
    Resumed,
}

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
    /// What happened at a datagram service since the last report. A few a second at most.
    Datagrams {
        /// Which service.
        slot: u32,
        /// Sources of answered datagrams, in order, where `log_served` asked for them. At most [`MAX_REPORTED`].
        served: Vec<SocketAddr>,
        /// How many datagrams were served, the listed ones included.
        served_count: u64,
        /// Refused sources to be named: the same source and reason comes again after a minute at the earliest, as xinetd
        /// logs them. At most [`MAX_REPORTED`].
        refused: Vec<Refusal>,
        /// Datagrams that were refused, the listed ones included.
        refused_count: u64,
        /// The same by reason, for counters: each reason at most once.
        refused_by: Vec<(Reason, u64)>,
        /// Datagrams that were taken but not answered, because the answer could start a loop or hit a third party
        /// (source port below 1024 or a built-in's, broadcast, multicast).
        muted: u64,
        /// Sources that did not fit into the lists.
        lost: u64,
    },
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
            FromBuiltin::Datagrams {
                slot,
                served,
                served_count,
                refused,
                refused_count,
                refused_by,
                muted,
                lost,
            } => {
                writer = Writer::new(out, tag::DATAGRAMS);
                writer.u32(*slot);
                writer.count("served", served.len(), MAX_REPORTED)?;
                served.iter().for_each(|source| writer.socket_address(*source));
                writer.u64(*served_count);
                writer.count("refused", refused.len(), MAX_REPORTED)?;
                for refusal in refused {
                    writer.socket_address(refusal.source);
                    writer.u8(reason_number(refusal.reason));
                    writer.u32(refusal.count);
                }
                writer.u64(*refused_count);
                writer.count("reasons", refused_by.len(), REASONS.len())?;
                for (reason, count) in refused_by {
                    writer.u8(reason_number(*reason));
                    writer.u64(*count);
                }
                writer.u64(*muted);
                writer.u64(*lost);
            }
            FromBuiltin::Rate { slot, note } => {
                writer = Writer::new(out, tag::RATE);
                writer.u32(*slot);
                let (number, seconds) = match note {
                    RateNote::Tripped { seconds } => (0, *seconds),
                    RateNote::Paused { seconds } => (1, *seconds),
                    RateNote::Resumed => (2, 0),
                };
                writer.u8(number);
                writer.u32(seconds);
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
            tag::DATAGRAMS => FromBuiltin::Datagrams {
                slot: input.u32()?,
                served: input.list("served", MAX_REPORTED, Reader::socket_address)?,
                served_count: input.u64()?,
                refused: input.list("refused", MAX_REPORTED, |input| {
                    Ok(Refusal {
                        source: input.socket_address()?,
                        reason: reason(input.u8()?)?,
                        count: input.u32()?,
                    })
                })?,
                refused_count: input.u64()?,
                refused_by: input
                    .list("reasons", REASONS.len(), |input| Ok((reason(input.u8()?)?, input.u64()?)))?,
                muted: input.u64()?,
                lost: input.u64()?,
            },
            tag::RATE => {
                let slot = input.u32()?;
                let note = match (input.u8()?, input.u32()?) {
                    (0, seconds) => RateNote::Tripped { seconds },
                    (1, seconds) => RateNote::Paused { seconds },
                    (2, 0) => RateNote::Resumed,
                    _ => return Err(BadMessage::BadValue("rate note")),
                };
                FromBuiltin::Rate { slot, note }
            }
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

/// The reasons that a datagram can be refused for, by their numbers on the wire.
const REASONS: [Reason; 9] = [
    Reason::Rate,
    Reason::Load,
    Reason::Time,
    Reason::ServiceLimit,
    Reason::PerSourceLimit,
    Reason::ProcessLimit,
    Reason::Address,
    Reason::Libwrap,
    Reason::Fork,
];

fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::Rate => 0,
        Reason::Load => 1,
        Reason::Time => 2,
        Reason::ServiceLimit => 3,
        Reason::PerSourceLimit => 4,
        Reason::ProcessLimit => 5,
        Reason::Address => 6,
        Reason::Libwrap => 7,
        Reason::Fork => 8,
        // Of streams alone: no receiver takes them.
        Reason::Header => 9,
        Reason::Tls => 10,
    }
}

fn reason(number: u8) -> Result<Reason, BadMessage> {
    REASONS.get(usize::from(number)).copied().ok_or(BadMessage::BadValue("reason"))
}
