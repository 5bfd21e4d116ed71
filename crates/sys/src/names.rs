//! The name service of this host: users, groups, services, protocols, networks, addresses. Every call may read
//! files, ask daemons or the network and may take long, so only the resolver and the reader of a configuration may
//! use it, never the accept path.

mod confirm;
mod dns;
mod hosts;
mod interfaces;
mod netgroups;
mod numbers;
mod users;

pub use confirm::{HostEntry, Spelling, address_text, host_entry, host_name_of};
pub use dns::dns_answer;
pub use hosts::{Family, addresses, reverse};
pub use interfaces::is_interface;
pub use netgroups::{in_netgroup, netgroup_has_members};
pub use numbers::{network, protocol, rpc_number, service_port};
use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
pub use users::{Group, User, group, group_list, user, user_by_id};

/// Why a name has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name service answered: there is no such name.
    #[error("no such name")]
    NotFound,
    /// The name service could not answer now; asking later may help.
    #[error("the name service failed: {0}")]
    Temporary(Cause),
    /// The name contains a NUL byte or is empty, and was not asked for.
    #[error("not a name: empty, or it contains a NUL byte")]
    Invalid,
}

/// What the name service said when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An errno value.
    Errno(i32),
    /// An EAI_ value of getaddrinfo(3).
    Eai(i32),
    /// An entry larger than the bound on answers.
    TooLarge,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errno(errno) => io::Error::from_raw_os_error(*errno).fmt(f),
            Self::Eai(code) => {
                // SAFETY: gai_strerror returns a static string for every number.
                let text = unsafe { CStr::from_ptr(libc::gai_strerror(*code)) };
                f.write_str(&text.to_string_lossy())
            }
            Self::TooLarge => f.write_str("the entry is too large"),
        }
    }
}

fn c_name(name: &str) -> Result<CString, NameError> {
    if name.is_empty() {
        return Err(NameError::Invalid);
    }
    CString::new(name).map_err(|_| NameError::Invalid)
}

/// Copies a string of libc.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Groups with thousands of members need this much; more is refused, not followed.
const LARGEST: usize = 4 << 20;

/// Calls a reentrant look-up with a buffer that grows as it asks. `call(entry, buffer, length, result)` is one of
/// the get*_r family; `take` copies what is wanted while the buffer lives.
fn look_up<E, T>(
    call: impl Fn(*mut E, *mut c_char, usize, *mut *mut E) -> c_int,
    take: impl Fn(&E) -> T,
) -> Result<T, NameError> {
    let mut buffer = vec![0u8; 2048];
    loop {
        let mut entry = MaybeUninit::<E>::zeroed();
        let mut result: *mut E = ptr::null_mut();
        let code = call(entry.as_mut_ptr(), buffer.as_mut_ptr().cast(), buffer.len(), &raw mut result);
        if !result.is_null() {
            // SAFETY: a non-null result is `entry`, which the call has filled; its pointers lead into `buffer`
            // or to static data, both alive here.
            return Ok(take(unsafe { &*result }));
        }
        match code {
            // What "not found" looks like depends on the module that was asked (getpwnam(3), NOTES).
            0 | libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Err(NameError::NotFound),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < LARGEST => buffer.resize(buffer.len() * 4, 0),
            libc::ERANGE => return Err(NameError::Temporary(Cause::TooLarge)),
            code => return Err(NameError::Temporary(Cause::Errno(code))),
        }
    }
}
