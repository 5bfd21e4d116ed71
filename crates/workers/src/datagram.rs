//! Datagrams of strangers, as a worker decides on them that owns the sockets: by a copy of the policy that the supervisor pushes, and
//! with a report of what happened. What an admitted one leads to is for the worker to say.

mod judge;
mod report;
mod tables;

pub(crate) use judge::{Judge, Standing};
