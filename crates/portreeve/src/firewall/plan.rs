//! THE decision of the host firewall: from what is served and what portreeve.toml names to rules, each with the line that
//! caused it, and notes about what they cannot say. Pure: it is told what listens and what is configured, and looks at nothing.

use super::port::{Port, Transport};
use super::services::{self, Known};
use super::sources::networks;
use crate::ranges::{Addresses, Family};
use crate::settings::{Allowed, Egress, HostFirewall};
use portreeve_audit::inventory::Listener;
use portreeve_audit::scope::Scope;
use portreeve_audit::sockets::Place as At;
use portreeve_conf::{Place, Service};
use std::fmt;
use std::net::IpAddr;

/// Programs that are ssh servers, where portreeve.toml does not say where ssh is.
const SSH: [&str; 3] = ["sshd", "dropbear", "tinysshd"];
/// Where ssh is if none of them listens.
const SSH_PORT: u16 = 22;
/// Addresses and networks in all rules together: beyond, nobody reads it, and the kernel takes long.
pub const MOST_NETWORKS: usize = 200_000;

/// Which packets a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Those to this host.
    In,
    /// Those that this host sends first.
    Out,
}

/// What caused a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The service, or what it is for.
    pub what: String,
    /// `file:line`.
    pub place: String,
}

impl Cause {
    pub(super) fn at(what: String, place: &Place) -> Self {
        Self { what, place: Self::place(place) }
    }

    pub(super) fn place(place: &Place) -> String {
        format!("{}:{}", place.file, place.line)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.place)
    }
}

/// One thing that is let through. What no rule names is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which way.
    pub chain: Chain,
    /// The port; `None` never happens for now and would be all.
    pub port: Option<Port>,
    /// By this interface alone.
    pub device: Option<String>,
    /// To this address of ours alone.
    pub to: Option<IpAddr>,
    /// From whom, or to whom.
    pub peers: Addresses,
    /// Why.
    pub cause: Cause,
    /// Whether it is there so that management can log in.
    pub is_ssh: bool,
}

/// Something that a person must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The sentence.
    pub text: String,
    /// `file:line`.
    pub place: Option<String>,
    /// Whether it is a finding: the rules differ from what is configured.
    pub counts: bool,
}

impl Note {
    pub(super) fn of(service: &Service, text: String) -> Self {
        Self {
            text: format!("{}: {text}", service.id),
            place: Some(Cause::place(&service.place)),
            counts: true,
        }
    }
}

/// What is known of this host.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Our services.
    pub services: &'a [Service],
    /// What listens.
    pub listeners: &'a [Listener],
    /// The settings, and the name of their file.
    pub settings: &'a HostFirewall,
    /// The file of the settings.
    pub file: &'a str,
}

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is let through, in order.
    pub rules: Vec<Rule>,
    /// What is done with connections that this host begins.
    pub egress: Egress,
    /// What a person must know.
    pub notes: Vec<Note>,
}

/// A packet that begins something.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Packet {
    pub chain: Chain,
    pub transport: Transport,
    pub port: u16,
    /// The other side.
    pub peer: IpAddr,
    /// Our address, where it is known.
    pub local: Option<IpAddr>,
}

/// Makes the plan.
///
/// # Errors
/// There are too many networks in it.
pub fn make(facts: &Facts<'_>) -> Result<Plan, String> {
    let settings = facts.settings;
    let mut plan = Plan { egress: settings.egress, ..Plan::default() };
    plan.rules.extend(ssh(facts, &mut plan.notes));
    let known = Known { listeners: facts.listeners, names_open: settings.names_open };
    for service in facts.services {
        let rules = services::rules(service, &known, &mut plan.notes);
        services::unsaid(service, known.names_open, &mut plan.notes);
        plan.rules.extend(rules);
    }
    let allowed = |chain: Chain, entry: &Allowed| {
        let everybody = || Addresses::all();
        let what = if entry.why.is_empty() { entry.port.to_string() } else { entry.why.clone() };
        Rule {
            chain,
            port: Some(entry.port),
            device: entry.interface.clone(),
            to: None,
            peers: entry.networks.as_deref().map_or_else(everybody, networks),
            cause: Cause { what, place: format!("{}:{}", facts.file, entry.line) },
            is_ssh: false,
        }
    };
    plan.rules.extend(settings.allow.iter().map(|entry| allowed(Chain::In, entry)));
    plan.rules.extend(settings.out.iter().map(|entry| allowed(Chain::Out, entry)));
    if plan.egress == Egress::Off {
        plan.rules.retain(|rule| rule.chain == Chain::In);
    }
    plan.rules.retain(|rule| !rule.peers.is_empty());
    let count: usize = plan.rules.iter().map(Rule::networks).sum();
    if count > MOST_NETWORKS {
        return Err(format!("the rules would have {count} networks; {MOST_NETWORKS} are the most"));
    }
    Ok(plan)
}

fn ssh(facts: &Facts<'_>, notes: &mut Vec<Note>) -> Vec<Rule> {
    let settings = facts.settings;
    if settings.management.is_empty() {
        let text = format!(
            "ssh: nobody can begin a session: {} names no networks (management in [firewall])",
            facts.file
        );
        notes.push(Note { text, place: None, counts: true });
        return Vec::new();
    }
    let found = || {
        let servers = facts.listeners.iter().filter(|listener| {
            let is = |process: &std::sync::Arc<portreeve_audit::process::Process>| {
                SSH.contains(&process.name.as_str())
            };
            listener.namespace == "own" && listener.service.is_none() && listener.processes.iter().any(is)
        });
        let port = |listener: &Listener| match listener.socket.place {
            At::Ip { address, port, .. } if !address.is_loopback() => Some(Port::one(Transport::Tcp, port)),
            _ => None,
        };
        let mut ports: Vec<Port> = servers
            .filter(|listener| listener.socket.protocol == portreeve_audit::sockets::Protocol::Tcp)
            .filter_map(port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() { vec![Port::one(Transport::Tcp, SSH_PORT)] } else { ports }
    };
    let ports = settings.ssh.clone().unwrap_or_else(found);
    let cause =
        Cause { what: "ssh".to_owned(), place: format!("{}:{}", facts.file, settings.management_line) };
    let rule = |port| Rule {
        chain: Chain::In,
        port: Some(port),
        device: None,
        to: None,
        peers: networks(&settings.management),
        cause: cause.clone(),
        is_ssh: true,
    };
    ports.into_iter().map(rule).collect()
}

impl Rule {
    fn networks(&self) -> usize {
        Family::BOTH.iter().map(|family| self.peers.of(*family).iter().count()).sum()
    }

    /// Whether it lets this packet through. An interface is not known of a packet, so a rule about one says no.
    pub fn admits(&self, packet: &Packet) -> bool {
        let (family, number) = match packet.peer.to_canonical() {
            IpAddr::V4(v4) => (Family::V4, u128::from(v4.to_bits())),
            IpAddr::V6(v6) => (Family::V6, v6.to_bits()),
        };
        self.chain == packet.chain
            && self.port.is_none_or(|port| port.holds(packet.transport, packet.port))
            && self.device.is_none()
            && self.to.is_none_or(|to| packet.local.is_none_or(|local| local.to_canonical() == to))
            && self.peers.of(family).contains(number)
    }
}

impl Plan {
    /// The rule that lets this packet through; none refuses it.
    pub fn admits(&self, packet: &Packet) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.admits(packet))
    }

    /// Listeners of this host that nobody else could reach. `clients`: the ports that the kernel gives to clients, where a UDP
    /// socket is most often one.
    pub fn unreachable<'a>(
        &'a self,
        listeners: &'a [Listener],
        clients: (u16, u16),
    ) -> impl Iterator<Item = &'a Listener> {
        listeners.iter().filter(move |listener| {
            let At::Ip { address, port, .. } = listener.socket.place else { return false };
            let Some(transport) = Transport::with_ports(listener.socket.protocol.word()) else {
                return false;
            };
            let client = transport != Transport::Tcp && (clients.0..=clients.1).contains(&port);
            // The kernel lets answers to a DHCP client in by a rule of its own.
            let dhcp = transport == Transport::Udp && [68, 546].contains(&port);
            let named = |rule: &&Rule| {
                rule.chain == Chain::In
                    && rule.port.is_none_or(|named| named.holds(transport, port))
                    && rule.to.is_none_or(|to| address.is_unspecified() || to == address.to_canonical())
            };
            listener.namespace == "own"
                && listener.socket.scope() != Scope::Host
                && !client
                && !dhcp
                && !self.rules.iter().any(|rule| named(&rule))
        })
    }
}
