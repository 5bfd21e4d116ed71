//! The name of an address that the name also leads back to: reverse look-up, then the checks of reference A11, with their
//! warnings. Blocks as long as the name service does; remembers nothing.

use hosts_access::Field;
pub use portreeve_sys::names::{Family, HostEntry, NameError, Spelling, host_entry};
use portreeve_sys::names::{address_text, host_name_of};
use std::net::{SocketAddr, SocketAddrV4};

/// The name of a host that has none, or that could not be asked for.
pub const UNKNOWN: &str = "unknown";
/// The name of a host whose name contradicts itself.
pub const PARANOID: &str = "paranoid";

/// The host name of `address`: confirmed, [`UNKNOWN`] or [`PARANOID`]. A mapped address is looked up as the IPv4 address that it is.
pub fn host_name(address: SocketAddr, warn: &mut dyn FnMut(Vec<u8>)) -> Field {
    let address = unmapped(address);
    let Ok(name) = host_name_of(address) else { return Field::from(UNKNOWN) };
    // An attribute holds no more; the checks see what it holds.
    let name = Field::new(&name);
    if confirm(&name, address, warn) { name } else { Field::from(PARANOID) }
}

/// Whether `name`, which somebody claims to be the name of `address`, leads back to it under that very name. Says why not.
pub fn confirm(name: &Field, address: SocketAddr, warn: &mut dyn FnMut(Vec<u8>)) -> bool {
    let shown = name.as_bytes();
    let (family, family_name) = match address {
        SocketAddr::V4(_) => (Family::V4, &b"AF_INET"[..]),
        SocketAddr::V6(_) => (Family::V6, &b"AF_INET6"[..]),
    };
    if host_entry(shown, family, Spelling::Numeric).is_ok() {
        warn([b"host name/name mismatch: reverse lookup results in non-FQDN ", shown].concat());
        return false;
    }
    let Ok(host) = host_entry(shown, family, Spelling::Name) else {
        warn([b"can't verify hostname: getaddrinfo(", shown, b", ", family_name, b") failed"].concat());
        return false;
    };
    let official = Field::new(&host.canonical);
    if !host.canonical.eq_ignore_ascii_case(shown) && !shown.eq_ignore_ascii_case(b"localhost") {
        warn([b"host name/name mismatch: ", shown, b" != ", official.as_bytes()].concat());
        return false;
    }
    if !host.addresses.iter().any(|found| same_host(*found, address)) {
        let numbers = numeric(address);
        warn([b"host name/address mismatch: ", numbers.as_bytes(), b" != ", official.as_bytes()].concat());
        return false;
    }
    true
}

/// The address as text, as tables compare it; IPv6 with its scope.
#[must_use]
pub fn numeric(address: SocketAddr) -> Field {
    address_text(address).map_or(Field::from(UNKNOWN), |text| Field::new(&text))
}

/// The same host: address and, of IPv6, scope. Ports do not count.
fn same_host(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    one.ip() == other.ip() && scope(one) == scope(other)
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::V4(SocketAddrV4::new(four, six.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_checked() {
        let home: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut said = Vec::new();
        let mut check = |name: &str| {
            said.clear();
            let good = confirm(&Field::from(name), home, &mut |text| {
                said.push(String::from_utf8_lossy(&text).into_owned());
            });
            (good, said.join("|"))
        };
        assert_eq!(
            check("127.0.0.1"),
            (false, "host name/name mismatch: reverse lookup results in non-FQDN 127.0.0.1".to_owned())
        );
        assert_eq!(check("localhost"), (true, String::new()));
        assert_eq!(
            check("no such host"),
            (false, "can't verify hostname: getaddrinfo(no such host, AF_INET) failed".to_owned())
        );
    }

    #[test]
    fn mapped_addresses_are_asked_for_as_ipv4() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().unwrap();
        assert_eq!(unmapped(mapped), "10.0.0.1:9".parse().unwrap());
        assert_eq!(numeric(mapped).as_bytes(), b"::ffff:10.0.0.1");
        let other: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(unmapped(other), other);
    }
}
