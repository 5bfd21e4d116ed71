//! A socket with its service as stanzas: who may come, how many, how fast. What has no counterpart is named, setting by
//! setting; what would serve somebody whom systemd refuses, or as somebody else, is not carried over at all.

use super::find::Loaded;
use super::keys;
use super::limits::{self, Rate};
use super::listen::stanzas;
use super::networks::{Network, without};
use super::service::{Passing, service};
use super::specifier::expand;
use super::unit::{Setting, Unit, boolean, span};
use super::words::name_of_unit;
use crate::convert::{Note, Stanza};
use crate::host::Host;
use crate::place::Place;
use crate::values::limits::MOST_STARTS;

pub(super) const SECTION: &str = "Socket";

/// The greatest number that systemd reads: no limit.
pub(super) const UNLIMITED: u32 = u32::MAX;

/// In microseconds.
const MINUTE: u64 = 60_000_000;

/// The notes about one socket.
pub(super) struct Out<'a> {
    service: String,
    notes: &'a mut Vec<Note>,
    /// The settings that attributes come from.
    places: Vec<(&'static str, Place)>,
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

    /// What an attribute comes from.
    pub(super) fn at(&mut self, attribute: &'static str, setting: &Setting) {
        self.places.push((attribute, setting.place.clone()));
    }

    /// Where an attribute comes from; of one that follows from what is not written, `otherwise`.
    pub(super) fn place(&self, attribute: &str, otherwise: &Place) -> Place {
        let found = self.places.iter().rev().find(|(name, _)| *name == attribute);
        found.map_or(otherwise, |(_, place)| place).clone()
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

/// The stanzas of a socket, which is switched `off`; `find` loads the unit of a name.
pub(super) fn pair(
    host: &dyn Host,
    socket: &Loaded,
    off: bool,
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
    let unit = &socket.unit;
    let accept = match unit.last(SECTION, "Accept") {
        None => false,
        Some(setting) => boolean(&setting.value).ok_or("`Accept=` is neither yes nor no")?,
    };
    let target = match unit.last(SECTION, "Service") {
        Some(setting) => expand(&setting.value, &socket.name)?,
        None if accept => format!("{}@.service", stem.split('@').next().unwrap_or(stem)),
        None => format!("{stem}.service"),
    };
    let program = find(&target, notes).ok_or_else(|| format!("there is no `{target}` beside it"))?;
    comments.extend(descriptions(&program));
    let mut out = Out { service: name.clone(), notes, places: Vec::new() };
    let descriptors = match unit.last(SECTION, "FileDescriptorName") {
        Some(setting) => expand(&setting.value, &socket.name)?,
        None if accept => "connection".to_owned(),
        None => socket.name.clone(),
    };
    let mut said = service(&program.unit, &target, &Passing { accept, descriptors }, &mut out)?;
    said.push(("wait", if accept { "no" } else { "yes" }.to_owned()));
    if let Some(setting) = unit.last(SECTION, "Accept") {
        out.at("wait", setting);
    }
    connections(unit, accept, &mut said, &mut out)?;
    clients(unit, &mut said, &mut out)?;
    for (key, flag) in [("NoDelay", "NODELAY"), ("KeepAlive", "KEEPALIVE"), ("FreeBind", "FREEBIND")] {
        if unit.last(SECTION, key).is_some_and(|setting| boolean(&setting.value) == Some(true))
            && let Some((_, flags)) = said.iter_mut().find(|(name, _)| *name == "flags")
        {
            *flags = format!("{flags} {flag}").trim_start().to_owned();
        }
    }
    let stanzas = stanzas(host, socket, (&name, off), accept, said, &mut out)?;
    for unit in [unit, &program.unit] {
        for setting in unit.unasked() {
            if let Some((lost, text)) = keys::left(setting) {
                out.note(&setting.place, &setting.key, lost, text);
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
            _ => {
                said.push((name, number.to_string()));
                setting.into_iter().for_each(|setting| out.at(name, setting));
            }
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
    let read_minute = |[interval, burst]: &[Option<&Setting>; 2], default: &'static str| {
        let burst = value(burst, default).parse::<u32>().ok()?;
        (span(&value(interval, "2s")) == Some(MINUTE))
            .then_some(burst)
            .filter(|n| (1..=MOST_STARTS).contains(n))
    };
    let (rate, minute, which) = match (set(&poll), set(&trigger)) {
        (false, false) => return Ok(()),
        (true, _) => {
            let default = if accept { "150" } else { "15" };
            (read(&poll, default), read_minute(&poll, default), &poll)
        }
        (false, true) => {
            let default = if accept { "200" } else { "20" };
            (read(&trigger, default), read_minute(&trigger, default), &trigger)
        }
    };
    let first = which.iter().flatten().next();
    let name = if minute.is_some() { "starts_per_minute" } else { "cps" };
    first.into_iter().for_each(|setting| out.at(name, setting));
    match (rate, first) {
        _ if minute.is_some() => said.extend(minute.map(|number| (name, number.to_string()))),
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
        out.told(setting, "systemd stops the socket for good at that rate; portreeve lets clients wait");
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
    for (name, key) in
        [("only_from", "IPAddressAllow"), ("only_from", "IPAddressDeny"), ("no_access", "IPAddressDeny")]
    {
        unit.list(SECTION, key).last().into_iter().for_each(|setting| out.at(name, setting));
    }
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
