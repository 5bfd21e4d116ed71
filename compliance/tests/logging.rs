//! What is logged, byte by byte, and where (reference xinetd §10).

use portreeve_compliance::client::talk;
use portreeve_compliance::lines::split_daemon_line;
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{Answer, Config, Entry, Start, both, signals};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Every combination of what log_on_success can say.
#[test]
fn success_records() {
    let table: &[(&str, &[&str])] = &[
        ("HOST", &["START: {} from=127.0.0.2"]),
        ("PID", &["START: {} pid=N"]),
        ("HOST PID", &["START: {} pid=N from=127.0.0.2"]),
        ("EXIT", &["START: {}", "EXIT: {} status=7"]),
        ("DURATION", &["START: {}", "EXIT: {} duration=N(sec)"]),
        ("EXIT DURATION", &["START: {}", "EXIT: {} status=7 duration=N(sec)"]),
        ("PID EXIT", &["START: {} pid=N", "EXIT: {} status=7 pid=N"]),
        ("HOST EXIT", &["START: {} from=127.0.0.2", "EXIT: {} status=7"]),
        (
            "HOST PID EXIT DURATION",
            &["START: {} pid=N from=127.0.0.2", "EXIT: {} status=7 pid=N duration=N(sec)"],
        ),
        ("", &[]),
    ];
    both(|world| {
        let entries = (0..).zip(table).map(|(number, (words, _))| {
            Entry::shell(&format!("s{number}"), 2001 + number, "exit${IFS}7")
                .first("flags = IPv4")
                .set("log_on_success", words)
        });
        // A marker at the end, so that the silent one is known to be over.
        let _daemon = world.start(&Config::new().with_all(entries));
        for (number, (words, lines)) in (0..).zip(table) {
            assert_eq!(talk("127.0.0.2", 2001 + number, b""), Answer::closed(""), "{words}");
            let id = format!("s{number}");
            let lines: Vec<String> = lines.iter().map(|line| line.replace("{}", &id)).collect();
            world.expect_log(&id, &lines);
        }
        // None of them says more after its EXIT.
        for (number, (_, lines)) in (0..).zip(table) {
            assert_eq!(world.service_log(&format!("s{number}")).len(), lines.len());
        }
    });
}

/// log_on_failure: only HOST is visible; without a word there is no line; ATTEMPT makes the line appear.
#[test]
fn failure_records() {
    both(|world| {
        let table = [
            ("HOST", vec!["FAIL: {} service_limit from=127.0.0.2"]),
            ("ATTEMPT", vec!["FAIL: {} service_limit"]),
            ("HOST ATTEMPT", vec!["FAIL: {} service_limit from=127.0.0.2"]),
            ("", vec![]),
        ];
        let entries = (0..).zip(&table).map(|(number, (words, _))| {
            Entry::program(&format!("s{number}"), 2001 + number)
                .first("flags = IPv4")
                .set("instances", "0")
                .set("log_on_failure", words)
        });
        let _daemon = world.start(&Config::new().with_all(entries));
        for (number, (words, lines)) in (0..).zip(&table) {
            assert_eq!(talk("127.0.0.2", 2001 + number, b""), Answer::closed(""), "{words}");
            let id = format!("s{number}");
            let lines: Vec<String> = lines.iter().map(|line| line.replace("{}", &id)).collect();
            world.expect_log(&id, &lines);
        }
    });
}

/// How a program ended: its status, or the signal that ended it.
#[test]
fn exit_records() {
    both(|world| {
        let config = Config::new()
            .with(Entry::shell("status", 2001, "exit${IFS}200").set("log_on_success", "EXIT"))
            .with(
                Entry::shell("killed", 2002, "kill${IFS}-9${IFS}$$")
                    .set("log_on_success", "EXIT PID DURATION"),
            )
            .with(Entry::shell("term", 2003, "kill${IFS}$$").set("log_on_success", "EXIT"));
        let _daemon = world.start(&config);
        for port in 2001..=2003 {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""));
        }
        world.expect_log("status", &["START: status", "EXIT: status status=200"]);
        world.expect_log("killed", &["START: killed pid=N", "EXIT: killed signal=9 pid=N duration=N(sec)"]);
        world.expect_log("term", &["START: term", "EXIT: term signal=15"]);
    });
}

/// START and EXIT name the same process, and the duration is in whole seconds.
#[test]
fn numbers() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::shell("s1", 2001, "echo${IFS}$$;sleep${IFS}1.1")));
        let pid = talk("127.0.0.1", 2001, b"").text().trim().to_owned();
        must("both lines", || world.service_log("s1").len() == 2);
        let text = world.read("log/s1");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(&format!(": START: s1 pid={pid} from=::ffff:127.0.0.1")), "{text}");
        let (_, end) =
            lines[1].split_once(&format!(": EXIT: s1 status=0 pid={pid} duration=")).expect("an EXIT line");
        let seconds: u32 = end.strip_suffix("(sec)").and_then(|s| s.parse().ok()).expect("seconds");
        assert!((1..30).contains(&seconds), "{text}");
    });
}

/// Without log_type a service logs nothing, whatever log_on_* say.
#[test]
fn no_log_type() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("silent", 2001).unset("log_type"))
            .with(Entry::program("loud", 2002));
        let _daemon = world.start(&config);
        let before = world.daemon_log();
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        must("the other is logged", || world.service_log("loud").len() == 2);
        assert!(!world.path("log/silent").exists());
        assert_eq!(world.daemon_log(), before, "nor in the daemon's log");
    });
}

/// One FILE for all, from the defaults.
#[test]
fn one_file_from_the_defaults() {
    both(|world| {
        let plain = |id: &str, port| {
            Entry::program(id, port).unset("log_type").unset("log_on_success").unset("log_on_failure")
        };
        let config = Config::new()
            .defaults("log_type = FILE /run/w/log/all")
            .defaults("log_on_success = HOST EXIT")
            .defaults("log_on_failure = HOST")
            .with(plain("a", 2001))
            .with(plain("b", 2002).set("instances", "0"))
            .with(plain("c", 2003).line("log_on_success += PID"))
            .with(plain("d", 2004).line("log_on_success -= HOST"));
        let _daemon = world.start(&config);
        for port in 2001..=2004 {
            talk("127.0.0.1", port, b"");
        }
        world.expect_log(
            "all",
            &[
                "START: a from=::ffff:127.0.0.1",
                "EXIT: a status=0",
                "FAIL: b service_limit from=::ffff:127.0.0.1",
                "START: c pid=N from=::ffff:127.0.0.1",
                "EXIT: c status=0 pid=N",
                "START: d",
                "EXIT: d status=0",
            ],
        );
    });
}

/// Modes and owners of what is created: 0644, appended to when it exists.
#[test]
fn log_files() {
    use std::os::unix::fs::PermissionsExt;
    both(|world| {
        world.write("log/s2", "26/11/22@00:00:00: EARLIER\n");
        let config = Config::new().with(Entry::program("s1", 2001)).with(Entry::program("s2", 2002));
        let daemon = world.start(&config);
        talk("127.0.0.1", 2001, b"");
        talk("127.0.0.1", 2002, b"");
        must("both are logged", || world.service_log("s1").len() == 2 && world.service_log("s2").len() == 3);
        assert_eq!(world.service_log("s2")[0], "EARLIER");
        let mode =
            |name: &str| std::fs::metadata(world.path(name)).map(|m| m.permissions().mode() & 0o7777).ok();
        assert_eq!(mode("log/s1"), Some(0o644));
        assert_eq!(mode("daemon.pid"), Some(0o644));
        assert_eq!(world.read("daemon.pid"), format!("{}\n", daemon.pid));
    });
}

/// A log that cannot be created takes its service down, and no other.
#[test]
fn a_log_that_cannot_be_created() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("s1", 2001).set("log_type", "FILE /run/w/absent/log"))
            .with(Entry::program("s2", 2002));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        assert!(world.daemon_log_count("creation of s1 log failed") >= 1, "{:?}", world.daemon_log());
        world.expect_daemon_log(&["ERROR: Service s1 failed to start and is deactivated."]);
    });
}

/// FILE path soft hard: above the soft limit a warning, above the hard one silence until the reload.
#[test]
fn size_limits() {
    both(|world| {
        let entry =
            Entry::program("s1", 2001).set("cps", "0 0").set("log_type", "FILE /run/w/log/s1 300 400");
        let config = Config::of(entry);
        let daemon = world.start(&config);
        must("the hard limit is met", || {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
            world.daemon_log_count("Size of s1 log exceeded hard limit") >= 1
        });
        let size = world.read("log/s1").len();
        assert!((300..600).contains(&size), "{size} bytes");
        for _ in 0..3 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"), "still served");
        }
        never("more is written", Duration::from_millis(200), || world.read("log/s1").len() != size);
        std::fs::rename(world.path("log/s1"), world.path("log/old")).expect("to rotate");
        daemon.reload(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        must("written again", || !world.read("log/s1").is_empty());
    });
}

/// A reload opens service logs anew (rotation). The daemon's own log stays where it is in xinetd.
#[test]
fn rotation() {
    both(|world| {
        let config = Config::of(Entry::program("s1", 2001));
        let daemon = world.start(&config);
        talk("127.0.0.1", 2001, b"");
        must("logged", || world.service_log("s1").len() == 2);
        std::fs::rename(world.path("log/s1"), world.path("log/s1.1")).expect("to rotate");
        std::fs::rename(world.path("daemon.log"), world.path("daemon.log.1")).expect("to rotate");
        daemon.signal(signals::HUP);
        must("reconfigured", || {
            (world.read("daemon.log.1") + &world.read("daemon.log")).contains("Reconfigured: ")
        });
        talk("127.0.0.1", 2001, b"");
        world.expect_log(
            "s1",
            &["START: s1 pid=N from=::ffff:127.0.0.1", "EXIT: s1 status=0 pid=N duration=N(sec)"],
        );
        assert_eq!(world.read("log/s1.1").lines().count(), 2);
        let anew = world.path("daemon.log").exists();
        assert_eq!(anew, world.fix("filelog-is-reopened", false, true));
    });
}

/// Lines of -filelog: stamp, program, process, level, text.
#[test]
fn the_daemon_log() {
    both(|world| {
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        world.expect_daemon_log(&["NOTICE: Started working: 1 available service"]);
        let text = world.read("daemon.log");
        let name = world.fix("program-name-in-logs", "xinetd", "portreeve");
        for line in text.lines() {
            let (program, pid, _) =
                split_daemon_line(line).unwrap_or_else(|| panic!("not in the format: {line}"));
            assert_eq!((program, pid), (name, daemon.pid), "{line}");
        }
        daemon.stop();
        world.expect_daemon_log(&["NOTICE: Started working: 1 available service", "WARNING: Exiting..."]);
    });
}

/// The number of services in the line that scripts wait for.
#[test]
fn started_working() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("a", 2001))
            .with(Entry::internal("echo", "b", 2002, "dgram"))
            .with(Entry::program("off", 2003).set("disable", "yes"))
            .with(Entry::program("bad", 2004).set("socket_type", "nonsense"));
        let _daemon = world.start(&config);
        world.expect_daemon_log(&["NOTICE: Started working: 2 available services"]);
        assert!(world.daemon_log_count("removing bad") >= 1, "{:?}", world.daemon_log());
        assert_eq!(world.daemon_log_count("removing off"), 0);
    });
}

/// Local time, as the TZ of the super-server says.
#[test]
fn local_time() {
    both(|world| {
        let env = ["PATH=/usr/bin:/bin", "TZ=PST8"].map(str::to_owned).to_vec();
        let _daemon =
            world.start_with(&Config::of(Entry::program("s1", 2001)), Start { env, ..Start::default() });
        talk("127.0.0.1", 2001, b"");
        must("logged", || world.service_log("s1").len() == 2);
        let hour = |text: String| -> u64 {
            text.split_once('@').and_then(|(_, t)| t.get(..2)?.parse().ok()).expect("an hour")
        };
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
        // The hour may have turned since.
        let possible = [(now / 3600 + 16) % 24, ((now - 120) / 3600 + 16) % 24];
        for name in ["log/s1", "daemon.log"] {
            let got = hour(world.read(name));
            assert!(possible.contains(&got), "{name}: {got} and not one of {possible:?}");
        }
    });
}

/// SYSLOG: priority, stamp, program and process; the service's facility and level, `daemon` for the daemon's own.
#[test]
fn syslog() {
    both(|world| {
        let socket = UnixDatagram::bind(world.path("dev-log")).expect("the log socket");
        std::fs::set_permissions(
            world.path("dev-log"),
            <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666),
        )
        .expect("to open it");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
        let config = Config::new()
            .with(Entry::program("s1", 2001).set("log_type", "SYSLOG local3 warning"))
            .with(Entry::program("s2", 2002).set("log_type", "SYSLOG authpriv").set("instances", "0"));
        let start = Start { options: vec!["-syslog".into(), "local5".into()], ..Start::default() };
        let pid = world.launch_syslog(&config, &start);
        let mut got: Vec<String> = Vec::new();
        let mut hear = |wanted: &str| {
            must(wanted, || {
                let mut buffer = [0_u8; 4096];
                if let Ok(count) = socket.recv(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..count]).trim_end_matches('\0').to_owned();
                    got.push(portreeve_compliance::lines::without_numbers(&text));
                }
                got.iter().any(|line| line.contains(wanted))
            });
            got.iter().find(|line| line.contains(wanted)).cloned().unwrap_or_default()
        };
        let name = world.fix("program-name-in-logs", "xinetd", "portreeve");
        let check = |line: String, priority: &str, text: &str| {
            let rest = line.strip_prefix(priority).unwrap_or_else(|| panic!("{line} begins with {priority}"));
            // `Nov 22 16:27:22 `
            let (stamp, rest) = rest.split_at(16);
            let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert!(shape.ends_with(" 00:00:00 "), "{line}");
            let (program, said) = rest.split_once("]: ").expect("a process number");
            assert!(program.starts_with(&format!("{name}[")), "{line}");
            assert_eq!(said, text);
        };
        // local5 = 21, notice = 5: 8 * 21 + 5.
        check(hear("Started working"), "<173>", "Started working: 2 available services");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        // local3 = 19, warning = 4.
        check(hear("START: s1"), "<156>", "START: s1 pid=N from=::ffff:127.0.0.1");
        check(hear("EXIT: s1"), "<156>", "EXIT: s1 status=0 pid=N duration=N(sec)");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""));
        // authpriv = 10, info = 6.
        check(hear("FAIL: s2"), "<86>", "FAIL: s2 service_limit from=::ffff:127.0.0.1");
        world.signal(pid, signals::TERM);
        check(hear("Exiting"), "<172>", "Exiting...");
    });
}

/// Control bytes in what is logged must not reach a terminal. xinetd writes them as they are.
#[test]
fn control_bytes() {
    both(|world| {
        let config = Config::of(Entry::program("good", 2001))
            .raw("service bad\n{\n\tport = 2002\n\tsocket_type = \x1b[31mred\x07\n\twait = no\n}\n");
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert!(world.daemon_log_count("Bad socket type: ") >= 1, "{:?}", world.daemon_log());
        let raw = world.read("daemon.log").contains('\x1b');
        assert_eq!(raw, world.fix("control-bytes-are-escaped", true, false));
    });
}
