//! What one evaluation sees and orders: it answers from what is known of the client, notes the first thing that is not
//! known yet, and gathers what a matched rule orders. Asks nobody and does nothing.

use super::known::{Known, Want};
use super::lists::Lists;
use hosts_access::{
    Act, Answer, Done, End, ExpandError, Field, ListFile, Message, Place, Request, World, banner, expand,
};
use portreeve_sys::process;
use portreeve_sys::spawn::Ids;
use portreeve_workers::protocol::{self, Question};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The time that a rule gives an ident server where it says nothing (reference tcp-wrappers, build switches).
const IDENT_SECONDS: u32 = 10;

/// Most bytes of a banner file that are sent: what a fresh socket takes without waiting.
const LONGEST_BANNER: usize = 64 * 1024;

/// The surroundings.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Lists that rules name.
    pub lists: &'a mut Lists,
    /// What was found out so far.
    pub known: &'a Known,
    /// The line that is evaluated.
    pub place: Option<Place>,
    /// Nobody can be asked (a datagram's claimed sender): whatever is not known is unavailable.
    pub alone: bool,
    /// The ids that the service has; `None` when it keeps the supervisor's.
    pub ids: Option<Ids>,
    /// Whether the supervisor may change ids.
    pub root: bool,
    /// The first thing that is not known and must be asked for.
    pub want: Option<Want>,
    /// What could not be asked for, in words.
    pub lacking: Option<&'static str>,
    /// What the rule orders, in its order.
    pub acts: Vec<Act>,
    /// The ids that the rule orders.
    pub become_ids: Option<Ids>,
    /// What banners came to.
    pub banners: Vec<u8>,
    /// What is to be logged.
    pub said: Vec<Message>,
    /// Whether a list was looked at.
    pub listed: bool,
}

impl<'a> Surroundings<'a> {
    /// Around a client of a service that has these `ids`.
    pub fn new(lists: &'a mut Lists, known: &'a Known, alone: bool, ids: Option<Ids>) -> Self {
        Self {
            lists,
            known,
            place: None,
            alone,
            ids,
            root: process::is_root(),
            want: None,
            lacking: None,
            acts: Vec::new(),
            become_ids: None,
            banners: Vec::new(),
            said: Vec::new(),
            listed: false,
        }
    }
}

impl Surroundings<'_> {
    /// The answer, if it is known; otherwise what to ask is noted.
    fn or_ask<T>(&mut self, known: Option<Answer<T>>, want: Want, what: &'static str) -> Answer<T> {
        match known {
            Some(Answer::Unavailable) => {
                self.lacking = Some(what);
                Answer::Unavailable
            }
            Some(answer) => answer,
            None if self.alone => {
                self.lacking = Some(what);
                Answer::Unavailable
            }
            None => {
                self.want.get_or_insert(want);
                Answer::Pending
            }
        }
    }

    fn entry(&mut self, question: Question) -> Result<protocol::Answer, Done> {
        match self.known.entry(&question) {
            Some(protocol::Answer::Unavailable) => Err(self.unavailable("a user or group")),
            Some(answer) => Ok(answer.clone()),
            None if self.alone => Err(self.unavailable("a user or group")),
            None => {
                self.want.get_or_insert(Want::Entry(question));
                Err(Done::Pending)
            }
        }
    }

    fn unavailable(&mut self, what: &'static str) -> Done {
        self.lacking = Some(what);
        Done::Unavailable
    }

    fn aclexec(&mut self, command: &[u8]) -> Done {
        match self.known.command(command) {
            Some(Done::Unavailable) => self.unavailable("an aclexec command"),
            Some(done) => done.clone(),
            None if self.alone => self.unavailable("an aclexec command"),
            None => {
                self.want.get_or_insert(Want::Command(command.to_vec()));
                Done::Pending
            }
        }
    }

    /// The file of this directory that is named as the daemon, expanded (reference tcp-wrappers A9).
    fn banners(&mut self, directory: &[u8], request: &mut Request) -> Done {
        let path = [directory, b"/", request.daemon.as_bytes()].concat();
        let content = match self.lists.read(&path) {
            ListFile::Bytes(bytes) => bytes.into_owned(),
            // Only a directory that is not there is worth a word.
            ListFile::Absent if Path::new(OsStr::from_bytes(directory)).is_dir() => return Done::Done,
            ListFile::Absent => return self.no_banner(directory, "No such file or directory"),
            ListFile::Unreadable(why) => return self.no_banner(&path, &why),
            ListFile::TooLarge => return self.no_banner(&path, "File too large"),
        };
        let text = content.get(..LONGEST_BANNER).unwrap_or(&content);
        let place = self.place;
        match banner(text, |line| expand(line, request, self, place)) {
            Ok(bytes) => self.banners.extend(bytes),
            Err(ExpandError::Pending) => return Done::Pending,
            Err(ExpandError::TooLong(text)) => self.said.push(Message::Warning(place, text)),
        }
        Done::Done
    }

    fn no_banner(&mut self, path: &[u8], why: &str) -> Done {
        let text = [b"open ", path, b": ", why.as_bytes()].concat();
        self.said.push(Message::Warning(self.place, text));
        Done::Done
    }

    /// `user NAME[.GROUP]` and `group NAME`: the ids are looked up now and taken in the child, groups first. The manual's
    /// meaning, not Debian's (reference tcp-wrappers A7): see docs/guide/differences.md.
    fn become_whom(&mut self, user: Option<&[u8]>, group: Option<&[u8]>) -> Result<(), Done> {
        let wrong = |what: &str, name: &[u8]| {
            Done::Wrong(format!("unknown {what}: \"{}\"", String::from_utf8_lossy(name)).into_bytes())
        };
        let mut ids = self.become_ids.clone().or_else(|| self.ids.clone());
        if let Some(name) = user {
            let text = std::str::from_utf8(name).map_err(|_| wrong("user", name))?.to_owned();
            let protocol::Answer::User { uid, gid, name: login } = self.entry(Question::User(text))? else {
                return Err(wrong("user", name));
            };
            let groups = match self.entry(Question::GroupsOf(login, gid))? {
                protocol::Answer::Groups(groups) => groups,
                _ => vec![gid],
            };
            ids = Some(Ids { uid, gid, groups });
        }
        if let Some(name) = group {
            let text = std::str::from_utf8(name).map_err(|_| wrong("group", name))?.to_owned();
            let protocol::Answer::Group(gid) = self.entry(Question::Group(text))? else {
                return Err(wrong("group", name));
            };
            let own = process::euid();
            let ids = ids.get_or_insert(Ids { uid: own, gid, groups: Vec::new() });
            ids.gid = gid;
        }
        // The original is the service's user by then, and only root may become another.
        let service_is_root = self.root && self.ids.as_ref().is_none_or(|ids| ids.uid == 0);
        if ids != self.ids && !service_is_root {
            let name = user.or(group).unwrap_or_default();
            let call = if user.is_some() { "setuid" } else { "setgid" };
            let text = format!("{call}({}): Operation not permitted", String::from_utf8_lossy(name));
            return Err(Done::Wrong(text.into_bytes()));
        }
        self.become_ids = ids;
        Ok(())
    }
}

impl World for Surroundings<'_> {
    fn at(&mut self, place: Option<Place>) {
        self.place = place;
    }

    fn name(&mut self, end: End, _: &Request) -> Answer<Field> {
        let what = match end {
            End::Client => "the client's host name",
            End::Server => "our own host name",
        };
        self.or_ask(self.known.name(end), Want::Name(end), what)
    }

    fn user(&mut self, request: &Request, timeout: Option<u32>) -> Answer<Field> {
        if request.client.socket.is_none() || request.server.socket.is_none() {
            return Answer::Known(Field::from("unknown"));
        }
        let want = Want::User(timeout.unwrap_or(IDENT_SECONDS));
        self.or_ask(self.known.user(), want, "the client's user")
    }

    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        // What is no text is no name of a netgroup or host of this system's databases.
        let (Ok(group), Ok(host)) = (std::str::from_utf8(group), std::str::from_utf8(host)) else {
            return Answer::Known(false);
        };
        let want = Want::Netgroup(group.to_owned(), host.to_owned());
        self.or_ask(self.known.netgroup(group, host), want, "a netgroup")
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        portreeve_sys::names::is_interface(name)
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        self.listed = true;
        self.lists.read(path)
    }

    fn act(&mut self, act: &Act, request: &mut Request) -> Done {
        match act {
            Act::Banners(directory) => return self.banners(directory, request),
            Act::Aclexec(command) => return self.aclexec(command),
            Act::User { name, group } => {
                if let Err(done) = self.become_whom(Some(name), group.as_deref()) {
                    return done;
                }
            }
            Act::Group(name) => {
                if let Err(done) = self.become_whom(None, Some(name)) {
                    return done;
                }
            }
            _ => {}
        }
        self.acts.push(act.clone());
        Done::Done
    }

    fn say(&mut self, message: Message) {
        self.said.push(message);
    }
}
