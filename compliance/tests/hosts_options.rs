//! The options of a rule in front of a service: banners, severity, twist, spawn, aclexec, and what the program finds
//! (reference tcp-wrappers A7-A9, xinetd §14).

use portreeve_compliance::client::{Connection, datagram_socket, dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Entry, World, both, ours};
use std::time::Duration;

const SERVED: &str = "served\n";

fn four(id: &str, port: u16) -> Entry {
    Entry::program(id, port).first("flags = IPv4").set("cps", "0 0")
}

/// The program that shows how it was started.
fn shows(world: &World, id: &str, port: u16) -> Entry {
    let text = "#!/bin/sh\necho $(id -u) $(id -g) $(umask) $(nice) X=$X\n";
    let path = world.write_mode("show", text, 0o755);
    four(id, port).set("server", &path).unset("server_args")
}

fn answers(world: &World, cases: &[(&str, u16, &str)]) {
    for (rule, port, expected) in cases {
        world.write("etc/hosts.allow", rule);
        assert_eq!(talk("127.0.0.1", *port, b""), Answer::closed(expected), "{rule} at {port}");
    }
}

#[test]
fn banners() {
    both(|world| {
        world.write("banners/echo", "hello %a at %d\n\nlast");
        let _daemon = world.start(&Config::of(four("s1", 2001).set("banner_success", "/run/w/good")));
        world.write("good", "good\n");
        let hello = "hello 127.0.0.1 at echo\r\n\r\nlast";
        answers(
            world,
            &[
                ("ALL: ALL : banners /run/w/banners\n", 2001, &format!("{hello}good\n{SERVED}")),
                ("ALL: ALL : banners /run/w/banners : deny\n", 2001, hello),
                ("ALL: ALL : banners /run/w/none\n", 2001, &format!("good\n{SERVED}")),
                ("other: ALL : banners /run/w/banners\n", 2001, &format!("good\n{SERVED}")),
            ],
        );
    });
}

#[test]
fn severity() {
    both(|world| {
        let _daemon = world.start(&Config::of(four("s1", 2001)));
        answers(world, &[("ALL: ALL : deny\n", 2001, ""), ("ALL: ALL : severity err : deny\n", 2001, "")]);
        let refused = "libwrap refused connection to s1 (libwrap=echo) from 127.0.0.1";
        world.expect_daemon_log(&[format!("INFO: {refused}"), format!("ERROR: {refused}")]);
        // xinetd takes facility and severity together for a level of its own.
        answers(world, &[("ALL: ALL : severity mail.warning : deny\n", 2001, "")]);
        let level = world.fix("a-severity-has-a-facility", "UNKNOWN", "WARNING");
        world.expect_daemon_log(&[format!("{level}: {refused}")]);
    });
}

/// A command answers instead of the server, with the ids of the service.
#[test]
fn twist() {
    both(|world| {
        let config = Config::new()
            .with(four("s1", 2001))
            .with(four("s2", 2002).set("user", "nobody"))
            .with(Entry::internal("echo", "i1", 2003, "stream").first("flags = IPv4"));
        let _daemon = world.start(&config);
        let rule = "ALL: ALL : twist /bin/echo no %a $(id -u) $(id -g)\n";
        let builtin = world.fix("commands-never-run-as-the-supervisor", "0 0", "61102 61102");
        let nobody = "no 127.0.0.1 65534 65534\n";
        answers(
            world,
            &[
                (rule, 2001, "no 127.0.0.1 0 0\n"),
                (rule, 2002, nobody),
                (rule, 2003, &format!("no 127.0.0.1 {builtin}\n")),
            ],
        );
        let lines = ["START: s1 pid=N from=127.0.0.1", "EXIT: s1 status=0 pid=N duration=N(sec)"];
        world.expect_log("s1", &lines);
        if world.is_ours() {
            world
                .expect_daemon_log(&["WARNING: twist 127.0.0.1 to /bin/echo no 127.0.0.1 $(id -u) $(id -g)"]);
        }
    });
}

/// libwrap takes a process that has asked before for a resident one, which may not `twist`: xinetd itself, once it has asked for what it
/// answers itself, and with it every process that it starts afterwards.
#[test]
fn twist_after_the_daemon_has_asked() {
    both(|world| {
        let config = Config::new()
            .with(four("s1", 2001))
            .with(Entry::internal("echo", "forks", 2002, "stream").first("flags = IPv4"))
            .with(Entry::internal("daytime", "exempt", 2003, "stream").first("flags = IPv4 NOLIBWRAP"))
            .with(Entry::internal("daytime", "asks", 2004, "stream").first("flags = IPv4"));
        let daemon = world.start(&config);
        let rule = "echo: ALL : twist /bin/echo no\n";
        let twisted = |port: u16| answers(world, &[(rule, port, "no\n")]);
        // Neither a process that was started, nor who is asked for nothing, makes it one.
        twisted(2001);
        twisted(2002);
        assert_ne!(talk("127.0.0.1", 2003, b""), Answer::closed(""));
        twisted(2001);
        assert_ne!(talk("127.0.0.1", 2004, b""), Answer::closed(""));
        answers(world, &[(rule, 2001, ""), (rule, 2002, "")]);
        must("it is logged", || {
            world.service_log("s1").iter().any(|line| line == "FAIL: s1 libwrap from=127.0.0.1")
        });
        if world.is_ours() {
            let said = "ERROR: error: /etc/hosts.allow, line 1: twist option in resident process (the tables were asked before for daytime";
            assert_eq!(world.daemon_log_count(said), 1, "{:?}", world.daemon_log());
            // Another version is still the same process.
            assert!(daemon.control("upgrade").contains("\"ok\":true"), "{:?}", world.daemon_log());
            answers(world, &[(rule, 2001, ""), (rule, 2002, "")]);
        }
    });
}

/// The same by datagrams, and without tables.
#[test]
fn twist_after_datagrams_were_asked_about() {
    both(|world| {
        let asks = Entry::internal("discard", "asks", 2002, "dgram").first("flags = IPv4");
        let _daemon = world.start(&Config::of(four("s1", 2001)).with(asks));
        let rule = "echo: ALL : twist /bin/echo no\n";
        answers(world, &[(rule, 2001, "no\n")]);
        std::fs::remove_file(world.path("etc/hosts.allow")).expect("the table");
        datagram_socket("127.0.0.1", 2002).send(b"x").expect("to send");
        must("it is refused", || {
            world.write("etc/hosts.allow", rule);
            talk("127.0.0.1", 2001, b"") == Answer::closed("")
        });
    });
}

/// tcpmux asks for itself, and the same process for the service that was chosen.
#[test]
fn twist_behind_tcpmux() {
    both(|world| {
        let muxed = |id: &str, server: &str| {
            Entry::program(id, 0).unset("port").set("type", "TCPMUX UNLISTED").set("server", server)
        };
        let config = Config::new()
            .with(Entry::internal("tcpmux", "asks", 2001, "stream").first("flags = IPv4"))
            .with(muxed("plain", "/bin/echo").set("server_args", "+served"));
        let _daemon = world.start(&config);
        world.write("etc/hosts.allow", "echo: ALL : twist /bin/echo no\n");
        let refused = world.fix("tcpmux-answers", "", "-Service not available\r\n");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed(refused));
        world.write("etc/hosts.allow", "other: ALL : twist /bin/echo no\n");
        assert_eq!(talk("127.0.0.1", 2001, b"plain\r\n"), Answer::closed("+served\n"));
    });
}

/// A command runs beside the server, whatever the verdict is, with the ids of the service.
#[test]
fn spawn() {
    both(|world| {
        world.write_mode("root", "", 0o666);
        world.write_mode("nobody", "", 0o666);
        let config = Config::new().with(four("s1", 2001)).with(four("s2", 2002).set("user", "nobody"));
        let _daemon = world.start(&config);
        let at = |file: &str| format!("ALL: ALL : spawn (echo %a %d $(id -u) >> /run/w/{file})");
        answers(
            world,
            &[
                (&format!("{}\n", at("root")), 2001, SERVED),
                (&format!("{} : deny\n", at("nobody")), 2002, ""),
            ],
        );
        must("the commands have run", || {
            world.read("root") == "127.0.0.1 echo 0\n" && world.read("nobody") == "127.0.0.1 echo 65534\n"
        });
    });
}

#[test]
fn the_program_finds_what_the_rule_orders() {
    both(|world| {
        let config = Config::new()
            .with(shows(world, "s1", 2001))
            .with(shows(world, "s2", 2002).set("user", "nobody").set("nice", "2").set("umask", "027"));
        let _daemon = world.start(&config);
        answers(
            world,
            &[
                ("ALL: ALL : umask 7\n", 2001, "0 0 0007 0 X=\n"),
                ("ALL: ALL : umask 7\n", 2002, "65534 65534 0007 2 X=\n"),
                ("ALL: ALL : nice 3\n", 2001, "0 0 0022 3 X=\n"),
                ("ALL: ALL : nice 3\n", 2002, "65534 65534 0027 5 X=\n"),
                ("ALL: ALL : keepalive : linger 5\n", 2001, "0 0 0022 0 X=\n"),
                ("ALL: ALL : user nosuchuser\n", 2001, ""),
            ],
        );
        let x = world.fix("setenv-reaches-the-program", "", "5 6");
        answers(world, &[("ALL: ALL : setenv X 5 6\n", 2001, &format!("0 0 0022 0 X={x}\n"))]);
        let user = world.fix("user-and-group-as-in-the-manual", "0 0", "1 1");
        let group = world.fix("user-and-group-as-in-the-manual", "0 0", "0 1");
        let denied = world.fix("user-and-group-as-in-the-manual", "65534 65534 0027 2 X=\n", "");
        answers(
            world,
            &[
                ("ALL: ALL : user daemon\n", 2001, &format!("{user} 0022 0 X=\n")),
                ("ALL: ALL : group daemon\n", 2001, &format!("{group} 0022 0 X=\n")),
                // Only a service that runs as root can become another.
                ("ALL: ALL : user daemon\n", 2002, denied),
            ],
        );
    });
}

#[test]
fn aclexec() {
    both(|world| {
        let _daemon = world.start(&Config::of(four("s1", 2001)));
        world.write("etc/hosts.deny", "ALL: 127.0.0.1\n");
        answers(
            world,
            &[
                ("ALL: ALL : aclexec true\n", 2001, SERVED),
                ("ALL: ALL : aclexec false\n", 2001, ""),
                ("ALL: ALL : aclexec false : allow\n", 2001, SERVED),
                ("ALL: ALL : aclexec test %a = 127.0.0.1\n", 2001, SERVED),
                ("ALL: ALL : aclexec test %a = 127.0.0.2\n", 2001, ""),
                ("ALL: ALL : aclexec kill -9 $$\n", 2001, ""),
            ],
        );
        world.write("etc/hosts.deny", "ALL: ALL : aclexec test %a = 127.0.0.1\n");
        answers(world, &[("", 2001, "")]);
        assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(SERVED));
    });
}

/// A command that does not end keeps its own client waiting and nobody else; when its time is over the client is refused.
#[test]
fn a_slow_aclexec_blocks_nobody_else() {
    ours(|world| {
        world.write("etc/hosts.allow", "ALL: 127.0.0.2\nALL: ALL : aclexec sleep 3600\n");
        let daemon = world.start(&Config::of(four("s1", 2001)));
        let mut parked: Connection = dial("127.0.0.1", 2001).expect("a connection");
        must("the command runs", || !world.processes("sleep 3600").is_empty());
        for _ in 0..5 {
            assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(SERVED));
        }
        let refused = parked.read_for(Duration::from_secs(60));
        assert_eq!(refused, Answer::closed(""), "refused when the time is over");
        must("the command is gone", || world.processes("sleep 3600").is_empty());
        must("the refusal is logged", || {
            world.service_log("s1").iter().any(|line| line == "FAIL: s1 libwrap from=127.0.0.1")
        });
        assert_eq!(daemon.status().pointer("/hooks/killed").and_then(serde_json::Value::as_u64), Some(1));
    });
}

/// A command that answers datagrams instead of the program has their socket, and is told as for connections.
#[test]
fn twist_of_datagrams() {
    ours(|world| {
        let _daemon =
            world.start(&Config::of(Entry::datagram("dg", 2001, "datagrams 1").first("flags = IPv4")));
        world.write("etc/hosts.allow", "ALL: ALL : twist head -c 1 > /run/w/got\n");
        let socket = datagram_socket("127.0.0.1", 2001);
        socket.send(b"x").expect("to send");
        must("the command takes the datagram", || world.read("got") == "x");
        must("it is told", || {
            world.daemon_log_count("WARNING: twist 127.0.0.1 to head -c 1 > /run/w/got") == 1
        });
    });
}

/// What `linger` orders is the program's from its beginning to its end, whether it is confined or not.
#[test]
fn who_lingers_goes_on_to() {
    both(|world| {
        let look = "#!/usr/bin/perl\nuse Socket; select(undef, undef, undef, 0.3);\n\
                    print join(' ', unpack('ii', getsockopt(STDIN, SOL_SOCKET, SO_LINGER))), \"\\n\";\n";
        let look = world.write_mode("look", look, 0o755);
        let entry = |id, port| four(id, port).set("server", &look).unset("server_args");
        let mut config = Config::of(entry("s1", 2001));
        if world.is_ours() {
            config = config.with(entry("s2", 2002).set("sandbox", "NoNewPrivileges"));
        }
        let _daemon = world.start(&config);
        answers(world, &[("ALL: ALL : linger 5\n", 2001, "1 5\n"), ("ALL: ALL\n", 2001, "0 0\n")]);
        if world.is_ours() {
            answers(world, &[("ALL: ALL : linger 7\n", 2002, "1 7\n")]);
        }
    });
}
