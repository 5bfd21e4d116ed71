//! The ledger: a journal of what happened to clients, and the store of bans, in one SQLite database.
//!
//! The worker writes it; `portreeve events` and the operator's own sqlite3 read it while it is written, and when nobody
//! writes. The tables are described for users in docs/guide/ledger.md. Linked by the executable `portreeve` alone, never by the
//! gate: the supervisor maps no SQLite.
#![forbid(unsafe_code)]

mod bans; //     who is banned, since when, until when
mod directory; // where the database is, made ready while this is still root
mod fault; //    what a failure of SQLite means for us
mod query; //    reading: for `portreeve events`
mod retain; //   what is deleted, and how much of it at once
mod schema; //   the tables, and the way from each version to the next
mod settings; // where, how large, how long
mod store; //    opening and writing
mod worker; //   the worker's loop

#[cfg(test)]
mod tests;

pub use bans::{Ban, Change};
pub use directory::{DEFAULT_DIRECTORY, FILE};
pub use fault::Fault;
pub use query::{Filter, Reader, Record, Served};
pub use schema::VERSION;
pub use settings::{Keep, LEAST_SIZE, Settings};
pub use store::{Batch, Store};
pub use worker::main;
