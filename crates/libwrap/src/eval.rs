//! `eval_*`: one attribute of a request as text, looked up when it is first asked for and kept in the structure.
//!
//! Texts that are made up of several are kept for each thread of its own, until the thread asks again.

use crate::abi::{HostInfo, HostMethod, RequestInfo};
use crate::{guard, socket, text};
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int};
use std::ptr::fn_addr_eq;

unsafe extern "C" {
    /// Calls a method of the program; 0 when it left through `tcpd_jump`. In `shim.c`.
    fn portreeve_call_method(method: HostMethod, host: *mut HostInfo) -> c_int;
}

/// What the interface says for "not known", to those who ask about nothing.
const UNKNOWN: *const c_char = c"unknown".as_ptr();

/// A text that a function returned, for this thread.
struct Kept(UnsafeCell<[u8; 256]>);

impl Kept {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; 256]))
    }

    /// Keeps the text, cut to what fits, and gives it as C wants it.
    fn put(&self, text: &[u8]) -> *mut c_char {
        let mut chars = [0; 256];
        for (to, from) in chars.iter_mut().take(255).zip(text) {
            *to = *from;
        }
        // SAFETY: one thread's own cell, and no reference into it exists: C has a pointer alone.
        unsafe { self.0.get().write(chars) };
        self.0.get().cast()
    }
}

thread_local! {
    static CLIENT: Kept = const { Kept::new() };
    static SERVER: Kept = const { Kept::new() };
    static PORT: Kept = const { Kept::new() };
}

fn known(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(b"unknown") && !name.eq_ignore_ascii_case(b"paranoid")
}

/// What a look-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// The method returned, or there is none.
    Returned,
    /// It left through `tcpd_jump`: what was asked has no answer, and an evaluation ends with a refusal.
    Jumped,
}

/// Runs a method of the structure. Our own are called directly: a jump needs no net there.
///
/// # Safety
/// `host` is the caller's pointer, not null.
unsafe fn run(method: Option<HostMethod>, host: *mut HostInfo) -> Called {
    // SAFETY: the caller's pointer; a method is the program's, made for it.
    unsafe {
        match method {
            None => Called::Returned,
            Some(method) if fn_addr_eq(method, socket::sock_hostaddr as HostMethod) => {
                socket::fill_address(host);
                Called::Returned
            }
            Some(method) if fn_addr_eq(method, socket::sock_hostname as HostMethod) => {
                socket::fill_name(host);
                Called::Returned
            }
            Some(method) if portreeve_call_method(method, host) != 0 => Called::Returned,
            Some(_) => Called::Jumped,
        }
    }
}

/// The request that an end belongs to.
///
/// # Safety
/// `host` is the caller's pointer, not null.
unsafe fn owner(host: *mut HostInfo) -> Option<*mut RequestInfo> {
    // SAFETY: the caller's pointer.
    let request = unsafe { (&raw const (*host).request).read() };
    (!request.is_null()).then_some(request)
}

/// Fills the address of an end, if nobody has.
///
/// # Safety
/// `host` is the caller's pointer, not null.
pub(crate) unsafe fn address(host: *mut HostInfo) -> Called {
    // SAFETY: the caller's pointer, and its request, which it points to for this purpose.
    unsafe {
        if (&raw const (*host).addr).cast::<u8>().read() != 0 {
            return Called::Returned;
        }
        text::put(&raw mut (*host).addr, b"unknown");
        match owner(host) {
            Some(request) => run((&raw const (*request).hostaddr).read(), host),
            None => Called::Returned,
        }
    }
}

/// Fills the name of an end, if nobody has.
///
/// # Safety
/// `host` is the caller's pointer, not null.
pub(crate) unsafe fn name(host: *mut HostInfo) -> Called {
    // SAFETY: as in `address`.
    unsafe {
        if (&raw const (*host).name).cast::<u8>().read() != 0 {
            return Called::Returned;
        }
        text::put(&raw mut (*host).name, b"unknown");
        match owner(host) {
            Some(request) => run((&raw const (*request).hostname).read(), host),
            None => Called::Returned,
        }
    }
}

/// Fills the user of a request, if nobody has: ident is asked where the request came over a connection.
///
/// # Safety
/// The caller's pointer, not null.
pub(crate) unsafe fn user(request: *mut RequestInfo, seconds: u32) {
    // SAFETY: the caller's pointer.
    unsafe {
        if (&raw const (*request).user).cast::<u8>().read() != 0 {
            return;
        }
        text::put(&raw mut (*request).user, b"unknown");
        if (&raw const (*request).sink).read().is_some() {
            return;
        }
        let client = socket::address((&raw const (*request).client.sin).read());
        let server = socket::address((&raw const (*request).server.sin).read());
        if let (Some(client), Some(server)) = (client, server) {
            let user = crate::acts::ident(client, server, seconds);
            text::put(&raw mut (*request).user, user.as_bytes());
        }
    }
}

/// The name where it is known already and a real one, else the address.
///
/// # Safety
/// The caller's pointer, not null.
unsafe fn best(host: *mut HostInfo) -> *mut c_char {
    // SAFETY: the caller's pointer.
    unsafe {
        let name = text::get(&raw const (*host).name);
        if !name.is_empty() && known(name.as_bytes()) {
            return (&raw mut (*host).name).cast();
        }
        address(host);
        (&raw mut (*host).addr).cast()
    }
}

/// The user at the client's end.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_user(request: *mut RequestInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if request.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers.
        unsafe {
            user(request, crate::data::ident_seconds());
            (&raw mut (*request).user).cast()
        }
    })
}

/// The name of an end.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_hostname(host: *mut HostInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if host.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers.
        unsafe {
            name(host);
            (&raw mut (*host).name).cast()
        }
    })
}

/// The address of an end.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_hostaddr(host: *mut HostInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if host.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers.
        unsafe {
            address(host);
            (&raw mut (*host).addr).cast()
        }
    })
}

/// The name of an end if it is known already, else its address.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_hostinfo(host: *mut HostInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if host.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers.
        unsafe { best(host) }
    })
}

/// `user@host` if the user is known already, else the host.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_client(request: *mut RequestInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if request.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers; what `best` gives is a member, which ends in NUL.
        unsafe {
            let host = best(&raw mut (*request).client);
            let user = text::get(&raw const (*request).user);
            if user.is_empty() || user.as_bytes().eq_ignore_ascii_case(b"unknown") {
                return host;
            }
            let both = [user.as_bytes(), b"@", member(host).as_bytes()].concat();
            CLIENT.with(|kept| kept.put(&both))
        }
    })
}

/// `daemon@host` if anything is known of our end, else the daemon.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_server(request: *mut RequestInfo) -> *mut c_char {
    guard::call(UNKNOWN.cast_mut(), || {
        if request.is_null() {
            return UNKNOWN.cast_mut();
        }
        // SAFETY: the caller's pointers; what `best` gives is a member, which ends in NUL.
        unsafe {
            let host = member(best(&raw mut (*request).server));
            if host.as_bytes().eq_ignore_ascii_case(b"unknown") {
                return (&raw mut (*request).daemon).cast();
            }
            let daemon = text::get(&raw const (*request).daemon);
            let both = [daemon.as_bytes(), b"@", host.as_bytes()].concat();
            SERVER.with(|kept| kept.put(&both))
        }
    })
}

/// # Safety
/// `chars` is a text member of a request.
unsafe fn member(chars: *const c_char) -> hosts_access::Field {
    // SAFETY: the caller's.
    unsafe { text::get(chars.cast()) }
}

/// The port of an address, `0` for none.
///
/// # Safety
/// `address` is null or points to an address of its family, whole.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn eval_port(address: *mut libc::sockaddr) -> *mut c_char {
    guard::call(c"0".as_ptr().cast_mut(), || {
        // SAFETY: the caller's pointers.
        let port = unsafe { socket::address(address) }.map_or(0, |address| address.port());
        PORT.with(|kept| kept.put(port.to_string().as_bytes()))
    })
}
