//! Where a word stands: file, line and column. Owns no text.

use crate::text::Shared;
use std::fmt;

/// A position in a configuration file. Lines and columns count from 1; column 0 means the whole line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The path as it was opened.
    pub file: Shared,
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1; 0 when the line as a whole is meant. Lines that are longer than this can say are not read.
    pub column: u16,
    /// Length in bytes of what is meant; 0 when the line as a whole is meant.
    pub length: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.column == 0 {
            write!(f, "{}:{}", self.file, self.line)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}
