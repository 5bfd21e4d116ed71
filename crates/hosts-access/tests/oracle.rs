//! The recorded answers of TCP Wrappers 7.6 (`../shared/oracle/public.jsonl`), put to the evaluation directly: verdicts and
//! diagnostics, in their order, for every case whose names the little machine below knows. The tools replay all of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise")]

mod machine;

use hosts_access::{
    Content, Field, Request, Settings, Table, Tables, Verdict, Which, address, clean, evaluate,
};
use machine::{HOSTS, Machine};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const PID: u32 = 4_141_414;

/// Latin-1 as the recording writes bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
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
    let files = case["files"].as_object().into_iter().flatten();
    let files = files.map(|(path, text)| (path.as_str(), bytes(text.as_str().unwrap()))).collect();
    let dirs: Vec<&str> =
        case["dirs"].as_array().into_iter().flatten().map(|dir| dir.as_str().unwrap()).collect();
    // The driver has no client to send a banner to.
    let mut machine = Machine::new(files, &dirs, case["tool"] == "tcpdmatch");
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
