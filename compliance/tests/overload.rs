//! What a flood does to everybody else (reference xinetd §6.1; the first design: an overload always heals, and nobody can
//! switch a service off). Counts, not times.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::flood::{Flood, Then};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, World, ours};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SERVED: &str = "served\n";
/// Clients that keep within the limits.
const HONEST: u8 = 100;

/// Clients that come behind a flood, from addresses of their own.
const NEWCOMERS: [&str; 2] = ["127.0.3.1", "127.0.3.2"];

/// So many addresses of 127.64.0.0/10, none of which an honest client has.
fn sources(count: u32) -> Vec<IpAddr> {
    (0..count).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x7f40_0001 + n))).collect()
}

/// The rate of the tests: the default's number, and a wait that a test can wait for.
fn service() -> Entry {
    Entry::program("s1", 2001).set("cps", "50 3")
}

fn state(daemon: &Daemon<'_>) -> String {
    let status = daemon.service_status("s1");
    status.pointer("/state").and_then(|state| state.as_str()).unwrap_or("").to_owned()
}

/// How many of a hundred clients with an address of their own, some twenty-five a second, are served meanwhile.
fn served_meanwhile() -> usize {
    (1..=HONEST)
        .filter(|n| {
            std::thread::sleep(Duration::from_millis(40));
            talk(&format!("127.0.3.{n}"), 2001, b"") == Answer::closed(SERVED)
        })
        .count()
}

fn few_sources_flood(world: &World, count: u32, then: Then) {
    let daemon = world.start(&Config::of(service()));
    let flood = Flood::start(&sources(count), 2001, then);
    must("the overload is noticed", || state(&daemon) != "active");
    let served = served_meanwhile();
    let fared = flood.end();
    assert!(fared.connected > 1000, "a flood: {fared:?}");
    assert_eq!(fared.refused, 0, "the port is never closed");
    assert!(served >= 95, "{served} of {HONEST}; {fared:?}");
    must("it is over", || state(&daemon) == "active");
    let last = sources(1)[0].to_string();
    must("even the one who did it is served", || talk(&last, 2001, b"") == Answer::closed(SERVED));
    must("nothing is left", || daemon.count("s1", "/running") == 0);
}

/// One source that does nothing else: the others are served.
#[test]
fn one_source_floods() {
    ours(|world| few_sources_flood(world, 1, Then::Reset));
}

/// The same with connections that are closed as usual.
#[test]
fn one_source_floods_politely() {
    ours(|world| few_sources_flood(world, 1, Then::Close));
}

/// The same with connections that stay.
#[test]
fn one_source_holds_on() {
    ours(|world| few_sources_flood(world, 1, Then::Hold(100)));
}

/// Ten of them.
#[test]
fn ten_sources_flood() {
    ours(|world| few_sources_flood(world, 10, Then::Reset));
}

/// Ten thousand sources that each do little: nobody is above a share, so all wait in the queue. It heals when it is over, and
/// the port was open all the time.
fn very_many_sources(world: &World, sources: &[IpAddr], newcomers: [&str; 2], then: Then) {
    let daemon = world.start(&Config::of(service()));
    // It is looked at meanwhile: a slow machine may be through with all of them before the last is here.
    let (over, noticed) = (AtomicBool::new(false), AtomicBool::new(false));
    let fared = std::thread::scope(|scope| {
        scope.spawn(|| {
            world.enter();
            while !over.load(Ordering::Relaxed) && !noticed.load(Ordering::Relaxed) {
                noticed.fetch_or(state(&daemon) != "active", Ordering::Relaxed);
            }
        });
        let fared = Flood::once(sources, 2001, then);
        noticed.fetch_or(state(&daemon) != "active", Ordering::Relaxed);
        over.store(true, Ordering::Relaxed);
        fared
    });
    assert_eq!(fared.refused, 0, "the port is never closed: {fared:?}");
    assert!(fared.connected > 100, "a flood: {fared:?}");
    assert!(noticed.into_inner(), "the overload is noticed: {fared:?}");
    // In the queue behind all of them.
    let waiting = newcomers.map(|newcomer| {
        let mut client = None;
        must("there is room in the queue", || {
            client = dial(newcomer, 2001).ok();
            client.is_some()
        });
        client.expect("in the queue")
    });
    // Whoever is one too many when the listener stops is refused, as in xinetd: one of two that come one after the other may be that one.
    let answers = waiting.map(|mut client| client.read_all());
    let served = answers.iter().filter(|&answer| *answer == Answer::closed(SERVED)).count();
    let turned_away = answers.iter().filter(|&answer| *answer == Answer::closed("")).count();
    assert!(served >= 1 && served + turned_away == answers.len(), "{answers:?}; {fared:?}");
    must("it is over", || state(&daemon) == "active");
    assert_eq!(talk(newcomers[0], 2001, b""), Answer::closed(SERVED));
    assert!(daemon.runs());
}

#[test]
fn ten_thousand_sources_flood() {
    ours(|world| very_many_sources(world, &sources(10_000), NEWCOMERS, Then::Reset));
}

/// The same with connections that are closed as usual: each of them in the queue takes its turn.
#[test]
fn two_thousand_sources_flood_politely() {
    ours(|world| very_many_sources(world, &sources(2000), NEWCOMERS, Then::Close));
}

/// As many networks of IPv6.
#[test]
fn ten_thousand_networks_flood() {
    ours(|world| {
        let route = ["/usr/bin/ip", "-6", "route", "add", "local", "fd99::/32", "dev", "lo"];
        let (how, output) = world.run(&route, &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        // Of the world's network: this thread is in it.
        std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1").expect("to bind to any of them");
        let network = |n: u16| IpAddr::from(Ipv6Addr::new(0xfd99, 0, n, 0, 0, 0, 0, 1));
        let sources: Vec<IpAddr> = (0..10_000).map(network).collect();
        very_many_sources(world, &sources, ["fd99:0:ffff::1", "fd99:0:fffe::1"], Then::Reset);
    });
}
