//! `portreeve listeners` beside netstat(8): one network namespace with known listeners, the same sockets, processes and programs from both.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod network_space;

use network_space::Space;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, Protocol, SocketAddrUnix, SocketAddrV4, SocketAddrV6, SocketType};
use rustix::net::{bind, listen, socket, sockopt};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Protocol, address, and who holds it as `PID/PROGRAM`, cut where netstat cuts it.
type Fact = (String, String, String);

/// What netstat leaves of a process and its program.
const SHOWN: usize = 19;

/// The listening sockets by netstat(8).
fn from_netstat(space: &Space) -> BTreeSet<Fact> {
    let mut found = BTreeSet::new();
    for words in space.lines("netstat", &["-nlpW"]) {
        let last = || words.last().expect("a word").clone();
        let protocol = match words.first().map(String::as_str) {
            Some("unix") => {
                // The flags, `[ ACC ]`, are words of their own.
                let kind = words.iter().position(|word| word == "]").expect("flags") + 1;
                let protocol = format!("unix-{}", words[kind].to_lowercase());
                found.insert((protocol, last(), words[kind + 3].clone()));
                continue;
            }
            Some(word @ ("tcp" | "tcp6" | "udp" | "udp6" | "raw" | "raw6")) => word,
            // A heading.
            Some(_) | None => continue,
        };
        let (host, port) = words[3].rsplit_once(':').expect("an address");
        let (protocol, address) = match protocol.strip_suffix('6') {
            Some(protocol) => (protocol, format!("[{host}]:{port}")),
            None => (protocol, words[3].clone()),
        };
        found.insert((protocol.to_owned(), address, last()));
    }
    found
}

/// The same by `portreeve listeners`; what netstat does not list under `-l`, beside it.
fn from_ours(answer: &Value, space: &Space) -> (BTreeSet<Fact>, Vec<String>) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (mut found, mut others) = (BTreeSet::new(), Vec::new());
    for listener in answer["listeners"].as_array().expect("listeners") {
        if listener["namespace"] != space.0.as_str() {
            continue;
        }
        let protocol = text(&listener["protocol"]);
        if ["unix-dgram", "packet"].contains(&protocol.as_str()) {
            others.push(protocol);
            continue;
        }
        let process = &listener["processes"][0];
        let program = text(&process["arguments"][0]);
        let program = program.rsplit('/').next().expect("a name");
        let holder = format!("{}/{program}", process["pid"]).chars().take(SHOWN).collect();
        found.insert((protocol, text(&listener["address"]), holder));
    }
    others.sort();
    (found, others)
}

/// A directory, and a process that holds a listener; both go with it.
struct Held(PathBuf, Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_same_facts_as_netstat() {
    let Some((space, _)) = network_space::pair(&["netstat", "mkfifo", "cat"]) else { return };
    if !Path::new("/proc/net/if_inet6").exists() {
        return skip::skip(skip::Reason::NoIpv6);
    }
    let folder = std::env::temp_dir().join(format!("portreeve-netstat-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (stream, packets, pipe) = (folder.join("stream"), folder.join("seqpacket"), folder.join("pipe"));
    let abstract_name = format!("portreeve-netstat-{}", std::process::id());
    let anywhere = |port| SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    let raw = |family, protocol: u32| -> OwnedFd {
        let protocol = Protocol::from_raw(protocol.try_into().expect("not 0"));
        socket(family, SocketType::RAW, Some(protocol)).expect("a socket")
    };
    let (_held, given) = space.inside(|| {
        let tcp = ["0.0.0.0:2401", "[::1]:2402", "[::]:2403"].map(|at| TcpListener::bind(at).expect("tcp"));
        // Only so may another take the port of the other family.
        let v6_only = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
        sockopt::set_ipv6_v6only(&v6_only, true).expect("set");
        bind(&v6_only, &anywhere(2404)).expect("bound");
        listen(&v6_only, 1).expect("listens");
        let given = TcpListener::bind("0.0.0.0:2404").expect("tcp");
        let udp = ["127.0.0.1:2405", "[::]:2406"].map(|at| UdpSocket::bind(at).expect("udp"));
        // A peer: no listener.
        let connected = UdpSocket::bind("127.0.0.1:2407").expect("udp");
        connected.connect("127.0.0.1:2405").expect("connected");
        let icmp = raw(AddressFamily::INET, 1);
        bind(&icmp, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).expect("bound");
        let icmp6 = raw(AddressFamily::INET6, 58);
        let seqpacket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
        bind(&seqpacket, &SocketAddrUnix::new(&packets).expect("short")).expect("bound");
        listen(&seqpacket, 1).expect("listens");
        let unnamed = SocketAddr::from_abstract_name(&abstract_name).expect("short");
        let unix = (
            UnixListener::bind(&stream).expect("unix"),
            UnixListener::bind_addr(&unnamed).expect("unix"),
            UnixDatagram::bind(folder.join("datagram")).expect("unix"),
        );
        ((tcp, v6_only, udp, connected, (icmp, icmp6), seqpacket, unix), given)
    });
    // Another program has the listener as its standard input, and waits on a pipe that nobody writes to.
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    let child = Command::new("cat").arg(&pipe).stdin(Stdio::from(OwnedFd::from(given))).spawn();
    let other = Held(folder, child.expect("cat runs"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["listeners", "--json", "--control", "/nonexistent/control"]);
    let output = command.output().expect("portreeve runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let (ours, others) = from_ours(&answer, &space);
    let netstat = from_netstat(&space);
    assert_eq!(ours, netstat);
    // It lists no datagram socket of unix, and none of packets.
    assert_eq!(others, ["unix-dgram"]);

    // And as this test knows.
    let addresses = |protocol: &str| -> Vec<String> {
        let mut all: Vec<String> =
            netstat.iter().filter(|fact| fact.0 == protocol).map(|fact| fact.1.clone()).collect();
        all.sort();
        all
    };
    let shown = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    assert_eq!(addresses("tcp"), ["0.0.0.0:2401", "0.0.0.0:2404", "[::1]:2402", "[::]:2403", "[::]:2404"]);
    assert_eq!(addresses("udp"), ["127.0.0.1:2405", "[::]:2406"]);
    assert_eq!(addresses("raw"), ["127.0.0.1:1", "[::]:58"]);
    assert_eq!(addresses("unix-stream"), [shown(&stream), format!("@{abstract_name}")]);
    assert_eq!(addresses("unix-seqpacket"), [shown(&packets)]);
    let of_others: Vec<_> =
        netstat.iter().filter(|fact| !fact.2.starts_with(&format!("{}/", std::process::id()))).collect();
    let given = ("tcp".to_owned(), "0.0.0.0:2404".to_owned(), format!("{}/cat", other.1.id()));
    assert_eq!(of_others, [&given]);
    // What netstat does not tell: whether IPv4 comes in too.
    let v6_only = |address: &str| {
        let all = answer["listeners"].as_array().expect("listeners").iter();
        let mut here = all.filter(|one| one["namespace"] == space.0.as_str() && one["address"] == address);
        here.next().expect("listed")["v6_only"].as_bool()
    };
    assert_eq!([v6_only("[::]:2403"), v6_only("[::]:2404")], [Some(false), Some(true)]);
    assert_eq!(v6_only("0.0.0.0:2404"), None);
}
