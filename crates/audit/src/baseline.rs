//! The listeners that somebody answers for, until a day: `/etc/portreeve/listeners.toml`; and drift, what listens beside it. Processes'
//! numbers have no part in it: a restart is no change. A file that cannot be understood is an error and never a default.

use crate::checks::{LISTENER_MISSING, LISTENER_UNEXPECTED};
use crate::exposure;
use crate::finding::Finding;
use crate::inventory::{Inventory, Listener};
use crate::sockets::Protocol;
use crate::waivers::{self, Day, Wrong};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml_span::value::{Value, ValueInner};

/// Where the baseline is.
pub const PATH: &str = "/etc/portreeve/listeners.toml";
const KEYS: [&str; 7] = ["protocol", "address", "namespace", "executable", "uid", "owner", "expires"];

/// What makes a listener the same one after a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Protocol, address and namespace, as `portreeve listeners` shows them.
    pub place: [String; 3],
    /// The executable of its process, `-` where none is known.
    pub executable: String,
    /// Its user's number, `-` where it is not known.
    pub uid: String,
}

/// Who answers for it, and through which day.
pub type Accepted = BTreeMap<Key, (String, Day)>;

/// The key of a listener that a baseline holds. None for unix sockets, which are no way into this host, for UDP at the ports that the
/// kernel hands out to clients, and in namespaces without a name, whose numbers change.
pub fn key(listener: &Listener, handed_out: (u16, u16)) -> Option<Key> {
    let protocol = listener.socket.protocol;
    let unix = matches!(protocol, Protocol::UnixStream | Protocol::UnixSeqpacket | Protocol::UnixDatagram);
    let client = protocol == Protocol::Udp
        && listener.socket.port().is_some_and(|port| (handed_out.0..=handed_out.1).contains(&port));
    if unix || client || listener.namespace.starts_with("net:[") {
        return None;
    }
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    Some(Key {
        place: [protocol.word().to_owned(), listener.socket.address(), listener.namespace.clone()],
        executable: or_none(listener.process().and_then(|process| process.executable.clone())),
        uid: or_none(listener.uid().map(|uid| uid.to_string())),
    })
}

/// The ports that this host hands out to clients (ip_local_port_range).
pub fn handed_out() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().map_while(|word| word.parse().ok());
    // The kernel's own default.
    (ports.next().unwrap_or(32_768), ports.next().unwrap_or(60_999))
}

/// Reads the file; None when it is not there.
///
/// # Errors
/// A sentence with the place.
pub fn read(path: &Path) -> Result<Option<Accepted>, String> {
    let Some(text) = waivers::file(path)? else { return Ok(None) };
    parse(&text).map(Some).map_err(|wrong| waivers::told(path, &text, wrong))
}

fn parse(text: &str) -> Result<Accepted, Wrong> {
    waivers::tables(text, "listener")?.into_iter().map(entry).collect()
}

fn entry(mut value: Value<'_>) -> Result<(Key, (String, Day)), Wrong> {
    let span = value.span;
    let ValueInner::Table(mut table) = value.take() else {
        return Err((span, "each listener must be a table: [[listener]]".to_owned()));
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&&*key.name)) {
        return Err((key.span, format!("there is no {} in a listener, only {}", key.name, KEYS.join(", "))));
    }
    let expires = waivers::day(&mut table, span)?;
    let mut word = |name| waivers::word(&mut table, span, name);
    let place = [word("protocol")?, word("address")?, word("namespace")?];
    let key = Key { place, executable: word("executable")?, uid: word("uid")? };
    Ok((key, (word("owner")?, expires)))
}

/// The file's text.
pub fn text(accepted: &Accepted) -> String {
    let mut text = String::from(
        "# Written by `portreeve listeners accept`: what may listen here, who answers for it, and through which day.\n",
    );
    for (key, (owner, expires)) in accepted {
        let [protocol, address, namespace] = &key.place;
        let expires = expires.to_string();
        text.push_str("\n[[listener]]\n");
        let values = [protocol, address, namespace, &key.executable, &key.uid, owner, &expires];
        for (name, value) in KEYS.iter().zip(values) {
            text.push_str(&format!("{name} = {}\n", quoted(value)));
        }
    }
    text
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// All that listens now is accepted: what was, through the day that it has; the rest, and what has expired, by this owner through this
/// day. What no longer listens is dropped.
pub fn accept(inventory: &Inventory, before: &Accepted, owner: &str, expires: Day, today: Day) -> Accepted {
    let ports = handed_out();
    let keys = inventory.listeners.iter().filter_map(|listener| key(listener, ports));
    keys.map(|key| {
        let kept = before.get(&key).filter(|(_, until)| *until >= today).cloned();
        let answer = kept.unwrap_or_else(|| (owner.to_owned(), expires));
        (key, answer)
    })
    .collect()
}

/// What listens and is not accepted (any more), and what is accepted and does not listen.
pub fn drift(inventory: &Inventory, accepted: &Accepted, today: Day) -> Vec<Finding> {
    let ports = handed_out();
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for listener in &inventory.listeners {
        let Some(key) = key(listener, ports) else { continue };
        let good = accepted.get(&key).is_some_and(|(_, until)| *until >= today);
        // Several sockets share an address (SO_REUSEPORT): one finding.
        if seen.insert(key) && !good {
            findings.push(exposure::finding(&LISTENER_UNEXPECTED, listener, 0));
        }
    }
    findings.extend(
        accepted.iter().filter(|(key, _)| !seen.contains(key)).map(|(key, (owner, _))| missing(key, owner)),
    );
    findings
}

fn missing(key: &Key, owner: &str) -> Finding {
    let [protocol, address, namespace] = key.place.clone();
    let elsewhere = if namespace == "own" { String::new() } else { format!(" in {namespace}") };
    Finding {
        check: &LISTENER_MISSING,
        subject: format!("{protocol} {address}{elsewhere}, of {owner}"),
        evidence: vec![
            ("protocol", protocol),
            ("address", address),
            ("namespace", namespace),
            ("executable", key.executable.clone()),
            ("uid", key.uid.clone()),
        ],
        pid: None,
        file: None,
        fix: format!(
            "start {} again, or drop it: portreeve listeners accept --owner OWNER --expires DAY",
            key.executable
        ),
        undo: LISTENER_MISSING.undo.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str) -> Key {
        let place = ["tcp", address, "own"].map(str::to_owned);
        Key { place, executable: "/opt/a \"b\"\\\u{7}".to_owned(), uid: "0".to_owned() }
    }

    #[test]
    fn what_is_written_is_read() {
        let day = Day { year: 2027, month: 6, day: 30 };
        let all: Accepted =
            [(one("0.0.0.0:1"), ("web".to_owned(), day)), (one("[::]:2"), ("x".to_owned(), day))].into();
        assert_eq!(parse(&text(&all)).unwrap(), all);
        let odd = text(&all).replace("uid", "pid");
        assert!(parse(&odd).unwrap_err().1.contains("there is no pid in a listener"));
        assert!(parse("[[listener]]\nprotocol = \"tcp\"\n").unwrap_err().1.contains("needs expires"));
    }

    #[test]
    fn drift_is_both_ways_and_acceptance_ends_it() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inventory =
            crate::inventory::take(crate::inventory::Places::default(), &Default::default()).unwrap();
        let address = held.local_addr().unwrap().to_string();
        let day = |year| Day { year, month: 1, day: 1 };
        let gone: Accepted = [(one("127.0.0.1:1"), ("web".to_owned(), day(2030)))].into();
        let found = drift(&inventory, &gone, day(2026));
        let about = |id: &str, address: &str, found: &[Finding]| {
            found.iter().filter(|f| f.check.id == id && f.evidence("address") == Some(address)).count()
        };
        assert_eq!(about("listener-unexpected", &address, &found), 1);
        assert_eq!(about("listener-missing", "127.0.0.1:1", &found), 1);
        let accepted = accept(&inventory, &gone, "me", day(2027), day(2026));
        assert!(drift(&inventory, &accepted, day(2027)).is_empty());
        assert_eq!(
            about("listener-unexpected", &address, &drift(&inventory, &accepted, day(2028))),
            1,
            "it has expired"
        );
        let again = accept(&inventory, &accepted, "other", day(2029), day(2026));
        assert_eq!(again, accepted, "who answers already goes on");
    }
}
