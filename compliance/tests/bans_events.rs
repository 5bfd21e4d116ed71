//! Bans in the ledger, each with a number, who has ordered it and what for; and what a banned source has running here, ended where that
//! is asked for, and nobody else's.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Entry, Side, Start, World, ours};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";
const FOREIGN: u16 = 2100;

fn config() -> Config {
    let trap =
        Entry::internal("discard", "trap", 2001, "stream").set("flags", "SENSOR").set("deny_time", "10");
    Config::new()
        .with(trap)
        .with(Entry::internal("echo", "echo", 2002, "stream"))
        .with(Entry::probe("waits", 2003, "hold"))
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

/// `portreeve events --json`, those about bans.
fn events(world: &World) -> Vec<Value> {
    let executable = Side::Ours.executable().with_file_name("portreeve");
    let executable = executable.to_str().expect("UTF-8");
    let (_, output) = world
        .run(&[executable, "events", "--since", "1h", "--json", "--ledger", "/run/w/ledger"], &["TZ=UTC"]);
    let all = output.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|event| ["ban", "unban", "deny"].contains(&event["kind"].as_str().unwrap_or_default()))
        .collect()
}

/// By hand, by a list, by a sensor; let in again, or over.
#[test]
fn each_ban_and_its_end_is_an_event() {
    ours(|world| {
        let next = world.neighbour(&[ONE]);
        let daemon = start(world);
        order(&daemon, "ban 198.51.100.0/24 900 tries passwords");
        order(&daemon, "ban 203.0.113.7 1");
        order(&daemon, "unban 198.51.100.0/24");
        let list = "192.0.2.0/25 forever listed\n2001:db8::/32 60";
        order(&daemon, &format!("import {}\n{list}", list.len() + 1));
        next.within(|| talk_to(ONE, HERE, 2001));
        let mut seen = Vec::new();
        must("all are there", || {
            seen = events(world);
            seen.len() == 7
        });
        let of =
            |prefix: &str| -> Vec<&Value> { seen.iter().filter(|event| event["prefix"] == prefix).collect() };
        let tries = of("198.51.100.0/24");
        assert_eq!((&tries[0]["kind"], &tries[1]["kind"]), (&"ban".into(), &"unban".into()));
        assert_eq!((&tries[0]["origin"], &tries[0]["uid"]), (&"operator".into(), &0.into()));
        assert_eq!(
            (&tries[0]["reason"], &tries[0]["duration"]),
            (&"tries passwords".into(), &900_000_000.into())
        );
        assert_eq!((&tries[1]["origin"], &tries[1]["uid"]), (&"operator".into(), &0.into()));
        let short = of("203.0.113.7/32");
        assert_eq!((&short[1]["kind"], &short[1]["origin"]), (&"unban".into(), &"expired".into()));
        assert_eq!(short[0]["source"], "203.0.113.7");
        let listed = of("192.0.2.0/25");
        assert_eq!((&listed[0]["origin"], &listed[0]["duration"]), (&"import".into(), &Value::Null));
        assert_eq!(of("2001:db8::/32")[0]["uid"], 0);
        let tripped = of("10.7.0.2/32");
        assert_eq!((&tripped[0]["kind"], &tripped[0]["origin"]), (&"deny".into(), &"sensor".into()));
        assert_eq!((&tripped[0]["service"], &tripped[0]["duration"]), (&"trap".into(), &600_000_000.into()));
        let mut ids: Vec<i64> = seen.iter().filter_map(|event| event["id"].as_i64()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), seen.len(), "each has its own: {seen:?}");
        // As people see them.
        let executable = Side::Ours.executable().with_file_name("portreeve");
        let words = [
            executable.to_str().expect("UTF-8"),
            "events",
            "--ledger",
            "/run/w/ledger",
            "--source",
            "198.51.100.9",
        ];
        let (_, shown) = world.run(&words, &["TZ=UTC"]);
        assert!(shown.contains("tries passwords, for 15m, by operator, uid 0"), "{shown}");
        assert!(shown.contains("unban") && shown.lines().count() == 2, "{shown}");
    });
}

fn connect(next: &Neighbour<'_>, from: &str, port: u16) -> TcpStream {
    let stream =
        next.within(|| dial_to(from, HERE, port, Duration::from_secs(5))).expect("it connects").stream;
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    stream
}

/// Whether what is written comes back.
fn echoes(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && stream.read(&mut [0; 8]).is_ok_and(|count| count > 0)
}

/// The end of a connection, which is told to the one who is banned, since what this host sends is not dropped.
fn ends(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 64];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted);
            }
        }
    }
}

/// Our instances and a stranger's connection of who is banned end at once; the neighbour's go on, and without `cut` all do.
#[test]
fn what_a_banned_source_has_open_is_cut_and_nobody_elses() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE, OTHER]);
        let daemon = start(world);
        let stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        let open = |from: &str| {
            let theirs = connect(&next, from, FOREIGN);
            let (ours, _) = stranger.accept().expect("a client");
            ours.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
            (theirs, ours, connect(&next, from, 2002), connect(&next, from, 2003))
        };
        let (mut one, mut at_one, mut echo_one, mut program_one) = open(ONE);
        let (mut other, mut at_other, mut echo_other, _program_other) = open(OTHER);
        assert!(echoes(&mut echo_one) && echoes(&mut echo_other));
        must("all run", || {
            order(&daemon, "instances")["instances"].as_array().is_some_and(|all| all.len() == 4)
        });
        let answer = order(&daemon, &format!("cut {ONE} 600 at once"));
        assert_eq!(answer["ended"], 2, "the echo and the program: {answer}");
        assert!(ends(&mut at_one), "the kernel has ended it for the program that is not ours");
        assert!(ends(&mut one) && ends(&mut echo_one) && ends(&mut program_one));
        must("the log says so", || world.daemon_log_count("connection(s) of who is banned are cut") >= 1);
        must("its instances are gone", || {
            order(&daemon, "instances")["instances"].as_array().is_some_and(|all| all.len() == 2)
        });
        assert!(echoes(&mut echo_other));
        other.write_all(b"y").expect("written");
        assert_eq!(at_other.read(&mut [0; 4]).expect("read"), 1);

        // Banned and not cut: silent, and there.
        order(&daemon, &format!("ban {OTHER} 600"));
        must("it is dropped", || {
            next.within(|| dial_to(OTHER, HERE, FOREIGN, Duration::from_millis(300)).is_err())
        });
        assert_eq!(order(&daemon, "instances")["instances"].as_array().map(Vec::len), Some(2));
        order(&daemon, &format!("unban {OTHER}"));
        must("it goes on", || {
            other.write_all(b"z").expect("written");
            at_other.read(&mut [0; 4]).is_ok()
        });
        // A wider net over both, by a list.
        let list =
            "10.7.0.2/31 600 both\n198.51.100.1 600\n198.51.100.2 600\n198.51.100.3 600\n198.51.100.4 600";
        let answer = order(&daemon, &format!("import {} cut\n{list}", list.len() + 1));
        assert_eq!(answer["ended"], 2, "{answer}");
        assert!(ends(&mut at_other) && ends(&mut echo_other));
    });
}

/// Many end at the same moment, and all at once are let in: no event is lost, and nobody waits for it.
#[test]
fn many_that_end_at_once_lose_no_event() {
    ours(|world| {
        let daemon = start(world);
        let list: String = (0..3000).map(|n| format!("198.18.{}.{} 2\n", n / 250, n % 250)).collect();
        order(&daemon, &format!("import {}\n{}", list.len(), list.trim_end()));
        let mut seen = Vec::new();
        must("each has its end", || {
            seen = events(world);
            seen.len() == 6000
        });
        assert_eq!(seen.iter().filter(|event| event["origin"] == "expired").count(), 3000);
        assert_eq!(order(&daemon, "bans")["held"], 0);
        assert_eq!(daemon.status()["ledger"]["dropped"], 0);
        let list = list.replace(" 2\n", " 900\n") + "2001:db8::/32 900";
        order(&daemon, &format!("import {}\n{list}", list.len() + 1));
        assert_eq!(order(&daemon, "unban all")["removed"], 3001);
        must("one for each family", || {
            let pardons: Vec<Value> =
                events(world).into_iter().filter(|event| event["reason"] == "all").collect();
            pardons.len() == 2 && pardons[0]["count"] == 3000 && pardons[1]["prefix"] == "::/0"
        });
        assert_eq!(daemon.status()["ledger"]["dropped"], 0);
    });
}
