//! This host, looked at for a plan: the configuration, what listens, who is connected, what the kernel filters. Looks only; what
//! could not be seen is a gap, in a sentence.

use super::plan::{self, Chain, Facts, Packet, Plan};
use super::port::Transport;
use super::ruleset::{Redirection, Ruleset};
use super::sessions::{self, Typed};
use super::{TABLE, nft};
use crate::commands::check::{DEFAULT_FILE, unreadable};
use crate::control::Socket;
use crate::failure::{Failure, system_text};
use crate::looking;
use crate::machine::Machine;
use crate::settings::{self, HostFirewall};
use portreeve_audit::holders::Wanted;
use portreeve_audit::inventory::{Inventory, Listener};
use portreeve_audit::sockets::{Place, Protocol};
use portreeve_audit::{holders, namespaces};
use portreeve_conf::{Fatal, Service, Sources};
use portreeve_sys::sock_diag::Connection;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Which configuration is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Configuration {
    /// Configuration file [default: /etc/xinetd.conf, where it is there]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// An inetd.conf; after the configuration file where --file names one
    #[arg(long, value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// The sockets of this directory of systemd's units, or of this .socket; may be repeated
    #[arg(long, value_name = "PATH")]
    pub systemd: Vec<PathBuf>,
    /// The settings, with the table [firewall]
    #[arg(long, value_name = "FILE", default_value = settings::PATH)]
    pub settings: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

/// What was seen, and the plan that follows from it.
#[derive(Debug)]
pub struct Seen {
    /// The rules.
    pub plan: Plan,
    /// What listens.
    pub inventory: Inventory,
    /// Who is connected.
    pub connections: Vec<Connection>,
    /// What the command was typed in.
    pub typed: Typed,
    /// Our table as the kernel has it; `None` where it has none.
    pub listing: Option<String>,
    /// Ports that are sent elsewhere.
    pub redirections: Vec<Redirection>,
    /// What could not be seen.
    pub gaps: Vec<String>,
}

/// Looks, and plans.
///
/// # Errors
/// The configuration or the settings cannot be used; the kernel does not list its sockets.
pub fn look(configuration: &Configuration) -> Result<Seen, Failure> {
    let settings = settings::firewall(&configuration.settings).map_err(Failure::new)?;
    let mut gaps = Vec::new();
    let services = services(configuration, &mut gaps)?;
    let inventory = looking::take(&configuration.socket)?;
    gaps.extend(inventory.gaps.iter().cloned());
    let file = configuration.settings.display().to_string();
    let facts =
        Facts { services: &services, listeners: &inventory.listeners, settings: &settings, file: &file };
    let mut plan = plan::make(&facts).map_err(Failure::new)?;
    name_servers(&mut plan, &settings, &file);
    let connections = sessions::connections()
        .map_err(|error| Failure::new(format!("connections cannot be listed: {}", system_text(&error))))?;
    let typed = sessions::typed(Path::new("/proc"), &connections);
    let listing = match nft::listing(TABLE) {
        Ok(listing) => listing,
        Err(failed) => {
            gaps.push(format!("our table in the kernel: {failed}"));
            None
        }
    };
    let redirections = redirections(&mut gaps);
    Ok(Seen { plan, inventory, connections, typed, listing, redirections, gaps })
}

fn services(configuration: &Configuration, gaps: &mut Vec<String>) -> Result<Vec<Service>, Failure> {
    let (file, inetd) = (configuration.file.as_deref(), configuration.inetd.as_deref());
    let sources = match Sources::named(file, inetd, &configuration.systemd) {
        Some(sources) => sources,
        None if Path::new(DEFAULT_FILE).exists() => Sources::xinetd(DEFAULT_FILE),
        None => {
            gaps.push(format!("services of ours: there is no {DEFAULT_FILE}, and --file names none"));
            return Ok(Vec::new());
        }
    };
    // The rules shall fit what is served, not a file that nobody serves.
    if let Ok(answer) = configuration.socket.ask("status") {
        let served = crate::answer::text(&answer, "config");
        let meant = sources.main().display().to_string();
        if !served.is_empty() && served != meant {
            gaps.push(format!("the running daemon serves {served}, this plan is made from {meant}"));
        }
    }
    let reading = portreeve_conf::read_sources(&Machine, &sources);
    match reading.fatal {
        Some(Fatal::Unreadable) => Err(Failure::new(unreadable(&reading))),
        Some(Fatal::Defaults) => Err(Failure::with_help(
            "nothing would be served: a value in `defaults` is bad",
            format!("`portreeve check -f {}` shows which", sources.main().display()),
        )),
        None => Ok(reading.served().cloned().collect()),
    }
}

/// Where what leaves is refused, name servers that nobody named are what is missed first.
fn name_servers(plan: &mut Plan, settings: &HostFirewall, file: &str) {
    if settings.egress != settings::Egress::Restrict {
        return;
    }
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    for server in text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver")
            .then(|| words.next()?.split('%').next()?.parse::<IpAddr>().ok())
            .flatten()
    }) {
        let packet =
            Packet { chain: Chain::Out, transport: Transport::Udp, port: 53, peer: server, local: None };
        if !server.is_loopback() && plan.admits(&packet).is_none() {
            let text = format!(
                "the name server {server} is not reached: 53/udp and 53/tcp to it stand in no [[firewall.out]] of {file}"
            );
            plan.notes.push(plan::Note { text, place: None, counts: true });
        }
    }
}

/// Tables of iptables-legacy, which nft does not show.
pub fn legacy(gaps: &mut Vec<String>) {
    for (family, file) in
        [("iptables", "/proc/net/ip_tables_names"), ("ip6tables", "/proc/net/ip6_tables_names")]
    {
        let tables = std::fs::read_to_string(file).unwrap_or_default();
        let tables: Vec<&str> = tables.split_whitespace().collect();
        if !tables.is_empty() {
            gaps.push(format!(
                "{family}-legacy has the tables {}: what they do is not seen here (`{family}-legacy-save` shows it)",
                tables.join(", ")
            ));
        }
    }
}

fn redirections(gaps: &mut Vec<String>) -> Vec<Redirection> {
    legacy(gaps);
    match nft::run("nft", &["-j", "list", "ruleset"], "").map_err(|failed| failed.to_string()) {
        Ok(json) => match Ruleset::read(&json) {
            Ok(ruleset) => ruleset.redirections(),
            Err(why) => {
                gaps.push(format!("other tables: {why}"));
                Vec::new()
            }
        },
        Err(why) => {
            gaps.push(format!("other tables: {why}"));
            Vec::new()
        }
    }
}

/// A connection that the rules would refuse, did it begin now.
#[derive(Clone, Debug)]
pub struct CutSession {
    /// The connection.
    pub connection: Connection,
    /// Who holds it on this host.
    pub process: String,
    /// Whether it came in.
    pub incoming: bool,
}

impl Seen {
    /// Ports at which this host takes TCP connections.
    fn listening(&self) -> BTreeSet<u16> {
        let tcp =
            |listener: &&Listener| listener.namespace == "own" && listener.socket.protocol == Protocol::Tcp;
        let port = |listener: &Listener| match listener.socket.place {
            Place::Ip { port, .. } => Some(port),
            _ => None,
        };
        self.inventory.listeners.iter().filter(tcp).filter_map(port).collect()
    }

    /// Whether the plan would let this connection begin; whether it came in.
    pub fn admitted(&self, connection: &Connection) -> (bool, bool) {
        let incoming = self.listening().contains(&connection.local.port());
        let (local, peer) = (connection.local, connection.peer);
        if peer.ip().is_loopback() || peer.ip() == local.ip() {
            return (true, incoming);
        }
        let packet = match incoming {
            true => Packet {
                chain: Chain::In,
                transport: Transport::Tcp,
                port: local.port(),
                peer: peer.ip(),
                local: Some(local.ip()),
            },
            false => Packet {
                chain: Chain::Out,
                transport: Transport::Tcp,
                port: peer.port(),
                peer: peer.ip(),
                local: None,
            },
        };
        let restricted = incoming || self.plan.egress == settings::Egress::Restrict;
        (!restricted || self.plan.admits(&packet).is_some(), incoming)
    }

    /// Connections of now that would be refused, did they begin under the plan. They go on: answers are let in.
    pub fn cut(&self) -> Vec<CutSession> {
        let cut = |connection: &&Connection| connection.established && !self.admitted(connection).0;
        let found: Vec<&Connection> = self.connections.iter().filter(cut).collect();
        let mut names = holders(&found);
        let made = |connection: &Connection| CutSession {
            connection: connection.clone(),
            process: names.remove(&connection.inode).unwrap_or_else(|| "-".to_owned()),
            incoming: self.admitted(connection).1,
        };
        found.into_iter().map(made).collect()
    }

    /// The session that this was typed in, where the plan would refuse it; and in doubt every session of ssh that it would.
    pub fn own_session_cut(&self) -> Vec<Connection> {
        let refused = |connection: &Connection| !self.admitted(connection).0;
        match &self.typed {
            Typed::Console(_) => Vec::new(),
            Typed::Remotely(held) => {
                held.iter().map(|(_, connection)| connection.clone()).filter(refused).collect()
            }
            Typed::Unknown => {
                let ssh = |cut: &CutSession| cut.incoming && cut.process.starts_with("sshd");
                self.cut().into_iter().filter(ssh).map(|cut| cut.connection).collect()
            }
        }
    }

    /// Listeners that nobody else could reach.
    pub fn unreachable(&self) -> Vec<&Listener> {
        self.plan.unreachable(&self.inventory.listeners, client_ports()).collect()
    }
}

/// The ports that the kernel gives to clients.
fn client_ports() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().filter_map(|word| word.parse().ok());
    words.next().zip(words.next()).unwrap_or((32_768, 60_999))
}

/// Inode → short name and number of a process that holds it.
fn holders(connections: &[&Connection]) -> HashMap<u32, String> {
    let proc = Path::new("/proc");
    let wanted: HashSet<u32> = connections.iter().map(|one| one.inode).filter(|inode| *inode != 0).collect();
    let Ok(pids) = namespaces::processes(proc) else { return HashMap::new() };
    let (found, ()) = holders::holders(proc, &pids, || (Wanted::these(wanted, false), ()));
    let held = &found.by_socket;
    held.sockets()
        .filter_map(|inode| {
            let pid = held.of(inode).first()?;
            let name = std::fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
            Some((inode, format!("{} {pid}", name.trim_end())))
        })
        .collect()
}
