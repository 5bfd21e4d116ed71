//! What stands in a file, as it is shared by its reader, its words, and whoever keeps it. Decides nothing but whether it is text.

use crate::text::Shared;
use std::rc::Rc;

/// What stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text: its words are parts of it.
    Text(Shared),
    /// Something else.
    Bytes(Rc<Vec<u8>>),
}

impl Content {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(not) => Self::Bytes(Rc::new(not.into_bytes())),
        }
    }
}
