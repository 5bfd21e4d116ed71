//! Networks as `IPAddressAllow=` and `IPAddressDeny=` name them, and what is left of one when others are taken out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most networks that a subtraction may come to.
const MOST: usize = 4096;

/// A network; its host bits are clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    six: bool,
    /// An IPv4 address has its 32 bits at the top.
    bits: u128,
    length: u8,
}

impl Network {
    pub(crate) const ALL: [Self; 2] =
        [Self { six: false, bits: 0, length: 0 }, Self { six: true, bits: 0, length: 0 }];

    fn new(six: bool, bits: u128, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self { six, bits: bits & mask, length }
    }

    pub(crate) fn v4(address: u32, length: u8) -> Self {
        Self::new(false, u128::from(address) << 96, length.min(32))
    }

    pub(crate) fn v6(address: u128, length: u8) -> Self {
        Self::new(true, address, length.min(128))
    }

    /// A word of the settings: an address, a network, or one of four names.
    pub(crate) fn parse(word: &str) -> Option<Vec<Self>> {
        let v4 = |a, b, length| Self::v4(u32::from(Ipv4Addr::new(a, b, 0, 0)), length);
        Some(match word {
            "any" => Self::ALL.to_vec(),
            "localhost" => vec![v4(127, 0, 8), Self::v6(1, 128)],
            "link-local" => vec![v4(169, 254, 16), Self::v6(0xfe80 << 112, 64)],
            "multicast" => vec![v4(224, 0, 4), Self::v6(0xff00 << 112, 8)],
            _ => {
                let (address, length) = word.split_once('/').map_or((word, None), |(a, l)| (a, Some(l)));
                let address: IpAddr = address.parse().ok()?;
                let most = if address.is_ipv4() { 32 } else { 128 };
                let length = length.map_or(Some(most), |l| l.parse::<u8>().ok().filter(|l| *l <= most))?;
                vec![match address {
                    IpAddr::V4(address) => Self::v4(address.into(), length),
                    IpAddr::V6(address) => Self::v6(address.into(), length),
                }]
            }
        })
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        match self.six {
            true => Ipv6Addr::from(self.bits).into(),
            false => Ipv4Addr::from(u32::try_from(self.bits >> 96).unwrap_or(0)).into(),
        }
    }

    /// How many leading bits count.
    pub fn length(self) -> u8 {
        self.length
    }

    pub(crate) fn holds(self, other: Self) -> bool {
        self.six == other.six
            && self.length <= other.length
            && Self::new(self.six, other.bits, self.length) == self
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, most) = (self.address(), if self.six { 128 } else { 32 });
        if self.length == most { write!(f, "{address}") } else { write!(f, "{address}/{}", self.length) }
    }
}

/// `from` without `holes`; `None` where that is too many networks to write.
pub(crate) fn without(from: &[Network], holes: &[Network]) -> Option<Vec<Network>> {
    let mut left: Vec<Network> = from.to_vec();
    for hole in holes {
        let mut next = Vec::with_capacity(left.len());
        for network in left {
            if hole.holds(network) {
                continue;
            }
            if !network.holds(*hole) {
                next.push(network);
                continue;
            }
            // The halves beside the way down to the hole.
            for length in network.length + 1..=hole.length {
                let bit = 1u128 << (128 - u32::from(length));
                next.push(Network::new(network.six, hole.bits ^ bit, length));
            }
        }
        if next.len() > MOST {
            return None;
        }
        left = next;
    }
    left.sort_unstable();
    left.dedup();
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Vec<Network> {
        words.iter().flat_map(|word| Network::parse(word).unwrap()).collect()
    }

    #[test]
    fn what_is_taken_out_is_out_and_nothing_else() {
        let shown = |from: &[&str], holes: &[&str]| {
            without(&of(from), &of(holes))
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown(&["10.0.0.0/8"], &["10.128.0.0/9"]), "10.0.0.0/9");
        assert_eq!(shown(&["10.0.0.0/30"], &["10.0.0.1"]), "10.0.0.0 10.0.0.2/31");
        assert_eq!(shown(&["10.0.0.0/8"], &["11.0.0.0/8", "any"]), "");
        assert_eq!(shown(&["2001:db8::/127"], &["2001:db8::", "10.0.0.0/8"]), "2001:db8::1");
        assert_eq!(shown(&["localhost"], &["::1"]), "127.0.0.0/8");
        for bad in ["10.0.0.0/33", "x", "10.0.0", "::/129", "10.0.0.1/"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_address_is_where_it_belongs(
            from in proptest::collection::vec((0u32.., 0u8..33), 1..4),
            holes in proptest::collection::vec((0u32.., 0u8..33), 0..4),
            inside in proptest::collection::vec(0u32.., 1..20),
        ) {
            let networks = |all: &[(u32, u8)]| all.iter().map(|(a, l)| Network::v4(*a, *l)).collect::<Vec<_>>();
            let (from, holes) = (networks(&from), networks(&holes));
            let left = without(&from, &holes).unwrap();
            for address in inside {
                let address = Network::v4(address, 32);
                let any = |all: &[Network]| all.iter().any(|network| network.holds(address));
                proptest::prop_assert_eq!(any(&left), any(&from) && !any(&holes));
            }
        }
    }
}
