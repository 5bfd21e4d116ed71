//! What a program can ask for directly: the name of an address, the user behind a connection, a shell command, the
//! expansion of a text, the IP options of a socket. All of it is done elsewhere.

use crate::abi::RequestInfo;
use crate::text::bytes;
use crate::{access, data, eval, guard, say, socket};
use hosts_access::{ExpandError, Field, expand};
use portreeve_wrap::log::ERR;
use portreeve_wrap::{SystemLog, ident, names, route, shell};
use std::ffi::{c_char, c_int};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The name of an address: confirmed, `unknown` or `paranoid`.
pub(crate) fn name_of(address: SocketAddr) -> Field {
    names::host_name(address, &mut |text| say::warning(&text))
}

/// The user at the client's end, as ident says.
pub(crate) fn ident(client: SocketAddr, server: SocketAddr, seconds: u32) -> Field {
    ident::user(client, server, Duration::from_secs(seconds.into()))
}

/// Asks ident about a connection; `destination` gets a name or `unknown`.
///
/// # Safety
/// The caller's pointers: addresses of their families, whole, and room for 128 bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn rfc931(
    remote: *mut libc::sockaddr,
    local: *mut libc::sockaddr,
    destination: *mut c_char,
) {
    guard::call((), || {
        if destination.is_null() {
            return;
        }
        // SAFETY: the caller's pointers.
        unsafe {
            let user = match (socket::address(remote), socket::address(local)) {
                (Some(remote), Some(local)) if remote.is_ipv4() == local.is_ipv4() => {
                    ident(remote, local, data::ident_seconds())
                }
                _ => Field::from("unknown"),
            };
            // Not more than the name: the original fills no more either.
            let name = user.as_bytes();
            destination.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len());
            destination.add(name.len()).write(0);
        }
    });
}

/// Runs a command and waits for it.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn shell_cmd(command: *mut c_char) {
    guard::call((), || {
        // SAFETY: the caller's pointers.
        let command = unsafe { bytes(command) };
        shell::spawn(command, &mut |text| say::warning(&text));
    });
}

/// Expands the %-letters of a text; the request's own texts are cleaned with it. What does not fit is told, and the result is
/// empty: half a command is another command. (The original ends the process.)
///
/// # Safety
/// The caller's pointers: room for `length` bytes, which is not where the text is.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn percent_x(
    result: *mut c_char,
    length: c_int,
    string: *mut c_char,
    request: *mut RequestInfo,
) -> *mut c_char {
    guard::call(result, || {
        let room = usize::try_from(length).unwrap_or(0);
        if result.is_null() || room == 0 {
            return result;
        }
        // SAFETY: the caller's pointers, with room for one byte.
        let text = unsafe {
            result.write(0);
            if request.is_null() {
                return result;
            }
            let text = bytes(string).to_vec();
            access::in_context(request, |place, attributes, world| expand(&text, attributes, world, place))
        };
        let text = match text {
            Some(Ok(text)) if text.len() < room => text,
            Some(Ok(text)) => {
                say::error(
                    &[b"percent_x: expansion too long: ", text.get(..30).unwrap_or(&text), b"..."].concat(),
                );
                return result;
            }
            Some(Err(ExpandError::TooLong(text))) => {
                say::error(&text);
                return result;
            }
            Some(Err(ExpandError::Pending)) | None => return result,
        };
        // A name may hold a NUL as little as the text does: both were strings of C.
        // SAFETY: less than the room, and memory of ours.
        unsafe {
            result.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
            result.add(text.len()).write(0);
        }
        result
    })
}

/// For `shim.c`: looks at the IP options of the request's socket. 0: it is no socket, and nothing may be served on it.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_fix_options(request: *mut RequestInfo) -> c_int {
    guard::call(0, || {
        if request.is_null() {
            return 0;
        }
        // SAFETY: the caller's pointers; what `eval` gives ends in NUL. The program keeps its descriptor open meanwhile.
        unsafe {
            let fd = (&raw const (*request).fd).read();
            if fd < 0 {
                say::log(ERR, b"getpeername: Bad file descriptor");
                return 0;
            }
            let client = bytes(eval::eval_client(request)).to_vec();
            c_int::from(route::check(BorrowedFd::borrow_raw(fd), &client, &mut SystemLog).is_ok())
        }
    })
}

/// For `shim.c`: the message of `refuse`.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_say_refused(request: *mut RequestInfo) {
    guard::call((), || {
        if request.is_null() {
            return;
        }
        // SAFETY: the caller's pointers; what `eval` gives ends in NUL.
        unsafe {
            let client = bytes(eval::eval_client(request)).to_vec();
            let address = bytes(eval::eval_hostaddr(&raw mut (*request).client));
            let line = [b"refused connect from ".as_slice(), &client, b" (", address, b")"].concat();
            say::log(data::severities().deny, &line);
        }
    });
}

/// For `shim.c`: what throws away what a refused request came with, and the descriptor to give it.
///
/// # Safety
/// The caller's pointers, and a place for the descriptor.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_sink(
    request: *mut RequestInfo,
    fd: *mut c_int,
) -> Option<unsafe extern "C" fn(c_int)> {
    if request.is_null() {
        return None;
    }
    // SAFETY: the caller's pointers.
    unsafe {
        fd.write((&raw const (*request).fd).read());
        (&raw const (*request).sink).read()
    }
}
