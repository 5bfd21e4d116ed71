//! HUP: what survives, what ends, what is logged (reference xinetd §11.3).

use portreeve_compliance::client::{ask, datagram_socket, dial, dial_to, talk};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{
    Answer, Config, Connection, DEADLINE, End, Entry, Side, World, both, ours, signals,
};
use std::time::Duration;

const SERVED: &str = "served\n";

fn hold(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

fn is_open(connection: &mut Connection) -> bool {
    connection.read_for(Duration::from_millis(30)).end == End::Open
}

/// Inode of the socket that listens at a port: the same as long as nobody closes it.
fn listener(world: &World, port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6", "udp", "udp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(world.inside(&format!("/proc/1/net/{table}"))).unwrap_or_default();
        text.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Listening for streams, unconnected for datagrams.
            let open = matches!(words.get(3), Some(&"0A" | &"07"));
            (open && words.get(1)?.ends_with(&wanted)).then(|| words.get(9).copied().unwrap_or("").to_owned())
        })
    })
}

/// The same configuration: sockets and running programs stay, and the lines that scripts know are there.
#[test]
fn nothing_changes() {
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("s1", 2001, "hold"))
            .with(Entry::internal("echo", "echo", 2002, "stream"))
            .with(Entry::datagram("dg", 2003, "datagrams 2"));
        let daemon = world.start(&config);
        let mut held = hold(2001);
        let mut echo = dial("127.0.0.1", 2002).expect("echo");
        echo.send(b"a");
        assert_eq!(echo.read_count(1).bytes, b"a");
        let datagrams = datagram_socket("127.0.0.1", 2003);
        assert!(ask(&datagrams, b"one", DEADLINE).is_some());
        let before: Vec<_> = [2001, 2002, 2003].map(|port| listener(world, port)).to_vec();
        assert!(before.iter().all(Option::is_some), "{before:?}");

        daemon.reload(&config);
        world.expect_daemon_log(&[
            "NOTICE: Starting reconfiguration",
            "NOTICE: Swapping defaults",
            "NOTICE: readjusting service s1",
            "NOTICE: readjusting service echo",
            "NOTICE: readjusting service dg",
            "NOTICE: Reconfigured: new=0 old=3 dropped=0 (services)",
        ]);
        let after: Vec<_> = [2001, 2002, 2003].map(|port| listener(world, port)).to_vec();
        assert_eq!(after, before, "the same sockets");
        assert!(is_open(&mut held));
        echo.send(b"b");
        assert_eq!(echo.read_count(1).bytes, b"b");
        assert!(ask(&datagrams, b"two", DEADLINE).is_some(), "the server goes on");
    });
}

/// An id that differs in case alone is the same: its programs and its socket stay.
#[test]
fn the_case_of_an_id_changes() {
    both(|world| {
        let named = |id: &str| Entry::probe("s1", 2001, "hold").set("id", id);
        let daemon = world.start(&Config::of(named("One")));
        let mut held = hold(2001);
        let before = listener(world, 2001);
        daemon.reload(&Config::of(named("oNE")));
        let kept = "NOTICE: Reconfigured: new=0 old=1 dropped=0 (services)";
        world.expect_daemon_log(&["NOTICE: readjusting service One", kept]);
        assert_eq!(listener(world, 2001), before, "the same socket");
        assert!(before.is_some() && is_open(&mut held));
    });
}

/// The main file stays as it is, and something else that the reading asked changes, one after the other: a directory has a file more, the
/// file has another text, a user other ids, a program no right to be executed. Between them nothing changes, and the same is said.
#[test]
fn what_is_not_in_the_main_file_changes() {
    ours(|world| {
        world.cover("/etc/passwd", "root:x:0:0::/:/bin/sh\nserved:x:4001:4001::/:/bin/sh\n");
        let program = world.write_mode("own", "#!/bin/sh\nid -u\n", 0o755);
        let included = world.write("d/one", "# nothing\n");
        let directory = included.trim_end_matches("/one");
        let own = Entry::program("own", 2001).set("server", &program).set("user", "served");
        let config = Config::of(own).raw(&format!("includedir {directory}\n"));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("4001\n"));
        let reload = |wanted: &str| {
            daemon.reload(&config);
            let log = world.daemon_log();
            let begun = log.iter().rposition(|line| line == "NOTICE: Starting reconfiguration").unwrap_or(0);
            let said: Vec<&str> = log[begun..].iter().map(String::as_str).collect();
            for line in ["NOTICE: Swapping defaults", "NOTICE: readjusting service own"] {
                assert_eq!(said.iter().filter(|said| **said == line).count(), 1, "{said:?}");
            }
            let wanted = format!("NOTICE: Reconfigured: {wanted} (services)");
            assert!(said.contains(&wanted.as_str()), "{said:?}");
        };
        let same = || reload("new=0 old=1 dropped=0");
        same();
        same();
        world.write("d/two", "# nothing either\n");
        same();
        let two = Config::of(Entry::program("two", 2002)).text(world.side);
        world.write("d/two", two);
        reload("new=1 old=1 dropped=0");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED));
        world.write("d/one", "# nothing else\n");
        let read = daemon.control("reload");
        assert!(read.contains("two"), "{read}");
        assert_eq!(
            daemon.control("reload"),
            read,
            "who asks is told the same of a reload that found nothing changed"
        );
        std::fs::remove_file(world.path("d/two")).expect("to remove it");
        reload("new=0 old=1 dropped=1");
        same();
        world.write("cover-etc-passwd", "root:x:0:0::/:/bin/sh\nserved:x:4002:4001::/:/bin/sh\n");
        same();
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("4002\n"), "the user has another id");
        world.write_mode("own", "#!/bin/sh\nid -u\n", 0o644);
        daemon.reload(&config);
        let held = "service own: its new entry is wrong; it goes on as it was";
        assert_eq!(world.daemon_log_count(held), 1);
        daemon.reload(&config);
        assert_eq!(world.daemon_log_count(held), 2, "it is said as often as it is read");
        world.write_mode("own", "#!/bin/sh\nid -u\n", 0o755);
        same();
        assert_eq!(world.daemon_log_count(held), 2);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("4002\n"));
    });
}

/// Lines that have only moved are no change, and are told of where they are now.
#[test]
fn lines_move() {
    ours(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold").set("instances", "9").set("cps", "50 3"))
            .with(Entry::internal("echo", "echo", 2002, "dgram").set("only_from", "127.0.0.0/8 ::1"))
            .with(Entry::program("s2", 2003).set("access_times", "00:00-23:59").set("max_load", "900"));
        let daemon = world.start(&config);
        let mut held = hold(2001);
        let before: Vec<_> = [2001, 2002, 2003].map(|port| listener(world, port)).to_vec();
        let reload = |text: &str| -> serde_json::Value {
            world.write("xinetd.conf", text);
            serde_json::from_str(&daemon.control("reload")).expect("JSON")
        };
        let moved = format!("# one\n\n# two\n{}", config.text(Side::Ours).replace("{\n", "{\n\n\t# of it\n"));
        let answer = reload(&moved);
        assert_eq!(answer["kept"], serde_json::json!(["s1", "echo", "s2"]), "{answer}");
        assert_eq!(answer["changed"], serde_json::json!([]), "{answer}");
        let answer = reload(&moved.replace("cps = 50 3", "cps = 50 4"));
        assert_eq!(answer["changed"], serde_json::json!(["s1"]), "{answer}");
        let after: Vec<_> = [2001, 2002, 2003].map(|port| listener(world, port)).to_vec();
        assert_eq!(after, before, "the same sockets");
        assert!(is_open(&mut held));
        let line = moved.lines().position(|line| line.contains("only_from")).expect("it is there") + 1;
        let explained = daemon.control("explain echo 192.0.2.1");
        assert!(explained.contains(&format!("\"line\":{line}")), "line {line} in {explained}");
    });
}

/// Attributes that do not move the socket: new clients meet the new ones, running programs are not asked again.
#[test]
fn settings_change() {
    both(|world| {
        let config = |change: fn(Entry) -> Entry| {
            let ids = ["from", "limit", "server", "user", "env", "hours"];
            Config::new().with_all((2001..).zip(ids).map(|(port, id)| {
                let entry = Entry::probe(id, port, "hold");
                change(entry)
            }))
        };
        let daemon = world.start(&config(|e| e));
        let mut held: Vec<_> = (2001..=2006).map(hold).collect();
        let before: Vec<_> = (2001..=2006).map(|port| listener(world, port)).collect();
        let new = Config::new()
            .with(Entry::probe("from", 2001, "hold").set("only_from", "127.0.0.9"))
            .with(Entry::probe("limit", 2002, "hold").set("instances", "1"))
            .with(Entry::program("server", 2003))
            .with(Entry::shell("user", 2004, "id${IFS}-u").set("user", "nobody"))
            .with(Entry::shell("env", 2005, "echo${IFS}$NEW").set("env", "NEW=here"))
            .with(
                Entry::probe("hours", 2006, "hold")
                    .set("access_times", &portreeve_compliance::wait::closed_hours()),
            );
        daemon.reload(&new);
        world.expect_daemon_log(&["NOTICE: Reconfigured: new=0 old=6 dropped=0 (services)"]);
        let after: Vec<_> = (2001..=2006).map(|port| listener(world, port)).collect();
        assert_eq!(after, before);
        assert!(held.iter_mut().all(is_open), "all go on");
        let table = [(2001, ""), (2002, ""), (2003, SERVED), (2004, "65534\n"), (2005, "here\n"), (2006, "")];
        for (port, text) in table {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(text), "{port}");
        }
        daemon.reload(&config(|e| e));
        assert!(is_open(&mut hold(2001)), "and back");
    });
}

/// Services that are gone, off or moved: their programs are killed, their ports closed; new ones come.
#[test]
fn services_go_and_come() {
    both(|world| {
        let ids = ["stays", "gone", "off", "moved", "renamed", "waits"];
        let all = || (2001..).zip(ids).map(|(port, id)| Entry::probe(id, port, "hold"));
        let daemon = world.start(&Config::new().with_all(all()));
        let mut held: Vec<_> = (2001..=2006).map(hold).collect();
        let new = Config::new()
            .with(Entry::probe("waits", 2006, "accept 1").set("wait", "yes"))
            .with(Entry::probe("stays", 2001, "hold"))
            .with(Entry::probe("off", 2003, "hold").set("disable", "yes"))
            .with(Entry::probe("moved", 2014, "hold"))
            .with(Entry::probe("other", 2005, "hold"))
            .with(Entry::program("new", 2020));
        daemon.reload(&new);
        world.expect_daemon_log(&["NOTICE: Reconfigured: new=4 old=1 dropped=5 (services)"]);
        for id in ["gone", "off", "moved", "renamed", "waits"] {
            world.expect_daemon_log(&[
                format!("WARNING: Sending signal 9 to {id} server N"),
                format!("NOTICE: service {id} deactivated"),
            ]);
        }
        assert!(is_open(&mut held[0]), "the unchanged one goes on");
        for (connection, id) in held[1..].iter_mut().zip(&ids[1..]) {
            assert_ne!(connection.read_for(DEADLINE).end, End::Open, "{id} is killed");
        }
        for port in [2002, 2003, 2004] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{port}");
        }
        assert!(is_open(&mut hold(2014)));
        assert!(is_open(&mut hold(2005)), "the same port under another id");
        assert!(talk("127.0.0.1", 2006, b"").text().starts_with("served "), "the same port, another kind");
        assert_eq!(talk("127.0.0.1", 2020, b""), Answer::closed(SERVED));
    });
}

/// on_remove = drain leaves the programs of a service that is taken out.
#[test]
fn draining() {
    ours(|world| {
        let entry = Entry::probe("s1", 2001, "hold").only(Side::Ours, "on_remove = drain");
        let daemon = world.start(&Config::of(entry).with(Entry::program("s2", 2002)));
        let mut held = hold(2001);
        daemon.reload(&Config::of(Entry::program("s2", 2002)));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        assert!(is_open(&mut held));
        held.finish();
        assert_eq!(held.read_all(), Answer::closed(""));
    });
}

/// One typo: xinetd kills the sessions of that service; ours keeps it as it was.
#[test]
fn an_entry_that_becomes_invalid() {
    both(|world| {
        let daemon =
            world.start(&Config::of(Entry::probe("s1", 2001, "hold")).with(Entry::program("s2", 2002)));
        let mut held = hold(2001);
        let broken = Entry::probe("s1", 2001, "hold").set("user", "no_such_user");
        daemon.reload(&Config::of(broken).with(Entry::program("s2", 2002)));
        assert!(world.daemon_log_count("Unknown user: no_such_user") >= 1);
        let kept = world.fix("a-broken-entry-keeps-the-old-service", false, true);
        if kept {
            assert!(is_open(&mut held));
            assert!(is_open(&mut hold(2001)), "and it serves");
        } else {
            assert_ne!(held.read_for(DEADLINE).end, End::Open);
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        }
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED));
    });
}

/// bind: set, changed, taken away. xinetd forgets to act on the last.
#[test]
fn bind_changes() {
    both(|world| {
        let entry = |bind: &str| {
            // The family stays: where it changes, xinetd does open the socket anew.
            let entry = Entry::program("s1", 2001).first("flags = IPv4");
            if bind.is_empty() { entry } else { entry.set("bind", bind) }
        };
        let daemon = world.start(&Config::of(entry("")));
        let reach = |to: &str| dial_to("127.0.0.1", to, 2001, DEADLINE).map(|mut c| c.read_all().text());
        assert_eq!(reach("127.0.0.5"), Ok(SERVED.to_owned()));
        daemon.reload(&Config::of(entry("127.0.0.5")));
        assert_eq!((reach("127.0.0.5"), reach("127.0.0.1")), (Ok(SERVED.to_owned()), Err(End::Refused)));
        daemon.reload(&Config::of(entry("127.0.0.6")));
        assert_eq!((reach("127.0.0.6"), reach("127.0.0.5")), (Ok(SERVED.to_owned()), Err(End::Refused)));
        daemon.reload(&Config::of(entry("")));
        let everywhere = world.fix("bind-taken-away-takes-effect", Err(End::Refused), Ok(SERVED.to_owned()));
        assert_eq!(reach("127.0.0.5"), everywhere);
    });
}

/// From one family to the other.
#[test]
fn family_changes() {
    both(|world| {
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        assert_eq!(talk("::1", 2001, b""), Answer::closed(SERVED));
        daemon.reload(&Config::of(Entry::program("s1", 2001).first("flags = IPv4")));
        assert_eq!(talk("::1", 2001, b""), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        daemon.reload(&Config::of(Entry::program("s1", 2001).first("flags = IPv6")));
        assert_eq!(talk("::1", 2001, b""), Answer::closed(SERVED));
    });
}

/// The same of datagrams, whose socket a worker of ours has.
#[test]
fn family_changes_of_datagrams() {
    both(|world| {
        let entry = || Entry::internal("echo", "e", 2001, "dgram");
        let daemon = world.start(&Config::of(entry().first("flags = IPv4")));
        assert!(ask(&datagram_socket("127.0.0.1", 2001), b"one", DEADLINE).is_some());
        for n in 0..4 {
            let entry = if n % 2 == 0 { entry() } else { entry().first("flags = IPv4") };
            daemon.reload(&Config::of(entry));
            let to = if n % 2 == 0 { "::1" } else { "127.0.0.1" };
            // What was sent to the socket of before, while it was closed, is lost with it, with xinetd as well: asked again, as clients do.
            must("it answers", || {
                ask(&datagram_socket(to, 2001), b"two", Duration::from_millis(250)).is_some()
            });
        }
        assert_eq!(world.daemon_log_count("bind failed"), 0);
        assert_eq!(world.daemon_log_count("bind retry"), 0);
    });
}

/// The flag IPv6 says what holds without it: nobody is thrown out for it, whether it comes or goes.
#[test]
fn a_family_that_is_written_down() {
    both(|world| {
        let entry = |flags: &str| Entry::probe("s1", 2001, "hold").first(flags);
        let daemon = world.start(&Config::of(entry("flags = REUSE")));
        let (mut held, socket) = (hold(2001), listener(world, 2001));
        for flags in ["flags = REUSE IPv6", "flags = NODELAY"] {
            daemon.reload(&Config::of(entry(flags)));
            assert!(is_open(&mut held), "{flags}");
            assert_eq!((listener(world, 2001), socket.is_some()), (socket.clone(), true), "{flags}");
            assert_eq!(world.daemon_log_count("Sending signal"), 0, "{flags}");
        }
        assert_eq!(talk("::1", 2001, b"").text(), "held\n");
    });
}

/// The file cannot be read: everything stays.
#[test]
fn an_unreadable_file() {
    both(|world| {
        let daemon = world.start(&Config::of(Entry::probe("s1", 2001, "hold")));
        let mut held = hold(2001);
        std::fs::remove_file(world.path("xinetd.conf")).expect("to remove it");
        daemon.signal(signals::HUP);
        world.expect_daemon_log(&["WARNING: reconfiguration failed"]);
        assert!(
            world
                .daemon_log_count("open( /run/w/xinetd.conf ) failed: No such file or directory (errno = 2)")
                >= 1
        );
        assert!(is_open(&mut held));
        assert!(is_open(&mut hold(2001)));
        assert!(daemon.runs());
    });
}

/// A bad value in `defaults` ends xinetd, with status 0; ours keeps what runs.
#[test]
fn bad_defaults() {
    both(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold"));
        let daemon = world.start(&config);
        let mut held = hold(2001);
        world.write("xinetd.conf", config.defaults("instances = many").text(world.side));
        daemon.signal(signals::HUP);
        must("the error is logged", || world.daemon_log_count("Number of instances is invalid: many") >= 1);
        if world.is_ours() {
            world.expect_daemon_log(&["WARNING: reconfiguration failed"]);
            assert!(is_open(&mut hold(2001)), "still serves");
        } else {
            assert_eq!(world.wait(daemon.pid), portreeve_compliance::Ended::Status(0));
            let text = "A fatal error was encountered while parsing the default section. xinetd will exit.";
            assert!(world.daemon_log_count(text) >= 1);
        }
        let _ = world.fix("bad-defaults-at-reload-keep-the-old", false, true);
        assert!(is_open(&mut held), "programs survive either way");
    });
}

/// While the rate has closed a service, a reload does not open it; the timer does.
#[test]
fn a_service_that_is_switched_off_by_its_rate() {
    both(|world| {
        let entry = || Entry::program("s1", 2001).set("cps", "1 3").only(Side::Ours, "overload = close");
        let config = Config::of(entry()).with(Entry::program("s2", 2002));
        let daemon = world.start(&config);
        must("the rate trips", || {
            let _ = talk("127.0.0.1", 2001, b"");
            world.daemon_log_count("Deactivating service s1") >= 1
        });
        daemon.reload(&config);
        if world.daemon_log_count("Activating service s1") == 0 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        }
        world.expect_daemon_log(&["ERROR: Activating service s1"]);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
    });
}

/// A single-threaded server keeps running, and is not started twice.
#[test]
fn a_running_single_threaded_server() {
    both(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "accept 3").set("wait", "yes"));
        let daemon = world.start(&config);
        assert!(talk("127.0.0.2", 2001, b"").text().starts_with("served "));
        let before = world.processes("accept 3");
        assert_eq!(before.len(), 1);
        daemon.reload(&config);
        assert!(talk("127.0.0.2", 2001, b"").text().starts_with("served "));
        assert_eq!(world.processes("accept 3"), before);
    });
}

/// A port that somebody else holds comes to life later in ours; xinetd gives up after ten attempts.
#[test]
fn a_port_that_is_taken() {
    both(|world| {
        let other = std::net::TcpListener::bind("127.0.0.1:2001").expect("a listener");
        let config = Config::new()
            .with(Entry::program("s1", 2001).set("bind", "127.0.0.1"))
            .with(Entry::program("s2", 2002));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED), "the others serve");
        let failed = "ERROR: bind failed (Address already in use (errno = 98)). service = s1";
        world.expect_daemon_log(&[failed]);
        drop(other);
        if world.is_ours() {
            let _ = world.fix("failed-binds-are-retried", false, true);
            must("it comes back", || talk("127.0.0.1", 2001, b"") == Answer::closed(SERVED));
        } else {
            world.expect_daemon_log(&[
                "NOTICE: bind retry attempt 10",
                "ERROR: Service s1 failed to start and is deactivated.",
            ]);
            never("it comes back", Duration::from_millis(500), || {
                talk("127.0.0.1", 2001, b"") != Answer::refused()
            });
        }
    });
}

/// Many reloads in a row, with clients: nobody is turned away, nothing leaks.
#[test]
fn many_reloads() {
    both(|world| {
        let config = Config::of(Entry::program("s1", 2001).set("cps", "0 0"));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        daemon.reload(&config);
        let before = daemon.descriptors();
        for _ in 0..15 {
            daemon.signal(signals::HUP);
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        }
        daemon.reload(&config);
        must("no descriptor is left", || daemon.descriptors() <= before);
    });
}

/// Clients that wait in the kernel's queue while the socket stays are served after the reload.
#[test]
fn clients_in_the_queue() {
    both(|world| {
        let config = Config::of(Entry::program("s1", 2001).set("cps", "0 0"));
        let daemon = world.start(&config);
        daemon.signal(signals::STOP);
        let mut clients: Vec<_> = (0..20).map(|_| dial("127.0.0.1", 2001).expect("in the queue")).collect();
        daemon.signal(signals::HUP);
        daemon.signal(signals::CONT);
        for client in &mut clients {
            assert_eq!(client.read_all(), Answer::closed(SERVED));
        }
        must("reconfigured", || world.daemon_log_count("Reconfigured: new=0 old=1 dropped=0") == 1);
    });
}
