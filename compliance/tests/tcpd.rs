//! tcpd in front of a program, for one client: what the client gets, what is logged, and what the program finds
//! (reference tcp-wrappers A7-A9, A11, A12).

use portreeve_compliance::client::talk;
use portreeve_compliance::init::{HERE, PROBE};
use portreeve_compliance::skip::{find_program, has_programs};
use portreeve_compliance::tcpd::{Inetd, Outcome, program, with_tables};
use portreeve_compliance::{Config, Ended, Entry, World, both, ours};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// Makes a program NAME that is the probe; gives its path.
fn daemon(world: &World, name: &str) -> String {
    std::fs::create_dir_all(world.path("d")).expect("a directory");
    let link = world.path("d").join(name);
    if !link.is_symlink() {
        std::os::unix::fs::symlink(PROBE, link).expect("a link");
    }
    format!("{HERE}/d/{name}")
}

/// One connection to tcpd in front of NAME.
fn connect(world: &World, inetd: &Inetd<'_>, name: &str, port: u16) -> Outcome {
    let (tcpd, path) = (program(world, "tcpd"), daemon(world, name));
    inetd.stream(port, &tcpd, &[&path], b"")
}

/// What the program says of its start; what came before it on the connection is cut off.
fn report(outcome: &Outcome) -> Value {
    let start = outcome.received.find("{\"argv\"").or_else(|| outcome.received.find('{'));
    let text = outcome.received.get(start.unwrap_or(0)..).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
}

fn granted(name: &str, log: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = log.iter().map(|line| line.replace("NAME", name)).collect();
    lines.push(format!("30 {name}[N]: connect from 127.0.0.1 (127.0.0.1)"));
    lines
}

fn refused(name: &str, log: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = log.iter().map(|line| line.replace("NAME", name)).collect();
    lines.push(format!("28 {name}[N]: refused connect from 127.0.0.1 (127.0.0.1)"));
    lines
}

/// Options whose effect the started program sees.
#[test]
fn what_the_program_finds() {
    let allow = "plain: ALL\n\
                 env: ALL: setenv WHO a %a b\n\
                 mask: ALL: umask 077\n\
                 nice: ALL: nice 7\n\
                 alive: ALL: keepalive: linger 3\n\
                 several: ALL: setenv A 1: setenv B 2: umask 027: nice: allow\n";
    both(|world| {
        with_tables(world, allow, "ALL: ALL\n", |inetd| {
            let start = |name: &str, port| {
                let outcome = connect(world, inetd, name, port);
                assert_eq!(outcome.log, granted(name, &[]), "{name}");
                report(&outcome)
            };
            let plain = start("plain", 3001);
            assert_eq!(plain["argv"], serde_json::json!(["plain"]));
            assert_eq!((plain["umask"].as_str(), plain["nice"].as_i64()), (Some("0022"), Some(0)));
            assert_eq!(plain["keepalive"], false);
            let fds = plain["fds"].as_array().expect("descriptors");
            let sockets: Vec<_> = fds
                .iter()
                .filter(|fd| fd["is"].as_str().is_some_and(|is| is.starts_with("socket")))
                .collect();
            assert!(sockets.len() == 3 && sockets.iter().all(|fd| fd["is"] == "socket 0"), "{fds:?}");
            let has = |start: &Value, word: &str| {
                start["env"].as_array().is_some_and(|env| env.iter().any(|w| w == word))
            };
            assert!(has(&start("env", 3002), "WHO=a 127.0.0.1 b"));
            assert_eq!(start("mask", 3003)["umask"], "0077");
            assert_eq!(start("nice", 3004)["nice"], 7);
            assert_eq!(start("alive", 3005)["keepalive"], true);
            let several = start("several", 3006);
            assert!(has(&several, "A=1") && has(&several, "B=2"), "{several}");
            assert_eq!((several["umask"].as_str(), several["nice"].as_i64()), (Some("0027"), Some(10)));
        });
    });
}

/// Refusals, the lines that they write, and that nothing reaches the client.
#[test]
fn refusals() {
    let deny = "mail: ALL: severity mail.notice\n\
                wrong: ALL: bogus\n\
                user: ALL: user no-such-user\n\
                late: ALL: setenv A=b: allow\n\
                no colon here\n\
                last: 10.";
    let cases: &[(&str, &[&str], Option<&str>)] = &[
        ("mail", &[], Some("21 NAME[N]: refused connect from 127.0.0.1 (127.0.0.1)")),
        ("wrong", &["27 NAME[N]: error: /etc/hosts.deny, line 2: bad option name: \"bogus\""], None),
        ("user", &["27 NAME[N]: error: /etc/hosts.deny, line 3: unknown user: \"no-such-user\""], None),
        ("late", &["27 NAME[N]: error: /etc/hosts.deny, line 4: memory allocation failure"], None),
        (
            "other",
            &[
                "27 NAME[N]: warning: /etc/hosts.deny, line 5: missing \":\" separator",
                "27 NAME[N]: warning: /etc/hosts.deny, line 5: missing newline or line too long",
                "27 NAME[N]: warning: /etc/hosts.deny, line 5: all the subsequent rules will be ignored",
            ],
            None,
        ),
    ];
    both(|world| {
        with_tables(world, "", deny, |inetd| {
            std::thread::scope(|scope| {
                for (number, (name, log, last)) in (3101_u16..).zip(cases) {
                    scope.spawn(move || {
                        world.enter();
                        let outcome = connect(world, inetd, name, number);
                        let mut expected = refused(name, log);
                        if let (Some(last), Some(line)) = (last, expected.last_mut()) {
                            *line = last.replace("NAME", name);
                        }
                        assert_eq!(outcome.log, expected, "{name}");
                        assert_eq!((outcome.received.as_str(), outcome.status), ("", 0), "{name}");
                    });
                }
            });
        });
    });
}

/// Commands: beside the program, instead of it, and asked whether the rule stands.
#[test]
fn commands() {
    let allow = "spawn: ALL: spawn echo %a %d $FOO > /run/w/spawned; readlink /proc/$$/fd/0 >> /run/w/spawned\n\
                 waits: ALL: setenv FOO bar: spawn sleep 0.3; echo $FOO > /run/w/waited\n\
                 twist: ALL: twist read line; echo \"got $line for %c\"; echo err >&2\n\
                 stands: ALL: aclexec test %a = 127.0.0.1\n\
                 falls: ALL: aclexec false\n\
                 dies: ALL: aclexec kill -9 $$\n\
                 says: ALL: aclexec echo not for the client\n\
                 twice: ALL: aclexec false\n";
    both(|world| {
        with_tables(world, allow, "falls: ALL\n", |inetd| {
            assert_eq!(connect(world, inetd, "spawn", 3201).log, granted("spawn", &[]));
            assert_eq!(world.read("spawned"), "127.0.0.1 spawn\n/dev/null\n");
            assert_eq!(connect(world, inetd, "waits", 3202).log, granted("waits", &[]));
            assert_eq!(world.read("waited"), "bar\n", "tcpd waited for it");

            let (tcpd, path) = (program(world, "tcpd"), daemon(world, "twist"));
            let twisted = inetd.stream(3203, &tcpd, &[&path], b"hello\n");
            assert_eq!(twisted.received, "got hello for 127.0.0.1\nerr\n");
            let line =
                "28 twist[N]: twist 127.0.0.1 to read line; echo \"got $line for 127.0.0.1\"; echo err >&2";
            assert_eq!(twisted.log, [line]);

            assert_eq!(connect(world, inetd, "stands", 3204).log, granted("stands", &[]));
            let returned = "30 NAME[N]: aclexec returned 1";
            let falls = connect(world, inetd, "falls", 3205);
            assert_eq!((falls.log, falls.received.as_str()), (refused("falls", &[returned]), ""));
            // A rule that falls is no match: without another rule the client is granted.
            assert_eq!(connect(world, inetd, "twice", 3206).log, granted("twice", &[returned]));
            let signal = "27 NAME[N]: warning: /etc/hosts.allow, line 6: process N exited with signal 9";
            assert_eq!(connect(world, inetd, "dies", 3207).log, granted("dies", &[signal, returned]));

            let (tcpd, path) = (program(world, "tcpd"), daemon(world, "says"));
            let says = inetd.stream(3208, &tcpd, &[&path], b"");
            let heard = says.received.starts_with("not for the client\n");
            assert_eq!(heard, world.fix("aclexec-has-no-client", true, false), "{says:?}");
        });
    });
}

/// Banners go to granted and to refused clients; their %-letters look names up.
#[test]
fn banners() {
    let allow = "hello: ALL: banners /run/w/banners\n\
                 missing: ALL: banners /run/w/nowhere\n\
                 none: ALL: banners /run/w/banners\n";
    both(|world| {
        world.write("banners/hello", "Hello %a (%d)\n[\nlast %n");
        world.write("banners/bye", "\u{0}No entry for %c\n");
        let deny = "bye: ALL: banners /run/w/banners\n";
        with_tables(world, allow, deny, |inetd| {
            let hello = connect(world, inetd, "hello", 3301);
            assert!(hello.received.starts_with("Hello 127.0.0.1 (hello)\r\n[\nlast localhost{"), "{hello:?}");
            assert_eq!(hello.log, ["30 hello[N]: connect from localhost (127.0.0.1)"]);
            let missing = connect(world, inetd, "missing", 3302);
            let warning =
                "27 NAME[N]: warning: /etc/hosts.allow, line 2: /run/w/nowhere: No such file or directory";
            assert_eq!(missing.log, granted("missing", &[warning]));
            assert_eq!(connect(world, inetd, "none", 3303).log, granted("none", &[]));
            let bye = connect(world, inetd, "bye", 3304);
            assert_eq!(bye.received, "\u{0}No entry for 127.0.0.1\r\n");
            assert_eq!(bye.log, refused("bye", &[]));
        });
    });
}

/// `user` and `group` do nothing in Debian's build; ours do what the manual says.
#[test]
fn users_and_groups() {
    let allow = "user: ALL: user nobody\n\
                 both: ALL: user nobody.daemon\n\
                 group: ALL: group daemon\n\
                 order: ALL: group daemon: user nobody: spawn id -u > /run/w/mine/id\n";
    both(|world| {
        std::fs::create_dir_all(world.path("mine")).expect("a directory");
        std::os::unix::fs::chown(world.path("mine"), Some(65534), None).expect("to give it away");
        let id = |kind: &str, name: &str| {
            let text = world.read_outside(&format!("/etc/{kind}"));
            let line = text.lines().find(|l| l.starts_with(&format!("{name}:"))).expect("an entry");
            let field = |at| line.split(':').nth(at).unwrap_or_default().to_owned();
            (field(2), field(3))
        };
        let (nobody, primary) = id("passwd", "nobody");
        let (group, _) = id("group", "daemon");
        with_tables(world, allow, "ALL: ALL\n", |inetd| {
            let cases = [
                ("user", nobody.as_str(), primary.as_str(), primary.as_str()),
                ("both", &nobody, &group, &group),
                ("group", "0", &group, &group),
                ("order", &nobody, &group, &group),
            ];
            for (port, (name, uid, gid, groups)) in (3401_u16..).zip(cases) {
                let outcome = connect(world, inetd, name, port);
                assert_eq!(outcome.log, granted(name, &[]));
                let start = report(&outcome);
                let four = |id: &str| [id; 4].join(" ");
                let uid = world.fix("user-and-group-are-obeyed", "0", uid);
                let gid = world.fix("user-and-group-are-obeyed", "0", gid);
                assert_eq!(start["uid"], four(uid), "{name}");
                assert_eq!(start["gid"], four(gid), "{name}");
                if world.is_ours() {
                    assert_eq!(start["groups"], groups, "{name}");
                }
            }
            let spawned = world.fix("user-and-group-are-obeyed", "0", nobody.as_str());
            assert_eq!(world.read("mine/id").trim(), spawned);
        });
    });
}

/// Datagrams: granted ones stay for the program, of a refused pair one is read away; nobody asks ident.
#[test]
fn datagrams() {
    both(|world| {
        with_tables(world, "yes: joe@ALL\n", "no: ALL\n", |inetd| {
            let (tcpd, yes, no) = (program(world, "tcpd"), daemon(world, "yes"), daemon(world, "no"));
            let granted_one = inetd.datagrams(3501, &tcpd, &[&yes, "gone"]);
            assert_eq!(granted_one.log, granted("yes", &[]));
            assert_eq!(granted_one.left, 2);
            let refused_one = inetd.datagrams(3502, &tcpd, &[&no, "gone"]);
            assert_eq!(refused_one.log, refused("no", &[]));
            assert_eq!((refused_one.left, refused_one.status), (1, 0));
        });
    });
}

/// No client, no daemon, and the forms of argv[0].
#[test]
fn calls() {
    both(|world| {
        with_tables(world, "", "never: ALL\n", |inetd| {
            let tcpd = program(world, "tcpd");
            let here = daemon(world, "form");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let nobody = inetd.nobody(&tcpd, &[&daemon(world, "nosocket")]);
                    let expected = [
                        "27 nosocket[N]: warning: can't get client address: Socket operation on non-socket",
                        "27 nosocket[N]: getpeername: Socket operation on non-socket",
                    ];
                    assert_eq!((nobody.log, nobody.status), (expected.map(str::to_owned).to_vec(), 0));
                });
                scope.spawn(|| {
                    world.enter();
                    let missing = inetd.stream(3602, &tcpd, &["in.no-such-daemon"], b"");
                    let mut expected = granted("in.no-such-daemon", &[]);
                    expected.push(
                        "27 in.no-such-daemon[N]: error: cannot execute /usr/sbin/in.no-such-daemon: \
                         No such file or directory"
                            .to_owned(),
                    );
                    assert_eq!((missing.log, missing.status), (expected, 0));
                });
                scope.spawn(|| {
                    world.enter();
                    let path = inetd.stream(3603, &tcpd, &[&here, "a", "--", "b"], b"");
                    assert_eq!(report(&path)["argv"], serde_json::json!(["form", "a", "--", "b"]));
                    // A name is looked for in /usr/sbin, whatever PATH says.
                    let name = inetd.stream(3604, &tcpd, &["../../run/probe"], b"");
                    assert_eq!(report(&name)["argv"], serde_json::json!(["../../run/probe"]));
                });
            });
        });
    });
}

/// What tcpd has besides: `--`, and no way to execute itself for ever.
#[test]
fn one_program() {
    ours(|world| {
        with_tables(world, "", "never: ALL\n", |inetd| {
            let tcpd = program(world, "tcpd");
            let path = daemon(world, "named");
            let one = inetd.stream(3701, &tcpd, &[&tcpd, "--", &path, "-v"], b"");
            assert_eq!(report(&one)["argv"], serde_json::json!([path, "-v"]));
            assert_eq!(inetd.logged("named"), granted("named", &[]));
            let itself = inetd.stream(3702, &tcpd, &["tcpd", &path], b"");
            assert_eq!((itself.received.as_str(), itself.status), ("", 0));
            assert!(itself.log.iter().any(|line| line.contains("called by its own name")), "{itself:?}");
            // A daemon's own path may be a link to tcpd.
            std::os::unix::fs::symlink(&tcpd, world.path("in.linked")).expect("a link");
            let linked = inetd.stream(3703, &format!("{HERE}/in.linked"), &[&path], b"");
            assert_eq!(report(&linked)["argv"], serde_json::json!(["named"]));
        });
    });
}

/// The directory of the daemons, from portreeve.toml; a file that cannot be understood stops everything.
#[test]
fn the_directory_of_the_daemons() {
    ours(|world| {
        let path = daemon(world, "somewhere");
        let directory = path.strip_suffix("/somewhere").expect("a directory").to_owned();
        let (made, output) = world.run(
            &[
                "/bin/sh",
                "-c",
                "mkdir /run/etc && mount -t tmpfs etc /run/etc && cp -a /etc/. /run/etc/ && mkdir /run/etc/portreeve \
                 && mount --move /run/etc /etc && ln -s /run/w/settings /etc/portreeve/portreeve.toml",
            ],
            &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        );
        assert_eq!(made, Ended::Status(0), "{output}");
        with_tables(world, "", "", |inetd| {
            let tcpd = program(world, "tcpd");
            world.write("settings", format!("real_daemon_dir = \"{directory}\"\n"));
            let found = inetd.stream(3801, &tcpd, &["somewhere"], b"");
            assert_eq!(report(&found)["argv"], serde_json::json!(["somewhere"]));
            world.write("settings", "real_daemon_dir = 3\n");
            let wrong = inetd.stream(3802, &tcpd, &["somewhere"], b"");
            assert_eq!(wrong.received, "");
            let said = inetd.logged("tcpd");
            let wanted = "27 tcpd[N]: error: /etc/portreeve/portreeve.toml:1:19: real_daemon_dir must be a path in quotes";
            assert!(said.iter().any(|line| line.starts_with(wanted)), "{said:?}");
        });
    });
}

/// Who the user is, from a server on port 113: what is believed and what not (A11).
#[test]
fn ident() {
    let answers: &[(&str, Option<&str>)] = &[
        ("R,L:USERID:UNIX:joe\r\n", Some("joe")),
        (" R , L : USERID : OTHER, x : joe blow\n", Some("joe")),
        ("R,L:USERID: :joe\r\n", Some("joe")),
        ("R,L:USERID::joe\r\n", None),
        ("R,L:userid:UNIX:joe\r\n", None),
        ("L,R:USERID:UNIX:joe\r\n", None),
        ("R,L:ERROR:NO-USER\r\n", None),
        ("R,L:USERID:UNIX:joe", None),
        ("R,L:USERID:UNIX:\r\n", None),
        ("\r\nR,L:USERID:UNIX:joe\r\n", None),
    ];
    both(|world| {
        with_tables(world, "who: KNOWN@ALL\n", "", |inetd| {
            let server = TcpListener::bind("127.0.0.5:113").expect("ident's port");
            let (tcpd, path) = (program(world, "tcpd"), daemon(world, "who"));
            for (port, (answer, user)) in (3901_u16..).zip(answers) {
                let before = inetd.logged("who").len();
                let asked = std::thread::scope(|scope| {
                    let answering = scope.spawn(|| {
                        let (stream, from) = server.accept().expect("a question");
                        let mut question = String::new();
                        let mut reader = BufReader::new(&stream);
                        reader.read_line(&mut question).expect("a line");
                        let (remote, local) = question.trim_end().split_once(',').expect("two ports");
                        let answer = answer.replace('R', "\u{1}").replace('L', local);
                        let answer =
                            answer.replace("USE\u{1}ID", "USERID").replace("E\u{1}\u{1}O\u{1}", "ERROR");
                        let answer = answer.replace("OTHE\u{1}", "OTHER").replace("NO-USE\u{1}", "NO-USER");
                        (&stream).write_all(answer.replace('\u{1}', remote).as_bytes()).expect("to answer");
                        (question.clone(), from.ip().to_string())
                    });
                    inetd.stream_from("127.0.0.5", port, &tcpd, &[&path], b"");
                    answering.join().expect("the ident server")
                });
                let log = inetd.logged("who").split_off(before);
                let who = user.map(|user| format!("{user}@")).unwrap_or_default();
                assert_eq!(
                    log,
                    [format!("30 who[N]: connect from {who}127.0.0.5 (127.0.0.5)")],
                    "{answer:?}"
                );
                assert!(asked.0.ends_with(&format!(",{port}\r\n")), "{asked:?}");
            }
        });
    });
}

/// Source routes shut the connection down, other options are cleared. Debian's tcpd reads the options from the fifth byte on.
#[test]
fn ip_options() {
    if !has_programs(&["perl"]) {
        return;
    }
    // Sets IP_OPTIONS (4) of IPPROTO_IP (0) on the client's socket, as if it had come so, and becomes tcpd.
    let set = "setsockopt(STDIN, 0, 4, pack('H*', shift)) or die; my $tcpd = shift; exec $tcpd @ARGV";
    let record = "0707040000000000";
    let route = "8307047f00000100";
    let late = "010101018307047f00000100";
    let strict = "8907047f00000100";
    both(|world| {
        with_tables(world, "", "never: ALL\n", |inetd| {
            let tcpd = program(world, "tcpd");
            let ignored = |options: &str| {
                let bytes: Vec<&str> =
                    (0..options.len() / 2).map(|at| &options[2 * at..2 * at + 2]).collect();
                format!("29 NAME[N]: connect from 127.0.0.1 with IP options (ignored): {}", bytes.join(" "))
            };
            let refusal =
                "28 NAME[N]: refused connect from 127.0.0.1 with IP source routing options".to_owned();
            let cases = [
                ("record", record, ignored(record)),
                ("late", late, refusal.clone()),
                ("route", route, world.fix("source-routes-are-seen", ignored(route), refusal.clone())),
                ("strict", strict, world.fix("source-routes-are-seen", ignored(strict), refusal)),
            ];
            for (port, (name, options, line)) in (4001_u16..).zip(cases) {
                let path = daemon(world, name);
                inetd.deaf(port, "/usr/bin/perl", &["perl", "-e", set, options, &tcpd, &path]);
                // Either way it goes on: the tables decide, the daemon is started.
                assert_eq!(inetd.logged(name), granted(name, &[&line]), "{options}");
            }
        });
    });
}

/// Under xinetd, theirs and ours: tcpd by its path, the daemon as argv[0].
#[test]
fn in_front_of_a_service() {
    both(|world| {
        let path = daemon(world, "in.wrapped");
        let through = |id: &str, port| {
            Entry::probe(id, port, "")
                .first("flags = NAMEINARGS NOLIBWRAP IPv4")
                .set("server", &program(world, "tcpd"))
                .set("server_args", &format!("{path} word"))
        };
        with_tables(world, "in.wrapped: 127.0.0.1\n", "in.wrapped: ALL: twist echo go away %a\n", |inetd| {
            let _daemon = world.start(&Config::of(through("wrapped", 4101)));
            let served = talk("127.0.0.1", 4101, b"").text();
            let start: Value = serde_json::from_str(&served).unwrap_or_else(|e| panic!("{e}: {served}"));
            assert_eq!(start["argv"], serde_json::json!(["in.wrapped", "word"]));
            assert_eq!(talk("127.0.0.2", 4101, b"").text(), "go away 127.0.0.2\n");
            let log = inetd.logged("in.wrapped");
            let twisted = "28 in.wrapped[N]: twist 127.0.0.2 to echo go away 127.0.0.2".to_owned();
            let mut expected = granted("in.wrapped", &[]);
            expected.push(twisted);
            assert_eq!(log, expected);
        });
    });
}

/// try-from says what the tables see; without a connection nothing is known.
#[test]
fn try_from() {
    both(|world| {
        with_tables(world, "", "", |inetd| {
            let try_from = program(world, "try-from");
            let seen = inetd.stream(4201, &try_from, &["try-from"], b"");
            let expected = "client address  (%a): 127.0.0.1\nclient hostname (%n): localhost\n\
                client username (%u): unknown\nclient info     (%c): localhost\nserver address  (%A): 127.0.0.1\n\
                server hostname (%N): localhost\nserver process  (%d): try-from\nserver info     (%s): try-from@localhost\n";
            assert_eq!((seen.received.as_str(), seen.status), (expected, 0));
            assert_eq!(inetd.nobody(&try_from, &["try-from"]).status, 0);
        });
    });
}

/// finger through safe_finger: who it is, what passes, how it ends (A15).
#[test]
fn safe_finger() {
    let finger = "#!/bin/sh\ncase \"$1\" in\n\
        who) id -u; id -G; echo \"$PATH $*\";;\n\
        bytes) printf 'a\\000b\\001\\r\\n\\t\\v\\f\\\\ \\177\\200\\377~\\n\\n\\nx';;\n\
        wide) printf '%0127d\\n%0128d\\n' 1 2;;\n\
        much) printf '%0100001d' 1;;\n\
        exit) exit \"$2\";;\n\
        kill) kill -9 $$;;\nesac\n";
    both(|world| {
        let safe_finger = program(world, "safe_finger");
        let path = &["PATH=/usr/local/bin:/bin"];
        if find_program("finger").is_none() {
            let missing = (Ended::Status(1), "finger: No such file or directory\n".to_owned());
            assert_eq!(world.run(&[&safe_finger, "x"], path), missing);
        }
        world.write_mode("fake/finger", finger, 0o755);
        let options = format!("lowerdir={HERE}/fake:/usr/bin");
        let mount = ["/bin/mount", "-t", "overlay", "overlay", "-o", &options, "/usr/bin"];
        assert_eq!(world.run(&mount, &[]).0, Ended::Status(0));
        let zeros = |count| "0".repeat(count);
        let cut = format!(" {}\\\n", zeros(127)).repeat(787);
        let cases: &[(&[&str], i64, String)] = &[
            (&["who", "-l", "x"], 0, " 65534\n 65534\n /bin:/usr/bin:/sbin:/usr/sbin who -l x\n".to_owned()),
            (&["bytes"], 0, " a\\000b\\001\r\n \t\u{b}\u{c}\\\\ \\177\\200\\377~\n\n\n x".to_owned()),
            (&["wide"], 0, format!(" {}1\n {}\\\n 2\n", zeros(126), zeros(127))),
            (&["much"], 0, format!("{cut} {}\n\n Input truncated to 100000 bytes...\n", zeros(51))),
            (&["exit", "3"], 1, String::new()),
            (&["kill"], 1, String::new()),
        ];
        for (words, status, expected) in cases {
            let mut argv = vec![safe_finger.as_str()];
            argv.extend(*words);
            let (how, text) = world.run(&argv, path);
            assert_eq!((how, text.as_str()), (Ended::Status(*status), expected.as_str()), "{words:?}");
        }
    });
}
