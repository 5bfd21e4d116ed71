//! What an upgrade finds beside clients and programs: orders that reloads do not end, rules of unix sockets, built-ins that tell of
//! this host, events that nobody has written yet, a full disk, a supervisor without privileges. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{
    Answer, Config, Connection, Daemon, Ended, Entry, Side, Start, World, ours, signals,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];
const SERVED: &str = "served\n";

fn upgraded(daemon: &Daemon<'_>) {
    let before = daemon.status()["upgrades"].as_u64();
    let answer: Value = serde_json::from_str(&daemon.control("upgrade")).expect("JSON");
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(daemon.status()["upgrades"].as_u64(), before.map(|n| n + 1));
}

fn ordered(daemon: &Daemon<'_>, request: &str) {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], true, "{request}: {answer}");
}

fn held(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

fn state(daemon: &Daemon<'_>, id: &str) -> String {
    daemon.service_status(id)["state"].as_str().unwrap_or("").to_owned()
}

/// An order with --keep stands over upgrades and the reloads after them; one without ends with the first reload, as ever.
#[test]
fn orders_stand_as_long_as_they_were_given_for() {
    ours(|world| {
        let ids = ["kept", "passing", "drained", "stopped"];
        let config = Config::new().with_all((2001..).zip(ids).map(|(port, id)| Entry::program(id, port)));
        let daemon = world.start(&config);
        for request in ["hold kept keep", "hold passing", "drain drained keep", "stop stopped keep"] {
            ordered(&daemon, request);
        }
        let mut waiting: Vec<Connection> =
            [2001, 2002].map(|port| dial("127.0.0.1", port).expect("the queue")).into();
        for _ in 0..2 {
            upgraded(&daemon);
            assert_eq!(ids.map(|id| state(&daemon, id)), ["held", "held", "drained", "stopped"]);
        }
        daemon.reload(&config);
        assert_eq!(ids.map(|id| state(&daemon, id)), ["held", "active", "drained", "stopped"]);
        assert_eq!(waiting[1].read_all(), Answer::closed(SERVED), "who has waited is served");
        upgraded(&daemon);
        assert_eq!(
            [2003, 2004].map(|port| talk("127.0.0.1", port, b"")),
            [Answer::refused(), Answer::refused()]
        );
        ordered(&daemon, "release kept");
        ordered(&daemon, "start drained");
        ordered(&daemon, "start stopped");
        assert_eq!(waiting[0].read_all(), Answer::closed(SERVED));
        for port in 2001..=2004 {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(SERVED), "{port}");
        }
    });
}

/// Owner and mode of a unix socket, a client on it with its limit, a stale file that was replaced; and the end removes what is ours.
#[test]
fn unix_sockets_keep_their_files_and_rights() {
    ours(|world| {
        let at = |name: &str, entry: Entry| {
            entry.unset("port").unset("protocol").unset("type").set("bind", &format!("/run/w/{name}"))
        };
        let config = Config::of(
            at("one", Entry::probe("one", 1, "hold"))
                .set("socket_owner", "61234")
                .set("socket_mode", "0640")
                .set("per_source", "1"),
        )
        .with(at("stale", Entry::program("stale", 1)));
        drop(std::os::unix::net::UnixListener::bind(world.path("stale")).expect("a socket of nobody"));
        let daemon = world.start(&config);
        let said = |name: &str| {
            let mut text = String::new();
            let mut stream = UnixStream::connect(world.path(name)).expect("to connect");
            let _ = stream.read_to_string(&mut text);
            text
        };
        let facts = |name: &str| {
            let meta = std::fs::metadata(world.path(name)).expect("it is there");
            (meta.ino(), meta.uid(), meta.mode() & 0o777)
        };
        let mut first = UnixStream::connect(world.path("one")).expect("to connect");
        let mut bytes = [0; 5];
        first.read_exact(&mut bytes).expect("it is served");
        let before = (facts("one"), facts("stale"));
        assert_eq!((before.0.1, before.0.2), (61234, 0o640));
        for _ in 0..2 {
            upgraded(&daemon);
            assert_eq!((facts("one"), facts("stale")), before);
            assert_eq!(said("one"), "", "the limit counts who was there before");
            assert_eq!(said("stale"), SERVED);
        }
        drop(first);
        must("its end is noticed", || daemon.count("one", "/running") == 0);
        // The new version removes what the former has made, and renews rights.
        let next =
            at("one", Entry::program("one", 1)).set("socket_owner", "61235").set("socket_mode", "0600");
        daemon.reload(&Config::of(next));
        assert_eq!(facts("one"), (before.0.0, 61235, 0o600));
        assert!(!world.path("stale").exists());
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert!(!world.path("one").exists());
    });
}

/// A session with a built-in that tells of this host goes on, and the next one is told of what is served now.
#[test]
fn what_tells_of_this_host_goes_on() {
    ours(|world| {
        let telling = [(2001, "services"), (2002, "xadmin"), (2003, "servers")];
        let config = Config::new()
            .with_all(telling.map(|(port, name)| Entry::internal(name, name, port, "stream")))
            .with(Entry::probe("held", 2004, "hold"));
        let daemon = world.start(&config);
        let _held = held(2004);
        let servers = talk("127.0.0.1", 2003, b"").text();
        assert!(servers.starts_with("held server\npid = "), "{servers}");
        let mut session = dial("127.0.0.1", 2002).expect("a connection");
        assert_eq!(session.read_count(2).text(), "> ");
        upgraded(&daemon);
        session.send(b"show run\nbye\n");
        let said = session.read_all().text();
        assert!(said.contains("held server\n"), "{said}");
        must("the session has ended, and the other is the same", || {
            talk("127.0.0.1", 2003, b"").text() == servers
        });
        assert_eq!(talk("::1", 2001, b""), Answer::refused(), "loopback, and IPv4 alone");
        daemon.reload(&config.with(Entry::program("more", 2005)));
        let services = talk("127.0.0.1", 2001, b"").text();
        assert!(services.ends_with("held tcp 2004\nmore tcp 2005\n"), "{services}");
    });
}

fn with_ledger(place: &str) -> Start {
    Start { options: vec!["--ledger".into(), place.into()], ..Start::default() }
}

fn events(world: &World, place: &str) -> Vec<Value> {
    let executable = Side::Ours.executable().with_file_name("portreeve");
    let argv = [executable.to_str().expect("UTF-8"), "events", "--json", "--ledger", place, "--since", "1d"];
    let (how, output) = world.run(&argv, ENV);
    assert_eq!(how, Ended::Status(0), "{output}");
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn ledger(daemon: &Daemon<'_>, key: &str) -> u64 {
    daemon.status()["ledger"][key].as_u64().unwrap_or_else(|| panic!("no {key}"))
}

/// Events that wait while the ledger stands still or has just died go over; each is written or counted as lost, none twice.
#[test]
fn events_go_over_while_the_ledger_is_away() {
    ours(|world| {
        let place = "/run/w/ledger";
        let entry = Entry::program("s1", 2001).set("cps", "0 0").set("instances", "UNLIMITED");
        let config = Config::of(entry).with(Entry::probe("held", 2002, "hold"));
        let daemon = world.start_with(&config, with_ledger(place));
        let serve = |n: usize| {
            (0..n).for_each(|_| assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED)));
        };
        let one = held(2002);
        serve(10);
        must("they are written", || ledger(&daemon, "written") == 21);
        let worker = world.processes("worker ledger")[0];
        // It stands still: what comes waits, before the upgrade and over it.
        assert!(world.signal(worker, signals::STOP));
        serve(40);
        upgraded(&daemon);
        serve(40);
        assert_eq!(ledger(&daemon, "written"), 21);
        assert!(world.signal(worker, signals::CONT));
        must("all of it is written", || ledger(&daemon, "written") == 181);
        assert_eq!(ledger(&daemon, "dropped"), 0);
        // It is dead, and its death is not yet known.
        assert!(world.signal(worker, signals::STOP));
        serve(20);
        assert!(world.signal(worker, signals::KILL));
        upgraded(&daemon);
        drop(one);
        serve(20);
        let happened = 181 + 80 + 1;
        must("each is written or lost", || {
            daemon.status()["ledger"]["state"] == "open"
                && ledger(&daemon, "written") + ledger(&daemon, "dropped") == happened
        });
        let lost = ledger(&daemon, "dropped");
        assert!(lost <= 40, "what the dead one had: {lost}");
        assert_eq!(daemon.stop(), Ended::Status(0));
        let events = events(world, place);
        let starts: Vec<&Value> = events.iter().filter(|event| event["kind"] == "start").collect();
        let numbers: BTreeSet<u64> = starts.iter().filter_map(|event| event["id"].as_u64()).collect();
        assert_eq!(numbers.len(), starts.len(), "no number twice");
        let held: Vec<&Value> = events.iter().filter(|event| event["service"] == "held").collect();
        assert_eq!((held.len(), &held[0]["id"]), (2, &held[1]["id"]), "one number over two upgrades");
    });
}

/// The file system of the logs, of the pid file and of the ledger is full: the upgrade is done all the same, and writing goes on when
/// there is room.
#[test]
fn the_disk_is_full() {
    ours(|world| {
        let (how, output) =
            world.run(&["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tiny", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let entry = Entry::program("s1", 2001).set("cps", "0 0");
        let config = Config::of(entry).with(Entry::probe("held", 2002, "hold"));
        let daemon = world.start_with(&config, with_ledger("/run/w/log/ledger"));
        let mut one = held(2002);
        must("the ledger is open", || ledger(&daemon, "written") == 1);
        let fill = "dd if=/dev/zero of=/run/w/log/fill bs=1k 2>/dev/null; true";
        assert_eq!(world.run(&["/bin/sh", "-c", fill], ENV).0, Ended::Status(0));
        let serve = || assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        (0..50).for_each(|_| serve());
        for _ in 0..2 {
            upgraded(&daemon);
            (0..20).for_each(|_| serve());
        }
        assert_eq!(daemon.count("held", "/running"), 1);
        std::fs::remove_file(world.inside("/run/w/log/fill")).expect("to remove");
        let size = || std::fs::metadata(world.inside("/run/w/log/s1")).map(|m| m.len()).unwrap_or(0);
        let before = size();
        must("it is logged again", || {
            serve();
            size() > before
        });
        one.finish();
        must("its end is noticed", || daemon.count("held", "/running") == 0);
        must("the ledger is written again", || {
            serve();
            let state = daemon.status()["ledger"].clone();
            state["state"] == "open" && state["note"] == ""
        });
        assert_eq!(daemon.stop(), Ended::Status(0));
    });
}

/// A supervisor that is no root, with every kind of service that it can have: it does the same as any other.
#[test]
fn a_supervisor_without_privileges() {
    ours(|world| {
        let (how, output) = world.run(&["/bin/chown", "61234:61234", "/run/w", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let through = ["/usr/bin/setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"];
        let start = Start { through: through.map(str::to_owned).to_vec(), ..with_ledger("/run/w/ledger") };
        let way = Entry::program("way", 2003)
            .unset("server")
            .unset("server_args")
            .set("user", "61234")
            .set("redirect", "127.0.0.1 2001");
        let config = Config::of(Entry::internal("echo", "echo", 2001, "stream"))
            .with(Entry::probe("held", 2002, "hold").set("user", "61234"))
            .with(way)
            .with(Entry::program("named", 2004).set("user", "61234").set("only_from", "localhost"));
        let daemon = world.start_with(&config, start);
        let mut one = held(2002);
        let mut through = dial("127.0.0.1", 2003).expect("a connection");
        let mut echo = |text: &str| {
            through.send(text.as_bytes());
            assert_eq!(through.read_count(text.len()).text(), text);
        };
        echo("before");
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed(SERVED));
        must("the ledger is open", || ledger(&daemon, "written") > 0);
        let workers = daemon.status()["workers"].clone();
        for _ in 0..2 {
            upgraded(&daemon);
            echo("after");
            assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed(SERVED), "names are asked for");
        }
        assert_eq!(daemon.status()["workers"], workers, "the workers are the same processes");
        one.finish();
        must("its end is noticed", || daemon.count("held", "/running") == 0);
        assert_eq!(daemon.stop(), Ended::Status(0));
        let ended = world.service_log("held").iter().filter(|l| l.starts_with("EXIT")).count();
        assert_eq!(ended, 1, "{:?}", world.service_log("held"));
    });
}
