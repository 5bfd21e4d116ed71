//! One process that becomes another version of itself: a sealed file of what it leaves, descriptors that stay open over the
//! exec under their numbers, and the exec itself. Knows nothing of what is left.

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, FdFlags};
use std::ffi::{CString, OsString, c_char};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What nobody can do to a sealed file any more.
const SEALS: SealFlags = SealFlags::from_bits_retain(
    SealFlags::SHRINK.bits() | SealFlags::GROW.bits() | SealFlags::WRITE.bits() | SealFlags::SEAL.bits(),
);

/// A file in memory with these bytes, that nobody can change any more, this process included.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create(c"portreeve-state", flags)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// The bytes of a sealed file.
///
/// # Errors
/// `EPERM`: it is no sealed file, so somebody else may still write to it. `EFBIG` beyond `most` bytes.
pub fn read_sealed(fd: impl AsFd, most: usize) -> io::Result<Vec<u8>> {
    let sealed = rustix::fs::fcntl_get_seals(&fd).is_ok_and(|seals| seals.contains(SEALS));
    if !sealed {
        return Err(Errno::PERM.into());
    }
    let size = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(usize::MAX);
    if size > most {
        return Err(Errno::FBIG.into());
    }
    let mut bytes = vec![0; size];
    let mut had = 0;
    while let Some(room) = bytes.get_mut(had..).filter(|room| !room.is_empty()) {
        match rustix::io::pread(&fd, room, u64::try_from(had).unwrap_or(u64::MAX)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => had += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

/// The bytes of a sealed file that a former version of this process left open as `raw`. Takes no descriptor: there may be none.
///
/// # Errors
/// `EBADF` it is not open; those of [`read_sealed`].
pub fn read_left(raw: RawFd, most: usize) -> io::Result<Vec<u8>> {
    if raw < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: borrowed for calls that fail with EBADF and nothing else if the number is not open.
    read_sealed(unsafe { BorrowedFd::borrow_raw(raw) }, most)
}

/// What a former version of this process left open as `raw`, itself and not another descriptor for it: for the last that can go
/// on from here, which may have none to spare.
///
/// # Safety contract, checked by the caller
/// No [`OwnedFd`] of this process has this number, and none is made of it a second time: a state names each once.
///
/// # Errors
/// `EBADF` it is not open.
pub fn take(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 3 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: borrowed for one call that changes a flag; a number that is not open gives EBADF.
    rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(raw) }, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, as the call has shown, and by the contract above nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Another descriptor, at `least` or above, for what a former version of this process left open as `raw`. That one stays
/// open, so that it can still be handed back.
///
/// # Errors
/// `EBADF` it is not open, `EMFILE`.
pub fn adopt(raw: RawFd, least: i32) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: borrowed for one call, which fails with EBADF and nothing else if the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    match rustix::io::fcntl_dupfd_cloexec(borrowed, least) {
        Ok(fd) => Ok(fd),
        // `least` is above the limit: any number will do.
        Err(Errno::INVAL) => Ok(rustix::io::fcntl_dupfd_cloexec(borrowed, 3)?),
        Err(errno) => Err(errno.into()),
    }
}

/// Closes numbers that a former version left open, once they have been adopted.
///
/// # Safety contract, checked by the caller
/// No [`OwnedFd`] of this process has one of these numbers: they were open before it was executed, and only [`adopt`] has
/// touched them.
pub fn close_left(numbers: &[RawFd]) {
    for &raw in numbers.iter().filter(|&&raw| raw > 2) {
        // SAFETY: see above; a number that is not open gives EBADF and changes nothing.
        unsafe { libc::close(raw) };
    }
}

/// Whether these descriptors stay open over an exec.
pub fn keep_over_exec(numbers: &[RawFd], keep: bool) {
    for &raw in numbers.iter().filter(|&&raw| raw > 2) {
        // SAFETY: borrowed for one call that changes a flag; a number that is not open gives EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) };
        let _ = rustix::io::fcntl_setfd(fd, if keep { FdFlags::empty() } else { FdFlags::CLOEXEC });
    }
}

/// The number of a descriptor, as the next version will find it.
#[must_use]
pub fn number(fd: impl AsFd) -> RawFd {
    fd.as_fd().as_raw_fd()
}

/// The running executable itself, whatever happens to the file on disk.
///
/// # Errors
/// There is no /proc.
pub fn own_executable() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// An executable to go over to: a regular file that only root or the own user can have written.
///
/// # Errors
/// `ENOENT`, `EACCES`; `EPERM` when others may write it, or it is no regular file.
pub fn trusted_executable(path: &std::path::Path) -> io::Result<OwnedFd> {
    use rustix::fs::FileType;
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let own = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    let closed = !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    if own && closed && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(fd)
    } else {
        Err(Errno::PERM.into())
    }
}

/// Executes an open file in place of this process, with this environment. Comes back only with the reason why not.
pub fn exec(executable: impl AsFd, argv: &[OsString]) -> io::Error {
    exec_raw(executable.as_fd().as_raw_fd(), &Words::new(argv))
}

/// The same with a file that a former version of this process left open under this number.
pub fn exec_left(executable: RawFd, argv: &[OsString]) -> io::Error {
    exec_raw(executable, &Words::new(argv))
}

/// A command line as the kernel wants it.
struct Words {
    _words: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Words {
    fn new(argv: &[OsString]) -> Self {
        use std::os::unix::ffi::OsStringExt;
        let words: Vec<CString> =
            argv.iter().map(|word| CString::new(word.clone().into_vec()).unwrap_or_default()).collect();
        let mut pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        pointers.push(ptr::null());
        Words { _words: words, pointers }
    }
}

fn exec_raw(executable: RawFd, words: &Words) -> io::Error {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: `pointers` ends with a null and points at strings that live until the call is over; `environ` is libc's own,
    // and no other thread of ours changes it. A number that is not open gives EBADF.
    unsafe {
        libc::execveat(
            executable,
            c"".as_ptr(),
            words.pointers.as_ptr().cast(),
            environ.cast(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Executes an open file in a child that has all descriptors of this process that stay open over an exec, and `input` as its standard
/// input.
///
/// # Errors
/// `EAGAIN`, `ENOMEM`: there is no process. A child that cannot execute ends with status 127.
pub fn start_beside(executable: impl AsFd, argv: &[OsString], input: impl AsFd) -> io::Result<i32> {
    // Made before: behind a fork of a process with threads nothing may be allocated.
    let words = Words::new(argv);
    let (executable, input) = (executable.as_fd().as_raw_fd(), input.as_fd().as_raw_fd());
    // SAFETY: the child makes system calls alone, with what stands here already, and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => become_other(executable, &words, input),
        pid => Ok(pid),
    }
}

/// In a child that was just forked.
fn become_other(executable: RawFd, words: &Words, input: RawFd) -> ! {
    // SAFETY: both numbers are open in the parent, and so in its child.
    if unsafe { libc::dup2(input, 0) } == 0 {
        let _ = exec_raw(executable, words);
    }
    // SAFETY: ends this process without running anything of its parent's.
    unsafe { libc::_exit(127) }
}

/// The same, but its parent is whoever adopts what our children leave, from the start: our service manager, where that has started us.
///
/// # Errors
/// As [`start_beside`]; `EMFILE`.
pub fn start_apart(executable: impl AsFd, argv: &[OsString], input: impl AsFd) -> io::Result<i32> {
    let words = Words::new(argv);
    let (executable, input) = (executable.as_fd().as_raw_fd(), input.as_fd().as_raw_fd());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child makes system calls alone, with what stands here already, and never returns.
    let between = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                become_other(executable, &words, input);
            }
            let said = pid.to_ne_bytes();
            // SAFETY: as many bytes as there are; then this process ends without running anything of its parent's.
            unsafe {
                libc::write(write.as_raw_fd(), said.as_ptr().cast(), said.len());
                libc::_exit(0)
            }
        }
        pid => pid,
    };
    drop(write);
    let mut said = [0; 4];
    let got = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut said));
    // Behind this its child has another parent.
    let between = rustix::process::Pid::from_raw(between);
    let _ = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(between, rustix::process::WaitOptions::empty()).map(drop)
    });
    match (got, i32::from_ne_bytes(said)) {
        (Ok(4), pid) if pid > 0 => Ok(pid),
        _ => Err(Errno::AGAIN.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_and_never_changed() {
        let fd = seal(b"state").unwrap();
        assert_eq!(read_sealed(&fd, 5).unwrap(), b"state");
        assert_eq!(read_sealed(&fd, 4).unwrap_err().raw_os_error(), Some(libc::EFBIG));
        let mut file = File::from(fd.try_clone().unwrap());
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn a_file_that_somebody_may_write_is_refused() {
        let fd = rustix::fs::memfd_create(c"open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(read_sealed(&fd, 5).unwrap_err().raw_os_error(), Some(libc::EPERM));
        let null = File::open("/dev/null").unwrap();
        assert_eq!(read_sealed(&null, 5).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn what_was_left_is_read_and_taken_as_it_is() {
        let left = std::os::fd::IntoRawFd::into_raw_fd(seal(b"state").unwrap());
        assert_eq!(read_left(left, 5).unwrap(), b"state");
        let taken = take(left).unwrap();
        assert_eq!(taken.as_raw_fd(), left);
        assert_eq!(rustix::io::fcntl_getfd(&taken).unwrap(), FdFlags::CLOEXEC);
        for nothing in [-1, 0, 1_000_000] {
            assert_eq!(take(nothing).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
        assert_eq!(read_left(1_000_000, 5).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn an_adopted_descriptor_is_another_one() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let other = adopt(write.as_raw_fd(), 600).unwrap();
        assert!(other.as_raw_fd() >= 600);
        drop(write);
        rustix::io::write(&other, b"x").unwrap();
        assert_eq!(rustix::io::read(&read, &mut [0; 2]).unwrap(), 1);
        assert_eq!(adopt(-1, 3).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(adopt(1_000_000, 3).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
