//! The two tables, each in the form in which it is at hand.

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// `hosts.allow`, read first: a match grants.
    Allow,
    /// `hosts.deny`: a match refuses.
    Deny,
}

/// Where a rule stands. The line is that of the last physical line of a rule that is continued (reference A2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The table.
    pub which: Which,
    /// The line, from 1; 0 for an unterminated first line, as the original counts.
    pub line: u32,
}

/// What is known of a table's file.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// There is no such file (or it is a directory): a table without rules.
    Missing,
    /// The file is there and cannot be opened: no rules in `hosts.allow`, everybody refused by `hosts.deny`. The system's word.
    Unreadable(&'a str),
    /// Its bytes, walked line by line.
    Text(&'a [u8]),
    /// Its compiled form, with the text for what that cannot answer.
    Compiled(crate::image::Compiled<'a>),
}

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Its path, as messages name it.
    pub path: &'a [u8],
    /// Its rules.
    pub content: Content<'a>,
}

/// Both tables, of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// `hosts.allow`.
    pub allow: Table<'a>,
    /// `hosts.deny`.
    pub deny: Table<'a>,
}
