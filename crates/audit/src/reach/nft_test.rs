//! One condition of nft, as its JSON has it, read into a [`Test`]. Pure.

use super::model::Test;
use super::ranges::{Family, Ranges, network, number};
use serde_json::Value;
use std::collections::HashMap;
use std::net::IpAddr;

/// What a condition may lean on: the named sets of its table, and what is done elsewhere in the ruleset.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    /// Family, table and name.
    pub(super) all: HashMap<(String, String, String), &'a Value>,
    /// Family and table of the rule that is read.
    pub(super) here: (String, String),
    /// Some rule sets a mark.
    pub(super) marks: bool,
    /// Some rule keeps packets from being tracked.
    pub(super) untracked: bool,
}

impl<'a> Sets<'a> {
    /// The elements of `@name`. None when there is no such set.
    pub(super) fn elements(&self, name: &str) -> Option<&'a [Value]> {
        let name = name.strip_prefix('@')?;
        let set = self.all.get(&(self.here.0.clone(), self.here.1.clone(), name.to_owned()))?;
        Some(set.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice))
    }
}

/// What a condition looks at.
enum Field {
    /// An address: whether it is the source, and the bits that count.
    Address {
        source: bool,
        family: Family,
        mask: u128,
    },
    /// The port that it is sent to, of this protocol or of any.
    Port(Option<u8>),
    Protocol(Option<Family>),
    NfProto,
    In,
    Out,
    State,
    Status,
    Direction,
    Mark,
    Flags(Option<u64>),
    PacketType,
    /// Of another protocol, which may be asked of any packet: `icmp type`.
    Of(Vec<u8>),
    /// The reverse path.
    Fib {
        destination: bool,
        kind: bool,
    },
    Unknown(String),
}

/// Reads a match.
pub(super) fn read(what: &Value, sets: &Sets<'_>) -> Test {
    let (Some(left), Some(right)) = (what.get("left"), what.get("right")) else {
        return Test::Unknown("a condition without sides".to_owned());
    };
    match what.get("op").and_then(Value::as_str).unwrap_or("==") {
        "==" | "in" => equal(left, right, sets),
        "!=" => match positive(left, right, sets) {
            // `tcp dport != 22` still speaks of tcp.
            (Some(bound), test) => Test::All(vec![bound, Test::Not(Box::new(test))]),
            (None, test) => Test::Not(Box::new(test)),
        },
        op @ ("<" | ">" | "<=" | ">=") => compare(left, op, right, sets),
        op => Test::Unknown(format!("`{op}`")),
    }
}

/// Whether a field has a value, or one of them.
pub(super) fn equal(left: &Value, right: &Value, sets: &Sets<'_>) -> Test {
    match positive(left, right, sets) {
        (Some(bound), test) => Test::All(vec![bound, test]),
        (None, test) => test,
    }
}

/// What the field itself demands, and the comparison.
fn positive(left: &Value, right: &Value, sets: &Sets<'_>) -> (Option<Test>, Test) {
    let values: Vec<&Value> = match right {
        Value::String(name) if name.starts_with('@') => match sets.elements(name) {
            Some(elements) => elements.iter().collect(),
            None => return (None, Test::Unknown(format!("the set {name}"))),
        },
        Value::Array(all) => all.iter().collect(),
        other => match other.get("set") {
            Some(Value::Array(all)) => all.iter().collect(),
            Some(one) => vec![one],
            None => vec![other],
        },
    };
    if let Some(parts) = left.get("concat").and_then(Value::as_array) {
        let one = |value: &Value| {
            let value = bare(value).0;
            let Some(values) =
                value.get("concat").and_then(Value::as_array).filter(|v| v.len() == parts.len())
            else {
                return Test::Unknown("a concatenation".to_owned());
            };
            Test::All(parts.iter().zip(values).map(|(part, value)| equal(part, value, sets)).collect())
        };
        return (None, Test::Any(values.into_iter().map(one).collect()));
    }
    let field = field(left);
    (bound(&field), any(&field, &values, sets))
}

/// An element without what stands beside it, and whether that makes it uncertain.
fn bare(value: &Value) -> (&Value, bool) {
    match value.get("elem") {
        Some(Value::Object(fields)) => {
            let plain = ["val", "timeout", "expires", "comment", "counter"];
            let odd = fields.keys().any(|key| !plain.contains(&key.as_str()));
            (fields.get("val").unwrap_or(value), odd)
        }
        _ => (value, false),
    }
}

fn bound(field: &Field) -> Option<Test> {
    match field {
        Field::Address { family, .. } | Field::Protocol(Some(family)) => Some(Test::Family(*family)),
        Field::Port(Some(protocol)) => Some(Test::Protocol(vec![*protocol])),
        Field::Flags(_) => Some(Test::Protocol(vec![6])),
        Field::Of(protocols) => Some(Test::Protocol(protocols.clone())),
        _ => None,
    }
}

fn field(left: &Value) -> Field {
    if let Some(payload) = left.get("payload") {
        let word = |name| payload.get(name).and_then(Value::as_str).unwrap_or_default();
        return match (word("protocol"), word("field")) {
            ("ip", field @ ("saddr" | "daddr")) => {
                Field::Address { source: field == "saddr", family: Family::V4, mask: Family::V4.top() }
            }
            ("ip6", field @ ("saddr" | "daddr")) => {
                Field::Address { source: field == "saddr", family: Family::V6, mask: Family::V6.top() }
            }
            ("ip", "protocol") => Field::Protocol(Some(Family::V4)),
            ("ip6", "nexthdr") => Field::Protocol(Some(Family::V6)),
            ("th", "dport") => Field::Port(None),
            ("tcp", "flags") => Field::Flags(None),
            (name, "dport") => match protocol(&Value::from(name)) {
                Some(number) => Field::Port(Some(number)),
                None => Field::Unknown(format!("{name} dport")),
            },
            ("icmp", _) => Field::Of(vec![1]),
            ("icmpv6", _) => Field::Of(vec![58]),
            ("arp" | "vlan", _) => Field::Of(Vec::new()),
            ("", _) => Field::Unknown("raw bytes of the packet".to_owned()),
            (name, field) => Field::Unknown(format!("{name} {field}")),
        };
    }
    if let Some(meta) = left.get("meta") {
        return match meta.get("key").and_then(Value::as_str).unwrap_or_default() {
            "l4proto" => Field::Protocol(None),
            "nfproto" | "protocol" => Field::NfProto,
            "iifname" | "iif" => Field::In,
            "oifname" | "oif" => Field::Out,
            "mark" => Field::Mark,
            "pkttype" => Field::PacketType,
            other => Field::Unknown(format!("meta {other}")),
        };
    }
    if let Some(ct) = left.get("ct") {
        return match ct.get("key").and_then(Value::as_str).unwrap_or_default() {
            "state" => Field::State,
            "status" => Field::Status,
            "direction" => Field::Direction,
            "mark" => Field::Mark,
            other => Field::Unknown(format!("ct {other}")),
        };
    }
    if let Some(fib) = left.get("fib") {
        let flags = fib.get("flags").cloned().unwrap_or_default();
        let has = |word: &str| match &flags {
            Value::Array(all) => all.iter().any(|flag| flag.as_str() == Some(word)),
            other => other.as_str() == Some(word),
        };
        let kind = fib.get("result").and_then(Value::as_str) == Some("type");
        return Field::Fib { destination: has("daddr"), kind };
    }
    if let Some([inner, mask]) = left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        return match (field(inner), mask) {
            (Field::Address { source, family, .. }, Value::String(text)) => match text.parse::<IpAddr>() {
                Ok(mask) => Field::Address { source, family, mask: number(mask) },
                Err(_) => Field::Unknown("a mask".to_owned()),
            },
            (Field::Flags(None), mask) => match flags(mask) {
                Some(mask) => Field::Flags(Some(mask)),
                None => Field::Unknown("tcp flags".to_owned()),
            },
            (Field::Mark, _) => Field::Mark,
            _ => Field::Unknown("a part of a field".to_owned()),
        };
    }
    let kind = left.as_object().and_then(|object| object.keys().next());
    Field::Unknown(kind.map_or_else(|| "an expression".to_owned(), |kind| kind.clone()))
}

fn any(field: &Field, values: &[&Value], sets: &Sets<'_>) -> Test {
    let unknown = |what: &str| Test::Unknown(what.to_owned());
    let values: Vec<(&Value, bool)> = values.iter().map(|value| bare(value)).collect();
    if values.iter().any(|(_, odd)| *odd) {
        return unknown("a set whose elements have conditions");
    }
    let values: Vec<&Value> = values.into_iter().map(|(value, _)| value).collect();
    let has = |word: &str| values.iter().any(|value| value.as_str() == Some(word));
    // Words are asked for; a number that stands for one is not read.
    let words = values.iter().all(|value| value.is_string());
    match field {
        Field::Unknown(what) => Test::Unknown(what.clone()),
        Field::State | Field::PacketType | Field::Fib { kind: true, .. } if !words => {
            unknown("a number for a word")
        }
        Field::Address { source, family, mask } => match addresses(&values, *family, *mask) {
            Some(set) if *source => Test::From(*family, set),
            Some(set) => Test::To(*family, set),
            None => unknown("a set of addresses"),
        },
        Field::Port(_) => {
            let ranges: Option<Vec<_>> = values.iter().map(|value| ports(value)).collect();
            ranges.map_or_else(|| unknown("a set of ports"), Test::Port)
        }
        Field::Protocol(_) => {
            let numbers: Option<Vec<_>> = values.iter().map(|value| protocol(value)).collect();
            numbers.map_or_else(|| unknown("a protocol"), Test::Protocol)
        }
        Field::NfProto => {
            let family = |value: &&Value| match value.as_str() {
                Some("ipv4" | "ip") => Some(Test::Family(Family::V4)),
                Some("ipv6" | "ip6") => Some(Test::Family(Family::V6)),
                Some(_) => Some(Test::Is(false)),
                None => None,
            };
            let all: Option<Vec<_>> = values.iter().map(family).collect();
            all.map_or_else(|| unknown("a protocol"), Test::Any)
        }
        Field::In | Field::Out => {
            let name = |value: &&Value| {
                let name = value.as_str()?.to_owned();
                Some(if matches!(field, Field::In) { Test::In(name) } else { Test::Out(name) })
            };
            let all: Option<Vec<_>> = values.iter().map(name).collect();
            all.map_or_else(|| unknown("an interface by its number"), Test::Any)
        }
        Field::State if sets.untracked => unknown("ct state where packets are not tracked"),
        Field::State => Test::Is(has("new")),
        Field::Status => {
            let known = ["dnat", "snat", "seen-reply", "assured", "confirmed", "expected", "dying"];
            match values.iter().all(|value| value.as_str().is_some_and(|word| known.contains(&word))) {
                true if has("dnat") => Test::Translated,
                true => Test::Is(false),
                false => unknown("ct status"),
            }
        }
        Field::Direction => Test::Is(has("original") || values.iter().any(|value| value.as_u64() == Some(0))),
        Field::Mark if sets.marks => unknown("a mark that another rule sets"),
        Field::Mark => match values.iter().map(|value| value.as_u64()).collect::<Option<Vec<_>>>() {
            Some(marks) => Test::Is(marks.contains(&0)),
            None => unknown("a mark"),
        },
        Field::Flags(mask) => {
            // A connection opens with SYN alone.
            const SYN: u64 = 2;
            match flags(&Value::Array(values.iter().map(|value| (*value).clone()).collect())) {
                Some(wanted) => match mask {
                    Some(mask) => Test::Is(SYN & mask == wanted),
                    None => Test::Is(wanted & SYN != 0),
                },
                None => unknown("tcp flags"),
            }
        }
        // Sent to this host alone.
        Field::PacketType => Test::Is(has("host") || has("unicast")),
        Field::Of(_) => unknown("a field of another protocol"),
        Field::Fib { destination: true, kind: true } => match () {
            () if has("local") => Test::ToLocal,
            () if has("broadcast") || has("multicast") || has("anycast") => Test::Is(false),
            () => unknown("fib daddr"),
        },
        // Whoever can be answered has a way back, and is no address of this host.
        Field::Fib { destination: false, kind: true } => Test::Is(has("unicast")),
        Field::Fib { destination: false, kind: false } => {
            Test::Is(!values.iter().any(|value| value.as_bool() == Some(false) || value.as_u64() == Some(0)))
        }
        Field::Fib { .. } => unknown("fib"),
    }
}

fn addresses(values: &[&Value], family: Family, mask: u128) -> Option<Ranges> {
    let one = |text: &Value| {
        let address: IpAddr = text.as_str()?.parse().ok()?;
        (Family::of(address) == family).then(|| number(address))
    };
    let mut pairs = Vec::with_capacity(values.len());
    for value in values {
        let pair = if let Some(prefix) = value.get("prefix") {
            let length = u32::try_from(prefix.get("len")?.as_u64()?).ok()?;
            network(family, one(prefix.get("addr")?)?, length)
        } else if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
            (one(first)?, one(last)?)
        } else {
            let address = one(value)?;
            (address, address)
        };
        pairs.push(pair);
    }
    let top = family.top();
    if mask != top {
        // `saddr & mask == network`: the addresses with those bits; only masks that are lengths.
        let low = top & !mask;
        if low & low.wrapping_add(1) != 0 {
            return None;
        }
        for (first, last) in &mut pairs {
            if first != last || *first & low != 0 {
                return None;
            }
            *last = *first | low;
        }
    }
    Some(Ranges::new(pairs))
}

fn ports(value: &Value) -> Option<(u16, u16)> {
    let one = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => Some((one(first)?, one(last)?)),
        _ => one(value).map(|port| (port, port)),
    }
}

fn protocol(value: &Value) -> Option<u8> {
    if let Some(number) = value.as_u64() {
        return u8::try_from(number).ok();
    }
    match value.as_str()? {
        "icmp" => Some(1),
        "igmp" => Some(2),
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "gre" => Some(47),
        "esp" => Some(50),
        "ah" => Some(51),
        "ipv6-icmp" | "icmpv6" => Some(58),
        "vrrp" => Some(112),
        "sctp" => Some(132),
        "udplite" => Some(136),
        _ => None,
    }
}

/// Flags of tcp as a number: a word, a number, a list, or `{"|": [...]}`.
fn flags(value: &Value) -> Option<u64> {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(word) => NAMES.iter().position(|name| name == word).map(|at| 1 << at),
        Value::Array(all) => all.iter().try_fold(0, |sum, one| Some(sum | flags(one)?)),
        other => flags(other.get("|")?),
    }
}

fn compare(left: &Value, op: &str, right: &Value, sets: &Sets<'_>) -> Test {
    let field = field(left);
    let _ = sets;
    let (Field::Port(_), Some((port, _))) = (&field, ports(right)) else {
        return Test::Unknown("a comparison".to_owned());
    };
    let range = match op {
        "<" => port.checked_sub(1).map(|last| (0, last)),
        "<=" => Some((0, port)),
        ">" => port.checked_add(1).map(|first| (first, u16::MAX)),
        _ => Some((port, u16::MAX)),
    };
    let test = Test::Port(range.into_iter().collect());
    bound(&field).map_or(test.clone(), |bound| Test::All(vec![bound, test]))
}
