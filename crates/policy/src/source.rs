//! What counts as one source: the client's address cut to a prefix, mapped or not. Where a translator or a relay puts strangers into
//! one /64, each of them is a source of its own, as for bans ([`Prefix::subscriber`]).

use crate::prefix::Prefix;
use std::net::IpAddr;

/// The network of `address` with the prefix length of its family (`per_source_prefix`); mapped IPv4 counts as IPv4, and so does what
/// stands behind NAT64's well-known prefix. 0 is everybody of the family, as it says.
pub fn network(address: IpAddr, lengths: (u8, u8)) -> IpAddr {
    counted(address, lengths).address()
}

/// The same with its length.
pub(crate) fn counted(address: IpAddr, (v4, v6): (u8, u8)) -> Prefix {
    match address.to_canonical() {
        IpAddr::V4(a) => Prefix::cut_v4(a, v4),
        IpAddr::V6(a) => match Prefix::embedded(a) {
            Some(before) if v6 > 0 => Prefix::around(a.into(), before.saturating_add(v4.min(32)).max(v6)),
            _ => Prefix::around(a.into(), v6),
        },
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
            // One of a million behind a translator is no other.
            ("64:ff9b::192.0.2.77", (32, 64), "64:ff9b::192.0.2.77"),
            ("64:ff9b::192.0.2.77", (24, 48), "64:ff9b::192.0.2.0"),
            ("64:ff9b:1:7::192.0.2.77", (24, 64), "64:ff9b:1:7::192.0.2.77"),
            ("2001:0:c000:201::7", (32, 56), "2001:0:c000:201::7"),
            ("64:ff9b::192.0.2.77", (32, 0), "::"),
        ] {
            let parse = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(network(parse(address), prefix), parse(expected), "{address} {prefix:?}");
        }
    }
}
