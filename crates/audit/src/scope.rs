//! From where an address can be reached, judged by the address and the interface alone. Pure; knows no firewall.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This host's own programs.
    Host,
    /// The network that one interface is on.
    Link,
    /// One private address of this host.
    Private,
    /// One address of this host that the internet routes.
    Public,
    /// Every address of this host.
    All,
}

impl Scope {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Host => "host",
            Scope::Link => "link",
            Scope::Private => "private",
            Scope::Public => "public",
            Scope::All => "all",
        }
    }

    /// Whether anybody on any network that reaches this host could reach it, were no firewall there.
    pub fn from_everywhere(self) -> bool {
        matches!(self, Scope::Public | Scope::All)
    }
}

/// The scope of an IP address on an interface.
pub fn of(address: IpAddr, interface: Option<&str>) -> Scope {
    if interface == Some("lo") {
        return Scope::Host;
    }
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => of_v4(address),
            None => of_v6(address),
        },
    }
}

fn of_v4(address: Ipv4Addr) -> Scope {
    let [a, b, ..] = address.octets();
    if address.is_unspecified() {
        Scope::All
    } else if address.is_loopback() {
        Scope::Host
    } else if address.is_link_local() || address.is_multicast() || address.is_broadcast() {
        Scope::Link
    } else if address.is_private() || (a == 100 && (64..128).contains(&b)) {
        // RFC 1918, and RFC 6598: behind a carrier's translation.
        Scope::Private
    } else {
        Scope::Public
    }
}

fn of_v6(address: Ipv6Addr) -> Scope {
    let first = address.segments()[0];
    if address.is_unspecified() {
        Scope::All
    } else if address.is_loopback() {
        Scope::Host
    } else if first & 0xffc0 == 0xfe80 || address.is_multicast() {
        Scope::Link
    } else if first & 0xfe00 == 0xfc00 {
        Scope::Private
    } else {
        Scope::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scope() {
        for (address, wanted) in [
            ("0.0.0.0", Scope::All),
            ("::", Scope::All),
            ("::ffff:0.0.0.0", Scope::All),
            ("127.0.0.53", Scope::Host),
            ("::1", Scope::Host),
            ("::ffff:127.0.0.1", Scope::Host),
            ("169.254.1.1", Scope::Link),
            ("224.0.0.251", Scope::Link),
            ("fe80::1", Scope::Link),
            ("ff02::fb", Scope::Link),
            ("10.1.2.3", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("fd00::1", Scope::Private),
            ("100.128.0.1", Scope::Public),
            ("8.8.8.8", Scope::Public),
            ("2001:db8::1", Scope::Public),
        ] {
            assert_eq!(of(address.parse().unwrap(), None), wanted, "{address}");
        }
        assert_eq!(of("0.0.0.0".parse().unwrap(), Some("lo")), Scope::Host);
        assert_eq!(of("0.0.0.0".parse().unwrap(), Some("eth0")), Scope::All);
    }
}
