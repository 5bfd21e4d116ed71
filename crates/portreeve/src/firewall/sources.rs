//! Who a list of addresses means, as exact sets: what the kernel will let through is what the daemon would, or less. Host
//! names are no addresses: they are handed back, and never guessed. Pure.

use crate::ranges::{Addresses, Family, Ranges};
use portreeve_conf::{AddressEntry, AddressMatch};
use portreeve_policy::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a listener takes: which families, and how an IPv4 client looks to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// An IPv4 socket.
    V4,
    /// An IPv6 socket that takes IPv6 alone.
    V6,
    /// An IPv6 socket that takes IPv4 too, in its mapped form.
    Dual,
}

impl Door {
    /// Everybody who can come.
    pub(super) fn everybody(self) -> Addresses {
        let (v4, v6) = (Ranges::all(Family::V4), Ranges::all(Family::V6));
        match self {
            Door::V4 => Addresses { v4, v6: Ranges::default() },
            Door::V6 => Addresses { v4: Ranges::default(), v6 },
            Door::Dual => Addresses { v4, v6 },
        }
    }
}

/// Which addresses the entries of a list mean at this door, as the daemon's policy compares them.
pub(super) fn addresses(entries: &[AddressEntry], door: Door) -> Addresses {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for entry in entries {
        match &entry.matches {
            AddressMatch::V4(networks) if door != Door::V6 => {
                v4.extend(
                    networks.iter().map(|(network, length)| span(Ipv4Addr::from(*network).into(), *length)),
                );
            }
            AddressMatch::V6(network, length) if door != Door::V4 => {
                let (first, last) = span(Ipv6Addr::from(*network).into(), *length);
                v6.push((first, last));
                // A mapped client is compared in its mapped form, too.
                if door == Door::Dual {
                    v4.extend(mapped_part(first, last));
                }
            }
            AddressMatch::V4(_) | AddressMatch::V6(..) | AddressMatch::Name(_) | AddressMatch::Suffix(_) => {}
        }
    }
    Addresses { v4: Ranges::joined(v4), v6: Ranges::joined(v6) }
}

/// The entries that are names.
pub(super) fn names(entries: &[AddressEntry]) -> impl Iterator<Item = &AddressEntry> {
    entries.iter().filter(|entry| matches!(entry.matches, AddressMatch::Name(_) | AddressMatch::Suffix(_)))
}

/// Networks as a set.
pub(super) fn networks(of: &[Prefix]) -> Addresses {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for network in of {
        let list = if network.address().is_ipv4() { &mut v4 } else { &mut v6 };
        list.push(span(network.address(), network.len()));
    }
    Addresses { v4: Ranges::joined(v4), v6: Ranges::joined(v6) }
}

fn span(address: IpAddr, length: u8) -> (u128, u128) {
    let (number, bits) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let free = bits - u32::from(length).min(bits);
    let host = 1_u128.checked_shl(free).map_or(u128::MAX, |size| size - 1);
    (number & !host, number | host)
}

/// What of a span of IPv6 lies in ::ffff:0:0/96, as IPv4.
fn mapped_part(first: u128, last: u128) -> Option<(u128, u128)> {
    const FIRST: u128 = 0xffff_0000_0000;
    const LAST: u128 = 0xffff_ffff_ffff;
    let (first, last) = (first.max(FIRST), last.min(LAST));
    (first <= last).then_some((first - FIRST, last - FIRST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_conf::Place;

    fn entry(matches: AddressMatch) -> AddressEntry {
        let place = Place { file: "/etc/x".into(), line: 3, column: 1, length: 1 };
        AddressEntry { text: "word".into(), place, matches }
    }

    fn shown(of: &Addresses) -> String {
        let one = |family: Family| {
            of.of(family)
                .iter()
                .map(|(a, b)| format!("{}-{} ", family.text(a), family.text(b)))
                .collect::<String>()
        };
        format!("{}| {}", one(Family::V4), one(Family::V6)).trim_end().to_owned()
    }

    #[test]
    fn each_door_sees_its_own() {
        let list = [
            entry(AddressMatch::V4(vec![(0x0a00_0000, 8), (0xc000_0201, 32)])),
            entry(AddressMatch::V6(0x2001_0db8 << 96, 32)),
            entry(AddressMatch::Suffix(".example".to_owned())),
        ];
        let v4 = "10.0.0.0-10.255.255.255 192.0.2.1-192.0.2.1";
        let v6 = "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(shown(&addresses(&list, Door::V4)), format!("{v4} |"));
        assert_eq!(shown(&addresses(&list, Door::V6)), format!("| {v6}"));
        assert_eq!(shown(&addresses(&list, Door::Dual)), format!("{v4} | {v6}"));
        assert_eq!(names(&list).count(), 1);
    }

    #[test]
    fn ipv6_rules_mean_mapped_clients_of_a_dual_socket() {
        let all = [entry(AddressMatch::V6(0, 0))];
        assert_eq!(addresses(&all, Door::Dual), Door::Dual.everybody());
        assert_eq!(addresses(&all, Door::V6), Door::V6.everybody());
        assert!(addresses(&all, Door::V4).is_empty());
        let ten = [entry(AddressMatch::V6(0xffff_0a00_0000, 104))];
        assert_eq!(addresses(&ten, Door::Dual).v4, Ranges::one(0x0a00_0000, 0x0aff_ffff));
        assert_eq!(span("0.0.0.0".parse().unwrap(), 0), (0, u128::from(u32::MAX)));
        assert_eq!(span("::".parse().unwrap(), 0), (0, u128::MAX));
    }
}
