//! wait = yes: the server gets the listening socket (reference xinetd §3.3, §9.4).

use portreeve_compliance::client::{ask, ask_again, datagram_socket, dial, dial_to, hear, talk};
use portreeve_compliance::wait::{closed_hours, must, never};
use portreeve_compliance::{Answer, Config, DEADLINE, End, Entry, Side, both, ours, theirs};
use serde_json::{Value, json};
use std::time::Duration;

fn single(id: &str, port: u16, words: &str) -> Entry {
    Entry::probe(id, port, words).set("wait", "yes")
}

/// A stream server accepts by itself; the super-server does not know the peer.
#[test]
fn a_stream_server() {
    both(|world| {
        let _daemon = world.start(&Config::of(single("s1", 2001, "accept 2")));
        for from in ["127.0.0.2", "::1"] {
            let peer = if from.contains(':') { from.to_owned() } else { format!("::ffff:{from}") };
            let expected = format!("served {peer} REMOTE_HOST=<no address>\n");
            assert_eq!(talk(from, 2001, b""), Answer::closed(&expected));
        }
        world.expect_log(
            "s1",
            &["START: s1 pid=N from=<no address>", "EXIT: s1 status=0 pid=N duration=N(sec)"],
        );
        // It starts again for the next client.
        assert!(talk("127.0.0.3", 2001, b"").text().starts_with("served ::ffff:127.0.0.3 "));
    });
}

/// Clients that come while the server runs wait for it; there is never a second one.
#[test]
fn one_server_at_a_time() {
    both(|world| {
        let _daemon = world.start(&Config::of(single("s1", 2001, "accept 1 slow")));
        let mut first = dial("127.0.0.2", 2001).expect("a connection");
        let mut second = dial("127.0.0.3", 2001).expect("a connection in the queue");
        never("a second server", Duration::from_millis(300), || {
            second.read_for(Duration::from_millis(20)).end != End::Open
                || world.processes("accept 1 slow").len() > 1
        });
        first.send(b"\n");
        assert!(first.read_all().text().starts_with("served ::ffff:127.0.0.2 "));
        second.send(b"\n");
        assert!(second.read_all().text().starts_with("served ::ffff:127.0.0.3 "));
    });
}

/// only_from on such a service: xinetd refuses everybody, in a loop that only its rate limit stops. Ours lets the kernel
/// drop strangers before the server can accept them.
#[test]
fn only_from_on_a_stream_server() {
    both(|world| {
        let entry =
            single("s1", 2001, "accept 1").set("only_from", "127.0.0.2 ::1").set("no_access", "127.0.0.9");
        let _daemon = world.start(&Config::of(entry));
        if world.is_ours() {
            for from in ["127.0.0.2", "::1"] {
                assert!(talk(from, 2001, b"").text().starts_with("served "), "{from}");
            }
            for from in ["127.0.0.3", "127.0.0.9", "fd00:0:0:1::1"] {
                let to = if from.contains(':') { "::1" } else { "127.0.0.1" };
                let end = dial_to(from, to, 2001, Duration::from_millis(1500)).err();
                assert_eq!(end, Some(End::Dropped), "{from}");
            }
            assert!(talk("127.0.0.2", 2001, b"").text().starts_with("served "), "still there");
            assert!(
                world.service_log("s1").iter().all(|line| !line.starts_with("FAIL")),
                "no FAIL line for a dropped one"
            );
        } else {
            let mut connection = dial("127.0.0.2", 2001).expect("the kernel accepts");
            must("refused again and again", || {
                let log = world.service_log("s1");
                log.iter().filter(|line| *line == "FAIL: s1 address from=<no address>").count() > 10
            });
            world.expect_daemon_log(&[
                "ERROR: Deactivating service s1 due to excessive incoming connections.  Restarting in 10 seconds.",
            ]);
            assert_ne!(connection.read_for(Duration::from_millis(500)).end, End::Closed);
        }
    });
}

/// A source that trips a sensor is kept from a single-threaded service too.
#[test]
fn a_denied_source_and_a_stream_server() {
    ours(|world| {
        let config = Config::new().with(single("s1", 2001, "accept 1")).with(
            Entry::internal("discard", "trap", 2002, "stream")
                .set("flags", "SENSOR")
                .set("deny_time", "FOREVER"),
        );
        let _daemon = world.start(&config);
        assert!(talk("127.0.0.7", 2001, b"").text().starts_with("served "));
        talk("127.0.0.7", 2002, b"");
        must("dropped by the kernel", || {
            dial_to("127.0.0.7", "127.0.0.1", 2001, Duration::from_millis(700)).err() == Some(End::Dropped)
        });
        assert!(talk("127.0.0.8", 2001, b"").text().starts_with("served "));
    });
}

/// A check of the parent that refuses leaves xinetd's service suspended for ever: everybody hangs, a reload with a better
/// configuration does not revive it.
#[test]
fn a_refusal_does_not_kill_the_service() {
    both(|world| {
        let closed = single("s1", 2001, "accept 1").set("access_times", &closed_hours());
        let daemon = world.start(&Config::of(closed));
        let mut early = dial("127.0.0.2", 2001).expect("the kernel accepts");
        if !world.is_ours() {
            world.expect_log("s1", &["FAIL: s1 time from=<no address>"]);
        } else {
            must("the refusal is logged", || {
                world.service_log("s1").contains(&"FAIL: s1 time from=<no address>".to_owned())
            });
        }
        daemon.reload(&Config::of(single("s1", 2001, "accept 5")));
        if world.is_ours() {
            assert!(talk("127.0.0.3", 2001, b"").text().starts_with("served "), "revived");
        } else {
            let mut late = dial("127.0.0.3", 2001).expect("the kernel accepts");
            assert_eq!(late.read_for(Duration::from_secs(1)).end, End::Open, "hangs");
            assert_eq!(early.read_for(Duration::from_millis(50)).end, End::Open, "hangs");
        }
    });
}

/// The same for datagrams, refused by the number of instances.
#[test]
fn a_refusal_does_not_kill_a_datagram_service() {
    both(|world| {
        let entry = Entry::datagram("s1", 2001, "datagrams 1").set("access_times", &closed_hours());
        let daemon = world.start(&Config::of(entry));
        let client = datagram_socket("127.0.0.2", 2001);
        client.send(b"early").expect("to send");
        must("the refusal is logged", || {
            world.service_log("s1").first().is_some_and(|line| line == "FAIL: s1 time from=::ffff:127.0.0.2")
        });
        daemon.reload(&Config::of(Entry::datagram("s1", 2001, "datagrams 1")));
        let late = datagram_socket("127.0.0.2", 2001);
        let patience = if world.is_ours() { DEADLINE } else { Duration::from_secs(1) };
        let answer = ask(&late, b"late", patience).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let ours = Some("late REMOTE_HOST=::ffff:127.0.0.2".to_owned());
        assert_eq!(answer, world.fix("a-refusal-never-kills-wait-services", None, ours));
    });
}

/// A server that ends without accepting is started again at once, until the rate stops it; the service comes back.
#[test]
fn a_server_that_does_not_accept() {
    both(|world| {
        let entry = single("s1", 2001, "report").set("cps", "5 2");
        let daemon = world.start(&Config::of(entry));
        let _waiting = dial("127.0.0.2", 2001).expect("a connection");
        world.expect_daemon_log(&[
            "ERROR: Deactivating service s1 due to excessive incoming connections.  Restarting in 2 seconds.",
            "ERROR: Activating service s1",
        ]);
        // With a server that accepts all is well.
        daemon.reload(&Config::of(single("s1", 2001, "accept 1").set("cps", "5 2")));
        must("served", || talk("127.0.0.3", 2001, b"").text().starts_with("served "));
    });
}

/// A banner has no connection to go to: xinetd's child dies of SIGPIPE, again and again.
#[test]
fn banners_of_stream_servers() {
    both(|world| {
        let banner = world.write("good", "GOOD\n");
        let entry = single("s1", 2001, "accept 1").set("banner_success", &banner);
        let _daemon = world.start(&Config::of(entry));
        if world.is_ours() {
            assert!(talk("127.0.0.2", 2001, b"").text().starts_with("served "), "served without the banner");
        } else {
            let _client = dial("127.0.0.2", 2001).expect("a connection");
            must("it dies of SIGPIPE", || {
                let log = world.service_log("s1");
                log.iter().any(|line| line == "EXIT: s1 signal=13 pid=N duration=N(sec)")
            });
        }
    });
}

/// A datagram server: the first sender is in REMOTE_HOST and in the log; the socket is at 0, 1 and 2.
#[test]
fn a_datagram_server() {
    both(|world| {
        let config = Config::new().with(Entry::datagram("s1", 2001, "datagrams 1")).with(Entry::datagram(
            "start",
            2002,
            "first-datagram",
        ));
        let _daemon = world.start(&config);
        let client = datagram_socket("127.0.0.2", 2001);
        let answer = ask(&client, b"hello", DEADLINE).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), "hello REMOTE_HOST=::ffff:127.0.0.2");
        world.expect_log(
            "s1",
            &["START: s1 pid=N from=::ffff:127.0.0.2", "EXIT: s1 status=0 pid=N duration=N(sec)"],
        );
        let report = ask(&datagram_socket("::1", 2002), b"x", DEADLINE).expect("a report");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        let fd = |n| json!({ "fd": n, "is": "socket 0", "nonblocking": false });
        let kinds: Vec<&Value> = report["fds"].as_array().expect("a list").iter().collect();
        assert_eq!(kinds, [&fd(0), &fd(1), &fd(2)]);
        assert_eq!((&report["cwd"], &report["session_leader"]), (&json!("/"), &json!(true)));
    });
}

/// What waits in the socket when the server ends: xinetd throws it away, ours starts the server again for it.
#[test]
fn queued_datagrams() {
    both(|world| {
        // Each server answers one datagram and lingers; the others wait in the socket meanwhile.
        let entry = Entry::datagram("s1", 2001, "datagrams 1 300").set("cps", "0 0");
        let _daemon = world.start(&Config::of(entry));
        let clients: Vec<_> = (0..4).map(|_| datagram_socket("127.0.0.2", 2001)).collect();
        for client in &clients {
            client.send(b"x").expect("to send");
        }
        let patience = if world.is_ours() { DEADLINE } else { Duration::from_secs(2) };
        let answered = clients.iter().filter(|client| hear(client, patience).is_some()).count();
        assert_eq!(answered, world.fix("no-datagram-is-thrown-away", 1, 4));
    });
}

/// The same for a built-in that got several at once.
#[test]
fn queued_datagrams_of_a_builtin() {
    both(|world| {
        let entry = Entry::internal("echo", "echo", 2001, "dgram").set("cps", "0 0");
        let daemon = world.start(&Config::of(entry));
        let client = datagram_socket("127.0.0.2", 2001);
        assert!(ask_again(&client, b"up").is_some());
        let mut answered = 0;
        // xinetd throws away what waits when it is done with the datagram before: that may be all of a round.
        for _ in 0..if world.is_ours() { 1 } else { 5 } {
            // Stopped, so that all five are in the queue when it looks.
            let worker = world.processes("portreeve-gate").into_iter().chain([daemon.pid]);
            let stopped: Vec<u32> = worker.collect();
            for pid in &stopped {
                world.signal(*pid, portreeve_compliance::signals::STOP);
            }
            let clients: Vec<_> = (0..5).map(|_| datagram_socket("127.0.0.2", 2001)).collect();
            for client in &clients {
                client.send(b"x").expect("to send");
            }
            for pid in &stopped {
                world.signal(*pid, portreeve_compliance::signals::CONT);
            }
            let patience = if world.is_ours() { DEADLINE } else { Duration::from_secs(1) };
            answered = clients.iter().filter(|client| hear(client, patience).is_some()).count();
            if answered > 0 {
                break;
            }
        }
        assert_eq!(answered, world.fix("no-datagram-is-thrown-away", 1, 5));
    });
}

/// socket_type dgram with wait = no: xinetd accepts it and spins after the first datagram; ours refuses the entry.
#[test]
fn datagram_without_wait() {
    both(|world| {
        let config = Config::new()
            .with(Entry::datagram("s1", 2001, "datagrams 1").set("wait", "no"))
            .with(Entry::program("good", 2002));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        let client = datagram_socket("127.0.0.1", 2001);
        let _ = client.send(b"x");
        if world.is_ours() {
            assert!(world.daemon_log_count("Service s1 has socket_type dgram, but does not wait") >= 1);
            assert!(hear(&client, Duration::from_millis(200)).is_none());
            assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        } else {
            must("the log overflows", || {
                world.read("log/s1").lines().count() + world.daemon_log().len() > 2000
            });
            daemon.signal(portreeve_compliance::signals::KILL);
        }
    });
}

/// INTERCEPT never worked in this version: no service. Ours ignores it with a warning.
#[test]
fn intercept() {
    both(|world| {
        let entry = Entry::datagram("s1", 2001, "datagrams 1").set("flags", "INTERCEPT");
        let _daemon =
            world.start(&Config::of(entry).with(Entry::program("other", 2002).set("flags", "INTERCEPT")));
        assert_eq!(
            talk("127.0.0.1", 2002, b""),
            Answer::closed("served\n"),
            "ignored where it has no meaning"
        );
        let client = datagram_socket("127.0.0.2", 2001);
        let patience = if world.side == Side::Ours { DEADLINE } else { Duration::from_millis(800) };
        let served = ask(&client, b"x", patience).is_some();
        assert_eq!(served, world.fix("intercept-is-ignored", false, true));
    });
}

/// While a datagram server runs, the super-server does not read its socket.
#[test]
fn a_running_datagram_server_keeps_its_socket() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::datagram("s1", 2001, "datagrams 3")));
        let client = datagram_socket("127.0.0.2", 2001);
        for text in ["one", "two", "three"] {
            let answer = ask(&client, text.as_bytes(), DEADLINE).expect("an answer");
            // The first sender stays in its environment.
            assert_eq!(String::from_utf8_lossy(&answer), format!("{text} REMOTE_HOST=::ffff:127.0.0.2"));
        }
        must("one server for the three", || {
            let log = world.service_log("s1");
            log.iter().filter(|line| line.starts_with("START")).count() == 1
                && log.iter().filter(|line| line.starts_with("EXIT")).count() == 1
        });
    });
}

/// What xinetd's own bug list says of stream services that refuse by load: noted here so that it is not copied.
#[test]
fn theirs_hangs_for_ever() {
    theirs(|world| {
        let _daemon = world.start(&Config::of(single("s1", 2001, "accept 9").set("instances", "0")));
        let mut client = dial("127.0.0.2", 2001).expect("a connection");
        world.expect_log("s1", &["FAIL: s1 service_limit from=<no address>"]);
        assert_eq!(client.read_for(Duration::from_millis(300)).end, End::Open);
    });
}

/// A stream service that accepts by itself cannot be guarded by hosts.allow and hosts.deny: while one of them holds a rule its
/// clients wait. xinetd asks about a client without an address.
#[test]
fn tables_hold_a_service_that_accepts_by_itself() {
    ours(|world| {
        let _daemon = world.start(&Config::of(single("s1", 2001, "accept 1 once").set("cps", "0 0")));
        world.write("etc/hosts.deny", "ALL: 127.0.0.9\n");
        let mut waiting = dial("127.0.0.1", 2001).expect("the kernel takes it");
        must("it is said", || {
            world.service_log("s1").contains(&"FAIL: s1 libwrap from=<no address>".to_owned())
        });
        assert!(world.processes("accept 1 once").is_empty());
        world.write("etc/hosts.deny", "# nobody\n");
        assert_ne!(waiting.read_for(DEADLINE).text(), "", "served now");
    });
}
