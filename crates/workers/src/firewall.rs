//! The firewall worker: who is banned is dropped by the kernel, before anything of this host sees a packet. It alone has
//! CAP_NET_ADMIN, and touches one table of nf_tables, our own. Its sockets come from the supervisor, which keeps copies: what
//! the kernel gives to a socket alone outlives this process.

mod attribute;
mod beside;
mod comparison;
mod enforcer;
mod engine;
mod netlink;
mod pace;
mod table;
#[cfg(test)]
mod tests;
mod wanted;

pub use beside::{Beside, beside};
pub use comparison::{Found, Scope};
pub use enforcer::Enforcer;
pub use table::TABLE;

use crate::protocol::Hold;
use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: u64 = 16;

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_firewall(channel: OwnedFd) -> ExitCode {
    run(channel, enforcer::HOLDS)
}

/// The same with a table that has no owner, as on a kernel before 5.12: to measure what becomes of one that others change.
pub fn run_firewall_openly(channel: OwnedFd) -> ExitCode {
    run(channel, enforcer::OPEN)
}

fn run(channel: OwnedFd, holds: &'static [Hold]) -> ExitCode {
    match serve(channel, holds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker firewall: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd, holds: &'static [Hold]) -> std::io::Result<()> {
    let mut engine = Engine::new(channel, holds);
    while engine.turn()? == Goes::On {}
    Ok(())
}
