//! Services with several sockets: addresses, ports, interfaces. xinetd has one address and one port for a service, so most of
//! it is ours alone.

use portreeve_compliance::client::{ask, datagram_socket, dial_to, talk_to};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, DEADLINE, Entry, Side, World, both, ours};
use std::net::{IpAddr, UdpSocket};

fn served() -> Answer {
    Answer::closed("served\n")
}

fn at(from: &str, to: &str, port: u16) -> Answer {
    match dial_to(from, to, port, DEADLINE) {
        Ok(mut connection) => connection.read_all(),
        Err(end) => Answer { bytes: Vec::new(), end },
    }
}

fn ip(world: &World, words: &str) {
    let mut argv = vec!["/usr/sbin/ip"];
    argv.extend(words.split(' '));
    let (ended, said) = world.run(&argv, &[]);
    assert_eq!(ended, portreeve_compliance::Ended::Status(0), "ip {words}: {said}");
}

/// `bind = a b`: one service, one set of limits. xinetd ignores the line, and the service listens everywhere.
#[test]
fn several_addresses_are_one_service() {
    both(|world| {
        let service = Entry::probe("s1", 2001, "hold").set("instances", "1");
        let config = Config::new()
            .with(service.set("bind", "127.0.0.2 127.0.0.3 fd00:0:0:1::1").set("log_on_failure", "HOST"))
            .with(Entry::program("s2", 2002));
        let daemon = world.start(&config);
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2002), served());
        let everywhere = dial_to("127.0.0.1", "127.0.0.1", 2001, DEADLINE).is_ok();
        assert!(world.fix("several-addresses", everywhere, !everywhere));
        if world.side == Side::Theirs {
            return;
        }
        let _held = dial_to("127.0.0.1", "127.0.0.2", 2001, DEADLINE).unwrap();
        must("it is so", || daemon.count("s1", "/running") == 1);
        // The instance that came by one address is the one that there may be.
        assert_eq!(at("127.0.0.9", "127.0.0.3", 2001), Answer::closed(""));
        assert_eq!(at("::1", "fd00:0:0:1::1", 2001), Answer::closed(""));
        let lines = [
            "FAIL: s1 service_limit from=127.0.0.9",
            "FAIL: s1 service_limit from=::1",
            "START: s1 pid=N from=127.0.0.1",
        ];
        world.expect_log("s1", &lines);
        let status = daemon.service_status("s1");
        assert_eq!(status["address"], "127.0.0.2:2001 127.0.0.3:2001 [fd00:0:0:1::1]:2001");
        assert_eq!(status["listeners"]["open"], 3);
    });
}

/// A range of ports, for a program, a built-in of datagrams and a sensor.
#[test]
fn ranges_of_ports() {
    ours(|world| {
        let range = |entry: Entry, ports: &str| entry.set("port", ports);
        let config = Config::new()
            .with(range(Entry::program("s1", 1), "2001-2010"))
            .with(range(Entry::internal("echo", "echo", 1, "dgram"), "3001-3003").set("wait", "yes"))
            .with(range(Entry::program("trap", 1), "4001-4100").set("flags", "SENSOR").set("deny_time", "5"));
        let daemon = world.start(&config);
        for port in [2001, 2005, 2010] {
            assert_eq!(at("127.0.0.1", "127.0.0.1", port), served(), "{port}");
        }
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2011), Answer::refused());
        for port in [3001, 3002, 3003] {
            let socket = datagram_socket("127.0.0.1", port);
            let text = format!("to {port}");
            assert_eq!(ask(&socket, text.as_bytes(), DEADLINE), Some(text.clone().into_bytes()), "{port}");
        }
        assert_eq!(daemon.count("trap", "/listeners/open"), 100);
        assert_eq!(at("127.0.0.66", "127.0.0.1", 4077), Answer::closed(""));
        assert_eq!(
            talk_to("127.0.0.66", "127.0.0.1", 2001),
            Answer::closed(""),
            "denied by one port of the trap"
        );
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2001), served());
    });
}

/// A reload opens what is new, closes what is gone, and leaves alone what stays: who waits in its queue is served, and who
/// is served goes on.
#[test]
fn a_reload_compares_by_address() {
    ours(|world| {
        let script = world.write_mode("answer", "#!/bin/sh\nread x\necho got $x\n", 0o755);
        let service = |bind: &str| {
            let entry = Entry::program("s1", 2001).set("server", &script).unset("server_args");
            Config::of(entry.set("bind", bind))
        };
        let daemon = world.start(&service("127.0.0.2 127.0.0.3"));
        let mut held = dial_to("127.0.0.1", "127.0.0.2", 2001, DEADLINE).unwrap();
        must("it is so", || daemon.count("s1", "/running") == 1);
        daemon.reload(&service("127.0.0.3 127.0.0.4"));
        must("it is so", || daemon.service_status("s1")["address"] == "127.0.0.3:2001 127.0.0.4:2001");
        assert_eq!(at("127.0.0.1", "127.0.0.2", 2001), Answer::refused());
        for to in ["127.0.0.3", "127.0.0.4"] {
            let mut connection = dial_to("127.0.0.1", to, 2001, DEADLINE).unwrap();
            connection.send(b"it\n");
            assert_eq!(connection.read_all(), Answer::closed("got it\n"), "{to}");
        }
        held.send(b"mine\n");
        assert_eq!(held.read_all(), Answer::closed("got mine\n"), "its address went, not its service");
        // Every address at once, and back: the narrow socket may not be in the way of the wide one.
        daemon.reload(&service("0.0.0.0"));
        must("it is so", || daemon.service_status("s1")["address"] == "0.0.0.0:2001");
        assert_eq!(daemon.service_status("s1")["state"], "active");
        daemon.reload(&service("127.0.0.4"));
        must("it is so", || daemon.service_status("s1")["address"] == "127.0.0.4:2001");
        assert_eq!(daemon.service_status("s1")["state"], "active");
    });
}

/// Who waits in the queue of a listener that makes way for another one of the same address is served by that one.
#[test]
fn a_narrower_or_wider_listener_takes_the_queue() {
    ours(|world| {
        let service = |lines: [&str; 2]| {
            Config::of(Entry::program("s1", 2001).set("cps", "0 0").set(lines[0], lines[1]))
        };
        let ways = [["bind", "127.0.0.1"], ["bind", "0.0.0.0"], ["flags", "IPv6"], ["flags", "IPv4"]];
        let daemon = world.start(&service(ways[3]));
        for lines in ways.iter().chain(ways.iter().rev()) {
            assert!(daemon.control("hold s1").contains("\"ok\":true"));
            let queued: Vec<_> =
                (0..10).map(|_| dial_to("127.0.0.1", "127.0.0.1", 2001, DEADLINE).unwrap()).collect();
            let lost = dial_to("127.0.0.1", "127.0.0.9", 2001, DEADLINE);
            daemon.reload(&service(*lines));
            for mut client in queued {
                assert_eq!(client.read_all(), served(), "{lines:?}");
            }
            if let (Ok(mut lost), "127.0.0.1") = (lost, lines[1]) {
                assert_ne!(lost.read_all(), served(), "nobody listens at its address");
            }
            assert_eq!(at("127.0.0.1", "127.0.0.1", 2001), served(), "{lines:?}");
        }
    });
}

/// A place moves from one service to another in one reload: the socket goes over, with whoever waits in its queue.
#[test]
fn a_place_goes_over_to_another_service() {
    ours(|world| {
        let config = |one: &str, two: &str| {
            Config::new()
                .with(Entry::probe("one", 2001, "hold").set("bind", one).set("instances", "1"))
                .with(Entry::program("two", 2001).set("server_args", "two").set("bind", two))
        };
        let daemon = world.start(&config("127.0.0.2 127.0.0.3", "127.0.0.4"));
        assert_eq!(at("127.0.0.1", "127.0.0.4", 2001), Answer::closed("two\n"));
        // Nobody is in between: each connection is accepted by one of the two.
        for round in 0..20 {
            let (one, two) = match round % 2 {
                0 => ("127.0.0.2", "127.0.0.4 127.0.0.3"),
                _ => ("127.0.0.2 127.0.0.3", "127.0.0.4"),
            };
            daemon.reload(&config(one, two));
            assert!(dial_to("127.0.0.1", "127.0.0.3", 2001, DEADLINE).is_ok(), "{round}");
        }
        assert_eq!(world.daemon_log_count("bind failed"), 0);
    });
}

/// What is there serves while the rest is waited for.
#[test]
fn an_address_that_comes_later() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001).set("bind", "127.0.0.2 192.0.2.77"));
        let daemon = world.start(&config);
        assert_eq!(at("127.0.0.1", "127.0.0.2", 2001), served());
        let status = daemon.service_status("s1");
        assert_eq!((&status["state"], &status["listeners"]["open"]), (&"active".into(), &1.into()));
        assert_eq!(status["not_open"][0]["address"], "192.0.2.77:2001");
        ip(world, "address add 192.0.2.77/32 dev lo");
        must("it listens", || daemon.count("s1", "/listeners/open") == 2);
        assert_eq!(at("127.0.0.1", "192.0.2.77", 2001), served());
    });
}

/// FREEBIND: the sockets are open from the start, and the very same ones serve once the host has the addresses.
#[test]
fn an_address_that_is_listened_on_before_it_is_there() {
    ours(|world| {
        let freely = |entry: Entry, bind: &str| entry.set("bind", bind).set("flags", "FREEBIND");
        let config = Config::of(freely(Entry::program("s1", 2001), "192.0.2.77 2001:db8::77"))
            .with(freely(Entry::internal("echo", "echo", 2002, "dgram"), "192.0.2.77 2001:db8::77"))
            .with(Entry::program("other", 2003).set("bind", "192.0.2.77"));
        let daemon = world.start(&config);
        // Local address and port, and the inode, of what is bound to the two ports.
        let sockets = || {
            let tables = ["tcp", "tcp6", "udp", "udp6"].map(|name| format!("/proc/net/{name}"));
            let argv: Vec<&str> = ["/bin/cat"].into_iter().chain(tables.iter().map(String::as_str)).collect();
            let (_, text) = world.run(&argv, &[]);
            let of = |line: &str| -> Option<String> {
                let words: Vec<&str> = line.split_whitespace().collect();
                let (local, state, inode) = (*words.get(1)?, *words.get(3)?, words.get(9)?);
                let ours = local.ends_with(":07D1") && state == "0A" || local.ends_with(":07D2");
                ours.then(|| format!("{local} {inode}"))
            };
            text.lines().filter_map(of).collect::<Vec<_>>()
        };
        let before = sockets();
        assert_eq!(before.len(), 4, "{before:?}");
        for id in ["s1", "echo"] {
            assert_eq!(daemon.service_status(id)["state"], "active", "{id}");
        }
        assert_eq!(daemon.service_status("other")["not_open"][0]["address"], "192.0.2.77:2003");
        assert_eq!(world.daemon_log_count("bind failed"), 1, "of the one without the flag");
        ip(world, "address add 192.0.2.77/32 dev lo");
        ip(world, "address add 2001:db8::77/128 dev lo nodad");
        for to in ["192.0.2.77", "2001:db8::77"] {
            assert_eq!(at(to, to, 2001), served(), "{to}");
            let to: IpAddr = to.parse().expect("an address");
            let socket = UdpSocket::bind((to, 0)).expect("a datagram socket");
            socket.connect((to, 2002)).expect("an address");
            assert_eq!(ask(&socket, b"x", DEADLINE), Some(b"x".to_vec()), "{to}");
        }
        assert_eq!(sockets(), before, "the same sockets");
        // Without the address it goes on, and is there again.
        ip(world, "address delete 192.0.2.77/32 dev lo");
        ip(world, "address add 192.0.2.77/32 dev lo");
        assert_eq!(at("192.0.2.77", "192.0.2.77", 2001), served());
        assert_eq!(sockets(), before);
    });
}

/// `%name`: what comes in by that interface and nothing else; one that comes later, and one that goes and comes again.
#[test]
fn an_interface() {
    ours(|world| {
        let config = Config::new()
            .with(Entry::program("lo", 2001).set("bind", "%lo"))
            .with(Entry::program("both", 2002).set("bind", "%late0 %lo"))
            .with(Entry::internal("echo", "echo", 2003, "dgram").set("bind", "%lo"))
            .with(Entry::program("s1", 2004));
        let daemon = world.start(&config);
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2001), served());
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2002), served());
        assert_eq!(daemon.service_status("both")["not_open"][0]["address"], "[::]%late0:2002");
        assert_eq!(ask(&datagram_socket("127.0.0.1", 2003), b"x", DEADLINE), Some(b"x".to_vec()));
        for round in 0..2 {
            ip(world, "link add late0 type veth peer name late1");
            must("it listens on the interface", || daemon.count("both", "/listeners/open") == 2);
            ip(world, "link delete late0");
            must("it has noticed", || daemon.count("both", "/listeners/open") == 1);
            assert_eq!(at("127.0.0.1", "127.0.0.1", 2002), served(), "{round}");
        }
        assert_eq!(at("127.0.0.1", "127.0.0.1", 2004), served());
        // A client on this machine counts as coming in by the interface that has the address it connects to.
        ip(world, "link add late0 type veth peer name late1");
        ip(world, "addr add 192.0.2.77/24 dev late0");
        ip(world, "link set late0 up");
        let alone = Entry::program("alone", 2005).set("bind", "%late0");
        daemon
            .reload(&Config::new().with(alone).with(Entry::program("both", 2002).set("bind", "%late0 %lo")));
        must("both listen", || daemon.count("both", "/listeners/open") == 2);
        for (to, alone) in [("192.0.2.77", served()), ("127.0.0.1", Answer::refused())] {
            assert_eq!(at(to, to, 2002), served(), "{to}");
            assert_eq!(at(to, to, 2005), alone, "{to}");
        }
        ip(world, "link delete late0");
    });
}

/// A datagram service joins the group that it is bound to.
#[test]
fn a_group_is_joined() {
    ours(|world| {
        let entry = Entry::datagram("s1", 2001, "datagrams").set("bind", "239.1.2.3%lo");
        let daemon = world.start(&Config::of(entry));
        assert_eq!(daemon.service_status("s1")["state"], "active");
        let (_, groups) = world.run(&["/bin/cat", "/proc/net/igmp"], &[]);
        assert!(groups.contains("030201EF"), "{groups}");
    });
}
