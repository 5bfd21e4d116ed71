//! The bytes of a question that the machine was asked, as they are written down and handed over. Knows no answer.

use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The kinds of questions. A number is never given another meaning: a former version may have written it.
pub mod kind {
    pub const READ: u8 = 1;
    pub const DIRECTORY: u8 = 2;
    pub const IS_DIRECTORY: u8 = 3;
    pub const EXECUTABLE: u8 = 4;
    pub const USER: u8 = 5;
    pub const USER_BY_ID: u8 = 6;
    pub const GROUP: u8 = 7;
    pub const GROUPS_OF: u8 = 8;
    pub const PORT: u8 = 9;
    pub const PROTOCOL: u8 = 10;
    pub const RPC: u8 = 11;
    pub const ADDRESSES: u8 = 12;
    pub const NETWORK: u8 = 13;
    pub const VARIABLE: u8 = 14;
    pub const TABLES: u8 = 15;
    pub const LINK: u8 = 16;
}

/// Whether a question is one for the name service.
pub fn of_names(kind: u8) -> bool {
    use kind::{ADDRESSES, GROUP, GROUPS_OF, NETWORK, PORT, PROTOCOL, RPC, USER, USER_BY_ID};
    [USER, USER_BY_ID, GROUP, GROUPS_OF, PORT, PROTOCOL, RPC, ADDRESSES, NETWORK].contains(&kind)
}

/// The bytes of a question. Each service asks several that were asked before: most take no memory of the heap.
#[derive(Debug)]
pub enum Key {
    /// With so many bytes of it in use.
    Short([u8; SHORT], usize),
    /// Whatever is longer.
    Long(Vec<u8>),
}

const SHORT: usize = 120;

impl Key {
    fn push(&mut self, more: &[u8]) {
        if let Self::Short(bytes, length) = self {
            if let Some(room) = bytes.get_mut(*length..*length + more.len()) {
                room.copy_from_slice(more);
                *length += more.len();
                return;
            }
            *self = Self::Long(self.to_vec());
        }
        if let Self::Long(bytes) = self {
            bytes.extend_from_slice(more);
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(bytes, length) => bytes.get(..*length).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

/// As `to_bytes(&(words, number))` behind the kind.
pub fn question(kind: u8, words: &[&[u8]], number: u32) -> Key {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut key = Key::Short([0; SHORT], 0);
    key.push(&[kind]);
    key.push(&length(words.len()));
    for word in words {
        key.push(&length(word.len()));
        key.push(word);
    }
    key.push(&number.to_le_bytes());
    key
}

/// Of a question about a path.
pub fn of_path(kind: u8, path: &Path) -> Key {
    question(kind, &[path.as_os_str().as_bytes()], 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_handover::{Bytes, to_bytes};

    #[test]
    fn a_question_reads_as_a_former_version_wrote_it() {
        let words = vec![Bytes(b"ab".to_vec()), Bytes(Vec::new())];
        assert_eq!(*question(7, &[b"ab", b""], 9), *[&[7][..], &to_bytes(&(words, 9u32))].concat());
        for length in [90, 106, 107, 108, 109, 110, 111, 112, 500] {
            let word = vec![b'x'; length];
            let words = (vec![Bytes(word.clone())], 9u32);
            assert_eq!(*question(7, &[&word], 9), *[&[7][..], &to_bytes(&words)].concat(), "{length}");
        }
    }
}
