//! The walls around real workers: this program runs itself as a child, which confines itself and then tries what it must not,
//! or serves as the supervisor's worker would. As root it also shows that root is given up.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test with its own main")]

#[path = "confinement/zone.rs"]
mod zone;

use portreeve_sys::process::is_root;
use portreeve_sys::seqpacket;
use portreeve_sys::spawn::{ImageBuilder, Spawner, Stdio as ThirdDescriptor};
use portreeve_workers::protocol::{
    Answer, BuiltinKind, Family, FromBuiltin, FromResolver, MAX_MESSAGE, Missing, NamesAnswer, Outcome,
    Question, Referee, ToBuiltin, ToResolver, Worker, rules_messages,
};
use portreeve_workers::{confine, main as worker_main};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::CapabilitySets;
use std::ffi::CString;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

const CASES: &[(&str, fn())] = &[
    ("the_builtin_worker_reaches_nothing", the_builtin_worker_reaches_nothing),
    (
        "the_resolver_reads_where_names_live_and_nowhere_else",
        the_resolver_reads_where_names_live_and_nowhere_else,
    ),
    ("another_program_is_death", another_program_is_death),
    ("root_is_given_up", root_is_given_up),
    ("without_root_only_the_own_user_is_missing", without_root_only_the_own_user_is_missing),
    (
        "a_root_that_may_not_change_users_is_confined_all_the_same",
        a_root_that_may_not_change_users_is_confined_all_the_same,
    ),
    ("a_worker_ends_with_its_supervisor", a_worker_ends_with_its_supervisor),
    ("a_confined_builtin_serves_everything", a_confined_builtin_serves_everything),
    ("what_was_sent_to_a_crowd_is_not_answered", what_was_sent_to_a_crowd_is_not_answered),
    ("a_confined_resolver_answers_everything", a_confined_resolver_answers_everything),
    (
        "a_confined_resolver_asks_dns_and_tells_no_from_nobody",
        a_confined_resolver_asks_dns_and_tells_no_from_nobody,
    ),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().map(String::as_str) == Some("--child") {
        return child(words.get(1).unwrap(), words.get(2..).unwrap_or_default());
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let listed = words.iter().any(|word| word == "--list");
    for (name, case) in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        if listed {
            println!("{name}: test");
            continue;
        }
        case(); // a failure panics and ends this program with it
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

// What the children do.

fn child(role: &str, words: &[String]) -> ExitCode {
    match role {
        "worker" => {
            let channel = portreeve_sys::stdio::take_third().unwrap();
            worker_main(words.iter().map(Into::into), channel)
        }
        "try" => {
            if words.get(1).map(String::as_str) == Some("unprivileged") {
                portreeve_sys::process::become_user(65_534, 65_534).unwrap();
            }
            if words.get(1).map(String::as_str) == Some("powerless") {
                let none = rustix::thread::CapabilitySet::empty();
                let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
                rustix::thread::set_capabilities(None, sets).unwrap();
            }
            let worker = Worker::by_name(words.first().unwrap()).unwrap();
            // Opened before: what a confined process may do with a socket it already has.
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                    .unwrap();
            let parent = rustix::process::getppid().unwrap();
            let missing = confine(worker, None).unwrap();
            let mut out = std::io::stdout();
            for part in &missing {
                writeln!(out, "missing: {}", part.word()).unwrap();
            }
            for (name, allowed) in attempts(&socket, parent) {
                writeln!(out, "{name}: {}", if allowed { "yes" } else { "no" }).unwrap();
            }
            writeln!(out, "end").unwrap();
            out.flush().unwrap();
            let _ = std::io::stdin().read(&mut [0; 1]);
            ExitCode::SUCCESS
        }
        "exec" => {
            confine(Worker::by_name(words.first().unwrap()).unwrap(), None).unwrap();
            let error = Command::new("/bin/true").exec();
            println!("still here: {error}");
            ExitCode::FAILURE
        }
        // A supervisor that dies at once and leaves a worker behind, which holds this standard output.
        "orphan" => {
            let worker =
                again(&["try", "builtin"]).stdin(Stdio::inherit()).stdout(Stdio::inherit()).spawn().unwrap();
            // Not before the worker is confined: it says so by writing, which our parent reads.
            let _ = std::io::stdin().read(&mut [0; 1]);
            drop(worker);
            ExitCode::SUCCESS
        }
        // In namespaces of its own: a name server that this test controls, and a resolver that asks it.
        "dns" => {
            zone::serve();
            dns_answers();
            ExitCode::SUCCESS
        }
        // In a namespace of its own with a network of its own.
        "crowd" => {
            crowd();
            ExitCode::SUCCESS
        }
        other => panic!("no role {other}"),
    }
}

fn attempts(socket: &OwnedFd, parent: Pid) -> Vec<(&'static str, bool)> {
    let scratch = std::env::temp_dir();
    let listener: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let refused = |result: rustix::io::Result<()>| {
        // Refused by the other side, or by nobody: the kernel let it try.
        !matches!(result, Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS))
    };
    vec![
        ("read /etc/passwd", std::fs::read("/etc/passwd").is_ok()),
        ("read scratch", std::fs::read_dir(&scratch).is_ok()),
        ("read /proc/self/maps", std::fs::read("/proc/self/maps").is_ok()),
        ("write scratch", std::fs::write(scratch.join("portreeve-must-not-be"), b"x").is_ok()),
        ("write /dev/null", std::fs::write("/dev/null", b"x").is_ok()),
        ("socket", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("connect", refused(rustix::net::connect(socket, &listener))),
        ("listen", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("thread", std::thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok())),
        ("process", Command::new("/bin/true").spawn().is_ok()),
        ("signal parent", rustix::process::test_kill_process(parent).is_ok()),
        ("memory", vec![1u8; 8 << 20].iter().map(|&b| u64::from(b)).sum::<u64>() == 8 << 20),
    ]
}

// What the parent sees.

fn again(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--child").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

struct Tried {
    child: Child,
    lines: Vec<String>,
}

impl Tried {
    fn by(words: &[&str]) -> Self {
        let mut child = again(words).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        for line in out.lines() {
            let line = line.unwrap();
            if line == "end" {
                return Tried { child, lines };
            }
            lines.push(line);
        }
        panic!("the child ended early ({:?}): {lines:?}", child.wait());
    }

    fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|l| l == line)
    }

    /// The child may do exactly these.
    fn may_only(&self, allowed: &[&str]) {
        for line in self.lines.iter().filter(|line| !line.starts_with("missing: ")) {
            let (name, answer) = line.split_once(": ").unwrap();
            assert_eq!(answer == "yes", allowed.contains(&name), "{line} in {:#?}", self.lines);
        }
    }

    fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "{:?}", self.lines);
    }
}

/// Says which part of the kernel is not there, if it is not; everything that does not rest on it is still checked.
fn lacks(tried: &Tried, part: Missing) -> bool {
    let lacks = tried.has(&format!("missing: {}", part.word()));
    if lacks {
        println!("SKIP: this kernel has no {}; what rests on it is not checked", part.word());
    }
    lacks
}

fn the_builtin_worker_reaches_nothing() {
    let tried = Tried::by(&["try", "builtin"]);
    if !lacks(&tried, Missing::Seccomp) {
        tried.may_only(&["memory"]);
    }
    let status = tried.status();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    tried.end();
}

fn the_resolver_reads_where_names_live_and_nowhere_else() {
    let tried = Tried::by(&["try", "resolver"]);
    let mut allowed = vec!["read /etc/passwd", "socket", "connect", "thread", "memory"];
    if lacks(&tried, Missing::Seccomp) || lacks(&tried, Missing::Landlock) {
        return tried.end();
    }
    if tried.has(&format!("missing: {}", Missing::LandlockPart.word())) {
        allowed.extend(["listen", "signal parent"].iter().filter(|name| tried.has(&format!("{name}: yes"))));
    }
    tried.may_only(&allowed);
    tried.end();
}

fn another_program_is_death() {
    for worker in ["builtin", "resolver"] {
        let output = again(&["exec", worker]).output().unwrap();
        let seccomp = std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:");
        if !seccomp {
            println!("SKIP: this kernel has no seccomp");
            return;
        }
        assert_eq!(output.status.signal(), Some(Signal::SYS.as_raw()), "{worker}: {output:?}");
        assert!(!output.status.core_dumped());
    }
}

fn root_is_given_up() {
    if !is_root() {
        println!("SKIP: not root, so there is no root to give up");
        return;
    }
    let mut users = Vec::new();
    for worker in ["builtin", "resolver"] {
        let tried = Tried::by(&["try", worker]);
        let status = tried.status();
        let ids = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>()
        };
        let (uid, gid) = (ids("Uid:"), ids("Gid:"));
        assert!(uid[0] != 0 && uid.iter().all(|n| *n == uid[0]), "{status}");
        assert!(gid[0] != 0 && gid.iter().all(|n| *n == gid[0]), "{status}");
        assert_eq!(ids("Groups:"), [0u32; 0], "{status}");
        assert!(!tried.has(&format!("missing: {}", Missing::OwnUser.word())));
        users.push(uid[0]);
        tried.end();
    }
    assert_ne!(users[0], users[1], "workers must not share a user");
}

fn without_root_only_the_own_user_is_missing() {
    let role = if is_root() { "unprivileged" } else { "as it is" };
    let tried = Tried::by(&["try", "builtin", role]);
    assert!(tried.has(&format!("missing: {}", Missing::OwnUser.word())), "{:?}", tried.lines);
    for part in [Missing::NoNewPrivileges, Missing::ParentDeath, Missing::Limits, Missing::Dumpable] {
        assert!(!tried.has(&format!("missing: {}", part.word())), "{:?}", tried.lines);
    }
    if !lacks(&tried, Missing::Seccomp) {
        tried.may_only(&["memory"]);
    }
    tried.end();
}

fn a_root_that_may_not_change_users_is_confined_all_the_same() {
    if !is_root() {
        println!("SKIP: not root");
        return;
    }
    // Whether it runs depends on the other walls; on a kernel without them it must not.
    let mut tried = again(&["try", "builtin", "powerless"]).spawn().unwrap();
    drop(tried.stdin.take());
    let mut out = String::new();
    tried.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let walls = tried.wait().unwrap().success();
    if !walls {
        println!("SKIP: this kernel has no Landlock or no seccomp; the worker did not run, which is right");
        return;
    }
    assert!(out.contains(&format!("missing: {}", Missing::OwnUser.word())), "{out}");
    assert!(
        !out.contains(": yes") || out.matches(": yes").count() == 1 && out.contains("memory: yes"),
        "{out}"
    );
}

fn a_worker_ends_with_its_supervisor() {
    let mut supervisor = again(&["orphan"]).spawn().unwrap();
    let stdin = supervisor.stdin.take().unwrap();
    let mut out = BufReader::new(supervisor.stdout.take().unwrap());
    let mut line = String::new();
    while line != "end\n" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the worker ended early");
    }
    kill_process(Pid::from_child(&supervisor), Signal::KILL).unwrap();
    supervisor.wait().unwrap();
    // The worker's standard input is still open, so only the supervisor's death can end it and close this pipe.
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    let n = poll(&mut [PollFd::new(out.get_ref(), PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(n, 1, "the worker lives on");
    assert_eq!(out.read_line(&mut line).unwrap(), 0);
    drop(stdin);
}

/// A worker as the supervisor starts it.
struct Hired {
    pid: Pid,
    channel: OwnedFd,
}

impl Hired {
    fn new(worker: Worker) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let word = |text: &str| CString::new(text).unwrap();
        let path: PathBuf = std::env::current_exe().unwrap();
        let image = ImageBuilder {
            path: word(path.to_str().unwrap()),
            argv: ["confinement", "--child", "worker", worker.name()].map(word).into(),
            dir: word("/"),
            ..ImageBuilder::default()
        }
        .build();
        let stdio = ThirdDescriptor::Separate {
            stdin: null.as_fd(),
            stdout: null.as_fd(),
            stderr: rustix::stdio::stderr(),
            extra: Some(theirs.as_fd()),
        };
        let pid = Spawner::new().unwrap().spawn(&image, &[], stdio).unwrap();
        Hired { pid, channel }
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        seqpacket::send(&self.channel, bytes, fd).unwrap();
    }

    fn hear(&self) -> Vec<u8> {
        let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
        let n = poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(n, 1, "the worker says nothing");
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = seqpacket::recv(&self.channel, &mut buffer).unwrap().len;
        buffer.truncate(length);
        buffer
    }

    /// Closes the channel; the worker must go by itself and without complaint.
    fn dismiss(self) {
        drop(self.channel);
        let (_, status) = waitpid(Some(self.pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
    }
}

fn a_confined_builtin_serves_everything() {
    let worker = Hired::new(Worker::Builtin);
    let mut referee = Referee::new(Worker::Builtin);
    assert!(matches!(referee.from_builtin(&worker.hear()), Ok(FromBuiltin::Ready { .. })));
    let mut bytes = Vec::new();
    for (ticket, kind) in (1..).zip(BuiltinKind::ALL) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        ToBuiltin::Serve { ticket, kind, idle_seconds: 30, peer }.encode(&mut bytes).unwrap();
        worker.send(&bytes, Some(server.as_fd()));
        drop(server);
        client.write_all(&[b'x'; 100_000]).or_else(gone).unwrap();
        client.shutdown(Shutdown::Write).or_else(gone).unwrap();
        let mut got = Vec::new();
        (&client).take(100_000).read_to_end(&mut got).or_else(|error| gone(error).map(|()| 0)).unwrap();
        drop(client);
        let expected = match kind {
            BuiltinKind::Echo | BuiltinKind::Chargen => 100_000..=100_000,
            BuiltinKind::Discard => 0..=0,
            BuiltinKind::Daytime => 20..=40,
            BuiltinKind::Time => 4..=4,
        };
        assert!(expected.contains(&got.len()), "{kind:?}: {} bytes", got.len());
        match referee.from_builtin(&worker.hear()).unwrap() {
            FromBuiltin::Done { ticket: t, outcome: Outcome::Complete, .. } => assert_eq!(t, ticket),
            other => panic!("{other:?}"),
        }
    }
    // Every branch of the policy that asks the kernel something: the load, the hour.
    let rules = portreeve_policy::Rules {
        max_load: Some(1e9),
        windows: Some(vec![(0, 1439)]),
        ..portreeve_policy::Rules::default()
    };
    for (slot, kind) in (1..).zip(BuiltinKind::ALL) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        ToBuiltin::Datagrams { slot, kind }.encode(&mut bytes).unwrap();
        worker.send(&bytes, Some(socket.as_fd()));
        for message in rules_messages(slot, true, &rules).unwrap() {
            message.encode(&mut bytes).unwrap();
            worker.send(&bytes, None);
        }
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"12345", socket.local_addr().unwrap()).unwrap();
        match referee.from_builtin(&worker.hear()).unwrap() {
            FromBuiltin::Datagrams { slot: s, served_count: 1, .. } => assert_eq!(s, slot),
            other => panic!("{other:?}"),
        }
        client.set_nonblocking(true).unwrap();
        let answer = client.recv(&mut [0; 64]);
        match kind {
            BuiltinKind::Discard => assert_eq!(answer.unwrap_err().kind(), ErrorKind::WouldBlock),
            BuiltinKind::Time => assert_eq!(answer.unwrap(), 4),
            BuiltinKind::Daytime => assert!(answer.unwrap() > 20),
            BuiltinKind::Echo | BuiltinKind::Chargen => assert_eq!(answer.unwrap(), 5),
        }
    }
    worker.dismiss();
}

fn what_was_sent_to_a_crowd_is_not_answered() {
    if !is_root() {
        println!("SKIP: not root, so there is no namespace with a network of our own");
        return;
    }
    let script = "ip link set lo up && ip link add crowd0 type veth peer name crowd1 \
                  && ip addr add 10.9.0.1/24 brd + dev crowd0 && ip link set crowd1 up && ip link set crowd0 up \
                  && exec \"$0\" --child crowd";
    let mut shell = Command::new("unshare");
    let ended = shell.args(["-n", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).status();
    assert!(ended.unwrap().success());
}

fn crowd() {
    let worker = Hired::new(Worker::Builtin);
    worker.hear();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut bytes = Vec::new();
    let client = UdpSocket::bind("10.9.0.1:0").unwrap();
    client.set_broadcast(true).unwrap();
    let send = |to: &str, text: &[u8]| client.send_to(text, (to, port)).unwrap();
    // It does arrive where nobody looks at how it was addressed: this network shows what it shall show.
    let plain = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.send_to(b"to all", ("10.9.0.255", plain.local_addr().unwrap().port())).unwrap();
    plain.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(plain.recv(&mut [0; 16]).unwrap(), 6);
    ToBuiltin::Datagrams { slot: 1, kind: BuiltinKind::Echo }.encode(&mut bytes).unwrap();
    worker.send(&bytes, Some(socket.as_fd()));
    for message in rules_messages(1, false, &portreeve_policy::Rules::default()).unwrap() {
        message.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
    }
    send("10.9.0.1", b"one");
    client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 3);
    send("10.9.0.255", b"to all of the network");
    send("255.255.255.255", b"to all");
    send("10.9.0.1", b"again");
    let mut answer = [0; 64];
    let n = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..n], b"again", "what was sent to all has been answered");
    worker.dismiss();
}

/// daytime and time close while the client still talks.
fn gone(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

fn a_confined_resolver_answers_everything() {
    let worker = Hired::new(Worker::Resolver);
    let mut referee = Referee::new(Worker::Resolver);
    assert!(matches!(referee.from_resolver(&worker.hear()), Ok(FromResolver::Ready { .. })));
    let ask = |question: &ToResolver| {
        let mut bytes = Vec::new();
        question.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
        referee.clone().from_resolver(&worker.hear()).unwrap()
    };
    let lookup = |question| match ask(&ToResolver::Lookup { ticket: 5, question }) {
        FromResolver::Answer { ticket: 5, answer } => answer,
        other => panic!("{other:?}"),
    };
    let root = Answer::User { name: "root".into(), uid: 0, gid: 0 };
    assert_eq!(lookup(Question::User("root".into())), root);
    assert_eq!(lookup(Question::UserById(0)), root);
    assert_eq!(lookup(Question::User("no-such-user".into())), Answer::NotFound);
    assert_eq!(lookup(Question::Group("root".into())), Answer::Group(0));
    match lookup(Question::GroupsOf("root".into(), 0)) {
        Answer::Groups(groups) => assert!(groups.contains(&0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(lookup(Question::ServicePort("no-such-service".into(), "tcp".into())), Answer::NotFound);
    if std::path::Path::new("/etc/protocols").exists() {
        assert_eq!(lookup(Question::Protocol("udp".into())), Answer::Protocol(17));
        assert_eq!(lookup(Question::ServicePort("telnet".into(), "tcp".into())), Answer::Port(23));
    } else {
        println!("SKIP: no /etc/protocols here; protocols and services are not asked for");
    }
    let _ = (lookup(Question::RpcNumber("portmapper".into())), lookup(Question::Network("loopback".into())));
    match lookup(Question::Addresses("localhost".into(), Family::Any)) {
        Answer::Addresses(list) => assert!(list.iter().all(std::net::IpAddr::is_loopback)),
        other => panic!("{other:?}"),
    }
    match ask(&ToResolver::Reverse { ticket: 6, address: [127, 0, 0, 1].into() }) {
        FromResolver::Names { ticket: 6, names: NamesAnswer::Known(names) } => assert!(names.len() <= 1),
        other => panic!("{other:?}"),
    }
    // No name server may be reachable here: then it is "unavailable", and a slow "no" elsewhere. Never a crash.
    let _ = lookup(Question::Addresses("no-such-host.invalid".into(), Family::V4));
    worker.dismiss();
}

fn a_confined_resolver_asks_dns_and_tells_no_from_nobody() {
    if !is_root() {
        println!("SKIP: not root, so there is no namespace with a name server of our own");
        return;
    }
    let conf = std::env::temp_dir().join(format!("portreeve-resolv-{}", std::process::id()));
    std::fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    let script = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && exec \"$0\" --child dns";
    let ended = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(&conf)
        .status();
    let _ = std::fs::remove_file(&conf);
    assert!(ended.unwrap().success());
}

fn dns_answers() {
    let worker = Hired::new(Worker::Resolver);
    let mut referee = Referee::new(Worker::Resolver);
    assert!(matches!(referee.from_resolver(&worker.hear()), Ok(FromResolver::Ready { .. })));
    let names = |last: u8| {
        let mut bytes = Vec::new();
        let address = [192, 0, 2, last].into();
        ToResolver::Reverse { ticket: u64::from(last), address }.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
        match referee.clone().from_resolver(&worker.hear()).unwrap() {
            FromResolver::Names { ticket, names } if ticket == u64::from(last) => names,
            other => panic!("{other:?}"),
        }
    };
    let none = NamesAnswer::Known(Vec::new());
    assert_eq!(names(zone::HONEST), NamesAnswer::Known(vec!["honest.example".into()]));
    assert_eq!(names(zone::LIAR), none, "its name leads elsewhere");
    assert_eq!(names(zone::NAMELESS), none, "a true negative");
    assert_eq!(names(zone::FAILING), NamesAnswer::Unavailable, "the server fails");
    assert_eq!(names(zone::SILENT), NamesAnswer::Unavailable, "nobody answers");
    worker.dismiss();
}
