//! HUP after HUP while clients come all the time: nobody is turned away whose service stays. The full figures, beside
//! xinetd's, are `scripts/bench reload`.

use portreeve_compliance::client::{dial_to, talk};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, DEADLINE, End, Entry, ours, signals};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const SERVICES: u16 = 100;
const RELOADS: usize = 40;
const SERVED: &str = "served\n";

/// The services that stay. Every reload changes what does not concern the socket.
fn staying(turn: usize) -> Config {
    let seen = if turn.is_multiple_of(2) { "even" } else { "odd" };
    Config::new().with_all((0..SERVICES).map(|n| {
        let entry = Entry::program(&format!("s{n}"), 3001 + n).set("cps", "0 0");
        match n % 4 {
            0 => entry,
            1 => entry.set("env", &format!("TURN={seen}")),
            2 => entry.set("instances", if turn.is_multiple_of(2) { "500" } else { "UNLIMITED" }),
            _ => entry.set("only_from", if turn.is_multiple_of(2) { "127.0.0.0/8" } else { "0.0.0.0/0" }),
        }
    }))
}

/// And those that do not: one that comes and goes, one that moves, one whose family changes.
fn all(turn: usize) -> Config {
    let config = staying(turn);
    let config = if turn.is_multiple_of(3) { config.with(Entry::program("passing", 4001)) } else { config };
    let changes = Entry::program("changes", 4003);
    let changes = match turn % 2 {
        0 => changes.first("flags = IPv4"),
        _ => changes.first("flags = IPv6").set("v6only", "yes"),
    };
    config
        .with(
            Entry::program("wanders", 4002)
                .first("flags = IPv4")
                .set("bind", ["127.0.0.5", "127.0.0.6"][turn % 2]),
        )
        .with(changes)
}

/// Ends the clients, however the test ends.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients connect to a hundred services without a pause, and forty reloads pass over them.
#[test]
fn nobody_is_turned_away() {
    ours(|world| {
        let daemon = world.start(&all(0));
        let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        let lost = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4_u16)
                .map(|first| {
                    let (over, served) = (&over, &served);
                    scope.spawn(move || {
                        let from = format!("127.0.1.{}", first + 1);
                        let mut lost = Vec::new();
                        for port in (0..SERVICES).cycle().skip(usize::from(first) * 25).map(|n| 3001 + n) {
                            if over.load(Ordering::Relaxed) {
                                break;
                            }
                            let answer = talk(&from, port, b"");
                            if answer == Answer::closed(SERVED) {
                                served.fetch_add(1, Ordering::Relaxed);
                            } else {
                                lost.push((port, answer));
                            }
                        }
                        lost
                    })
                })
                .collect();
            let end = AtTheEnd(&over);
            for turn in 1..=RELOADS {
                let before = served.load(Ordering::Relaxed);
                daemon.reload(&all(turn));
                must("clients come meanwhile", || served.load(Ordering::Relaxed) > before);
                let reach =
                    |to: &str, port| dial_to("127.0.0.1", to, port, DEADLINE).map(|mut c| c.read_all());
                let (here, gone) = [("127.0.0.5", "127.0.0.6"), ("127.0.0.6", "127.0.0.5")][turn % 2];
                assert_eq!(reach(here, 4002), Ok(Answer::closed(SERVED)), "turn {turn}");
                assert_eq!(reach(gone, 4002), Err(End::Refused), "turn {turn}");
                let passing = if turn.is_multiple_of(3) { Answer::closed(SERVED) } else { Answer::refused() };
                assert_eq!(talk("127.0.0.1", 4001, b""), passing, "turn {turn}");
                let (family, other) = [("127.0.0.1", "::1"), ("::1", "127.0.0.1")][turn % 2];
                assert_eq!(talk(family, 4003, b""), Answer::closed(SERVED), "turn {turn}");
                assert_eq!(talk(other, 4003, b""), Answer::refused(), "turn {turn}");
            }
            drop(end);
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
        });
        assert!(
            lost.is_empty(),
            "{} lost of {}: {:?}",
            lost.len(),
            served.load(Ordering::Relaxed),
            lost.first()
        );
        let expected = format!("Reconfigured: new=0 old={} dropped=0", SERVICES + 2);
        assert!(world.daemon_log_count(&expected) > 0, "some came and went");
    });
}

/// Reloads that fail, each for another reason: whoever is served stays, and whoever comes is served.
#[test]
fn a_failed_reload_changes_nothing() {
    ours(|world| {
        let config = Config::new()
            .with(Entry::program("s1", 2001).set("cps", "0 0"))
            .with(Entry::probe("s2", 2002, "hold").set("cps", "0 0"));
        let daemon = world.start(&config);
        let mut held = portreeve_compliance::client::dial("127.0.0.1", 2002).expect("a connection");
        assert_eq!(held.read_until(b"\n").text(), "held\n");
        let good = config.text(world.side);
        let broken = [
            ("a bad default", config.clone().defaults("instances = many").text(world.side)),
            ("a directory that is not there", format!("{good}\nincludedir /run/w/none\n")),
            ("a file that is not there", format!("{good}\ninclude /run/w/none\n")),
        ];
        for (number, (what, text)) in broken.iter().enumerate() {
            world.write("xinetd.conf", text);
            let before = world.daemon_log().len();
            daemon.signal(signals::HUP);
            must("it is tried", || {
                world.daemon_log()[before..].iter().any(|line| line.contains("econfigur"))
            });
            must("it comes to an end", || daemon.status().get("generation").is_some());
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED), "{number}: {what}");
            assert_eq!(
                held.read_for(std::time::Duration::from_millis(50)).end,
                End::Open,
                "{number}: {what}"
            );
        }
        // An address that somebody else has: that service tries again, the others go on.
        let foreign = std::net::TcpListener::bind("127.0.0.1:2050").expect("a listener");
        let more = config.clone().with(Entry::program("taken", 2050).set("bind", "127.0.0.1"));
        daemon.reload(&more);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        assert_eq!(held.read_for(std::time::Duration::from_millis(50)).end, End::Open);
        assert_eq!(daemon.service_status("taken")["state"], "retrying");
        drop(foreign);
        must("it comes when the address is free", || talk("127.0.0.1", 2050, b"") == Answer::closed(SERVED));
    });
}
