//! The demonstration's gate: started, listened to, ended. Ends it by its process id, whatever ends the demonstration.

use crate::escape;
use crate::failure::{Failure, system_text};
use crate::gate;
use portreeve_sys::signals::{Signal, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, kill_process};
use std::io::{PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long the gate may take to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(5);
/// A line that is longer is cut.
const LONGEST: usize = 4096;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The gate or one of its services wrote a line.
    Line(String),
    /// Somebody wants the demonstration to end.
    Told,
    /// The gate has ended by itself.
    Ended,
    /// Nothing, for as long as was asked.
    Nothing,
}

/// The running gate.
#[derive(Debug)]
pub struct Gate {
    child: Child,
    lines: PipeReader,
    buffer: Vec<u8>,
    closed: bool,
}

impl Gate {
    /// Starts the gate over a configuration, with both its outputs as events.
    pub fn start(configuration: &Path, control: &Path) -> Result<Self, Failure> {
        let path = gate::find()?;
        let why = |error: std::io::Error| {
            Failure::new(format!(
                "{} cannot be started: {}",
                escape::os(path.as_os_str()),
                system_text(&error)
            ))
        };
        let (lines, writer) = std::io::pipe().map_err(why)?;
        let mut command = Command::new(&path);
        command
            .args(["run", "-dontfork", "-f"])
            .arg(configuration)
            .arg("--control")
            .arg(control)
            // What the demonstration does belongs in nobody's journal.
            .args(["--ledger", "off"])
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(why)?)
            .stderr(writer)
            // Out of the terminal's foreground group: Ctrl-C reaches the demonstration, which then ends the gate.
            .process_group(0);
        let child = command.spawn().map_err(why)?;
        Ok(Self { child, lines, buffer: Vec::new(), closed: false })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next event, for at most `patience` where one is given.
    pub fn next(&mut self, signals: &SignalFd, patience: Option<Duration>) -> Result<Event, Failure> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            if let Some(line) = self.line() {
                return Ok(Event::Line(line));
            }
            if self.closed {
                return Ok(Event::Ended);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(&self.lines, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(Event::Nothing),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::new(format!("poll: {}", system_text(&error.into())))),
            }
            let readable = !fds[1].revents().is_empty();
            if signals.read().is_some() {
                return Ok(Event::Told);
            }
            if readable {
                self.fill();
            }
        }
    }

    fn fill(&mut self) {
        let mut chunk = [0; 4096];
        match self.lines.read(&mut chunk) {
            Ok(0) | Err(_) => self.closed = true,
            Ok(n) => self.buffer.extend(chunk.iter().take(n)),
        }
    }

    fn line(&mut self) -> Option<String> {
        let end = match self.buffer.iter().position(|b| *b == b'\n') {
            Some(at) => at + 1,
            None if self.buffer.len() >= LONGEST || self.closed && !self.buffer.is_empty() => {
                self.buffer.len()
            }
            None => return None,
        };
        let line: Vec<u8> = self.buffer.drain(..end).collect();
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Ends it: SIGTERM, and SIGKILL when that is not obeyed in time. What it still has to say goes to `last`.
    pub fn end(mut self, last: impl FnMut(&str)) -> Option<ExitStatus> {
        self.finish(last)
    }

    fn finish(&mut self, mut last: impl FnMut(&str)) -> Option<ExitStatus> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return Some(status);
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            let mut fds = [PollFd::new(&self.lines, PollFlags::IN)];
            let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if !self.closed && matches!(poll(&mut fds, Some(&moment)), Ok(1..)) {
                self.fill();
                while let Some(line) = self.line() {
                    last(&line);
                }
            } else if self.closed {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.signal(Signal::KILL);
        self.child.wait().ok()
    }

    fn signal(&self, signal: Signal) {
        // The child has not been waited for, so its id cannot belong to another process.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.finish(|_| {});
    }
}
