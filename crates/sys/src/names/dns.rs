//! A question to the domain name system by the C library's own resolver, which knows the servers and the search list of this host: for what
//! getaddrinfo(3) does not tell. Blocks as that does. What comes back is a message of whoever answered; nothing of it is read here.

use super::c_name;
use std::ffi::{CStr, c_char, c_int, c_uchar};

/// The longest message.
const LONGEST: usize = 65_535;

/// C_IN, T_A, T_AAAA.
const INTERNET: c_int = 1;
const V4: c_int = 1;
const V6: c_int = 28;

type Search = unsafe extern "C" fn(*const c_char, c_int, c_int, *mut c_uchar, c_int) -> c_int;

/// The function, by either of its names; a C library that is linked in whole, or an old one, has none to be found.
fn search() -> Option<Search> {
    let find = |name: &CStr| {
        // SAFETY: a NUL-terminated name; the default handle needs none of our own.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        // SAFETY: the C library's function of this name has this signature (resolver(3)), and is never unloaded.
        (!found.is_null()).then(|| unsafe { std::mem::transmute::<*mut libc::c_void, Search>(found) })
    };
    find(c"res_search").or_else(|| find(c"__res_search"))
}

/// The answer to a question for the addresses of a name, in the form in which it came; `None` where there is none.
#[must_use]
pub fn dns_answer(name: &str, v6: bool) -> Option<Vec<u8>> {
    let (name, search) = (c_name(name).ok()?, search()?);
    let mut answer = vec![0u8; LONGEST];
    let kind = if v6 { V6 } else { V4 };
    // SAFETY: a NUL-terminated name, and a buffer of the length that is told. The state that it works on is this thread's own.
    let length = unsafe { search(name.as_ptr(), INTERNET, kind, answer.as_mut_ptr(), LONGEST as c_int) };
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST)?;
    answer.truncate(length);
    Some(answer)
}
