//! A seat is back before the next client asks for one: who comes again when the last program has ended is not refused.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Entry, Start, both, ours};
use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::thread;

/// Connections of each service.
const CONNECTIONS: usize = 2400;

/// So many clients, each of which comes again when its connection has been closed: how many connections were not served.
fn refused(port: u16, clients: usize) -> usize {
    unserved(port, clients, |mut connection| connection.read_all() == Answer::closed("served\n"))
}

fn unserved(port: u16, clients: usize, served: impl Fn(Connection) -> bool + Copy + Send) -> usize {
    let one =
        move || (0..CONNECTIONS / clients).filter(|_| !dial("127.0.0.1", port).is_ok_and(served)).count();
    thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|client| client.join().expect("a client")).sum()
    })
}

fn service(id: &str, port: u16) -> Entry {
    Entry::program(id, port).set("cps", "0 0").unset("log_on_success")
}

/// Three times as many seats as clients: a client sees the end of its connection a moment before its program is one that has ended.
fn tight() -> Config {
    Config::new()
        .with(service("few", 2001).set("instances", "12"))
        .with(service("source", 2002).set("instances", "UNLIMITED").set("per_source", "12"))
}

fn nobody_is_refused() {
    for (id, port) in [("few", 2001), ("source", 2002)] {
        assert_eq!(refused(port, 4), 0, "{id}: of {CONNECTIONS}");
    }
}

/// A client that comes again at the end of its connection finds the seat of its last program free.
#[test]
fn who_comes_again_at_the_end_finds_a_seat() {
    both(|world| {
        let _daemon = world.start(&tight());
        nobody_is_refused();
    });
}

/// The same where so many run besides that no end is looked for among all of them.
#[test]
fn who_comes_again_at_the_end_finds_a_seat_in_a_crowd() {
    ours(|world| {
        let crowd = Entry::probe("crowd", 2003, "hold").set("instances", "UNLIMITED").set("cps", "0 0");
        let _daemon = world.start(&tight().with(crowd));
        let held: Vec<Connection> = (0..200)
            .map(|_| {
                let mut connection = dial("127.0.0.1", 2003).expect("a connection");
                assert_eq!(connection.read_until(b"\n").text(), "held\n");
                connection
            })
            .collect();
        nobody_is_refused();
        drop(held);
    });
}

/// The same of the processes of all services together.
#[test]
fn who_comes_again_at_the_end_finds_a_process() {
    both(|world| {
        let config = Config::new().with(service("few", 2001).set("instances", "UNLIMITED"));
        let start = Start { options: vec!["-limit".into(), "12".into()], ..Start::default() };
        let _daemon = world.start_with(&config, start);
        assert_eq!(refused(2001, 4), 0, "of {CONNECTIONS}");
    });
}

/// A target that says a word to each client and closes.
fn target(address: &str) {
    let listener = TcpListener::bind(address).expect("the target's socket");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"served\n");
            // All that the client says is taken, so that nothing is answered with a reset.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
}

fn redirected(id: &str, port: u16, target: &str) -> Entry {
    Entry::redirected(id, port, target).first("flags = IPv4")
}

/// The same of what a worker serves and a child of xinetd's: each says at its end that its seat is free.
#[test]
fn who_comes_again_at_the_end_of_a_session_finds_a_seat() {
    both(|world| {
        target("127.0.0.1:3001");
        let echo = |id, port| Entry::internal("echo", id, port, "stream").set("cps", "0 0");
        let carried = |id, port| redirected(id, port, "127.0.0.1 3001");
        let config = Config::new()
            .with(echo("echo-few", 2001).set("instances", "12"))
            .with(echo("echo-source", 2002).set("instances", "UNLIMITED").set("per_source", "12"))
            .with(carried("carried-few", 2003).set("instances", "12"))
            .with(carried("carried-source", 2004).set("instances", "UNLIMITED").set("per_source", "12"));
        let _daemon = world.start(&config);
        // With eight, xinetd refuses some, who came before the end of their child was known.
        let clients = if world.is_ours() { 8 } else { 4 };
        for port in [2001, 2002] {
            let echoed = |mut connection: Connection| {
                connection.send(b"word\n");
                connection.finish();
                connection.read_all() == Answer::closed("word\n")
            };
            assert_eq!(unserved(port, clients, echoed), 0, "{port}: of {CONNECTIONS}");
        }
        for port in [2003, 2004] {
            assert_eq!(refused(port, clients), 0, "{port}: of {CONNECTIONS}");
        }
    });
}

/// Who waits for a seat that nobody gives back is refused after a moment; those beyond the few who may wait are refused at once.
#[test]
fn who_waits_for_a_seat_in_vain_is_refused() {
    ours(|world| {
        let config = Config::of(
            Entry::internal("echo", "held", 2001, "stream")
                .set("instances", "1")
                .set("cps", "0 0")
                .set("log_on_failure", "HOST"),
        );
        let daemon = world.start(&config);
        let mut first = dial("127.0.0.1", 2001).expect("a connection");
        first.send(b"first\n");
        assert_eq!(first.read_until(b"\n").text(), "first\n");
        let crowd: Vec<Connection> =
            (0..200).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        crowd.into_iter().for_each(|mut connection| assert_eq!(connection.read_all(), Answer::closed("")));
        assert_eq!(daemon.count("held", "/running"), 1);
        let refused = || {
            world
                .service_log("held")
                .iter()
                .filter(|line| line.starts_with("FAIL: held service_limit"))
                .count()
        };
        must("each has its line, once", || refused() == 200);
        // Who comes while the seat is being given back has it.
        let mut next = dial("127.0.0.1", 2001).expect("a connection");
        drop(first);
        next.send(b"next\n");
        assert_eq!(next.read_until(b"\n").text(), "next\n");
    });
}

/// A program's seat is free when the kernel says so: whoever comes before is refused, though it would be free within the moment.
#[test]
fn who_comes_for_a_program_does_not_wait_for_a_seat() {
    both(|world| {
        let short = Entry::shell("short", 2001, "echo${IFS}on;sleep${IFS}0.1")
            .set("instances", "1")
            .set("cps", "0 0");
        let _daemon = world.start(&Config::of(short));
        // On a machine that is busy some may come too late to be refused.
        let refused = || {
            let mut first = dial("127.0.0.1", 2001).expect("a connection");
            first.read_until(b"\n");
            let second = talk("127.0.0.1", 2001, b"");
            first.read_all();
            second == Answer::closed("")
        };
        assert!((0..5).any(|_| refused()), "{:?}", world.service_log("short"));
    });
}
