//! Network interfaces by name: an IPv6 scope is one.

use std::ffi::CString;

/// Whether this network namespace has an interface of this name now.
#[must_use]
pub fn is_interface(name: &[u8]) -> bool {
    // SAFETY: a NUL-terminated string.
    CString::new(name).is_ok_and(|name| unsafe { libc::if_nametoindex(name.as_ptr()) } != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_a_name() {
        assert!(is_interface(b"lo"));
        for name in [&b""[..], b"LO", b"portreeve-none", b"lo\0", &[b'x'; 300]] {
            assert!(!is_interface(name), "{}", name.escape_ascii());
        }
    }
}
