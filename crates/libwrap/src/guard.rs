//! No panic leaves the library: unwinding into C is not defined, and aborting would end somebody else's program.
//!
//! The library is therefore built with `panic = "unwind"` (`[profile.libwrap]`), unlike our executables, and each
//! exported function runs inside [`call`] with the answer it gives when it cannot: a refusal where there is a verdict.

use crate::say;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// Runs `body`; `otherwise` is the answer after a panic, which is told to the system log.
pub(crate) fn call<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    static QUIET: Once = Once::new();
    // Descriptor 2 of the program may be its client. The hook is that of our own copy of the standard library.
    QUIET.call_once(|| {
        if !cfg!(test) {
            std::panic::set_hook(Box::new(|_| {}));
        }
    });
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
