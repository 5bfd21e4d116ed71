//! The journal of events, written by the real executables: an event for every line of a service's log, whatever is killed. xinetd
//! has nothing of the kind, so these run against ours alone.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, Side, Start, World, ours, signals};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];
/// Inside.
const PLACE: &str = "/run/w/ledger";

fn with_ledger() -> Start {
    Start { options: vec!["--ledger".into(), PLACE.into()], ..Start::default() }
}

/// The records of a directory, read by the command.
fn events_in(world: &World, place: &str, more: &[&str]) -> Vec<Value> {
    let executable = Side::Ours.executable().with_file_name("portreeve");
    let mut argv = vec![executable.to_str().expect("UTF-8"), "events", "--json", "--ledger", place];
    argv.extend(if more.is_empty() { &["--since", "1d"] } else { more });
    let (how, output) = world.run(&argv, ENV);
    assert_eq!(how, Ended::Status(0), "{output}");
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn events(world: &World) -> Vec<Value> {
    events_in(world, PLACE, &[])
}

fn of<'a>(events: &'a [Value], kind: &str, service: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["kind"] == kind && e["service"] == service).collect()
}

fn ledger(daemon: &Daemon<'_>) -> Value {
    daemon.status()["ledger"].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// `words` of `line` after `name=`.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.unwrap_or_else(|| panic!("no {name} in {line}"))
}

fn quick(entry: Entry) -> Entry {
    entry.set("cps", "0 0").set("instances", "UNLIMITED")
}

/// Lines with the numbers of processes, which `service_log` leaves out.
fn raw_log(world: &World, id: &str) -> Vec<String> {
    world.read(&format!("log/{id}")).lines().map(str::to_owned).collect()
}

#[test]
fn every_line_of_the_log_is_an_event_under_load() {
    ours(|world| {
        let config = Config::of(quick(Entry::program("s1", 2001)))
            .with(quick(Entry::program("no", 2002)).set("no_access", "127.0.0.0/8"))
            .with(quick(Entry::program("trap", 2003)).set("flags", "SENSOR").set("deny_time", "1"))
            .with(quick(Entry::internal("echo", "echo-s", 2004, "stream")));
        let daemon = world.start_with(&config, with_ledger());
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    world.enter();
                    for _ in 0..60 {
                        assert_eq!(talk("127.0.0.2", 2001, b""), Answer::closed("served\n"));
                        let _ = talk("127.0.0.2", 2002, b"");
                    }
                });
            }
        });
        world.enter();
        let mut echo = dial("127.0.0.2", 2004).expect("echo");
        echo.send(b"seven\n!");
        echo.finish();
        assert_eq!(echo.read_all(), Answer::closed("seven\n!"));
        let _ = talk("127.0.0.3", 2003, b"");
        must("all have ended", || daemon.count("s1", "/running") == 0);
        assert_eq!(ledger(&daemon)["dropped"], 0);
        // What happened last is written before the daemon ends.
        assert_eq!(daemon.stop(), Ended::Status(0));
        let events = events(world);
        let log = raw_log(world, "s1");
        let in_log = |kind: &str, id: &str| {
            let begin = format!("{kind}: {id} ");
            raw_log(world, id).into_iter().filter(|line| line.contains(&begin)).collect::<Vec<_>>()
        };
        assert!(!log.is_empty(), "the log was found");
        for (kind, word) in [("start", "START"), ("exit", "EXIT")] {
            let (ours, lines) = (of(&events, kind, "s1"), in_log(word, "s1"));
            assert_eq!((ours.len(), lines.len()), (360, 360), "{word}");
            let ours: Vec<String> = ours.iter().map(|e| e["pid"].to_string()).collect();
            let lines: Vec<String> = lines.iter().map(|line| field(line, "pid").to_owned()).collect();
            assert_eq!(ours, lines, "{word}: the same processes in the same order");
        }
        let refused = of(&events, "refuse", "no");
        assert_eq!((refused.len(), in_log("FAIL", "no").len()), (360, 360));
        for event in refused {
            assert_eq!((&event["reason"], &event["verdict"]), (&"address".into(), &"refused".into()));
            assert_eq!((&event["source"], &event["prefix"]), (&"127.0.0.2".into(), &"127.0.0.2/32".into()));
            assert!(
                event["rule"].as_str().is_some_and(|rule| rule.starts_with("/run/w/xinetd.conf:")),
                "{event}"
            );
        }
        // One number for a connection, and a higher one for each later.
        let ids = |kind: &str| of(&events, kind, "s1").iter().map(|e| number(&e["id"])).collect::<Vec<_>>();
        assert!(ids("start").is_sorted_by(|a, b| a < b));
        let pids = |kind: &str| {
            of(&events, kind, "s1")
                .iter()
                .map(|e| (number(&e["id"]), number(&e["pid"])))
                .collect::<BTreeMap<_, _>>()
        };
        assert_eq!(pids("start"), pids("exit"));
        for exit in of(&events, "exit", "s1") {
            assert_eq!(
                (&exit["status"], &exit["signal"], &exit["bytes_in"]),
                (&0.into(), &Value::Null, &Value::Null)
            );
            assert!(number(&exit["duration"]) > 0 && number(&exit["max_rss"]) > 0, "{exit}");
        }
        let echo = of(&events, "exit", "echo-s");
        assert_eq!((&echo[0]["bytes_in"], &echo[0]["bytes_out"]), (&7.into(), &7.into()), "{echo:?}");
        let (trap, deny) = (of(&events, "refuse", "trap"), of(&events, "deny", "trap"));
        assert_eq!((trap.len(), deny.len()), (1, 1), "the sensor");
        assert_eq!((&trap[0]["id"], &trap[0]["source"]), (&deny[0]["id"], &"127.0.0.3".into()));
        let some = events_in(world, PLACE, &["--source", "127.0.0.3"]);
        assert_eq!(some.len(), 2, "{some:?}");
        assert_eq!(events_in(world, PLACE, &["--reason", "time"]).len(), 0);
    });
}

/// Whatever is lost is counted: events in the database and dropped ones are what happened.
#[test]
fn a_ledger_that_is_killed_costs_no_client_and_what_is_lost_is_counted() {
    ours(|world| {
        let daemon = world.start_with(&Config::of(quick(Entry::program("s1", 2001))), with_ledger());
        world.enter();
        let ledger_pid = || {
            let status = daemon.status();
            let workers = status["workers"].as_array().cloned().unwrap_or_default();
            let found = workers.iter().find(|w| w["name"] == "ledger").map(|w| number(&w["pid"]));
            found.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid != 0)
        };
        let mut killed = 0;
        for n in 0..120 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
            if n % 30 == 29
                && let Some(pid) = ledger_pid()
            {
                killed += usize::from(world.signal(pid, signals::KILL));
            }
        }
        assert!(killed > 0);
        must("all events are accounted for", || {
            let ledger = ledger(&daemon);
            number(&ledger["written"]) + number(&ledger["dropped"]) == 240
        });
        // A client more, so that there is a batch to tell of the lost ones with.
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        must("it is written", || {
            number(&ledger(&daemon)["written"]) + number(&ledger(&daemon)["dropped"]) == 242
        });
        let dropped = number(&ledger(&daemon)["dropped"]);
        daemon.stop();
        let events = events(world);
        let lost: u64 = events.iter().filter(|e| e["kind"] == "dropped").map(|e| number(&e["count"])).sum();
        assert_eq!(lost, dropped, "and the database says so itself");
        let there = events.len() - events.iter().filter(|e| e["kind"] == "dropped").count();
        assert!(there as u64 + lost >= 242, "{there} and {lost}");
    });
}

#[test]
fn numbers_go_on_after_a_kill_of_the_supervisor() {
    ours(|world| {
        let config = Config::of(quick(Entry::program("s1", 2001)));
        world.enter();
        let mut before = 0;
        for round in 1..=3 {
            let daemon = world.start_with(&config, with_ledger());
            for _ in 0..20 {
                assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
            }
            must("they are written", || number(&ledger(&daemon)["written"]) == 40);
            daemon.signal(signals::KILL);
            world.wait(daemon.pid);
            let events = events(world);
            assert_eq!(events.len(), 40 * round, "what was written is there");
            let ids: BTreeSet<u64> = events.iter().map(|e| number(&e["id"])).collect();
            assert_eq!(ids.len(), 20 * round, "no number twice");
            let last = *ids.last().expect("some");
            assert!(last > before && ids.iter().filter(|&&id| id > before).count() == 20);
            before = last;
        }
    });
}

#[test]
fn an_instance_keeps_its_number_over_an_upgrade() {
    ours(|world| {
        for name in ["portreeve", "portreeve-gate"] {
            world.copy_program(Side::Ours.executable().with_file_name(name), name);
        }
        let mut start = with_ledger();
        start.through =
            ["/bin/sh", "-c", "shift; exec /run/w/portreeve-gate \"$@\"", "sh"].map(str::to_owned).to_vec();
        let hold = Entry::probe("hold", 2001, "hold 7");
        let daemon = world.start_with(&Config::of(quick(hold)), start);
        world.enter();
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(client.read_until(b"\n").text(), "held\n");
        let answer: Value = serde_json::from_str(&daemon.control("upgrade")).expect("JSON");
        assert_eq!(answer["ok"], true, "{answer}");
        drop(client);
        must("both are written", || number(&ledger(&daemon)["written"]) == 2);
        assert_eq!((&ledger(&daemon)["dropped"], &ledger(&daemon)["state"]), (&0.into(), &"open".into()));
        daemon.stop();
        let events = events(world);
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!((&events[0]["id"], &events[0]["pid"]), (&events[1]["id"], &events[1]["pid"]));
        assert_eq!((&events[0]["kind"], &events[1]["kind"]), (&"start".into(), &"exit".into()));
    });
}

/// An own /etc, so that there can be settings in it.
fn own_etc(world: &World) {
    let script = "set -e; mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; \
                  mount --move /run/etc /etc; mkdir -p /etc/portreeve";
    let (how, output) = world.run(&["/bin/sh", "-c", script], ENV);
    assert_eq!(how, Ended::Status(0), "{output}");
}

#[test]
fn other_settings_are_another_ledger_from_the_reload_on() {
    ours(|world| {
        own_etc(world);
        let settings = |text: &str| {
            std::fs::write(world.inside("/etc/portreeve/portreeve.toml"), text).expect("to write");
        };
        settings("[ledger]\ndirectory = \"/run/w/one\"\n");
        let config = Config::of(quick(Entry::program("s1", 2001)));
        let daemon = world.start(&config);
        world.enter();
        let serve = || assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        serve();
        must("it is written", || number(&ledger(&daemon)["written"]) == 2);
        settings("[ledger]\ndirectory = \"/run/w/two\"\nsize = \"2M\"\n");
        serve();
        daemon.control("reload");
        serve();
        must("the new one is written", || {
            ledger(&daemon)["path"] == "/run/w/two/ledger.db" && number(&ledger(&daemon)["written"]) == 6
        });
        assert_eq!(number(&ledger(&daemon)["most_bytes"]), 2 << 20);
        // The end of the second program may be heard of before the reload or after it.
        let of = |directory: &str| events_in(world, directory, &[]).len();
        must("nothing is lost in between", || of("/run/w/one") + of("/run/w/two") == 6);
        assert!((3..=4).contains(&of("/run/w/one")), "{}", of("/run/w/one"));
        // Nothing of it counts when something in it is wrong, and serving goes on.
        settings("[ledger]\nsize = \"tiny\"\n");
        daemon.control("reload");
        serve();
        must("it is said", || world.daemon_log_count("portreeve.toml:2:9: size must be bytes") == 1);
        serve();
        assert_eq!(ledger(&daemon)["state"], "failed");
        settings("[ledger]\nkeep = false\n");
        daemon.control("reload");
        serve();
        must("it is off", || ledger(&daemon)["state"] == "off");
        serve();
        assert_eq!(number(&ledger(&daemon)["dropped"]), 0, "nothing that nobody wants is lost");
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert!(!world.path("ledger").exists());
    });
}

#[test]
fn there_is_a_ledger_where_its_directory_is() {
    ours(|world| {
        let (how, output) =
            world.run(&["/bin/mount", "-t", "tmpfs", "-o", "mode=755", "lib", "/var/lib"], ENV);
        assert_eq!(how, Ended::Status(0), "{output}");
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        world.enter();
        let serve = || assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        serve();
        let ledger = ledger(&daemon);
        assert_eq!((&ledger["state"], &ledger["written"]), (&"off".into(), &0.into()), "{ledger}");
        assert!(world.processes("worker ledger").is_empty());
        // And where it is, there is one from the next reload on.
        std::fs::create_dir(world.inside("/var/lib/portreeve")).expect("a directory");
        daemon.control("reload");
        serve();
        must("it is written", || number(&self::ledger(&daemon)["written"]) == 2);
        assert_eq!(self::ledger(&daemon)["path"], "/var/lib/portreeve/ledger/ledger.db");
    });
}
