//! How a program is started: ids, environment, descriptors, limits, session (reference xinetd §7).

use portreeve_compliance::client::talk;
use portreeve_compliance::daemon::environment;
use portreeve_compliance::init::FILES;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Entry, Start, World, both};
use serde_json::{Value, json};

/// What the probe says about its start as service `port`.
fn report(from: &str, port: u16) -> Value {
    let answer = talk(from, port, b"");
    serde_json::from_slice(&answer.bytes).unwrap_or_else(|e| panic!("no report ({e}): {answer:?}"))
}

/// Bit of the capability to raise a hard limit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// What the super-server was started with; neither changes it for a program.
fn own_oom_score() -> String {
    std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default().trim().to_owned()
}

/// Without any attribute: a session of its own, `/`, the socket at 0, 1 and 2 and nothing else, no groups, umask 022.
#[test]
fn the_plain_start() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::probe("s1", 2001, "report")));
        let got = report("127.0.0.2", 2001);
        let id0 = "0 0 0 0";
        let table = [
            ("argv", json!(["probe", "report"])),
            ("cwd", json!("/")),
            ("uid", json!(id0)),
            ("gid", json!(id0)),
            ("groups", json!("")),
            ("umask", json!("0022")),
            ("nice", json!(0)),
            ("session_leader", json!(true)),
            ("group_leader", json!(true)),
            ("no_new_privs", json!("0")),
            ("seccomp", json!("0")),
            ("nodelay", json!(false)),
            ("keepalive", json!(false)),
            ("oom_score_adj", json!(own_oom_score())),
            (
                "fds",
                json!([
                    { "fd": 0, "is": "socket 0", "nonblocking": false },
                    { "fd": 1, "is": "socket 0", "nonblocking": false },
                    { "fd": 2, "is": "socket 0", "nonblocking": false },
                ]),
            ),
        ];
        for (name, expected) in table {
            assert_eq!(got[name], expected, "{name}");
        }
    });
}

/// Signals: none ignored, none blocked, whatever the super-server was started with.
#[test]
fn signals_are_reset() {
    both(|world| {
        let entry = Entry::program("s1", 2001).set("server", "/bin/grep");
        let entry = entry.set("server_args", "^Sig /proc/self/status");
        // nohup leaves HUP ignored, env can block and ignore more.
        let through = ["/usr/bin/env", "--ignore-signal=HUP,USR1,TERM,PIPE", "--block-signal=CHLD,USR2"];
        let start = Start { through: through.map(str::to_owned).to_vec(), ..Start::default() };
        let _daemon = world.start_with(&Config::of(entry), start);
        let answer = talk("127.0.0.1", 2001, b"").text();
        for name in ["SigBlk", "SigIgn"] {
            let line = answer.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let set =
                u64::from_str_radix(line.trim_start_matches([':', '\t']), 16).expect("a set of signals");
            // Above 31 are real-time signals; the C library keeps two of them for itself and nobody can change those.
            assert_eq!(set & 0x7fff_ffff, 0, "{name}{line}");
        }
    });
}

/// However the daemon was started: a program of its own user has nothing of its groups, its group or its directory.
#[test]
fn what_the_daemon_was_started_with_is_not_the_programs() {
    both(|world| {
        let through = ["/usr/bin/env", "-C", "/usr", "/usr/bin/setpriv", "--groups", "4,24", "--regid", "4"];
        let through = through.map(str::to_owned).to_vec();
        let config = Config::of(Entry::probe("s1", 2001, "report"));
        let _daemon = world.start_with(&config, Start { through, ..Start::default() });
        // The first is started otherwise than those behind it.
        for _ in 0..3 {
            let got = report("127.0.0.2", 2001);
            let told = ["uid", "gid", "groups", "cwd"].map(|name| got[name].clone());
            assert_eq!(told, [json!("0 0 0 0"), json!("0 0 0 0"), json!(""), json!("/")]);
        }
    });
}

/// user, group and groups.
#[test]
fn ids() {
    both(|world| {
        // In the passwd and group files of every Debian: daemon is 1:1, nobody 65534:65534, group 12 is man.
        let config = Config::new()
            .with(Entry::probe("name", 2001, "report").set("user", "daemon"))
            .with(Entry::probe("group", 2002, "report").set("user", "daemon").set("group", "man"))
            .with(Entry::probe("number", 2003, "report").set("user", "4321"))
            .with(Entry::probe("numbers", 2004, "report").set("user", "4321").set("group", "4322"))
            .with(Entry::probe("groups", 2005, "report").set("user", "member").set("groups", "yes"))
            .with(Entry::probe("nogroups", 2006, "report").set("user", "member").set("groups", "no"))
            .with(Entry::probe("rootgroups", 2007, "report").set("user", "root").set("groups", "yes"));
        let passwd = world.read_outside("/etc/passwd") + "member:x:7001:7001::/:/bin/false\n";
        let group =
            world.read_outside("/etc/group") + "member:x:7001:\nclub:x:7002:member\nchess:x:7003:member\n";
        world.cover("/etc/passwd", &passwd);
        world.cover("/etc/group", &group);
        let _daemon = world.start(&config);
        let same = |id: u32| format!("{id} {id} {id} {id}");
        let table = [
            (2001, 1, 1, ""),
            (2002, 1, 12, ""),
            (2003, 4321, 4321, ""),
            (2004, 4321, 4322, ""),
            (2005, 7001, 7001, "7001 7002 7003"),
            (2006, 7001, 7001, ""),
            (2007, 0, 0, "0"),
        ];
        for (port, uid, gid, groups) in table {
            let got = report("127.0.0.1", port);
            assert_eq!(got["uid"], json!(same(uid)), "{port}");
            assert_eq!(got["gid"], json!(same(gid)), "{port}");
            assert_eq!(got["groups"], json!(groups), "{port}");
            if uid != 0 {
                assert_eq!(got["cap_eff"], json!("0000000000000000"), "{port}");
            }
        }
    });
}

/// groups = yes for a number that has no entry: nobody knows its groups, so nothing is started.
#[test]
fn groups_of_an_unknown_user() {
    both(|world| {
        let entry = Entry::probe("s1", 2001, "report").set("user", "4321").set("groups", "yes");
        let _daemon = world.start(&Config::of(entry).with(Entry::program("other", 2002)));
        let expected = world.fix("unknown-user-is-refused-at-load", Answer::closed(""), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2001, b""), expected);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
    });
}

/// umask and nice.
#[test]
fn umask_and_nice() {
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("inherited", 2001, "report"))
            .with(Entry::probe("umask", 2002, "report").set("umask", "077"))
            .with(Entry::probe("open", 2003, "report").set("umask", "0"))
            .with(Entry::probe("nice", 2004, "report").set("nice", "7").set("user", "nobody"))
            .with(Entry::probe("urgent", 2005, "report").set("nice", "-5"))
            .with(Entry::probe("late", 2006, "report").set("nice", "-5").set("user", "nobody"))
            .with(Entry::probe("most", 2007, "report").set("nice", "50"));
        // The super-server itself runs at nice 3 with umask 005: nice is relative, 022 is the floor.
        let through = ["/bin/sh", "-c", "umask 005; exec nice -n 3 \"$@\"", "sh"];
        let start = Start { through: through.map(str::to_owned).to_vec(), ..Start::default() };
        let _daemon = world.start_with(&config, start);
        let table = [
            (2001, "0027", 3),
            (2002, "0077", 3),
            (2003, "0000", 3),
            (2004, "0027", 10),
            (2005, "0027", -2),
            // After the change of user nobody can become more urgent.
            (2006, "0027", 3),
            (2007, "0027", 19),
        ];
        for (port, umask, nice) in table {
            let got = report("127.0.0.1", port);
            assert_eq!((&got["umask"], &got["nice"]), (&json!(umask), &json!(nice)), "{port}");
        }
    });
}

/// rlimit_*: soft and hard alike; the number of files is always set, to the hard limit.
#[test]
fn resource_limits() {
    const MIB: u64 = 1024 * 1024;
    let table: &[(&str, &str, &str, Value)] = &[
        ("as", "rlimit_as", "200M", json!([200 * MIB, 200 * MIB])),
        ("data", "rlimit_data", "65536K", json!([64 * MIB, 64 * MIB])),
        ("rss", "rlimit_rss", "33554432", json!([32 * MIB, 32 * MIB])),
        ("stack", "rlimit_stack", "4m", json!([4 * MIB, 4 * MIB])),
        ("cpu", "rlimit_cpu", "77", json!([77, 77])),
        ("files", "rlimit_files", "99", json!([99, 99])),
        ("cpu", "rlimit_cpu", "UNLIMITED", json!([null, null])),
        ("stack", "rlimit_stack", "UNLIMITED", json!([null, null])),
    ];
    both(|world| {
        let mut config = Config::of(Entry::probe("plain", 2000, "report"));
        for (number, (_, attribute, value, _)) in (1..).zip(table) {
            let entry = Entry::probe(&format!("r{number}"), 2000 + number, "report");
            config = config.with(entry.set(attribute, value).set("user", "nobody"));
        }
        config = config.with(Entry::probe("root", 2050, "report").set("rlimit_files", "30000"));
        // Everything at the machine's own values, to be seen unchanged.
        let _daemon = world.start(&config);
        let plain = report("127.0.0.1", 2000);
        assert_eq!(plain["limits"]["files"], json!([FILES, FILES]));
        for (number, (name, attribute, value, expected)) in (1..).zip(table) {
            let got = report("127.0.0.1", 2000 + number);
            let mut wanted = plain["limits"].clone();
            wanted[*name] = expected.clone();
            assert_eq!(got["limits"], wanted, "{attribute} = {value}");
        }
        // xinetd sets limits after the change of user; root may raise its own where it has the capability.
        let root = report("127.0.0.1", 2050);
        let bits = u64::from_str_radix(root["cap_eff"].as_str().unwrap_or(""), 16).expect("capabilities");
        let kept = world.fix("limits-are-capped-not-dropped", json!([1024, FILES]), json!([FILES, FILES]));
        let raised = if bits & CAP_SYS_RESOURCE != 0 { json!([30000, 30000]) } else { kept };
        assert_eq!(root["limits"]["files"], raised);
    });
}

/// Limits above the hard limit, for a program that is not root: xinetd sets nothing, in silence; ours as much as it can.
#[test]
fn a_limit_that_cannot_be_raised() {
    both(|world| {
        let entry = Entry::probe("s1", 2001, "report").set("user", "nobody").set("rlimit_files", "30000");
        let _daemon = world.start(&Config::of(entry));
        let got = report("127.0.0.1", 2001);
        let expected =
            world.fix("limits-are-capped-not-dropped", json!([1024, FILES]), json!([FILES, FILES]));
        assert_eq!(got["limits"]["files"], expected);
    });
}

fn names_of(report: &Value) -> Vec<String> {
    let words = report["env"].as_array().cloned().unwrap_or_default();
    words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What ours tells the program beyond REMOTE_HOST.
const EXTRAS: &[&str] =
    &["REMOTE_PORT=", "PROTO=", "TCPLOCALIP=", "TCPLOCALPORT=", "TCPREMOTEIP=", "TCPREMOTEPORT="];

/// The environment but for what ours adds on purpose.
fn without_extras(world: &World, mut env: Vec<String>) -> Vec<String> {
    let keep: &[&str] = world.fix("more-about-the-peer-in-the-environment", &[], EXTRAS);
    env.retain(|word| !keep.iter().any(|extra| word.starts_with(extra)));
    env
}

/// passenv, env and REMOTE_HOST.
#[test]
fn environments() {
    let own = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC", "A=1", "B=two words", "REMOTE_HOST=forged"];
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("whole", 2001, "report"))
            .with(Entry::probe("some", 2002, "report").set("passenv", "A TZ ABSENT"))
            .with(Entry::probe("none", 2003, "report").set("passenv", ""))
            .with(
                Entry::probe("added", 2004, "report")
                    .set("passenv", "A")
                    .line("env = C=3 D=")
                    .line("env += E=a=b"),
            )
            .with(
                Entry::probe("replaced", 2005, "report")
                    .set("passenv", "A")
                    .line("env = C=3")
                    .line("env = D=4"),
            )
            .with(Entry::probe("changed", 2006, "report").set("env", "A=other REMOTE_HOST=mine C=1 C=2"))
            .with(Entry::probe("four", 2007, "report").set("passenv", "").first("flags = IPv4"))
            .with(Entry::program("undefined", 2008).set("passenv", "NOT_THERE"));
        let start = Start { env: own.map(str::to_owned).to_vec(), ..Start::default() };
        let _daemon = world.start_with(&config, start);
        let whole: Vec<&str> = own[..4].to_vec();
        let table: Vec<(&str, u16, Vec<&str>, &str)> = vec![
            ("127.0.0.2", 2001, whole.clone(), "REMOTE_HOST=::ffff:127.0.0.2"),
            ("::1", 2001, whole, "REMOTE_HOST=::1"),
            ("127.0.0.2", 2002, vec!["A=1", "TZ=UTC"], "REMOTE_HOST=::ffff:127.0.0.2"),
            ("127.0.0.2", 2003, vec![], "REMOTE_HOST=::ffff:127.0.0.2"),
            ("127.0.0.2", 2004, vec!["A=1", "C=3", "D=", "E=a=b"], "REMOTE_HOST=::ffff:127.0.0.2"),
            ("127.0.0.2", 2005, vec!["A=1", "D=4"], "REMOTE_HOST=::ffff:127.0.0.2"),
            (
                "127.0.0.2",
                2006,
                vec!["A=other", "B=two words", "C=2", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"],
                "REMOTE_HOST=::ffff:127.0.0.2",
            ),
            ("127.0.0.2", 2007, vec![], "REMOTE_HOST=127.0.0.2"),
        ];
        for (from, port, mut expected, remote) in table {
            let mut got = without_extras(world, names_of(&report(from, port)));
            // Once, whatever the super-server's own environment and `env` say.
            assert_eq!(got.iter().filter(|w| w.starts_with("REMOTE_HOST=")).count(), 1, "{port}: {got:?}");
            expected.push(remote);
            expected.sort_unstable();
            got.sort_unstable();
            assert_eq!(got, expected, "{from} {port}");
        }
        assert_eq!(talk("127.0.0.1", 2008, b""), Answer::closed("served\n"), "an unknown name is a warning");
        assert!(world.daemon_log_count("undefined environment variable: NOT_THERE") >= 1);
    });
}

/// REMOTE_HOST is the last word where nothing of that name is inherited.
#[test]
fn remote_host_comes_last() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::probe("s1", 2001, "report").set("env", "Z=1")));
        let got = without_extras(world, names_of(&report("127.0.0.1", 2001)));
        let mut expected = environment();
        expected.extend(["Z=1".to_owned(), "REMOTE_HOST=::ffff:127.0.0.1".to_owned()]);
        assert_eq!(got, expected);
    });
}

/// The program is gone when a client comes: the reason is logged, the client's connection ends.
#[test]
fn a_program_that_cannot_be_executed() {
    both(|world| {
        let script = world.write_mode("gone", "#!/bin/sh\necho here\n", 0o755);
        let other = world.write_mode("other", "#!/bin/sh\necho here\n", 0o755);
        let config = Config::new()
            .with(Entry::program("gone", 2001).set("server", &script).unset("server_args"))
            .with(Entry::program("closed", 2002).set("server", &other).unset("server_args"));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("here\n"));
        must("the first is logged", || world.service_log("gone").len() == 2);
        std::fs::remove_file(world.path("gone")).expect("to remove the script");
        world.write_mode("other", "#!/bin/sh\necho here\n", 0o644);
        let table = [
            (2001, "gone", script, "No such file or directory (errno = 2)"),
            (2002, "closed", other, "Permission denied (errno = 13)"),
        ];
        for (port, id, path, reason) in table {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{id}");
            world.expect_daemon_log(&[format!("ERROR: execv( {path} ) failed: {reason}")]);
        }
        // xinetd's child ends with status 0, so that its log looks as if the program had run.
        let status = world.fix("a-failed-exec-is-not-status-0", "status=0", "status=1");
        world.expect_log(
            "closed",
            &[
                "START: closed pid=N from=::ffff:127.0.0.1".to_owned(),
                format!("EXIT: closed {status} pid=N duration=N(sec)"),
            ],
        );
    });
}

/// A directory passes xinetd's check and fails at each client.
#[test]
fn a_directory_as_program() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).set("server", "/tmp")));
        let expected = world.fix("a-directory-is-no-program", Answer::closed(""), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2001, b""), expected);
        let said = world.fix(
            "a-directory-is-no-program",
            "execv( /tmp ) failed: Permission denied (errno = 13)",
            "Server /tmp is not executable",
        );
        must("it is logged", || world.daemon_log_count(said) >= 1);
    });
}

/// A program that is not there, or not executable, when the configuration is read: the service is not offered.
#[test]
fn a_program_that_is_missing_at_load() {
    both(|world| {
        let plain = world.write("plain", "#!/bin/sh\n");
        let config = Config::new()
            .with(Entry::program("absent", 2001).set("server", "/run/w/absent"))
            .with(Entry::program("plain", 2002).set("server", &plain))
            .with(Entry::program("good", 2003));
        let _daemon = world.start(&config);
        for (port, id, path) in [(2001, "absent", "/run/w/absent"), (2002, "plain", "/run/w/plain")] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{id}");
            assert!(world.daemon_log_count(&format!("Server {path} is not executable")) >= 1);
        }
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed("served\n"));
    });
}
