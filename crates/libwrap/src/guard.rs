//! No panic leaves the library: unwinding into C is not defined, and aborting would end somebody else's program.
//!
//! The library is therefore built with `panic = "unwind"` (`[profile.libwrap]`), unlike our executables, and each
//! exported function runs inside [`call`] with the answer it gives when it cannot: a refusal where there is a verdict.
//! Nor does the end of a thread from outside (pthread_cancel) come in: it unwinds too, and waits until the call is over.

use crate::say;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

const PTHREAD_CANCEL_DISABLE: c_int = 1;

unsafe extern "C" {
    // pthread.h; the libc crate does not declare it.
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// While it lives, this thread is not cancelled.
struct Uncancelled(c_int);

impl Uncancelled {
    fn new() -> Self {
        let mut before = PTHREAD_CANCEL_DISABLE;
        // SAFETY: a place for the state before.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut before) };
        Self(before)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        let mut ours = PTHREAD_CANCEL_DISABLE;
        // SAFETY: as above. This is no point at which a thread is cancelled: that comes in the program's own code.
        unsafe { pthread_setcancelstate(self.0, &raw mut ours) };
    }
}

/// Runs `body`; `otherwise` is the answer after a panic, which is told to the system log.
pub(crate) fn call<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    static QUIET: AtomicBool = AtomicBool::new(cfg!(test));
    let _uncancelled = Uncancelled::new();
    // Descriptor 2 of the program may be its client. The hook is that of our own copy of the standard library. Nobody waits
    // for whoever sets it: after a fork in that moment there is nobody.
    if !QUIET.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|_| {}));
    }
    // Unwind-safe: what `body` changes is plain bytes of the request, valid at every moment.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            let why = payload.downcast_ref::<&str>().copied();
            let why =
                why.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason");
            say::bare_error(format!("internal error in libwrap: {why}").as_bytes());
            // A payload's own drop may panic again; it is two words and stays.
            std::mem::forget(payload);
            otherwise
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_is_answered() {
        assert_eq!(super::call(7, || if std::env::args().count() > 0 { panic!("on purpose") } else { 1 }), 7);
        assert_eq!(super::call(7, || 1), 1);
    }
}
