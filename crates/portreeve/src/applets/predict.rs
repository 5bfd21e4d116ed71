//! What an evaluation asks and orders when nothing is to be done: names are looked up, netgroups and lists are read,
//! banners are shown, and nothing is run or changed (reference A13). Decides no verdict.

use super::notice::Notice;
use hosts_access::{
    Act, Answer, Decision, Done, End, ExpandError, Field, ListFile, Message, Place, Request, Why, World,
    banner, expand,
};
use portreeve_sys::names;
use portreeve_sys::source::{Source, reason};
use portreeve_wrap::live::read_list;
use portreeve_wrap::log::Paths;
use portreeve_wrap::privilege;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest banner that is shown, in bytes.
const LONGEST_BANNER: usize = 1 << 20;

/// The tables of the system.
pub(super) const SYSTEM: Paths<'static> = Paths { allow: b"/etc/hosts.allow", deny: b"/etc/hosts.deny" };
/// Those of the working directory.
pub(super) const HERE: Paths<'static> = Paths { allow: b"hosts.allow", deny: b"hosts.deny" };

/// The surroundings of a prediction.
pub(super) struct Predict<'n, 'o> {
    notice: &'n mut Notice<'o>,
    tables: Paths<'static>,
    /// The line that is being evaluated.
    place: Option<Place>,
    /// An `allow` or `deny` option was the last one: the evaluation ended in the middle of a rule.
    cut_short: bool,
}

impl<'n, 'o> Predict<'n, 'o> {
    /// Tells what happens through `notice`.
    pub(super) fn new(notice: &'n mut Notice<'o>, tables: Paths<'static>) -> Self {
        Self { notice, tables, place: None, cut_short: false }
    }

    /// Ends an evaluation. One that `allow`, `deny` or an error ended leaves its line behind as the context of all later
    /// diagnostics, whatever they are about (reference A12).
    pub(super) fn end(self, decision: &Decision) {
        if let Some(place) = decision.by
            && (self.cut_short || decision.why == Why::BadOption)
        {
            self.notice.context = Some((self.tables.path(place.which).to_vec(), place.line));
        }
    }

    /// Shows the banner of the daemon, as the client would get it.
    fn banner(&mut self, directory: &[u8], request: &mut Request) {
        let path = [directory, b"/", request.daemon.as_bytes()].concat();
        let text = match Source::open(Path::new(OsStr::from_bytes(&path))) {
            Ok(Source::Readable(file)) => file.read(LONGEST_BANNER),
            Ok(Source::Directory(_)) => return,
            // A daemon needs no banner of its own; the directory must be there.
            Ok(Source::Missing) | Err(_) => {
                if let Err(error) = std::fs::metadata(OsStr::from_bytes(directory)) {
                    self.warn([directory, b": ", reason(&error).as_bytes()].concat());
                }
                return;
            }
        };
        let place = self.place;
        let shown = match text {
            Ok(text) => banner(&text, |line| expand(line, request, self, place)),
            Err(error) => return self.warn([&path, &b": "[..], reason(&error).as_bytes()].concat()),
        };
        match shown {
            Ok(shown) => self.notice.put(&shown),
            Err(ExpandError::TooLong(text)) => self.warn(text),
            // This world knows everything at once.
            Err(ExpandError::Pending) => {}
        }
    }

    fn warn(&mut self, text: Vec<u8>) {
        self.say(Message::Warning(self.place, text));
    }
}

impl World for Predict<'_, '_> {
    fn at(&mut self, place: Option<Place>) {
        self.place = place;
    }

    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        // The name of an end that has an address is known before; without one there is nobody to ask about.
        Answer::Known(Field::from(super::hosts::UNKNOWN))
    }

    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        // There is no connection that ident could be asked about.
        Answer::Known(Field::from(super::hosts::UNKNOWN))
    }

    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        Answer::Known(names::in_netgroup(group, host).unwrap_or(false))
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        read_list(path)
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        names::is_interface(name)
    }

    fn act(&mut self, act: &Act, request: &mut Request) -> Done {
        let done = match act {
            Act::Banners(directory) => {
                self.banner(directory, request);
                Ok(())
            }
            // The accounts must exist; their ids are not taken (reference A7).
            Act::User { name, group } => privilege::check(name, group.as_deref()),
            Act::Group(name) => privilege::group_id(name).map(drop),
            _ => Ok(()),
        };
        done.map_or_else(Done::Wrong, |()| Done::Done)
    }

    fn say(&mut self, message: Message) {
        self.cut_short = matches!(&message, Message::Option(key, _)
            if key.eq_ignore_ascii_case(b"allow") || key.eq_ignore_ascii_case(b"deny"));
        let (text, kind) = match &message {
            Message::Warning(None, text) => (text, "warning"),
            Message::Error(None, text) => (text, "error"),
            message => return self.notice.line(&[&self.tables.text(message)]),
        };
        // What belongs to no line gets the one that was left behind.
        let context = self.notice.context.clone();
        self.notice.tell(kind, context.as_ref(), &[text]);
    }
}

/// Writes to standard error what a tool cannot go on without.
pub(super) fn complain(notice: &mut Notice<'_>, parts: &[&[u8]]) {
    notice.flush();
    // Nothing can be done about a standard error that fails.
    let _ = std::io::stderr().write_all(&parts.concat());
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosts_access::{Host, Verdict, Which};

    #[test]
    fn ident_is_not_asked() {
        // Both ends have addresses, so that there would be somebody to ask.
        let end = Host { socket: "127.0.0.1:0".parse().ok(), ..Host::default() };
        let request = Request { client: end.clone(), server: end, ..Request::default() };
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        let user = Predict::new(&mut notice, HERE).user(&request, Some(10));
        assert_eq!(user, Answer::Known(Field::from("unknown")));
    }

    #[test]
    fn an_evaluation_that_was_cut_short_leaves_its_line_behind() {
        let place = Place { which: Which::Deny, line: 7 };
        for (key, why, wanted) in [
            ("allow", Why::Rule, "warning: hosts.deny, line 7: later\n"),
            ("spawn", Why::Rule, "warning: later\n"),
            ("spawn", Why::BadOption, "warning: hosts.deny, line 7: later\n"),
        ] {
            let mut sink = Vec::new();
            let mut notice = Notice::new(&mut sink, false);
            let mut world = Predict::new(&mut notice, HERE);
            world.say(Message::Option(key.as_bytes().to_vec(), Vec::new()));
            world.end(&Decision { verdict: Verdict::Denied, why, by: Some(place) });
            notice.warn(&[b"later"]);
            notice.end().unwrap();
            assert!(String::from_utf8(sink).unwrap().ends_with(wanted), "{key} {why:?}");
        }
    }
}
