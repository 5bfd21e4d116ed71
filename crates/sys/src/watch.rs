//! Starts the supervisor from a process that does nothing else than hold its sockets: a fork, the sockets as descriptors from
//! 3 up as LISTEN_FDS has them, one channel behind them, and the exec.

use crate::signals;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Executes `executable` in a child, with `sockets` from descriptor 3 up, which `names` are for (LISTEN_FDNAMES), and `channel` behind
/// the last of them. `argv` is given that number. Call it from a process with one thread whose descriptors all lie above those numbers.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`: there is no process. A child that cannot execute ends with status 127.
pub fn start(
    executable: BorrowedFd<'_>,
    argv: &dyn Fn(RawFd) -> Vec<OsString>,
    sockets: &[BorrowedFd<'_>],
    names: &[&str],
    channel: BorrowedFd<'_>,
) -> io::Result<i32> {
    // SAFETY: this process has one thread, so the child may go on as any program does.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let behind = place(sockets, channel);
            let count = sockets.len().to_string();
            let own = std::process::id().to_string();
            variable("LISTEN_FDS", Some(&count).filter(|_| !sockets.is_empty()));
            variable("LISTEN_PID", Some(&own).filter(|_| !sockets.is_empty()));
            variable("LISTEN_FDNAMES", Some(&names.join(":")).filter(|_| !sockets.is_empty()));
            // The signs of life that are asked of this process are given by that one.
            variable("WATCHDOG_PID", None);
            signals::restore(&signals::none());
            let _ = crate::handover::exec(executable, &argv(behind));
            // SAFETY: ends this process without running anything of its parent's.
            unsafe { libc::_exit(127) }
        }
        pid => Ok(pid),
    }
}

/// The number of the channel.
fn place(sockets: &[BorrowedFd<'_>], channel: BorrowedFd<'_>) -> RawFd {
    let mut next = 3;
    for fd in sockets.iter().chain([&channel]) {
        // SAFETY: by the contract above no descriptor that is still needed has this number.
        unsafe { libc::dup2(fd.as_raw_fd(), next) };
        next += 1;
    }
    next - 1
}

fn variable(name: &str, value: Option<&String>) {
    let Ok(name) = CString::new(name) else { return };
    let value = value.and_then(|value| CString::new(value.as_str()).ok());
    // SAFETY: NUL-terminated strings, in a process with one thread.
    unsafe {
        match &value {
            Some(value) => libc::setenv(name.as_ptr(), value.as_ptr(), 1),
            None => libc::unsetenv(name.as_ptr()),
        }
    };
}
