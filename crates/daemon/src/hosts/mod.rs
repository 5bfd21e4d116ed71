//! hosts.allow and hosts.deny: read, asked about each client that no other check refuses, and their orders carried out.
//! The language is `hosts_access`'s; what it needs to know is asked of the resolver, and what it orders runs with the ids
//! of the service.
//!
//! ```text
//! compiled      the tables in the form in which a long one costs no more than a short one
//! files         both tables and the /file lists as they stand on the disk: their texts, or what is compiled of them
//! table_file    one table: what is known of it, and its text as long as somebody needs it
//! silence       whether a table says nothing at all
//! lists         the /file lists
//! map           the same as a file, for processes that start for each client
//! known         what was found out about one client
//! surroundings  what an evaluation sees and orders: answers from `known`, or a question
//! consult       one evaluation, and what policy is told of it
//! carry_out     banners, socket options, commands beside or instead of the server
//! explain       the same evaluation for a person, without any effect
//! hooks         the commands that run, bounded in number and time
//! watch         news of the tables without a client
//! ```

mod carry_out;
mod compiled;
mod consult;
mod explain;
mod files;
mod hooks;
mod known;
mod lists;
mod map;
mod silence;
mod surroundings;
mod table_file;
mod watch;

pub use carry_out::Orders;
pub use consult::Consulted;
pub use files::Files;
pub use hooks::{Hooks, MOST_HOOKS, source_of};
pub use known::{Known, ROUNDS, Want};
pub use watch::Watch;
