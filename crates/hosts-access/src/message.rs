//! What the original writes to the system log while it evaluates, in its words; the world chooses where it goes.

use crate::table::Place;

/// One message. `Display` gives the original's text without the `FILE, line N: ` that belongs to `place`.
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
