//! A system call with nothing around it: it touches no `errno`, which belongs to a thread. Between clone and execve a child that shares
//! our memory has the thread data of whoever started it, and that thread may be at work meanwhile ([`crate::flight`]). Knows no call by
//! name; what may be passed to one is for the caller to say.

use std::ffi::{c_int, c_long};

/// Whether [`call`] leaves `errno` alone on this processor: on others it goes through libc.
pub(crate) const LEAVES_ERRNO: bool =
    cfg!(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_pointer_width = "64"));

/// What fits a register.
pub(crate) trait Word {
    /// As the kernel takes it.
    fn word(self) -> usize;
}

impl Word for c_int {
    fn word(self) -> usize {
        // With its sign: AT_FDCWD is negative.
        (self as isize).cast_unsigned()
    }
}

impl Word for u32 {
    fn word(self) -> usize {
        self as usize
    }
}

impl Word for usize {
    fn word(self) -> usize {
        self
    }
}

impl<T> Word for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

/// System call `number`; what it returns, or its error.
///
/// # Safety
/// What the call does with these arguments is sound here: pointers are to live memory of the size that it reads or writes.
pub(crate) unsafe fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize, c_int> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    let all = [at(0), at(1), at(2), at(3), at(4)];
    // SAFETY: the caller's.
    unsafe { enter(number, all) }
}

/// The kernel answers an error as a number between -4095 and -1.
#[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_pointer_width = "64"))]
fn answer(result: isize) -> Result<usize, c_int> {
    match c_int::try_from(result) {
        Ok(error @ -4095..=-1) => Err(-error),
        _ => Ok(result.cast_unsigned()),
    }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
unsafe fn enter(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Result<usize, c_int> {
    let result: isize;
    // SAFETY: the registers are those of the kernel's interface, it changes rcx and r11 besides, and touches no stack of ours; what the
    // call itself does is the caller's.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack, preserves_flags));
    }
    answer(result)
}

#[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
unsafe fn enter(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Result<usize, c_int> {
    let result: isize;
    // SAFETY: the registers are those of the kernel's interface, and it touches no stack of ours; what the call itself does is the
    // caller's.
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack, preserves_flags));
    }
    answer(result)
}

#[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_pointer_width = "64")))]
unsafe fn enter(number: c_long, [a, b, c, d, e]: [usize; 5]) -> Result<usize, c_int> {
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    // SAFETY: __errno_location returns this thread's errno, which is always a valid int.
    usize::try_from(result).map_err(|_| unsafe { *libc::__errno_location() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno() -> &'static mut c_int {
        // SAFETY: this thread's own, and nobody holds it over another call here.
        unsafe { &mut *libc::__errno_location() }
    }

    #[test]
    fn an_error_is_answered_and_errno_stays() {
        *errno() = 77;
        // SAFETY: plain integers; no descriptor has this number.
        let closed = unsafe { call(libc::SYS_close, [(-1).word()]) };
        assert_eq!(closed, Err(libc::EBADF));
        assert!(!LEAVES_ERRNO || *errno() == 77);
        // SAFETY: no arguments.
        let pid = unsafe { call(libc::SYS_getpid, []) };
        assert_eq!(pid, Ok(std::process::id() as usize));
    }

    #[test]
    fn arguments_keep_their_order_and_sign() {
        let mut limits = [0u64; 2];
        // SAFETY: the kernel writes two u64.
        let asked = unsafe {
            let (none, to) = (std::ptr::null::<u64>(), limits.as_mut_ptr());
            call(libc::SYS_prlimit64, [0.word(), 7.word(), none.word(), to.word()])
        };
        assert_eq!(asked, Ok(0));
        assert!(limits[0] > 0 && limits[0] <= limits[1]);
        // SAFETY: a NUL-terminated path.
        let fd = unsafe {
            call(libc::SYS_openat, [libc::AT_FDCWD.word(), c".".as_ptr().word(), libc::O_CLOEXEC.word()])
        };
        // SAFETY: the descriptor just made.
        assert_eq!(unsafe { call(libc::SYS_close, [fd.unwrap()]) }, Ok(0));
    }
}
