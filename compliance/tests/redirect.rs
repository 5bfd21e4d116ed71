//! `redirect` (reference xinetd §8): bytes both ways, halves that close, targets that are not there, limits, banners, logs,
//! reload. The targets are threads of the test inside the world.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, End, Entry, World, both, ours};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn redirected(id: &str, port: u16, target: &str) -> Entry {
    Entry::redirected(id, port, target)
        .first("flags = IPv4")
        .set("log_on_success", "HOST PID EXIT DURATION TRAFFIC")
}

/// A target: each connection gets a thread that runs `serve`; what that returns comes out here.
fn target<T: Send + 'static>(
    address: &str,
    serve: impl Fn(TcpStream) -> T + Send + Sync + 'static,
) -> Receiver<T> {
    let listener = TcpListener::bind(address).expect("the target's socket");
    let (said, heard) = channel();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (said, serve) = (said.clone(), serve.clone());
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                let _ = stream.set_write_timeout(Some(Duration::from_secs(60)));
                let _ = said.send(serve(stream));
            });
        }
    });
    heard
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// The number of processes of theirs, none of ours.
fn pid(world: &World) -> &'static str {
    world.fix("redirects-have-no-process-of-their-own", "N", "0")
}

/// Bytes go through and are counted, over IPv4 and IPv6, as xinetd logs them.
#[test]
fn traffic() {
    both(|world| {
        let _four = target("127.0.0.1:3001", echo);
        let _six = target("[::1]:3002", echo);
        let config = Config::new()
            .with(redirected("r4", 2001, "127.0.0.1 3001"))
            .with(redirected("r6", 2002, "::1 3002"));
        let _daemon = world.start(&config);
        for (port, id) in [(2001, "r4"), (2002, "r6")] {
            let mut client = dial("127.0.0.1", port).expect("a connection");
            client.send(b"hello");
            assert_eq!(client.read_count(5).text(), "hello", "{id}");
            drop(client);
            let pid = pid(world);
            world.expect_log(
                id,
                &[
                    format!("START: {id} pid={pid} from=127.0.0.1"),
                    format!("TRAFFIC: {id} in=5(bytes) out=5(bytes)"),
                    format!("EXIT: {id} status=0 pid={pid} duration=N(sec)"),
                ],
            );
        }
    });
}

/// A half that closes leaves the other one open, whichever it is. xinetd closes both.
#[test]
fn half_close() {
    both(|world| {
        let counted = target("127.0.0.1:3001", |mut stream| {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = write!(stream, "{} bytes", all.len());
        });
        let later = target("127.0.0.1:3002", |mut stream| {
            let _ = stream.write_all(b"bye");
            let _ = stream.shutdown(Shutdown::Write);
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            String::from_utf8_lossy(&all).into_owned()
        });
        let config = Config::new().with(redirected("r1", 2001, "127.0.0.1 3001")).with(redirected(
            "r2",
            2002,
            "127.0.0.1 3002",
        ));
        let _daemon = world.start(&config);

        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        client.send(b"four");
        client.finish();
        let answer = world.fix("redirect-half-close", "", "4 bytes");
        assert_eq!(client.read_all(), Answer::closed(answer));
        counted.recv_timeout(Duration::from_secs(30)).expect("the target has ended");

        let mut client = dial("127.0.0.1", 2002).expect("a connection");
        assert_eq!(client.read_all(), Answer::closed("bye"));
        client.send(b"later");
        client.finish();
        let heard = later.recv_timeout(Duration::from_secs(30)).expect("the target has ended");
        assert_eq!(heard, world.fix("redirect-half-close", "", "later"));
    });
}

/// A target that refuses: the client sees an end, the log says why.
#[test]
fn refused_target() {
    both(|world| {
        let _daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        world.expect_daemon_log(&[
            "ERROR: can't connect to remote host 127.0.0.1: Connection refused (errno = 111)",
        ]);
        let pid = pid(world);
        world.expect_log(
            "r",
            &[
                format!("START: r pid={pid} from=127.0.0.1"),
                format!("EXIT: r status=0 pid={pid} duration=N(sec)"),
            ],
        );
    });
}

/// A target that does not answer, and one that falls silent: the idle time ends both.
#[test]
fn silent_targets() {
    ours(|world| {
        // Its queue is full, so the kernel answers no more of them.
        let full =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                .expect("a socket");
        let address: std::net::SocketAddr = "127.0.0.1:3001".parse().expect("an address");
        rustix::net::bind(&full, &address).expect("to bind");
        rustix::net::listen(&full, 0).expect("to listen");
        let _queued = TcpStream::connect(address).expect("the only place");
        let _silent = target("127.0.0.1:3002", |stream| {
            std::thread::sleep(Duration::from_secs(20));
            drop(stream);
        });
        let config = Config::new()
            .with(redirected("r1", 2001, "127.0.0.1 3001").set("idle_timeout", "1"))
            .with(redirected("r2", 2002, "127.0.0.1 3002").set("idle_timeout", "1"));
        let _daemon = world.start(&config);
        for port in [2001, 2002] {
            assert_eq!(talk("127.0.0.1", port, b"x"), Answer::closed(""), "{port}");
        }
        world.expect_daemon_log(&[
            "ERROR: can't connect to remote host 127.0.0.1: Connection timed out (errno = 110)",
        ]);
        must("both are over", || {
            ["r1", "r2"].iter().all(|id| world.service_log(id).iter().any(|line| line.starts_with("EXIT")))
        });
    });
}

/// Bytes that no other place of the stream repeats.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Megabytes both ways at once, with a reader that begins late.
#[test]
fn megabytes() {
    ours(|world| {
        const LENGTH: usize = 12 << 20;
        let heard = target("127.0.0.1:3001", |stream| {
            let mut writer = stream.try_clone().expect("a copy");
            let sending = std::thread::spawn(move || {
                let _ = writer.write_all(&pattern(LENGTH, 7));
                let _ = writer.shutdown(Shutdown::Write);
            });
            std::thread::sleep(Duration::from_millis(300));
            let mut all = Vec::new();
            let _ = { stream }.read_to_end(&mut all);
            let _ = sending.join();
            all
        });
        let _daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        let mut writer = Connection { stream: client.stream.try_clone().expect("a copy") };
        let sending = std::thread::spawn(move || {
            writer.send(&pattern(LENGTH, 3));
            writer.finish();
        });
        let answer = client.read_for(Duration::from_secs(60));
        sending.join().expect("to send");
        assert_eq!((answer.bytes.len(), answer.end), (LENGTH, End::Closed));
        assert!(answer.bytes == pattern(LENGTH, 7), "what came down was changed");
        let up = heard.recv_timeout(Duration::from_secs(60)).expect("the target has ended");
        assert!(up == pattern(LENGTH, 3), "what went up was changed: {} bytes", up.len());
        must("it is counted", || {
            world.read("log/r").contains(&format!("in={LENGTH}(bytes) out={LENGTH}(bytes)"))
        });
    });
}

/// Many at once; one that does not read holds up nobody else.
#[test]
fn many_at_once() {
    both(|world| {
        let _echo = target("127.0.0.1:3001", echo);
        let _flood = target("127.0.0.1:3002", |mut stream| {
            let _ = stream.write_all(&vec![b'x'; 32 << 20]);
        });
        let config = Config::new().with(redirected("r", 2001, "127.0.0.1 3001")).with(redirected(
            "flood",
            2002,
            "127.0.0.1 3002",
        ));
        let _daemon = world.start(&config);
        let _deaf = dial("127.0.0.1", 2002).expect("one that does not read");
        let mut clients: Vec<Connection> =
            (0..150).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("client {number:03}").as_bytes());
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read_count(10).text(), format!("client {number:03}"));
        }
    });
}

/// instances, per_source, only_from and hosts.deny hold as for any service; an ended connection gives its place back.
#[test]
fn limits() {
    both(|world| {
        let _echo = target("127.0.0.1:3001", echo);
        let to = "127.0.0.1 3001";
        let config = Config::new()
            .with(redirected("all", 2001, to).set("instances", "1"))
            .with(redirected("each", 2002, to).set("per_source", "1"))
            .with(redirected("some", 2003, to).set("only_from", "127.0.0.2"))
            .with(redirected("wrapped", 2004, to));
        world.write("etc/hosts.deny", "wrapped: 127.0.0.1\n");
        let _daemon = world.start(&config);
        let served = |from: &str, port| {
            let mut client = dial(from, port).expect("a connection");
            client.send(b"x");
            let answer = client.read_count(1);
            (!answer.bytes.is_empty()).then_some(client)
        };
        let first = served("127.0.0.1", 2001);
        assert!(first.is_some() && served("127.0.0.2", 2001).is_none());
        drop(first);
        must("its place is free", || served("127.0.0.2", 2001).is_some());
        let first = served("127.0.0.1", 2002);
        assert!(first.is_some() && served("127.0.0.1", 2002).is_none());
        assert!(served("127.0.0.2", 2002).is_some());
        assert!(served("127.0.0.1", 2003).is_none() && served("127.0.0.2", 2003).is_some());
        assert!(served("127.0.0.1", 2004).is_none() && served("127.0.0.2", 2004).is_some());
        let failed = |id: &str, reason: &str| {
            let line = format!("FAIL: {id} {reason} from=127.0.0.1");
            must("the refusal is logged", || world.service_log(id).contains(&line));
        };
        failed("each", "per_source_limit");
        failed("some", "address");
        failed("wrapped", "libwrap");
    });
}

/// banner_success: before the target's bytes, and only where there is a target.
#[test]
fn banner() {
    both(|world| {
        let _daytime = target("127.0.0.1:3001", |mut stream| {
            let _ = stream.write_all(b"target\n");
        });
        let banner = world.write("banner", "welcome\n");
        let config = Config::new()
            .with(redirected("r1", 2001, "127.0.0.1 3001").set("banner_success", &banner))
            .with(redirected("r2", 2002, "127.0.0.1 3002").set("banner_success", &banner));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b"").text(), "welcome\ntarget\n");
        let unreached = world.fix("redirect-banner-after-connect", "welcome\n", "");
        assert_eq!(talk("127.0.0.1", 2002, b"").text(), unreached);
    });
}

/// A reload with another target is for who comes from then on; a removal ends who is there, with an EXIT line and without
/// TRAFFIC.
#[test]
fn reload() {
    both(|world| {
        let _one = target("127.0.0.1:3001", |mut stream| {
            let _ = stream.write_all(b"1");
            echo(stream);
        });
        let _two = target("127.0.0.1:3002", |mut stream| {
            let _ = stream.write_all(b"2");
            echo(stream);
        });
        let other = redirected("other", 2002, "127.0.0.1 3002");
        let daemon =
            world.start(&Config::new().with(redirected("r", 2001, "127.0.0.1 3001")).with(other.clone()));
        let mut old = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(old.read_count(1).text(), "1");
        daemon.reload(&Config::new().with(redirected("r", 2001, "127.0.0.1 3002")).with(other.clone()));
        let mut new = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(new.read_count(1).text(), "2");
        old.send(b"still");
        assert_eq!(old.read_count(5).text(), "still");
        daemon.reload(&Config::of(other));
        for client in [&mut old, &mut new] {
            assert!(matches!(client.read_all().end, End::Closed | End::Reset));
        }
        assert_eq!(dial("127.0.0.1", 2001).map(drop), Err(End::Refused));
        let pid = pid(world);
        let start = format!("START: r pid={pid} from=127.0.0.1");
        let exit = format!("EXIT: r status=0 pid={pid} duration=N(sec)");
        world.expect_log("r", &[&start, &start, &exit, &exit]);
        assert_eq!(dial("127.0.0.1", 2002).expect("the other").read_count(1).text(), "2");
    });
}

/// The worker is killed: its connections end and are logged so, and the next client is served by a new one.
#[test]
fn worker_killed() {
    ours(|world| {
        let _echo = target("127.0.0.1:3001", echo);
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001").set("instances", "1")));
        let ask = || {
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.send(b"x");
            (client.read_count(1).text() == "x").then_some(client)
        };
        let mut client = ask().expect("served");
        assert_eq!(daemon.count("r", "/running"), 1);
        for pid in world.processes("worker proxy") {
            assert!(world.signal(pid, 9));
        }
        assert!(matches!(client.read_all().end, End::Closed | End::Reset));
        must("the next is served", || ask().is_some());
        assert!(world.service_log("r").contains(&"EXIT: r signal=9 pid=0 duration=N(sec)".to_owned()));
    });
}
