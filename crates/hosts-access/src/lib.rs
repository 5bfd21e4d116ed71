//! The TCP Wrappers language: two tables, `hosts.allow` and `hosts.deny`, that say who may use which daemon.
//!
//! Pure: it opens no file, asks no name service and starts no process. What a rule needs to know and what it orders go
//! through [`World`], which the caller implements: a process that blocks (tcpd, libwrap), a daemon that answers
//! [`Answer::Pending`] and asks again, a predictor that only prints.
//!
//! Verdicts are those of TCP Wrappers 7.6 with options, IPv6 and Debian's extensions, odd ones included
//! (reference tcp-wrappers.md sections A and E).

#![forbid(unsafe_code)]

// What goes in and out.
mod field;
mod message;
mod request;
mod table;
mod verdict;
mod world;

// From bytes to words: the syntax, for whoever reads tables (evaluation, index, linter, tcpdchk).
pub mod lines;
pub mod list;
mod marks;
mod scan;
pub mod split;

// What a word means.
pub mod address;
pub mod glob;
pub mod pattern;
pub mod text;
mod truth;

// What a rule orders.
mod banner;
mod expand;
pub mod option_syntax;
mod option_table;
pub mod option_value;
mod process;

// The decision.
mod candidates;
mod evaluate;
mod explain;
mod inquiry;
mod matching;

// The compiled form.
pub mod image;
mod index;

// For worlds.
pub mod ident;

// For whoever keeps the tables.
pub mod lint;

pub use banner::banner;
pub use evaluate::{Settings, evaluate};
pub use expand::{ExpandError, LONGEST_EXPANSION, clean, expand, is_clean};
pub use explain::{Explanation, MOST_STEPS, Outcome, Step, explain};
pub use field::Field;
pub use index::View;
pub use inquiry::MOST_GROUPS;
pub use matching::{DEEPEST_LIST, LONGEST_WORD, MOST_LISTED};
pub use message::Message;
pub use option_table::{FACILITIES, LEVELS, OPTIONS, OptionName, OptionRule, Takes, find_option};
pub use process::{Processed, process_options};
pub use request::{Host, Request};
pub use table::{Content, Place, Table, Tables, Which};
pub use truth::Truth;
pub use verdict::{Decision, Verdict, Why};
pub use world::{Act, Answer, Done, End, ListFile, World};
