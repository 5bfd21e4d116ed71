//! A network as it is banned or protected: an address and how many of its leading bits count. Decides what is in it.
//!
//! Always canonical: no bit is set behind the length, and IPv4 that was written as mapped IPv6 is IPv4, so that one network has
//! one form and a ban of `::ffff:192.0.2.1` is one of 192.0.2.1.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network in its one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPrefix {
    /// Not an address in front of the slash.
    Address(String),
    /// Not a number behind the slash, or one that is too large; the largest.
    Length(String, u8),
    /// Part of an address is behind the length: what was meant is not clear. The network that it lies in.
    HostBits(String, Prefix),
}

impl fmt::Display for BadPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPrefix::Address(text) => write!(f, "{text:?} is no IPv4 or IPv6 address"),
            BadPrefix::Length(text, most) => {
                write!(f, "{text:?} is no length of a network: 0 to {most} was expected")
            }
            BadPrefix::HostBits(text, network) => {
                write!(f, "{text} has bits set behind its length; {network} is the network that it lies in")
            }
        }
    }
}

impl std::error::Error for BadPrefix {}

impl Prefix {
    /// The network of so many bits that `address` lies in; a length beyond the address's own is that. Mapped IPv4 becomes IPv4,
    /// its length counted from the end; a shorter one than the mapping itself is no IPv4 network and stays IPv6.
    pub fn around(address: IpAddr, length: u8) -> Self {
        let v6 = match address {
            IpAddr::V4(v4) => return Self::cut_v4(v4, length),
            IpAddr::V6(v6) => v6,
        };
        match v6.to_ipv4_mapped() {
            Some(v4) if length >= 96 => Self::cut_v4(v4, length - 96),
            _ => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl((128 - length).into()).unwrap_or(0);
                Prefix { address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), length }
            }
        }
    }

    pub(crate) fn cut_v4(address: Ipv4Addr, length: u8) -> Self {
        let length = length.min(32);
        let mask = u32::MAX.checked_shl((32 - length).into()).unwrap_or(0);
        Prefix { address: Ipv4Addr::from_bits(address.to_bits() & mask).into(), length }
    }

    /// The address alone.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Prefix { address, length: Self::bits(address) }
    }

    /// What one subscriber has: an IPv4 address, a /64 of IPv6. Where translators put all of IPv4, or all clients of one relay,
    /// into one /64, the address: nobody shall be banned for another's deed.
    pub fn subscriber(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Prefix { address: v4, length: 32 },
            IpAddr::V6(v6) if Self::embedded(v6).is_none() => Self::around(address, 64),
            v6 @ IpAddr::V6(_) => Prefix { address: v6, length: 128 },
        }
    }

    /// Of an address that a translator or relay made for somebody who has no network of its own in IPv6: how many bits stand before what
    /// tells one of them from the other. RFC 6052: the last 32 are an IPv4 address; RFC 8215 and 4380 (Teredo): all of it counts.
    pub(crate) fn embedded(address: Ipv6Addr) -> Option<u8> {
        match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(96),
            [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Some(128),
            _ => None,
        }
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() | u32::MAX.checked_shr(self.length.into()).unwrap_or(0))
                    .into()
            }
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() | u128::MAX.checked_shr(self.length.into()).unwrap_or(0))
                    .into()
            }
        }
    }

    /// How many leading bits count.
    #[expect(clippy::len_without_is_empty, reason = "a network's length is no number of elements")]
    pub fn len(&self) -> u8 {
        self.length
    }

    /// Whether it is one address.
    pub fn is_host(&self) -> bool {
        self.length == Self::bits(self.address)
    }

    /// Whether `address`, mapped or not, lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.covers(&Self::host(address))
    }

    /// Whether all of `other` lies in it.
    pub fn covers(&self, other: &Prefix) -> bool {
        other.length >= self.length
            && self.address.is_ipv4() == other.address.is_ipv4()
            && Self::around(other.address, self.length).address == self.address
    }

    /// Whether they have an address in common.
    pub fn meets(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    fn bits(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.length) }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

/// What is said of a word: as much as people read. A word may be as long as a file.
fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", word.get(..end).unwrap_or_default()),
        None => word.to_owned(),
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    /// Reads `ADDRESS` or `ADDRESS/LENGTH`; no zone, no netmask, no short form.
    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let (front, length) =
            text.split_once('/').map_or((text, None), |(front, length)| (front, Some(length)));
        let address: IpAddr = front.parse().map_err(|_| BadPrefix::Address(shown(front)))?;
        let Some(length) = length else { return Ok(Self::host(address)) };
        let most = Self::bits(address);
        let digits = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
        let number = length.parse::<u8>().ok().filter(|number| digits && *number <= most);
        let Some(number) = number else { return Err(BadPrefix::Length(shown(length), most)) };
        let network = Self::around(address, number);
        let whole = match network.address {
            IpAddr::V4(v4) if address.is_ipv6() => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        if whole == address { Ok(network) } else { Err(BadPrefix::HostBits(text.to_owned(), network)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn one_network_has_one_form() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::1/128", "2001:db8::1"),
        ] {
            assert_eq!(prefix(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_told_why() {
        for (text, why) in [
            ("", "\"\" is no IPv4 or IPv6 address"),
            ("192.0.2", "\"192.0.2\" is no IPv4 or IPv6 address"),
            ("fe80::1%eth0", "\"fe80::1%eth0\" is no IPv4 or IPv6 address"),
            ("192.0.2.1/33", "\"33\" is no length of a network: 0 to 32 was expected"),
            ("192.0.2.0/", "\"\" is no length of a network: 0 to 32 was expected"),
            ("192.0.2.0/+24", "\"+24\" is no length of a network: 0 to 32 was expected"),
            ("::/129", "\"129\" is no length of a network: 0 to 128 was expected"),
            (
                "192.0.2.1/24",
                "192.0.2.1/24 has bits set behind its length; 192.0.2.0/24 is the network that it lies in",
            ),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap_err().to_string(), why);
        }
        for long in ["x".repeat(100_000), format!("192.0.2.0/{}", "9".repeat(100_000)), "é".repeat(99)] {
            assert!(long.parse::<Prefix>().unwrap_err().to_string().len() < 200);
        }
    }

    #[test]
    fn an_address_lies_in_its_networks_and_in_no_other() {
        assert!(prefix("192.0.2.0/24").contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(!prefix("192.0.2.0/24").contains("192.0.3.9".parse().unwrap()));
        assert!(!prefix("::/0").contains("192.0.2.9".parse().unwrap()), "families are apart");
        assert!(prefix("0.0.0.0/0").covers(&prefix("10.0.0.0/8")));
        assert!(!prefix("10.0.0.0/8").covers(&prefix("0.0.0.0/0")));
        assert!(prefix("10.0.0.0/8").meets(&prefix("0.0.0.0/0")));
    }

    #[test]
    fn a_subscriber_is_nobody_else() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
            ("64:ff9b:1:7::192.0.2.1", "64:ff9b:1:7::c000:201"),
            ("2001:0:c000:201::7", "2001:0:c000:201::7"),
            ("2001:1::7", "2001:1::/64"),
        ] {
            assert_eq!(Prefix::subscriber(address.parse().unwrap()), prefix(network), "{address}");
        }
    }

    proptest! {
        #[test]
        fn around_contains_what_it_is_around_and_reads_back(bits: u128, v4: bool, length in 0u8..=128) {
            let address = match v4 {
                true => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap())),
                false => IpAddr::V6(Ipv6Addr::from_bits(bits)),
            };
            let network = Prefix::around(address, length);
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Prefix>().unwrap(), network);
            let flipped = match address {
                IpAddr::V4(a) if network.len() > 0 => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() ^ (1 << (32 - network.len())))),
                IpAddr::V6(a) if network.len() > 0 && network.address().is_ipv6() => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() ^ (1 << (128 - network.len())))),
                _ => return Ok(()),
            };
            prop_assert!(!network.contains(flipped));
        }
    }
}
