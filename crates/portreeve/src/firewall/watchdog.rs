//! The watchdogs of a trial: two processes in sessions of their own that take it back when its time is over. Each sits in a seat
//! that the kernel frees when it dies, and then the other one starts a new one. They confirm nothing.

use super::state::{Lock, Pending, Store, Trial, boot};
use super::trial;
use crate::failure::{Failure, system_text};
use portreeve_sys::process::{Side, daemonize};
use portreeve_sys::syslog::Syslog;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How many there are.
pub const SEATS: u8 = 2;
/// How often each looks.
const EVERY: Duration = Duration::from_millis(250);
/// How long a lock is waited for before its holder is ended: it may be stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two starts of the other one.
const AGAIN: Duration = Duration::from_secs(1);
/// LOG_DAEMON | LOG_WARNING.
const PRIORITY: u16 = 3 << 3 | 4;

/// Starts a watchdog and waits until it sits.
///
/// # Errors
/// It did not come to sit there.
pub fn start(seat: u8, token: &str) -> Result<(), Failure> {
    let status = Command::new("/proc/self/exe")
        .args(["firewall", "watch", &seat.to_string(), token])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("the watchdog could not be started: {status}"))),
        Err(error) => {
            Err(Failure::new(format!("the watchdog could not be started: {}", system_text(&error))))
        }
    }
}

/// The watchdog's process: goes to the background, sits down, and watches until the trial is over.
///
/// # Errors
/// The trial is not there.
pub fn watch(seat: u8, token: &str) -> Result<(), Failure> {
    let readiness = match daemonize() {
        Ok(Side::Launcher(0)) => return Ok(()),
        Ok(Side::Launcher(status)) => return Err(Failure::new(format!("the watchdog ended with {status}"))),
        Ok(Side::Daemon(readiness)) => readiness,
        Err(error) => return Err(Failure::new(system_text(&error))),
    };
    let _ = portreeve_sys::stdio::redirect_to_null();
    survive();
    let store = Store::open()?;
    let Some(pending) = store.read()?.pending.filter(|pending| pending.token == token) else {
        return Err(Failure::new("there is no such trial"));
    };
    let Some(own) = sit(&store, seat, token)? else {
        // Somebody sits there already.
        readiness.report(0);
        return Ok(());
    };
    readiness.report(0);
    guard(&store, &own, seat, pending);
    // The seat first: whoever applies the next rules holds the lock and waits for it.
    drop(own);
    // Whoever confirmed may have died before the witness was sent away.
    if let Ok(Some(lock)) = store.lock_within(PATIENCE) {
        let _ = trial::tidy(&store, &lock);
    }
    Ok(())
}

/// Takes the seat; `None` where another one of this trial has it. One of a trial that is over leaves soon, and guards nothing.
fn sit(store: &Store, seat: u8, token: &str) -> Result<Option<Lock>, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(own) = store.seat(seat)? {
            own.sign(token).map_err(|error| Failure::new(format!("the seat: {}", system_text(&error))))?;
            return Ok(Some(own));
        }
        if store.seated(seat).is_some_and(|sitting| sitting == token) {
            return Ok(None);
        }
        if begun.elapsed() >= PATIENCE {
            return Err(Failure::new("a watchdog of a former trial does not leave its seat"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The session that this was started in may be ended with all its processes, and memory may be short: both are no reason.
fn survive() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    for file in ["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/systemd/cgroup.procs"] {
        let _ = std::fs::write(file, std::process::id().to_string());
    }
}

fn guard(store: &Store, _own: &Lock, seat: u8, mut pending: Pending) {
    let mut started: Option<Instant> = None;
    loop {
        match store.trial(&pending.token) {
            Trial::Running(now) => pending = *now,
            Trial::Ended => return,
            // No confirmation: what was read before counts.
            Trial::Unknown => {}
        }
        if pending.boot != boot() {
            return;
        }
        if let Some(why) = trial::over(&pending)
            && take_back(store, &pending, why)
        {
            return;
        }
        let other = (seat + 1) % SEATS;
        let may = started.is_none_or(|at| at.elapsed() >= AGAIN);
        if may && matches!(store.seat(other), Ok(Some(_))) {
            started = Some(Instant::now());
            let _ = start(other, &pending.token);
        }
        std::thread::sleep(EVERY);
    }
}

/// Whether the trial is over now.
fn take_back(store: &Store, pending: &Pending, why: &str) -> bool {
    let lock = match store.lock_within(PATIENCE) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            // Stopped, or stuck: nobody may keep the way back closed.
            for holder in
                store.lock_holders().into_iter().filter_map(|holder| Pid::from_raw(holder.cast_signed()))
            {
                let _ = kill_process(holder, Signal::KILL);
            }
            return false;
        }
        // The directory is gone: the kernel can still be put right.
        Err(_) => {
            return trial::replace(pending.former.as_deref(), None).is_ok();
        }
    };
    // Somebody may have confirmed meanwhile.
    if matches!(store.trial(&pending.token), Trial::Ended) {
        return true;
    }
    let undone = trial::undo(store, &lock, pending, why);
    let told = match &undone {
        Ok(()) => format!("host firewall: the trial {} was taken back: {why}", pending.token),
        Err(failure) => format!("host firewall: {failure}"),
    };
    Syslog::new("portreeve").send(PRIORITY, told.as_bytes());
    undone.is_ok()
}
