//! How many different things there were, roughly, in a few words of memory: a bit for each value of a keyed hash, and how many
//! are still empty tells the number (linear counting).

/// A set of `64 * N` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits<const N: usize>([u64; N]);

impl<const N: usize> Default for Bits<N> {
    fn default() -> Self {
        Bits([0; N])
    }
}

impl<const N: usize> Bits<N> {
    /// Takes in a thing by its hash. Whether its bit is new.
    pub(super) fn add(&mut self, hash: u64) -> bool {
        let bit = hash % (64 * N as u64);
        let Some(word) = self.0.get_mut((bit / 64) as usize) else { return false };
        let before = *word;
        *word |= 1 << (bit % 64);
        *word != before
    }

    /// How many different ones it has taken in, roughly; never more than a full set can tell.
    pub(super) fn estimate(&self) -> u32 {
        let all = 64.0 * N as f64;
        let empty = self.0.iter().map(|word| word.count_zeros()).sum::<u32>();
        (all * (all / f64::from(empty).max(0.5)).ln()).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn the_number_is_roughly_right_up_to_several_times_the_size() {
        let hasher = std::hash::RandomState::new();
        let mut bits = Bits::<4>::default();
        assert_eq!(bits.estimate(), 0);
        let mut reached = 0;
        for target in [8u32, 100, 400] {
            for n in reached..target {
                bits.add(hasher.hash_one(n));
            }
            reached = target;
            let estimate = f64::from(bits.estimate());
            assert!((estimate / f64::from(target) - 1.0).abs() < 0.5, "{estimate} for {target}");
        }
        for n in 0..100_000u32 {
            bits.add(hasher.hash_one(n));
        }
        assert!(bits.estimate() >= 1500, "a full set says many");
    }
}
