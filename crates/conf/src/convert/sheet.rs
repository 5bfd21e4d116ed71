//! What a configuration says, free of the language it was written in: the services with what holds for each of them
//! (`defaults` included), and the comments in their places. Data only.

use crate::place::Place;
use std::fmt::Write;

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// In the order in which it was read.
    pub pieces: Vec<Piece>,
    /// What is to be said of the reading.
    pub notes: Vec<Note>,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An empty line.
    Blank,
    /// A comment of one line, without its sign.
    Comment(String),
    /// A service.
    Service(Stanza),
    /// Something that is no service here, which a note explains: what it was.
    Lost(String),
}

/// A service: attributes of `attributes.rs` with the values that hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Where it was read.
    pub place: Place,
    /// The name, as behind `service`.
    pub name: String,
    /// It is switched off.
    pub off: bool,
    /// Its attributes, each once.
    pub said: Vec<Said>,
}

/// An attribute with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The attribute's name in the table.
    pub name: &'static str,
    /// The values, parted by blanks.
    pub value: String,
    /// The line that said it; of `defaults` too.
    pub place: Place,
}

/// What could not be carried over, or what a reader of the result must know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// Where.
    pub place: Option<Place>,
    /// Id of the service it is about.
    pub service: Option<String>,
    /// The attribute of portreeve, or the setting of the other language.
    pub about: Option<String>,
    /// Whether something is missing in the result (else the note only explains).
    pub lost: bool,
    /// What, and what to do about it.
    pub text: String,
}

impl Stanza {
    /// Its id: the name where none was set.
    pub fn id(&self) -> &str {
        self.get("id").unwrap_or(&self.name)
    }

    /// The values of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.said.iter().find(|said| said.name == name).map(|said| said.value.as_str())
    }

    /// Whether the words of an attribute hold this one; case does not count.
    pub fn has(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|value| value.split(' ').any(|held| held.eq_ignore_ascii_case(word)))
    }
}

impl Sheet {
    /// The services.
    pub fn stanzas(&self) -> impl Iterator<Item = &Stanza> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Service(stanza) => Some(stanza),
            _ => None,
        })
    }
}

/// Text of a file as a person may see it on a terminal, and as no second line.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            let _ = write!(plain, "\\x{:02x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}
