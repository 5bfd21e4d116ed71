//! What a file says before it is known what it means: sections, assignments and inclusions, each word with its place.
//! Decides nothing. `Display` writes it back in a form that reads the same.

use crate::place::Place;
use crate::text::Text;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A word of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word. Bytes that are not UTF-8 are replaced.
    pub text: Text,
    /// Whether it was UTF-8.
    pub utf8: bool,
    /// Where it stands.
    pub place: Place,
}

/// How an assignment changes what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Set,
    /// `+=`
    Add,
    /// `-=`
    Remove,
}

impl Operator {
    /// As it is written.
    pub fn text(self) -> &'static str {
        match self {
            Self::Set => "=",
            Self::Add => "+=",
            Self::Remove => "-=",
        }
    }
}

/// A line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Name of the attribute, as written.
    pub name: Word,
    /// Operator.
    pub operator: Operator,
    /// Every word after the operator, a trailing comment included: whether there is one depends on the attribute.
    pub values: Given,
}

/// The words behind an operator: mostly one, which takes no memory of its own.
#[derive(Clone, Debug)]
pub enum Given {
    /// One.
    One(Word),
    /// Another number of them.
    Many(Vec<Word>),
}

impl Deref for Given {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

impl DerefMut for Given {
    fn deref_mut(&mut self) -> &mut [Word] {
        match self {
            Self::One(word) => std::slice::from_mut(word),
            Self::Many(words) => words,
        }
    }
}

impl FromIterator<Word> for Given {
    fn from_iter<T: IntoIterator<Item = Word>>(words: T) -> Self {
        let mut words = words.into_iter();
        match (words.next(), words.next()) {
            (Some(first), Some(second)) => Self::Many([first, second].into_iter().chain(words).collect()),
            (Some(only), None) => Self::One(only),
            (None, _) => Self::Many(Vec::new()),
        }
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Given {}

/// How a section came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its `}`.
    Closed,
    /// With `disable = yes`: the rest was skipped unread.
    SwitchedOff,
    /// With a syntax error or the end of the file.
    Broken,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first line.
    pub place: Place,
    /// The service's name; `None` for `defaults`.
    pub name: Option<Word>,
    /// Its lines.
    pub assignments: Vec<Assignment>,
    /// How it ended.
    pub end: End,
}

/// An inclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// `includedir` rather than `include`.
    pub directory: bool,
    /// The path.
    pub path: Word,
}

/// What stands at the top level of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `service` or `defaults`.
    Entry(Entry),
    /// `include` or `includedir`.
    Inclusion(Inclusion),
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// In the order of the file.
    pub items: Vec<Item>,
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\t{} {}", self.name.text, self.operator.text())?;
        self.values.iter().try_for_each(|value| write!(f, " {}", value.text))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => writeln!(f, "service {}", name.text)?,
            None => writeln!(f, "defaults")?,
        }
        writeln!(f, "{{")?;
        self.assignments.iter().try_for_each(|assignment| writeln!(f, "{assignment}"))?;
        writeln!(f, "}}")
    }
}

impl fmt::Display for Inclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", if self.directory { "includedir" } else { "include" }, self.path.text)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|item| match item {
            Item::Entry(entry) => entry.fmt(f),
            Item::Inclusion(inclusion) => inclusion.fmt(f),
        })
    }
}
