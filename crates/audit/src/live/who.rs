//! Who did something to a file: what /proc says of the process, as long as it is that process. Reads only.

use crate::bounded;
use crate::process;
use portreeve_sys::idle::Process;
use rustix::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// The audit session of who has none.
const NO_SESSION: u32 = u32::MAX;

/// A process. What is not known of it is none: it may have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// Its number; 0 for nobody that this pid namespace knows.
    pub pid: u32,
    /// Its short name.
    pub name: Option<String>,
    /// Its executable.
    pub executable: Option<String>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// The user who logged in (audit), whoever it has become since.
    pub login: Option<u32>,
    /// The session of that login (audit).
    pub session: Option<u32>,
    /// Its unit or container.
    pub home: Option<String>,
    /// Whether the kernel had named it by a descriptor, so that no later process of its number can be meant.
    pub certain: bool,
}

impl Who {
    /// The process of this number; `held` is the kernel's descriptor of it.
    pub fn of(pid: u32, held: Option<&OwnedFd>) -> Self {
        let unknown = Who { pid, ..Who::default() };
        let held = held.and_then(|fd| fd.try_clone().ok()).map(Process::from);
        if pid == 0 {
            return unknown;
        }
        let proc = Path::new("/proc");
        let Some(found) = process::read(proc, pid) else { return unknown };
        let number = |name: &str| {
            let text = bounded::file(&proc.join(pid.to_string()).join(name), 64).ok()?;
            std::str::from_utf8(&text).ok()?.trim().parse().ok().filter(|number| *number != NO_SESSION)
        };
        let home = found.home.unit.clone().or_else(|| {
            found.home.container.map(|container| format!("{} {}", container.runtime, container.name))
        });
        let who = Who {
            pid,
            name: Some(found.name),
            executable: found.executable,
            uid: found.uid,
            login: number("loginuid"),
            session: number("sessionid"),
            home,
            certain: held.is_some(),
        };
        // Read first, asked then: it was this one all the time, or what was read is another's.
        match held.is_some_and(|held| held.ended_within(Duration::ZERO)) {
            true => unknown,
            false => who,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_and_one_that_has_ended_is_not() {
        let own = Who::of(std::process::id(), None);
        assert_eq!(own.executable.as_deref().map(Path::new), std::env::current_exe().ok().as_deref());
        assert!(own.uid.is_some() && !own.certain);
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        let held = rustix::process::pidfd_open(
            rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap();
        child.wait().unwrap();
        assert_eq!(Who::of(pid, Some(&held)), Who { pid, ..Who::default() });
    }
}
