//! Signals as data: everything is blocked, and what the caller wants arrives on a descriptor. Owns the process's
//! signal mask and dispositions. Installs no handler, ever, so nothing can run in the middle of anything.

pub use rustix::process::Signal;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

const HIGHEST: u32 = 64;

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
        action(signo, Some(&DEFAULT));
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

/// The kernel's struct sigaction with room to spare; the handler comes first in every ABI that this builds for.
pub(crate) type KernelAction = [usize; 8];

/// SIG_DFL, no flags, empty mask.
pub(crate) const DEFAULT: KernelAction = [0; 8];

/// The disposition of a signal, after setting it to `new`. A raw call, because libc hides two numbers that it
/// uses itself (32, 33), and programs that were started with those ignored are real.
fn action(signo: u32, new: Option<&KernelAction>) -> KernelAction {
    let mut old = DEFAULT;
    let new = new.map_or(std::ptr::null(), |n| n.as_ptr());
    // SAFETY: both structures are at least as large as the kernel's, and only DEFAULT is ever set.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, new, old.as_mut_ptr(), size_of::<u64>()) };
    old
}

/// The ignored signals of this process, bit n-1 for signal n.
pub(crate) fn ignored() -> u64 {
    (1..=HIGHEST)
        .filter(|&signo| action(signo, None).first() == Some(&libc::SIG_IGN))
        .fold(0, |found, signo| found | 1 << (signo - 1))
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}
