//! Which process systemd takes for the main one of a unit (sd_notify(3), `MAINPID=`): another one can stand in for it. Sends messages and
//! waits until they were heard; who stands in for whom is the caller's.

use crate::systemd;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Whose process number the manager left in the environment for that very process: it believes no other.
const OWN: [&str; 2] = ["WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// Whether systemd listens and this is the process that it started: INVOCATION_ID is its alone, and from version 248 on it says whom it
/// executed. Of another manager that listens nobody can tell whether it knows `MAINPID=`.
#[must_use]
pub fn is_ours() -> bool {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let executed = variable("SYSTEMD_EXEC_PID");
    let own = std::process::id().to_string();
    variable("NOTIFY_SOCKET").is_some()
        && variable("INVOCATION_ID").is_some()
        && executed.is_none_or(|pid| pid == OsStr::new(&own))
}

/// So often a queue that is full is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// Says something as soon as the manager's queue, which anybody may fill, has room for it.
fn say(longest: Duration, say: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    let until = Instant::now() + longest;
    loop {
        match say() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(AGAIN);
            }
            said => return said.map(drop),
        }
    }
}

/// Says that process `pid` is the main one from now on. Whoever says it must be that so far (`NotifyAccess=main`). It counts before the
/// end of the sender, which the manager hears of later. Takes no longer than this.
///
/// # Errors
/// `EAGAIN` the manager's queue was full all the time; as [`systemd::notify`].
pub fn hand_to(pid: i32, longest: Duration) -> io::Result<()> {
    say(longest, || systemd::notify(&format!("MAINPID={pid}")))
}

/// Waits until the manager has heard what was said so far (`BARRIER=1`), no longer than this for its queue and this for its ear.
///
/// # Errors
/// `ETIMEDOUT`; as [`hand_to`].
pub fn until_heard(longest: Duration) -> io::Result<()> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    say(longest, || systemd::notify_with("BARRIER=1", write.as_fd()))?;
    drop(write);
    // The manager closes it once it has come to this message.
    let wait = rustix::event::Timespec {
        tv_sec: i64::try_from(longest.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(longest.subsec_nanos()),
    };
    let mut polled = [rustix::event::PollFd::new(&read, rustix::event::PollFlags::empty())];
    match rustix::event::poll(&mut polled, Some(&wait))? {
        0 => Err(rustix::io::Errno::TIMEDOUT.into()),
        _ => Ok(()),
    }
}

/// This process is what process `former` was: variables that name that one name this one. For a process with one thread.
pub fn stand_in_for(former: i32) {
    let former = former.to_string();
    for name in OWN.into_iter().filter(|name| std::env::var(name).is_ok_and(|pid| pid == former)) {
        let (name, own) = (CString::new(name), CString::new(std::process::id().to_string()));
        if let (Ok(name), Ok(own)) = (name, own) {
            // SAFETY: NUL-terminated strings; by the contract above no other thread reads the environment meanwhile.
            unsafe { libc::setenv(name.as_ptr(), own.as_ptr(), 1) };
        }
    }
}
