//! What the original writes to the system log while it evaluates, in its words; the world chooses where it goes.

use crate::table::{Place, Which};

/// One message. [`Message::line`] gives the original's line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// `warning: …`: never changes the verdict by itself. The bytes are the original's text.
    Warning(Option<Place>, Vec<u8>),
    /// `error: …`: an option that is wrong; the client is refused.
    Error(Option<Place>, Vec<u8>),
    /// `matched:  FILE line N`, with verbosity 2 and more.
    Matched(Place),
    /// `option:   KEY VALUE`, with verbosity 1 and more.
    Option(Vec<u8>, Vec<u8>),
}

impl Message {
    /// The line that the original writes to the log, with the tables' paths as `path` tells them. Its bytes are as they came:
    /// they must be escaped before they reach a log or a terminal.
    pub fn line<'a>(&self, path: impl Fn(Which) -> &'a [u8]) -> Vec<u8> {
        let placed = |kind: &[u8], place: &Option<Place>, text: &[u8]| match place {
            Some(place) => {
                let line = format!(", line {}: ", place.line);
                [kind, path(place.which), line.as_bytes(), text].concat()
            }
            None => [kind, text].concat(),
        };
        match self {
            Self::Warning(place, text) => placed(b"warning: ", place, text),
            Self::Error(place, text) => placed(b"error: ", place, text),
            Self::Matched(place) => {
                [b"matched:  ", path(place.which), format!(" line {}", place.line).as_bytes()].concat()
            }
            Self::Option(keyword, value) => [b"option:   ", keyword.as_slice(), b" ", value].concat(),
        }
    }
}
