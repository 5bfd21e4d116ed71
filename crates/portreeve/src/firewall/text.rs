//! A plan as nftables reads it: one table of family inet, each rule with what caused it as its comment. What every host needs is
//! written here and nowhere else: loopback, answers, errors and neighbours by ICMP (RFC 4890), DHCP. Pure.

use super::TABLE;
use super::plan::{Chain, Plan, Rule};
use super::port::{Port, Transport};
use crate::ranges::{Family, Ranges};
use crate::settings::Egress;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// What the kernel's log says in front of what was refused.
pub const REFUSED: &str = "portreeve refused: ";
/// The same of what this host sent.
pub const LEAVING: &str = "portreeve leaving: ";
/// Bytes of a comment; nftables takes 127.
const LONGEST_COMMENT: usize = 120;

/// What comes in on every host, with its reason. Answers first: they are most of all packets.
const BASE: &[(&str, &str)] = &[
    ("iif \"lo\" accept", "this host to itself"),
    ("ct state established,related accept", "answers, and what belongs to what was let in"),
    (
        "icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, ind-neighbor-solicit, ind-neighbor-advert } ip6 hoplimit 255 accept",
        "neighbours and routers, RFC 4890 4.4.1",
    ),
    ("icmpv6 type { 148, 149 } ip6 hoplimit 255 accept", "secure neighbour discovery, RFC 4890 4.4.1"),
    (
        "ip6 saddr fe80::/10 icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept",
        "multicast listeners, RFC 4890 4.4.1",
    ),
    (
        "ip6 saddr fe80::/10 icmpv6 type { 151, 152, 153 } ip6 hoplimit 1 accept",
        "multicast routers, RFC 4890 4.4.1",
    ),
    ("ct state invalid drop", "part of nothing that is known"),
    (
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply } accept",
        "errors and echo, RFC 4890 4.4.1",
    ),
    (
        "icmp type { destination-unreachable, echo-request, time-exceeded, parameter-problem } accept",
        "errors and echo",
    ),
    ("ip ttl 1 ip protocol igmp accept", "multicast groups"),
    ("udp sport 67 udp dport 68 accept", "answers to a DHCP client"),
    ("ip6 saddr fe80::/10 udp dport 546 accept", "answers to a DHCPv6 client"),
];

/// What every host sends.
const BASE_OUT: &[(&str, &str)] = &[
    ("oif \"lo\" accept", "this host to itself"),
    ("ct state established,related accept", "answers"),
    ("meta l4proto { icmp, igmp, ipv6-icmp } accept", "errors, echo, neighbours, multicast groups"),
    ("udp sport 68 udp dport 67 accept", "a DHCP client"),
    ("udp sport 546 udp dport 547 accept", "a DHCPv6 client"),
];

/// The table.
pub fn table(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_table(&mut text, plan);
    text
}

/// What loads a table in one transaction, whatever was there. Without a table: what removes it.
pub fn transaction(table: Option<&str>) -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n{}", table.unwrap_or_default())
}

/// Lines that two forms of the table have not in common: those of the first with `-`, those of the second with `+`. Among rules
/// that only let in, the order is no difference.
pub fn difference(before: &str, after: &str) -> Vec<(char, String)> {
    let plain = |text: &str| text.lines().map(plain_line).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let (before, after) = (plain(before), plain(after));
    let mut count: BTreeMap<&str, i64> = BTreeMap::new();
    before.iter().for_each(|line| *count.entry(line).or_default() -= 1);
    after.iter().for_each(|line| *count.entry(line).or_default() += 1);
    let mut found = Vec::new();
    for (sign, lines) in [(-1, &before), (1, &after)] {
        for line in lines {
            if let Some(left) = count.get_mut(line.as_str()).filter(|left| left.signum() == sign) {
                *left -= sign;
                found.push((if sign < 0 { '-' } else { '+' }, line.clone()));
            }
        }
    }
    found
}

/// A line without what nft shows in its own way: indentation, counts, names of protocols.
fn plain_line(line: &str) -> String {
    let mut line = line.trim().to_owned();
    for (word, number) in [("ipencap", 4), ("gre", 47), ("esp", 50), ("ah", 51), ("ospf", 89), ("vrrp", 112)]
    {
        line = line.replace(&format!("meta l4proto {word} "), &format!("meta l4proto {number} "));
    }
    line
}

fn write_table(text: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(text, "table inet {TABLE} {{\n\tchain input {{")?;
    writeln!(text, "\t\ttype filter hook input priority filter; policy drop;")?;
    for (rule, why) in BASE {
        writeln!(text, "\t\t{rule} comment \"{why}\"")?;
    }
    rules(text, plan, Chain::In)?;
    writeln!(text, "\t\tlimit rate 5/second burst 20 packets log prefix \"{REFUSED}\" comment \"all else\"")?;
    writeln!(text, "\t\tcounter drop comment \"all else\"\n\t}}")?;
    if plan.egress != Egress::Off {
        let policy = if plan.egress == Egress::Restrict { "drop" } else { "accept" };
        writeln!(text, "\n\tchain output {{\n\t\ttype filter hook output priority filter; policy {policy};")?;
        for (rule, why) in BASE_OUT {
            writeln!(text, "\t\t{rule} comment \"{why}\"")?;
        }
        rules(text, plan, Chain::Out)?;
        writeln!(
            text,
            "\t\tlimit rate 5/second burst 20 packets log prefix \"{LEAVING}\" comment \"all else\""
        )?;
        if plan.egress == Egress::Restrict {
            writeln!(text, "\t\tcounter reject with icmpx admin-prohibited comment \"all else\"")?;
        }
        writeln!(text, "\t}}")?;
    }
    writeln!(text, "}}")
}

fn rules(text: &mut String, plan: &Plan, chain: Chain) -> fmt::Result {
    for rule in plan.rules.iter().filter(|rule| rule.chain == chain) {
        for line in lines(rule) {
            writeln!(
                text,
                "\t\t{line} accept comment \"{}\"",
                comment(&rule.cause.to_string(), LONGEST_COMMENT)
            )?;
        }
    }
    Ok(())
}

/// The matches of a rule: one line, or one for each family.
fn lines(rule: &Rule) -> Vec<String> {
    let device = rule.device.as_ref().map_or_else(String::new, |name| match rule.chain {
        Chain::In => format!("iifname \"{name}\" "),
        Chain::Out => format!("oifname \"{name}\" "),
    });
    let port = rule.port.map_or_else(String::new, |port| port_text(&port));
    let everybody = Family::BOTH.iter().all(|family| rule.peers.of(*family).is_all(*family));
    if everybody && rule.to.is_none() {
        return vec![format!("{device}{port}")];
    }
    let mut lines = Vec::new();
    for family in Family::BOTH {
        let peers = rule.peers.of(family);
        let foreign = rule.to.is_some_and(|to| to.is_ipv4() != (family == Family::V4));
        if peers.is_empty() || foreign {
            continue;
        }
        let (word, kind) = if family == Family::V4 { ("ip", "ipv4") } else { ("ip6", "ipv6") };
        let to = rule.to.map_or_else(String::new, |to| format!("{word} daddr {to} "));
        let side = if rule.chain == Chain::In { "saddr" } else { "daddr" };
        let who = match (peers.is_all(family), rule.to) {
            (true, Some(_)) => String::new(),
            (true, None) => format!("meta nfproto {kind} "),
            (false, _) => format!("{word} {side} {} ", set(peers, family)),
        };
        lines.push(format!("{device}{to}{who}{port}"));
    }
    lines
}

fn port_text(port: &Port) -> String {
    match (port.transport, port.first, port.last) {
        (Transport::Other(number), ..) => format!("meta l4proto {number}"),
        (transport, first, last) if first == last => format!("{} dport {first}", transport.word()),
        (transport, first, last) => format!("{} dport {first}-{last}", transport.word()),
    }
}

/// Ranges as elements, networks where they are such.
fn set(ranges: &Ranges, family: Family) -> String {
    let one = |(first, last): (u128, u128)| {
        let size = (last - first).wrapping_add(1);
        if first == last {
            family.text(first)
        } else if size.is_power_of_two() && first % size == 0 {
            format!("{}/{}", family.text(first), family.bits() - size.trailing_zeros())
        } else {
            format!("{}-{}", family.text(first), family.text(last))
        }
    };
    let mut all: Vec<String> = ranges.iter().map(one).collect();
    match (all.len(), all.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            all.push(last);
            format!("{{ {} }}", all.join(", "))
        }
        (_, None) => "{ }".to_owned(),
    }
}

/// A text that stands between quotes; of one that is too long the end, where the line of the file is.
pub(super) fn comment(text: &str, longest: usize) -> String {
    let plain = |c: char| if (c == ' ' || c.is_ascii_graphic()) && c != '"' && c != '\\' { c } else { '?' };
    let text: String = text.chars().map(plain).collect();
    match text.len().checked_sub(longest) {
        Some(over @ 1..) => format!("...{}", text.get(over + 3..).unwrap_or_default()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::plan::Cause;
    use crate::firewall::sources::networks;
    use crate::ranges::Addresses;

    fn rule(port: &str, peers: Addresses, to: Option<&str>, device: Option<&str>) -> Rule {
        Rule {
            chain: Chain::In,
            port: Some(port.parse().unwrap()),
            device: device.map(str::to_owned),
            to: to.map(|to| to.parse().unwrap()),
            peers,
            cause: Cause { what: "echo".to_owned(), place: "/etc/xinetd.conf:3".to_owned() },
            is_ssh: false,
        }
    }

    fn of(list: &[&str]) -> Addresses {
        networks(&list.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_rule_in_the_words_of_nftables() {
        let some = || of(&["192.0.2.0/24", "198.51.100.1", "2001:db8::/32"]);
        for (rule, wanted) in [
            (rule("22/tcp", Addresses::all(), None, None), vec!["tcp dport 22"]),
            (rule("5-7/udp", Addresses::all(), None, Some("eth0")), vec!["iifname \"eth0\" udp dport 5-7"]),
            (
                rule("7/tcp", some(), None, None),
                vec![
                    "ip saddr { 192.0.2.0/24, 198.51.100.1 } tcp dport 7",
                    "ip6 saddr 2001:db8::/32 tcp dport 7",
                ],
            ),
            (
                rule("7/tcp", some(), Some("192.0.2.7"), None),
                vec!["ip daddr 192.0.2.7 ip saddr { 192.0.2.0/24, 198.51.100.1 } tcp dport 7"],
            ),
            (rule("esp", Addresses::all(), Some("::2"), None), vec!["ip6 daddr ::2 meta l4proto 50"]),
            (rule("9/tcp", of(&["0.0.0.0/0"]), None, None), vec!["meta nfproto ipv4 tcp dport 9"]),
            (
                rule("9/tcp", of(&["192.0.2.1", "192.0.2.2"]), None, None),
                vec!["ip saddr 192.0.2.1-192.0.2.2 tcp dport 9"],
            ),
            (rule("9/tcp", Addresses::default(), None, None), vec![]),
        ] {
            assert_eq!(lines(&rule), wanted);
        }
    }

    #[test]
    fn a_difference_is_of_lines() {
        let one = "table {\n\ta\n\tmeta l4proto esp accept\n\tb\n\tb\n}\n";
        assert_eq!(difference(one, "table {\n    b\n\ta\n\tb\n\tmeta l4proto 50 accept\n}\n"), []);
        let found = difference(one, "table {\n\ta\n\tc\n\tb\n\tmeta l4proto 50 accept\n}\n");
        assert_eq!(found, [('-', "b".to_owned()), ('+', "c".to_owned())]);
    }

    #[test]
    fn a_comment_cannot_leave_its_quotes() {
        assert_eq!(comment("a\"} drop \\\n\u{e9}", 120), "a?} drop ???");
        let long = comment(&format!("{}:7)", "x".repeat(300)), 120);
        assert_eq!(long.len(), 120);
        assert!(long.starts_with("...x") && long.ends_with("x:7)"), "{long}");
    }
}
