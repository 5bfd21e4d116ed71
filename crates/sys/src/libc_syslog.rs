//! The C library's syslog: for code that runs in other people's processes and must log under the name and the facility
//! that the program itself gave to openlog. The supervisor has a writer of its own that never waits ([`crate::syslog`]).

use std::ffi::{CStr, CString, c_int};

/// Messages are cut here, in bytes: what is longer is nobody's to read.
const LONGEST: usize = 8192;

/// openlog(3) with LOG_PID: every later line of this process carries `name` and its process number. The name is kept for the
/// life of the process, so call it once.
pub fn open(name: &CStr, facility: c_int) {
    // libc keeps the pointer.
    let name: &'static CStr = Box::leak(CString::from(name).into_boxed_c_str());
    // SAFETY: the string lives as long as the process.
    unsafe { libc::openlog(name.as_ptr(), libc::LOG_PID, facility) };
}

/// syslog(3). `priority` is a severity, with a facility or without (then it is the program's own). The text is never used as
/// a format; from a NUL byte on it is dropped.
pub fn log(priority: c_int, text: &[u8]) {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(text) = CString::new(text.get(..LONGEST).unwrap_or(text)) else { return };
    // SAFETY: the format takes one string, and that is what it gets.
    unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
}

/// closelog(3): the connection and the name of [`open`] are dropped, the facility stays. Later lines carry the program's name.
pub fn close() {
    // SAFETY: takes libc's own lock.
    unsafe { libc::closelog() };
}
