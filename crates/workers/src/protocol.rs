//! The messages between the supervisor and its workers: what may be said, by whom, and how long it may be.
//!
//! One message is one packet of a `SOCK_SEQPACKET` socket pair, at most [`MAX_MESSAGE`] bytes: a tag byte, then the
//! fields in order, little endian, lists with their length in front. A descriptor travels beside the message it belongs
//! to (`SCM_RIGHTS`). No field is optional; [`version`] stands for all of them. Between the supervisor and its builtin and proxy workers
//! a packet may hold several ([`Bundle`]).
//!
//! A worker reads what strangers send, so the supervisor treats what a worker says as a stranger's word too: nothing here
//! panics, every length has a bound, every string is checked, a byte too many is an error. [`Referee`] holds the table of
//! who may say what; a message that breaks it is the supervisor's reason to kill the worker.

mod answers;
mod bundle;
mod datagrams;
mod firewall;
mod from_builtin;
mod from_header;
mod from_ledger;
mod from_proxy;
mod from_tls;
mod identity;
mod kept;
mod names;
mod parting;
mod policy;
mod referee;
mod registrar;
mod rules;
mod scan_kind;
mod sensor;
mod to_builtin;
mod to_header;
mod to_ledger;
mod to_proxy;
mod to_tls;
mod wire;

pub use answers::{Answer, MAX_ADDRESSES, MAX_GROUPS};
pub use bundle::{Bundle, MOST_IN_BUNDLE, parts};
pub use datagrams::{Datagrams, MAX_REPORTED, RateNote, Refusal};
pub use firewall::{FromFirewall, Hold, MAX_BANS, ToFirewall};
pub use from_builtin::{FromBuiltin, Outcome};
pub use from_header::{Fault, Found, FromHeader};
pub use from_ledger::{FromLedger, sentence};
pub use from_proxy::{Carried, FromProxy};
pub use from_tls::{FromTls, MAX_SUBJECT, MAX_WHY, Sealed, WrongFile};
pub use identity::{HostName, IdentAnswer, IdentFailure, MAX_IDENT, Mismatch};
pub use kept::{BanOrder, KeptBan, MAX_KEPT, MAX_REASON, Maker};
pub use names::{Family, FromResolver, MAX_NAMES, NamesAnswer, Question, ToResolver};
pub use parting::{LEAVE, over, version};
pub use policy::{MAX_TABLE, Policy, TableSent};
pub use referee::{Missing, Referee, Worker};
pub use registrar::{
    Entered, FromRegistrar, MAX_OWNER, MAX_REGISTRATIONS, Registration, ToRegistrar, Trouble,
};
pub use rules::{List, MAX_RULES, RulesHead, RulesInParts, rules_messages};
pub use scan_kind::{ScanKind, ScanKinds};
pub use sensor::{FromSensor, MAX_SCAN_PORTS, MAX_SCANS, Scan, ToSensor, Watched};
pub use to_builtin::{BuiltinKind, MAX_PORTS, MAX_REPORT, ToBuiltin};
pub use to_header::{Preamble, ToHeader};
pub use to_ledger::{Banned, Ended, Ending, Event, EventBatch, EventKind, Events, MAX_BATCH, Usage};
pub use to_proxy::{MAX_BANNER, MAX_HEAD, ToProxy};
pub use to_tls::{MAX_TLS_FILES, TlsFile, ToTls};
pub use wire::BadMessage;

/// The longest message in bytes. A longer packet arrives truncated and is refused as such.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The longest name (user, group, host, service, network) in bytes: what DNS allows, and more than any database holds.
pub const MAX_NAME: usize = 255;
