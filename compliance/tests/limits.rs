//! Rate and concurrency limits (reference xinetd §6).

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::{must, never, some_load};
use portreeve_compliance::{Answer, Config, Connection, End, Entry, Side, Start, World, both, ours};
use std::time::{Duration, Instant};

/// Opens a connection to a service that holds it and waits until it is served.
fn hold(from: &str, port: u16) -> Connection {
    let mut connection = dial(from, port).unwrap_or_else(|end| panic!("{from} {port}: {end:?}"));
    let answer = connection.read_until(b"\n");
    assert_eq!(answer.text(), "held\n", "{from} {port}: {answer:?}");
    connection
}

fn release(mut connection: Connection) {
    connection.finish();
    assert_eq!(connection.read_all(), Answer::closed(""));
}

fn fail(id: &str, reason: &str, from: &str) -> String {
    format!("FAIL: {id} {reason} from={from}")
}

/// instances: the running ones count, an ended one makes room.
#[test]
fn instances() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::probe("s1", 2001, "hold").set("instances", "2")));
        let (first, second) = (hold("127.0.0.1", 2001), hold("127.0.0.2", 2001));
        assert_eq!(talk("127.0.0.3", 2001, b""), Answer::closed(""));
        release(first);
        must("room again", || {
            let Ok(mut connection) = dial("127.0.0.4", 2001) else { return false };
            connection.read_until(b"\n").text() == "held\n"
        });
        release(second);
        let log = world.service_log("s1");
        assert!(log.contains(&fail("s1", "service_limit", "::ffff:127.0.0.3")), "{log:?}");
    });
}

/// per_source: by address, and by /64 in ours for IPv6.
#[test]
fn per_source() {
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("dual", 2001, "hold").set("per_source", "1"))
            .with(Entry::probe("four", 2002, "hold").set("per_source", "1").first("flags = IPv4"))
            .with(Entry::probe("two", 2003, "hold").set("per_source", "2"));
        let _daemon = world.start(&config);
        let _a = hold("127.0.0.2", 2001);
        assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed(""));
        let _b = hold("127.0.0.3", 2001);
        let _c = hold("fd00:0:0:1::1", 2001);
        assert_eq!(talk("fd00:0:0:1::1", 2001, b""), Answer::closed(""));
        let _d = hold("fd00:0:0:2::1", 2001);
        // Another address of the first network.
        let mut neighbour = dial("fd00:0:0:1::2", 2001).expect("a connection");
        let expected = world.fix("per-source-counts-a-v6-network", "held\n", "");
        assert_eq!(neighbour.read_until(b"\n").text(), expected);

        let _e = hold("127.0.0.2", 2002);
        assert_eq!(talk("127.0.0.2", 2002, b""), Answer::closed(""));
        // The count is per service and per address.
        let _f = hold("127.0.0.2", 2003);
        let _g = hold("127.0.0.2", 2003);
        assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(""));
        for (id, from) in [("dual", "::ffff:127.0.0.2"), ("dual", "fd00:0:0:1::1"), ("four", "127.0.0.2")] {
            must("the refusal is logged", || {
                world.service_log(id).contains(&fail(id, "per_source_limit", from))
            });
        }
        must("the refusal is logged", || {
            world.service_log("two").contains(&fail("two", "per_source_limit", "::ffff:127.0.0.2"))
        });
    });
}

/// -limit: programs of all services together.
#[test]
fn process_limit() {
    both(|world| {
        let config =
            Config::new().with(Entry::probe("a", 2001, "hold")).with(Entry::probe("b", 2002, "hold"));
        let start = Start { options: vec!["-limit".into(), "2".into()], ..Start::default() };
        let _daemon = world.start_with(&config, start);
        let (first, _second) = (hold("127.0.0.1", 2001), hold("127.0.0.1", 2002));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        must("the refusal is logged", || {
            world.service_log("a").contains(&fail("a", "process_limit", "::ffff:127.0.0.1"))
        });
        release(first);
        must("room again", || {
            let Ok(mut connection) = dial("127.0.0.1", 2002) else { return false };
            connection.read_until(b"\n").text() == "held\n"
        });
    });
}

/// max_load refuses at and above the one-minute average.
#[test]
fn max_load() {
    some_load();
    both(|world| {
        let config = Config::new()
            .with(Entry::program("low", 2001).set("max_load", "0.000001"))
            .with(Entry::program("high", 2002).set("max_load", "99999"))
            // Numbers as strtod(3) reads them: in hexadecimal, with a power of two, with something behind.
            .with(Entry::program("hexadecimal", 2003).set("max_load", "0x.1p-20"))
            .with(Entry::program("hexadecimal-high", 2004).set("max_load", "0X1fffF.8x"));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed("served\n"));
        world.expect_log("low", &[fail("low", "load", "::ffff:127.0.0.1")]);
        world.expect_daemon_log(&["ERROR: refused connect from ::ffff:127.0.0.1 due to excessive load"]);
    });
}

/// A burst that is over before the second ends; `None` when the machine was too slow for that.
fn burst(from: &str, port: u16, count: usize) -> Option<Vec<Answer>> {
    let start = Instant::now();
    let first = talk(from, port, b"");
    assert_ne!(first.end, End::Open, "the first client gets an answer");
    let answers = std::iter::once(first).chain((1..count).map(|_| talk(from, port, b""))).collect();
    (start.elapsed() < Duration::from_millis(900)).then_some(answers)
}

/// `cps 3 2`: three of a burst are served, the fourth trips the rate, and after two seconds all is well. With
/// `overload = close` ours does exactly the same: the listener is closed meanwhile.
#[test]
fn rate_closes_and_reopens() {
    both(|world| {
        let services = 6;
        let config = Config::new().with_all((0..services).map(|n| {
            Entry::program(&format!("s{n}"), 2001 + n).set("cps", "3 2").only(Side::Ours, "overload = close")
        }));
        let _daemon = world.start(&config);
        let (number, answers) = (0..services)
            .find_map(|n| Some((n, burst("127.0.0.1", 2001 + n, 4)?)))
            .expect("one burst within a second");
        let (port, id) = (2001 + number, format!("s{number}"));
        let served = Answer::closed("served\n");
        assert_eq!(answers, [served.clone(), served.clone(), served.clone(), Answer::closed("")]);
        // In the moment of closing, the kernel resets who is half-way in.
        must("closed for everybody", || talk("127.0.0.2", port, b"") == Answer::refused());
        let stop = format!(
            "ERROR: Deactivating service {id} due to excessive incoming connections.  Restarting in 2 seconds."
        );
        let go = format!("ERROR: Activating service {id}");
        world.expect_daemon_log(&[stop, go]);
        assert_eq!(talk("127.0.0.1", port, b""), served);
        let from = "::ffff:127.0.0.1";
        assert!(world.service_log(&id).contains(&fail(&id, "connections per second", from)));
    });
}

/// Running programs go on while the listener is closed; afterwards xinetd has forgotten them, ours has not.
#[test]
fn the_rate_does_not_forget_instances() {
    both(|world| {
        let entry = Entry::probe("s1", 2001, "hold")
            .set("cps", "1 2")
            .set("instances", "1")
            .only(Side::Ours, "overload = close");
        let _daemon = world.start(&Config::of(entry));
        let mut first = hold("127.0.0.1", 2001);
        must("the rate trips", || {
            let _ = talk("127.0.0.1", 2001, b"");
            world.daemon_log_count("Deactivating service s1") == 1
        });
        world.expect_daemon_log(&["ERROR: Activating service s1"]);
        assert_eq!(first.read_for(Duration::from_millis(50)).end, End::Open, "still served");
        let mut second = dial("127.0.0.1", 2001).expect("a connection");
        let expected = world.fix("instances-survive-the-rate-limit", "held\n", "");
        assert_eq!(second.read_until(b"\n").text(), expected);
        drop((first, second));
        if !world.is_ours() {
            must("xinetd wonders", || world.daemon_log_count("server exit with 0 running servers") >= 1);
        }
    });
}

/// Without a word about it: 50 connections in a burst, then 10 seconds of silence.
#[test]
fn the_hidden_default() {
    both(|world| {
        let config = Config::new().with_all((0..4).map(|n| {
            Entry::internal("daytime", &format!("s{n}"), 2001 + n, "stream")
                .only(Side::Ours, "overload = close")
        }));
        let _daemon = world.start(&config);
        let (_, answers) = (0..4)
            .find_map(|n| Some((n, burst("127.0.0.1", 2001 + n, 51)?)))
            .expect("one burst within a second");
        let served = answers.iter().filter(|answer| answer.bytes.len() > 20).count();
        assert_eq!(served, 50);
        assert_eq!(answers[50], Answer::closed(""));
        // The service's name, not its id, is in this message.
        world.expect_daemon_log(&[
            "ERROR: Deactivating service daytime due to excessive incoming connections.  Restarting in 10 seconds.",
        ]);
    });
}

/// `cps = 0 0` switches it off.
#[test]
fn no_rate() {
    both(|world| {
        let entry = Entry::internal("daytime", "s1", 2001, "stream").set("cps", "0 0");
        let _daemon = world.start(&Config::of(entry));
        for _ in 0..120 {
            assert!(talk("127.0.0.1", 2001, b"").bytes.len() > 20);
        }
    });
}

/// The rate is a stop switch that any host can press in xinetd. In ours the one who presses it is refused, the others are
/// served.
#[test]
fn one_source_cannot_switch_a_service_off() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).set("cps", "10 600")));
        must("the rate trips", || {
            let _ = talk("127.0.0.66", 2001, b"");
            world.daemon_log_count("Deactivating service s1") >= 1
        });
        let refused = world.fix("overload-is-fair", Answer::refused(), Answer::closed(""));
        assert_eq!(talk("127.0.0.66", 2001, b""), refused, "the one who pressed");
        let served = world.fix("overload-is-fair", Answer::refused(), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.7", 2001, b""), served, "somebody else");
    });
}

/// Many sources together above the rate: ours lets the rest wait in the kernel's queue and then serves them.
#[test]
fn an_overload_heals() {
    ours(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001).set("cps", "5 2")));
        let mut connections = Vec::new();
        for number in 1..=120 {
            if let Ok(connection) = dial(&format!("127.0.1.{number}"), 2001) {
                connections.push(connection);
            }
        }
        assert_eq!(connections.len(), 120, "nobody meets a closed port");
        let start = Instant::now();
        must("a newcomer is served again", || talk("127.0.2.1", 2001, b"") == Answer::closed("served\n"));
        assert!(start.elapsed() < Duration::from_secs(25), "healed by itself");
    });
}

/// Old servers are counted over a reload.
#[test]
fn instances_survive_a_reload() {
    both(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold").set("instances", "1"));
        let daemon = world.start(&config);
        let _first = hold("127.0.0.1", 2001);
        daemon.reload(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        must("the refusal is logged", || {
            world.service_log("s1").contains(&fail("s1", "service_limit", "::ffff:127.0.0.1"))
        });
    });
}

/// A refused client leaves nothing behind: no instance, no descriptor, no process.
#[test]
fn refusals_leave_nothing() {
    both(|world| {
        let entry = |id: &str, port| Entry::program(id, port).set("cps", "0 0");
        let config = Config::new()
            .with(entry("limit", 2001).set("instances", "0"))
            .with(entry("address", 2002).set("no_access", "127.0.0.1"));
        let daemon = world.start(&config);
        let before = quiet_descriptors(world, &daemon);
        for _ in 0..50 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
            assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""));
        }
        must("all descriptors are closed", || daemon.descriptors() == before);
        never("more descriptors", Duration::from_millis(100), || daemon.descriptors() > before);
    });
}

fn quiet_descriptors(world: &World, daemon: &portreeve_compliance::Daemon<'_>) -> usize {
    assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
    must("the refusal is logged", || !world.service_log("limit").is_empty());
    daemon.descriptors()
}

/// Where hundreds run, the ends of those that come and go are told of all the same, several at once too, and so are theirs.
#[test]
fn ends_among_hundreds_that_run() {
    const HELD: usize = 160;
    const BRIEF: usize = 120;
    ours(|world| {
        let unlimited = |entry: Entry| {
            entry.set("instances", "UNLIMITED").set("cps", "0 0").set("log_on_success", "PID HOST EXIT")
        };
        let cat = unlimited(Entry::program("held", 2001).set("server", "/bin/cat").set("server_args", "-"));
        let brief = unlimited(Entry::program("brief", 2002).set("server", "/bin/true"));
        let daemon = world.start(&Config::of(cat).with(brief));
        let held: Vec<Connection> = (0..HELD)
            .map(|n| {
                let mut client = dial("127.0.0.1", 2001).expect("a connection");
                client.send(b"x");
                assert_eq!(client.read_count(1).text(), "x", "{n}");
                client
            })
            .collect();
        let clients: Vec<Connection> =
            (0..BRIEF).map(|_| dial("127.0.0.2", 2002).expect("a connection")).collect();
        for mut client in clients {
            assert_eq!(client.read_all(), Answer::closed(""));
        }
        let ends = |id: &str| world.service_log(id).iter().filter(|line| line.starts_with("EXIT")).count();
        must("each end is told of", || ends("brief") == BRIEF);
        must("they are gone", || daemon.status()["running"] == HELD);
        drop(held);
        must("those that were held too", || ends("held") == HELD && daemon.status()["running"] == 0);
    });
}
