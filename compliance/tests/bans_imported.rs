//! Lists of bans: read by the real command, checked before anything is banned, kept whole or not at all, and there after a restart.

use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Ended, Entry, Side, Start, World, ours, signals};
use serde_json::Value;
use std::time::Instant;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];

fn start(world: &World) -> Daemon<'_> {
    let options = vec!["--ledger".into(), "/run/w/ledger".into()];
    let config = Config::of(Entry::program("s1", 2003));
    world.start_with(&config, Start { options, ..Start::default() })
}

fn held(daemon: &Daemon<'_>) -> u64 {
    let answer: Value = serde_json::from_str(&daemon.control("bans")).expect("JSON");
    answer["held"].as_u64().expect("a number")
}

/// `portreeve ban ...` as a user types it.
fn ban(world: &World, words: &[&str]) -> (Ended, String) {
    let executable = Side::Ours.executable().with_file_name("portreeve");
    let mut argv = vec![executable.to_str().expect("UTF-8"), "ban"];
    argv.extend(words);
    argv.extend(["--control", "/run/w/control"]);
    world.run(&argv, ENV)
}

fn import(world: &World, text: &str, more: &[&str]) -> (Ended, String) {
    world.write("list", text);
    ban(world, &[&["import", "/run/w/list"], more].concat())
}

fn enforced(daemon: &Daemon<'_>, count: u64) {
    must("the kernel has them", || {
        let bans = daemon.status()["bans"].clone();
        // Where nobody was banned, and who was killed had not come to the kernel, nothing is there.
        let there = bans["kernel"] == "enforced" || count == 0 && bans["kernel"] == "nobody was banned yet";
        let number = |name: &str| bans[name].as_u64().unwrap_or(0);
        there && number("enforced") == count && number("wanted") == count
    });
}

/// A line that is not right is named, and nobody of the list is banned; what is exported comes back as it was.
#[test]
fn a_list_is_applied_whole_or_not_at_all() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&["10.7.0.2"]);
        let daemon = start(world);
        let garbage = format!("192.0.2.1\n{}\n", "x".repeat(100_000));
        for (text, more, wanted) in [
            (
                "192.0.2.1\n198.51.100.1/24\n",
                &["--forever"][..],
                "/run/w/list:2:1: 198.51.100.1/24 has bits set",
            ),
            ("192.0.2.1\n", &[], "/run/w/list:1:1: the list does not say for how long"),
            ("# a\n192.0.2.1 60\n10.0.0.0/8 60\n", &[], "/run/w/list:3:1: 10.0.0.0/8 is protected: 10.7.0.1"),
            ("192.0.2.1 60\n0.0.0.0/0 60\n", &[], "/run/w/list:2:1: 0.0.0.0/0 is too wide"),
            ("ALL: ALL\n", &["--forever"], "/run/w/list:1:6: \"ALL\" is no IPv4"),
            (&garbage, &["--forever"], "/run/w/list:2:1: \"xxxxx"),
        ] {
            let (how, output) = import(world, text, more);
            assert!(output.len() < 400, "it is to be read");
            assert_eq!(how, Ended::Status(2), "{text}: {output}");
            assert!(output.contains(wanted) && output.contains("nothing was banned"), "{text}: {output}");
            assert_eq!(held(&daemon), 0, "{text}");
        }
        let list =
            "192.0.2.0/24 forever one #1\n192.0.2.7 600\n192.0.2.7 900 twice\n::ffff:198.51.100.9 900\n";
        let (how, output) = import(world, list, &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(output.contains("banned: 3, of which 3 were not before"), "{output}");
        enforced(&daemon, 3);
        let (_, exported) = ban(world, &["export"]);
        let shown: Vec<String> =
            exported.lines().map(|line| line.replace(" 899", " 900").replace(" 898", " 900")).collect();
        assert_eq!(shown, ["192.0.2.0/24 forever one #1", "192.0.2.7 900 twice", "198.51.100.9 900"]);
        ban(world, &["remove", "all"]);
        assert_eq!(held(&daemon), 0);
        let (how, output) = import(world, &exported, &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        assert_eq!(held(&daemon), 3);
        let (how, output) = import(world, "# nobody\n", &[]);
        assert_eq!((how, held(&daemon)), (Ended::Status(1), 3), "{output}");
        let bad = daemon.control("import 99999999");
        assert!(bad.contains("a list has 1 to"), "{bad}");
    });
}

/// When a list ends, as lists do, at one moment, the kernel is told of it at its own pace: whoever is banned then waits for no more than a
/// part of it.
#[test]
fn a_list_that_ends_holds_no_ban_up() {
    const COUNT: u64 = 60_000;
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&["10.7.0.2"]);
        let daemon = start(world);
        let list: String = (0..COUNT as u32)
            .map(|n| format!("{}\n", std::net::Ipv4Addr::from((100 << 24) + n * 3)))
            .collect();
        let (how, output) = import(world, &list, &["--for", "5s"]);
        assert_eq!(how, Ended::Status(0), "{output}");
        enforced(&daemon, COUNT);
        let mut most = 0;
        must("all have ended", || {
            let bans = daemon.status()["bans"].clone();
            most = most.max(bans["on_their_way"].as_u64().unwrap_or(u64::MAX));
            held(&daemon) == 0 && bans["wanted"] == 0
        });
        assert!(most <= 2500, "{most} changes that a ban would wait for");
    });
}

/// A list that nobody waits for.
fn begin(world: &World, words: &str) {
    let executable = Side::Ours.executable().with_file_name("portreeve");
    let line = format!("{} ban {words} --control /run/w/control >/dev/null 2>&1 &", executable.display());
    world.run(&["sh", "-c", &line], ENV);
}

fn stored(world: &World) -> u64 {
    let question = "SELECT count(*) FROM bans";
    let words = ["sqlite3", "-readonly", "-cmd", ".timeout 20000", "/run/w/ledger/ledger.db", question];
    // One that cannot be read is not empty.
    world.run(&words, ENV).1.trim().parse().unwrap_or(u64::MAX)
}

/// Whoever is killed in the midst of a list: after that the store has all of it or nothing.
#[test]
fn a_list_whose_daemon_is_killed_is_kept_whole_or_not_at_all() {
    const COUNT: u64 = 30_000;
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&["10.7.0.2"]);
        let list: String = (0..COUNT as u32)
            .map(|n| format!("{} forever listed\n", std::net::Ipv4Addr::from((100 << 24) + n * 3)))
            .collect();
        world.write("list", &list);
        let mut daemon = start(world);
        for at in [1, COUNT / 2, COUNT] {
            must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
            begin(world, "import /run/w/list");
            must("a part of it is applied", || held(&daemon) >= at);
            assert!(world.signal(daemon.pid, signals::KILL));
            must("it is gone", || world.ended(daemon.pid).is_some());
            daemon = start(world);
            must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
            must("what is kept is in force", || {
                let kept = stored(world);
                let status = daemon.status()["bans"].clone();
                let has = status["enforced"].as_u64().unwrap_or(0);
                [0, COUNT].contains(&kept) && held(&daemon) == kept && has == kept
            });
            ban(world, &["remove", "all"]);
            enforced(&daemon, 0);
            must("nobody is kept", || stored(world) == 0);
        }
        // The ledger alone: the next one is told all of it.
        begin(world, "import /run/w/list");
        must("a part of it is applied", || held(&daemon) > 0);
        for pid in world.processes("worker ledger") {
            assert!(world.signal(pid, signals::KILL));
        }
        must("all are kept", || stored(world) == COUNT);
        enforced(&daemon, COUNT);
        // All are removed, or none.
        begin(world, "remove all");
        must("some are let in", || held(&daemon) < COUNT);
        assert!(world.signal(daemon.pid, signals::KILL));
        must("it is gone", || world.ended(daemon.pid).is_some());
        let kept = stored(world);
        assert!([0, COUNT].contains(&kept), "{kept} are kept");
        daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        if kept == 0 {
            ban(world, &["import", "/run/w/list"]);
        }
        enforced(&daemon, COUNT);
        // All are removed, and whoever is banned after that order stays so.
        begin(world, "remove all");
        must("some are let in", || held(&daemon) < COUNT);
        let (how, output) = ban(world, &["add", "100.0.0.3", "--forever"]);
        assert_eq!(how, Ended::Status(0), "{output}");
        enforced(&daemon, 1);
        must("one is kept", || stored(world) == 1);
        assert_eq!(held(&daemon), 1);
        // Who is let in while a list is applied is not banned by the rest of it.
        begin(world, "import /run/w/list");
        must("a part of it is applied", || held(&daemon) > 1);
        let last = std::net::Ipv4Addr::from((100 << 24) + (COUNT as u32 - 1) * 3).to_string();
        let (how, output) = ban(world, &["remove", &last]);
        assert_eq!(how, Ended::Status(0), "{output}");
        enforced(&daemon, COUNT - 1);
        must("all but one are kept", || stored(world) == COUNT - 1);
    });
}

/// A hundred thousand: banned, kept, and back after a restart.
#[test]
fn a_hundred_thousand_bans_come_back() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&["10.7.0.2"]);
        let daemon = start(world);
        let list: String = (0..100_000u32)
            .map(|n| format!("{} forever listed\n", std::net::Ipv4Addr::from((100 << 24) + n * 3)))
            .collect();
        let begun = Instant::now();
        let (how, output) = import(world, &list, &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(!output.contains("not kept"), "{output}");
        enforced(&daemon, 100_000);
        eprintln!("imported and enforced in {:?}", begun.elapsed());
        if has_programs(&["sqlite3"]) {
            assert_eq!(stored(world), 100_000, "what is answered for is kept");
        }
        daemon.stop();
        let begun = Instant::now();
        let daemon = start(world);
        enforced(&daemon, 100_000);
        eprintln!("started and enforced in {:?}", begun.elapsed());
        assert_eq!(held(&daemon), 100_000);
        let (how, _) = ban(world, &["remove", "all"]);
        assert_eq!(how, Ended::Status(0));
        enforced(&daemon, 0);
    });
}

/// Whoever has a long list applied hears that it goes on, and is answered in the end.
#[test]
fn a_list_that_takes_long_keeps_its_client_waiting() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&["10.7.0.2"]);
        let daemon = start(world);
        ban(world, &["add", "198.51.100.1"]);
        enforced(&daemon, 1);
        // The kernel's worker stands still, so each part waits for it as long as a part does.
        let worker = world.processes("worker firewall");
        assert!(worker.len() == 1 && world.signal(worker[0], signals::STOP));
        let list: String = (0..1000u32)
            .map(|n| format!("{} forever listed\n", std::net::Ipv4Addr::from((100 << 24) + n)))
            .collect();
        let answer = daemon.control(&format!("import {}\n{}", list.len(), list.trim_end()));
        assert!(world.signal(worker[0], signals::CONT));
        let white: String = answer.chars().take_while(|c| c.is_ascii_whitespace()).collect();
        let spaces = white.chars().filter(|c| *c == ' ').count();
        assert!((30..=100).contains(&spaces), "hundredths of it: {white:?}");
        let told: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!((told["ok"].as_bool(), told["imported"].as_u64()), (Some(true), Some(1000)), "{told}");
        enforced(&daemon, 1001);
    });
}
