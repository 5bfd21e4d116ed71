//! Signals as data: everything is blocked, and what the caller wants arrives on a descriptor. Owns the process's
//! signal mask and dispositions. Installs no handler, ever, so nothing can run in the middle of anything.

pub use rustix::process::Signal;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

const HIGHEST: i32 = 64;

/// A nonblocking descriptor that becomes readable when a signal of its set arrives.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// Blocks every signal, sets every ignored one to its default (so that a started program inherits neither), and
/// returns a descriptor for `wanted`. Signals outside `wanted` stay blocked and are never delivered; faults still
/// end the process. Call it once, before any thread.
///
/// # Errors
/// From sigaction and signalfd: `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn take_over(wanted: &[Signal]) -> io::Result<SignalFd> {
    let mut set = empty();
    for signal in wanted {
        // SAFETY: `set` is initialised, and the number comes from a valid Signal.
        unsafe { libc::sigaddset(&raw mut set, signal.as_raw()) };
    }
    block_all();
    let mut left = ignored();
    while left != 0 {
        let signo = left.trailing_zeros().saturating_add(1);
        left &= left - 1;
        // SAFETY: SIG_DFL is a valid disposition for every signal that can be ignored.
        unsafe { libc::signal(signo.cast_signed(), libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl SignalFd {
    /// The next pending signal: its number, the sender's pid (0 from the kernel) and uid. None when there is none.
    pub fn read(&self) -> Option<(i32, i32, u32)> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
            // SAFETY: the buffer has `size` bytes.
            let got = unsafe { libc::read(fd, info.as_mut_ptr().cast(), size) };
            if usize::try_from(got) == Ok(size) {
                // SAFETY: the kernel has filled the whole structure.
                let info = unsafe { info.assume_init() };
                return Some((info.ssi_signo.cast_signed(), info.ssi_pid.cast_signed(), info.ssi_uid));
            }
            if got >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return None;
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Blocks every signal of this thread and returns the mask that was.
pub(crate) fn block_all() -> libc::sigset_t {
    let mut full = empty();
    let mut previous = empty();
    // SAFETY: both sets are initialised.
    unsafe {
        libc::sigfillset(&raw mut full);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const full, &raw mut previous);
    }
    previous
}

/// Sets this thread's mask.
pub(crate) fn restore(mask: &libc::sigset_t) {
    // SAFETY: the set is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// Whether this thread has every classic signal blocked that can be.
pub(crate) fn mask_is_full() -> bool {
    let mut now = empty();
    // SAFETY: a null set only queries; `now` is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut now) };
    let blockable = (1..32).filter(|s| ![libc::SIGKILL, libc::SIGSTOP].contains(s));
    // SAFETY: the set is initialised and the numbers are valid.
    blockable.into_iter().all(|s| unsafe { libc::sigismember(&raw const now, s) == 1 })
}

/// The ignored signals of this process, bit n-1 for signal n.
pub(crate) fn ignored() -> u64 {
    let mut found = 0u64;
    for signo in 1..=HIGHEST {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a null action only queries. libc refuses its own internal numbers, and then the zeroed
        // structure says SIG_DFL.
        let action = unsafe {
            libc::sigaction(signo, std::ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        if action.sa_sigaction == libc::SIG_IGN {
            found |= 1 << (signo - 1);
        }
    }
    found
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}
