//! The built-in services (reference xinetd §9.1, §9.2).

use portreeve_compliance::client::{ask, ask_again, datagram_socket, dial, talk};
use portreeve_compliance::wait::{closed_hours, must, never, some_load};
use portreeve_compliance::{Answer, Config, End, Entry, both, ours};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn stream(name: &str, port: u16) -> Entry {
    Entry::internal(name, name, port, "stream")
}

fn dgram(name: &str, port: u16) -> Entry {
    Entry::internal(name, &format!("{name}-dgram"), port, "dgram").set("cps", "0 0")
}

/// `22 NOV 2026 16:16:12 UTC\r\n`; month and zone in capitals, day padded to two.
fn is_daytime(text: &str) -> bool {
    let Some(line) = text.strip_suffix("\r\n") else { return false };
    let words: Vec<&str> = line.split(' ').collect();
    let [day, month, year, clock, zone] = words.as_slice() else { return false };
    let months = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    let clock: Vec<&str> = clock.split(':').collect();
    digits(day, 2)
        && months.contains(month)
        && digits(year, 4)
        && clock.len() == 3
        && clock.iter().all(|part| digits(part, 2))
        && *zone == "UTC"
}

/// Seconds since 1900, as `time` counts.
fn since_1900() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from((now + 2_208_988_800) % (1 << 32)).unwrap_or(0)
}

fn is_now(bytes: &[u8]) -> bool {
    let Ok(four) = <[u8; 4]>::try_from(bytes) else { return false };
    since_1900().wrapping_sub(u32::from_be_bytes(four)) < 60
}

/// The stream forms: what they say, and that they end by themselves or with the client.
#[test]
fn streams() {
    both(|world| {
        let names = ["echo", "discard", "daytime", "time", "chargen"];
        let config = Config::new().with_all((2001..).zip(names).map(|(port, name)| stream(name, port)));
        let _daemon = world.start(&config);

        let mut echo = dial("127.0.0.1", 2001).expect("echo");
        echo.send(b"hello");
        assert_eq!(echo.read_count(5).bytes, b"hello");
        // More than any buffer, with the sending half closed at the end.
        let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = large.clone();
        let mut writer =
            portreeve_compliance::Connection { stream: echo.stream.try_clone().expect("a copy") };
        let sending = std::thread::spawn(move || {
            writer.send(&copy);
            writer.finish();
        });
        let back = echo.read_all();
        sending.join().expect("to send");
        assert_eq!((back.bytes.len(), back.end), (large.len(), End::Closed));
        assert!(back.bytes == large, "echo changed the bytes");

        let mut discard = dial("127.0.0.1", 2002).expect("discard");
        discard.send(&[b'x'; 5000]);
        discard.finish();
        assert_eq!(discard.read_all(), Answer::closed(""));

        let day = talk("127.0.0.1", 2003, b"");
        assert!(is_daytime(&day.text()) && day.end == End::Closed, "{day:?}");

        let time = talk("127.0.0.1", 2004, b"");
        assert!(is_now(&time.bytes) && time.end == End::Closed, "{time:?}");

        let mut chargen = dial("127.0.0.1", 2005).expect("chargen");
        let text = chargen.read_count(74 * 200);
        assert_chargen(&text.bytes);
    });
}

/// Lines of 72 rising characters and CR LF, each beginning one further. Where the alphabet begins and ends is free:
/// xinetd's lacks `~`, and its position jumps back now and then.
fn assert_chargen(bytes: &[u8]) {
    let lines: Vec<&[u8]> = bytes.chunks_exact(74).collect();
    assert!(lines.len() >= 100, "{} bytes", bytes.len());
    let follows = |a: u8, b: u8| b == a + 1 || b == b'!' || a >= b'}' && b == b' ';
    for pair in lines.windows(2) {
        let [a, b] = pair else { unreachable!() };
        assert_eq!(&a[72..], b"\r\n");
        assert!(a[..72].iter().all(|c| (b' '..=b'~').contains(c)), "{:?}", String::from_utf8_lossy(a));
        assert!(a[..72].windows(2).all(|step| follows(step[0], step[1])), "{:?}", String::from_utf8_lossy(a));
        assert!(follows(a[0], b[0]), "{:?} after {:?}", b[0] as char, a[0] as char);
    }
}

/// Logs: echo, discard and chargen have a process in xinetd, daytime and time have none (pid 0, no EXIT).
#[test]
fn stream_logs() {
    both(|world| {
        let config =
            Config::new().with(stream("daytime", 2001)).with(stream("time", 2002)).with(stream("echo", 2003));
        let _daemon = world.start(&config);
        for (port, id) in [(2001, "daytime"), (2002, "time")] {
            talk("127.0.0.1", port, b"");
            world.expect_log(id, &[format!("START: {id} pid=0 from=::ffff:127.0.0.1")]);
        }
        let mut echo = dial("127.0.0.1", 2003).expect("echo");
        echo.finish();
        assert_eq!(echo.read_all(), Answer::closed(""));
        // A process for each connection in theirs; in ours one worker serves them all.
        let pid = world.fix("builtins-have-no-process-of-their-own", "N", "0");
        world.expect_log(
            "echo",
            &[
                format!("START: echo pid={pid} from=::ffff:127.0.0.1"),
                format!("EXIT: echo status=0 pid={pid} duration=N(sec)"),
            ],
        );
    });
}

/// The datagram forms. xinetd answers one byte with 1024; ours never says more than it was told.
#[test]
fn datagrams() {
    both(|world| {
        let names = ["echo", "discard", "daytime", "time", "chargen"];
        let config = Config::new().with_all((2001..).zip(names).map(|(port, name)| dgram(name, port)));
        let _daemon = world.start(&config);
        let socket = |port| datagram_socket("127.0.0.1", port);
        assert_eq!(ask_again(&socket(2001), b"hello").as_deref(), Some(&b"hello"[..]));
        assert_eq!(
            ask_again(&socket(2001), b"").as_deref(),
            Some(&b""[..]),
            "an empty one is answered by an empty one"
        );
        let large = ask_again(&socket(2001), &[b'x'; 4000]).map(|bytes| bytes.len());
        assert_eq!(large, Some(world.fix("datagram-echo-is-whole", 2048, 4000)));
        assert_eq!(ask(&socket(2002), b"x", Duration::from_millis(300)), None, "discard says nothing");
        let padded = [b'.'; 64];
        let day = ask_again(&socket(2003), &padded).unwrap_or_default();
        assert!(is_daytime(&String::from_utf8_lossy(&day)), "{day:?}");
        let time = ask_again(&socket(2004), &padded).unwrap_or_default();
        assert!(is_now(&time), "{time:?}");
        let chargen = socket(2005);
        let one = ask(&chargen, b"x", Duration::from_millis(500)).map(|bytes| bytes.len());
        assert_eq!(one, world.fix("no-amplification", Some(1024), Some(1)));
        let many = ask_again(&chargen, &[b'x'; 600]).map(|bytes| bytes.len());
        assert_eq!(many, world.fix("no-amplification", Some(1024), Some(600)));
    });
}

/// The limits that a datagram can meet: it occupies no instance, so of the numbers the 0 counts.
#[test]
fn limits_of_datagrams() {
    both(|world| {
        some_load();
        let hours = closed_hours();
        let table = [
            ("instances", "0", "service_limit"),
            ("per_source", "0", "per_source_limit"),
            ("access_times", hours.as_str(), "time"),
            ("max_load", "0.001", "load"),
        ];
        let mut config = Config::new();
        for (port, (limit, value, word)) in (2001..).zip(table) {
            let echo = Entry::internal("echo", word, port, "dgram").set("cps", "0 0");
            config = config.with(echo.set(limit, value));
        }
        let one = dgram("echo", 2009).set("instances", "1").set("per_source", "1");
        let _daemon = world.start(&config.with(one));
        assert_eq!(ask_again(&datagram_socket("127.0.0.1", 2009), b"hello").as_deref(), Some(&b"hello"[..]));
        for (port, (limit, _, word)) in (2001..).zip(table) {
            let socket = datagram_socket("127.0.0.1", port);
            assert_eq!(ask(&socket, b"x", Duration::from_millis(300)), None, "{limit}");
            world.expect_log(word, &[format!("FAIL: {word} {word} from=::ffff:127.0.0.1")]);
        }
    });
}

/// Two built-ins cannot be made to talk to each other, and low ports are not answered.
#[test]
fn loops() {
    both(|world| {
        let config = Config::new().with(dgram("echo", 2001)).with(dgram("chargen", 2002));
        let _daemon = world.start(&config);
        assert_eq!(ask_again(&datagram_socket("127.0.0.1", 2001), b"up").as_deref(), Some(&b"up"[..]));
        // From the port of another service and from one below 1024.
        for port in [19_u16, 1023] {
            let low = std::net::UdpSocket::bind(("127.0.0.3", port)).expect("a low port");
            low.connect(("127.0.0.1", 2002)).expect("an address");
            let answered = if world.is_ours() {
                ask(&low, &[b'x'; 100], Duration::from_millis(700)).is_some()
            } else {
                ask_again(&low, &[b'x'; 100]).is_some()
            };
            assert_eq!(answered, world.fix("no-answer-to-low-ports", true, false), "from port {port}");
        }
    });
}

/// One idle client of a stream built-in must not keep others out, and it holds no process in ours.
#[test]
fn idle_clients() {
    both(|world| {
        let entry =
            stream("echo", 2001).set("cps", "0 0").only(portreeve_compliance::Side::Ours, "idle_timeout = 1");
        let _daemon = world.start(&Config::of(entry));
        let mut idle: Vec<_> = (0..20).map(|_| dial("127.0.0.1", 2001).expect("echo")).collect();
        let mut busy = dial("127.0.0.1", 2001).expect("echo");
        busy.send(b"here");
        assert_eq!(busy.read_count(4).bytes, b"here");
        let first = &mut idle[0];
        if world.is_ours() {
            assert_eq!(first.read_all().end, End::Closed, "after the idle timeout");
        } else {
            assert_eq!(first.read_for(Duration::from_millis(1500)).end, End::Open, "for ever");
        }
    });
}

/// Built-ins that do not fork never occupy an instance; the others do.
#[test]
fn instances_of_builtins() {
    both(|world| {
        let config = Config::new()
            .with(stream("echo", 2001).set("instances", "1"))
            .with(stream("daytime", 2002).set("instances", "1"));
        let _daemon = world.start(&config);
        let mut first = dial("127.0.0.1", 2001).expect("echo");
        first.send(b"x");
        assert_eq!(first.read_count(1).bytes, b"x");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        must("the refusal is logged", || {
            world.service_log("echo").contains(&"FAIL: echo service_limit from=::ffff:127.0.0.1".to_owned())
        });
        let held: Vec<_> = (0..5).map(|_| dial("127.0.0.1", 2002).expect("daytime")).collect();
        for mut connection in held {
            assert!(is_daytime(&connection.read_all().text()));
        }
        first.finish();
        first.read_all();
        must("the instance is free again", || talk_echo(2001));
    });
}

fn talk_echo(port: u16) -> bool {
    let Ok(mut connection) = dial("127.0.0.1", port) else { return false };
    connection.send(b"y");
    connection.read_count(1).bytes == b"y"
}

/// A name that is no built-in.
#[test]
fn unknown_builtins() {
    both(|world| {
        let config = Config::new().with(stream("nonsense", 2001)).with(stream("daytime", 2002));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        let message = "No such internal service: nonsense/stream - DISABLING";
        assert!(world.daemon_log_count(message) >= 1, "{:?}", world.daemon_log());
        assert!(is_daytime(&talk("127.0.0.1", 2002, b"").text()));
    });
}

/// What `servers` tells once nobody but the client of `held` is left: a session has ended when its worker has said so,
/// which is after its client has seen the end.
fn servers_of_held_alone() -> String {
    let mut servers = String::new();
    must("the sessions before have ended", || {
        servers = talk("127.0.0.1", 2001, b"").text();
        servers.matches(" server\n").count() == 1
    });
    servers
}

/// servers, services and xadmin, which were taken out of xinetd in 2003, in the form that they had.
#[test]
fn what_tells_of_this_host() {
    both(|world| {
        let names = [(2001, "servers"), (2002, "services"), (2003, "xadmin")];
        let telling = names.map(|(port, name)| stream(name, port));
        let config = Config::new().with_all(telling).with(Entry::probe("held", 2004, "hold")).with(
            Entry::bare("way", 2005)
                .set("type", "UNLISTED")
                .set("socket_type", "stream")
                .set("protocol", "tcp")
                .set("wait", "no")
                .set("user", "root")
                .set("redirect", "127.0.0.1 2004"),
        );
        let _daemon = world.start(&config);
        let mut held = dial("127.0.0.1", 2004).expect("a connection");
        assert_eq!(held.read_until(b"\n").text(), "held\n");
        let refused = names.map(|_| true);
        let is_refused = names.map(|(port, _)| talk("127.0.0.1", port, b"bye\n") == Answer::refused());
        assert_eq!(is_refused, world.fix("built-ins-of-2003", refused, names.map(|_| false)));
        if !world.is_ours() {
            return;
        }
        assert_eq!(talk("::1", 2002, b""), Answer::refused(), "loopback, and IPv4 alone");
        let servers = servers_of_held_alone();
        let lines: Vec<&str> = servers.lines().collect();
        assert_eq!(lines.len(), 7, "{servers}");
        assert_eq!(lines[0], "held server");
        assert!(lines[1].starts_with("pid = ") && lines[2].starts_with("start_time = "), "{servers}");
        assert_eq!(lines[3..5], ["Connection info:", "\tservice = held"]);
        assert!(lines[5].starts_with("\tremote_address = ") && lines[6].is_empty(), "{servers}");
        let services = talk("127.0.0.1", 2002, b"");
        let wanted = "servers tcp 2001\nservices tcp 2002\nxadmin tcp 2003\nheld tcp 2004\nway tcp 2005\n";
        assert_eq!(services, Answer::closed(wanted));
        let told = talk("127.0.0.1", 2003, b"show avail\nfrobnicate\nshow run\nbye\n").text();
        assert!(
            told.starts_with(
                "> Available services:\nservice    port   bound address    uid redir addr redir port\n"
            ),
            "{told}"
        );
        assert!(told.contains("\nxadmin     2003   127.0.0.1        0     \n"), "{told}");
        assert!(
            told.contains("\nway        2005                    0      127.0.0.1        2004  \n"),
            "{told}"
        );
        assert!(
            told.contains("> > Running services:\nservice  run retry attempts descriptor\nheld server\n"),
            "{told}"
        );
        assert!(told.ends_with("> bye bye\n"), "{told}");
        world.expect_log(
            "services",
            &[
                "START: services pid=0 from=127.0.0.1",
                "EXIT: services status=0 pid=0 duration=N(sec)",
                "START: services pid=0 from=127.0.0.1",
                "EXIT: services status=0 pid=0 duration=N(sec)",
            ],
        );
        servers_of_held_alone();
        // Whoever only connects is told nothing but a prompt, and no more than 16 at once are served.
        let mut idle: Vec<_> = (0..16).map(|_| dial("127.0.0.1", 2003).expect("a connection")).collect();
        for connection in &mut idle {
            assert_eq!(connection.read_count(2).text(), "> ");
        }
        assert_eq!(talk("127.0.0.1", 2003, b"").text(), "");
        drop(idle);
        must("there is room again", || talk("127.0.0.1", 2002, b"").text() == wanted);
    });
}

/// wait = yes is accepted for a built-in stream; the peer is unknown to xinetd.
#[test]
fn single_threaded_stream() {
    both(|world| {
        let _daemon = world.start(&Config::of(stream("daytime", 2001).set("wait", "yes")));
        for _ in 0..3 {
            let day = talk("127.0.0.1", 2001, b"");
            assert!(is_daytime(&day.text()), "{day:?}");
        }
    });
}

/// A service named `sensor` without the flag runs xinetd's discard loop in the daemon itself, which then spins.
#[test]
fn a_service_named_sensor() {
    both(|world| {
        let entry = stream("sensor", 2001).unset("log_type");
        let daemon = world.start(&Config::of(entry).with(Entry::program("other", 2002)));
        if world.is_ours() {
            // Whatever becomes of that entry, the other service is served.
            let _ = dial("127.0.0.1", 2001);
            assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
            never("the log fills", Duration::from_millis(300), || world.daemon_log().len() > 100);
        } else {
            let mut connection = dial("127.0.0.1", 2001).expect("sensor");
            connection.send(b"x");
            drop(connection);
            must("the daemon spins", || world.read("daemon.log").len() > 100_000);
            daemon.signal(portreeve_compliance::signals::KILL);
        }
    });
}

/// Each answered datagram is a start of the minute; xinetd has no such limit.
#[test]
fn starts_per_minute_counts_datagrams() {
    ours(|world| {
        let daemon = world.start(&Config::of(dgram("echo", 2001).set("starts_per_minute", "3")));
        let client = datagram_socket("127.0.0.1", 2001);
        for n in 0..5u8 {
            client.send(&[b'0' + n]).expect("to send");
        }
        let mut buffer = [0; 8];
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        for n in 0..3u8 {
            assert_eq!(client.recv(&mut buffer).ok(), Some(1));
            assert_eq!(buffer[0], b'0' + n);
        }
        let told = "service echo-dgram: 3 starts within a minute; its clients wait until there is room";
        must("it is told", || world.daemon_log_count(told) == 1);
        let served = "START: echo-dgram pid=0 from=::ffff:127.0.0.1";
        let refused = "FAIL: echo-dgram connections per second from=::ffff:127.0.0.1";
        world.expect_log("echo-dgram", &[served, served, served, refused]);
        // The fourth was refused, the fifth waits in the kernel's queue.
        must("it is seen", || {
            let status = daemon.status();
            let service = status.pointer("/services/0").cloned().unwrap_or_default();
            let limits = service.get("limits").cloned().unwrap_or_default();
            let limits = limits.as_array().cloned().unwrap_or_default();
            let mine =
                limits.iter().find(|one| one["name"] == "starts_per_minute").cloned().unwrap_or_default();
            mine["used"] == 3 && mine["limit"] == 3 && service["refused"]["connections per second"] == 1
        });
        assert_eq!(world.daemon_log_count(told), 1);
    });
}
