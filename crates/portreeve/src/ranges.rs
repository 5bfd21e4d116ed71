//! Sets of addresses as ranges: disjoint, in order. Exact; knows nothing of rules.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses of one family, as numbers. Neighbours are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u128, u128)>);

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ranges,
    /// IPv6.
    pub v6: Ranges,
}

/// A family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Each.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address.
    pub fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The last address.
    pub fn last(self) -> u128 {
        u128::MAX >> (128 - self.bits())
    }

    /// An address as text.
    pub fn text(self, number: u128) -> String {
        match self {
            Self::V4 => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).to_string(),
            Self::V6 => Ipv6Addr::from_bits(number).to_string(),
        }
    }
}

impl Ranges {
    /// From `first` to `last`, both included.
    pub fn one(first: u128, last: u128) -> Self {
        if first <= last { Self(vec![(first, last)]) } else { Self::default() }
    }

    /// All addresses of a family.
    pub fn all(family: Family) -> Self {
        Self::one(0, family.last())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether nothing of the family is missing.
    pub fn is_all(&self, family: Family) -> bool {
        self.0 == [(0, family.last())]
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.0.iter().copied()
    }

    /// Whether `number` is among them.
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| number <= *last)
    }

    /// In either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::joined(self.iter().chain(other.iter()).collect())
    }

    /// Any of these ranges.
    pub fn joined(mut all: Vec<(u128, u128)>) -> Self {
        all.sort_unstable();
        let mut joined: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// In this one and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut holes = other.iter().peekable();
        for (mut first, last) in self.iter() {
            let mut gone = false;
            while let Some((from, to)) = holes.peek().copied() {
                if to < first {
                    holes.next();
                    continue;
                }
                if from > last {
                    break;
                }
                if from > first {
                    left.push((first, from - 1));
                }
                if to >= last {
                    gone = true;
                    break;
                }
                first = to + 1;
                holes.next();
            }
            if !gone {
                left.push((first, last));
            }
        }
        Self(left)
    }

    /// The networks that make it up, largest first at each place: first address and length.
    pub fn networks(&self, family: Family) -> Vec<(u128, u32)> {
        let mut networks = Vec::new();
        for (mut first, last) in self.iter() {
            loop {
                let aligned =
                    if first == 0 { family.bits() } else { first.trailing_zeros().min(family.bits()) };
                // As many free bits as the place and the rest allow.
                let room = (last - first).checked_add(1).map_or(128, |count| 127 - count.leading_zeros());
                let free = aligned.min(room);
                networks.push((first, family.bits() - free));
                let end = first | (u128::MAX.checked_shr(128 - free).unwrap_or(0));
                if end >= last {
                    break;
                }
                first = end + 1;
            }
        }
        networks
    }
}

impl Addresses {
    /// All of both families.
    pub fn all() -> Self {
        Self { v4: Ranges::all(Family::V4), v6: Ranges::all(Family::V6) }
    }

    /// In either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self { v4: self.v4.or(&other.v4), v6: self.v6.or(&other.v6) }
    }

    /// In this one and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self { v4: self.v4.without(&other.v4), v6: self.v6.without(&other.v6) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The addresses of a family.
    pub fn of(&self, family: Family) -> &Ranges {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(of: &[(u128, u128)]) -> Ranges {
        Ranges::joined(of.to_vec())
    }

    #[test]
    fn sets_are_joined_and_cut() {
        assert_eq!(ranges(&[(5, 9), (0, 3), (4, 4), (20, 30), (22, 23)]).0, [(0, 9), (20, 30)]);
        let all = Ranges::all(Family::V4);
        for (a, b, left) in [
            (ranges(&[(0, 9)]), ranges(&[(3, 4), (7, 7)]), vec![(0, 2), (5, 6), (8, 9)]),
            (ranges(&[(0, 9), (20, 29)]), ranges(&[(5, 24)]), vec![(0, 4), (25, 29)]),
            (ranges(&[(0, 9)]), ranges(&[(0, 9)]), vec![]),
            (ranges(&[(3, 5)]), ranges(&[]), vec![(3, 5)]),
            (all.clone(), all.clone(), vec![]),
        ] {
            assert_eq!(a.without(&b).0, left);
            for number in 0..40 {
                assert_eq!(a.without(&b).contains(number), a.contains(number) && !b.contains(number));
                assert_eq!(a.or(&b).contains(number), a.contains(number) || b.contains(number));
            }
        }
    }

    #[test]
    fn ranges_are_made_of_networks() {
        for family in [Family::V4, Family::V6] {
            assert_eq!(Ranges::all(family).networks(family), [(0, 0)]);
            let last = family.last();
            assert_eq!(Ranges::one(last, last).networks(family), [(last, family.bits())]);
            for (first, last) in [(1, 6), (0, 9), (255, 1024), (last - 6, last), (1, last - 1)] {
                let mut next = first;
                for (net, length) in Ranges::one(first, last).networks(family) {
                    assert_eq!(net, next);
                    let size = 1_u128.checked_shl(family.bits() - length).unwrap();
                    assert_eq!(net % size, 0);
                    next = (net + (size - 1)).wrapping_add(1);
                }
                assert_eq!(next, last.wrapping_add(1));
            }
        }
        assert_eq!(Family::V4.text(0x0a00_0001), "10.0.0.1");
        assert_eq!(Family::V6.text(1), "::1");
    }
}
