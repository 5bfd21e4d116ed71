//! The worker that serves `redirect`: carries bytes between a client and its target, over pairs of sockets that the
//! supervisor has accepted, admitted and begun to connect. One thread, nothing blocks, everything is bounded. It opens no
//! socket and connects none.

mod carriage;
mod carriages;
mod engine;
mod flow;

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: usize = 16_384;

/// How many connections the proxy worker carries at once under this limit on descriptors: two descriptors each. The
/// supervisor leaves more clients in the kernel's queue.
pub fn most_carried(descriptors: usize) -> usize {
    descriptors.min(DESCRIPTORS).saturating_sub(16) / 2
}

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_proxy(channel: OwnedFd) -> ExitCode {
    let descriptors = usize::try_from(portreeve_sys::limits::nofile().soft).unwrap_or(usize::MAX);
    match serve(channel, most_carried(descriptors)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker proxy: {error}"));
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
