//! Addresses of a name and the name of an address, as the host's own configuration orders its sources.

use super::{Cause, NameError, c_name};
use std::ffi::{CStr, c_int};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

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
