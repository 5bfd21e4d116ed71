//! The digest of a baseline's files: which algorithms there are, and their words. Reads no file.

use ring::digest::{Context, SHA256, SHA512};

/// An algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Hash {
    #[default]
    Sha256,
    /// The first half: what other programs' databases are compared with.
    Sha512,
    /// By choice: as strong, and faster where the processor has no instructions for SHA-256.
    Blake3,
}

impl Hash {
    /// All, with their word in a baseline and in reports.
    pub const ALL: [(Hash, &'static str); 3] =
        [(Hash::Sha256, "sha256"), (Hash::Sha512, "sha512"), (Hash::Blake3, "blake3")];

    /// The word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(hash, _)| *hash == self).map_or("?", |(_, word)| word)
    }

    /// The algorithm of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == word).map(|(hash, _)| *hash)
    }

    /// Begins a digest.
    pub fn begin(self) -> Hasher {
        match self {
            Hash::Sha256 => Hasher::Ring(Context::new(&SHA256)),
            Hash::Sha512 => Hasher::Ring(Context::new(&SHA512)),
            Hash::Blake3 => Hasher::Blake3(Box::default()),
        }
    }

    /// The digest of these bytes.
    pub fn once(self, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = self.begin();
        hasher.update(bytes);
        hasher.finish()
    }
}

/// A digest under way.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each thread, on its stack; a box for each file would cost more"
)]
pub enum Hasher {
    /// By ring.
    Ring(Context),
    /// By the crate of its authors; two KiB, so not in place.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// What comes next.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Ring(context) => context.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The first 32 bytes of the digest.
    pub fn finish(self) -> [u8; 32] {
        let mut first = [0; 32];
        match self {
            Hasher::Ring(context) => {
                first.copy_from_slice(context.finish().as_ref().get(..32).unwrap_or(&[0; 32]));
            }
            Hasher::Blake3(hasher) => first = *hasher.finalize().as_bytes(),
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::entry::hex;

    #[test]
    fn digests_are_those_of_the_standards() {
        for (hash, expected) in [
            (Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Hash::Sha512, "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"),
            (Hash::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ] {
            assert_eq!(hex(&hash.once(b"abc")), expected);
            assert_eq!(Hash::of(hash.word()), Some(hash));
        }
        assert_eq!(Hash::of("md5"), None);
    }
}
