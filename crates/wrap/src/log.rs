//! Where messages go, and the words around them. Decides prefixes, severities and that no control byte gets into a log.

use hosts_access::{Message, Place, Which};
use std::ffi::CStr;

/// `error: …` and `warning: …`.
pub const ERR: i32 = 3;
/// Refusals, unless a rule says otherwise.
pub const WARNING: i32 = 4;
/// IP options.
pub const NOTICE: i32 = 5;
/// Connections, unless a rule says otherwise.
pub const INFO: i32 = 6;
/// `matched: …` and `option: …`.
pub const DEBUG: i32 = 7;

/// Takes lines for the log. `priority` is a severity, with a facility or without (then it is the program's own).
pub trait Log {
    /// One line; what arrives here holds no control byte.
    fn line(&mut self, priority: i32, text: &[u8]);
}

/// The system log, under the name and facility that the program gave to openlog(3).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLog;

/// Facility `daemon`.
const DAEMON: i32 = 3 << 3;

impl SystemLog {
    /// As tcpd logs: `name` with the process number, facility daemon. Once in a process.
    pub fn open(name: &CStr) {
        portreeve_sys::libc_syslog::open(name, DAEMON);
    }

    /// Before another program is executed; a line after it carries the last part of argv\[0\], as the original's does.
    pub fn close() {
        portreeve_sys::libc_syslog::close();
    }
}

impl Log for SystemLog {
    fn line(&mut self, priority: i32, text: &[u8]) {
        portreeve_sys::libc_syslog::log(priority, text);
    }
}

/// The paths of both tables, as messages name them.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// `hosts.allow`.
    pub allow: &'a [u8],
    /// `hosts.deny`.
    pub deny: &'a [u8],
}

impl<'a> Paths<'a> {
    /// The paths of these tables.
    #[must_use]
    pub fn of(tables: &hosts_access::Tables<'a>) -> Self {
        Self { allow: tables.allow.path, deny: tables.deny.path }
    }

    /// The path of one table.
    #[must_use]
    pub fn path(&self, which: Which) -> &'a [u8] {
        match which {
            Which::Allow => self.allow,
            Which::Deny => self.deny,
        }
    }

    /// The severity and the whole line of a message, escaped.
    #[must_use]
    pub fn line(&self, message: &Message) -> (i32, Vec<u8>) {
        let severity = match message {
            Message::Warning(..) | Message::Error(..) => ERR,
            _ => DEBUG,
        };
        (severity, escaped(&self.text(message)))
    }

    /// The whole line of a message as it is; whoever shows it takes care of control bytes.
    #[must_use]
    pub fn text(&self, message: &Message) -> Vec<u8> {
        match message {
            Message::Warning(place, text) => self.placed(b"warning: ", *place, text),
            Message::Error(place, text) => self.placed(b"error: ", *place, text),
            Message::Matched(place) => {
                let line = place.line.to_string();
                [b"matched:  ", self.path(place.which), b" line ", line.as_bytes()].concat()
            }
            Message::Option(key, value) => [b"option:   ", &key[..], b" ", value].concat(),
            _ => Vec::new(),
        }
    }

    fn placed(&self, kind: &[u8], place: Option<Place>, text: &[u8]) -> Vec<u8> {
        let Some(place) = place else { return [kind, text].concat() };
        let line = place.line.to_string();
        [kind, self.path(place.which), b", line ", line.as_bytes(), b": ", text].concat()
    }
}

/// The text with every control byte as `\xNN`: nobody writes lines of their own into a log.
#[must_use]
pub fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_control() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_worded_as_ever() {
        let paths = Paths { allow: b"/etc/hosts.allow", deny: b"/etc/hosts.deny" };
        let place = Some(Place { which: Which::Deny, line: 3 });
        for (message, wanted) in [
            (
                Message::Warning(place, b"missing \":\" separator".to_vec()),
                (ERR, "warning: /etc/hosts.deny, line 3: missing \":\" separator"),
            ),
            (Message::Warning(None, b"a\nb\x7f".to_vec()), (ERR, "warning: a\\x0ab\\x7f")),
            (
                Message::Error(place, b"bad option name: \"bogus\"".to_vec()),
                (ERR, "error: /etc/hosts.deny, line 3: bad option name: \"bogus\""),
            ),
            (
                Message::Matched(Place { which: Which::Allow, line: 1 }),
                (DEBUG, "matched:  /etc/hosts.allow line 1"),
            ),
            (Message::Option(b"allow".to_vec(), b"".to_vec()), (DEBUG, "option:   allow ")),
        ] {
            let (severity, line) = paths.line(&message);
            assert_eq!((severity, line.as_slice()), (wanted.0, wanted.1.as_bytes()));
        }
    }
}
