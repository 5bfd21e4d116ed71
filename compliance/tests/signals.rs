//! Signals and the dump (reference xinetd §11.2, §11.4).

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{Answer, Config, Connection, Daemon, End, Ended, Entry, World, both, signals};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn hold(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

fn echo(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    connection.send(b"x");
    assert_eq!(connection.read_count(1).bytes, b"x");
    connection
}

fn is_open(connection: &mut Connection) -> bool {
    connection.read_for(Duration::from_millis(100)).end == End::Open
}

fn config() -> Config {
    Config::new().with(Entry::probe("s1", 2001, "hold")).with(Entry::internal("echo", "echo", 2002, "stream"))
}

/// TERM: xinetd leaves external programs alone and believes that it ends built-ins; ours ends both unless told otherwise.
#[test]
fn term() {
    both(|world| {
        let daemon = world.start(&config());
        let (mut held, mut internal) = (hold(2001), echo(2002));
        assert_eq!(daemon.stop(), Ended::Status(0));
        world.expect_daemon_log(&["WARNING: Exiting..."]);
        assert!(!world.path("daemon.pid").exists());
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        let left = world.fix("stop-ends-services", true, false);
        assert_eq!(is_open(&mut held), left);
        // xinetd's built-in ignores the TERM that it is sent and lives on without a parent.
        let left = world.fix("builtins-end-with-the-daemon", true, false);
        assert_eq!(is_open(&mut internal), left);
    });
}

/// Called by its predecessor's name, or with `stop = leave`, ours leaves external programs too.
#[test]
fn term_under_the_old_name() {
    both(|world| {
        let executable = world.side.executable();
        let argv = [
            executable.to_str().expect("a path"),
            "-dontfork",
            "-f",
            "/run/w/xinetd.conf",
            "-filelog",
            "/run/w/daemon.log",
            "-pidfile",
            "/run/w/daemon.pid",
        ];
        world.write("xinetd.conf", config().text(world.side));
        let pid = world.spawn_as("daemon", &argv, &["PATH=/usr/bin:/bin", "TZ=UTC"], Some("xinetd"));
        must("it works", || world.daemon_log_count("Started working: 2") == 1);
        let (mut held, mut internal) = (hold(2001), echo(2002));
        assert!(world.signal(pid, signals::TERM));
        assert_eq!(world.wait(pid), Ended::Status(0));
        assert!(is_open(&mut held), "left alone");
        let left = world.fix("builtins-end-with-the-daemon", true, false);
        assert_eq!(is_open(&mut internal), left);
    });
}

/// QUIT: at once, nobody is killed.
#[test]
fn quit() {
    both(|world| {
        let daemon = world.start(&config());
        let (mut held, _internal) = (hold(2001), echo(2002));
        daemon.signal(signals::QUIT);
        assert_eq!(world.wait(daemon.pid), Ended::Status(0));
        assert!(!world.path("daemon.pid").exists());
        assert!(is_open(&mut held));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
    });
}

/// INT: xinetd ignores it; in the foreground ours takes it for TERM.
#[test]
fn interrupt() {
    both(|world| {
        let daemon = world.start(&config());
        daemon.signal(signals::INT);
        if world.fix("interrupt-ends-in-the-foreground", false, true) {
            assert_eq!(world.wait(daemon.pid), Ended::Status(0));
        } else {
            never("it ends", Duration::from_millis(300), || !daemon.runs());
            assert!(is_open(&mut hold(2001)));
        }
    });
}

/// Signals that change nothing.
#[test]
fn ignored() {
    both(|world| {
        let daemon = world.start(&config());
        let mut held = hold(2001);
        for signal in [signals::PIPE, signals::ALRM, signals::CONT, signals::TSTP, 21, 22] {
            daemon.signal(signal);
            assert!(is_open(&mut hold(2001)), "after signal {signal}");
        }
        assert!(is_open(&mut held) && daemon.runs());
    });
}

/// USR2 is HUP; of a supervisor under its own name it asks for the next version of the executable.
#[test]
fn usr2() {
    both(|world| {
        let daemon = world.start(&config());
        world.write("xinetd.conf", Config::of(Entry::program("new", 2009)).text(world.side));
        daemon.signal(signals::USR2);
        if world.fix("usr2-upgrades", false, true) {
            must("upgraded", || world.daemon_log_count("goes on where") == 1);
            assert_eq!(talk("127.0.0.1", 2009, b""), Answer::refused(), "the files are not read");
            return;
        }
        world.expect_daemon_log(&["NOTICE: Starting reconfiguration"]);
        must("reconfigured", || {
            world.daemon_log_count("Reconfigured: new=1 old=0 dropped=2 (services)") == 1
        });
        assert_eq!(talk("127.0.0.1", 2009, b""), Answer::closed("served\n"));
    });
}

/// ABRT asks for a look at the books.
#[test]
fn consistency() {
    both(|world| {
        let daemon = world.start(&config());
        let _held = hold(2001);
        daemon.signal(signals::ABRT);
        must("a verdict", || world.daemon_log_count("Consistency check passed") == 1);
        assert!(daemon.runs());
    });
}

fn dump(world: &World, daemon: &Daemon<'_>) -> (String, u32) {
    daemon.signal(signals::USR1);
    must("the dump is announced", || world.daemon_log_count("generated state dump in file ") >= 1);
    let line = world
        .daemon_log()
        .into_iter()
        .find(|l| l.contains("generated state dump in file "))
        .unwrap_or_default();
    let path = line.split_once(" in file ").map(|(_, path)| path.to_owned()).unwrap_or_default();
    let inside = world.inside(&path.replace("/var/run/", "/run/"));
    let mode = std::fs::metadata(&inside).map(|m| m.permissions().mode() & 0o777).unwrap_or(0);
    let read = || std::fs::read_to_string(&inside).unwrap_or_default();
    must("the dump is whole", || read().contains("END OF DUMP"));
    (read(), mode)
}

/// USR1: the state, under xinetd's headings; for root's eyes only in ours.
#[test]
fn the_dump() {
    both(|world| {
        let entry = Entry::probe("s1", 2001, "hold")
            .first("flags = NOLIBWRAP IPv4")
            .set("nice", "3")
            .set("only_from", "127.0.0.0 localhost")
            .set("access_times", "00:00-23:59")
            .set("instances", "7")
            .set("env", "A=1")
            .set("passenv", "PATH")
            .set("bind", "127.0.0.1");
        let daemon = world.start(&Config::of(entry).with(Entry::internal("echo", "echo", 2002, "stream")));
        let _held = hold(2001);
        let (text, mode) = dump(world, &daemon);
        assert_eq!(mode, world.fix("the-dump-is-private", 0o644, 0o600));
        for wanted in [
            "INTERNAL STATE DUMP: ",
            "Current time: ",
            "Services + defaults:",
            "Service defaults",
            "\tBind = All addresses.",
            "\tOnly from: All sites",
            "\tNo access: No blocked sites",
            "\tNo logging",
            "Service = s1",
            "\tState = Active",
            "\tService configuration: s1",
            "\t\tid = s1",
            "\t\tflags = NOLIBWRAP IPv4",
            "\t\ttype = UNLISTED",
            "\t\tsocket_type = stream",
            "\t\tProtocol (name,number) = (tcp,6)",
            "\t\tport = 2001",
            "\t\tInstances = 7",
            "\t\twait = no",
            "\t\tuser = 0",
            "\t\tGroups = no",
            "\t\tNice = 3",
            "\t\tServer = /run/probe",
            "\t\tServer argv = probe hold",
            "\t\tAccess times = 00:00-23:59",
            "\t\tOnly from:  127.0.0.0(NUMERIC) localhost(HOST)",
            "\t\tNo access: No blocked sites",
            "\t\tLogging to file: /run/w/log/s1 (no limits)",
            "\t\tLog_on_success flags = HOST DURATION EXIT PID",
            "\t\tLog_on_failure flags = HOST",
            "\trunning servers = 1",
            "\tretry servers = 0",
            "\tattempts = ",
            "\tservice fd = ",
            "Service = echo",
            "\t\ttype = INTERNAL UNLISTED",
            "Server table dump:",
            "s1 server",
            "pid = ",
            "Connection info:",
            "\tservice = s1",
            "\tremote_address = 127.0.0.1,",
            "Retry table dump:",
            "active_services = 2",
            "available_services = 2",
            "running_servers = 1",
            "Logging service = ",
            "process_limit = 0",
            "config_file = /run/w/xinetd.conf",
            "END OF DUMP",
        ] {
            assert!(text.lines().any(|line| line.starts_with(wanted)), "no line `{wanted}` in\n{text}");
        }
    });
}

/// Where xinetd's dump leaves out what comes from `defaults`, or shows what was written, ours shows what holds.
#[test]
fn the_dump_shows_what_holds() {
    both(|world| {
        let config = Config::of(
            Entry::program("s1", 2001)
                .unset("log_type")
                .set("bind", "127.0.0.1")
                .set("only_from", "10.1.2.3/8 10.1.2.3/40 2001:db8::/16")
                .line("no_access = 10.0.0.1"),
        )
        .with(Entry::program("s2", 2002).line("only_from = 10.0.0.1").line("only_from -= 10.0.0.1"))
        .with(Entry::program("mux", 2003).set("type", "TCPMUX UNLISTED"))
        .with(Entry::internal("tcpmux", "tcpmux", 2004, "stream"))
        .defaults("instances = 9")
        .defaults("log_type = FILE /run/w/log/all");
        let daemon = world.start(&config);
        let (text, _) = dump(world, &daemon);
        // Below the defaults, which are shown as they were written.
        let (_, text) = text.split_once("\nService = ").expect("a service");
        let lines = [
            ("", "Libwrap = echo"),
            ("", "CPS = max conn:50 wait:10"),
            ("Bind = localhost", "Bind = 127.0.0.1"),
            (
                "Only from:  10.1.2.3/255.0.0.0(NET) 10.1.2.3/255.255.255.255(NET) 2001:db8::/ffff::(NET)",
                "Only from:  10.0.0.0/255.0.0.0(NET) 10.1.2.3(NUMERIC) 2001::/ffff::(NET)",
            ),
            ("", "Only from: No sites"),
            ("Logging to common log file", "Logging to file: /run/w/log/all (no limits)"),
            ("State = Not started", ""),
        ];
        for (theirs, ours) in lines {
            let (there, absent) = if world.is_ours() { (ours, theirs) } else { (theirs, ours) };
            let has = |wanted: &str| text.lines().any(|line| line.trim() == wanted);
            assert!(there.is_empty() || has(there), "no `{there}` in\n{text}");
            assert!(absent.is_empty() || !has(absent), "`{absent}` in\n{text}");
        }
        let instances = text.lines().filter(|line| line.trim() == "Instances = 9").count();
        assert_eq!(instances, world.fix("the-dump-shows-what-holds", 0, 4));
    });
}

/// A symbolic link in the dump's place is not followed by ours.
#[test]
fn a_link_in_the_place_of_the_dump() {
    both(|world| {
        let daemon = world.start(&config());
        let victim = world.write("victim", "precious\n");
        let (first, _) = dump(world, &daemon);
        assert!(first.contains("END OF DUMP"));
        let line =
            world.daemon_log().into_iter().find(|l| l.contains("generated state dump")).unwrap_or_default();
        let path =
            line.split_once(" in file ").map(|(_, p)| p.replace("/var/run/", "/run/")).unwrap_or_default();
        std::fs::remove_file(world.inside(&path)).expect("to remove the dump");
        let (how, output) = world.run(&["/bin/ln", "-s", &victim, &path], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        daemon.signal(signals::USR1);
        // Whatever it says about it, it goes on.
        must("it answers", || is_open(&mut hold(2001)));
        if world.fix("the-dump-is-private", true, false) {
            must("written through the link", || world.read("victim").contains("END OF DUMP"));
        } else {
            never("written through the link", Duration::from_millis(300), || {
                world.read("victim") != "precious\n"
            });
        }
    });
}
