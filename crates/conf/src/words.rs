//! The words of a closed set that are set, as bits. Knows the tables of `type` and `flags`; decides nothing.

use crate::attributes::{FLAGS, TYPES};
use crate::draft::WordBits;
use std::fmt;

/// Words of `type` or `flags`, in xinetd's spelling and order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Words {
    bits: WordBits,
    of: Set,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Types,
    Flags,
}

impl Words {
    /// Words of `type`.
    pub(crate) fn types(bits: WordBits) -> Self {
        Self { bits, of: Set::Types }
    }

    /// Words of `flags`.
    pub(crate) fn flags(bits: WordBits) -> Self {
        Self { bits, of: Set::Flags }
    }

    /// The words.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        let table = match self.of {
            Set::Types => TYPES,
            Set::Flags => FLAGS,
        };
        table.iter().enumerate().filter(move |&(index, _)| self.bits.has(index)).map(|(_, &word)| word)
    }

    /// Whether this word is among them.
    pub fn contains(self, word: &str) -> bool {
        self.iter().any(|set| set == word)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// The words as one text.
    pub fn join(self, between: &str) -> String {
        self.iter().collect::<Vec<_>>().join(between)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq<Vec<&'static str>> for Words {
    fn eq(&self, other: &Vec<&'static str>) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{Flag, Type};

    #[test]
    fn words_come_in_the_order_of_the_table() {
        let mut bits = WordBits::default();
        assert!(Words::flags(bits).is_empty());
        bits.set(Type::Unlisted as usize, true);
        bits.set(Type::Rpc as usize, true);
        assert_eq!(Words::types(bits), vec!["RPC", "UNLISTED"]);
        assert_eq!(Words::types(bits).join(" "), "RPC UNLISTED");
        bits.set(Type::Rpc as usize, false);
        assert!(Words::types(bits).contains("UNLISTED") && !Words::types(bits).contains("RPC"));
        assert_ne!(Words::types(bits), Words::flags(bits));
        bits.set(Flag::Sensor as usize, true);
        assert!(Words::flags(bits).contains("SENSOR"));
    }
}
