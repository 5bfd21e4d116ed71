//! Several targets of one `redirect`, unix sockets as targets, and names whose addresses change. xinetd knows one target,
//! by TCP, looked up once.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, DEADLINE, Daemon, Entry, World, ours};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn redirected(id: &str, port: u16, targets: &str) -> Entry {
    Entry::redirected(id, port, targets).set("log_on_success", "HOST PID EXIT DURATION TRAFFIC")
}

/// A target that names itself to each client; it is gone, and its port free, when this is dropped.
struct Named {
    gone: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Named {
    fn new(address: &str, name: &'static str) -> Named {
        let listener = TcpListener::bind(address).expect("the target's socket");
        listener.set_nonblocking(true).expect("its mode");
        let gone = Arc::new(AtomicBool::new(false));
        let over = gone.clone();
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => say(stream, name),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Named { gone, thread: Some(thread) }
    }
}

fn say(mut stream: TcpStream, name: &str) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let _ = stream.write_all(name.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

impl Drop for Named {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn states(daemon: &Daemon<'_>, id: &str) -> Vec<(String, String)> {
    let status = daemon.service_status(id);
    let word = |target: &Value, name: &str| target[name].as_str().unwrap_or_default().to_owned();
    let targets = status["targets"].as_array().cloned().unwrap_or_default();
    targets.iter().map(|target| (word(target, "place"), word(target, "state"))).collect()
}

/// The first that accepts, for the same client; what it has said already goes to whoever does. A target that comes back is
/// found, and `status` tells of it.
#[test]
fn the_next_one_takes_over() {
    ours(|world| {
        let first = Named::new("127.0.0.1:3001", "first");
        let _second = Named::new("127.0.0.1:3002", "second");
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001 127.0.0.1 3002")));
        let ask = || talk("127.0.0.1", 2001, b"hello");
        assert_eq!(ask(), Answer::closed("first"));
        drop(first);
        for _ in 0..5 {
            assert_eq!(ask(), Answer::closed("second"));
        }
        let places = |state: &str| {
            [("127.0.0.1:3001", state), ("127.0.0.1:3002", "well")].map(|(p, s)| (p.to_owned(), s.to_owned()))
        };
        assert_eq!(states(&daemon, "r"), places("failing"));
        let _first = Named::new("127.0.0.1:3001", "first");
        must("it is found again", || ask() == Answer::closed("first"));
        must("that is told", || states(&daemon, "r") == places("well"));
        let refused = "ERROR: can't connect to remote host 127.0.0.1: Connection refused (errno = 111)";
        assert!(world.daemon_log_count("can't connect") >= 1, "{refused}");
        must("the traffic is the client's", || {
            world
                .service_log("r")
                .iter()
                .all(|line| !line.starts_with("TRAFFIC") || line.contains("in=5(bytes)"))
        });
    });
}

/// A target that does not answer at all costs its first client a wait, and the others nothing.
#[test]
fn a_silent_target_is_left_for_the_next() {
    ours(|world| {
        let full =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                .expect("a socket");
        let address: std::net::SocketAddr = "127.0.0.1:3001".parse().expect("an address");
        rustix::net::bind(&full, &address).expect("to bind");
        rustix::net::listen(&full, 0).expect("to listen");
        let _queued = TcpStream::connect(address).expect("the only place");
        let _second = Named::new("127.0.0.1:3002", "second");
        let entry = redirected("r", 2001, "127.0.0.1 3001 127.0.0.1 3002").set("idle_timeout", "1");
        let _daemon = world.start(&Config::of(entry));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("second"));
        world.expect_daemon_log(&[
            "ERROR: can't connect to remote host 127.0.0.1: Connection timed out (errno = 110)",
        ]);
    });
}

/// Where none accepts, the client sees an end, and each of them stands in the log.
#[test]
fn where_none_accepts() {
    ours(|world| {
        let targets = "127.0.0.1 3001 ::1 3002 /run/w/nobody.sock";
        let _daemon = world.start(&Config::of(redirected("r", 2001, targets)));
        assert_eq!(talk("127.0.0.1", 2001, b"x"), Answer::closed(""));
        world.expect_daemon_log(&[
            "ERROR: can't connect to remote host 127.0.0.1: Connection refused (errno = 111)",
            "ERROR: can't connect to remote host ::1: Connection refused (errno = 111)",
            "ERROR: can't connect to /run/w/nobody.sock: No such file or directory (errno = 2)",
        ]);
        world.expect_log(
            "r",
            &["START: r pid=0 from=::ffff:127.0.0.1", "EXIT: r status=0 pid=0 duration=N(sec)"],
        );
    });
}

fn unix_target(world: &World, name: &str) -> String {
    let path = world.path(name);
    let listener = UnixListener::bind(&path).expect("the target's socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let peer = rustix::net::sockopt::socket_peercred(&stream).expect("its peer");
            let _ = write!(stream, "uid={} gid={}", peer.uid.as_raw(), peer.gid.as_raw());
        }
    });
    path.to_str().expect("a path").replace(&world.path("").to_string_lossy().into_owned(), "/run/w/")
}

/// A unix socket as target sees the service's user, and what that user may not reach is not reached for a client either.
#[test]
fn unix_sockets() {
    ours(|world| {
        let open = unix_target(world, "open.sock");
        let closed = unix_target(world, "closed.sock");
        std::fs::set_permissions(world.path("open.sock"), PermissionsExt::from_mode(0o666))
            .expect("its mode");
        std::fs::set_permissions(world.path("closed.sock"), PermissionsExt::from_mode(0o600))
            .expect("its mode");
        // Whoever owns the directory may lead elsewhere: only to what the service's user may reach.
        std::os::unix::fs::symlink("closed.sock", world.path("led.sock")).expect("a link");
        let led = "/run/w/led.sock";
        let config = Config::new()
            .with(redirected("r1", 2001, &open))
            .with(redirected("r2", 2002, &format!("unix:{open}")).set("user", "nobody"))
            .with(redirected("r3", 2003, &closed).set("user", "nobody"))
            .with(redirected("r4", 2004, led).set("user", "nobody"))
            .with(redirected("r5", 2005, &closed));
        let _daemon = world.start(&config);
        let ask = |port| talk("127.0.0.1", port, b"").text();
        assert_eq!(ask(2001), "uid=0 gid=0");
        assert_eq!(ask(2002), "uid=65534 gid=65534");
        assert_eq!((ask(2003), ask(2004)), (String::new(), String::new()));
        assert_eq!(ask(2005), "uid=0 gid=0", "the supervisor is root again");
        assert_eq!(world.daemon_log_count("Permission denied"), 2);
    });
}

/// A full queue of a unix socket is waited out: the kernel does not do it, as it does for TCP. A target that is not there is not
/// tried again with it.
#[test]
fn a_full_unix_queue_is_waited_out() {
    ours(|world| {
        let path = world.path("slow.sock");
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None)
                .expect("a socket");
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).expect("a name"))
            .expect("to bind");
        rustix::net::listen(&socket, 0).expect("to listen");
        let listener = UnixListener::from(socket);
        let _daemon = world.start(&Config::of(redirected("r", 2001, "/run/w/missing.sock /run/w/slow.sock")));
        let mut clients: Vec<_> = (0..5).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        std::thread::sleep(Duration::from_millis(300));
        let serving = std::thread::spawn(move || {
            for _ in 0..5 {
                let (mut stream, _) = listener.accept().expect("a client");
                let _ = stream.write_all(b"served");
            }
        });
        for client in &mut clients {
            assert_eq!(client.read_all(), Answer::closed("served"));
        }
        serving.join().expect("to serve");
        let tries = world.daemon_log_count("can't connect");
        assert!((1..=5).contains(&tries), "{tries} lines of 5 clients");
    });
}

/// A name that comes to have another address is followed once its target does not accept; a reload is not needed.
#[test]
fn names_are_followed() {
    ours(|world| {
        let hosts = |address: &str| {
            world.write("etc/hosts", format!("127.0.0.1 localhost\n{address} moving.example.org\n"));
        };
        hosts("127.0.0.21");
        let _new = Named::new("127.0.0.22:3001", "new");
        let old = Named::new("127.0.0.21:3001", "old");
        let daemon = world.start(&Config::of(redirected("r", 2001, "moving.example.org 3001")));
        let ask = || talk("127.0.0.1", 2001, b"");
        assert_eq!(ask(), Answer::closed("old"));
        hosts("127.0.0.22");
        drop(old);
        must("the new address is used", || ask() == Answer::closed("new"));
        must("it is said", || {
            world.daemon_log_count("service r: the target moving.example.org has other addresses") == 1
        });
        assert_eq!(states(&daemon, "r"), [("127.0.0.22:3001".to_owned(), "well".to_owned())]);
        // A name that is lost keeps its last addresses.
        world.write("etc/hosts", "127.0.0.1 localhost\n");
        assert_eq!(ask(), Answer::closed("new"));
    });
}

/// A target that leads back to the service is one try and a line in the log, and not as many connections as there are descriptors.
/// One service behind another is served.
#[test]
fn a_circle_is_cut() {
    ours(|world| {
        let _end = Named::new("127.0.0.1:3001", "end");
        let config = Config::new()
            .with(redirected("own", 2001, "127.0.0.1 2001"))
            .with(redirected("there", 2002, "::1 2003"))
            .with(redirected("back", 2003, "127.0.0.1 2002"))
            .with(redirected("front", 2004, "127.0.0.1 2005"))
            .with(redirected("behind", 2005, "127.0.0.1 3001"));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed("end"));
        for port in [2001, 2002, 2003] {
            for _ in 0..3 {
                assert_eq!(talk("127.0.0.1", port, b"x").text(), "");
            }
        }
        let starts = |id: &str| world.service_log(id).iter().filter(|l| l.starts_with("START")).count();
        must("every connection is let go", || {
            ["own", "there", "back"].iter().all(|id| daemon.count(id, "/running") == 0)
        });
        assert_eq!(starts("own"), 3);
        assert_eq!(starts("there") + starts("back"), 12);
        for id in ["own", "there", "back"] {
            let text = format!("ERROR: service {id}: its target leads back to it");
            assert_eq!(world.daemon_log_count(&text), 1, "{id}: said once a minute");
        }
        assert_eq!(states(&daemon, "own"), [("127.0.0.1:2001".to_owned(), "well".to_owned())]);
    });
}

/// What this machine lacks is not the target's fault: the client waits until there is some, and the target stays well.
#[test]
fn a_lack_of_ports_is_waited_out() {
    ours(|world| {
        let _first = Named::new("127.0.0.1:3001", "first");
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        // One port for all connections that bind none: enough for one to each address, whoever asks.
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        std::fs::write(range, "40000 40000").expect("the range of this namespace");
        let dial = |to: &str| {
            let stream = TcpStream::connect(to).expect("a connection");
            stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
            Connection { stream }
        };
        let mut holding = dial("127.0.0.2:2001");
        assert_eq!(holding.read_count(5).text(), "first");
        let mut waiting = dial("127.0.0.3:2001");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(states(&daemon, "r"), [("127.0.0.1:3001".to_owned(), "well".to_owned())]);
        drop(holding);
        assert_eq!(waiting.read_count(5).text(), "first");
        assert_eq!(world.daemon_log_count("can't connect"), 0);
    });
}
