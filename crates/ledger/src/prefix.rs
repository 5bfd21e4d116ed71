//! The network of a source: what a ban of it covers, and what counts as one source. An IPv4 address alone, or the /64 of an IPv6
//! one, since whoever has one address of it has all.

use std::net::{IpAddr, Ipv6Addr};

/// The network of a source, as `address/length`.
pub(crate) fn prefix(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(v4) => format!("{v4}/32"),
        IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_or_one_network() {
        for (address, wanted) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(prefix(address.parse().unwrap()), wanted);
        }
    }
}
