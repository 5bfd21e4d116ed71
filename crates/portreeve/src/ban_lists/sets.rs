//! Sets of addresses as ipset and nft list them. A set of anything else, of ports for one, is refused: what it holds is no ban.

use super::{Listed, Time, Wrong, cut, network, span};
use portreeve_policy::Prefix;
use serde_json::Value;
use std::net::IpAddr;

/// Networks that one range may become.
const MOST_OF_A_RANGE: usize = 256;

fn wrong(line: usize, column: usize, what: impl Into<String>) -> Wrong {
    Wrong { line, column, what: what.into() }
}

/// `ipset save`: lines of `create` and `add`.
pub(super) fn ipset_save(text: &str) -> Result<Vec<Listed>, Wrong> {
    let mut list = Vec::new();
    for (number, row) in text.lines().enumerate() {
        let line = number + 1;
        let mut words = row.splitn(4, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("add"), Some(set), Some(entry)) => {
                member(entry, words.next().unwrap_or_default(), set, (line, set.len() + 6), &mut list)?;
            }
            (Some("create"), Some(_), Some(_)) | (Some(""), ..) => {}
            _ => return Err(wrong(line, 1, "what `ipset save` writes was expected: `create` or `add`")),
        }
    }
    Ok(list)
}

/// `ipset list`: a head for each set, and its members.
pub(super) fn ipset_list(text: &str) -> Result<Vec<Listed>, Wrong> {
    let (mut list, mut set, mut members) = (Vec::new(), "", false);
    for (number, row) in text.lines().enumerate() {
        if let Some(name) = row.strip_prefix("Name: ") {
            (set, members) = (name.trim(), false);
        } else if row.starts_with("Members:") {
            members = true;
        } else if members && !row.trim().is_empty() {
            let (entry, options) = row.split_once(' ').unwrap_or((row, ""));
            member(entry, options, set, (number + 1, 1), &mut list)?;
        }
    }
    Ok(list)
}

fn member(
    entry: &str,
    options: &str,
    set: &str,
    (line, column): (usize, usize),
    list: &mut Vec<Listed>,
) -> Result<(), Wrong> {
    if entry.contains(',') {
        return Err(wrong(
            line,
            column,
            format!("{entry:?}: a set of addresses or networks alone was expected"),
        ));
    }
    let mut words = options.split_ascii_whitespace().take_while(|word| *word != "comment");
    let time = match words.find(|word| *word == "timeout").and_then(|_| words.next()).map(str::parse) {
        None => None,
        Some(Ok(0)) => Some(Time::Forever),
        Some(Ok(seconds)) => Some(Time::Seconds(seconds)),
        Some(Err(_)) => return Err(wrong(line, column, "its timeout is no number of seconds")),
    };
    let network = network(entry, line, column)?;
    list.push(Listed { network, time, reason: cut(format!("ipset {set}")), line });
    Ok(())
}

/// `nft list set ...`, `nft list table ...`: what stands in `elements = { }`.
pub(super) fn nft(text: &str) -> Result<Vec<Listed>, Wrong> {
    let (mut list, mut set) = (Vec::new(), String::new());
    let mut open: Option<(usize, String)> = None;
    for (number, row) in text.lines().enumerate() {
        let line = number + 1;
        let plain = row.trim();
        if open.is_none() {
            if let Some(name) = plain.strip_prefix("set ").or_else(|| plain.strip_prefix("map ")) {
                set = name.trim_end_matches('{').trim().to_owned();
            }
            let Some(begin) = plain.strip_prefix("elements = {") else { continue };
            open = Some((line, begin.to_owned()));
        } else if let Some((_, elements)) = &mut open {
            elements.push('\n');
            elements.push_str(row);
        }
        let Some((first, elements)) = open.as_ref().filter(|_| closes(plain)) else { continue };
        let elements = elements.trim_end().trim_end_matches('}');
        for (offset, element) in split(elements) {
            let words = element.trim();
            if !words.is_empty() {
                nft_element(words, &set, first + offset, &mut list)?;
            }
        }
        open = None;
    }
    match open {
        Some((line, _)) => Err(wrong(line, 1, "`elements` has no end")),
        None => Ok(list),
    }
}

/// Whether a line of elements is the last one.
fn closes(line: &str) -> bool {
    line.ends_with('}')
}

/// The elements between commas, with the number of lines before each; a comma in a comment is none.
fn split(elements: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut begin, mut quoted, mut line, mut first) = (Vec::new(), 0, false, 0, 0);
    for (at, c) in elements.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push((first, elements.get(begin..at).unwrap_or_default()));
                (begin, first) = (at + 1, line);
            }
            '\n' => {
                line += 1;
                // What stands on the next line begins there.
                if elements.get(begin..at).is_some_and(|before| before.trim().is_empty()) {
                    first = line;
                }
            }
            _ => {}
        }
    }
    parts.push((first, elements.get(begin..).unwrap_or_default()));
    parts
}

fn nft_element(element: &str, set: &str, line: usize, list: &mut Vec<Listed>) -> Result<(), Wrong> {
    let mut words = element.split_ascii_whitespace();
    let key = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.take_while(|word| *word != "comment").collect();
    if rest.first().is_some_and(|word| [".", ":"].contains(word)) {
        return Err(wrong(line, 1, format!("{element:?}: a set of addresses alone was expected")));
    }
    let after = |name: &str| rest.iter().skip_while(|word| **word != name).nth(1);
    let time = match after("expires").or_else(|| after("timeout")) {
        None => None,
        Some(word) => Some(Time::Seconds(
            span(word).ok_or_else(|| wrong(line, 1, format!("{word:?} is no time as 29m59s992ms")))?,
        )),
    };
    key_networks(key, set, time, line, list)
}

fn key_networks(
    key: &str,
    set: &str,
    time: Option<Time>,
    line: usize,
    list: &mut Vec<Listed>,
) -> Result<(), Wrong> {
    let networks = match key.split_once('-') {
        Some((from, to)) => match (from.parse(), to.parse()) {
            (Ok(from), Ok(to)) => range(from, to)
                .ok_or_else(|| wrong(line, 1, format!("{key:?} is no range, or one of too many networks")))?,
            _ => return Err(wrong(line, 1, format!("{key:?} is no range of addresses"))),
        },
        None => vec![network(key, line, 1)?],
    };
    let reason = cut(format!("nft {set}"));
    list.extend(networks.into_iter().map(|network| Listed { network, time, reason: reason.clone(), line }));
    Ok(())
}

/// The networks that make up a range.
fn range(from: IpAddr, to: IpAddr) -> Option<Vec<Prefix>> {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32u8),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((mut first, bits), (last, same)) = (number(from), number(to));
    if bits != same || first > last {
        return None;
    }
    let mut networks = Vec::new();
    loop {
        // The largest network that begins here and does not go beyond the end.
        let mut free = u8::try_from(first.trailing_zeros()).unwrap_or(bits).min(bits);
        let end = |free: u8| first | (1u128.checked_shl(free.into()).unwrap_or(0)).wrapping_sub(1);
        while end(free) > last {
            free -= 1;
        }
        let address =
            if bits == 32 { IpAddr::V4(u32::try_from(first).ok()?.into()) } else { IpAddr::V6(first.into()) };
        networks.push(Prefix::around(address, bits - free));
        if networks.len() > MOST_OF_A_RANGE {
            return None;
        }
        if end(free) == last {
            return Some(networks);
        }
        first = end(free) + 1;
    }
}

/// `nft -j list set ...`.
pub(super) fn nft_json(text: &str) -> Result<Vec<Listed>, Wrong> {
    let value: Value = serde_json::from_str(text)
        .map_err(|error| wrong(error.line(), error.column(), format!("no JSON: {error}")))?;
    let objects = value.get("nftables").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut list = Vec::new();
    for set in objects.iter().filter_map(|object| object.get("set")) {
        let name = set.get("name").and_then(Value::as_str).unwrap_or_default();
        for element in set.get("elem").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() {
            let inner = element.get("elem").unwrap_or(element);
            let key = inner.get("val").unwrap_or(inner);
            let seconds = inner.get("expires").or_else(|| inner.get("timeout")).and_then(Value::as_u64);
            let time = seconds.map(|seconds| Time::Seconds(seconds.max(1)));
            key_networks(&key_text(key), name, time, 1, &mut list)?;
        }
    }
    Ok(list)
}

fn key_text(key: &Value) -> String {
    let part = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(prefix) = key.get("prefix") {
        let length = prefix.get("len").and_then(Value::as_u64).unwrap_or(u64::MAX);
        return format!("{}/{length}", part(prefix.get("addr")));
    }
    match key.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([from, to]) => format!("{}-{}", part(Some(from)), part(Some(to))),
        _ => key.as_str().map_or_else(|| key.to_string(), str::to_owned),
    }
}
