//! How a listener can be reached: at its own address, by another port that leads to it, and through the host when it is in a namespace
//! of its own. Pure.

use super::answer::{Arrived, Reach, Who, sources, words};
use super::evaluate::{Arrival, Host, Walk};
use super::model::Packet;
use super::ranges::{Family, Ranges, number};
use super::space::{Sent, Space};
use crate::scope::{self, Scope};
use crate::sockets::{Place, Protocol, Socket};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Names that are listed behind an answer.
const MOST_NAMES: usize = 3;
/// Ways that are named.
const MOST_WAYS: usize = 8;

/// The namespaces that are known, by their labels; those that are not, with the reason.
#[derive(Debug, Default)]
pub struct Spaces {
    /// Each as it was found.
    pub all: BTreeMap<String, Result<Space, String>>,
    /// Whether the own namespace forwards: IPv4, IPv6.
    pub forwards: (bool, bool),
}

/// What was answered: listeners of the same question share an answer.
#[derive(Debug, Default)]
pub struct Answers(HashMap<Question, Arc<Reach>>);

/// Listeners of the same question have the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    namespace: String,
    protocol: Protocol,
    address: IpAddr,
    both: bool,
    interface: Option<String>,
    /// Of the port, here and in the own namespace.
    classes: Option<(usize, usize)>,
}

/// One listener as a packet must find it.
struct Aim<'a> {
    family: Family,
    protocol: u8,
    port: Option<u16>,
    /// None: every address.
    address: Option<IpAddr>,
    interface: Option<&'a str>,
}

/// What is gathered for one family.
#[derive(Default)]
struct Found {
    /// By the names of the interfaces.
    by: Vec<(Vec<String>, Arrived)>,
    ways: Vec<String>,
    instead: BTreeMap<String, Arrived>,
    why: Vec<String>,
}

impl Spaces {
    /// Namespaces by their labels.
    pub fn new(all: BTreeMap<String, Result<Space, String>>, forwards: (bool, bool)) -> Spaces {
        Spaces { all, forwards }
    }

    /// Who reaches a socket of a namespace.
    pub fn reach(&self, answers: &mut Answers, namespace: &str, socket: &Socket) -> Arc<Reach> {
        let (address, port, v6_only) = match &socket.place {
            Place::Unix(_) => return Arc::new(Reach::plain(Who::Host, "this host")),
            Place::Packet(_) if socket.interface.as_deref() == Some("lo") => {
                return Arc::new(Reach::plain(Who::Host, "this host"));
            }
            // Before any rule but those of the device.
            Place::Packet(_) => return Arc::new(Reach::plain(Who::Anyone, "anyone")),
            Place::Vsock(1, _) => return Arc::new(Reach::plain(Who::Host, "this host")),
            Place::Vsock(..) => return Arc::new(Reach::plain(Who::Some, "the hypervisor and its guests")),
            Place::Ip { address, port, v6_only } => (*address, *port, *v6_only),
        };
        let protocol = match socket.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
            Protocol::UdpLite => 136,
            _ => u8::try_from(port).unwrap_or(u8::MAX),
        };
        let port = socket.port();
        let space = match self.all.get(namespace) {
            Some(Ok(space)) => space,
            Some(Err(why)) => return Arc::new(Reach::unknown(why.clone())),
            None => return Arc::new(Reach::unknown("its namespace was not looked into")),
        };
        let own = self.all.get("own").and_then(|own| own.as_ref().ok());
        let address = match address {
            IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
            four => four,
        };
        let class = |space: Option<&Space>| space.zip(port).map_or(0, |(space, port)| space.class(port));
        let question = Question {
            namespace: namespace.to_owned(),
            protocol: socket.protocol,
            address,
            both: address.is_unspecified() && address.is_ipv6() && !v6_only,
            interface: socket.interface.clone(),
            classes: port.map(|_| (class(Some(space)), class(own))),
        };
        if let Some(known) = answers.0.get(&question) {
            return Arc::clone(known);
        }
        let mut families = vec![Family::of(address)];
        if question.both {
            families.insert(0, Family::V4);
        }
        let any = address.is_unspecified();
        let mut each = Vec::new();
        for family in families {
            let aim = Aim {
                family,
                protocol,
                port,
                address: (!any).then_some(address),
                interface: socket.interface.as_deref(),
            };
            each.push((family, self.family(space, own.filter(|_| namespace != "own"), &aim)));
        }
        let reach = together(each);
        let reach = Arc::new(reach);
        answers.0.insert(question, Arc::clone(&reach));
        reach
    }

    fn family(&self, space: &Space, own: Option<&Space>, aim: &Aim<'_>) -> Reach {
        let host = aim.address.is_some_and(|address| scope::of(address, aim.interface) == Scope::Host)
            || aim.interface == Some("lo");
        let locals = match aim.address {
            Some(address) => vec![address],
            None => space.addresses(aim.family),
        };
        let mut found = Found::default();
        let behind = own.and_then(|own| behind(space, own)).is_some();
        let link = locals.iter().all(|address| scope::of(*address, None) == Scope::Link);
        let possible = match aim.family {
            Family::V6 if link => Ranges::network(IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
            family => sources(family),
        };
        let direct = if behind { space.neighbours(aim.family).and(&possible) } else { possible.clone() };
        for (interface, names) in space.entries() {
            if aim.interface.is_some_and(|wanted| !names.contains(&wanted)) || locals.is_empty() {
                continue;
            }
            let mut arrived = Arrived::default();
            for local in locals.iter().filter(|_| !host) {
                let packet = packet(aim, *local, aim.port, &interface.name);
                arrived = arrived.or(&self.walk(space, packet, direct.clone(), aim, &mut found));
            }
            for (port, sent) in redirected(space, aim) {
                for local in space.addresses(aim.family) {
                    let packet = packet(aim, local, Some(port), &interface.name);
                    let mut there = self.walk(space, packet, direct.clone(), aim, &mut found);
                    if host && !there.maybe.is_empty() {
                        // The kernel delivers it only where route_localnet is on.
                        there.surely = Ranges::none();
                        note(
                            &mut found.why,
                            "whether the loopback may be reached by translation (route_localnet)".to_owned(),
                        );
                    }
                    if !there.maybe.is_empty() {
                        note(&mut found.ways, from(&sent, port));
                    }
                    arrived = arrived.or(&there);
                }
            }
            found.by.push((names.iter().map(|name| (*name).to_owned()).collect(), arrived));
        }
        if let Some(own) = own.filter(|_| !host) {
            self.through(space, own, &locals, aim, &mut found, behind);
        }
        let nothing = found.by.iter().all(|(_, arrived)| arrived.maybe.is_empty());
        if (host && nothing) || locals.is_empty() || found.by.is_empty() {
            return Reach::plain(Who::Host, "this host");
        }
        in_words(aim.family, found, &possible)
    }

    /// Through the own namespace: published there, or forwarded as it is.
    fn through(
        &self,
        space: &Space,
        own: &Space,
        locals: &[IpAddr],
        aim: &Aim<'_>,
        found: &mut Found,
        behind: bool,
    ) {
        let forwards = if aim.family == Family::V4 { self.forwards.0 } else { self.forwards.1 };
        let Some(port) = aim.port else { return };
        let mut tries: Vec<(IpAddr, u16, Option<String>)> = Vec::new();
        for sent in &own.sent {
            let Some(address) = sent.address.filter(|address| space.has(*address)) else { continue };
            if Family::of(address) != aim.family || aim.address.is_some_and(|own| own != address) {
                continue;
            }
            if sent.port.is_some_and(|there| there != port) {
                continue;
            }
            let outer = sent
                .from
                .first()
                .map_or(port, |(first, last)| if (*first..=*last).contains(&port) { port } else { *first });
            for local in own.addresses(aim.family) {
                tries.push((local, outer, Some(format!("port {outer} of the host"))));
            }
        }
        if behind && forwards {
            tries.extend(locals.iter().map(|local| (*local, port, None)));
        }
        let mut through = Arrived::default();
        for (to, outer, way) in tries {
            // By the interface that leads there come its neighbours, who were counted.
            let inner = own.out(locals.first().map_or(0, |local| number(*local)), &packet(aim, to, None, ""));
            for (interface, _) in own.entries() {
                let port_of_bridge =
                    interface.kind.as_deref() == Some("veth") && interface.addresses.is_empty();
                if behind && (port_of_bridge || Some(&interface.name) == inner.as_ref()) {
                    continue;
                }
                let mut start = packet(aim, to, Some(outer), &interface.name);
                start.local = own.has(to);
                let mut walk = Walk::new(&own.rules, own);
                let there = walk.arrivals(start, sources(aim.family));
                walk.reasons.into_iter().for_each(|why| note(&mut found.why, why));
                for arrival in
                    there.iter().filter(|arrival| !arrival.packet.local && arrival.packet.port == Some(port))
                {
                    let address = aim.family.address(arrival.packet.to);
                    let Some(entry) =
                        space.interfaces.iter().find(|i| i.addresses.iter().any(|(own, _)| *own == address))
                    else {
                        continue;
                    };
                    let packet = packet(aim, address, Some(port), &entry.name);
                    let mut inside = self.walk(space, packet, arrival.maybe.clone(), aim, found);
                    inside.surely = inside.surely.minus(&arrival.doubt);
                    if !inside.maybe.is_empty() {
                        way.iter().for_each(|way| note(&mut found.ways, way.clone()));
                    }
                    through = through.or(&inside);
                }
            }
        }
        if let Some((_, arrived)) = found.by.first_mut() {
            *arrived = arrived.or(&through);
        }
    }

    /// Who arrives at the aim; who is led elsewhere is noted.
    fn walk(
        &self,
        space: &Space,
        packet: Packet,
        sources: Ranges,
        aim: &Aim<'_>,
        found: &mut Found,
    ) -> Arrived {
        let mut walk = Walk::new(&space.rules, space);
        let there = walk.arrivals(packet, sources);
        walk.reasons.into_iter().for_each(|why| note(&mut found.why, why));
        let mut arrived = Arrived::default();
        for arrival in there {
            let these = Arrived { surely: arrival.surely(), maybe: arrival.maybe.clone() };
            let address = aim.family.address(arrival.packet.to);
            let here = arrival.packet.local && arrival.packet.port == aim.port;
            if here && aim.address.is_none_or(|own| own == address) {
                arrived = arrived.or(&these);
            } else if !these.maybe.is_empty() && arrival.packet.translated {
                elsewhere(found, aim.family, &arrival, &these);
            }
        }
        arrived
    }
}

fn elsewhere(found: &mut Found, family: Family, arrival: &Arrival, these: &Arrived) {
    let address = family.address(arrival.packet.to);
    let to = match (arrival.packet.local, arrival.packet.port) {
        (true, Some(port)) => format!("port {port}"),
        (false, Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (_, None) => address.to_string(),
    };
    if found.instead.len() < MOST_WAYS || found.instead.contains_key(&to) {
        let entry = found.instead.entry(to).or_default();
        *entry = entry.or(these);
    }
}

fn packet(aim: &Aim<'_>, to: IpAddr, port: Option<u16>, interface: &str) -> Packet {
    Packet {
        family: aim.family,
        protocol: aim.protocol,
        port,
        to: number(to),
        local: true,
        interface: interface.to_owned(),
        out: None,
        translated: false,
    }
}

/// Ports of this host that lead to the aim, and their rules.
fn redirected(space: &Space, aim: &Aim<'_>) -> Vec<(u16, Sent)> {
    let Some(port) = aim.port else { return Vec::new() };
    let fits = |sent: &&Sent| {
        sent.port == Some(port)
            && match (sent.address, aim.address) {
                (None, None) => true,
                // To the address of the interface that it came by.
                (None, Some(own)) => !own.is_loopback(),
                (Some(to), Some(own)) => to == own,
                (Some(to), None) => Family::of(to) == aim.family && space.has(to),
            }
    };
    let other = if port == 1 { 2 } else { 1 };
    let mut found = Vec::new();
    for sent in space.sent.iter().filter(fits).take(MOST_WAYS) {
        let outer =
            sent.from.first().map_or(other, |(first, last)| if *first == port { *last } else { *first });
        if outer != port {
            found.push((outer, sent.clone()));
        }
    }
    found
}

fn from(sent: &Sent, port: u16) -> String {
    match sent.from.as_slice() {
        [] => "other ports".to_owned(),
        [(first, last)] if first == last => format!("port {port}"),
        [(first, last)] => format!("ports {first}-{last}"),
        _ => format!("port {port} and others"),
    }
}

/// The interface of a namespace by which it hangs on the own one.
fn behind<'a>(space: &'a Space, own: &Space) -> Option<&'a str> {
    let pair = |kind: &Option<String>| kind.as_deref() == Some("veth");
    let outside = space.interfaces.iter().filter(|interface| !interface.loopback);
    let all: Vec<_> = outside.filter(|interface| !interface.addresses.is_empty()).collect();
    let hangs = |interface: &&portreeve_sys::interfaces::Interface| {
        pair(&interface.kind)
            && own.interfaces.iter().any(|there| {
                pair(&there.kind)
                    && Some(there.index) == interface.link
                    && there.link == Some(interface.index)
            })
    };
    all.iter().all(hangs).then(|| all.first().map(|interface| interface.name.as_str()))?
}

fn in_words(family: Family, found: Found, possible: &Ranges) -> Reach {
    let mut by: Vec<(Who, String, Vec<String>)> = Vec::new();
    for (names, arrived) in &found.by {
        let (who, text) = words(family, arrived, possible);
        match by.iter_mut().find(|(_, other, _)| *other == text) {
            Some((_, _, all)) => all.extend(names.iter().cloned()),
            None => by.push((who, text, names.clone())),
        }
    }
    let who = by.iter().map(|(who, ..)| *who).max().unwrap_or(Who::Nobody);
    let text = match by.as_slice() {
        [(_, text, _)] => text.clone(),
        several => {
            let some = several.iter().filter(|(who, ..)| *who != Who::Nobody);
            some.map(|(_, text, names)| format!("{text} by {}", short(names))).collect::<Vec<_>>().join("; ")
        }
    };
    let instead = found.instead.iter().map(|(to, arrived)| {
        let (_, text) = words(family, arrived, possible);
        format!("{to} for {text}")
    });
    Reach { who, text, instead: instead.collect(), ways: found.ways, why: found.why }
}

fn short(names: &[String]) -> String {
    match names.len() {
        0..=MOST_NAMES => names.join(", "),
        more => format!("{} and {} more", names[..MOST_NAMES - 1].join(", "), more + 1 - MOST_NAMES),
    }
}

fn together(answers: Vec<(Family, Reach)>) -> Reach {
    // A family without an address of its own adds nothing to one that has.
    let some = answers.iter().any(|(_, reach)| reach.who > Who::Host);
    let mut kept: Vec<_> = answers.into_iter().filter(|(_, reach)| !some || reach.who != Who::Host).collect();
    let anyone = kept.iter().any(|(_, reach)| reach.text == "anyone");
    kept.retain(|(family, reach)| !(anyone && *family == Family::V6 && reach.text == "fe80::/10"));
    let Some((_, first)) = kept.first() else { return Reach::plain(Who::Host, "this host") };
    let mut whole = first.clone();
    if kept.iter().any(|(_, reach)| reach.text != first.text) {
        let name = |family: &Family| if *family == Family::V4 { "IPv4" } else { "IPv6" };
        let parts = kept.iter().map(|(family, reach)| format!("{} {}", name(family), reach.text));
        whole.text = parts.collect::<Vec<_>>().join("; ");
    }
    for (_, other) in kept.iter().skip(1) {
        whole.who = whole.who.max(other.who);
        other.ways.iter().for_each(|way| note(&mut whole.ways, way.clone()));
        other.instead.iter().for_each(|to| note(&mut whole.instead, to.clone()));
        other.why.iter().for_each(|why| note(&mut whole.why, why.clone()));
    }
    whole
}

fn note(list: &mut Vec<String>, one: String) {
    if list.len() < MOST_WAYS && !list.contains(&one) {
        list.push(one);
    }
}
