//! inetd's language: one service a line. What each dialect writes there, and its translation to xinetd's language.

mod entry;
mod fields;
pub mod itox;
mod parse;
mod read;
mod xinetd;

#[cfg(test)]
mod tests;

pub use entry::{Entry, Families, Field, Item, ItemKind, Limits, Lines, Listing, Name, Problem, Server};
pub use parse::parse;
pub(crate) use parse::{looks_whole, says_something};
pub(crate) use read::gather;
pub(crate) use xinetd::{Aim, Note, sections};
