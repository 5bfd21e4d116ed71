//! Descriptors at start: 0-2 must exist before anything is opened, and nothing inherited may reach a service.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Opens `/dev/null` on each of 0, 1, 2 that is closed. Otherwise an accepted client or a log file would land on
/// one of them, and a stray message would go to a client.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn ensure_open() -> io::Result<()> {
    loop {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if null.as_raw_fd() > 2 {
            return Ok(()); // the lowest free number is above 2, so all three are open
        }
        rustix::io::fcntl_setfd(&null, rustix::io::FdFlags::empty())?;
        let _kept = null.into_raw_fd();
    }
}

/// Puts `/dev/null` on 0, 1 and 2, for a process that has gone to the background.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn redirect_to_null() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Marks every descriptor from 3 up close-on-exec, whatever the limit on descriptors is: one call, where a loop
/// over `LimitNOFILE=infinity` takes minutes (xinetd.md §7, "Daemon fds"). Inherited descriptors stay usable here
/// (sockets of systemd) and reach no service.
///
/// # Errors
/// When neither the call (kernel 5.11) nor `/proc/self/fd` is there.
pub fn seal_inherited() -> io::Result<()> {
    // SAFETY: setting close-on-exec invalidates no descriptor of this process.
    if unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if fd > 2 {
            // SAFETY: as above; a number that has been closed meanwhile gives EBADF.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Descriptor 3 of a process that was started with one ([`crate::spawn::Stdio::Separate`] with `extra`), close-on-exec
/// from here on. It is handed out once; `None` afterwards, or when it is not open.
#[must_use]
pub fn take_third() -> Option<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: setting close-on-exec on a number that is not open gives EBADF and changes nothing.
    if unsafe { libc::fcntl(3, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open; whoever started this process put it there for it, the caller asks before it opens anything
    // of its own, and TAKEN hands it out once.
    Some(unsafe { OwnedFd::from_raw_fd(3) })
}
