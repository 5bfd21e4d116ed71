//! A world: network, mount and process namespaces of their own with one directory, one for each side of each test.
//! Decides what the machine's own state may not influence; whatever runs inside ends with it.

use crate::init::{HERE, read_answer};
use crate::side::Side;
use crate::skip::{Reason, has_programs, skip};
use crate::wait::until;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Private namespaces with a directory that both sides of the wall see.
pub struct World {
    /// The side this world is for.
    pub side: Side,
    directory: PathBuf,
    unshare: Child,
    orders: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
    /// Process number of init as this process sees it.
    init: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Status(i64),
    /// By this signal.
    Signal(i64),
}

/// Runs `body` for each selected side, both at the same time, each in a world of its own.
pub fn both(body: impl Fn(&World) + Sync) {
    run(&Side::selected(), &body);
}

/// Runs `body` for the original only: what is told here about it has no counterpart in ours.
pub fn theirs(body: impl Fn(&World) + Sync) {
    let sides: Vec<Side> = Side::selected().into_iter().filter(|s| *s == Side::Theirs).collect();
    run(&sides, &body);
}

/// Runs `body` for ours only: what the original cannot do.
pub fn ours(body: impl Fn(&World) + Sync) {
    let sides: Vec<Side> = Side::selected().into_iter().filter(|s| *s == Side::Ours).collect();
    run(&sides, &body);
}

fn run(sides: &[Side], body: &(impl Fn(&World) + Sync)) {
    if sides.is_empty() || !namespaces_available() {
        return;
    }
    if sides.contains(&Side::Theirs) && !has_programs(&["xinetd"]) {
        return;
    }
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // Worlds are entered by threads of their own: the thread of the test must stay where it is.
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> = sides
            .iter()
            .map(|&side| {
                let thread = std::thread::Builder::new().name(format!("{name} {}", side.name()));
                let job = move || {
                    let world = World::new(side);
                    world.enter();
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&world)));
                    if result.is_err() {
                        world.tell();
                    }
                    result.is_err()
                };
                thread.spawn_scoped(scope, job).expect("a thread")
            })
            .collect();
        let results: Vec<bool> = running.into_iter().map(|thread| thread.join().unwrap_or(true)).collect();
        sides
            .iter()
            .zip(results)
            .filter(|(_, failed)| *failed)
            .map(|(side, _)| side.name())
            .collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "failed for: {}", failed.join(", "));
}

fn namespaces_available() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip(Reason::NoRoot);
        return false;
    }
    if !has_programs(&["unshare", "ip"]) {
        return false;
    }
    let works = Command::new("unshare").args(["-n", "-m", "-p", "-f", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        skip(Reason::NoNamespaces);
        return false;
    }
    true
}

impl World {
    /// Makes the namespaces.
    ///
    /// # Panics
    /// When they cannot be set up although the machine can make namespaces.
    pub fn new(side: Side) -> World {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("portreeve-compliance-{}-{number}", std::process::id()));
        make_directory(&directory, side);
        let mut unshare = Command::new("unshare")
            .args(["-n", "-m", "-p", "-f", "--kill-child", "--"])
            .arg(probe_executable())
            .arg("init")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let stdin = unshare.stdin.take();
        let mut stdout = BufReader::new(unshare.stdout.take().expect("a pipe"));
        let ready = read_answer(&mut stdout).expect("init says that it is ready");
        if let Some(error) = ready.get("error") {
            panic!("the world could not be set up: {error}");
        }
        let init = ready.get("pid").and_then(Value::as_str).expect("init's number").to_owned();
        World { side, directory, unshare, orders: Mutex::new((stdin, stdout)), init }
    }

    /// Puts the calling thread into the world's network.
    pub fn enter(&self) {
        let file = File::open(format!("/proc/{}/ns/net", self.init)).expect("the world's network");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("to enter it");
    }

    /// `theirs` or `ours`, where ours differs on purpose. `difference` is its name in docs/guide/differences.md.
    pub fn fix<T>(&self, difference: &'static str, theirs: T, ours: T) -> T {
        assert!(difference.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        match self.side {
            Side::Theirs => theirs,
            Side::Ours => ours,
        }
    }

    /// Whether this is ours.
    pub fn is_ours(&self) -> bool {
        self.side == Side::Ours
    }

    /// The path, outside, of a file in the world's directory; inside it is `/run/w/NAME`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file, readable for everybody; gives its path inside.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.write_mode(name, content, 0o644)
    }

    /// Writes a file with a mode; gives its path inside.
    pub fn write_mode(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a directory");
        }
        if mode & 0o111 == 0 {
            std::fs::write(&path, content).expect("to write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("to set the mode");
        } else {
            write_program(&path, content.as_ref(), mode);
        }
        format!("{HERE}/{name}")
    }

    /// Copies a program of this machine into the world's directory; gives its path inside.
    pub fn copy_program(&self, from: impl AsRef<Path>, name: &str) -> String {
        let copied = Command::new("cp").arg(from.as_ref()).arg(self.path(name)).status();
        assert!(copied.expect("cp runs").success(), "{name}");
        format!("{HERE}/{name}")
    }

    /// Content of a file in the world's directory; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        std::fs::read(self.path(name)).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Content of a file of the machine.
    pub fn read_outside(&self, path: &str) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Covers a file of the machine with other content, inside only.
    pub fn cover(&self, path: &str, content: &str) {
        let name = format!("cover{}", path.replace('/', "-"));
        let source = self.write(&name, content);
        let (how, output) = self.run(&["/bin/mount", "--bind", &source, path], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
    }

    /// A file as processes inside see it, e.g. `/run/xinetd.dump` or `/proc/7/status`.
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// Starts a program inside: `argv[0]` is its path. Output goes to the files `NAME.out` and `NAME.err`.
    pub fn spawn(&self, name: &str, argv: &[&str], env: &[&str]) -> u32 {
        self.spawn_as(name, argv, env, None)
    }

    /// The same with another `argv[0]` than the path.
    pub fn spawn_as(&self, name: &str, argv: &[&str], env: &[&str], argv0: Option<&str>) -> u32 {
        let answer = self.order(&json!({
            "order": "spawn", "argv": argv, "env": env, "argv0": argv0,
            "stdout": format!("{HERE}/{name}.out"), "stderr": format!("{HERE}/{name}.err"),
        }));
        match answer.get("pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok()) {
            Some(pid) => pid,
            None => panic!("{argv:?} could not be started: {answer}"),
        }
    }

    /// How a process that was started, or inherited from a dead parent, ended; `None` while it runs.
    pub fn ended(&self, pid: u32) -> Option<Ended> {
        let answer = self.order(&json!({ "order": "ended", "pid": pid }));
        let how = answer.get("ended").filter(|v| !v.is_null())?;
        match how.get("signal").and_then(Value::as_i64) {
            Some(signal) => Some(Ended::Signal(signal)),
            None => Some(Ended::Status(how.get("code").and_then(Value::as_i64).unwrap_or(-1))),
        }
    }

    /// Waits for the end of a process.
    ///
    /// # Panics
    /// When it still runs at the deadline.
    pub fn wait(&self, pid: u32) -> Ended {
        match until(crate::DEADLINE, || self.ended(pid)) {
            Some(how) => how,
            None => panic!("process {pid} does not end"),
        }
    }

    /// Runs a program to its end; gives how it ended and what it printed on both channels.
    pub fn run(&self, argv: &[&str], env: &[&str]) -> (Ended, String) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("run{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let pid = self.spawn(&name, argv, env);
        let ended = self.wait(pid);
        (ended, self.read(&format!("{name}.out")) + &self.read(&format!("{name}.err")))
    }

    /// Sends a signal to a process inside; false when it is gone.
    pub fn signal(&self, pid: u32, signal: i32) -> bool {
        let answer = self.order(&json!({ "order": "signal", "pid": pid, "signal": signal }));
        answer.get("done").is_some()
    }

    /// Whether a process inside is alive (and not a zombie).
    pub fn alive(&self, pid: u32) -> bool {
        let stat = std::fs::read_to_string(self.inside(&format!("/proc/{pid}/stat"))).unwrap_or_default();
        let state = stat.rsplit(')').next().unwrap_or("").trim_start().chars().next();
        state.is_some_and(|s| s != 'Z' && s != 'X')
    }

    /// Numbers of the living processes inside whose command line contains `words`.
    pub fn processes(&self, words: &str) -> Vec<u32> {
        let Ok(list) = std::fs::read_dir(self.inside("/proc")) else { return Vec::new() };
        let mut found: Vec<u32> = list
            .flatten()
            .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
            .filter(|pid| {
                let line = std::fs::read(self.inside(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
                String::from_utf8_lossy(&line).replace('\0', " ").contains(words) && self.alive(*pid)
            })
            .collect();
        found.sort_unstable();
        found
    }

    fn order(&self, order: &Value) -> Value {
        let mut pipes = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = &mut *pipes;
        let stdin = stdin.as_mut().expect("init's orders");
        writeln!(stdin, "{order}").expect("to order");
        read_answer(stdout).expect("an answer from init")
    }

    /// Prints the configuration and logs; for a failure.
    #[allow(clippy::print_stderr)] // into the captured output of the test that failed
    fn tell(&self) {
        for name in ["xinetd.conf", "daemon.log", "daemon.err", "daemon.out"] {
            let text = self.read(name);
            if !text.is_empty() {
                let tail: Vec<&str> = text.lines().rev().take(60).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                eprintln!("--- {} {name}\n{}", self.side.name(), tail.join("\n"));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The end of init's input is the end of the process namespace and of all that is in it.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        let ended = until(Duration::from_secs(5), || self.unshare.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.unshare.kill();
            let _ = self.unshare.wait();
        }
        if std::env::var_os("PORTREEVE_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// By a process of its own: what another test's thread is just starting has all that is open here until its execve, and a program that
/// somebody has open for writing cannot be executed (ETXTBSY).
fn write_program(path: &Path, content: &[u8], mode: u32) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""])
        .arg(path)
        .arg(format!("{mode:o}"))
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh runs");
    writer.stdin.take().expect("a pipe").write_all(content).expect("taken");
    assert!(writer.wait().expect("it ends").success(), "{}", path.display());
}

fn make_directory(directory: &Path, side: Side) {
    std::fs::create_dir_all(directory.join("etc")).expect("a directory for the world");
    std::fs::create_dir_all(directory.join("log")).expect("a directory for logs");
    for path in [directory, &directory.join("etc"), &directory.join("log")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("to open it");
    }
    let etc = [
        ("hosts.allow", "# empty\n"),
        ("hosts.deny", "# empty\n"),
        ("hosts", HOSTS),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\nnetworks: files\n",
        ),
        ("resolv.conf", "# no server: names come from the hosts file\n"),
    ];
    for (name, text) in etc {
        let path = directory.join("etc").join(name);
        std::fs::write(&path, text).expect("to write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("to set the mode");
    }
    let _ = std::fs::write(directory.join("side"), side.name());
}

/// The hosts file of every world.
const HOSTS: &str = "127.0.0.1 localhost vm\n\
    ::1 localhost ip6-localhost\n\
    127.0.0.9 nine.example.org nine\n\
    127.0.0.10 ten.sub.example.org\n\
    127.0.0.11 eleven.other.test\n\
    fd00:0:0:1::1 six.example.org\n";

/// The probe is built beside the tests.
pub fn probe_executable() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let directory = test.ancestors().nth(2).expect("target directory");
    let path = directory.join("portreeve-compliance-probe");
    assert!(path.is_file(), "{} is not built; run the tests through cargo", path.display());
    path
}
