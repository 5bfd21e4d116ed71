//! Messages, in the original's words, through syslog(3) of the program around us: its identity, its facility, and its own
//! function where it has replaced it (Debian's tcpdmatch and tcpdchk print). Decides no verdict.

use crate::data;
use hosts_access::{Place, Which};
use portreeve_wrap::log::{ERR, escaped};
use std::cell::{Cell, RefCell};
use std::ffi::c_int;

/// A message of this priority.
pub(crate) fn log(priority: c_int, text: &[u8]) {
    portreeve_sys::libc_syslog::log(priority, &escaped(text));
}

/// What a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Warning,
    Error,
}

/// A file and a line of it.
type Spot<'a> = Option<(&'a [u8], i64)>;

fn tell(kind: Kind, spot: Spot<'_>, text: &[u8]) {
    let mut line = match kind {
        Kind::Warning => b"warning: ".to_vec(),
        Kind::Error => b"error: ".to_vec(),
    };
    if let Some((file, number)) = spot {
        line.extend_from_slice(file);
        line.extend_from_slice(format!(", line {number}: ").as_bytes());
    }
    line.extend_from_slice(text);
    log(ERR, &line);
}

/// A warning about whatever this thread is doing: in the rule that is evaluated, else where the program says it is
/// reading (`tcpd_context`).
pub(crate) fn warning(text: &[u8]) {
    told_here(Kind::Warning, text);
}

/// An error, as [`warning`].
pub(crate) fn error(text: &[u8]) {
    told_here(Kind::Error, text);
}

/// An error that belongs to no line.
pub(crate) fn bare_error(text: &[u8]) {
    tell(Kind::Error, None, text);
}

fn told_here(kind: Kind, text: &[u8]) {
    if let Some(place) = RULE.get() {
        return told_at(kind, Some(place), text);
    }
    let context = data::context();
    tell(kind, context.as_ref().map(|(file, line)| (file.as_slice(), i64::from(*line))), text);
}

fn told_at(kind: Kind, place: Option<Place>, text: &[u8]) {
    match place {
        Some(place) => with_path(place.which, |path| tell(kind, Some((path, i64::from(place.line))), text)),
        None => tell(kind, None, text),
    }
}

thread_local! {
    /// The rule that this thread evaluates.
    static RULE: Cell<Option<Place>> = const { Cell::new(None) };
    /// The tables that it stands in.
    static PATHS: RefCell<[Vec<u8>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Messages of this thread belong to these tables from now on.
pub(crate) fn evaluating(allow: &[u8], deny: &[u8]) {
    RULE.set(None);
    PATHS.with_borrow_mut(|[a, d]| {
        for (kept, path) in [(a, allow), (d, deny)] {
            kept.clear();
            kept.extend_from_slice(path);
        }
    });
}

/// Messages of this thread belong to this rule; to none, for `None`.
pub(crate) fn at(place: Option<Place>) {
    RULE.set(place);
}

fn with_path<T>(which: Which, body: impl FnOnce(&[u8]) -> T) -> T {
    PATHS.with_borrow(|[allow, deny]| match which {
        Which::Allow => body(allow),
        Which::Deny => body(deny),
    })
}
