//! A compiled table gives the decision of its text: the same verdict at the same place, the same questions asked in the
//! same order, the same messages and acts. For any table, any client, any world; and a damaged image gives an answer or
//! none, but never a crash.

mod real;

use hosts_access::image::{self, Compiled, Image, Lists, Original, Parts, Stamp, State, Text};
use hosts_access::{
    Act, Answer, Content, Decision, Done, End, Field, Host, ListFile, Message, Request, Settings, Table,
    Tables, World, evaluate,
};
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What there is around an evaluation.
#[derive(Clone, Debug)]
struct Surroundings {
    client_name: Answer<&'static str>,
    server_name: Answer<&'static str>,
    user: Answer<&'static str>,
    member: Answer<bool>,
    aclexec: Done,
    lists: BTreeMap<Vec<u8>, ListFile<Vec<u8>>>,
}

/// Everything that an evaluation asks, orders and says.
struct Recorder<'a> {
    around: &'a Surroundings,
    seen: Vec<String>,
}

fn field(answer: Answer<&str>) -> Answer<Field> {
    match answer {
        Answer::Known(text) => Answer::Known(Field::from(text)),
        Answer::Unavailable => Answer::Unavailable,
        Answer::Pending => Answer::Pending,
    }
}

impl World for Recorder<'_> {
    fn name(&mut self, end: End, _: &Request) -> Answer<Field> {
        self.seen.push(format!("name {end:?}"));
        field(if end == End::Client { self.around.client_name } else { self.around.server_name })
    }

    fn user(&mut self, _: &Request, timeout: Option<u32>) -> Answer<Field> {
        self.seen.push(format!("user {timeout:?}"));
        field(self.around.user)
    }

    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        self.seen.push(format!("netgroup {} {}", group.escape_ascii(), host.escape_ascii()));
        self.around.member
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        match self.around.lists.get(path).cloned().unwrap_or(ListFile::Absent) {
            ListFile::Bytes(bytes) => ListFile::Bytes(Cow::Owned(bytes)),
            ListFile::Absent => ListFile::Absent,
            ListFile::Unreadable(why) => ListFile::Unreadable(why),
            ListFile::TooLarge => ListFile::TooLarge,
        }
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        name == b"lo"
    }

    fn act(&mut self, act: &Act, _: &mut Request) -> Done {
        self.seen.push(format!("act {act:?}"));
        if let Act::Aclexec(_) = act { self.around.aclexec.clone() } else { Done::Done }
    }

    fn say(&mut self, message: Message) {
        self.seen.push(format!("say {message:?}"));
    }
}

impl Lists for Surroundings {
    fn read(&mut self, path: &[u8]) -> Option<(State, Vec<u8>)> {
        let stamp = Stamp { dev: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };
        match self.lists.get(path) {
            None | Some(ListFile::Absent) => Some((State::Absent, Vec::new())),
            Some(ListFile::Bytes(bytes)) => Some((State::File(stamp), bytes.clone())),
            Some(ListFile::Unreadable(_) | ListFile::TooLarge) => None,
        }
    }
}

#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Text for Bytes<'_> {
    fn content(&self) -> Content<'_> {
        Content::Text(self.0)
    }
}

fn compile(allow: &[u8], deny: &[u8], around: &Surroundings) -> Vec<u8> {
    fn original<'a>(path: &'a [u8], text: &'a [u8]) -> Original<'a> {
        Original { path, text, state: State::Absent }
    }
    image::compile(&original(b"hosts.allow", allow), &original(b"hosts.deny", deny), &mut around.clone(), 0)
        .expect("a small image")
}

fn run(
    tables: [Content<'_>; 2],
    request: &Request,
    around: &Surroundings,
) -> (Decision, Vec<String>, String) {
    let [allow, deny] = tables;
    let tables = Tables {
        allow: Table { path: b"hosts.allow", content: allow },
        deny: Table { path: b"hosts.deny", content: deny },
    };
    let mut request = request.clone();
    let mut world = Recorder { around, seen: Vec::new() };
    let settings = Settings { options: true, verbose: 2, resident: false };
    let decision = evaluate(&tables, &mut request, &mut world, &settings);
    // What is known afterwards shows in the log.
    (decision, world.seen, format!("{request:?}"))
}

fn run_image(
    image: &[u8],
    texts: [&[u8]; 2],
    request: &Request,
    around: &Surroundings,
) -> Option<(Decision, Vec<String>, String)> {
    let parts = InParts(image);
    let whole = decide_by(&Image::open(image)?, texts, request, around);
    // It says the same when it is not in memory as a whole.
    assert_eq!(decide_by(&Image::open_parts(&parts)?, texts, request, around), whole);
    Some(whole)
}

/// An image elsewhere.
#[derive(Debug)]
struct InParts<'a>(&'a [u8]);

impl Parts for InParts<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn part(&self, at: usize, len: usize) -> Option<&[u8]> {
        self.0.get(at..at.checked_add(len)?)
    }
}

fn decide_by(
    image: &Image<'_>,
    texts: [&[u8]; 2],
    request: &Request,
    around: &Surroundings,
) -> (Decision, Vec<String>, String) {
    let [allow, deny] = texts.map(Bytes);
    let contents = [
        Content::Compiled(Compiled { index: image.allow(), text: &allow }),
        Content::Compiled(Compiled { index: image.deny(), text: &deny }),
    ];
    run(contents, request, around)
}

const DAEMONS: &[&str] = &[
    "d",
    "d",
    "d",
    "D",
    "sshd",
    "in.ftpd",
    "ALL",
    "all",
    "in.",
    ".d",
    "d*",
    "*",
    "?",
    "KNOWN",
    "UNKNOWN",
    "22",
    "+22",
    "65536",
    "d@ALL",
    "d@10.0.0.1",
    "d@srv.example",
    "d@@grp",
    "@d",
    "EXCEPT",
    "[::1]",
    "LOCAL",
];

const CLIENTS: &[&str] = &[
    "10.0.0.1",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.01",
    "10.1.2.3",
    "10.1",
    "10.1.",
    "10.",
    "10.0.",
    "10.0.0.",
    "10.0.0.1.",
    ".1",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.0/255.255.255.0",
    "10.0.0.0/30",
    "10.0.0.1/32",
    "10.0.0.1/255.255.255.255",
    "10.0.0.1/8",
    "0.0.0.0/0",
    "0.0.0.0/0.0.0.0",
    "128.0.0.0/1",
    "0.0.0.1/0.0.0.1",
    "012.0.0.0/8",
    "255.255.255.255",
    "255.255.",
    "ALL",
    "*",
    "**",
    "10.*.1",
    "host.example",
    ".example",
    "h*",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    "unknown",
    "@grp",
    "joe@ALL",
    "joe@10.0.0.1",
    "joe@host.example",
    "[::1]",
    "[2001:db8::1]",
    "[2001:DB8:0::1]",
    "[2001:db8::]/32",
    "[2001:db8::5]/48",
    "[2001:db8::8]/125",
    "[::]/0",
    "[::]/",
    "[::1]/128",
    "[::ffff:10.0.0.1]",
    "[::ffff:0:0]/96",
    "[fe80::1%lo]",
    "[fe80::1%nope]",
    "[fe80::]/10",
    "[10.0.0.1]",
    "[x]",
    "[2001:db8::*]",
    "/list",
    "/names",
    "/nested",
    "/absent",
    "/unreadable",
    "/huge",
    "/loop",
    "/nul",
    "/v6",
    "2001",
    "#",
    "x/y",
    "EXCEPT",
];

/// Words of long tables: what the columns hold, and what asks for a name without ever matching one.
const NUMERIC: &[&str] = &[
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.0/30",
    "10.0.0.1",
    "[::1]",
    "[2001:db8::1]",
    "[2001:db8::2]",
    "[2001:db8::]/126",
    "[10.0.0.1]",
    "10.1.",
    "host.example",
];

/// Words of lists.
const FILES: &[&str] = &["/list", "/names", "/nested", "/v6", "/nul", "/absent", "10.0.0.3", "/loop"];

const OPTIONS: &[&str] = &[
    "",
    "",
    "",
    "",
    "",
    "",
    ": allow",
    ": deny",
    ": severity mail.info",
    ": spawn echo %a %h %c",
    ": spawn echo %n : deny",
    ": aclexec true",
    ": aclexec %u : allow",
    ": nonsense",
    ":",
    ": rfc931 5 : deny",
    ": keepalive : allow",
];

const ENDS: &[&str] = &["\n", "\n", "\n", "\n", "\n", "\n", "\n", "\r\n", "\\\n", "", "\0x\n"];

/// A line: mostly rules.
fn line(daemons: &'static [&'static str], clients: &'static [&'static str]) -> impl Strategy<Value = String> {
    let words = |words: &'static [&'static str], most: usize| {
        prop::collection::vec(prop::sample::select(words), 1..=most).prop_map(|words| words.join(" "))
    };
    let rule = (words(daemons, 2), words(clients, 3), prop::sample::select(OPTIONS))
        .prop_map(|(daemons, clients, options)| format!("{daemons}: {clients} {options}"));
    let other = prop::sample::select(
        &[
            "",
            " ",
            "# d: ALL",
            " # comment",
            "no colon",
            "[d: ALL",
            ": ALL",
            "d:",
            "d: ALL EXCEPT",
            "d: *::1",
        ][..],
    );
    let text = prop_oneof![8 => rule, 1 => other.prop_map(str::to_owned)];
    (text, prop::sample::select(ENDS)).prop_map(|(text, end)| text + end)
}

fn table() -> impl Strategy<Value = Vec<u8>> {
    let lines = |daemons, clients| prop::collection::vec(line(daemons, clients), 0..25);
    prop_oneof![lines(DAEMONS, CLIENTS), lines(&["d", "sshd", "d*"], NUMERIC), lines(&["d"], FILES)]
        .prop_map(|lines| lines.concat().into_bytes())
}

fn answer<T: Clone + std::fmt::Debug + 'static>(known: Vec<T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![
        4 => prop::sample::select(known).prop_map(Answer::Known),
        1 => Just(Answer::Unavailable),
        1 => Just(Answer::Pending),
    ]
}

fn surroundings() -> impl Strategy<Value = Surroundings> {
    let names = || answer(vec!["host.example", "short", "unknown", "paranoid", "h", "10.0.0.1.example"]);
    let lists = prop::collection::vec(prop::sample::select(CLIENTS), 0..6).prop_map(|words| words.join("\n"));
    (names(), names(), answer(vec!["joe", "unknown", ""]), answer(vec![true, false]), any::<bool>(), lists)
        .prop_map(|(client_name, server_name, user, member, holds, list)| {
            let bytes = |text: &str| ListFile::Bytes(text.as_bytes().to_vec());
            let lists = [
                ("/list", bytes("10.0.0.7 10.2.0.0/16\n10.0.0.1, [2001:db8::7]\x0bALL")),
                ("/names", bytes("host.example 10.0.0.1")),
                ("/nested", ListFile::Bytes(list.into_bytes())),
                ("/unreadable", ListFile::Unreadable("Permission denied".to_owned())),
                ("/huge", ListFile::TooLarge),
                ("/loop", bytes("10.0.0.9 /loop")),
                ("/nul", bytes("10.0.0.1\0x 10.0.0.2")),
                ("/v6", bytes("2001:db8::1 2001:DB8::2 2001:db8:0::3 joe@10.0.0.1 x:y")),
            ];
            let lists = lists.into_iter().map(|(path, list)| (path.as_bytes().to_vec(), list)).collect();
            let aclexec = if holds { Done::Done } else { Done::Refused };
            Surroundings { client_name, server_name, user, member, aclexec, lists }
        })
}

fn request() -> impl Strategy<Value = Request> {
    let addresses = &[
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
        "10.1.2.3",
        "10.0.0.01",
        "192.0.2.1",
        "128.0.0.0",
        "255.255.255.255",
        "0.0.0.0",
        "::ffff:10.0.0.1",
        "::FFFF:10.1.2.3",
        "::ffff:a00:1",
        "::1",
        "::",
        "2001:db8::1",
        "2001:DB8::1",
        "2001:db8::9",
        "2001:db8::3",
        "2001:db8:0:1::",
        "fe80::1%lo",
        "fe80::1",
        "::10.0.0.1",
        "unknown",
        "",
        "host.example",
    ][..];
    let names = &["", "", "", "host.example", "unknown", "paranoid", "2001:db8::1", "::1"][..];
    let daemons = &["d", "d", "sshd", "in.ftpd", "D", "unknown", "x", "", "a.d", "22", "::1"][..];
    (
        prop::sample::select(daemons),
        prop::sample::select(addresses),
        prop::sample::select(names),
        prop::sample::select(&["", "joe"][..]),
        prop::option::of(Just("10.0.0.9:22")),
    )
        .prop_map(|(daemon, address, name, user, server)| Request {
            daemon: daemon.into(),
            user: user.into(),
            pid: 1,
            client: Host { name: name.into(), addr: address.into(), socket: None },
            server: Host {
                name: Field::EMPTY,
                addr: "10.0.0.9".into(),
                socket: server.map(|text| text.parse::<SocketAddr>().expect("an address")),
            },
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_form_decides_as_its_text(
        allow in table(),
        deny in table(),
        around in surroundings(),
        requests in prop::collection::vec(request(), 1..8),
    ) {
        let image = compile(&allow, &deny, &around);
        for request in &requests {
            let walked = run([Content::Text(&allow), Content::Text(&deny)], request, &around);
            let found = run_image(&image, [&allow, &deny], request, &around).expect("an image of ours opens");
            prop_assert_eq!(&found, &walked, "{:?} {:?}", request, String::from_utf8_lossy(&allow));
        }
    }

    #[test]
    fn a_damaged_image_gives_an_answer_or_none(
        allow in table(),
        deny in table(),
        around in surroundings(),
        request in request(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut image = compile(&allow, &deny, &around);
        for (at, byte) in damage {
            let at = at.index(image.len());
            image[at] = byte;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
            // The length in the head is no protection by itself.
            let len = u32::try_from(image.len()).unwrap();
            if let Some(to) = image.get_mut(12..16) {
                to.copy_from_slice(&len.to_le_bytes());
            }
        }
        let _ = run_image(&image, [&allow, &deny], &request, &around);
        if let Some(image) = Image::open(&image) {
            let _ = image.is_fresh(|_| Some(State::Absent));
        }
    }
}

/// Columns of many blocks, against the walk.
#[test]
fn long_tables() {
    let around = silent();
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut allow = String::new();
    for _ in 0..1500 {
        let (a, b) = (next() % 4096, next() % 4096);
        allow += &format!("d: 10.0.{}.{}\n", a / 256, a % 256);
        allow += &format!("d: 10.1.{}.{}/{}\n", b / 256, (b % 256) & 0xfc, 30 + next() % 2);
        allow += &format!("d: [2001:db8:{:x}::]/{}: deny\n", next() % 2000, 40 + next() % 12);
        allow += &format!("d: [2001:db8:0:1::{:x}0]/{}\n", next() % 2000, 118 + next() % 10);
    }
    let image = compile(allow.as_bytes(), b"ALL: ALL\n", &around);
    for _ in 0..150 {
        let place = next() % 4096;
        for address in [
            format!("10.{}.{}.{}", next() % 2, place / 256, place % 256),
            format!("2001:db8:{:x}:1:1:1:1:1", next() % 2000 + 1),
            format!("2001:db8:0:1:1:1:1:{:x}", next() % 32000 + 1),
        ] {
            let walked = run(
                [Content::Text(allow.as_bytes()), Content::Text(b"ALL: ALL\n")],
                &request_of(&address),
                &around,
            );
            let found = run_image(&image, [allow.as_bytes(), b"ALL: ALL\n"], &request_of(&address), &around);
            assert_eq!(found, Some(walked), "{address}");
        }
    }
}

fn silent() -> Surroundings {
    Surroundings {
        client_name: Answer::Known("host.example"),
        server_name: Answer::Known("srv.example"),
        user: Answer::Unavailable,
        member: Answer::Known(false),
        aclexec: Done::Done,
        lists: BTreeMap::new(),
    }
}

fn request_of(address: &str) -> Request {
    Request {
        daemon: "d".into(),
        client: Host { addr: address.into(), ..Host::default() },
        ..Request::default()
    }
}

#[test]
fn every_cut_and_every_byte() {
    let around = silent();
    let allow = b"d: 10.0.0.1 10.2.0.0/16 [2001:db8::]/48 [::1] host.example : severity mail.info\nno colon\nALL: .x\n";
    let image = compile(allow, b"d: ALL", &around);
    for len in 0..image.len() {
        assert!(Image::open(&image[..len]).is_none(), "cut at {len}");
    }
    for at in 0..image.len() {
        for value in [0x00, 0x01, 0x7f, 0xff] {
            let mut damaged = image.clone();
            damaged[at] = value;
            for address in ["10.0.0.1", "10.3.0.1", "2001:db8::1"] {
                let _ = run_image(&damaged, [allow, b"d: ALL"], &request_of(address), &around);
            }
        }
    }
}

/// The walk reads only so much of lists: a table that names too many is in error, compiled or not.
#[test]
fn tables_that_name_many_lists() {
    let mut around = silent();
    around.lists.insert(b"/list".to_vec(), ListFile::Bytes(b"10.0.0.7 10.0.0.8".to_vec()));
    for (names, broken) in [(3, false), (65, false), (4000, false), (4100, true)] {
        let allow = "d: /list\n".repeat(names) + "d: 10.0.0.1\n";
        let image = compile(allow.as_bytes(), b"ALL: ALL\n", &around);
        for address in ["10.0.0.7", "10.0.0.1", "10.0.0.2"] {
            let walked = run(
                [Content::Text(allow.as_bytes()), Content::Text(b"ALL: ALL\n")],
                &request_of(address),
                &around,
            );
            let found = run_image(&image, [allow.as_bytes(), b"ALL: ALL\n"], &request_of(address), &around);
            assert_eq!(found.as_ref(), Some(&walked), "{address} {names}");
            let granted = address == "10.0.0.7" || address == "10.0.0.1" && !broken;
            assert_eq!(walked.0.verdict == hosts_access::Verdict::Granted, granted, "{address} {names}");
        }
    }
}
