//! What hosts.allow and hosts.deny of this machine would say to a client: the evaluation itself, in a world in which nobody is
//! asked and nothing is done.

use crate::hosts_tables::{DEFAULT, HostsTables, list};
use hosts_access::{
    Act, Answer, Done, End, Field, Host, ListFile, Message, Request, Settings, Verdict, Which, Why, World,
    explain,
};
use portreeve_policy::{Cause, Origin, Tables};
use portreeve_sys::names::address_text;
use std::borrow::Cow;
use std::net::SocketAddr;

/// Asks the tables about a client from `peer`, who comes to `local`, of the daemon of this name; their word, and why.
pub(crate) fn ask(daemon: &str, peer: SocketAddr, local: Option<SocketAddr>) -> (Tables, String) {
    let files = HostsTables::of_this_machine();
    let end = |address: Option<SocketAddr>| Host {
        name: Field::EMPTY,
        addr: address
            .and_then(|address| address_text(address).ok())
            .map_or(Field::from("unknown"), |text| Field::new(&text)),
        socket: address,
    };
    let mut request = Request {
        daemon: Field::from(daemon),
        client: end(Some(peer)),
        server: end(local),
        ..Request::default()
    };
    let mut world = Onlooker { wants: "an answer" };
    let settings = Settings { options: true, verbose: 0, resident: false };
    let found = explain(&files.tables(), &mut request, &mut world, &settings);
    let decision = found.decision;
    let [allow, deny] = DEFAULT;
    let rule = decision.by.map(|place| {
        let path = if place.which == Which::Allow { allow } else { deny };
        Origin { file: path.into(), line: place.line }
    });
    let step = found.steps.iter().rev().find(|step| Some(step.place) == decision.by);
    let text =
        step.map(|step| format!("`{}`", String::from_utf8_lossy(&step.rule).trim())).unwrap_or_default();
    let why = match (decision.verdict, decision.why) {
        (Verdict::Pending, _) => {
            return (Tables::NotAsked, format!("as {daemon}: it hangs on {}", world.wants));
        }
        (Verdict::Granted, Why::NoRule) => "no rule matches".to_owned(),
        (Verdict::Delegated, _) => format!("{text} answers instead of the service"),
        (_, Why::BadOption) => format!("an option of {text} is wrong"),
        (_, Why::BrokenTable) => "the table cannot be read beyond this line".to_owned(),
        _ => format!("{text} matches"),
    };
    let tables = match decision.verdict {
        Verdict::Denied => Tables::Refused(Cause::HostsTables, rule),
        _ => Tables::Granted,
    };
    (tables, format!("as {daemon}: {why}"))
}

/// Knows addresses only, and says of the rest what it would have to ask.
struct Onlooker {
    wants: &'static str,
}

impl Onlooker {
    fn pending<T>(&mut self, what: &'static str) -> Answer<T> {
        self.wants = what;
        Answer::Pending
    }
}

impl World for Onlooker {
    fn name(&mut self, end: End, _: &Request) -> Answer<Field> {
        self.pending(match end {
            End::Client => "the client's host name",
            End::Server => "our own host name",
        })
    }

    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        self.pending("the client's user")
    }

    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        self.pending("a netgroup")
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        portreeve_sys::names::is_interface(name)
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        match list(path) {
            ListFile::Bytes(bytes) => ListFile::Bytes(Cow::Owned(bytes)),
            ListFile::Absent => ListFile::Absent,
            ListFile::Unreadable(why) => ListFile::Unreadable(why),
            ListFile::TooLarge => ListFile::TooLarge,
        }
    }

    fn act(&mut self, act: &Act, _: &mut Request) -> Done {
        match act {
            Act::Aclexec(_) => {
                self.wants = "the exit status of an aclexec command";
                Done::Pending
            }
            // Somebody may have no such user; then the rule refuses.
            Act::User { .. } | Act::Group(_) => {
                self.wants = "a user or group";
                Done::Pending
            }
            _ => Done::Done,
        }
    }

    fn say(&mut self, _: Message) {}
}
