//! The machine on which TCP Wrappers was recorded, as far as names with one address go: what it answers, and what it would
//! have logged.
#![allow(unreachable_pub, dead_code, reason = "each test file uses a part")]

use hosts_access::{
    Act, Answer, Done, End, Field, ListFile, Message, Place, Request, Which, World, banner, expand,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The recording's `/etc/hosts`: what has one name and one address.
pub const HOSTS: &[(&str, &str)] = &[
    ("127.0.0.1", "localhost"),
    ("::1", "ip6-localhost"),
    ("10.1.2.3", "alpha.example.com"),
    ("10.1.2.4", "beta.example.com"),
    ("10.1.3.5", "gamma.sub.example.com"),
    ("192.168.7.7", "trusted"),
    ("192.168.7.8", "printer"),
    ("203.0.113.9", "evil.example.net"),
    ("198.51.100.10", "www.example.org"),
    ("2001:db8::10", "six.example.com"),
    ("10.9.9.40", "MixedCase.Example.COM"),
];

/// What the cases were recorded on.
pub struct Machine<'a> {
    files: BTreeMap<&'a str, Vec<u8>>,
    dirs: BTreeSet<String>,
    place: Option<Place>,
    /// What it would have logged, a line each, and the banners between.
    pub said: Vec<u8>,
    /// Of an allowed and of a refused connection.
    pub severities: [i32; 2],
    /// Whether a command answers instead of the server.
    pub twisted: bool,
    /// The driver has no client to send a banner to.
    connected: bool,
}

fn prefix(place: Option<Place>) -> String {
    let file = |which| if which == Which::Allow { "hosts.allow" } else { "hosts.deny" };
    place.map_or_else(String::new, |place| format!("{}, line {}: ", file(place.which), place.line))
}

impl<'a> Machine<'a> {
    /// With these files and directories.
    pub fn new(files: BTreeMap<&'a str, Vec<u8>>, named: &[&str], connected: bool) -> Self {
        let mut dirs = BTreeSet::new();
        for path in named.iter().chain(files.keys()) {
            let parents = Path::new(path).ancestors().skip(usize::from(files.contains_key(path)));
            dirs.extend(parents.map(|dir| dir.to_str().unwrap().to_owned()));
        }
        Self { files, dirs, place: None, said: Vec::new(), severities: [6, 4], twisted: false, connected }
    }

    /// The name of an address.
    pub fn name_of(&self, address: &[u8]) -> Field {
        // Its name leads to another one.
        if address == b"10.9.9.9" {
            return Field::from("paranoid");
        }
        let found = HOSTS.iter().find(|(known, _)| known.as_bytes() == address);
        Field::from(found.map_or("unknown", |(_, name)| *name))
    }
}

impl World for Machine<'_> {
    fn at(&mut self, place: Option<Place>) {
        self.place = place;
    }
    fn name(&mut self, end: End, request: &Request) -> Answer<Field> {
        // Without sockets nothing is looked up; the tools set names before.
        let host = if end == End::Client { &request.client } else { &request.server };
        Answer::Known(host.socket.map_or(Field::from("unknown"), |_| self.name_of(host.address())))
    }
    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }
    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        let trusted = |host: &[u8]| [&b"trusted"[..], b"alpha.example.com"].contains(&host);
        Answer::Known(match group {
            b"trustedhosts" => trusted(host),
            b"nested" => trusted(host) || host == b"beta.example.com",
            b"anyhost" | b"users" => true,
            b"onlydom" => host == b"trusted",
            _ => false,
        })
    }
    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        let path = std::str::from_utf8(path).unwrap_or("/no/such");
        let below = |file: &&str| path.starts_with(&format!("{file}/"));
        match self.files.get(path) {
            Some(bytes) => ListFile::Bytes(Cow::Borrowed(bytes)),
            None if self.files.keys().any(below) => ListFile::Unreadable("Not a directory".to_owned()),
            None => ListFile::Absent,
        }
    }
    fn is_interface(&mut self, name: &[u8]) -> bool {
        name == b"lo"
    }
    fn act(&mut self, act: &Act, request: &mut Request) -> Done {
        match act {
            Act::Severity(code) => self.severities = [*code; 2],
            Act::Twist(_) => self.twisted = true,
            Act::Banners(dir) => {
                let dir = String::from_utf8(dir.clone()).unwrap();
                let file = format!("{dir}/{}", String::from_utf8_lossy(request.daemon.as_bytes()));
                if let Some(content) = self.files.get(file.as_str()).cloned() {
                    let place = self.place;
                    let sent = banner(&content, |text| expand(text, request, self, place)).unwrap();
                    if self.connected {
                        self.said.extend(sent);
                    }
                } else if !self.dirs.contains(&dir) {
                    let place = prefix(self.place);
                    self.said.extend(format!("warning: {place}{dir}: No such file or directory\n").bytes());
                }
            }
            Act::User { group: Some(group), .. } | Act::Group(group) => {
                return Done::Wrong([b"unknown group: \"".as_slice(), group, b"\""].concat());
            }
            Act::User { name, group: None } => {
                return Done::Wrong([b"unknown user: \"".as_slice(), name, b"\""].concat());
            }
            _ => {}
        }
        Done::Done
    }
    fn say(&mut self, message: Message) {
        let line = message.line(|which| if which == Which::Allow { b"hosts.allow" } else { b"hosts.deny" });
        self.said.extend(line);
        self.said.push(b'\n');
    }
}
