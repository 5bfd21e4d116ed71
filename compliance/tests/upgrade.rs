//! The supervisor goes over to another executable: nobody is refused, nothing that runs ends, and a new one that is no good
//! changes nothing. xinetd has nothing like it.

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{
    Answer, Config, Connection, DEADLINE, Daemon, Ended, Entry, Side, Start, World, ours, signals,
};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The executable's own place in the world, so that it can be replaced.
const GATE: &str = "gate";

/// Puts the real executable there, as a package manager does: aside, then renamed.
fn install(world: &World) {
    world.copy_program(Side::Ours.executable(), "gate.new");
    std::fs::rename(world.path("gate.new"), world.path(GATE)).expect("to rename");
}

/// Puts a script there.
fn install_script(world: &World, text: &str) {
    world.write_mode("gate.new", format!("#!/bin/sh\n{text}\n"), 0o755);
    std::fs::rename(world.path("gate.new"), world.path(GATE)).expect("to rename");
}

fn start<'a>(world: &'a World, config: &Config, mut start: Start) -> Daemon<'a> {
    install(world);
    // The usual command line, but for the executable.
    start.through = ["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"].map(str::to_owned).to_vec();
    world.start_with(config, start)
}

fn upgrade(daemon: &Daemon<'_>) -> Value {
    serde_json::from_str(&daemon.control("upgrade")).expect("JSON")
}

fn upgraded(daemon: &Daemon<'_>) {
    let answer = upgrade(daemon);
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["pid"], u64::from(daemon.pid), "the same process");
}

fn held(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

/// Twenty upgrades while clients come as fast as they can, to a program, a built-in and a redirected service.
#[test]
fn nobody_is_refused_while_the_executable_changes() {
    const CLIENTS: usize = 12;
    const UPGRADES: u64 = 20;
    ours(|world| {
        let unlimited = |entry: Entry| entry.set("cps", "0 0").set("instances", "UNLIMITED");
        let config = Config::of(unlimited(Entry::program("s1", 2001)))
            .with(unlimited(Entry::internal("daytime", "day", 2002, "stream")))
            .with(Entry::redirected("way", 2003, "127.0.0.1 2001").set("instances", "UNLIMITED"));
        let daemon = start(world, &config, Start::default());
        let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (over, served) = (&over, &served);
                scope.spawn(move || {
                    world.enter();
                    let port = [2001, 2001, 2002, 2003][client % 4];
                    while !over.load(Ordering::Relaxed) {
                        let answer = talk("127.0.0.1", port, b"");
                        let good = match port {
                            2002 => answer.text().ends_with("\r\n"),
                            _ => answer == Answer::closed("served\n"),
                        };
                        if !good {
                            over.store(true, Ordering::Relaxed);
                            panic!("a client of port {port} got {answer:?}");
                        }
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut before = 0;
            for number in 1..=UPGRADES {
                must("clients are served between two upgrades", || {
                    over.load(Ordering::Relaxed) || served.load(Ordering::Relaxed) > before + 20
                });
                before = served.load(Ordering::Relaxed);
                install(world);
                upgraded(&daemon);
                assert_eq!(daemon.status()["upgrades"], number);
            }
            must("and after the last", || {
                over.load(Ordering::Relaxed) || served.load(Ordering::Relaxed) > before + 100
            });
            over.store(true, Ordering::Relaxed);
        });
        let counted = daemon.count("s1", "/accepted") + daemon.count("day", "/accepted");
        assert_eq!(counted as usize, served.load(Ordering::Relaxed), "the counters go on");
        must("every end was noticed", || daemon.status()["running"] == 0);
        assert_eq!(world.daemon_log_count("unknown child"), 0);
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// Programs, sessions in workers, a program that has the socket, limits, denials, orders and counters: all go on.
#[test]
fn what_runs_goes_on() {
    ours(|world| {
        let config =
            Config::of(Entry::probe("s1", 2001, "hold 7").set("instances", "2").set("cps", "1000 10"))
                .with(Entry::internal("echo", "echo", 2002, "stream"))
                .with(Entry::redirected("way", 2003, "127.0.0.1 2002"))
                .with(Entry::datagram("dg", 2004, "datagrams 2"))
                .with(Entry::internal("echo", "uecho", 2005, "dgram"))
                .with(
                    Entry::bare("trap", 2006)
                        .set("type", "UNLISTED")
                        .set("socket_type", "stream")
                        .set("protocol", "tcp")
                        .set("wait", "no")
                        .set("user", "root")
                        .set("flags", "SENSOR")
                        .set("deny_time", "7")
                        .set("server", "/bin/true"),
                )
                .with(Entry::program("queue", 2007));
        let daemon = start(world, &config, Start::default());
        let (mut one, mut two) = (held(2001), held(2001));
        let mut echo = dial("127.0.0.1", 2002).expect("echo");
        let mut way = dial("127.0.0.1", 2003).expect("way");
        for connection in [&mut echo, &mut way] {
            connection.send(b"a");
            assert_eq!(connection.read_count(1).bytes, b"a");
        }
        let datagrams = datagram_socket("127.0.0.1", 2004);
        assert!(ask(&datagrams, b"one", DEADLINE).is_some());
        talk("127.0.0.66", 2006, b"");
        assert!(daemon.control("bans").contains("127.0.0.66"));
        daemon.control("hold queue");
        let mut waiting = dial("127.0.0.1", 2007).expect("the queue");
        let before = daemon.status();
        let workers = before["workers"].clone();

        for _ in 0..3 {
            install(world);
            upgraded(&daemon);
        }
        let after = daemon.status();
        assert_eq!(after["workers"], workers, "the workers are the same processes");
        assert_eq!(daemon.count("s1", "/running"), 2);
        assert!(talk("127.0.0.1", 2001, b"").bytes.is_empty(), "the limit counts who was there before");
        assert_eq!(daemon.count("s1", "/refused/service_limit"), 1);
        for connection in [&mut echo, &mut way] {
            connection.send(b"b");
            assert_eq!(connection.read_count(1).bytes, b"b");
            connection.finish();
            assert_eq!(connection.read_all().bytes, b"");
        }
        assert!(ask(&datagrams, b"two", DEADLINE).is_some(), "the server keeps the socket");
        must("and gives it back", || daemon.count("dg", "/running") == 0);
        let datagrams = datagram_socket("127.0.0.1", 2004);
        assert!(ask(&datagrams, b"three", DEADLINE).is_some(), "the next one is started");
        let udp = datagram_socket("127.0.0.1", 2005);
        assert_eq!(ask(&udp, b"x", DEADLINE).as_deref(), Some(&b"x"[..]));
        assert!(talk("127.0.0.66", 2002, b"x").bytes.is_empty(), "still denied");
        assert_eq!(daemon.service_status("queue")["state"], "held");
        daemon.control("release queue");
        assert_eq!(waiting.read_all(), Answer::closed("served\n"));
        one.finish();
        two.finish();
        must("their ends are noticed", || daemon.count("s1", "/running") == 0);
        let ends = world.service_log("s1").iter().filter(|l| l.starts_with("EXIT: s1 status=7")).count();
        assert_eq!(ends, 2, "{:?}", world.service_log("s1"));
        // The configuration can be reloaded as before.
        daemon.reload(&config);
        drop(held(2001));
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// A new executable that is no good, in each way in which it can be: the running one goes on and says why.
#[test]
fn a_bad_executable_changes_nothing() {
    ours(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold"));
        let daemon = start(world, &config, Start::default());
        let mut client = held(2001);
        let refused = |wanted: &str| {
            let answer = upgrade(&daemon);
            assert_eq!(answer["ok"], false, "{answer}");
            let error = answer["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(wanted), "{error}");
            assert_eq!(daemon.status()["upgrades"], 0);
            drop(held(2001));
        };
        install_script(world, "exit 3");
        refused("status 3");
        install_script(world, "echo it is version 9 and I am not; exit 1");
        refused("it is version 9 and I am not");
        install_script(world, "exit 0");
        refused("said nothing");
        install_script(world, "kill -SEGV $$");
        refused("signal 11");
        install_script(world, "exec sleep 1000");
        refused("did not answer");
        world.write_mode("gate.new", "neither a script nor a program", 0o755);
        std::fs::rename(world.path("gate.new"), world.path(GATE)).expect("to rename");
        refused("cannot be executed");
        install(world);
        std::fs::set_permissions(world.path(GATE), std::fs::Permissions::from_mode(0o777)).expect("a mode");
        refused("others than its owner may write it");
        std::fs::remove_file(world.path(GATE)).expect("to remove");
        refused("No such file");
        install(world);
        upgraded(&daemon);
        client.finish();
        must("the end of the first client is noticed", || daemon.count("s1", "/running") == 0);
        assert!(daemon.runs());
    });
}

/// The configuration in force is what goes on, whatever the files hold now; a reload reads them.
#[test]
fn the_configuration_in_force_goes_on() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001));
        let daemon = start(world, &config, Start::default());
        world.write("xinetd.conf", "defaults\n{\n broken\n");
        upgraded(&daemon);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        std::fs::remove_file(world.path("xinetd.conf")).expect("to remove it");
        upgraded(&daemon);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        daemon.reload(&config.with(Entry::program("s2", 2002)));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        upgraded(&daemon);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
    });
}

/// SIGUSR2 does the same.
#[test]
fn a_signal_does_the_same() {
    ours(|world| {
        let daemon = start(world, &Config::of(Entry::program("s1", 2001)), Start::default());
        daemon.signal(signals::USR2);
        must("it has been upgraded", || daemon.status()["upgrades"] == 1);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
    });
}

/// Whose header or line is still awaited: the worker that looks at it goes on, and so does the wait for its one answer. What
/// follows a PROXY header is the client's, and no second header, however much it looks like one.
#[test]
fn who_is_read_from_is_read_from_once() {
    ours(|world| {
        let proxied = Entry::program("proxied", 2001)
            .first("flags = IPv4")
            .set("server", "/bin/cat")
            .set("server_args", "-")
            .set("proxy_protocol", "accept")
            .set("proxy_from", "127.0.0.0/30");
        let config = Config::of(proxied)
            .with(Entry::internal("tcpmux", "tcpmux", 2002, "stream"))
            .with(Entry::probe("muxed", 0, "report").unset("port").set("type", "TCPMUXPLUS UNLISTED"));
        let daemon = start(world, &config, Start::default());
        let mut proxy = dial("127.0.0.1", 2001).expect("a connection");
        proxy.send(b"PROXY TCP4 192.0.2.7 198.");
        let mut mux = dial("127.0.0.1", 2002).expect("a connection");
        mux.send(b"mux");
        must("the header is awaited", || daemon.count("proxied", "/running") == 1);
        must("the line is awaited", || daemon.count("tcpmux", "/running") == 1);
        for _ in 0..2 {
            install(world);
            upgraded(&daemon);
        }
        assert_eq!(daemon.count("proxied", "/running"), 1, "its place is held");
        proxy.send(b"51.100.1 4567 443\r\nPROXY TCP4 10.9.8.7 198.51.100.1 1 443\r\nthe rest");
        proxy.finish();
        let rest = "PROXY TCP4 10.9.8.7 198.51.100.1 1 443\r\nthe rest";
        assert_eq!(proxy.read_all(), Answer::closed(rest), "what follows the header is the program's");
        must("the named client is logged", || {
            world.service_log("proxied").iter().any(|l| l.ends_with("from=192.0.2.7"))
        });
        mux.send(b"ed\r\n");
        mux.finish();
        let said = mux.read_all().text();
        assert!(said.starts_with("+Go\r\n") && said.contains("REMOTE_HOST="), "{said}");
        must("all have ended", || {
            daemon.count("proxied", "/running") + daemon.count("tcpmux", "/running") == 0
        });
        assert_eq!(daemon.count("proxied", "/refused/header"), 0);
        let starts = world.service_log("tcpmux").iter().filter(|l| l.starts_with("START")).count();
        assert_eq!(starts, 1, "{:?}", world.service_log("tcpmux"));
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// The same executable, but that it says of itself that its messages to the workers have another version.
fn install_other_messages(world: &World) {
    let mut bytes = std::fs::read(Side::Ours.executable()).expect("the gate");
    let mark = b"portreeve messages ";
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the mark") + mark.len();
    bytes[at..at + 2].copy_from_slice(b"77");
    world.write_mode("gate.new", &bytes, 0o755);
    std::fs::rename(world.path("gate.new"), world.path(GATE)).expect("to rename");
}

fn worker_pids(daemon: &Daemon<'_>, state: &str) -> Vec<(String, u64)> {
    let status = daemon.status();
    let workers = status["workers"].as_array().expect("workers").iter().filter(|w| w["state"] == state);
    workers.map(|w| (w["name"].as_str().unwrap_or("").to_owned(), w["pid"].as_u64().unwrap_or(0))).collect()
}

/// A new version whose messages to the workers are others: they leave. What they have goes on to its end under the eyes of the new
/// version, who comes now gets new ones, and whose header was awaited is read by the new one. Twice over, there and back.
#[test]
fn workers_of_another_version_leave() {
    ours(|world| {
        let config = Config::of(Entry::internal("tcpmux", "tcpmux", 2001, "stream"))
            .with(Entry::probe("muxed", 0, "report").unset("port").set("type", "TCPMUXPLUS UNLISTED"))
            .with(Entry::internal("echo", "echo", 2002, "stream").set("instances", "3"))
            .with(Entry::redirected("way", 2003, "127.0.0.1 2002").set("instances", "2"))
            .with(Entry::internal("echo", "uecho", 2005, "dgram"))
            .with(Entry::program("named", 2006).set("only_from", "localhost"));
        let daemon = start(world, &config, Start::default());
        let echo = |connection: &mut Connection, text: &str| {
            connection.send(text.as_bytes());
            assert_eq!(connection.read_count(text.len()).text(), text);
        };
        let mut way = dial("127.0.0.1", 2003).expect("way");
        echo(&mut way, "a");
        let mut own = dial("127.0.0.1", 2002).expect("echo");
        echo(&mut own, "b");
        for (turn, install_next) in [install_other_messages, install].into_iter().enumerate() {
            let mut mux = dial("127.0.0.1", 2001).expect("a connection");
            mux.send(b"mux");
            must("the line is awaited", || daemon.count("tcpmux", "/running") == 1);
            let before = worker_pids(&daemon, "ready");
            install_next(world);
            upgraded(&daemon);
            let leave = worker_pids(&daemon, "leaving");
            for name in ["builtin", "proxy"] {
                let old = before.iter().find(|(n, _)| n == name).expect("it was there");
                if turn == 0 {
                    assert!(leave.contains(old), "{name}: {leave:?} of {before:?}");
                }
            }
            must("new ones are there", || {
                let ready = worker_pids(&daemon, "ready");
                ready.iter().any(|(name, _)| name == "builtin")
                    && ready.iter().all(|one| !before.contains(one))
            });
            echo(&mut way, "going on");
            echo(&mut own, "and on");
            assert_eq!(daemon.count("way", "/running"), 1, "its place is held");
            let mut new = dial("127.0.0.1", 2002).expect("echo");
            echo(&mut new, "new");
            assert!(talk("127.0.0.1", 2002, b"x").bytes.is_empty(), "three are in");
            drop(new);
            must("its end is seen", || daemon.count("echo", "/running") == 2);
            let udp = datagram_socket("127.0.0.1", 2005);
            must("datagrams are answered", || {
                ask(&udp, b"x", std::time::Duration::from_millis(300)).as_deref() == Some(&b"x"[..])
            });
            assert_eq!(talk("127.0.0.1", 2006, b""), Answer::closed("served\n"), "names are asked for");
            mux.send(b"ed\r\n");
            mux.finish();
            let said = mux.read_all().text();
            assert!(said.starts_with("+Go\r\n") && said.contains("REMOTE_HOST="), "{said}");
        }
        let mut last = dial("127.0.0.1", 2003).expect("way");
        echo(&mut last, "through the newest");
        way.finish();
        assert_eq!(way.read_all().bytes, b"");
        own.finish();
        assert_eq!(own.read_all().bytes, b"");
        must("all have left", || worker_pids(&daemon, "leaving").is_empty());
        must("two are in", || daemon.count("echo", "/running") == 1 && daemon.count("way", "/running") == 1);
        let exits = |id: &str| world.service_log(id).iter().filter(|l| l.starts_with("EXIT")).count();
        must("each end has its line", || exits("way") == 1 && exits("echo") >= 4);
        assert_eq!(world.daemon_log_count("unknown child"), 0);
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}
