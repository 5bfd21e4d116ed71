//! A client's address as the columns know it. Only a text in the one usual spelling counts: the string rules compare texts,
//! so for any other spelling the number does not tell what matches.

use crate::address::without_mapping;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A numeric address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// IPv4, or IPv6 with the IPv4 address in it that the string rules see.
    V4(u32),
    /// IPv6.
    V6(u128),
}

impl Address {
    /// The address of a text as getnameinfo(3) writes it. `None` for any other spelling, a scope, 255.255.255.255 (which no
    /// net holds) and `::a.b.c.d` (which is written in more than one way).
    pub(crate) fn of_text(text: &[u8]) -> Option<Self> {
        let plain = without_mapping(text);
        if let Some(address) = v4(plain) {
            return (address != u32::MAX).then_some(Self::V4(address));
        }
        v6(plain).map(Self::V6)
    }
}

/// An IPv4 address without leading zeros.
pub(super) fn v4(text: &[u8]) -> Option<u32> {
    let address: Ipv4Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_bits())
}

/// An IPv6 address in the usual spelling, without a scope, and not one that has an IPv4 address in it.
pub(super) fn v6(text: &[u8]) -> Option<u128> {
    let address: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    let bits = address.to_bits();
    // ::/96 and ::ffff:0:0/96, but not :: and ::1.
    if matches!(bits >> 32, 0 | 0xffff) && bits > 1 {
        return None;
    }
    // The longest is 39 bytes.
    let mut usual = [0; 40];
    let mut rest = &mut usual[..];
    write!(rest, "{address}").ok()?;
    let left = rest.len();
    let length = usual.len().checked_sub(left)?;
    (usual.get(..length) == Some(text)).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn only_the_usual_spelling_is_a_number() {
        for (text, wanted) in [
            ("10.0.0.1", Some(Address::V4(0x0a00_0001))),
            ("::ffff:10.0.0.1", Some(Address::V4(0x0a00_0001))),
            ("::FFFF:10.0.0.1", Some(Address::V4(0x0a00_0001))),
            ("0.0.0.0", Some(Address::V4(0))),
            ("::", Some(Address::V6(0))),
            ("::1", Some(Address::V6(1))),
            ("2001:db8::1", Some(Address::V6(0x2001_0db8 << 96 | 1))),
            ("1:2:3:4:5:6:7:8", Some(Address::V6(0x0001_0002_0003_0004_0005_0006_0007_0008))),
            ("255.255.255.255", None),
            ("::ffff:255.255.255.255", None),
            ("10.0.0.01", None),
            ("10.0.0", None),
            ("0x0a.0.0.1", None),
            ("::ffff:a00:1", None),
            ("::ffff:0:1", None),
            ("::10.0.0.1", None),
            ("::a00:1", None),
            ("::2", None),
            ("2001:DB8::1", None),
            ("2001:db8:0::1", None),
            ("2001:db8::1 ", None),
            ("fe80::1%lo", None),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(Address::of_text(text.as_bytes()), wanted, "{text}");
        }
    }
}
