//! hold, release, drain, stop, start and kill: what a person orders of one service. xinetd has nothing like it.

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, DEADLINE, Daemon, Entry, ours};
use serde_json::Value;
use std::time::Duration;

fn state(daemon: &Daemon<'_>, id: &str) -> String {
    daemon.service_status(id)["state"].as_str().unwrap_or_default().to_owned()
}

fn order(daemon: &Daemon<'_>, request: &str) -> Value {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], true, "{request}: {answer}");
    answer
}

fn refused(daemon: &Daemon<'_>, request: &str) -> String {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], false, "{request}: {answer}");
    answer["error"].as_str().unwrap_or_default().to_owned()
}

fn held(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

/// Instances as `instances` shows them.
fn instances(daemon: &Daemon<'_>, service: &str) -> Vec<String> {
    let answer = order(daemon, &format!("instances {service}"));
    let all = answer["instances"].as_array().expect("a list").clone();
    all.iter().map(|i| i["instance"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Nobody is refused: the queue keeps who comes, and `release` serves them. A reload ends a hold, unless it was told to keep.
#[test]
fn a_held_service_keeps_its_clients_waiting() {
    ours(|world| {
        let config = Config::of(Entry::program("s1", 2001))
            .with(Entry::program("s2", 2002))
            .with(Entry::internal("echo", "udp", 2003, "dgram"))
            .with(Entry::internal("echo", "tcp", 2004, "stream"));
        let daemon = world.start(&config);
        let datagrams = datagram_socket("127.0.0.1", 2003);
        assert!(ask(&datagrams, b"a", DEADLINE).is_some());
        for id in ["s1", "s2", "udp", "tcp"] {
            order(&daemon, &format!("hold {id}"));
            assert_eq!(state(&daemon, id), "held");
        }
        let mut waiting: Vec<Connection> =
            [2001, 2002, 2004].map(|port| dial("127.0.0.1", port).expect("the queue")).into();
        waiting[2].send(b"x");
        for connection in &mut waiting {
            assert_eq!(connection.read_for(Duration::from_millis(100)).bytes, b"");
        }
        let _ = datagrams.send(b"b");
        assert!(ask(&datagrams, b"c", Duration::from_millis(100)).is_none());
        order(&daemon, "release s1");
        order(&daemon, "release tcp");
        order(&daemon, "release udp");
        assert_eq!(waiting[0].read_all(), Answer::closed("served\n"));
        assert_eq!(waiting[2].read_count(1).bytes, b"x");
        must("the queued datagrams are answered", || ask(&datagrams, b"d", DEADLINE).is_some());
        assert_eq!(state(&daemon, "udp"), "active");
        daemon.reload(&config);
        assert_eq!(waiting[1].read_all(), Answer::closed("served\n"), "a reload ends a hold");

        order(&daemon, "hold s2 keep");
        daemon.reload(&config);
        assert_eq!(state(&daemon, "s2"), "held");
        let mut kept = dial("127.0.0.1", 2002).expect("the queue");
        assert_eq!(kept.read_for(Duration::from_millis(100)).bytes, b"");
        order(&daemon, "release s2");
        assert_eq!(kept.read_all(), Answer::closed("served\n"));
        assert!(refused(&daemon, "hold nobody").contains("there are"));
    });
}

/// `drain` refuses newcomers and leaves who is served alone; `stop` ends them; `start` opens again.
#[test]
fn drained_and_stopped_services_open_again() {
    ours(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold"))
            .with(Entry::internal("echo", "tcp", 2002, "stream"))
            .with(Entry::datagram("dg", 2003, "datagrams 2"));
        let daemon = world.start(&config);
        let mut first = held(2001);
        order(&daemon, "drain s1");
        assert_eq!(state(&daemon, "s1"), "draining");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused());
        assert!(refused(&daemon, "release s1").contains("start"));
        first.finish();
        must("it is drained", || state(&daemon, "s1") == "drained");
        order(&daemon, "start s1");
        drop(held(2001));

        let mut second = held(2001);
        let mut echo = dial("127.0.0.1", 2002).expect("echo");
        echo.send(b"a");
        assert_eq!(echo.read_count(1).bytes, b"a");
        order(&daemon, "stop s1");
        order(&daemon, "stop tcp");
        assert_eq!(second.read_all().text(), "", "its program is ended");
        assert_eq!(echo.read_all().text(), "", "and the session");
        must("they have stopped", || state(&daemon, "s1") == "stopped" && state(&daemon, "tcp") == "stopped");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::refused());
        order(&daemon, "start s1");
        order(&daemon, "start tcp");
        drop(held(2001));

        // A program that has the socket keeps it until it ends; then there is nobody.
        let datagrams = datagram_socket("127.0.0.1", 2003);
        assert!(ask(&datagrams, b"one", DEADLINE).is_some());
        order(&daemon, "drain dg");
        let note = daemon.service_status("dg")["note"].clone();
        assert_eq!(note, "its program has the socket and goes on, no other is started until `start`");
        assert!(ask(&datagrams, b"two", DEADLINE).is_some());
        must("it is drained", || state(&daemon, "dg") == "drained");
        order(&daemon, "start dg");
        let datagrams = datagram_socket("127.0.0.1", 2003);
        assert!(ask(&datagrams, b"three", DEADLINE).is_some());
    });
}

/// One instance is ended by its number; a number that is not ours is refused.
#[test]
fn one_instance_is_killed() {
    ours(|world| {
        let config = Config::of(Entry::probe("s1", 2001, "hold"))
            .with(Entry::internal("echo", "tcp", 2002, "stream"))
            .with(
                Entry::bare("way", 2003)
                    .set("type", "UNLISTED")
                    .set("socket_type", "stream")
                    .set("protocol", "tcp")
                    .set("wait", "no")
                    .set("user", "root")
                    .set("redirect", "127.0.0.1 2002"),
            );
        let daemon = world.start(&config);
        let (mut one, mut two) = (held(2001), held(2001));
        let pids = instances(&daemon, "s1");
        assert_eq!(pids.len(), 2, "{pids:?}");
        order(&daemon, &format!("kill {}", pids[0]));
        assert_eq!(one.read_all().text(), "");
        order(&daemon, &format!("kill {} now", pids[1]));
        assert_eq!(two.read_all().text(), "");
        must("nothing runs", || instances(&daemon, "s1").is_empty());
        for (port, service, letter) in [(2002, "tcp", 'b'), (2003, "way", 'r')] {
            let mut client = dial("127.0.0.1", port).expect("a connection");
            client.send(b"a");
            assert_eq!(client.read_count(1).bytes, b"a");
            let all = instances(&daemon, service);
            let it = all.iter().find(|i| i.starts_with(letter)).expect("its number");
            order(&daemon, &format!("kill {it}"));
            assert_eq!(client.read_all().text(), "", "{service}");
        }
        for wrong in ["1", &daemon.pid.to_string(), "b999", "r999", "-1", "x", "99999999999999999999"] {
            refused(&daemon, &format!("kill {wrong}"));
        }
        assert!(daemon.runs());
    });
}
