//! Bans in the kernel, against nft(8) as a witness: each test runs itself again in a network namespace of its own.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with tests that need more of it")]
mod skip;

use portreeve_policy::Prefix;
use portreeve_workers::Enforcer;
use portreeve_workers::protocol::Hold;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

const INSIDE: &str = "PORTREEVE_TEST_INSIDE";

/// Another host, at the other end of a cable, with its addresses; it ends with the value.
struct Peer(Child);

impl Peer {
    fn with(addresses: &[&str]) -> Peer {
        run("ip", &["link", "set", "lo", "up"]);
        let peer = Peer(Command::new("unshare").args(["-n", "sleep", "60"]).spawn().expect("unshare starts"));
        let pid = peer.0.id().to_string();
        // Until it has a namespace of its own, the cable would end here.
        let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        for _ in 0..200 {
            if std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs != own) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        run("ip", &["link", "add", "here", "type", "veth", "peer", "name", "there", "netns", &pid]);
        run("ip", &["link", "set", "here", "up"]);
        run("ip", &["addr", "add", "10.0.0.1/8", "dev", "here"]);
        run("ip", &["addr", "add", "2001:db8::1/32", "dev", "here", "nodad"]);
        let there = |arguments: &[&str]| run("nsenter", &[&["-t", &pid, "-n", "ip"], arguments].concat());
        there(&["link", "set", "there", "up"]);
        for address in addresses {
            there(&["addr", "add", address, "dev", "there", "nodad"]);
        }
        peer
    }

    /// Whether a datagram from this address of it reaches us.
    fn reaches(&self, from: &str) -> bool {
        let v6 = from.contains(':');
        let server = UdpSocket::bind(if v6 { "[2001:db8::1]:0" } else { "10.0.0.1:0" }).expect("a socket");
        server.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
        let to = server.local_addr().expect("an address");
        let script = "import socket,sys\n\
            s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM)\n\
            s.bind((sys.argv[1],0));s.sendto(b'x',(sys.argv[2],int(sys.argv[3])))";
        let (pid, port) = (self.0.id().to_string(), to.port().to_string());
        let to = to.ip().to_string();
        run("nsenter", &["-t", &pid, "-n", "python3", "-c", script, from, &to, &port]);
        server.recv_from(&mut [0; 4]).is_ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this goes on in a network namespace of its own; in the outer process, which has seen it pass there, it does not.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return false;
    }
    if !skip::has_programs(&["nft", "unshare", "nsenter", "ip", "python3"]) {
        return false;
    }
    let works = Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output();
    if !works.is_ok_and(|ended| ended.status.success()) {
        skip::skip(skip::Reason::NoNamespaces);
        return false;
    }
    let ended = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn run(program: &str, arguments: &[&str]) -> String {
    let ended = Command::new(program).args(arguments).output().expect("it starts");
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

fn nft(command: &str) -> bool {
    Command::new("nft").args(command.split(' ')).output().is_ok_and(|ended| ended.status.success())
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn begin(
    bans: impl IntoIterator<Item = (Prefix, Option<Duration>)>,
    now: Duration,
) -> std::io::Result<Enforcer> {
    Enforcer::begin(sockets()?, bans, now)
}

fn sockets() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok((portreeve_sys::netlink::asking()?, portreeve_sys::netlink::asking()?))
}

fn now() -> Duration {
    portreeve_sys::clock::monotonic()
}

fn soon(seconds: u64) -> Option<Duration> {
    Some(now() + Duration::from_secs(seconds))
}

#[test]
fn a_ban_holds_until_its_end_or_its_pardon_and_hits_nobody_else() {
    if !inside("a_ban_holds_until_its_end_or_its_pardon_and_hits_nobody_else") {
        return;
    }
    let peer = Peer::with(&[
        "10.0.0.2/8",
        "10.0.0.3/8",
        "10.8.8.77/8",
        "10.8.9.1/8",
        "10.8.7.255/8",
        "2001:db8:1::1/32",
        "2001:db8:1::2/32",
        "2001:db8:1:1::1/32",
    ]);
    let mut enforcer = begin([(prefix("10.0.0.2"), None)], now()).unwrap();
    assert!(!peer.reaches("10.0.0.2"));
    assert!(peer.reaches("10.0.0.3") && peer.reaches("2001:db8:1::1"));
    enforcer.ban(&[(prefix("2001:db8:1::/64"), None), (prefix("10.8.8.0/24"), soon(600))], now()).unwrap();
    assert!(
        !peer.reaches("2001:db8:1::1") && !peer.reaches("2001:db8:1::2") && peer.reaches("2001:db8:1:1::1")
    );
    assert!(!peer.reaches("10.8.8.77") && peer.reaches("10.8.9.1") && peer.reaches("10.8.7.255"));
    let shown = run("nft", &["list", "table", "inet", "portreeve"]);
    for part in
        ["ip saddr @v4_32 counter packets", "10.8.8.0", "priority raw", "2001:db8:1::", "iif \"lo\" accept"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    enforcer.pardon(&[prefix("10.0.0.2")], now()).unwrap();
    assert!(peer.reaches("10.0.0.2"));
    enforcer.ban(&[(prefix("10.8.8.0/24"), soon(1))], now()).unwrap();
    let passes = (0..60).any(|_| peer.reaches("10.8.8.77"));
    assert!(passes, "it has ended by itself");
    // What ended on its own a moment ago can be pardoned and banned again, and given another end.
    enforcer.pardon(&[prefix("10.8.8.0/24")], now()).unwrap();
    enforcer.ban(&[(prefix("10.8.8.0/24"), soon(60))], now()).unwrap();
    enforcer.ban(&[(prefix("10.8.8.0/24"), soon(90))], now()).unwrap();
    assert!(!peer.reaches("10.8.8.77"));
    let found = enforcer.compare().unwrap();
    assert_eq!((found.wanted, found.enforced, found.strange, found.rebuilt), (2, 2, 0, false));
}

#[test]
fn this_host_reaches_itself_whoever_is_banned() {
    if !inside("this_host_reaches_itself_whoever_is_banned") {
        return;
    }
    let _peer = Peer::with(&[]);
    let _enforcer = begin([(prefix("127.0.0.0/8"), None), (prefix("10.0.0.0/8"), None)], now()).unwrap();
    for address in ["127.0.0.1:0", "10.0.0.1:0"] {
        let server = UdpSocket::bind(address).unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let client = UdpSocket::bind(address).unwrap();
        client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        assert!(server.recv_from(&mut [0; 4]).is_ok(), "{address}");
    }
}

#[test]
fn what_others_do_to_a_table_with_an_owner_changes_nothing() {
    if inside("what_others_do_to_a_table_with_an_owner_changes_nothing") {
        disturb(begin(two_bans(), now()).unwrap());
    }
}

#[test]
fn what_others_do_to_an_open_table_is_mended() {
    if inside("what_others_do_to_an_open_table_is_mended") {
        disturb(Enforcer::begin_open(sockets().unwrap(), two_bans(), now()).unwrap());
    }
}

fn two_bans() -> [(Prefix, Option<Duration>); 2] {
    [(prefix("10.0.0.2"), None), (prefix("10.8.8.0/24"), soon(600))]
}

fn disturb(mut enforcer: Enforcer) {
    let peer = Peer::with(&["10.0.0.2/8", "10.0.0.9/8", "10.8.8.1/8"]);
    let owned = enforcer.hold() != Hold::Open;
    let mut look =
        || enforcer.compare().map(|f| (f.wanted, f.enforced, f.strange, f.rebuilt)).expect("it looks");
    assert_eq!(look(), (2, 2, 0, false));
    assert!(nft("add table ip other"));
    assert_eq!(look(), (2, 2, 0, false), "others may have tables");
    for act in [
        "delete table inet portreeve",
        "flush set inet portreeve v4_32",
        "delete element inet portreeve v4_32 { 10.0.0.2 }",
        "add element inet portreeve v4_32 { 10.0.0.9 }",
        "insert rule inet portreeve v4 accept",
        "flush chain inet portreeve bans",
        "add table inet portreeve { flags dormant; }",
        "add chain inet portreeve bans { type filter hook prerouting priority raw; policy drop; }",
        "flush ruleset",
    ] {
        assert_eq!(nft(act), !owned || act == "flush ruleset", "{act}");
        assert_eq!(look() == (2, 2, 0, false), owned, "after {act}");
        assert!(
            !peer.reaches("10.0.0.2") && !peer.reaches("10.8.8.1") && peer.reaches("10.0.0.9"),
            "after {act}"
        );
        assert_eq!(look(), (2, 2, 0, false), "after {act}");
    }
}

#[test]
fn the_next_one_takes_over_what_the_last_one_left() {
    if !inside("the_next_one_takes_over_what_the_last_one_left") {
        return;
    }
    let peer = Peer::with(&["10.0.0.2/8", "10.0.0.3/8"]);
    let first = begin([(prefix("10.0.0.2"), None)], now()).unwrap();
    let (owned, kept) = (first.hold() != Hold::Open, first.hold() != Hold::Owned);
    if owned {
        assert!(begin([], now()).is_err(), "there is one owner");
    }
    let copy = first.socket().try_clone().unwrap();
    drop(first);
    assert!(!peer.reaches("10.0.0.2"), "the copied socket holds it");
    // The next process over the same socket.
    let looking = portreeve_sys::netlink::asking().unwrap();
    let again = Enforcer::begin((copy, looking), [(prefix("10.0.0.2"), None)], now()).unwrap();
    drop(again);
    assert_eq!(peer.reaches("10.0.0.2"), !kept);
    let mut second = begin([(prefix("10.0.0.3"), None)], now()).unwrap();
    assert!(peer.reaches("10.0.0.2") && !peer.reaches("10.0.0.3"));
    assert_eq!(second.compare().unwrap().enforced, 1);
}

/// Whoever made a table of our name before us: it is ours alone afterwards, where the kernel has owners.
#[test]
fn a_table_of_our_name_is_no_way_to_keep_it_open() {
    if !inside("a_table_of_our_name_is_no_way_to_keep_it_open") {
        return;
    }
    drop(Enforcer::begin_open(sockets().unwrap(), [], now()).unwrap());
    assert!(nft("add rule inet portreeve v4 accept"), "it is everybody's");
    let mut taken = begin(two_bans(), now()).unwrap();
    let found = taken.compare().unwrap();
    assert_eq!((found.enforced, found.rebuilt), (2, false));
    assert!(!run("nft", &["list", "chain", "inet", "portreeve", "v4"]).contains("accept"));
    let held = taken.hold();
    drop(taken);
    nft("delete table inet portreeve");
    assert_eq!(held, begin([], now()).unwrap().hold(), "as if there had been none");
}

#[test]
fn a_hundred_thousand_bans_are_one_transaction() {
    if !inside("a_hundred_thousand_bans_are_one_transaction") {
        return;
    }
    let v4 = |n: u32| Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + n).into());
    let v6 = |n: u32| Prefix::around(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n) << 64).into(), 64);
    let bans: Vec<_> = (0..50_000).flat_map(|n| [(v4(n), soon(3600)), (v6(n), None)]).collect();
    let mut enforcer = begin(bans, now()).unwrap();
    let found = enforcer.compare().unwrap();
    assert_eq!((found.wanted, found.enforced, found.strange, found.rebuilt), (100_000, 100_000, 0, false));
    enforcer.ban(&[(prefix("192.0.2.1"), None)], now()).unwrap();
    enforcer.pardon(&(0..50_000).map(v4).collect::<Vec<_>>(), now()).unwrap();
    assert_eq!(enforcer.compare().unwrap().enforced, 50_001);
    enforcer.pardon(&(0..50_000).map(v6).collect::<Vec<_>>(), now()).unwrap();
    enforcer.ban(&(0..50_000).map(|n| (v6(n), None)).collect::<Vec<_>>(), now()).unwrap();
    assert_eq!(enforcer.compare().unwrap().enforced, 50_001);
}
