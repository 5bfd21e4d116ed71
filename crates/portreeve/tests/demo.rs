//! The demonstration from end to end: started as a person starts it, tried with real connections, asked over its
//! control socket, ended by a signal; nothing of it may be left. And how a call reaches the gate. Has the gate built.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A bound on each wait, far above what anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// `portreeve`, with `portreeve-gate` beside it: those of `scripts/test`, or the ones of this build.
fn portreeve() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        if let Some(path) = std::env::var_os("PORTREEVE") {
            return path.into();
        }
        let own = PathBuf::from(env!("CARGO_BIN_EXE_portreeve"));
        let target = own.parent().and_then(Path::parent).expect("target/debug/portreeve");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--offline", "-p", "portreeve-gate", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the gate is built");
        own
    })
}

/// A running demonstration. Dropping it kills it, should a test fail in between.
struct Demo {
    child: Child,
    events: Receiver<Value>,
    ready: Value,
    program: PathBuf,
}

impl Demo {
    fn start(program: &Path, user: Option<u32>) -> Self {
        let mut command = Command::new(program);
        command.args(["demo", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().expect("the demonstration starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (send, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if send.send(event).is_err() {
                    break;
                }
            }
        });
        let mut demo = Self { child, events, ready: Value::Null, program: program.to_owned() };
        demo.ready = demo.wait(|event| event["event"] == "ready");
        demo
    }

    /// The next event that is wanted.
    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(LONG) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => seen.push(event),
                Err(error) => panic!("{error}; seen: {seen:#?}"),
            }
        }
    }

    fn wait_line(&self, part: &str) {
        self.wait(|event| event["line"].as_str().is_some_and(|line| line.contains(part)));
    }

    fn connect(&self, service: &str) -> TcpStream {
        let services = self.ready["services"].as_array().expect("services");
        let found = services.iter().find(|s| s["name"] == service).expect(service);
        let port = u16::try_from(found["port"].as_u64().expect("a port")).expect("a port");
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
        stream.set_read_timeout(Some(LONG)).expect("settable");
        stream
    }

    /// All that the service says to somebody who says nothing. A refused client may see a reset.
    fn hear(&self, service: &str) -> String {
        let mut text = String::new();
        let _ = self.connect(service).read_to_string(&mut text);
        text
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let control = self.ready["control"].as_str().expect("a socket");
        Command::new(&self.program)
            .args(arguments)
            .args(["--control", control])
            .output()
            .expect("portreeve runs")
    }

    fn ask_json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Ends it and looks for what may be left.
    fn end(mut self, signal: Signal) {
        let gate = Pid::from_raw(i32::try_from(self.ready["pid"].as_i64().expect("a pid")).expect("a pid"))
            .expect("a pid");
        let house = PathBuf::from(self.ready["configuration"].as_str().expect("a path"));
        let house = house.parent().expect("a directory").to_owned();
        assert!(house.is_dir() && test_kill_process(gate).is_ok(), "it runs until now");
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        self.wait(|event| event["event"] == "end");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        assert!(test_kill_process(gate).is_err(), "the gate has ended");
        assert!(!house.exists(), "{} is removed", house.display());
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // SIGTERM, so that it takes its gate along; the kernel keeps the id until the child is waited for.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// A directory of this test's own, removed at its end.
struct Room(PathBuf);

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the first screen of the README promises.
fn serves_refuses_and_explains(demo: &Demo) {
    assert!(demo.hear("hello").starts_with("hello 127.0.0.1"), "a program for each client");
    demo.wait_line("START: hello pid=");
    demo.wait_line("EXIT: hello status=0");

    let mut echo = demo.connect("echo");
    echo.write_all(b"anyone there\n").expect("writable");
    let mut back = [0; 13];
    echo.read_exact(&mut back).expect("an echo");
    assert_eq!(&back, b"anyone there\n");
    drop(echo);
    assert!(demo.hear("daytime").ends_with("\r\n"));

    assert_eq!(demo.hear("elsewhere"), "");
    demo.wait_line("FAIL: elsewhere address from=127.0.0.1");
    assert_eq!(demo.hear("hours"), "");
    demo.wait_line("FAIL: hours time from=127.0.0.1");

    let explained = demo.ask_json(&["explain", "elsewhere", "127.0.0.1"]);
    assert_eq!(explained["verdict"], "refuse", "{explained}");
    let checks = explained["checks"].as_array().expect("checks");
    let refusing = checks.iter().find(|check| check["outcome"] == "refuse").expect("a check refuses");
    assert_eq!(refusing["name"], "only_from");
    assert_eq!(refusing["file"], demo.ready["configuration"], "the file that decides is named");
    assert_eq!(demo.ask(&["explain", "hello", "127.0.0.1"]).status.code(), Some(0));

    let status = demo.ask_json(&["status"]);
    let service = |id: &str| {
        let services = status["services"].as_array().expect("services");
        services.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("{id} in {status}")).clone()
    };
    assert_eq!(service("hello")["accepted"], 1, "{status}");
    assert_eq!(service("elsewhere")["refused"]["address"], 1, "{status}");
    assert_eq!(service("hours")["refused"]["time"], 1, "{status}");
    let shown = demo.ask(&["status"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown));
    assert!(text(&shown).contains("hello"), "{}", text(&shown));
}

#[test]
fn it_serves_refuses_explains_and_leaves_nothing() {
    let demo = Demo::start(portreeve(), None);
    serves_refuses_and_explains(&demo);
    demo.end(Signal::INT);
}

#[test]
fn the_tripwire_denies_and_can_be_cleared() {
    let demo = Demo::start(portreeve(), None);
    assert_eq!(demo.hear("tripwire"), "");
    demo.wait_line("FAIL: tripwire address");
    let denied = demo.ask_json(&["ban", "list"]);
    assert_eq!(denied["list"][0]["network"], "127.0.0.1", "{denied}");
    assert!(denied["list"][0]["seconds_left"].as_u64().is_some_and(|left| left <= 60), "{denied}");
    assert_eq!(demo.hear("hello"), "", "who touched it is denied everywhere");
    demo.wait_line("FAIL: hello address");
    let cleared = demo.ask(&["ban", "remove", "all"]);
    assert_eq!(cleared.status.code(), Some(0), "{cleared:?}");
    assert!(demo.hear("hello").starts_with("hello "));
    demo.end(Signal::TERM);
}

#[test]
fn a_reload_without_a_change_keeps_everything() {
    let demo = Demo::start(portreeve(), None);
    let answer = demo.ask_json(&["reload"]);
    assert_eq!(answer["applied"], true, "{answer}");
    assert_eq!(answer["kept"].as_array().map(Vec::len), Some(6), "{answer}");
    let configuration = PathBuf::from(demo.ready["configuration"].as_str().expect("a path"));
    let good = fs::read_to_string(&configuration).expect("readable");
    fs::write(&configuration, good.replace("defaults\n{", "defaults\n{\n\tinstances = some"))
        .expect("writable");
    let refused = demo.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused).contains("the running configuration stays"), "{}", text(&refused));
    assert!(demo.hear("hello").starts_with("hello "), "the good one is in force");
    demo.end(Signal::HUP);
}

#[test]
fn it_needs_no_root() {
    if !rustix::process::geteuid().is_root() {
        return; // then every other test here shows it
    }
    const NOBODY: u32 = 65534;
    // Where this user may read and execute, which the build's directory need not be.
    let room = Room(std::env::temp_dir().join(format!("portreeve-demo-test-{}", std::process::id())));
    fs::create_dir(&room.0).expect("a new directory");
    // cp(1), since a descriptor of ours that writes to a program could be inherited by a fork of another test's thread,
    // and a program that is open for writing cannot be executed.
    let from = ["portreeve", "portreeve-gate"].map(|name| portreeve().with_file_name(name));
    assert!(Command::new("cp").args(from).arg(&room.0).status().expect("cp runs").success());
    let demo = Demo::start(&room.0.join("portreeve"), Some(NOBODY));
    serves_refuses_and_explains(&demo);
    demo.end(Signal::INT);
}

#[test]
fn the_link_takes_the_options_of_the_program_it_is_named_after() {
    let room = Room(std::env::temp_dir().join(format!("portreeve-link-test-{}", std::process::id())));
    fs::create_dir(&room.0).expect("a new directory");
    let made = Command::new(portreeve()).arg("links").arg(&room.0).output().expect("portreeve runs");
    assert!(made.status.success(), "{made:?}");
    let called =
        |option: &str| Command::new(room.0.join("xinetd")).arg(option).output().expect("the link runs");
    let version = called("-version");
    assert_eq!(version.status.code(), Some(0), "{version:?}");
    let unknown = called("-help");
    assert_eq!(unknown.status.code(), Some(2), "xinetd would start the daemon: {unknown:?}");
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("Usage: xinetd"), "{said}");
}

/// The options that `portreeve run --help` shows are the gate's own.
#[test]
fn the_help_of_run_shows_the_options_of_the_gate() {
    let gate = portreeve().with_file_name("portreeve-gate");
    let usage = Command::new(gate).args(["run", "-nonsense"]).output().expect("the gate runs");
    assert_eq!(usage.status.code(), Some(2), "an unknown option is a usage error");
    let usage = String::from_utf8_lossy(&usage.stderr).into_owned();
    let help = Command::new(portreeve()).args(["run", "--help"]).output().expect("portreeve runs");
    let help = text(&help);
    let options: Vec<_> = usage.lines().filter_map(|line| line.strip_prefix("  -")).collect();
    assert!(options.len() > 10, "{usage}");
    for line in options {
        let option = line.split_whitespace().next().expect("a word");
        assert!(
            help.contains(&format!("-{option} ")) || help.contains(&format!("-{option},")),
            "-{option} in {help}"
        );
    }
}
