//! Attributes of a request: set as `request_init` and `request_set` say, read before an evaluation and filled after it.

use crate::abi::{HostInfo, RequestInfo};
use crate::{eval, guard, say, socket, text};
use hosts_access::{Field, Host, Request};
use std::ffi::{c_int, c_void};

/// Keys of `tcpd.h` whose value is a pointer; `RQ_FILE`, 1, has a number.
const RQ_DAEMON: c_int = 2;
const RQ_USER: c_int = 3;
const RQ_CLIENT_NAME: c_int = 4;
const RQ_CLIENT_ADDR: c_int = 5;
const RQ_CLIENT_SIN: c_int = 6;
const RQ_SERVER_NAME: c_int = 7;
const RQ_SERVER_ADDR: c_int = 8;
const RQ_SERVER_SIN: c_int = 9;

/// For `shim.c`: the beginning of `request_init`.
///
/// # Safety
/// The caller's pointers; what is there need not be initialised.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_request_clear(request: *mut RequestInfo) {
    if request.is_null() {
        return;
    }
    let pid = std::process::id().to_string();
    // SAFETY: the caller's pointers. All-zero bytes are valid: null pointers, and `None` for functions.
    unsafe {
        request.write_bytes(0, 1);
        (&raw mut (*request).fd).write(-1);
        text::put(&raw mut (*request).daemon, b"unknown");
        let place = (&raw mut (*request).pid).cast::<u8>();
        place.copy_from_nonoverlapping(pid.as_ptr(), pid.len().min(9));
        (&raw mut (*request).client.request).write(request);
        (&raw mut (*request).server.request).write(request);
    }
}

/// For `shim.c`: the descriptor.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_request_number(request: *mut RequestInfo, value: c_int) {
    if !request.is_null() {
        // SAFETY: the caller's pointers.
        unsafe { (&raw mut (*request).fd).write(value) };
    }
}

/// For `shim.c`: an attribute with a pointer. A text is copied and cut, an address is kept as the pointer. 0: no such key.
///
/// # Safety
/// The caller's pointers, `value` of the type that the key has.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_request_pointer(
    request: *mut RequestInfo,
    key: c_int,
    value: *mut c_void,
) -> c_int {
    guard::call(0, || {
        if request.is_null() {
            return 0;
        }
        // SAFETY: no member is read: these are places in the caller's structure.
        let member = unsafe {
            match key {
                RQ_DAEMON => &raw mut (*request).daemon,
                RQ_USER => &raw mut (*request).user,
                RQ_CLIENT_NAME => &raw mut (*request).client.name,
                RQ_CLIENT_ADDR => &raw mut (*request).client.addr,
                RQ_SERVER_NAME => &raw mut (*request).server.name,
                RQ_SERVER_ADDR => &raw mut (*request).server.addr,
                RQ_CLIENT_SIN => {
                    (&raw mut (*request).client.sin).write(value.cast());
                    return 1;
                }
                RQ_SERVER_SIN => {
                    (&raw mut (*request).server.sin).write(value.cast());
                    return 1;
                }
                key => {
                    say::warning(format!("request_fill: invalid key: {key}").as_bytes());
                    return 0;
                }
            }
        };
        // SAFETY: the caller's pointers: the value of these keys is a string, which may lie in the member itself.
        unsafe { text::put(member, Field::new(text::bytes(value.cast())).as_bytes()) };
        1
    })
}

/// What is known of a request. Addresses are looked up if nobody has asked for them yet: that asks no name service.
///
/// # Safety
/// The caller's pointers; not null.
pub(crate) unsafe fn read(request: *mut RequestInfo) -> Request {
    // SAFETY: the caller's pointers, whose members are valid places.
    unsafe {
        Request {
            daemon: text::get(&raw const (*request).daemon),
            user: text::get(&raw const (*request).user),
            pid: pid(&(&raw const (*request).pid).read()),
            client: read_host(&raw mut (*request).client),
            server: read_host(&raw mut (*request).server),
        }
    }
}

/// # Safety
/// As for [`read`].
unsafe fn read_host(host: *mut HostInfo) -> Host {
    // SAFETY: the caller's pointers.
    unsafe {
        eval::address(host);
        Host {
            name: text::get(&raw const (*host).name),
            addr: text::get(&raw const (*host).addr),
            socket: socket::address((&raw const (*host).sin).read()),
        }
    }
}

/// The number in the text of `%p`; 0 when a program has put something else there.
fn pid(chars: &[u8]) -> u32 {
    let text = chars.split(|byte| *byte == 0).next().unwrap_or_default();
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Fills the caches of the structure with what the evaluation has found out, cleaned where it has cleaned.
///
/// # Safety
/// As for [`read`].
pub(crate) unsafe fn write(request: *mut RequestInfo, found: &Request) {
    // SAFETY: the caller's pointers, whose members are valid places.
    unsafe {
        let members = [
            (&raw mut (*request).daemon, &found.daemon),
            (&raw mut (*request).user, &found.user),
            (&raw mut (*request).client.name, &found.client.name),
            (&raw mut (*request).client.addr, &found.client.addr),
            (&raw mut (*request).server.name, &found.server.name),
            (&raw mut (*request).server.addr, &found.server.addr),
        ];
        for (member, field) in members {
            if text::get(member) != *field {
                text::put(member, field.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::RequestInfo;
    use std::mem::MaybeUninit;

    fn cleared() -> Box<RequestInfo> {
        let mut request = Box::new(MaybeUninit::<RequestInfo>::uninit());
        // SAFETY: room for one structure, all of which is written.
        unsafe {
            portreeve_request_clear(request.as_mut_ptr());
            request.assume_init()
        }
    }

    #[test]
    fn attributes_are_copied_and_cut() {
        let mut request = cleared();
        let at = &raw mut *request;
        let long = [b'x'; 200];
        let long = std::ffi::CString::new(long).unwrap();
        // SAFETY: a whole structure and strings.
        unsafe {
            assert_eq!(portreeve_request_pointer(at, RQ_DAEMON, long.as_ptr().cast_mut().cast()), 1);
            assert_eq!(portreeve_request_pointer(at, RQ_USER, c"joe".as_ptr().cast_mut().cast()), 1);
            assert_eq!(portreeve_request_pointer(at, RQ_USER, std::ptr::null_mut()), 1);
            assert_eq!(portreeve_request_pointer(at, 99, std::ptr::null_mut()), 0);
            let read = read(at);
            assert_eq!(read.daemon.as_bytes(), [b'x'; 127]);
            assert!(read.user.is_empty(), "a null pointer is no text");
            assert_eq!(read.pid, std::process::id());
            assert_eq!(read.client.addr.as_bytes(), b"unknown");
            assert_eq!(read.client.name.as_bytes(), b"", "no name is asked for");
            assert_eq!((read.client.socket, request.fd), (None, -1));
        }
    }

    #[test]
    fn caches_are_filled() {
        let mut request = cleared();
        let at = &raw mut *request;
        // SAFETY: a whole structure.
        unsafe {
            let mut found = read(at);
            found.client.name = Field::from("a_b.example.com");
            found.daemon = Field::from("d");
            write(at, &found);
            assert_eq!(request.client.name[..16], *b"a_b.example.com\0");
            assert_eq!(request.daemon[..8], *b"d\0\0\0\0\0\0\0", "nothing of the longer text is left");
        }
    }
}
