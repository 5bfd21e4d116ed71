//! A seat is back before the next client asks for one: who comes again when the last program has ended is not refused.

use portreeve_compliance::client::dial;
use portreeve_compliance::{Answer, Config, Connection, Entry, Start, both, ours};
use std::thread;

/// Connections of each service.
const CONNECTIONS: usize = 2400;

/// So many clients, each of which comes again when its connection has been closed: how many connections were not served.
fn refused(port: u16, clients: usize) -> usize {
    let served = |mut connection: Connection| connection.read_all() == Answer::closed("served\n");
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
