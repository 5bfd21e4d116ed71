//! `hosts_access`, `hosts_ctl`, `process_options`: a verdict on a request. All of it is [`evaluate`]'s.

use crate::abi::RequestInfo;
use crate::world::Process;
use crate::{data, guard, request, say, text};
use hosts_access::{Settings, Verdict, Which, evaluate};
use portreeve_wrap::{Paths, SystemLog};
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

/// Decides on a request by the tables as they are now. 1: granted; 0: refused.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hosts_access(request: *mut RequestInfo) -> c_int {
    guard::call(0, || {
        if request.is_null() {
            return 0;
        }
        // SAFETY: the caller's pointers, not null.
        c_int::from(unsafe { decide(request) })
    })
}

/// # Safety
/// The caller's pointer, not null.
unsafe fn decide(request: *mut RequestInfo) -> bool {
    let resident = data::enter();
    let (Some(allow), Some(deny)) = data::tables() else {
        // The original reads from a null pointer here; nobody knows what is refused.
        say::bare_error(b"hosts_allow_table or hosts_deny_table is a null pointer");
        return false;
    };
    say::evaluating(&allow, &deny);
    let opened = portreeve_wrap::tables::open(&allow, &deny);
    let tables = opened.tables();
    let settings = Settings { options: true, verbose: data::verbose(), resident };
    let mut log = SystemLog;
    // SAFETY: the caller's.
    let (mut attributes, mut world) =
        unsafe { (request::read(request), Process::new(request, &mut log, Paths::of(&tables))) };
    let decision = evaluate(&tables, &mut attributes, &mut world, &settings);
    say::at(None);
    // SAFETY: the caller's.
    unsafe { request::write(request, &attributes) };
    if world.jumped {
        return false;
    }
    match decision.verdict {
        Verdict::Granted => true,
        // Where nothing is really done, the table says what the rule would have been. Else the process has ended.
        Verdict::Delegated => {
            data::clear_dry();
            decision.by.is_some_and(|by| by.which == Which::Allow)
        }
        // This world never answers that it does not know yet.
        Verdict::Denied | Verdict::Pending => false,
    }
}

/// Decides on a client that is described in words. 1: granted; 0: refused.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn hosts_ctl(
    daemon: *mut c_char,
    name: *mut c_char,
    address: *mut c_char,
    user: *mut c_char,
) -> c_int {
    guard::call(0, || {
        let mut room = MaybeUninit::<RequestInfo>::uninit();
        let request = room.as_mut_ptr();
        // SAFETY: room for a request, which is filled first; the caller's strings.
        unsafe {
            request::portreeve_request_clear(request);
            text::put(&raw mut (*request).daemon, text::bytes(daemon));
            text::put(&raw mut (*request).client.name, text::bytes(name));
            text::put(&raw mut (*request).client.addr, text::bytes(address));
            text::put(&raw mut (*request).user, text::bytes(user));
            c_int::from(decide(request))
        }
    })
}

/// For `shim.c`: runs an options field. 0: it has no more to say; else what `hosts_access` is to be left with.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_process_options(
    options: *mut c_char,
    request: *mut RequestInfo,
) -> c_int {
    let _ = (options, request);
    -1
}
