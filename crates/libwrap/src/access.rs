//! `hosts_access`, `hosts_ctl`, `process_options`: a verdict on a request. All of it is [`evaluate`]'s.

use crate::abi::RequestInfo;
use crate::say::Evaluating;
use crate::world::Process;
use crate::{data, guard, request, say, text};
use hosts_access::{Place, Processed, Request, Settings, Verdict, Which, evaluate, process_options};
use portreeve_wrap::{Paths, SystemLog};
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::rc::Rc;

/// What `hosts_access` is left with by an option.
const AC_PERMIT: c_int = 1;
const AC_DENY: c_int = -1;

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

/// A resident process may not be taken over by a `twist`; one that only asks what would be is not in danger.
fn settings(resident: bool) -> Settings {
    Settings { options: true, verbose: data::verbose(), resident: resident && !data::dry() }
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
    let paths = Rc::new([allow, deny]);
    let _evaluating = Evaluating::new(Rc::clone(&paths));
    let [allow, deny] = &*paths;
    let opened = portreeve_wrap::tables::open(allow, deny);
    let tables = opened.tables();
    let settings = settings(resident);
    let mut log = SystemLog;
    // SAFETY: the caller's.
    let (mut attributes, mut world) =
        unsafe { (request::read(request), Process::new(request, &mut log, Paths::of(&tables))) };
    let decision = evaluate(&tables, &mut attributes, &mut world, &settings);
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

/// For `shim.c`: runs the options of a rule that the program has found to match, in the file and at the line that it says
/// (`tcpd_context`). 0: the options do not decide; 1 or -1: they grant or refuse, and the program waits at `tcpd_buf`.
///
/// # Safety
/// The caller's pointers.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn portreeve_process_options(
    options: *mut c_char,
    request: *mut RequestInfo,
) -> c_int {
    guard::call(AC_DENY, || {
        if request.is_null() {
            return AC_DENY;
        }
        // SAFETY: the caller's pointers, not null; the text is copied, as methods of the program may write to it.
        let processed = unsafe {
            let text = text::bytes(options).to_vec();
            in_context(request, |place, attributes, world| {
                let settings = settings(data::is_resident());
                process_options(&text, place, attributes, world, &settings)
            })
        };
        match processed {
            Some(Processed::Through | Processed::Withdrawn) => 0,
            Some(Processed::Delegated) => {
                data::clear_dry();
                0
            }
            Some(Processed::Granted) => AC_PERMIT,
            _ => AC_DENY,
        }
    })
}

/// Runs `body` on a request where the program says it is reading, and fills the request's caches. `None`: a method of the
/// program jumped away.
///
/// # Safety
/// The caller's pointer, not null.
pub(crate) unsafe fn in_context<T>(
    request: *mut RequestInfo,
    body: impl FnOnce(Option<Place>, &mut Request, &mut Process<'_>) -> T,
) -> Option<T> {
    let context = data::context();
    let place = context
        .as_ref()
        .map(|(_, line)| Place { which: Which::Allow, line: u32::try_from(*line).unwrap_or(0) });
    // One file is being read; which of the two tables it is only matters for its name.
    let file = context.as_ref().map_or(&[][..], |(file, _)| file);
    let mut log = SystemLog;
    // SAFETY: the caller's.
    let (mut attributes, mut world) = unsafe {
        (request::read(request), Process::new(request, &mut log, Paths { allow: file, deny: file }))
    };
    let _evaluating = Evaluating::new(Rc::new([file.to_vec(), file.to_vec()]));
    let result = body(place, &mut attributes, &mut world);
    // SAFETY: the caller's.
    unsafe { request::write(request, &attributes) };
    (!world.jumped).then_some(result)
}
