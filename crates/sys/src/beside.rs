//! Runs a program beside a process that is not ours (libwrap in somebody's daemon) and waits for it, without touching that
//! process: no signal disposition, no handler, no SIGCHLD to it, and nobody there can take the exit status away.
//!
//! A second process stands between. It is cloned with no signal for its end, so that neither a handler of the host, nor its
//! `waitpid(-1)`, nor its ignoring of SIGCHLD concerns it (execve would undo that; it never executes anything). It starts
//! the program as its own child, tells through a pipe how that ended, and ends. Its code makes raw system calls
//! only: the host may have threads, whose locks are not there any more after the clone.

use rustix::io::Errno;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be executed.
    NotExecuted(Errno),
}

/// A program that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process number.
    pub pid: i32,
    /// How it ended.
    pub end: End,
}

/// Runs `program` with `arguments` (the first of them is its name) in this process's environment, with `/dev/null` on its
/// descriptors 0, 1 and 2, SIGHUP ignored, no signal blocked, and waits until it ends.
///
/// # Errors
/// When no process or pipe could be made (`EAGAIN`, `EMFILE`), or the one between was killed (`ECHILD`).
pub fn run(program: &CStr, arguments: &[CString]) -> Result<Ended, Errno> {
    let mut argv: Vec<*const c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
    argv.push(ptr::null());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Descriptors 0-2 may be closed here, and /dev/null will come over whatever stands there.
    let write = above_stdio(write)?;
    let plan = Plan { program, argv: &argv, report: write.as_raw_fd(), ignored: crate::signals::ignored() };
    let previous = crate::signals::block_all();
    // SAFETY: without CLONE_VM this is fork: the child goes on with a copy of this stack, and `carry_out` never returns.
    let pid = unsafe { plain_clone(0) };
    if pid == 0 {
        plan.carry_out();
    }
    crate::signals::restore(&previous);
    if pid < 0 {
        return Err(last_errno());
    }
    drop(write);
    let outcome = listen(read);
    let pid = c_int::try_from(pid).unwrap_or(-1);
    // SAFETY: no status is asked for. __WALL: a child without a signal for its end is not waited for otherwise.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } < 0 && last_errno() == Errno::INTR {}
    outcome
}

/// What the process between says: a kind and a number.
type Record = [i32; 2];
const STARTED: i32 = 1;
const NOT_EXECUTED: i32 = 2;
const ENDED: i32 = 3;
const NOT_STARTED: i32 = 4;

fn listen(pipe: OwnedFd) -> Result<Ended, Errno> {
    let mut pipe = File::from(pipe);
    let mut bytes = [0_u8; size_of::<Record>()];
    let mut pid = 0;
    let mut end = None;
    // At most one record of each kind, and the pipe ends with its last writer.
    while pipe.read_exact(&mut bytes).is_ok() {
        let (kind, value) = bytes.split_at(4);
        let number = |b: &[u8]| <[u8; 4]>::try_from(b).map_or(0, i32::from_ne_bytes);
        let (kind, value) = (number(kind), number(value));
        match kind {
            STARTED => pid = value,
            NOT_STARTED => return Err(Errno::from_raw_os_error(value)),
            NOT_EXECUTED => end = Some(End::NotExecuted(Errno::from_raw_os_error(value))),
            ENDED if end.is_none() && libc::WIFSIGNALED(value) => {
                end = Some(End::Signal(libc::WTERMSIG(value)))
            }
            ENDED if end.is_none() => end = Some(End::Status(libc::WEXITSTATUS(value))),
            _ => {}
        }
    }
    end.map(|end| Ended { pid, end }).ok_or(Errno::CHILD)
}

fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
}

/// fork without libc's handlers for it, and with `signal` instead of SIGCHLD, which may be flags of clone(2) too.
///
/// # Safety
/// As fork(2): until it executes or ends, the child may make only calls that are safe in a signal handler.
pub(crate) unsafe fn plain_clone(signal: c_int) -> c_long {
    let (flags, none) = (c_long::from(signal), 0_usize);
    // SAFETY: no stack, no place for ids, no thread-local storage: all unused without their flags. s390 alone has the
    // first two the other way round.
    #[cfg(target_arch = "s390x")]
    return unsafe { libc::syscall(libc::SYS_clone, none, flags, none, none, none) };
    // SAFETY: as above.
    #[cfg(not(target_arch = "s390x"))]
    return unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
}

/// All that the two processes read; copied with the memory.
struct Plan<'a> {
    program: &'a CStr,
    argv: &'a [*const c_char],
    report: c_int,
    ignored: u64,
}

impl Plan<'_> {
    /// The process between.
    fn carry_out(&self) -> ! {
        // The status of its child would be thrown away if SIGCHLD were ignored.
        disposition(libc::SIGCHLD, libc::SIG_DFL);
        // SAFETY: the child calls `execute` only, which never returns.
        let child = unsafe { plain_clone(libc::SIGCHLD) };
        if child == 0 {
            self.execute();
        }
        if child < 0 {
            self.tell(NOT_STARTED, errno());
            exit(1);
        }
        self.tell(STARTED, child as i32);
        let mut status: c_int = 0;
        loop {
            // SAFETY: a place for the status, and none for the usage.
            let got = unsafe {
                libc::syscall(libc::SYS_wait4, child, &raw mut status, 0, ptr::null_mut::<c_void>())
            };
            if got >= 0 {
                self.tell(ENDED, status);
                exit(0);
            }
            if errno() != libc::EINTR {
                exit(1);
            }
        }
    }

    /// The program's process, until it is the program.
    fn execute(&self) -> ! {
        // No handler of the host may run here; what it ignores stays ignored, as ever, but for what a shell needs.
        for signo in 1..=64 {
            if self.ignored & (1 << (signo - 1)) == 0 {
                disposition(signo, libc::SIG_DFL);
            }
        }
        disposition(libc::SIGCHLD, libc::SIG_DFL);
        disposition(libc::SIGPIPE, libc::SIG_DFL);
        disposition(libc::SIGHUP, libc::SIG_IGN);
        null_on_stdio();
        let none = 0_u64;
        // SAFETY: the kernel reads an eight-byte set; then a NUL-terminated path, and NULL-terminated arrays of NUL-terminated
        // strings. `environ` is the copy of a moment in which the host changed it only if it races with itself.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const none,
                ptr::null_mut::<c_void>(),
                size_of::<u64>(),
            );
            libc::syscall(libc::SYS_execve, self.program.as_ptr(), self.argv.as_ptr(), environ);
        }
        self.tell(NOT_EXECUTED, errno());
        exit(127)
    }

    fn tell(&self, kind: i32, value: i32) {
        let record: Record = [kind, value];
        // SAFETY: eight bytes of this stack; so short a write to a pipe is whole.
        unsafe { libc::syscall(libc::SYS_write, self.report, record.as_ptr(), size_of::<Record>()) };
    }
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

fn errno() -> c_int {
    // SAFETY: always a valid place; this process has one thread.
    unsafe { *libc::__errno_location() }
}

fn exit(status: c_int) -> ! {
    loop {
        // SAFETY: ends this process, without anything that libc does at an exit.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}

fn disposition(signo: c_int, handler: libc::sighandler_t) {
    let mut action = crate::signals::DEFAULT;
    if let Some(first) = action.first_mut() {
        *first = handler;
    }
    let nothing = ptr::null_mut::<c_void>();
    // SAFETY: at least as large as the kernel's struct sigaction, whose first word (on mips the second) is the handler:
    // SIG_DFL or SIG_IGN, neither of which runs anything. A number that takes none (KILL) is refused.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signo, action.as_ptr(), nothing, size_of::<u64>()) };
}

/// `/dev/null` on 0, 1, 2; where it cannot be opened (a chroot), nothing at all rather than the client.
fn null_on_stdio() {
    let path = c"/dev/null";
    // SAFETY: a NUL-terminated path.
    let null = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDWR) };
    for fd in 0..=2 {
        // SAFETY: plain integers; this process's table is its own.
        unsafe {
            if null < 0 {
                libc::syscall(libc::SYS_close, fd);
            } else if null != fd {
                libc::syscall(libc::SYS_dup3, null, fd, 0);
            }
        }
    }
    if null > 2 {
        // SAFETY: the descriptor opened above.
        unsafe { libc::syscall(libc::SYS_close, null) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(command: &str) -> Result<Ended, Errno> {
        let arguments = ["sh", "-c", command].map(|a| CString::new(a).unwrap());
        run(c"/bin/sh", &arguments)
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(shell("exit 0").unwrap().end, End::Status(0));
        assert_eq!(shell("exit 3").unwrap().end, End::Status(3));
        let killed = shell("kill -9 $$").unwrap();
        assert_eq!(killed.end, End::Signal(9));
        assert!(killed.pid > 0);
        let missing = run(c"/nonexistent", &[c"x".into()]).unwrap();
        assert_eq!(missing.end, End::NotExecuted(Errno::NOENT));
    }

    #[test]
    fn the_program_has_the_null_device_and_no_signal_of_ours() {
        // The shell reads its own mask by itself: while it starts a program it blocks signals for a moment.
        let check = "for n in 0 1 2; do [ \"$(readlink /proc/$$/fd/$n)\" = /dev/null ] || exit 7; done
            blocked=
            while read -r key value; do [ \"$key\" = SigBlk: ] && blocked=$value; done < /proc/$$/status
            [ \"$blocked\" = 0000000000000000 ] || exit 8
            kill -HUP $$; exit 0";
        assert_eq!(shell(check).unwrap().end, End::Status(0));
    }

    #[test]
    fn threads_run_programs_at_the_same_time() {
        std::thread::scope(|scope| {
            for status in 0..8 {
                scope.spawn(move || {
                    let ended = shell(&format!("sleep 0.05; exit {status}")).unwrap();
                    assert_eq!(ended.end, End::Status(status));
                });
            }
        });
    }
}
