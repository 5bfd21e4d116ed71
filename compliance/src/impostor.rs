//! An executable that passes for a new version in the probe, and dies, or stands still, once it is executed in the supervisor's
//! place. How, it reads from a file, for its command line is the supervisor's.

use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The real executable, as the world has it.
pub const REAL: &str = "/run/w/gate.real";
/// The file with the word.
pub const HOW: &str = "/run/w/impostor";

/// What the arguments of the supervisor's executable make of it. `None`: it is none of these.
pub fn run(arguments: &[String]) -> Option<ExitCode> {
    let last = arguments.last()?;
    // Started anew, as by a service manager, it is as good as another where the word says so.
    let anew = || {
        arguments.first().is_some_and(|word| word == "run")
            && std::fs::read_to_string(HOW).is_ok_and(|how| how.trim() == "abort once")
    };
    if last.starts_with("--probe-handover=") || (!last.starts_with("--handover") && anew()) {
        return Some(become_real(arguments));
    }
    if !last.starts_with("--handover=") {
        return None;
    }
    let how = std::fs::read_to_string(HOW).unwrap_or_default();
    Some(match how.trim() {
        "exit" => ExitCode::from(1),
        "hang" => loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        },
        "slow" => {
            std::thread::sleep(std::time::Duration::from_secs(2));
            become_real(arguments)
        }
        "starve" => {
            let few = Rlimit { current: Some(24), maximum: Some(24) };
            let _ = setrlimit(Resource::Nofile, few);
            become_real(arguments)
        }
        word => match word.strip_prefix("strace ") {
            // Killed at its so manieth system call.
            Some(call) => become_traced(arguments, call),
            None => std::process::abort(),
        },
    })
}

fn become_real(arguments: &[String]) -> ExitCode {
    let _ = Command::new(REAL).arg0("portreeve-gate").args(arguments).exec();
    ExitCode::from(127)
}

/// The tracer is a child, and this process the one that is traced.
fn become_traced(arguments: &[String], call: &str) -> ExitCode {
    let inject = format!("inject=all:signal=SIGKILL:when={call}");
    let _ = Command::new("/usr/bin/strace")
        .args(["-D", "-qq", "-o", "/dev/null", "-e", &inject, REAL])
        .args(arguments)
        .exec();
    ExitCode::from(127)
}
