//! May this arrival have this service now?
//!
//! Pure: the clock, names and load are given by the caller, nothing is read and nothing is opened. The order of the
//! checks is xinetd's own (reference xinetd §3.1), so that the first reason found is the same one.
//!
//! A caller keeps three things: [`CompiledRules`], made anew at each reload; [`ServiceState`], the counters of one
//! service, kept across reloads; [`HostState`], what all services share. [`decide`] is asked once per arrival, and again
//! when it needs the peer's names or the word of hosts.allow and hosts.deny. An admitted arrival holds a [`Seat`]; dropping it gives every limit back.
#![forbid(unsafe_code)]

mod address;
mod address_text;
mod arrival;
mod checks;
mod decide;
mod denied;
pub mod evidence;
mod explain;
mod front;
mod intervals;
mod names;
mod occupancy;
mod prefix;
mod rate;
mod rules;
mod scans;
pub mod schedule;
mod source;
mod state;
mod verdict;
mod wait;

pub use address::{AddressSet, Match, Pattern, Rule};
pub use address_text::AddressText;
pub use arrival::{Arrival, Credentials, Facts, Names, NoPeer, Now, Peer, Proof, Tables};
pub use decide::{decide, decide_datagram, turns_away};
pub use denied::{Ban, Denied, DeniedFull, MOST_BANS, MOST_TRIPPED, SensorHit, later};
pub use explain::{Check, Outcome, TABLES, end_at_refusal, explain};
pub use front::{decide_front, explain_front};
pub use prefix::{BadPrefix, Prefix};
pub use rate::{RateChange, RateView, SavedRate};
pub use rules::{CompiledRules, Denial, Origin, Rules};
pub use scans::{MOST_SCANS, Met, SCAN_WINDOW, Scanner, Scans, Seen};
pub use source::network;
pub use state::{HostState, Seat, ServiceState};
pub use verdict::{Cause, Reason, Refusal, Verdict};
pub use wait::{WaitVerdict, decide_wait};
