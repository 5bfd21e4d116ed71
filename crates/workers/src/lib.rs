//! The confined processes (resolver, builtin) and the messages between them and the supervisor.
#![forbid(unsafe_code)]

pub mod protocol;
