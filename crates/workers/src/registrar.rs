//! The worker that tells rpcbind where our RPC services are. The supervisor connects, because rpcbind goes by who does;
//! what rpcbind answers is read here alone. One thread, one connection, one call at a time.
//!
//! It is a worker of its own because of what it holds: with root's connection to rpcbind a process can enter and remove
//! every program of the host. The resolver reads what name servers send, and the builtin worker what clients send.

mod dialogue;
mod engine;
mod xdr;

use engine::{Engine, Goes};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// The worker's own limit on descriptors.
pub(crate) const DESCRIPTORS: u64 = 32;

/// Serves until the supervisor closes `channel`. Says nothing of its own accord: `Ready` was sent by the caller.
pub fn run_registrar(channel: OwnedFd) -> ExitCode {
    match serve(channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker registrar: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(channel: OwnedFd) -> std::io::Result<()> {
    let mut engine = Engine::new(channel)?;
    while engine.turn()? == Goes::On {}
    Ok(())
}
