//! An upgrade in the middle of which something else happens: another upgrade, a reload, the end of the daemon, a kill, an
//! executable that is none, no more processes. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::init::PROBE;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Ended, Entry, Side, Start, World, ours, signals};

const SERVED: &str = "served\n";

fn install(world: &World) {
    world.copy_program(Side::Ours.executable(), "gate.new");
    let _ = std::fs::remove_dir(world.path("gate"));
    std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
}

/// A probe that takes its time, and then is content.
fn install_slow(world: &World) {
    world.copy_program(Side::Ours.executable(), "real.gate");
    world.write_mode("gate.new", "#!/bin/sh\nsleep 4\nexec /run/w/real.gate \"$@\"\n", 0o755);
    std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
}

fn start() -> Start {
    let through = ["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"].map(str::to_owned).to_vec();
    Start { through, ..Start::default() }
}

fn config() -> Config {
    Config::of(Entry::program("s1", 2001)).with(Entry::probe("held", 2002, "hold"))
}

fn held() -> Connection {
    let mut connection = dial("127.0.0.1", 2002).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

/// A second one is refused, a reload is applied, and the first one, which turns out to be none, leaves all that in force.
#[test]
fn a_second_one_and_a_reload_while_one_runs() {
    ours(|world| {
        install(world);
        let daemon = world.start_with(&config(), start());
        let mut one = held();
        install_slow(world);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                world.enter();
                world.run(&[PROBE, "control", "/run/w/control", "upgrade"], &[]).1
            });
            must("it is asked", || world.daemon_log_count("Upgrade: asking") == 1);
            let second = daemon.control("upgrade");
            assert!(second.contains("an upgrade is under way"), "{second}");
            daemon.reload(&config().with(Entry::program("s2", 2003)));
            assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed(SERVED));
            // A script passes, and cannot be executed in our place: its interpreter would find no file.
            let first = first.join().expect("the first");
            assert!(first.contains("cannot be executed"), "{first}");
        });
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed(SERVED), "what was loaded meanwhile");
        install(world);
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed(SERVED));
        one.finish();
        assert_eq!(one.read_all(), Answer::closed(""));
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// SIGTERM while the new executable is asked ends the daemon as ever.
#[test]
fn the_daemon_is_told_to_end_meanwhile() {
    ours(|world| {
        install(world);
        let daemon = world.start_with(&config(), start());
        install_slow(world);
        daemon.signal(signals::USR2);
        must("it is asked", || world.daemon_log_count("Upgrade: asking") == 1);
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
    });
}

/// Upgrades and ends in quick succession, with SIGTERM at any moment of it: it ends, always, and nothing of it is left.
#[test]
fn it_ends_at_any_moment() {
    ours(|world| {
        install(world);
        for pause in [0, 3, 6, 9, 12, 15, 20, 30, 45] {
            let daemon = world.start_with(&config(), start());
            daemon.signal(signals::USR2);
            std::thread::sleep(std::time::Duration::from_millis(pause));
            assert_eq!(daemon.stop(), Ended::Status(0), "after {pause} ms");
            must("nobody is left", || world.processes("gate").is_empty());
        }
    });
}

/// kill -9 at any moment: the port is closed, or the former version steps in and serves on; nothing hangs.
#[test]
fn it_is_killed_at_any_moment() {
    ours(|world| {
        install(world);
        for pause in [5, 10, 15, 20, 25, 30, 40] {
            let daemon = world.start_with(&config(), start());
            daemon.signal(signals::USR2);
            std::thread::sleep(std::time::Duration::from_millis(pause));
            daemon.signal(signals::KILL);
            must("it is dead", || !daemon.runs());
            must("it serves, or nobody does", || {
                talk("127.0.0.1", 2001, b"") == Answer::closed(SERVED) || world.processes("gate").is_empty()
            });
            for pid in world.processes("gate") {
                world.signal(pid, signals::KILL);
            }
            must("nobody is left", || world.processes("gate").is_empty());
            let _ = std::fs::remove_file(world.path("control"));
        }
    });
}

/// What lies at the executable's place is no executable of ours.
#[test]
fn the_executable_is_none() {
    ours(|world| {
        install(world);
        let daemon = world.start_with(&config(), start());
        std::fs::remove_file(world.path("gate")).expect("to remove it");
        std::fs::create_dir(world.path("gate")).expect("a directory");
        let refused = |what: &str| {
            let answer = daemon.control("upgrade");
            assert!(answer.contains("\"ok\":false"), "{what}: {answer}");
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED), "{what}");
        };
        refused("a directory");
        install(world);
        for (what, from) in [("another program", "/bin/true"), ("one that fails", "/bin/false")] {
            world.copy_program(from, "gate.new");
            std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
            refused(what);
        }
        // Of another kind of machine: a header that says so.
        let mut foreign = std::fs::read("/bin/true").expect("a program");
        foreign[18..20].copy_from_slice(&[0xf7, 0x00]);
        world.write_mode("gate.new", &foreign, 0o755);
        std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
        refused("a foreign program");
        // Cut in the middle of being written.
        let whole = std::fs::read(Side::Ours.executable()).expect("the gate");
        world.write_mode("gate.new", &whole[..65_536], 0o755);
        std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
        refused("the beginning of a program");
        install(world);
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
    });
}
