//! The two contracts of systemd that need no library: readiness over NOTIFY_SOCKET, and sockets by LISTEN_FDS.
//! Without systemd both are silent no-ops.

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const FIRST: RawFd = 3;
/// systemd's own bound is the unit's sockets; more than this is not an environment to be believed.
const MOST: RawFd = 4096;

/// Sends `state` (as `READY=1`, lines separated by newlines) to the service manager. Returns whether there is one.
///
/// # Errors
/// When NOTIFY_SOCKET names something that takes no message.
pub fn notify(state: &str) -> io::Result<bool> {
    if let Some((channel, mark)) = THROUGH.get() {
        let mut message = vec![*mark];
        message.extend_from_slice(state.as_bytes());
        return crate::seqpacket::send(channel, &message, None).map(|()| true);
    }
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(path) if !path.is_empty() => notify_at(&path, state).map(|()| true),
        _ => Ok(false),
    }
}

static THROUGH: OnceLock<(OwnedFd, u8)> = OnceLock::new();

/// Whatever is told to the service manager goes through this channel from now on, each message behind this byte: it listens
/// to the process at the other end, not to us.
pub fn notify_through(channel: OwnedFd, mark: u8) {
    let _ = THROUGH.set((channel, mark));
}

/// Sends `state` with a descriptor (sd_pid_notify_with_fds(3)), as `FDSTORE=1` wants it. Returns whether there is a manager.
///
/// # Errors
/// As [`notify`]; `EAGAIN` when its queue is full.
pub fn notify_with(state: &str, fd: BorrowedFd<'_>) -> io::Result<bool> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(path) if !path.is_empty() => send_to(&path, state, Some(fd)).map(|()| true),
        _ => Ok(false),
    }
}

/// As [`notify`], to a given socket: a path, or `@name` in the abstract namespace.
///
/// # Errors
/// `EINVAL` for another form, `ENOENT`, `ECONNREFUSED`.
pub fn notify_at(socket: &OsStr, state: &str) -> io::Result<()> {
    send_to(socket, state, None)
}

fn send_to(socket: &OsStr, state: &str, attached: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        [b'/', ..] => SocketAddrUnix::new(socket)?,
        _ => return Err(rustix::io::Errno::INVAL.into()),
    };
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = attached.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let text = [io::IoSlice::new(state.as_bytes())];
    rustix::net::sendmsg_addr(&fd, &address, &text, &mut control, flags)?;
    Ok(())
}

/// A socket handed over by the service manager.
#[derive(Debug)]
pub struct Inherited {
    /// The socket, close-on-exec.
    pub fd: OwnedFd,
    /// Its FileDescriptorName=, `unknown` when not given.
    pub name: String,
}

/// The sockets that LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES announce to this process. They are handed out once;
/// a second call returns none. Call it before this process opens anything.
#[must_use]
pub fn listen_fds() -> Vec<Inherited> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let var = |name| std::env::var(name).ok();
    let mine = var("LISTEN_PID").and_then(|p| p.parse::<u32>().ok()) == Some(std::process::id());
    let count = var("LISTEN_FDS").and_then(|n| n.parse::<RawFd>().ok()).unwrap_or(0);
    if !mine || !(1..=MOST).contains(&count) {
        return Vec::new();
    }
    let names = var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|n| !n.is_empty());
    let mut found = Vec::new();
    for raw in FIRST..FIRST.saturating_add(count) {
        let name = names.next().unwrap_or("unknown").to_owned();
        // SAFETY: setting close-on-exec on a number that is not open gives EBADF and changes nothing.
        if unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            continue;
        }
        // SAFETY: it is open (fcntl succeeded), the manager gave it to this very process (LISTEN_PID), nothing
        // else here knows of it, and TAKEN hands it out once.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        found.push(Inherited { fd, name });
    }
    found
}
