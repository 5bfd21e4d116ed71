//! The executable as a person or a script calls it: arguments in, exit code and text out. Needs no daemon; where one
//! would answer, a thread plays it.

mod executable;

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PORTREEVE: &str = env!("CARGO_BIN_EXE_portreeve");

/// A directory of this test's own, removed at its end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-commands-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }
    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("writable");
        path
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn portreeve(arguments: &[&str]) -> Output {
    Command::new(PORTREEVE)
        .args(arguments)
        .env_remove("PORTREEVE_CONTROL")
        .env_remove("XDG_RUNTIME_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("portreeve runs")
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(output)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

const GOOD: &str = "service hello\n{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\tport = 20123\n\twait = no\n\
\tuser = root\n\tserver = /bin/sh\n\tonly_from = 192.0.2.0/24\n}\n";

#[test]
fn check_of_a_good_file_is_clean() {
    let room = Room::new("good");
    let file = room.file("xinetd.conf", GOOD);
    let output = portreeve(&["check", "-f", text(&file), "--json"]);
    let answer = json(&output);
    assert_eq!(answer["services"][0]["name"], "hello");
    assert_eq!(answer["services"][0]["accepted"], true);
    assert_eq!(answer["services"][0]["port"], Value::Null, "the port is in the address");
    assert_eq!(answer["services"][0]["address"], "[::]:20123");
    assert_eq!(answer["diagnostics"], serde_json::json!([]));
    assert_eq!(code(&output), Some(0));
    let shown = portreeve(&["check", "-f", text(&file)]);
    assert!(out(&shown).contains("would be served"), "{}", out(&shown));
    assert!(!out(&shown).contains('\x1b'), "no colour into a pipe");
}

/// A service without a port of its own is not said to have one.
#[test]
fn check_shows_no_port_where_there_is_none() {
    let room = Room::new("portless");
    let entry = |name: &str, lines: &str| {
        let common = "socket_type = stream\nprotocol = tcp\nwait = no\nuser = root\nserver = /bin/sh";
        format!("service {name}\n{{\n{common}\n{lines}\n}}\n")
    };
    let muxed = entry("muxed", "type = TCPMUX UNLISTED");
    let rpc = entry("called", "type = RPC UNLISTED\nrpc_number = 100077\nrpc_version = 1-3");
    let file = room.file("xinetd.conf", format!("{muxed}{rpc}"));
    let shown = out(&portreeve(&["check", "-f", text(&file)]));
    assert!(shown.contains("behind tcpmux"), "{shown}");
    assert!(shown.contains("[::]/tcp RPC program 100077 versions 1-3"), "{shown}");
    assert!(!shown.contains(":0"), "{shown}");
    let services = &json(&portreeve(&["check", "-f", text(&file), "--json"]))["services"];
    assert_eq!(services[0]["address"], "tcpmux");
    assert_eq!(services[1]["address"], "[::]");
    assert_eq!(services[1]["rpc"], serde_json::json!({"program": 100077, "versions": [1, 3]}));
}

#[test]
fn check_names_what_would_not_be_served() {
    let room = Room::new("bad");
    let bad = GOOD.replace("hello", "broken").replace("user = root", "user = no\x1bbody");
    let off = GOOD.replace("hello", "off").replace("20123", "20124").replace("{\n", "{\n\tdisable = yes\n");
    let file = room.file("xinetd.conf", format!("{GOOD}{bad}{off}"));
    let output = portreeve(&["check", "-f", text(&file), "--json"]);
    let answer = json(&output);
    let service = |id: &str| {
        let services = answer["services"].as_array().expect("services");
        services.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("{id} in {answer}")).clone()
    };
    assert_eq!(service("hello")["accepted"], true);
    assert_eq!(service("broken")["accepted"], false);
    assert_eq!(service("broken")["intended"], false);
    assert_eq!(service("off")["intended"], true);
    let diagnostic = &answer["diagnostics"][0];
    assert_eq!((&diagnostic["severity"], &diagnostic["line"]), (&"error".into(), &19.into()), "{diagnostic}");
    assert_eq!(code(&output), Some(1));
    let shown = portreeve(&["check", "-f", text(&file)]);
    assert!(!out(&shown).contains('\x1b'), "control bytes are escaped: {}", out(&shown));
    assert!(out(&shown).contains("no\\x1bbody"), "{}", out(&shown));
    assert!(out(&shown).contains("1 served, 1 not served, 1 switched off"), "{}", out(&shown));
}

#[test]
fn check_survives_any_bytes() {
    let room = Room::new("bytes");
    let mut bytes = GOOD.as_bytes().to_vec();
    bytes.extend((0..=255u8).cycle().take(5000));
    bytes.extend(b"\nservice \xff\xfe\n{\n\tport = \x00\xff\n}\n");
    let file = room.file("xinetd.conf", bytes);
    for arguments in [&["check", "-f", text(&file)][..], &["check", "--json", "-f", text(&file)]] {
        let output = portreeve(arguments);
        assert_eq!(code(&output), Some(1), "{}", err(&output));
        let printed = out(&output);
        assert!(!printed.chars().any(|c| c.is_control() && c != '\n'), "{printed:?}");
    }
}

#[test]
fn check_of_what_cannot_be_read_could_not_run() {
    let output = portreeve(&["check", "-f", "/nonexistent/xinetd.conf", "--json"]);
    assert_eq!(json(&output)["fatal"], "unreadable");
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("/nonexistent/xinetd.conf"), "{}", err(&output));
}

#[test]
fn bad_defaults_leave_nothing() {
    let room = Room::new("defaults");
    let file = room.file("xinetd.conf", format!("defaults\n{{\n\tinstances = some\n}}\n{GOOD}"));
    let output = portreeve(&["check", "-f", text(&file), "--json"]);
    let answer = json(&output);
    assert_eq!(answer["fatal"], "defaults");
    let services = answer["services"].as_array().expect("services");
    assert!(services.iter().all(|service| service["accepted"] == false), "{answer}");
    assert_eq!(code(&output), Some(1));
}

#[test]
fn check_looks_at_the_tables_that_are_named() {
    let room = Room::new("tables");
    let allow = room.file("allow", b"sshd: 10.0.0.1/255.255.255.255 \\\n  10.1\x1b\nsshd: [10.0.0.2]\xff\n");
    let deny = room.file("deny", "ALL: ALL\n");
    let output = portreeve(&["check", "--allow", text(&allow), "--deny", text(&deny)]);
    let shown = out(&output);
    assert_eq!(code(&output), Some(1), "{shown}");
    for wanted in [
        "error[mask-never-matches]",
        &format!("{}:1:7", text(&allow)),
        "help: write `10.0.0.1`",
        "allow read, ",
        "deny read: 1 error, 0 warnings, 0 notes",
    ] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert!(!shown.contains('\x1b') && !shown.contains("would be served"), "{shown}");
    let answer = json(&portreeve(&["check", "--json", "--allow", text(&allow)]));
    let finding = &answer["diagnostics"][0];
    assert_eq!((&finding["line"], &finding["column"]), (&1.into(), &7.into()), "{finding}");
    assert_eq!(finding["replacement"], "10.0.0.1");
    assert_eq!(
        answer["tables"],
        serde_json::json!([{ "table": "allow", "file": text(&allow), "state": "read" }])
    );
    let fine = portreeve(&["check", "--deny", text(&deny)]);
    assert_eq!(code(&fine), Some(0), "{}", out(&fine));
    // Notes and warnings are told, and are no reason to fail.
    let notes = room.file("notes", "22: LOCAL\nsshd: .1\n");
    let told = portreeve(&["check", "--deny", text(&notes)]);
    assert_eq!(code(&told), Some(0), "{}", out(&told));
    assert!(out(&told).contains("0 errors, 1 warning, 2 notes"), "{}", out(&told));
    let missing = portreeve(&["check", "--allow", "/nonexistent/hosts.allow"]);
    assert_eq!(code(&missing), Some(2));
    assert!(err(&missing).contains("/nonexistent/hosts.allow cannot be read"), "{}", err(&missing));
}

#[test]
fn check_looks_at_configuration_and_tables_together() {
    let room = Room::new("together");
    let file = room.file("xinetd.conf", GOOD.replace("{\n", "{\n\tflags = NOLIBWRAP\n"));
    let deny = room.file("deny", "ALL: *::1\n");
    let both = portreeve(&["check", "-f", text(&file), "--deny", text(&deny)]);
    assert_eq!(code(&both), Some(1), "{}", out(&both));
    assert!(
        out(&both).contains("would be served") && out(&both).contains("error[unbracketed-ipv6]"),
        "{}",
        out(&both)
    );
    // No service is subject to them, and nobody named them.
    let alone = json(&portreeve(&["check", "-f", text(&file), "--json"]));
    assert_eq!(alone["tables"], serde_json::json!([]));
}

#[test]
fn explain_answers_from_a_file() {
    let room = Room::new("explain");
    let file = room.file("xinetd.conf", GOOD);
    let refused = portreeve(&["explain", "hello", "127.0.0.1", "-f", text(&file), "--json"]);
    let answer = json(&refused);
    assert_eq!((code(&refused), &answer["verdict"]), (Some(1), &"refuse".into()));
    let refusing =
        answer["checks"].as_array().expect("checks").iter().find(|c| c["outcome"] == "refuse").expect("one");
    assert_eq!((&refusing["name"], &refusing["line"]), (&"only_from".into(), &10.into()), "{refusing}");
    let admitted = portreeve(&["explain", "hello", "192.0.2.1", "--file", text(&file), "--at", "03:00"]);
    assert_eq!(code(&admitted), Some(0), "{}", err(&admitted));
    assert!(out(&admitted).starts_with("hello from 192.0.2.1: admit\n"), "{}", out(&admitted));
    let unknown = portreeve(&["explain", "nobody", "192.0.2.1", "--file", text(&file)]);
    assert_eq!(code(&unknown), Some(2));
    assert!(err(&unknown).contains("it has: hello"), "{}", err(&unknown));
}

#[test]
fn a_daemon_that_is_not_there_is_named() {
    for command in
        [&["status"][..], &["reload"], &["ban"], &["ban", "list"], &["ban", "remove", "all"], &["dump"]]
    {
        let output = portreeve(&[command, &["--control", "/nonexistent/control"]].concat());
        assert_eq!(code(&output), Some(2), "{command:?}");
        assert!(err(&output).contains("no daemon answers at /nonexistent/control"), "{}", err(&output));
        assert_eq!(out(&output), "");
    }
}

/// A daemon that answers one request; gives back what it was asked.
fn daemon(room: &Room, answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let path = room.0.join("control");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut asked = String::new();
        while !asked.ends_with('\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole line");
            asked.push(char::from(byte[0]));
        }
        stream.write_all(answer.as_bytes()).expect("the client reads");
        asked
    });
    (text(&path).to_owned(), thread)
}

#[test]
fn what_the_daemon_is_asked_and_what_is_made_of_its_answer() {
    let room = Room::new("daemon");
    for (arguments, answer, asked, printed, exit) in [
        (
            &["status"][..],
            r#"{"ok":true,"pid":7,"services":[{"id":"a","state":"failed","note":"b\u001b"}]}"#,
            "status\n",
            "a: b\\x1b\n",
            1,
        ),
        (&["status", "--json"], r#"{"ok":true,"services":[]}"#, "status\n", "\"ok\": true", 0),
        (
            &["explain", "a", "::ffff:192.0.2.1", "--at", "1:05"],
            r#"{"ok":true,"verdict":"refuse","checks":[{"name":"access_times","outcome":"refuse","detail":"d","file":"/f","line":3}]}"#,
            "explain a ::ffff:192.0.2.1 65\n",
            "access_times  refuse   d       /f:3",
            1,
        ),
        (&["denied"], r#"{"ok":true,"list":[]}"#, "bans\n", "nobody is banned\n", 0),
        (
            &["ban", "list"],
            r#"{"ok":true,"list":[{"network":"192.0.2.1","seconds_left":61,"by":"sensor","reason":"x"},{"network":"2001:db8::/64","seconds_left":null,"by":"operator","reason":""}]}"#,
            "bans\n",
            "192.0.2.1      1m 1s          sensor    x\n2001:db8::/64  until removed  operator",
            0,
        ),
        (
            &["ban", "add", "::ffff:192.0.2.0/120", "--for", "2h", "--reason", "noel \"x\""],
            r#"{"ok":true,"network":"192.0.2.0/24","seconds_left":7200,"bans":{"kernel":"not used"},"not_kept":"there is no ledger: off"}"#,
            "ban 192.0.2.0/24 7200 noel \"x\"\n",
            "192.0.2.0/24 is banned for 2h\nonly this daemon's own services are closed to it: the kernel is not used\nnot kept over a restart: there is no ledger: off\n",
            0,
        ),
        (
            &["ban", "add", "192.0.2.1", "--forever"],
            r#"{"ok":false,"error":"192.0.2.1 is protected: a gateway of this host"}"#,
            "ban 192.0.2.1 forever\n",
            "",
            2,
        ),
        (
            &["ban", "why", "192.0.2.1"],
            r#"{"ok":true,"banned":true,"list":[{"network":"192.0.2.0/24","by":"operator","reason":"r"}]}"#,
            "why 192.0.2.1\n",
            "192.0.2.1 is banned\n  network       for another    by        reason\n  192.0.2.0/24  until removed  operator  r\n",
            1,
        ),
        (
            &["ban", "remove", "192.0.2.1"],
            r#"{"ok":true,"removed":1}"#,
            "unban 192.0.2.1\n",
            "192.0.2.1 is let in again",
            0,
        ),
        (
            &["ban", "status"],
            r#"{"ok":true,"held":2,"most":9,"bans":{"kernel":"enforced","enforced":1,"wanted":2,"table":"t"}}"#,
            "bans\n",
            "bans: 2, of at most 9\nbans: enforced 1 of 2 in the kernel",
            0,
        ),
        (&["reload"], r#"{"ok":true,"applied":true,"new":["x"]}"#, "reload\n", "applied\n  new: x\n", 0),
        (&["reload"], r#"{"ok":true,"applied":false}"#, "reload\n", "not applied", 1),
        (
            &["dump"],
            r#"{"ok":true,"file":"/run/portreeve/dump"}"#,
            "dump\n",
            "dumped to /run/portreeve/dump\n",
            0,
        ),
    ] {
        let (control, thread) = daemon(&room, answer);
        let output = portreeve(&[arguments, &["--control", &control]].concat());
        assert_eq!(thread.join().expect("the daemon"), asked);
        assert!(out(&output).contains(printed), "{arguments:?}: {} {}", out(&output), err(&output));
        assert_eq!(code(&output), Some(exit), "{arguments:?}");
    }
}

#[test]
fn links_answer_to_the_name_and_keep_what_is_there() {
    let room = Room::new("links");
    let made = portreeve(&["links", text(&room.0)]);
    assert_eq!(code(&made), Some(0), "{}", err(&made));
    assert!(room.0.join("xinetd").is_symlink());
    assert_eq!(code(&portreeve(&["links", text(&room.0)])), Some(0), "a second time changes nothing");
    fs::remove_file(room.0.join("xinetd")).expect("removable");
    let foreign = room.file("xinetd", "foreign");
    assert_eq!(code(&portreeve(&["links", text(&room.0)])), Some(1));
    assert_eq!(fs::read(foreign).expect("readable"), b"foreign");
}

#[test]
fn wrong_calls_end_with_two_and_help_with_zero() {
    for wrong in [&["nonsense"][..], &["check", "--nonsense"], &["explain", "a", "not-an-address"], &[]] {
        assert_eq!(code(&portreeve(wrong)), Some(2), "{wrong:?}");
    }
    for right in [
        &["--help"][..],
        &["--version"],
        &["check", "--help"],
        &["version", "--json"],
        &["attributes"],
        &["attributes", "--json"],
    ] {
        assert_eq!(code(&portreeve(right)), Some(0), "{right:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&portreeve(&["completions", shell])).contains("portreeve"), "{shell}");
    }
}

#[test]
fn a_wrong_attribute_is_answered_with_the_nearest() {
    let output = portreeve(&["attributes", "only_form"]);
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("'only_from'"), "{}", err(&output));
    assert!(out(&portreeve(&["attributes", "ONLY_FROM"])).starts_with("only_from "));
    assert!(
        out(&portreeve(&["completions", "bash"])).contains("per_source_prefix"),
        "shells complete the names"
    );
}

#[test]
fn a_gate_that_is_not_there_is_named() {
    let room = Room::new("gate");
    let alone = room.0.join("portreeve");
    executable::copy(PORTREEVE, &alone);
    let output =
        Command::new(&alone).arg("run").env("PATH", ".").current_dir(&room.0).output().expect("it runs");
    assert_eq!(code(&output), Some(2));
    assert!(err(&output).contains("portreeve-gate was not found"), "{}", err(&output));
    assert!(err(&output).contains(text(&room.0)), "{}", err(&output));
}

/// The gate of this installation lies where it does not find `portreeve`: no TLS would be served.
#[test]
fn check_says_that_nobody_serves_tls() {
    let room = Room::new("nobody-serves-tls");
    let tls = GOOD.replace("\tonly_from", "\ttls_cert = /absent.pem\n\ttls_key = /absent.key\n\tonly_from");
    let config = room.file("xinetd.conf", tls);
    for (own, finds) in [("sbin", false), ("bin", true)] {
        let gate = room.0.join(own).join("lib/portreeve");
        fs::create_dir_all(&gate).expect("a new directory");
        let gate = gate.join("portreeve-gate");
        executable::write(&gate, "");
        let directory = room.0.join(own).join(own);
        fs::create_dir_all(&directory).expect("a new directory");
        executable::copy(PORTREEVE, directory.join("portreeve"));
        let output = Command::new(directory.join("portreeve"))
            .args(["check", "-f", text(&config), "--json"])
            .output()
            .expect("it runs");
        let answer = json(&output);
        let said = answer["diagnostics"].as_array().expect("a list");
        let of = said.iter().find(|finding| finding["code"] == "tls-program");
        assert_eq!(of.is_none(), finds, "{answer}");
        assert_eq!(answer["services"][0]["held"], true, "its files are absent: {answer}");
        assert_eq!(code(&output), Some(1));
        if let Some(of) = of {
            assert_eq!((&of["service"], &of["line"]), (&Value::from("hello"), &Value::from(10)), "{of}");
            assert!(of["message"].as_str().unwrap_or_default().contains("lib/portreeve/portreeve"), "{of}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(PORTREEVE)
        .args(["attributes", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("portreeve runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    assert_eq!(err(&output), "");
}

#[test]
fn an_inetd_conf_is_checked_and_explained_at_its_lines() {
    let room = Room::new("inetd");
    let (inetd, main) = (room.0.join("inetd.conf"), room.0.join("xinetd.conf"));
    fs::write(
        &inetd,
        "# files\n7010 stream tcp nowait root /bin/echo echo x\n/run/x stream unix nowait root /bin/x x\n",
    )
    .unwrap();
    fs::write(&main, "defaults\n{\n\tonly_from = 192.0.2.0/24\n}\n").unwrap();
    let (inetd, main) = (text(&inetd), text(&main));
    let checked = portreeve(&["check", "--inetd", inetd]);
    assert_eq!(code(&checked), Some(1), "{}", err(&checked));
    assert!(out(&checked).contains(&format!("{inetd}:3")), "{}", out(&checked));
    assert!(out(&checked).contains("7010"), "{}", out(&checked));

    let explained = portreeve(&["explain", "7010", "198.51.100.7", "--inetd", inetd]);
    assert_eq!(code(&explained), Some(0), "{}", err(&explained));
    let explained = portreeve(&["explain", "7010", "198.51.100.7", "--inetd", inetd, "-f", main]);
    assert_eq!(code(&explained), Some(1), "{}", err(&explained));
    assert!(out(&explained).contains(&format!("{main}:3")), "{}", out(&explained));

    let missing = portreeve(&["check", "--inetd", "/nowhere/inetd.conf"]);
    assert_eq!(code(&missing), Some(2));
    assert!(err(&missing).contains("/nowhere/inetd.conf"), "{}", err(&missing));
}
