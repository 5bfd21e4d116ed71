//! The part of THE table about bans: who is banned, what is held against whom, and who may tell of it.

use crate::wire::{Bad, Fd, Field, Reader, Writer};
use std::net::IpAddr;
use std::time::Duration;

records! {
    /// A descriptor by which an instance tells of its client.
    WitnessState {
        /// Our end.
        7 fd: Fd,
        /// The client.
        7 source: Option<IpAddr>,
        /// Who that is a proxy said.
        7 proxied: bool,
        /// Words that were heard.
        7 told: u32,
    }
    /// What is held against a source; see `portreeve_policy::evidence::Held`.
    ScoreState {
        /// The source.
        7 address: Option<IpAddr>,
        /// How many leading bits count.
        7 length: u8,
        /// In which table.
        7 table: u8,
        /// When nothing of it is left.
        7 until: Duration,
        /// Pieces of each kind.
        7 counts: Vec<u64>,
        /// The service of the last piece.
        7 service: String,
        /// When that came.
        7 last: Duration,
        /// Instances told some of it.
        7 authenticated: bool,
    }
    /// Former bans of a network.
    StrikeState {
        /// It.
        7 address: Option<IpAddr>,
        /// How many leading bits count.
        7 length: u8,
        /// How many.
        7 count: u32,
        /// Until when they count.
        7 until: Duration,
    }
    /// A ban.
    DeniedState {
        /// Its address.
        1 address: Option<IpAddr>,
        /// Until when; none is for ever.
        1 until: Option<Duration>,
        /// By a sensor, and for how long; the inner none is for ever, the outer one is by hand.
        1 term: Option<Option<Duration>>,
        /// How many leading bits of the address count; none is all.
        5 length: Option<u8>,
        /// What for.
        5 reason: String,
        /// For evidence: the how manieth of its network; 0 of others.
        7 strikes: u32,
        /// It acts in the daemon alone.
        7 inside: bool,
    }
}
