//! Starts the worker processes: which executable, with which words, environment and descriptors. When one is started is
//! decided in `staff`.

use crate::staff::Presence;
use crate::supervisor::{Supervisor, Token};
use portreeve_sys::lifeline::Lifeline;
use portreeve_sys::spawn::{ImageBuilder, Stdio};
use portreeve_sys::{highfd, process, seqpacket};
use portreeve_workers::protocol::{Referee, Worker};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

impl Supervisor {
    /// Starts a worker.
    pub fn start_worker(&mut self, index: u32) {
        let now = self.stamp.mono();
        // Before it is tried: one that cannot even be started shall not pass for one that has worked for long.
        if let Some(link) = self.staff.link_mut(index) {
            link.started = now;
        }
        match self.launch_worker(index) {
            Ok((pid, channel)) => {
                let token = Token::Worker(index);
                let watched = self.watch(channel.as_fd(), token);
                let Some(link) = self.staff.link_mut(index) else { return };
                if link.presence == Presence::Down {
                    link.restarts += 1;
                }
                link.presence = Presence::Starting;
                link.pid = pid;
                link.channel = Some(channel);
                link.referee = Referee::new(link.worker);
                link.wants_write = false;
                if watched.is_err() {
                    self.lose_worker(index, "its channel cannot be watched");
                }
            }
            Err(error) => {
                if let Some(link) = self.staff.link_mut(index) {
                    link.presence = Presence::Down;
                }
                self.lose_worker(index, &format!("it could not be started: {error}"));
            }
        }
    }

    fn launch_worker(&mut self, index: u32) -> Result<(i32, OwnedFd), String> {
        let worker = self.staff.links.get(index as usize).map_or(Worker::Tls, |link| link.worker);
        let (ours, theirs) = seqpacket::pair().map_err(|e| e.to_string())?;
        // A burst of descriptors for the builtin worker shall fit; the kernel cuts what is too much.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4 << 20);
        let ours = highfd::park(ours, self.base).map_err(|e| e.to_string())?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|e| e.to_string())?;
        let line = self.end_of_lifeline();
        let word = |text: &str| CString::new(text).unwrap_or_default();
        let env =
            std::env::var_os("TZ").and_then(|tz| CString::new(format!("TZ={}", tz.to_string_lossy())).ok());
        let called =
            if matches!(worker, Worker::Tls | Worker::Ledger) { COMPANION } else { "portreeve-gate" };
        let mut argv = vec![word(called), word("worker"), word(worker.name())];
        if worker == Worker::Ledger {
            let words = self.ledger_words();
            argv.extend(words.into_iter().filter_map(|word| CString::new(word.into_vec()).ok()));
        }
        let image = ImageBuilder {
            path: match worker {
                Worker::Tls | Worker::Ledger => companion()?,
                _ => process::executable().map_err(|e| e.to_string())?,
            },
            argv,
            env: env.into_iter().collect(),
            dir: c"/".to_owned(),
            new_session: true,
            umask: Some(0o077),
            ..ImageBuilder::default()
        }
        .build();
        let stdio = Stdio::Separate {
            stdin: line.as_ref().unwrap_or(&null).as_fd(),
            stdout: null.as_fd(),
            stderr: rustix::stdio::stderr(),
            extra: Some(theirs.as_fd()),
        };
        let pid = self.spawner.spawn(&image, &[], stdio).map_err(|e| e.to_string())?;
        let pid = pid.as_raw_nonzero().get();
        self.is_a_child(pid);
        Ok((pid, ours))
    }

    /// What the next worker's life hangs on. Without it, it ends with this process.
    fn end_of_lifeline(&mut self) -> Option<OwnedFd> {
        if self.lifeline.is_none() {
            let Lifeline { read, write } = Lifeline::new().ok()?;
            let (read, write) = (highfd::park(read, self.base).ok()?, highfd::park(write, self.base).ok()?);
            self.lifeline = Some(Lifeline { read, write });
        }
        self.lifeline.as_ref()?.end().ok()
    }
}

/// The executable that serves TLS and writes the ledger.
const COMPANION: &str = "portreeve";

/// Where it is: beside this one, or in `bin` where this one is in `lib/portreeve`.
pub fn companion() -> Result<CString, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let beside = own.with_file_name(COMPANION);
    let above = own.ancestors().nth(3).map(|prefix| prefix.join("bin").join(COMPANION));
    let places: Vec<_> = [Some(beside), above].into_iter().flatten().collect();
    match places.iter().find(|path| path.is_file()) {
        Some(path) => CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string()),
        None => {
            let shown: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
            Err(format!("the executable {COMPANION} is not there: neither {}", shown.join(" nor ")))
        }
    }
}
