//! Holds the reading of 224 real files against what xinetd 2.3.15.3 made of them: which services it accepted and what it
//! logged, line by line. The machine they were read on is rebuilt from the recorded answers, so that this needs no root
//! and no sandbox. A difference must be one of the rules below; each is a row of docs/guide/differences.md.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

use portreeve_conf::{DirEntry, Family, Host, Level, Reading, Severity, SystemError, User, read};
use serde_json::Value;
use skip::{Reason, skip};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The machine of one recorded reading.
struct Sandbox {
    file: Vec<u8>,
    /// What xinetd complained about: these do not exist, everything else does.
    missing: HashSet<String>,
    /// Those that log files are in.
    directories: HashSet<PathBuf>,
    services: BTreeMap<(String, String), u16>,
}

fn missing() -> SystemError {
    SystemError { number: 2, text: "No such file or directory".to_owned() }
}

impl Host for Sandbox {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        if path == Path::new("/etc/xinetd.conf") { Ok(self.file.clone()) } else { Err(missing()) }
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        if self.directories.contains(path) { Ok(Vec::new()) } else { Err(missing()) }
    }
    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        let absent = self.missing.contains(&format!("server {}", path.display()));
        if absent { Err(missing()) } else { Ok(()) }
    }
    fn user(&self, name: &str) -> Option<User> {
        let known = !self.missing.contains(&format!("user {name}"));
        known.then(|| User { name: name.to_owned(), uid: 20000, gid: 20000 })
    }
    fn user_by_id(&self, _: u32) -> Option<User> {
        None
    }
    fn group(&self, name: &str) -> Option<u32> {
        (!self.missing.contains(&format!("group {name}"))).then_some(20000)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.services.get(&(name.to_owned(), protocol.to_owned())).copied()
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        [("tcp", 6), ("udp", 17)].into_iter().find(|(known, _)| *known == name).map(|(_, number)| number)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        Some(100_000).filter(|_| name != "nosuch")
    }
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let all: [IpAddr; 1] = [std::net::Ipv4Addr::LOCALHOST.into()];
        if name == "localhost" && family != Family::V6 { all.to_vec() } else { Vec::new() }
    }
    fn network(&self, _: &str) -> Option<u32> {
        None
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "PATH").then(|| "/bin".to_owned())
    }
    fn hosts_tables_active(&self) -> bool {
        false
    }
}

/// A recorded reading in one of its three modes.
struct Golden {
    name: String,
    accepted: Vec<String>,
    messages: Vec<String>,
    sandbox: Sandbox,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `disable = yes` turned into `no`, as the recording did it.
fn enabled(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in file.split_inclusive(|&b| b == b'\n') {
        let text = String::from_utf8_lossy(line).to_lowercase();
        let value = text.trim_start().strip_prefix("disable").map(str::trim_start);
        let value = value.and_then(|rest| rest.strip_prefix('=')).map(str::trim_start);
        let whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        match value.and_then(|value| value.strip_prefix("yes")).filter(|rest| whole(rest)) {
            Some(rest) => {
                let yes = line.len() - rest.len() - 3;
                out.extend_from_slice(&line[..yes]);
                out.extend_from_slice(b"no");
                out.extend_from_slice(&line[yes + 3..]);
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// /etc/services of the machine, and for the prepared modes the declared names.
fn services(file: &[u8], prepared: bool) -> BTreeMap<(String, String), u16> {
    let mut services = BTreeMap::new();
    let table = std::fs::read_to_string("/etc/services").unwrap_or_default();
    for line in table.lines() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let [name, port, aliases @ ..] = words.as_slice() else { continue };
        let Some((port, protocol)) = port.split_once('/') else { continue };
        for name in [name].into_iter().chain(aliases) {
            let key = ((*name).to_owned(), protocol.to_owned());
            services.entry(key).or_insert_with(|| port.parse().unwrap_or(0));
        }
    }
    if !prepared {
        return services;
    }
    let (entries, _) = portreeve_conf::parse_file("/etc/xinetd.conf", file);
    for item in entries.items {
        let portreeve_conf::ast::Item::Entry(entry) = item else { continue };
        let Some(name) = entry.name else { continue };
        let port = entry.assignments.iter().find(|line| line.name.text == "port");
        let port = port.and_then(|line| line.values.first()?.text.parse().ok()).unwrap_or(30000);
        for protocol in ["tcp", "udp"] {
            services.entry((name.text.to_string(), protocol.to_owned())).or_insert(port);
        }
    }
    services
}

/// The included directory, and those of log files: a few on a bare machine, all of them on a prepared one.
fn directories(file: &[u8], prepared: bool) -> HashSet<PathBuf> {
    let mut directories: HashSet<PathBuf> =
        ["/etc/xinetd.d", "/var/log", "/var/tmp", "/var/run", "/tmp", "/root"].map(PathBuf::from).into();
    let text = String::from_utf8_lossy(file);
    let lines = text.lines().filter(|line| prepared && line.trim_start().starts_with("log_type"));
    let words = lines.flat_map(str::split_whitespace).filter(|word| word.starts_with('/'));
    directories.extend(words.filter_map(|word| Path::new(word).parent().map(PathBuf::from)));
    directories
}

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !folder.join("golden/xinetd.jsonl").exists() {
        skip(Reason::NoShared);
    } else if !Path::new("/etc/services").exists() {
        skip(Reason::absent("netbase"));
    } else {
        return Some(folder);
    }
    None
}

fn goldens() -> Vec<Golden> {
    let Some(corpus) = corpus() else { return Vec::new() };
    let text = std::fs::read_to_string(corpus.join("golden/xinetd.jsonl")).expect("recorded answers");
    let mut goldens = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = value["file"].as_str().expect("a file name");
        let original = std::fs::read(corpus.join(name)).expect("the recorded file");
        for (mode, suffix) in [("asis", ""), ("deep", "_deep"), ("enabled", "_enabled")] {
            let Some(accepted) = value.get(format!("accepted{suffix}")) else { continue };
            let file = if mode == "enabled" { enabled(&original) } else { original.clone() };
            let messages = strings(&value[format!("messages{suffix}")]);
            let sandbox = Sandbox {
                missing: messages.iter().filter_map(|message| absent(message)).collect(),
                directories: directories(&file, mode != "asis"),
                services: services(&file, mode != "asis"),
                file,
            };
            goldens.push(Golden {
                name: format!("{name} [{mode}]"),
                accepted: strings(accepted),
                messages,
                sandbox,
            });
        }
    }
    assert!(goldens.len() > 500, "only {} readings", goldens.len());
    goldens
}

/// What a recorded message says is not there.
fn absent(message: &str) -> Option<String> {
    let between = |from: &str, to: &str| {
        let rest = message.split_once(from)?.1;
        Some(rest.split(to).next()?.to_owned())
    };
    if let Some(server) = between("{server_parser} Server ", " is not executable") {
        return Some(format!("server {server}"));
    }
    if let Some(user) = between("Unknown user: ", " [") {
        return Some(format!("user {user}"));
    }
    between("Unknown group: ", " [").map(|group| format!("group {group}"))
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// Services that xinetd served and we do not, or the other way round, each with the rule of differences.md.
fn explained(golden: &Golden, name: &str, reading: &Reading) -> bool {
    let reason = reading.left_out.iter().filter(|left| left.name == name).map(|left| left.reason.as_str());
    let later = reason.clone().any(|reason| reason.contains("later release"));
    let failed = |text: &str| golden.messages.iter().any(|message| message.contains(text));
    // What only opening sockets, logs or the portmapper shows: `check` opens none.
    let at_start = failed(&format!("Service {name} failed to start and is deactivated."));
    later
        || at_start
        || revived(name).any(|line| golden.messages.iter().any(|message| message.contains(&line)))
}

/// What xinetd says of a built-in that it has no more and we have (differences.md, built-ins-of-2003).
fn revived(name: &str) -> impl Iterator<Item = String> {
    let known = ["servers", "services", "xadmin"].contains(&name);
    known.then(|| format!("No such internal service: {name}/stream - DISABLING")).into_iter()
}

#[test]
fn the_same_services_are_accepted() {
    let mut unexplained = Vec::new();
    for golden in goldens() {
        let reading = read(&golden.sandbox, Path::new("/etc/xinetd.conf"));
        let got = sorted(reading.services.iter().map(|service| service.name.to_string()));
        let want = sorted(golden.accepted.clone());
        let count = |names: &[String], name: &str| names.iter().filter(|other| *other == name).count();
        let names: HashSet<&String> = got.iter().chain(&want).collect();
        for name in names {
            if count(&got, name) != count(&want, name) && !explained(&golden, name, &reading) {
                unexplained.push(format!("{}: {name}: want {want:?} got {got:?}", golden.name));
            }
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Notice => "NOTICE",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

/// The log without what is ours: warnings and errors that xinetd does not have.
fn classic_lines(reading: &Reading) -> Vec<String> {
    let mut own: Vec<&str> = reading
        .diagnostics
        .iter()
        .filter(|finding| finding.classic.is_none() && finding.severity > Severity::Note)
        .map(|finding| finding.message.as_str())
        .collect();
    let mut lines = Vec::new();
    for line in &reading.log {
        let bare = line.text.split(" [file=").next().unwrap_or_default();
        if let Some(at) = own.iter().position(|message| *message == bare) {
            own.remove(at);
        } else {
            lines.push(format!("{}: {}", level(line.level), line.text));
        }
    }
    lines
}

/// What the daemon says when it starts services, not the reader.
const STARTING: [&str; 5] =
    ["{main}", "{cnf_start_services}", "{activate_rpc}", "{activate_normal}", "{start_filelog}"];

fn line_number(message: &str) -> Option<u32> {
    message.rsplit_once("[line=")?.1.trim_end_matches(']').parse().ok()
}

#[test]
fn the_same_lines_are_logged() {
    let mut differences = Vec::new();
    for golden in goldens() {
        let reading = read(&golden.sandbox, Path::new("/etc/xinetd.conf"));
        let mut got = classic_lines(&reading);
        // That a log file cannot be created is known before the start here.
        let said_by = |line: &String, function: &str| {
            golden.messages.contains(&line.replacen(": ", &format!(": {{{function}}} "), 1))
        };
        let at_start = |line: &String| said_by(line, "cnf_start_services") || said_by(line, "start_filelog");
        got.retain(|line| !at_start(line));
        let mut want: Vec<String> = golden
            .messages
            .iter()
            .filter(|message| !STARTING.iter().any(|function| message.contains(function)))
            .map(|message| {
                let (head, rest) = message.split_once('{').unwrap();
                format!("{head}{}", rest.split_once("} ").unwrap().1)
            })
            .collect();
        // A trailing comment is one: xinetd's complaint about that line is gone.
        let comments: HashSet<u32> = reading
            .diagnostics
            .iter()
            .filter(|finding| finding.code == "trailing-comment")
            .filter_map(|finding| finding.place.as_ref().map(|place| place.line))
            .collect();
        want.retain(|message| line_number(message).is_none_or(|line| !comments.contains(&line)));
        // `disable = no` never revives: such a service is removed instead of failing for what it then lacks.
        for left in &reading.left_out {
            let removing = format!("DEBUG: removing {}", left.name);
            if got.contains(&removing) && !want.contains(&removing) {
                got.retain(|line| *line != removing);
                want.retain(|line| line.contains("[file=") || !line.contains(&format!(" {}", left.name)));
            }
        }
        // A built-in that xinetd has no more: instead of that, what is said of any service.
        for service in &reading.services {
            if let Some(line) =
                revived(&service.name).find(|line| want.iter().any(|message| message.contains(line)))
            {
                want.retain(|message| !message.contains(&line));
                let of_any = format!("INFO: Service {} will use IPv6 or fallback to IPv4", service.name);
                got.retain(|message| !message.starts_with(&of_any));
            }
        }
        if got != want {
            let rows = |lines: &[String], other: &[String], mark: &str| {
                let only = lines.iter().filter(|line| !other.contains(line));
                only.map(|line| format!("  {mark} {line}")).collect::<Vec<_>>().join("\n")
            };
            let want_only = rows(&want, &got, "want");
            differences.push(format!("{}\n{want_only}\n{}", golden.name, rows(&got, &want, "got ")));
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
}
