//! The variables of the interface. They are defined in `shim.c` and may be replaced by the program's own or by its copy
//! of ours, so every access goes to the symbol. Each is read at the moment it counts, as programs set them between calls.

use crate::abi::Context;
use portreeve_wrap::Severities;
use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

unsafe extern "C" {
    static mut allow_severity: c_int;
    static mut deny_severity: c_int;
    static mut hosts_allow_table: *mut c_char;
    static mut hosts_deny_table: *mut c_char;
    static mut hosts_access_verbose: c_int;
    static mut rfc931_timeout: c_int;
    static mut resident: c_int;
    static mut dry_run: c_int;
    static mut tcpd_context: Context;
}

/// Makes the reader and writer of one number.
macro_rules! number {
    ($(#[$what:meta])* $symbol:ident, $cell:ident) => {
        $(#[$what])*
        fn $cell() -> &'static AtomicI32 {
            // SAFETY: the symbol is an aligned int of static duration, and the library reaches it through here alone.
            // The program's own writes are not atomic; it makes them, as ever, where no other thread is in the library.
            unsafe { AtomicI32::from_ptr(&raw mut $symbol) }
        }
    };
}

number!(
    /// Priority of the message about a client that was let in.
    allow_severity, allow_cell
);
number!(
    /// Priority of the message about a client that was refused.
    deny_severity, deny_cell
);
number!(
    /// 0; 1 says each option; 2 says the matched line too.
    hosts_access_verbose, verbose_cell
);
number!(
    /// Seconds for ident.
    rfc931_timeout, timeout_cell
);
number!(
    /// Whether this process has evaluated before.
    resident, resident_cell
);
number!(
    /// Whether nothing is to be done really.
    dry_run, dry_cell
);

/// With what priority the program is to log, as it or the last matched rule said.
pub(crate) fn severities() -> Severities {
    Severities { allow: allow_cell().load(Ordering::Relaxed), deny: deny_cell().load(Ordering::Relaxed) }
}

/// What a `severity` option orders: both, until somebody changes them.
pub(crate) fn set_severities(now: Severities) {
    allow_cell().store(now.allow, Ordering::Relaxed);
    deny_cell().store(now.deny, Ordering::Relaxed);
}

/// How much is told about a match.
pub(crate) fn verbose() -> u8 {
    u8::try_from(verbose_cell().load(Ordering::Relaxed).clamp(0, 2)).unwrap_or(0)
}

/// Seconds for ident; a program that set nonsense gets the usual 10.
pub(crate) fn ident_seconds() -> u32 {
    let seconds = timeout_cell().load(Ordering::Relaxed);
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0).unwrap_or(10)
}

/// Whether nothing is to be done really.
pub(crate) fn dry() -> bool {
    dry_cell().load(Ordering::Relaxed) != 0
}

/// Tells a program that only asked: here a `twist` would have taken over.
pub(crate) fn clear_dry() {
    dry_cell().store(0, Ordering::Relaxed);
}

/// Counts a call of `hosts_access`: -1, 0, 1 and no further. Whether the process is a resident one now.
pub(crate) fn enter() -> bool {
    let step = |calls: c_int| (calls <= 0).then(|| calls.saturating_add(1));
    match resident_cell().fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
        Ok(before) => before.saturating_add(1) > 0,
        Err(before) => before > 0,
    }
}

/// Whether the process is a resident one.
pub(crate) fn is_resident() -> bool {
    resident_cell().load(Ordering::Relaxed) > 0
}

/// The paths of `hosts.allow` and `hosts.deny`; `None` where the program set a null pointer.
pub(crate) fn tables() -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    // SAFETY: both symbols are aligned pointers of static duration, read once each.
    let (allow, deny) = unsafe {
        (AtomicPtr::from_ptr(&raw mut hosts_allow_table), AtomicPtr::from_ptr(&raw mut hosts_deny_table))
    };
    (path(allow.load(Ordering::Relaxed)), path(deny.load(Ordering::Relaxed)))
}

fn path(text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: a program that sets a table sets it to a string that it keeps, as with the original.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// The file and line that a program says it is reading, if it says so.
pub(crate) fn context() -> Option<(Vec<u8>, c_int)> {
    // SAFETY: the symbol has the layout of `Context`; programs set it in the thread that calls us.
    let (file, line) =
        unsafe { ((&raw const tcpd_context.file).read(), (&raw const tcpd_context.line).read()) };
    path(file).map(|file| (file, line))
}

/// Counts a line that `xgets` has read.
pub(crate) fn next_line() {
    // SAFETY: as in `context`; an aligned int.
    let line = unsafe { AtomicI32::from_ptr(&raw mut tcpd_context.line) };
    line.fetch_add(1, Ordering::Relaxed);
}
