//! Bans and what goes wrong: a full disk, a damaged or forged database, clocks that were set between two runs, a reboot, each process
//! killed at each step, and others that flush the kernel's tables. Bans come back, nobody else is banned, and `status` says what is so.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Ended, Entry, Start, World, ours, signals};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";
const FOREIGN: u16 = 2100;
const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];

fn config() -> Config {
    let trap = Entry::internal("discard", "trap", 2001, "stream");
    Config::new().with(trap.set("flags", "SENSOR").set("deny_time", "10")).with(Entry::program("s1", 2003))
}

fn start(world: &World) -> Daemon<'_> {
    let options = vec!["--ledger".into(), "/run/w/ledger".into()];
    world.start_with(&config(), Start { options, ..Start::default() })
}

fn order(daemon: &Daemon<'_>, request: &str) -> Value {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], true, "{request}: {answer}");
    answer
}

fn names(daemon: &Daemon<'_>) -> Vec<String> {
    let list = order(daemon, "bans")["list"].as_array().cloned().unwrap_or_default();
    list.iter().map(|ban| ban["network"].as_str().unwrap_or_default().to_owned()).collect()
}

fn reaches(next: &Neighbour<'_>, from: &str) -> bool {
    next.within(|| dial_to(from, HERE, FOREIGN, Duration::from_millis(400)).is_ok())
}

fn stranger() -> TcpListener {
    TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours")
}

/// `enforced n of m`, and nothing on its way.
fn enforced(daemon: &Daemon<'_>, count: u64) {
    must("the kernel has them", || {
        let bans = daemon.status()["bans"].clone();
        bans["kernel"] == "enforced"
            && bans["enforced"] == count
            && bans["wanted"] == count
            && bans["on_their_way"] == 0
    });
}

fn shell(world: &World, script: &str) -> String {
    let (how, output) = world.run(&["/bin/sh", "-ec", script], ENV);
    assert_eq!(how, Ended::Status(0), "{script}: {output}");
    output
}

fn sql(world: &World, statement: &str) -> String {
    shell(world, &format!("sqlite3 -cmd '.timeout 20000' /run/w/ledger/ledger.db \"{statement}\""))
        .trim()
        .to_owned()
}

fn stored(world: &World) -> Vec<String> {
    let all = sql(world, "SELECT prefix FROM bans ORDER BY prefix");
    all.lines().map(str::to_owned).collect()
}

/// Kills a process, by the words of its command line, and waits until there is another.
fn replaced(world: &World, words: &str) {
    let mut found = Vec::new();
    must("it runs", || {
        found = world.processes(words);
        found.len() == 1
    });
    assert!(world.signal(found[0], signals::KILL));
    must("there is another", || world.processes(words).first().is_some_and(|pid| *pid != found[0]));
}

/// Bans count at once and are kept as soon as there is room; that they are not yet is said.
#[test]
fn a_full_disk_costs_no_ban() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE]);
        let _stranger = stranger();
        shell(world, "mkdir -p /run/w/ledger; mount -t tmpfs -o size=1m,mode=700 small /run/w/ledger");
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        order(&daemon, "ban 198.51.100.1 900 before");
        must("it is kept", || stored(world) == ["198.51.100.1/32"]);
        shell(world, "dd if=/dev/zero of=/run/w/ledger/ballast bs=4k 2>/dev/null || true");
        let list: String = (0..4000)
            .map(|n| format!("198.18.{}.{} 900 long words to fill it\n", n / 250, n % 250))
            .collect();
        world.write("list", list);
        let executable = portreeve_compliance::Side::Ours.executable().with_file_name("portreeve");
        let words = [
            executable.to_str().expect("UTF-8"),
            "ban",
            "import",
            "/run/w/list",
            "--control",
            "/run/w/control",
        ];
        let (how, said) = world.run(&words, ENV);
        assert_eq!(how, Ended::Status(0), "{said}");
        order(&daemon, &format!("ban {ONE} 900 on a full disk"));
        must("it is dropped all the same", || !reaches(&next, ONE));
        enforced(&daemon, 4002);
        must("it is said", || {
            order(&daemon, "bans")["not_kept"].as_str().is_some_and(|why| why.contains("full"))
        });
        shell(world, "rm /run/w/ledger/ballast");
        must("all are kept", || stored(world).len() == 4002);
        must("that is said", || order(&daemon, "bans")["not_kept"].is_null());
        daemon.stop();
        let daemon = start(world);
        must("all are back", || order(&daemon, "bans")["held"] == 4002);
        enforced(&daemon, 4002);
        assert!(!reaches(&next, ONE));
        daemon.stop();
        shell(world, "umount -l /run/w/ledger");
    });
}

/// What a full disk has not taken is not forgotten by the next version either, nor what the ledger is about to tell of its store: nobody is
/// killed for an answer to a question of the former one.
#[test]
fn an_upgrade_forgets_no_ban_that_is_not_kept() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        shell(world, "mkdir -p /run/w/ledger; mount -t tmpfs -o size=64m,mode=700 small /run/w/ledger");
        let list = |name: &str, first: u8, words: &str| {
            let line = |n: u32| format!("{first}.18.{}.{} 900 {words}\n", n / 250, n % 250);
            world.write(name, (0..40_000).map(line).collect::<String>());
        };
        list("list", 198, "few");
        list("more", 199, "so many words that the log of the database has no room for them");
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        let executable = portreeve_compliance::Side::Ours.executable().with_file_name("portreeve");
        let executable = executable.to_str().expect("UTF-8");
        let import = |list: &str| {
            let words = [executable, "ban", "import", list, "--control", "/run/w/control"];
            let (how, said) = world.run(&words, ENV);
            assert_eq!(how, Ended::Status(0), "{said}");
        };
        import("/run/w/list");
        daemon.stop();
        let daemon = start(world);
        for _ in 0..10 {
            order(&daemon, "upgrade");
        }
        must("all are in force again", || order(&daemon, "bans")["held"] == 40_000);
        assert_eq!(world.daemon_log_count("worker ledger lost"), 0);
        shell(world, "dd if=/dev/zero of=/run/w/ledger/ballast bs=4k 2>/dev/null || true");
        import("/run/w/more");
        let not_kept = || order(&daemon, "bans")["not_kept"].as_str().is_some_and(|why| why.contains("full"));
        must("it is said", not_kept);
        order(&daemon, "upgrade");
        assert!(not_kept(), "the next version knows");
        shell(world, "rm /run/w/ledger/ballast");
        must("they are kept", || stored(world).len() == 80_000);
        must("that is said", || order(&daemon, "bans")["not_kept"].is_null());
        assert_eq!(world.daemon_log_count("worker ledger lost"), 0);
        daemon.stop();
        shell(world, "umount -l /run/w/ledger");
    });
}

/// While the daemon runs, a damaged store is made again from the list. Between two runs nothing can be: that is said, and all begins anew.
#[test]
fn a_damaged_database_is_made_again_from_the_list() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&[ONE]);
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        for n in 0..300 {
            order(&daemon, &format!("ban 198.18.0.{} 900 number {n}", n % 250));
        }
        must("they are kept", || stored(world).len() == 250);
        // Whoever opens it next finds it so.
        shell(
            world,
            "dd if=/dev/urandom of=/run/w/ledger/ledger.db bs=4k count=40 conv=notrunc 2>/dev/null; rm -f /run/w/ledger/ledger.db-*",
        );
        replaced(world, "worker ledger");
        must("all are kept again", || {
            daemon.status()["ledger"]["state"] == "open" && stored(world).len() == 250
        });
        assert!(world.daemon_log_count("damaged") >= 1);
        assert_eq!(names(&daemon).len(), 250);
        daemon.stop();
        shell(world, "printf nonsense > /run/w/ledger/ledger.db; rm -f /run/w/ledger/ledger.db-*");
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        assert!(names(&daemon).is_empty());
        order(&daemon, "ban 198.51.100.1 900");
        must("it is kept", || stored(world) == ["198.51.100.1/32"]);
    });
}

/// Whoever takes over the ledger's user can ban whom it likes, but not everybody, nobody who is protected, and kill nobody.
#[test]
fn a_forged_database_bans_nobody_who_is_protected() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE, OTHER]);
        let _stranger = stranger();
        shell(world, "ip route add default via 10.7.0.2");
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        daemon.stop();
        let rows = [
            "('0.0.0.0/0', 1, NULL, 'operator', 'everybody', 1)",
            "('::/0', 1, NULL, 'evidence', 'everybody', 4000000)",
            "('10.7.0.2/32', 1, NULL, 'operator', 'the gateway', 1)",
            "('10.7.0.0/24', 1, NULL, 'evidence', 'this host', 1)",
            "('10.7.0.1/32', 1, NULL, 'sensor', 'this host', 1)",
            "('127.0.0.0/8', 1, NULL, 'operator', 'loopback', 1)",
            "('nonsense', 1, NULL, 'operator', 'x', 1)",
            "('192.0.2.9/24', 1, NULL, 'operator', 'host bits', 1)",
            "('198.51.100.1/32', -9223372036854775808, 9223372036854775807, 'sensor', 'ends of time', 1)",
            "('198.51.100.2/32', 9223372036854775807, 1, 'operator', 'the other way round', 1)",
            "('198.51.100.3/32', 1, NULL, 'operator', 'a' || char(10) || char(27) || 'b', -5)",
            "('198.51.100.4/32', 'long ago', x'00', 'operator', x'ff', 'many')",
            "('10.7.0.3/32', 1, NULL, 'operator', 'a real one', 1)",
        ];
        sql(
            world,
            &format!(
                "INSERT INTO bans (prefix, since, until, origin, reason, strikes) VALUES {}",
                rows.join(",")
            ),
        );
        let daemon = start(world);
        must("the real one is back", || !reaches(&next, OTHER));
        assert!(reaches(&next, ONE), "{:?} {}", names(&daemon), world.daemon_log().join("\n"));
        assert_eq!(
            next.within(|| talk_to(ONE, HERE, 2003)),
            portreeve_compliance::Answer::closed("served\n")
        );
        let there = names(&daemon);
        for never in ["0.0.0.0/0", "::/0", ONE, "10.7.0.0/24", "127.0.0.0/8", "192.0.2.9/24", "198.51.100.2"]
        {
            assert!(!there.iter().any(|one| one == never), "{never}: {there:?}");
        }
        assert!(world.daemon_log_count("in the ledger is not in force again: ") >= 2);
        assert_eq!(world.processes("worker ledger").len(), 1, "it goes on");
    });
}

/// Between two runs the wall's clock was set back, or forward: what stands in the store is as if it were. No ban becomes longer than it was.
#[test]
fn a_clock_that_was_set_makes_no_ban_longer() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let _next = world.neighbour(&[ONE]);
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        order(&daemon, "ban 198.51.100.1 900");
        order(&daemon, "ban 198.51.100.2 forever");
        must("they are kept", || stored(world).len() == 2);
        let left =
            |daemon: &Daemon<'_>| order(daemon, "why 198.51.100.1")["list"][0]["seconds_left"].as_u64();
        daemon.stop();
        // Set back by a day: the store is a day ahead.
        sql(world, "UPDATE bans SET since = since + 86400000000, until = until + 86400000000");
        let daemon = start(world);
        must("they are back", || names(&daemon).len() == 2);
        assert!(left(&daemon).is_some_and(|left| left <= 900), "{:?}", left(&daemon));
        enforced(&daemon, 2);
        // It was put right meanwhile: the store is by the clock of now.
        must("the store is told", || {
            sql(world, "SELECT count(*) FROM bans WHERE until - strftime('%s', 'now') * 1000000 < 901000000")
                == "1"
        });
        daemon.stop();
        sql(world, "UPDATE bans SET since = since - 86400000000, until = until - 86400000000");
        let daemon = start(world);
        must("for ever is for ever", || names(&daemon) == ["198.51.100.2"]);
        enforced(&daemon, 1);
    });
}

/// The kernel has forgotten everything, and the daemon begins: a reboot, but for the hardware.
#[test]
fn after_a_reboot_all_are_in_force_again() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE, OTHER]);
        let _stranger = stranger();
        let daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        order(&daemon, &format!("ban {OTHER} 900 by hand"));
        next.within(|| talk_to(ONE, HERE, 2001));
        must("both are kept", || stored(world).len() == 2);
        assert!(world.signal(daemon.pid, signals::KILL));
        must("it is gone", || {
            world.ended(daemon.pid).is_some() && world.processes("worker firewall").is_empty()
        });
        shell(world, "nft flush ruleset; nft delete table inet portreeve 2>/dev/null || true");
        must("the kernel has forgotten", || reaches(&next, ONE) && reaches(&next, OTHER));
        let daemon = start(world);
        must("both are dropped", || !reaches(&next, ONE) && !reaches(&next, OTHER));
        enforced(&daemon, 2);
    });
}

/// From the word of the operator to the ledger and the kernel: whoever is killed in between, in the end all have it.
#[test]
fn whoever_is_killed_at_whichever_step_the_ban_stands() {
    if !has_programs(&["nft", "sqlite3"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE]);
        let _stranger = stranger();
        let mut daemon = start(world);
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        order(&daemon, "ban 198.51.100.0 3600");
        enforced(&daemon, 1);
        let mut wanted = vec!["198.51.100.0".to_owned()];
        for (round, words) in
            ["worker ledger", "worker firewall", "worker ledger", "worker firewall"].iter().enumerate()
        {
            let network = format!("198.51.100.{}", round + 1);
            let pids = world.processes(words);
            // Killed while it has the order, or before it has.
            if round < 2 {
                order(&daemon, &format!("ban {network} 3600 round {round}"));
                assert!(pids.iter().all(|pid| world.signal(*pid, signals::KILL)));
            } else {
                assert!(pids.iter().all(|pid| world.signal(*pid, signals::KILL)));
                order(&daemon, &format!("ban {network} 3600 round {round}"));
            }
            wanted.push(network);
            enforced(&daemon, wanted.len() as u64);
            must("all are kept", || stored(world).len() == wanted.len());
        }
        // The daemon itself, right after its answer: what it has answered for is in force and, where the ledger had it, kept.
        order(&daemon, &format!("ban {ONE} 3600 last"));
        must("the last one is kept", || stored(world).contains(&format!("{ONE}/32")));
        assert!(world.signal(daemon.pid, signals::KILL));
        must("it is gone", || world.ended(daemon.pid).is_some());
        assert!(!reaches(&next, ONE), "the kernel goes on without us");
        daemon = start(world);
        wanted.push(ONE.to_owned());
        enforced(&daemon, wanted.len() as u64);
        let mut there = names(&daemon);
        there.sort();
        wanted.sort();
        assert_eq!(there, wanted);
        order(&daemon, "unban all");
        must("let in again", || reaches(&next, ONE));
        must("nobody is kept", || stored(world).is_empty());
    });
}

/// As `systemctl restart nftables` does, with a saved ruleset that has a table of our name: bans hold through it, and it is ours again.
#[test]
fn a_firewall_that_is_started_again_beside_us_opens_nothing() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world| {
        let next = world.neighbour(&[ONE, OTHER]);
        let _stranger = stranger();
        // What a saved ruleset leaves before we begin.
        world.write("saved", "flush ruleset\ntable inet portreeve { chain v4 { accept; }; }\ntable inet theirs { chain c { type filter hook input priority 0; accept; }; }\n");
        shell(world, "nft -f /run/w/saved");
        let daemon = start(world);
        order(&daemon, &format!("ban {ONE} 900"));
        must("it is dropped", || !reaches(&next, ONE));
        enforced(&daemon, 1);
        assert!(
            daemon.status()["bans"]["table"].as_str().is_some_and(|table| table.starts_with("ours alone"))
        );
        for _ in 0..3 {
            shell(
                world,
                "nft -f /run/w/saved 2>/dev/null || nft flush ruleset; nft delete table inet portreeve 2>/dev/null || true",
            );
            assert!(!reaches(&next, ONE), "it holds through it");
            assert!(reaches(&next, OTHER));
        }
        enforced(&daemon, 1);
        // What stands beside it is named.
        let executable = portreeve_compliance::Side::Ours.executable().with_file_name("portreeve");
        let words = [executable.to_str().expect("UTF-8"), "ban", "status", "--control", "/run/w/control"];
        shell(world, "nft add table ip nat; nft add chain ip nat DOCKER; nft add table inet theirs2");
        let (_, shown) = world.run(&words, ENV);
        assert!(shown.contains("enforced 1 of 1") && shown.contains("inet theirs2"), "{shown}");
        assert!(shown.contains("of containers: ip nat DOCKER"), "{shown}");
        if has_programs(&["iptables-legacy"])
            && world.run(&["iptables-legacy", "-A", "INPUT", "-s", "192.0.2.3", "-j", "DROP"], ENV).0
                == Ended::Status(0)
        {
            let (_, shown) = world.run(&words, ENV);
            assert!(shown.contains("iptables-legacy: ip filter"), "{shown}");
        }
    });
}
