//! Sets of addresses of one family, as ranges that do not touch. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The highest address as a number.
    pub fn top(self) -> u128 {
        match self {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        }
    }

    /// Bits of an address.
    pub fn bits(self) -> u32 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// An address from its number.
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }
}

/// An address as a number.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// A set of addresses. Copies are cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ranges(Arc<Vec<(u128, u128)>>);

impl Ranges {
    /// No address.
    pub fn none() -> Ranges {
        Ranges::default()
    }

    /// Every address of a family.
    pub fn all(family: Family) -> Ranges {
        Ranges(Arc::new(vec![(0, family.top())]))
    }

    /// From first to last, in any order, overlapping or not.
    pub fn new(mut pairs: Vec<(u128, u128)>) -> Ranges {
        pairs.retain(|(first, last)| first <= last);
        pairs.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(pairs.len());
        for (first, last) in pairs {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ranges(Arc::new(merged))
    }

    /// A network.
    pub fn network(address: IpAddr, length: u8) -> Ranges {
        let family = Family::of(address);
        Ranges::new(vec![network(family, number(address), u32::from(length))])
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has this address.
    pub fn has(&self, address: u128) -> bool {
        let at = self.0.partition_point(|(first, _)| *first <= address);
        at.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }

    /// How many ranges it has.
    pub fn pieces(&self) -> usize {
        self.0.len()
    }

    /// How many addresses it has, less one for each range.
    pub fn size(&self) -> u128 {
        self.0.iter().fold(0u128, |sum, (first, last)| sum.saturating_add(last - first))
    }

    /// What is in both.
    pub fn and(&self, other: &Ranges) -> Ranges {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(a1, a2)), Some(&&(b1, b2))) = (a.peek(), b.peek()) {
            let (first, last) = (a1.max(b1), a2.min(b2));
            if first <= last {
                both.push((first, last));
            }
            if a2 < b2 {
                a.next();
            } else {
                b.next();
            }
        }
        Ranges(Arc::new(both))
    }

    /// What is in one of them.
    pub fn or(&self, other: &Ranges) -> Ranges {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other.clone(),
            (_, true) => self.clone(),
            _ => Ranges::new(self.0.iter().chain(other.0.iter()).copied().collect()),
        }
    }

    /// What is in this and not in the other.
    pub fn minus(&self, other: &Ranges) -> Ranges {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        let mut gaps = Vec::with_capacity(other.0.len() + 1);
        let mut from = Some(0);
        for (first, last) in other.0.iter() {
            if let Some(from) = from
                && from < *first
            {
                gaps.push((from, first - 1));
            }
            from = last.checked_add(1);
        }
        gaps.extend(from.map(|from| (from, u128::MAX)));
        self.and(&Ranges(Arc::new(gaps)))
    }

    /// The networks that make it up, in order; None when there are more than `most`.
    pub fn networks(&self, family: Family, most: usize) -> Option<Vec<String>> {
        let mut found = Vec::new();
        for &(first, last) in self.0.iter() {
            let mut at = first;
            loop {
                let fits = |length: u32| {
                    let (start, end) = network(family, at, length);
                    start == at && end <= last
                };
                let length = (0..=family.bits()).find(|length| fits(*length)).unwrap_or(family.bits());
                if found.len() >= most {
                    return None;
                }
                let address = family.address(at);
                found.push(if length == family.bits() {
                    address.to_string()
                } else {
                    format!("{address}/{length}")
                });
                let end = network(family, at, length).1;
                match end.checked_add(1) {
                    Some(next) if next <= last => at = next,
                    _ => break,
                }
            }
        }
        Some(found)
    }
}

/// First and last address of a network.
pub fn network(family: Family, address: u128, length: u32) -> (u128, u128) {
    let rest = family.bits().saturating_sub(length);
    let low = if rest >= 128 { u128::MAX } else { (1u128 << rest) - 1 };
    let first = address & !low;
    (first, (first | low).min(family.top()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Ranges {
        Ranges::new(
            text.split_whitespace()
                .map(|word| {
                    let (address, length) = word.split_once('/').unwrap_or((word, "32"));
                    network(Family::V4, number(address.parse().unwrap()), length.parse().unwrap())
                })
                .collect(),
        )
    }

    #[test]
    fn sets_of_addresses() {
        let ten = v4("10.0.0.0/8");
        let all = Ranges::all(Family::V4);
        assert_eq!(all.minus(&ten).or(&ten), all);
        assert_eq!(all.minus(&ten).and(&ten), Ranges::none());
        assert_eq!(v4("10.0.0.0/9 10.128.0.0/9"), ten);
        assert_eq!(ten.minus(&v4("10.0.0.0/9")), v4("10.128.0.0/9"));
        assert!(ten.has(number("10.255.255.255".parse().unwrap())));
        assert!(!ten.has(number("11.0.0.0".parse().unwrap())) && !Ranges::none().has(0));
        let six = Ranges::all(Family::V6);
        assert_eq!(six.minus(&Ranges::network("fe80::".parse().unwrap(), 10)).pieces(), 2);
        assert_eq!(six.networks(Family::V6, 1).unwrap(), ["::/0"]);
        assert_eq!(
            v4("10.0.0.0/8 10.1.0.0/16 192.0.2.1").networks(Family::V4, 9).unwrap(),
            ["10.0.0.0/8", "192.0.2.1"]
        );
        let odd = Ranges::new(vec![(1, 6)]).networks(Family::V4, 9).unwrap();
        assert_eq!(odd, ["0.0.0.1", "0.0.0.2/31", "0.0.0.4/31", "0.0.0.6"]);
        assert_eq!(Ranges::new(vec![(1, 6)]).networks(Family::V4, 3), None);
    }
}
