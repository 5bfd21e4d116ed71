//! What `portreeve convert hosts` prints, put to those who read it: the real nft, in a network namespace of its own, with
//! clients at several addresses; and the tables themselves.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use hosts_access::{
    Act, Answer, Content, Done, End, Field, Host, ListFile, Message, Request, Settings, Table, Tables,
    Verdict, World, evaluate,
};
use rustix::net::{AddressFamily, SocketType};
use std::borrow::Cow;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const ALLOW: &str = "\
sshd: 192.0.2.0/24 [2001:db8::]/32 EXCEPT 192.0.2.7 [2001:db8::bad]
sshd: 198.51.100.1: deny
tftpd: 203.0.113.
ALL EXCEPT tftpd: 127.0.0.1
";
const DENY: &str = "\
sshd: 198.51.100.0/24: allow
sshd, tftpd: ALL
vsftpd: 192.0.2.1 [2001:db8::1]:
";
/// Daemon, port, protocol.
const DAEMONS: &[(&str, u16, &str)] =
    &[("sshd", 2022, "tcp"), ("vsftpd", 2021, "tcp"), ("free", 2020, "tcp"), ("tftpd", 2069, "udp")];
const SOURCES: &[&str] = &[
    "127.0.0.1",
    "192.0.2.1",
    "192.0.2.7",
    "198.51.100.1",
    "198.51.100.2",
    "203.0.113.9",
    "10.0.0.1",
    "::1",
    "2001:db8::1",
    "2001:db8::bad",
    "2001:db9::1",
];

/// A directory of this test's own, removed at its end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-convert-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn convert(room: &Room, to: &str, allow: &str, deny: &str, daemons: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(["convert", "hosts", "--to", to, "--allow", &room.file("allow", allow)]);
    command.args(["--deny", &room.file("deny", deny)]);
    for daemon in daemons {
        command.args(["--daemon", daemon]);
    }
    command.stdin(Stdio::null()).output().expect("portreeve runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

struct NoNames;

impl World for NoNames {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }
    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        Answer::Known(Field::from("unknown"))
    }
    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        Answer::Known(false)
    }
    fn list(&mut self, _: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        ListFile::Absent
    }
    fn act(&mut self, _: &Act, _: &mut Request) -> Done {
        Done::Done
    }
    fn say(&mut self, _: Message) {}
}

/// What the tables say themselves.
fn granted(allow: &str, deny: &str, daemon: &str, port: u16, source: IpAddr) -> bool {
    let table = |path: &'static [u8], text| Table { path, content: Content::Text(text) };
    let tables = Tables { allow: table(b"allow", allow.as_bytes()), deny: table(b"deny", deny.as_bytes()) };
    let server = Host { socket: Some(SocketAddr::new(source, port)), ..Host::default() };
    let client = Host { addr: Field::from(source.to_string().as_str()), ..Host::default() };
    let mut request = Request { daemon: Field::from(daemon), client, server, ..Request::default() };
    let settings = Settings { options: true, verbose: 0, resident: false };
    evaluate(&tables, &mut request, &mut NoNames, &settings).verdict == Verdict::Granted
}

const INSIDE: &str = "PORTREEVE_CONVERT_RULESET";

#[test]
fn nft_decides_as_the_tables_do() {
    if let Some(ruleset) = std::env::var_os(INSIDE) {
        return inside(Path::new(&ruleset));
    }
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&["unshare", "ip", "nft"]) {
        return;
    }
    let nft = |words: &str| {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin; nft {words}");
        Command::new("unshare").args(["-n", "sh", "-c", &command]).output().expect("unshare runs")
    };
    if !nft("list ruleset").status.success() {
        return skip::skip(skip::Reason::NoNamespaces);
    }
    let room = Room::new("nft");
    let daemons: Vec<String> =
        DAEMONS.iter().map(|(name, port, proto)| format!("{name}={port}/{proto}")).collect();
    let daemons: Vec<&str> = daemons.iter().map(String::as_str).collect();
    let output = convert(&room, "nft", ALLOW, DENY, &daemons);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let ruleset = room.file("ruleset", text(&output.stdout));
    let checked = nft(&format!("-c -f {ruleset}"));
    assert!(checked.status.success(), "{}\n{}", text(&checked.stderr), text(&output.stdout));
    let ended = Command::new("unshare")
        .args(["-n", "--"])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "nft_decides_as_the_tables_do", "--nocapture"])
        .env(INSIDE, &ruleset)
        .output()
        .expect("unshare runs");
    let said = format!("{}{}", text(&ended.stdout), text(&ended.stderr));
    assert!(
        ended.status.success() && said.contains("all verdicts agree"),
        "{said}\n{}",
        text(&output.stdout)
    );
}

/// In a network namespace: the ruleset is loaded, the daemons' ports are open, and clients come.
fn inside(ruleset: &Path) {
    let shell = |command: &str| {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin; {command}");
        Command::new("sh").args(["-c", &command]).status().expect("sh runs").success()
    };
    assert!(shell("ip link set lo up"));
    // Twice: it may be loaded again.
    assert!(shell(&format!("nft -f {0} && nft -f {0}", ruleset.display())));
    let mut compared = 0;
    let mut refused = 0;
    for source in SOURCES {
        let address: IpAddr = source.parse().expect("an address");
        let (length, server) = if address.is_ipv4() { (32, "127.0.0.1") } else { (128, "::1") };
        let own = address.is_loopback()
            || shell(&format!(
                "ip addr add {source}/{length} dev lo nodad 2>/dev/null || ip addr add {source}/{length} dev lo"
            ));
        if address.is_ipv6() && !(own && TcpListener::bind("[::1]:0").is_ok()) {
            continue;
        }
        for (daemon, port, protocol) in DAEMONS {
            let to = SocketAddr::new(server.parse().expect("an address"), *port);
            let came = if *protocol == "tcp" { connects(address, to) } else { echoes(address, to) };
            assert_eq!(came, granted(ALLOW, DENY, daemon, *port, address), "{daemon} from {source}");
            compared += 1;
            refused += u32::from(!came);
        }
    }
    assert!(compared >= 28 && refused >= 8, "{compared} compared, {refused} refused");
    writeln!(std::io::stdout(), "all verdicts agree: {compared}").expect("a pipe");
}

fn connects(from: IpAddr, to: SocketAddr) -> bool {
    let _listener = TcpListener::bind(to).expect("a free port");
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::new(from, 0)).expect("an address of ours");
    match rustix::net::connect(&socket, &to) {
        Ok(()) => true,
        Err(rustix::io::Errno::CONNREFUSED) => false,
        Err(error) => panic!("{from} to {to}: {error}"),
    }
}

fn echoes(from: IpAddr, to: SocketAddr) -> bool {
    let server = UdpSocket::bind(to).expect("a free port");
    let client = UdpSocket::bind(SocketAddr::new(from, 0)).expect("an address of ours");
    client.connect(to).expect("a route");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a bound");
    client.send(b"x").expect("sent, or refused at the next call");
    server.set_nonblocking(true).expect("a socket");
    let mut byte = [0];
    // On lo the datagram has arrived, or was refused, when send returns.
    if let Ok((_, peer)) = server.recv_from(&mut byte) {
        server.send_to(b"x", peer).expect("sent");
    }
    match client.recv(&mut byte) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => false,
        Err(error) => panic!("{from} to {to}: {error}"),
    }
}

#[test]
fn units_refuse_whom_the_tables_refuse() {
    let room = Room::new("systemd");
    let output = convert(&room, "systemd", ALLOW, DENY, &["sshd=ssh.service", "vsftpd", "free"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for (daemon, unit) in [("sshd", "ssh.service"), ("vsftpd", "vsftpd.service"), ("free", "free.service")] {
        let part =
            printed.split(&format!("/{unit}.d/")).nth(1).unwrap_or_else(|| panic!("{unit} in {printed}"));
        let part = part.split("\n# /etc").next().expect("a part");
        for source in SOURCES {
            let address: IpAddr = source.parse().expect("an address");
            let listed = |key: &str| {
                part.lines().filter_map(|line| line.strip_prefix(key)).any(|net| holds(net, address))
            };
            // What systemd.resource-control(5) says: allowed wins, then denied, and all others may pass.
            let passes = listed("IPAddressAllow=") || !listed("IPAddressDeny=");
            assert_eq!(passes, granted(ALLOW, DENY, daemon, 0, address), "{daemon} from {source}: {part}");
        }
    }
}

fn holds(net: &str, address: IpAddr) -> bool {
    if net == "any" {
        return true;
    }
    let (first, length) = net.split_once('/').map_or((net, None), |(first, length)| (first, Some(length)));
    let first: IpAddr = first.parse().expect("an address");
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let length = length.map_or(number(first).1, |length| length.parse().expect("a length"));
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    first.is_ipv4() == address.is_ipv4() && (number(first).0 ^ number(address).0) & mask == 0
}

#[test]
fn what_is_left_out_is_told_and_counts() {
    let room = Room::new("left");
    let deny = "sshd: .example.org 10.0.0.1\nsshd: 10.0.0.2: spawn x &\nsshd: ALL: twist y\n";
    let output = convert(&room, "nft", "", deny, &["sshd=22/tcp"]);
    assert_eq!(output.status.code(), Some(1));
    for (line, reason) in [
        (1, "`.example.org` is a name"),
        (2, "the option `spawn` is not converted"),
        (3, "`twist` answers instead of the server"),
    ] {
        let told = format!("left out: {}/deny:{line}: {reason}", room.0.display());
        assert!(text(&output.stderr).contains(&told), "{told} in {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(&format!("# {told}\n")), "{told} in {}", text(&output.stdout));
    }
    assert!(text(&output.stdout).contains("10.0.0.1-10.0.0.2"), "{}", text(&output.stdout));
}

#[test]
fn control_bytes_do_not_leave_a_comment() {
    let room = Room::new("bytes");
    let output = convert(&room, "nft", "", "sshd: x\u{b}\u{1b}[2Jy\u{85}z\n", &["sshd=22/tcp"]);
    assert!(!text(&output.stdout).chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{output:?}");
}

#[test]
fn wrong_calls_are_told() {
    let room = Room::new("wrong");
    for (to, daemon, said) in [
        ("nft", "sshd", "nft must know a port for `sshd`"),
        ("nft", "sshd=22/sctp", "`sctp` is no protocol"),
        ("pf", "sshd=22/tcp", "invalid value 'pf'"),
    ] {
        let output = convert(&room, to, "", "", &[daemon]);
        assert_eq!(output.status.code(), Some(2), "{to} {daemon}");
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
    }
}
