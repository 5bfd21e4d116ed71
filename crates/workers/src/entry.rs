//! The way in: `portreeve-gate worker NAME [--ids UID:GID]`, with the channel to the supervisor on descriptor 3.

use crate::confine::{Ids, confine};
use crate::protocol::{
    FromBuiltin, FromFirewall, FromHeader, FromLedger, FromProxy, FromRegistrar, FromResolver, FromSensor,
    FromTls, MAX_MESSAGE, Worker,
};
use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

/// Runs a worker until the supervisor closes the channel. `arguments` are the words after `worker`.
///
/// The caller takes the descriptor, because only it knows that number 3 is the channel and nobody else's.
pub fn main(arguments: impl IntoIterator<Item = OsString>, channel: OwnedFd) -> ExitCode {
    let here = [
        Worker::Builtin,
        Worker::Proxy,
        Worker::Registrar,
        Worker::Header,
        Worker::Resolver,
        Worker::Firewall,
        Worker::Sensor,
    ];
    match enter(arguments, &channel, &here, None) {
        Ok(Worker::Builtin) => crate::run_builtin(channel),
        Ok(Worker::Proxy) => crate::run_proxy(channel),
        Ok(Worker::Header) => crate::run_header(channel),
        Ok(Worker::Registrar) => crate::run_registrar(channel),
        Ok(Worker::Resolver) => crate::run_resolver(channel),
        Ok(Worker::Firewall) => crate::run_firewall(channel),
        Ok(Worker::Sensor) => crate::run_sensor(channel),
        Ok(Worker::Tls | Worker::Ledger) => ExitCode::FAILURE,
        Err(code) => code,
    }
}

/// Reads the command line, confines this process as the worker that it names and says `Ready`. `here` are the workers that this
/// executable has, `keeps` the one directory that it may use.
///
/// # Errors
/// The exit status, when the reason has been said.
pub fn enter(
    arguments: impl IntoIterator<Item = OsString>,
    channel: &OwnedFd,
    here: &[Worker],
    keeps: Option<&Path>,
) -> Result<Worker, ExitCode> {
    let (worker, ids) = match parse(arguments) {
        Ok((worker, _)) if !here.contains(&worker) => {
            complain(&format!("worker {} is no part of this executable", worker.name()));
            return Err(ExitCode::from(2));
        }
        Ok(parsed) => parsed,
        Err(error) => {
            complain(&format!("{error}; this command is for the supervisor alone"));
            return Err(ExitCode::from(2));
        }
    };
    // Started through a link that says `exe`; ps shall say who this is.
    let _ = rustix::thread::set_name(&CString::new(worker.name()).unwrap_or_default());
    // Before the walls: afterwards the zone's file cannot be read, nor where the kernel has mapped its clock.
    portreeve_sys::clock::load_zone();
    let _ = portreeve_sys::clock::monotonic();
    portreeve_sys::code::locate();
    let missing = match confine(worker, ids, keeps) {
        Ok(missing) => missing,
        Err(error) => {
            complain(&format!("worker {}: cannot give up root: {error}", worker.name()));
            return Err(ExitCode::FAILURE);
        }
    };
    let mut ready = Vec::with_capacity(MAX_MESSAGE.min(64));
    let encoded = match worker {
        Worker::Builtin => FromBuiltin::Ready { missing }.encode(&mut ready),
        Worker::Proxy => FromProxy::Ready { missing }.encode(&mut ready),
        Worker::Registrar => FromRegistrar::Ready { missing }.encode(&mut ready),
        Worker::Header => FromHeader::Ready { missing }.encode(&mut ready),
        Worker::Resolver => FromResolver::Ready { missing }.encode(&mut ready),
        Worker::Tls => FromTls::Ready { missing }.encode(&mut ready),
        Worker::Ledger => FromLedger::Ready { missing }.encode(&mut ready),
        Worker::Firewall => FromFirewall::Ready { missing }.encode(&mut ready),
        Worker::Sensor => FromSensor::Ready { missing }.encode(&mut ready),
    };
    if encoded.is_err() || portreeve_sys::seqpacket::send(channel.as_fd(), &ready, None).is_err() {
        return Err(ExitCode::FAILURE);
    }
    // What has made it ready runs once.
    portreeve_sys::code::let_go();
    Ok(worker)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Worker, Option<Ids>), String> {
    let mut words = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().ok_or("a worker's name is missing")?;
    let worker = Worker::by_name(&name).ok_or_else(|| format!("there is no worker {name:?}"))?;
    let ids = match words.next().as_deref() {
        None => None,
        Some("--ids") => {
            let text = words.next().unwrap_or_default();
            Some(Ids::parse(&text).ok_or_else(|| format!("{text:?} is not UID:GID, both above 0"))?)
        }
        Some(other) => return Err(format!("unknown option {other:?}")),
    };
    match words.next() {
        None => Ok((worker, ids)),
        Some(surplus) => Err(format!("{surplus:?} is one word too many")),
    }
}

/// A channel that ends with messages in it ends by an error instead of an end; it is the same order to go home.
pub fn supervisor_has_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// To standard error, which the supervisor lets through; nobody to tell when that fails.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "portreeve: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_read_strictly() {
        assert_eq!(parse(words("builtin")), Ok((Worker::Builtin, None)));
        assert_eq!(parse(words("resolver --ids 7:8")), Ok((Worker::Resolver, Some(Ids { uid: 7, gid: 8 }))));
        for bad in ["", "nobody", "builtin --ids", "builtin --ids 0:0", "builtin x", "builtin --ids 1:1 x"] {
            assert!(parse(words(bad)).is_err(), "{bad}");
        }
    }
}
