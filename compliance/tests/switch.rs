//! `portreeve disable` and `enable` under a running super-server: what is off in the file is off for xinetd too, and the others do not
//! notice.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::init::{HERE, PROBE};
use portreeve_compliance::side::workspace;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, World, both, ours, signals};
use std::path::PathBuf;

/// Calls the command inside; gives how it ended and what it said.
fn portreeve(world: &World, words: &[&str]) -> (Ended, String) {
    let own = std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
    let own = own.to_str().expect("UTF-8").to_owned();
    world.run(&[&[own.as_str()], words].concat(), &["PATH=/usr/bin:/bin"])
}

fn fine(world: &World, words: &[&str]) -> String {
    let (how, output) = portreeve(world, words);
    assert_eq!(how, Ended::Status(0), "{words:?}: {output}");
    output
}

fn served() -> Answer {
    Answer::closed("served\n")
}

/// The forms of an entry: no `disable`, one, one with a comment behind it (which xinetd takes no notice of), another layout.
fn forms() -> Config {
    Config::of(Entry::program("plain", 2001))
        .with(Entry::program("said", 2002).first("disable = no"))
        .with(Entry::program("note", 2003).first("disable\t=\tno   # until June"))
        .raw("service late\n\n# where\n { \n  type        = UNLISTED\n  socket_type = stream\n  protocol    = tcp\n  port = 2004\n  wait = no\n  user = root\n  server = /bin/echo\n  server_args = served\n}\n")
        .with(Entry::program("stays", 2005))
}

/// Each side reads the file that the command wrote: by a reconfiguration, and at a start.
#[test]
fn what_is_off_in_the_file_is_off_for_xinetd_too() {
    both(|world| {
        let daemon = world.start(&forms());
        let before = world.read("xinetd.conf");
        let file = format!("{HERE}/xinetd.conf");
        let again = |daemon: &Daemon<'_>| {
            let before = world.daemon_log_count("Reconfigured: ");
            daemon.signal(signals::HUP);
            must("the reconfiguration ends", || world.daemon_log_count("Reconfigured: ") > before);
        };
        let ids = ["plain", "said", "note", "late"];
        for id in ids {
            // No daemon of ours is at the usual place, so the file is edited and no more.
            assert!(fine(world, &["disable", id, "-f", &file]).contains("from the next start on"));
        }
        let off = world.read("xinetd.conf");
        assert_ne!(off, before);
        assert!(off.contains("\t# until June\n\tdisable\t=\tyes\n"), "{off}");
        again(&daemon);
        for port in 2001..=2004 {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{port}");
        }
        assert_eq!(talk("127.0.0.1", 2005, b""), served());
        assert_eq!(daemon.stop(), Ended::Status(0));
        let daemon = world.start(&Config::new().raw(&off));
        for port in 2001..=2004 {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{port}");
        }
        for id in ids {
            fine(world, &["enable", id, "-f", &file]);
        }
        again(&daemon);
        for port in 2001..=2005 {
            assert_eq!(talk("127.0.0.1", port, b""), served(), "{port}");
        }
    });
}

/// In one command: the file, and the daemon that runs. Whoever is served is served on, and the others do not notice.
#[test]
fn off_now_and_at_the_next_start() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001))
            .with(Entry::probe("s2", 2002, "hold"))
            .raw("# kept\n")
            .with(
                Entry::program("s3", 2003)
                    .set("on_remove", "drain")
                    .set("server", PROBE)
                    .set("server_args", "hold"),
            );
        let daemon = world.start(&config);
        let control = format!("{HERE}/control");
        let command = |verb: &str, id: &str| fine(world, &[verb, id, "--control", &control]);
        let hold = |port: u16| {
            let mut connection = dial("127.0.0.1", port).expect("a connection");
            assert_eq!(connection.read_until(b"\n").text(), "held\n");
            connection
        };
        let (mut neighbour, mut own) = (hold(2002), hold(2003));
        let out = command("disable", "s1");
        assert!(out.contains("s1: switched off in /run/w/xinetd.conf:1"), "{out}");
        assert!(out.contains("applied\n") && out.contains("dropped: s1\n"), "{out}");
        command("disable", "s3");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::refused());
        let text = world.read("xinetd.conf");
        assert_eq!(text.matches("\n\tdisable = yes\n").count(), 2, "{text}");
        assert_eq!(text.replace("\tdisable = yes\n", ""), config.text(world.side));
        for connection in [&mut neighbour, &mut own] {
            connection.finish();
            assert_eq!(connection.read_all().end, Answer::closed("").end, "it was served on");
        }
        assert!(command("disable", "s1").contains("already off"));

        assert_eq!(daemon.stop(), Ended::Status(0));
        let daemon = world.start(&Config::new().raw(&text));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused(), "at the next start too");
        command("enable", "s1");
        assert_eq!(talk("127.0.0.1", 2001, b""), served());
        assert!(daemon.runs());

        // A mistake that `disable = yes` had hidden: the file and the daemon stay as they are.
        let broken =
            world.read("xinetd.conf").replacen("disable = yes\n", "disable = yes\n\tinstances = many\n", 1);
        world.write("xinetd.conf", &broken);
        let (how, output) = portreeve(world, &["enable", "s3", "--control", &control]);
        assert_eq!(how, Ended::Status(2), "{output}");
        assert!(output.contains("instances") && output.contains("nothing was changed"), "{output}");
        assert_eq!(world.read("xinetd.conf"), broken);
        assert_eq!(talk("127.0.0.1", 2001, b""), served());
    });
}

/// The file is edited as asked, and the daemon refuses it for another reason: both are said, and what ran goes on.
#[test]
fn a_reload_that_is_refused_leaves_the_edit() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001)).with(Entry::program("s2", 2002));
        let _daemon = world.start(&config);
        let wrong = format!("defaults\n{{\n\tinstances = many\n}}\n{}", config.text(world.side));
        world.write("xinetd.conf", &wrong);
        let (how, output) = portreeve(world, &["disable", "s1", "--control", &format!("{HERE}/control")]);
        assert_eq!(how, Ended::Status(1), "{output}");
        assert!(output.contains("not applied") && output.contains("the file stays as it is now"), "{output}");
        assert_eq!(world.read("xinetd.conf").replace("\tdisable = yes\n", ""), wrong);
        assert_eq!(talk("127.0.0.1", 2001, b""), served());
    });
}

/// A line of an inetd.conf behind xinetd's configuration, found through the daemon.
#[test]
fn a_line_of_inetd() {
    ours(|world| {
        let inetd = format!(
            "2003 stream tcp nowait root {PROBE} {PROBE}\n2004 stream tcp nowait root /bin/echo echo served\n"
        );
        let path = world.write("inetd.conf", &inetd);
        let start = portreeve_compliance::Start {
            options: vec!["-inetd".into(), path],
            ..portreeve_compliance::Start::default()
        };
        let _daemon = world.start_with(&Config::of(Entry::program("s1", 2001)), start);
        let control = format!("{HERE}/control");
        assert_eq!(talk("127.0.0.1", 2004, b""), served());
        fine(world, &["disable", "2004", "--control", &control]);
        assert_eq!(world.read("inetd.conf"), inetd.replace("2004", "#<off># 2004"));
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::refused());
        fine(world, &["disable", "s1", "--control", &control]);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        fine(world, &["enable", "2004", "--control", &control]);
        assert_eq!(world.read("inetd.conf"), inetd);
        assert_eq!(talk("127.0.0.1", 2004, b""), served());
    });
}
