//! What confirming a host name takes: the name of an address, the addresses of a name with the name that the name
//! service itself uses for them, and addresses as text, scope included. Bytes, since a name server may say anything.

use super::{Cause, Family, NameError};
use std::ffi::{CStr, CString, c_int};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// A host as the name service describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// Its official name, which may differ from the one that was asked for.
    pub canonical: Vec<u8>,
    /// Its addresses with port 0, in the order of the name service; at most [`HostEntry::MOST`].
    pub addresses: Vec<SocketAddr>,
}

impl HostEntry {
    /// More addresses than this are not listed: they serve nobody.
    pub const MOST: usize = 1024;
}

/// How a name is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// A host name; an address in any spelling counts as one.
    Name,
    /// Only an address in numbers: nobody is asked.
    Numeric,
}

fn failure(code: c_int) -> NameError {
    match code {
        libc::EAI_NONAME | libc::EAI_NODATA => NameError::NotFound,
        libc::EAI_SYSTEM => {
            NameError::Temporary(Cause::Errno(io::Error::last_os_error().raw_os_error().unwrap_or(0)))
        }
        code => NameError::Temporary(Cause::Eai(code)),
    }
}

/// A getaddrinfo result that frees itself.
struct List(*mut libc::addrinfo);

impl Drop for List {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: getaddrinfo made this list, and it is freed once.
            unsafe { libc::freeaddrinfo(self.0) };
        }
    }
}

/// The host of this name.
///
/// # Errors
/// [`NameError`].
pub fn host_entry(name: &[u8], family: Family, spelling: Spelling) -> Result<HostEntry, NameError> {
    if name.is_empty() {
        return Err(NameError::Invalid);
    }
    let name = CString::new(name).map_err(|_| NameError::Invalid)?;
    // SAFETY: addrinfo is a plain structure for which zero is valid.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM; // otherwise each address comes three times
    hints.ai_family = match family {
        Family::Any => libc::AF_UNSPEC,
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    hints.ai_flags = match spelling {
        Spelling::Name => libc::AI_CANONNAME,
        Spelling::Numeric => libc::AI_CANONNAME | libc::AI_NUMERICHOST,
    };
    let mut list = List(ptr::null_mut());
    // SAFETY: valid name, hints and result.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list.0) };
    if code != 0 {
        return Err(failure(code));
    }
    let mut entry = HostEntry::default();
    let mut next = list.0;
    while !next.is_null() && entry.addresses.len() < HostEntry::MOST {
        // SAFETY: a node of the list, which lives until `list` is dropped.
        let node = unsafe { &*next };
        if !node.ai_canonname.is_null() {
            // SAFETY: getaddrinfo gives the name, where it gives one, as a NUL-terminated string of the list.
            entry.canonical = unsafe { CStr::from_ptr(node.ai_canonname) }.to_bytes().to_vec();
        }
        // SAFETY: getaddrinfo gives each address in the structure of its family, whole.
        entry.addresses.extend(unsafe { address_of(node) });
        next = node.ai_next;
    }
    if entry.addresses.is_empty() { Err(NameError::NotFound) } else { Ok(entry) }
}

/// # Safety
/// `node.ai_addr` is null or points to `ai_addrlen` bytes, which hold the structure of `ai_family`.
unsafe fn address_of(node: &libc::addrinfo) -> Option<SocketAddr> {
    if node.ai_addr.is_null() {
        return None;
    }
    let size = usize::try_from(node.ai_addrlen).ok()?;
    if node.ai_family == libc::AF_INET && size >= size_of::<libc::sockaddr_in>() {
        // SAFETY: family and length say so; read_unaligned asks for no alignment.
        let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
        let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
        Some(SocketAddr::V4(SocketAddrV4::new(ip, 0)))
    } else if node.ai_family == libc::AF_INET6 && size >= size_of::<libc::sockaddr_in6>() {
        // SAFETY: as above.
        let address = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
        let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
        Some(SocketAddr::V6(SocketAddrV6::new(ip, 0, 0, address.sin6_scope_id)))
    } else {
        None
    }
}

/// The name of an address, as the name service says it; nothing is confirmed.
///
/// # Errors
/// [`NameError::NotFound`] when there is none, [`NameError::Temporary`] when it could not be asked.
pub fn host_name_of(address: SocketAddr) -> Result<Vec<u8>, NameError> {
    name_info(address, libc::NI_NAMEREQD)
}

/// The address in numbers, an IPv6 one with its scope as `%eth0`. Asks nobody.
///
/// # Errors
/// Only for lack of memory.
pub fn address_text(address: SocketAddr) -> Result<Vec<u8>, NameError> {
    // Asked twice for each client that the tables are asked about. Of other IPv6 addresses libc has its own spelling (`::1.2.3.4`) and scopes.
    match address {
        SocketAddr::V4(address) => Ok(address.ip().to_string().into_bytes()),
        SocketAddr::V6(address) if address.scope_id() == 0 && address.ip().to_ipv4_mapped().is_some() => {
            Ok(address.ip().to_string().into_bytes())
        }
        SocketAddr::V6(_) => name_info(address, libc::NI_NUMERICHOST),
    }
}

fn name_info(address: SocketAddr, flags: c_int) -> Result<Vec<u8>, NameError> {
    // SAFETY: plain structures for which zero is valid.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { std::mem::zeroed() };
    let (place, size): (*const libc::sockaddr, usize) = match address {
        SocketAddr::V4(address) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        SocketAddr::V6(address) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
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
            flags,
        )
    };
    if code != 0 {
        return Err(failure(code));
    }
    let name = CStr::from_bytes_until_nul(&host).map_err(|_| NameError::Temporary(Cause::TooLarge))?;
    Ok(name.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_names() {
        for (text, wanted) in [
            ("127.0.0.1", Some("127.0.0.1:0")),
            ("0x7f.1", Some("127.0.0.1:0")),
            ("::1", Some("[::1]:0")),
            ("localhost", None),
            ("a b", None),
        ] {
            let found = host_entry(text.as_bytes(), Family::Any, Spelling::Numeric).ok();
            let first = found.and_then(|e| e.addresses.first().map(ToString::to_string));
            assert_eq!(first.as_deref(), wanted, "{text}");
        }
        assert_eq!(host_entry(b"", Family::Any, Spelling::Name), Err(NameError::Invalid));
        assert_eq!(host_entry(b"a\0b", Family::Any, Spelling::Name), Err(NameError::Invalid));
    }

    #[test]
    fn addresses_are_written_as_the_system_writes_them() {
        for (address, wanted) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1"),
            ("[2001:db8:0::1]:80", "2001:db8::1"),
            ("[fe80::1%1]:80", "fe80::1%lo"),
        ] {
            assert_eq!(address_text(address.parse().unwrap()).unwrap(), wanted.as_bytes());
        }
    }
}
