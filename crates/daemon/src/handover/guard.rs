//! Who steps in when the new version dies, or stands still, between the exec and the moment in which it stands: the version that
//! goes, as a process beside with copies of all descriptors. It waits for one word and does nothing else.
//!
//! The workers live as long as either of us does, so what they have goes on. Our children are nobody's after such a death: they are
//! known by pidfds that were opened while their numbers could not be another's.
//!
//! Who would start us again is told first that this process takes the place: the watcher by its number, systemd by `MAINPID=`. One
//! that cannot be told (a watcher of a former version, a service manager that is not systemd) starts another supervisor with the
//! listeners, and this one only sees to it that a process that stands still ends. Of process 1 nobody can take the place.

use super::Role;
use super::resume::{Way, go_on};
use crate::options::Options;
use portreeve_handover::{Fd, MOST, State};
use portreeve_sys::reap::{Pid, Signal, kill};
use portreeve_sys::seqpacket;
use portreeve_sys::{handover, main_process, orphan, signals, systemd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, IntoRawFd, OwnedFd};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the new version may take until it stands.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the process beside may take until it has read the state. Clients wait in the kernel's queues.
const READING: Duration = Duration::from_secs(5);
/// How long a process that is killed may take to end.
const END: Duration = Duration::from_secs(2);
/// How long a service manager may take until it has heard us.
const HEARING: Duration = Duration::from_secs(2);
/// So often it gets a sign of life meanwhile.
const SIGN: Duration = Duration::from_millis(500);
/// Message: here is the state; from now on you stand by. Behind it who else would start us.
const STATE: u8 = b's';
/// Message from it: it could go on from the state.
const READY: &[u8] = b"r";
/// Message: it stands, or it was not executed.
const DONE: &[u8] = b"d";

/// Who starts us again when we end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starter {
    /// Nobody.
    Nobody,
    /// Our watcher, which knows that a process stands by.
    Watcher,
    /// systemd, which started this very process.
    Systemd,
    /// One that would start another beside the process that stands by.
    Other,
}

impl Starter {
    const ALL: [(Self, u8); 4] =
        [(Self::Nobody, b'n'), (Self::Watcher, b'w'), (Self::Systemd, b's'), (Self::Other, b'o')];

    fn letter(self) -> u8 {
        Self::ALL.iter().find(|(starter, _)| *starter == self).map_or(b'o', |(_, letter)| *letter)
    }

    fn by_letter(letter: u8) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == letter).map_or(Self::Other, |(starter, _)| *starter)
    }
}

/// The process beside, as who is to be executed holds it.
#[derive(Debug)]
pub struct Guard {
    /// The way to it.
    pub channel: OwnedFd,
    /// Its process number.
    pub pid: i32,
}

/// Starts it, with every descriptor that stays open over an exec.
pub fn start(
    back: &OwnedFd,
    argv: &[OsString],
    (ours, theirs): (OwnedFd, OwnedFd),
) -> std::io::Result<Guard> {
    let pid = handover::start_beside(back, &Role::Guard(0).arguments(argv), &theirs)?;
    Ok(Guard { channel: ours, pid })
}

impl Guard {
    /// Gives it the state, and waits until it has read that and could go on: nobody else ends our children or workers meanwhile.
    pub fn stand_by(&self, state: &OwnedFd, starter: Starter) -> std::io::Result<()> {
        seqpacket::send(&self.channel, &[STATE, starter.letter()], Some(state.as_fd()))?;
        match hear(&self.channel, Instant::now() + READING) {
            Heard::Ready => Ok(()),
            _ => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Tells it that it is not needed.
pub fn dismiss(channel: &OwnedFd) {
    let _ = seqpacket::send(channel, DONE, None);
    if main_process::is_ours() {
        // It gives back what it was to systemd: what we say there is heard from then on.
        while !matches!(hear(channel, Instant::now() + HEARING + END), Heard::End | Heard::Nothing) {}
    }
}

/// Whether it has ended although nobody has told it to.
pub fn has_ended(channel: &OwnedFd) -> bool {
    matches!(hear(channel, Instant::now()), Heard::End)
}

/// Who would start us again, where there is no watcher.
pub fn starter() -> Starter {
    match std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) {
        None => Starter::Nobody,
        Some(_) if main_process::is_ours() => Starter::Systemd,
        Some(_) => Starter::Other,
    }
}

/// What a guard hears.
enum Heard {
    State(OwnedFd, Starter),
    Ready,
    Done,
    /// The other end is closed: whoever had it is dead.
    End,
    Nothing,
}

fn hear(channel: &OwnedFd, until: Instant) -> Heard {
    let mut buffer = [0; 8];
    loop {
        match seqpacket::recv(channel, &mut buffer) {
            Ok(received) if received.len == 0 => return Heard::End,
            Ok(received) => match (buffer.get(..received.len), received.fd) {
                (Some([STATE, letter]), Some(state)) => {
                    return Heard::State(state, Starter::by_letter(*letter));
                }
                (Some(DONE), None) => return Heard::Done,
                (Some(READY), None) => return Heard::Ready,
                _ => {}
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Heard::Nothing;
                }
                let wait = Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(1),
                    tv_nsec: i64::from(left.subsec_nanos()),
                };
                let _ = poll(&mut [PollFd::new(channel, PollFlags::IN)], Some(&wait));
            }
            Err(_) => return Heard::End,
        }
    }
}

/// The process beside: ends when it is told to; goes on from the state when nobody can tell it any more.
pub fn guard(options: &Options, input: i32) -> ExitCode {
    let guarded = rustix::process::getppid();
    let Ok(channel) = handover::adopt(input, 3) else { return ExitCode::FAILURE };
    let until = Instant::now() + PATIENCE;
    // Ended before there was a state: it was never executed, and nothing has been given up.
    let Heard::State(state, starter) = hear(&channel, until) else { return ExitCode::SUCCESS };
    let Some((mut left, _)) =
        handover::read_sealed(&state, MOST).ok().and_then(|bytes| State::decode(&bytes).ok())
    else {
        return ExitCode::FAILURE;
    };
    left.bereave();
    if seqpacket::send(&channel, READY, None).is_err() {
        return ExitCode::FAILURE;
    }
    let how = match attend(&channel, until, starter) {
        Heard::Done => {
            if let (Starter::Systemd, Some(guarded)) = (starter, guarded) {
                give_back(guarded);
            }
            return ExitCode::SUCCESS;
        }
        Heard::End => "ended before it stood",
        Heard::State(..) | Heard::Ready | Heard::Nothing => {
            if guarded != rustix::process::getppid() || guarded.is_none_or(Pid::is_init) {
                return ExitCode::FAILURE;
            }
            let _ = guarded.map(|pid| kill(pid, Signal::KILL));
            let until = Instant::now() + END;
            let mut ended = hear(&channel, until);
            if matches!(ended, Heard::Done) {
                // It stood just before it was killed; now nobody does.
                ended = hear(&channel, until);
            }
            if !matches!(ended, Heard::End) {
                return ExitCode::FAILURE;
            }
            "did not stand in time and was killed"
        }
    };
    match (starter, guarded) {
        // Whoever starts us again has heard of the end too.
        (Starter::Other, _) => return ExitCode::SUCCESS,
        (Starter::Systemd, Some(guarded)) => main_process::stand_in_for(guarded.as_raw_nonzero().get()),
        (Starter::Nobody | Starter::Watcher | Starter::Systemd, _) => {}
    }
    drop(channel);
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
    if let Ok(null) = null {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    let _ = rustix::process::setsid();
    drop(state);
    let Ok(sealed) =
        left.encode().map_err(std::io::Error::other).and_then(|(bytes, _)| handover::seal(&bytes))
    else {
        return ExitCode::FAILURE;
    };
    go_on(options, sealed.into_raw_fd(), Way::Beside(how))
}

/// Waits for a word. To systemd this is the main process meanwhile, of which it may want signs of life.
fn attend(channel: &OwnedFd, until: Instant, starter: Starter) -> Heard {
    if starter != Starter::Systemd {
        return hear(channel, until);
    }
    loop {
        let next = until.min(Instant::now() + SIGN);
        match hear(channel, next) {
            Heard::Nothing if next < until => drop(systemd::notify("WATCHDOG=1")),
            heard => return heard,
        }
    }
}

/// The process that stands is the main one again, and gets what systemd has told this one meanwhile.
fn give_back(guarded: Pid) {
    let asked =
        [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::ABORT];
    let _ = main_process::hand_to(guarded.as_raw_nonzero().get());
    let _ = main_process::until_heard(HEARING);
    for signal in signals::pending(&asked) {
        let _ = kill(guarded, signal);
    }
}

/// A pidfd for this process, as a record has it: of one that is a child of the process that this one stands by for, or its zombie.
fn watch(pid: i32, watched: &mut Option<Fd>) {
    if pid > 0 && watched.is_none() {
        *watched = orphan::open(pid).ok().map(|fd| Fd(fd.into_raw_fd()));
    }
}

/// What becomes of a state when the process that has left it is dead: whatever it had started is nobody's child.
trait Bereave {
    fn bereave(&mut self);
}

impl Bereave for State {
    fn bereave(&mut self) {
        self.workers.iter_mut().for_each(|worker| watch(worker.pid, &mut worker.watched));
        self.leaving.iter_mut().for_each(|worker| watch(worker.pid, &mut worker.watched));
        self.hooks.iter_mut().for_each(|hook| watch(hook.pid, &mut hook.watched));
        for program in &mut self.programs {
            program.orphan = true;
            watch(program.pid, &mut program.watched);
        }
        self.retired.clear();
        // That end of the channel was never ours: its number may be another's here.
        self.guard = None;
    }
}
