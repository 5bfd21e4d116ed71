//! Clients' sockets, closed without a wait. Whoever closes one last may be made to wait by whoever is at its other end: a program may have
//! asked that closing wait for the client to take what was sent (SO_LINGER), and who connects to a unix socket can put descriptors of his
//! own into it, nobody's but the queue's then, among them connections that linger for as long as he likes. Of a process that is at its
//! end the kernel makes nobody wait (tcp(7), unix(7)); so what came over a unix socket is closed last by a process that ends, one for all
//! of a turn. Owns what is still to be closed.

use crate::raw::{LEAVES_ERRNO, Word, call};
use crate::signals;
use crate::spawn::{LOOK, LOOKS, Stack, kill_if_stopped, last_errno, wait_for_exec};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::futex;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::mem::{ManuallyDrop, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    fd: ManuallyDrop<OwnedFd>,
    /// Of a client on this host: where it goes.
    farewells: Option<Rc<Farewells>>,
}

impl Connection {
    /// For whoever passes it on, and whose it is to close from now on.
    #[must_use]
    pub fn into_fd(mut self) -> OwnedFd {
        self.farewells = None;
        // SAFETY: `self` is forgotten, so nobody has it but the caller.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        std::mem::forget(self);
        fd
    }

    /// Whether it came over a unix socket.
    pub(crate) fn is_local(&self) -> bool {
        self.farewells.is_some()
    }
}

/// One in which nobody but its program can have put anything.
impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: ManuallyDrop::new(fd), farewells: None }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is dropped once, and not used afterwards.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        match self.farewells.take() {
            Some(farewells) => farewells.waiting.borrow_mut().push(fd),
            None => let_go(std::os::fd::IntoRawFd::into_raw_fd(fd)),
        }
    }
}

/// Closes a client's descriptor without a wait: its program may be at its end, so that this is the last one, and may have asked that
/// closing wait for the client to take what was sent (SO_LINGER). The kernel sends it all the same. `{1, 0}` means a reset, and stays.
/// Raw calls only, since children run here.
pub(crate) fn let_go(number: c_int) {
    let mut linger = libc::linger { l_onoff: 0, l_linger: 0 };
    let mut length = size_of::<libc::linger>() as libc::socklen_t;
    let [fd, level, option] = [number, libc::SOL_SOCKET, libc::SO_LINGER].map(Word::word);
    let (value, size) = ((&raw mut linger).word(), (&raw mut length).word());
    // SAFETY: the kernel writes at most `length` bytes to `linger`, and the length itself.
    let asked = unsafe { call(libc::SYS_getsockopt, [fd, level, option, value, size]) };
    if asked.is_ok() && linger.l_onoff != 0 && linger.l_linger != 0 {
        linger.l_onoff = 0;
        let value = (&raw const linger).word();
        // SAFETY: the kernel reads `length` bytes of `linger`.
        let _ = unsafe { call(libc::SYS_setsockopt, [fd, level, option, value, length.word()]) };
    }
    // SAFETY: the caller's to close, and the only one who does.
    let _ = unsafe { call(libc::SYS_close, [fd]) };
}

/// What came over unix sockets and is to be closed.
#[derive(Debug, Default)]
pub struct Farewells {
    /// Where no process can be made they wait for the next time: descriptors are their bound.
    waiting: RefCell<Vec<OwnedFd>>,
    stack: RefCell<Option<Stack>>,
    /// Processes that end, and give no sign of it: to be collected.
    ending: RefCell<Vec<Pid>>,
}

impl Farewells {
    /// A connection that was just accepted. `is_local`: over a unix socket.
    #[must_use]
    pub fn connection(self: &Rc<Self>, fd: OwnedFd, is_local: bool) -> Connection {
        Connection { fd: ManuallyDrop::new(fd), farewells: is_local.then(|| Rc::clone(self)) }
    }

    /// Closes all that waits: the end of a turn. Costs nothing where nothing does.
    pub fn say(&self) {
        self.collect();
        if self.waiting.borrow().is_empty() {
            return;
        }
        // A child would write errno beside us.
        if !LEAVES_ERRNO {
            self.waiting.borrow_mut().clear();
            return;
        }
        let holds = |share| self.held(share);
        // Without close_range(2) and its UNSHARE it gets a copy of the whole table.
        if let Ok(pid) =
            holds(true).or_else(|errno| if errno == Errno::NOSYS { holds(false) } else { Err(errno) })
        {
            self.ending.borrow_mut().push(pid);
        }
    }

    fn collect(&self) {
        let only_look = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
        let is_there = |pid: &Pid| matches!(rustix::process::waitpid(Some(*pid), only_look), Ok(None));
        self.ending.borrow_mut().retain(is_there);
    }

    /// Has all that waits held by a process, closes it here, and lets that process end.
    fn held(&self, share: bool) -> Result<Pid, Errno> {
        let mut stack = self.stack.borrow_mut();
        let stack = match &mut *stack {
            Some(stack) => stack,
            none => none.insert(Stack::map()?),
        };
        let highest = self.waiting.borrow().iter().map(AsRawFd::as_raw_fd).max().unwrap_or(2);
        let holder = Holder {
            unshare_from: share.then_some(highest.unsigned_abs().saturating_add(1)),
            holds: AtomicU32::new(0),
            errno: AtomicI32::new(0),
            may_end: AtomicU32::new(0),
        };
        let in_our_memory = AtomicU32::new(1);
        let none = ptr::null_mut::<c_void>();
        let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | if share { libc::CLONE_FILES } else { 0 };
        let blocked = signals::block_all();
        // SAFETY: until the kernel has cleared `in_our_memory` this function does nothing but wait and close descriptors, so the holder and
        // the word outlive the child's use of them; the borrow keeps the stack to one child. Every signal is blocked, so that no handler of
        // ours runs in the child, which makes raw calls only (`LEAVES_ERRNO`). It gives no signal at its end.
        let pid = unsafe {
            let holder = (&raw const holder).cast_mut().cast::<c_void>();
            libc::clone(hold, stack.top(), flags, holder, none, none, in_our_memory.as_ptr())
        };
        let pid = if pid < 0 { Err(last_errno()) } else { Pid::from_raw(pid).ok_or(Errno::CHILD) };
        let outcome = pid.and_then(|pid| {
            let mut looks = 0;
            while holder.holds.load(Ordering::Acquire) == 0 && in_our_memory.load(Ordering::Acquire) != 0 {
                if futex::wait(&holder.holds, futex::Flags::PRIVATE, 0, Some(&LOOK)) == Err(Errno::TIMEDOUT) {
                    looks += 1;
                    kill_if_stopped(pid, looks >= LOOKS);
                }
            }
            let held = holder.holds.load(Ordering::Acquire) != 0;
            let errno = holder.errno.load(Ordering::Relaxed);
            if held && errno == 0 {
                // It has them too, and does nothing but wait for this: none of these is the last.
                self.waiting.borrow_mut().clear();
            }
            holder.may_end.store(1, Ordering::Release);
            let _ = futex::wake(&holder.may_end, futex::Flags::PRIVATE, 1);
            wait_for_exec(&in_our_memory, pid);
            if held && errno == 0 {
                return Ok(pid);
            }
            self.ending.borrow_mut().push(pid);
            Err(if held { Errno::NOSYS } else { Errno::AGAIN })
        });
        signals::restore(&blocked);
        outcome
    }
}

impl Drop for Farewells {
    fn drop(&mut self) {
        self.say();
    }
}

/// What the process reads that holds them.
struct Holder {
    /// To get its own table: it takes what is below.
    unshare_from: Option<u32>,
    /// 1 once it has all, or has failed to.
    holds: AtomicU32,
    errno: AtomicI32,
    /// 1 once it is the last.
    may_end: AtomicU32,
}

/// In the process: raw calls and atomics only.
extern "C" fn hold(holder: *mut c_void) -> c_int {
    // SAFETY: whoever cloned us keeps it until we have left its memory.
    let holder = unsafe { &*holder.cast::<Holder>() };
    if let Some(first) = holder.unshare_from {
        // SAFETY: with UNSHARE only the new private table loses descriptors.
        let own = unsafe {
            call(libc::SYS_close_range, [first.word(), u32::MAX.word(), libc::CLOSE_RANGE_UNSHARE.word()])
        };
        holder.errno.store(own.err().unwrap_or(0), Ordering::Relaxed);
    }
    holder.holds.store(1, Ordering::Release);
    let private = |operation: c_int| (operation | libc::FUTEX_PRIVATE_FLAG).word();
    // SAFETY: the words outlive us here, as above; the kernel reads no time.
    unsafe {
        let _ = call(libc::SYS_futex, [holder.holds.as_ptr().word(), private(libc::FUTEX_WAKE), 1]);
        while holder.may_end.load(Ordering::Acquire) == 0 {
            let _ = call(libc::SYS_futex, [holder.may_end.as_ptr().word(), private(libc::FUTEX_WAIT), 0, 0]);
        }
        loop {
            let _ = call(libc::SYS_exit_group, [0]);
        }
    }
}

#[cfg(test)]
mod tests;
