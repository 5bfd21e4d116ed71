//! Upgrade after upgrade while clients of every kind come all the time: to a program, a built-in, a redirected service, one behind TLS,
//! servers that have the socket themselves, and one with limits for each source. Nobody is turned away. xinetd has nothing like it;
//! the same with 200 clients is in `benches/README.md`.

use portreeve_compliance::client::{ask, datagram_socket, dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, DEADLINE, Ended, Entry, World, ours};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Clients at once, of all kinds together; `UPGRADE_CLIENTS` says otherwise.
const CLIENTS: usize = 48;
const UPGRADES: usize = 20;
const SERVED: &str = "served\n";
const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run/w", "TZ=UTC"];

fn config(tls: bool) -> Config {
    let unlimited = |entry: Entry| entry.set("cps", "0 0").set("instances", "UNLIMITED");
    let redirected = |id: &str, port| {
        unlimited(
            Entry::bare(id, port)
                .set("type", "UNLISTED")
                .set("socket_type", "stream")
                .set("protocol", "tcp")
                .set("wait", "no")
                .set("user", "root")
                .set("redirect", "127.0.0.1 2001"),
        )
    };
    let config = Config::of(unlimited(Entry::program("s1", 2001)))
        .with(unlimited(Entry::internal("echo", "echo", 2002, "stream")))
        .with(redirected("way", 2003))
        .with(unlimited(Entry::probe("own", 2004, "accept 3").set("wait", "yes")))
        .with(unlimited(Entry::datagram("dg", 2005, "datagrams 3")))
        .with(unlimited(
            Entry::program("each", 2006).set("per_source", "40").set("only_from", "127.0.0.0/8"),
        ));
    if !tls {
        return config;
    }
    config.with(redirected("sealed", 2007).set("tls_cert", "/run/w/one.pem").set("tls_key", "/run/w/one.key"))
}

/// One visit; what was wrong with it.
fn visit(world: &World, from: &str, kind: usize) -> Result<(), String> {
    let wanted = |answer: Answer| match answer == Answer::closed(SERVED) {
        true => Ok(()),
        false => Err(format!("{answer:?}")),
    };
    match kind {
        0 => wanted(talk(from, 2001, b"")),
        1 => {
            let mut echo = dial(from, 2002).map_err(|end| format!("echo: {end:?}"))?;
            echo.send(b"abc");
            echo.finish();
            let answer = echo.read_all();
            if answer == Answer::closed("abc") { Ok(()) } else { Err(format!("echo: {answer:?}")) }
        }
        2 => wanted(talk(from, 2003, b"")),
        3 => {
            let answer = talk(from, 2004, b"");
            if answer.text().starts_with("served ") { Ok(()) } else { Err(format!("own: {answer:?}")) }
        }
        4 => {
            let socket = datagram_socket(from, 2005);
            let answer = ask(&socket, b"one", DEADLINE).ok_or("no answer to a datagram")?;
            if answer.starts_with(b"one ") { Ok(()) } else { Err(format!("dgram: {answer:?}")) }
        }
        5 => wanted(talk(from, 2006, b"")),
        _ => {
            let script =
                "exec openssl s_client -quiet -verify_quiet -connect 127.0.0.1:2007 2>/dev/null </dev/null";
            let (how, said) = world.run(&["/bin/sh", "-c", script], ENV);
            if said.ends_with(SERVED) { Ok(()) } else { Err(format!("TLS: {how:?} {said:?}")) }
        }
    }
}

#[test]
fn nobody_is_turned_away() {
    let tls = has_programs(&["openssl"]);
    let clients: usize =
        std::env::var("UPGRADE_CLIENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(CLIENTS);
    ours(|world| {
        if tls {
            let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /run/w/one.key \
                          -out /run/w/one.pem -subj /CN=one -days 3";
            let (how, output) = world.run(&["/bin/sh", "-c", script], ENV);
            assert_eq!(how, Ended::Status(0), "{output}");
        }
        let daemon = world.start(&config(tls));
        if tls {
            must("TLS is served", || visit(world, "127.0.0.1", 6).is_ok());
        }
        let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
        let kinds: Vec<AtomicUsize> = (0..7).map(|_| AtomicUsize::new(0)).collect();
        let lost = std::thread::scope(|scope| {
            let visitors: Vec<_> = (0..clients)
                .map(|number| {
                    let (over, served, kinds) = (&over, &served, &kinds);
                    scope.spawn(move || {
                        world.enter();
                        // A handshake is dear here: each is a process.
                        let kind = if tls && number < 3 { 6 } else { number % 6 };
                        let from = format!("127.0.{}.{}", 1 + number / 200, 1 + number % 200);
                        while !over.load(Ordering::Relaxed) {
                            if let Err(why) = visit(world, &from, kind) {
                                over.store(true, Ordering::Relaxed);
                                return Some(why);
                            }
                            served.fetch_add(1, Ordering::Relaxed);
                            kinds[kind].fetch_add(1, Ordering::Relaxed);
                        }
                        None
                    })
                })
                .collect();
            let each_is_served = |what: &str, least: usize| {
                let before: Vec<usize> = kinds.iter().map(|n| n.load(Ordering::Relaxed)).collect();
                must(what, || {
                    let come = kinds.iter().zip(&before).take(if tls { 7 } else { 6 });
                    let all = come.map(|(now, before)| now.load(Ordering::Relaxed) - before).min();
                    over.load(Ordering::Relaxed) || all >= Some(least)
                });
            };
            for _ in 0..UPGRADES {
                each_is_served("clients of each kind come between two upgrades", 1);
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let answer = daemon.control("upgrade");
                assert!(answer.contains("\"ok\":true"), "{answer}");
            }
            each_is_served("and after the last", 5);
            over.store(true, Ordering::Relaxed);
            visitors.into_iter().filter_map(|visitor| visitor.join().expect("a visitor")).collect::<Vec<_>>()
        });
        let served = served.load(Ordering::Relaxed);
        assert!(lost.is_empty(), "{} lost, {served} served: {:?}", lost.len(), lost.first());
        assert_eq!(daemon.status()["upgrades"], UPGRADES);
        // The servers that have the socket wait for another client.
        let ended = ["s1", "echo", "way", "each", "sealed"].into_iter().take(if tls { 5 } else { 4 });
        must("every end is noticed", || ended.clone().all(|id| daemon.count(id, "/running") == 0));
        assert_eq!(world.daemon_log_count("unknown child"), 0);
        eprintln!("{clients} clients, {UPGRADES} upgrades: {served} served, none lost");
    });
}
