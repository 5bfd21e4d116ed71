//! Messages, in the original's words, through syslog(3) of the program around us: its identity, its facility, and its own
//! function where it has replaced it (Debian's tcpdmatch and tcpdchk print). Decides no verdict.

use crate::data;
use hosts_access::{Place, Which};
use portreeve_wrap::log::{ERR, escaped};
use std::cell::RefCell;
use std::ffi::c_int;
use std::rc::Rc;

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
    // Nothing is held while the program's syslog runs: it may come back to us.
    if let Some(Here { paths, place: Some(place) }) = HERE.with_borrow(Clone::clone) {
        let [allow, deny] = &*paths;
        let path = match place.which {
            Which::Allow => allow,
            Which::Deny => deny,
        };
        return tell(kind, Some((path, i64::from(place.line))), text);
    }
    let context = data::context();
    tell(kind, context.as_ref().map(|(file, line)| (file.as_slice(), i64::from(*line))), text);
}

/// What a thread evaluates.
#[derive(Clone)]
struct Here {
    /// `hosts.allow` and `hosts.deny`.
    paths: Rc<[Vec<u8>; 2]>,
    /// The rule in hand.
    place: Option<Place>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// While it lives, messages of this thread belong to the tables that it was made for; then to those before, as a method of
/// the program may ask about another request in the middle of one.
pub(crate) struct Evaluating(Option<Here>);

impl Evaluating {
    /// Begins.
    pub(crate) fn new(paths: Rc<[Vec<u8>; 2]>) -> Self {
        Self(HERE.replace(Some(Here { paths, place: None })))
    }
}

impl Drop for Evaluating {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}

/// Messages of this thread belong to this rule from now on; to none, for `None`.
pub(crate) fn at(place: Option<Place>) {
    HERE.with_borrow_mut(|here| {
        if let Some(here) = here {
            here.place = place;
        }
    });
}
