//! `run --watch`: a process that holds the sockets of the supervisor and starts it again when it crashes, so that clients in the
//! queue are served by the next one. Passes signals down and notices up. Parses nothing, grows by nothing: its messages have
//! one byte of meaning, and its table has its size from the start.

use crate::keepers::made_here;
use crate::options::Options;
use portreeve_sys::reap::{Pid, Signal, Status, kill, reap_next};
use portreeve_sys::{handover, highfd, limits, process, seqpacket, signals, stdio, systemd, watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Most sockets that are held.
pub const MOST: usize = 2048;
/// Message: keep this socket; its place follows as two bytes.
pub const KEEP: u8 = b'+';
/// Message: the same of one whose file a supervisor has made, and is to remove.
pub const KEEP_MADE: u8 = b'*';
/// Message: the places from this one on are free.
pub const FREE: u8 = b'=';
/// Message: what follows is for the service manager.
pub const NOTICE: u8 = b'N';
/// Message: the supervisor becomes another version; what comes with it is the one to start if that ends. Behind it, in four bytes, the
/// process that takes the place then.
pub const UPGRADE: u8 = b'U';
/// Message: does this watcher know of processes that stand by?
pub const STANDS_BY: u8 = b'?';
/// The answer.
pub const KNOWS: u8 = b'!';
/// Message: it stands.
pub const STANDS: u8 = b'S';
/// Message: who stood by does. It may come before the end that made it step in.
pub const STEPPED_IN: u8 = b'I';
/// What a socket is called whose file a supervisor has made.
pub const MADE: &str = "made";
/// What others are called.
const GIVEN: &str = "given";
/// The longest message.
const LONGEST: usize = 4096;
/// Own descriptors lie above all that a child gets.
const HIGH: i32 = 3 + 2 + 2048;
/// One that ran for this long starts again at once.
const SETTLED: Duration = Duration::from_secs(60);
/// The longest wait before it is started again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

const WATCHED: &str = "--watched=";

/// The descriptor of the channel to a watcher, taken off the end of the arguments.
pub fn take_channel(args: &mut Vec<OsString>) -> Option<i32> {
    let number = args.last()?.to_str()?.strip_prefix(WATCHED)?.parse().ok()?;
    args.pop();
    Some(number)
}

struct Watcher {
    argv: Vec<OsString>,
    executable: PathBuf,
    own: Option<OwnedFd>,
    /// The version that was before an upgrade under way.
    former: Option<OwnedFd>,
    /// What lies at the executable's place has died in an upgrade.
    distrusts: bool,
    /// Who takes the supervisor's place in that upgrade.
    stands_by: Option<i32>,
    /// That one stands already; the end of the child has not been heard of.
    stands_in: bool,
    /// The child is that one, and does not stand yet.
    steps_in: bool,
    /// Each with whether a supervisor made its file.
    held: Vec<Option<(OwnedFd, bool)>>,
    child: Option<i32>,
    channel: Option<OwnedFd>,
    started: Instant,
    crashes: u32,
    stopping: bool,
}

/// Watches until the supervisor ends of itself; its status is ours.
pub fn watch(options: &Options) -> ExitCode {
    match prepare(options) {
        Ok((watcher, signals)) => watcher.run(&signals),
        Err(error) => crate::boot::complain(options, &format!("cannot watch: {error}")),
    }
}

fn prepare(options: &Options) -> Result<(Watcher, signals::SignalFd), String> {
    let text = |error: std::io::Error| error.to_string();
    stdio::ensure_open().map_err(text)?;
    stdio::seal_inherited().map_err(text)?;
    let _ = limits::raise_nofile(16_384);
    let wanted = [
        Signal::CHILD,
        Signal::HUP,
        Signal::TERM,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ABORT,
    ];
    let signals = signals::take_over(&wanted).map_err(text)?;
    // Orphans of a supervisor that was killed come here.
    process::adopt_orphans();
    let mut held = Vec::with_capacity(MOST);
    for inherited in systemd::listen_fds().into_iter().take(MOST) {
        held.push(Some((highfd::park(inherited.fd, HIGH).map_err(text)?, made_here(&inherited.name))));
    }
    held.resize_with(MOST, || None);
    let watcher = Watcher {
        argv: options.argv.clone(),
        executable: std::fs::read_link("/proc/self/exe").unwrap_or_default(),
        own: handover::own_executable().ok().and_then(|fd| highfd::park(fd, HIGH).ok()),
        former: None,
        distrusts: false,
        stands_by: None,
        stands_in: false,
        steps_in: false,
        held,
        child: None,
        channel: None,
        started: Instant::now(),
        crashes: 0,
        stopping: false,
    };
    Ok((watcher, signals))
}

impl Watcher {
    fn run(mut self, signals: &signals::SignalFd) -> ExitCode {
        let mut start_at = Some(Instant::now());
        let mut buffer = [0; LONGEST];
        loop {
            if start_at.is_some_and(|at| at <= Instant::now()) {
                start_at = if self.start() { None } else { Some(Instant::now() + LONGEST_WAIT) };
            }
            let wait = start_at.map(|at| at.saturating_duration_since(Instant::now()));
            self.wait(signals, wait);
            self.hear(&mut buffer);
            while let Some((number, ..)) = signals.read() {
                self.signal(number);
            }
            while let Some(ended) = reap_next() {
                let pid = ended.pid.as_raw_nonzero().get();
                if self.child != Some(pid) {
                    continue;
                }
                // What it had still said counts: its last sockets among it.
                self.hear(&mut buffer);
                if self.leave_to_who_stands_by() {
                    continue;
                }
                (self.child, self.channel) = (None, None);
                let upgrading = self.former.is_some() || std::mem::take(&mut self.steps_in);
                match ended.status {
                    // It has not stood yet, so it has not ended of itself whatever it says.
                    Status::Exited(_) if upgrading && !self.stopping => {
                        start_at = Some(Instant::now() + self.crashed(0))
                    }
                    Status::Exited(code) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
                    Status::Signaled(_) if self.stopping => return ExitCode::SUCCESS,
                    Status::Signaled(signal) => start_at = Some(Instant::now() + self.crashed(signal)),
                }
            }
            if self.stopping && self.child.is_none() {
                return ExitCode::SUCCESS;
            }
        }
    }

    fn start(&mut self) -> bool {
        let Ok((ours, theirs)) = seqpacket::pair() else { return false };
        let (Ok(ours), Ok(theirs)) = (highfd::park(ours, HIGH), highfd::park(theirs, HIGH)) else {
            return false;
        };
        if let Some(former) = self.former.take() {
            (self.own, self.distrusts) = (Some(former), true);
        }
        // What lies there now may be a newer version than this one.
        let newest = handover::trusted_executable(&self.executable).ok().filter(|_| !self.distrusts);
        let newest = newest.and_then(|fd| highfd::park(fd, HIGH).ok());
        let Some(executable) = newest.as_ref().or(self.own.as_ref()) else { return false };
        let held = || self.held.iter().flatten();
        let sockets: Vec<BorrowedFd<'_>> = held().map(|(fd, _)| fd.as_fd()).collect();
        let names: Vec<&str> = held().map(|(_, made)| if *made { MADE } else { GIVEN }).collect();
        let argv = |channel: i32| {
            self.argv.iter().cloned().chain([OsString::from(format!("{WATCHED}{channel}"))]).collect()
        };
        let Ok(pid) = watch::start(executable.as_fd(), &argv, &sockets, &names, theirs.as_fd()) else {
            return false;
        };
        (self.child, self.channel) = (Some(pid), Some(ours));
        self.started = Instant::now();
        true
    }

    fn wait(&self, signals: &signals::SignalFd, wait: Option<Duration>) {
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        let _ = match &self.channel {
            Some(channel) => poll(
                &mut [PollFd::new(signals, PollFlags::IN), PollFd::new(channel, PollFlags::IN)],
                timeout.as_ref(),
            ),
            None => poll(&mut [PollFd::new(signals, PollFlags::IN)], timeout.as_ref()),
        };
    }

    /// Takes the supervisor's messages. It is root as this process is, and the byte is all that is looked at.
    fn hear(&mut self, buffer: &mut [u8]) {
        while let Some(channel) = &self.channel {
            let Ok(received) = seqpacket::recv(channel, buffer) else { break };
            if received.len == 0 {
                // Its end comes with a signal.
                self.channel = None;
                break;
            }
            match (buffer.get(..received.len).unwrap_or_default(), received.fd) {
                ([kind @ (KEEP | KEEP_MADE), low, high], Some(fd)) => {
                    let at = usize::from(u16::from_le_bytes([*low, *high]));
                    if let (Some(place), Ok(fd)) = (self.held.get_mut(at), highfd::park(fd, HIGH)) {
                        *place = Some((fd, *kind == KEEP_MADE));
                    }
                }
                ([FREE, low, high], None) => {
                    let from = usize::from(u16::from_le_bytes([*low, *high]));
                    self.held.iter_mut().skip(from).for_each(|place| *place = None);
                }
                ([UPGRADE, number @ ..], Some(fd)) => {
                    self.former = highfd::park(fd, HIGH).ok();
                    let number = number.try_into().ok().map(i32::from_le_bytes);
                    self.stands_by = number.filter(|&pid| pid > 1);
                }
                ([STANDS_BY], None) => drop(seqpacket::send(channel, &[KNOWS], None)),
                ([STEPPED_IN], None) if self.stands_by.is_some() => self.stands_in = true,
                ([STANDS | STEPPED_IN], None) => {
                    (self.former, self.stands_by) = (None, None);
                    // One that went back to the former version stands too; what lies there has not died then.
                    self.distrusts = std::mem::take(&mut self.steps_in);
                }
                ([NOTICE, text @ ..], None) => {
                    let _ = systemd::notify(&String::from_utf8_lossy(text));
                }
                _ => {}
            }
        }
    }

    /// The supervisor has ended in an upgrade: whether the process that stood by, which is our child now, takes its place.
    fn leave_to_who_stands_by(&mut self) -> bool {
        let stands = std::mem::take(&mut self.stands_in);
        let Some(pid) = self.stands_by.take().filter(|&pid| process::is_child(pid)) else { return false };
        if let Some(former) = self.former.take() {
            (self.own, self.distrusts) = (Some(former), true);
        }
        (self.child, self.steps_in, self.started) = (Some(pid), !stands, Instant::now());
        let text = format!("portreeve: the new version has ended in an upgrade; process {pid} steps in\n");
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        if let (true, Some(pid)) = (self.stopping, Pid::from_raw(pid)) {
            let _ = kill(pid, Signal::TERM);
        }
        true
    }

    fn signal(&mut self, number: i32) {
        let Some(signal) = Signal::from_named_raw(number).filter(|signal| *signal != Signal::CHILD) else {
            return;
        };
        self.stopping |= matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT);
        if let Some(pid) = self.child.and_then(Pid::from_raw) {
            let _ = kill(pid, signal);
        }
    }

    /// It was killed or crashed: how long until it is started again.
    fn crashed(&mut self, signal: i32) -> Duration {
        self.crashes = if self.started.elapsed() >= SETTLED { 0 } else { self.crashes + 1 };
        let wait = match self.crashes {
            0 | 1 => Duration::ZERO,
            n => Duration::from_millis(100 << n.min(8)).min(LONGEST_WAIT),
        };
        let how = match signal {
            0 => "ended in an upgrade".to_owned(),
            signal => format!("was ended by signal {signal}"),
        };
        let text = format!("portreeve: the supervisor {how}; it starts again in {} ms\n", wait.as_millis());
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
        wait
    }
}
