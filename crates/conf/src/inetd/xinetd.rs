//! A [`Listing`] in xinetd's language: what each service comes to, and a note for whatever could not be carried over. The result serves what inetd did: the same families as on Linux, the same groups, no table consulted that
//! inetd did not consult.

use super::entry::{Entry, Families, ItemKind, Lines, Listing, Name, Server};
use crate::values::limits::MOST_STARTS;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What could not be carried over, or was understood in one of several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The lines it is about.
    pub(crate) lines: Lines,
    /// Whether something of the service is missing in the result (else the note only explains).
    pub(crate) lost: bool,
    /// What, and what to do about it.
    pub(crate) text: String,
}

/// What the sections are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A file for people: also what is switched off.
    File,
    /// To be served.
    Serving,
}

/// A service as a section of xinetd's language.
pub(crate) struct Section {
    /// Where its line stands.
    pub(crate) lines: Lines,
    /// The section's name.
    pub(crate) name: String,
    /// `attribute = value`, in order; `None` for what cannot be said, which was noted.
    pub(crate) assignments: Option<Vec<(&'static str, String)>>,
}

/// One section for each service of the listing and each of its addresses, and what is to be said of the
/// lines.
pub(crate) fn sections(listing: &Listing, aim: Aim, daemon_dir: &str, notes: &mut Vec<Note>) -> Vec<Section> {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let items =
        || listing.items.iter().filter(|item| aim == Aim::File || !matches!(item.kind, ItemKind::Off { .. }));
    for item in items() {
        if let ItemKind::Service(entry) | ItemKind::Off { entry, .. } = &item.kind {
            *used.entry(section_name(entry)).or_default() += addresses(entry).count();
        }
    }
    let six = |entry: &Entry| (section_name(entry), entry.socket, entry.protocol.clone());
    let only_six: BTreeSet<_> = items()
        .filter_map(|item| match &item.kind {
            ItemKind::Service(entry) if entry.families == Families::V6 => Some(six(entry)),
            _ => None,
        })
        .collect();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut sections = Vec::new();
    for item in items() {
        let mut note = |lost, said: String| notes.push(Note { lines: item.lines, lost, text: said });
        match &item.kind {
            ItemKind::Blank | ItemKind::Comment(_) | ItemKind::Address(_) => {}
            ItemKind::Policy(_) => {
                note(true, "an IPsec policy has no counterpart: set it with ip-xfrm(8)".to_owned());
            }
            ItemKind::Broken { problem, .. } => note(true, problem.to_string()),
            ItemKind::Service(entry) | ItemKind::Off { entry, .. } => {
                let name = section_name(entry);
                let off = matches!(item.kind, ItemKind::Off { .. });
                // Of what is switched off nothing is lost today.
                let mut note = |lost, said| note(lost && !off, said);
                // `tcp` is both families, as openbsd-inetd on Linux and `xinetd -inetd_compat` have it, unless a line
                // beside it serves IPv6.
                let open = !only_six.contains(&six(entry));
                for address in addresses(entry) {
                    let literal = address.is_none_or(|a| a.parse::<IpAddr>().is_ok());
                    let place = Where { address, either: open && literal };
                    let id =
                        used.get(&name).filter(|count| **count > 1).map(|_| id(entry, &name, &mut taken));
                    let assignments = lines(entry, place, id, off, daemon_dir, &mut note);
                    let hostile = |text: &str| text.chars().any(char::is_control);
                    let raw = |lines: &Vec<(&str, String)>| lines.iter().any(|(_, value)| hostile(value));
                    let assignments = if hostile(&name) || assignments.as_ref().is_some_and(raw) {
                        note(true, "a word of this line holds control bytes".to_owned());
                        None
                    } else {
                        assignments
                    };
                    sections.push(Section { lines: item.lines, name: name.clone(), assignments });
                }
            }
        }
    }
    sections
}

/// The addresses of a line, which commas part; one `None` for a line without.
fn addresses(entry: &Entry) -> impl Iterator<Item = Option<&str>> {
    let mut some = entry.address.iter().flat_map(|list| list.split(',')).filter(|a| !a.is_empty()).peekable();
    let none = some.peek().is_none().then_some(None);
    some.map(Some).chain(none)
}

fn section_name(entry: &Entry) -> String {
    match &entry.name {
        Name::Port(name) | Name::Path(name) | Name::Mux { name, .. } => name.clone(),
        Name::Rpc { program, .. } => program.clone(),
    }
}

/// A name of its own for a service whose name another one has too.
fn id(entry: &Entry, name: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let family = match entry.families {
        Families::V6 => "6",
        Families::Both => "46",
        Families::Unsaid | Families::V4 => "",
    };
    let id = format!("{name}-{}{family}", entry.socket);
    let count = taken.entry(id.clone()).or_default();
    *count += 1;
    if *count == 1 { id } else { format!("{id}-{count}") }
}

/// One socket of a line.
#[derive(Clone, Copy)]
struct Where<'a> {
    address: Option<&'a str>,
    /// A protocol without a family leaves it to the address, or means both.
    either: bool,
}

/// The lines of one service's section; `None` if it cannot be one, which was noted.
fn lines(
    entry: &Entry,
    place: Where<'_>,
    id: Option<String>,
    off: bool,
    daemon_dir: &str,
    note: &mut dyn FnMut(bool, String),
) -> Option<Vec<(&'static str, String)>> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    let mut flags: Vec<&str> = Vec::new();
    let mut types: Vec<&str> = Vec::new();
    match &entry.name {
        Name::Port(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            types.push("UNLISTED");
            lines.push(("port", port.clone()));
        }
        Name::Port(_) => {}
        Name::Rpc { program, versions: (first, last) } => {
            types.push("RPC");
            let versions = if first == last { first.to_string() } else { format!("{first}-{last}") };
            lines.push(("rpc_version", versions));
            if program.bytes().all(|b| b.is_ascii_digit()) {
                types.push("UNLISTED");
                lines.push(("rpc_number", program.clone()));
            }
        }
        Name::Mux { plus, .. } => types.extend([if *plus { "TCPMUXPLUS" } else { "TCPMUX" }, "UNLISTED"]),
        Name::Path(path) => unix_socket(entry, path, &mut lines, note)?,
    }
    let local = matches!(entry.name, Name::Path(_));
    if entry.socket == "rdm" {
        note(true, "xinetd's language has no socket type rdm".to_owned());
        return None;
    }
    for extra in &entry.extras {
        note(true, format!("`{extra}` has no counterpart and is dropped"));
    }
    match entry.families {
        _ if local => {}
        Families::Unsaid if place.either => {}
        Families::Unsaid | Families::V4 => flags.push("IPv4"),
        Families::V6 => {
            flags.push("IPv6");
            lines.push(("v6only", "yes".into()));
        }
        Families::Both => {
            flags.push("IPv6");
            lines.push(("v6only", "no".into()));
        }
    }
    let server = server(entry, daemon_dir, &mut flags, &mut types, note)?;
    let mut all: Vec<(&'static str, String)> = Vec::new();
    all.extend(id.map(|id| ("id", id)));
    if !types.is_empty() {
        all.push(("type", types.join(" ")));
    }
    all.extend(lines);
    all.push(("socket_type", entry.socket.to_owned()));
    if !local {
        all.push(("protocol", entry.protocol.clone()));
        all.extend(place.address.map(|address| ("bind", address.to_owned())));
    }
    all.push(("wait", if entry.wait { "yes" } else { "no" }.to_owned()));
    ids(entry, &mut all, note);
    limits(entry, &mut all, note);
    if !flags.is_empty() {
        all.push(("flags", flags.join(" ")));
    }
    all.extend(server);
    if off {
        all.push(("disable", "yes".into()));
    }
    Some(all)
}

/// The socket's path, and who may connect to it: FreeBSD's `:user:group:mode:`; without that it is the daemon's own, as there.
fn unix_socket(
    entry: &Entry,
    path: &str,
    lines: &mut Vec<(&'static str, String)>,
    note: &mut dyn FnMut(bool, String),
) -> Option<()> {
    lines.push(("bind", path.to_owned()));
    let Some(rights) = &entry.socket_mode else {
        note(
            false,
            format!(
                "only the daemon's own user may connect to `{path}`, as with FreeBSD's inetd, where openbsd-inetd lets everybody; `:user:group:mode:` before the path, or `socket_mode` in xinetd's language, says who else"
            ),
        );
        return Some(());
    };
    let [owner, group, mode] = rights.split(':').collect::<Vec<_>>()[..] else {
        note(true, format!("`:{rights}:` before a path is not `:user:group:mode:`"));
        return None;
    };
    lines.push(("socket_owner", owner.to_owned()));
    lines.push(("socket_group", group.to_owned()));
    lines.push(("socket_mode", mode.to_owned()));
    Some(())
}

fn ids(entry: &Entry, all: &mut Vec<(&'static str, String)>, note: &mut dyn FnMut(bool, String)) {
    all.push(("user", entry.user.clone()));
    all.extend(entry.group.clone().map(|group| ("group", group)));
    // inetd gives a server the groups of its user.
    all.push(("groups", "yes".into()));
    if let Some(class) = &entry.class {
        note(true, format!("login class `{class}`: Linux has none; see the attributes rlimit_…"));
    }
}

fn limits(entry: &Entry, all: &mut Vec<(&'static str, String)>, note: &mut dyn FnMut(bool, String)) {
    let limit = |number: u32| if number == 0 { "UNLIMITED".to_owned() } else { number.to_string() };
    let limits = entry.limits;
    all.extend(limits.at_once.map(|number| ("instances", limit(number))));
    all.extend(limits.from_one_at_once.map(|number| ("per_source", limit(number))));
    let minutes = [
        ("starts_per_minute", limits.starts_a_minute),
        ("source_starts_per_minute", limits.from_one_a_minute),
    ];
    // 0 is no limit.
    for (attribute, number) in minutes {
        match number {
            Some(number @ 1..=MOST_STARTS) => all.push((attribute, number.to_string())),
            Some(number @ 1..) => note(true, format!("{number} starts a minute are more than are counted")),
            Some(0) | None => {}
        }
    }
}

fn server(
    entry: &Entry,
    daemon_dir: &str,
    flags: &mut Vec<&'static str>,
    types: &mut Vec<&'static str>,
    note: &mut dyn FnMut(bool, String),
) -> Option<Vec<(&'static str, String)>> {
    let Server::Program { path, argv } = &entry.server else {
        types.push("INTERNAL");
        flags.push("NOLIBWRAP");
        return Some(Vec::new());
    };
    if let Some(argument) = argv.iter().find(|word| word.is_empty() || word.contains(char::is_whitespace)) {
        note(
            true,
            format!("the argument `{argument}` has blanks: put the command into a script and serve that"),
        );
        return None;
    }
    let (name, arguments) = argv.split_first()?;
    // Behind tcpd stands the real server; the tables are consulted before it starts, under the same name.
    let path = match entry.wrapped() {
        true if name.starts_with('/') => name.clone(),
        true => format!("{}/{name}", daemon_dir.trim_end_matches('/')),
        false => path.clone(),
    };
    if entry.wrapped() {
        note(false, format!("tcpd is not needed: the tables are consulted before `{path}` starts"));
    } else {
        flags.push("NOLIBWRAP");
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // tcpd gives a server the last part of its path for a name; inetd gives what the line says.
    if name != last && !(entry.wrapped() && *name == path) {
        flags.push("NAMEINARGS");
        words.insert(0, name);
    }
    let mut lines = vec![("server", path)];
    if !words.is_empty() {
        lines.push(("server_args", words.join(" ")));
    }
    Some(lines)
}
