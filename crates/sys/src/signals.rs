//! Signals as data: everything is blocked, and what the caller wants arrives on a descriptor. Owns the process's
//! signal mask and dispositions. Installs no handler, ever, so nothing can run in the middle of anything.

pub use rustix::process::Signal;
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const HIGHEST: u32 = 64;

/// A nonblocking descriptor that becomes readable when a signal of its set arrives.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
    batch: Cell<Batch>,
}

/// Signals read at once.
const MOST: usize = 8;

/// Number, sender's pid, sender's uid.
type Arrived = (i32, i32, u32);

/// What one system call brought. Most bring one signal; that the kernel had no more is then known already, and the
/// read that would only say so is saved: one per wake-up.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    signals: [Arrived; MOST],
    next: usize,
    len: usize,
    drained: bool,
}

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
    // std handles these two, to say that a stack has overflown. A child that shares our memory must run no handler, and any process of
    // its user may send it one.
    for signo in [libc::SIGSEGV, libc::SIGBUS] {
        action(signo.unsigned_abs(), Some(&DEFAULT));
    }
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
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(SignalFd { fd, batch: Cell::default() })
}

impl SignalFd {
    /// The next signal: its number, the sender's pid (0 from the kernel) and uid. None when there was none left at
    /// the last look; one that has come since keeps the descriptor readable.
    pub fn read(&self) -> Option<(i32, i32, u32)> {
        let mut batch = self.batch.get();
        if batch.next >= batch.len {
            let drained = std::mem::take(&mut batch.drained);
            batch.len = 0;
            if !drained {
                batch = self.fetch();
            }
        }
        let found = batch.signals.get(..batch.len).and_then(|list| list.get(batch.next)).copied();
        batch.next = batch.next.saturating_add(1);
        self.batch.set(batch);
        found
    }

    fn fetch(&self) -> Batch {
        let mut infos = MaybeUninit::<[libc::signalfd_siginfo; MOST]>::uninit();
        let got = loop {
            let (buffer, size) = (infos.as_mut_ptr().cast(), size_of_val(&infos));
            // SAFETY: the buffer has `size` bytes.
            let got = unsafe { libc::read(self.fd.as_raw_fd(), buffer, size) };
            if got >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break usize::try_from(got).unwrap_or(0);
            }
        };
        let len = (got / size_of::<libc::signalfd_siginfo>()).min(MOST);
        let mut batch = Batch { len, drained: len > 0 && len < MOST, ..Batch::default() };
        for (index, place) in batch.signals.iter_mut().enumerate().take(len) {
            // SAFETY: the kernel has filled the first `len` structures, and `index` is below that.
            let info = unsafe { &*infos.as_ptr().cast::<libc::signalfd_siginfo>().add(index) };
            *place = (info.ssi_signo.cast_signed(), info.ssi_pid.cast_signed(), info.ssi_uid);
        }
        batch
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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

/// Which of these have come to this process and are blocked.
#[must_use]
pub fn pending(asked: &[Signal]) -> Vec<Signal> {
    let mut set = empty();
    // SAFETY: the kernel fills the set, which is initialised.
    unsafe { libc::sigpending(&raw mut set) };
    // SAFETY: the set is initialised, and the numbers come from valid Signals.
    let came = |signal: &&Signal| unsafe { libc::sigismember(&raw const set, signal.as_raw()) == 1 };
    asked.iter().filter(came).copied().collect()
}

/// Takes the SIGCHLD that has come, if one has: who has ended. It may stand for many. No other signal is touched, and nothing that a
/// [`SignalFd`] has read already.
#[must_use]
pub fn take_child() -> Option<i32> {
    let mut set = empty();
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set is initialised and SIGCHLD a valid signal.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    // SAFETY: the set and the time are initialised; the kernel fills the structure where it returns a signal.
    let got = unsafe { libc::sigtimedwait(&raw const set, info.as_mut_ptr(), &raw const at_once) };
    // SAFETY: filled, of a SIGCHLD, which names a process.
    (got == libc::SIGCHLD).then(|| unsafe { info.assume_init().si_pid() })
}

/// The mask that blocks nothing.
pub(crate) fn none() -> libc::sigset_t {
    empty()
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
