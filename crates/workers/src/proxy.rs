//! The worker that serves `redirect`: carries bytes between a client and its target, over pairs of sockets that the
//! supervisor has accepted, admitted and begun to connect; and datagrams between sources and their targets, over the sockets of
//! the services and one for each source that the supervisor has connected. One thread, nothing blocks, everything is bounded. It
//! opens no socket and connects none.

mod carriage;
mod carriages;
mod crowd;
mod datagrams;
mod engine;
mod flow;
mod flows;

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: usize = 20_480;

/// Sockets of datagram services, and flows of them, at most.
const SOCKETS: usize = 1024;
const FLOWS: usize = 4096;

/// What one worker may hold.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    carried: usize,
    flows: usize,
    sockets: usize,
}

impl Bounds {
    fn of(descriptors: usize) -> Self {
        let sockets = SOCKETS.min(descriptors / 16);
        Bounds { carried: most_carried(descriptors), flows: most_flows(descriptors), sockets }
    }
}

/// How many connections the proxy worker carries at once under this limit on descriptors: two descriptors each. The
/// supervisor leaves more clients in the kernel's queue.
pub fn most_carried(descriptors: usize) -> usize {
    let others = most_flows(descriptors) + SOCKETS.min(descriptors / 16) + 16;
    descriptors.min(DESCRIPTORS).saturating_sub(others) / 2
}

/// How many sources of datagrams the proxy worker carries at once under this limit on descriptors: one descriptor each.
pub fn most_flows(descriptors: usize) -> usize {
    FLOWS.min(descriptors / 4)
}

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_proxy(channel: OwnedFd) -> ExitCode {
    let descriptors = usize::try_from(portreeve_sys::limits::nofile().soft).unwrap_or(usize::MAX);
    match serve(channel, Bounds::of(descriptors)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker proxy: {error}"));
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
