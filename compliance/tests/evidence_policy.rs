//! The policy of evidence: read from portreeve.toml, kept where that is wrong, carried over an upgrade; by subscriber; tried on the
//! ledger before it counts; and who is known by a proxy's word alone is banned in the daemon alone.

use portreeve_compliance::client::{dial, dial_to, talk, talk_to};
use portreeve_compliance::neighbour::HERE;
use portreeve_compliance::side::workspace;
use portreeve_compliance::wait::must;
use portreeve_compliance::world::Ended;
use portreeve_compliance::{Answer, Config, Daemon, Entry, Start, World, ours};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
const FAILS: &str = "#!/bin/sh\nprintf login >&$PORTREEVE_EVIDENCE_FD && echo failed\n";

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

/// An own /etc, so that there can be settings in it.
fn own_etc(world: &World) {
    let script = "set -e; mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; \
                  mount --move /run/etc /etc; mkdir -p /etc/portreeve; rm -f /etc/portreeve/portreeve.toml";
    let (how, output) = world.run(&["/bin/sh", "-c", script], ENV);
    assert_eq!(how, Ended::Status(0), "{output}");
}

fn settings(world: &World, text: &str) {
    std::fs::write(world.inside("/etc/portreeve/portreeve.toml"), text).expect("to write");
}

/// Thresholds of one service, a reload, a mistake, and its end.
#[test]
fn the_policy_stands_in_a_file() {
    ours(|world: &World| {
        own_etc(world);
        settings(world, "[bans]\ntime = \"90s\"\n[bans.service.ftp]\nauthenticated = 2\n");
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        let evidence = |address: &str, service: &str| {
            order(&daemon, &format!("evidence {address} login {service}"))["outcome"].clone()
        };
        must("it is read", || {
            let fresh = order(&daemon, "evidence 198.51.100.1 login ftp")["score_percent"].as_u64();
            order(&daemon, "unban all");
            order(&daemon, "ban 198.51.100.1 60");
            order(&daemon, "unban 198.51.100.1");
            fresh == Some(50)
        });
        assert_eq!(evidence("192.0.2.1", "ftp"), "noted");
        assert_eq!(evidence("::ffff:192.0.2.1", "ftp"), "banned", "mapped or not");
        assert_eq!(evidence("192.0.2.1", "ftp"), "noted", "what comes by open connections is scored on");
        let left = order(&daemon, "bans")["list"][0]["seconds_left"].as_u64();
        assert!(left.is_some_and(|left| (60..=90).contains(&left)), "{left:?}");
        // One subscriber, whatever address it takes of its own.
        for address in ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"] {
            assert_eq!(evidence(address, "ftp"), if address == "2001:db8::2" { "banned" } else { "noted" });
        }
        assert_eq!(networks(&daemon), ["192.0.2.1", "2001:db8::/64"]);

        settings(world, "[bans]\nhalflife = \"1m\"\n");
        order(&daemon, "reload");
        let wrong = "portreeve.toml:2:1: there is no halflife in [bans]; did you mean half_life?";
        must("it is said", || world.daemon_log_count(wrong) == 1);
        let trouble = order(&daemon, "bans")["evidence"]["trouble"].clone();
        assert!(trouble.as_str().is_some_and(|text| text.contains(wrong)), "{trouble}");
        assert_eq!(evidence("192.0.2.2", "ftp"), "noted");
        assert_eq!(evidence("192.0.2.2", "ftp"), "banned", "by the policy of before");

        settings(world, "[bans]\nact = false\nauthenticated = 1\n");
        order(&daemon, "reload");
        must("it is right again", || order(&daemon, "bans")["evidence"]["act"] == false);
        assert_eq!(order(&daemon, "bans")["evidence"]["trouble"], "");
        assert_eq!(evidence("192.0.2.3", "ftp"), "spared");
        let said =
            "192.0.2.3 would be banned (1 failed login at ftp), but bans for evidence are only reported";
        must("it is said", || world.daemon_log_count(said) == 1);
        std::fs::remove_file(world.inside("/etc/portreeve/portreeve.toml")).expect("to remove");
        order(&daemon, "reload");
        must("it is as always", || order(&daemon, "bans")["evidence"]["act"] == true);
    });
}

/// Where it is asked for: a network with many banned sources is banned whole, but not with a neighbour that behaves well.
#[test]
fn a_network_is_banned_whole_and_a_neighbour_is_spared() {
    ours(|world: &World| {
        own_etc(world);
        let next = world.neighbour(&["10.7.0.2"]);
        settings(world, "[bans]\nauthenticated = 1\nrollup_v4 = 24\nrollup_sources = 2\n");
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        must("it is read", || {
            let banned = order(&daemon, "evidence 198.51.100.1 login")["outcome"] == "banned";
            order(&daemon, "unban all");
            banned
        });
        order(&daemon, "evidence 192.0.2.1 login");
        assert_eq!(networks(&daemon), ["192.0.2.1"]);
        order(&daemon, "evidence 192.0.2.2 login");
        assert_eq!(networks(&daemon), ["192.0.2.0/24", "192.0.2.1", "192.0.2.2"]);
        assert_eq!(order(&daemon, "why 192.0.2.99")["banned"], true);
        // Two have logged in; one of this host's own neighbours is served.
        order(&daemon, "evidence 203.0.113.9 success");
        assert_eq!(next.within(|| talk_to("10.7.0.2", HERE, 2001)), Answer::closed("served\n"));
        must("it is over", || daemon.count("s1", "/running") == 0);
        for address in ["203.0.113.1", "203.0.113.2", "10.7.0.8", "10.7.0.9"] {
            order(&daemon, &format!("evidence {address} login"));
        }
        must("the neighbour is named", || {
            world.daemon_log_count("203.0.113.0/24 would be banned (2 of 2 known sources of it are banned), but 203.0.113.9 of it has behaved well") == 1
                && world.daemon_log_count("10.7.0.0/24 would be banned") == 1
        });
        assert_eq!(order(&daemon, "why 203.0.113.9")["banned"], false);
        assert_eq!(order(&daemon, "why 10.7.0.2")["banned"], false);
    });
}

/// An upgrade grants nobody a fresh start, and an instance that runs through it still tells.
#[test]
fn scores_go_over_with_an_upgrade() {
    ours(|world: &World| {
        let next = world.neighbour(&["10.7.0.2"]);
        let slow = "#!/bin/sh\nread line\nprintf login >&3\nprintf login >&3\necho told\n";
        let config =
            Config::new().with(telling(world, "quick", 2001, FAILS)).with(telling(world, "slow", 2002, slow));
        let daemon = world.start(&config);
        let mut client =
            next.within(|| dial_to("10.7.0.2", HERE, 2002, Duration::from_secs(5)).expect("a connection"));
        for _ in 0..3 {
            assert_eq!(next.within(|| talk_to("10.7.0.2", HERE, 2001)), Answer::closed("failed\n"));
        }
        must("they are heard", || {
            let held = order(&daemon, "why 10.7.0.2")["evidence"][0].clone();
            held["score_percent"].as_u64().is_some_and(|score| score >= 58)
        });
        order(&daemon, "upgrade");
        must("it has upgraded", || daemon.status()["upgrades"] == 1);
        let why = order(&daemon, "why 10.7.0.2");
        assert_eq!(why["evidence"][0]["what"], "3 failed logins, the last at quick", "{why}");
        client.send(b"go\n");
        must("it is enough", || networks(&daemon) == ["10.7.0.2"]);
        assert_eq!(order(&daemon, "why 10.7.0.2")["list"][0]["reason"], "5 failed logins, the last at slow");
        order(&daemon, "upgrade");
        must("it has upgraded", || daemon.status()["upgrades"] == 2);
        let ban = order(&daemon, "why 10.7.0.2");
        assert_eq!((&ban["list"][0]["by"], &ban["former_bans"]), (&"evidence".into(), &1.into()), "{ban}");
    });
}

/// The proxy says who comes: that one is refused from then on, the kernel drops nobody, and the proxy serves the others.
#[test]
fn who_comes_by_a_proxy_is_banned_in_the_daemon_alone() {
    ours(|world: &World| {
        let entry = telling(world, "behind", 2001, FAILS).first("flags = IPv4");
        let entry = entry.set("proxy_protocol", "accept").set("proxy_from", "127.0.0.0/30");
        let daemon = world.start(&Config::of(entry));
        let come = |address: &str| {
            let header = format!("PROXY TCP4 {address} 198.51.100.1 4567 443\r\n");
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.send(header.as_bytes());
            client.finish();
            client.read_all().text()
        };
        for _ in 0..5 {
            assert_eq!(come("192.0.2.7"), "failed\n");
        }
        must("it is banned", || networks(&daemon) == ["192.0.2.7"]);
        must("it is refused", || come("192.0.2.7").is_empty());
        assert_eq!(come("192.0.2.8"), "failed\n");
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
        assert_eq!(talk("127.0.0.1", 2001, b"PROXY UNKNOWN\r\n").text(), "failed\n", "the proxy itself");
    });
}

/// What a policy would have done, by what the ledger holds; and successful logins are marked.
#[test]
fn a_policy_is_tried_on_the_ledger() {
    ours(|world: &World| {
        let options = vec!["--ledger".into(), "/run/w/ledger".into()];
        let config = Config::of(Entry::program("s1", 2001));
        let daemon = world.start_with(&config, Start { options, ..Start::default() });
        must("the ledger is open", || daemon.status()["ledger"]["state"] == "open");
        for _ in 0..3 {
            order(&daemon, "evidence 192.0.2.1 login ftp");
            order(&daemon, "evidence 192.0.2.2 user ftp");
        }
        order(&daemon, "evidence 192.0.2.2 success ftp");
        order(&daemon, "evidence 192.0.2.3 login ftp");
        must("it is written", || daemon.status()["ledger"]["written"].as_u64() >= Some(8));
        let own =
            std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
        let portreeve = own.to_str().expect("a path");
        let preview = |words: &[&str]| {
            let mut all =
                vec![portreeve, "ban", "preview", "--ledger", "/run/w/ledger", "--control", "/run/w/control"];
            all.extend(words);
            world.run(&all, ENV)
        };
        let (how, said) = preview(&["--json"]);
        assert_eq!(how, Ended::Status(0), "{said}");
        let policy = world.write("stricter.toml", "[bans]\nauthenticated = 3\n");
        let (how, said) = preview(&["--policy", &policy, "--json"]);
        assert_eq!(how, Ended::Status(1), "{said}");
        let hits = serde_json::from_str::<Value>(&said).expect("JSON")["hits"].clone();
        let shown = |at: usize| (hits[at]["network"].clone(), hits[at]["successful_logins"].clone());
        assert_eq!(shown(0), ("192.0.2.1".into(), 0.into()), "{hits}");
        assert_eq!(shown(1), ("192.0.2.2".into(), 1.into()), "{hits}");
        assert_eq!(hits.as_array().map(Vec::len), Some(2), "{hits}");
        let (_, said) = preview(&["--policy", &policy]);
        assert!(said.contains("1 successful login") && said.contains("3 logins of nobody"), "{said}");
        assert_eq!(networks(&daemon), Vec::<String>::new(), "a preview bans nobody");
        let (how, said) = preview(&["--policy", "/nowhere"]);
        assert!(how == Ended::Status(2) && said.contains("/nowhere: there is no such file"), "{said}");
    });
}
