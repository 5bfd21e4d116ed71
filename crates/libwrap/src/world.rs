//! What an evaluation asks of the process that a program runs in, and what the matched rule orders there: the world of
//! `portreeve_wrap`, with the program's own methods, variables and log around it.

use crate::abi::RequestInfo;
use crate::eval::{self, Called};
use crate::{data, say, text};
use hosts_access::{Act, Answer, Done, End, Field, ListFile, Message, Place, Request, World};
use portreeve_wrap::{LiveWorld, Log, Paths};
use std::borrow::Cow;
use std::os::fd::BorrowedFd;

/// The process, for one evaluation of one request.
pub(crate) struct Process<'a> {
    request: *mut RequestInfo,
    live: LiveWorld<'a>,
    /// Whether a method of the program jumped away: then the client is refused, whatever the tables say.
    pub(crate) jumped: bool,
}

impl<'a> Process<'a> {
    /// # Safety
    /// `request` is the caller's pointer, not null, for as long as this lives.
    pub(crate) unsafe fn new(request: *mut RequestInfo, log: &'a mut dyn Log, paths: Paths<'a>) -> Self {
        let mut live = LiveWorld::new(log, paths);
        live.dry_run = data::dry();
        live.severities = data::severities();
        // SAFETY: the caller's. A descriptor that is not open makes a system call fail, and is said; the program keeps an
        // open one open during its call of us.
        unsafe {
            let fd = (&raw const (*request).fd).read();
            live.socket = (fd >= 0).then(|| BorrowedFd::borrow_raw(fd));
            live.datagram = (&raw const (*request).sink).read().is_some();
        }
        Self { request, live, jumped: false }
    }
}

impl World for Process<'_> {
    fn at(&mut self, place: Option<Place>) {
        say::at(place);
        self.live.at(place);
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
        self.live.in_netgroup(group, host)
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        self.live.list(path)
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        self.live.is_interface(name)
    }

    fn act(&mut self, act: &Act, request: &mut Request) -> Done {
        let done = self.live.act(act, request);
        if let Act::Severity(_) = act {
            data::set_severities(self.live.severities);
        }
        done
    }

    fn say(&mut self, message: Message) {
        self.live.say(message);
    }
}
