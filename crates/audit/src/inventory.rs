//! Every listener with all that is known of it: sockets of all namespaces, joined with processes, packages and our services.

use crate::bounded;
use crate::holders::{self, BySocket, Descriptor, Holders, Wanted};
use crate::namespaces::{self, Namespace, Namespaces};
use crate::packages::{Owner, Owners};
use crate::ports::{self, Secrecy};
use crate::process::{self, Process};
use crate::reach::answer::Reach;
use crate::reach::gather;
use crate::reach::space::Space;
use crate::reach::ways::{Answers, Spaces};
use crate::scope::Scope;
use crate::share;
use crate::sockets::{self, Place, Socket};
use crate::vsock;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

mod json;

/// Namespaces whose firewalls are looked into.
const MOST_FIREWALLS: usize = 256;

/// One listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// Its network namespace: `own`, a name, or `net:[number]`.
    pub namespace: String,
    /// Who holds it; first whom it is meant for: not the one that only made it for others.
    pub processes: Vec<Arc<Process>>,
    /// Whose file the first one runs.
    pub package: Owner,
    /// The service of ours.
    pub service: Option<String>,
    /// Who reaches it; None where that was not asked.
    pub reach: Option<Arc<Reach>>,
    /// When that service served last, and how often, by the ledger.
    pub served: Option<Served>,
}

/// What the ledger says of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The last time, microseconds since 1970.
    pub last: i64,
    /// How often.
    pub times: u64,
}

impl Listener {
    /// Who answers there.
    pub fn process(&self) -> Option<&Process> {
        self.processes.first().map(|process| &**process)
    }

    /// Whether anybody on any network could reach it: bound so, and no firewall that is understood keeps them out.
    pub fn open_to_all(&self) -> bool {
        self.socket.scope().from_everywhere() && self.reach.as_ref().is_none_or(|reach| reach.maybe_anyone())
    }

    /// The usual protocol of its port, and what that shows.
    pub fn usual(&self) -> Option<(&'static str, Secrecy)> {
        ports::known(self.socket.protocol, self.socket.port()?)
    }

    /// The user it runs as: the process's, else the socket's.
    pub fn uid(&self) -> Option<u32> {
        self.process().map_or(self.socket.uid, |process| process.uid)
    }
}

/// What the running daemon says of itself, where it answers.
#[derive(Clone, Debug, Default)]
pub struct Daemon {
    /// The processes that may hold its sockets: the supervisor and its workers.
    pub pids: Vec<u32>,
    /// Protocol, address and service.
    pub services: Vec<(String, String, String)>,
    /// What the ledger says of them, by service; those that are not in it have not been served.
    pub served: BTreeMap<String, Served>,
    /// Since when the ledger knows, microseconds since 1970; None without one.
    pub served_since: Option<i64>,
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

    /// What the ledger says of a service of ours.
    fn served(&self, service: &str) -> Option<Served> {
        self.served_since.filter(|_| !service.starts_with('('))?;
        Some(self.served.get(service).copied().unwrap_or_default())
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
    /// Since when the ledger knows who was served.
    pub served_since: Option<i64>,
}

/// Where things are read from; other places in tests.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// /proc.
    pub proc: &'a Path,
    /// dpkg's lists.
    pub dpkg: &'a Path,
    /// rpm's database; None: where rpm itself looks, if there is one.
    pub rpm: Option<&'a Path>,
    /// Whether the firewalls are looked into.
    pub firewalls: bool,
}

impl Default for Places<'_> {
    fn default() -> Self {
        Places {
            proc: Path::new("/proc"),
            dpkg: Path::new(crate::packages::DPKG),
            rpm: None,
            firewalls: true,
        }
    }
}

/// Takes the inventory.
///
/// # Errors
/// /proc is not there, or this namespace's sockets cannot be listed.
pub fn take(places: Places<'_>, daemon: &Daemon) -> io::Result<Inventory> {
    let pids = namespaces::processes(places.proc)?;
    let mut spaces = namespaces::find(places.proc, &pids)?;
    let (inventory, held) = take_of(places, daemon, &pids, &spaces)?;
    // That there is one more is seen while the descriptors are read: then once more, with all of them.
    let (by_files, by_sockets) =
        (spaces.add_kept(places.proc, &held.namespaces), spaces.add_of_sockets(&held.others));
    if by_files || by_sockets {
        return Ok(take_of(places, daemon, &pids, &spaces)?.0);
    }
    Ok(inventory)
}

/// The inventory of these namespaces, and what processes hold.
fn take_of(
    places: Places<'_>,
    daemon: &Daemon,
    pids: &[u32],
    spaces: &Namespaces,
) -> io::Result<(Inventory, Held)> {
    let mut inventory = Inventory { served_since: daemon.served_since, ..Inventory::default() };
    if spaces.hidden > 0 {
        inventory
            .gaps
            .push(format!("{} processes hide their network namespace from this user", spaces.hidden));
    }
    if spaces.cut > 0 {
        inventory.gaps.push(format!("{} network namespaces were left out", spaces.cut));
    }
    // The firewalls' programs run, and /proc is read, while the kernel lists the sockets.
    let (reach, (mut held, found)) = std::thread::scope(|scope| {
        let mut reach = None;
        let held = holding(places.proc, pids, &mut inventory, |inventory| {
            let mut found = listed(&spaces.all, inventory)?;
            in_order(&mut found);
            let wanted = reachable(&found);
            let spaces = &spaces.all;
            reach = places.firewalls.then(|| scope.spawn(move || firewalls(spaces, &wanted)));
            Ok(found)
        });
        (reach.and_then(|reach| reach.join().ok()), held)
    });
    let mut found = found?;
    if !held.vsock.is_empty() {
        found.append(&mut held.vsock);
        in_order(&mut found);
    }
    let files = held.processes.values().filter(|process| process.our_root);
    let owners = Owners::of(
        places.dpkg,
        places.rpm,
        &files.filter_map(|process| process.executable.clone()).collect(),
    );
    inventory.no_packages = owners.missing();
    let facts = share::pieces(&found, |found| {
        let mut answers = Answers::default();
        let facts = |(namespace, socket): &(String, Socket)| {
            let pids = held.by_socket.of(socket.inode);
            let mut processes: Vec<Arc<Process>> =
                pids.iter().filter_map(|pid| held.processes.get(pid)).cloned().collect();
            // The first process of the system holds sockets for services: theirs is the answer, where they run.
            processes.sort_by_key(|process| (process.pid == 1, process.pid));
            let package = owner(&owners, processes.first().map(|process| &**process));
            let service = daemon.service(socket, pids);
            let served = service.as_deref().and_then(|service| daemon.served(service));
            let reach = reach.as_ref().map(|spaces| spaces.reach(&mut answers, namespace, socket));
            (processes, package, service, served, reach)
        };
        found.iter().map(facts).collect::<Vec<_>>()
    });
    let listener = |((namespace, socket), (processes, package, service, served, reach))| Listener {
        socket,
        namespace,
        processes,
        package,
        service,
        reach,
        served,
    };
    inventory.listeners = found.into_iter().zip(facts.into_iter().flatten()).map(listener).collect();
    Ok((inventory, held))
}

/// This namespace first, by protocol and address: sorted before they become as large as listeners.
fn in_order(found: &mut [(String, Socket)]) {
    found.sort_by(|(a_label, a), (b_label, b)| {
        let key = |label: &str, socket: &Socket| (label != "own", socket.protocol);
        key(a_label, a)
            .cmp(&key(b_label, b))
            .then_with(|| a_label.cmp(b_label))
            .then_with(|| a.place.cmp(&b.place))
    });
}

/// The sockets of all namespaces, with their labels.
fn listed(spaces: &[Namespace], inventory: &mut Inventory) -> io::Result<Vec<(String, Socket)>> {
    let mut found: Vec<(String, Socket)> = Vec::new();
    for space in spaces {
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
    Ok(found)
}

/// The processes that hold sockets.
struct Held {
    by_socket: BySocket,
    processes: HashMap<u32, Arc<Process>>,
    /// Sockets that the kernel does not list.
    vsock: Vec<(String, Socket)>,
    /// Descriptors of network namespaces.
    namespaces: Vec<Descriptor>,
    /// Descriptors of sockets that no list has.
    others: Vec<Descriptor>,
}

type Listed = io::Result<Vec<(String, Socket)>>;

/// Who holds what `list` finds, which goes on beside it.
fn holding(
    proc: &Path,
    pids: &[u32],
    inventory: &mut Inventory,
    list: impl FnOnce(&mut Inventory) -> Listed,
) -> (Held, Listed) {
    let (mut holders, (unlisted, found)) = holders::holders(proc, pids, || {
        let found = list(inventory);
        let sockets = found.iter().flatten().map(|(_, socket)| socket.inode);
        let unlisted = inventory.gaps.iter().any(|gap| gap == sockets::NO_VSOCK);
        (Wanted::these(sockets.filter(|inode| *inode != 0).collect(), true), (unlisted, found))
    });
    inventory.vanished = holders.vanished;
    if holders.hidden > 0 {
        inventory.gaps.push(format!("{} processes hide what they hold from this user", holders.hidden));
    }
    let mut vsock = Vec::new();
    if unlisted {
        let among = vsock::among(proc, &holders.others);
        for (socket, pids) in among.listening {
            holders.by_socket.add(socket.inode, &pids);
            vsock.push(("own".to_owned(), socket));
        }
        // Whatever was not looked at may be one.
        if holders.hidden == 0 && holders.not_told == 0 && among.not_seen == 0 {
            inventory.gaps.retain(|gap| gap != sockets::NO_VSOCK);
        }
    }
    let holding: BTreeSet<u32> = holders.by_socket.processes().collect();
    let mut processes = HashMap::new();
    for pid in holding {
        match process::read(proc, pid) {
            Some(process) => drop(processes.insert(pid, Arc::new(process))),
            None => inventory.vanished += 1,
        }
    }
    let Holders { by_socket, namespaces, others, .. } = holders;
    (Held { by_socket, processes, vsock, namespaces, others }, found)
}

/// The namespaces in which something can be reached from elsewhere.
fn reachable(found: &[(String, Socket)]) -> HashSet<String> {
    let mut labels: HashSet<String> = HashSet::new();
    for (label, socket) in found {
        let is_reachable = matches!(socket.place, Place::Ip { .. }) && socket.scope() != Scope::Host;
        if is_reachable && !labels.contains(label) {
            labels.insert(label.clone());
        }
    }
    labels
}

/// Their firewalls; and the own one's, through which others are.
fn firewalls(spaces: &[Namespace], wanted: &HashSet<String>) -> Spaces {
    let mut all = BTreeMap::new();
    for space in spaces {
        let label = space.label();
        let known = if all.len() >= MOST_FIREWALLS {
            Err(format!("the firewalls of {MOST_FIREWALLS} namespaces are looked into"))
        } else if space.own || wanted.contains(&label) {
            gather::space(space).map_err(|error| bounded::words(&error))
        } else {
            // Nothing there is bound beyond the host.
            Ok(Space::default())
        };
        all.insert(label, known);
    }
    Spaces::new(all, gather::forwards())
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
        let daemon = Daemon { pids: vec![pid], services, ..Daemon::default() };
        let inventory = take(Places::default(), &daemon).unwrap();
        let own = inventory.listeners.iter().find(|l| l.socket.address() == address).unwrap();
        assert!(own.processes.iter().any(|process| process.pid == pid));
        assert_eq!((own.namespace.as_str(), own.socket.scope().word()), ("own", "host"));
        assert_eq!(own.service.as_deref(), Some("test"));
        assert_eq!(own.json()["processes"][0]["image"], "same");
        assert_eq!(own.reach.as_ref().map(|reach| reach.text.as_str()), Some("this host"));
        drop(tcp);
    }
}
