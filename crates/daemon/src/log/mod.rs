//! The logs: the daemon's own ([`Daemon`]), the services' ([`Sinks`]), and the stamps both carry.
//! Lines are gathered during a wake-up of the loop and written once at its end; a log that cannot be written is counted,
//! never waited for.

mod daemon;
mod shared;
mod sinks;
mod stamp;

pub use daemon::Daemon;
pub use sinks::{SinkError, SinkId, Sinks};
pub use stamp::Stamp;

/// Most bytes that one log may hold back while it cannot be written.
pub const BACKLOG: usize = 256 * 1024;
