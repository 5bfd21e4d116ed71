//! Not enough descriptors, in the supervisor and in its workers: whoever cannot be served waits or is let go, whoever is served goes
//! on, nothing is lost for good, and it heals by itself. xinetd has no workers.

use portreeve_compliance::client::{datagram_socket, dial, talk};
use portreeve_compliance::flood::{Flood, Then};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::tls::{behind, certificates, curl, keyed, spawned};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{Config, Connection, Daemon, Ended, Entry, Start, World, ours};
use std::time::{Duration, Instant};

fn open(world: &World, pid: u32) -> usize {
    let path = world.inside(&format!("/proc/{pid}/fd"));
    std::fs::read_dir(path).map(Iterator::count).unwrap_or(0)
}

fn redirected(id: &str, port: u16, target: &str) -> Entry {
    Entry::bare(id, port)
        .set("type", "UNLISTED")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "root")
        .set("cps", "0 0")
        .set("redirect", target)
}

/// Name and process number of each worker, and how often it was started again.
fn workers(daemon: &Daemon<'_>) -> Vec<(String, u32, u64)> {
    let status = daemon.status();
    let all = status["workers"].as_array().cloned().unwrap_or_default();
    let number = |worker: &serde_json::Value, key: &str| worker[key].as_u64().unwrap_or(0);
    all.iter()
        .map(|w| {
            let pid = u32::try_from(number(w, "pid")).unwrap_or(0);
            (w["name"].as_str().unwrap_or("").to_owned(), pid, number(w, "restarts"))
        })
        .filter(|(_, pid, _)| *pid != 0)
        .collect()
}

fn pid_of(daemon: &Daemon<'_>, name: &str) -> u32 {
    workers(daemon).into_iter().find(|(n, ..)| n == name).map(|(_, pid, _)| pid).expect("it runs")
}

/// Milliseconds of processor time of a process.
fn processor_time(world: &World, pid: u32) -> u64 {
    let stat = std::fs::read_to_string(world.inside(&format!("/proc/{pid}/stat"))).unwrap_or_default();
    let words: Vec<u64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|w| w.parse().ok()).collect();
    words.get(10).zip(words.get(11)).map(|(user, system)| (user + system) * 10).unwrap_or(0)
}

fn says_it_back(connection: &mut Connection, text: &str) {
    connection.send(text.as_bytes());
    assert_eq!(connection.read_count(text.len()).text(), text);
}

/// Two hundred clients of a program, a built-in, a redirected service and one behind TLS, and 64 descriptors for each process.
#[test]
fn few_descriptors_for_clients_of_every_kind() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let through = ["/usr/bin/prlimit", "--nofile=64:64"].map(str::to_owned).to_vec();
        let unlimited = |entry: Entry| entry.set("cps", "0 0").set("instances", "UNLIMITED");
        let cat = |id: &str, port| Entry::program(id, port).set("server", "/bin/cat").set("server_args", "-");
        let config = Config::of(unlimited(cat("program", 2001)))
            .with(unlimited(Entry::internal("echo", "builtin", 2002, "stream")))
            .with(unlimited(redirected("way", 2003, "127.0.0.1 2001")))
            .with(unlimited(spawned("tls", 2004, "/run/w/tell.sh")));
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        keyed(&daemon, "tls");
        let all_serve = || {
            for port in [2001, 2002, 2003] {
                let mut client = dial("127.0.0.1", port).expect("a connection");
                says_it_back(&mut client, "x");
            }
            must("TLS is served", || curl(world, "one.example", 2004, &[]).0);
            must("nobody is left", || daemon.status()["running"] == 0);
        };
        all_serve();
        let count = || {
            let workers = workers(&daemon).into_iter().map(|(name, pid, _)| (name, open(world, pid)));
            (daemon.descriptors(), workers.collect::<Vec<_>>())
        };
        let before = count();

        let mut clients: Vec<(u16, Connection)> = (0..200)
            .map(|n| 2001 + n % 4)
            .map(|port| (port, dial("127.0.0.1", port).expect("in the queue")))
            .collect();
        for (_, client) in clients.iter_mut().filter(|(port, _)| *port != 2004) {
            client.send(b"x");
        }
        let (busy, used) = (Instant::now(), processor_time(world, daemon.pid));
        never("it ends", Duration::from_secs(1), || !daemon.runs());
        let used = processor_time(world, daemon.pid) - used;
        assert!(used < busy.elapsed().as_millis() as u64 / 2, "it spins: {used} ms in a second");
        // Who only holds a place behind TLS goes; then one after the other has been served.
        clients.retain(|(port, _)| *port != 2004);
        let served = clients.into_iter().filter_map(|(_, mut client)| {
            let answer = client.read_count(1);
            (answer.bytes == b"x").then_some(())
        });
        assert_eq!(served.count(), 150, "each of them in the end");
        must("nobody is left", || daemon.status()["running"] == 0);
        all_serve();
        must("what was open before is open, and nothing else", || count() == before);
        assert!(workers(&daemon).iter().all(|(_, _, restarts)| *restarts == 0), "no worker was lost");
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// One source fills the worker of TLS with connections that never shake hands, without a limit of the service against it.
#[test]
fn one_source_never_shakes_hands() {
    const HONEST: usize = 40;
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let through = ["/usr/bin/prlimit", "--nofile=256:256"].map(str::to_owned).to_vec();
        let tls = spawned("tls", 2001, "/run/w/tell.sh").set("cps", "0 0").set("instances", "UNLIMITED");
        let daemon = world.start_with(&Config::of(tls), Start { through, ..Start::default() });
        keyed(&daemon, "tls");
        assert!(curl(world, "one.example", 2001, &[]).0);
        let flood = Flood::start(&["127.64.0.1".parse().expect("an address")], 2001, Then::Hold(400));
        must("others make room", || daemon.count("tls", "/refused/tls") > 200);
        let served = (0..HONEST).filter(|_| curl(world, "one.example", 2001, &["--max-time", "5"]).0).count();
        let fared = flood.end();
        assert!(fared.connected > 500, "a flood: {fared:?}");
        assert_eq!(fared.refused, 0, "the port is never closed");
        assert!(served * 100 >= HONEST * 95, "{served} of {HONEST}; {fared:?}");
        must("nobody is left", || daemon.count("tls", "/running") == 0);
        let given_up = || {
            let status = daemon.status();
            let bounds = status["bounds"].as_array().cloned().unwrap_or_default();
            let bound = bounds.into_iter().find(|bound| bound["name"] == "connections behind TLS");
            bound.and_then(|bound| bound["dropped"].as_u64()).unwrap_or(0)
        };
        let before = given_up();
        assert!(before > 200, "{before}");
        assert!(daemon.control("upgrade").contains("\"ok\":true"));
        assert_eq!(given_up(), before, "counters go on");
        assert!(curl(world, "one.example", 2001, &[]).0);
        assert!(workers(&daemon).iter().all(|(_, _, restarts)| *restarts == 0), "no worker was lost");
    });
}

/// Numbers from this one on are for nobody in a process; what it has it keeps.
fn limit(world: &World, pid: u32, soft: u32) {
    // As the worker's own user, who may always do it.
    let status = std::fs::read_to_string(world.inside(&format!("/proc/{pid}/status"))).expect("it runs");
    let id = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next());
    let (uid, gid) = (id("Uid:").expect("a user"), id("Gid:").expect("a group"));
    let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let (pid, soft) = (pid.to_string(), format!("--nofile={soft}:"));
    let argv = ["/usr/bin/setpriv", &uid, &gid, "--clear-groups", "/usr/bin/prlimit", "--pid", &pid, &soft];
    let (how, said) = world.run(&argv, &[]);
    assert_eq!(how, Ended::Status(0), "{said}");
}

/// Leaves so many numbers free in a process.
fn leave(world: &World, pid: u32, free: usize) {
    let path = world.inside(&format!("/proc/{pid}/fd"));
    let names = std::fs::read_dir(path).expect("it runs").flatten();
    let open: Vec<u32> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    limit(world, pid, (0..).filter(|number| !open.contains(number)).nth(free).expect("a number"));
}

/// A worker that has no number for the descriptor of its next client: that one is let go, with a line in the log, and nobody else.
#[test]
fn a_worker_cannot_take_its_next_client() {
    ours(|world| {
        let config = Config::of(Entry::internal("echo", "echo", 2001, "stream"))
            .with(redirected("way", 2002, "127.0.0.1 2001"))
            .with(Entry::internal("tcpmux", "tcpmux", 2003, "stream"))
            .with(Entry::probe("muxed", 0, "report").unset("port").set("type", "TCPMUXPLUS UNLISTED"));
        let daemon = world.start(&config);
        let mut old: Vec<Connection> =
            [2001, 2002].map(|port| dial("127.0.0.1", port).expect("a connection")).into();
        for client in &mut old {
            says_it_back(client, "before");
        }
        let mut mux = dial("127.0.0.1", 2003).expect("a connection");
        mux.send(b"mux");
        must("its line is awaited", || daemon.count("tcpmux", "/running") == 1);
        let pids = ["builtin", "proxy", "header"].map(|name| pid_of(&daemon, name));
        // What they have they keep; numbers from 3 on are for nobody.
        pids.iter().for_each(|&pid| limit(world, pid, 3));
        let ends = |id: &str| {
            world.service_log(id).iter().filter(|l| l.starts_with("EXIT") && l.contains("status=1")).count()
        };
        assert_eq!(talk("127.0.0.1", 2002, b"x").text(), "");
        assert_eq!(talk("127.0.0.1", 2001, b"x").text(), "");
        must("each is told of", || ends("echo") >= 1 && ends("way") == 1);
        assert_eq!(talk("127.0.0.1", 2003, b"muxed\r\n").text(), "");
        let told = || world.service_log("tcpmux").iter().filter(|line| line.starts_with("EXIT")).count();
        must("of this one too", || told() == 1);
        for client in &mut old {
            says_it_back(client, "after");
        }
        pids.iter().for_each(|&pid| limit(world, pid, 512));
        for port in [2001, 2002] {
            says_it_back(&mut dial("127.0.0.1", port).expect("a connection"), "again");
        }
        mux.send(b"ed\r\n");
        mux.finish();
        assert!(mux.read_all().text().starts_with("+Go\r\n"), "who was there before is served");
        assert!(workers(&daemon).iter().all(|(_, _, restarts)| *restarts == 0), "no worker was lost");
    });
}

/// The same of what comes behind the client: its target, a flow of datagrams, a client of TLS, its target, and new certificates. Who it
/// was for is let go and accounted for; who is there, and who comes when there is room, is served.
#[test]
fn a_worker_cannot_take_what_comes_next() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let page = "read line\nprintf 'HTTP/1.0 200 OK\\r\\n\\r\\npage\\n'\n";
        world.write("page.sh", page);
        let config = Config::of(Entry::internal("echo", "echo", 2001, "stream"))
            .with(Entry::internal("echo", "uecho", 2001, "dgram"))
            .with(
                Entry::probe("page", 2002, "report")
                    .set("server", "/bin/sh")
                    .set("server_args", "/run/w/page.sh"),
            )
            .with(redirected("way", 2003, "127.0.0.1 2001"))
            .with(
                redirected("flow", 2004, "127.0.0.9 3001")
                    .set("socket_type", "dgram")
                    .set("protocol", "udp")
                    .set("wait", "yes"),
            )
            .with(behind("tls", 2005).set("redirect", "127.0.0.1 2002"));
        let daemon = world.start(&config);
        keyed(&daemon, "tls");
        let target = std::net::UdpSocket::bind("127.0.0.9:3001").expect("a target");
        target.set_read_timeout(Some(Duration::from_millis(200))).expect("a deadline");
        let flow = |text: &str| {
            let client = datagram_socket("127.0.0.1", 2004);
            client.send(text.as_bytes()).expect("to send");
            let mut buffer = [0; 64];
            target.recv(&mut buffer).is_ok()
        };
        let mut old = dial("127.0.0.1", 2003).expect("a connection");
        says_it_back(&mut old, "before");
        let fetch = || curl(world, "one.example", 2005, &["--max-time", "10"]).0;
        assert!(fetch() && flow("before"));
        must("it is over", || daemon.count("tls", "/running") == 0);
        let (proxy, tls) = (pid_of(&daemon, "proxy"), pid_of(&daemon, "tls"));
        let ends = |id: &str| world.service_log(id).iter().filter(|l| l.starts_with("EXIT")).count();
        // Room for the client, none for its target.
        leave(world, proxy, 1);
        let before = ends("way");
        assert_eq!(talk("127.0.0.1", 2003, b"x").text(), "");
        must("its end is told", || ends("way") == before + 1 && daemon.count("way", "/running") == 1);
        leave(world, proxy, 0);
        let flows = daemon.count("flow", "/running");
        let before = ends("flow");
        assert!(!flow("lost"));
        must("its end is told", || ends("flow") == before + 1 && daemon.count("flow", "/running") == flows);
        for free in [0, 1] {
            leave(world, tls, free);
            assert!(!fetch());
            must("nobody is left", || daemon.count("tls", "/running") == 0);
        }
        leave(world, tls, 0);
        let answer = daemon.control("reload");
        assert!(answer.contains("no descriptor left"), "{answer}");
        says_it_back(&mut old, "after");
        [proxy, tls].iter().for_each(|&pid| limit(world, pid, 512));
        must("all are served", || fetch() && flow("again"));
        says_it_back(&mut dial("127.0.0.1", 2003).expect("a connection"), "again");
        assert!(!daemon.control("reload").contains("no descriptor left"));
        assert!(workers(&daemon).iter().all(|(_, _, restarts)| *restarts == 0), "no worker was lost");
    });
}
