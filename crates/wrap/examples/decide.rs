//! What a decision costs; for scripts/bench, which runs it beside the original's libwrap.
//!
//!   decide memory ALLOW DENY N   compile both tables, then N decisions in memory; also what compiling takes
//!   decide files ALLOW DENY N    N decisions as a program that opens the tables for each: the first one, then the mean
//!
//! Prints one line of JSON. The clients are spread over all of IPv4; the daemon is `benchd`.

use hosts_access::image::{self, Compiled, Image, Lists, Original, State, Text};
use hosts_access::{
    Act, Answer, Content, Done, End, Field, Host, ListFile, Message, Request, Settings, Table, Tables,
    Verdict, World, evaluate,
};
use std::borrow::Cow;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// Tells nothing and does nothing: the tables of the bench have addresses only.
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

/// The clients of the bench, always the same: `next = last * 1664525 + 1013904223`, as in benches/libwrap.c.
fn clients() -> Vec<Field> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, d] = state.to_be_bytes();
        Field::from(format!("{}.{b}.{c}.{d}", a % 223 + 1).as_str())
    };
    (0..1024).map(next).collect()
}

fn decide(tables: &Tables<'_>, client: Field) -> bool {
    let mut request = Request {
        daemon: "benchd".into(),
        user: "unknown".into(),
        pid: 1,
        client: Host { name: "unknown".into(), addr: client, socket: None },
        server: Host::default(),
    };
    let settings = Settings { options: true, verbose: 0, resident: false };
    evaluate(tables, &mut request, &mut Nobody, &settings).verdict == Verdict::Granted
}

/// Mean microseconds of `times` decisions, and how many were granted.
fn measure(times: usize, mut one: impl FnMut(Field) -> bool) -> (f64, usize) {
    let clients = clients();
    let start = Instant::now();
    let mut granted = 0;
    for client in clients.iter().cycle().take(times) {
        granted += usize::from(one(*client));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
    let mean = start.elapsed().as_secs_f64() * 1e6 / times as f64;
    (mean, granted)
}

fn tables<'a>(allow: Content<'a>, deny: Content<'a>) -> Tables<'a> {
    Tables {
        allow: Table { path: b"/etc/hosts.allow", content: allow },
        deny: Table { path: b"/etc/hosts.deny", content: deny },
    }
}

fn memory(allow: &[u8], deny: &[u8], times: usize) -> Option<String> {
    let original = |text| Original { path: b"", text, state: State::Absent };
    let start = Instant::now();
    let bytes = image::compile(&original(allow), &original(deny), &mut Nobody, 0)?;
    let compiling = start.elapsed().as_secs_f64() * 1e3;
    let image = Image::open(&bytes)?;
    let (allow, deny) = (Bytes(allow), Bytes(deny));
    let compiled = tables(
        Content::Compiled(Compiled { index: image.allow(), text: &allow }),
        Content::Compiled(Compiled { index: image.deny(), text: &deny }),
    );
    measure(1024, |client| decide(&compiled, client));
    let (mean, granted) = measure(times, |client| decide(&compiled, client));
    let size = bytes.len();
    Some(format!(
        r#"{{"us":{mean:.4},"granted":{granted},"n":{times},"compile_ms":{compiling:.3},"bytes":{size}}}"#
    ))
}

fn files(allow: &str, deny: &str, times: usize) -> String {
    let mut compiled = false;
    let mut one = |client| {
        let opened = portreeve_wrap::tables::open(allow.as_bytes(), deny.as_bytes());
        compiled = opened.is_compiled();
        decide(&opened.tables(), client)
    };
    let client = Field::from("127.0.0.1");
    let start = Instant::now();
    one(client);
    let first = start.elapsed().as_secs_f64() * 1e6;
    let (mean, granted) = measure(times, one);
    format!(
        r#"{{"first_us":{first:.2},"us":{mean:.3},"granted":{granted},"n":{times},"compiled":{compiled}}}"#
    )
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let line = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [mode, allow, deny, times] => {
            let times = times.parse().unwrap_or(1000);
            let read = |path: &str| std::fs::read(path).unwrap_or_default();
            match *mode {
                "memory" => memory(&read(allow), &read(deny), times),
                "files" => Some(files(allow, deny, times)),
                _ => None,
            }
        }
        _ => None,
    };
    match line {
        Some(line) if writeln!(std::io::stdout(), "{line}").is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}
