//! The table `[firewall]` of portreeve.toml: from where ssh is reached, which listeners that are not ours are, and what may
//! leave. Reads and checks; opens no port. What is not understood is an error with its place: half of it would be believed.

use super::{place, read};
use crate::firewall::port::{Port, Transport};
use portreeve_policy::Prefix;
use std::io::ErrorKind;
use std::path::Path;
use toml_span::Span;
use toml_span::value::{Table, Value, ValueInner};

/// Networks that may administer are no wider than these: a wider one is nobody's own.
const WIDEST_MANAGEMENT: (u8, u8) = (8, 19);
/// Entries of one list.
const MOST: usize = 10_000;
const KEYS: [&str; 6] = ["management", "ssh", "names", "egress", "allow", "out"];
const ALLOW_KEYS: [&str; 4] = ["port", "from", "interface", "why"];
const OUT_KEYS: [&str; 3] = ["port", "to", "why"];

/// What is done with connections that this host begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Egress {
    /// Nothing.
    #[default]
    Off,
    /// Those that no `[[firewall.out]]` names are logged.
    Log,
    /// They are refused.
    Restrict,
}

/// Somebody else's listener, or a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Which ports.
    pub port: Port,
    /// From or to where; `None` for everybody.
    pub networks: Option<Vec<Prefix>>,
    /// By which interface alone.
    pub interface: Option<String>,
    /// Why, in its author's words.
    pub why: String,
    /// The line, from 1.
    pub line: u32,
}

/// The host firewall's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFirewall {
    /// Networks from which ssh is reached.
    pub management: Vec<Prefix>,
    /// The line of `management`.
    pub management_line: u32,
    /// Where ssh listens; `None` = where the inventory finds it.
    pub ssh: Option<Vec<Port>>,
    /// Services with host names in only_from are open, and the daemon alone checks the names.
    pub names_open: bool,
    /// Connections that this host begins.
    pub egress: Egress,
    /// Listeners that are not ours.
    pub allow: Vec<Allowed>,
    /// Destinations.
    pub out: Vec<Allowed>,
}

/// The settings; what the file does not say is as always: nothing is named.
///
/// # Errors
/// A sentence with the place.
pub fn firewall(path: &Path) -> Result<HostFirewall, String> {
    let text = match read(path) {
        Ok(text) => text,
        // A file that somebody names is to be there: a misspelt one would name no networks for ssh.
        Err(error) if error.kind() == ErrorKind::NotFound && path == Path::new(super::PATH) => {
            return Ok(HostFirewall::default());
        }
        Err(error) => return Err(format!("{}: {}", path.display(), crate::failure::system_text(&error))),
    };
    settings_in(&text).map_err(|(span, what)| {
        let (line, column) = place(&text, span.start);
        format!("{}:{line}:{column}: {what}", path.display())
    })
}

type Wrong = (Span, String);

fn settings_in(text: &str) -> Result<HostFirewall, Wrong> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, "expected keys and values".to_owned()));
    };
    let mut settings = HostFirewall::default();
    let Some(mut value) = table.remove("firewall") else { return Ok(settings) };
    let span = value.span;
    let ValueInner::Table(mut table) = value.take() else {
        return Err((span, "firewall must be a table: [firewall]".to_owned()));
    };
    known(&table, &KEYS, "[firewall]")?;
    if let Some(value) = table.remove("management") {
        settings.management_line = line(text, value.span);
        for (span, network) in prefixes(value, "management")? {
            settings.management.push(narrow(span, network)?);
        }
    }
    if let Some(value) = table.remove("ssh") {
        let ports = list(value, "ssh", "ports, as [\"22/tcp\"]")?.into_iter().map(|(span, text)| {
            let port: Port = text.parse().map_err(|what| (span, what))?;
            match port.transport {
                Transport::Tcp => Ok(port),
                _ => Err((span, format!("{port}: ssh is reached by tcp"))),
            }
        });
        settings.ssh = Some(ports.collect::<Result<_, _>>()?);
    }
    if let Some(value) = table.remove("names") {
        settings.names_open = choice(value, "names", &[("refuse", false), ("open", true)])?;
    }
    if let Some(value) = table.remove("egress") {
        let words = [("off", Egress::Off), ("log", Egress::Log), ("restrict", Egress::Restrict)];
        settings.egress = choice(value, "egress", &words)?;
    }
    settings.allow = tables(text, table.remove("allow"), "allow", &ALLOW_KEYS, "from")?;
    settings.out = tables(text, table.remove("out"), "out", &OUT_KEYS, "to")?;
    Ok(settings)
}

fn known(table: &Table<'_>, keys: &[&str], of: &str) -> Result<(), Wrong> {
    let Some(key) = table.keys().find(|key| !keys.contains(&&*key.name)) else { return Ok(()) };
    let near = keys.iter().find(|known| known.starts_with(key.name.get(..1).unwrap_or(" ")));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    Err((key.span, format!("there is no {} in {of}, only {}{hint}", key.name, keys.join(", "))))
}

fn narrow(span: Span, network: Prefix) -> Result<Prefix, Wrong> {
    let (v4, v6) = WIDEST_MANAGEMENT;
    let widest = if network.address().is_ipv4() { v4 } else { v6 };
    if network.len() >= widest {
        return Ok(network);
    }
    let what = format!(
        "{network} is no management network: /{widest} or longer was expected; to let everybody try, name ssh in [[firewall.allow]] with from = \"any\""
    );
    Err((span, what))
}

/// The tables `[[firewall.allow]]` and `[[firewall.out]]`.
fn tables(
    text: &str,
    value: Option<Value<'_>>,
    name: &str,
    keys: &[&str],
    networks: &str,
) -> Result<Vec<Allowed>, Wrong> {
    let Some(mut value) = value else { return Ok(Vec::new()) };
    let span = value.span;
    let ValueInner::Array(entries) = value.take() else {
        return Err((span, format!("{name} must be a list of tables: [[firewall.{name}]]")));
    };
    if entries.len() > MOST {
        return Err((span, format!("{name} has {} entries; {MOST} are the most", entries.len())));
    }
    let mut all = Vec::new();
    for mut entry in entries {
        let span = entry.span;
        let ValueInner::Table(mut table) = entry.take() else {
            return Err((span, format!("each must be a table: [[firewall.{name}]]")));
        };
        known(&table, keys, &format!("[[firewall.{name}]]"))?;
        let needs = |key: &str, as_in: &str| (span, format!("[[firewall.{name}]] needs {key}, as {as_in}"));
        let (at, word) = string(table.remove("port").ok_or_else(|| needs("port", "\"443/tcp\""))?, "port")?;
        let port = word.parse().map_err(|what| (at, what))?;
        let value = table.remove(networks).ok_or_else(|| needs(networks, "\"any\" or [\"192.0.2.0/24\"]"))?;
        let networks = match value.as_str() {
            Some("any") => None,
            Some(_) => {
                return Err((
                    value.span,
                    format!("{networks} must be \"any\" or a list, as [\"192.0.2.0/24\"]"),
                ));
            }
            None => Some(prefixes(value, networks)?.into_iter().map(|(_, network)| network).collect()),
        };
        let interface = table.remove("interface").map(|value| {
            let (span, word) = string(value, "interface")?;
            interface_name(&word)
                .then_some(word)
                .ok_or((span, "interface must be the name of one, as \"eth0\"".to_owned()))
        });
        let why = table.remove("why").map(|value| string(value, "why")).transpose()?;
        all.push(Allowed {
            port,
            networks,
            interface: interface.transpose()?,
            why: why.map(|(_, why)| why).unwrap_or_default(),
            line: line(text, span),
        });
    }
    Ok(all)
}

/// As the kernel takes them; no wildcard.
pub fn interface_name(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@:".contains(&b);
    !word.is_empty() && word.len() < 16 && word != "." && word != ".." && word.bytes().all(plain)
}

fn line(text: &str, span: Span) -> u32 {
    u32::try_from(place(text, span.start).0).unwrap_or(u32::MAX)
}

fn string(mut value: Value<'_>, name: &str) -> Result<(Span, String), Wrong> {
    let span = value.span;
    match value.take() {
        ValueInner::String(text) => Ok((span, text.into_owned())),
        _ => Err((span, format!("{name} must be text in quotes"))),
    }
}

fn list(mut value: Value<'_>, name: &str, of: &str) -> Result<Vec<(Span, String)>, Wrong> {
    let span = value.span;
    let ValueInner::Array(entries) = value.take() else {
        return Err((span, format!("{name} must be a list of {of}")));
    };
    if entries.len() > MOST {
        return Err((span, format!("{name} has {} entries; {MOST} are the most", entries.len())));
    }
    entries.into_iter().map(|entry| string(entry, name)).collect()
}

fn prefixes(value: Value<'_>, name: &str) -> Result<Vec<(Span, Prefix)>, Wrong> {
    let words = list(value, name, "networks, as [\"192.0.2.0/24\"]")?;
    let read = |(span, text): (Span, String)| {
        let network = text.parse::<Prefix>().map_err(|bad| (span, bad.to_string()))?;
        Ok((span, network))
    };
    words.into_iter().map(read).collect()
}

fn choice<T: Copy>(value: Value<'_>, name: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    let all = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    found.map(|(_, chosen)| *chosen).ok_or_else(|| (value.span, format!("{name} must be one of {}", all())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_must_be_there() {
        let said = firewall(Path::new("/nonexistent/portreeve.toml")).unwrap_err();
        assert_eq!(said, "/nonexistent/portreeve.toml: No such file or directory");
    }

    #[test]
    fn the_settings_of_the_host_firewall() {
        for text in ["", "other = 1\n", "[firewall]\n", "[ledger]\nkeep = true\n"] {
            assert_eq!(settings_in(text).ok(), Some(HostFirewall::default()), "{text}");
        }
        let text = "[firewall]\nmanagement = [\"192.0.2.0/24\", \"2001:db8::/48\"]\nssh = [\"2222/tcp\"]\nnames = \"open\"\n\
                    egress = \"log\"\n[[firewall.allow]]\nport = \"443/tcp\"\nfrom = \"any\"\nwhy = \"web\"\n\
                    [[firewall.allow]]\nport = \"esp\"\nfrom = [\"198.51.100.7\"]\ninterface = \"eth0\"\n\
                    [[firewall.out]]\nport = \"53/udp\"\nto = [\"192.0.2.53\"]\n";
        let settings = settings_in(text).unwrap();
        assert_eq!(settings.management, ["192.0.2.0/24".parse().unwrap(), "2001:db8::/48".parse().unwrap()]);
        assert_eq!((settings.management_line, settings.names_open), (2, true));
        assert_eq!(settings.egress, Egress::Log);
        let web = &settings.allow[0];
        assert_eq!(
            (web.port.to_string().as_str(), &web.networks, web.why.as_str()),
            ("443/tcp", &None, "web")
        );
        assert_eq!((settings.allow[1].interface.as_deref(), settings.allow[1].line), (Some("eth0"), 10));
        assert_eq!(settings.out[0].networks, Some(vec!["192.0.2.53".parse().unwrap()]));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wanted) in [
            ("firewall = 3", "1:12: firewall must be a table: [firewall]"),
            (
                "[firewall]\nmanagment = []",
                "2:1: there is no managment in [firewall], only management, ssh, names, egress, allow, out; did you mean management?",
            ),
            (
                "[firewall]\nmanagement = [\"10.0.0.0/8\",\n \"0.0.0.0/0\"]",
                "3:3: 0.0.0.0/0 is no management network: /8 or longer was expected; to let everybody try, name ssh in [[firewall.allow]] with from = \"any\"",
            ),
            (
                "[firewall]\nmanagement = [\"::ffff:0:0/96\"]",
                "2:16: 0.0.0.0/0 is no management network: /8 or longer was expected; to let everybody try, name ssh in [[firewall.allow]] with from = \"any\"",
            ),
            (
                "[firewall]\nmanagement = [\"::/0\"]",
                "2:16: ::/0 is no management network: /19 or longer was expected; to let everybody try, name ssh in [[firewall.allow]] with from = \"any\"",
            ),
            ("[firewall]\nmanagement = [\"office\"]", "2:16: \"office\" is no IPv4 or IPv6 address"),
            (
                "[firewall]\nmanagement = \"any\"",
                "2:15: management must be a list of networks, as [\"192.0.2.0/24\"]",
            ),
            (
                "[firewall]\nmanagement = [\"10.1.1.1/8\"]",
                "2:16: 10.1.1.1/8 has bits set behind its length; 10.0.0.0/8 is the network that it lies in",
            ),
            ("[firewall]\nssh = [\"22/udp\"]", "2:9: 22/udp: ssh is reached by tcp"),
            ("[firewall]\nnames = true", "2:9: names must be one of \"refuse\", \"open\""),
            ("[firewall]\negress = \"deny\"", "2:11: egress must be one of \"off\", \"log\", \"restrict\""),
            ("[firewall]\nallow = 1", "2:9: allow must be a list of tables: [[firewall.allow]]"),
            (
                "[[firewall.allow]]\nport = \"1/tcp\"",
                "1:1: [[firewall.allow]] needs from, as \"any\" or [\"192.0.2.0/24\"]",
            ),
            (
                "[[firewall.allow]]\nport = \"1/tcp\"\nfrom = \"all\"",
                "3:9: from must be \"any\" or a list, as [\"192.0.2.0/24\"]",
            ),
            (
                "[[firewall.out]]\nport = \"1/tcp\"\nfrom = \"any\"",
                "3:1: there is no from in [[firewall.out]], only port, to, why",
            ),
            (
                "[[firewall.allow]]\nport = \"1/tcp\"\nfrom = \"any\"\ninterface = \"a b\"",
                "4:14: interface must be the name of one, as \"eth0\"",
            ),
        ] {
            let found = settings_in(text).map_err(|(span, what)| {
                let (line, column) = place(text, span.start);
                format!("{line}:{column}: {what}")
            });
            assert_eq!(found.unwrap_err(), wanted, "{text}");
        }
    }
}
