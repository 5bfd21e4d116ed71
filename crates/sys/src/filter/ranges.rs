//! Address sets as ranges: union and difference. Knows no packet.

/// Disjoint, sorted, inclusive ranges that do not touch.
pub(super) struct Ranges(pub(super) Vec<(u128, u128)>);

impl Ranges {
    pub(super) fn of(prefixes: impl Iterator<Item = (u128, u8)>) -> Self {
        let mut list: Vec<(u128, u128)> = prefixes
            .map(|(address, bits)| {
                let host = u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                (address & !host, address | host)
            })
            .collect();
        list.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(list.len());
        for (from, to) in list {
            match merged.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    pub(super) fn without(&self, holes: &Self) -> Self {
        let mut left = Vec::new();
        for &(mut from, to) in &self.0 {
            let mut used_up = false;
            for &(hole_from, hole_to) in &holes.0 {
                if hole_to < from {
                    continue;
                }
                if hole_from > to {
                    break;
                }
                if hole_from > from {
                    left.push((from, hole_from - 1));
                }
                match hole_to.checked_add(1) {
                    Some(next) if next <= to => from = next,
                    _ => {
                        used_up = true;
                        break;
                    }
                }
            }
            if !used_up {
                left.push((from, to));
            }
        }
        Self(left)
    }
}
