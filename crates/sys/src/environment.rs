//! The environment of this process, changed for the programs that it will start, as a rule of the tables may order.

use std::ffi::CString;
use std::io;

/// setenv(3): what this process executes from now on finds `name` with `value`. Both end at a NUL byte.
///
/// A program that reads its environment in another thread at this moment races with it, in the original as here: libc
/// keeps writers apart from each other, not from readers. Only a rule with `setenv` in it comes this way.
///
/// # Errors
/// `EINVAL` for a name that is empty or contains `=`.
pub fn set(name: &[u8], value: &[u8]) -> io::Result<()> {
    let text = |bytes: &[u8]| {
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        CString::new(bytes).map_err(io::Error::from)
    };
    let (name, value) = (text(name)?, text(value)?);
    // SAFETY: NUL-terminated strings, which libc copies. It locks writers out; that no other thread reads the environment
    // meanwhile is, as documented above, the affair of whoever put the option into a table of a threaded program.
    if unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
