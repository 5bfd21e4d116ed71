//! The confined processes (resolver, builtin) and the messages between them and the supervisor.
#![forbid(unsafe_code)]

mod builtin;
mod confine;
mod entry;
pub mod protocol;
mod resolver;

pub use builtin::run_builtin;
pub use confine::{Ids, confine};
pub use entry::main;
pub use resolver::run_resolver;
