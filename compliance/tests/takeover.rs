//! A reload that gives a socket to a service that treats it otherwise, and ends that come in crowds: what an attack on
//! the supervisor found. Ours alone; xinetd closes and opens its sockets anew.

use portreeve_compliance::client::{ask, datagram_socket, dial, dial_to, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, DEADLINE, End, Entry, ours, signals};

const SERVED: &str = "served\n";

/// A wait=yes program has the socket, blocking and with a filter; its successor accepts one by one from others.
#[test]
fn from_wait_to_nowait() {
    ours(|world| {
        let waits = Entry::probe("s1", 2001, "accept 9").set("wait", "yes").set("only_from", "127.0.0.2");
        let daemon = world.start(&Config::of(waits));
        assert!(talk("127.0.0.2", 2001, b"").text().starts_with("served "));
        daemon.reload(&Config::of(Entry::program("s1", 2001).set("only_from", "127.0.0.3")));
        for _ in 0..3 {
            assert_eq!(talk("127.0.0.3", 2001, b""), Answer::closed(SERVED));
            assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(""));
        }
        assert_eq!(daemon.count("s1", "/accepted"), 3);
    });
}

/// A service of another name at the same port, of one family alone.
#[test]
fn from_both_families_to_one() {
    ours(|world| {
        let daemon = world.start(&Config::of(Entry::program("both", 2001)));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        let only = |value: &str| Config::of(Entry::program("six", 2001).set("v6only", value));
        daemon.reload(&only("yes"));
        assert_eq!(talk("::1", 2001, b""), Answer::closed(SERVED));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        daemon.reload(&only("no"));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
    });
}

/// Flags that are options of the socket change without ending anybody.
#[test]
fn socket_options_end_nobody() {
    ours(|world| {
        let entry = || Entry::probe("s1", 2001, "hold");
        let daemon = world.start(&Config::of(entry()));
        let mut held = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(held.read_until(b"\n").text(), "held\n");
        daemon.reload(&Config::of(entry().set("flags", "NODELAY KEEPALIVE")));
        assert_eq!(world.daemon_log_count("Sending signal"), 0);
        held.finish();
        assert_eq!(held.read_all(), Answer::closed(""));
    });
}

/// A sensor becomes the built-in that it posed as, and back, for streams and datagrams.
#[test]
fn between_sensor_and_builtin() {
    ours(|world| {
        let config = |sensor: bool| {
            let entry = |id, port, kind| {
                let entry = Entry::internal("echo", id, port, kind);
                if sensor { entry.set("flags", "SENSOR").set("deny_time", "NEVER") } else { entry }
            };
            Config::of(entry("tcp", 2001, "stream")).with(entry("udp", 2002, "dgram"))
        };
        let echo = |mut connection: Connection| {
            connection.send(b"a");
            connection.finish();
            connection.read_all().text()
        };
        let daemon = world.start(&config(true));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        daemon.reload(&config(false));
        assert_eq!(dial("127.0.0.1", 2001).map(echo), Ok("a".to_owned()));
        let socket = datagram_socket("127.0.0.1", 2002);
        must("the datagram built-in answers", || ask(&socket, b"b", DEADLINE).is_some());
        daemon.reload(&config(true));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        let refused = daemon.count("udp", "/refused/address");
        let socket = datagram_socket("127.0.0.1", 2002);
        assert_eq!(ask(&socket, b"c", std::time::Duration::from_millis(300)), None);
        assert!(daemon.count("udp", "/refused/address") > refused, "the supervisor has the socket again");
    });
}

/// A resolver that has just been killed makes nobody unknown.
#[test]
fn a_reload_without_a_resolver() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001).set("user", "nobody"));
        let daemon = world.start(&config);
        for _ in 0..3 {
            for pid in world.processes("worker resolver") {
                world.signal(pid, 9);
            }
            daemon.reload(&config);
        }
        assert_eq!(world.daemon_log_count("Unknown user"), 0);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
    });
}

/// Hundreds of programs end while the supervisor does not look: every seat is given back.
#[test]
fn a_crowd_of_ends() {
    ours(|world| {
        const CROWD: usize = 700;
        let entry = Entry::probe("s1", 2001, "hold").set("cps", "0 0").set("instances", "700");
        let daemon = world.start(&Config::of(entry));
        let held: Vec<_> = (0..CROWD)
            .map(|_| dial_to("127.0.0.1", "127.0.0.1", 2001, DEADLINE).expect("a connection"))
            .collect();
        must("all run", || daemon.count("s1", "/running") == CROWD as u64);
        daemon.signal(signals::STOP);
        drop(held);
        let ended = || world.processes(" hold").is_empty();
        must("all have ended", ended);
        daemon.signal(signals::CONT);
        must("all seats are free", || daemon.count("s1", "/running") == 0);
        let mut next = dial("127.0.0.1", 2001).expect("a connection");
        assert_ne!(next.read_until(b"\n").end, End::Refused);
    });
}
