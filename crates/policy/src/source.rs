//! What counts as one source: the client's address cut to a prefix, mapped or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of `address` with the prefix length of its family (`per_source_prefix`); mapped IPv4 counts as IPv4.
pub fn network(address: IpAddr, (v4, v6): (u8, u8)) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            Ipv4Addr::from_bits(a.to_bits() & !u32::MAX.checked_shr(v4.into()).unwrap_or(0)).into()
        }
        IpAddr::V6(a) => {
            Ipv6Addr::from_bits(a.to_bits() & !u128::MAX.checked_shr(v6.into()).unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::network;
    use std::net::IpAddr;

    #[test]
    fn table() {
        for (address, prefix, expected) in [
            ("192.0.2.77", (32, 64), "192.0.2.77"),
            ("192.0.2.77", (24, 64), "192.0.2.0"),
            ("192.0.2.77", (0, 64), "0.0.0.0"),
            ("192.0.2.77", (255, 64), "192.0.2.77"),
            ("::ffff:192.0.2.77", (24, 64), "192.0.2.0"),
            ("2001:db8:1:2:3::4", (32, 64), "2001:db8:1:2::"),
            ("2001:db8:1:2:3::4", (32, 128), "2001:db8:1:2:3::4"),
            ("2001:db8:1:2:3::4", (32, 0), "::"),
            ("2001:db8:1:2:3::4", (32, 255), "2001:db8:1:2:3::4"),
        ] {
            let parse = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(network(parse(address), prefix), parse(expected), "{address} {prefix:?}");
        }
    }
}
