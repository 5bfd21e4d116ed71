//! Netgroups: named sets of (host, user, domain).

use super::NameError;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::sync::{Mutex, PoisonError};

unsafe extern "C" {
    // netdb.h; the libc crate does not declare it.
    fn innetgr(
        netgroup: *const c_char,
        host: *const c_char,
        user: *const c_char,
        domain: *const c_char,
    ) -> c_int;
    fn setnetgrent(netgroup: *const c_char) -> c_int;
    fn getnetgrent_r(
        host: *mut *mut c_char,
        user: *mut *mut c_char,
        domain: *mut *mut c_char,
        buffer: *mut c_char,
        length: usize,
    ) -> c_int;
    fn endnetgrent();
}

/// One look-up at a time: innetgr shares state with the enumeration of netgroups (attributes(7): race:netgrent).
static ONE: Mutex<()> = Mutex::new(());

/// Whether `host` is in `group`, in this host's NIS domain if it has one. A group that does not exist, or could not be
/// read, has no members: the call does not tell these apart.
///
/// # Errors
/// [`NameError::Invalid`] when either contains a NUL byte.
pub fn in_netgroup(group: &[u8], host: &[u8]) -> Result<bool, NameError> {
    let group = CString::new(group).map_err(|_| NameError::Invalid)?;
    let host = CString::new(host).map_err(|_| NameError::Invalid)?;
    let mut place = [0u8; 256];
    let domain = nis_domain(&mut place);
    let domain = domain.map_or(ptr::null(), CStr::as_ptr);
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: NUL-terminated strings or null; nobody else of this library is in there.
    Ok(unsafe { innetgr(group.as_ptr(), host.as_ptr(), ptr::null(), domain) } == 1)
}

/// Whether `group` has a member of any kind. A group that does not exist has none.
///
/// # Errors
/// [`NameError::Invalid`] when it contains a NUL byte.
pub fn netgroup_has_members(group: &[u8]) -> Result<bool, NameError> {
    let group = CString::new(group).map_err(|_| NameError::Invalid)?;
    let mut buffer = [0u8; 4096];
    let (mut host, mut user, mut domain) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: a NUL-terminated string; nobody else of this library enumerates a group meanwhile.
    unsafe { setnetgrent(group.as_ptr()) };
    // SAFETY: places for three strings, and a buffer with its length, which they may lead into; none is read.
    let found = unsafe {
        getnetgrent_r(&raw mut host, &raw mut user, &raw mut domain, buffer.as_mut_ptr().cast(), buffer.len())
    };
    // SAFETY: the enumeration was begun above.
    unsafe { endnetgrent() };
    Ok(found == 1)
}

/// The NIS domain; none when it is not set.
fn nis_domain(place: &mut [u8]) -> Option<&CStr> {
    // SAFETY: the buffer has its length.
    if unsafe { libc::getdomainname(place.as_mut_ptr().cast(), place.len()) } != 0 {
        return None;
    }
    let name = CStr::from_bytes_until_nul(place).ok()?;
    (!name.is_empty() && name != c"(none)").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_in_a_group_that_is_not_there() {
        assert_eq!(in_netgroup(b"portreeve-no-such-group", b"localhost"), Ok(false));
        assert_eq!(in_netgroup(b"a\0b", b"localhost"), Err(NameError::Invalid));
        assert_eq!(netgroup_has_members(b"portreeve-no-such-group"), Ok(false));
        assert_eq!(netgroup_has_members(b"a\0b"), Err(NameError::Invalid));
    }
}
