//! Which rules can never decide, because earlier ones match every request that they match. Sound, not complete: a rule that
//! is named here is dead; some dead rules are not named (globs, names behind LOCAL, lists with EXCEPT as cover).

use super::number::{mask_length, v4_mask, v6_mask};
use crate::pattern::{ClientPattern, DaemonPattern, HostPattern};
use crate::table::Place;
use crate::text::TextPattern;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

/// Where one of the rules stands that cover another, and whether it settles what becomes of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct By {
    /// The rule.
    pub place: Place,
    /// It grants or refuses like this and does nothing else; `None` with options that do.
    pub verdict: Option<bool>,
    /// Its command may take the match back, and the next table is asked.
    pub conditional: bool,
    /// It matches every request.
    pub everything: bool,
}

/// What the rules so far match whatever the name service says.
#[derive(Debug, Default)]
pub(super) struct Cover {
    daemons: HashMap<Vec<u8>, Clients>,
}

/// The client patterns of one daemon pattern.
#[derive(Debug, Default)]
struct Clients {
    all: Option<By>,
    /// Any word, in lower case where case does not count.
    words: HashMap<Vec<u8>, By>,
    /// IPv4 networks of each length.
    v4: BTreeMap<u32, HashMap<u32, By>>,
    /// IPv6 networks of each length.
    v6: BTreeMap<u32, HashMap<u128, By>>,
    /// Ends of names and of addresses.
    suffixes: HashMap<Vec<u8>, By>,
}

fn lower(word: &[u8]) -> Vec<u8> {
    word.to_ascii_lowercase()
}

/// A client word as cover sees it.
fn key(word: &[u8]) -> Vec<u8> {
    // Paths and netgroups are compared with their case.
    if word.contains(&b'/') || word.contains(&b'@') { word.to_vec() } else { lower(word) }
}

/// The IPv4 network of an address, a network or the beginning of an address.
fn v4(host: &HostPattern<'_>) -> Option<(u32, u32)> {
    match host {
        HostPattern::Net4 { net, mask } => Some((*net, mask_length(*mask)?)),
        HostPattern::Text { text: TextPattern::Exact(word), name: false } => {
            let address: Ipv4Addr = std::str::from_utf8(word).ok()?.parse().ok()?;
            (address != Ipv4Addr::BROADCAST).then_some((u32::from(address), 32))
        }
        HostPattern::Text { text: TextPattern::Prefix(word), name: false } => beginning(word),
        _ => None,
    }
}

/// `10.1.` as 10.1.0.0/16.
pub(super) fn beginning(word: &[u8]) -> Option<(u32, u32)> {
    let parts = std::str::from_utf8(word.strip_suffix(b".")?).ok()?.split('.');
    let mut net = 0_u32;
    let mut length = 0;
    for part in parts {
        let number: u8 = part.parse().ok().filter(|number: &u8| number.to_string() == part)?;
        length += 8;
        net |= u32::from(number).checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
    }
    (length < 32).then_some((net, length))
}

fn v6(host: &HostPattern<'_>) -> Option<(u128, u32)> {
    let (address, length) = match host {
        HostPattern::Net6 { net, length } => (net, u32::from(*length)),
        HostPattern::Text { text: TextPattern::V6(address), .. } => (address, 128),
        _ => return None,
    };
    // A scope may make the pattern invalid on this machine.
    let fine = address.scope == crate::address::Scope::Fine;
    fine.then_some((address.bits & v6_mask(length), length))
}

/// A client word, taken apart once for all the daemons of its rule.
struct Client {
    key: Vec<u8>,
    /// It asks for the user too, and so covers nothing but itself.
    user: bool,
    all: bool,
    v4: Option<(u32, u32)>,
    v6: Option<(u128, u32)>,
    /// `.example.org`; not `.1`, which is tried on addresses only and covers no end of a name.
    suffix: Option<Vec<u8>>,
    /// A name or the end of one.
    name: Option<Vec<u8>>,
}

impl Client {
    fn new(word: &[u8]) -> Self {
        let ClientPattern { user, host } = ClientPattern::new(word);
        let text = match host {
            HostPattern::Text { text, name } => Some((text, name)),
            _ => None,
        };
        Self {
            key: key(word),
            user: user.is_some(),
            all: matches!(text, Some((TextPattern::All | TextPattern::Glob(b"*"), _))),
            v4: v4(&host),
            v6: v6(&host),
            suffix: match text {
                Some((TextPattern::Suffix(suffix), true)) => Some(lower(suffix)),
                _ => None,
            },
            name: match text {
                Some((TextPattern::Exact(name) | TextPattern::Suffix(name), true)) => Some(lower(name)),
                _ => None,
            },
        }
    }
}

impl Clients {
    fn add(&mut self, client: &Client, by: By) {
        if !self.words.contains_key(&client.key) {
            self.words.insert(client.key.clone(), by);
        }
        if client.user {
            return;
        }
        if client.all {
            self.all.get_or_insert(by);
        }
        if let Some((net, length)) = client.v4 {
            self.v4.entry(length).or_default().entry(net).or_insert(by);
        }
        if let Some((net, length)) = client.v6 {
            self.v6.entry(length).or_default().entry(net).or_insert(by);
        }
        if let Some(suffix) = &client.suffix {
            self.suffixes.entry(suffix.clone()).or_insert(by);
        }
    }

    /// The rule that covers a word; its user only narrows what its host matches.
    fn covers(&self, client: &Client) -> Option<By> {
        if let Some(by) = self.all.or_else(|| self.words.get(&client.key).copied()) {
            return Some(by);
        }
        if let Some((net, length)) = client.v4 {
            let mut nets = self.v4.range(..=length);
            return nets.find_map(|(wide, nets)| nets.get(&(net & v4_mask(*wide)))).copied();
        }
        if let Some((net, length)) = client.v6 {
            let mut nets = self.v6.range(..=length);
            return nets.find_map(|(wide, nets)| nets.get(&(net & v6_mask(*wide)))).copied();
        }
        let name = client.name.as_ref()?;
        let mut dots = (1..name.len()).filter(|at| name.get(*at) == Some(&b'.'));
        dots.find_map(|at| self.suffixes.get(name.get(at..)?)).copied()
    }
}

impl Cover {
    /// Remembers a rule without EXCEPT.
    pub(super) fn add(&mut self, daemons: &[&[u8]], clients: &[&[u8]], by: By) {
        let clients: Vec<Client> = clients.iter().map(|word| Client::new(word)).collect();
        for daemon in daemons {
            let of = self.daemons.entry(daemon_key(daemon)).or_default();
            for client in &clients {
                of.add(client, by);
            }
        }
    }

    /// The rules that together cover one with these words (those before its first EXCEPT). `None`: it may decide.
    pub(super) fn covers(&self, daemons: &[&[u8]], clients: &[&[u8]]) -> Option<Vec<By>> {
        let clients: Vec<Client> = clients.iter().map(|word| Client::new(word)).collect();
        let mut all = Vec::new();
        for daemon in daemons {
            let keys = [daemon_key(daemon), b"all".to_vec(), own_name(daemon)];
            let earlier: Vec<&Clients> = keys.iter().filter_map(|key| self.daemons.get(key)).collect();
            for client in &clients {
                let found = earlier.iter().find_map(|of| of.covers(client))?;
                if !all.contains(&found) {
                    all.push(found);
                }
            }
        }
        (!all.is_empty()).then_some(all)
    }
}

/// A daemon word as cover sees it: `*` is ALL, case does not count.
fn daemon_key(word: &[u8]) -> Vec<u8> {
    if word == b"*" { b"all".to_vec() } else { lower(word) }
}

/// `d` of `d@host`.
fn own_name(word: &[u8]) -> Vec<u8> {
    match (DaemonPattern::new(word).host, crate::split::at_host(word)) {
        (Some(_), Some((name, _))) => daemon_key(name),
        _ => daemon_key(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Which;

    fn covered(earlier: &str, later: &str) -> bool {
        let words = |text: &'static str| text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let mut cover = Cover::default();
        let place = Place { which: Which::Deny, line: 1 };
        let by = By { place, verdict: Some(false), conditional: false, everything: false };
        let (daemons, clients) = leak(earlier).split_once(": ").unwrap();
        cover.add(&words(daemons), &words(clients), by);
        let (daemons, clients) = leak(later).split_once(": ").unwrap();
        cover.covers(&words(daemons), &words(clients)).is_some()
    }

    #[test]
    fn supersets_cover() {
        for (earlier, later) in [
            ("ALL: ALL", "d: x.example"),
            ("*: *", "22: joe@.example.org"),
            ("all: all", "d@10.0.0.1: LOCAL"),
            ("d: ALL", "D: 10.0.0.1"),
            ("d: ALL", "d@10.0.0.1: 10.0.0.1"),
            ("d: 10.", "d: 10.1.2.3 10.0.0.0/8 10.5."),
            ("d: 10.1.0.0/16", "d: 10.1.2.3 10.1.0.0/255.255.0.0 10.1.2. joe@10.1.9.9"),
            ("d: [2001:db8::]/32", "d: [2001:db8::1] [2001:db8:1::]/48 [2001:DB8::]/32"),
            ("d: .example.org", "d: a.example.ORG .b.example.org"),
            ("d: LOCAL @grp /etc/x", "d: local @grp /etc/x"),
            ("d e: 10.0.0.1 10.0.0.2", "e: 10.0.0.2"),
        ] {
            assert!(covered(earlier, later), "{earlier} | {later}");
        }
    }

    #[test]
    fn others_do_not() {
        for (earlier, later) in [
            ("d: ALL", "ALL: ALL"),
            ("d@10.0.0.1: ALL", "d: ALL"),
            ("d: joe@ALL", "d: ALL"),
            ("d: 10.1.2.3", "d: 10.1.2."),
            ("d: 10.1.", "d: 10.0.0.0/8"),
            ("d: 10.1.", "d: 10.10.0.1"),
            ("d: 10.0.0.1/8", "d: 10.2.3.4"),
            ("d: 0.0.0.0/0", "d: 10.2.3.4"),
            ("d: 10.0.0.0/255.0.255.0", "d: 10.0.0.1"),
            ("d: [::]/0", "d: 10.0.0.1"),
            ("d: [fe80::%eth0]/10", "d: [fe80::1]"),
            ("d: .example.org", "d: example.org"),
            ("d: .org", "d: LOCAL"),
            ("d: .1", "d: 10.0.0.1"),
            ("d: @grp /etc/x", "d: @GRP"),
            ("d: /etc/x", "d: /etc/X"),
            ("d: 10.0.0.1", "d: 10.0.0.1 10.0.0.2"),
            ("d: ALL", "d e: ALL"),
            ("d: 255.255.255.0/24", "d: 255.255.255.255"),
        ] {
            assert!(!covered(earlier, later), "{earlier} | {later}");
        }
    }
}
