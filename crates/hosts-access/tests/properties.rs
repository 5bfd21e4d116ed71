//! What holds for any input: no panic, an end, and on simple tables the decision of a model that knows nothing of the text.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use hosts_access::{
    Act, Answer, Content, Done, End, Field, ListFile, Message, Request, Settings, Table, Tables, Verdict,
    Why, World, address, banner, evaluate, expand, explain, glob, lines::Lines, process_options,
};
use proptest::prelude::*;
use std::borrow::Cow;
use std::net::Ipv4Addr;

/// Answers by the bits of a number, and every `/file` is the same list.
struct Any<'a> {
    bits: u64,
    list: &'a [u8],
    questions: u32,
}

impl Any<'_> {
    fn draw<T>(&mut self, known: T) -> Answer<T> {
        self.bits = self.bits.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        match self.bits >> 61 {
            0 => Answer::Unavailable,
            1 if self.bits & 0x7000 == 0 => Answer::Pending,
            _ => Answer::Known(known),
        }
    }
}

impl World for Any<'_> {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        self.questions += 1;
        self.draw(Field::from("host.example.com"))
    }
    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        self.questions += 1;
        self.draw(Field::from("joe"))
    }
    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        let member = self.bits & 1 == 0;
        self.draw(member)
    }
    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        match path.len() % 4 {
            0 => ListFile::Absent,
            1 => ListFile::Unreadable("no".to_owned()),
            _ => ListFile::Bytes(Cow::Borrowed(self.list)),
        }
    }
    fn act(&mut self, _: &Act, _: &mut Request) -> Done {
        match self.draw(self.bits & 2 == 0) {
            Answer::Known(true) => Done::Done,
            Answer::Known(false) => Done::Refused,
            Answer::Unavailable => Done::Unavailable,
            Answer::Pending => Done::Pending,
        }
    }
    fn say(&mut self, _: Message) {}
}

const SETTINGS: Settings = Settings { options: true, verbose: 2, resident: false };

fn tables<'a>(allow: &'a [u8], deny: &'a [u8]) -> Tables<'a> {
    let table = |path, text| Table { path, content: Content::Text(text) };
    Tables { allow: table(b"a", allow), deny: table(b"d", deny) }
}

fn request(daemon: &[u8], address: &[u8]) -> Request {
    let mut request = Request { daemon: Field::new(daemon), pid: 1, ..Request::default() };
    request.client.addr = Field::new(address);
    request.server.addr = Field::from("10.9.9.9");
    request
}

/// Bytes that mean something, so that random tables get somewhere.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => prop::sample::select(vec![
            "ALL", "d", "EXCEPT", "KNOWN", "LOCAL", "PARANOID", ":", " : ", "\n", "\n", "\n", "\\\n", " ", ",", "#", "@", "@g",
            "joe@", "/ab", "/abc", "10.", "10.0.0.1", "10.0.0.0/8", ".com", "*", "?", "[", "]", "[::1]", "[fe80::1%x]", "%n", "%",
            "spawn x", "allow", "deny", "twist y", "aclexec z", "banners /b", "setenv A b", "umask 7", "severity info", "=", "\0",
            "host.example.com", "22", "::1",
        ]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_table_comes_to_an_end(
        allow in text(), deny in text(), list in text(), daemon in "d|22|unknown", address in "10\\.0\\.0\\.1|::1|unknown|",
        bits: u64, options: bool,
    ) {
        let settings = Settings { options, ..SETTINGS };
        let world = || Any { bits, list: &list, questions: 0 };
        let mut request = request(daemon.as_bytes(), address.as_bytes());
        let mut same = request.clone();
        let mut asked = world();
        let decision = evaluate(&tables(&allow, &deny), &mut request, &mut asked, &settings);
        // Each end's name and the user, once.
        prop_assert!(asked.questions <= 3);
        let told = explain(&tables(&allow, &deny), &mut same, &mut world(), &settings);
        prop_assert_eq!(told.decision, decision);
        prop_assert_eq!(decision.why == Why::NoRule, decision.by.is_none() && decision.verdict == Verdict::Granted);
        if let (Some(by), Why::Rule) = (decision.by, decision.why) {
            prop_assert_eq!(told.steps.last().map(|step| step.place), Some(by));
        }
    }

    #[test]
    fn any_text_is_read(text in prop::collection::vec(any::<u8>(), 0..300), bits: u64) {
        let mut world = Any { bits, list: b"", questions: 0 };
        let _ = process_options(&text, None, &mut request(b"d", b"::1"), &mut world, &SETTINGS);
        if let Ok(expanded) = expand(&text, &mut request(&text, &text), &mut world, None) {
            prop_assert!(text.contains(&b'%') || expanded == text);
        }
        let sent = banner::<()>(&text, |line| Ok(line.to_vec())).unwrap();
        prop_assert!(sent.len() <= 2 * text.len());
        let mut lines = Lines::new(&text);
        let mut end = 0;
        while let Some(line) = lines.next() {
            prop_assert!(line.start >= end && line.end > line.start && line.end <= text.len());
            end = line.end;
            for (at, byte) in line.text.iter().enumerate() {
                prop_assert_eq!(text.get(line.source(at)), Some(byte));
            }
        }
    }

    #[test]
    fn globs_are_what_the_recursion_says(pattern in "[ab*?]{0,8}", text in "[abAB]{0,8}") {
        prop_assert_eq!(glob::matches(pattern.as_bytes(), text.as_bytes()), slow_glob(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn printed_addresses_are_read_back(address: u32, v6: u128) {
        let text = Ipv4Addr::from(address).to_string();
        prop_assert_eq!(address::inet_addr(text.as_bytes()), Some(address));
        prop_assert_eq!(address::dot_quad(text.as_bytes()), Some(address).filter(|address| *address != u32::MAX));
        let text = std::net::Ipv6Addr::from(v6).to_string();
        prop_assert_eq!(address::v6(text.as_bytes()).map(|address| address.bits), Some(v6));
    }

    #[test]
    fn addresses_of_version_6_are_read_as_everywhere(text in "[0-9a-fF]{0,5}(:{1,2}[0-9a-f]{0,4}){0,9}(:[0-9]{1,3}(\\.[0-9]{1,3}){2,4})?") {
        let wanted: Option<std::net::Ipv6Addr> = text.parse().ok();
        let read = address::v6(text.as_bytes()).map(|address| address.bits.into());
        prop_assert_eq!(read, wanted, "{}", text);
    }

    #[test]
    fn simple_tables_decide_as_their_model(
        allow in prop::collection::vec(rule(), 0..6), deny in prop::collection::vec(rule(), 0..6),
        daemon in 0..3_usize, address in address_near(),
    ) {
        let matching = |rules: &[Model]| rules.iter().position(|rule| rule.matches(daemon, address));
        let wanted = match (matching(&allow), matching(&deny)) {
            (Some(rule), _) => (!allow[rule].deny, Some(rule)),
            (None, Some(rule)) => (false, Some(rule)),
            (None, None) => (true, None),
        };
        let write = |rules: &[Model], table| rules.iter().map(|rule| rule.write(table)).collect::<String>();
        let (allow, deny) = (write(&allow, "allow"), write(&deny, "deny"));
        let mut request = request(DAEMONS[daemon].as_bytes(), Ipv4Addr::from(address).to_string().as_bytes());
        let mut world = Any { bits: 1, list: b"", questions: 0 };
        let decision = evaluate(&tables(allow.as_bytes(), deny.as_bytes()), &mut request, &mut world, &SETTINGS);
        let line = decision.by.map(|place| place.line as usize - 1);
        prop_assert_eq!((decision.verdict == Verdict::Granted, line), wanted, "{}\n--\n{}", allow, deny);
        prop_assert_eq!(world.questions, 0);
    }
}

fn slow_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*'] => true,
        [b'*', rest @ ..] => {
            let needs_a_byte = matches!(rest.first(), Some(b'*' | b'?'));
            let last = if needs_a_byte { text.len() } else { text.len() + 1 };
            (0..last).any(|at| slow_glob(rest, &text[at..]))
        }
        [b'?', rest @ ..] => !text.is_empty() && slow_glob(rest, &text[1..]),
        [byte, rest @ ..] => {
            text.first().is_some_and(|first| first.eq_ignore_ascii_case(byte)) && slow_glob(rest, &text[1..])
        }
    }
}

const DAEMONS: [&str; 3] = ["sshd", "in.ftpd", "imap"];

/// A rule as meaning: these daemons, these nets but not those.
#[derive(Clone, Debug)]
struct Model {
    daemons: Vec<usize>,
    nets: Vec<(u32, u32)>,
    but: Vec<(u32, u32)>,
    deny: bool,
}

impl Model {
    fn matches(&self, daemon: usize, address: u32) -> bool {
        let inside = |nets: &[(u32, u32)]| nets.iter().any(|(net, length)| within(*net, *length, address));
        self.daemons.contains(&daemon) && inside(&self.nets) && !inside(&self.but)
    }

    /// In one of its spellings; a rule that refuses needs an option in `hosts.allow`.
    fn write(&self, table: &str) -> String {
        let nets = |nets: &[(u32, u32)]| {
            nets.iter().map(|(net, length)| spell(*net, *length)).collect::<Vec<_>>().join(" ")
        };
        let daemons: Vec<_> = self.daemons.iter().map(|daemon| DAEMONS[*daemon]).collect();
        let but = if self.but.is_empty() { String::new() } else { format!(" EXCEPT {}", nets(&self.but)) };
        let option = if self.deny && table == "allow" { " : deny" } else { "" };
        format!("{}: {}{but}{option}\n", daemons.join(","), nets(&self.nets))
    }
}

fn within(net: u32, length: u32, address: u32) -> bool {
    address.checked_shr(32 - length).unwrap_or(0) == net.checked_shr(32 - length).unwrap_or(0)
}

fn spell(net: u32, length: u32) -> String {
    let quad = Ipv4Addr::from(net);
    let [a, b, c, _] = quad.octets();
    match (length, net.is_multiple_of(2)) {
        (0, _) => "ALL".to_owned(),
        (8, false) => format!("{a}."),
        (16, _) => format!("{a}.{b}."),
        (24, true) => format!("{a}.{b}.{c}.0/255.255.255.0"),
        (32, true) => quad.to_string(),
        _ => format!("{}/{length}", Ipv4Addr::from(net & u32::MAX.checked_shl(32 - length).unwrap_or(0))),
    }
}

fn address_near() -> impl Strategy<Value = u32> {
    (0..3_u32, 0..3_u32, 0..3_u32, 0..4_u32).prop_map(|(a, b, c, d)| (a + 9) << 24 | b << 16 | c << 8 | d)
}

fn rule() -> impl Strategy<Value = Model> {
    let net = || (address_near(), prop::sample::select(vec![0_u32, 8, 15, 16, 23, 24, 31, 32]));
    (
        prop::collection::vec(0..3_usize, 1..3),
        prop::collection::vec(net(), 1..4),
        prop::collection::vec(net(), 0..2),
        any::<bool>(),
    )
        .prop_map(|(daemons, nets, but, deny)| Model { daemons, nets, but, deny })
}

/// The worst that a table can hold ends, in bounded work: no list is read more often than its bound says.
#[test]
fn hostile_tables_end() {
    let megabyte = vec![b'x'; 1 << 20];
    let excepts = ["d: ", &"ALL EXCEPT ".repeat(10_000), "\n"].concat();
    let joined = ["d: ", &"ALL EXCEPT \\\n".repeat(10_000), "\n"].concat();
    let stars = ["d: ", &"*a".repeat(1000), "b\n"].concat().repeat(200);
    let brackets = ["d: ", &"[".repeat(2000), "\n"].concat().repeat(200);
    let fan_out = "/ab ".repeat(2000);
    for (name, table, list) in [
        ("one long line", megabyte.as_slice(), &b""[..]),
        ("nothing but NUL", &vec![0; 1 << 20], b""),
        ("nothing but backslashes", &b"\\\n".repeat(1 << 19), b""),
        ("nothing but newlines", &vec![b'\n'; 1 << 20], b""),
        ("NUL in every line", &b"d: \0\n".repeat(1 << 18), b""),
        ("10,000 EXCEPT", excepts.as_bytes(), b""),
        ("10,000 EXCEPT in joined lines", joined.as_bytes(), b""),
        ("stars", stars.as_bytes(), b""),
        ("brackets", brackets.as_bytes(), b""),
        ("a list that names itself", b"d: /ab\n", b"/ab"),
        ("a list that names itself 2000 times", b"d: /ab\n", fan_out.as_bytes()),
        ("a list of one word", b"d: /ab\n", &megabyte),
        ("many rules with the list", &b"d: /ab EXCEPT ALL\n".repeat(10_000), &vec![b' '; 1 << 20]),
    ] {
        let address = [b'a'; 127];
        let mut world = Any { bits: 1, list, questions: 0 };
        let decision = evaluate(&tables(table, b""), &mut request(b"d", &address), &mut world, &SETTINGS);
        assert_ne!(decision.verdict, Verdict::Delegated, "{name}");
        if list.first() == Some(&b' ') {
            // Read to the bound; once is enough.
            assert_eq!((decision.verdict, decision.why), (Verdict::Granted, Why::NoRule));
            continue;
        }
        let mut world = Any { bits: 1, list, questions: 0 };
        let decision = evaluate(&tables(b"", table), &mut request(b"d", &address), &mut world, &SETTINGS);
        assert_ne!(decision.verdict, Verdict::Delegated, "{name}");
    }
}
