//! What a flood of a built-in or a redirected service does to everybody else: their clients are in a worker, and it has bounds of
//! its own. Counts, not times; spawned services are in `overload`.

use portreeve_compliance::client::talk;
use portreeve_compliance::flood::{Flood, Then};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Entry, World, ours};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Clients that keep within the limits.
const HONEST: u8 = 60;

/// So many addresses of 127.64.0.0/10, none of which an honest client has.
fn sources(count: u32) -> Vec<IpAddr> {
    (0..count).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x7f40_0001 + n))).collect()
}

fn builtin() -> Config {
    Config::of(Entry::internal("daytime", "s1", 2001, "stream").set("cps", "50 3"))
}

fn redirected() -> Config {
    let way = Entry::bare("s1", 2001)
        .set("type", "UNLISTED")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "root")
        .set("cps", "50 3")
        .set("redirect", "127.0.0.1 2002");
    Config::of(way).with(Entry::program("s2", 2002).set("cps", "0 0").set("instances", "UNLIMITED"))
}

fn state(daemon: &Daemon<'_>) -> String {
    let status = daemon.service_status("s1");
    status.pointer("/state").and_then(|state| state.as_str()).unwrap_or("").to_owned()
}

fn is_served(from: &str) -> bool {
    let said = talk(from, 2001, b"").text();
    said == "served\n" || said.ends_with("\r\n") && said.len() > 10
}

fn survives(world: &World, config: &Config, count: u32, then: Then) {
    let daemon = world.start(config);
    must("it is served", || is_served("127.0.0.1"));
    let flood = Flood::start(&sources(count), 2001, then);
    must("the overload is noticed", || state(&daemon) != "active");
    let served = (1..=HONEST)
        .filter(|n| {
            std::thread::sleep(Duration::from_millis(40));
            is_served(&format!("127.0.3.{n}"))
        })
        .count();
    let fared = flood.end();
    assert!(fared.connected > 500, "a flood: {fared:?}");
    assert_eq!(fared.refused, 0, "the port is never closed");
    assert!(served * 100 >= usize::from(HONEST) * 95, "{served} of {HONEST}; {fared:?}");
    must("it is over", || state(&daemon) == "active");
    let last = sources(1)[0].to_string();
    must("even the one who did it is served", || is_served(&last));
    must("nothing is left", || daemon.count("s1", "/running") == 0);
    let status = daemon.status();
    let lost = status["workers"].as_array().expect("workers").iter().any(|worker| worker["restarts"] != 0);
    assert!(!lost, "no worker was lost over it: {status}");
}

/// Ten thousand sources that each do little: the port stays open, and it heals when it is over.
fn heals(world: &World, config: &Config) {
    let daemon = world.start(config);
    must("it is served", || is_served("127.0.0.1"));
    let fared = Flood::once(&sources(10_000), 2001, Then::Reset);
    assert_eq!(fared.refused, 0, "the port is never closed: {fared:?}");
    assert!(fared.connected > 100, "a flood: {fared:?}");
    must("who comes then is served", || is_served("127.0.3.1"));
    must("it is over", || state(&daemon) == "active");
    must("nothing is left", || daemon.count("s1", "/running") == 0);
    assert!(daemon.runs());
}

#[test]
fn one_source_floods_a_builtin() {
    ours(|world| survives(world, &builtin(), 1, Then::Reset));
}

#[test]
fn ten_sources_flood_a_builtin() {
    ours(|world| survives(world, &builtin(), 10, Then::Close));
}

#[test]
fn ten_thousand_sources_flood_a_builtin() {
    ours(|world| heals(world, &builtin()));
}

#[test]
fn one_source_floods_a_redirect() {
    ours(|world| survives(world, &redirected(), 1, Then::Reset));
}

#[test]
fn one_source_holds_a_redirect() {
    ours(|world| survives(world, &redirected(), 1, Then::Hold(100)));
}

#[test]
fn ten_sources_flood_a_redirect() {
    ours(|world| survives(world, &redirected(), 10, Then::Close));
}

#[test]
fn ten_thousand_sources_flood_a_redirect() {
    ours(|world| heals(world, &redirected()));
}
