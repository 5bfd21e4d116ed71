//! The rules of our own services: where each listens, and whom its lists let in. What a rule of the kernel cannot say is a note.
//! Pure.

use super::plan::{Cause, Chain, Note, Rule};
use super::port::{Port, Transport};
use super::sources::{Door, addresses, names};
use crate::ranges::Addresses;
use portreeve_audit::inventory::Listener;
use portreeve_audit::sockets::Place as At;
use portreeve_conf::{Action, AddressEntry, BindTo, FamilyFlag, Place, Service, Target};
use std::net::IpAddr;

/// What is known beside the configuration.
pub(super) struct Known<'a> {
    pub(super) listeners: &'a [Listener],
    pub(super) names_open: bool,
}

/// One place where a service listens.
struct Spot {
    door: Door,
    to: Option<IpAddr>,
    device: Option<String>,
    port: Port,
}

/// The rules of a service, and what they leave out.
pub(super) fn rules(service: &Service, known: &Known<'_>, notes: &mut Vec<Note>) -> Vec<Rule> {
    if service.mux.is_some() || service.listen.is_local() {
        return Vec::new();
    }
    let mut rules: Vec<Rule> = targets(service, notes);
    let Some(transport) = transport(service) else {
        let what = format!("protocol {} has no ports that a rule can name", service.listen.protocol.0);
        notes.push(Note::of(service, what));
        return rules;
    };
    let spots = match service.rpc {
        Some(_) => registered(service, transport, known, notes),
        None => written(service, transport),
    };
    for spot in spots.into_iter().filter(|spot| !spot.to.is_some_and(|to| to.is_loopback())) {
        let peers = clients(service, spot.door, known.names_open);
        if peers.is_empty() {
            notes.push(Note::of(service, format!("{}: its lists let in nobody by address", spot.port)));
            continue;
        }
        let cause = Cause::at(service.id.to_string(), deciding(service));
        rules.push(Rule {
            chain: Chain::In,
            port: Some(spot.port),
            device: spot.device,
            to: spot.to,
            peers,
            cause,
            is_ssh: false,
        });
    }
    rules
}

/// What of its lists are names: said once for a service.
pub(super) fn unsaid(service: &Service, names_open: bool, notes: &mut Vec<Note>) {
    if is_sensor(service) || service.mux.is_some() || service.listen.is_local() {
        return;
    }
    let mut tell = |attribute: &str, entry: &AddressEntry, what: &str| {
        let text = format!("{attribute} {} is a name, which no rule can say: {what}", entry.text);
        notes.push(Note {
            text: format!("{}: {text}", service.id),
            place: Some(Cause::place(&entry.place)),
            counts: true,
        });
    };
    if accepts_proxies(service) {
        return names(&service.proxy_from)
            .for_each(|entry| tell("proxy_from", entry, "this proxy is refused before the daemon sees it"));
    }
    for entry in service.limits.only_from.iter().flat_map(|list| names(list)) {
        match names_open {
            true => {
                tell("only_from", entry, "the port is open to everybody, and the daemon alone checks names")
            }
            false => tell(
                "only_from",
                entry,
                "whoever has it is refused before the daemon sees them (names = \"open\" in [firewall] leaves names to the daemon)",
            ),
        }
    }
    for entry in service.no_access.iter().flat_map(|list| names(list)) {
        tell("no_access", entry, "the daemon alone refuses whoever has it");
    }
}

/// Whom its lists let in, where addresses alone decide.
fn clients(service: &Service, door: Door, names_open: bool) -> Addresses {
    // A trap must be reached to be one.
    if is_sensor(service) {
        return door.everybody();
    }
    if accepts_proxies(service) {
        return addresses(&service.proxy_from, door);
    }
    let wanted = match &service.limits.only_from {
        None => door.everybody(),
        Some(list) if names_open && names(list).next().is_some() => door.everybody(),
        Some(list) => addresses(list, door),
    };
    match &service.no_access {
        Some(list) => wanted.without(&addresses(list, door)),
        None => wanted,
    }
}

fn is_sensor(service: &Service) -> bool {
    service.action == Action::Sensor
}

fn accepts_proxies(service: &Service) -> bool {
    service.proxy_protocol.is_some_and(|proxy| proxy.accept)
}

/// The line that says whom it lets in.
fn deciding(service: &Service) -> &Place {
    let proxies = service.proxy_from.first().filter(|_| accepts_proxies(service)).map(|entry| &entry.place);
    let lists = service
        .limits
        .only_from_place
        .as_ref()
        .or_else(|| service.no_access.as_ref().and_then(|list| list.first()).map(|entry| &entry.place));
    proxies.or(lists.filter(|_| !is_sensor(service))).unwrap_or(&service.place)
}

fn transport(service: &Service) -> Option<Transport> {
    match service.listen.protocol.1 {
        6 => Some(Transport::Tcp),
        17 => Some(Transport::Udp),
        136 => Some(Transport::UdpLite),
        132 => Some(Transport::Sctp),
        _ => None,
    }
}

fn door(address: Option<IpAddr>, family: FamilyFlag, v6only: bool) -> (Door, Option<IpAddr>) {
    let unspecified = match family {
        FamilyFlag::V4 => Door::V4,
        FamilyFlag::Unset | FamilyFlag::V6 if v6only => Door::V6,
        FamilyFlag::Unset | FamilyFlag::V6 => Door::Dual,
    };
    match address.map(|address| address.to_canonical()) {
        None => (unspecified, None),
        Some(IpAddr::V4(ip)) if ip.is_unspecified() => (Door::V4, None),
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => (if v6only { Door::V6 } else { Door::Dual }, None),
        Some(to @ IpAddr::V4(_)) => (Door::V4, Some(to)),
        Some(to @ IpAddr::V6(_)) => (Door::V6, Some(to)),
    }
}

/// Where the configuration says.
fn written(service: &Service, transport: Transport) -> Vec<Spot> {
    let listen = &service.listen;
    let port = Port { transport, first: listen.port, last: listen.last_port.max(listen.port) };
    let everywhere = BindTo::Inet { address: None, device: None };
    let words: Vec<&BindTo> = match &listen.bind[..] {
        [] => vec![&everywhere],
        binds => binds.iter().map(|bind| &bind.to).collect(),
    };
    let spot = |to: &BindTo| match to {
        BindTo::Inet { address, device } => {
            let (door, to) = door(*address, listen.family, listen.v6only);
            Some(Spot { door, to, device: device.clone(), port })
        }
        BindTo::Path(_) | BindTo::Abstract(_) => None,
    };
    let loopback_alone = matches!(&service.action, Action::Internal(builtin) if builtin.tells_of_us())
        && listen.bind.is_empty();
    if loopback_alone { Vec::new() } else { words.into_iter().filter_map(spot).collect() }
}

/// Where an RPC service is just now: its port is the kernel's choice.
fn registered(
    service: &Service,
    transport: Transport,
    known: &Known<'_>,
    notes: &mut Vec<Note>,
) -> Vec<Spot> {
    let ours =
        known.listeners.iter().filter(|l| l.namespace == "own" && l.service.as_deref() == Some(&*service.id));
    let spots: Vec<Spot> = ours
        .filter_map(|listener| match listener.socket.place {
            At::Ip { address, port, v6_only } if listener.socket.protocol.word() == transport.word() => {
                let (door, to) = door(Some(address), service.listen.family, v6_only);
                Some(Spot {
                    door,
                    to,
                    device: listener.socket.interface.clone(),
                    port: Port::one(transport, port),
                })
            }
            _ => None,
        })
        .collect();
    let what = match spots.is_empty() {
        true => "its port is given at its start, and it is not served now: no rule lets anybody in",
        false => "its port is given at its start: after the next one plan and apply again",
    };
    notes.push(Note::of(service, what.to_owned()));
    spots
}

/// Where a redirected service must get to, should egress be restricted.
fn targets(service: &Service, notes: &mut Vec<Note>) -> Vec<Rule> {
    let Action::Redirect(targets) = &service.action else { return Vec::new() };
    let transport = transport(service).unwrap_or(Transport::Tcp);
    let place = service.action_place.as_ref().unwrap_or(&service.place);
    let mut rules = Vec::new();
    for target in targets {
        let Target::Host { host, addresses } = target else { continue };
        if target.is_named() {
            let text = format!(
                "{}: redirect to {host}: the addresses that it has now are let out, and no later ones",
                service.id
            );
            notes.push(Note { text, place: Some(Cause::place(place)), counts: false });
        }
        rules.extend(addresses.iter().filter(|to| !to.ip().is_loopback()).map(|to| Rule {
            chain: Chain::Out,
            port: Some(Port::one(transport, to.port())),
            device: None,
            to: None,
            peers: super::sources::networks(&[to.ip().into()]),
            cause: Cause::at(format!("{} redirects", service.id), place),
            is_ssh: false,
        }));
    }
    rules
}
