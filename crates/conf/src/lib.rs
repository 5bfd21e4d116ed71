//! xinetd's configuration language: from bytes to [`Service`]s, with diagnostics.
//!
//! Pure: whatever the machine knows (files, users, names) is asked through [`Host`].
//!
//! ```text
//! bytes ─ lex ─ syntax ─► ast ─ inclusion ─► sections in one order ─ resolve ─► Reading
//!                                             assign + values  one line into a draft
//!                                             fill, check      xinetd's rules, in its order
//!                                             refuse, clash    what only portreeve refuses
//!                                             build, advice    the service, and what to say about it
//! ```
#![forbid(unsafe_code)]

// What others see.
mod content;
mod diagnostic;
mod endpoint;
mod host;
mod place;
mod rare; // one that few services have
mod reading;
mod redirect;
mod rlimits;
mod same;
mod sandbox;
mod seldom; // what few services say
mod service;
mod sources;
mod steps;
mod text; // words without copies
mod usual; // what many say alike
mod words;

// The two tables.
mod attribute;
mod attributes;
mod codes;
mod manual;

// The other languages, and the way between them.
pub mod convert;
pub mod inetd;
pub mod switch;
pub mod systemd;

// Bytes to sections.
pub mod ast;
mod inclusion;
mod lex;
mod local;
mod syntax;

// Sections to services.
mod address;
mod advice;
mod assign;
mod build;
mod check;
mod circle;
mod clash;
mod draft;
mod dump;
mod fill;
mod foresee;
mod neighbours;
mod number;
mod refuse;
mod resolve;
mod tls;
mod trusted;
mod values;
mod verdict;
mod verify;

// What is said.
mod nearest;
mod report;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use attribute::{Attribute, Kind, Origin, Section, Values};
pub use attributes::attributes;
pub use codes::{Code, codes, codes_manual};
pub use content::Content;
pub use diagnostic::{Classic, Diagnostic, Level, Severity};
pub use endpoint::{Endpoint, MOST_LISTENERS, MOST_PASSED};
pub use host::{DirEntry, Family, Host, SystemError, User};
pub use manual::manual;
pub use nearest::nearest;
pub use place::Place;
pub use rare::{Nothing, Rare};
pub use reading::{Fatal, LeftOut, Reading, Settings};
pub use redirect::*;
pub use resolve::{Sections, gather, read, read_sources};
pub use rlimits::Rlimits;
pub use sandbox::{
    ALL_CAPABILITIES, Addresses, Amount, CallAnswer, Calls, Device, Devices, Families, Group, Keyring,
    MOST_NETWORKS, Mount, MountKind, Quota, Sandbox, Shown, Users, Weight, cover_of, executes, in_order,
    shown, without_links,
};
pub use seldom::Seldom;
pub use service::*;
pub use sources::{Inetd, InetdUse, Sources};
pub use steps::{Step, VERIFIED};
pub use syntax::parse_file;
pub use text::{Caseless, Shared, Text};
pub use trusted::{
    ProgramDigest, TrustedProgram, digest_text, program_digest, trusted_programs, trusted_text,
};
pub use usual::{Limits, Socket, Usual};
pub use verify::Verify;
pub use words::Words;
