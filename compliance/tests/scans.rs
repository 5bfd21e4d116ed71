//! Stealth scans: real scanners from a second host, forged senders, and what a client does that must not look like one.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, World, ours};
use serde_json::Value;
use std::net::UdpSocket;
use std::time::Duration;

const SCANNER: &str = "10.7.0.2";
const BYSTANDER: &str = "10.7.0.3";
const HERE6: &str = "fd07::1";
const SCANNER6: &str = "fd07::2";

fn config() -> Config {
    Config::new()
        .defaults("watch_scans = yes")
        .with(Entry::program("s1", 2003))
        .with(Entry::internal("trap", "trap", 2100, "stream"))
}

fn watching<'a>(world: &'a World, config: &Config) -> Daemon<'a> {
    let daemon = world.start(config);
    must("it watches", || daemon.status()["sensor"]["state"] == "watching");
    daemon
}

fn scans(daemon: &Daemon<'_>) -> Vec<Value> {
    let answer: Value = serde_json::from_str(&daemon.control("scans")).expect("JSON");
    answer["scans"].as_array().expect("a list").clone()
}

fn scan_of(daemon: &Daemon<'_>, network: &str) -> Option<Value> {
    scans(daemon).into_iter().find(|scan| scan["network"] == network)
}

fn has_kind(daemon: &Daemon<'_>, network: &str, kind: &str) -> bool {
    let kinds = |scan: Value| scan["kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
    scan_of(daemon, network).is_some_and(kinds)
}

fn with_ipv6(world: &World, next: &Neighbour<'_>) -> bool {
    let script = format!("ip address add {HERE6}/64 dev wire0 nodad");
    let there = world.run(&["/bin/sh", "-c", &script], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    if there.0 != Ended::Status(0) {
        skip(Reason::NoIpv6);
        return false;
    }
    next.run(&["ip", "address", "add", &format!("{SCANNER6}/64"), "dev", "wire1", "nodad"]);
    true
}

/// Probes that have been judged, and packets that were read, whatever became of them.
fn probes(daemon: &Daemon<'_>) -> u64 {
    daemon.status()["sensor"]["probes"].as_u64().expect("a number")
}

/// Each kind of nmap's is named, IPv4 and IPv6, and nobody is banned for any of them.
#[test]
fn scans_are_seen_and_named() {
    if !has_programs(&["nmap"]) {
        return;
    }
    for (option, kind) in [
        ("-sS", "syn"),
        ("-sF", "fin"),
        ("-sN", "null"),
        ("-sX", "xmas"),
        ("-sM", "maimon"),
        ("-sA", "ack"),
        ("-sU", "udp"),
    ] {
        ours(|world| {
            let next = world.neighbour(&[SCANNER, BYSTANDER]);
            let daemon = watching(world, &config());
            let nmap = |more: &[&str]| {
                let words = ["nmap", "-n", "-Pn", "--max-retries", "0", "--host-timeout", "60s", option];
                next.run(&[&words[..], more].concat())
            };
            nmap(&["-p", "1-40,2003,2100", HERE]);
            must(option, || has_kind(&daemon, SCANNER, kind));
            let scan = scan_of(&daemon, SCANNER).expect("seen");
            assert_eq!(scan["kinds"], serde_json::json!([kind]), "{scan}");
            assert_eq!(
                (&scan["proof"], &scan["decoys"], &scan["banned"]),
                (&"none".into(), &false.into(), &false.into())
            );
            assert!(
                world.daemon_log_count(&format!("scan ({kind}) from {SCANNER}: 10 ports")) == 1,
                "{scan}"
            );
            if with_ipv6(world, &next) {
                nmap(&["-6", "-p", "1-40", HERE6]);
                must("IPv6", || has_kind(&daemon, "fd07::/64", kind));
            }
            assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
            assert_eq!(next.within(|| talk_to(SCANNER, HERE, 2003)), Answer::closed("served\n"));
            must("it is known that it is real", || {
                scan_of(&daemon, SCANNER).is_some_and(|s| s["proof"] == "address")
            });
        });
    }
}

/// A scan whose segments are cut into fragments, which the packet's reader cannot see the flags of.
#[test]
fn a_scan_in_fragments_is_seen() {
    if !has_programs(&["nmap"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let daemon = watching(world, &config());
        next.run(&["nmap", "-n", "-Pn", "-sS", "-f", "--max-retries", "0", "-p", "1-40", HERE]);
        must("it is seen", || has_kind(&daemon, SCANNER, "odd"));
    });
}

/// Of many senders at the same ports at the same moments nobody is told from the others, and nobody is banned.
#[test]
fn decoys_are_told_as_such() {
    if !has_programs(&["nmap"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let daemon = watching(world, &config());
        let decoys = "192.0.2.1,198.51.100.7,203.0.113.9,ME";
        next.run(&["nmap", "-n", "-Pn", "-sS", "-D", decoys, "--max-retries", "0", "-p", "1-60", HERE]);
        for source in ["192.0.2.1", "198.51.100.7", "203.0.113.9", SCANNER] {
            must(source, || scan_of(&daemon, source).is_some_and(|scan| scan["decoys"] == true));
            assert_eq!(scan_of(&daemon, source).expect("seen")["banned"], false);
        }
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
    });
}

/// What clients do all day: connections, those that are refused and tried again, answers to our own questions.
#[test]
fn ordinary_traffic_is_no_scan() {
    ours(|world| {
        let next = world.neighbour(&[SCANNER, BYSTANDER]);
        let daemon = watching(world, &config());
        // Services that are away, tried over and over, by TCP and UDP.
        for _ in 0..50 {
            for port in [80, 443, 8080] {
                assert!(
                    matches!(next.within(|| talk_to(SCANNER, HERE, port)), answer if answer == Answer::refused())
                );
            }
        }
        next.within(|| {
            let socket = UdpSocket::bind((SCANNER, 0)).expect("a socket");
            for _ in 0..50 {
                for port in [161, 514] {
                    // The second one is told that nobody is there.
                    let _ = socket.send_to(b"x", (HERE, port));
                }
            }
        });
        must("they were seen", || probes(&daemon) >= 100);
        // Served connections, many of them.
        for _ in 0..40 {
            assert_eq!(next.within(|| talk_to(BYSTANDER, HERE, 2003)), Answer::closed("served\n"));
        }
        // Answers to our own: a server there, questions from here from many ports, each answered after we have gone.
        let server = next.within(|| UdpSocket::bind((BYSTANDER, 53)).expect("a server"));
        let mut asked = Vec::new();
        for _ in 0..40 {
            let socket = world_socket(world);
            socket.send_to(b"?", (BYSTANDER, 53)).expect("sent");
            asked.push(socket.local_addr().expect("its address"));
        }
        for to in asked {
            server.send_to(b"late", to).expect("sent");
        }
        // Connections of ours that end while the other side still talks.
        let listener = next.within(|| std::net::TcpListener::bind((BYSTANDER, 7000)).expect("a server"));
        for _ in 0..40 {
            let ours = in_world(world, || std::net::TcpStream::connect((BYSTANDER, 7000)).expect("there"));
            let (theirs, _) = listener.accept().expect("somebody");
            drop(ours);
            use std::io::Write;
            let _ = (&theirs).write_all(b"late");
        }
        // Something to wait for, after all of it.
        let before = probes(&daemon);
        assert_eq!(next.within(|| talk_to(SCANNER, HERE, 8081)), Answer::refused());
        must("it was seen", || probes(&daemon) > before);
        assert_eq!(scans(&daemon), Vec::<Value>::new());
    });
}

fn in_world<T: Send>(world: &World, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            world.enter();
            body()
        });
        there.join().expect("what is done there")
    })
}

fn world_socket(world: &World) -> UdpSocket {
    in_world(world, || UdpSocket::bind((HERE, 0)).expect("a socket"))
}

/// Probes in the name of a client that is served: it is never banned, however often it comes. A trap is another matter, and is
/// proven; whoever scanned and then spoke with one is banned.
#[test]
fn forged_scans_of_a_client_ban_nobody_and_a_trap_does() {
    if !has_programs(&["nmap", "hping3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER, BYSTANDER]);
        let daemon = watching(world, &config());
        // The bystander's name, by hping3, on the scanner's wire.
        let forged = ["hping3", "-q", "-c", "60", "-i", "u2000", "-S", "-p", "++100", "-a", BYSTANDER, HERE];
        // It ends with status 1, since no answer comes to it.
        next.run(&[&["sh", "-c", "\"$0\" \"$@\" >/dev/null 2>&1 || true"][..], &forged[..]].concat());
        must("it is suspected", || scan_of(&daemon, BYSTANDER).is_some());
        for _ in 0..30 {
            assert_eq!(next.within(|| talk_to(BYSTANDER, HERE, 2003)), Answer::closed("served\n"));
        }
        let scan = scan_of(&daemon, BYSTANDER).expect("seen");
        assert_eq!((&scan["proof"], &scan["banned"]), (&"address".into(), &false.into()), "{scan}");
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");

        // One who scans, and then speaks with the trap once: what it has scanned counts as proven.
        next.run(&["nmap", "-n", "-Pn", "-sS", "--max-retries", "0", "-p", "1-60", HERE]);
        must("the scan is told of", || {
            scan_of(&daemon, SCANNER).is_some_and(|scan| scan["targets"].as_u64() >= Some(10))
        });
        assert_eq!(scan_of(&daemon, SCANNER).expect("seen")["banned"], false);
        next.within(|| drop(dial_to(SCANNER, HERE, 2100, Duration::from_secs(5))));
        must("it is banned", || scan_of(&daemon, SCANNER).is_some_and(|scan| scan["banned"] == true));
        assert_eq!(scan_of(&daemon, SCANNER).expect("seen")["proof"], "trap");
        assert_eq!(next.within(|| talk_to(BYSTANDER, HERE, 2003)), Answer::closed("served\n"));
    });
}

/// Thousands of forged senders: memory and list have a bound, nobody is banned, and everybody is served.
#[test]
fn a_flood_of_forged_senders_bans_nobody() {
    if !has_programs(&["hping3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let daemon = watching(world, &config());
        next.run(&[
            "sh",
            "-c",
            &format!("timeout 3 hping3 -q --flood --rand-source -S -p ++1 {HERE} >/dev/null 2>&1 || true"),
        ]);
        must("they were seen", || daemon.status()["sensor"]["packets"].as_u64() > Some(2000));
        let sensor = daemon.status()["sensor"].clone();
        assert!(sensor["sources"].as_u64() <= sensor["most_sources"].as_u64(), "{sensor}");
        assert!(scans(&daemon).len() < 100, "one probe each is no scan");
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
        assert_eq!(next.within(|| talk_to(SCANNER, HERE, 2003)), Answer::closed("served\n"));
    });
}

/// The worker is nobody, can do nothing, and comes again. What it had counted is gone, and what it had told is not.
#[test]
fn a_killed_sensor_comes_again() {
    if !has_programs(&["nmap"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let daemon = watching(world, &config());
        let scan = |ports: &str| {
            next.run(&["nmap", "-n", "-Pn", "-sF", "--max-retries", "0", "-p", ports, HERE]);
        };
        scan("1-40");
        must("it is seen", || scan_of(&daemon, SCANNER).is_some());
        let worker = world.processes("worker sensor");
        assert_eq!(worker.len(), 1, "{worker:?}");
        let status = std::fs::read_to_string(world.inside(&format!("/proc/{}/status", worker[0])))
            .expect("its status");
        let line =
            |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("CapEff:").ends_with("\t0000000000000000"), "no capability: {status}");
        assert!(line("CapPrm:").ends_with("\t0000000000000000"), "{status}");
        assert!(!line("Uid:").starts_with("Uid:\t0"), "{status}");
        assert!(world.signal(worker[0], 9));
        must("there is another", || {
            world.processes("worker sensor").iter().any(|pid| *pid != worker[0])
                && daemon.status()["sensor"]["state"] == "watching"
        });
        assert!(scan_of(&daemon, SCANNER).is_some(), "the list stays");
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
        let before = world.daemon_log_count("scan (fin)");
        scan("100-140");
        must("it is seen again", || world.daemon_log_count("scan (fin)") > before);
        daemon.reload(&Config::new().with(Entry::program("s1", 2003)));
        must("it is not wanted any more", || world.processes("worker sensor").is_empty());
        assert_eq!(daemon.status()["sensor"]["state"], "off");
    });
}
