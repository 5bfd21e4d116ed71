//! A new version that passes the probe and then dies, or stands still, in the supervisor's place: the former one steps in, and
//! nobody who is in a queue, accepted, or with a program is lost. xinetd has nothing like it.

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::impostor::{HOW, REAL};
use portreeve_compliance::init::PROBE;
use portreeve_compliance::skip::{Reason, skip};
use portreeve_compliance::tls::{self, certificates};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{
    Answer, Config, Connection, DEADLINE, Ended, Entry, Side, Start, World, ours, signals,
};
use serde_json::Value;

const SERVED: &str = "served\n";

/// Puts an executable where the daemon's is, aside and then renamed.
fn install(world: &World, from: &std::path::Path, name: &str) {
    world.copy_program(from, "gate.new");
    std::fs::rename(world.path("gate.new"), world.path(name)).expect("to rename");
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Who starts the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    Nobody,
    Watcher,
    /// A service manager as systemd is, and one that knows readiness and a store alone.
    Manager,
    PlainManager,
}

/// A daemon whose executable becomes an impostor that does this.
fn start(world: &World, config: &Config, above: Above, how: &str) -> u32 {
    install(world, &Side::Ours.executable(), "gate");
    let manager: &[&str] = match above {
        Above::Nobody | Above::Watcher => &[],
        Above::Manager => &[PROBE, "manager", "/run/w/notify"],
        Above::PlainManager => &[PROBE, "plain-manager", "/run/w/notify"],
    };
    let through = manager.iter().chain(&["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"]);
    let start = Start {
        through: through.map(|&word| word.to_owned()).collect(),
        options: (above == Above::Watcher).then(|| "-watch".to_owned()).into_iter().collect(),
        ..Start::default()
    };
    let pid = world.launch(config, &start);
    must("it serves", || status(world).is_some_and(|status| status["generation"] == 1));
    install(world, &Side::Ours.executable(), name(REAL));
    install(world, &world.inside(PROBE), "gate");
    world.write(name(HOW), how);
    pid
}

fn control(world: &World, request: &str) -> Option<Value> {
    let (how, answer) = world.run(&[PROBE, "control", "/run/w/control", request], &[]);
    (how == Ended::Status(0)).then(|| serde_json::from_str(&answer).ok()).flatten()
}

fn status(world: &World) -> Option<Value> {
    control(world, "status").filter(|status| status["ok"] == true)
}

fn service(world: &World, id: &str) -> Value {
    let status = status(world).expect("a status");
    let services = status["services"].as_array().expect("services");
    services.iter().find(|service| service["id"] == id).cloned().unwrap_or_default()
}

fn held(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

fn config() -> Config {
    Config::of(Entry::probe("s1", 2001, "hold 7").set("instances", "2"))
        .with(Entry::program("queue", 2002))
        .with(Entry::internal("echo", "echo", 2003, "stream"))
        .with(Entry::datagram("dg", 2004, "datagrams 2"))
        .with(Entry::program("s2", 2005))
        .with(through("way", 2006).set("redirect", "127.0.0.1 2003"))
        .with(Entry::internal("tcpmux", "tcpmux", 2008, "stream"))
        .with(Entry::probe("muxed", 0, "report").unset("port").set("type", "TCPMUXPLUS UNLISTED"))
}

fn through(id: &str, port: u16) -> Entry {
    let entry = Entry::bare(id, port).set("type", "UNLISTED").set("socket_type", "stream");
    entry.set("protocol", "tcp").set("wait", "no").set("user", "root").set("cps", "0 0")
}

/// What workers have: a session, a connection that is redirected, one behind TLS whose client says its second line when it is told, and
/// one whose line is awaited.
struct Sessions {
    echo: Connection,
    way: Connection,
    mux: Connection,
    tls: Option<u32>,
    ended: usize,
}

const TLS: &str = "(echo one; while [ ! -e /run/w/go ]; do sleep 0.1; done; echo two; sleep 0.5) |
    openssl s_client -quiet -no_ign_eof -connect 127.0.0.1:2007 >/run/w/said 2>/dev/null";

impl Sessions {
    fn begin(world: &World, tls: bool) -> Self {
        let mut both = [2003, 2006].map(|port| dial("127.0.0.1", port).expect("a connection"));
        for connection in &mut both {
            connection.send(b"a");
            assert_eq!(connection.read_count(1).bytes, b"a");
        }
        let mut mux = dial("127.0.0.1", 2008).expect("a connection");
        mux.send(b"mux");
        must("the line is awaited", || service(world, "tcpmux")["running"] == 1);
        let _ = std::fs::remove_file(world.path("go"));
        let tls = tls.then(|| world.spawn("tls", &["/bin/sh", "-c", TLS], tls::ENV));
        must("TLS is spoken", || tls.is_none() || world.read("said") == "one\n");
        let [echo, way] = both;
        Self { echo, way, mux, tls, ended: ends(world, "way") }
    }

    /// All of it goes on to its own end, and each end has its line.
    fn go_on(mut self, world: &World) {
        for connection in [&mut self.echo, &mut self.way] {
            connection.send(b"going on");
            assert_eq!(connection.read_count(8).text(), "going on");
            connection.finish();
            assert_eq!(connection.read_all(), Answer::closed(""));
        }
        self.mux.send(b"ed\r\n");
        self.mux.finish();
        let said = self.mux.read_all().text();
        assert!(said.starts_with("+Go\r\n") && said.contains("REMOTE_HOST="), "{said}");
        world.write("go", "");
        if let Some(client) = self.tls {
            assert_eq!(world.wait(client), Ended::Status(0));
            assert_eq!(world.read("said"), "one\ntwo\n");
        }
        for id in ["way", "sealed"].into_iter().take(1 + usize::from(self.tls.is_some())) {
            must("its end has its line", || ends(world, id) == self.ended + 1);
        }
    }
}

fn ends(world: &World, id: &str) -> usize {
    world.service_log(id).iter().filter(|line| line.starts_with("EXIT: ")).count()
}

/// Somebody with a program, somebody in the queue, a datagram server that has the socket; the upgrade; all are served on.
fn is_survived(world: &World, above: Above, how: &str, said: &str) {
    certificates(world);
    // Beside the executable, as a package has it.
    world.copy_program(Side::Ours.executable().with_file_name("portreeve"), "portreeve");
    let sealed = tls::behind("sealed", 2007).set("redirect", "127.0.0.1 2003");
    let started = start(world, &config().with(sealed), above, how);
    let before = status(world).expect("a status")["pid"].clone();
    let sessions = Sessions::begin(world, true);
    let mut one = held(2001);
    let datagrams = datagram_socket("127.0.0.1", 2004);
    assert!(ask(&datagrams, b"one", DEADLINE).is_some());
    control(world, "hold queue");
    let mut waiting: Vec<Connection> = (0..5).map(|_| dial("127.0.0.1", 2002).expect("the queue")).collect();
    let answer = control(world, "upgrade").expect("an answer");
    assert_eq!(answer["ok"], false, "{answer}");
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(error.contains(said), "{error}");
    let after = status(world).expect("a status");
    let steps_in = said.contains("the new executable");
    assert_eq!(after["pid"] != before, steps_in, "{after}");
    assert_eq!(after["upgrades"], 0);
    let fds =
        std::fs::read_dir(world.inside(&format!("/proc/{}/fd", after["pid"]))).expect("its descriptors");
    let leads = fds.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let back: Vec<_> = leads.filter(|lead| lead.to_string_lossy().starts_with("/run/w/gate")).collect();
    assert_eq!(back.len(), 1, "one way back: {back:?}");
    assert_eq!(service(world, "s1")["running"], 1, "who was there counts");
    let mut two = held(2001);
    assert!(talk("127.0.0.1", 2001, b"").bytes.is_empty(), "two are in");
    assert_eq!(service(world, "queue")["state"], "held");
    control(world, "release queue");
    for client in &mut waiting {
        assert_eq!(client.read_all(), Answer::closed(SERVED));
    }
    assert!(ask(&datagrams, b"two", DEADLINE).is_some(), "its server still has the socket");
    must("and gives it back", || service(world, "dg")["running"] == 0);
    let datagrams = datagram_socket("127.0.0.1", 2004);
    assert!(ask(&datagrams, b"three", DEADLINE).is_some(), "the next one is started");
    must("the built-in answers", || {
        let mut echo = dial("127.0.0.1", 2003).expect("echo");
        echo.send(b"x");
        echo.read_count(1).bytes == b"x"
    });
    for connection in [&mut one, &mut two] {
        connection.finish();
        assert_eq!(connection.read_all(), Answer::closed(""));
    }
    must("their ends are noticed", || service(world, "s1")["running"] == 0);
    must("each end has its line", || ends(world, "s1") == 2);
    let lines = world.service_log("s1");
    // A kernel before 6.15 may not tell how another one's child has ended.
    let good =
        |line: &&String| line.starts_with("EXIT: s1 status=7 pid=") || line.starts_with("EXIT: s1 pid=");
    assert_eq!(lines.iter().filter(good).count(), 2, "{lines:?}");
    sessions.go_on(world);
    assert_eq!(service(world, "way")["running"], 0);
    // A good one is taken as ever, also by who stepped in.
    install(world, &Side::Ours.executable(), "gate");
    if how != "starve" {
        let answer = control(world, "upgrade").expect("an answer");
        assert_eq!(answer["ok"], true, "{answer}");
    }
    assert_eq!(talk("127.0.0.1", 2005, b""), Answer::closed(SERVED));
    if above == Above::Manager {
        world.write("notify.stop", "");
    } else {
        let pid = status(world).expect("a status")["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        assert!(world.signal(pid.expect("its number"), signals::TERM));
    }
    must("it ends", || talk("127.0.0.1", 2005, b"") == Answer::refused());
    must("nobody is left", || world.processes("gate").is_empty());
    if above != Above::Nobody {
        assert_eq!(world.wait(started), Ended::Status(0), "whoever has started it ends with it");
    }
}

#[test]
fn it_exits() {
    ours(|world| is_survived(world, Above::Nobody, "exit", "the new executable ended before it stood"));
}

#[test]
fn it_aborts() {
    ours(|world| is_survived(world, Above::Nobody, "abort", "the new executable ended before it stood"));
}

#[test]
fn it_stands_still() {
    ours(|world| is_survived(world, Above::Nobody, "hang", "the new executable did not stand in time"));
}

/// It has no descriptors to take over what was left: the former version is executed again in the same process.
#[test]
fn it_has_no_descriptors() {
    ours(|world| is_survived(world, Above::Nobody, "starve", "could not go on"));
}

const DIES: [(&str, &str); 4] = [
    ("exit", "the new executable ended before it stood"),
    ("abort", "the new executable ended before it stood"),
    ("hang", "the new executable did not stand in time"),
    ("starve", "could not go on"),
];

/// Under the watcher nobody loses more: it lets the former version step in.
#[test]
fn it_dies_under_the_watcher() {
    for (how, said) in DIES {
        ours(|world| is_survived(world, Above::Watcher, how, said));
    }
}

/// Nor under a service manager, which takes the process that stands by for the main one meanwhile.
#[test]
fn it_dies_under_a_service_manager() {
    for (how, said) in DIES {
        ours(|world| {
            is_survived(world, Above::Manager, how, said);
            let said = world.read("daemon.out");
            assert_eq!(said.matches("start with").count(), 1, "nothing was started again: {said}");
            assert!(!said.contains("not heard"), "{said}");
        });
    }
}

/// The main process, as the manager was told last.
fn main_process(world: &World) -> Option<u32> {
    let said = world.read("daemon.out");
    let pid = said.lines().rev().find_map(|line| line.strip_prefix("notice MAINPID="));
    pid.and_then(|pid| pid.parse().ok())
}

/// Told to stop while another process stands in for it, and when that one has stepped in: the manager awaits the end of all that ends
/// with it, and nothing that it tells is lost.
#[test]
fn a_stop_in_an_upgrade_is_a_stop() {
    for how in ["slow", "exit", "hang"] {
        ours(|world| {
            let manager = start(world, &config(), Above::Manager, how);
            let mut one = held(2001);
            let asks = world.spawn("asks", &[PROBE, "control", "/run/w/control", "upgrade"], &[]);
            must("another process is the main one", || main_process(world).is_some());
            if how == "exit" {
                must("it has stepped in", || world.daemon_log_count("steps in") == 1);
            }
            world.write("notify.stop", "");
            assert_eq!(world.wait(manager), Ended::Status(0), "{how}: {}", world.read("daemon.out"));
            // At once: whoever is started next finds nobody.
            assert_eq!(world.processes("gate run "), Vec::<u32>::new(), "{how}");
            assert_eq!(talk("127.0.0.1", 2005, b""), Answer::refused(), "{how}");
            assert_eq!(one.read_all(), Answer::closed(""), "{how}: its program was told to end");
            assert_eq!(ends(world, "s1"), 1, "{how}: and was waited for");
            world.wait(asks);
        });
    }
}

/// Fills the queue of a manager that hears nothing, as anybody can who reaches its socket.
fn deafen(world: &World) {
    world.write("notify.deaf", "");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("to set it");
    must("its queue stays full", || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        let sent = std::iter::from_fn(|| socket.send_to(b"X=1", world.path("notify")).ok()).count();
        sent == 0
    });
}

/// The manager's queue is full when the new version stands: that one waits until it is the main process again.
#[test]
fn a_manager_that_hears_late_takes_no_other_for_it() {
    ours(|world| {
        let manager = start(world, &config(), Above::Manager, "slow");
        let asks = world.spawn("asks", &[PROBE, "control", "/run/w/control", "upgrade"], &[]);
        must("another process is the main one", || main_process(world).is_some());
        let guard = main_process(world).expect("its number");
        deafen(world);
        must("the new version begins", || world.processes("--handover=").len() == 1);
        never("who stands by ends", std::time::Duration::from_secs(4), || !world.alive(guard));
        std::fs::remove_file(world.path("notify.deaf")).expect("to remove");
        assert_eq!(world.wait(asks), Ended::Status(0));
        assert!(world.read("asks.out").contains("\"ok\":true"), "{}", world.read("asks.out"));
        must("who stands by ends", || !world.alive(guard));
        let pid = status(world).expect("a status")["pid"].as_u64();
        assert_eq!(main_process(world).map(u64::from), pid);
        world.write("notify.stop", "");
        assert_eq!(world.wait(manager), Ended::Status(0));
        assert_eq!(world.processes("gate run "), Vec::<u32>::new());
    });
}

/// It stays full: the new version, which could not become the main process, makes way for the one that is.
#[test]
fn a_manager_that_hears_nothing_keeps_the_former_version() {
    ours(|world| {
        let manager = start(world, &config(), Above::Manager, "slow");
        let mut one = held(2001);
        let asks = world.spawn("asks", &[PROBE, "control", "/run/w/control", "upgrade"], &[]);
        must("another process is the main one", || main_process(world).is_some());
        let guard = main_process(world).expect("its number");
        deafen(world);
        assert!(world.wait(asks) != Ended::Status(0) || world.read("asks.out").contains("\"ok\":false"));
        let status = status(world).expect("a status");
        assert_eq!(status["pid"].as_u64(), Some(u64::from(guard)), "{status}");
        assert!(
            world.read("asks.out").contains("could not become the main process"),
            "{}",
            world.read("asks.out")
        );
        assert_eq!(service(world, "s1")["running"], 1);
        one.finish();
        assert_eq!(one.read_all(), Answer::closed(""));
        std::fs::remove_file(world.path("notify.deaf")).expect("to remove");
        world.write("notify.stop", "");
        assert_eq!(world.wait(manager), Ended::Status(0));
        assert_eq!(world.processes("gate run "), Vec::<u32>::new());
    });
}

/// One that knows no MAINPID starts another with what is in its store; nobody steps in beside that.
#[test]
fn it_dies_under_a_service_manager_that_knows_no_other_process() {
    ours(|world| {
        let manager = start(world, &config(), Above::PlainManager, "abort once");
        must("all are stored", || world.read("daemon.out").matches("store portreeve-").count() >= 6);
        let before = status(world).expect("a status")["pid"].clone();
        control(world, "hold queue");
        let mut waiting = dial("127.0.0.1", 2002).expect("the queue");
        let _ = control(world, "upgrade");
        must("another one serves", || status(world).is_some_and(|status| status["pid"] != before));
        assert_eq!(waiting.read_all(), Answer::closed(SERVED));
        assert_eq!(world.daemon_log_count("steps in"), 0, "nobody stepped in beside it");
        let pid = status(world).and_then(|status| status["pid"].as_u64()).expect("its number");
        assert!(world.signal(u32::try_from(pid).expect("a number"), signals::TERM));
        assert_eq!(world.wait(manager), Ended::Status(0));
    });
}

/// If who stepped in dies too, the watcher starts that version again and not what lies in its place, which has died once.
#[test]
fn the_watcher_starts_the_former_version() {
    ours(|world| {
        for how in ["exit", "hang"] {
            let watcher = start(world, &config(), Above::Watcher, how);
            let mut before = status(world).expect("a status")["pid"].clone();
            for end in ["upgrade", "kill"] {
                control(world, "hold queue");
                let mut waiting = dial("127.0.0.1", 2002).expect("the queue");
                if end == "upgrade" {
                    let _ = control(world, "upgrade");
                    control(world, "release queue");
                } else {
                    let pid = before.as_u64().and_then(|pid| u32::try_from(pid).ok());
                    assert!(world.signal(pid.expect("its number"), signals::KILL));
                }
                must("another one serves", || status(world).is_some_and(|status| status["pid"] != before));
                before = status(world).expect("a status")["pid"].clone();
                assert_eq!(waiting.read_all(), Answer::closed(SERVED), "{how} {end}");
            }
            assert!(world.alive(watcher));
            assert!(world.signal(watcher, signals::TERM));
            must("it ends", || !world.alive(watcher));
        }
    });
}

/// Killed at one system call after the other of those that it makes until it stands. Whoever holds on then, all goes on.
#[test]
fn it_is_killed_at_any_moment() {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        skip(Reason::absent("strace"));
        return;
    }
    for above in [Above::Nobody, Above::Watcher, Above::Manager] {
        ours(|world| is_killed_at_any_moment(world, above));
    }
}

fn is_killed_at_any_moment(world: &World, above: Above) {
    let mut killed = 0;
    start(world, &config(), above, "strace 1");
    // Each kind of call is counted by itself; up to the moment in which it stands and beyond.
    for call in std::iter::successors(Some(1_u32), |call| Some(call + call / 4 + 1)) {
        let sessions = Sessions::begin(world, false);
        let mut one = held(2001);
        let before = status(world).expect("a status")["pid"].clone();
        let ended = ends(world, "s1");
        install(world, &Side::Ours.executable(), name(REAL));
        install(world, &world.inside(PROBE), "gate");
        world.write(name(HOW), format!("strace {call}"));
        let answer = control(world, "upgrade");
        let Some(answer) = answer.filter(|answer| answer["ok"] == false) else { break };
        assert!(answer["error"].as_str().unwrap_or_default().contains("ended before"), "{answer}");
        killed += 1;
        assert_ne!(status(world).expect("a status")["pid"], before);
        assert_eq!(service(world, "s1")["running"], 1);
        one.finish();
        assert_eq!(one.read_all(), Answer::closed(""));
        must("its end has its line", || ends(world, "s1") == ended + 1);
        sessions.go_on(world);
    }
    assert!(killed > 9, "{killed}");
}
