//! Reading and writing an image's bytes: little-endian numbers, texts and sorted columns at offsets that nobody vouches for.
//! Whatever lies outside is [`Doubtful`], never a panic. Knows nothing of rules.

/// Something in the image lies outside of it or contradicts itself: the tables' text must be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubtful;

/// "No rule": larger than every rule's number, so that the smallest of several answers is the answer.
pub(crate) const NONE: u32 = u32::MAX;

/// All bytes of an image.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(&'a [u8]);

impl std::fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// `len` bytes at `at`.
    pub(crate) fn slice(self, at: u32, len: usize) -> Result<&'a [u8], Doubtful> {
        let start = usize::try_from(at).map_err(|_| Doubtful)?;
        let end = start.checked_add(len).ok_or(Doubtful)?;
        self.0.get(start..end).ok_or(Doubtful)
    }

    pub(crate) fn u32(self, at: u32) -> Result<u32, Doubtful> {
        let bytes = self.slice(at, 4)?;
        bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Doubtful)
    }

    pub(crate) fn u64(self, at: u32) -> Result<u64, Doubtful> {
        let bytes = self.slice(at, 8)?;
        bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or(Doubtful)
    }

    /// The number `index` of an array of u32 at `at`.
    pub(crate) fn word(self, at: u32, index: u32) -> Result<u32, Doubtful> {
        self.u32(offset(at, index, 4)?)
    }

    /// A text: its length, then its bytes.
    pub(crate) fn text(self, at: u32) -> Result<&'a [u8], Doubtful> {
        let len = usize::try_from(self.u32(at)?).map_err(|_| Doubtful)?;
        self.slice(at.checked_add(4).ok_or(Doubtful)?, len)
    }

    /// A column of sorted keys with a rule's number for each; where the record at `at` says. First every [`BLOCK`]th key (so
    /// that a search touches few pages), then all keys, then their rules.
    pub(crate) fn column<K: Key>(self, at: u32) -> Result<Column<'a>, Doubtful> {
        let start = self.u32(at)?;
        let count = usize::try_from(self.u32(offset(at, 1, 4)?)?).map_err(|_| Doubtful)?;
        let len = |count: usize, width: usize| count.checked_mul(width).ok_or(Doubtful);
        let past = |at: u32, part: &[u8]| {
            u32::try_from(part.len()).ok().and_then(|len| at.checked_add(len)).ok_or(Doubtful)
        };
        let firsts = self.slice(start, len(count.div_ceil(BLOCK), K::WIDTH)?)?;
        let keys_at = past(start, firsts)?;
        let keys = self.slice(keys_at, len(count, K::WIDTH)?)?;
        Ok(Column { firsts, keys, rules: self.slice(past(keys_at, keys)?, len(count, 4)?)? })
    }
}

/// `at + index * width`.
pub(crate) fn offset(at: u32, index: u32, width: u32) -> Result<u32, Doubtful> {
    index.checked_mul(width).and_then(|by| at.checked_add(by)).ok_or(Doubtful)
}

/// So many keys of a column are one block.
pub(crate) const BLOCK: usize = 256;

/// Sorted keys, and the rule of each.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    /// The first key of each block.
    firsts: &'a [u8],
    keys: &'a [u8],
    rules: &'a [u8],
}

impl Column<'_> {
    /// The rule of exactly this key, or [`NONE`].
    pub(crate) fn exactly<K: Key>(self, key: K) -> Result<u32, Doubtful> {
        match self.last_up_to(key)? {
            Some(index) if K::read(self.keys, index) == Some(key) => self.rule(index),
            _ => Ok(NONE),
        }
    }

    /// The rule of the largest key that is not above `key`, or [`NONE`].
    pub(crate) fn covering<K: Key>(self, key: K) -> Result<u32, Doubtful> {
        self.last_up_to(key)?.map_or(Ok(NONE), |index| self.rule(index))
    }

    /// Where the largest key stands that is not above `key`.
    fn last_up_to<K: Key>(self, key: K) -> Result<Option<usize>, Doubtful> {
        let Some(block) = K::at_most(self.firsts, key).checked_sub(1) else { return Ok(None) };
        let start = block * BLOCK;
        let end = start.saturating_add(BLOCK).min(self.keys.len() / K::WIDTH);
        let keys = self.keys.get(start * K::WIDTH..end * K::WIDTH).ok_or(Doubtful)?;
        Ok((start + K::at_most(keys, key)).checked_sub(1))
    }

    fn rule(self, index: usize) -> Result<u32, Doubtful> {
        let (rules, _) = self.rules.as_chunks();
        rules.get(index).map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Doubtful)
    }
}

/// A number by which a column is sorted: an address, or the upper half of one.
pub(crate) trait Key: Copy + Ord + std::fmt::Debug {
    /// Bytes it takes.
    const WIDTH: usize;
    /// The next one, unless it is the largest.
    fn next(self) -> Option<Self>;
    /// This one with its lowest `bits` bits set.
    fn filled(self, bits: u32) -> Self;
    /// How many of the sorted `keys` are not above `key`.
    fn at_most(keys: &[u8], key: Self) -> usize;
    /// The key at `index`.
    fn read(keys: &[u8], index: usize) -> Option<Self>;
    /// Its bytes.
    fn write(self, to: &mut Vec<u8>);
}

macro_rules! key {
    ($type:ty, $width:literal) => {
        impl Key for $type {
            const WIDTH: usize = $width;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn filled(self, bits: u32) -> Self {
                self | <$type>::MAX.checked_shr(<$type>::BITS.saturating_sub(bits)).unwrap_or(0)
            }

            fn at_most(keys: &[u8], key: Self) -> usize {
                let (keys, _) = keys.as_chunks::<$width>();
                keys.partition_point(|bytes| <$type>::from_le_bytes(*bytes) <= key)
            }

            fn read(keys: &[u8], index: usize) -> Option<Self> {
                let (keys, _) = keys.as_chunks::<$width>();
                keys.get(index).map(|bytes| <$type>::from_le_bytes(*bytes))
            }

            fn write(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
        }
    };
}
key!(u32, 4);
key!(u64, 8);
key!(u128, 16);

#[cfg(test)]
mod tests {
    use super::*;

    fn image(pairs: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&8u32.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(pairs.len()).unwrap().to_le_bytes());
        pairs.iter().step_by(BLOCK).for_each(|pair| pair.0.write(&mut bytes));
        pairs.iter().for_each(|pair| pair.0.write(&mut bytes));
        pairs.iter().for_each(|pair| pair.1.write(&mut bytes));
        bytes
    }

    #[test]
    fn a_column_is_searched() {
        let bytes = image(&[(10, 1), (20, NONE), (30, 3)]);
        let column = Bytes::new(&bytes).column::<u32>(0).unwrap();
        for (key, exactly, covering) in
            [(9, NONE, NONE), (10, 1, 1), (19, NONE, 1), (20, NONE, NONE), (30, 3, 3), (u32::MAX, NONE, 3)]
        {
            assert_eq!(column.exactly(key), Ok(exactly), "{key}");
            assert_eq!(column.covering(key), Ok(covering), "{key}");
        }
        let none = image(&[]);
        assert_eq!(Bytes::new(&none).column::<u32>(0).unwrap().covering(7u32), Ok(NONE));
    }

    #[test]
    fn a_long_column_is_searched() {
        let count = u32::try_from(3 * BLOCK + 7).unwrap();
        for count in [count, 3 * 256, 256, 257, 255] {
            let pairs: Vec<_> = (0..count).map(|n| (10 * n + 5, n)).collect();
            let bytes = image(&pairs);
            let column = Bytes::new(&bytes).column::<u32>(0).unwrap();
            for n in 0..count {
                assert_eq!(column.exactly(10 * n + 5), Ok(n));
                assert_eq!(column.exactly(10 * n + 6), Ok(NONE));
                assert_eq!(column.covering(10 * n + 14), Ok(n));
                assert_eq!(column.covering(10 * n + 4), Ok(n.checked_sub(1).unwrap_or(NONE)));
            }
        }
    }

    #[test]
    fn whatever_lies_outside_is_doubtful() {
        let bytes = image(&[(10, 1), (20, 2)]);
        for len in 0..bytes.len() {
            let cut = Bytes::new(&bytes[..len]);
            assert!(cut.column::<u32>(0).is_err(), "{len}");
        }
        let bytes = Bytes::new(&bytes);
        assert!(bytes.column::<u128>(0).is_err());
        assert!(bytes.u32(u32::MAX).is_err());
        assert!(bytes.u64(u32::MAX - 3).is_err());
        assert!(bytes.word(4, u32::MAX).is_err());
        assert!(bytes.text(8).is_ok(), "10 bytes follow");
        assert!(bytes.text(16).is_err(), "20 do not");
    }

    #[test]
    fn the_lowest_bits_are_filled() {
        assert_eq!(0u32.filled(0), 0);
        assert_eq!(0x0a00_0000u32.filled(24), 0x0aff_ffff);
        assert_eq!(0u32.filled(32), u32::MAX);
        assert_eq!(1u128.filled(128), u128::MAX);
    }
}
