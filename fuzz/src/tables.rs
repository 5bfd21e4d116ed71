//! The surroundings of the tables' language: a request and a world whose answers come from the input.

use hosts_access::{Act, Answer, Done, End, Field, ListFile, Message, Request, World};
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

/// Four parts of an input, parted by the byte 0xff.
pub fn parts(input: &[u8]) -> [&[u8]; 4] {
    let mut parts = input.splitn(4, |byte| *byte == 0xff);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// A request: daemon, address, user and name, one a line.
pub fn request(who: &[u8]) -> Request {
    let mut lines = who.split(|byte| *byte == b'\n').map(Field::new);
    let mut next = || lines.next().unwrap_or_default();
    let mut request = Request { daemon: next(), pid: 1, ..Request::default() };
    request.client.addr = next();
    request.user = next();
    request.client.name = next();
    request.server.socket = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 22)));
    request
}

/// A world that answers by the bytes of the input, one after the other, and then no more.
pub struct AnyWorld<'a> {
    answers: &'a [u8],
    list: &'a [u8],
    /// How many names were asked for.
    pub names: u32,
    /// How many users were asked for.
    pub users: u32,
}

impl<'a> AnyWorld<'a> {
    /// Every `/file` holds `list`.
    pub fn new(answers: &'a [u8], list: &'a [u8]) -> Self {
        Self { answers, list, names: 0, users: 0 }
    }

    fn draw<T>(&mut self, known: impl FnOnce(u8) -> T) -> Answer<T> {
        let (first, rest) = self.answers.split_first().unwrap_or((&b'x', &[]));
        self.answers = rest;
        match first % 16 {
            0 => Answer::Unavailable,
            1 => Answer::Pending,
            _ => Answer::Known(known(*first)),
        }
    }
}

impl World for AnyWorld<'_> {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        self.names += 1;
        self.draw(|byte| Field::from(if byte % 2 == 0 { "host.example.com" } else { "a;b c" }))
    }
    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        self.users += 1;
        self.draw(|byte| Field::from(if byte % 2 == 0 { "joe" } else { "`reboot`" }))
    }
    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        self.draw(|byte| byte % 2 == 0)
    }
    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        match path.len() % 4 {
            0 => ListFile::Absent,
            1 => ListFile::Unreadable("no".to_owned()),
            _ => ListFile::Bytes(Cow::Borrowed(self.list)),
        }
    }
    fn act(&mut self, _: &Act, _: &mut Request) -> Done {
        match self.draw(|byte| byte % 4) {
            Answer::Known(0) => Done::Refused,
            Answer::Known(1) => Done::Wrong(b"wrong".to_vec()),
            Answer::Known(_) => Done::Done,
            Answer::Unavailable => Done::Unavailable,
            Answer::Pending => Done::Pending,
        }
    }
    fn say(&mut self, _: Message) {}
}
