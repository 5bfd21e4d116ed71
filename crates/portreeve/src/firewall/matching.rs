//! Whether a match of a rule holds for the first packet of a client: yes, no, or it cannot be told. Knows the fields that people
//! filter by, and says `Unknown` of every other. Pure.

use super::ruleset::{Chain, Ruleset};
use super::walk::Probe;
use portreeve_policy::Prefix;
use serde_json::Value;
use std::net::IpAddr;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    fn of(truth: bool) -> Self {
        if truth { Truth::Yes } else { Truth::No }
    }

    fn not(self) -> Self {
        match self {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

/// What stands left of a comparison, for this packet.
enum Left {
    Number(u64),
    Address(IpAddr),
    Text(String),
    /// Words of which it has these.
    Words(Vec<&'static str>),
    /// The packet has no such field, so no comparison holds.
    Absent,
    /// It has one, and it is not known.
    Unknown,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The match as a whole.
pub(super) fn matches(ruleset: &Ruleset, chain: &Chain, probe: &Probe<'_>, matched: &Value) -> Truth {
    let (Some(left), Some(right)) = (matched.get("left"), matched.get("right")) else {
        return Truth::Unknown;
    };
    let left = read(probe, left);
    if matches!(left, Left::Absent) {
        return Truth::No;
    }
    match text(matched, "op") {
        "==" | "in" | "" => holds(ruleset, chain, &left, right, 0),
        "!=" => holds(ruleset, chain, &left, right, 0).not(),
        op => match (&left, right.as_u64()) {
            (Left::Number(number), Some(right)) => match op {
                "<" => Truth::of(*number < right),
                ">" => Truth::of(*number > right),
                "<=" => Truth::of(*number <= right),
                ">=" => Truth::of(*number >= right),
                _ => Truth::Unknown,
            },
            _ => Truth::Unknown,
        },
    }
}

/// Whether a value of a map is this packet's.
pub(super) fn value_holds(
    ruleset: &Ruleset,
    chain: &Chain,
    probe: &Probe<'_>,
    key: &Value,
    value: &Value,
) -> Truth {
    match read(probe, key) {
        Left::Absent => Truth::No,
        left => holds(ruleset, chain, &left, value, 0),
    }
}

fn read(probe: &Probe<'_>, left: &Value) -> Left {
    if let Some(payload) = left.get("payload") {
        return payload_of(probe, text(payload, "protocol"), text(payload, "field"));
    }
    if let Some(meta) = left.get("meta") {
        return meta_of(probe, text(meta, "key"));
    }
    if let Some(ct) = left.get("ct") {
        return match text(ct, "key") {
            "state" => Left::Words(vec!["new"]),
            _ => Left::Unknown,
        };
    }
    if let Some(fib) = left.get("fib") {
        let flags = fib.get("flags").map(Value::to_string).unwrap_or_default();
        let of_target = text(fib, "result") == "type" && flags.contains("daddr");
        return if of_target { Left::Text("local".to_owned()) } else { Left::Unknown };
    }
    if let Some([inner, mask]) = left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        return masked(read(probe, inner), mask);
    }
    Left::Unknown
}

fn payload_of(probe: &Probe<'_>, protocol: &str, field: &str) -> Left {
    let v4 = probe.source.to_canonical().is_ipv4();
    match protocol {
        "ip" | "ip6" if (protocol == "ip") != v4 => Left::Absent,
        "ip" | "ip6" => match field {
            "saddr" => Left::Address(probe.source.to_canonical()),
            "daddr" => probe.to.map_or(Left::Unknown, |to| Left::Address(to.to_canonical())),
            "protocol" | "nexthdr" => Left::Number(probe.transport.number().into()),
            _ => Left::Unknown,
        },
        "th" => port_of(probe, field),
        _ if protocol == probe.transport.word() => match field {
            "flags" => Left::Words(vec!["syn"]),
            field => port_of(probe, field),
        },
        // Of another protocol.
        "tcp" | "udp" | "udplite" | "sctp" | "icmp" | "icmpv6" | "dccp" | "esp" | "ah" | "igmp" | "comp" => {
            Left::Absent
        }
        _ => Left::Unknown,
    }
}

fn port_of(probe: &Probe<'_>, field: &str) -> Left {
    if field == "dport" { Left::Number(probe.port.into()) } else { Left::Unknown }
}

fn meta_of(probe: &Probe<'_>, key: &str) -> Left {
    match key {
        "l4proto" => Left::Number(probe.transport.number().into()),
        "nfproto" => {
            Left::Text(if probe.source.to_canonical().is_ipv4() { "ipv4" } else { "ipv6" }.to_owned())
        }
        "protocol" => Left::Text(if probe.source.to_canonical().is_ipv4() { "ip" } else { "ip6" }.to_owned()),
        // A client from elsewhere never comes by loopback.
        "iif" | "iifname" => Left::Text(probe.interface.unwrap_or("?").to_owned()),
        _ => Left::Unknown,
    }
}

fn masked(left: Left, mask: &Value) -> Left {
    match left {
        Left::Address(address) => {
            let length = match (mask.as_str(), mask.get("prefix")) {
                (Some(mask), _) => mask.parse::<IpAddr>().ok().and_then(leading),
                (None, Some(prefix)) => {
                    prefix.get("len").and_then(Value::as_u64).and_then(|len| u8::try_from(len).ok())
                }
                (None, None) => None,
            };
            length.map_or(Left::Unknown, |length| Left::Address(Prefix::around(address, length).address()))
        }
        // Flags: those that the mask names.
        Left::Words(words) => {
            let mask = mask.to_string();
            Left::Words(words.into_iter().filter(|word| mask.contains(&format!("\"{word}\""))).collect())
        }
        Left::Absent => Left::Absent,
        Left::Number(_) | Left::Text(_) | Left::Unknown => Left::Unknown,
    }
}

/// The length of a mask whose ones all lead.
fn leading(mask: IpAddr) -> Option<u8> {
    let (ones, whole) = match mask {
        IpAddr::V4(v4) => (v4.to_bits().leading_ones(), v4.to_bits().count_ones()),
        IpAddr::V6(v6) => (v6.to_bits().leading_ones(), v6.to_bits().count_ones()),
    };
    (ones == whole).then(|| u8::try_from(ones).ok()).flatten()
}

fn holds(ruleset: &Ruleset, chain: &Chain, left: &Left, right: &Value, depth: usize) -> Truth {
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        let Some(elements) = ruleset.named(chain, name).filter(|_| depth == 0) else { return Truth::Unknown };
        return any(ruleset, chain, left, elements, depth);
    }
    let list = right.get("set").and_then(Value::as_array).or_else(|| right.as_array());
    if let Some(list) = list {
        if let Left::Words(words) = left {
            return Truth::of(list.iter().filter_map(Value::as_str).any(|word| words.contains(&word)));
        }
        return any(ruleset, chain, left, list, depth);
    }
    let right = right.get("elem").and_then(|elem| elem.get("val")).unwrap_or(right);
    match left {
        Left::Unknown | Left::Absent => Truth::Unknown,
        Left::Number(number) => number_is(*number, right),
        Left::Address(address) => address_is(*address, right),
        Left::Words(words) => match right.as_str() {
            Some(word) => Truth::of(words.len() == 1 && words.contains(&word)),
            None => {
                right.as_u64().map_or(Truth::Unknown, |number| Truth::of(number == 0 && words.is_empty()))
            }
        },
        Left::Text(text) => match right.as_str() {
            // The interface is not known, but for what it is not.
            Some("lo") if text == "?" => Truth::No,
            Some(_) if text == "?" => Truth::Unknown,
            Some(right) => {
                Truth::of(right.strip_suffix('*').map_or(right == text, |front| text.starts_with(front)))
            }
            None => Truth::Unknown,
        },
    }
}

fn any(ruleset: &Ruleset, chain: &Chain, left: &Left, list: &[Value], depth: usize) -> Truth {
    let mut found = Truth::No;
    for value in list {
        match holds(ruleset, chain, left, value, depth + 1) {
            Truth::Yes => return Truth::Yes,
            Truth::Unknown => found = Truth::Unknown,
            Truth::No => {}
        }
    }
    found
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| match value.as_str()? {
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        "igmp" => Some(2),
        "ipv6-icmp" | "icmpv6" => Some(58),
        "sctp" => Some(132),
        "udplite" => Some(136),
        "esp" => Some(50),
        "ah" => Some(51),
        "gre" => Some(47),
        text => text.parse().ok(),
    })
}

fn number_is(left: u64, right: &Value) -> Truth {
    if let Some([first, last]) = right.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let ends = number(first).zip(number(last));
        return ends.map_or(Truth::Unknown, |(first, last)| Truth::of((first..=last).contains(&left)));
    }
    number(right).map_or(Truth::Unknown, |right| Truth::of(left == right))
}

fn address_is(left: IpAddr, right: &Value) -> Truth {
    let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    if let Some(prefix) = right.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64).and_then(|length| u8::try_from(length).ok());
        let network = prefix.get("addr").and_then(address).zip(length);
        return network.map_or(Truth::Unknown, |(network, length)| {
            Truth::of(Prefix::around(network, length).contains(left))
        });
    }
    if let Some([first, last]) = right.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let ends = address(first).zip(address(last));
        return ends.map_or(Truth::Unknown, |(first, last)| Truth::of(first <= left && left <= last));
    }
    address(right).map_or(Truth::Unknown, |right| Truth::of(right.to_canonical() == left))
}
