//! tcpmux (RFC 1078, reference xinetd §9.3): a client names a service, which then serves it with its own limits, lists, tables
//! and log. xinetd's part is compared where it works: one read that holds the name and nothing else.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, End, Entry, World, both, ours};
use rustix::net::{SendFlags, send};
use std::time::Duration;

fn tcpmux() -> Entry {
    Entry::internal("tcpmux", "tcpmux", 2001, "stream").first("flags = IPv4")
}

/// A service that is reached through tcpmux.
fn muxed(kind: &str, id: &str, server: &str, arguments: &str) -> Entry {
    let entry = Entry::program(id, 0).unset("port").set("type", &format!("{kind} UNLISTED"));
    entry.set("server", server).set("server_args", arguments)
}

/// Reads a line at a time until its input ends, so it sees what followed the name.
fn reader(kind: &str, id: &str) -> Entry {
    muxed(kind, id, "/bin/cat", "-")
}

/// The served client of each kind, an unknown name, a service that is none of tcpmux's: as in xinetd, without its NUL.
#[test]
fn answers() {
    both(|world| {
        let config = Config::new()
            .with(tcpmux())
            .with(muxed("TCPMUX", "plain", "/bin/echo", "+served"))
            .with(muxed("TCPMUXPLUS", "plus", "/bin/echo", "served"))
            .with(Entry::program("direct", 2002));
        let _daemon = world.start(&config);
        let nul = world.fix("tcpmux-answers", "\0", "");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
        let go = format!("+Go\r\n{nul}served\n");
        assert_eq!(talk("127.0.0.1", 2001, b"plus\r\n"), Answer::closed(&go));
        assert_eq!(talk("127.0.0.1", 2001, b"PLUS\r\n"), Answer::closed(&go), "case does not count");
        let unknown = format!("-Service name not found\r\n{nul}");
        for name in ["nobody", "direct", "tcpmux"] {
            assert_eq!(talk("127.0.0.1", 2001, format!("{name}\r\n").as_bytes()), Answer::closed(&unknown));
        }
    });
}

/// Built-ins behind tcpmux.
#[test]
fn built_ins() {
    both(|world| {
        let behind = |name: &str, kind: &str| {
            Entry::internal(name, name, 0, "stream")
                .unset("port")
                .set("type", &format!("{kind} INTERNAL UNLISTED"))
        };
        let config = Config::new()
            .with(tcpmux())
            .with(behind("daytime", "TCPMUX"))
            .with(behind("echo", "TCPMUXPLUS"))
            .with(behind("time", "TCPMUXPLUS"));
        let _daemon = world.start(&config);
        let day = talk("127.0.0.1", 2001, b"daytime\r\n").text();
        assert!(day.ends_with("\r\n") && day.split(' ').count() == 5, "{day:?}");
        // xinetd holds `+Go` of a built-in back until that has ended.
        let Some(go) = world.fix("tcpmux-answers", None, Some("+Go\r\n")) else { return };
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"echo\r\n");
        assert_eq!(client.read_count(go.len()).text(), go);
        client.send(b"there and back");
        assert_eq!(client.read_count(14).text(), "there and back");
        client.finish();
        assert_eq!(client.read_all(), Answer::closed(""));
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"time\r\n");
        assert_eq!(client.read_count(go.len() + 4).bytes.len(), go.len() + 4);
    });
}

/// Names that come in pieces, with a bare LF, or with what follows them; the list. xinetd drops all of these clients.
#[test]
fn a_line_is_read_to_its_end_and_no_further() {
    ours(|world| {
        let config =
            Config::new().with(tcpmux()).with(reader("TCPMUXPLUS", "cat")).with(reader("TCPMUX", "Dog"));
        let _daemon = world.start(&config);
        let line = b"cat\r\nwhat follows\r\nand more";
        for cut in 1..line.len() {
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.stream.set_nodelay(true).expect("no delay");
            client.send(&line[..cut]);
            client.send(&line[cut..]);
            client.finish();
            assert_eq!(client.read_all(), Answer::closed("+Go\r\nwhat follows\r\nand more"), "{cut}");
        }
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"cat\nx");
        client.finish();
        assert_eq!(client.read_all(), Answer::closed("+Go\r\nx"), "a bare LF ends it");
        for help in ["help\r\n", "HELP\r\n"] {
            assert_eq!(talk("127.0.0.1", 2001, help.as_bytes()), Answer::closed("Dog\r\ncat\r\n"));
        }
        // A byte, a pause, a byte: the program's own reading is as ever afterwards.
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.stream.set_nodelay(true).expect("no delay");
        for byte in b"cat\r\n" {
            client.send(&[*byte]);
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(client.read_count(5).text(), "+Go\r\n");
        client.send(b"y");
        assert_eq!(client.read_count(1).text(), "y", "one byte is enough to be read");
    });
}

/// What is no line ends at once, and nobody but its sender is the worse for it.
#[test]
fn what_is_no_line() {
    ours(|world| {
        let daemon = world.start(&Config::new().with(tcpmux()).with(reader("TCPMUXPLUS", "cat")));
        let long = vec![b'x'; 300];
        let unknown = Answer::closed("-Service name not found\r\n");
        for (bad, answer) in [
            (&b"\r\n"[..], &unknown),
            (b"c\0t\r\n", &unknown),
            (b"cat\0\r\n", &unknown),
            (b"\x1b[2Jcat\r\n", &unknown),
            (b"c\xe4t\r\n", &unknown),
            (b" cat\r\n", &unknown),
            (b"cat \r\n", &unknown),
            (b"+cat\r\n", &unknown),
            (b"cat\r\r\n", &unknown),
            (&long, &unknown),
        ] {
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.send(bad);
            client.finish();
            assert_eq!(&client.read_all(), answer, "{:?}", bad.escape_ascii().to_string());
        }
        for unfinished in ["cat", "cat\r", "\r"] {
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.send(unfinished.as_bytes());
            client.finish();
            assert_eq!(client.read_all().bytes, b"", "{unfinished:?}");
        }
        let urgent = dial("127.0.0.1", 2001).expect("a connection");
        send(&urgent.stream, b"c", SendFlags::empty()).expect("to send");
        send(&urgent.stream, b"!", SendFlags::OOB).expect("to send");
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"cat\r\n");
        client.finish();
        assert_eq!(client.read_all(), Answer::closed("+Go\r\n"));
        drop(urgent);
        must("nobody is left", || daemon.service_status("tcpmux")["running"] == 0);
        let bound = &daemon.status()["bounds"];
        let headers = bound.as_array().expect("a list").iter().find(|b| b["name"] == "headers awaited");
        assert_eq!(headers.expect("the bound is shown")["used"], 0);
    });
}

/// The log of both services. xinetd logs tcpmux alone.
#[test]
fn logs() {
    both(|world| {
        let _daemon = world.start(&Config::new().with(tcpmux()).with(muxed(
            "TCPMUXPLUS",
            "plus",
            "/bin/echo",
            "served",
        )));
        assert!(talk("127.0.0.1", 2001, b"plus\r\n").text().ends_with("served\n"));
        let pid = world.fix("tcpmux-has-no-process-of-its-own", "N", "0");
        let lines = [
            format!("START: tcpmux pid={pid} from=127.0.0.1"),
            format!("EXIT: tcpmux status=0 pid={pid} duration=N(sec)"),
        ];
        world.expect_log("tcpmux", &lines);
        if world.is_ours() {
            world.expect_log(
                "plus",
                &["START: plus pid=N from=127.0.0.1", "EXIT: plus status=0 pid=N duration=N(sec)"],
            );
        } else {
            assert_eq!(world.service_log("plus"), [""; 0]);
        }
    });
}

/// The chosen service's own lists, limits and tables. xinetd skips its limits.
#[test]
fn the_chosen_service_has_its_own_limits() {
    ours(|world| {
        world.cover("/etc/hosts.deny", "wrapped: ALL\n");
        let config = Config::new()
            .with(tcpmux())
            .with(muxed("TCPMUXPLUS", "closed", "/bin/echo", "served").set("only_from", "192.0.2.1"))
            .with(reader("TCPMUXPLUS", "single").set("instances", "1"))
            .with(reader("TCPMUX", "source").set("per_source", "1"))
            .with(muxed("TCPMUXPLUS", "wrapped", "/bin/echo", "served").set("libwrap", "wrapped"))
            .with(muxed("TCPMUXPLUS", "rated", "/bin/echo", "served").set("cps", "2 60"));
        let daemon = world.start(&config);
        let refused = Answer::closed("-Service not available\r\n");
        for (name, reason) in [("closed", "address"), ("wrapped", "libwrap")] {
            assert_eq!(talk("127.0.0.1", 2001, format!("{name}\r\n").as_bytes()), refused, "{name}");
            world.expect_log(name, &[format!("FAIL: {name} {reason} from=127.0.0.1")]);
            assert_eq!(daemon.count(name, &format!("/refused/{reason}")), 1);
        }
        for (name, word) in [("single", "service_limit"), ("source", "per_source_limit")] {
            let mut first = dial("127.0.0.1", 2001).expect("a connection");
            first.send(format!("{name}\r\nx").as_bytes());
            assert!(first.read_until(b"x").text().ends_with('x'), "{name}");
            assert_eq!(talk("127.0.0.1", 2001, format!("{name}\r\n").as_bytes()), refused, "{name}");
            must("it is logged", || {
                let wanted = format!("FAIL: {name} {word} from=127.0.0.1");
                world.service_log(name).contains(&wanted)
            });
        }
        let served = (0..4).filter(|_| talk("127.0.0.1", 2001, b"rated\r\n") != refused).count();
        assert!((1..4).contains(&served), "{served} of 4 within 2 per second");
        // `help` names nobody who would turn the client away by its address.
        let help = talk("127.0.0.1", 2001, b"help\r\n").text();
        assert_eq!(help, "rated\r\nsingle\r\nsource\r\nwrapped\r\n");
        assert_eq!(
            daemon.service_status("tcpmux")["running"],
            0,
            "a chosen service is no instance of tcpmux"
        );
        assert_eq!(daemon.service_status("closed")["address"], "tcpmux");
    });
}

/// The whole set-up of a child: user, group, environment, nice (CVE-2013-4342 was that it was not).
#[test]
fn the_chosen_service_is_set_up_as_any_other() {
    ours(|world| {
        let probe = Entry::probe("probe", 0, "report")
            .unset("port")
            .set("type", "TCPMUX UNLISTED")
            .set("user", "nobody")
            .set("nice", "5")
            .line("env = ANSWER=42");
        let _daemon = world.start(&Config::new().with(tcpmux()).with(probe));
        let answer = talk("127.0.0.1", 2001, b"probe\r\n").text();
        let report: serde_json::Value = serde_json::from_str(&answer).expect("a report");
        assert!(report["uid"].as_str().expect("ids").starts_with("65534 65534"), "{answer}");
        assert!(answer.contains("ANSWER=42") && answer.contains("REMOTE_HOST=127.0.0.1"), "{answer}");
    });
}

/// Silence takes up what the limits of tcpmux allow and no more, and ends by itself.
#[test]
fn silent_clients_are_bounded() {
    ours(|world| {
        let config = Config::new().with(tcpmux().set("instances", "3").set("cps", "0 0")).with(muxed(
            "TCPMUX",
            "plain",
            "/bin/echo",
            "+served",
        ));
        let daemon = world.start(&config);
        let silent: Vec<_> = (0..3).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        must("three are awaited", || daemon.service_status("tcpmux")["running"] == 3);
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n").bytes, b"");
        must("it is logged", || {
            world.service_log("tcpmux").contains(&"FAIL: tcpmux service_limit from=127.0.0.1".to_owned())
        });
        drop(silent);
        must("the places are free", || daemon.service_status("tcpmux")["running"] == 0);
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
    });
}

/// One source holds sixteen places at most where there is no limit, so another gets in.
#[test]
fn a_flood_of_silence_from_one_source() {
    ours(|world| {
        let config = Config::new().with(tcpmux().set("cps", "0 0")).with(muxed(
            "TCPMUX",
            "plain",
            "/bin/echo",
            "+served",
        ));
        let daemon = world.start(&config);
        let mut silent: Vec<_> = (0..200).map(|_| dial("127.0.0.9", 2001).expect("a connection")).collect();
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
        must("sixteen are awaited", || daemon.service_status("tcpmux")["running"] == 16);
        let open =
            |c: &mut portreeve_compliance::Connection| c.read_for(Duration::from_millis(1)).end == End::Open;
        assert_eq!(silent.iter_mut().map(open).filter(|open| *open).count(), 16);
    });
}

/// A worker that dies while lines are awaited loses nobody: the next one reads them.
#[test]
fn a_killed_worker_loses_nobody() {
    ours(|world: &World| {
        let config = Config::new().with(tcpmux()).with(muxed("TCPMUX", "plain", "/bin/echo", "+served"));
        let daemon = world.start(&config);
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"pla");
        must("it is awaited", || daemon.service_status("tcpmux")["running"] == 1);
        let workers = daemon.status()["workers"].clone();
        let header =
            workers.as_array().expect("a list").iter().find(|w| w["name"] == "header").expect("it runs");
        let pid = u32::try_from(header["pid"].as_u64().expect("a pid")).expect("a pid");
        world.signal(pid, 9);
        must("another is there", || {
            let workers = daemon.status()["workers"].clone();
            let list = workers.as_array().expect("a list").clone();
            list.iter().any(|w| w["name"] == "header" && w["restarts"] == 1 && w["state"] == "ready")
        });
        client.send(b"in\r\n");
        assert_eq!(client.read_all(), Answer::closed("+served\n"));
    });
}

/// A reload takes a service away, and tcpmux itself; who is served stays, who is silent goes.
#[test]
fn reload() {
    ours(|world| {
        let plain = || muxed("TCPMUX", "plain", "/bin/echo", "+served");
        let daemon = world.start(&Config::new().with(tcpmux()).with(plain()));
        daemon.reload(&Config::new().with(tcpmux()).with(muxed("TCPMUX", "other", "/bin/echo", "+other")));
        let unknown = Answer::closed("-Service name not found\r\n");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), unknown);
        assert_eq!(talk("127.0.0.1", 2001, b"other\r\n"), Answer::closed("+other\n"));
        let mut silent = dial("127.0.0.1", 2001).expect("a connection");
        must("it is awaited", || daemon.service_status("tcpmux")["running"] == 1);
        // The same service with a socket of its own, and without tcpmux.
        daemon.reload(&Config::of(Entry::program("plain", 2002)));
        assert_eq!(silent.read_all(), Answer::closed(""));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
    });
}

/// A service behind tcpmux has no socket: none is missing after an upgrade, and there is no queue to hold its clients in.
#[test]
fn orders_and_upgrades() {
    ours(|world| {
        let config = Config::new().with(tcpmux()).with(muxed("TCPMUX", "plain", "/bin/echo", "+served"));
        let daemon = world.start(&config);
        let note = || daemon.service_status("plain")["note"].as_str().unwrap_or_default().to_owned();
        let upgraded = daemon.control("upgrade");
        assert!(upgraded.contains("\"ok\":true"), "{upgraded}");
        assert_eq!(note(), "");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
        daemon.control("hold plain");
        assert!(
            note().starts_with("who names it at tcpmux is told that it is not available until"),
            "{}",
            note()
        );
        let unavailable = Answer::closed("-Service not available\r\n");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), unavailable);
        daemon.control("release plain");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
    });
}
