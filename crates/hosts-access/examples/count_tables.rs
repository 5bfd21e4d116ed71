//! What the tables cost in instructions; for benches/instructions, which counts what happens in `measured`.
//!
//!   count_tables warm       1024 decisions on a compiled hosts.deny of 10,000 addresses
//!   count_tables text       64 decisions on the text of 200 lines
//!   count_tables compile    compiling those 10,000 lines
//!
//! Everything else is set-up and not counted. Exits with 1 when a verdict is not the one that the case is about.

use hosts_access::image::{self, Compiled, Image, Lists, Original, State, Text};
use hosts_access::{
    Act, Answer, Content, Done, End, Field, Host, ListFile, Message, Request, Settings, Table, Tables,
    Verdict, World, evaluate,
};
use std::borrow::Cow;
use std::fmt::Write;
use std::hint::black_box;
use std::process::ExitCode;

/// Knows nothing and does nothing: the tables have addresses only.
struct Nobody;

impl World for Nobody {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }

    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }

    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        Answer::Known(false)
    }

    fn list(&mut self, _: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        ListFile::Absent
    }

    fn act(&mut self, _: &Act, _: &mut Request) -> Done {
        Done::Done
    }

    fn say(&mut self, _: Message) {}
}

impl Lists for Nobody {
    fn read(&mut self, _: &[u8]) -> Option<(State, Vec<u8>)> {
        None
    }
}

#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Text for Bytes<'_> {
    fn content(&self) -> Content<'_> {
        Content::Text(self.0)
    }
}

fn address(number: u32) -> String {
    let [_, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// A table that names the first `lines` addresses.
fn table(lines: u32) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..lines {
        let _ = writeln!(text, "ALL: {}", address(number));
    }
    text.into_bytes()
}

/// Every second client is one of the first `known`, the others are not.
fn clients(times: u32, known: u32) -> Vec<Field> {
    let one = |number: u32| match number % 2 {
        0 => Field::from(address(number * 7 % known).as_str()),
        _ => Field::from(format!("192.0.2.{}", number % 256).as_str()),
    };
    (0..times).map(one).collect()
}

fn decide(tables: &Tables<'_>, client: Field) -> bool {
    let mut request = Request {
        daemon: "counted".into(),
        user: "unknown".into(),
        pid: 1,
        client: Host { name: "unknown".into(), addr: client, socket: None },
        server: Host::default(),
    };
    let settings = Settings { options: true, verbose: 0, resident: false };
    evaluate(tables, &mut request, &mut Nobody, &settings).verdict == Verdict::Granted
}

#[inline(never)]
fn measured<T>(what: impl FnOnce() -> T) -> T {
    black_box(what())
}

fn compile(deny: &[u8]) -> Option<Vec<u8>> {
    let original = |text| Original { path: b"", text, state: State::Absent };
    image::compile(&original(b""), &original(deny), &mut Nobody, 0)
}

fn tables<'a>(deny: Content<'a>) -> Tables<'a> {
    Tables {
        allow: Table { path: b"/etc/hosts.allow", content: Content::Text(b"") },
        deny: Table { path: b"/etc/hosts.deny", content: deny },
    }
}

/// Half of the clients are refused.
fn half(granted: usize, times: u32) -> ExitCode {
    ExitCode::from(u8::from(u32::try_from(granted) != Ok(times / 2)))
}

fn main() -> ExitCode {
    match std::env::args().nth(1).unwrap_or_default().as_str() {
        "warm" => {
            let deny = table(10_000);
            let Some(bytes) = compile(&deny) else { return ExitCode::from(2) };
            let Some(image) = Image::open(&bytes) else { return ExitCode::from(2) };
            let text = Bytes(&deny);
            let tables = tables(Content::Compiled(Compiled { index: image.deny(), text: &text }));
            let clients = clients(1024, 10_000);
            half(measured(|| clients.iter().filter(|client| decide(&tables, **client)).count()), 1024)
        }
        "text" => {
            let deny = table(200);
            let tables = tables(Content::Text(&deny));
            let clients = clients(64, 200);
            half(measured(|| clients.iter().filter(|client| decide(&tables, **client)).count()), 64)
        }
        "compile" => {
            let deny = table(10_000);
            ExitCode::from(u8::from(measured(|| compile(&deny)).is_none()))
        }
        _ => ExitCode::from(2),
    }
}
