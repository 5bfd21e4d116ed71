//! The new executable as a child: it gets the state on its standard input, reads it and the configuration in it, and says
//! whether it could go on from there. It gets no descriptor of ours but that, and has ten seconds.

use super::Role;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_sys::handover;
use portreeve_sys::reap::{Pid, Signal, Status, kill};
use portreeve_sys::spawn::{ImageBuilder, SpawnError, Stdio};
use portreeve_workers::protocol::Worker;
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much of what it says is listened to.
const MOST_SAID: usize = 1024;

/// What stands before the names of the workers that would leave, in what it says.
pub const OTHERS: &str = "; workers that leave: ";

/// The workers that would leave.
fn leaving(said: &str) -> Vec<Worker> {
    let names = said.split_once(OTHERS).map_or("", |(_, names)| names);
    names.split_whitespace().filter_map(Worker::by_name).collect()
}

/// A probe under way.
#[derive(Debug)]
pub struct Probing {
    /// Its process.
    pub pid: i32,
    executable: OwnedFd,
    said: OwnedFd,
    client: Option<u32>,
    /// It was too slow and has been killed.
    late: bool,
}

impl Supervisor {
    /// Starts the new executable as a probe.
    pub fn begin_probe(&mut self, client: Option<u32>) -> Result<(), String> {
        let path = self.upgrade.executable.clone();
        let executable = handover::trusted_executable(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                format!(
                    "{} is not taken: others than its owner may write it, or its owner is not root",
                    path.display()
                )
            }
            _ => format!("{}: {}", path.display(), crate::machine::error_text(&error)),
        })?;
        let text = |error: std::io::Error| crate::machine::percent_m(&error);
        let (bytes, _) =
            self.leave().encode().map_err(|e| format!("the state cannot be handed over: {e}"))?;
        let state = handover::seal(&bytes).map_err(text)?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
        let (said, says) = rustix::pipe::pipe_with(flags).map_err(|e| text(e.into()))?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|e| text(e.into()))?;
        let argv = Role::Probe(0).arguments(&self.options.argv);
        let word = |word: Vec<u8>| CString::new(word).unwrap_or_default();
        let variables = std::env::vars_os().filter(|(name, _)| name != "NOTIFY_SOCKET");
        let env = variables.map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend(value.into_vec());
            word(pair)
        });
        let image = ImageBuilder {
            // The very file that will be executed, whatever the path leads to by then.
            path: c"/proc/self/fd/3".to_owned(),
            argv: argv.into_iter().map(|a| word(a.into_vec())).collect(),
            env: env.collect(),
            new_session: true,
            ..ImageBuilder::default()
        }
        .build();
        let stdio = Stdio::Separate {
            stdin: state.as_fd(),
            stdout: says.as_fd(),
            stderr: null.as_fd(),
            extra: Some(executable.as_fd()),
        };
        let pid = match self.spawner.spawn(&image, &[], stdio) {
            Ok(pid) => pid.as_raw_nonzero().get(),
            Err(SpawnError::Child { pid, errno, .. }) => {
                self.staff.retire(pid.as_raw_nonzero().get());
                return Err(format!("{} cannot be executed: {}", path.display(), text(errno.into())));
            }
            Err(error) => return Err(error.to_string()),
        };
        self.is_a_child(pid);
        self.timers.set(self.stamp.mono() + PATIENCE, Alarm::Probe(pid));
        self.upgrade.probing = Some(Probing { pid, executable, said, client, late: false });
        Ok(())
    }

    /// The probe has had its time.
    pub fn probe_late(&mut self, pid: i32) {
        if let Some(probing) = self.upgrade.probing.as_mut().filter(|probing| probing.pid == pid) {
            probing.late = true;
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill(pid, Signal::KILL);
            }
        }
    }

    /// A process has ended; whether it was the probe.
    pub fn probe_ended(&mut self, pid: i32, status: Status) -> bool {
        let Some(probing) = self.upgrade.probing.take_if(|probing| probing.pid == pid) else { return false };
        let Probing { executable, said, client, late, .. } = probing;
        let mut buffer = [0; MOST_SAID];
        let got = rustix::io::read(&said, &mut buffer).unwrap_or(0);
        let said = String::from_utf8_lossy(buffer.get(..got).unwrap_or_default()).trim().to_owned();
        let how = match status {
            _ if late => format!("did not answer within {} s", PATIENCE.as_secs()),
            Status::Exited(0) if said.starts_with(super::resume::CONTENT) => {
                self.settle(executable, client, leaving(&said));
                return true;
            }
            Status::Exited(0) => "said nothing that a supervisor would say".to_owned(),
            Status::Exited(code) => format!("ended with status {code}"),
            Status::Signaled(signal) => format!("was ended by signal {signal}"),
        };
        let path = self.upgrade.executable.display().to_string();
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        self.end_upgrade(client, &format!("{path} cannot go on from here: it {how}{said}"));
        true
    }
}
