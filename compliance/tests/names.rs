//! Host names in the lists, with a name server of the test's own: names that lead elsewhere, and no answer at all
//! (reference xinetd §4.2, §15.1).

use portreeve_compliance::client::talk;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, DEADLINE, Entry, World, both, ours};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SERVED: &str = "served\n";

/// Reverse names by the last number of 127.0.0.N, and addresses of names. 21 claims to be 22's name.
const REVERSE: &[(u8, &str)] =
    &[(20, "good.example.net"), (21, "good.example.net"), (22, "other.example.net")];
const FORWARD: &[(&str, u8)] = &[("good.example.net", 20), ("other.example.net", 22)];

/// Answers PTR and A questions until told to stop.
fn name_server(socket: &UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let mut buffer = [0_u8; 1500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer(&buffer[..count]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// The answer to a question; `None` for what is none.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let name = labels.join(".");
    let data: Option<Vec<u8>> = match kind {
        12 => {
            let number = name.strip_suffix(".0.0.127.in-addr.arpa").and_then(|n| n.parse::<u8>().ok());
            let found = REVERSE.iter().find(|(n, _)| Some(*n) == number);
            found.map(|(_, name)| {
                let mut bytes = Vec::new();
                for label in name.split('.') {
                    bytes.push(u8::try_from(label.len()).expect("a short label"));
                    bytes.extend_from_slice(label.as_bytes());
                }
                bytes.push(0);
                bytes
            })
        }
        1 => FORWARD.iter().find(|(n, _)| *n == name).map(|(_, number)| vec![127, 0, 0, *number]),
        _ => None,
    };
    let known = FORWARD.iter().any(|(n, _)| *n == name);
    // Answer, recursion available; no such name unless it has another kind of record.
    let code = if data.is_some() || known { 0 } else { 3 };
    let mut out = question.get(..2)?.to_vec();
    out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..at + 4)?);
    if let Some(data) = data {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        out.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}

/// The name service of this world asks 127.0.0.53.
fn use_name_server(world: &World) {
    world.write(
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n",
    );
    world.write("etc/resolv.conf", "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n");
}

/// Runs `body` with the name server answering.
fn with_name_server(world: &World, body: impl FnOnce()) {
    use_name_server(world);
    let socket = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // This thread is in the world's network, and so is the socket; the thread need not be.
        scope.spawn(|| name_server(&socket, &stop));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// 127.0.0.21 claims the name of 127.0.0.20. xinetd believes it; ours asks the name where it leads.
#[test]
fn a_name_must_lead_back() {
    both(|world| {
        with_name_server(world, || {
            let four = |id: &str, port| Entry::program(id, port).first("flags = IPv4");
            let config = Config::new()
                .with(four("only", 2001).set("only_from", "good.example.net"))
                .with(four("suffix", 2002).set("only_from", ".example.net"))
                .with(four("no", 2003).set("no_access", "other.example.net"));
            let _daemon = world.start(&config);
            let liar = world.fix("names-lead-back", SERVED, "");
            let table = [
                ("127.0.0.20", 2001, SERVED),
                ("127.0.0.21", 2001, liar),
                ("127.0.0.22", 2001, ""),
                ("127.0.0.23", 2001, ""),
                ("127.0.0.20", 2002, SERVED),
                ("127.0.0.21", 2002, liar),
                ("127.0.0.23", 2002, ""),
                ("127.0.0.22", 2003, ""),
                ("127.0.0.20", 2003, SERVED),
                ("127.0.0.23", 2003, SERVED),
            ];
            for (from, port, expected) in table {
                assert_eq!(talk(from, port, b""), Answer::closed(expected), "{from} at {port}");
            }
        });
    });
}

/// The name server is silent: nobody gets in by a name, nobody who might be kept out by one gets in either.
#[test]
fn a_name_server_that_does_not_answer() {
    both(|world| {
        // The names must resolve when the file is read; the hosts file knows them, in this direction only for 127.0.0.9.
        let hosts = world.read("etc/hosts") + "127.0.0.40 away.example.net\n";
        world.write("etc/hosts", hosts);
        use_name_server(world);
        let socket = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
        let four = |id: &str, port| Entry::program(id, port).first("flags = IPv4");
        let config = Config::new()
            .with(four("only", 2001).set("only_from", "away.example.net"))
            .with(four("no", 2002).set("no_access", "away.example.net"))
            .with(four("address", 2003).set("only_from", "127.0.0.0/8 away.example.net"))
            .with(four("plain", 2004));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.41", 2003, b""), Answer::closed(SERVED), "an address needs no name");
        assert_eq!(talk("127.0.0.41", 2001, b""), Answer::closed(""));
        let expected = world.fix("no-answer-is-no-name", SERVED, "");
        assert_eq!(talk("127.0.0.41", 2002, b""), Answer::closed(expected));
        assert_eq!(talk("127.0.0.41", 2004, b""), Answer::closed(SERVED));
        drop(socket);
    });
}

/// While one client waits for its name, others are served. (xinetd asks in the child of the one; built-ins that do not
/// fork make its whole loop wait.)
#[test]
fn nobody_waits_for_the_name_of_another() {
    both(|world| {
        let hosts = world.read("etc/hosts") + "127.0.0.40 away.example.net\n";
        world.write("etc/hosts", hosts);
        use_name_server(world);
        let _silent = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
        let day = Entry::internal("daytime", "day", 2001, "stream")
            .first("flags = IPv4")
            .set("only_from", "away.example.net");
        let config = Config::of(day).with(Entry::program("other", 2002).first("flags = IPv4"));
        let _daemon = world.start(&config);
        let mut waiting = portreeve_compliance::client::dial("127.0.0.41", 2001).expect("a connection");
        assert_eq!(talk("127.0.0.42", 2002, b""), Answer::closed(SERVED));
        let early = waiting.read_for(Duration::from_millis(1));
        let waits = early.end == portreeve_compliance::End::Open;
        if world.is_ours() {
            assert!(waits, "the other was served while this one waited: {early:?}");
        }
        assert_eq!(waiting.read_for(DEADLINE), Answer::closed(""));
        must("the refusal is logged", || {
            world.service_log("day").contains(&"FAIL: day address from=127.0.0.41".to_owned())
        });
    });
}

/// hosts.allow and hosts.deny by name: confirmed, unknown, and contradictory (reference tcp-wrappers A6, A11).
#[test]
fn the_tables_tell_names_from_liars() {
    both(|world| {
        with_name_server(world, || {
            let four = Entry::program("s1", 2001).first("flags = IPv4").set("cps", "0 0");
            let _daemon = world.start(&Config::of(four));
            // Who is served of 20 (has a name), 21 (claims the name of 20), 22 (has another), 23 (has none).
            for (allow, deny, served) in [
                ("", "ALL: PARANOID\n", [true, false, true, true]),
                ("", "ALL: UNKNOWN\n", [true, true, true, false]),
                ("", "ALL: KNOWN\n", [false, true, false, true]),
                ("", "ALL: .example.net\n", [false, true, false, true]),
                ("ALL: good.example.net\n", "ALL: ALL\n", [true, false, false, false]),
                ("ALL: ALL EXCEPT other.example.net\n", "ALL: ALL\n", [true, true, false, true]),
                ("ALL: *.net EXCEPT good.*\n", "ALL: ALL\n", [false, false, true, false]),
                ("ALL: LOCAL\n", "ALL: ALL\n", [false, false, false, false]),
                // What is expanded is cleaned, and a name is looked up for it.
                (
                    "ALL: ALL : aclexec test %n = good.example.net\n",
                    "ALL: ALL\n",
                    [true, false, false, false],
                ),
                ("ALL: ALL : aclexec test %n = paranoid\n", "ALL: ALL\n", [false, true, false, false]),
                ("ALL: ALL : aclexec test %h = 127.0.0.20\n", "ALL: ALL\n", [true, false, false, false]),
            ] {
                world.write("etc/hosts.allow", allow);
                world.write("etc/hosts.deny", deny);
                for (number, served) in (20..).zip(served) {
                    let expected = Answer::closed(if served { SERVED } else { "" });
                    let from = format!("127.0.0.{number}");
                    assert_eq!(talk(&from, 2001, b""), expected, "{from}: allow {allow:?}, deny {deny:?}");
                }
            }
        });
    });
}

/// A name that could not be asked for is not `unknown`: where a rule hangs on it, the client is refused, and the log says why.
/// Rules of addresses go on deciding meanwhile.
#[test]
fn the_tables_and_a_name_server_that_does_not_answer() {
    both(|world| {
        use_name_server(world);
        world.write("etc/resolv.conf", "nameserver 127.0.0.53\noptions timeout:4 attempts:1\n");
        let _silent = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
        world.write("etc/hosts.allow", "address: 127.0.0.41\nnamed: ALL EXCEPT .evil.example\nplain: ALL\n");
        world.write("etc/hosts.deny", "ALL: ALL\n");
        let entry = |id: &str, port| Entry::program(id, port).first("flags = IPv4").set("libwrap", id);
        let config =
            Config::new().with(entry("address", 2001)).with(entry("named", 2002)).with(entry("plain", 2003));
        let _daemon = world.start(&config);
        let mut waiting = portreeve_compliance::client::dial("127.0.0.41", 2002).expect("a connection");
        for _ in 0..3 {
            assert_eq!(talk("127.0.0.41", 2001, b""), Answer::closed(SERVED));
            assert_eq!(talk("127.0.0.42", 2001, b""), Answer::closed(""));
            assert_eq!(talk("127.0.0.42", 2003, b""), Answer::closed(SERVED));
        }
        assert_eq!(waiting.read_for(Duration::from_millis(1)).end, portreeve_compliance::End::Open);
        let expected = world.fix("no-answer-is-no-name", SERVED, "");
        assert_eq!(waiting.read_for(DEADLINE), Answer::closed(expected));
        if world.is_ours() {
            world.expect_daemon_log(&[
                "INFO: libwrap refused connection to named (libwrap=named) from 127.0.0.41",
                "WARNING: service named: the client's host name could not be asked for, and rules hang on it: 127.0.0.41 is refused (/etc/hosts.deny, line 1)",
            ]);
        }
    });
}

/// Whoever fills the places of his own lookups is refused by a rule that hangs on one, and not let in by it (`ALL EXCEPT`);
/// others are served meanwhile.
#[test]
fn a_full_queue_opens_no_door() {
    ours(|world| {
        use_name_server(world);
        world.write("etc/resolv.conf", "nameserver 127.0.0.53\noptions timeout:20 attempts:1\n");
        let _silent = UdpSocket::bind("127.0.0.53:53").expect("the name server's port");
        world.write("etc/hosts.allow", "ALL: 127.0.0.42\nALL: ALL EXCEPT .evil.example\n");
        world.write("etc/hosts.deny", "ALL: ALL\n");
        let entry = Entry::program("s1", 2001).first("flags = IPv4").set("cps", "0 0");
        let _daemon = world.start(&Config::of(entry));
        let mut waiting: Vec<_> = (0..16)
            .map(|_| portreeve_compliance::client::dial("127.0.0.41", 2001).expect("a connection"))
            .collect();
        assert_eq!(talk("127.0.0.41", 2001, b""), Answer::closed(""), "one more than may wait");
        assert_eq!(talk("127.0.0.42", 2001, b""), Answer::closed(SERVED), "an address needs no name");
        for connection in &mut waiting {
            let answer = connection.read_for(Duration::from_millis(1));
            assert_eq!(answer.text(), "", "nobody of them is let in");
        }
        must("it is said", || world.daemon_log_count("the client's host name could not be asked for") > 0);
    });
}

/// A resolver that is stopped answers nobody and does not die: it is replaced, and the next client has a name again.
#[test]
fn a_resolver_that_hangs_is_replaced() {
    ours(|world| {
        world.write("etc/hosts", world.read("etc/hosts") + "127.0.0.41 good.example.net\n");
        world.write("etc/hosts.allow", "ALL: good.example.net\n");
        world.write("etc/hosts.deny", "ALL: ALL\n");
        let entry = Entry::program("s1", 2001).first("flags = IPv4").set("cps", "0 0");
        let _daemon = world.start(&Config::of(entry));
        assert_eq!(talk("127.0.0.41", 2001, b""), Answer::closed(SERVED));
        let resolver = world.processes("worker resolver");
        assert_eq!(resolver.len(), 1, "{resolver:?}");
        assert!(world.signal(resolver[0], portreeve_compliance::signals::STOP));
        let mut waiting = portreeve_compliance::client::dial("127.0.0.41", 2001).expect("a connection");
        assert_eq!(waiting.read_for(DEADLINE), Answer::closed(""), "its name could not be asked for");
        must("it is said", || world.daemon_log_count("worker resolver lost: it does not answer") == 1);
        must("the next client has a name", || talk("127.0.0.41", 2001, b"") == Answer::closed(SERVED));
        assert_ne!(world.processes("worker resolver"), resolver);
    });
}
