//! Whom no ban touches, whatever is configured: this host, its gateways and name servers, and the addresses from which
//! administrators are logged in. Read from the kernel's and the system's own files when a ban is due; decides nothing about
//! `protect`, which is policy's.
//!
//! A file that cannot be read protects nobody; each is small, local, and read for its first megabyte.

use crate::time_servers::time_servers;
use portreeve_policy::Prefix;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The groups whose members administer a host, by the distributions' custom; `protect_groups` says others.
const ADMIN_GROUPS: [&str; 3] = ["sudo", "wheel", "admin"];
const LONGEST: u64 = 1 << 20;
/// One record of utmp(5) on Linux with glibc, and where its fields are.
const UTMP: usize = 384;
const UTMP_USER_PROCESS: u32 = 7;

/// Why somebody is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Loopback, a link-local network, multicast: no address of another host, or of every neighbour.
    Special,
    /// An address of this host.
    Own,
    /// The next hop of a route.
    Gateway,
    /// A name server of resolv.conf.
    Resolver,
    /// A time server.
    Time,
    /// An administrator is logged in from there.
    Session,
}

impl Why {
    /// As a part of a sentence about somebody.
    pub fn of_it(self) -> String {
        match self {
            Why::Session => "where an administrator is logged in".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Special => "a loopback, link-local or multicast address",
            Why::Own => "an address of this host",
            Why::Gateway => "a gateway of this host",
            Why::Resolver => "a name server of this host",
            Why::Time => "a time server of this host",
            Why::Session => "an administrator is logged in from there",
        })
    }
}

/// Whom no ban touches, as found at one moment.
#[derive(Debug, Default)]
pub struct Protection {
    known: Vec<(IpAddr, Why)>,
}

impl Protection {
    /// Looks at the machine whose root is `root`, where the members of these groups administer, or those of the usual ones.
    pub fn look(root: &Path, groups: Option<&[String]>) -> Self {
        let read = |path: &str| read(&root.join(path));
        let text = |path: &str| String::from_utf8_lossy(&read(path)).into_owned();
        let mut known = Vec::new();
        let mut add =
            |why: Why, found: Vec<IpAddr>| known.extend(found.into_iter().map(|ip| (ip.to_canonical(), why)));
        add(Why::Own, own_v4(&text("proc/net/fib_trie")));
        add(Why::Own, own_v6(&text("proc/net/if_inet6")));
        add(Why::Gateway, gateways_v4(&text("proc/net/route")));
        add(Why::Gateway, gateways_v6(&text("proc/net/ipv6_route")));
        add(Why::Resolver, resolvers(&text("etc/resolv.conf")));
        add(Why::Time, time_servers(root, &text));
        let table = text("etc/group");
        let usual = || ADMIN_GROUPS.map(str::to_owned).to_vec();
        let groups = groups.map_or_else(usual, <[String]>::to_vec);
        let admins: Vec<&str> = std::iter::once("root").chain(members(&table, &groups)).collect();
        add(Why::Session, sessions(&read("run/utmp"), &admins));
        Protection { known }
    }

    /// Whom no ban of `prefix` may touch, and why; `None` when it touches nobody of these.
    pub fn find(&self, prefix: &Prefix) -> Option<(Prefix, Why)> {
        let known = self.known.iter().find(|(ip, _)| prefix.contains(*ip));
        let known = known.map(|(ip, why)| (Prefix::host(*ip), *why));
        // What is known of this host says more than that an address is a special one.
        known.or_else(|| {
            special().into_iter().find(|special| special.meets(prefix)).map(|special| (special, Why::Special))
        })
    }
}

/// Networks that are never one other host's.
fn special() -> [Prefix; 7] {
    let v4 = |a: [u8; 4], length| Prefix::around(a.into(), length);
    let v6 = |first: u16, last: u16, length| Prefix::around([first, 0, 0, 0, 0, 0, 0, last].into(), length);
    [
        v4([127, 0, 0, 0], 8),
        v4([0, 0, 0, 0], 8),
        v4([169, 254, 0, 0], 16),
        v4([224, 0, 0, 0], 3),
        v6(0, 0, 127),
        v6(0xfe80, 0, 10),
        v6(0xff00, 0, 8),
    ]
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    bytes
}

/// fib_trie(5): a line with an address, and below it one that says `/32 host LOCAL`.
fn own_v4(text: &str) -> Vec<IpAddr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.trim_end().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.map(IpAddr::V4));
        }
    }
    found
}

fn own_v6(text: &str) -> Vec<IpAddr> {
    text.lines().filter_map(|line| hex_v6(line.split_whitespace().next()?)).collect()
}

fn gateways_v4(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| {
        let gateway = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        // In the machine's own order, as the kernel holds it.
        Some(IpAddr::V4(Ipv4Addr::from(gateway.to_ne_bytes()))).filter(|ip| !ip.is_unspecified())
    };
    text.lines().skip(1).filter_map(gateway).collect()
}

fn gateways_v6(text: &str) -> Vec<IpAddr> {
    let gateway = |line: &str| hex_v6(line.split_whitespace().nth(4)?).filter(|ip| !ip.is_unspecified());
    text.lines().filter_map(gateway).collect()
}

fn hex_v6(text: &str) -> Option<IpAddr> {
    (text.len() == 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
        .map(|bits| Ipv6Addr::from_bits(bits).into())
}

fn resolvers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// The members of the groups that administer, as group(5) lists them.
fn members<'a>(table: &'a str, groups: &'a [String]) -> impl Iterator<Item = &'a str> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            groups.iter().any(|group| group == name).then(|| fields.nth(2)).flatten()
        })
        .flat_map(|members| members.split(','))
        .filter(|member| !member.is_empty())
}

/// The addresses of logins of these users, as utmp(5) has them.
fn sessions(utmp: &[u8], users: &[&str]) -> Vec<IpAddr> {
    let session = |record: &[u8]| {
        let kind = u32::from_ne_bytes(record.get(..4)?.try_into().ok()?);
        let name = record.get(44..76)?.split(|byte| *byte == 0).next()?;
        let address: [u8; 16] = record.get(348..364)?.try_into().ok()?;
        let known = std::str::from_utf8(name).is_ok_and(|name| users.contains(&name));
        if kind != UTMP_USER_PROCESS || !known || address == [0; 16] {
            return None;
        }
        // IPv4 has the first four bytes alone.
        let (v4, rest) = address.split_first_chunk::<4>()?;
        Some(match rest.iter().all(|byte| *byte == 0) {
            true => IpAddr::V4(Ipv4Addr::from(*v4)),
            false => IpAddr::V6(Ipv6Addr::from(address)),
        })
    };
    utmp.chunks_exact(UTMP).filter_map(session).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_files_of_kernel_and_system_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.7\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(own_v4(trie), ips(&["192.0.2.7"]));
        let v6 = "20010db8000000000000000000000007 02 40 00 80 eth0\nshort 02 40 00 80 eth0\n";
        assert_eq!(own_v6(v6), ips(&["2001:db8::7"]));
        let gateway = u32::from_ne_bytes([192, 0, 2, 1]);
        let route = format!(
            "Iface Destination Gateway Flags\neth0 00000000 {gateway:08X} 0003\neth0 000200C0 00000000 0001\n"
        );
        assert_eq!(gateways_v4(&route), ips(&["192.0.2.1"]));
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 400 1 0 3 eth0\n{zero} 00 {zero} 00 {zero} 1 1 0 200200 lo\n"
        );
        assert_eq!(gateways_v6(&v6), ips(&["fe80::1"]));
        let conf = "# nameserver 1.1.1.1\nsearch example\nnameserver 192.0.2.53\n nameserver fe80::53%eth0\nnameserver\n";
        assert_eq!(resolvers(conf), ips(&["192.0.2.53", "fe80::53"]));
        let groups = "root:x:0:\nsudo:x:27:anna,bert\nsudoers:x:28:eve\nwheel:x:10:\nadmin:x:9:carl\n";
        let usual = ADMIN_GROUPS.map(str::to_owned);
        assert_eq!(members(groups, &usual).collect::<Vec<_>>(), ["anna", "bert", "carl"]);
        assert_eq!(members(groups, &["sudoers".to_owned()]).collect::<Vec<_>>(), ["eve"]);
        assert_eq!(members(groups, &[]).count(), 0);
    }

    fn login(kind: u32, user: &str, address: &[u8]) -> Vec<u8> {
        let mut record = vec![0; UTMP];
        record[..4].copy_from_slice(&kind.to_ne_bytes());
        record[44..44 + user.len()].copy_from_slice(user.as_bytes());
        record[348..348 + address.len()].copy_from_slice(address);
        record
    }

    #[test]
    fn sessions_of_administrators_count_and_no_others() {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).octets();
        let utmp = [
            login(7, "root", &[192, 0, 2, 1]),
            login(8, "root", &[192, 0, 2, 2]),
            login(7, "eve", &[192, 0, 2, 3]),
            login(7, "rootkit", &[192, 0, 2, 4]),
            login(7, "anna", &v6),
            login(7, "root", &[]),
            vec![7, 0, 0],
        ]
        .concat();
        assert_eq!(sessions(&utmp, &["root", "anna"]), ips(&["192.0.2.1", "2001:db8::9"]));
    }

    #[test]
    fn a_network_that_holds_somebody_protected_is_not_banned() {
        let protection = Protection { known: vec![("192.0.2.1".parse().unwrap(), Why::Gateway)] };
        for (text, why) in [
            ("192.0.2.1", Some(Why::Gateway)),
            ("192.0.2.0/24", Some(Why::Gateway)),
            ("192.0.2.2", None),
            ("127.0.0.5", Some(Why::Special)),
            ("0.0.0.0/0", Some(Why::Gateway)),
            ("::/0", Some(Why::Special)),
            ("::1", Some(Why::Special)),
            ("fe80::/64", Some(Why::Special)),
            ("2001:db8::/64", None),
        ] {
            assert_eq!(protection.find(&prefix(text)).map(|(_, why)| why), why, "{text}");
        }
    }

    #[test]
    fn this_machine_protects_its_own_addresses() {
        let protection = Protection::look(Path::new("/"), None);
        assert!(protection.known.iter().any(|(ip, why)| *why == Why::Own && ip.is_ipv4()));
    }
}
