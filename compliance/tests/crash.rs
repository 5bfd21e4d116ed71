//! The supervisor is killed: its sockets live on with whoever holds them, and clients in the queue are served by the next one.

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::init::PROBE;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, DEADLINE, Ended, Entry, Start, World, ours, signals};
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

fn config() -> Config {
    Config::of(Entry::program("s1", 2001))
        .with(Entry::internal("echo", "echo", 2002, "stream"))
        .with(Entry::datagram("dg", 2003, "datagrams 1"))
        .with(Entry::probe("own", 2004, "accept 1").set("wait", "yes"))
}

/// The process that serves now; inside it is found by the socket that it answers on.
fn supervisor(world: &World) -> u32 {
    let status = ask_status(world).expect("an answer");
    status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("its number")
}

fn ask_status(world: &World) -> Option<serde_json::Value> {
    let (how, answer) = world.run(&[PROBE, "control", "/run/w/control", "status"], &[]);
    (how == Ended::Status(0)).then(|| serde_json::from_str(&answer).ok()).flatten()
}

/// Kills it with clients in the queue, and sees them served.
fn killed_with_clients_in_the_queue(world: &World) {
    let before = supervisor(world);
    for id in ["s1", "echo"] {
        world.run(&[PROBE, "control", "/run/w/control", &format!("hold {id}")], &[]);
    }
    let mut waiting: Vec<Connection> = (0..20).map(|_| dial("127.0.0.1", 2001).expect("the queue")).collect();
    let mut echo = dial("127.0.0.1", 2002).expect("the queue");
    echo.send(b"a");
    assert!(world.signal(before, signals::KILL));
    for client in &mut waiting {
        assert_eq!(client.read_all(), Answer::closed("served\n"));
    }
    assert_eq!(echo.read_count(1).bytes, b"a");
    must("another process serves", || ask_status(world).is_some_and(|s| s["pid"] != before));
    let datagrams = datagram_socket("127.0.0.1", 2003);
    assert!(ask(&datagrams, b"x", DEADLINE).is_some());
    assert!(talk("127.0.0.1", 2004, b"").text().starts_with("served"));
    assert_eq!(world.daemon_log_count("bind failed"), 0);
}

/// The built-in watcher: it starts the next one, again and again, and ends when the supervisor ends of itself.
#[test]
fn the_watcher_keeps_the_queue() {
    ours(|world| {
        let start = Start { options: vec!["-watch".to_owned()], ..Start::default() };
        let daemon = world.start_with(&config(), start);
        assert_ne!(supervisor(world), daemon.pid, "the watcher is another process");
        for _ in 0..2 {
            killed_with_clients_in_the_queue(world);
        }
        // Signals go down: a reload, with a service that goes and one that comes.
        let other = Config::of(Entry::program("s1", 2001)).with(Entry::program("new", 2005));
        daemon.reload(&other);
        assert_eq!(talk("127.0.0.1", 2005, b""), Answer::closed("served\n"));
        must("who is gone is refused", || talk("127.0.0.1", 2002, b"") == Answer::refused());
        // An upgrade keeps the watcher.
        let before = supervisor(world);
        let (_, answer) = world.run(&[PROBE, "control", "/run/w/control", "upgrade"], &[]);
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert_eq!(supervisor(world), before);
        assert!(world.signal(before, signals::KILL));
        must("the next one serves", || talk("127.0.0.1", 2005, b"") == Answer::closed("served\n"));
        assert_eq!(world.daemon_log_count("bind failed"), 0);
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
    });
}

/// Orders and overload close a socket for good although somebody else holds it too.
#[test]
fn a_closed_socket_is_closed_although_it_is_held() {
    ours(|world| {
        let start = Start { options: vec!["-watch".to_owned()], ..Start::default() };
        let config = Config::of(Entry::program("s1", 2001));
        let daemon = world.start_with(&config, start);
        daemon.control("drain s1");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        daemon.control("start s1");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        // The same port at another address, which the held socket would be in the way of.
        daemon.reload(&Config::of(Entry::program("s1", 2001).first("flags = IPv4").set("bind", "127.0.0.1")));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(world.daemon_log_count("bind failed"), 0);
    });
}

/// A service manager with a store, as systemd has it.
#[test]
fn the_store_keeps_the_queue() {
    ours(|world| {
        let start = Start {
            through: [PROBE, "manager", "/run/w/notify"].map(str::to_owned).to_vec(),
            ..Start::default()
        };
        let daemon = world.start_with(&config(), start);
        must("all are stored", || world.read("daemon.out").matches("store portreeve-").count() == 4);
        for _ in 0..2 {
            killed_with_clients_in_the_queue(world);
        }
        let said = world.read("daemon.out");
        assert_eq!(said.matches("start with 4").count(), 2, "{said}");
        assert!(said.contains("notice READY=1"), "{said}");
        world.write("xinetd.conf", Config::of(Entry::program("s1", 2001)).text(world.side));
        world.signal(supervisor(world), signals::HUP);
        must("what is gone is let go of", || {
            world.read("daemon.out").matches("remove portreeve-").count() == 3
        });
        assert!(world.signal(supervisor(world), signals::KILL));
        must("one is left", || world.read("daemon.out").contains("start with 1"));
        must("the next one serves", || talk("127.0.0.1", 2001, b"") == Answer::closed("served\n"));
        must("it answers", || ask_status(world).is_some());
        assert!(world.signal(supervisor(world), signals::TERM));
        assert_eq!(world.wait(daemon.pid), Ended::Status(0));
    });
}

/// Unix sockets: of the watcher and of a store that a manager has, whose files go in the end, and whose places are free for
/// whoever comes there meanwhile.
#[test]
fn unix_sockets_are_kept() {
    let store = || [PROBE, "manager", "/run/w/notify"].map(str::to_owned).to_vec();
    let watch = || vec!["-watch".to_owned()];
    for (through, options) in [(Vec::new(), watch()), (store(), Vec::new())] {
        ours(|world| {
            let at = |place: &str, entry: Entry| {
                entry.unset("port").unset("protocol").unset("type").set("bind", place)
            };
            let stream = || at("/run/w/s1", Entry::program("s1", 1)).set("socket_mode", "640");
            let config = Config::of(stream())
                .with(at("@portreeve-kept", Entry::program("name", 1)))
                .with(at("/run/w/other", Entry::program("other", 1)));
            let stored = !through.is_empty();
            let start = Start { options: options.clone(), through: through.clone(), ..Start::default() };
            let daemon = world.start_with(&config, start);
            if stored {
                must("all are stored", || world.read("daemon.out").matches("store portreeve-").count() == 3);
            }
            let read = |mut stream: UnixStream| {
                let mut text = String::new();
                stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
                stream.read_to_string(&mut text).expect("an answer");
                text
            };
            let dial = || UnixStream::connect(world.path("s1"));
            let file = |name: &str| {
                std::fs::symlink_metadata(world.path(name)).ok().map(|meta| (meta.ino(), meta.mode() & 0o777))
            };
            let (first, other) = (file("s1").expect("its file"), file("other").expect("its file"));
            assert_eq!(first.1, 0o640);
            for _ in 0..2 {
                let before = supervisor(world);
                for id in ["s1", "name"] {
                    world.run(&[PROBE, "control", "/run/w/control", &format!("hold {id}")], &[]);
                }
                let name = SocketAddr::from_abstract_name("portreeve-kept").expect("a name");
                let mut waiting = vec![UnixStream::connect_addr(&name).expect("the queue")];
                waiting.extend((0..5).map(|_| dial().expect("the queue")));
                assert!(world.signal(before, signals::KILL));
                for client in waiting {
                    assert_eq!(read(client), "served\n");
                }
                must("another process serves", || ask_status(world).is_some_and(|s| s["pid"] != before));
                assert_eq!((file("s1"), file("other")), (Some(first), Some(other)));
            }
            // Somebody else is there now: it is theirs, and the socket that nobody finds is let go of.
            let before = supervisor(world);
            std::fs::remove_file(world.path("other")).expect("to remove");
            let theirs = UnixListener::bind(world.path("other")).expect("to bind");
            let other = file("other");
            assert!(world.signal(before, signals::KILL));
            must("another process serves", || ask_status(world).is_some_and(|s| s["pid"] != before));
            assert_eq!(file("other"), other, "neither removed nor given other rights");
            must("s1 is served", || dial().is_ok_and(|client| read(client) == "served\n"));
            // Its own it still owns: what a reload says of it holds, and it goes with the service.
            world.write("xinetd.conf", Config::of(stream().set("socket_mode", "600")).text(world.side));
            assert!(world.signal(supervisor(world), signals::HUP));
            must("other rights", || file("s1") == Some((first.0, 0o600)));
            assert!(world.signal(supervisor(world), signals::TERM));
            assert_eq!(world.wait(daemon.pid), Ended::Status(0));
            // A store has the socket still, for the one that is started next.
            let stays = Some((first.0, 0o600)).filter(|_| stored);
            assert_eq!((file("s1"), file("other")), (stays, other));
            drop(theirs);
        });
    }
}
