//! Ident (RFC 1413): users in rules of hosts.allow and hosts.deny, and USERID and IDONLY of a service (reference tcp-wrappers
//! A6.4, A11; xinetd §10.3).

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, End, Entry, both, ours};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SERVED: &str = "served\n";

fn four(id: &str, port: u16) -> Entry {
    Entry::program(id, port).first("flags = IPv4").set("cps", "0 0")
}

/// What the ident server at 127.0.0.N says; `{}` is the question's own ports. Nothing at all below 20.
const REPLIES: &[(u8, &str)] = &[
    (20, "{} : USERID : UNIX : joe\r\n"),
    (21, "{}:USERID:OTHER:root\r\n"),
    (22, "{} : ERROR : NO-USER\r\n"),
    (23, "1 , 2 : USERID : UNIX : joe\r\n"),
    (24, "{} : USERID : UNIX : joe"),
    (25, "{} : userid : UNIX : joe\r\n"),
    (26, "{} : USERID : UNIX :joe doe\r\n"),
    (27, "nonsense\r\n"),
    (28, ""),
];

/// Runs `body` while ident servers answer.
fn with_ident_servers(body: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let servers: Vec<(TcpListener, &str)> = REPLIES
        .iter()
        .map(|(number, reply)| {
            let listener =
                TcpListener::bind(("127.0.0.".to_owned() + &number.to_string(), 113)).expect("port 113");
            listener.set_nonblocking(true).expect("to poll");
            (listener, *reply)
        })
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (listener, reply) in &servers {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    stream.set_nonblocking(false).expect("to wait");
                    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a deadline");
                    let mut question = String::new();
                    let mut reader = BufReader::new(&stream);
                    let _ = reader.read_line(&mut question);
                    let _ = (&stream).write_all(reply.replace("{}", question.trim()).as_bytes());
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn users_in_rules() {
    both(|world| {
        with_ident_servers(|| {
            let _daemon = world.start(&Config::of(four("s1", 2001)));
            world.write("etc/hosts.deny", "ALL: ALL\n");
            // Who is served of 127.0.0.19 (no ident server) to 28.
            let none = [false; 10];
            let with = |numbers: &[usize]| std::array::from_fn(|n| numbers.contains(&(n + 19)));
            for (rule, served) in [
                ("ALL: joe@ALL\n", with(&[20, 26])),
                ("ALL: KNOWN@ALL\n", with(&[20, 21, 26])),
                ("ALL: UNKNOWN@ALL\n", with(&[19, 22, 23, 24, 25, 27, 28])),
                ("ALL: ro*@127.\n", with(&[21])),
                ("ALL: joe@10.\n", none),
                ("ALL: 127. : rfc931 : aclexec test %u = joe\n", with(&[20, 26])),
            ] {
                world.write("etc/hosts.allow", rule);
                for (number, served) in (19..).zip(served) {
                    let expected = Answer::closed(if served { SERVED } else { "" });
                    let from = format!("127.0.0.{number}");
                    assert_eq!(talk(&from, 2001, b""), expected, "{from}: {rule}");
                }
            }
        });
    });
}

fn logging(id: &str, port: u16) -> Entry {
    four(id, port).set("log_on_success", "USERID HOST EXIT")
}

/// What the ident server says stands in the service's log; where it says nothing sensible, nothing does.
#[test]
fn userid() {
    both(|world| {
        with_ident_servers(|| {
            let config = Config::new()
                .with(logging("s1", 2001))
                .with(Entry::internal("daytime", "i2", 2002, "stream").set("log_on_success", "USERID HOST"));
            let _daemon = world.start(&config);
            let mut expected = Vec::new();
            for number in 19..29 {
                let from = format!("127.0.0.{number}");
                assert_eq!(talk(&from, 2001, b""), Answer::closed(SERVED), "{from}");
                expected.push(format!("START: s1 from={from}"));
                expected.push("EXIT: s1 status=0".to_owned());
            }
            for text in ["UNIX : joe", "OTHER:root", "UNIX :joe doe"] {
                expected.push(format!("USERID: s1 {text}"));
            }
            world.expect_log("s1", &expected);
            world.expect_daemon_log(&[
                "ERROR: Bad line received from identity server at 127.0.0.27: nonsense",
            ]);
            assert_eq!(talk("127.0.0.20", 2002, b"").end, End::Closed);
            world.expect_log("i2", &["START: i2 from=::ffff:127.0.0.20"]);
        });
    });
}

/// IDONLY: who has no user is not served. xinetd has a process for the client by then.
#[test]
fn idonly() {
    both(|world| {
        with_ident_servers(|| {
            let entry = Entry::program("s1", 2001).first("flags = IPv4 IDONLY").set("cps", "0 0");
            let _daemon = world.start(&Config::of(entry.set("log_on_success", "USERID HOST EXIT")));
            let reasons = [
                "no server",
                "",
                "",
                "bad response",
                "bad response",
                "error while receiving response",
                "bad response",
                "",
                "bad response",
                "error while receiving response",
            ];
            let mut expected = Vec::new();
            for (number, reason) in (19..).zip(reasons) {
                let from = format!("127.0.0.{number}");
                let good = reason.is_empty();
                assert_eq!(talk(&from, 2001, b""), Answer::closed(if good { SERVED } else { "" }), "{from}");
                if good || world.fix("refused-before-any-process", true, false) {
                    expected.push(format!("START: s1 from={from}"));
                    expected.push("EXIT: s1 status=0".to_owned());
                }
                if !good {
                    expected.push(format!("NOID: s1 {from} {reason}"));
                }
            }
            for text in ["UNIX : joe", "OTHER:root", "UNIX :joe doe"] {
                expected.push(format!("USERID: s1 {text}"));
            }
            world.expect_log("s1", &expected);
        });
    });
}

/// USERID in log_on_failure: of whom xinetd's own process refuses.
#[test]
fn userid_of_the_refused() {
    both(|world| {
        with_ident_servers(|| {
            let config = Config::new()
                .with(four("s1", 2001).set("log_on_failure", "USERID HOST").set("instances", "0"))
                .with(four("s2", 2002).set("log_on_failure", "USERID HOST").set("no_access", "127.0.0.20"));
            let _daemon = world.start(&config);
            for port in [2001, 2002] {
                assert_eq!(talk("127.0.0.20", port, b""), Answer::closed(""));
            }
            world.expect_log("s1", &["FAIL: s1 service_limit from=127.0.0.20", "USERID: s1 UNIX : joe"]);
            must("the address is refused", || {
                world.service_log("s2").contains(&"FAIL: s2 address from=127.0.0.20".to_owned())
            });
            assert!(!world.service_log("s2").iter().any(|line| line.starts_with("USERID")));
        });
    });
}

/// An ident server that says nothing keeps its own client waiting for the time that the rule gives, and nobody else.
#[test]
fn a_silent_ident_server() {
    ours(|world| {
        let silent = TcpListener::bind("127.0.0.20:113").expect("port 113");
        world.write("etc/hosts.allow", "ALL: 127.0.0.21\nALL: ALL : rfc931 1\n");
        let _daemon = world.start(&Config::of(four("s1", 2001)));
        let mut waiting = dial("127.0.0.20", 2001).expect("a connection");
        let (_asked, from) = silent.accept().expect("the question");
        assert_eq!(from.ip().to_string(), "127.0.0.1", "asked from the address that the client came to");
        for _ in 0..5 {
            assert_eq!(talk("127.0.0.21", 2001, b""), Answer::closed(SERVED));
        }
        assert_eq!(waiting.read_for(Duration::from_secs(30)), Answer::closed(SERVED), "unknown, and allowed");
    });
}

/// IDONLY without a log_type: xinetd asks nobody, and serves everybody.
#[test]
fn idonly_without_a_log() {
    both(|world| {
        with_ident_servers(|| {
            let entry = Entry::program("s1", 2001).first("flags = IPv4 IDONLY").unset("log_type");
            let _daemon = world.start(&Config::of(entry.set("log_on_success", "USERID HOST EXIT")));
            let stranger = world.fix("idonly-needs-no-log", Answer::closed(SERVED), Answer::closed(""));
            assert_eq!(talk("127.0.0.19", 2001, b""), stranger);
            assert_eq!(talk("127.0.0.20", 2001, b""), Answer::closed(SERVED));
        });
    });
}
