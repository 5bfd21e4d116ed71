//! `sock_*`: both ends of a socket, and what is written of each.

use crate::abi::{HostInfo, RequestInfo};
use crate::{guard, say, text};
use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr::NonNull;
use std::sync::Mutex;

/// The two ends of one request.
#[derive(Clone, Copy)]
struct Ends {
    client: libc::sockaddr_storage,
    server: libc::sockaddr_storage,
}

/// Requests of one thread whose ends are kept at the same time. `sock_host` has no place in the structure for them: the
/// original has one pair for the whole process, so that no program can rely on more than one at a time.
const AT_ONCE: usize = 16;

/// The pairs of one thread, used in turn. They outlive the thread, since a request may: they are handed to the next thread
/// that starts and never freed.
struct Ring {
    /// [`AT_ONCE`] of them.
    pairs: NonNull<Ends>,
    next: usize,
}

// SAFETY: the memory is never freed, and whoever holds the ring is the only one who hands its pairs out.
unsafe impl Send for Ring {}

static FREE: Mutex<Vec<Ring>> = Mutex::new(Vec::new());

/// Gives its ring back when the thread ends.
struct Own(Cell<Option<Ring>>);

impl Drop for Own {
    fn drop(&mut self) {
        // Never waited for: in a process that was forked while another thread held the lock, nobody will let it go.
        if let (Some(ring), Ok(mut free)) = (self.0.take(), FREE.try_lock()) {
            free.push(ring);
        }
    }
}

thread_local! {
    static RING: Own = const { Own(Cell::new(None)) };
}

/// Room for two ends, valid until this thread has asked for as many more as are kept. `None` while a thread is being
/// torn down.
fn room() -> Option<*mut Ends> {
    let spare = || FREE.try_lock().ok().and_then(|mut free| free.pop());
    RING.try_with(|own| {
        let mut ring = own.0.take().or_else(spare).unwrap_or_else(|| {
            // SAFETY: all-zero bytes are an address structure (of no family).
            let none: Ends = unsafe { zeroed() };
            Ring { pairs: NonNull::from(Box::leak(Box::new([none; AT_ONCE]))).cast(), next: 0 }
        });
        // SAFETY: less than the number of pairs.
        let pair = unsafe { ring.pairs.as_ptr().add(ring.next % AT_ONCE) };
        ring.next = (ring.next + 1) % AT_ONCE;
        own.0.set(Some(ring));
        pair
    })
    .ok()
}

/// An address of a family that we know; `None` for a null pointer and for any other.
///
/// # Safety
/// `address` is null or points to an address of its family, whole.
pub(crate) unsafe fn address(address: *const libc::sockaddr) -> Option<SocketAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller's; the family stands in every address, and says how many bytes follow.
    unsafe {
        match c_int::from((&raw const (*address).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id)))
            }
            _ => None,
        }
    }
}

/// # Safety
/// As for [`address`].
unsafe fn is_local(address: *const libc::sockaddr) -> bool {
    // SAFETY: the caller's; the family stands in every address.
    !address.is_null()
        && c_int::from(unsafe { (&raw const (*address).sa_family).read_unaligned() }) == libc::AF_UNIX
}

/// Reads the datagram that a request came with, so that it is not met again. The sink of such requests.
unsafe extern "C" fn throw_away(fd: c_int) {
    let mut bytes = [0_u8; 1];
    // SAFETY: one byte of room; the rest of the datagram goes with it.
    unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
}

/// Finds both ends of the request's socket and installs the methods that describe them.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sock_host(request: *mut RequestInfo) {
    guard::call((), || {
        if request.is_null() {
            return;
        }
        // SAFETY: the caller's pointers, and room of ours for both addresses.
        unsafe {
            (&raw mut (*request).hostname).write(Some(sock_hostname));
            (&raw mut (*request).hostaddr).write(Some(sock_hostaddr));
            let fd = (&raw const (*request).fd).read();
            let Some(ends) = room() else { return };
            ends.write(zeroed());

            let client = (&raw mut (*ends).client).cast::<libc::sockaddr>();
            let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            if libc::getpeername(fd, client, &raw mut length) < 0 {
                // Not connected: a datagram socket, whose next datagram says who asks.
                (&raw mut (*request).sink).write(Some(throw_away));
                let mut byte = 0_u8;
                length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
                if libc::recvfrom(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK, client, &raw mut length) < 0
                {
                    warn("can't get client address");
                    return;
                }
            }
            (&raw mut (*request).client.sin).write(client);

            let server = (&raw mut (*ends).server).cast::<libc::sockaddr>();
            length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            if libc::getsockname(fd, server, &raw mut length) < 0 {
                warn("getsockname");
                return;
            }
            (&raw mut (*request).server.sin).write(server);
        }
    });
}

/// `what: the system's word`.
fn warn(what: &str) {
    let error = io::Error::last_os_error();
    say::warning(format!("{what}: {}", portreeve_sys::source::reason(&error)).as_bytes());
}

/// Writes the address of an end as text, if it has one.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sock_hostaddr(host: *mut HostInfo) {
    guard::call((), || {
        if !host.is_null() {
            // SAFETY: the caller's pointers.
            unsafe { fill_address(host) };
        }
    });
}

/// # Safety
/// The caller's pointer, not null.
pub(crate) unsafe fn fill_address(host: *mut HostInfo) {
    // SAFETY: the caller's pointer.
    unsafe {
        let sin = (&raw const (*host).sin).read();
        match address(sin) {
            Some(address) => {
                text::put(&raw mut (*host).addr, portreeve_wrap::names::numeric(address).as_bytes());
            }
            // The name service's word for the other end of a UNIX socket, on which rules may rely.
            None if is_local(sin) => text::put(&raw mut (*host).addr, b"localhost"),
            None => {}
        }
    }
}

/// Looks the name of an end up and confirms it: a name, `unknown`, or `paranoid`.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sock_hostname(host: *mut HostInfo) {
    guard::call((), || {
        if !host.is_null() {
            // SAFETY: the caller's pointers.
            unsafe { fill_name(host) };
        }
    });
}

/// # Safety
/// The caller's pointer, not null.
pub(crate) unsafe fn fill_name(host: *mut HostInfo) {
    // SAFETY: the caller's pointer.
    unsafe {
        let Some(address) = address((&raw const (*host).sin).read()) else { return };
        let name = crate::acts::name_of(address);
        text::put(&raw mut (*host).name, name.as_bytes());
    }
}
