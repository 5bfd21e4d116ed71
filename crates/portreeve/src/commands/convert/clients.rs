//! Which addresses a client list matches, as far as addresses alone tell: at least these, at most those. Reference A4, A6.

use crate::escape;
use crate::ranges::{Addresses, Family, Ranges};
use hosts_access::address::{Scope, V6};
use hosts_access::list::tokens;
use hosts_access::pattern::{ClientPattern, HostPattern};
use hosts_access::text::TextPattern;
use hosts_access::{DEEPEST_LIST, ListFile};
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;

/// What a list or a word matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// It matches these, whatever else is true.
    pub(super) least: Addresses,
    /// It matches none but these.
    pub(super) most: Addresses,
    /// The words that need more than the address, and why.
    pub(super) open: Vec<String>,
}

/// As many `/file` lists are opened for one conversion.
const MOST_FILES: usize = 1000;

/// The `/file` lists of one conversion.
pub(super) struct Lists<'a> {
    read: &'a mut dyn FnMut(&[u8]) -> ListFile<Vec<u8>>,
    /// Those that are being read now.
    open: Vec<Vec<u8>>,
    opened: usize,
}

impl<'a> Lists<'a> {
    /// Lists that `read` reads.
    pub(super) fn new(read: &'a mut dyn FnMut(&[u8]) -> ListFile<Vec<u8>>) -> Self {
        Self { read, open: Vec::new(), opened: 0 }
    }
}

impl Bounds {
    fn exactly(addresses: Addresses) -> Self {
        Self { most: addresses.clone(), least: addresses, open: Vec::new() }
    }

    /// Anybody may match, for a reason.
    fn unknown(word: &[u8], why: &str) -> Self {
        let open = vec![format!("`{}` {why}", shown(word))];
        Self { least: Addresses::default(), most: Addresses::all(), open }
    }

    /// Any of these.
    fn any(all: impl Iterator<Item = Self>) -> Self {
        let mut open = Vec::new();
        let mut ranges: [Vec<(u128, u128)>; 4] = Default::default();
        for mut one in all {
            open.append(&mut one.open);
            let parts = [&one.least.v4, &one.least.v6, &one.most.v4, &one.most.v6];
            for (to, from) in ranges.iter_mut().zip(parts) {
                to.extend(from.iter());
            }
        }
        let [least_v4, least_v6, most_v4, most_v6] = ranges.map(Ranges::joined);
        Self {
            least: Addresses { v4: least_v4, v6: least_v6 },
            most: Addresses { v4: most_v4, v6: most_v6 },
            open,
        }
    }

    fn except(mut self, mut other: Self) -> Self {
        self.open.append(&mut other.open);
        Self {
            least: self.least.without(&other.most),
            most: self.most.without(&other.least),
            open: self.open,
        }
    }
}

/// What a client list matches.
pub(super) fn list(text: &[u8], lists: &mut Lists<'_>) -> Bounds {
    let words: Vec<_> = tokens(text).collect();
    let parts = words.split(hosts_access::list::Token::is_except);
    let parts: Vec<Bounds> =
        parts.map(|part| Bounds::any(part.iter().map(|word| client(word.text, lists)))).collect();
    // From the right: a EXCEPT (b EXCEPT c).
    parts.into_iter().rev().reduce(|rest, part| part.except(rest)).unwrap_or_default()
}

fn client(word: &[u8], lists: &mut Lists<'_>) -> Bounds {
    let pattern = ClientPattern::new(word);
    match pattern.user {
        None => host(word, &pattern.host, lists, 0),
        Some(_) => {
            // The user can only narrow what the host matches.
            let host = host(word, &pattern.host, lists, 0);
            let open = Bounds::unknown(word, "asks for the client's user").open;
            Bounds { least: Addresses::default(), most: host.most, open }
        }
    }
}

fn host(word: &[u8], pattern: &HostPattern<'_>, lists: &mut Lists<'_>, depth: u8) -> Bounds {
    match pattern {
        HostPattern::Netgroup(_) => Bounds::unknown(word, "is a netgroup"),
        HostPattern::Known | HostPattern::Local => Bounds::unknown(word, "depends on the client's name"),
        HostPattern::File(path) => file(word, path, lists, depth),
        HostPattern::NoNet(_) => Bounds::default(),
        HostPattern::Net4 { net, mask } => match mask.leading_ones() {
            ones if u64::from(!*mask) + 1 == 1_u64 << (32 - ones) => v4(*net, ones),
            _ => Bounds::unknown(word, "has a mask with holes"),
        },
        HostPattern::Net6 { net, length } => v6(word, net, u32::from(*length)),
        HostPattern::Text { text, name } => self::text(word, text, *name),
    }
}

fn v4(net: u32, length: u32) -> Bounds {
    let net = u128::from(net);
    let last = net | (Family::V4.last() >> length);
    Bounds::exactly(Addresses { v4: Ranges::one(net, last), v6: Ranges::default() })
}

fn v6(word: &[u8], net: &V6<'_>, length: u32) -> Bounds {
    if net.scope != Scope::Fine {
        return Bounds::unknown(word, "names an interface");
    }
    let free = u128::MAX.checked_shr(length).unwrap_or(0);
    let ranges = Ranges::one(net.bits & !free, net.bits | free);
    Bounds::exactly(Addresses { v4: Ranges::default(), v6: ranges })
}

fn text(word: &[u8], text: &TextPattern<'_>, name: bool) -> Bounds {
    match text {
        TextPattern::All | TextPattern::Glob(b"*") => Bounds::exactly(Addresses::all()),
        TextPattern::V6(address) => v6(word, address, 128),
        TextPattern::NoAddress(_) => Bounds::default(),
        TextPattern::Exact(exact) if !name => {
            let address = std::str::from_utf8(exact).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
            address.map_or_else(Bounds::default, |address| v4(u32::from(address), 32))
        }
        TextPattern::Prefix(prefix) if !name => {
            beginning(prefix, b"").map_or_else(Bounds::default, |(net, length)| v4(net, length))
        }
        TextPattern::Suffix(_) if !name => Bounds::unknown(word, "matches addresses by their end"),
        TextPattern::Glob(glob) => glob_of_addresses(word, glob),
        _ => Bounds::unknown(word, "is a name"),
    }
}

/// `10.1.*` matches a network; but names too.
fn glob_of_addresses(word: &[u8], glob: &[u8]) -> Bounds {
    let star = glob.iter().position(|byte| *byte == b'*').unwrap_or(glob.len());
    let (before, stars) = glob.split_at_checked(star).unwrap_or((glob, b""));
    match beginning(before, stars) {
        Some((net, length)) => {
            let open = Bounds::unknown(word, "matches names too: only the addresses are converted").open;
            Bounds { most: Addresses::all(), open, ..v4(net, length) }
        }
        None => Bounds::unknown(word, "is a pattern for names and addresses alike"),
    }
}

/// `10.1.` as 10.1.0.0/16, with `*`, `*.*` … behind it.
fn beginning(before: &[u8], stars: &[u8]) -> Option<(u32, u32)> {
    let parts = std::str::from_utf8(before.strip_suffix(b".")?).ok()?.split('.');
    let stars = match stars {
        b"" => 1,
        stars if stars.split(|byte| *byte == b'.').all(|part| part == b"*") => stars.len().div_ceil(2),
        _ => return None,
    };
    let mut net = 0_u32;
    let mut length = 0;
    for part in parts {
        let number: u8 = part.parse().ok().filter(|number: &u8| number.to_string() == part)?;
        length += 8;
        net |= u32::from(number).checked_shl(32_u32.checked_sub(length)?)?;
    }
    (length / 8 + u32::try_from(stars).ok()? <= 4).then_some((net, length))
}

fn file(word: &[u8], path: &[u8], lists: &mut Lists<'_>, depth: u8) -> Bounds {
    if depth >= DEEPEST_LIST || lists.open.iter().any(|open| open == path) {
        return Bounds::unknown(word, "is named by a list that is named by lists too deeply");
    }
    if lists.opened >= MOST_FILES {
        return Bounds::unknown(word, "is one list too many");
    }
    lists.opened += 1;
    match (lists.read)(path) {
        ListFile::Bytes(bytes) => {
            lists.open.push(path.to_vec());
            let words =
                bytes.split(|byte| hosts_access::lines::is_blank(*byte)).filter(|word| !word.is_empty());
            let found = Bounds::any(words.map(|word| host(word, &HostPattern::new(word), lists, depth + 1)));
            lists.open.pop();
            found
        }
        ListFile::Absent => Bounds::default(),
        ListFile::Unreadable(why) => {
            Bounds { open: vec![format!("{}: {why}", shown(path))], ..Bounds::default() }
        }
        ListFile::TooLarge => Bounds::unknown(word, "is too large"),
    }
}

fn shown(bytes: &[u8]) -> String {
    escape::os(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Bounds {
        let mut read = |path: &[u8]| match path {
            b"/list" => ListFile::Bytes(b"10.0.0.1 10.0.0.2\n@grp /list".to_vec()),
            b"/plain" => ListFile::Bytes(b"10.0.0.1 ALL_NOT 192.0.2.".to_vec()),
            _ => ListFile::Absent,
        };
        list(text.as_bytes(), &mut Lists::new(&mut read))
    }

    fn shown(addresses: &Addresses) -> String {
        let networks = |family: Family| {
            let text = move |(net, length)| format!("{}/{length}", family.text(net));
            addresses.of(family).networks(family).into_iter().map(text)
        };
        networks(Family::V4).chain(networks(Family::V6)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_are_exact() {
        for (text, wanted) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10. 192.0.2.0/24", "10.0.0.0/8 192.0.2.0/24"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("0.0.0.0/0.0.0.0", "0.0.0.0/0"),
            ("ALL", "0.0.0.0/0 ::/0"),
            ("[2001:db8::1] [2001:db8:1::7]/48", "2001:db8::1/128 2001:db8:1::/48"),
            ("10. EXCEPT 10.128.0.0/9", "10.0.0.0/9"),
            ("10. EXCEPT 10.128.0.0/9 EXCEPT 10.128.0.0/10", "10.0.0.0/9 10.128.0.0/10"),
            ("10.0.0.1/8 10.1 0.0.0.0/0 [10.0.0.1] 010. 10.0.0.1.", ""),
            ("EXCEPT 10.", ""),
            ("10. EXCEPT", "10.0.0.0/8"),
            ("/none", ""),
        ] {
            let bounds = of(text);
            assert_eq!(shown(&bounds.least), wanted, "{text}");
            assert_eq!(bounds.least, bounds.most, "{text}");
            assert!(bounds.open.is_empty(), "{text}");
        }
    }

    #[test]
    fn what_needs_more_than_the_address_is_open() {
        for (text, least, open) in [
            (".example.org 10.", "10.0.0.0/8", 1),
            ("10. EXCEPT .example.org", "", 1),
            ("LOCAL KNOWN UNKNOWN @grp", "", 4),
            ("joe@10.", "", 1),
            (".1", "", 1),
            ("10.1.*", "10.1.0.0/16", 1),
            ("10.*.*.*", "10.0.0.0/8", 1),
            ("10.*.*.*.*", "", 1),
            ("10.1*", "", 1),
            ("10.0.0.0/255.0.255.0", "", 1),
            ("[fe80::1%eth0]", "", 1),
            ("/list", "10.0.0.1/32 10.0.0.2/32", 2),
            ("/plain", "10.0.0.1/32 192.0.2.0/24", 1),
        ] {
            let bounds = of(text);
            assert_eq!(shown(&bounds.least), least, "{text}");
            assert_eq!(bounds.open.len(), open, "{text}: {:?}", bounds.open);
        }
        // The user narrows what the host matches.
        assert_eq!(shown(&of("joe@10.").most), "10.0.0.0/8");
        assert_eq!(shown(&of("joe@10. 192.0.2.1").most), "10.0.0.0/8 192.0.2.1/32");
    }
}
