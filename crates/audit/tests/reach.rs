//! Who reaches a listener, over rulesets as ufw, firewalld, Docker and fail2ban made them (captured from the real programs), and over
//! small ones that hold one thing each.

use portreeve_audit::reach::answer::{Reach, Who};
use portreeve_audit::reach::model::{Ruleset, Sees};
use portreeve_audit::reach::ranges::Family;
use portreeve_audit::reach::space::Space;
use portreeve_audit::reach::ways::{Answers, Spaces};
use portreeve_audit::reach::{iptables, nft};
use portreeve_audit::sockets::{Place, Protocol, Socket};
use portreeve_sys::interfaces::Interface;
use std::collections::BTreeMap;

fn file(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rulesets").join(name);
    std::fs::read_to_string(path).expect("good")
}

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let network = |text: &&str| {
        let (address, length) = text.split_once('/').expect("good");
        (address.parse().expect("good"), length.parse().expect("good"))
    };
    Interface {
        index,
        name: name.to_owned(),
        loopback: name == "lo",
        addresses: addresses.iter().map(network).collect(),
        ..Interface::default()
    }
}

/// A host with one interface to the outside and one to the inside.
fn host(rules: Ruleset) -> Space {
    let interfaces = vec![
        interface(1, "lo", &["127.0.0.1/8", "::1/128"]),
        interface(2, "eth0", &["192.0.2.10/24", "2001:db8::10/64"]),
        interface(3, "eth1", &["10.1.0.1/24"]),
    ];
    Space::new(interfaces, rules)
}

fn spaces(space: Space) -> Spaces {
    Spaces::new(BTreeMap::from([("own".to_owned(), Ok(space))]), (false, false))
}

fn ask(spaces: &mut Spaces, namespace: &str, protocol: Protocol, address: &str, port: u16) -> Reach {
    let place = Place::Ip { address: address.parse().expect("good"), port, v6_only: false };
    Reach::clone(&spaces.reach(
        &mut Answers::default(),
        namespace,
        &Socket { protocol, place, interface: None, uid: None, inode: 1 },
    ))
}

/// The texts for these ports of TCP on all addresses.
fn tcp(rules: Ruleset, cases: &[(u16, &str)]) {
    let mut spaces = spaces(host(rules));
    for (port, wanted) in cases {
        let reach = ask(&mut spaces, "own", Protocol::Tcp, "0.0.0.0", *port);
        assert_eq!(reach.line(), *wanted, "port {port}: {reach:?}");
    }
}

fn ip4(text: &str) -> Ruleset {
    iptables::read(text, Family::V4).ruleset
}

#[test]
fn ufw() {
    let mut rules = ip4(&file("ufw.iptables-save"));
    tcp(
        rules.clone(),
        &[
            (22, "anyone"),
            (2222, "anyone"),
            (5432, "10.0.0.0/8"),
            (23, "nobody"),
            (80, "anyone by eth0"),
            (60500, "nobody"),
        ],
    );
    rules.join(iptables::read(&file("ufw.ip6tables-save"), Family::V6).ruleset);
    let mut spaces = spaces(host(rules));
    let udp = ask(&mut spaces, "own", Protocol::Udp, "::", 60500);
    assert_eq!((udp.who, udp.line().as_str()), (Who::Anyone, "anyone"), "{udp:?}");
    let postgres = ask(&mut spaces, "own", Protocol::Tcp, "::", 5432);
    assert_eq!(postgres.line(), "IPv4 10.0.0.0/8; IPv6 nobody", "{postgres:?}");
}

#[test]
fn firewalld() {
    let listed = nft::read(file("firewalld.json").as_bytes()).expect("good");
    assert!(listed.foreign.is_empty());
    tcp(
        listed.ruleset,
        &[
            (22, "anyone"),
            (80, "10.9.0.0/16 by eth0; anyone by eth1"),
            (8443, "anyone by eth0; 10.9.0.0/16 by eth1"),
            (5432, "10.9.0.0/16, 198.51.100.0/24 by eth0; 10.9.0.0/16 by eth1"),
            (9999, "10.9.0.0/16"),
            // Redirected from port 81 by the public zone.
            (8081, "anyone by eth0; 10.9.0.0/16 by eth1 (by port 81)"),
        ],
    );
}

#[test]
fn fail2ban() {
    let listed = nft::read(file("fail2ban.json").as_bytes()).expect("good");
    tcp(listed.ruleset, &[(22, "anyone but 203.0.113.7, 203.0.113.9"), (80, "anyone")]);
    tcp(ip4(&file("fail2ban.iptables-save")), &[(22, "anyone but 203.0.113.8"), (80, "anyone")]);
}

fn docker() -> Spaces {
    let pair = |index, name: &str, link, addresses: &[&str]| Interface {
        kind: Some("veth".to_owned()),
        link: Some(link),
        ..interface(index, name, addresses)
    };
    let own = vec![
        interface(1, "lo", &["127.0.0.1/8", "::1/128"]),
        interface(2, "eth0", &["192.0.2.10/24"]),
        interface(3, "docker0", &["172.17.0.1/16"]),
        pair(5, "veth1", 4, &[]),
        pair(7, "veth2", 6, &[]),
    ];
    let lo = || interface(1, "lo", &["127.0.0.1/8"]);
    let web = vec![lo(), pair(4, "eth0", 5, &["172.17.0.2/16"])];
    let local = vec![lo(), pair(6, "eth0", 7, &["172.17.0.3/16"])];
    let all = [
        ("own", Space::new(own, ip4(&file("docker.iptables-save")))),
        ("web", Space::new(web, Ruleset::default())),
        ("local", Space::new(local, Ruleset::default())),
    ];
    Spaces::new(all.map(|(name, space)| (name.to_owned(), Ok(space))).into(), (true, false))
}

#[test]
fn docker_publishes() {
    let mut spaces = docker();
    let proxy = ask(&mut spaces, "own", Protocol::Tcp, "0.0.0.0", 8080);
    assert_eq!(proxy.instead, ["172.17.0.2:80 for anyone"], "{proxy:?}");
    let web = ask(&mut spaces, "web", Protocol::Tcp, "0.0.0.0", 80);
    assert_eq!((web.who, web.line().as_str()), (Who::Anyone, "anyone (by port 8080 of the host)"), "{web:?}");
    // Another port of the same container: its own network, and what the host forwards without translation.
    let other = ask(&mut spaces, "web", Protocol::Tcp, "0.0.0.0", 81);
    assert_eq!(other.ways, Vec::<String>::new(), "{other:?}");
    let loopback = ask(&mut spaces, "own", Protocol::Tcp, "127.0.0.1", 8081);
    assert_eq!(loopback.line(), "this host");
}

#[test]
fn a_container_behind_a_dropping_host_is_its_neighbours() {
    let mut spaces = docker();
    let Some(Ok(own)) = spaces.all.remove("own") else { panic!() };
    let text = file("docker.iptables-save").replace(":FORWARD ACCEPT", ":FORWARD DROP");
    spaces.all.insert("own".to_owned(), Ok(Space::new(own.interfaces, ip4(&text))));
    let other = ask(&mut spaces, "web", Protocol::Tcp, "0.0.0.0", 81);
    assert_eq!((other.who, other.line().as_str()), (Who::Some, "172.17.0.0/16"), "{other:?}");
    let web = ask(&mut spaces, "web", Protocol::Tcp, "0.0.0.0", 80);
    assert_eq!(web.line(), "anyone (by port 8080 of the host)", "{web:?}");
}

/// A ruleset of nft with one input chain that drops what these rules (JSON of their statements) do not accept.
fn input(policy: &str, rules: &[&str]) -> Ruleset {
    let mut text = String::from(r#"{"nftables": [{"table": {"family": "inet", "name": "t"}},"#);
    text.push_str(&format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "{policy}"}}}}"#
    ));
    for rule in rules {
        text.push_str(&format!(
            r#",{{"rule": {{"family": "inet", "table": "t", "chain": "in", "expr": [{rule}]}}}}"#
        ));
    }
    text.push_str("]}");
    nft::read(text.as_bytes()).expect("good").ruleset
}

fn matches(left: &str, op: &str, right: &str) -> String {
    format!(r#"{{"match": {{"left": {left}, "op": "{op}", "right": {right}}}}}"#)
}

#[test]
fn what_is_not_understood_is_said_with_its_place() {
    let dport = matches(r#"{"payload": {"protocol": "tcp", "field": "dport"}}"#, "==", "22");
    let odd = matches(r#"{"osf": {"key": "name"}}"#, "==", r#""Linux""#);
    let accept = format!("{odd}, {{\"accept\": null}}");
    let unknown = "unknown (rule 1 of chain inet t in: osf)";
    // Where it would make a difference.
    tcp(input("drop", &[&accept]), &[(22, unknown)]);
    tcp(input("accept", &[&format!("{odd}, {{\"drop\": null}}")]), &[(22, unknown)]);
    // Where it makes none.
    tcp(input("accept", &[&accept]), &[(22, "anyone")]);
    tcp(input("drop", &[&format!("{dport}, {accept}")]), &[(22, unknown), (23, "nobody")]);
    tcp(input("drop", &[&format!("{dport}, {{\"accept\": null}}"), &accept]), &[(22, "anyone")]);
    // A verdict that is not understood may be any.
    let queue = r#"{"queue": {"num": 0}}"#;
    tcp(input("drop", &[queue]), &[(22, "unknown (rule 1 of chain inet t in: queue)")]);
    // Behind it, who is dropped for sure stays out.
    let ten = matches(
        r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#,
        "==",
        r#"{"prefix": {"addr": "10.0.0.0", "len": 8}}"#,
    );
    tcp(
        input("drop", &[&format!("{ten}, {{\"accept\": null}}"), &accept]),
        &[(22, "10.0.0.0/8; of others unknown (rule 2 of chain inet t in: osf)")],
    );
}

#[test]
fn negations_marks_limits_and_masks() {
    let source = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
    let not_ten = matches(source, "!=", r#"{"prefix": {"addr": "10.0.0.0", "len": 8}}"#);
    tcp(input("accept", &[&format!("{not_ten}, {{\"drop\": null}}")]), &[(22, "10.0.0.0/8")]);
    let masked = matches(
        &format!(r#"{{"&": [{source}, "255.255.255.0"]}}"#),
        "==",
        r#"{"set": ["192.0.2.0", "198.51.100.0"]}"#,
    );
    tcp(
        input("accept", &[&format!("{masked}, {{\"drop\": null}}")]),
        &[(22, "anyone but 192.0.2.0/24, 198.51.100.0/24")],
    );
    let over = r#"{"limit": {"rate": 3, "per": "minute", "inv": true}}, {"drop": null}"#;
    tcp(input("accept", &[over]), &[(22, "anyone")]);
    let under = r#"{"limit": {"rate": 3, "per": "minute"}}, {"accept": null}"#;
    tcp(input("drop", &[under]), &[(22, "anyone")]);
    let mark = matches(r#"{"meta": {"key": "mark"}}"#, "==", "1");
    tcp(input("drop", &[&format!("{mark}, {{\"accept\": null}}")]), &[(22, "nobody")]);
    let set = r#"{"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}}"#;
    let told = "unknown (rule 2 of chain inet t in: a mark that another rule sets)";
    tcp(input("drop", &[set, &format!("{mark}, {{\"accept\": null}}")]), &[(22, told)]);
    let map = r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[22, {"accept": null}], [23, {"drop": null}]]}}}"#;
    tcp(input("drop", &[map]), &[(22, "anyone"), (23, "nobody"), (24, "nobody")]);
    let pair = matches(
        &format!(r#"{{"concat": [{source}, {{"payload": {{"protocol": "tcp", "field": "dport"}}}}]}}"#),
        "==",
        r#"{"set": [{"concat": ["10.0.0.1", 22]}, {"concat": ["10.0.0.2", 23]}]}"#,
    );
    tcp(
        input("drop", &[&format!("{pair}, {{\"accept\": null}}")]),
        &[(22, "10.0.0.1"), (23, "10.0.0.2"), (24, "nobody")],
    );
}

#[test]
fn what_iptables_says_and_we_do_not_know_is_unknown() {
    let with = |rule: &str| ip4(&format!("*filter\n:INPUT DROP [0:0]\n{rule}\nCOMMIT\n"));
    let unknown = |what: &str| format!("unknown (rule 1 of chain ip filter INPUT: {what})");
    for (rule, wanted) in [
        ("-A INPUT -p tcp -m set --match-set friends src -j ACCEPT", unknown("--match-set of set")),
        ("-A INPUT -p tcp -m string --string x --algo bm -j ACCEPT", unknown("match string of iptables")),
        ("-A INPUT -p tcp -j XYZ", unknown("XYZ")),
        ("-A INPUT -p tcp --sport 53 -j ACCEPT", unknown("--sport of iptables")),
        ("-A INPUT ! -s 10.0.0.0/255.0.0.0 -j ACCEPT", "anyone but 10.0.0.0/8".to_owned()),
        ("-A INPUT -m iprange --src-range 10.0.0.4-10.0.0.7 -j ACCEPT", "10.0.0.4/30".to_owned()),
        ("-A INPUT -p tcp -m multiport --dports 20:25,80 -j ACCEPT", "anyone".to_owned()),
        ("-A INPUT -p tcp -m multiport ! --dports 20:25,80 -j ACCEPT", "nobody".to_owned()),
        ("-A INPUT -p tcp -m comment --comment \"a -j DROP \\\" b\" -j ACCEPT", "anyone".to_owned()),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", "anyone".to_owned()),
        ("-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", "nobody".to_owned()),
        ("-A INPUT -i eth+ -j ACCEPT", "anyone".to_owned()),
        ("-A INPUT -d 192.0.2.10/32 -j ACCEPT", "anyone".to_owned()),
        ("-A INPUT -d 192.0.2.11/32 -j ACCEPT", "nobody".to_owned()),
        ("-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", "nobody".to_owned()),
    ] {
        tcp(with(rule), &[(22, &wanted)]);
    }
}

#[test]
fn an_unread_ruleset_makes_all_unknown() {
    let mut rules = Ruleset::default();
    rules.unread.push("only root sees the firewall".to_owned());
    tcp(rules, &[(22, "unknown (only root sees the firewall)")]);
    let mut none = Spaces::default();
    none.all.insert("own".to_owned(), Err("it cannot be entered".to_owned()));
    assert_eq!(ask(&mut none, "own", Protocol::Tcp, "0.0.0.0", 1).line(), "unknown (it cannot be entered)");
    let mut alone = spaces(Space::new(vec![interface(1, "lo", &["127.0.0.1/8"])], Ruleset::default()));
    assert_eq!(
        ask(&mut alone, "own", Protocol::Tcp, "0.0.0.0", 1).who,
        Who::Host,
        "it has no address but the loopback"
    );
}

#[test]
fn loops_of_chains_end() {
    let text = "*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n-A INPUT -j a\n-A a -j a\n-A a -j a\nCOMMIT\n";
    let mut spaces = spaces(host(ip4(text)));
    let reach = ask(&mut spaces, "own", Protocol::Tcp, "0.0.0.0", 22);
    assert_eq!(reach.who, Who::Unknown, "{reach:?}");
}

#[test]
fn the_older_tables_stand_beside_the_newer() {
    let drops =
        ip4("*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n").renamed("legacy");
    let mut rules = ip4(
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.1.0.0/16 -j ACCEPT\n-A INPUT -s 11.0.0.0/8 -j ACCEPT\nCOMMIT\n",
    );
    rules.join(drops);
    tcp(rules.clone(), &[(22, "10.1.0.0/16")]);
    rules.forget(Sees::Ip, &["filter".to_owned()]);
    tcp(rules, &[(22, "10.0.0.0/8")]);
}
