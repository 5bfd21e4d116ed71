//! Numbers that have names: ports, protocols, RPC programs, networks.

use super::{Cause, NameError, c_name, look_up};
use std::ffi::{c_char, c_int};

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
    // The reentrant forms of netdb.h, which the libc crate does not declare.
    fn getservbyname_r(
        name: *const c_char,
        proto: *const c_char,
        entry: *mut libc::servent,
        buffer: *mut c_char,
        length: usize,
        result: *mut *mut libc::servent,
    ) -> c_int;
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

/// The number of an IP protocol in /etc/protocols.
///
/// # Errors
/// [`NameError`].
pub fn protocol(name: &str) -> Result<i32, NameError> {
    let name = c_name(name)?;
    // SAFETY: valid string, entry, buffer of that length, and result.
    look_up(|e, b, n, r| unsafe { getprotobyname_r(name.as_ptr(), e, b, n, r) }, |e| e.p_proto)
}

/// The number of an RPC program in /etc/rpc.
///
/// # Errors
/// [`NameError`].
pub fn rpc_number(name: &str) -> Result<u32, NameError> {
    let name = c_name(name)?;
    // SAFETY: valid string, entry, buffer of that length, and result.
    let number = look_up(|e, b, n, r| unsafe { getrpcbyname_r(name.as_ptr(), e, b, n, r) }, |e| e.number)?;
    u32::try_from(number).map_err(|_| NameError::NotFound)
}

/// The number of a network in /etc/networks, as 0x7f000000 or 0x7f (trailing zero parts may be missing).
///
/// # Errors
/// [`NameError`].
pub fn network(name: &str) -> Result<u32, NameError> {
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
