//! `redirect` of datagrams: a flow for each source, bounded and timed out. xinetd redirects streams alone.

use portreeve_compliance::client::{ask, datagram_socket, hear};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::{must, until};
use portreeve_compliance::{Config, DEADLINE, Daemon, Ended, Entry, ours};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn redirected(id: &str, port: u16, targets: &str) -> Entry {
    Entry::bare(id, port)
        .set("type", "UNLISTED")
        .set("socket_type", "dgram")
        .set("protocol", "udp")
        .set("wait", "yes")
        .set("user", "root")
        .set("cps", "0 0")
        .set("log_on_success", "HOST PID EXIT TRAFFIC")
        .set("redirect", targets)
}

/// A target that says each datagram back, with its name in front, as often as told; none at all for "quiet".
struct Echo {
    gone: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<SocketAddr>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn new(address: &str, name: &'static str, times: usize) -> Echo {
        let socket = UdpSocket::bind(address).expect("the target's socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a deadline");
        let (gone, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let (over, sources) = (gone.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while !over.load(Ordering::Relaxed) {
                let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
                sources.lock().expect("the set").insert(from);
                let asked = &buffer[..n];
                let said =
                    if asked == b"port" { from.port().to_string().into_bytes() } else { asked.to_vec() };
                let answer = [name.as_bytes(), &said].concat();
                let quiet = &buffer[..n] == b"quiet";
                for _ in 0..if quiet { 0 } else { times } {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Echo { gone, seen, thread: Some(thread) }
    }

    fn sources(&self) -> usize {
        self.seen.lock().expect("the set").len()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn say(socket: &UdpSocket, text: &str) -> Option<String> {
    let answer = ask(socket, text.as_bytes(), DEADLINE)?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn flows(daemon: &Daemon<'_>, id: &str) -> u64 {
    daemon.count(id, "/running")
}

fn worker(daemon: &Daemon<'_>) -> u32 {
    let status = daemon.status();
    let proxy = status["workers"].as_array().and_then(|all| all.iter().find(|w| w["name"] == "proxy"));
    proxy.and_then(|w| w["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
}

/// Each source has a flow of its own; answers come from where the question went; a flow ends, and is accounted for.
#[test]
fn each_source_has_its_flow() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "one:", 1);
        let daemon =
            world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001").set("idle_timeout", "2")));
        let (a, b) = (datagram_socket("127.0.0.1", 2001), datagram_socket("::1", 2001));
        // Connected: an answer from another address would not arrive.
        let c = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        c.connect("127.0.0.7:2001").expect("an address");
        for round in 0..3 {
            for (socket, name) in [(&a, "a"), (&b, "b"), (&c, "c")] {
                let text = format!("{name}{round}");
                assert_eq!(say(socket, &text), Some(format!("one:{text}")));
            }
        }
        assert_eq!((target.sources(), flows(&daemon, "r")), (3, 3));
        let long = "x".repeat(20_000);
        assert_eq!(say(&a, &long), Some(format!("one:{long}")));
        assert_eq!(say(&a, ""), Some("one:".to_owned()));
        must("they end", || flows(&daemon, "r") == 0);
        let mut log = world.service_log("r");
        log.sort();
        assert_eq!(
            log,
            [
                "EXIT: r status=0 pid=0",
                "EXIT: r status=0 pid=0",
                "EXIT: r status=0 pid=0",
                "START: r pid=0 from=::1",
                "START: r pid=0 from=::ffff:127.0.0.1",
                "START: r pid=0 from=::ffff:127.0.0.1",
                "TRAFFIC: r in=20006(bytes) out=20026(bytes)",
                "TRAFFIC: r in=6(bytes) out=18(bytes)",
                "TRAFFIC: r in=6(bytes) out=18(bytes)",
            ]
        );
        assert_eq!(say(&a, "again"), Some("one:again".to_owned()));
    });
}

/// Who is refused has no flow, and the target never hears of it.
#[test]
fn refused_sources() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "", 1);
        let entry = redirected("r", 2001, "127.0.0.1 3001").set("only_from", "127.0.0.2 127.0.0.3");
        world.write("etc/hosts.deny", "r: 127.0.0.3\n");
        let daemon = world.start(&Config::of(entry.set("libwrap", "r")));
        assert_eq!(say(&datagram_socket("127.0.0.2", 2001), "in"), Some("in".to_owned()));
        for refused in ["127.0.0.1", "127.0.0.3"] {
            let socket = datagram_socket(refused, 2001);
            assert_eq!(ask(&socket, b"in", Duration::from_millis(300)), None, "{refused}");
        }
        must("it is said", || world.service_log("r").len() == 3);
        let log = world.service_log("r").join("\n");
        assert!(log.contains("FAIL: r address from=::ffff:127.0.0.1"), "{log}");
        assert!(log.contains("FAIL: r libwrap from=::ffff:127.0.0.3"), "{log}");
        assert_eq!((target.sources(), flows(&daemon, "r")), (1, 1));
    });
}

/// A target that refuses is left for the next, with the same datagram; one that comes back is found.
#[test]
fn the_next_target_takes_over() {
    ours(|world| {
        let _second = Echo::new("127.0.0.1:3002", "second:", 1);
        let _daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001 127.0.0.1 3002")));
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(say(&client, "one"), Some("second:one".to_owned()));
        assert_eq!(say(&client, "two"), Some("second:two".to_owned()));
        world.expect_daemon_log(&[
            "ERROR: can't connect to remote host 127.0.0.1: Connection refused (errno = 111)",
        ]);
        let _first = Echo::new("127.0.0.1:3001", "first:", 1);
        must("new flows find it", || {
            say(&datagram_socket("127.0.0.1", 2001), "x") == Some("first:x".to_owned())
        });
        assert_eq!(say(&client, "three"), Some("second:three".to_owned()), "a flow stays where it is");
    });
}

/// One that a router says cannot be reached is left too, whichever call is told of it.
#[test]
fn a_target_that_cannot_be_reached() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let _second = Echo::new("127.0.0.1:3002", "second:", 1);
        for word in ["host-unreachable", "net-prohibited", "admin-prohibited", "prot-unreachable"] {
            let rules = format!(
                "flush ruleset; table ip t {{ chain c {{ type filter hook input priority 0;
                 udp dport 3001 reject with icmp type {word}; }}; }}"
            );
            let (how, said) = world.run(&["/usr/sbin/nft", &rules], &[]);
            assert_eq!(how, Ended::Status(0), "{said}");
            let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001 127.0.0.1 3002")));
            let client = datagram_socket("127.0.0.1", 2001);
            // Several at once: the word comes with one that is sent.
            for _ in 0..3 {
                client.send(b"x").expect("to send");
            }
            assert_eq!(hear(&client, DEADLINE).as_deref(), Some(&b"second:x"[..]), "{word}");
            assert_eq!(daemon.stop(), Ended::Status(0));
        }
    });
}

/// A target that is restarted is found by the same source, and one that answers a hundredfold is carried.
#[test]
fn a_target_comes_and_goes() {
    ours(|world| {
        let first = Echo::new("127.0.0.1:3001", "", 100);
        let _daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        let client = datagram_socket("127.0.0.1", 2001);
        client.send(b"many").expect("to send");
        for n in 0..100 {
            assert_eq!(hear(&client, DEADLINE).as_deref(), Some(&b"many"[..]), "{n}");
        }
        drop(first);
        assert_eq!(ask(&client, b"nobody", Duration::from_millis(300)), None);
        let _again = Echo::new("127.0.0.1:3001", "", 1);
        let heard = until(DEADLINE, || ask(&client, b"back", Duration::from_millis(100)));
        assert_eq!(heard.as_deref(), Some(&b"back"[..]));
    });
}

/// However many sources there seem to be: a conversation goes on, and a new client is served.
#[test]
fn a_flood_of_sources() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "", 1);
        let entry = redirected("r", 2001, "127.0.0.1 3001").set("instances", "40");
        let daemon = world.start(&Config::of(entry));
        let known = datagram_socket("127.0.0.1", 2001);
        let port = say(&known, "port");
        assert_eq!(say(&known, "port"), port);
        // As clients of datagrams do: one may be lost in the kernel's queue.
        let again = |socket: &UdpSocket, text: &str| {
            let heard = until(DEADLINE, || ask(socket, text.as_bytes(), Duration::from_millis(300)));
            heard.map(|heard| String::from_utf8_lossy(&heard).into_owned())
        };
        for n in 0..1500_u32 {
            let from = format!("127.1.{}.{}", n / 250, n % 250 + 1);
            datagram_socket(&from, 2001).send(b"quiet").expect("to send");
            if n % 20 == 19 {
                std::thread::sleep(Duration::from_millis(10));
            }
            if n % 300 == 299 {
                assert_eq!(again(&known, "port"), port, "it is the same flow");
                assert_eq!(again(&datagram_socket("127.0.0.1", 2001), "new"), Some("new".to_owned()));
            }
        }
        assert!(target.sources() >= 100, "{}", target.sources());
        assert!(flows(&daemon, "r") <= 40, "{}", flows(&daemon, "r"));
        let bounds = daemon.status()["bounds"].clone();
        let bound = bounds.as_array().and_then(|all| all.iter().find(|b| b["name"] == "flows of datagrams"));
        let dropped = bound.and_then(|bound| bound["dropped"].as_u64()).unwrap_or(0);
        assert!(dropped >= 60, "{bounds}");
    });
}

/// One source has its share, in which its own answered conversations are not given up.
#[test]
fn one_source_has_its_share() {
    ours(|world| {
        let _target = Echo::new("127.0.0.1:3001", "", 1);
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001").set("per_source", "3")));
        let sockets: Vec<_> = (0..4).map(|_| datagram_socket("127.0.0.1", 2001)).collect();
        for socket in &sockets[..3] {
            assert_eq!(say(socket, "a"), Some("a".to_owned()));
            assert_eq!(say(socket, "b"), Some("b".to_owned()));
        }
        assert_eq!(ask(&sockets[3], b"c", Duration::from_millis(300)), None);
        assert_eq!(say(&datagram_socket("127.0.0.2", 2001), "d"), Some("d".to_owned()));
        for socket in &sockets[..3] {
            assert_eq!(say(socket, "e"), Some("e".to_owned()));
        }
        must("it is counted", || daemon.count("r", "/refused/per_source_limit") == 1);
    });
}

/// A killed worker takes its flows with it; the next datagram begins another.
#[test]
fn a_killed_worker() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "", 1);
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(say(&client, "a"), Some("a".to_owned()));
        let pid = worker(&daemon);
        assert!(world.signal(pid, 9));
        must("another has started", || worker(&daemon) != pid && worker(&daemon) != 0);
        let heard = until(DEADLINE, || ask(&client, b"b", Duration::from_millis(100)));
        assert_eq!(heard.as_deref(), Some(&b"b"[..]));
        assert_eq!((target.sources(), flows(&daemon, "r")), (2, 1));
        must("it is said", || world.service_log("r").iter().any(|line| line.contains("signal=9")));
    });
}

/// A reload leaves flows alone, but for those whose target is none any more.
#[test]
fn a_reload() {
    ours(|world| {
        let first = Echo::new("127.0.0.1:3001", "first:", 1);
        let _second = Echo::new("127.0.0.1:3002", "second:", 1);
        let to = |target: &str| redirected("r", 2001, target);
        let daemon = world.start(&Config::of(to("127.0.0.1 3001")));
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(say(&client, "a"), Some("first:a".to_owned()));
        daemon.reload(&Config::of(to("127.0.0.1 3001").set("only_from", "127.0.0.9")));
        assert_eq!(say(&client, "b"), Some("first:b".to_owned()));
        assert_eq!(first.sources(), 1);
        assert_eq!(ask(&datagram_socket("127.0.0.1", 2001), b"c", Duration::from_millis(300)), None);
        daemon.reload(&Config::of(to("127.0.0.1 3002")));
        assert_eq!(say(&client, "d"), Some("second:d".to_owned()));
        daemon.reload(&Config::new());
        must("the service is gone", || ask(&client, b"e", Duration::from_millis(50)).is_none());
    });
}

/// What is sent in our own name would be answered by ourselves.
#[test]
fn our_own_services_have_no_flow() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "", 1);
        let config = Config::new().with(redirected("own", 2001, "127.0.0.1 2001")).with(redirected(
            "r",
            2002,
            "127.0.0.1 3001",
        ));
        let daemon = world.start(&config);
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(ask(&client, b"round", Duration::from_millis(300)), None);
        must("it is said", || world.daemon_log_count("service own: its target leads back to it") == 1);
        assert_eq!(flows(&daemon, "own"), 1);
        // A bound address of another port of ours; on port 2001 of another address.
        let forged = UdpSocket::bind("127.0.0.9:2002").expect_err("the wildcard has it");
        assert_eq!(forged.kind(), std::io::ErrorKind::AddrInUse);
        assert_eq!(say(&datagram_socket("127.0.0.1", 2002), "x"), Some("x".to_owned()));
        assert_eq!(target.sources(), 1);
    });
}

/// An upgrade leaves flows alone, and the new supervisor knows them.
#[test]
fn an_upgrade() {
    ours(|world| {
        let target = Echo::new("127.0.0.1:3001", "", 1);
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(say(&client, "a"), Some("a".to_owned()));
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert_eq!(daemon.status()["upgrades"], 1);
        assert_eq!(say(&client, "b"), Some("b".to_owned()));
        assert_eq!((target.sources(), flows(&daemon, "r")), (1, 1));
        assert_eq!(say(&datagram_socket("127.0.0.1", 2001), "c"), Some("c".to_owned()));
        assert_eq!((target.sources(), flows(&daemon, "r")), (2, 2));
    });
}

/// Held, the datagrams wait in the kernel's queue; the flows end, and begin anew when it is released.
#[test]
fn a_held_service() {
    ours(|world| {
        let _target = Echo::new("127.0.0.1:3001", "", 1);
        let daemon = world.start(&Config::of(redirected("r", 2001, "127.0.0.1 3001")));
        let client = datagram_socket("127.0.0.1", 2001);
        assert_eq!(say(&client, "a"), Some("a".to_owned()));
        let held = daemon.control("hold r");
        assert!(held.contains("\"ok\":true"), "{held}");
        must("its flows end", || flows(&daemon, "r") == 0);
        assert_eq!(ask(&client, b"b", Duration::from_millis(300)), None);
        assert!(daemon.control("release r").contains("\"ok\":true"));
        assert_eq!(hear(&client, DEADLINE).as_deref(), Some(&b"b"[..]), "what has waited is served");
    });
}
