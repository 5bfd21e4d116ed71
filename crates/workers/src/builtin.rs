//! The worker that answers the built-in services: echo, discard, chargen, daytime and time (RFC 862, 863, 864, 867, 868), servers, services and xadmin,
//! over streams that the supervisor has accepted and admitted, and over datagram sockets that it owns with a copy of the
//! policy. One thread, nothing blocks, everything is bounded.

mod client;
mod clients;
mod datagrams;
mod engine;
mod shell;
mod silence;
mod texts;

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The longest message queue, clients and waits of this worker; tests make them shorter.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Clients at once; more are closed and reported as `Full`.
    clients: usize,
    /// Datagram services at once.
    services: usize,
}

impl Bounds {
    /// As many as the limit on descriptors allows, with room for the channel and for a descriptor that just arrives.
    fn of_this_process() -> Self {
        let descriptors = usize::try_from(portreeve_sys::limits::nofile().soft).unwrap_or(usize::MAX);
        let free = descriptors.saturating_sub(16);
        Bounds { clients: most_clients(descriptors), services: 2048.min(free / 4) }
    }
}

/// How many clients the builtin worker holds at once under this limit on descriptors. The supervisor leaves more in the
/// kernel's queue.
pub fn most_clients(descriptors: usize) -> usize {
    4096.min(descriptors.min(DESCRIPTORS).saturating_sub(16) / 4 * 3)
}

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: usize = 8192;

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_builtin(channel: OwnedFd) -> ExitCode {
    run(channel, Bounds::of_this_process())
}

fn run(channel: OwnedFd, bounds: Bounds) -> ExitCode {
    match serve(channel, bounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker builtin: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd, bounds: Bounds) -> std::io::Result<()> {
    let mut engine = Engine::new(channel, bounds)?;
    while engine.turn()? == Goes::On {}
    Ok(())
}

#[cfg(test)]
mod tests;
