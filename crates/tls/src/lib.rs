//! TLS for services that know none: what is wrong with a certificate or key, and the confined worker that serves it.
//!
//! Linked by the executable `portreeve` alone, never by the gate: the supervisor opens the files of certificates and keys
//! and hands the descriptors on; no byte of them, and none of a client, is parsed as root.
#![forbid(unsafe_code)]

mod certificate;
mod der;
mod inspect;
mod keys;

pub use certificate::{Facts, facts};
pub use inspect::{Complaint, Weight, inspect_authorities, inspect_pair};
