//! Puts a worker behind its walls, once, before it reads its first message and before it has a second thread.
//!
//! In this order, because each step needs what the next one takes away: limits, own user, no capabilities,
//! `no_new_privs`, end with the supervisor, no core and no tracing, Landlock, seccomp. Where the kernel lacks a part the worker goes
//! on and reports it (`status` shows it): a server without its built-ins because of an old kernel helps nobody. One
//! thing is not optional: a worker that stays root (a container whose root may not change users) runs only behind both
//! Landlock and seccomp.

mod calls;
mod identity;
mod reach;

pub use identity::{Ids, builtin_ids, worker_ids};

use crate::protocol::{Missing, Worker};
use portreeve_sys::process::is_root;
use rustix::process::{Resource, Rlimit};
use std::io;
use std::path::Path;

/// What confinement is made of for one worker.
struct Walls {
    /// Descriptors that it may hold.
    descriptors: u64,
    /// Processes and threads that its user may have; none where it starts none.
    processes: Option<u64>,
}

fn walls(worker: Worker) -> Walls {
    match worker {
        // Clients, datagram sockets, and a few of its own.
        Worker::Builtin => Walls { descriptors: crate::builtin::DESCRIPTORS as u64, processes: Some(0) },
        // Two for each connection: the client's and the target's.
        Worker::Proxy => Walls { descriptors: crate::proxy::DESCRIPTORS as u64, processes: Some(0) },
        Worker::Registrar => Walls { descriptors: crate::registrar::DESCRIPTORS, processes: Some(0) },
        Worker::Firewall => Walls { descriptors: crate::firewall::DESCRIPTORS, processes: Some(0) },
        Worker::Sensor => Walls { descriptors: crate::sensor::DESCRIPTORS, processes: Some(0) },
        // One for each connection that is read.
        Worker::Header => Walls { descriptors: crate::header::DESCRIPTORS as u64, processes: Some(0) },
        // The same, and its files while they are read.
        Worker::Tls => Walls { descriptors: crate::tls::DESCRIPTORS as u64, processes: Some(0) },
        // A database, its log and its index, and the channel.
        Worker::Ledger => Walls { descriptors: 64, processes: Some(0) },
        // A look-up holds a handful of sockets and files for each thread, and each ident server that is asked one.
        Worker::Resolver => Walls { descriptors: 1024, processes: None },
    }
}

/// Confines this process for good. Returns what could not be put on. `keeps` is the one directory in which it may do with files
/// what it likes; only the ledger has one.
///
/// # Errors
/// Root could not be given up, and the other walls do not stand either.
pub fn confine(worker: Worker, ids: Option<Ids>, keeps: Option<&Path>) -> io::Result<Vec<Missing>> {
    let mut missing = Vec::new();
    let was_root = is_root();
    let walls = walls(worker);
    note(&mut missing, Missing::Limits, limit(&walls));
    let stays_root =
        if was_root { identity::leave_root(worker, ids).err().filter(|_| is_root()) } else { None };
    if !was_root || stays_root.is_some() {
        missing.push(Missing::OwnUser);
    }
    // Root's own capabilities went with the uid. These are the ones that a service manager may have given us.
    note(&mut missing, Missing::OwnUser, identity::drop_capabilities(worker));
    note(&mut missing, Missing::NoNewPrivileges, portreeve_sys::process::no_new_privs());
    // After the change of uid, which clears both.
    note(&mut missing, Missing::ParentDeath, end_with_the_supervisor());
    note(&mut missing, Missing::Dumpable, portreeve_sys::process::set_dumpable(false));
    if let Some(part) = reach::restrict(worker, keeps) {
        missing.push(part);
    }
    note(&mut missing, Missing::Seccomp, calls::restrict(worker));
    let behind_others = !missing.contains(&Missing::Landlock) && !missing.contains(&Missing::Seccomp);
    match stays_root {
        Some(error) if !behind_others => Err(error),
        _ => Ok(missing),
    }
}

/// Standard input is what our life hangs on, where the supervisor has given us that: then whoever takes its place in an upgrade that
/// goes wrong finds us alive. Otherwise we end with the process that has started us.
fn end_with_the_supervisor() -> io::Result<()> {
    let signal = Some(rustix::process::Signal::KILL);
    match portreeve_sys::lifeline::hang_on(rustix::stdio::stdin()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) => Ok(()),
        Err(_) => Ok(rustix::process::set_parent_process_death_signal(signal)?),
    }
}

fn note(missing: &mut Vec<Missing>, part: Missing, result: io::Result<()>) {
    if result.is_err() && !missing.contains(&part) {
        missing.push(part);
    }
}

fn limit(walls: &Walls) -> io::Result<()> {
    // No core file: it would hold what clients sent.
    fall_to(Resource::Core, 0)?;
    fall_to(Resource::Nofile, walls.descriptors)?;
    if let Some(processes) = walls.processes {
        fall_to(Resource::Nproc, processes)?;
    }
    Ok(())
}

/// Sets soft and hard limit to `most`, or to the hard limit that already holds where that is lower.
fn fall_to(resource: Resource, most: u64) -> io::Result<()> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(most, |hard| hard.min(most));
    Ok(rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })?)
}
