//! What a worker that owns datagram sockets reports of them: who was served and refused, and what the rate limit does.

use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::Reason;
use std::net::SocketAddr;

/// The most sources in one [`Datagrams`] report, of the served and of the refused each.
pub const MAX_REPORTED: usize = 256;

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
    /// It has had its starts of the minute; datagrams wait in the kernel's queue for this many seconds.
    Full {
        /// How long.
        seconds: u32,
    },
    /// All is as before.
    Resumed,
}

impl RateNote {
    pub(super) fn put(self, writer: &mut Writer<'_>, slot: u32) {
        writer.u32(slot);
        let (number, seconds) = match self {
            RateNote::Tripped { seconds } => (0, seconds),
            RateNote::Paused { seconds } => (1, seconds),
            RateNote::Resumed => (2, 0),
            RateNote::Full { seconds } => (3, seconds),
        };
        writer.u8(number);
        writer.u32(seconds);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<(u32, Self), BadMessage> {
        let slot = input.u32()?;
        let note = match (input.u8()?, input.u32()?) {
            (0, seconds) => RateNote::Tripped { seconds },
            (1, seconds) => RateNote::Paused { seconds },
            (2, 0) => RateNote::Resumed,
            (3, seconds) => RateNote::Full { seconds },
            _ => return Err(BadMessage::BadValue("rate note")),
        };
        Ok((slot, note))
    }
}

/// What happened at a datagram service since the last report. A few a second at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagrams {
    /// Which service.
    pub slot: u32,
    /// Sources of answered datagrams, in order, where `log_served` asked for them. At most [`MAX_REPORTED`].
    pub served: Vec<SocketAddr>,
    /// How many datagrams were served, the listed ones included.
    pub served_count: u64,
    /// Refused sources to be named: the same source and reason comes again after a minute at the earliest, as xinetd
    /// logs them. At most [`MAX_REPORTED`].
    pub refused: Vec<Refusal>,
    /// Datagrams that were refused, the listed ones included.
    pub refused_count: u64,
    /// The same by reason, for counters: each reason at most once.
    pub refused_by: Vec<(Reason, u64)>,
    /// Datagrams that were taken but not answered, because the answer could start a loop or hit a third party
    /// (source port below 1024 or a built-in's, broadcast, multicast).
    pub muted: u64,
    /// Sources that did not fit into the lists.
    pub lost: u64,
}

impl Datagrams {
    pub(super) fn put(&self, writer: &mut Writer<'_>) -> Result<(), BadMessage> {
        writer.u32(self.slot);
        writer.count("served", self.served.len(), MAX_REPORTED)?;
        self.served.iter().for_each(|source| writer.socket_address(*source));
        writer.u64(self.served_count);
        writer.count("refused", self.refused.len(), MAX_REPORTED)?;
        for refusal in &self.refused {
            writer.socket_address(refusal.source);
            writer.u8(reason_number(refusal.reason));
            writer.u32(refusal.count);
        }
        writer.u64(self.refused_count);
        writer.count("reasons", self.refused_by.len(), REASONS.len())?;
        for (reason, count) in &self.refused_by {
            writer.u8(reason_number(*reason));
            writer.u64(*count);
        }
        writer.u64(self.muted);
        writer.u64(self.lost);
        Ok(())
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(Datagrams {
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
        })
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
        Reason::Program => 11,
    }
}

fn reason(number: u8) -> Result<Reason, BadMessage> {
    REASONS.get(usize::from(number)).copied().ok_or(BadMessage::BadValue("reason"))
}
