//! safe_finger: runs finger for a rule that fingers back, as nobody, for a minute at most, and lets nothing through that a
//! terminal or a mail program would act on (reference A15).

mod cleaning;

use cleaning::Cleaner;
use portreeve_sys::{identity, names};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who finger runs as when we are root.
const NOBODY: &str = "nobody";
/// The number of nobody where there is no such user.
const NOBODY_ID: u32 = 65534;
const SEARCH: &str = "/bin:/usr/bin:/sbin:/usr/sbin";
/// How long finger may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `finger` with these arguments; whether all went well, or the minute was over.
#[must_use]
pub fn run(arguments: &[OsString]) -> bool {
    if let Err(refused) = drop_root() {
        return fail(&format!("cannot become {NOBODY}: {}", refused.call));
    }
    let Some(program) = find("finger") else { return fail("finger: No such file or directory") };
    let started = Command::new(program)
        .arg0("finger")
        .args(arguments)
        .env("PATH", SEARCH)
        .stdout(Stdio::piped())
        .spawn();
    match started {
        Ok(finger) => ended(finger),
        Err(error) => fail(&format!("finger: {}", crate::failure::system_text(&error))),
    }
}

fn fail(what: &str) -> bool {
    // Nothing can be done about a standard error that fails.
    let _ = writeln!(std::io::stderr(), "{what}");
    false
}

fn drop_root() -> Result<(), identity::Refused> {
    if !portreeve_sys::process::is_root() {
        return Ok(());
    }
    let (uid, gid) = names::user(NOBODY).map_or((NOBODY_ID, NOBODY_ID), |user| (user.uid, user.gid));
    let groups = names::group_list(NOBODY, gid).unwrap_or_else(|_| vec![gid]);
    identity::become_for_good(Some(uid), Some(gid), Some(&groups))
}

/// Searched here, so that a missing program is told in the original's words and not in the caller's `PATH`.
fn find(program: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(SEARCH).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn ended(mut finger: Child) -> bool {
    let deadline = Instant::now().checked_add(PATIENCE);
    let finished = copy(&mut finger, deadline);
    // A finger that still writes gets SIGPIPE now.
    drop(finger.stdout.take());
    loop {
        match finger.try_wait() {
            Ok(Some(status)) if finished && !status.success() => return false,
            Ok(Some(_)) => return true,
            Ok(None) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None) => {
                let _ = finger.kill();
                let _ = finger.wait();
                return true;
            }
            Err(_) => return false,
        }
    }
}

/// Copies what finger says, cleaned, to standard output; false when the minute is over.
fn copy(finger: &mut Child, deadline: Option<Instant>) -> bool {
    let Some(pipe) = finger.stdout.as_mut() else { return true };
    let mut cleaner = Cleaner::default();
    let mut place = [0_u8; 4096];
    let mut out = std::io::stdout().lock();
    loop {
        let Some(left) = deadline.and_then(|deadline| deadline.checked_duration_since(Instant::now())) else {
            return false;
        };
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return true,
            Ok(_) => {}
        }
        let count = match pipe.read(&mut place) {
            Ok(0) => return true,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return true,
        };
        let mut clean = Vec::new();
        let more = cleaner.clean(place.get(..count).unwrap_or_default(), &mut clean);
        if out.write_all(&clean).and_then(|()| out.flush()).is_err() || !more {
            return true;
        }
    }
}
