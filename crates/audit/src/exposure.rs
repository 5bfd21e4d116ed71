//! The checks of listeners: from an inventory to findings. Pure.

use crate::checks::{Check, PLAINTEXT, PLAINTEXT_LOGIN, ROOT_UNPACKAGED, STALE_EXECUTABLE};
use crate::finding::Finding;
use crate::inventory::{Inventory, Listener};
use crate::packages::Owner;
use crate::ports::Secrecy;
use crate::process::{Image, Process};
use crate::scope::Scope;
use crate::sockets::Protocol;
use std::collections::HashMap;

/// The checks that look at each listener by itself.
const EXPOSURE: [&Check; 4] = [&PLAINTEXT_LOGIN, &ROOT_UNPACKAGED, &PLAINTEXT, &STALE_EXECUTABLE];

/// What the checks gave.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The findings, in the checks' order.
    pub findings: Vec<Finding>,
    /// Checks that say nothing on this host, and why.
    pub not_applicable: Vec<(&'static str, &'static str)>,
}

/// Runs all checks.
pub fn check(inventory: &Inventory) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(why) = inventory.no_packages {
        outcome.not_applicable.push((ROOT_UNPACKAGED.id, why));
    }
    for check in EXPOSURE {
        let found = inventory.listeners.iter().filter(|listener| applies(check, listener));
        outcome.findings.extend(grouped(check, found).map(|(listener, more)| finding(check, listener, more)));
    }
    outcome
}

/// What is wrong with a program is one finding for all that it listens on: its first listener, and how many follow. What is wrong
/// with an address is one for each.
fn grouped<'a>(
    check: &Check,
    found: impl Iterator<Item = &'a Listener>,
) -> impl Iterator<Item = (&'a Listener, usize)> {
    let of_program = [STALE_EXECUTABLE.id, ROOT_UNPACKAGED.id].contains(&check.id);
    let mut groups: Vec<(&Listener, usize)> = Vec::new();
    let mut by_pid = HashMap::new();
    for listener in found {
        let pid = listener.process().map(|process| process.pid).filter(|_| of_program);
        match pid.and_then(|pid| by_pid.get(&pid)).and_then(|at: &usize| groups.get_mut(*at)) {
            Some((_, more)) => *more += 1,
            None => {
                by_pid.extend(pid.map(|pid| (pid, groups.len())));
                groups.push((listener, 0));
            }
        }
    }
    groups.into_iter()
}

fn applies(check: &Check, listener: &Listener) -> bool {
    let secrecy = listener.usual().map(|(_, secrecy)| secrecy);
    match check.id {
        id if id == PLAINTEXT_LOGIN.id => listener.open_to_all() && secrecy == Some(Secrecy::PlainLogin),
        id if id == PLAINTEXT.id => listener.open_to_all() && secrecy == Some(Secrecy::Plain),
        id if id == STALE_EXECUTABLE.id => listener
            .process()
            .is_some_and(|process| matches!(process.image, Image::Deleted | Image::Replaced | Image::Memory)),
        _ => {
            let transport = matches!(
                listener.socket.protocol,
                Protocol::Tcp | Protocol::Udp | Protocol::UdpLite | Protocol::Sctp
            );
            let root = listener.process().is_some_and(|process| process.uid == Some(0));
            let everywhere = listener.socket.scope() == Scope::All && listener.open_to_all();
            transport && everywhere && root && listener.package == Owner::Nobody
        }
    }
}

/// The finding of a check about a listener, and how many more of the same.
pub(crate) fn finding(check: &'static Check, listener: &Listener, more: usize) -> Finding {
    let process = listener.process();
    let mut evidence = vec![
        ("protocol", listener.socket.protocol.word().to_owned()),
        ("address", listener.socket.address()),
        ("namespace", listener.namespace.clone()),
    ];
    let mut add = |name, value: Option<String>| evidence.extend(value.map(|value| (name, value)));
    add("reach", listener.reach.as_ref().map(|reach| reach.line()));
    add("usual", listener.usual().map(|(name, _)| name.to_owned()));
    add("executable", process.and_then(|process| process.executable.clone()));
    let image =
        process.map(|process| process.image).filter(|image| !matches!(image, Image::Same | Image::Unknown));
    add("image", image.map(|image| image.word().to_owned()));
    add("uid", listener.uid().map(|uid| uid.to_string()));
    add("unit", process.and_then(|process| process.home.unit.clone()));
    let container = process.and_then(|process| process.home.container.as_ref());
    add("container", container.map(|container| format!("{} {}", container.runtime, container.name)));
    add("service", listener.service.clone());
    let (fix, undo) = if *check == STALE_EXECUTABLE { restart(listener) } else { stop(listener) };
    let elsewhere =
        if listener.namespace == "own" { String::new() } else { format!(" in {}", listener.namespace) };
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Finding {
        check,
        subject: format!("{}{elsewhere}{more}", listener.socket),
        evidence,
        pid: process.map(|process| process.pid),
        file: None,
        fix,
        undo,
    }
}

/// The commands that stop a listener, now and at the next boot where that is known, and that start it again.
pub(crate) fn stop(listener: &Listener) -> (String, String) {
    let Some(process) = listener.process() else {
        let hint = "ss -lnp as root names its process; the kernel's own (nfsd) have none".to_owned();
        return (hint, "what stopped it, reversed".to_owned());
    };
    if let Some(service) = listener.service.as_deref().filter(|service| !service.starts_with('(')) {
        let name = word(service);
        return (format!("portreeve disable {name}"), format!("portreeve enable {name}"));
    }
    if let Some((runtime, name)) = runtime(process) {
        return (format!("{runtime} stop {name}"), format!("{runtime} start {name}"));
    }
    if let Some(unit) = unit(process) {
        return (format!("systemctl disable --now {unit}"), format!("systemctl enable --now {unit}"));
    }
    (format!("kill {}", process.pid), again(process))
}

fn restart(listener: &Listener) -> (String, String) {
    let undo = STALE_EXECUTABLE.undo.to_owned();
    let Some(process) = listener.process() else { return (String::new(), undo) };
    // A service that waits hands its listener to an instance; the supervisor itself becomes its new version by `upgrade`.
    if listener.service.is_some() {
        return ("portreeve upgrade".to_owned(), undo);
    }
    if let Some((runtime, name)) = runtime(process) {
        return (format!("{runtime} restart {name}"), undo);
    }
    if let Some(unit) = unit(process) {
        return (format!("systemctl restart {unit}"), undo);
    }
    (format!("kill {} && {}", process.pid, again(process)), undo)
}

/// A unit that systemctl can start again; a scope is what somebody started by hand.
pub(crate) fn unit(process: &Process) -> Option<String> {
    // A user's manager runs all that is theirs: it is not stopped for one of it.
    let whole = |unit: &&str| unit.ends_with(".service") && !unit.starts_with("user@");
    process.home.unit.as_deref().filter(whole).map(word)
}

fn runtime(process: &Process) -> Option<(&'static str, String)> {
    let container = process.home.container.as_ref()?;
    let program = match container.runtime {
        runtime @ ("docker" | "podman") => runtime,
        _ => return None,
    };
    Some((program, word(&container.name)))
}

/// The command line, quoted.
fn again(process: &Process) -> String {
    if process.arguments.is_empty() {
        return process.executable.as_deref().map_or_else(|| word(&process.name), word);
    }
    process.arguments.iter().map(|argument| word(argument)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it.
pub(crate) fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A file's name as one word for a shell. What is no plain text is written as the bytes that it is: `$'/x\377'`, which all shells know that people sit at.
pub(crate) fn file(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => word(text),
        _ => {
            let mut text = String::from("$'");
            for &byte in name {
                match byte {
                    b'\'' | b'\\' => text.extend(['\\', char::from(byte)]),
                    b' '..=b'~' => text.push(char::from(byte)),
                    _ => text.push_str(&format!("\\{byte:03o}")),
                }
            }
            text + "'"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Container, Home};
    use crate::sockets::{Place, Socket};

    fn listener(protocol: Protocol, address: &str, port: u16) -> Listener {
        let place = Place::Ip { address: address.parse().unwrap(), port, v6_only: false };
        let process = Process {
            pid: 77,
            name: "d".to_owned(),
            executable: Some("/opt/d".to_owned()),
            image: Image::Same,
            arguments: vec!["/opt/d".to_owned(), "a b".to_owned()],
            uid: Some(0),
            home: Home::default(),
            our_root: true,
        };
        Listener {
            socket: Socket { protocol, place, interface: None, uid: Some(0), inode: 1 },
            namespace: "own".to_owned(),
            processes: vec![process.into()],
            package: Owner::Package("d".to_owned()),
            service: None,
            reach: None,
            served: None,
        }
    }

    fn found(listener: Listener) -> Vec<(&'static str, String)> {
        let inventory = Inventory { listeners: vec![listener], ..Inventory::default() };
        check(&inventory).findings.into_iter().map(|finding| (finding.check.id, finding.fix)).collect()
    }

    #[test]
    fn a_name_is_one_word_for_a_shell() {
        assert_eq!(file(b"/a/b"), "/a/b");
        assert_eq!(file("/a b/ü".as_bytes()), "'/a b/ü'");
        let odd = b"/x/'\\\xff\n\x1b[31m \t";
        let quoted = file(odd);
        assert!(quoted.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{quoted}");
        // As the shell reads it that root has.
        let mut shell = std::process::Command::new("bash");
        let said = shell.args(["-c", &format!("printf %s {quoted}")]).output().unwrap();
        assert_eq!(said.stdout, odd);
    }

    #[test]
    fn plaintext_counts_where_everybody_comes() {
        let ids = |address: &str, port| {
            found(listener(Protocol::Tcp, address, port)).into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(ids("0.0.0.0", 23), ["listener-plaintext-login"]);
        assert_eq!(ids("::", 80), ["listener-plaintext"]);
        assert_eq!(ids("8.8.8.8", 80), ["listener-plaintext"]);
        for (address, port) in
            [("127.0.0.1", 23), ("10.0.0.1", 80), ("0.0.0.0", 22), ("0.0.0.0", 53), ("::", 60000)]
        {
            assert!(ids(address, port).is_empty(), "{address} {port}");
        }
    }

    #[test]
    fn the_command_fits_the_case() {
        let telnet = || listener(Protocol::Tcp, "0.0.0.0", 23);
        assert_eq!(found(telnet())[0].1, "kill 77");
        let mut unit = telnet();
        std::sync::Arc::make_mut(&mut unit.processes[0]).home.unit = Some("telnet.service".to_owned());
        assert_eq!(found(unit)[0].1, "systemctl disable --now telnet.service");
        let mut scope = telnet();
        std::sync::Arc::make_mut(&mut scope.processes[0]).home.unit = Some("session-1.scope".to_owned());
        assert_eq!(found(scope)[0].1, "kill 77");
        let mut container = telnet();
        std::sync::Arc::make_mut(&mut container.processes[0]).home.container =
            Some(Container { runtime: "podman", name: "ab".to_owned() });
        assert_eq!(found(container)[0].1, "podman stop ab");
        let mut ours = telnet();
        ours.service = Some("telnet".to_owned());
        assert_eq!(found(ours)[0].1, "portreeve disable telnet");
        let mut nobody = telnet();
        nobody.processes.clear();
        assert!(found(nobody)[0].1.starts_with("ss -lnp"));
    }

    #[test]
    fn stale_and_unpackaged() {
        let mut stale = listener(Protocol::Udp, "127.0.0.1", 9999);
        for image in [Image::Deleted, Image::Replaced, Image::Memory] {
            std::sync::Arc::make_mut(&mut stale.processes[0]).image = image;
            assert_eq!(
                found(stale.clone()),
                [("listener-stale-executable", "kill 77 && /opt/d 'a b'".to_owned())]
            );
        }
        let mut nobodys = listener(Protocol::Tcp, "::", 9999);
        nobodys.package = Owner::Nobody;
        assert_eq!(found(nobodys.clone())[0].0, "listener-root-unpackaged");
        for change in [
            |l: &mut Listener| std::sync::Arc::make_mut(&mut l.processes[0]).uid = Some(1),
            |l: &mut Listener| l.package = Owner::Unknown("x"),
            |l: &mut Listener| l.socket.interface = Some("lo".to_owned()),
            |l: &mut Listener| l.processes.clear(),
        ] {
            let mut other = nobodys.clone();
            change(&mut other);
            assert_eq!(found(other), []);
        }
        let several = vec![nobodys.clone(), listener(Protocol::Udp, "::", 9), nobodys.clone()];
        let inventory = Inventory { listeners: several, ..Inventory::default() };
        let subjects: Vec<_> =
            check(&inventory).findings.into_iter().map(|finding| finding.subject).collect();
        assert_eq!(subjects, ["tcp [::]:9999 and 1 more"], "one program, one finding");
        let outcome = check(&Inventory { no_packages: Some("none"), ..Inventory::default() });
        assert_eq!(outcome.not_applicable, [("listener-root-unpackaged", "none")]);
    }
}
