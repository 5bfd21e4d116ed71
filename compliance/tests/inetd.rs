//! inetd.conf: behind xinetd's configuration (`-inetd_compat`, reference xinetd §12.1) beside xinetd, and alone, under the
//! name `inetd`, beside openbsd-inetd.

use portreeve_compliance::client::{ask, ask_again, datagram_socket, dial_to, talk};
use portreeve_compliance::init::{HERE, PROBE};
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::tcpd::program;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, DEADLINE, Ended, Entry, Side, Start, World, both, ours, signals};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SERVED: &str = "served\n";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// Services that xinetd must find by name, since it knows no port numbers in inetd.conf.
const SERVICES: &str = "in-a 7001/tcp\nin-b 7002/tcp\nin-c 7003/tcp\nin-d 7004/tcp\nin-u 7005/udp\n";

/// Makes `/etc` a copy in memory: nothing that is written there reaches the machine.
fn own_etc(world: &World) {
    let copy = "set -e; mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; \
                mount --move /run/etc /etc; rm -f /etc/inetd.conf";
    let (how, output) = world.run(&["/bin/sh", "-c", copy], &[PATH]);
    assert_eq!(how, Ended::Status(0), "{output}");
    let services = world.inside("/etc/services");
    let known = std::fs::read_to_string(&services).unwrap_or_default();
    etc(world, "services", &format!("{known}\n{SERVICES}"));
    etc(world, "hosts.allow", "");
    etc(world, "hosts.deny", "");
}

fn etc(world: &World, name: &str, text: &str) {
    std::fs::write(world.inside(&format!("/etc/{name}")), text).expect("to write");
}

fn compat() -> Start {
    Start { options: vec!["-inetd_compat".into()], ..Start::default() }
}

/// What the probe says of its start.
fn report(port: u16) -> Value {
    let answer = talk("127.0.0.1", port, b"").text();
    serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{port}: {e}: {answer}"))
}

/// A program of that name in the world: the probe.
fn named_probe(world: &World, name: &str) -> String {
    std::os::unix::fs::symlink(PROBE, world.path(name)).expect("a link");
    format!("{HERE}/{name}")
}

/// A name that nobody listens at counts as not served.
fn closed(port: u16) -> bool {
    talk("127.0.0.1", port, b"") == Answer::refused()
}

/// Streams, datagrams, a built-in, tcpd and a broken line, after the services of xinetd.conf.
#[test]
fn behind_xinetds_configuration() {
    if !has_programs(&["tcpd"]) {
        return;
    }
    both(|world| {
        own_etc(world);
        let wrapped = named_probe(world, "wrapped");
        etc(world, "hosts.deny", "wrapped: ALL EXCEPT 127.0.0.1\n");
        etc(
            world,
            "inetd.conf",
            &format!(
                "# what inetd serves\n\
                 in-a stream tcp nowait root {PROBE} myname one two\n\
                 in-b stream tcp nowait nobody {PROBE} {PROBE}\n\
                 in-c stream tcp nowait root.daemon /usr/sbin/tcpd {wrapped} three\n\
                 in-u dgram udp wait root {PROBE} probe datagrams 2\n\
                 #in-d stream tcp nowait root {PROBE} probe\n\
                 echo stream tcp nowait root internal\n\
                 bogus\n"
            ),
        );
        world.start_with(&Config::of(Entry::program("s1", 2001)), compat());
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));

        let a = report(7001);
        assert_eq!(a["argv"], serde_json::json!(["myname", "one", "two"]));
        let b = report(7002);
        assert_eq!(b["uid"], "65534 65534 65534 65534");
        assert_eq!(b["argv"], serde_json::json!([PROBE]));
        assert_eq!((b["groups"].as_str(), a["groups"].as_str()), (Some("65534"), Some("0")));

        let c = report(7003);
        assert_eq!(c["argv"], serde_json::json!(["wrapped", "three"]));
        assert_eq!(c["gid"], "1 1 1 1");
        let refused = talk("127.0.0.2", 7003, b"");
        assert!(refused.bytes.is_empty(), "{refused:?}");

        let datagrams = datagram_socket("127.0.0.1", 7005);
        assert!(ask_again(&datagrams, b"one").is_some());
        let mut echo = dial_to("127.0.0.1", "127.0.0.1", 7, DEADLINE).expect("echo");
        echo.send(b"a");
        assert_eq!(echo.read_count(1).bytes, b"a");
        if Path::new("/proc/net/if_inet6").exists() {
            let mut six = dial_to("::1", "::1", 7001, DEADLINE).expect("both families");
            assert!(six.read_all().text().contains("myname"));
        }
        assert!(closed(7004), "what is commented out is off");

        for name in ["in-a", "in-b", "in-c", "in-u", "echo"] {
            let line = format!("DEBUG: added service {name} [file=/etc/inetd.conf]");
            assert_eq!(world.daemon_log_count(&line), 1, "{name}: {:#?}", world.daemon_log());
        }
        let line = world.fix("inetd-lines-are-named", "Invalid socket type", "the line ends before the");
        assert_eq!(world.daemon_log_count(line), 1, "{:#?}", world.daemon_log());
    });
}

/// HUP reads it again: lines come, go and change; who is connected stays.
#[test]
fn reload() {
    both(|world| {
        own_etc(world);
        let serve = |text: &str| etc(world, "inetd.conf", text);
        serve(&format!(
            "in-a stream tcp nowait root {PROBE} probe hold\nin-b stream tcp nowait root /bin/echo echo old\n"
        ));
        let config = Config::of(Entry::program("s1", 2001));
        let daemon = world.start_with(&config, compat());
        let mut held = dial_to("127.0.0.1", "127.0.0.1", 7001, DEADLINE).expect("a connection");
        assert_eq!(held.read_until(b"\n").text(), "held\n");
        assert_eq!(talk("127.0.0.1", 7002, b""), Answer::closed("old\n"));
        serve(&format!(
            "in-a stream tcp nowait root {PROBE} probe hold\nin-b stream tcp nowait root /bin/echo echo new\n\
             in-c stream tcp nowait root /bin/echo echo came\n"
        ));
        daemon.reload(&config);
        assert_eq!(talk("127.0.0.1", 7002, b""), Answer::closed("new\n"));
        assert_eq!(talk("127.0.0.1", 7003, b""), Answer::closed("came\n"));
        serve(&format!("in-a stream tcp nowait root {PROBE} probe hold\n"));
        daemon.reload(&config);
        assert!(closed(7002) && closed(7003));
        assert_eq!(held.read_for(Duration::from_millis(30)).end, portreeve_compliance::End::Open);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
    });
}

/// Without /etc/inetd.conf xinetd serves what there is and says nothing.
#[test]
fn there_is_no_inetd_conf() {
    both(|world| {
        own_etc(world);
        world.start_with(&Config::of(Entry::program("s1", 2001)), compat());
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        let said = world.fix("inetd-missing-is-said", 0, 1);
        assert_eq!(world.daemon_log_count("WARNING: there is no `/etc/inetd.conf`"), said);
    });
}

/// What `defaults` says of who may come holds for the services of inetd.conf too.
#[test]
fn defaults_hold() {
    both(|world| {
        own_etc(world);
        etc(world, "inetd.conf", "in-a stream tcp nowait root /bin/echo echo served\n");
        let config = Config::of(Entry::program("s1", 2001))
            .defaults("only_from = 127.0.0.9")
            .defaults("instances = 9");
        world.start_with(&config, compat());
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
        assert_eq!(talk("127.0.0.9", 7001, b"").text(), SERVED);
        let text = world.fix("inetd-has-all-defaults", SERVED, "");
        assert_eq!(talk("127.0.0.1", 7001, b"").text(), text);
    });
}

/// The forms that xinetd does not know: ports, families, addresses, groups behind a colon, limits.
#[test]
fn forms_of_other_inetds() {
    both(|world| {
        own_etc(world);
        etc(
            world,
            "inetd.conf",
            "7010 stream tcp nowait root /bin/echo echo served\n\
             in-a stream tcp6 nowait root /bin/echo echo served\n\
             127.0.0.1:in-b stream tcp nowait root /bin/echo echo served\n\
             in-c stream tcp nowait root:daemon /bin/echo echo served\n\
             discard stream tcp nowait root internal\n",
        );
        world.start_with(&Config::of(Entry::program("s1", 2001)), compat());
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        let served = |from: &str, to: &str, port| match dial_to(from, to, port, DEADLINE) {
            Ok(mut connection) => connection.read_all() == Answer::closed(SERVED),
            Err(_) => false,
        };
        let all = [
            served("127.0.0.1", "127.0.0.1", 7010),
            served("127.0.0.2", "127.0.0.1", 7002),
            served("127.0.0.1", "127.0.0.1", 7003),
            dial_to("127.0.0.1", "127.0.0.1", 9, DEADLINE).is_ok(),
        ];
        assert_eq!(all, world.fix("inetd-dialects", [false; 4], [true; 4]));
    });
}

/// Where the inetd of OpenBSD is. Its package excludes xinetd's, so scripts/test unpacks it instead of installing it.
fn openbsd_inetd() -> Option<PathBuf> {
    let unpacked = std::env::var_os("PORTREEVE_UNPACKED").map(PathBuf::from).unwrap_or_default();
    let found = [unpacked.join("usr/sbin/inetd"), PathBuf::from("/usr/sbin/inetd")]
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file());
    if found.is_none() {
        skip(Reason::absent("openbsd-inetd"));
    }
    found
}

/// Runs `body` with the program `inetd` of each side: openbsd-inetd and ours, called by that name.
fn as_inetd(body: impl Fn(&World, &str) + Sync) {
    let theirs = openbsd_inetd();
    let run = |world: &World| {
        own_etc(world);
        let path = match (world.side, &theirs) {
            (Side::Ours, _) => program(world, "inetd"),
            (Side::Theirs, Some(path)) => {
                world.write_mode("inetd", std::fs::read(path).expect("inetd"), 0o755)
            }
            (Side::Theirs, None) => return,
        };
        body(world, &path);
    };
    if theirs.is_some() { both(run) } else { ours(run) }
}

/// Waits until somebody answers at a port.
fn answers(port: u16, text: &str) {
    must(&format!("{text:?} at {port}"), || talk("127.0.0.1", port, b"") == Answer::closed(text));
}

/// Lines that are slips: openbsd-inetd reads many of them as something else, or listens and can start nothing.
#[test]
fn odd_lines() {
    as_inetd(|world, inetd| {
        let both_alike = [
            (7031, "7031 stream tcp4 nowait.0 root /bin/echo echo zero", true),
            (7032, "7032 stream tcp4 nowait:5 root /bin/echo echo colon", true),
            (7033, "7033 strem tcp4 nowait root /bin/echo echo kind", false),
            (7034, "7034 stream tcp4 nowait root", false),
            (7035, "7035/tcp stream tcp4 nowait root /bin/echo echo slash", false),
            (7036, "7036-7037 stream tcp4 nowait root /bin/echo echo range", false),
            (7038, "\t", false),
            (7039, "#7039 stream tcp4 nowait root /bin/echo echo off", false),
            (7040, "7040 stream tcp4 nowait root /bin/echo echo a # no comment\n  and more", true),
        ];
        let slips = [
            (7051, "7051 stream tcp4 nowat root /bin/echo echo wait"),
            (7052, "7052 stream tcp4 nowait.x root /bin/echo echo limit"),
            (7053, "7053 stream tcp5 nowait root /bin/echo echo protocol"),
            (7054, "7054 stream icmp nowait root /bin/echo echo protocol"),
            (7055, "7055 stream tcp4 nowait nosuchuser /bin/echo echo user"),
            (7056, "7056 stream tcp4 nowait root: /bin/echo echo group"),
            (7057, "7057 stream tcp4 nowait root /nonexistent program"),
            (7058, "7058 stream tcp4 nowait root /bin/echo echo \"of two\""),
        ];
        let mut text: String = both_alike.iter().map(|(_, line, _)| format!("{line}\n")).collect();
        text.extend(slips.iter().map(|(_, line)| format!("{line}\n")));
        // One service twice, a service that is set in, many words, and a last line that does not end.
        text.push_str("7061 stream tcp4 nowait root /bin/echo echo first\n7061 stream tcp4 nowait root /bin/echo echo last\n");
        text.push_str("7062 stream tcp4 nowait root /bin/echo echo above\n  7063 stream tcp4 nowait root /bin/echo echo set in\n");
        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        text.push_str(&format!("7064 stream tcp4 nowait root /bin/echo echo {}\n", many.join(" ")));
        text.push_str("0 stream tcp4 nowait root /bin/echo echo nowhere\n");
        text.push_str("7065 stream tcp4 nowait nobody:daemon /usr/bin/id id -G\n");
        text.push_str("7066 stream tcp4 nowait root /bin/echo echo end");
        let conf = world.write("inetd.conf", text);
        let pid = world.spawn("inetd", &[inetd, "-i", &conf], &[PATH]);
        answers(7066, "end\n");
        let listens = |port: u16| talk("127.0.0.1", port, b"") != Answer::refused();
        for (port, line, served) in both_alike {
            assert_eq!(listens(port), served, "{line}");
        }
        assert_eq!(talk("127.0.0.1", 7040, b""), Answer::closed("a # no comment and more\n"));
        let read = slips.map(|(port, _)| listens(port));
        assert_eq!(read, world.fix("inetd-slips-are-not-served", [true; 8], [false; 8]));
        let twice = world.fix("inetd-the-first-of-two-counts", "last\n", "first\n");
        assert_eq!(talk("127.0.0.1", 7061, b"").text(), twice);
        assert_eq!(listens(7063), world.fix("inetd-lines-may-be-set-in", false, true));
        let words = talk("127.0.0.1", 7064, b"").text().split_whitespace().count();
        assert_eq!(words, world.fix("inetd-arguments-are-not-cut", 19, 40));
        let groups = world.fix("inetd-users-own-group-stays", "1\n", "1 65534\n");
        assert_eq!(talk("127.0.0.1", 7065, b"").text(), groups);
        assert!(world.signal(pid, signals::TERM));
        world.wait(pid);
    });
}

/// In the foreground: the forms of its lines, HUP, and the end.
#[test]
fn called_inetd() {
    as_inetd(|world, inetd| {
        let lines = |text: &str| {
            format!(
                "127.0.0.1:7010 stream tcp nowait root /bin/echo myecho {text}\n\
                 7011 stream tcp4 nowait nobody:daemon {PROBE} probe x\n\
                 7012 dgram udp4 wait root {PROBE} probe datagrams 1\n\
                 7013 stream tcp4 wait root {PROBE} probe accept 1\n\
                 7015 stream tcp nowait root /bin/echo echo both\n\
                 127.0.0.2,127.0.0.3:7014 stream tcp nowait root /bin/echo echo several\n"
            )
        };
        let conf = world.write("inetd.conf", lines("old"));
        let env = [PATH, "HOME=/root", "LD_BIND_NOW=1"];
        let pid = world.spawn("inetd", &[inetd, "-i", &conf], &env);
        answers(7010, "old\n");
        if Path::new("/proc/net/if_inet6").exists() {
            let mut six = dial_to("::1", "::1", 7015, DEADLINE).expect("both families");
            assert_eq!(six.read_all(), Answer::closed("both\n"));
        }
        let report = report(7011);
        assert_eq!(report["argv"], serde_json::json!(["probe", "x"]));
        assert_eq!(
            (report["uid"].as_str(), report["gid"].as_str()),
            (Some("65534 65534 65534 65534"), Some("1 1 1 1"))
        );
        let variables = report["env"].as_array().cloned().unwrap_or_default();
        let has = |name: &str| variables.iter().any(|v| v.as_str().is_some_and(|v| v.starts_with(name)));
        assert!(!has("PATH=") && !has("HOME="), "{variables:?}");
        let datagrams = datagram_socket("127.0.0.1", 7012);
        assert!(ask(&datagrams, b"one", DEADLINE).is_some());
        let mut waited = dial_to("127.0.0.1", "127.0.0.1", 7013, DEADLINE).expect("a connection");
        assert_ne!(waited.read_until(b"\n").text(), "");
        for to in ["127.0.0.2", "127.0.0.3"] {
            let mut connection = dial_to("127.0.0.1", to, 7014, DEADLINE).expect(to);
            assert_eq!(connection.read_all(), Answer::closed("several\n"), "{to}");
        }

        world.write("inetd.conf", lines("new"));
        assert!(world.signal(pid, signals::HUP));
        answers(7010, "new\n");
        assert!(world.signal(pid, signals::TERM));
        world.wait(pid);
        assert!(closed(7010));
    });
}

/// Under a service manager, as its unit calls it: the process that was started stays, is ready, and gives signs of life.
#[test]
fn called_inetd_by_a_service_manager() {
    as_inetd(|world, inetd| {
        etc(world, "inetd.conf", "7010 stream tcp4 nowait root /bin/echo echo served\n");
        let socket = UnixDatagram::bind(world.path("notify")).expect("the manager's socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
        let mut heard = String::new();
        let mut hear = |wanted: &str, times: usize| {
            must(wanted, || {
                let mut buffer = [0_u8; 4096];
                if let Ok(count) = socket.recv(&mut buffer) {
                    heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    heard.push('\n');
                }
                heard.lines().filter(|line| *line == wanted).count() >= times
            });
        };
        let notify = format!("NOTIFY_SOCKET={HERE}/notify");
        let pid = world.spawn("inetd", &[inetd], &[PATH, &notify, "WATCHDOG_USEC=400000"]);
        hear("READY=1", 1);
        hear("WATCHDOG=1", 3);
        assert_eq!(talk("127.0.0.1", 7010, b""), Answer::closed(SERVED));
        assert!(world.ended(pid).is_none() && world.signal(pid, signals::TERM));
        world.wait(pid);
    });
}

/// `-l` asks the tables for every program, by the name in argv\[0\]; built-in services cannot be wrapped.
#[test]
fn called_inetd_with_tables() {
    if !has_programs(&["tcpd"]) {
        return;
    }
    as_inetd(|world, inetd| {
        etc(world, "hosts.allow", "myecho: 127.0.0.2\n");
        etc(world, "hosts.deny", "ALL: ALL\n");
        let conf = world.write(
            "inetd.conf",
            "7010 stream tcp4 nowait root /bin/echo myecho served\n\
             7011 stream tcp4 nowait root /usr/sbin/tcpd /bin/echo served\n\
             echo stream tcp4 nowait root internal\n",
        );
        world.spawn("inetd", &[inetd, "-il", &conf], &[PATH]);
        must("it listens", || talk("127.0.0.2", 7010, b"") == Answer::closed(SERVED));
        for (from, port) in [("127.0.0.1", 7010), ("127.0.0.2", 7011)] {
            let refused = talk(from, port, b"");
            assert!(refused.bytes.is_empty(), "{from} {port}: {refused:?}");
        }
        let mut echo = dial_to("127.0.0.3", "127.0.0.1", 7, DEADLINE).expect("echo");
        echo.send(b"a");
        assert_eq!(echo.read_count(1).bytes, b"a");
    });
}

/// Without `-i` and `-d` it goes to the background and leaves its process id behind; a wrong call ends at once.
#[test]
fn called_inetd_in_the_background() {
    as_inetd(|world, inetd| {
        etc(world, "inetd.conf", "7010 stream tcp4 nowait root /bin/echo echo served\n");
        let started = world.spawn("inetd", &[inetd], &[PATH]);
        assert_eq!(world.wait(started), Ended::Status(0));
        answers(7010, SERVED);
        let pid = std::fs::read_to_string(world.inside("/run/inetd.pid")).expect("the process id");
        let pid: u32 = pid.trim().parse().expect("a number");
        if world.is_ours() {
            let portreeve = program(world, "portreeve");
            let (how, status) = world.run(&[&portreeve, "status", "--json"], &[PATH]);
            assert_eq!(how, Ended::Status(0), "{status}");
            assert!(status.contains("\"/etc/inetd.conf\"") && status.contains("\"7010\""), "{status}");
            let (how, why) = world.run(&[&portreeve, "explain", "7010", "127.0.0.1"], &[PATH]);
            assert_eq!(how, Ended::Status(0), "{why}");
        }
        etc(world, "inetd.conf", "7010 stream tcp4 nowait root /bin/echo echo again\n");
        assert!(world.signal(pid, signals::HUP));
        answers(7010, "again\n");
        assert!(world.signal(pid, signals::TERM));
        must("it ends", || closed(7010));
        let (how, _) = world.run(&[inetd, "-Z"], &[PATH]);
        assert!(matches!(how, Ended::Status(code) if code != 0), "{how:?}");
    });
}

/// `nowait.N`, and FreeBSD's limit of one source: counted, and no service is off for others.
#[test]
fn starts_a_minute() {
    ours(|world| {
        own_etc(world);
        let lines = "7001 stream tcp4 nowait.4 root /bin/echo echo served\n\
                     7002 stream tcp4 nowait/0/2 root /bin/echo echo served\n";
        etc(world, "inetd.conf", lines);
        let daemon = world.start_with(&Config::new(), compat());
        let served = |from: &str, port: u16, times: usize| {
            (0..times).filter(|_| talk(from, port, b"").text() == SERVED).count()
        };
        assert_eq!(served("127.0.0.1", 7001, 12), 4);
        assert_eq!(served("127.0.0.2", 7001, 12), 2, "its share of four");
        assert_eq!(served("127.0.0.1", 7002, 6), 2);
        assert_eq!(served("127.0.0.2", 7002, 6), 2);
        assert_eq!(daemon.count("7001", "/accepted"), 6);
        assert_eq!(daemon.count("7001", "/refused/connections per second"), 18);
        assert!(daemon.service_status("7001").to_string().contains("starts_per_minute"));
        let explained = daemon.control("explain 7001 127.0.0.1");
        assert!(explained.contains("source has had its share"), "{explained}");
        // Everybody within their share, and none is left: clients wait, nobody is refused for long.
        assert_eq!(served("127.0.0.3", 7001, 1), 1);
        assert_eq!(world.daemon_log_count("within a minute"), 0);
    });
}

/// Lines of unix sockets: with FreeBSD's owner, group and mode, and without, where nobody but the daemon's own user connects.
#[test]
fn unix_sockets() {
    use std::io::Read;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    ours(|world| {
        own_etc(world);
        let program = "stream unix nowait root /bin/echo echo served";
        let text = format!(
            "{HERE}/own {program}\n:nobody:daemon:0660:{HERE}/theirs {program}\n:x:{HERE}/bad {program}\n"
        );
        etc(world, "inetd.conf", &text);
        let _daemon = world.start_with(&Config::of(Entry::program("s1", 2001)), compat());
        for (name, mode, owner) in [("own", 0o600, 0), ("theirs", 0o660, 65534)] {
            let meta = std::fs::symlink_metadata(world.path(name)).expect("the socket");
            assert_eq!((meta.permissions().mode() & 0o7777, meta.uid()), (mode, owner), "{name}");
            let mut answer = String::new();
            let mut stream = std::os::unix::net::UnixStream::connect(world.path(name)).expect("to connect");
            stream.read_to_string(&mut answer).expect("an answer");
            assert_eq!(answer, SERVED);
        }
        assert!(!world.path("bad").exists());
        assert!(world.daemon_log().iter().any(|line| line.contains("`:x:` before a path is not")));
    });
}

/// The same lines as openbsd-inetd has them: who may connect, what a program is told, what stands in the way, and the end.
#[test]
fn unix_sockets_beside_openbsd() {
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    as_inetd(|world, inetd| {
        let served = "/bin/echo echo served";
        let text = format!(
            "{HERE}/plain stream unix nowait nobody:daemon {PROBE} probe x\n\
             :nobody:daemon:0640:{HERE}/rights stream unix nowait root {served}\n\
             {HERE}/all stream unix wait root {PROBE} probe accept 1\n\
             {HERE}/dg dgram unix wait root /bin/cat cat\n\
             {HERE}/seq seqpacket unix nowait root /bin/cat cat\n\
             {HERE}/file stream unix nowait root {served}\n\
             7071 stream tcp4 nowait root {served}\n"
        );
        let conf = world.write("inetd.conf", text);
        world.write("file", "text");
        let pid = world.spawn("inetd", &[inetd, "-i", &conf], &[PATH]);
        answers(7071, SERVED);
        let get = |name: &str| {
            let mut answer = String::new();
            let mut stream = std::os::unix::net::UnixStream::connect(world.path(name)).expect("to connect");
            stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        };
        let socket = |name: &str| {
            let meta = std::fs::symlink_metadata(world.path(name)).ok()?;
            meta.file_type().is_socket().then(|| (meta.mode() & 0o7777, meta.uid(), meta.gid()))
        };
        let alone = world.fix("inetd-unix-sockets-have-rights", (0o666, 0, 0), (0o600, 0, 0));
        for name in ["plain", "all", "dg"] {
            assert_eq!(socket(name), Some(alone), "{name}");
        }
        let rights = world.fix("inetd-unix-sockets-have-rights", (0o666, 0, 0), (0o640, 65534, 1));
        assert_eq!((socket("rights"), get("rights").as_str()), (Some(rights), SERVED));
        let there = world.fix("inetd-unix-seqpacket", None, Some((0o600, 0, 0)));
        assert_eq!(socket("seq"), there);
        let replaced = world.fix("inetd-unix-leaves-files-alone", Some((0o666, 0, 0)), None);
        assert_eq!(socket("file"), replaced);
        let report: Value = serde_json::from_str(&get("plain")).expect("a report");
        assert_eq!(report["argv"], serde_json::json!(["probe", "x"]));
        assert_eq!(
            (report["uid"].as_str(), report["gid"].as_str()),
            (Some("65534 65534 65534 65534"), Some("1 1 1 1"))
        );
        let variables = report["env"].as_array().cloned().unwrap_or_default();
        let told = variables.iter().any(|v| v.as_str().is_some_and(|v| v.starts_with("UNIXREMOTEEUID=0")));
        assert_eq!(told, world.fix("inetd-unix-clients-are-told", false, true), "{variables:?}");
        assert!(get("all").starts_with("served"));
        assert!(world.signal(pid, signals::TERM));
        world.wait(pid);
        for name in ["plain", "rights", "dg"] {
            assert!(socket(name).is_none(), "{name} has gone");
        }
    });
}
