//! What can be turned off, and why: from an inventory to suggestions. Pure; it finds nothing that is wrong, only what nobody seems to need.

use crate::inventory::{Inventory, Listener};
use crate::packages::Owner;
use crate::ports::{self, Secrecy};
use crate::sockets::Protocol;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DAY: i64 = 86_400_000_000;

/// A reason, and how much it says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its word, for ever.
    pub id: &'static str,
    /// In a sentence.
    pub text: String,
}

/// One suggestion.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// `tcp 0.0.0.0:23`, of several the first.
    pub subject: String,
    /// How many more of the same.
    pub more: usize,
    /// Who listens, for people.
    pub holder: String,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
    /// What stops it.
    pub command: String,
    /// What starts it again.
    pub undo: String,
}

/// Ports at which programs are looked into or steered while they are made, and services of the inetd's own that nobody uses.
const DEBUG: [(u16, &str); 14] = [
    (7, "echo"),
    (9, "discard"),
    (11, "systat"),
    (13, "daytime"),
    (15, "netstat"),
    (17, "qotd"),
    (19, "chargen"),
    (37, "time"),
    (5005, "the debugger of Java"),
    (5678, "the debugger of Python"),
    (6060, "the profiler of Go"),
    (8888, "notebooks"),
    (9003, "the debugger of PHP"),
    (9229, "the debugger of Node"),
];

impl Suggestion {
    /// The fields for machines.
    pub fn json(&self) -> Value {
        let reason = |reason: &Reason| json!({"id": reason.id, "text": reason.text});
        json!({
            "subject": self.subject,
            "more": self.more,
            "holder": self.holder,
            "reasons": self.reasons.iter().map(reason).collect::<Vec<_>>(),
            "command": self.command,
            "undo": self.undo,
        })
    }
}

/// Suggestions, those with most reasons first. `now` is in microseconds since 1970; `days` without a client are many.
pub fn suggest(inventory: &Inventory, now: i64, days: i64) -> Vec<Suggestion> {
    let mut by_holder: BTreeMap<String, (Suggestion, Vec<&Listener>)> = BTreeMap::new();
    for listener in &inventory.listeners {
        let transport = matches!(
            listener.socket.protocol,
            Protocol::Tcp | Protocol::Udp | Protocol::UdpLite | Protocol::Sctp
        );
        if !transport {
            continue;
        }
        let reasons = reasons(listener, inventory, now, days);
        if reasons.is_empty() {
            continue;
        }
        let (holder, command, undo) = how(listener);
        let entry =
            by_holder.entry(format!("{} {holder} {command}", listener.namespace)).or_insert_with(|| {
                let elsewhere = if listener.namespace == "own" {
                    String::new()
                } else {
                    format!(" in {}", listener.namespace)
                };
                let subject = format!("{}{elsewhere}", listener.socket);
                (Suggestion { subject, more: 0, holder, reasons: Vec::new(), command, undo }, Vec::new())
            });
        entry.0.more = entry.1.len();
        entry.1.push(listener);
        for reason in reasons {
            if !entry.0.reasons.iter().any(|known| known.id == reason.id) {
                entry.0.reasons.push(reason);
            }
        }
    }
    let mut found: Vec<Suggestion> = by_holder.into_values().map(|(suggestion, _)| suggestion).collect();
    // Being reachable is no reason by itself.
    found.retain(|suggestion| suggestion.reasons.iter().any(|reason| reason.id != "open"));
    found.sort_by_key(|suggestion| std::cmp::Reverse(suggestion.reasons.len()));
    found
}

fn reasons(listener: &Listener, inventory: &Inventory, now: i64, days: i64) -> Vec<Reason> {
    let mut found = Vec::new();
    let mut add = |id, text: String| found.push(Reason { id, text });
    if let (Some(served), Some(since)) = (listener.served, inventory.served_since) {
        let known = (now - since) / DAY;
        if served.times == 0 && known >= days {
            add(
                "never-served",
                format!("it has not served anybody in the {known} days that the ledger knows"),
            );
        } else if served.times > 0 && (now - served.last) / DAY >= days {
            add("not-served", format!("it has not served anybody for {} days", (now - served.last) / DAY));
        }
    }
    let port = listener.socket.port().unwrap_or(0);
    if let Some((_, what)) = DEBUG.iter().find(|(known, _)| *known == port) {
        add("debug", format!("port {port} is for {what}: no server needs it"));
    }
    let open = listener.open_to_all();
    match ports::known(listener.socket.protocol, port) {
        Some((name, Secrecy::PlainLogin)) if open => {
            add("plaintext-login", format!("{name} sends passwords or takes commands in plaintext"));
        }
        Some((name, Secrecy::Plain)) if open => {
            add("plaintext", format!("{name} sends its contents in plaintext"))
        }
        _ => {}
    }
    if listener.package == Owner::Nobody && open {
        add("no-package", "no package brought its program: nothing updates it".to_owned());
    }
    if let Some(other) = double(listener, inventory) {
        add("double", format!("{other} serves the same protocol"));
    }
    if open {
        let text = listener.reach.as_ref().map_or("anyone".to_owned(), |reach| reach.text.clone());
        add("open", format!("reachable by {text}"));
    }
    found
}

/// Another program that serves the same usual protocol, at another port of this host.
fn double(listener: &Listener, inventory: &Inventory) -> Option<String> {
    let (name, _) = listener.usual()?;
    let program = listener.process()?.executable.as_deref()?;
    let other = inventory.listeners.iter().find(|other| {
        other.namespace == listener.namespace
            && other.socket.protocol == listener.socket.protocol
            && other.socket.port() != listener.socket.port()
            && other.usual().is_some_and(|(usual, _)| usual == name)
            && other
                .process()
                .and_then(|process| process.executable.as_deref())
                .is_some_and(|other| other != program)
            && listener.socket.port() > other.socket.port()
    })?;
    Some(format!("{} at {}", other.process()?.name, other.socket))
}

/// Who it is, what stops it for good, and what starts it again.
fn how(listener: &Listener) -> (String, String, String) {
    let pair = |what: &str| (format!("portreeve off {what}"), format!("portreeve on {what}"));
    let Some(process) = listener.process() else {
        let (command, undo) = crate::exposure::stop(listener);
        return ("-".to_owned(), command, undo);
    };
    if let Some(service) = listener.service.as_deref().filter(|service| !service.starts_with('(')) {
        let (command, undo) = pair(&crate::exposure::word(&format!("service:{service}")));
        return (format!("service {service}"), command, undo);
    }
    if process.home.container.is_none()
        && let Some(unit) = crate::exposure::unit(process)
    {
        let (command, undo) = pair(&unit);
        return (unit, command, undo);
    }
    let (command, undo) = crate::exposure::stop(listener);
    (format!("{}[{}]", process.name, process.pid), command, undo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Served;
    use crate::process::{Image, Process};
    use crate::sockets::{Place, Socket};

    fn one(port: u16, program: &str, pid: u32) -> Listener {
        let place = Place::Ip { address: "0.0.0.0".parse().unwrap(), port, v6_only: false };
        let process = Process {
            pid,
            name: program.trim_start_matches('/').to_owned(),
            executable: Some(program.to_owned()),
            image: Image::Same,
            arguments: Vec::new(),
            uid: Some(0),
            home: Default::default(),
            our_root: true,
        };
        Listener {
            socket: Socket { protocol: Protocol::Tcp, place, interface: None, uid: Some(0), inode: pid },
            namespace: "own".to_owned(),
            processes: vec![process.into()],
            package: Owner::Package("p".to_owned()),
            service: None,
            reach: None,
            served: None,
        }
    }

    fn ids(suggestion: &Suggestion) -> Vec<&'static str> {
        suggestion.reasons.iter().map(|reason| reason.id).collect()
    }

    #[test]
    fn reasons_and_commands() {
        let mut ours = one(9000, "/gate", 1);
        ours.service = Some("old svc".to_owned());
        ours.served = Some(Served::default());
        let mut busy = ours.clone();
        busy.service = Some("busy".to_owned());
        busy.served = Some(Served { last: 99 * DAY, times: 5 });
        let mut unit = one(23, "/telnetd", 2);
        std::sync::Arc::make_mut(&mut unit.processes[0]).home.unit = Some("telnet.service".to_owned());
        let listeners = vec![
            ours,
            busy,
            unit,
            one(19, "/inetd", 3),
            one(80, "/a", 4),
            one(8080, "/b", 5),
            one(22, "/sshd", 6),
        ];
        let inventory = Inventory { listeners, served_since: Some(50 * DAY), ..Inventory::default() };
        let found = suggest(&inventory, 100 * DAY, 30);
        let by = |holder: &str| {
            found.iter().find(|s| s.holder == holder).unwrap_or_else(|| panic!("{holder}: {found:?}"))
        };
        assert_eq!(ids(by("service old svc")), ["never-served", "open"]);
        assert_eq!(by("service old svc").command, "portreeve off 'service:old svc'");
        assert_eq!(ids(by("telnet.service")), ["plaintext-login", "open"]);
        assert_eq!(
            (by("telnet.service").command.as_str(), by("telnet.service").undo.as_str()),
            ("portreeve off telnet.service", "portreeve on telnet.service")
        );
        assert_eq!(ids(by("inetd[3]")), ["debug", "open"]);
        assert_eq!(ids(by("b[5]")), ["plaintext", "double", "open"]);
        assert!(
            found.iter().all(|s| s.holder != "sshd[6]" && s.holder != "service busy"),
            "being reachable is no reason"
        );
        assert!(
            suggest(&Inventory { served_since: Some(90 * DAY), ..inventory }, 100 * DAY, 30)
                .iter()
                .all(|s| s.holder != "service old svc"),
            "the ledger knows too little"
        );
    }
}
