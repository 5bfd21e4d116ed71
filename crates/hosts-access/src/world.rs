//! What an evaluation asks of its surroundings, and what it orders there.

use crate::field::Field;
use crate::message::Message;
use crate::request::Request;

/// An answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The answer; for a name that does not exist `unknown`, for one that contradicts itself `paranoid`.
    Known(T),
    /// It could not be asked (a queue is full, a deadline passed): where it could change the verdict, the client is refused.
    Unavailable,
    /// Not yet: the evaluation ends with [`crate::Verdict::Pending`].
    Pending,
}

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The end that asks.
    Client,
    /// Our end.
    Server,
}

/// What became of a `/file` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListFile<T> {
    /// Its bytes.
    Bytes(T),
    /// No such file, or a directory: nothing matches, silently.
    Absent,
    /// It cannot be opened: nothing matches, with a warning. The system's word.
    Unreadable(String),
    /// Larger than the world reads: the table is in error.
    TooLarge,
}

/// What a matched rule orders, in its order; values are expanded and checked. Reference A7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Run a shell command beside the server, and wait for it.
    Spawn(Vec<u8>),
    /// Run a shell command instead of the server; always the last act.
    Twist(Vec<u8>),
    /// Run a shell command and ask its exit status whether the rule stands.
    Aclexec(Vec<u8>),
    /// Send the expanded file of this directory that is named as the daemon.
    Banners(Vec<u8>),
    /// Log with this facility (as in `<syslog.h>`, shifted; 0: the program's own) and severity from now on.
    Severity(i32),
    /// SO_KEEPALIVE.
    Keepalive,
    /// SO_LINGER, seconds.
    Linger(i32),
    /// nice(2).
    Nice(i32),
    /// Set an environment variable.
    Setenv(Vec<u8>, Vec<u8>),
    /// umask(2).
    Umask(u32),
    /// Become this user, in this group if one is named: groups first.
    User {
        /// Login name.
        name: Vec<u8>,
        /// Group name.
        group: Option<Vec<u8>>,
    },
    /// Become this group.
    Group(Vec<u8>),
}

/// What became of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Done, or it failed in a way the original only warns of (the world has said so).
    Done,
    /// It is wrong (`unknown user: "x"`): an error of the rule, the client is refused. The original's text.
    Wrong(Vec<u8>),
    /// `aclexec` only: the command did not exit with 0.
    Refused,
    /// `aclexec` only: it could not be run or did not end in time; the client is refused.
    Unavailable,
    /// `aclexec` only: not yet.
    Pending,
}

/// The surroundings of one evaluation.
pub trait World {
    /// Which line the questions and acts that follow belong to, for the world's own warnings; none outside of the tables.
    fn at(&mut self, place: Option<crate::table::Place>) {
        let _ = place;
    }
    /// The host name of one end, forward-confirmed (reference A11), `unknown` or `paranoid`. Asked at most once per end.
    fn name(&mut self, end: End, request: &Request) -> Answer<Field>;
    /// The user at the client's end by ident, or `unknown`; `timeout` in seconds if the rule sets one.
    fn user(&mut self, request: &Request, timeout: Option<u32>) -> Answer<Field>;
    /// Whether `host` is a member of `group`.
    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool>;
    /// The bytes of a `/file` list.
    fn list(&mut self, path: &[u8]) -> ListFile<std::borrow::Cow<'_, [u8]>>;
    /// Whether there is a network interface of this name: `[fe80::1%eth7]` and an address with such a scope are no addresses
    /// otherwise. A world that cannot know says yes.
    fn is_interface(&mut self, name: &[u8]) -> bool {
        let _ = name;
        true
    }
    /// Does, or notes, what the rule orders.
    fn act(&mut self, act: &Act, request: &mut Request) -> Done;
    /// A message for the log.
    fn say(&mut self, message: Message);
}
