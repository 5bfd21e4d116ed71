//! Clients' sockets, closed without a wait. Whoever closes one last may be made to wait by whoever is at its other end: a program may have
//! asked that closing wait for the client to take what was sent (SO_LINGER), and who connects to a unix socket can put descriptors of his
//! own into it, nobody's but the queue's then, among them connections that linger for as long as he likes. Of a process that is at its
//! end the kernel makes nobody wait; so what came over a unix socket, and what lingers, is closed last by a process that ends, one for all
//! of a turn. Owns what is still to be closed.

use crate::raw::{LEAVES_ERRNO, Word, call};
use crate::signals;
use crate::spawn::{LOOK, LOOKS, Stack, kill_if_stopped, last_errno, wait_for_exec};
use rustix::io::Errno;
use rustix::net::sockopt::socket_linger;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::futex;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::io::IoSliceMut;
use std::mem::{ManuallyDrop, MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Descriptors that Linux lets travel with one message (unix(7)).
const MOST_AT_ONCE: usize = 253;

/// Where no process can be made so many wait for the next time; what is more is closed as it is.
pub const MOST_WAITING: usize = 256;

/// An accepted connection. Letting go of it waits for nobody and changes nothing of it: the socket may be its program's.
#[derive(Debug)]
pub struct Connection {
    fd: ManuallyDrop<OwnedFd>,
    /// Where it goes.
    farewells: Option<Rc<Farewells>>,
    /// It came over a unix socket.
    is_local: bool,
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
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// Tells the other end that this is the end, wherever else it waits to be closed. Only for one that nobody else has.
    pub fn end(&self) {
        if self.is_local {
            let _ = shutdown(&*self.fd, Shutdown::Both);
        }
    }

    /// Reads what has come, as recv(2) without a wait. Descriptors that came along are let go of as the connection is.
    ///
    /// # Errors
    /// As recvmsg(2); `EAGAIN` where nothing has come.
    pub fn receive(&self, chunk: &mut [u8]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&*self.fd, &mut [IoSliceMut::new(chunk)], &mut control, flags)?;
        for message in control.drain() {
            if let (RecvAncillaryMessage::ScmRights(fds), Some(farewells)) = (message, &self.farewells) {
                farewells.waiting.borrow_mut().extend(fds);
            }
        }
        Ok(received.bytes)
    }
}

/// One that is no client's, such as the end of a pair that its program gets.
impl From<OwnedFd> for Connection {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: ManuallyDrop::new(fd), farewells: None, is_local: false }
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
        let lingers = || socket_linger(&fd).is_ok_and(|time| time.is_some_and(|time| !time.is_zero()));
        if let Some(farewells) = self.farewells.take()
            && (self.is_local || lingers())
        {
            farewells.waiting.borrow_mut().push(fd);
        }
    }
}

/// Closes the descriptor of a client in flight without a wait: its program may be at its end, so that this is the last one, and may have
/// asked that closing wait for the client to take what was sent (SO_LINGER). The kernel sends it all the same. `{1, 0}` means a reset, and
/// stays. Raw calls only, since children run here.
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

/// What is to be closed without a wait.
#[derive(Debug, Default)]
pub struct Farewells {
    waiting: RefCell<Vec<OwnedFd>>,
    stack: RefCell<Option<Stack>>,
    /// Processes that end, and give no sign of it: to be collected.
    ending: RefCell<Vec<Pid>>,
}

impl Farewells {
    /// A connection that was just accepted. `is_local`: over a unix socket.
    #[must_use]
    pub fn connection(self: &Rc<Self>, fd: OwnedFd, is_local: bool) -> Connection {
        Connection { fd: ManuallyDrop::new(fd), farewells: Some(Rc::clone(self)), is_local }
    }

    /// A listening unix socket, whose queue has what clients have sent along. `now`: its name is to be free once this returns.
    pub(crate) fn part_from(&self, listener: OwnedFd, now: bool) {
        self.waiting.borrow_mut().push(listener);
        if !now {
            return;
        }
        self.say();
        // A process that has nothing to do but end: far less than these twenty milliseconds.
        for _ in 0..200 {
            if self.ending.borrow().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_micros(100));
            self.collect();
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
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
        self.waiting.borrow_mut().truncate(MOST_WAITING);
    }

    /// Those of a former version of this process, which has not collected them before it became this one.
    pub(crate) fn collect_left() {
        let silent = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WCLONE.cast_unsigned());
        while matches!(rustix::process::waitpid(None, silent), Ok(Some(_))) {}
    }

    fn collect(&self) {
        if self.ending.borrow().is_empty() {
            return;
        }
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
