//! hosts.allow and hosts.deny in front of the services: verdicts, names of daemons, tables that are broken or change
//! (reference tcp-wrappers A1-A6, xinetd §14).

use portreeve_compliance::client::{ask, datagram_socket, talk, talk_to};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, World, both, ours};
use serde_json::Value;
use std::time::Duration;

const SERVED: &str = "served\n";

fn four(id: &str, port: u16) -> Entry {
    Entry::program(id, port).first("flags = IPv4")
}

fn tables(world: &World, allow: &str, deny: &str) {
    world.write("etc/hosts.allow", allow);
    world.write("etc/hosts.deny", deny);
}

/// Each table, and who gets in. `echo` is the program's name.
#[test]
fn verdicts_are_those_of_the_original() {
    type Clients = &'static [(&'static str, bool)];
    let long = format!("#{}\n", "x".repeat(2_047));
    let cases: &[(&str, &str, Clients)] = &[
        ("", "", &[("127.0.0.1", true)]),
        ("echo: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("ALL: 127.0.0. EXCEPT 127.0.0.2\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("ALL: 127.0.0.0/30\n", "ALL: ALL\n", &[("127.0.0.3", true), ("127.0.0.4", false)]),
        ("", "ech*: 127.?.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("", "other: ALL\n", &[("127.0.0.1", true)]),
        ("ALL: 127.0.0.1 : deny\n", "", &[("127.0.0.1", false), ("127.0.0.2", true)]),
        ("", "ALL: 127.0.0.1 : allow\nALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("echo@127.0.0.2: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", false)]),
        ("echo@127.0.0.1: 127.0.0.2\n", "ALL: ALL\n", &[("127.0.0.2", true)]),
        ("2001: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        // Broken tables: a line without an end, in hosts.allow and in hosts.deny; a rule that ends in a colon.
        ("ALL: ALL", "", &[("127.0.0.1", true)]),
        ("ALL: ALL", "ALL: 127.0.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("", "other: ALL", &[("127.0.0.1", false)]),
        ("ALL: ALL :\n", "", &[("127.0.0.1", false)]),
        ("ALL: ALL : bogus\n", "", &[("127.0.0.1", false)]),
        ("no colon\nALL: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        // Comments alone, as distributions install them, then a rule; what only looks like a comment, or breaks off as one.
        ("# a\n", "# b\n\n \t\n", &[("127.0.0.1", true)]),
        ("# a\n", "# b\nALL: 127.0.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("# a\n", "# goes on \\\nALL: ALL\n", &[("127.0.0.1", true)]),
        ("# a\n", " # no comment\n", &[("127.0.0.1", true)]),
        ("# a\n", " # no comment: 127.0.0.1\nALL: 127.0.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("# a\n", "# b\n# c", &[("127.0.0.1", false)]),
        ("# a\n", &long, &[("127.0.0.1", false)]),
        ("# a\n", "# b\n", &[("127.0.0.1", true)]),
    ];
    both(|world| {
        let _daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        for (allow, deny, clients) in cases {
            // An edit counts from the next connection on.
            tables(world, allow, deny);
            for (from, expected) in *clients {
                let expected = Answer::closed(if *expected { SERVED } else { "" });
                assert_eq!(talk(from, 2001, b""), expected, "{from}: allow {allow:?}, deny {deny:?}");
            }
        }
    });
}

/// Datagrams: of a program that waits, and of a built-in.
#[test]
fn datagrams() {
    both(|world| {
        tables(world, "dg: 127.0.0.1\ntime: 127.0.0.1\n", "ALL: ALL\n");
        let config = Config::new()
            .with(Entry::datagram("dg", 2001, "datagrams 1").first("flags = IPv4").set("libwrap", "dg"))
            .with(Entry::internal("time", "i1", 2002, "dgram").first("flags = IPv4").set("cps", "0 0"))
            .with(Entry::internal("time", "i2", 2003, "dgram").first("flags = IPv4 NOLIBWRAP"));
        let daemon = world.start(&config);
        let asks = |from: &str, port: u16, patience: u64| {
            let socket = datagram_socket(from, port);
            ask(&socket, b"x", Duration::from_millis(patience)).is_some()
        };
        // Refused first: the program of the other then takes what is queued.
        assert!(!asks("127.0.0.2", 2001, 300), "a stranger at the program");
        must("the refusal is said", || {
            world.daemon_log_count("libwrap refused connection to dg (libwrap=dg)") > 0
        });
        assert!(!asks("127.0.0.2", 2002, 300), "a stranger at the built-in");
        assert!(asks("127.0.0.2", 2003, 5000), "NOLIBWRAP");
        assert!(asks("127.0.0.1", 2002, 5000), "a friend at the built-in");
        must("the program answers a friend", || asks("127.0.0.1", 2001, 500));
        assert!(world.service_log("i1").contains(&"FAIL: i1 libwrap from=127.0.0.2".to_owned()));
        // An edit reaches the copy of the built-ins.
        tables(world, "time: 127.0.0.2\n", "ALL: ALL\n");
        must("the edit counts", || asks("127.0.0.2", 2002, 300));
        assert!(!asks("127.0.0.1", 2002, 300));
        // A service that comes with a reload is asked about too, under its own name.
        let later =
            Entry::internal("time", "i3", 2004, "dgram").first("flags = IPv4").set("libwrap", "later");
        tables(world, "later: 127.0.0.2\n", "ALL: ALL\n");
        daemon.reload(&config.with(later));
        must("it is served", || asks("127.0.0.2", 2004, 300));
        assert!(!asks("127.0.0.1", 2004, 300));
    });
}

/// A broken table means what it means in the original, and is told with file and line; once, not to each client.
#[test]
fn a_broken_table_is_told_once() {
    ours(|world| {
        tables(world, "ALL: 127.0.0.1\n", "ALL: ALL\n");
        let _daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        world.write("etc/hosts.allow", "# mine\nALL: 127.0.0.1 : bogus\n");
        must("the edit is told without a client", || {
            world.daemon_log_count("/etc/hosts.allow has changed") > 0
                && world.daemon_log().iter().any(|line| line.starts_with("ERROR: /etc/hosts.allow:2:"))
        });
        for _ in 0..3 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        }
        let text = "ERROR: error: /etc/hosts.allow, line 2: bad option name: \"bogus\"";
        must("it is told", || world.daemon_log_count("libwrap refused connection to s1") == 3);
        let told = world.daemon_log().iter().filter(|line| *line == text).count();
        assert_eq!(told, 1, "{:?}", world.daemon_log());
    });
}

/// However a table is replaced, the next connection sees it: written in place with the same length, renamed over, made a
/// link, taken away.
#[test]
fn every_edit_counts_at_once() {
    both(|world| {
        // An /etc of this world's own, in which names can change and not only contents.
        let copy = "mkdir /run/w/own && cd /etc && \
                    for f in passwd group nsswitch.conf hosts protocols services ld.so.cache; do \
                    test ! -e $f || cp -aL $f /run/w/own/; done && mount --bind /run/w/own /etc";
        let (how, output) = world.run(&["/bin/sh", "-c", copy], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let _daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        let served = |expected: bool, what: &str| {
            let expected = Answer::closed(if expected { SERVED } else { "" });
            assert_eq!(talk("127.0.0.1", 2001, b""), expected, "{what}");
        };
        let deny = world.path("own/hosts.deny");
        served(true, "no table");
        for round in 0..20 {
            world.write("own/hosts.deny", "ALL: 127.0.0.1\n");
            served(false, &format!("in place, round {round}"));
            world.write("own/hosts.deny", "ALL: 127.0.0.2\n");
            served(true, &format!("in place with the same length, round {round}"));
        }
        world.write("own/new", "ALL: ALL\n");
        std::fs::rename(world.path("own/new"), &deny).expect("to rename");
        served(false, "renamed over");
        std::fs::remove_file(&deny).expect("to remove");
        served(true, "taken away");
        world.write("elsewhere", "ALL: 127.0.0.9\n");
        std::os::unix::fs::symlink("/run/w/elsewhere", &deny).expect("a link");
        served(true, "a link to another directory");
        world.write("elsewhere", "ALL: ALL\n");
        served(false, "the link's target written");
        world.write("own/hosts.allow", "ALL: /run/w/friends\n");
        served(false, "a list that is not there");
        for round in 0..5 {
            world.write("friends", "127.0.0.2 127.0.0.1\n");
            served(true, &format!("a list, round {round}"));
            world.write("friends", "127.0.0.2 127.0.0.3\n");
            served(false, &format!("a list of the same length, round {round}"));
        }
        std::fs::remove_file(&deny).expect("to remove");
        std::fs::create_dir(&deny).expect("a directory");
        served(true, "a directory holds no rule");
    });
}

/// `status` and `explain` tell what the tables are and which line decides.
#[test]
fn status_and_explain() {
    ours(|world| {
        tables(world, "echo: 127.0.0.1\n", "# nobody else\nALL: .example.net\nALL: 10.\n");
        let daemon = world.start(
            &Config::of(four("s1", 2001)).with(Entry::program("s2", 2002).first("flags = IPv4 NOLIBWRAP")),
        );
        let status = daemon.status();
        assert_eq!(status.pointer("/tables/1/lines").and_then(Value::as_u64), Some(2), "{status}");
        assert_eq!(status.pointer("/tables/0/watched").and_then(Value::as_bool), Some(true));
        let explained = |service: &str, address: &str| -> (String, Value) {
            let answer: Value =
                serde_json::from_str(&daemon.control(&format!("explain {service} {address}"))).expect("JSON");
            let verdict = answer["verdict"].as_str().unwrap_or("").to_owned();
            let checks = answer["checks"].as_array().cloned().unwrap_or_default();
            let tables = checks.iter().find(|check| check["name"] == "hosts_access");
            (verdict, tables.cloned().unwrap_or_default())
        };
        let (verdict, check) = explained("s1", "127.0.0.1");
        assert_eq!(
            (verdict.as_str(), check["detail"].as_str()),
            ("admit", Some("as echo: `echo: 127.0.0.1` matches"))
        );
        let (verdict, check) = explained("s1", "127.0.0.2");
        assert_eq!(verdict, "needs names", "{check}");
        world.write("etc/hosts.deny", "ALL: 127.\n");
        let (verdict, check) = explained("s1", "127.0.0.2");
        assert_eq!(
            (verdict.as_str(), check["file"].as_str()),
            ("refuse", Some("/etc/hosts.deny")),
            "{check}"
        );
        assert_eq!(check["line"].as_u64(), Some(1));
        let (verdict, check) = explained("s2", "127.0.0.2");
        assert_eq!((verdict.as_str(), check["outcome"].as_str()), ("admit", Some("not set")));
    });
}

/// A long table: compiled once it has been left alone for a moment, with the same answers before and after, and an edit counts
/// at once.
#[test]
fn long_tables() {
    both(|world| {
        let mut long: String =
            (0..20_000).map(|n| format!("ALL: 10.{}.{}.0/24\n", n / 250 % 250, n % 250)).collect();
        long.push_str("ALL: 127.0.0.2\n");
        tables(world, "", &long);
        let daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        let decides = |second: bool| {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
            assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(if second { SERVED } else { "" }));
        };
        decides(false);
        if world.is_ours() {
            must("it is compiled", || {
                decides(false);
                daemon
                    .status()
                    .get("compiled_tables_bytes")
                    .and_then(Value::as_u64)
                    .is_some_and(|bytes| bytes > 0)
            });
        }
        decides(false);
        long.truncate(long.len() - "ALL: 127.0.0.2\n".len());
        tables(world, "", &long);
        decides(true);
    });
}

/// Of long tables the texts are let go. What the compiled form cannot answer (an address in an unusual spelling) is read again,
/// as it is by then.
#[test]
fn the_text_of_a_long_table_is_read_again() {
    both(|world| {
        let (how, said) = world.run(
            &["/bin/sh", "-c", "ip addr add ::10.9.0.1/128 dev lo"],
            &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        );
        assert_eq!(how, Ended::Status(0), "{said}");
        let long: String =
            (0..20_000).map(|n| format!("ALL: 10.{}.{}.0/24\n", n / 250 % 250, n % 250)).collect();
        let table = |last: &str| tables(world, "", &format!("{long}ALL: {last}\n"));
        table("[::10.9.0.1]");
        let service = Entry::program("s1", 2001).first("flags = IPv6");
        let daemon = world.start(&Config::of(service.set("cps", "0 0")));
        let decides = |usual: bool, unusual: bool, what: &str| {
            for (address, served) in [("::1", usual), ("::10.9.0.1", unusual)] {
                let expected = Answer::closed(if served { SERVED } else { "" });
                assert_eq!(talk_to(address, address, 2001), expected, "{what}: {address}");
            }
        };
        let only_compiled = |usual: bool, unusual: bool, what: &str| {
            decides(usual, unusual, what);
            if world.is_ours() {
                must("the texts are let go, without a client", || {
                    let status = daemon.status();
                    let held = status.pointer("/tables/1/text_bytes").and_then(Value::as_u64);
                    let lines = status.pointer("/tables/1/lines").and_then(Value::as_u64);
                    assert_eq!(lines, Some(20_001), "{status}");
                    held == Some(0) && status.get("compiled_tables_bytes").is_some()
                });
            }
            decides(usual, unusual, what);
        };
        only_compiled(true, false, "refused by the text");
        // The same size and time of modification.
        let path = world.inside("/etc/hosts.deny");
        let modified = std::fs::metadata(&path).and_then(|table| table.modified()).expect("its time");
        table("[::10.9.0.2]");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the table");
        file.set_modified(modified).expect("to set its time");
        drop(file);
        only_compiled(true, true, "edited");
        table("[::1]");
        only_compiled(false, true, "edited once more");
        if world.is_ours() {
            let answer: Value = serde_json::from_str(&daemon.control("explain s1 ::1")).expect("JSON");
            let checks = answer["checks"].as_array().cloned().unwrap_or_default();
            let check = checks.iter().find(|check| check["name"] == "hosts_access");
            let check = check.cloned().unwrap_or_default();
            assert_eq!(check["line"].as_u64(), Some(20_001), "{answer}");
            assert!(check["detail"].as_str().is_some_and(|why| why.contains("`ALL: [::1]")), "{answer}");
            let status = daemon.status();
            assert_eq!(status.pointer("/tables/1/text_bytes").and_then(Value::as_u64), Some(0), "{status}");
        }
    });
}

/// A short table that names a long list costs no more.
#[test]
fn a_long_list() {
    both(|world| {
        let mut long: String = (0..20_000).map(|n| format!("10.{}.{}.1\n", n / 250 % 250, n % 250)).collect();
        long.push_str("127.0.0.2\n");
        let list = world.write("friends", &long);
        tables(world, &format!("ALL: {list}\n"), "ALL: ALL\n");
        let daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        let decides = |second: bool| {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
            assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(if second { SERVED } else { "" }));
        };
        if world.is_ours() {
            must("it is compiled", || {
                decides(true);
                let bytes = daemon.status().get("compiled_tables_bytes").and_then(Value::as_u64);
                bytes.is_some_and(|bytes| bytes > 0)
            });
        }
        decides(true);
        long.truncate(long.len() - "127.0.0.2\n".len());
        world.write("friends", &long);
        decides(false);
    });
}

/// The worker decides on datagrams of built-ins, and `explain` says what it decides.
#[test]
fn explain_knows_what_the_worker_cannot_ask() {
    ours(|world| {
        world.write("friends", "127.0.0.1\n");
        let service = Entry::internal("time", "i1", 2002, "dgram").first("flags = IPv4").set("cps", "0 0");
        let daemon = world.start(&Config::of(service));
        let cases = [
            ("ALL: /run/w/friends\n", "", "refuse"),
            ("ALL: 127.0.0.1\nALL: /run/w/friends\n", "ALL: ALL\n", "admit"),
            ("ALL: UNKNOWN@ALL\n", "ALL: ALL\n", "admit"),
            ("ALL: KNOWN@ALL\n", "ALL: ALL\n", "refuse"),
            ("", "ALL: .example.org\n", "refuse"),
            ("ALL: ALL EXCEPT .example.org\n", "", "admit"),
            ("", "ALL@127.0.0.2: ALL\n", "admit"),
        ];
        for (allow, deny, expected) in cases {
            tables(world, allow, deny);
            let answer: Value = serde_json::from_str(&daemon.control("explain i1 127.0.0.1")).expect("JSON");
            assert_eq!(answer["verdict"].as_str(), Some(expected), "{allow:?}, {deny:?}: {answer}");
            let answers = expected == "admit";
            must(&format!("{allow:?}, {deny:?}: it does what explain says"), || {
                let socket = datagram_socket("127.0.0.1", 2002);
                ask(&socket, b"x", Duration::from_millis(300)).is_some() == answers
            });
        }
    });
}
