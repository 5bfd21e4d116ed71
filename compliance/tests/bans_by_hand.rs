//! Bans by hand: networks of any length, each with its own end, in the daemon and in the kernel; and nobody who is protected.

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

fn config() -> Config {
    Config::new()
        .with(Entry::program("s1", 2003))
        .with(Entry::internal("echo", "udp", 2004, "dgram").set("wait", "yes"))
        .with(Entry::probe("w1", 2005, "accept 1").set("wait", "yes"))
}

fn ask(daemon: &Daemon<'_>, request: &str) -> Value {
    serde_json::from_str(&daemon.control(request)).expect("JSON")
}

fn order(daemon: &Daemon<'_>, request: &str) -> Value {
    let answer = ask(daemon, request);
    assert_eq!(answer["ok"], true, "{request}: {answer}");
    answer
}

fn refused(daemon: &Daemon<'_>, request: &str, why: &str) {
    let answer = ask(daemon, request);
    assert_eq!(answer["ok"], false, "{request}: {answer}");
    assert!(answer["error"].as_str().unwrap_or_default().contains(why), "{request}: {answer}");
}

fn networks(daemon: &Daemon<'_>) -> Vec<String> {
    let list = order(daemon, "bans")["list"].as_array().cloned().unwrap_or_default();
    list.iter().map(|ban| ban["network"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Whether a stranger's port, which is none of ours, is reached from there.
fn reaches(next: &Neighbour<'_>, from: &str) -> bool {
    next.within(|| dial_to(from, HERE, FOREIGN, Duration::from_millis(400)).is_ok())
}

fn enforced(daemon: &Daemon<'_>, count: u64) {
    must("the kernel has them", || {
        let bans = daemon.status()["bans"].clone();
        bans["kernel"] == "enforced" && bans["enforced"] == count && bans["wanted"] == count
    });
}

fn stranger() -> TcpListener {
    TcpListener::bind((HERE, FOREIGN)).expect("a port that is not ours")
}

/// Added, seen, removed; one in another, and each ends by itself.
#[test]
fn networks_are_banned_and_let_in_again() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let daemon = world.start(&config());
        let _stranger = stranger();
        order(&daemon, "ban 10.7.0.2/31 forever two neighbours");
        must("the network is dropped", || !reaches(&next, ONE) && !reaches(&next, OTHER));
        enforced(&daemon, 1);
        // One in it, by its mapped form, and a short one: the other one's end is its own.
        assert_eq!(order(&daemon, "ban ::ffff:10.7.0.2 1 again")["network"], ONE);
        assert_eq!(networks(&daemon), ["10.7.0.2/31", "10.7.0.2"]);
        let why = order(&daemon, "why ::ffff:10.7.0.2");
        assert_eq!(
            (&why["banned"], &why["list"][0]["reason"]),
            (&true.into(), &"two neighbours".into()),
            "{why}"
        );
        assert_eq!(why["list"][1]["by"], "operator", "{why}");
        must("the short one ends", || networks(&daemon) == ["10.7.0.2/31"]);
        assert!(!reaches(&next, ONE));

        refused(&daemon, "unban 10.7.0.3", "it lies in 10.7.0.2/31");
        order(&daemon, "ban 10.7.0.2 600");
        order(&daemon, "unban 10.7.0.2/31");
        must("the other one is let in", || reaches(&next, OTHER));
        assert!(!reaches(&next, ONE));
        enforced(&daemon, 1);
        order(&daemon, "unban all");
        must("everybody is let in", || reaches(&next, ONE));
        assert_eq!(next.within(|| talk_to(ONE, HERE, 2003)), Answer::closed("served\n"));
        assert_eq!(order(&daemon, "why 10.7.0.2")["banned"], false);
    });
}

/// The gateway, the name server, this host, the whole internet: refused with the reason, and nothing is changed.
#[test]
fn nobody_who_is_protected_is_banned() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world: &World| {
        let _next = world.neighbour(&[ONE, OTHER]);
        let route = ["/bin/sh", "-c", "ip route add default via 10.7.0.2"];
        world.run(&route, &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let daemon = world.start(&config().defaults("protect = 192.0.2.0/28"));
        refused(&daemon, "ban 10.0.0.0/8 3600", "10.7.0.1 is an address of this host");
        refused(&daemon, "ban 10.7.0.2/31 3600", "10.7.0.2 is a gateway of this host");
        refused(&daemon, "ban ::ffff:10.7.0.2 3600", "a gateway of this host");
        refused(&daemon, &format!("ban {HERE} 3600"), "an address of this host");
        refused(&daemon, "ban 192.0.2.0/24 3600", "names 192.0.2.0/28");
        refused(&daemon, "ban 127.0.0.9 3600", "loopback");
        refused(&daemon, "ban 0.0.0.0/0 forever", "too wide");
        refused(&daemon, "ban 12.0.0.0/7 forever", "too wide");
        refused(&daemon, "ban ::/0 forever", "too wide");
        refused(&daemon, "ban 10.7.0.3/24 forever", "bits set behind its length");
        refused(&daemon, "ban somebody forever", "no IPv4 or IPv6 address");
        refused(&daemon, "ban 192.0.2.99 0", "no time");
        refused(&daemon, "unban 192.0.2.99", "is not banned");
        assert_eq!(networks(&daemon), Vec::<String>::new());
        assert_eq!(daemon.status()["bans"]["kernel"], "nobody was banned yet");
        let why = order(&daemon, "why 10.7.0.2");
        assert_eq!(why["protected"], "a gateway of this host", "{why}");
    });
}

/// Without the capability every service of ours refuses by itself, datagrams too, and that is said.
#[test]
fn without_the_kernel_the_services_refuse() {
    if !has_programs(&["setpriv"]) {
        return;
    }
    ours(|world: &World| {
        let next = world.neighbour(&[ONE, OTHER]);
        let through = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"].map(str::to_owned);
        let daemon = world.start_with(&config(), Start { through: through.to_vec(), ..Start::default() });
        let echoes = |from: &str| {
            next.within(|| {
                let socket = UdpSocket::bind((from, 0)).expect("a socket");
                socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
                socket.send_to(b"x", (HERE, 2004)).expect("sent");
                socket.recv(&mut [0; 8]).is_ok()
            })
        };
        must("served", || echoes(ONE) && echoes(OTHER));
        order(&daemon, "ban 10.7.0.2/31 600 both");
        must("refused", || !echoes(ONE) && !echoes(OTHER));
        assert_eq!(next.within(|| talk_to(ONE, HERE, 2003)), Answer::closed(""));
        must("it is said", || {
            daemon.status()["bans"]["kernel"].as_str().is_some_and(|text| text.starts_with("refused"))
        });
        let _stranger = stranger();
        assert!(reaches(&next, ONE), "the daemon's own check is the only one");
        order(&daemon, "ban 10.7.0.2 600 one");
        order(&daemon, "unban 10.7.0.2/31");
        must("the other one is served", || echoes(OTHER));
        assert!(!echoes(ONE));
        assert_eq!(next.within(|| talk_to(OTHER, HERE, 2003)), Answer::closed("served\n"));
    });
}

/// An upgrade keeps networks, ends and reasons.
#[test]
fn bans_by_hand_hold_over_an_upgrade() {
    if !has_programs(&["nft"]) {
        return;
    }
    ours(|world: &World| {
        let next = world.neighbour(&[ONE]);
        let daemon = world.start(&config());
        let _stranger = stranger();
        order(&daemon, "ban 10.7.0.2/31 600 two of them");
        order(&daemon, "ban 2001:db8::/32 forever");
        order(&daemon, "upgrade");
        must("it has upgraded", || daemon.status()["upgrades"] == 1);
        let list = order(&daemon, "bans")["list"].clone();
        assert_eq!(
            (&list[0]["network"], &list[0]["reason"]),
            (&"10.7.0.2/31".into(), &"two of them".into()),
            "{list}"
        );
        assert!(list[0]["seconds_left"].as_u64().is_some_and(|left| (500..600).contains(&left)), "{list}");
        assert_eq!(list[1]["network"], "2001:db8::/32", "{list}");
        assert!(!reaches(&next, ONE));
        enforced(&daemon, 2);
    });
}
