//! Bans in the kernel: who trips a sensor is dropped there, on every port of the host. xinetd refuses in its own services only.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Entry, World, ours};
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

const SCANNER: &str = "10.7.0.2";
const BYSTANDER: &str = "10.7.0.3";
const FOREIGN: u16 = 2100;

fn traps() -> Config {
    let trap = |id: &str, port, time: &str| {
        Entry::internal("discard", id, port, "stream").set("flags", "SENSOR").set("deny_time", time)
    };
    Config::new()
        .with(trap("trap", 2001, "FOREVER"))
        .with(trap("short", 2002, "1"))
        .with(Entry::program("s1", 2003))
}

fn nft(world: &World, command: &str) -> String {
    let words: Vec<&str> = std::iter::once("/usr/sbin/nft").chain(command.split(' ')).collect();
    world.run(&words, &["PATH=/usr/sbin:/usr/bin"]).1
}

/// Whether a stranger's port, which is none of ours, is reached from there.
fn reaches(next: &Neighbour<'_>, from: &str) -> bool {
    next.within(|| dial_to(from, HERE, FOREIGN, Duration::from_millis(400)).is_ok())
}

fn bans(daemon: &Daemon<'_>) -> Value {
    daemon.status()["bans"].clone()
}

fn enforced(daemon: &Daemon<'_>, count: u64) {
    must("the kernel has them", || {
        let bans = bans(daemon);
        bans["kernel"] == "enforced" && bans["enforced"] == count && bans["wanted"] == count
    });
}

/// One touch, and nothing of the host is there any more for who touched; nobody else notices.
#[test]
fn who_trips_a_sensor_is_dropped_by_the_kernel() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER, BYSTANDER]);
        let daemon = world.start(&traps());
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        assert!(reaches(&next, SCANNER) && reaches(&next, BYSTANDER));
        assert_eq!(bans(&daemon)["kernel"], "nobody was banned yet");
        assert!(nft(world, "list tables").is_empty(), "no table before the first ban");

        next.within(|| talk_to(SCANNER, HERE, 2001));
        must("it is dropped", || !reaches(&next, SCANNER));
        assert!(reaches(&next, BYSTANDER));
        enforced(&daemon, 1);

        // Whatever others do to the tables.
        nft(world, "flush ruleset");
        nft(world, "delete table inet portreeve");
        must("it is dropped again", || !reaches(&next, SCANNER));
        enforced(&daemon, 1);
        assert!(reaches(&next, BYSTANDER));

        // Whatever happens to the worker.
        for _ in 0..2 {
            let worker = world.processes("worker firewall");
            assert_eq!(worker.len(), 1, "{worker:?}");
            assert!(world.signal(worker[0], 9));
            assert!(!reaches(&next, SCANNER), "the kernel goes on");
            must("there is another", || {
                world.processes("worker firewall").iter().any(|pid| *pid != worker[0])
            });
            enforced(&daemon, 1);
        }

        // It is nobody, and can do one thing.
        let status = world.inside(&format!("/proc/{}/status", world.processes("worker firewall")[0]));
        let status = std::fs::read_to_string(status).expect("its status");
        let line =
            |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("CapEff:").ends_with("\t0000000000001000"), "CAP_NET_ADMIN alone: {status}");
        assert!(line("CapPrm:").ends_with("\t0000000000001000"), "{status}");
        assert!(!line("Uid:").starts_with("Uid:\t0"), "{status}");

        let answer: Value = serde_json::from_str(&daemon.control(&format!("unban {SCANNER}"))).expect("JSON");
        assert_eq!(answer["ok"], true, "{answer}");
        must("it is let in again", || reaches(&next, SCANNER));
        enforced(&daemon, 0);
        assert_eq!(next.within(|| talk_to(SCANNER, HERE, 2003)), Answer::closed("served\n"));
    });
}

/// Over IPv6 it is the subscriber's network that is dropped, on every service of ours, built in, run or of datagrams, and every other port.
#[test]
fn who_trips_a_sensor_over_ipv6_is_dropped_with_its_network() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let ip = |words: &str| {
            let (_, output) = world.run(&["/bin/sh", "-ec", words], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
            assert!(output.is_empty(), "{words}: {output}");
        };
        ip("ip address add 2001:db8:7::1/48 dev wire0 nodad");
        let addresses = ["2001:db8:7:1::2", "2001:db8:7:1:ffff::3", "2001:db8:7:2::2"];
        for address in addresses {
            ip(&format!(
                "ip -n next address add {address}/48 dev $(ip -n next -o link | sed -n 's/.*: \\(.*\\)@.*/\\1/p' | head -1) nodad"
            ));
        }
        let config = traps()
            .with(Entry::internal("daytime", "daytime", 2004, "stream"))
            .with(Entry::internal("echo", "udp", 2005, "dgram").set("wait", "yes"))
            .defaults("v6only = no")
            .defaults("bind = ::");
        let daemon = world.start(&config);
        let _stranger = TcpListener::bind(("2001:db8:7::1", FOREIGN)).expect("a port that is not ours");
        let reaches = |from: &str, port: u16| {
            next.within(|| dial_to(from, "2001:db8:7::1", port, Duration::from_millis(400)).is_ok())
        };
        let echoes = |from: &str| {
            next.within(|| {
                let socket = UdpSocket::bind((from, 0)).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_millis(400))).expect("a time");
                socket.send_to(b"x", ("2001:db8:7::1", 2005)).expect("sent");
                socket.recv(&mut [0; 8]).is_ok()
            })
        };
        must("all are reached", || addresses.iter().all(|from| reaches(from, 2003) && echoes(from)));
        next.within(|| talk_to(addresses[0], "2001:db8:7::1", 2001));
        enforced(&daemon, 1);
        for port in [2001, 2003, 2004, FOREIGN] {
            assert!(!reaches(addresses[0], port) && !reaches(addresses[1], port), "port {port}");
            // Who touches the trap would be banned as well.
            assert!(port == 2001 || reaches(addresses[2], port), "another subscriber, port {port}");
        }
        assert!(!echoes(addresses[1]) && echoes(addresses[2]));
        assert!(nft(world, "list set inet portreeve v6_64").contains("2001:db8:7:1::"));
    });
}

/// The kernel's clock ends a ban, and what a former run left there ends with the next.
#[test]
fn a_new_run_begins_with_what_it_knows() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER]);
        let daemon = world.start(&traps());
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        next.within(|| talk_to(SCANNER, HERE, 2002));
        must("it is dropped", || !reaches(&next, SCANNER));
        let set = nft(world, "list set inet portreeve v4_32");
        assert!(set.contains(SCANNER) && set.contains("expires 59s"), "{set}");
        daemon.stop();
        let _daemon = world.start(&traps());
        must("it is let in again", || reaches(&next, SCANNER));
    });
}

/// Who is protected is denied by the daemon, as ever, and never dropped: the gateway, the name server, `protect`.
#[test]
fn the_gateway_and_the_name_server_are_not_dropped() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER, BYSTANDER, "10.7.0.4"]);
        world.cover("/etc/resolv.conf", &format!("nameserver {BYSTANDER}\n"));
        let route = ["/bin/sh", "-c", "ip route add default via 10.7.0.2"];
        world.run(&route, &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let daemon = world.start(&traps());
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        for (from, why) in [(SCANNER, "a gateway of this host"), (BYSTANDER, "a name server of this host")] {
            next.within(|| talk_to(from, HERE, 2001));
            let text = format!("{from} is denied by this daemon alone and not banned in the kernel: {why}");
            must("it says why", || world.daemon_log_count(&text) == 1);
            assert_eq!(next.within(|| talk_to(from, HERE, 2003)), Answer::closed(""));
            assert!(reaches(&next, from));
        }
        next.within(|| talk_to("10.7.0.4", HERE, 2001));
        must("it is dropped", || !reaches(&next, "10.7.0.4"));
        enforced(&daemon, 1);
    });
}

/// An upgrade changes nothing about who is dropped, and the bans are kept up afterwards as before.
#[test]
fn bans_hold_over_an_upgrade() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[SCANNER, BYSTANDER]);
        let daemon = world.start(&traps());
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        next.within(|| talk_to(SCANNER, HERE, 2001));
        must("it is dropped", || !reaches(&next, SCANNER));
        enforced(&daemon, 1);
        let answer: Value = serde_json::from_str(&daemon.control("upgrade")).expect("JSON");
        assert_eq!(answer["ok"], true, "{answer}");
        must("it has upgraded", || daemon.status()["upgrades"] == 1);
        assert!(!reaches(&next, SCANNER));
        next.within(|| talk_to(BYSTANDER, HERE, 2001));
        must("the other one is dropped as well", || !reaches(&next, BYSTANDER));
        assert!(!reaches(&next, SCANNER));
        let worker = world.processes("worker firewall");
        assert!(world.signal(worker[0], 9));
        enforced(&daemon, 2);
        assert!(!reaches(&next, SCANNER) && !reaches(&next, BYSTANDER));
    });
}
