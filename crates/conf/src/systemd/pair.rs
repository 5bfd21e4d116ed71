//! A socket with its service as stanzas: one for each address it listens on. What has no counterpart is named, setting by
//! setting; what would serve somebody whom systemd refuses, or as somebody else, is not carried over at all.

use super::addresses;
use super::keys;
use super::limits::{self, Rate};
use super::networks::{Network, without};
use super::read::Loaded;
use super::service::{of_no_concern, service};
use super::specifier::expand;
use super::unit::{Setting, Unit, boolean};
use super::words::name_of_unit;
use crate::convert::{Note, Said, Stanza};
use crate::host::Host;
use crate::place::Place;

const SECTION: &str = "Socket";

/// The greatest number that systemd reads: no limit.
pub(super) const UNLIMITED: u32 = u32::MAX;

/// The notes about one socket.
pub(super) struct Out<'a> {
    service: String,
    notes: &'a mut Vec<Note>,
}

impl Out<'_> {
    fn note(&mut self, place: &Place, about: &str, lost: bool, text: String) {
        self.notes.push(Note {
            place: Some(place.clone()),
            service: Some(self.service.clone()),
            about: Some(about.to_owned()),
            lost,
            text,
        });
    }

    /// A setting that could not be carried over.
    pub(super) fn lost(&mut self, setting: &Setting, why: &str) {
        self.note(&setting.place, &setting.key, true, format!("`{}=`: {why}", setting.key));
    }

    /// What a reader of the result must know of one.
    pub(super) fn told(&mut self, setting: &Setting, why: &str) {
        self.note(&setting.place, &setting.key, false, format!("`{}=`: {why}", setting.key));
    }
}

/// The stanzas of a socket; `find` loads the unit of a name.
pub(super) fn pair(
    host: &dyn Host,
    socket: &Loaded,
    find: &mut dyn FnMut(&str, &mut Vec<Note>) -> Option<Loaded>,
    comments: &mut Vec<String>,
    notes: &mut Vec<Note>,
) -> Result<Vec<Stanza>, String> {
    let stem = socket.name.strip_suffix(".socket").unwrap_or(&socket.name);
    let name = name_of_unit(stem);
    let fits = |c: char| !c.is_whitespace() && !c.is_control();
    if name.is_empty() || !name.chars().all(fits) {
        return Err("its name has characters that no service of portreeve has".to_owned());
    }
    if stem.ends_with('@') {
        return Err("it is a template: its instances have other addresses".to_owned());
    }
    let unit = &socket.unit;
    let accept = match unit.last(SECTION, "Accept") {
        None => false,
        Some(setting) => boolean(&setting.value).ok_or("`Accept=` is neither yes nor no")?,
    };
    let target = match unit.last(SECTION, "Service") {
        Some(setting) => expand(&setting.value, &socket.name)?,
        None if accept => format!("{stem}@.service"),
        None => format!("{stem}.service"),
    };
    let program = find(&target, notes).ok_or_else(|| format!("there is no `{target}` beside it"))?;
    comments.extend(descriptions(&program));
    let mut out = Out { service: name.clone(), notes };
    let mut said = service(&program.unit, &target, &mut out)?;
    said.push(("wait", if accept { "no" } else { "yes" }.to_owned()));
    connections(unit, accept, &mut said, &mut out)?;
    clients(unit, &mut said, &mut out)?;
    for (key, flag) in [("NoDelay", "NODELAY"), ("KeepAlive", "KEEPALIVE")] {
        if unit.last(SECTION, key).is_some_and(|setting| boolean(&setting.value) == Some(true))
            && let Some((_, flags)) = said.iter_mut().find(|(name, _)| *name == "flags")
        {
            *flags = format!("{flags} {flag}").trim_start().to_owned();
        }
    }
    let stanzas = stanzas(host, socket, &name, accept, said, &mut out)?;
    for unit in [unit, &program.unit] {
        for setting in unit.unasked().filter(|setting| !of_no_concern(setting)) {
            if let Some(text) = keys::left(setting) {
                out.note(&setting.place, &setting.key, true, text);
            }
        }
    }
    Ok(stanzas)
}

/// What a unit says of itself, as comments.
pub(super) fn descriptions(loaded: &Loaded) -> Vec<String> {
    let of = |key| loaded.unit.list("Unit", key).into_iter().map(|setting| &setting.value);
    let lines = of("Description").chain(of("Documentation"));
    let name = loaded.name.split(['.', '@']).next().unwrap_or_default();
    lines.filter(|line| *line != name).map(|line| format!(" {}: {line}", loaded.name)).collect()
}

/// How many at once, and how fast.
fn connections(
    unit: &Unit,
    accept: bool,
    said: &mut Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) -> Result<(), String> {
    for (key, name, default) in
        [("MaxConnections", "instances", 64), ("MaxConnectionsPerSource", "per_source", UNLIMITED)]
    {
        let setting = unit.last(SECTION, key);
        let Some(number) = setting.map_or(Some(default), |setting| setting.value.parse().ok()) else {
            return Err(format!("`{key}=` is no number"));
        };
        match setting {
            Some(setting) if !accept => out.told(setting, "it has no effect with Accept=no"),
            _ if number == UNLIMITED || !accept || (name == "per_source" && number == 0) => {}
            _ => said.push((name, number.to_string())),
        }
    }
    let poll = [unit.last(SECTION, "PollLimitIntervalSec"), unit.last(SECTION, "PollLimitBurst")];
    let trigger = [unit.last(SECTION, "TriggerLimitIntervalSec"), unit.last(SECTION, "TriggerLimitBurst")];
    let value = |setting: &Option<&Setting>, default: &'static str| -> String {
        setting.map_or(default.to_owned(), |setting| setting.value.clone())
    };
    let read = |[interval, burst]: &[Option<&Setting>; 2], default: &'static str| {
        limits::rate(&value(interval, "2s"), &value(burst, default))
    };
    let set = |pair: &[Option<&Setting>; 2]| pair.iter().any(Option::is_some);
    let (rate, which) = match (set(&poll), set(&trigger)) {
        (false, false) => return Ok(()),
        (true, _) => (read(&poll, if accept { "150" } else { "15" }), &poll),
        (false, true) => (read(&trigger, if accept { "200" } else { "20" }), &trigger),
    };
    let first = which.iter().flatten().next();
    match (rate, first) {
        (Some(Rate::Off), Some(_))
            if set(&poll) && set(&trigger) && read(&trigger, "200") != Some(Rate::Off) =>
        {
            for setting in trigger.iter().flatten() {
                out.lost(setting, "systemd stops the socket for good at that rate; here is no limit");
            }
            said.push(("cps", "0 0".to_owned()));
        }
        (Some(Rate::Off), _) => said.push(("cps", "0 0".to_owned())),
        (Some(Rate::Exactly(rate)), _) => said.push(("cps", format!("{rate} 1"))),
        (Some(Rate::Nearly(rate)), Some(setting)) => {
            out.lost(setting, &format!("`cps` counts by the second: {rate}"));
            said.push(("cps", format!("{rate} 1")));
        }
        (None, Some(setting)) => out.lost(setting, "it is no rate; the default of `cps` holds"),
        (_, None) => {}
    }
    if !set(&poll)
        && let Some(setting) = first
    {
        out.told(setting, "systemd stops the socket for good at that rate; `cps` pauses for a second");
    }
    Ok(())
}

/// Who may connect. What is allowed wins over what is denied there.
fn clients(unit: &Unit, said: &mut Vec<(&'static str, String)>, out: &mut Out<'_>) -> Result<(), String> {
    let networks = |key| {
        let mut networks = Vec::new();
        for setting in unit.list(SECTION, key) {
            for word in setting.value.split_ascii_whitespace() {
                let read = Network::parse(word).ok_or_else(|| format!("`{key}=`: `{word}` is no address"))?;
                networks.extend(read);
            }
        }
        Ok::<_, String>(networks)
    };
    let (allow, deny) = (networks("IPAddressAllow")?, networks("IPAddressDeny")?);
    let text = |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let all = Network::ALL.iter().all(|all| deny.contains(all));
    match (deny.is_empty(), all) {
        (true, _) => {
            for setting in unit.list(SECTION, "IPAddressAllow") {
                out.told(setting, "nothing is denied, so everybody is allowed");
            }
        }
        (false, true) => said.push(("only_from", text(&allow))),
        (false, false) => {
            let left = without(&deny, &allow).ok_or("`IPAddressDeny=` comes to too many networks")?;
            if !left.is_empty() {
                said.push(("no_access", text(&left)));
            }
            if !allow.is_empty() && left != deny {
                for setting in unit.list(SECTION, "IPAddressAllow") {
                    out.told(setting, "what it allows is taken out of `no_access`");
                }
            }
        }
    }
    Ok(())
}

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

/// One for each socket.
fn stanzas(
    host: &dyn Host,
    socket: &Loaded,
    name: &str,
    accept: bool,
    said: Vec<(&'static str, String)>,
    out: &mut Out<'_>,
) -> Result<Vec<Stanza>, String> {
    let unit = &socket.unit;
    let six_only = match unit.last(SECTION, "BindIPv6Only").map(|setting| setting.value.as_str()) {
        None | Some("default" | "both") => false,
        Some("ipv6-only") => true,
        Some(_) => return Err("`BindIPv6Only=` is none of default, both, ipv6-only".to_owned()),
    };
    // An empty one of them forgets all of them.
    let mut listen: Vec<&Setting> = Vec::new();
    for setting in unit.settings.iter().filter(|s| s.section == SECTION && LISTEN.contains(&s.key.as_str())) {
        setting.asked.set(true);
        if setting.value.is_empty() { listen.clear() } else { listen.push(setting) }
    }
    if !accept && listen.len() > 1 {
        return Err("one program gets several sockets at once".to_owned());
    }
    let off = !unit.settings.iter().any(|setting| setting.section == "Install" && !setting.value.is_empty());
    let mut stanzas: Vec<Stanza> = Vec::new();
    for setting in &listen {
        let (kind, protocol) = match setting.key.as_str() {
            "ListenStream" => ("stream", "tcp"),
            "ListenDatagram" if accept => {
                return Err("`ListenDatagram=` and Accept=yes exclude each other".to_owned());
            }
            "ListenDatagram" => ("dgram", "udp"),
            _ => {
                out.lost(setting, "portreeve does not listen there");
                continue;
            }
        };
        let place =
            match expand(&setting.value, &socket.name).and_then(|value| addresses::read(&value, six_only)) {
                Ok(place) => place,
                Err(why) => {
                    out.lost(setting, &why);
                    continue;
                }
            };
        let mut all: Vec<(&'static str, String)> = Vec::new();
        if !stanzas.is_empty() {
            all.push(("id", format!("{name}-{}", stanzas.len() + 1)));
        }
        if host.service_port(name, protocol) != Some(place.port) {
            all.push(("type", "UNLISTED".to_owned()));
            all.push(("port", place.port.to_string()));
        }
        all.push(("socket_type", kind.to_owned()));
        all.push(("protocol", protocol.to_owned()));
        all.extend(place.bind.map(|bind| ("bind", bind)));
        if place.v6only {
            all.push(("v6only", "yes".to_owned()));
        }
        all.extend(said.iter().cloned());
        if let (Some(family), Some((_, flags))) =
            (place.family, all.iter_mut().find(|(name, _)| *name == "flags"))
        {
            *flags = format!("{flags} {family}").trim_start().to_owned();
        }
        all.retain(|(name, value)| !value.is_empty() || *name == "only_from");
        let place = setting.place.clone();
        let said = all.into_iter().map(|(name, value)| Said { name, value, place: place.clone() }).collect();
        stanzas.push(Stanza { place, name: name.to_owned(), off, said });
    }
    if off && let Some(first) = listen.first() {
        out.told(first, "the socket has no `[Install]` section: the service is switched off");
    }
    if stanzas.len() > 1
        && let Some(setting) = unit.last(SECTION, "MaxConnections").or(listen.first().copied())
    {
        out.told(
            setting,
            "limits hold for each address by itself, where systemd counts all addresses of a socket together",
        );
    }
    if stanzas.is_empty() { Err("it listens nowhere that portreeve does".to_owned()) } else { Ok(stanzas) }
}
