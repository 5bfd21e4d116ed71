//! Reading and writing an image's bytes: little-endian numbers, texts and sorted columns at offsets that nobody vouches for.
//! Whatever lies outside is [`Doubtful`], never a panic. Knows nothing of rules.

/// Something in the image lies outside of it or contradicts itself: the tables' text must be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubtful;

/// "No rule": larger than every rule's number, so that the smallest of several answers is the answer.
pub(crate) const NONE: u32 = u32::MAX;

/// An image that is not in memory as a whole.
pub trait Parts: std::fmt::Debug {
    /// How many bytes it has.
    fn size(&self) -> usize;

    /// `len` bytes at `at`; nothing if they are not there. What was given once is given again, the same.
    fn part(&self, at: usize, len: usize) -> Option<&[u8]>;
}

/// All bytes of an image.
#[derive(Clone, Copy)]
pub(crate) enum Bytes<'a> {
    /// In memory.
    Whole(&'a [u8]),
    /// Elsewhere; each part comes when it is asked for.
    Parts(&'a dyn Parts),
}

impl std::fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl<'a> Bytes<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Parts(parts) => parts.size(),
        }
    }

    /// `len` bytes at `at`.
    pub(crate) fn slice(self, at: u32, len: usize) -> Result<&'a [u8], Doubtful> {
        let start = usize::try_from(at).map_err(|_| Doubtful)?;
        match self {
            Self::Whole(bytes) => {
                let end = start.checked_add(len).ok_or(Doubtful)?;
                bytes.get(start..end).ok_or(Doubtful)
            }
            Self::Parts(parts) => parts.part(start, len).filter(|part| part.len() == len).ok_or(Doubtful),
        }
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

    /// A column of sorted keys with a rule's number for each; where the record at `at` says. First the first key of each
    /// [`BLOCK`], then the blocks: their keys, then their rules. So a search needs two places of the image.
    pub(crate) fn column<K: Key>(self, at: u32) -> Result<Column<'a>, Doubtful> {
        let (start, count) = (self.u32(at)?, self.word(at, 1)?);
        let blocks_at = offset(start, count.div_ceil(BLOCK), K::WIDTH)?;
        let end = usize::try_from(offset(blocks_at, count, K::WIDTH + 4)?).map_err(|_| Doubtful)?;
        if end > self.len() {
            return Err(Doubtful);
        }
        let firsts = self.slice(start, usize::try_from(blocks_at - start).map_err(|_| Doubtful)?)?;
        Ok(Column { bytes: self, firsts, blocks_at, count })
    }
}

/// `at + index * width`.
pub(crate) fn offset(at: u32, index: u32, width: u32) -> Result<u32, Doubtful> {
    index.checked_mul(width).and_then(|by| at.checked_add(by)).ok_or(Doubtful)
}

/// So many keys of a column are one block.
pub(crate) const BLOCK: u32 = 256;

/// Sorted keys, and the rule of each.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    bytes: Bytes<'a>,
    /// The first key of each block.
    firsts: &'a [u8],
    /// Where the first block is.
    blocks_at: u32,
    /// Keys.
    count: u32,
}

impl Column<'_> {
    /// The rule of exactly this key, or [`NONE`].
    pub(crate) fn exactly<K: Key>(self, key: K) -> Result<u32, Doubtful> {
        Ok(self.last_up_to(key)?.filter(|(found, _)| *found == key).map_or(NONE, |(_, rule)| rule))
    }

    /// The rule of the largest key that is not above `key`, or [`NONE`].
    pub(crate) fn covering<K: Key>(self, key: K) -> Result<u32, Doubtful> {
        Ok(self.last_up_to(key)?.map_or(NONE, |(_, rule)| rule))
    }

    /// The largest key that is not above `key`, and its rule.
    fn last_up_to<K: Key>(self, key: K) -> Result<Option<(K, u32)>, Doubtful> {
        let Some(block) = K::at_most(self.firsts, key).checked_sub(1) else { return Ok(None) };
        let first = u32::try_from(block).ok().and_then(|block| block.checked_mul(BLOCK)).ok_or(Doubtful)?;
        let count = self.count.checked_sub(first).ok_or(Doubtful)?.min(BLOCK);
        let len = usize::try_from(count.checked_mul(K::WIDTH + 4).ok_or(Doubtful)?).map_err(|_| Doubtful)?;
        let bytes = self.bytes.slice(offset(self.blocks_at, first, K::WIDTH + 4)?, len)?;
        let keys = usize::try_from(count * K::WIDTH).map_err(|_| Doubtful)?;
        let (keys, rules) = bytes.split_at_checked(keys).ok_or(Doubtful)?;
        // Only an image that contradicts itself has a block that begins later than it should.
        let Some(index) = K::at_most(keys, key).checked_sub(1) else { return Err(Doubtful) };
        match (K::read(keys, index), u32::read(rules, index)) {
            (Some(key), Some(rule)) => Ok(Some((key, rule))),
            _ => Err(Doubtful),
        }
    }
}

/// A number by which a column is sorted: an address, or the upper half of one.
pub(crate) trait Key: Copy + Ord + std::fmt::Debug {
    /// Bytes it takes.
    const WIDTH: u32;
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
            const WIDTH: u32 = $width;

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
        pairs.iter().step_by(256).for_each(|pair| pair.0.write(&mut bytes));
        for block in pairs.chunks(256) {
            block.iter().for_each(|pair| pair.0.write(&mut bytes));
            block.iter().for_each(|pair| pair.1.write(&mut bytes));
        }
        bytes
    }

    #[test]
    fn a_column_is_searched() {
        let bytes = image(&[(10, 1), (20, NONE), (30, 3)]);
        let column = Bytes::Whole(&bytes).column::<u32>(0).unwrap();
        for (key, exactly, covering) in
            [(9, NONE, NONE), (10, 1, 1), (19, NONE, 1), (20, NONE, NONE), (30, 3, 3), (u32::MAX, NONE, 3)]
        {
            assert_eq!(column.exactly(key), Ok(exactly), "{key}");
            assert_eq!(column.covering(key), Ok(covering), "{key}");
        }
        let none = image(&[]);
        assert_eq!(Bytes::Whole(&none).column::<u32>(0).unwrap().covering(7u32), Ok(NONE));
    }

    #[test]
    fn a_long_column_is_searched() {
        let count = 3 * BLOCK + 7;
        for count in [count, 3 * 256, 256, 257, 255] {
            let pairs: Vec<_> = (0..count).map(|n| (10 * n + 5, n)).collect();
            let bytes = image(&pairs);
            let column = Bytes::Whole(&bytes).column::<u32>(0).unwrap();
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
            let cut = Bytes::Whole(&bytes[..len]);
            assert!(cut.column::<u32>(0).is_err(), "{len}");
        }
        let bytes = Bytes::Whole(&bytes);
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
