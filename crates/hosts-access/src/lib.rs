//! The TCP Wrappers language: two tables, `hosts.allow` and `hosts.deny`, that say who may use which daemon.
//!
//! Pure: it opens no file, asks no name service and starts no process. What a rule needs to know and what it orders go
//! through [`World`], which the caller implements: a process that blocks (tcpd, libwrap), a daemon that answers
//! [`Answer::Pending`] and asks again, a predictor that only prints.
//!
//! Verdicts are those of TCP Wrappers 7.6 with options, IPv6 and Debian's extensions, odd ones included
//! (reference tcp-wrappers.md sections A and E).

#![forbid(unsafe_code)]

mod evaluate;
mod field;
pub mod ident;
mod message;
mod request;
mod table;
mod verdict;
mod world;

pub use evaluate::{Settings, evaluate};
pub use field::Field;
pub use message::Message;
pub use request::{Host, Request};
pub use table::{Content, Place, Table, Tables, Which};
pub use verdict::{Decision, Verdict, Why};
pub use world::{Act, Answer, Done, End, ListFile, World};
