//! A user namespace for processes to come: made with a child that is gone at once, held by its descriptor. Says which users of outside
//! there are in it; all others are nobody (65534) there.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;

/// Ids that are the same inside and outside: the first, and how many.
pub type Same = (u32, u32);

/// Whether the kernel makes any.
#[must_use]
pub fn are_made() -> bool {
    let most = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    most.is_ok_and(|most| most.trim() != "0")
}

/// A new one with these users and groups. Its owner is this process's user, who has all rights in it.
///
/// # Errors
/// `ENOSPC`, `EPERM`, `ENOSYS`: the kernel makes none; `EINVAL` for ids that overlap.
pub fn make(users: &[Same], groups: &[Same]) -> io::Result<OwnedFd> {
    // SAFETY: without CLONE_VM this is fork; the child ends at once, by a system call.
    let pid = unsafe { crate::beside::plain_clone(libc::CLONE_NEWUSER) };
    if pid == 0 {
        // SAFETY: ends this process without running anything of its parent's.
        unsafe { libc::_exit(0) }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // Ended or not, it is there until it is waited for, and so is its namespace.
    let made = fill(pid, users, groups);
    let pid = i32::try_from(pid).unwrap_or(-1);
    // SAFETY: no status is asked for. __WALL: a child without a signal for its end is not waited for otherwise.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    made
}

fn fill(pid: i64, users: &[Same], groups: &[Same]) -> io::Result<OwnedFd> {
    let lines = |all: &[Same]| -> String {
        all.iter().map(|(first, count)| format!("{first} {first} {count}\n")).collect()
    };
    // One write(2) each, as the kernel wants it.
    let set = |file: &str, text: String| -> io::Result<()> {
        let path = format!("/proc/{pid}/{file}");
        let fd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&fd, text.as_bytes())?;
        Ok(())
    };
    set("uid_map", lines(users))?;
    set("gid_map", lines(groups))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?)
}
