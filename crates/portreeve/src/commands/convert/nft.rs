//! Decisions as a ruleset of nftables, in a table of its own: one chain for each daemon and port, sets of addresses in the
//! order of the rules, and nothing else of the machine's ruleset touched.

use super::decisions::{Decisions, Step};
use super::service::Service;
use crate::ranges::Family;
use hosts_access::Which;
use std::fmt::{self, Write};

/// The table that holds it all.
pub(super) const TABLE: &str = "portreeve_hosts";

/// Writes the ruleset.
pub(super) fn write(text: &mut String, services: &[(Service, Decisions)]) -> fmt::Result {
    // Made and removed, so that it can be loaded again as a whole.
    writeln!(text, "add table inet {TABLE}\ndelete table inet {TABLE}\n\ntable inet {TABLE} {{")?;
    for (service, decisions) in services {
        for (index, step) in decisions.steps.iter().enumerate() {
            sets(text, &name(service), index, step)?;
        }
    }
    let refusing = || services.iter().filter(|(_, decisions)| !decisions.steps.is_empty());
    for (service, decisions) in refusing() {
        chain(text, service, decisions)?;
    }
    writeln!(text, "\tchain input {{\n\t\ttype filter hook input priority filter; policy accept;")?;
    for (service, _) in refusing() {
        let Some((port, protocol)) = service.port else { continue };
        // The tables are asked when a client comes, not for every packet of a connection.
        let first = if protocol == "tcp" { " tcp flags & (syn | ack) == syn" } else { "" };
        writeln!(text, "\t\t{protocol} dport {port}{first} goto {}", name(service))?;
    }
    writeln!(text, "\t}}\n}}")
}

/// A name that nft takes: letters, digits and `_`.
fn name(service: &Service) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let (port, protocol) = service.port.unwrap_or((0, "any"));
    format!("d_{}_{protocol}_{port}", service.daemon.chars().map(plain).collect::<String>())
}

fn set_name(chain: &str, index: usize, family: Family) -> String {
    format!("{chain}_{}_{}", index + 1, if family == Family::V4 { "v4" } else { "v6" })
}

fn sets(text: &mut String, chain: &str, index: usize, step: &Step) -> fmt::Result {
    for family in Family::BOTH {
        let ranges = step.clients.of(family);
        if ranges.is_empty() || ranges.is_all(family) {
            continue;
        }
        let kind = if family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
        writeln!(text, "\tset {} {{\n\t\ttype {kind}; flags interval", set_name(chain, index, family))?;
        write!(text, "\t\telements = {{")?;
        for (at, (first, last)) in ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(text, "{comma}\n\t\t\t{}", family.text(first))?;
            let size = (last - first).wrapping_add(1);
            if size.is_power_of_two() && first % size == 0 {
                let length = family.bits() - size.trailing_zeros();
                if length < family.bits() {
                    write!(text, "/{length}")?;
                }
            } else {
                write!(text, "-{}", family.text(last))?;
            }
        }
        writeln!(text, "\n\t\t}}\n\t}}")?;
    }
    Ok(())
}

fn chain(text: &mut String, service: &Service, decisions: &Decisions) -> fmt::Result {
    let chain = name(service);
    writeln!(text, "\tchain {chain} {{")?;
    for (index, step) in decisions.steps.iter().enumerate() {
        writeln!(text, "\t\t# {}", places(step))?;
        if Family::BOTH.iter().all(|family| step.clients.of(*family).is_all(*family)) {
            writeln!(text, "\t\t{}", verdict(service, step))?;
            continue;
        }
        for family in Family::BOTH {
            let ranges = step.clients.of(family);
            if ranges.is_empty() {
                continue;
            }
            let (kind, word) = if family == Family::V4 { ("ipv4", "ip") } else { ("ipv6", "ip6") };
            if ranges.is_all(family) {
                writeln!(text, "\t\tmeta nfproto {kind} {}", verdict(service, step))?;
            } else {
                let set = set_name(&chain, index, family);
                writeln!(text, "\t\t{word} saddr @{set} {}", verdict(service, step))?;
            }
        }
    }
    writeln!(text, "\t}}")
}

/// A refused client sees what it saw before: a connection that is closed.
fn verdict(service: &Service, step: &Step) -> &'static str {
    match (step.grants, service.port) {
        (true, _) => "accept",
        (false, Some((_, "tcp"))) => "reject with tcp reset",
        (false, _) => "reject",
    }
}

/// `hosts.allow:3, 4 hosts.deny:1`, the first ten lines of each.
fn places(step: &Step) -> String {
    let of = |which: Which, file: &str| {
        let lines: Vec<u32> =
            step.from.iter().filter(|(table, _)| *table == which).map(|(_, line)| *line).collect();
        let more = if lines.len() > 10 { format!(" and {} more", lines.len() - 10) } else { String::new() };
        let shown = lines.iter().take(10).map(u32::to_string).collect::<Vec<_>>().join(", ");
        (!lines.is_empty()).then(|| format!("{file}:{shown}{more}"))
    };
    [of(Which::Allow, "hosts.allow"), of(Which::Deny, "hosts.deny")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
}
