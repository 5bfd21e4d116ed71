//! Where a socket unit listens, as services: what one service of portreeve can have, several addresses of a port or a range of
//! ports, is one; the rest are several.

use super::addresses;
use super::find::Loaded;
use super::local::{self, UNIX};
use super::pair::{Out, SECTION};
use super::specifier::expand;
use super::unit::Setting;
use crate::convert::{Said, Stanza};
use crate::endpoint::MOST_PASSED;
use crate::host::Host;

const LISTEN: &[&str] = &[
    "ListenStream",
    "ListenDatagram",
    "ListenSequentialPacket",
    "ListenFIFO",
    "ListenSpecial",
    "ListenNetlink",
    "ListenMessageQueue",
    "ListenUSBFunction",
];

/// What one service listens on.
struct Group<'a> {
    setting: &'a Setting,
    socket: &'static str,
    protocol: &'static str,
    first: u16,
    last: u16,
    /// `bind`, one word for each address; a wildcard is written out where there are several.
    bind: Vec<String>,
    /// Where it is a wildcard alone: the flag of its family.
    family: Option<&'static str>,
    v6only: bool,
    /// How many `Listen…=` it comes from.
    count: usize,
}

impl<'a> Group<'a> {
    /// A stream socket at a path or an abstract name.
    fn local(setting: &'a Setting, word: String) -> Self {
        let (bind, protocol) = (vec![word], UNIX);
        Self {
            setting,
            socket: "stream",
            protocol,
            first: 0,
            last: 0,
            bind,
            family: None,
            v6only: false,
            count: 1,
        }
    }

    /// Its address as a word of `bind`; none for a wildcard of both families.
    fn word(&self) -> Option<String> {
        match (self.bind.as_slice(), self.family) {
            ([], None) => None,
            ([], Some("IPv4")) => Some("0.0.0.0".to_owned()),
            ([], Some(_)) => Some("::".to_owned()),
            (words, _) => Some(words.join(" ")),
        }
    }

    /// Takes another address of the same port in.
    fn joined(&mut self, other: &Self) -> bool {
        let of = |group: &Self| {
            let file = group.bind.first().is_some_and(|word| word.starts_with('/'));
            (group.socket, group.protocol, file, group.first, group.last)
        };
        let same = of(self) == of(other);
        let (Some(mine), Some(theirs)) = (self.word(), other.word()) else { return false };
        let six = |group: &Self, word: &str| group.v6only || !word.split(' ').any(|word| word == "::");
        // `v6only` holds for all of them: it must change none.
        if !same || !six(self, &mine) || !six(other, &theirs) {
            return false;
        }
        self.bind = vec![mine, theirs];
        self.v6only |= other.v6only;
        self.family = None;
        self.count += other.count;
        true
    }

    /// Takes the next port of the same addresses in.
    fn prolonged(&mut self, other: &Self) -> bool {
        let of = |group: &Self| (group.socket, group.bind.clone(), group.family, group.v6only);
        if of(self) != of(other) || self.last.checked_add(1) != Some(other.first) {
            return false;
        }
        self.last = other.last;
        self.count += other.count;
        true
    }
}

/// The services of a socket with all that was `said` of each.
pub(super) fn stanzas(
    host: &dyn Host,
    socket: &Loaded,
    (name, off): (&str, bool),
    accept: bool,
    said: Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) -> Result<Vec<Stanza>, String> {
    let listen = written(socket);
    let mut groups: Vec<Group<'_>> = Vec::new();
    let all = sockets(socket, &listen, accept, out)?;
    let files = all.iter().flat_map(|group| group.bind.iter().map(|word| (group.setting, word.as_str())));
    let files: Vec<_> = files.filter(|(_, word)| word.starts_with('/')).collect();
    let rights = local::rights(host, socket, &files, out)?;
    for group in all {
        if !groups.iter_mut().any(|known| known.joined(&group)) {
            groups.push(group);
        }
    }
    let mut ranges: Vec<Group<'_>> = Vec::new();
    for group in groups {
        if !ranges.last_mut().is_some_and(|known| known.prolonged(&group)) {
            ranges.push(group);
        }
    }
    one_program(accept, &ranges, &said)?;
    let mut stanzas: Vec<Stanza> = Vec::new();
    let mut local_said = said.clone();
    if ranges.iter().any(|group| group.protocol == UNIX) {
        local::without_lists(socket, &mut local_said, out);
    }
    for group in &ranges {
        let id = (!stanzas.is_empty()).then(|| format!("{name}-{}", stanzas.len() + 1));
        let mut all =
            if group.protocol == UNIX { local_place(group, &rights) } else { place(host, name, group) };
        all.splice(0..0, id.map(|id| ("id", id)));
        all.extend(if group.protocol == UNIX { &local_said } else { &said }.iter().cloned());
        if let (Some(family), Some((_, flags))) =
            (group.family, all.iter_mut().find(|(name, _)| *name == "flags"))
        {
            *flags = format!("{flags} {family}").trim_start().to_owned();
        }
        all.retain(|(name, value)| !value.is_empty() || *name == "only_from");
        let place = group.setting.place.clone();
        let said = |(name, value)| Said { name, value, place: out.place(name, &place) };
        let said = all.into_iter().map(said).collect();
        stanzas.push(Stanza { place, name: name.to_owned(), off, said });
    }
    if off && let Some(first) = listen.first() {
        out.told(first, "the socket is switched off in systemd, so the service is too");
    }
    if stanzas.len() > 1
        && let Some(setting) = socket.unit.last(SECTION, "MaxConnections").or(listen.first().copied())
    {
        out.told(
            setting,
            "limits hold for each service by itself, where systemd counts all addresses of a socket together",
        );
    }
    if stanzas.is_empty() { Err("it listens nowhere that portreeve does".to_owned()) } else { Ok(stanzas) }
}

/// All that is written; an empty one of them forgets all of them.
fn written(socket: &Loaded) -> Vec<&Setting> {
    let mut listen: Vec<&Setting> = Vec::new();
    let of = |s: &&Setting| s.section == SECTION && LISTEN.contains(&s.key.as_str());
    for setting in socket.unit.settings.iter().filter(of) {
        setting.asked.set(true);
        if setting.value.is_empty() { listen.clear() } else { listen.push(setting) }
    }
    listen
}

/// Each line as a group of its own.
fn sockets<'a>(
    socket: &Loaded,
    listen: &[&'a Setting],
    accept: bool,
    out: &mut Out<'_>,
) -> Result<Vec<Group<'a>>, String> {
    let unit = &socket.unit;
    let six_only = match unit.last(SECTION, "BindIPv6Only").map(|setting| setting.value.as_str()) {
        None | Some("default" | "both") => false,
        Some("ipv6-only") => true,
        Some(_) => return Err("`BindIPv6Only=` is none of default, both, ipv6-only".to_owned()),
    };
    let device = unit.last(SECTION, "BindToDevice");
    if let Some(setting) = device {
        if setting.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/' || c == '%') {
            return Err("`BindToDevice=` is no name of an interface".to_owned());
        }
        out.at("bind", setting);
    }
    let mut groups = Vec::new();
    for setting in listen {
        let value = expand(&setting.value, &socket.name);
        let local = value.as_ref().is_ok_and(|value| local::is_local(value));
        let (kind, protocol) = match setting.key.as_str() {
            "ListenStream" => ("stream", "tcp"),
            "ListenDatagram" if accept => {
                return Err("`ListenDatagram=` and Accept=yes exclude each other".to_owned());
            }
            "ListenDatagram" => ("dgram", "udp"),
            "ListenSequentialPacket" if local => ("seqpacket", UNIX),
            _ => {
                out.lost(setting, "portreeve does not listen there");
                continue;
            }
        };
        if local {
            match value.and_then(|value| local::word(&value)) {
                Ok(word) => groups.push(Group { socket: kind, ..Group::local(setting, word) }),
                Err(why) => out.lost(setting, &why),
            }
            continue;
        }
        let place = match value.and_then(|value| addresses::read(&value, six_only)) {
            Ok(place) => place,
            Err(why) => {
                out.lost(setting, &why);
                continue;
            }
        };
        // An address may name its interface itself.
        let here = device.filter(|_| !place.bind.as_ref().is_some_and(|bind| bind.contains('%')));
        let bind = match (place.bind, here) {
            (bind, None) => bind,
            (bind, Some(device)) => Some(format!("{}%{}", bind.unwrap_or_default(), device.value)),
        };
        groups.push(Group {
            setting,
            socket: kind,
            protocol,
            first: place.port,
            last: place.port,
            bind: bind.into_iter().collect(),
            family: place.family,
            v6only: place.v6only,
            count: 1,
        });
    }
    Ok(groups)
}

/// With Accept=no one program has all sockets of the unit.
fn one_program(accept: bool, groups: &[Group<'_>], said: &[(&'static str, String)]) -> Result<(), String> {
    let sockets: usize = groups.iter().map(|group| group.count).sum();
    if accept || sockets < 2 {
        return Ok(());
    }
    if !said.iter().any(|(name, _)| *name == "listen_fds") {
        return Err("one program gets several sockets at once, and has one standard input".to_owned());
    }
    match groups {
        [_] if sockets <= MOST_PASSED => Ok(()),
        [_] => Err(format!("one program gets {sockets} sockets, and {MOST_PASSED} are the most")),
        _ => Err("one program gets several sockets that are neither the addresses of one port nor the ports of one address, nor paths, nor abstract names".to_owned()),
    }
}

/// The attributes that say where.
fn place(host: &dyn Host, name: &str, group: &Group<'_>) -> Vec<(&'static str, String)> {
    let mut all: Vec<(&'static str, String)> = Vec::new();
    let Group { first, last, .. } = *group;
    if first != last || host.service_port(name, group.protocol) != Some(first) {
        all.push(("type", "UNLISTED".to_owned()));
        all.push(("port", if first == last { first.to_string() } else { format!("{first}-{last}") }));
    }
    all.push(("socket_type", group.socket.to_owned()));
    all.push(("protocol", group.protocol.to_owned()));
    if !group.bind.is_empty() {
        all.push(("bind", group.bind.join(" ")));
    }
    if group.v6only {
        all.push(("v6only", "yes".to_owned()));
    }
    all
}

/// The attributes that say where, of unix sockets.
fn local_place(group: &Group<'_>, rights: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let file = group.bind.iter().any(|word| word.starts_with('/'));
    let place = [("socket_type", group.socket.to_owned()), ("bind", group.bind.join(" "))];
    place.into_iter().chain(rights.iter().filter(|_| file).cloned()).collect()
}
