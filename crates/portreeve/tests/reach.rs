//! `portreeve listeners` says who reaches a port, and connections are tried: two network namespaces, a client with two addresses, real
//! firewalls of nft and both kinds of iptables.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The client's addresses; the server is 10.77.0.1.
const CLIENT: [&str; 2] = ["10.77.0.2", "10.77.0.130"];
const PORTS: [u16; 5] = [2022, 2023, 2024, 2025, 2026];

struct Space(String);

impl Drop for Space {
    fn drop(&mut self) {
        run(&["ip", "netns", "del", &self.0]);
    }
}

fn run(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Space {
    fn new(word: &str) -> Option<Space> {
        let space = Space(format!("portreeve-{word}-{}", std::process::id()));
        run(&["ip", "netns", "add", &space.0]).then_some(space)
    }

    fn run(&self, words: &[&str]) -> bool {
        let mut all = vec!["ip", "netns", "exec", &self.0];
        all.extend(words);
        run(&all)
    }

    fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.0)).expect("its name");
        let enter = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
            body()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("no panic inside"))
    }
}

/// A server's and a client's namespace, joined.
fn lab() -> Option<(Space, Space)> {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return None;
    }
    if !skip::has_programs(&["ip", "nft", "iptables-nft", "iptables-legacy"]) {
        return None;
    }
    let made = (|| {
        let (server, client) = (Space::new("server")?, Space::new("client")?);
        let peer = ["ip", "link", "add", "eth0", "netns", &server.0, "type", "veth", "peer", "name", "eth0"];
        let mut words = peer.to_vec();
        words.extend(["netns", &client.0]);
        let up = run(&words)
            && server.run(&["ip", "addr", "add", "10.77.0.1/24", "dev", "eth0"])
            && CLIENT.iter().all(|a| client.run(&["ip", "addr", "add", &format!("{a}/24"), "dev", "eth0"]))
            && [&server, &client].iter().all(|space| space.run(&["ip", "link", "set", "eth0", "up"]));
        up.then_some((server, client))
    })();
    if made.is_none() {
        skip::skip(skip::Reason::NoNamespaces);
    }
    made
}

/// Whether a connection to a port from an address is made.
fn connects(client: &Space, from: &str, port: u16) -> bool {
    let from: Ipv4Addr = from.parse().expect("an address");
    client.inside(|| {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
        let fd = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a socket");
        // A SYN that is dropped is sent again after a second: two of them.
        let patience = Some(Duration::from_millis(1500));
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Send, patience)
            .expect("set");
        bind(&fd, &SocketAddr::new(from.into(), 0)).expect("bound");
        connect(&fd, &SocketAddr::from(([10, 77, 0, 1], port))).is_ok()
    })
}

/// What is said of each port.
fn said(server: &Space) -> Vec<(u16, Value)> {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["listeners", "--json", "--control", "/nonexistent/control"])
        .output()
        .expect("portreeve runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let all = answer["listeners"].as_array().expect("listeners").clone();
    let ours = all.into_iter().filter(|l| l["namespace"] == server.0.as_str() && l["protocol"] == "tcp");
    let port = |l: &Value| u16::try_from(l["port"].as_u64().expect("a port")).expect("a port");
    ours.map(|l| (port(&l), l["reach"].clone())).collect()
}

/// Whether an address is among those of an answer.
fn among(text: &str, address: &str) -> bool {
    let address = u32::from(address.parse::<Ipv4Addr>().expect("an address"));
    let within = |network: &str| {
        let (base, length) = network.split_once('/').unwrap_or((network, "32"));
        let (base, length): (Ipv4Addr, u32) =
            (base.parse().expect("a network"), length.parse().expect("a length"));
        (u64::from(address) >> (32 - length)) == (u64::from(u32::from(base)) >> (32 - length))
    };
    match text {
        "anyone" => true,
        "nobody" => false,
        _ => match text.strip_prefix("anyone but ") {
            Some(networks) => !networks.split(", ").any(within),
            None => text.split(", ").any(within),
        },
    }
}

/// Compares what is said of every port with what is so, from both addresses. Returns the texts.
fn compare(what: &str, server: &Space, client: &Space) -> Vec<String> {
    let said = said(server);
    assert_eq!(said.len(), PORTS.len());
    for (port, reach) in &said {
        let text = reach["text"].as_str().expect("a text");
        for from in CLIENT {
            if text != "unknown" {
                assert_eq!(
                    among(text, from),
                    connects(client, from, *port),
                    "{what}: {from} to {port}: {reach}"
                );
            }
        }
    }
    said.into_iter().map(|(_, reach)| reach["text"].as_str().expect("a text").to_owned()).collect()
}

fn nft(server: &Space, rules: &str) {
    server.run(&["nft", "flush", "ruleset"]);
    let mut child = Command::new("ip")
        .args(["netns", "exec", &server.0, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("nft runs");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(rules.replace("} }", "}\n}\n").as_bytes())
        .expect("written");
    assert!(child.wait().expect("ends").success(), "{rules}");
}

#[test]
fn what_is_said_is_what_a_connection_finds() {
    let Some((server, client)) = lab() else { return };
    let _held: Vec<_> =
        server.inside(|| PORTS.map(|p| TcpListener::bind(("0.0.0.0", p)).expect("tcp")).into());
    let _held: Vec<TcpListener> = _held;
    assert_eq!(compare("no rules", &server, &client), ["anyone"; 5]);

    nft(
        &server,
        "table inet f {
           set friends { type ipv4_addr; flags interval; elements = { 10.77.0.128/25 } }
           set pairs { type ipv4_addr . inet_service; elements = { 10.77.0.2 . 2025 } }
           chain services { tcp dport 2023 accept; return; }
           chain in { type filter hook input priority 0; policy drop;
             ct state established,related accept
             ct state invalid drop
             iif lo accept
             tcp dport 2022 ip saddr @friends accept
             jump services
             tcp dport 2024 ct state new limit rate 100/second accept
             ip saddr . tcp dport @pairs accept
             counter log reject
           } }",
    );
    let wanted = ["10.77.0.128/25", "anyone", "anyone", "10.77.0.2", "nobody"];
    assert_eq!(compare("nft", &server, &client), wanted);

    nft(
        &server,
        "table ip raw {
           set banned { type ipv4_addr; elements = { 10.77.0.0 } }
           chain early { type filter hook prerouting priority raw; ip saddr & 255.255.255.128 @banned tcp dport 2022 drop; } }
         table inet f {
           chain in { type filter hook input priority 0; policy accept;
             tcp dport vmap { 2023 : drop, 2024 : goto some }
             tcp dport != 2000-2025 drop
           }
           chain some { ip saddr != 10.77.0.2 accept; drop; } }
         table ip n {
           chain pre { type nat hook prerouting priority dstnat; tcp dport 2025 redirect to :2023; } }",
    );
    let texts = compare("nft at prerouting", &server, &client);
    assert_eq!(texts, ["anyone but 10.77.0.0/25", "nobody", "anyone but 10.77.0.2", "nobody", "nobody"]);

    nft(
        &server,
        "table ip n { chain pre { type nat hook prerouting priority dstnat; tcp dport 2025 redirect to :2026; } }
         table inet f { chain in { type filter hook input priority 0; policy drop; ip saddr 10.77.0.2 tcp dport 2026 accept; } }",
    );
    let redirected = said(&server);
    assert_eq!(redirected[4].1["ways"][0], "port 2025", "{redirected:?}");
    assert_eq!(redirected[3].1["instead"][0], "port 2026 for 10.77.0.2", "{redirected:?}");
    assert!(connects(&client, CLIENT[0], 2025) && !connects(&client, CLIENT[1], 2025));

    nft(&server, "");
    for program in ["iptables-nft", "iptables-legacy"] {
        let rule = |words: &[&str]| {
            let mut all = vec![program, "-w"];
            all.extend(words);
            assert!(server.run(&all), "{all:?}");
        };
        rule(&["-P", "INPUT", "DROP"]);
        rule(&["-N", "mine"]);
        rule(&["-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"]);
        rule(&["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "2022:2024", "-j", "mine"]);
        rule(&[
            "-A", "mine", "-p", "tcp", "--dport", "2023", "-m", "limit", "--limit", "50/s", "-j", "ACCEPT",
        ]);
        rule(&["-A", "mine", "!", "-s", "10.77.0.2", "-p", "tcp", "--dport", "2022", "-j", "ACCEPT"]);
        rule(&["-A", "mine", "-m", "iprange", "--src-range", "10.77.0.1-10.77.0.9", "-j", "RETURN"]);
        rule(&["-A", "mine", "-j", "REJECT"]);
        rule(&[
            "-A",
            "INPUT",
            "-i",
            "eth+",
            "-p",
            "tcp",
            "--dport",
            "2024",
            "-s",
            "10.77.0.2",
            "-j",
            "ACCEPT",
        ]);
        rule(&[
            "-A", "INPUT", "-p", "tcp", "--dport", "2026", "-m", "string", "--string", "x", "--algo", "bm",
            "-j", "ACCEPT",
        ]);
        let texts = compare(program, &server, &client);
        assert_eq!(texts, ["anyone but 10.77.0.2", "anyone", "10.77.0.2", "nobody", "unknown"], "{program}");
        let why = said(&server)[4].1["why"][0].as_str().expect("a reason").to_owned();
        assert!(why.contains("rule 4 of chain ip") && why.contains("INPUT: match string"), "{why}");
        rule(&["-F"]);
        rule(&["-X"]);
        rule(&["-P", "INPUT", "ACCEPT"]);
    }
}
