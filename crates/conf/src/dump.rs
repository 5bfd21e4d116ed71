//! What `defaults` set, and values of services, as xinetd's dump shows them (reference xinetd §11.4). Looks no name up: `Bind` shows what was written.

use crate::attributes::{FAILURE, SUCCESS};
use crate::draft::{AddressSet, Draft};
use crate::service::{AddressEntry, AddressMatch, Limit, LogFailure, LogSuccess, LogType};
use crate::values::logging::{facility_name, level_name};
use std::net::{Ipv4Addr, Ipv6Addr};

fn dump_line(name: &str, value: &str) -> String {
    match name {
        "No logging" => name.to_owned(),
        "Only from" | "No access" | "Logging to file" => format!("{name}: {value}"),
        "Logging to syslog." => format!("{name} {value}"),
        _ => format!("{name} = {value}").trim_end().to_owned(),
    }
}

impl AddressEntry {
    /// The entry as xinetd's dump shows it: `10.0.0.0/255.0.0.0(NET)`, `127.0.0.1(NUMERIC)`, `localhost(HOST)`.
    pub fn dump(&self) -> String {
        let written_as_network = self.text.contains('/');
        match &self.matches {
            AddressMatch::V4(networks) => {
                let one = |&(address, length): &(u32, u8)| {
                    let address = Ipv4Addr::from(address);
                    match written_as_network && length < 32 {
                        true => format!("{address}/{}(NET)", Ipv4Addr::from(crate::address::v4_mask(length))),
                        false => format!("{address}(NUMERIC)"),
                    }
                };
                networks.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            &AddressMatch::V6(address, length) => {
                let address = Ipv6Addr::from(address);
                match written_as_network && length < 128 {
                    true => format!("{address}/{}(NET)", Ipv6Addr::from(crate::address::v6_mask(length))),
                    false => format!("{address}(NUMERIC)"),
                }
            }
            AddressMatch::Name(name) | AddressMatch::Suffix(name) => format!("{name}(HOST)"),
        }
    }
}

/// What `defaults` set: the lines below `Service defaults` without their tab, in xinetd's order.
pub(crate) fn defaults(draft: &Draft) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(dump_line(name, &value));
    if let Some(set) = &draft.instances {
        line("Instances", set.value.map_or("UNLIMITED".to_owned(), |number| number.to_string()));
    }
    if let Some(groups) = draft.groups {
        line("Groups", if groups { "yes" } else { "no" }.to_owned());
    }
    if let Some(umask) = draft.umask {
        line("umask", format!("{umask:o}"));
    }
    if let Some(set) = &draft.cps {
        line("CPS", format!("max conn:{} wait:{}", set.value.0, set.value.1));
    }
    if let Some(set) = &draft.per_source {
        line("PER_SOURCE", signed(set.value));
    }
    line("Bind", bind(draft));
    line("Only from", list(&draft.only_from, "All sites"));
    line("No access", list(&draft.no_access, "No blocked sites"));
    logging(draft, &mut line);
    if let Some(names) = &draft.passenv {
        line("Passenv", names.join(" "));
    }
    lines
}

fn bind(draft: &Draft) -> String {
    let Some(set) = &draft.bind else { return "All addresses.".to_owned() };
    set.value.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" ")
}

fn signed(limit: Limit) -> String {
    limit.map_or("-1".to_owned(), |number| number.to_string())
}

fn list(set: &Option<AddressSet>, empty: &str) -> String {
    match set {
        Some(set) if !set.entries.is_empty() => {
            set.entries.iter().map(|(pattern, ..)| format!(" {}", pattern.dump())).collect()
        }
        _ => empty.to_owned(),
    }
}

fn logging(draft: &Draft, line: &mut impl FnMut(&str, String)) {
    let unset = LogType::None;
    let log_type = draft.log_type.as_ref().map_or(&unset, |set| &set.value);
    let (name, value) = log_type.dump_parts();
    line(name, value);
    if *log_type != LogType::None {
        line("Log_on_success flags", draft.log_success.dump());
        line("Log_on_failure flags", draft.log_failure.dump());
    }
}

impl LogType {
    fn dump_parts(&self) -> (&'static str, String) {
        match self {
            LogType::None => ("No logging", String::new()),
            LogType::Syslog { facility, level } => {
                let value =
                    format!("Facility = {}, level = {}", facility_name(*facility), level_name(*level));
                ("Logging to syslog.", value)
            }
            LogType::File { path, soft, hard } => {
                let limits = match (soft, hard) {
                    (Some(soft), Some(hard)) => format!("(soft={soft} hard={hard})"),
                    _ => "(no limits)".to_owned(),
                };
                ("Logging to file", format!("{path} {limits}"))
            }
        }
    }

    /// Its line in xinetd's dump, without tabs.
    pub fn dump(&self) -> String {
        let (name, value) = self.dump_parts();
        dump_line(name, &value)
    }
}

impl LogSuccess {
    /// Its words, as xinetd's dump shows them.
    pub fn dump(&self) -> String {
        let on = [self.host, self.duration, self.exit, self.pid, self.userid, self.traffic];
        words(SUCCESS, on)
    }
}

impl LogFailure {
    /// Its words, as xinetd's dump shows them.
    pub fn dump(&self) -> String {
        words(FAILURE, [self.host, self.attempt, self.userid])
    }
}

fn words<const N: usize>(names: &[&'static str], on: [bool; N]) -> String {
    names.iter().zip(on).filter(|(_, on)| *on).map(|(word, _)| *word).collect::<Vec<_>>().join(" ")
}
