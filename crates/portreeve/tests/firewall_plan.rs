//! The plan of the host firewall: it lets in exactly whom the daemon's own policy would, by address; what it cannot say it says;
//! nft(8), iptables-restore(8) and ip6tables-restore(8) take it.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use portreeve::firewall::plan::{Chain, Facts, Packet, Plan, make};
use portreeve::firewall::port::Transport;
use portreeve::firewall::{iptables, text};
use portreeve::machine::Machine;
use portreeve::ranges::Family;
use portreeve::rules;
use portreeve::settings::{self, HostFirewall};
use portreeve_conf::{Service, Sources, read_sources};
use portreeve_policy::{CompiledRules, Peer, turns_away};
use proptest::prelude::*;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is removed when dropped.
struct Paper(PathBuf);

impl Paper {
    fn new(text: &str) -> Paper {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portreeve-plan-{}-{number}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        Paper(path)
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Services with these lines more, each in braces of its own, on ports from 7001.
fn services(of: &[&str]) -> Vec<Service> {
    let mut text = String::new();
    for (at, lines) in of.iter().enumerate() {
        let kind = "type = INTERNAL UNLISTED\nsocket_type = stream\nprotocol = tcp\nwait = no\nuser = root";
        text.push_str(&format!("service echo\n{{\nid = s{at}\nport = {}\n{kind}\n{lines}\n}}\n", 7001 + at));
    }
    let paper = Paper::new(&text);
    let reading = read_sources(&Machine, &Sources::xinetd(&paper.0));
    assert_eq!(reading.services.len(), of.len(), "{:#?}", reading.diagnostics);
    reading.served().cloned().collect()
}

fn plan(services: &[Service], settings: &HostFirewall) -> Plan {
    make(&Facts { services, listeners: &[], settings, file: "/etc/portreeve/portreeve.toml" })
        .expect("a plan")
}

fn admitted(plan: &Plan, port: u16, peer: IpAddr) -> bool {
    let packet = Packet { chain: Chain::In, transport: Transport::Tcp, port, peer, local: None };
    plan.admits(&packet).is_some()
}

const LISTS: &[&str] = &[
    "",
    "only_from =",
    "only_from = 10.0.0.0/8 192.0.2.7",
    "only_from = 10.0.0.0/8\nno_access = 10.1.0.0 10.2.3.{4,5}",
    "only_from = ::/0",
    "only_from = 2001:db8::/32 ::ffff:10.0.0.0/104",
    "no_access = 192.168.0.0/16 fd00::/8",
    "only_from = 127.1 10.0.0.128/25\nflags = IPv4",
    "flags = IPv6\nonly_from = 10.0.0.0/8 fd00::/8",
    "only_from = 0.0.0.0\nno_access = 0.0.0.0/1",
    "flags = IPv4\nonly_from = ::/0",
];

/// As the daemon sees a client: mapped where the socket takes both families.
fn arrives(service: &Service, peer: IpAddr) -> Peer {
    match peer {
        IpAddr::V4(v4) if !service.flags.contains("IPv4") => IpAddr::V6(v4.to_ipv6_mapped()).into(),
        other => other.into(),
    }
}

fn same_as_policy(services: &[Service], plan: &Plan, peer: IpAddr) {
    for (at, service) in services.iter().enumerate() {
        let compiled = CompiledRules::new(rules::of(service));
        // A v6 client never comes to a v4 socket.
        let comes = peer.is_ipv4() || !service.flags.contains("IPv4");
        let wanted = comes && !turns_away(&compiled, arrives(service, peer));
        let port = 7001 + u16::try_from(at).expect("few");
        assert_eq!(admitted(plan, port, peer), wanted, "{peer} at {:?}", LISTS[at]);
    }
}

#[test]
fn the_edges_of_lists_are_the_policys() {
    let services = services(LISTS);
    let plan = plan(&services, &HostFirewall::default());
    for peer in [
        "0.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.0.0.127",
        "10.0.0.128",
        "10.0.255.255",
        "10.1.0.0",
        "10.1.255.255",
        "10.2.3.3",
        "10.2.3.4",
        "10.2.3.5",
        "10.2.3.6",
        "10.255.255.255",
        "11.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "128.0.0.0",
        "192.0.2.6",
        "192.0.2.7",
        "192.0.2.8",
        "192.168.0.0",
        "255.255.255.255",
        "::",
        "2001:db8::",
        "2001:db7:ffff::",
        "2001:db9::",
        "fcff::",
        "fd00::",
        "fdff:ffff::",
        "fe00::",
        "ffff:ffff::",
    ] {
        same_as_policy(&services, &plan, peer.parse().expect("an address"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_client_is_let_in_as_the_policy_says(bits: u128, v4: bool, near in 0u32..0x0400_0000) {
        thread_local! {
            static MADE: (Vec<Service>, Plan) = {
                let services = services(LISTS);
                let plan = plan(&services, &HostFirewall::default());
                (services, plan)
            };
        }
        let peer = match v4 {
            true => IpAddr::V4(Ipv4Addr::from_bits(0x0900_0000 + near)),
            false => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        };
        if peer.to_canonical() == peer {
            MADE.with(|(services, plan)| same_as_policy(services, plan, peer));
        }
    }
}

#[test]
fn what_no_rule_can_say_is_said_and_refused() {
    let services = services(&[
        "only_from = 192.0.2.0/24 .example.org",
        "no_access = .example.org\nbind = 127.0.0.1",
        "no_access = .example.org",
    ]);
    let mut settings = HostFirewall::default();
    let closed = plan(&services, &settings);
    let stranger: IpAddr = "198.51.100.1".parse().expect("an address");
    assert!(!admitted(&closed, 7001, stranger) && admitted(&closed, 7003, stranger));
    assert!(!admitted(&closed, 7002, stranger), "what listens on loopback needs no rule");
    let told: Vec<_> = closed.notes.iter().filter(|note| note.text.contains(".example.org")).collect();
    assert_eq!(told.len(), 3, "{:#?}", closed.notes);
    assert!(told[0].counts && told[0].text.contains("is refused before the daemon sees them"), "{told:?}");
    assert!(told[0].place.as_ref().is_some_and(|place| place.ends_with(":10")), "{told:?}");
    settings.names_open = true;
    let open = plan(&services, &settings);
    assert!(admitted(&open, 7001, stranger));
    assert!(open.notes.iter().any(|note| note.text.contains("open to everybody")), "{:#?}", open.notes);
    // Without management networks nobody can begin a session, and that is said.
    assert!(open.notes.iter().any(|note| note.counts && note.text.starts_with("ssh: nobody")));
}

#[test]
fn a_sensor_is_reached_by_everybody_and_a_proxy_speaks_for_others() {
    let services = services(&[
        "flags = SENSOR\nonly_from = 192.0.2.1",
        "proxy_protocol = accept\nproxy_from = 192.0.2.9\nonly_from = 198.51.100.0/24",
    ]);
    let plan = plan(&services, &HostFirewall::default());
    let [proxy, client] = ["192.0.2.9", "198.51.100.1"].map(|text| text.parse().expect("an address"));
    assert!(admitted(&plan, 7001, client));
    assert!(admitted(&plan, 7002, proxy) && !admitted(&plan, 7002, client));
}

fn takes(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new("unshare")
        .args(["-n", program])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}\n{input}");
}

#[test]
fn the_kernels_programs_take_it() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&["unshare", "nft", "iptables-restore", "ip6tables-restore"]) {
        return;
    }
    if !Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success()) {
        return skip::skip(skip::Reason::NoNamespaces);
    }
    let paper = Paper::new(
        "[firewall]\nmanagement = [\"192.0.2.0/24\", \"2001:db8::/32\"]\nssh = [\"22/tcp\", \"2222-2230/tcp\"]\negress = \"restrict\"\n\
         [[firewall.allow]]\nport = \"443/tcp\"\nfrom = \"any\"\nwhy = \"a \\\"web\\\" } drop\"\n\
         [[firewall.allow]]\nport = \"5-9/udp\"\nfrom = [\"192.0.2.0/25\", \"192.0.2.128/32\"]\ninterface = \"eth0.7\"\n\
         [[firewall.allow]]\nport = \"gre\"\nfrom = [\"2001:db8::7\"]\n[[firewall.allow]]\nport = \"7/sctp\"\nfrom = \"any\"\n\
         [[firewall.out]]\nport = \"53/udp\"\nto = [\"192.0.2.53\", \"2001:db8::53\"]\n[[firewall.out]]\nport = \"1-65535/tcp\"\nto = \"any\"\n",
    );
    let settings = settings::firewall(&paper.0).expect("settings");
    let mut lists = LISTS.to_vec();
    lists.extend([
        "bind = 192.0.2.4\nonly_from = 10.0.0.0/8",
        "bind = fd00::4 %eth0\nno_access = fd00::/16",
        "port = 9000-9010",
    ]);
    let services = services(&lists);
    for egress in [settings::Egress::Off, settings::Egress::Log, settings::Egress::Restrict] {
        let plan = plan(&services, &HostFirewall { egress, ..settings.clone() });
        let table = text::table(&plan);
        takes("nft", &["-c", "-f", "-"], &text::transaction(Some(&table)));
        takes("iptables-restore", &["--test", "--noflush"], &iptables::text(&plan, Family::V4));
        takes("ip6tables-restore", &["--test", "--noflush"], &iptables::text(&plan, Family::V6));
        // What nft shows of it is read back, and shows no difference.
        let script = "nft -f - && nft -s list table inet portreeve_host";
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare runs");
        let loaded = text::transaction(Some(&table));
        child.stdin.take().expect("a pipe").write_all(loaded.as_bytes()).expect("written");
        let shown = String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text");
        assert_eq!(text::difference(&shown, &table), [], "{shown}");
        takes("nft", &["-c", "-f", "-"], &text::transaction(Some(&shown)));
    }
}
