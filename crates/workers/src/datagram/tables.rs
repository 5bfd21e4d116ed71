//! hosts.allow and hosts.deny for datagrams: the texts that the supervisor sent, asked for each one. Nobody can be asked for a
//! name here and no command is run, so whatever hangs on one is refused (`Unavailable`, design §2).

use crate::protocol::TableSent;
use hosts_access::{
    Act, Answer, Content, Done, End, Field, Host, ListFile, Message, Request, Settings, Table, Verdict, Why,
    World, evaluate,
};
use portreeve_policy::{Cause, Tables};
use portreeve_sys::names::address_text;
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// The texts; before the first ones everybody is refused.
#[derive(Debug)]
pub(crate) struct Texts {
    allow: Text,
    deny: Text,
}

#[derive(Debug)]
enum Text {
    Missing,
    Unreadable,
    Is(Vec<u8>),
}

impl Default for Texts {
    fn default() -> Self {
        Texts { allow: Text::Unreadable, deny: Text::Unreadable }
    }
}

impl Texts {
    /// Reads both from the file that came with the message.
    pub(crate) fn read(file: OwnedFd, allow: TableSent, deny: TableSent) -> Self {
        let mut file = File::from(file);
        let mut take = |sent| match sent {
            TableSent::Missing => Text::Missing,
            TableSent::Unreadable => Text::Unreadable,
            TableSent::Text(length) => {
                let mut text = vec![0; length as usize];
                if file.read_exact(&mut text).is_ok() { Text::Is(text) } else { Text::Unreadable }
            }
        };
        Texts { allow: take(allow), deny: take(deny) }
    }

    /// What the tables say of a datagram from `source` to the daemon of this name.
    pub(crate) fn ask(&self, daemon: &str, source: SocketAddr, local: Option<SocketAddr>) -> Tables {
        // A table that is there and was not sent may refuse, or grant to few, whomever it likes.
        let (Some(allow), Some(deny)) = (self.allow.content(), self.deny.content()) else {
            return Tables::Refused(Cause::HostsUnavailable, None);
        };
        let tables = hosts_access::Tables {
            allow: Table { path: b"/etc/hosts.allow", content: allow },
            deny: Table { path: b"/etc/hosts.deny", content: deny },
        };
        let end = |address: Option<SocketAddr>| Host {
            name: Field::EMPTY,
            addr: address
                .and_then(|address| address_text(address).ok())
                .map_or(Field::from("unknown"), |text| Field::new(&text)),
            socket: address,
        };
        let mut request = Request {
            daemon: Field::from(daemon),
            user: Field::EMPTY,
            pid: std::process::id(),
            client: end(Some(source)),
            server: end(local),
        };
        let mut world = Nobody { lacking: false, missed: false };
        let settings = Settings { options: true, verbose: 0, resident: false };
        let decision = evaluate(&tables, &mut request, &mut world, &settings);
        match decision.verdict {
            _ if world.lacking || decision.why == Why::Unavailable => {
                Tables::Refused(Cause::HostsUnavailable, None)
            }
            Verdict::Granted => Tables::Granted,
            _ if world.missed => Tables::Refused(Cause::HostsUnavailable, None),
            _ => Tables::Refused(Cause::HostsTables, None),
        }
    }
}

impl Text {
    fn content(&self) -> Option<Content<'_>> {
        match self {
            Text::Missing => Some(Content::Missing),
            Text::Unreadable => None,
            Text::Is(text) => Some(Content::Text(text)),
        }
    }
}

/// A world in which nobody can be asked and nothing is done.
struct Nobody {
    /// The verdict may hang on what could not even be looked at.
    lacking: bool,
    /// Something was asked for in vain.
    missed: bool,
}

impl World for Nobody {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        self.missed = true;
        Answer::Unavailable
    }

    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        // No connection, no user: as in the original.
        Answer::Known(Field::from("unknown"))
    }

    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        self.missed = true;
        Answer::Unavailable
    }

    fn list(&mut self, _: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        self.lacking = true;
        ListFile::Absent
    }

    fn act(&mut self, act: &Act, _: &mut Request) -> Done {
        match act {
            Act::Aclexec(_) => Done::Unavailable,
            _ => Done::Done,
        }
    }

    fn say(&mut self, _: Message) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(allow: &str, deny: &str, source: &str) -> Tables {
        let texts = Texts { allow: Text::Is(allow.into()), deny: Text::Is(deny.into()) };
        texts.ask("echo", source.parse().unwrap(), None)
    }

    #[test]
    fn what_cannot_be_asked_refuses_where_it_could_decide() {
        let granted = |allow, deny| matches!(asked(allow, deny, "192.0.2.1:7000"), Tables::Granted);
        let lacks = |allow, deny| {
            matches!(asked(allow, deny, "192.0.2.1:7000"), Tables::Refused(Cause::HostsUnavailable, _))
        };
        assert!(granted("", ""));
        assert!(granted("echo: 192.0.2.0/24\n", "ALL: ALL\n"));
        assert!(!granted("echo: 192.0.2.2\n", "ALL: ALL\n"));
        assert!(granted("", "time: ALL\n"));
        assert!(lacks("", "ALL: .evil.example\n"));
        assert!(lacks("ALL: ALL EXCEPT .evil.example\n", "ALL: ALL\n"));
        assert!(granted("ALL: ALL EXCEPT .evil.example\n", ""), "granted whatever the name is");
        assert!(lacks("ALL: /etc/list\n", "ALL: ALL\n"));
        assert!(lacks("ALL: ALL : aclexec true\n", ""));
        assert!(lacks("ALL: @group\n", "ALL: ALL\n"));
        assert!(matches!(
            Texts::default().ask("echo", "192.0.2.1:7".parse().unwrap(), None),
            Tables::Refused(..)
        ));
    }
}
