//! The recorded answers of TCP Wrappers 7.6 (`../shared/oracle/public.jsonl`), put to the evaluation directly: verdicts and
//! diagnostics, in their order, for every case whose names the little machine below knows. The tools replay all of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise")]

use hosts_access::{
    Act, Answer, Content, Done, End, Field, ListFile, Message, Place, Request, Settings, Table, Tables,
    Verdict, Which, World, address, banner, clean, evaluate, expand,
};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The recording's `/etc/hosts`: what has one name and one address.
const HOSTS: &[(&str, &str)] = &[
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

const PID: u32 = 4_141_414;

/// What the cases were recorded on.
struct Machine<'a> {
    files: BTreeMap<&'a str, Vec<u8>>,
    dirs: BTreeSet<String>,
    place: Option<Place>,
    said: Vec<u8>,
    severities: [i32; 2],
    twisted: bool,
    /// The driver has no client to send a banner to.
    connected: bool,
}

/// Latin-1 as the recording writes bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

fn prefix(place: Option<Place>) -> String {
    let file = |which| if which == Which::Allow { "hosts.allow" } else { "hosts.deny" };
    place.map_or_else(String::new, |place| format!("{}, line {}: ", file(place.which), place.line))
}

impl<'a> Machine<'a> {
    fn new(case: &'a Value) -> Self {
        let mut files = BTreeMap::new();
        let mut dirs = BTreeSet::new();
        for (path, text) in case["files"].as_object().into_iter().flatten() {
            files.insert(path.as_str(), bytes(text.as_str().unwrap()));
        }
        let named = case["dirs"].as_array().into_iter().flatten().map(|dir| dir.as_str().unwrap());
        for path in named.chain(files.keys().copied()) {
            let parents = Path::new(path).ancestors().skip(usize::from(files.contains_key(path)));
            dirs.extend(parents.map(|dir| dir.to_str().unwrap().to_owned()));
        }
        Self {
            files,
            dirs,
            place: None,
            said: Vec::new(),
            severities: [6, 4],
            twisted: false,
            connected: case["tool"] == "tcpdmatch",
        }
    }

    fn name_of(&self, address: &[u8]) -> Field {
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

/// The end of a connection as the tools find it from an argument; nothing if that takes a real resolver.
fn host(argument: &str) -> Option<(Field, Field)> {
    if argument.eq_ignore_ascii_case("unknown") || argument.eq_ignore_ascii_case("paranoid") {
        return Some((Field::from(argument), Field::from("unknown")));
    }
    if address::dot_quad(argument.as_bytes()).is_some() || address::v6(argument.as_bytes()).is_some() {
        return Some((Field::from("unknown"), Field::from(argument)));
    }
    let (address, name) = HOSTS.iter().find(|(_, name)| *name == argument)?;
    Some((Field::from(*name), Field::from(*address)))
}

/// The request of a case, as the tool that was recorded makes it.
fn request(case: &Value, machine: &Machine<'_>) -> Option<Request> {
    let mut request = Request { pid: PID, ..Request::default() };
    let socket = |port: &str| {
        let port = port.parse::<u16>().unwrap_or(0);
        Some((std::net::Ipv4Addr::LOCALHOST, port).into())
    };
    if case["tool"] == "driver" {
        let args: Vec<&str> = case["args"].as_array()?.iter().map(|arg| arg.as_str().unwrap()).collect();
        let field = |index: usize| args.get(index).map_or(Field::EMPTY, |text| Field::new(&bytes(text)));
        request.daemon = field(1);
        request.client.name = field(2);
        request.client.addr = field(3);
        request.user = field(4);
        request.server.name = field(5);
        request.server.addr = field(6);
        // The driver installs no lookups, so that the sockets only give ports.
        if request.client.name.is_empty() {
            request.client.name = Field::from("unknown");
        }
        if request.server.name.is_empty() {
            request.server.name = Field::from("unknown");
        }
        request.server.socket = args.get(7).filter(|port| **port != "-").and_then(|port| socket(port));
        request.client.socket = args.get(8).filter(|port| **port != "-").and_then(|port| socket(port));
        return Some(request);
    }
    let daemon = case["daemon"].as_str()?;
    let (daemon, server) = daemon.split_once('@').map_or((daemon, None), |(daemon, at)| (daemon, Some(at)));
    let daemon = if daemon.starts_with('/') { daemon.rsplit('/').next()? } else { daemon };
    request.daemon = Field::new(&bytes(daemon));
    let client = case["client"].as_str()?;
    let (user, client) = client.split_once('@').map_or(("unknown", client), |(user, client)| (user, client));
    request.user = Field::new(&bytes(user));
    (request.client.name, request.client.addr) = host(client)?;
    if let Some(server) = server {
        let (_, address) = host(server)?;
        request.server.addr = address;
        request.server.name = machine.name_of(address.as_bytes());
        request.server.socket = socket("0");
    } else {
        request.server.name = Field::from("unknown");
    }
    // They are printed through an expansion first.
    for field in [&mut request.daemon, &mut request.user, &mut request.client.name, &mut request.client.addr]
    {
        clean(field.as_mut_bytes());
    }
    Some(request)
}

/// What a tool prints before the evaluation.
fn is_preamble(line: &str) -> bool {
    let of_a_table = ["warning: hosts.allow, ", "warning: hosts.deny, "];
    line.starts_with("client:   ")
        || line.starts_with("server:   ")
        || (line.starts_with("warning: ") && !of_a_table.iter().any(|start| line.starts_with(start)))
}

fn wanted(case: &Value) -> String {
    let text = case.get("stdout_merged").unwrap_or(&case["stdout"]).as_str().unwrap();
    let mut rest = text;
    while case["tool"] == "tcpdmatch"
        && let Some((line, after)) = rest.split_once('\n')
        && is_preamble(line)
    {
        rest = after;
    }
    rest.to_owned()
}

fn answer(case: &Value) -> Option<String> {
    let mut machine = Machine::new(case);
    let mut request = request(case, &machine)?;
    let text = |key: &str| case[key].as_str().map(bytes);
    let (allow, deny) = (text("allow"), text("deny"));
    fn table<'a>(path: &'static [u8], text: &'a Option<Vec<u8>>) -> Table<'a> {
        Table { path, content: text.as_deref().map_or(Content::Missing, Content::Text) }
    }
    let tables = Tables { allow: table(b"hosts.allow", &allow), deny: table(b"hosts.deny", &deny) };
    let settings = Settings { options: true, verbose: 2, resident: false };
    let decision = evaluate(&tables, &mut request, &mut machine, &settings);
    let mut said: String = machine.said.iter().map(|byte| char::from(*byte)).collect();
    said = said.replace(&PID.to_string(), "<PID>");
    if case["tool"] == "tcpdmatch" {
        let verdict = match decision.verdict {
            Verdict::Granted => "granted",
            Verdict::Denied => "denied",
            Verdict::Delegated => "delegated",
            Verdict::Pending => "pending",
        };
        said += &format!("access:   {verdict}\n");
    } else {
        let [allow, deny] = machine.severities;
        // A twist of a dry run leaves the table's word.
        let of_table = decision.by.is_none_or(|place| place.which == Which::Allow);
        let granted =
            decision.verdict == Verdict::Granted || (decision.verdict == Verdict::Delegated && of_table);
        said += &format!("access: {}\nallow_severity: {allow}\ndeny_severity: {deny}\n", i32::from(granted));
        said += &format!("dry_run: {}\n", i32::from(!machine.twisted));
    }
    Some(said)
}

#[test]
fn recorded_answers_are_ours() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/oracle/public.jsonl");
    let Ok(recorded) = std::fs::read_to_string(&path) else {
        println!("skipped: the recorded answers are not at hand");
        return;
    };
    assert!(replay(&recorded) > 4000, "too few cases were covered");
}

/// More recordings of the same kind, for a long differential run: `HOSTS_ACCESS_RECORDING=FILE`.
#[test]
fn other_recordings_are_ours() {
    if let Some(path) = std::env::var_os("HOSTS_ACCESS_RECORDING") {
        assert!(replay(&std::fs::read_to_string(path).unwrap()) > 0, "no case was covered");
    }
}

/// How many cases were covered, each with our answer.
fn replay(recorded: &str) -> u32 {
    let (mut covered, mut left_out, mut wrong) = (0, BTreeMap::new(), Vec::new());
    for line in recorded.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["tool"] == "tcpdchk" {
            continue;
        }
        let answer = case["verdict"].is_string().then(|| answer(&case)).flatten();
        match answer {
            None => *left_out.entry(case["category"].to_string()).or_insert(0) += 1,
            Some(answer) => {
                covered += 1;
                let wanted = wanted(&case);
                if answer != wanted {
                    wrong.push(format!("{}\nwanted {wanted:?}\ngot    {answer:?}", without_answers(&case)));
                }
            }
        }
    }
    println!("{covered} cases, {} wrong; left to the tools: {left_out:?}", wrong.len());
    let count = wrong.len();
    wrong.truncate(20);
    assert!(count == 0, "{count} of {covered} answers differ:\n{}", wrong.join("\n"));
    covered
}

fn without_answers(case: &Value) -> String {
    let keys = ["id", "category", "allow", "deny", "daemon", "client", "args", "files"];
    keys.iter().filter(|key| !case[**key].is_null()).map(|key| format!("{key}: {} ", case[*key])).collect()
}
