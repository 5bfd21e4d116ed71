//! What is a scan, what is none, and what a flood of forged senders does to both.

use super::*;

const HERE: &str = "198.51.100.2";

fn probe_of(kind: ScanKind, from: &str, port: u16) -> Candidate {
    let here = if from.contains(':') { "2001:db8:f::2" } else { HERE };
    Candidate {
        kind,
        from: (from.parse::<IpAddr>().unwrap(), 4000).into(),
        to: (here.parse::<IpAddr>().unwrap(), port).into(),
    }
}

struct World {
    tracker: Tracker,
    now: Duration,
    told: Vec<Scan>,
}

impl World {
    fn new() -> Self {
        World { tracker: Tracker::with(4096, 1024, secs(1000)), now: secs(1000), told: Vec::new() }
    }

    fn syn(&mut self, from: &str, port: u16) {
        self.send(&probe_of(ScanKind::Syn, from, port));
    }

    fn send(&mut self, probe: &Candidate) {
        let mut out = Vec::new();
        self.tracker.probe(probe, self.now, 64, &mut out);
        self.told.extend(out);
    }

    fn networks(&self) -> Vec<String> {
        self.told.iter().map(|scan| scan.network.to_string()).collect()
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn different_ports_are_a_scan_and_repeated_ones_are_not() {
    let mut world = World::new();
    for _ in 0..10_000 {
        for port in [23, 25, 110] {
            world.syn("192.0.2.1", port);
        }
    }
    assert!(world.told.is_empty(), "a client that tries three closed ports for ever");
    (1..=10).for_each(|port| world.syn("192.0.2.2", port));
    let scan = &world.told[0];
    assert_eq!(scan.network.to_string(), "192.0.2.2");
    assert_eq!((scan.sources, scan.company), (1, false));
    assert!((9..=11).contains(&scan.targets), "{scan:?}");
    assert_eq!(scan.ports, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(scan.kinds.iter().collect::<Vec<_>>(), [ScanKind::Syn]);
    assert_eq!(world.told.len(), 1);
    world.now += secs(60);
    (11..=400).for_each(|port| world.syn("192.0.2.2", port));
    assert_eq!(world.told.len(), 2, "told of again when it has doubled, and not at every packet");
    world.now += secs(60);
    world.send(&probe_of(ScanKind::Fin, "192.0.2.2", 1));
    assert_eq!(world.told.len(), 3, "a new kind is news");
    assert!((200..800).contains(&world.told[2].targets), "{:?}", world.told[2]);
}

#[test]
fn a_slow_scan_is_seen_over_hours_and_a_day_forgets() {
    let mut world = World::new();
    for port in 1..=10 {
        assert!(world.told.is_empty());
        world.syn("192.0.2.1", port);
        world.now += secs(2 * 3600 + 1800);
    }
    assert_eq!(world.networks(), ["192.0.2.1"], "ten ports in a day");
    assert!(world.told[0].since > 70_000);
    let mut world = World::new();
    for port in 1..=100 {
        world.syn("192.0.2.1", port);
        world.now += secs(4 * 3600);
    }
    assert!(world.told.is_empty(), "one in four hours is below what is told of");
}

#[test]
fn a_subscriber_of_ipv6_is_one_source() {
    let mut world = World::new();
    for n in 1..=10 {
        world.syn(&format!("2001:db8:1:2::{n}"), n);
    }
    assert_eq!(world.networks(), ["2001:db8:1:2::/64"]);
    for address in ["::1", "::", "::ffff:192.0.2.1", "ff02::1", "127.0.0.1", "0.0.0.0", "255.255.255.255"] {
        let mut world = World::new();
        (1..=20).for_each(|port| world.syn(address, port));
        assert!(world.told.is_empty(), "{address} is nobody");
    }
}

#[test]
fn a_network_that_shares_a_scan_is_told_of() {
    let mut world = World::new();
    for port in 1..=40u16 {
        world.syn(&format!("203.0.113.{}", port % 20), port);
        world.now += secs(5);
    }
    assert_eq!(world.networks(), ["203.0.113.0/24"]);
    assert!(world.told[0].sources >= 8 && world.told[0].company, "{:?}", world.told[0]);
}

#[test]
fn decoys_are_known_by_their_company() {
    let mut world = World::new();
    for port in 1..=10 {
        for from in ["192.0.2.1", "198.18.0.7", "203.0.113.9"] {
            world.syn(from, port);
            world.now += Duration::from_millis(1);
        }
        world.now += secs(1);
    }
    let mut names = world.networks();
    names.sort();
    assert_eq!(names, ["192.0.2.1", "198.18.0.7", "203.0.113.9"]);
    assert!(world.told.iter().all(|scan| scan.company), "{:?}", world.told);
    let mut world = World::new();
    for port in 1..=10 {
        world.syn("192.0.2.1", port);
        world.syn("198.18.0.7", port + 1000);
    }
    assert!(world.told.iter().all(|scan| !scan.company), "two that scan at once have no company");
}

#[test]
fn a_flood_of_forged_senders_hides_nobody_cheaply() {
    let mut world = World::new();
    // Twelve forged newcomers a second on a table of 4096 places are what two hundred are for the real one. It is full of them
    // when ten begin to probe a port every five minutes each.
    let mut sender = 0u32;
    for minute in 0..26 * 60 {
        if minute >= 120 && minute % 5 == 0 {
            (1..=10).for_each(|slow| world.syn(&format!("192.0.{slow}.1"), 1000 + minute));
        }
        for _ in 0..720 {
            sender += 1;
            let from = Ipv4Addr::from_bits(0x0b00_0000 + sender * 7);
            world.syn(&from.to_string(), (sender % 5) as u16 + 1);
        }
        world.now += secs(60);
    }
    let seen: std::collections::BTreeSet<String> = world.networks().into_iter().collect();
    assert!(seen.len() >= 6, "{seen:?}");
    assert!(seen.iter().all(|name| name.starts_with("192.0.")), "nobody else scanned: {seen:?}");
    assert!(world.tracker.sources.len() <= 4096 && world.tracker.networks.len() <= 1024);
}

#[test]
fn what_cannot_be_told_now_is_told_later() {
    let mut world = World::new();
    let mut out = Vec::new();
    for port in 1..=10 {
        world.tracker.probe(&probe_of(ScanKind::Syn, "192.0.2.1", port), world.now, 0, &mut out);
    }
    assert!(out.is_empty());
    assert_eq!(world.tracker.untold, 1);
    world.syn("192.0.2.1", 11);
    assert_eq!(world.networks(), ["192.0.2.1"]);
}
