//! A program that gets its sockets as sd_listen_fds(3) has them: tells each client how it was started. Runs in the probe
//! executable, and knows nothing of what a test expects.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{accept, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

/// Answers on each socket that it was given: one client where it listens, the client itself where it is connected. With
/// `count` it ends after so many clients.
pub fn run(count: u64, describe: impl Fn() -> Value) -> ExitCode {
    match serve(count, describe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "listen-fds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(count: u64, describe: impl Fn() -> Value) -> std::io::Result<()> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // Before the copies below, which are no part of what was given.
    let said = json!({
        "for_me": variable("LISTEN_PID") == std::process::id().to_string(),
        "count": variable("LISTEN_FDS"),
        "names": variable("LISTEN_FDNAMES"),
        "start": describe(),
    });
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let sockets = (3..).take(variable("LISTEN_FDS").parse().unwrap_or(0));
    let sockets: Vec<OwnedFd> =
        sockets.map(|fd| pidfd_getfd(&own, fd, PidfdGetfdFlags::empty())).collect::<Result<_, _>>()?;
    let tell = |client: OwnedFd, at: usize| {
        let mut value = said.clone();
        value["at"] = json!(at);
        writeln!(File::from(client), "{value}")
    };
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    for _ in 0..count {
        let mut waiting: Vec<PollFd<'_>> =
            sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN | PollFlags::OUT)).collect();
        poll(&mut waiting, Some(&patience))?;
        let ready = waiting.iter().position(|socket| !socket.revents().is_empty());
        let Some((at, socket)) = ready.and_then(|at| Some((at, sockets.get(at)?))) else { return Ok(()) };
        let client = match sockopt::socket_acceptconn(socket)? {
            true => accept(socket)?,
            false => socket.try_clone()?,
        };
        tell(client, at)?;
    }
    Ok(())
}
