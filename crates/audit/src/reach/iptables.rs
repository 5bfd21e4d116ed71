//! The answer of iptables-save and ip6tables-save, read into [`super::model`]. Pure. What is not known here stays in it as unknown.

use super::model::{Base, Chain, Hook, Rule, Ruleset, Sees, Test, Verdict};
use super::ranges::{Family, Ranges, number};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A ruleset and its tables' names.
#[derive(Debug, Default)]
pub struct Saved {
    /// The chains.
    pub ruleset: Ruleset,
    /// The tables.
    pub tables: BTreeSet<String>,
}

/// Reads it.
pub fn read(text: &str, family: Family) -> Saved {
    let sees = if family == Family::V4 { Sees::Ip } else { Sees::Ip6 };
    let mut saved = Saved::default();
    let mut table = String::new();
    // Whether any rule sets marks, or keeps packets from being tracked.
    let target = |word: &str| text.lines().any(|line| line.split(' ').any(|w| w == word));
    let tricks = Tricks {
        marks: target("MARK") || target("CONNMARK"),
        untracked: target("NOTRACK") || target("--notrack"),
    };
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            saved.tables.insert(table.clone());
        } else if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (table, name) = (table.clone(), name.to_owned());
            let base = base(&table, &name, policy);
            saved.ruleset.add(Chain { sees, table, name, base, rules: Vec::new() });
        } else if let Some(rest) = line.strip_prefix("-A ") {
            let words = words(rest);
            let Some((name, options)) = words.split_first() else { continue };
            let (test, verdict) = rule(options, family, &tricks);
            if let Some(chain) = saved.ruleset.chain(sees, &table, name) {
                let number = chain.rules.len() + 1;
                chain.rules.push(Rule { number, test, verdicts: vec![(Test::Is(true), verdict)] });
            }
        }
    }
    saved
}

struct Tricks {
    marks: bool,
    untracked: bool,
}

fn base(table: &str, name: &str, policy: &str) -> Option<Base> {
    let hook = match name {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" if table != "nat" => Hook::Input,
        "FORWARD" => Hook::Forward,
        _ => return None,
    };
    let priority = match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    };
    Some(Base { hook, priority, accepts: policy != "DROP", devices: Vec::new() })
}

/// The words of a line; in quotes there may be blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            '\\' if quoted => word.extend(chars.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

fn rule(options: &[String], family: Family, tricks: &Tricks) -> (Test, Verdict) {
    let mut tests = vec![Test::Family(family)];
    let mut verdict = Verdict::Continue;
    let (mut module, mut negated) = ("", false);
    // Extension headers of IPv6: whoever is dropped for one sends none.
    let (mut header, mut ever_negated) = (false, false);
    let mut at = 0;
    let value = |at: usize| options.get(at).map_or("", String::as_str);
    while let Some(option) = options.get(at) {
        at += 1;
        let mut took = 1;
        let test = match option.as_str() {
            "!" => {
                (negated, ever_negated) = (true, true);
                continue;
            }
            "-m" => {
                module = value(at);
                at += 1;
                header |= ["rt", "frag", "hbh", "dst", "mh", "srh"].contains(&module);
                // A module without options of its own may decide by itself.
                if !KNOWN.contains(&module) {
                    tests.push(Test::Unknown(format!("match {module} of iptables")));
                }
                continue;
            }
            "-j" | "-g" => {
                let target = value(at);
                verdict = self::target(option == "-g", target, options.get(at + 1..).unwrap_or_default());
                break;
            }
            "-s" => source(value(at), true),
            "-d" => source(value(at), false),
            "--src-range" => range(value(at), true),
            "--dst-range" => range(value(at), false),
            "-i" => Test::In(interface(value(at))),
            "-o" => Test::Out(interface(value(at))),
            "-p" => protocol(value(at)),
            "--dport" | "--dports" => ports(value(at)),
            "--state" | "--ctstate" => {
                let has = |word: &str| value(at).split(',').any(|state| state == word);
                match tricks.untracked && !has("DNAT") {
                    true => Test::Unknown("conntrack where packets are not tracked".to_owned()),
                    false if has("DNAT") && !has("NEW") => Test::Translated,
                    false => Test::Is(has("NEW")),
                }
            }
            "--ctdir" => Test::Is(value(at) == "ORIGINAL"),
            "--tcp-flags" => {
                took = 2;
                let has = |words: &str| words.split(',').any(|word| word == "SYN" || word == "ALL");
                // A connection opens with SYN alone: of the flags looked at, it must be the one that is set.
                Test::Is(if has(value(at)) { value(at + 1) == "SYN" } else { value(at + 1) == "NONE" })
            }
            "--syn" => {
                took = 0;
                Test::Is(true)
            }
            "--dst-type" => match value(at) {
                "LOCAL" => Test::ToLocal,
                "UNICAST" => Test::Unknown("addrtype --dst-type UNICAST".to_owned()),
                _ => Test::Is(false),
            },
            "--src-type" => Test::Is(value(at) == "UNICAST"),
            "--pkt-type" => Test::Is(value(at) == "unicast"),
            "--mark" if !tricks.marks => {
                let mark = value(at).split('/').next().unwrap_or_default();
                Test::Is(mark == "0x0" || mark == "0")
            }
            // Rates and counts are taken as not used up: one connection, at a quiet moment.
            "--limit" | "--hashlimit-upto" | "--hashlimit" | "--connlimit-upto" => Test::Is(true),
            "--hashlimit-above" | "--connlimit-above" | "--update" | "--rcheck" | "--remove" => {
                took = usize::from(option.starts_with("--hash") || option.starts_with("--conn"));
                Test::Is(false)
            }
            "--set" => {
                took = 0;
                Test::Is(true)
            }
            // The reverse path: whoever can be answered has one.
            "--invert" if module == "rpfilter" => {
                took = 0;
                Test::Is(false)
            }
            "--rsource" | "--rdest" | "--loose" | "--validmark" | "--accept-local" | "--rttl" | "--reap"
            | "--connlimit-saddr" | "--connlimit-daddr" => {
                continue;
            }
            "--limit-burst"
            | "--seconds"
            | "--hitcount"
            | "--name"
            | "--mask"
            | "--comment"
            | "--connlimit-mask"
            | "--hashlimit-burst"
            | "--hashlimit-mode"
            | "--hashlimit-name"
            | "--hashlimit-srcmask"
            | "--hashlimit-htable-expire"
            | "--hashlimit-htable-size"
            | "--hashlimit-htable-max" => {
                at += 1;
                continue;
            }
            "--icmp-type" | "--icmpv6-type" => Test::Unknown("icmp".to_owned()),
            other => {
                // How many words belong to it is not known: none that begin with a dash.
                took =
                    options.iter().skip(at).take_while(|word| !word.starts_with('-') && *word != "!").count();
                Test::Unknown(format!("{other} of {}", if module.is_empty() { "iptables" } else { module }))
            }
        };
        at += took;
        tests.push(if std::mem::take(&mut negated) { Test::Not(Box::new(test)) } else { test });
    }
    if header && !ever_negated && verdict == Verdict::Drop {
        return (Test::Is(false), verdict);
    }
    (Test::All(tests), verdict)
}

/// Modules all of whose options are read above, or said to be unknown one by one.
const KNOWN: [&str; 23] = [
    "tcp",
    "udp",
    "sctp",
    "udplite",
    "multiport",
    "state",
    "conntrack",
    "limit",
    "hashlimit",
    "connlimit",
    "recent",
    "addrtype",
    "comment",
    "iprange",
    "pkttype",
    "mark",
    "connmark",
    "rpfilter",
    "set",
    "icmp",
    "icmp6",
    "mac",
    "owner",
];

fn target(goto: bool, name: &str, options: &[String]) -> Verdict {
    let option = |name: &str| {
        let at = options.iter().position(|word| word == name)?;
        options.get(at + 1).map(String::as_str)
    };
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" | "TARPIT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "LOG" | "NFLOG" | "ULOG" | "MARK" | "CONNMARK" | "CT" | "NOTRACK" | "TCPMSS" | "DSCP" | "TOS"
        | "CLASSIFY" | "AUDIT" | "TRACE" | "CHECKSUM" | "TEE" | "SET" | "SECMARK" | "CONNSECMARK" | "HL"
        | "TTL" => Verdict::Continue,
        "MASQUERADE" | "SNAT" => Verdict::Accept,
        "REDIRECT" => match option("--to-ports") {
            None => Verdict::To(None, None),
            Some(port) => match port.parse() {
                Ok(port) => Verdict::To(None, Some(port)),
                Err(_) => Verdict::Unknown("REDIRECT to a port that varies".to_owned()),
            },
        },
        "DNAT" => match option("--to-destination").and_then(destination) {
            Some((address, port)) => Verdict::To(address, port),
            None => Verdict::Unknown("DNAT to a destination that varies".to_owned()),
        },
        "QUEUE" | "NFQUEUE" | "TPROXY" | "SYNPROXY" | "DNPT" | "NETMAP" => Verdict::Unknown(name.to_owned()),
        // Chains are written after all; another extension leads to a chain that is not there, which is unknown.
        chain if goto => Verdict::Goto(chain.to_owned()),
        chain => Verdict::Jump(chain.to_owned()),
    }
}

/// `172.17.0.2:80`, `[fd00::2]:80`, `:80`, or an address alone.
fn destination(text: &str) -> Option<(Option<IpAddr>, Option<u16>)> {
    if let Ok(address) = text.parse() {
        return Some((Some(address), None));
    }
    let (address, port) = text.rsplit_once(':')?;
    let port = Some(port.parse().ok()?);
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if address.is_empty() {
        return Some((None, port));
    }
    Some((Some(address.parse().ok()?), port))
}

fn source(text: &str, source: bool) -> Test {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Test::Unknown(format!("address {text}"));
    };
    let family = Family::of(address);
    let length = match length {
        None => u8::try_from(family.bits()).ok(),
        Some(length) => length.parse().ok().or_else(|| mask(length)),
    };
    let Some(length) = length else { return Test::Unknown(format!("address {text}")) };
    let set = Ranges::network(address, length);
    if source { Test::From(family, set) } else { Test::To(family, set) }
}

/// The length of a mask as 255.255.0.0; None when it is none.
fn mask(text: &str) -> Option<u8> {
    let address: IpAddr = text.parse().ok()?;
    let family = Family::of(address);
    let low = family.top() & !number(address);
    (low & low.wrapping_add(1) == 0).then(|| u8::try_from(family.bits() - low.count_ones()).ok())?
}

fn range(text: &str, source: bool) -> Test {
    let ends = text.split_once('-').and_then(|(first, last)| {
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        (first.is_ipv4() == last.is_ipv4()).then_some((first, last))
    });
    let Some((first, last)) = ends else { return Test::Unknown(format!("range {text}")) };
    let (family, set) = (Family::of(first), Ranges::new(vec![(number(first), number(last))]));
    if source { Test::From(family, set) } else { Test::To(family, set) }
}

/// iptables' `+` at the end is nft's `*`.
fn interface(name: &str) -> String {
    name.strip_suffix('+').map_or_else(|| name.to_owned(), |start| format!("{start}*"))
}

fn protocol(name: &str) -> Test {
    let number = match name {
        "all" => return Test::Is(true),
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-icmp" | "icmpv6" => 58,
        "vrrp" => 112,
        "sctp" => 132,
        "udplite" => 136,
        other => match other.parse() {
            Ok(number) => number,
            Err(_) => return Test::Unknown(format!("protocol {other}")),
        },
    };
    Test::Protocol(vec![number])
}

fn ports(text: &str) -> Test {
    let one = |word: &str| -> Option<(u16, u16)> {
        match word.split_once(':') {
            Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
            None => word.parse().ok().map(|port| (port, port)),
        }
    };
    let ranges: Option<Vec<_>> = text.split(',').map(one).collect();
    ranges.map_or_else(|| Test::Unknown(format!("ports {text}")), Test::Port)
}
