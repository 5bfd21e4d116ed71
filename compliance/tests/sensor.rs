//! SENSOR: who trips it, what happens then, and for how long (reference xinetd §5).

use portreeve_compliance::client::{ask, ask_again, datagram_socket, hear, talk, talk_to};
use portreeve_compliance::neighbour::{HERE, WIRE};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::{closed_hours, must, never};
use portreeve_compliance::{Answer, Config, Entry, World, both, until};
use std::time::{Duration, Instant};

fn sensor(id: &str, port: u16, deny_time: &str) -> Entry {
    Entry::internal("discard", id, port, "stream").set("flags", "SENSOR").set("deny_time", deny_time)
}

const SERVED: &str = "served\n";

fn adding(address: &str, minutes: &str) -> String {
    format!(
        "CRITICAL: N {{process_sensor}} Adding {address} to the global_no_access list for {minutes} minutes"
    )
}

/// A touch denies the source everywhere, at once; others are not concerned. NEVER only logs.
#[test]
fn a_touch_denies_everywhere() {
    both(|world| {
        let banner = world.write("always", "ALWAYS\n");
        let bad = world.write("bad", "BAD\n");
        let config = Config::new()
            .with(sensor("trap", 2001, "FOREVER").set("banner", &banner).set("banner_fail", &bad))
            .with(sensor("harmless", 2002, "NEVER"))
            .with(sensor("unset", 2003, "0").unset("deny_time"))
            .with(Entry::program("s1", 2004))
            .with(Entry::internal("daytime", "day", 2005, "stream"))
            .with(Entry::program("limited", 2006).set("instances", "0"));
        let daemon = world.start(&config);
        for (port, id) in [(2002, "harmless"), (2003, "unset")] {
            assert_eq!(talk("127.0.0.7", port, b""), Answer::closed(""));
            // No START and EXIT on a sensor.
            world.expect_log(id, &[format!("FAIL: {id} address from=::ffff:127.0.0.7")]);
        }
        assert_eq!(talk("127.0.0.7", 2004, b""), Answer::closed(SERVED), "not denied by those");

        assert_eq!(talk("127.0.0.7", 2001, b""), Answer::closed("ALWAYS\nBAD\n"));
        world.expect_log("trap", &["FAIL: trap address from=::ffff:127.0.0.7"]);
        world.expect_daemon_log(&[adding("::ffff:127.0.0.7", "-1")]);

        assert_eq!(talk("127.0.0.7", 2004, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.7", 2005, b""), Answer::closed(""));
        must("the refusal is logged", || {
            world.service_log("s1").contains(&"FAIL: s1 address from=::ffff:127.0.0.7".to_owned())
        });
        world.expect_log("day", &["FAIL: day address from=::ffff:127.0.0.7"]);
        // The checks of the parent come first.
        assert_eq!(talk("127.0.0.7", 2006, b""), Answer::closed(""));
        world.expect_log("limited", &["FAIL: limited service_limit from=::ffff:127.0.0.7"]);
        assert_eq!(talk("127.0.0.8", 2004, b""), Answer::closed(SERVED), "somebody else");

        // The list survives a reload, also one that takes the sensor away.
        daemon.reload(&Config::of(Entry::program("s1", 2004)));
        assert_eq!(talk("127.0.0.7", 2004, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.8", 2004, b""), Answer::closed(SERVED));
        let name = world.daemon_log_count("to the global_no_access list");
        assert_eq!(name, 1, "one entry for one source");
    });
}

/// One entry for an address whether it comes over an IPv4 socket or mapped over one for both families.
#[test]
fn mapped_and_plain_are_one_source() {
    both(|world| {
        let config = Config::new()
            .with(sensor("six", 2001, "FOREVER"))
            .with(sensor("four", 2002, "FOREVER").set("flags", "SENSOR IPv4"))
            .with(Entry::program("dual", 2003))
            .with(Entry::program("plain", 2004).set("flags", "IPv4"));
        let _daemon = world.start(&config);
        talk("127.0.0.2", 2001, b"");
        talk("127.0.0.3", 2002, b"");
        world.expect_daemon_log(&[adding("::ffff:127.0.0.2", "-1"), adding("127.0.0.3", "-1")]);
        assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.3", 2003, b""), Answer::closed(""));
        let escaped = world.fix("sensor-knows-mapped-addresses", SERVED, "");
        assert_eq!(talk("127.0.0.2", 2004, b""), Answer::closed(escaped));
        assert_eq!(talk("127.0.0.3", 2004, b""), Answer::closed(""));
    });
}

/// only_from of the sensor itself protects nobody; outside its hours it is not tripped.
#[test]
fn what_trips_and_what_does_not() {
    both(|world| {
        let config = Config::new()
            .with(sensor("listed", 2001, "FOREVER").set("only_from", "10.0.0.1"))
            .with(sensor("closed", 2002, "FOREVER").set("access_times", &closed_hours()))
            .with(Entry::program("s1", 2003));
        let _daemon = world.start(&config);
        talk("127.0.0.2", 2002, b"");
        world.expect_log("closed", &["FAIL: closed time from=::ffff:127.0.0.2"]);
        assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(SERVED));
        talk("127.0.0.2", 2001, b"");
        world.expect_log("listed", &["FAIL: listed address from=::ffff:127.0.0.2"]);
        assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(""));
    });
}

/// A datagram proves nothing about its sender. xinetd denies whoever it names; ours only logs.
#[test]
fn a_datagram_proves_nothing() {
    both(|world| {
        let config = Config::new()
            .with(
                Entry::internal("discard", "trap", 2001, "dgram")
                    .set("flags", "SENSOR")
                    .set("deny_time", "FOREVER"),
            )
            .with(Entry::program("s1", 2002));
        let _daemon = world.start(&config);
        datagram_socket("127.0.0.7", 2001).send(b"x").expect("to send");
        must("the touch is logged", || {
            world.service_log("trap").contains(&"FAIL: trap address from=::ffff:127.0.0.7".to_owned())
        });
        let expected = world.fix("a-datagram-denies-nobody", "", SERVED);
        assert_eq!(talk("127.0.0.7", 2002, b""), Answer::closed(expected));
        let lines = world.fix("a-datagram-denies-nobody", 1, 0);
        assert_eq!(world.daemon_log_count("to the global_no_access list"), lines);
    });
}

/// nmap, from another host. A connect scan completes the handshake, which nobody can do in another's name: it denies its
/// source. A SYN scan leaves half a connection that no server ever sees, and a UDP scan may bear anybody's address.
#[test]
fn what_a_scanner_proves() {
    if !has_programs(&["/usr/bin/nmap"]) {
        return;
    }
    both(|world| {
        let config = Config::new()
            .with(sensor("trap", 2001, "FOREVER"))
            .with(
                Entry::internal("discard", "udptrap", 2002, "dgram")
                    .set("flags", "SENSOR")
                    .set("deny_time", "FOREVER"),
            )
            .with(Entry::program("s1", 2003));
        let (scanner, bystander) = ("10.7.0.2", "10.7.0.3");
        let next = world.neighbour(&[scanner, bystander]);
        let _daemon = world.start(&config);
        let nmap = |words: &[&str]| {
            let argv = ["/usr/bin/nmap", "-n", "-Pn", "--host-timeout", "60s"];
            next.run(&argv.iter().chain(words).chain(&[HERE]).copied().collect::<Vec<_>>())
        };
        let served_to = |from: &str| next.within(|| talk_to(from, HERE, 2003)) == Answer::closed(SERVED);
        let touched = |id: &str, from: &str| {
            let line = format!("FAIL: {id} address from=::ffff:{from}");
            must("the touch is logged", || world.service_log(id).contains(&line));
        };

        let seen = nmap(&["-sS", "-p", "2001,2003"]);
        assert!(seen.contains("2001/tcp open") && seen.contains("2003/tcp open"), "{seen}");
        assert!(served_to(scanner), "half a connection");

        nmap(&["-sU", "-p", "2002", "-S", bystander, "-e", WIRE]);
        touched("udptrap", bystander);
        let served = world.fix("a-datagram-denies-nobody", false, true);
        assert_eq!(served_to(bystander), served, "whose name was on the datagrams");
        assert!(served_to(scanner), "who sent them");
        assert_eq!(world.service_log("trap"), [""; 0], "nobody has touched it yet");

        let seen = nmap(&["-sT", "-p", "2001"]);
        assert!(seen.contains("2001/tcp open"), "{seen}");
        touched("trap", scanner);
        assert!(!served_to(scanner), "who completed the handshake");
        assert_eq!(served_to(bystander), served);
    });
}

/// An internal datagram service refuses a denied source too.
#[test]
fn a_denied_source_gets_no_datagrams() {
    both(|world| {
        let config = Config::new()
            .with(sensor("trap", 2001, "FOREVER"))
            .with(Entry::internal("echo", "echo", 2002, "dgram").set("cps", "0 0"));
        let _daemon = world.start(&config);
        talk("127.0.0.7", 2001, b"");
        let good = datagram_socket("127.0.0.1", 2002);
        assert_eq!(ask_again(&good, b"hello").as_deref(), Some(&b"hello"[..]));
        let bad = datagram_socket("127.0.0.7", 2002);
        must("the refusal is logged", || {
            bad.send(b"x").expect("to send");
            world.service_log("echo").contains(&"FAIL: echo address from=::ffff:127.0.0.7".to_owned())
        });
        // Ours answers until its worker has heard of the denial, a moment later.
        while hear(&bad, Duration::from_millis(200)).is_some() {}
        for _ in 0..5 {
            assert!(ask(&bad, b"x", Duration::from_millis(100)).is_none());
        }
    });
}

/// deny_time counts minutes. xinetd releases at the next tick of a minute, ours when the time is over.
#[test]
fn deny_time_is_in_minutes() {
    both(|world| {
        let config = Config::new().with(sensor("trap", 2001, "1")).with(Entry::program("s1", 2002));
        let _daemon = world.start(&config);
        let start = Instant::now();
        talk("127.0.0.7", 2001, b"");
        world.expect_daemon_log(&[adding("::ffff:127.0.0.7", "1")]);
        never("released early", Duration::from_secs(50), || {
            std::thread::sleep(Duration::from_secs(5));
            talk("127.0.0.7", 2002, b"") != Answer::closed("")
        });
        let released = until(Duration::from_secs(90), || {
            std::thread::sleep(Duration::from_millis(200));
            (talk("127.0.0.7", 2002, b"") == Answer::closed(SERVED)).then(|| start.elapsed())
        });
        let released = released.expect("released after the time");
        assert!(released >= Duration::from_secs(59), "released after {released:?}");
        world.expect_daemon_log(&["INFO: At least 1 DENY_TIME has expired, global_no_access list updated"]);
        world.expect_daemon_log(&["INFO: global_no_access list is empty."]);
    });
}

/// Negative and unreadable times.
#[test]
fn odd_times() {
    both(|world| {
        let config = Config::new()
            .with(sensor("bad", 2001, "soon"))
            .with(sensor("forever", 2002, "forever"))
            .with(Entry::program("s1", 2003));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.2", 2001, b""), Answer::refused(), "the entry is disabled");
        talk("127.0.0.3", 2002, b"");
        assert_eq!(talk("127.0.0.3", 2003, b""), Answer::closed(""), "the word in small letters");
        talk_other(world);
    });
}

fn talk_other(world: &World) {
    assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(SERVED), "{}", world.side.name());
}
