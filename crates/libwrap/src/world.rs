//! What an evaluation asks of the process that a program runs in, and what the matched rule orders there.

use crate::abi::RequestInfo;
use crate::eval::{self, Called};
use crate::{data, say, text};
use hosts_access::{Act, Answer, Done, End, Field, ListFile, Message, Place, Request, World};
use std::borrow::Cow;

/// The process, for one evaluation of one request.
pub(crate) struct Process {
    request: *mut RequestInfo,
    /// Whether a method of the program jumped away: then the client is refused, whatever the tables say.
    pub(crate) jumped: bool,
    /// Whether a `twist` would have taken over (with `dry_run`).
    pub(crate) delegated: bool,
}

impl Process {
    /// # Safety
    /// `request` is the caller's pointer, not null, for as long as this lives.
    pub(crate) unsafe fn new(request: *mut RequestInfo) -> Self {
        Self { request, jumped: false, delegated: false }
    }
}

impl World for Process {
    fn at(&mut self, place: Option<Place>) {
        say::at(place);
    }

    fn name(&mut self, end: End, _request: &Request) -> Answer<Field> {
        // SAFETY: `new`'s.
        let (called, name) = unsafe {
            let host = match end {
                End::Client => &raw mut (*self.request).client,
                End::Server => &raw mut (*self.request).server,
            };
            (eval::name(host), text::get(&raw const (*host).name))
        };
        match called {
            Called::Returned => Answer::Known(name),
            Called::Jumped => {
                self.jumped = true;
                Answer::Unavailable
            }
        }
    }

    fn user(&mut self, _request: &Request, timeout: Option<u32>) -> Answer<Field> {
        // SAFETY: `new`'s.
        unsafe {
            eval::user(self.request, timeout.unwrap_or_else(data::ident_seconds));
            Answer::Known(text::get(&raw const (*self.request).user))
        }
    }

    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        Answer::Known(portreeve_sys::names::in_netgroup(group, host).unwrap_or(false))
    }

    fn list(&mut self, _path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        ListFile::Absent
    }

    fn act(&mut self, act: &Act, _request: &mut Request) -> Done {
        let dry = data::dry();
        match act {
            Act::Severity(priority) => {
                data::set_severities(*priority);
                Done::Done
            }
            Act::Twist(_) if dry => {
                data::clear_dry();
                self.delegated = true;
                Done::Done
            }
            _ => Done::Done,
        }
    }

    fn say(&mut self, message: Message) {
        say::message(&message);
    }
}
