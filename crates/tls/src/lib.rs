//! TLS for services that know none: what is wrong with a certificate or key, and the confined worker that serves it.
//!
//! Linked by the executable `portreeve` alone, never by the gate: the supervisor opens the files of certificates and keys
//! and hands the descriptors on; no byte of them, and none of a client, is parsed as root.
#![forbid(unsafe_code)]

mod certificate; // what a certificate says of itself
mod choose; //      which certificate a client gets
mod der; //         the encoding of certificates
mod end; //         one end of a connection, in the clear or by TLS
mod flow; //        one direction of a connection
mod inspect; //     what `check` says
mod keys; //        certificates, keys and authorities from the bytes of files
mod material; //    the settings in use, from the files that were handed over
mod pem; //         sections of PEM
mod session; //     one connection
mod sessions; //    all of them
mod worker; //      the worker's loop

pub use certificate::{Facts, facts};
pub use inspect::{Complaint, Weight, inspect_authorities, inspect_pair};
pub use worker::main;
