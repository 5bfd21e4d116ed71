//! The name service of this host: users, groups, services, protocols, networks, addresses. Every call may read
//! files, ask daemons or the network and may take long, so only the resolver and the reader of a configuration may
//! use it, never the accept path.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

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

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A group of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group id.
    pub gid: u32,
}

/// Which addresses of a host are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
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

fn take_user(entry: &libc::passwd) -> User {
    // SAFETY: strings of a filled passwd entry.
    unsafe {
        User {
            name: owned(entry.pw_name),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
            home: owned(entry.pw_dir),
            shell: owned(entry.pw_shell),
        }
    }
}

/// The user of this name.
///
/// # Errors
/// [`NameError`].
pub fn user(name: &str) -> Result<User, NameError> {
    let name = c_name(name)?;
    // SAFETY: valid string, entry, buffer of that length, and result.
    look_up(|e, b, n, r| unsafe { libc::getpwnam_r(name.as_ptr(), e, b, n, r) }, take_user)
}

/// The user with this id.
///
/// # Errors
/// [`NameError`].
pub fn user_by_id(uid: u32) -> Result<User, NameError> {
    // SAFETY: valid entry, buffer of that length, and result.
    look_up(|e, b, n, r| unsafe { libc::getpwuid_r(uid, e, b, n, r) }, take_user)
}

/// The group of this name.
///
/// # Errors
/// [`NameError`].
pub fn group(name: &str) -> Result<Group, NameError> {
    let name = c_name(name)?;
    look_up(
        // SAFETY: valid string, entry, buffer of that length, and result.
        |e, b, n, r| unsafe { libc::getgrnam_r(name.as_ptr(), e, b, n, r) },
        // SAFETY: a string of a filled entry.
        |entry: &libc::group| Group { name: unsafe { owned(entry.gr_name) }, gid: entry.gr_gid },
    )
}

/// All groups of a user, `gid` among them, as initgroups(3) would set them.
///
/// # Errors
/// [`NameError::Invalid`]; more than 65536 groups (the kernel's own bound) are `TooLarge`.
pub fn group_list(user: &str, gid: u32) -> Result<Vec<u32>, NameError> {
    let name = c_name(user)?;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut count = c_int::try_from(groups.len()).unwrap_or(c_int::MAX);
        // SAFETY: the list has `count` places.
        let fits =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) } >= 0;
        let wanted = usize::try_from(count).unwrap_or(0);
        if fits {
            groups.truncate(wanted);
            return Ok(groups);
        }
        if groups.len() >= 65536 {
            return Err(NameError::Temporary(Cause::TooLarge));
        }
        groups.resize(wanted.max(groups.len() * 2).min(65536), 0);
    }
}

unsafe extern "C" {
    // POSIX has these without "_r"; glibc and musl have the reentrant forms, the libc crate has not.
    fn getservbyname_r(
        name: *const c_char,
        proto: *const c_char,
        entry: *mut libc::servent,
        buffer: *mut c_char,
        length: usize,
        result: *mut *mut libc::servent,
    ) -> c_int;
}

/// The port of a service in /etc/services; `protocol` as `tcp` or `udp`.
///
/// # Errors
/// [`NameError`].
pub fn service_port(name: &str, protocol: &str) -> Result<u16, NameError> {
    let (name, protocol) = (c_name(name)?, c_name(protocol)?);
    look_up(
        // SAFETY: valid strings, entry, buffer of that length, and result.
        |e, b, n, r| unsafe { getservbyname_r(name.as_ptr(), protocol.as_ptr(), e, b, n, r) },
        // The port stands in the low 16 bits, in network order.
        |entry: &libc::servent| u16::from_be((entry.s_port & 0xffff) as u16),
    )
}

#[cfg(target_env = "gnu")]
mod gnu {
    //! Reentrant look-ups that glibc alone has. The structures are those of netdb.h.
    use super::{Cause, NameError, c_char, c_int, c_name, look_up};

    #[repr(C)]
    struct RpcEntry {
        name: *mut c_char,
        aliases: *mut *mut c_char,
        number: c_int,
    }

    #[repr(C)]
    struct NetEntry {
        name: *mut c_char,
        aliases: *mut *mut c_char,
        family: c_int,
        network: u32,
    }

    unsafe extern "C" {
        fn getprotobyname_r(
            name: *const c_char,
            entry: *mut libc::protoent,
            buffer: *mut c_char,
            length: usize,
            result: *mut *mut libc::protoent,
        ) -> c_int;
        fn getrpcbyname_r(
            name: *const c_char,
            entry: *mut RpcEntry,
            buffer: *mut c_char,
            length: usize,
            result: *mut *mut RpcEntry,
        ) -> c_int;
        fn getnetbyname_r(
            name: *const c_char,
            entry: *mut NetEntry,
            buffer: *mut c_char,
            length: usize,
            result: *mut *mut NetEntry,
            h_errno: *mut c_int,
        ) -> c_int;
    }

    pub(super) fn protocol(name: &str) -> Result<i32, NameError> {
        let name = c_name(name)?;
        // SAFETY: valid string, entry, buffer of that length, and result.
        look_up(|e, b, n, r| unsafe { getprotobyname_r(name.as_ptr(), e, b, n, r) }, |e| e.p_proto)
    }

    pub(super) fn rpc_number(name: &str) -> Result<u32, NameError> {
        let name = c_name(name)?;
        // SAFETY: valid string, entry, buffer of that length, and result.
        let number =
            look_up(|e, b, n, r| unsafe { getrpcbyname_r(name.as_ptr(), e, b, n, r) }, |e| e.number)?;
        u32::try_from(number).map_err(|_| NameError::NotFound)
    }

    pub(super) fn network(name: &str) -> Result<u32, NameError> {
        let name = c_name(name)?;
        let h_errno = std::cell::Cell::new(0);
        let answer = look_up(
            |e, b, n, r| {
                let mut code = 0;
                // SAFETY: valid string, entry, buffer of that length, result and error place.
                let result = unsafe { getnetbyname_r(name.as_ptr(), e, b, n, r, &raw mut code) };
                h_errno.set(code);
                result
            },
            |e| e.network,
        );
        // Networks may come from DNS, which reports its failures here and not in the result.
        const TRY_AGAIN: c_int = 2;
        if answer.is_err() && h_errno.get() == TRY_AGAIN {
            return Err(NameError::Temporary(Cause::Eai(libc::EAI_AGAIN)));
        }
        answer
    }
}

/// The number of an IP protocol in /etc/protocols.
///
/// # Errors
/// [`NameError`].
#[cfg(target_env = "gnu")]
pub fn protocol(name: &str) -> Result<i32, NameError> {
    gnu::protocol(name)
}

/// The number of an RPC program in /etc/rpc.
///
/// # Errors
/// [`NameError`].
#[cfg(target_env = "gnu")]
pub fn rpc_number(name: &str) -> Result<u32, NameError> {
    gnu::rpc_number(name)
}

/// The number of a network in /etc/networks, as 0x7f000000 or 0x7f (trailing zero parts may be missing).
///
/// # Errors
/// [`NameError`].
#[cfg(target_env = "gnu")]
pub fn network(name: &str) -> Result<u32, NameError> {
    gnu::network(name)
}

/// A getaddrinfo result that frees itself.
struct AddressList(*mut libc::addrinfo);

impl Drop for AddressList {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: getaddrinfo made this list, and it is freed once.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

fn eai(code: c_int) -> NameError {
    match code {
        // A name without addresses of the wanted family is, for a rule or a bind, no such name.
        libc::EAI_NONAME | libc::EAI_NODATA => NameError::NotFound,
        libc::EAI_SYSTEM => {
            NameError::Temporary(Cause::Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0)))
        }
        code => NameError::Temporary(Cause::Eai(code)),
    }
}

/// The addresses of a host, in the order of the name service, without repetitions.
///
/// # Errors
/// [`NameError`].
pub fn addresses(name: &str, family: Family) -> Result<Vec<IpAddr>, NameError> {
    /// More addresses than this serve nobody.
    const MOST: usize = 1024;
    let name = c_name(name)?;
    // SAFETY: addrinfo is a plain structure for which zero is valid.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM; // otherwise each address comes three times
    hints.ai_family = match family {
        Family::Any => libc::AF_UNSPEC,
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let mut list = AddressList(ptr::null_mut());
    // SAFETY: valid name, hints and result.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list.0) };
    if code != 0 {
        return Err(eai(code));
    }
    let mut found = Vec::new();
    let mut next = list.0;
    while !next.is_null() && found.len() < MOST {
        // SAFETY: a node of the list, which lives until `list` is dropped.
        let node = unsafe { &*next };
        // SAFETY: getaddrinfo gives each address in the structure of its family, whole.
        if let Some(address) = unsafe { address_of(node) }
            && !found.contains(&address)
        {
            found.push(address);
        }
        next = node.ai_next;
    }
    if found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
}

/// # Safety
/// `node.ai_addr` is null or points to `ai_addrlen` bytes, which hold the structure of `ai_family`.
unsafe fn address_of(node: &libc::addrinfo) -> Option<IpAddr> {
    if node.ai_addr.is_null() {
        return None;
    }
    let size = usize::try_from(node.ai_addrlen).ok()?;
    if node.ai_family == libc::AF_INET && size >= size_of::<libc::sockaddr_in>() {
        // SAFETY: family and length say so; read_unaligned asks for no alignment.
        let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
        Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
    } else if node.ai_family == libc::AF_INET6 && size >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: as above.
        let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
        Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
    } else {
        None
    }
}

/// The name of an address. Whether that name leads back to the address is the caller's to check.
///
/// # Errors
/// [`NameError::NotFound`] when the name service says that it has none, [`NameError::Temporary`] when it could not
/// be asked: only the first makes a client "unknown".
pub fn reverse(address: IpAddr) -> Result<String, NameError> {
    // SAFETY: plain structures for which zero is valid.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { std::mem::zeroed() };
    let (place, size): (*const libc::sockaddr, usize) = match address {
        IpAddr::V4(address) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_addr.s_addr = u32::from(address).to_be();
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        IpAddr::V6(address) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_addr.s6_addr = address.octets();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    let mut host = [0u8; 1025]; // NI_MAXHOST
    // SAFETY: the address structure has `size` bytes and the buffer its length; no service name is asked for.
    let code = unsafe {
        libc::getnameinfo(
            place,
            libc::socklen_t::try_from(size).unwrap_or(0),
            host.as_mut_ptr().cast(),
            libc::socklen_t::try_from(host.len()).unwrap_or(0),
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if code != 0 {
        return Err(eai(code));
    }
    let name = CStr::from_bytes_until_nul(&host).map_err(|_| NameError::Temporary(Cause::TooLarge))?;
    Ok(name.to_string_lossy().into_owned())
}
