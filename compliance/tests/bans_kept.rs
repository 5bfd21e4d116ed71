//! Bans outlast the daemon: the ledger keeps them, and gives them back to the next one, whichever of the two is killed. xinetd's
//! list is lost with it.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Entry, Start, World, ours, signals};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";
const FOREIGN: u16 = 2100;

fn config() -> Config {
    let trap = Entry::internal("discard", "trap", 2001, "stream");
    Config::new().with(trap.set("flags", "SENSOR").set("deny_time", "10")).with(Entry::program("s1", 2003))
}

fn start(world: &World) -> Daemon<'_> {
    let options = vec!["--ledger".into(), "/run/w/ledger".into()];
    let daemon = world.start_with(&config(), Start { options, ..Start::default() });
    must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
    daemon
}

fn order(daemon: &Daemon<'_>, request: &str) -> Value {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], true, "{request}: {answer}");
    answer
}

/// Network, and who it is by, what for, how long.
fn list(daemon: &Daemon<'_>) -> BTreeMap<String, Value> {
    let list = order(daemon, "bans")["list"].as_array().cloned().unwrap_or_default();
    list.into_iter().map(|ban| (ban["network"].as_str().unwrap_or_default().to_owned(), ban)).collect()
}

fn names(daemon: &Daemon<'_>) -> Vec<String> {
    list(daemon).into_keys().collect()
}

fn reaches(next: &Neighbour<'_>, from: &str) -> bool {
    next.within(|| dial_to(from, HERE, FOREIGN, Duration::from_millis(400)).is_ok())
}

fn ledger(world: &World) -> u32 {
    let mut found = Vec::new();
    must("there is a ledger", || {
        found = world.processes("worker ledger");
        found.len() == 1
    });
    found[0]
}

/// By hand and by a sensor, for a time and for ever: with the next run as with this one, in the kernel too.
#[test]
fn a_restart_keeps_bans() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE, OTHER]);
        let daemon = start(world);
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        next.within(|| talk_to(ONE, HERE, 2001));
        must("it is dropped", || !reaches(&next, ONE));
        let answer = order(&daemon, "ban 2001:db8::/32 forever for ever");
        assert_eq!(answer["not_kept"], Value::Null, "{answer}");
        order(&daemon, "ban 198.51.100.0/24 900 a while");
        order(&daemon, "ban 198.51.100.7 1 a moment");
        order(&daemon, "ban 203.0.113.1 900 let in again");
        order(&daemon, "unban 203.0.113.1");
        daemon.stop();
        std::thread::sleep(Duration::from_millis(1100));

        let daemon = start(world);
        must("they are back", || names(&daemon) == [ONE, "198.51.100.0/24", "2001:db8::/32"]);
        let bans = list(&daemon);
        assert_eq!(
            (&bans[ONE]["by"], &bans[ONE]["reason"]),
            (&"sensor".into(), &"tripped the sensor trap".into())
        );
        assert!(
            bans[ONE]["seconds_left"].as_u64().is_some_and(|left| (550..600).contains(&left)),
            "{bans:?}"
        );
        assert_eq!(bans["2001:db8::/32"]["seconds_left"], Value::Null);
        assert_eq!(bans["198.51.100.0/24"]["reason"], "a while");
        must("the kernel has them", || {
            let bans = daemon.status()["bans"].clone();
            bans["kernel"] == "enforced" && bans["enforced"] == 3
        });
        assert!(!reaches(&next, ONE) && reaches(&next, OTHER));

        // One that is killed has forgotten nothing either, the less the longer it was left alone.
        order(&daemon, &format!("unban {ONE}"));
        order(&daemon, "ban 198.51.100.0/24 forever now for ever");
        order(&daemon, "ban 192.0.2.0/24 900");
        must("the store has it", || daemon.status()["ledger"]["state"] == "open" && stored(world).len() == 3);
        assert!(world.signal(daemon.pid, signals::KILL));
        must("it is gone", || world.ended(daemon.pid).is_some());
        let daemon = start(world);
        must("they are back", || names(&daemon) == ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"]);
        assert_eq!(list(&daemon)["198.51.100.0/24"]["reason"], "now for ever");
        must("it is let in", || reaches(&next, ONE));
    });
}

/// What the store has, as the operator's own sqlite3 sees it.
fn stored(world: &World) -> Vec<String> {
    let (_, output) = world.run(
        &["sqlite3", "-readonly", "-cmd", ".timeout 20000", "/run/w/ledger/ledger.db", "SELECT prefix FROM bans WHERE until IS NULL OR until > strftime('%s', 'now') * 1000000 ORDER BY prefix"],
        &["PATH=/usr/bin:/bin"],
    );
    output.lines().map(str::to_owned).collect()
}

/// A ledger that dies learns from the list what it has missed, and teaches it nothing that is over.
#[test]
fn a_killed_ledger_is_told_again() {
    if !has_programs(&["sqlite3"]) {
        return;
    }
    ours(|world| {
        let daemon = start(world);
        order(&daemon, "ban 192.0.2.1 900");
        order(&daemon, "ban 192.0.2.2 900");
        must("both are kept", || stored(world) == ["192.0.2.1/32", "192.0.2.2/32"]);
        for round in 0..3 {
            let pid = ledger(world);
            assert!(world.signal(pid, signals::KILL));
            order(&daemon, &format!("ban 198.51.100.{round} forever"));
            order(&daemon, "unban 192.0.2.2");
            must("there is another", || ledger(world) != pid);
            must("it knows", || {
                let kept = stored(world);
                kept.contains(&format!("198.51.100.{round}/32")) && !kept.contains(&"192.0.2.2/32".to_owned())
            });
            assert!(!names(&daemon).contains(&"192.0.2.2".to_owned()));
            order(&daemon, "ban 192.0.2.2 900");
            must("it is kept", || stored(world).contains(&"192.0.2.2/32".to_owned()));
        }
        let before = names(&daemon);
        assert_eq!(before.len(), 5, "{before:?}");
        order(&daemon, "upgrade");
        must("it has upgraded", || daemon.status()["upgrades"] == 1);
        order(&daemon, "unban 192.0.2.1");
        must("the store follows", || !stored(world).contains(&"192.0.2.1/32".to_owned()));
        order(&daemon, "unban all");
        must("nobody is kept", || stored(world).is_empty());
        daemon.stop();
        let daemon = start(world);
        assert!(names(&daemon).is_empty());
    });
}

/// Many at once come back, and all at once go.
#[test]
fn hundreds_of_bans_come_back() {
    if !has_programs(&["sqlite3"]) {
        return;
    }
    ours(|world| {
        let daemon = start(world);
        for n in 0..450u32 {
            order(&daemon, &format!("ban 198.18.{}.{} 3600 number {n}", n / 256, n % 256));
        }
        must("all are kept", || stored(world).len() == 450);
        daemon.stop();
        let daemon = start(world);
        must("all are back", || order(&daemon, "bans")["held"] == 450);
        assert_eq!(list(&daemon)["198.18.1.2"]["reason"], "number 258");
    });
}

/// Without a ledger that is said where somebody bans.
#[test]
fn without_a_ledger_it_is_said() {
    ours(|world| {
        let options = vec!["--ledger".into(), "off".into()];
        let daemon = world.start_with(&config(), Start { options, ..Start::default() });
        let answer = order(&daemon, "ban 192.0.2.1 900");
        assert_eq!(answer["not_kept"], "there is no ledger: it is switched off", "{answer}");
        assert_eq!(order(&daemon, "bans")["not_kept"], "there is no ledger: it is switched off");
    });
}
