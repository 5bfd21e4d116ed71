//! Programs that somebody answers for (`verify_server`): real programs, changed, renamed, linked and raced while clients come. xinetd has
//! nothing like it.

use portreeve_compliance::client::{ask, ask_again, datagram_socket, dial, hear, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{
    Answer, Config, DEADLINE, Daemon, Ended, Entry, Start, World, ours, signals, until,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const LIST: &str = "/run/w/trusted";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `/bin/echo`, and another program that answers the same without the end of the line: an intruder's.
fn programs(world: &World) {
    world.write_mode("good", std::fs::read("/bin/echo").expect("echo"), 0o755);
    world.write_mode("evil", std::fs::read("/usr/bin/printf").expect("printf"), 0o755);
    world.write_mode("server", std::fs::read("/bin/echo").expect("echo"), 0o755);
}

fn replace(world: &World, from: &str, to: &str) {
    world.copy_program(world.path(from), "beside");
    std::fs::rename(world.path("beside"), world.path(to)).expect("a new program");
}

fn verified(id: &str, port: u16, server: &str) -> Entry {
    Entry::program(id, port).set("server", server).set("verify_server", "refuse")
}

fn config(entries: impl IntoIterator<Item = Entry>) -> Config {
    Config::new().defaults(&format!("trusted_programs = {LIST}")).with_all(entries)
}

/// `portreeve integrity trust` on the configuration of the world.
fn trust(world: &World, words: &[&str]) -> (Ended, String) {
    portreeve(world, &[&["integrity", "trust", "--file", "/run/w/xinetd.conf"], words].concat())
}

fn own() -> PathBuf {
    let own = std::env::var_os("PORTREEVE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/portreeve"), PathBuf::from);
    own.canonicalize().unwrap_or(own)
}

fn portreeve(world: &World, words: &[&str]) -> (Ended, String) {
    let own = own();
    let mut argv = vec![own.to_str().expect("UTF-8")];
    argv.extend(words);
    world.run(&argv, &[PATH])
}

fn served(port: u16) -> bool {
    talk("127.0.0.1", port, b"") == Answer::closed("served\n")
}

/// The state of a service's program; it may be in the middle of being looked at.
fn state(daemon: &Daemon<'_>, id: &str) -> String {
    daemon.service_status(id)["program"]["trust"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn another_content_is_refused_until_somebody_answers_for_it() {
    ours(|world| {
        programs(world);
        let all = config([verified("s1", 2001, "/run/w/server"), Entry::program("other", 2002)]);
        world.write("xinetd.conf", all.text(world.side));
        let (how, said) = trust(world, &["--answer-for", "/run/w/server"]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let daemon = world.start(&all);
        assert!(served(2001) && served(2002));
        assert_eq!(state(&daemon, "s1"), "listed");

        replace(world, "evil", "server");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        must("it is refused", || {
            world.service_log("s1").iter().any(|l| l.contains("FAIL: s1 program from="))
        });
        assert!(world.daemon_log().iter().any(|line| line.starts_with("ERROR: service s1: /run/w/server is not started: its SHA-256 ")));
        assert_eq!(daemon.count("s1", "/refused/program"), 1);
        assert_eq!(state(&daemon, "s1"), "not listed");
        assert!(served(2002), "others are served");
        let explained = daemon.control("explain s1 127.0.0.1");
        assert!(
            explained.contains("verify_server") && explained.contains("\"verdict\":\"refuse\""),
            "{explained}"
        );
        // Nobody answers for it by itself.
        let (how, said) = trust(world, &[]);
        assert_eq!(how, Ended::Status(1), "{said}");
        assert!(said.contains("no package brought it"), "{said}");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));

        let (how, said) = trust(world, &["--answer-for", "/run/w/server"]);
        assert_eq!(how, Ended::Status(0), "{said}");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served"), "without a reload");
        assert!(daemon.runs());

        // In place, with the size and the time that it had: only the kernel's own time tells.
        let path = world.path("server");
        let before = std::fs::metadata(&path).expect("a file");
        let mut bytes = std::fs::read(&path).expect("bytes");
        *bytes.last_mut().expect("a byte") ^= 1;
        must("nothing executes it", || std::fs::write(&path, &bytes).is_ok());
        let file = std::fs::File::options().append(true).open(&path).expect("open");
        file.set_modified(before.modified().expect("a time")).expect("the time");
        drop(file);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
    });
}

/// Two programs change places as fast as they can: whoever is answered is answered by the one that is answered for.
#[test]
fn nothing_comes_between_the_look_and_the_start() {
    ours(|world| {
        programs(world);
        let all =
            config([verified("s1", 2001, "/run/w/server").set("instances", "UNLIMITED").set("cps", "0 0")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let daemon = world.start(&all);
        std::fs::rename(world.path("server"), world.path("first")).expect("a rename");
        let over = AtomicBool::new(false);
        let exchange = || {
            // Links, so that both programs keep all that tells their content, and both are known.
            while !over.load(Ordering::Relaxed) {
                for name in ["evil", "good"] {
                    let beside = world.path("beside");
                    std::os::unix::fs::symlink(name, &beside).expect("a link");
                    std::fs::rename(&beside, world.path("server")).expect("a rename");
                }
            }
        };
        let (mut answered, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(exchange);
            let seen = until(DEADLINE * 4, || {
                match talk("127.0.0.1", 2001, b"").text().as_str() {
                    "served\n" => answered += 1,
                    "" => refused += 1,
                    _ => return Some(false),
                }
                (answered >= 50 && refused >= 50).then_some(true)
            });
            over.store(true, Ordering::Relaxed);
            assert_eq!(
                seen,
                Some(true),
                "{answered} answered, {refused} refused, and the other program by none"
            );
        });
        assert!(daemon.runs());
        replace(world, "good", "server");
        must("it is served as before", || served(2001));
    });
}

#[test]
fn a_script_is_read_by_its_descriptor() {
    ours(|world| {
        let script = "#!/bin/sh\necho $0 $1\n";
        world.write_mode("script", script, 0o755);
        let all = config([verified("s1", 2001, "/run/w/script")
            .set("user", "65534")
            .set("sandbox", "ProtectSystem=strict PrivateDevices PrivateTmp ProtectProc=invisible SystemCallFilter=@system-service SystemCallFilter=~execveat")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/script"]).0, Ended::Status(0));
        let _daemon = world.start(&all);
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "/dev/fd/3 served\n");
        world.write_mode("script", script.replace("$1", "$2"), 0o755);
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
    });
}

#[test]
fn descriptors_of_the_program_do_not_stay() {
    ours(|world| {
        world.write_mode("ls", std::fs::read("/bin/ls").expect("ls"), 0o755);
        let all = config([
            verified("plain", 2001, "/run/w/ls").set("server_args", "/proc/self/fd"),
            verified("named", 2002, "/run/w/ls").set("server_args", "/proc/self/fd").set("listen_fds", "x"),
        ]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/ls"]).0, Ended::Status(0));
        let _daemon = world.start(&all);
        // The last one is its own, of the directory.
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "0\n1\n2\n3\n");
    });
}

/// A link counts by the name that the service has it by, so that no other trusted program can stand in.
#[test]
fn a_link_leads_to_what_is_answered_for_under_this_name() {
    ours(|world| {
        programs(world);
        std::os::unix::fs::symlink("good", world.path("link")).expect("a link");
        let all = config([verified("linked", 2001, "/run/w/link"), verified("direct", 2002, "/run/w/evil")]);
        world.write("xinetd.conf", all.text(world.side));
        let (how, said) = trust(world, &["--answer-for", "/run/w/link", "--answer-for", "/run/w/evil"]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let daemon = world.start(&all);
        assert!(served(2001));
        assert_eq!(talk("127.0.0.1", 2002, b"").text(), "served");
        std::os::unix::fs::symlink("evil", world.path("beside")).expect("a link");
        std::fs::rename(world.path("beside"), world.path("link")).expect("a rename");
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
        std::fs::remove_file(world.path("link")).expect("gone");
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
        must("why is said", || {
            daemon.service_status("linked")["program"]["why"]
                == "it cannot be opened: No such file or directory"
        });
    });
}

/// Whatever is wrong with the list, nobody is served; each time the log and `status` say what.
#[test]
fn a_list_that_cannot_be_believed_is_none() {
    ours(|world| {
        programs(world);
        let all = config([verified("s1", 2001, "/run/w/server")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let list = std::fs::read(world.path("trusted")).expect("the list");
        let daemon = world.start(&all);
        assert!(served(2001));
        let refused = |why: &str| {
            assert_eq!(talk("127.0.0.1", 2001, b"").text(), "", "{why}");
            let said = daemon.service_status("s1")["program"]["why"].to_string();
            assert!(said.contains(why), "{why}: {said}");
        };
        world.write_mode("trusted", &list, 0o666);
        refused("not root's alone");
        world.write_mode("trusted", &list, 0o644);
        assert!(served(2001));
        world.write_mode("trusted", b"sha256 x\n", 0o644);
        refused("line 1: `portreeve-trusted 1` was expected");
        world.write_mode("trusted", b"portreeve-trusted 1\n", 0o644);
        refused("it is not in /run/w/trusted");
        std::fs::remove_file(world.path("trusted")).expect("gone");
        refused("No such file");
        let check = || portreeve(world, &["check", "--file", "/run/w/xinetd.conf"]);
        let (how, said) = check();
        assert_eq!(how, Ended::Status(1), "{said}");
        assert!(said.contains("untrusted-program") && said.contains("there is no such file"), "{said}");
        world.write_mode("trusted", &list, 0o600);
        assert!(served(2001));
        let (how, said) = check();
        assert_eq!(how, Ended::Status(0), "{said}");
        // Others could change it between two looks.
        world.write_mode("server", std::fs::read(world.path("good")).expect("bytes"), 0o757);
        refused("others than root may write to it");
    });
}

#[test]
fn without_whoever_hashes_nobody_is_served() {
    ours(|world| {
        programs(world);
        world.copy_program(world.side.executable(), "portreeve-gate");
        world.write_mode("alone", "#!/bin/sh\nshift\nexec /run/w/portreeve-gate \"$@\"\n", 0o755);
        let all = config([verified("s1", 2001, "/run/w/server"), Entry::program("other", 2002)]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let through = vec!["/run/w/alone".to_owned()];
        let daemon = world.start_with(&all, Start { through, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
        let why = daemon.service_status("s1")["program"]["why"].to_string();
        assert!(why.contains("it could not be hashed: the executable portreeve is not there"), "{why}");
        assert!(served(2002));
    });
}

/// The program accepts by itself: nothing is taken from the queue while it is not one that is answered for.
#[test]
fn the_socket_is_not_handed_out_meanwhile() {
    ours(|world| {
        world.write_mode("probe", std::fs::read(world.inside("/run/probe")).expect("the probe"), 0o755);
        let all = config([Entry::datagram("dg", 2001, "datagrams 1")
            .set("server", "/run/w/probe")
            .set("verify_server", "refuse")]);
        world.write("xinetd.conf", all.text(world.side));
        world.write_mode("trusted", "portreeve-trusted 1\n", 0o644);
        let daemon = world.start(&all);
        let socket = datagram_socket("127.0.0.1", 2001);
        assert_eq!(ask(&socket, b"first", std::time::Duration::from_millis(300)), None);
        must("it rests", || daemon.service_status("dg")["note"] == "program");
        assert_eq!(daemon.count("dg", "/accepted"), 0);
        assert_eq!(trust(world, &["--answer-for", "/run/w/probe"]).0, Ended::Status(0));
        let answer = until(DEADLINE, || hear(&socket, std::time::Duration::from_millis(200)));
        assert!(answer.is_some(), "what had come is served");
        assert!(ask_again(&socket, b"second").is_some());
    });
}

#[test]
fn a_warning_keeps_nobody_out() {
    ours(|world| {
        programs(world);
        let all = config([verified("s1", 2001, "/run/w/server").set("verify_server", "warn")]);
        let daemon = world.start(&all);
        assert!(served(2001) && served(2001));
        let said = "WARNING: service s1: /run/w/server is started although ";
        must("it is said", || world.daemon_log_count(said) == 1);
        assert_eq!(state(&daemon, "s1"), "not listed");
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        assert!(served(2001));
        must("it is listed", || state(&daemon, "s1") == "listed");
    });
}

/// A program of a package, that changes its root and executes another, which is not looked at: `check` says so of such that it knows.
#[test]
fn a_package_answers_for_its_program() {
    if !has_programs(&["/usr/sbin/chroot", "dpkg"]) {
        return;
    }
    ours(|world| {
        let all =
            config([verified("jailed", 2001, "/usr/sbin/chroot").set("server_args", "/ /bin/echo served")]);
        world.write("xinetd.conf", all.text(world.side));
        let (how, said) = trust(world, &["--json"]);
        assert_eq!(how, Ended::Status(0), "{said}");
        assert!(said.contains("package:coreutils"), "{said}");
        let daemon = world.start(&all);
        assert!(served(2001));
        assert_eq!(state(&daemon, "jailed"), "listed");
    });
}

/// Whoever may not read a program cannot know what it is, though it could execute it.
#[test]
fn an_unreadable_program_is_not_started() {
    ours(|world| {
        programs(world);
        let with = |id: &str, port, verify: &str| {
            verified(id, port, "/run/w/server").set("user", "61234").set("verify_server", verify)
        };
        let all = config([with("strict", 2001, "refuse"), with("lax", 2002, "warn")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let (how, said) = world.run(&["/bin/chown", "61234:61234", "/run/w", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let through = ["/usr/bin/setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"];
        let through = through.map(str::to_owned).to_vec();
        let daemon = world.start_with(&all, Start { through, ..Start::default() });
        assert!(served(2001) && served(2002), "while it can be read");
        std::fs::set_permissions(world.path("server"), std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .expect("the mode");
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
        assert!(served(2002), "a warning keeps nobody out");
        let why = "it cannot be opened: Permission denied";
        must("why is said", || daemon.service_status("strict")["program"]["why"] == why);
    });
}

/// A new version of the supervisor knows nothing, looks again, and serves whoever waits.
#[test]
fn an_upgrade_goes_on() {
    ours(|world| {
        programs(world);
        let all = config([verified("s1", 2001, "/run/w/server")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let daemon = world.start(&all);
        assert!(served(2001));
        daemon.signal(signals::USR2);
        must("the upgrade is over", || daemon.status()["upgrades"] == 1);
        assert!(served(2001));
        replace(world, "evil", "server");
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "");
    });
}

/// An upgrade while a program is being hashed and the policy of bans read: whoever did that ends unheard, and both are done again.
#[test]
fn who_reads_for_the_former_version_ends_quietly() {
    ours(|world| {
        programs(world);
        let script = "set -e; mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; \
                      mount --move /run/etc /etc; mkdir -p /etc/portreeve";
        let (how, said) = world.run(&["/bin/sh", "-c", script], &[PATH]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let settings = "[bans]\n[bans.service.ftp]\nauthenticated = 2\n";
        std::fs::write(world.inside("/etc/portreeve/portreeve.toml"), settings).expect("written");
        world.copy_program(world.side.executable(), "portreeve-gate");
        // The companion waits with both, until it may go.
        let waits = format!(
            "#!/bin/sh\ncase $2 in digest | bans)\n echo x >> /run/w/began-$2\n\
             while [ ! -e /run/w/go ]; do sleep 0.05; done;;\nesac\nexec {} \"$@\"\n",
            own().display()
        );
        world.write_mode("portreeve", waits, 0o755);
        world.write_mode("through", "#!/bin/sh\nshift\nexec /run/w/portreeve-gate \"$@\"\n", 0o755);
        let all = config([verified("s1", 2001, "/run/w/server")]);
        world.write("xinetd.conf", all.text(world.side));
        assert_eq!(trust(world, &["--answer-for", "/run/w/server"]).0, Ended::Status(0));
        let through = vec!["/run/w/through".to_owned()];
        let daemon = world.start_with(&all, Start { through, ..Start::default() });
        let began = |what: &str| {
            std::fs::read_to_string(world.path(&format!("began-{what}")))
                .map_or(0, |text| text.lines().count())
        };
        must("both are under way", || began("digest") == 1 && began("bans") == 1);
        daemon.signal(signals::USR2);
        must("the upgrade is over", || daemon.status()["upgrades"] == 1);
        must("the policy is read again", || began("bans") == 2);
        world.write("go", "");
        // A client makes the next version look at the program.
        assert!(served(2001));
        assert_eq!(began("digest"), 2);
        must("the policy is in force", || {
            let answer = daemon.control("evidence 198.51.100.1 login ftp");
            let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            daemon.control("unban all");
            answer["score_percent"] == 50
        });
        assert_eq!(world.daemon_log_count("unknown child"), 0);
    });
}

/// What hashes a program ends together with a program of the crowd, and one signal tells of both: it is heard in the same turn, and
/// whoever it holds up does not wait until all that run are looked at.
#[test]
fn in_a_crowd_the_end_of_the_hashing_is_heard_at_once() {
    ours(|world| {
        programs(world);
        let crowd = Entry::probe("crowd", 2002, "hold").set("instances", "UNLIMITED").set("cps", "0 0");
        let daemon = world.start(&config([verified("s1", 2001, "/run/w/server"), crowd]));
        let held: Vec<_> = (0..400)
            .map(|_| {
                let mut connection = dial("127.0.0.1", 2002).expect("a connection");
                assert_eq!(connection.read_until(b"\n").text(), "held\n");
                connection
            })
            .collect();
        let hashed = |status: &serde_json::Value| status["trusted_programs"]["hashed"].as_u64();
        must("the first is hashed", || hashed(&daemon.status()) == Some(1));
        // Long enough to be met in the middle.
        let file = std::fs::File::options().append(true).open(world.path("good")).expect("a file");
        file.set_len(1 << 29).expect("a hole");
        drop(file);
        std::fs::rename(world.path("good"), world.path("server")).expect("a rename");
        let _waits = dial("127.0.0.1", 2001).expect("a connection");
        let mut hashes = Vec::new();
        must("it is being hashed", || {
            hashes = world.processes("portreeve worker digest");
            hashes.len() == 1
        });
        daemon.signal(signals::STOP);
        let holds = world.processes("hold");
        let first =
            holds.iter().copied().find(|&pid| pid != daemon.pid && !hashes.contains(&pid)).expect("one");
        assert!(world.signal(first, signals::KILL));
        must("one of the crowd has ended", || !world.alive(first));
        must("the hashing has ended", || hashes.iter().all(|&pid| !world.alive(pid)));
        let status = [portreeve_compliance::init::PROBE, "control", "/run/w/control", "status"];
        let asks = world.spawn("asks", &status, &[]);
        let socket = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        let descriptors = world.inside(&format!("/proc/{asks}/fd"));
        must("the question waits", || {
            std::fs::read_dir(&descriptors).is_ok_and(|all| all.flatten().any(socket))
        });
        daemon.signal(signals::CONT);
        assert_eq!(world.wait(asks), Ended::Status(0));
        let status = serde_json::from_str(&world.read("asks.out")).expect("JSON");
        assert_eq!(hashed(&status), Some(2));
        drop(held);
    });
}
