//! The command line (reference xinetd §11.1). Ours is called by its predecessor's name here, which takes its options.

use portreeve_compliance::client::talk;
use portreeve_compliance::lines::split_daemon_line;
use portreeve_compliance::wait::{must, until};
use portreeve_compliance::{Answer, Config, Ended, Entry, World, both, signals};
use std::time::Duration;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];

/// Starts it under the name `xinetd`.
fn call(world: &World, name: &str, options: &[&str]) -> u32 {
    let executable = world.side.executable();
    let mut argv = vec![executable.to_str().expect("a path")];
    argv.extend(options);
    world.spawn_as(name, &argv, ENV, Some("xinetd"))
}

/// Runs it to its end: how, and what it printed.
fn run(world: &World, name: &str, options: &[&str]) -> (Ended, String) {
    let pid = call(world, name, options);
    let ended = world.wait(pid);
    (ended, world.read(&format!("{name}.out")) + &world.read(&format!("{name}.err")))
}

fn write(world: &World, config: &Config) {
    world.write("xinetd.conf", config.text(world.side));
}

const FILE: &[&str] = &["-f", "/run/w/xinetd.conf"];

/// Calls that are mistakes: a usage text and a status that is not 0.
#[test]
fn mistakes() {
    let table: &[&[&str]] = &[
        &["word"],
        &["-f"],
        &["-limit", "many"],
        &["-limit"],
        &["-filelog", "/run/w/l", "-syslog", "daemon"],
        &["-syslog", "daemon", "-filelog", "/run/w/l"],
    ];
    both(|world| {
        write(world, &Config::of(Entry::program("s1", 2001)));
        for (number, options) in table.iter().enumerate() {
            let (ended, output) = run(world, &format!("mistake{number}"), options);
            let expected = Ended::Status(world.fix("usage-errors-end-with-2", 1, 2));
            assert_eq!(ended, expected, "{options:?}: {output}");
            assert!(output.contains("sage: "), "{options:?}: {output}");
        }
    });
}

/// An unknown option starts xinetd; it is a mistake in ours.
#[test]
fn unknown_options() {
    both(|world| {
        write(world, &Config::of(Entry::program("s1", 2001)));
        for (number, option) in ["-help", "-foo", "--version-of-nothing"].iter().enumerate() {
            let log = format!("/run/w/unknown{number}.log");
            let options: Vec<&str> =
                [option, "-dontfork", "-filelog", &log].into_iter().chain(FILE.iter().copied()).collect();
            let name = format!("unknown{number}");
            let pid = call(world, &name, &options);
            if world.fix("unknown-options-are-mistakes", false, true) {
                assert_eq!(world.wait(pid), Ended::Status(2));
                let output = world.read(&format!("{name}.err"));
                assert!(output.contains(option) && output.contains("sage: "), "{output}");
            } else {
                must("it runs", || world.read(&format!("unknown{number}.log")).contains("Started working"));
                world.signal(pid, signals::TERM);
                assert_eq!(world.wait(pid), Ended::Status(0));
            }
        }
    });
}

/// -version: the version and what was compiled in, then the end.
#[test]
fn version() {
    both(|world| {
        let (ended, output) = run(world, "version", &["-version"]);
        assert_eq!(ended, Ended::Status(0));
        assert!(output.split_whitespace().count() >= 2, "{output}");
        assert!(
            output.contains(world.fix("program-name-in-logs", "2.3.15.3", env!("CARGO_PKG_VERSION"))),
            "{output}"
        );
    });
}

/// Options that are accepted and do nothing, or nothing that is seen here.
#[test]
fn accepted_options() {
    both(|world| {
        write(world, &Config::of(Entry::program("s1", 2001)));
        let options = [
            "-dontfork",
            "-reuse",
            "-shutdownprocs",
            "5",
            "-logprocs",
            "7",
            "-cc",
            "3600",
            "-limit",
            "20",
            "-stayalive",
        ];
        let more = ["-filelog", "/run/w/daemon.log", "-pidfile", "/run/w/daemon.pid"];
        let all: Vec<&str> = options.into_iter().chain(more).chain(FILE.iter().copied()).collect();
        let pid = call(world, "daemon", &all);
        must("it works", || world.daemon_log_count("Started working: 1 available service") == 1);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        let said = world.read("daemon.err").contains("The shutdownprocs option has been deprecated.");
        assert_eq!(said, world.fix("deprecated-options-are-silent", true, false));
        world.signal(pid, signals::TERM);
        assert_eq!(world.wait(pid), Ended::Status(0));
    });
}

/// In the background: the caller gets its prompt back, the process is a session of its own in `/`, and the pid file
/// names it.
#[test]
fn in_the_background() {
    both(|world| {
        write(world, &Config::of(Entry::probe("s1", 2001, "report")));
        let options: Vec<&str> = ["-filelog", "/run/w/daemon.log", "-pidfile", "/run/w/daemon.pid"]
            .into_iter()
            .chain(FILE.iter().copied())
            .collect();
        let (ended, output) = run(world, "call", &options);
        assert_eq!((ended, output.as_str()), (Ended::Status(0), ""));
        must("it works", || world.daemon_log_count("Started working: 1 available service") == 1);
        let pid: u32 = world.read("daemon.pid").trim().parse().expect("a number");
        let stat = std::fs::read_to_string(world.inside(&format!("/proc/{pid}/stat"))).expect("the process");
        let session =
            stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3).map(str::to_owned));
        assert_eq!(session, Some(pid.to_string()), "leads its session");
        let cwd = std::fs::read_link(world.inside(&format!("/proc/{pid}/cwd"))).expect("its directory");
        assert_eq!(cwd.to_string_lossy(), "/");
        for number in 0..3 {
            let target = std::fs::read_link(world.inside(&format!("/proc/{pid}/fd/{number}")));
            let target = target.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default();
            assert!(
                target == "/dev/null" || target.starts_with("socket:"),
                "descriptor {number} is {target}"
            );
        }
        assert!(!talk("127.0.0.1", 2001, b"").bytes.is_empty());
        world.signal(pid, signals::TERM);
        must("it ends", || !world.alive(pid));
        assert!(!world.path("daemon.pid").exists());
    });
}

/// How the process that wrote the last line of the daemon log ended.
fn end_of_writer(world: &World) -> Ended {
    must("something is logged", || !world.read("daemon.log").is_empty());
    let text = world.read("daemon.log");
    let pid =
        text.lines().rev().find_map(split_daemon_line).map(|(_, pid, _)| pid).expect("a process number");
    world.wait(pid)
}

/// Nothing to serve: the end, unless told to stay.
#[test]
fn no_services() {
    both(|world| {
        world.write("xinetd.conf", "# nothing\n");
        let log = ["-filelog", "/run/w/daemon.log"];
        let options: Vec<&str> = log.iter().chain(FILE).copied().collect();
        let _ = run(world, "empty", &options);
        assert_eq!(end_of_writer(world), Ended::Status(1));
        assert!(world.daemon_log_count("no services. Exiting...") == 1, "{:?}", world.daemon_log());
        let stay: Vec<&str> =
            ["-dontfork", "-filelog", "/run/w/stay.log"].iter().chain(FILE).copied().collect();
        let pid = call(world, "stay", &stay);
        must("it works", || world.read("stay.log").contains("Started working: 0 available services"));
        world.signal(pid, signals::TERM);
        assert_eq!(world.wait(pid), Ended::Status(0));
    });
}

/// What keeps it from starting in the background: ours says it to whoever called, with the status of the foreground.
#[test]
fn not_started_in_the_background() {
    let bad = Config::of(Entry::program("s1", 2001)).defaults("instances = many");
    both(|world| {
        world.write("empty.conf", "# nothing\n");
        world.write("bad.conf", bad.text(world.side));
        let table = [
            ("absent", 1, "not started: the configuration file cannot be read (/run/w/absent.conf)\n"),
            ("empty", 1, "not started: there is no service (/run/w/empty.conf)\n"),
            ("bad", 2, "not started: a value in defaults is wrong (/run/w/bad.conf)\n"),
        ];
        for (name, status, said) in table {
            let (file, log) = (format!("/run/w/{name}.conf"), format!("/run/w/{name}.log"));
            let (ended, output) = run(world, name, &["-f", &file, "-filelog", &log]);
            let (status, said) = world.fix("a-failed-start-is-said", (0, ""), (status, said));
            assert_eq!(ended, Ended::Status(status), "{name}: {output}");
            assert!(output.ends_with(said) && output.is_empty() == said.is_empty(), "{name}: {output}");
        }
        if world.is_ours() {
            let text = world.read("bad.err");
            assert!(text.contains("bad.conf:"), "names the line: {text}");
        }
    });
}

/// A configuration that cannot be read.
#[test]
fn no_configuration() {
    both(|world| {
        let options = ["-dontfork", "-filelog", "/run/w/daemon.log", "-f", "/run/w/absent"];
        let (ended, _) = run(world, "absent", &options);
        assert_eq!(ended, Ended::Status(1));
        let log = world.daemon_log();
        let has = |text: &str| log.iter().any(|line| line.contains(text));
        assert!(has("open( /run/w/absent ) failed: No such file or directory (errno = 2)"), "{log:?}");
        assert!(has("couldn't get configuration. Exiting..."), "{log:?}");
    });
}

/// A bad value in `defaults` is fatal; xinetd says so with status 0.
#[test]
fn bad_defaults() {
    both(|world| {
        write(world, &Config::of(Entry::program("s1", 2001)).defaults("instances = many"));
        let options: Vec<&str> =
            ["-dontfork", "-filelog", "/run/w/daemon.log"].iter().chain(FILE).copied().collect();
        let (ended, _) = run(world, "bad", &options);
        assert_eq!(ended, Ended::Status(world.fix("bad-defaults-end-with-2", 0, 2)));
        let log = world.daemon_log();
        for text in [
            "Number of instances is invalid: many",
            "A fatal error was encountered while parsing the default section. xinetd will exit.",
            "WARNING: Exiting...",
        ] {
            assert!(log.iter().any(|line| line.contains(text)), "{text}: {log:?}");
        }
    });
}

/// A log that cannot be opened.
#[test]
fn no_log() {
    both(|world| {
        write(world, &Config::of(Entry::program("s1", 2001)));
        let options: Vec<&str> =
            ["-dontfork", "-filelog", "/run/w/absent/log"].iter().chain(FILE).copied().collect();
        let (ended, output) = run(world, "nolog", &options);
        assert_eq!(ended, Ended::Status(1), "{output}");
        let said =
            world.fix("errors-name-the-file", "can't open log file", "/run/w/absent/log: No such file");
        assert!(output.contains(said), "{output}");
    });
}

/// A name that nobody can be asked for harms its own service alone: the others are served at once, not when the name
/// service's time is up.
#[test]
fn a_name_that_cannot_be_asked_for() {
    both(|world| {
        let odd = Entry::program("odd", 2002).set("user", "nobody\u{b}");
        write(world, &Config::of(Entry::program("s1", 2001)).with(odd));
        let options = [&["-dontfork", "-filelog", "/run/w/odd.log"], FILE].concat();
        let pid = call(world, "odd", &options);
        let started = || world.read("odd.log").contains("Started working: 1 available service");
        // Less than the half minute that all names have together.
        let in_time = until(Duration::from_secs(20), || started().then_some(()));
        assert!(in_time.is_some(), "{}", world.read("odd.log"));
        assert!(world.read("odd.log").contains("Unknown user: nobody"));
        world.signal(pid, signals::TERM);
        assert_eq!(world.wait(pid), Ended::Status(0));
    });
}

/// A worker that is sent away with a start that failed was not lost.
#[test]
fn a_failed_start_loses_no_worker() {
    both(|world| {
        let config = Config::of(Entry::program("s1", 2001)).defaults("umask = 8");
        write(world, &config);
        // It shows now and then alone: the worker has to end in the very turn in which it is told to.
        for number in 0..8 {
            let log = format!("lost{number}.log");
            let path = format!("/run/w/{log}");
            let options = [&["-dontfork", "-filelog", &path], FILE].concat();
            let (ended, _) = run(world, &format!("lost{number}"), &options);
            assert_eq!(ended, Ended::Status(world.fix("bad-defaults-end-with-2", 0, 2)));
            let text = world.read(&log);
            assert!(text.contains("A fatal error was encountered"), "{text}");
            assert!(!text.contains("lost:"), "{text}");
        }
    });
}
