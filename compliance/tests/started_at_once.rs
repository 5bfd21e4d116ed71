//! Clients that come at once: their programs are started beside one another, and each is what it would be alone.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Ended, Entry, Start, both, ours, signals};
use serde_json::Value;

/// Opens so many connections to `ports`, by turns, while nobody takes them.
fn crowd(count: usize, ports: &[u16]) -> Vec<(u16, Connection)> {
    let turns = ports.iter().copied().cycle().take(count);
    turns.map(|port| (port, dial("127.0.0.1", port).expect("in the queue"))).collect()
}

/// Ids, groups, environment, descriptors, limits, session: of forty at once each as of the one before them.
#[test]
fn each_is_what_one_alone_is() {
    both(|world| {
        let config = Config::of(
            Entry::probe("s1", 2001, "report")
                .set("user", "daemon")
                .set("group", "man")
                .set("umask", "027")
                .set("nice", "3")
                .set("env", "COLOUR=blue")
                .set("rlimit_cpu", "100")
                .set("rlimit_files", "77")
                .set("instances", "UNLIMITED")
                .set("cps", "0 0"),
        );
        let daemon = world.start(&config);
        let said = |text: &[u8]| -> Value { serde_json::from_slice(text).expect("a report") };
        let mut alone = said(&talk("127.0.0.1", 2001, b"").bytes);
        let ours = world.is_ours();
        // What tells one client from another.
        let own = |report: &mut Value, port: u16| {
            let variables = report["env"].as_array_mut().expect("variables");
            let before = variables.len();
            let named = [format!("REMOTE_PORT={port}"), format!("TCPREMOTEPORT={port}")];
            variables.retain(|v| !named.iter().any(|name| v == name));
            assert_eq!(before - variables.len(), if ours { 2 } else { 0 }, "{variables:?}");
        };
        let variables = alone["env"].as_array_mut().expect("variables");
        variables.retain(|v| {
            !v.as_str().unwrap_or_default().contains("REMOTEPORT=")
                && !v.as_str().unwrap_or_default().starts_with("REMOTE_PORT=")
        });
        daemon.signal(signals::STOP);
        let clients = crowd(40, &[2001]);
        daemon.signal(signals::CONT);
        for (_, mut client) in clients {
            let port = client.stream.local_addr().expect("an address").port();
            let mut report = said(&client.read_all().bytes);
            own(&mut report, port);
            for (name, value) in alone.as_object().expect("an object") {
                if !matches!(name.as_str(), "pid" | "ppid" | "sid" | "pgid") {
                    assert_eq!(&report[name], value, "{name}");
                }
            }
        }
        must("all have ended", || !ours || daemon.count("s1", "/running") == 0);
    });
}

/// Programs that are missing, between those that are not: their clients are let go, the failures are told and counted, and nobody else
/// hears of them.
#[test]
fn those_that_are_missing_harm_nobody() {
    ours(|world| {
        let script = world.write_mode("gone", "#!/bin/sh\necho here\n", 0o755);
        let many = |entry: Entry| entry.set("instances", "UNLIMITED").set("cps", "0 0");
        let config = Config::of(many(Entry::program("good", 2001)))
            .with(many(Entry::program("gone", 2002).set("server", &script).unset("server_args")));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("here\n"));
        must("the first have ended", || daemon.count("gone", "/running") == 0);
        let descriptors = daemon.descriptors();
        std::fs::remove_file(world.path("gone")).expect("to remove it");
        daemon.signal(signals::STOP);
        let clients = crowd(60, &[2001, 2002]);
        daemon.signal(signals::CONT);
        for (port, mut client) in clients {
            let wanted = if port == 2001 { "served\n" } else { "" };
            assert_eq!(client.read_all(), Answer::closed(wanted), "{port}");
        }
        assert_eq!(daemon.count("gone", "/start_failures"), 30);
        assert_eq!(daemon.count("good", "/start_failures"), 0);
        must("no instance is left", || {
            daemon.count("gone", "/running") + daemon.count("good", "/running") == 0
        });
        assert_eq!(world.daemon_log_count(&format!("execv( {script} ) failed")), 30);
        assert_eq!(daemon.descriptors(), descriptors, "no client is kept");
        assert!(daemon.runs());
    });
}

/// Those that come while the limits are reached are refused as ever: who is under way counts.
#[test]
fn who_is_under_way_counts() {
    both(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold").set("instances", "5").set("cps", "0 0"));
        let daemon = world.start(&config);
        daemon.signal(signals::STOP);
        let clients = crowd(20, &[2001]);
        daemon.signal(signals::CONT);
        let refused = || {
            world.service_log("s1").iter().filter(|line| line.starts_with("FAIL: s1 service_limit")).count()
        };
        must("the others are refused", || refused() == 15);
        drop(clients);
    });
}

/// Of programs that end at once more are served than there are seats: whoever finds none waits until those that are under way are off, and
/// asks who has ended.
#[test]
fn a_seat_is_sought_among_those_that_are_under_way() {
    const ROUNDS: usize = 10;
    const CLIENTS: usize = 40;
    for limit in ["instances", "per_source"] {
        ours(|world| {
            let daemon =
                world.start(&Config::of(Entry::program("s1", 2001).set(limit, "10").set("cps", "0 0")));
            let mut served = 0;
            for _ in 0..ROUNDS {
                daemon.signal(signals::STOP);
                let clients = crowd(CLIENTS, &[2001]);
                daemon.signal(signals::CONT);
                served += clients
                    .into_iter()
                    .filter_map(|(_, mut c)| (c.read_all() == Answer::closed("served\n")).then_some(()))
                    .count();
                must("all have ended", || daemon.count("s1", "/running") == 0);
            }
            // All of them on a quiet machine; a third where nobody asks.
            assert!(served > ROUNDS * CLIENTS / 2, "{limit}: {served}");
        });
    }
}

/// With few descriptors, each client of a crowd is decided as one alone: the tables, which have just changed, can be opened for all of them.
#[test]
fn descriptors_are_left_for_who_decides() {
    ours(|world| {
        for limit in ["26", "31", "45", "200"] {
            let through = vec!["/usr/bin/prlimit".to_owned(), format!("--nofile={limit}:{limit}")];
            let entry = Entry::program("s1", 2001).set("instances", "UNLIMITED").set("cps", "0 0");
            let daemon = world.start_with(&Config::of(entry), Start { through, ..Start::default() });
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
            world.cover("/etc/hosts.deny", &format!("s1: 10.0.0.{limit}\n"));
            daemon.signal(signals::STOP);
            let clients = crowd(60, &[2001]);
            daemon.signal(signals::CONT);
            for (_, mut client) in clients {
                assert_eq!(client.read_all(), Answer::closed("served\n"), "{limit} descriptors");
            }
            assert_eq!(daemon.stop(), Ended::Status(0));
        }
    });
}
