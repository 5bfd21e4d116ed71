//! The worker that reads what comes in front of a connection: the PROXY header of a trusted proxy, the line of a client of
//! tcpmux. It looks until they are whole, takes exactly those bytes from the socket, says what they name, and lets go of it;
//! whoever serves the client finds the rest. It writes to nobody, opens nothing and knows no clock: the supervisor, which keeps the connection, ends the wait.

mod engine;
mod mux;
mod proxy;
mod reading;

pub use mux::{MAX_MUX_LINE, MAX_MUX_NAME, MuxLine, mux_line};
pub use proxy::{Endpoints, MAX_PROXY_HEADER, ProxyHeader, Unreadable, proxy_header};

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// Connections that are read at once.
const MOST: usize = 1024;
/// The worker's own limit on descriptors: the connections, the channel, epoll, and one that just arrives.
pub(crate) const DESCRIPTORS: usize = MOST + 64;

/// How many connections the header worker reads at once under this limit on descriptors. The supervisor gives it no more.
pub fn most_read(descriptors: usize) -> usize {
    descriptors.min(DESCRIPTORS).saturating_sub(64).clamp(1, MOST)
}

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_header(channel: OwnedFd) -> ExitCode {
    let descriptors = usize::try_from(portreeve_sys::limits::nofile().soft).unwrap_or(usize::MAX);
    match serve(channel, most_read(descriptors)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker header: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd, most: usize) -> std::io::Result<()> {
    let mut engine = Engine::new(channel, most)?;
    while engine.turn()? == Goes::On {}
    Ok(())
}

#[cfg(test)]
mod tests;
