//! Strings of C: the members of a request, and the small functions on strings that the interface has.

use crate::abi::{Chars, STRING_LENGTH};
use crate::guard;
use crate::{data, say};
use hosts_access::Field;
use std::ffi::{CStr, c_char, c_int, c_ulong};

/// What `dot_quad_addr` says of a text that is none.
const NO_ADDRESS: c_ulong = 0xffff_ffff;

unsafe extern "C" {
    fn inet_addr(text: *const c_char) -> u32;
}

/// The bytes of a string of C; nothing for a null pointer.
///
/// # Safety
/// `text` is null or ends in NUL, and keeps its content for `'a`.
pub(crate) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// What a member holds. One without a NUL, which C could not read either, is cut.
///
/// # Safety
/// `member` is valid for reads.
pub(crate) unsafe fn get(member: *const Chars) -> Field {
    // SAFETY: the caller's.
    Field::new(&unsafe { member.read() })
}

/// Fills a member, with NULs behind the text.
///
/// # Safety
/// `member` is valid for writes.
pub(crate) unsafe fn put(member: *mut Chars, text: &[u8]) {
    let mut chars = [0; STRING_LENGTH];
    for (to, from) in chars.iter_mut().zip(Field::new(text).as_bytes()) {
        *to = *from;
    }
    // SAFETY: the caller's.
    unsafe { member.write(chars) };
}

/// Where `delimiter` stands outside of brackets; they are counted from the start.
fn split(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut depth = 0_i64;
    text.iter().position(|&byte| {
        // A bracket is counted even where it is the delimiter asked for.
        if byte == delimiter && depth == 0 {
            return true;
        }
        depth += i64::from(byte == b'[') - i64::from(byte == b']');
        false
    })
}

/// Cuts a string at a delimiter outside of brackets; gives the rest, or null when there is none.
///
/// # Safety
/// The caller's pointers (see the crate's head).
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn split_at(string: *mut c_char, delimiter: c_int) -> *mut c_char {
    guard::call(std::ptr::null_mut(), || {
        let Ok(delimiter) = u8::try_from(delimiter & 0xff) else { return std::ptr::null_mut() };
        // SAFETY: the caller's pointers; the slice is not used after the write.
        match split(unsafe { bytes(string) }, delimiter) {
            None => std::ptr::null_mut(),
            Some(at) => {
                // SAFETY: `at` is inside the string, so `at + 1` is at most its NUL.
                unsafe {
                    string.add(at).write(0);
                    string.add(at + 1)
                }
            }
        }
    })
}

/// The address of four numbers with dots between them, in network order; all bits when the text is none.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dot_quad_addr(text: *mut c_char) -> c_ulong {
    guard::call(NO_ADDRESS, || {
        // SAFETY: the caller's pointers.
        let runs = unsafe { bytes(text) }.split(|byte| *byte == b'.').filter(|run| !run.is_empty()).count();
        if runs != 4 {
            return NO_ADDRESS;
        }
        // SAFETY: the text is not null, since it has runs, and ends in NUL.
        c_ulong::from(unsafe { inet_addr(text) })
    })
}

/// The mask of a prefix length of 1 to 32 as atoi reads it, in network order; 0 for any other.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn cidr_mask_addr(text: *mut c_char) -> c_ulong {
    guard::call(0, || {
        if text.is_null() {
            return 0;
        }
        // SAFETY: not null, and ends in NUL.
        match unsafe { libc::atoi(text) } {
            length @ 1..=32 => c_ulong::from((u32::MAX << (32 - length)).to_be()),
            _ => 0,
        }
    })
}

/// Copies a format with `%m` replaced by the system's words for `errno`.
///
/// # Safety
/// The caller's pointers; the output has room for what comes of it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn percent_m(output: *mut c_char, input: *mut c_char) -> *mut c_char {
    // Before anything else can change errno.
    let error = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    guard::call(output, || {
        if output.is_null() {
            return output;
        }
        // SAFETY: the caller's pointers.
        let input = unsafe { bytes(input) };
        let mut text = Vec::with_capacity(input.len() + 64);
        let mut rest = input;
        while let Some((&byte, after)) = rest.split_first() {
            if byte == b'%' && after.first() == Some(&b'm') {
                text.extend_from_slice(&words(error));
                rest = after.get(1..).unwrap_or_default();
            } else {
                text.push(byte);
                rest = after;
            }
        }
        text.push(0);
        // SAFETY: the caller's room; `text` is memory of ours.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), output, text.len()) };
        output
    })
}

/// The system's words for an error, without the number that Rust adds.
fn words(error: c_int) -> Vec<u8> {
    let mut buffer = [0_u8; 256];
    // SAFETY: the buffer is ours and of the size given; the function of this name ends its text in NUL.
    let failed = unsafe { libc::strerror_r(error, buffer.as_mut_ptr().cast(), buffer.len()) } != 0;
    if failed {
        format!("Unknown error {error}").into_bytes()
    } else {
        Field::new(&buffer).as_bytes().to_vec()
    }
}

/// Reads one line, joined where a backslash stands before its end; counts lines in `tcpd_context`. Null at the end.
///
/// # Safety
/// The caller's pointers: room for `length` bytes, and an open stream.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn xgets(
    start: *mut c_char,
    length: c_int,
    stream: *mut libc::FILE,
) -> *mut c_char {
    guard::call(std::ptr::null_mut(), || {
        if start.is_null() || stream.is_null() {
            return std::ptr::null_mut();
        }
        let room = usize::try_from(length).unwrap_or(0);
        let mut used = 0;
        // With room for the NUL alone, fgets would give nothing, for ever.
        while room.saturating_sub(used) > 1 {
            let left = c_int::try_from(room - used).unwrap_or(c_int::MAX);
            // SAFETY: `used` bytes of the room are used, `left` are not; the stream is the caller's.
            let got = unsafe {
                let at = start.add(used);
                if libc::fgets(at, left, stream).is_null() {
                    break;
                }
                bytes(at)
            };
            let joined = match got {
                [.., b'\\', b'\n'] => 2,
                [.., b'\n'] => {
                    data::next_line();
                    return start;
                }
                _ => 0,
            };
            if joined > 0 {
                data::next_line();
            }
            used += got.len() - joined;
            // SAFETY: `used` is less than the room: at most where fgets has put its NUL.
            unsafe { start.add(used).write(0) };
        }
        if used > 0 { start } else { std::ptr::null_mut() }
    })
}

/// For `shim.c`: a warning with the text of `tcpd_warn`.
///
/// # Safety
/// `text` ends in NUL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_warn(text: *const c_char) {
    // SAFETY: the C part gives its own buffer.
    guard::call((), || say::warning(unsafe { bytes(text) }));
}

/// For `shim.c`: an error with the text of `tcpd_jump`.
///
/// # Safety
/// `text` ends in NUL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_error(text: *const c_char) {
    // SAFETY: the C part gives its own buffer.
    guard::call((), || say::error(unsafe { bytes(text) }));
}
