//! Evidence: what an instance tells of its own client bans that client, in the kernel, and nobody else; what can be forged bans nobody;
//! whom no ban touches is not banned for evidence either.

use portreeve_compliance::client::{dial_to, talk_to};
use portreeve_compliance::neighbour::{HERE, Neighbour};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Entry, Start, World, ours};
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";
const FOREIGN: u16 = 2100;

/// A service that fails the login of everybody who comes, by a program that is no portreeve's.
fn failing(world: &World, id: &str, port: u16) -> Entry {
    let script = "#!/bin/sh\nprintf login >&$PORTREEVE_EVIDENCE_FD && echo failed\n";
    telling(world, id, port, script)
}

fn telling(world: &World, id: &str, port: u16, script: &str) -> Entry {
    let path = world.write_mode(&format!("{id}.sh"), script, 0o755);
    Entry::program(id, port).set("server", &path).unset("server_args").set("evidence", "yes")
}

fn order(daemon: &Daemon<'_>, request: &str) -> Value {
    let answer: Value = serde_json::from_str(&daemon.control(request)).expect("JSON");
    assert_eq!(answer["ok"], true, "{request}: {answer}");
    answer
}

fn networks(daemon: &Daemon<'_>) -> Vec<String> {
    let list = order(daemon, "bans")["list"].as_array().cloned().unwrap_or_default();
    list.iter().map(|ban| ban["network"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Pieces that are held against an address, of those that may ban.
fn held(daemon: &Daemon<'_>, address: &str) -> u64 {
    order(daemon, &format!("why {address}"))["evidence"][0]["score_percent"].as_u64().unwrap_or(0)
}

fn reaches(next: &Neighbour<'_>, from: &str) -> bool {
    next.within(|| dial_to(from, HERE, FOREIGN, Duration::from_millis(400)).is_ok())
}

/// Five failed logins, and every port of this host is closed to the client, and to nobody else.
#[test]
fn failed_logins_ban_their_client_in_the_kernel() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let options = vec!["--ledger".into(), "/run/w/ledger".into()];
        let config = Config::of(failing(world, "ftp", 2001));
        let daemon = world.start_with(&config, Start { options, ..Start::default() });
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        let _stranger = TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours");
        for pieces in 1..5 {
            assert_eq!(next.within(|| talk_to(ONE, HERE, 2001)), Answer::closed("failed\n"));
            must("it is heard", || held(&daemon, ONE) >= pieces * 20 - 2);
        }
        next.within(|| talk_to(OTHER, HERE, 2001));
        assert_eq!(networks(&daemon), Vec::<String>::new());
        next.within(|| talk_to(ONE, HERE, 2001));
        must("it is dropped", || !reaches(&next, ONE));
        assert!(reaches(&next, OTHER));
        let why = order(&daemon, "why 10.7.0.2");
        let ban = &why["list"][0];
        assert_eq!((&ban["by"], &ban["network"]), (&"evidence".into(), &ONE.into()), "{why}");
        assert_eq!(ban["reason"], "5 failed logins, the last at ftp", "{why}");
        assert!(ban["seconds_left"].as_u64().is_some_and(|left| (3500..=3600).contains(&left)), "{why}");
        assert_eq!(why["former_bans"], 1, "{why}");
        must("it is logged", || {
            world.daemon_log_count("10.7.0.2 is banned for 3600 s: 5 failed logins") == 1
        });
        let events = |reason: &str| {
            let sql = format!("SELECT count(*) FROM events WHERE source = '{ONE}' AND {reason}");
            let words = ["sqlite3", "-readonly", "-cmd", ".timeout 20000", "/run/w/ledger/ledger.db", &sql];
            world.run(&words, &["PATH=/usr/bin:/bin"]).1.trim().to_owned()
        };
        must("it is in the ledger", || {
            events("kind = 'evidence' AND reason = 'authenticated login' AND service = 'ftp'") == "5"
                && events("kind = 'ban'") == "1"
                && events("kind = 'evidence' AND id IN (SELECT id FROM events WHERE kind = 'start')") == "5"
        });

        // Over a restart it is a ban like others, and the next one of this source is longer.
        daemon.stop();
        let options = vec!["--ledger".into(), "/run/w/ledger".into()];
        let daemon = world.start_with(&config, Start { options, ..Start::default() });
        must("it is back", || networks(&daemon) == [ONE]);
        must("it counts", || order(&daemon, "why 10.7.0.2")["former_bans"] == 1);
        assert!(!reaches(&next, ONE));
    });
}

/// `portreeve evidence` from a program that the instance started; what else is written counts for nothing; and there is a bound.
#[test]
fn words_of_a_fixed_table_count_and_nothing_else() {
    ours(|world: &World| {
        let portreeve = std::env::var("PORTREEVE").unwrap_or_default();
        let child = format!("#!/bin/sh\n(sh -c '\"{portreeve}\" evidence user') && echo told\n");
        let rubbish = "#!/bin/sh\nprintf 'login 10.7.0.3' >&3\nprintf '10.7.0.3' >&3\nprintf 'sensor' >&3\nprintf '%300s' x >&3\nprintf 'success' >&3\necho done\n";
        let flood = "#!/bin/sh\ni=0; while [ $i -lt 100 ]; do printf x >&3 || break; i=$((i+1)); done\nprintf login >&3\necho end\n";
        let plain = "#!/bin/sh\necho \"fd=$PORTREEVE_EVIDENCE_FD\"; [ -e /proc/self/fd/3 ] || echo none\n";
        let config = Config::new()
            .with(telling(world, "child", 2001, &child))
            .with(telling(world, "rubbish", 2002, rubbish))
            .with(telling(world, "flood", 2003, flood))
            .with(telling(world, "plain", 2004, plain).set("evidence", "no"))
            .with(
                telling(
                    world,
                    "passed",
                    2005,
                    "#!/bin/sh\necho $LISTEN_FDS $PORTREEVE_EVIDENCE_FD >/run/w/passed\nprintf login >&4\n",
                )
                .set("listen_fds", "x"),
            );
        let next = world.neighbour(&[ONE, OTHER]);
        let daemon = world.start(&config);
        if !portreeve.is_empty() {
            assert_eq!(next.within(|| talk_to(ONE, HERE, 2001)), Answer::closed("told\n"));
            must("it is heard", || held(&daemon, ONE) >= 19);
        }
        assert_eq!(next.within(|| talk_to(OTHER, HERE, 2002)), Answer::closed("done\n"));
        must("it is said", || world.daemon_log_count("has told what is no kind of evidence") == 1);
        assert_eq!(held(&daemon, OTHER), 0);
        // What comes behind the bound is not heard, and the descriptor is closed: the shell may die of it.
        next.within(|| talk_to(OTHER, HERE, 2003));
        must("it has ended", || daemon.count("flood", "/running") == 0);
        assert_eq!(held(&daemon, OTHER), 0);
        assert_eq!(next.within(|| talk_to(OTHER, HERE, 2004)), Answer::closed("fd=\nnone\n"));
        next.within(|| talk_to(OTHER, HERE, 2005));
        must("it is heard beside the client's own descriptor", || held(&daemon, OTHER) >= 19);
        assert!(held(&daemon, OTHER) <= 20);
        assert_eq!(world.read("passed"), "1 4\n");
        assert_eq!(networks(&daemon), Vec::<String>::new());
    });
}

/// Many services run as the same user. Whoever has that user's rights names nobody: not by the control socket, and not by a
/// descriptor of another's.
#[test]
fn a_shared_user_gains_nothing() {
    if !has_programs(&["setpriv"]) {
        return;
    }
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let slow = "#!/bin/sh\necho $$ >/run/w/slow.pid\nread line\n";
        let config = Config::new().with(telling(world, "slow", 2001, slow));
        let daemon = world.start(&config);
        let client = next.within(|| dial_to(ONE, HERE, 2001, Duration::from_secs(5)).expect("a connection"));
        must("it runs", || {
            std::fs::read_to_string(world.path("slow.pid")).is_ok_and(|text| text.ends_with('\n'))
        });
        let pid = world.read("slow.pid").trim().to_owned();
        let script = format!(
            "exec 2>&1; for i in 1 2 3 4 5 6; do printf login >/proc/{pid}/fd/3; done; \
             printf 'evidence {OTHER} login\\n' | timeout 5 socat - UNIX-CONNECT:/run/w/control; \
             PORTREEVE_EVIDENCE_FD=3 timeout 5 sh -c 'printf login >&3'; true"
        );
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script];
        let (_, output) = world.run(&words, &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        for address in [ONE, OTHER] {
            assert_eq!(held(&daemon, address), 0, "{output}");
        }
        drop(client);
        assert_eq!(networks(&daemon), Vec::<String>::new());
    });
}

/// Datagrams at a sensor, by the thousand, in anybody's name: seen, and nobody is banned.
#[test]
fn forged_datagrams_ban_nobody() {
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let trap = Entry::internal("discard", "trap", 2001, "dgram")
            .set("flags", "SENSOR")
            .set("deny_time", "FOREVER")
            .set("cps", "0 0");
        let config = Config::new().with(trap).with(failing(world, "ftp", 2002));
        let daemon = world.start(&config);
        next.within(|| {
            let socket = UdpSocket::bind((ONE, 0)).expect("a socket");
            for _ in 0..400 {
                let _ = socket.send_to(b"x", (HERE, 2001));
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        must("it is suspected", || {
            let why = order(&daemon, "why 10.7.0.2");
            why["evidence"][0]["may_ban"] == false
                && why["evidence"][0]["score_percent"].as_u64().is_some_and(|score| score >= 100)
        });
        must("it is said once", || world.daemon_log_count("10.7.0.2 is suspected (") == 1);
        assert_eq!(networks(&daemon), Vec::<String>::new());
        // Nor does it take less to ban it then.
        for _ in 0..4 {
            assert_eq!(next.within(|| talk_to(ONE, HERE, 2002)), Answer::closed("failed\n"));
        }
        assert_eq!(next.within(|| talk_to(OTHER, HERE, 2002)), Answer::closed("failed\n"));
        must("all is heard", || held(&daemon, OTHER) >= 19 && held(&daemon, ONE) >= 78);
        assert_eq!(networks(&daemon), Vec::<String>::new());
    });
}

/// The gateway, whom `protect` names, a protected list: reported, and never banned.
#[test]
fn nobody_who_is_protected_is_banned_for_evidence() {
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let route = ["/bin/sh", "-c", "ip route add default via 10.7.0.2"];
        world.run(&route, &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let listed = failing(world, "ftp", 2001).set("only_from", "10.7.0.3 192.0.2.0/28");
        let open = failing(world, "open", 2002);
        let config = Config::new().with(listed.set("protect_only_from", "yes")).with(open);
        let daemon = world.start(&config);
        for _ in 0..5 {
            assert_eq!(next.within(|| talk_to(ONE, HERE, 2002)), Answer::closed("failed\n"));
            assert_eq!(next.within(|| talk_to(OTHER, HERE, 2002)), Answer::closed("failed\n"));
            order(&daemon, "evidence 192.0.2.9 login");
            order(&daemon, "evidence 192.0.2.99 login");
        }
        must("one of them is banned", || networks(&daemon) == ["192.0.2.99"]);
        must("the others are said", || {
            ["10.7.0.2 would be banned (5 failed logins, the last at open), but it is protected: a gateway of this host",
             "10.7.0.3 would be banned (5 failed logins, the last at open), but it is protected: `protect`, `proxy_from` or a protected `only_from` names 10.7.0.3",
             "192.0.2.9 would be banned (5 failed logins), but it is protected:"]
                .iter().all(|text| world.daemon_log_count(text) == 1)
        });
        let evidence = order(&daemon, "bans")["evidence"].clone();
        assert_eq!(evidence["spared"], 3, "{evidence}");
    });
}
