//! Every listener with all that is known of it: sockets of all namespaces, joined with processes, packages and our services.

use crate::bounded;
use crate::namespaces;
use crate::packages::{Owner, Owners};
use crate::ports::{self, Secrecy};
use crate::process::{self, Process};
use crate::sockets::{self, Socket};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::Path;

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// Its network namespace: `own`, a name, or `net:[number]`.
    pub namespace: String,
    /// Who holds it; first whom it is meant for: not the one that only made it for others.
    pub processes: Vec<Process>,
    /// Whose file the first one runs.
    pub package: Owner,
    /// The service of ours.
    pub service: Option<String>,
}

impl Listener {
    /// Who answers there.
    pub fn process(&self) -> Option<&Process> {
        self.processes.first()
    }

    /// The usual protocol of its port, and what that shows.
    pub fn usual(&self) -> Option<(&'static str, Secrecy)> {
        ports::known(self.socket.protocol, self.socket.port()?)
    }

    /// The user it runs as: the process's, else the socket's.
    pub fn uid(&self) -> Option<u32> {
        self.process().map_or(self.socket.uid, |process| process.uid)
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        let package = match &self.package {
            Owner::Package(name) => Some(name.as_str()),
            _ => None,
        };
        let process = |process: &Process| {
            json!({
                "pid": process.pid,
                "name": process.name,
                "executable": process.executable,
                "image": process.image.word(),
                "arguments": process.arguments,
                "uid": process.uid,
                "unit": process.home.unit,
                "container": process.home.container.as_ref().map(|c| json!({"runtime": c.runtime, "name": c.name})),
            })
        };
        let v6_only = match self.socket.place {
            sockets::Place::Ip { v6_only, address, .. } if address.is_ipv6() => Some(v6_only),
            _ => None,
        };
        json!({
            "protocol": self.socket.protocol.word(),
            "address": self.socket.address(),
            "port": self.socket.port(),
            "interface": self.socket.interface,
            "v6_only": v6_only,
            "namespace": self.namespace,
            "scope": self.socket.scope().word(),
            "inode": self.socket.inode,
            "socket_uid": self.socket.uid,
            "uid": self.uid(),
            "processes": self.processes.iter().map(process).collect::<Vec<_>>(),
            "package": package,
            "package_known": !matches!(self.package, Owner::Unknown(_)),
            "service": self.service,
            "usual": self.usual().map(|(name, _)| name),
            "secrecy": self.usual().map_or(Secrecy::Unknown, |(_, secrecy)| secrecy).word(),
        })
    }
}

/// What the running daemon says of itself, where it answers.
#[derive(Clone, Debug, Default)]
pub struct Daemon {
    /// The processes that may hold its sockets: the supervisor and its workers.
    pub pids: Vec<u32>,
    /// Protocol, address and service.
    pub services: Vec<(String, String, String)>,
}

impl Daemon {
    /// The service that owns a socket held by these processes. What has several addresses is told by the process alone.
    fn service(&self, socket: &Socket, holders: &[u32]) -> Option<String> {
        holders.iter().find(|pid| self.pids.contains(pid))?;
        let (protocol, address) = (socket.protocol.word(), socket.address());
        let protocol = if protocol.starts_with("unix") { "unix" } else { protocol };
        let ours = self.services.iter().find(|(p, a, _)| {
            a.split(" ").any(|one| one == address) && (p == protocol || protocol == "unix")
        });
        Some(ours.map_or_else(|| "(portreeve)".to_owned(), |(_, _, service)| service.clone()))
    }
}

/// What was found, and what could not be.
#[derive(Debug, Default)]
pub struct Inventory {
    /// In order of namespace (this one first), protocol and address.
    pub listeners: Vec<Listener>,
    /// Network namespaces looked into.
    pub namespaces: usize,
    /// What is missing from the list, in sentences.
    pub gaps: Vec<String>,
    /// Processes that ended while they were looked at.
    pub vanished: usize,
    /// Why packages are not known, if so.
    pub no_packages: Option<&'static str>,
}

/// Where things are read from; other places in tests.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// /proc.
    pub proc: &'a Path,
    /// dpkg's lists.
    pub dpkg: &'a Path,
}

impl Default for Places<'_> {
    fn default() -> Self {
        Places { proc: Path::new("/proc"), dpkg: Path::new(crate::packages::DPKG) }
    }
}

/// Takes the inventory.
///
/// # Errors
/// /proc is not there, or this namespace's sockets cannot be listed.
pub fn take(places: Places<'_>, daemon: &Daemon) -> io::Result<Inventory> {
    let pids = namespaces::processes(places.proc)?;
    let spaces = namespaces::find(places.proc, &pids)?;
    let mut inventory = Inventory::default();
    let mut found: Vec<(String, Socket)> = Vec::new();
    for space in &spaces.all {
        match sockets::of(space) {
            Ok(sockets) => {
                inventory.namespaces += 1;
                found.extend(sockets.all.into_iter().map(|socket| (space.label(), socket)));
                // A kernel that lists no such sockets lists them nowhere: once is enough.
                for gap in sockets.gaps {
                    if !inventory.gaps.contains(&gap) {
                        inventory.gaps.push(gap);
                    }
                }
            }
            Err(error) if space.own => return Err(error),
            Err(error) => {
                inventory.gaps.push(format!(
                    "network namespace {} cannot be entered: {}",
                    space.label(),
                    bounded::words(&error)
                ));
            }
        }
    }
    if spaces.hidden > 0 {
        inventory
            .gaps
            .push(format!("{} processes hide their network namespace from this user", spaces.hidden));
    }
    if spaces.cut > 0 {
        inventory.gaps.push(format!("{} network namespaces were left out", spaces.cut));
    }
    let wanted: HashSet<u32> =
        found.iter().map(|(_, socket)| socket.inode).filter(|inode| *inode != 0).collect();
    let holders = process::holders(places.proc, &pids, &wanted);
    inventory.vanished = holders.vanished;
    if holders.hidden > 0 {
        inventory.gaps.push(format!("{} processes hide what they hold from this user", holders.hidden));
    }
    let holding: BTreeSet<u32> = holders.by_socket.values().flatten().copied().collect();
    let mut processes = BTreeMap::new();
    for pid in holding {
        match process::read(places.proc, pid) {
            Some(process) => drop(processes.insert(pid, process)),
            None => inventory.vanished += 1,
        }
    }
    let files = processes.values().filter(|process| process.our_root);
    let owners = Owners::of(places.dpkg, &files.filter_map(|process| process.executable.clone()).collect());
    inventory.no_packages = owners.missing();
    inventory.listeners = found
        .into_iter()
        .map(|(namespace, socket)| {
            let pids = holders.by_socket.get(&socket.inode).map_or(&[][..], Vec::as_slice);
            let mut processes: Vec<Process> =
                pids.iter().filter_map(|pid| processes.get(pid)).cloned().collect();
            // The first process of the system holds sockets for services: theirs is the answer, where they run.
            processes.sort_by_key(|process| (process.pid == 1, process.pid));
            let package = owner(&owners, processes.first());
            let service = daemon.service(&socket, pids);
            Listener { socket, namespace, processes, package, service }
        })
        .collect();
    inventory.listeners.sort_by(|a, b| {
        let key = |l: &Listener| {
            (l.namespace != "own", l.namespace.clone(), l.socket.protocol, l.socket.place.clone())
        };
        key(a).cmp(&key(b))
    });
    Ok(inventory)
}

fn owner(owners: &Owners, process: Option<&Process>) -> Owner {
    match process {
        None => Owner::Unknown("no process is known to hold it"),
        Some(process) if !process.our_root => Owner::Unknown("its files are not this host's"),
        Some(process) => match &process.executable {
            Some(path) => owners.owner(path),
            None => Owner::Unknown("its executable may not be seen"),
        },
    }
}

impl Inventory {
    /// The whole for machines.
    pub fn json(&self) -> Value {
        json!({
            "listeners": self.listeners.iter().map(Listener::json).collect::<Vec<_>>(),
            "namespaces": self.namespaces,
            "vanished": self.vanished,
            "gaps": self.gaps,
            "packages": self.no_packages.map_or("dpkg", |_| "unknown"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_facts() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let pid = std::process::id();
        let services = vec![("tcp".to_owned(), address.clone(), "test".to_owned())];
        let daemon = Daemon { pids: vec![pid], services };
        let inventory = take(Places::default(), &daemon).unwrap();
        let own = inventory.listeners.iter().find(|l| l.socket.address() == address).unwrap();
        assert!(own.processes.iter().any(|process| process.pid == pid));
        assert_eq!((own.namespace.as_str(), own.socket.scope().word()), ("own", "host"));
        assert_eq!(own.service.as_deref(), Some("test"));
        assert_eq!(own.json()["processes"][0]["image"], "same");
        drop(tcp);
    }
}
