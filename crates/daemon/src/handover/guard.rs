//! Who steps in when the new version dies, or stands still, between the exec and the moment in which it stands: the version that
//! goes, as a process beside with copies of all descriptors. It waits for one word and does nothing else.
//!
//! The workers live as long as either of us does, so what they have goes on. Our children are nobody's after such a death: they are
//! known by pidfds that were opened while their numbers could not be another's.
//!
//! Who would start us again is told first that this process takes the place: the watcher by its number, systemd by `MAINPID=`. One
//! that cannot be told (a watcher of a former version, a service manager that is not systemd) starts another supervisor with the
//! listeners, and this one only sees to it that a process that stands still ends. Of process 1 nobody can take the place.
//!
//! To systemd this process is a child of its own, whose end it awaits in a stop, and the main one until another was heard of: it gives
//! the place back or keeps it, and never ends with it while the process that stands runs on.

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
/// How long the queue of a service manager may be full when the place is to be given back. Clients wait in the kernel's queues.
const GIVING: Duration = Duration::from_secs(10);
/// How long one who stands waits for the place: longer than whoever gives it tries.
const TAKING: Duration = Duration::from_secs(15);
/// So often who gives the place back looks for what has come meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// So often it gets a sign of life meanwhile.
const SIGN: Duration = Duration::from_millis(500);
/// Message: here is the state; from now on you stand by. Behind it who else would start us, and our process number.
const STATE: u8 = b's';
/// Message from it: it could go on from the state.
const READY: &[u8] = b"r";
/// Message: it stands, or it could not be executed.
const DONE: &[u8] = b"d";
/// Message: it comes to nothing, and who else would start us has heard of nobody.
const OFF: &[u8] = b"o";
/// Answer to the former: the one that stands is what it was to systemd, or will be as soon as that listens.
const GIVEN: &[u8] = b"g";

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

/// Starts it, with every descriptor that stays open over an exec. For systemd as a child of its own: it does not wait in a stop for the
/// end of another's, but kills it.
pub fn start(
    back: &OwnedFd,
    argv: &[OsString],
    (ours, theirs): (OwnedFd, OwnedFd),
    starter: Starter,
) -> std::io::Result<Guard> {
    let argv = Role::Guard(0).arguments(argv);
    let pid = match starter {
        Starter::Systemd => handover::start_apart(back, &argv, &theirs)?,
        Starter::Nobody | Starter::Watcher | Starter::Other => handover::start_beside(back, &argv, &theirs)?,
    };
    Ok(Guard { channel: ours, pid })
}

impl Guard {
    /// Gives it the state, and waits until it has read that and could go on: nobody else ends our children or workers meanwhile.
    pub fn stand_by(&self, state: &OwnedFd, starter: Starter) -> std::io::Result<()> {
        let number = std::process::id().to_le_bytes();
        let message: Vec<u8> = [STATE, starter.letter()].into_iter().chain(number).collect();
        seqpacket::send(&self.channel, &message, Some(state.as_fd()))?;
        match hear(&self.channel, Instant::now() + READING) {
            Heard::Ready => Ok(()),
            _ => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Tells it that it is not needed, and that nobody has heard of it.
pub fn call_off(channel: &OwnedFd) {
    let _ = seqpacket::send(channel, OFF, None);
}

/// Tells it that it is not needed. If it was the main process to systemd it gives that back, and what we say there is heard from then on.
/// If it has ended with that, another is started: this process ends here, before it has done or said anything. The same if it does not
/// answer; it steps in then.
#[allow(clippy::disallowed_methods)] // as if it were killed: no destructor may take away what is another's by now
pub fn dismiss(channel: &OwnedFd, starter: Starter) {
    let _ = seqpacket::send(channel, DONE, None);
    if starter == Starter::Systemd && !matches!(hear(channel, Instant::now() + TAKING), Heard::Given) {
        let text = b"portreeve-gate: the process that stood by has not given back its place; this one ends\n";
        let _ = rustix::io::write(rustix::stdio::stderr(), text);
        std::process::exit(1);
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
        // Without pidfds, before Linux 5.3, who stands by could not watch for an end.
        Some(_) if main_process::is_ours() && own_pidfd() => Starter::Systemd,
        Some(_) => Starter::Other,
    }
}

fn own_pidfd() -> bool {
    i32::try_from(std::process::id()).is_ok_and(|pid| orphan::open(pid).is_ok())
}

/// What a guard hears, or is heard from it.
enum Heard {
    State(OwnedFd, Starter, Guarded),
    Ready,
    Done,
    Off,
    Given,
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
                (Some([STATE, letter, number @ ..]), Some(state)) => {
                    let pid = number.try_into().ok().map(i32::from_le_bytes).and_then(Pid::from_raw);
                    let Some(pid) = pid else { return Heard::End };
                    return Heard::State(state, Starter::by_letter(*letter), Guarded::new(pid));
                }
                (Some(DONE), None) => return Heard::Done,
                (Some(OFF), None) => return Heard::Off,
                (Some(GIVEN), None) => return Heard::Given,
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

/// The process that this one stands by for.
struct Guarded {
    pid: Pid,
    /// Opened while it waited for our answer.
    fd: Option<OwnedFd>,
}

impl Guarded {
    fn new(pid: Pid) -> Self {
        Self { pid, fd: orphan::open(pid.as_raw_nonzero().get()).ok() }
    }

    /// Without a pidfd it is to be known that it runs: its end of the channel is open.
    fn signal(&self, signal: Signal) {
        let _ = match &self.fd {
            Some(fd) => orphan::signal(fd, signal),
            None => kill(self.pid, signal),
        };
    }

    /// Whether it has ended, after so long at most.
    fn ends_within(&self, longest: Duration) -> bool {
        let Some(fd) = &self.fd else { return false };
        let wait = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&wait)).is_ok_and(|ended| ended > 0)
    }
}

/// The process beside: ends when it is told to; goes on from the state when nobody can tell it any more.
pub fn guard(options: &Options, input: i32) -> ExitCode {
    let Ok(channel) = handover::adopt(input, 3) else { return ExitCode::FAILURE };
    let until = Instant::now() + PATIENCE;
    // Ended before there was a state: it was never executed, and nothing has been given up.
    let Heard::State(state, starter, guarded) = hear(&channel, until) else { return ExitCode::SUCCESS };
    let Some((mut left, named)) =
        handover::read_sealed(&state, MOST).ok().and_then(|bytes| State::decode(&bytes).ok())
    else {
        return ExitCode::FAILURE;
    };
    let theirs = left.guard.map(|channel| channel.0);
    left.bereave();
    if seqpacket::send(&channel, READY, None).is_err() {
        return ExitCode::FAILURE;
    }
    let how = match attend(&channel, until, starter) {
        Heard::Off => return ExitCode::SUCCESS,
        Heard::Done if starter != Starter::Systemd => return ExitCode::SUCCESS,
        Heard::Done => {
            if let Some(told) = hand_back(&guarded, &channel) {
                let named = named.into_iter().map(|fd| fd.0).filter(|&number| Some(number) != theirs);
                handover::close_left(&named.collect::<Vec<_>>());
                drop((channel, state));
                return give_back(&guarded, told);
            }
            guarded.signal(Signal::KILL);
            if !guarded.ends_within(END) {
                return ExitCode::FAILURE;
            }
            "could not become the main process again and was killed"
        }
        Heard::End => "ended before it stood",
        Heard::State(..) | Heard::Ready | Heard::Given | Heard::Nothing => {
            if guarded.pid.is_init() {
                return ExitCode::FAILURE;
            }
            guarded.signal(Signal::KILL);
            let until = Instant::now() + END;
            let mut ended = hear(&channel, until);
            if matches!(ended, Heard::Done) {
                // It stood just before it was killed. The watcher may have heard of that, and starts another then.
                if starter == Starter::Watcher {
                    return ExitCode::SUCCESS;
                }
                ended = hear(&channel, until);
            }
            if !matches!(ended, Heard::End) {
                return ExitCode::FAILURE;
            }
            "did not stand in time and was killed"
        }
    };
    match starter {
        // Whoever starts us again has heard of the end too.
        Starter::Other => return ExitCode::SUCCESS,
        Starter::Systemd => main_process::stand_in_for(guarded.pid.as_raw_nonzero().get()),
        Starter::Nobody | Starter::Watcher => {}
    }
    drop((channel, guarded));
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

/// What systemd may have told this process meanwhile. The last one it sends to one that has given no sign of life.
const TOLD: [Signal; 7] =
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2, Signal::ABORT];

/// What has come to this process and is passed on, each once.
#[derive(Default)]
struct Told(Vec<Signal>);

impl Told {
    fn pass_on(&mut self, guarded: &Guarded) {
        for signal in signals::pending(&TOLD) {
            if !self.0.contains(&signal) {
                guarded.signal(signal);
                self.0.push(signal);
            }
        }
    }

    /// Whether the unit is to end: in that state systemd hears of no other main process, and takes the end of this one for the unit's.
    fn to_end(&self) -> bool {
        self.0.iter().any(|signal| matches!(*signal, Signal::TERM | Signal::INT | Signal::QUIT))
    }

    /// Whether systemd has given up the unit.
    fn is_given_up(&self) -> bool {
        self.0.contains(&Signal::ABORT) && std::env::var_os("WATCHDOG_USEC").is_some()
    }
}

/// Tells systemd that the process that stands is the main one again, and that one that it may stand. `None`: systemd's queue was full until
/// that one ended or for too long, and this process is the main one still.
fn hand_back(guarded: &Guarded, channel: &OwnedFd) -> Option<Told> {
    let until = Instant::now() + GIVING;
    let mut told = Told::default();
    loop {
        told.pass_on(guarded);
        let handed = main_process::hand_to(guarded.pid.as_raw_nonzero().get(), LOOK);
        if handed.is_ok() || told.to_end() {
            break;
        }
        if Instant::now() >= until || guarded.ends_within(Duration::ZERO) {
            return None;
        }
        std::thread::sleep(LOOK);
    }
    let _ = seqpacket::send(channel, GIVEN, None);
    Some(told)
}

/// Stays the main process until systemd has heard of the other one, or until that one has ended, and passes on what it is told. Holds
/// nothing meanwhile.
fn give_back(guarded: &Guarded, mut told: Told) -> ExitCode {
    loop {
        let heard = main_process::until_heard(LOOK).is_ok();
        // Whatever systemd has said to this process as the main one it had said before it heard of the other.
        told.pass_on(guarded);
        if told.is_given_up() {
            guarded.signal(Signal::KILL);
        }
        let ended = guarded.ends_within(if heard { Duration::ZERO } else { LOOK });
        if ended && !told.to_end() {
            // systemd may not have heard of it alive. If it has, this says nothing.
            return ExitCode::FAILURE;
        }
        if ended || (heard && !told.to_end() && !told.is_given_up()) {
            return ExitCode::SUCCESS;
        }
        if heard {
            let _ = guarded.ends_within(GIVING);
        }
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
