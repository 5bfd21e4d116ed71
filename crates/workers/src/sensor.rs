//! The sensor: watches what comes in for probes to ports where nothing is, and tells who scans. Whatever it sees may be forged,
//! so it decides about nobody. It has no capability: the packet socket comes from the supervisor, and it cannot send through it.

mod bits;
mod company;
mod engine;
mod inventory;
mod packet;
mod ports;
mod table;
mod tracker;

pub use packet::{Candidate, read as read_packet};

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: u64 = 16;

/// Most sources, and most wider networks, that are remembered at once.
pub const SENSOR_BOUNDS: (usize, usize) = (tracker::MOST_SOURCES, tracker::MOST_NETWORKS);

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_sensor(channel: OwnedFd) -> ExitCode {
    match serve(channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker sensor: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd) -> std::io::Result<()> {
    let mut engine = Engine::new(channel);
    while engine.turn()? == Goes::On {}
    Ok(())
}
