//! Where a service listens: bind, families, v6only, and how addresses are written in its log (reference xinetd §2.3, §4.3).

use portreeve_compliance::client::{ask_again, dial_to, talk};
use portreeve_compliance::{Answer, Config, DEADLINE, End, Entry, Start, both};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::net::{SocketAddr, UdpSocket};

/// v6only: xinetd sets it for any value; the value in `defaults` never reaches its sockets.
#[test]
fn v6only() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("unset", 2001))
            .with(Entry::program("yes", 2002).set("v6only", "yes"))
            .with(Entry::program("no", 2003).set("v6only", "no"));
        let _daemon = world.start(&config);
        let reach = |from: &str, to: &str, port| match dial_to(from, to, port, DEADLINE) {
            Ok(mut connection) => connection.read_all(),
            Err(end) => Answer { bytes: Vec::new(), end },
        };
        for port in [2001, 2002, 2003] {
            assert_eq!(reach("::1", "::1", port), Answer::closed("served\n"), "{port}");
        }
        let served = Answer::closed("served\n");
        assert_eq!(reach("127.0.0.1", "127.0.0.1", 2001), served);
        assert_eq!(reach("127.0.0.1", "127.0.0.1", 2002).end, End::Refused);
        let expected = world.fix("v6only-means-what-it-says", Answer::refused(), served);
        assert_eq!(reach("127.0.0.1", "127.0.0.1", 2003), expected);
    });
}

/// v6only in `defaults`.
#[test]
fn v6only_in_defaults() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001)).defaults("v6only = yes"));
        let expected = world.fix("v6only-means-what-it-says", Answer::closed("served\n"), Answer::refused());
        assert_eq!(talk("127.0.0.1", 2001, b""), expected);
        assert_eq!(talk("::1", 2001, b""), Answer::closed("served\n"));
    });
}

/// bind and the family flags: which addresses the service answers at.
#[test]
fn bind_and_family() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("v4", 2001).set("bind", "127.0.0.5"))
            .with(Entry::program("v6", 2002).set("bind", "fd00:0:0:1::1"))
            .with(Entry::program("name", 2003).set("bind", "nine.example.org"))
            .with(Entry::program("flag4", 2004).first("flags = IPv4"))
            .with(Entry::program("flag6", 2005).first("flags = IPv6"))
            .with(Entry::program("interface", 2006).set("interface", "127.0.0.5"));
        let _daemon = world.start(&config);
        let table = [
            ("127.0.0.1", "127.0.0.5", 2001, true),
            ("127.0.0.1", "127.0.0.1", 2001, false),
            ("::1", "fd00:0:0:1::1", 2002, true),
            ("::1", "::1", 2002, false),
            ("127.0.0.1", "127.0.0.9", 2003, true),
            ("127.0.0.1", "127.0.0.1", 2003, false),
            ("127.0.0.1", "127.0.0.1", 2004, true),
            ("::1", "::1", 2004, false),
            ("::1", "::1", 2005, true),
            ("127.0.0.1", "127.0.0.1", 2005, true),
            ("127.0.0.1", "127.0.0.5", 2006, true),
            ("127.0.0.1", "127.0.0.1", 2006, false),
        ];
        for (from, to, port, served) in table {
            let answer = match dial_to(from, to, port, DEADLINE) {
                Ok(mut connection) => connection.read_all(),
                Err(end) => Answer { bytes: Vec::new(), end },
            };
            let expected = if served { Answer::closed("served\n") } else { Answer::refused() };
            assert_eq!(answer, expected, "{from} to {to} {port}");
        }
    });
}

/// The address in the logs: mapped on a socket for both families, plain on an IPv4 one.
#[test]
fn addresses_in_the_log() {
    both(|world| {
        let config = Config::new()
            .with(Entry::program("dual", 2001).set("log_on_success", "HOST"))
            .with(Entry::program("four", 2002).set("log_on_success", "HOST").first("flags = IPv4"));
        let _daemon = world.start(&config);
        for (from, port) in [("127.0.0.2", 2001), ("::1", 2001), ("fd00:0:0:1::2", 2001), ("127.0.0.2", 2002)]
        {
            assert_eq!(talk(from, port, b""), Answer::closed("served\n"));
        }
        world.expect_log(
            "dual",
            &["START: dual from=::ffff:127.0.0.2", "START: dual from=::1", "START: dual from=fd00:0:0:1::2"],
        );
        world.expect_log("four", &["START: four from=127.0.0.2"]);
    });
}

/// No /etc/protocols, as in many containers: xinetd refuses every service, whether it writes `protocol` or leaves it out.
#[test]
fn no_protocol_database() {
    both(|world| {
        world.cover("/etc/protocols", "# nothing\n");
        let config = Config::new()
            .with(Entry::program("written", 2001))
            .with(Entry::program("implied", 2002).unset("protocol"))
            .with(Entry::program("unknown", 2003).set("protocol", "sctp"));
        let start = Start { options: vec!["-stayalive".to_owned()], ..Start::default() };
        let _daemon = world.start_with(&config, start);
        let served = world.fix("tcp-and-udp-need-no-database", Answer::refused(), Answer::closed("served\n"));
        for port in [2001, 2002] {
            assert_eq!(talk("127.0.0.1", port, b""), served, "{port}");
        }
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::refused());
    });
}

/// A stream of another protocol than TCP: MPTCP takes clients of TCP too, SCTP does not, whether the kernel has it or not.
#[test]
fn streams_of_other_protocols() {
    both(|world| {
        world.cover("/etc/protocols", "tcp 6 TCP\nmptcp 262 MPTCP\nsctp 132 SCTP\n");
        let config = Config::new()
            .with(Entry::program("many", 2001).set("protocol", "mptcp"))
            .with(Entry::program("other", 2002).set("protocol", "sctp"));
        let start = Start { options: vec!["-stayalive".to_owned()], ..Start::default() };
        let daemon = world.start_with(&config, start);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::refused());
        if world.is_ours() {
            let listeners = std::fs::read_to_string("/proc/net/protocols").expect("a list");
            let has = listeners.lines().any(|line| line.starts_with("SCTP "));
            let status = daemon.service_status("other");
            assert_eq!(status["state"], if has { "active" } else { "retrying" }, "{status}");
            if !has {
                assert!(
                    status["note"].as_str().expect("a note").starts_with("Protocol not supported"),
                    "{status}"
                );
            }
        }
    });
}

/// A port of datagrams that one service has at every address and others, behind it in the file, at one: each datagram goes to whose address says the
/// most. Once they are bound nobody else can join them.
#[test]
fn datagram_services_share_a_port() {
    both(|world| {
        let narrow = |id: &str, bind: &str| {
            Entry::datagram(id, 2001, "datagrams 1").set("bind", bind).set("cps", "0 0")
        };
        let config = Config::new()
            .with(Entry::internal("echo", "wide", 2001, "dgram"))
            .with(narrow("first", "127.0.0.5"))
            .with(narrow("last", "127.0.0.6"));
        let daemon = world.start(&config);
        let asked = |to: &str| {
            let client = UdpSocket::bind("127.0.0.2:0").expect("a datagram socket");
            client.connect((to, 2001)).expect("an address");
            let answer = ask_again(&client, b"hello").expect("an answer");
            String::from_utf8_lossy(&answer).into_owned()
        };
        let each = || {
            assert_eq!(asked("127.0.0.1"), "hello");
            assert_eq!(asked("127.0.0.5"), "hello REMOTE_HOST=127.0.0.2");
            assert_eq!(asked("127.0.0.6"), "hello REMOTE_HOST=127.0.0.2");
        };
        each();
        // One that comes with a reload, beside sockets that serve.
        daemon.reload(&config.clone().with(narrow("new", "127.0.0.7")));
        each();
        assert_eq!(asked("127.0.0.7"), "hello REMOTE_HOST=127.0.0.2");
        let joined = |address: &str| {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
            sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
            rustix::net::bind(&socket, &address.parse::<SocketAddr>().expect("an address")).is_ok()
        };
        for address in ["127.0.0.5:2001", "127.0.0.7:2001", "127.0.0.9:2001"] {
            let taken = joined(address);
            assert_eq!(taken, world.fix("nobody-joins-a-datagram-port", true, false), "{address}");
        }
    });
}
