//! A plan as iptables-restore(8) reads it, one text for each family, in chains of its own, so that it can be loaded beside others
//! with `--noflush`. Pure.

use super::plan::{Chain, Plan, Rule};
use super::port::Transport;
use super::text::{LEAVING, REFUSED, comment};
use crate::ranges::Family;
use crate::settings::Egress;
use std::fmt::{self, Write};

const IN: &str = "PORTREEVE-HOST";
const OUT: &str = "PORTREEVE-OUT";
/// Bytes of a comment.
const LONGEST_COMMENT: usize = 250;

/// The text for a family.
pub fn text(plan: &Plan, family: Family) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, plan, family);
    text
}

fn write(text: &mut String, plan: &Plan, family: Family) -> fmt::Result {
    let (program, v6) = if family == Family::V4 { ("iptables", false) } else { ("ip6tables", true) };
    writeln!(text, "# {program}-restore --noflush; loaded again it adds a jump that is never reached")?;
    writeln!(text, "*filter\n:{IN} - [0:0]")?;
    if plan.egress != Egress::Off {
        writeln!(text, ":{OUT} - [0:0]")?;
    }
    writeln!(text, "-I INPUT 1 -j {IN}")?;
    writeln!(text, "-A {IN} -i lo -j ACCEPT")?;
    writeln!(text, "-A {IN} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")?;
    let icmp = if v6 { &BASE_V6[..] } else { &BASE_V4[..] };
    for rule in icmp {
        writeln!(text, "-A {IN} {rule}")?;
    }
    rules(text, plan, Chain::In, family)?;
    end(text, IN, REFUSED, true)?;
    if plan.egress != Egress::Off {
        writeln!(text, "-I OUTPUT 1 -j {OUT}\n-A {OUT} -o lo -j ACCEPT")?;
        writeln!(text, "-A {OUT} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")?;
        let others = if v6 { &OUT_V6[..] } else { &OUT_V4[..] };
        for rule in others {
            writeln!(text, "-A {OUT} {rule} -j ACCEPT")?;
        }
        rules(text, plan, Chain::Out, family)?;
        end(text, OUT, LEAVING, plan.egress == Egress::Restrict)?;
    }
    writeln!(text, "COMMIT")
}

const BASE_V4: [&str; 7] = [
    "-m conntrack --ctstate INVALID -j DROP",
    "-p icmp --icmp-type destination-unreachable -j ACCEPT",
    "-p icmp --icmp-type time-exceeded -j ACCEPT",
    "-p icmp --icmp-type parameter-problem -j ACCEPT",
    "-p icmp --icmp-type echo-request -j ACCEPT",
    "-p igmp -m ttl --ttl-eq 1 -j ACCEPT",
    "-p udp --sport 67 --dport 68 -j ACCEPT",
];
/// As in RFC 4890 4.4.1, by number.
const BASE_V6: [&str; 22] = [
    "-p ipv6-icmp --icmpv6-type 134 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 136 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 141 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 142 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 148 -m hl --hl-eq 255 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 149 -m hl --hl-eq 255 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 130 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 131 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 132 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 143 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 151 -m hl --hl-eq 1 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 152 -m hl --hl-eq 1 -j ACCEPT",
    "-s fe80::/10 -p ipv6-icmp --icmpv6-type 153 -m hl --hl-eq 1 -j ACCEPT",
    "-m conntrack --ctstate INVALID -j DROP",
    "-p ipv6-icmp --icmpv6-type 1 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 2 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 3 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 4 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 128 -j ACCEPT",
    "-p ipv6-icmp --icmpv6-type 129 -j ACCEPT",
    "-s fe80::/10 -p udp --dport 546 -j ACCEPT",
];
const OUT_V4: [&str; 3] = ["-p icmp", "-p igmp", "-p udp --sport 68 --dport 67"];
const OUT_V6: [&str; 2] = ["-p ipv6-icmp", "-p udp --sport 546 --dport 547"];

fn end(text: &mut String, chain: &str, prefix: &str, refuse: bool) -> fmt::Result {
    writeln!(text, "-A {chain} -m limit --limit 5/second --limit-burst 20 -j LOG --log-prefix \"{prefix}\"")?;
    if refuse {
        writeln!(text, "-A {chain} -j {}", if chain == IN { "DROP" } else { "REJECT" })?;
    }
    Ok(())
}

fn rules(text: &mut String, plan: &Plan, chain: Chain, family: Family) -> fmt::Result {
    for rule in plan.rules.iter().filter(|rule| rule.chain == chain) {
        for matches in lines(rule, family) {
            let name = if chain == Chain::In { IN } else { OUT };
            let why = comment(&rule.cause.to_string(), LONGEST_COMMENT);
            writeln!(text, "-A {name}{matches} -m comment --comment \"{why}\" -j ACCEPT")?;
        }
    }
    Ok(())
}

/// A line for each network: without a set of its own iptables takes one.
fn lines(rule: &Rule, family: Family) -> Vec<String> {
    if rule.to.is_some_and(|to| to.is_ipv4() != (family == Family::V4)) {
        return Vec::new();
    }
    let (device, side) = if rule.chain == Chain::In { ("-i", "-s") } else { ("-o", "-d") };
    let mut tail = rule.device.as_ref().map_or_else(String::new, |name| format!(" {device} {name}"));
    tail.push_str(&rule.to.map_or_else(String::new, |to| format!(" -d {to}")));
    if let Some(port) = rule.port {
        match (port.transport, port.first, port.last) {
            (Transport::Other(number), ..) => tail.push_str(&format!(" -p {number}")),
            (transport, first, last) if first == last => {
                tail.push_str(&format!(" -p {} --dport {first}", transport.word()));
            }
            (transport, first, last) => {
                tail.push_str(&format!(" -p {} --dport {first}:{last}", transport.word()))
            }
        }
    }
    let networks = rule.peers.of(family).networks(family);
    let one = |(network, length): (u128, u32)| match length {
        0 => tail.clone(),
        length => format!(" {side} {}/{length}{tail}", family.text(network)),
    };
    networks.into_iter().map(one).collect()
}
