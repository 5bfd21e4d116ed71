//! The order of the checks and what each refusal looks like to the client and in the logs (reference xinetd §3.1, §3.2).

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::wait::{closed_hours, must, never, some_load};
use portreeve_compliance::{Answer, Config, Entry, Start, World, both, signals};
use std::time::Duration;

/// The lines of a client that a check in the child refused: xinetd has started a process by then.
fn refused_in_child(world: &World, id: &str, reason: &str, from: &str) -> Vec<String> {
    let fail = format!("FAIL: {id} {reason} from={from}");
    let theirs = vec![
        format!("START: {id} pid=N from={from}"),
        fail.clone(),
        format!("EXIT: {id} status=0 pid=N duration=N(sec)"),
    ];
    world.fix("refused-before-any-process", theirs, vec![fail])
}

/// Each service fails its own check and all later ones: the reason that is logged is the first.
#[test]
fn the_first_failing_check_is_the_reason() {
    some_load();
    let hours = closed_hours();
    // In order; the last two are looked at by xinetd's child.
    let violations = [
        ("load", "max_load", "0.000001"),
        ("time", "access_times", hours.as_str()),
        ("service_limit", "instances", "0"),
        ("per_source_limit", "per_source", "0"),
        ("process_limit", "", ""),
    ];
    both(|world| {
        let mut config = Config::of(Entry::probe("holder", 2000, "hold"));
        for first in 0..violations.len() {
            let id = violations[first].0;
            let mut entry = Entry::program(id, 2001 + first as u16).set("no_access", "127.0.0.3");
            for (_, attribute, value) in violations.iter().skip(first).filter(|v| !v.1.is_empty()) {
                entry = entry.set(attribute, value);
            }
            config = config.with(entry);
        }
        let start = Start { options: vec!["-limit".into(), "1".into()], ..Start::default() };
        let _daemon = world.start_with(&config, start);
        let mut holder = dial("127.0.0.1", 2000).expect("the holder");
        assert_eq!(holder.read_until(b"\n").text(), "held\n");
        for (first, (reason, ..)) in violations.iter().enumerate() {
            assert_eq!(talk("127.0.0.3", 2001 + first as u16, b""), Answer::closed(""), "{reason}");
            world.expect_log(reason, &[format!("FAIL: {reason} {reason} from=::ffff:127.0.0.3")]);
        }
        world.expect_daemon_log(&["ERROR: refused connect from ::ffff:127.0.0.3 due to excessive load"]);
    });
}

/// The rate is looked at before everything else, and it counts clients that another check refuses.
#[test]
fn the_rate_comes_first_and_counts_refused_clients() {
    some_load();
    both(|world| {
        let entry = Entry::program("rate", 2001)
            .set("cps", "1 600")
            .set("max_load", "0.000001")
            .set("access_times", &closed_hours())
            .set("instances", "0")
            .set("no_access", "127.0.0.1");
        let _daemon = world.start(&Config::of(entry));
        // A window is one second long and may end between two clients; each turn refuses at least one.
        must("the rate trips", || {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
            world.service_log("rate").last().is_some_and(|line| line.contains("connections per second"))
        });
        let log = world.service_log("rate");
        let rest = log.iter().skip_while(|line| *line == "FAIL: rate load from=::ffff:127.0.0.1");
        let rest: Vec<&String> = rest.collect();
        assert!(
            !rest.is_empty() && rest.len() < log.len(),
            "some for the load, then some for the rate: {log:?}"
        );
        assert!(
            rest.iter().all(|line| *line == "FAIL: rate connections per second from=::ffff:127.0.0.1"),
            "{log:?}"
        );
        world.expect_daemon_log(&[
            "ERROR: Deactivating service rate due to excessive incoming connections.  Restarting in 600 seconds.",
        ]);
    });
}

/// Address before libwrap, and under which name libwrap is asked.
#[test]
fn address_comes_before_libwrap() {
    both(|world| {
        world.write(
            "etc/hosts.deny",
            "ALL: 127.0.0.3\necho: 127.0.0.4\nwrapname: 127.0.0.5\ndaytime: 127.0.0.6\n",
        );
        let config = Config::new()
            .with(Entry::program("addr", 2001).set("no_access", "127.0.0.3"))
            .with(Entry::program("wrap", 2002))
            .with(Entry::program("named", 2003).set("libwrap", "wrapname"))
            .with(Entry::program("nowrap", 2004).set("flags", "NOLIBWRAP"))
            .with(Entry::internal("daytime", "int1", 2005, "stream"));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.3", 2004, b""), Answer::closed("served\n"), "NOLIBWRAP");
        let from = "::ffff:127.0.0.3";
        assert_eq!(talk("127.0.0.3", 2001, b""), Answer::closed(""));
        world.expect_log("addr", &refused_in_child(world, "addr", "address", from));

        assert_eq!(talk("127.0.0.3", 2002, b""), Answer::closed(""));
        world.expect_log("wrap", &refused_in_child(world, "wrap", "libwrap", from));
        world.expect_daemon_log(&[format!(
            "INFO: libwrap refused connection to wrap (libwrap=echo) from {from}"
        )]);

        assert_eq!(
            talk("127.0.0.4", 2003, b""),
            Answer::closed("served\n"),
            "not asked under the server's name"
        );
        assert_eq!(talk("127.0.0.5", 2003, b""), Answer::closed(""));
        world.expect_daemon_log(&[
            "INFO: libwrap refused connection to named (libwrap=wrapname) from ::ffff:127.0.0.5",
        ]);
        assert_eq!(talk("127.0.0.6", 2005, b""), Answer::closed(""), "a built-in goes by the service's name");
        // A built-in that does not fork is refused without START and EXIT by xinetd too.
        world.expect_log("int1", &["FAIL: int1 libwrap from=::ffff:127.0.0.6"]);
        world.expect_daemon_log(&[
            "INFO: libwrap refused connection to int1 (libwrap=daytime) from ::ffff:127.0.0.6",
        ]);
    });
}

/// Refused by its address: xinetd has started a process by then and says so in two more lines.
#[test]
fn a_client_that_is_refused_by_its_address() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("program", 2001).set("no_access", "127.0.0.3"))
            .with(Entry::internal("echo", "forks", 2002, "stream").set("no_access", "127.0.0.3"))
            .with(Entry::internal("daytime", "plain", 2003, "stream").set("no_access", "127.0.0.3"));
        let _daemon = world.start(&config);
        let from = "::ffff:127.0.0.3";
        for (port, id) in [(2001, "program"), (2002, "forks")] {
            assert_eq!(talk("127.0.0.3", port, b""), Answer::closed(""), "{id}");
            world.expect_log(id, &refused_in_child(world, id, "address", from));
        }
        assert_eq!(talk("127.0.0.3", 2003, b""), Answer::closed(""));
        world.expect_log("plain", &["FAIL: plain address from=::ffff:127.0.0.3"]);
    });
}

/// `--log-refused`: ours writes the lines that scripts may count on.
#[test]
fn parity_for_refused_clients() {
    both(|world| {
        let config = Config::of(Entry::program("s1", 2001).set("no_access", "127.0.0.3"));
        let options = if world.is_ours() { vec!["--log-refused".to_owned()] } else { vec![] };
        let _daemon = world.start_with(&config, Start { options, ..Start::default() });
        assert_eq!(talk("127.0.0.3", 2001, b""), Answer::closed(""));
        // No process was started, so there is no number of one.
        let pid = world.fix("refused-before-any-process", "N", "0");
        world.expect_log(
            "s1",
            &[
                format!("START: s1 pid={pid} from=::ffff:127.0.0.3"),
                "FAIL: s1 address from=::ffff:127.0.0.3".to_owned(),
                format!("EXIT: s1 status=0 pid={pid} duration=N(sec)"),
            ],
        );
    });
}

/// `banner` for everybody, `banner_success` and `banner_fail` by the verdict, all before the program's own bytes.
#[test]
fn banners() {
    both(|world| {
        let always = world.write("always", "ALWAYS\n");
        let good = world.write("good", "GOOD\n");
        let bad = world.write("bad", "BAD\n");
        let banners =
            |entry: Entry| entry.set("banner", &always).set("banner_success", &good).set("banner_fail", &bad);
        let config = Config::new()
            .with(banners(Entry::program("served", 2001).set("no_access", "127.0.0.3")))
            .with(banners(Entry::program("limit", 2002).set("instances", "0")))
            .with(banners(Entry::internal("daytime", "day", 2003, "stream").set("no_access", "127.0.0.3")))
            .with(banners(Entry::internal("echo", "echo", 2004, "stream").set("no_access", "127.0.0.3")))
            .with(Entry::program("missing", 2005).set("banner", "/run/w/absent"))
            .with(Entry::program("missing2", 2006).set("banner_success", "/run/w/absent2"))
            .with(
                Entry::program("missing3", 2007).set("banner_fail", "/run/w/absent3").set("instances", "0"),
            );
        let _daemon = world.start(&config);
        let table = [
            ("127.0.0.1", 2001, "ALWAYS\nGOOD\nserved\n"),
            ("127.0.0.3", 2001, "ALWAYS\nBAD\n"),
            ("127.0.0.1", 2002, "ALWAYS\nBAD\n"),
            ("127.0.0.3", 2003, "ALWAYS\nBAD\n"),
            ("127.0.0.3", 2004, "ALWAYS\nBAD\n"),
            ("127.0.0.1", 2005, "served\n"),
            ("127.0.0.1", 2006, "served\n"),
            ("127.0.0.1", 2007, ""),
        ];
        for (from, port, text) in table {
            assert_eq!(talk(from, port, b""), Answer::closed(text), "{from} {port}");
        }
        let day = talk("127.0.0.1", 2003, b"").text();
        assert!(day.starts_with("ALWAYS\nGOOD\n") && day.len() > 20, "{day}");
        let mut echo = dial("127.0.0.1", 2004).expect("echo");
        echo.send(b"hello\n");
        assert_eq!(echo.read_until(b"hello\n").text(), "ALWAYS\nGOOD\nhello\n");
        for (id, file) in [("missing", "absent"), ("missing2", "absent2"), ("missing3", "absent3")] {
            world.expect_daemon_log(&[format!("ERROR: service = {id}, open of banner /run/w/{file} failed")]);
        }
    });
}

/// xinetd reads `banner` as root, the other banners and the hosts tables with the rights of the service's user.
#[test]
fn files_that_only_root_may_read() {
    both(|world| {
        let always = world.write_mode("always", "ALWAYS\n", 0o600);
        let good = world.write_mode("good", "GOOD\n", 0o600);
        let entry = Entry::program("s1", 2001)
            .set("user", "nobody")
            .set("banner", &always)
            .set("banner_success", &good);
        let _daemon = world.start(&Config::of(entry));
        let (theirs, ours) = ("ALWAYS\nserved\n", "ALWAYS\nGOOD\nserved\n");
        let expected = world.fix("files-read-by-the-supervisor", theirs, ours);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(expected));
    });
}

/// A table that root alone may read makes xinetd's child of another user refuse everybody. Ours is read by the supervisor.
#[test]
fn hosts_tables_that_only_root_may_read() {
    both(|world| {
        world.write_mode("etc/hosts.deny", "ALL: 127.0.0.3\n", 0o600);
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).set("user", "nobody")));
        let expected = world.fix("files-read-by-the-supervisor", "", "served\n");
        assert_eq!(talk("127.0.0.3", 2001, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(expected));
    });
}

/// A refused client that has sent something sees its connection end all the same.
#[test]
fn a_refused_client_that_talks() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).set("instances", "0")));
        let answer = talk("127.0.0.1", 2001, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(answer.text(), "");
        assert_ne!(answer.end, portreeve_compliance::End::Open);
    });
}

/// xinetd checks nobody for services that happen to bear the name of its pseudo services.
#[test]
fn no_name_is_exempt() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("logging", 2001).set("no_access", "127.0.0.1").set("instances", "0"))
            .with(Entry::program("intercept", 2002).set("no_access", "127.0.0.1").set("instances", "0"));
        let _daemon = world.start(&config);
        for port in [2001, 2002] {
            let expected = world.fix("no-exempt-names", "served\n", "");
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(expected), "{port}");
        }
    });
}

/// Datagrams: the same order; banners have nowhere to go; an address that is refused again within a minute from the same
/// port is logged once.
#[test]
fn datagrams() {
    both(|world| {
        let banner = world.write("always", "ALWAYS\n");
        let config = Config::new()
            .with(
                Entry::internal("echo", "echo", 2001, "dgram")
                    .set("cps", "0 0")
                    .set("no_access", "127.0.0.3")
                    .set("banner", &banner)
                    .set("banner_success", &banner),
            )
            .with(Entry::internal("echo", "hours", 2002, "dgram").set("access_times", &closed_hours()));
        let daemon = world.start(&config);
        let wait = Duration::from_secs(20);
        let good = datagram_socket("127.0.0.1", 2001);
        assert_eq!(ask(&good, b"one", wait).as_deref(), Some(&b"one"[..]), "no banner before the reply");

        let fails = || {
            let log = world.service_log("echo");
            log.iter().filter(|line| *line == "FAIL: echo address from=::ffff:127.0.0.3").count()
        };
        let bad = datagram_socket("127.0.0.3", 2001);
        let other = datagram_socket("127.0.0.3", 2001);
        for (socket, count) in [(&bad, 1), (&other, 2)] {
            // Sent until it is seen: xinetd may throw it away together with what the last one left in the queue.
            must("the refusal is logged", || {
                socket.send(b"x").expect("to send");
                fails() >= count
            });
            never("a second line for the same port", Duration::from_millis(500), || {
                socket.send(b"x").expect("to send");
                fails() > count
            });
        }
        assert!(ask(&bad, b"x", Duration::from_millis(200)).is_none(), "no answer to the refused");

        let early = datagram_socket("127.0.0.1", 2002);
        early.send(b"x").expect("to send");
        world.expect_log("hours", &["FAIL: hours time from=::ffff:127.0.0.1"]);
        daemon.signal(signals::TERM);
    });
}
