//! Logical lines of a table (reference A2): joined at backslashes, at most [`MAX`] bytes, numbered by their last physical
//! line. Reads as the original's line buffer of 2048 bytes did, NUL bytes included. Knows nothing of what a line says.

use crate::scan::{first, first_of};

/// The longest logical line, in bytes without its newline; a longer one is as broken as one without a newline.
pub const MAX: usize = 2046;

/// A part of a joined line: where it begins in the line, and in the table.
#[derive(Clone, Copy, Debug)]
struct Piece {
    line: usize,
    source: usize,
}

/// One logical line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its text without its newline. Holds no NUL and no newline.
    pub text: &'a [u8],
    /// How many newlines of the table were read with it: the number of its last physical line, as messages give it.
    pub number: u32,
    /// Where it begins in the table, in bytes.
    pub start: usize,
    /// Where the next one begins.
    pub end: usize,
    /// False: no newline follows, or it is too long. For the evaluation the table ends here, in error.
    pub complete: bool,
    pieces: &'a [Piece],
}

impl Line<'_> {
    /// Nothing but space, tab, CR and LF.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.text.iter().all(|byte| is_blank(*byte))
    }

    /// `#` in its first column.
    #[must_use]
    pub fn is_comment(&self) -> bool {
        self.text.first() == Some(&b'#')
    }

    /// Where in the table the byte `at` of this line stands.
    #[must_use]
    pub fn source(&self, at: usize) -> usize {
        match self.pieces.iter().rev().find(|piece| piece.line <= at) {
            Some(piece) => piece.source + (at - piece.line),
            None => self.start + at,
        }
    }
}

/// A blank of the language: space, tab, CR, LF.
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The lines of a table, one after the other. Continues behind a line that is not complete, as `tcpdchk` does; an
/// evaluation must stop there.
#[derive(Clone, Debug)]
pub struct Lines<'t> {
    table: &'t [u8],
    /// Where the next line begins.
    at: usize,
    /// How many newlines were read.
    number: u32,
    longest: usize,
    /// The current line: where it begins, its length if it stands in the table as it is, and whether it is complete.
    start: usize,
    plain: Option<usize>,
    complete: bool,
    joined: Vec<u8>,
    pieces: Vec<Piece>,
}

impl<'t> Lines<'t> {
    /// The lines of `table`.
    #[must_use]
    pub fn new(table: &'t [u8]) -> Self {
        Self::with_longest(table, MAX)
    }

    /// The lines of another file with the same joining, each at most `longest` bytes without its newline (inetd.conf: 8190).
    #[must_use]
    pub fn with_longest(table: &'t [u8], longest: usize) -> Self {
        Self {
            table,
            at: 0,
            number: 0,
            longest,
            start: 0,
            plain: None,
            complete: false,
            joined: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// The next line; `None` at the end.
    #[expect(clippy::should_implement_trait, reason = "a line may borrow the buffer it was joined in")]
    pub fn next(&mut self) -> Option<Line<'_>> {
        self.advance().then(|| self.current())
    }

    /// Goes on to the next line; `false` at the end. For a loop that keeps a line, which [`Self::next`] cannot be used in.
    #[inline]
    pub fn advance(&mut self) -> bool {
        self.start = self.at;
        let rest = self.table.get(self.at..).unwrap_or_default();
        let window = rest.get(..=self.longest).unwrap_or(rest);
        // The common line: its newline comes first, nothing is to be joined, and it fits.
        if let Some(length) = first_of(window, b'\n', 0)
            && let Some((text, [b'\n', ..])) = window.split_at_checked(length)
            && text.last() != Some(&b'\\')
        {
            self.at += length + 1;
            self.number = self.number.saturating_add(1);
            self.plain = Some(length);
            self.complete = true;
            return true;
        }
        self.join()
    }

    /// The line that [`Self::advance`] went to.
    #[must_use]
    #[inline]
    pub fn current(&self) -> Line<'_> {
        let (text, pieces) = match self.plain {
            Some(length) => (self.table.get(self.start..self.start + length).unwrap_or_default(), &[][..]),
            None => (self.joined.as_slice(), self.pieces.as_slice()),
        };
        Line { text, number: self.number, start: self.start, end: self.at, complete: self.complete, pieces }
    }

    /// The next line, read as the original did: what fits into the rest of its buffer up to a newline, cut at a NUL
    /// (which takes the newline with it), until a newline is kept that has no backslash before it.
    #[cold]
    fn join(&mut self) -> bool {
        self.plain = None;
        self.complete = false;
        self.joined.clear();
        self.pieces.clear();
        while !self.complete {
            // The original's buffer: the longest line and its newline.
            let room = (self.longest + 1).saturating_sub(self.joined.len());
            let rest = self.table.get(self.at..).unwrap_or_default();
            let window = rest.get(..room).unwrap_or(rest);
            if window.is_empty() {
                break;
            }
            let physical = match first(window, b'\n') {
                Some(newline) => window.get(..=newline).unwrap_or(window),
                None => window,
            };
            let mut kept = physical.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Some(line) = kept.strip_suffix(b"\n") {
                self.number = self.number.saturating_add(1);
                kept = match line.strip_suffix(b"\\") {
                    Some(continued) => continued,
                    None => {
                        self.complete = true;
                        line
                    }
                };
            }
            // Of pieces without a byte the last will do: a file of backslashes must not become a list of them.
            self.pieces.pop_if(|piece| piece.line == self.joined.len());
            self.pieces.push(Piece { line: self.joined.len(), source: self.at });
            self.joined.extend_from_slice(kept);
            self.at += physical.len();
        }
        self.complete || !self.joined.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, MAX};

    fn all(table: &[u8]) -> Vec<(String, u32, bool)> {
        let mut lines = Lines::new(table);
        let mut all = Vec::new();
        while let Some(line) = lines.next() {
            all.push((line.text.escape_ascii().to_string(), line.number, line.complete));
        }
        all
    }

    fn line(text: &str, number: u32) -> (String, u32, bool) {
        (text.to_owned(), number, true)
    }

    fn broken(text: &str, number: u32) -> (String, u32, bool) {
        (text.to_owned(), number, false)
    }

    #[test]
    fn lines_are_joined_at_backslashes_and_numbered_by_their_last() {
        assert_eq!(all(b"a\nb\\\nc\n\nd\n"), [line("a", 1), line("bc", 3), line("", 4), line("d", 5)]);
        assert_eq!(all(b"a\\\\\nb\n"), [line("a\\\\b", 2)]);
        assert_eq!(all(b"a\\ \nb\\\r\n"), [line("a\\\\ ", 1), line("b\\\\\\r", 2)]);
        assert_eq!(all(b"a\n\\\n"), [line("a", 1)]);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_line_without_newline_is_broken_and_not_counted() {
        assert_eq!(all(b"a"), [broken("a", 0)]);
        assert_eq!(all(b"a\nb"), [line("a", 1), broken("b", 1)]);
        assert_eq!(all(b"\\"), [broken("\\\\", 0)]);
    }

    #[test]
    fn a_nul_takes_the_rest_of_its_line_with_the_newline() {
        assert_eq!(all(b"d: 1.2.3\0x\n.4\n"), [line("d: 1.2.3.4", 1)]);
        assert_eq!(all(b"\0d: ALL\n"), []);
        assert_eq!(all(b"a\0\n"), [broken("a", 0)]);
    }

    #[test]
    fn too_long_is_beyond_2046_bytes() {
        let long = |length: usize| [vec![b'x'; length], b"\ny\n".to_vec()].concat();
        assert_eq!(all(&long(MAX)).first().map(|line| line.2), Some(true));
        let over = all(&long(MAX + 1));
        assert_eq!(over.first().map(|line| (line.0.len(), line.1, line.2)), Some((MAX + 1, 0, false)));
        assert_eq!(over.last(), Some(&line("y", 2)));
    }

    #[test]
    fn offsets_lead_back_into_the_table() {
        let mut lines = Lines::new(b"a\nbc\\\nde\n");
        let first = lines.next().unwrap();
        assert_eq!((first.start, first.end, first.source(0)), (0, 2, 0));
        let second = lines.next().unwrap();
        assert_eq!((second.start, second.end), (2, 9));
        assert_eq!([0, 1, 2, 3].map(|at| second.source(at)), [2, 3, 6, 7]);
    }

    #[test]
    fn a_line_of_backslashes_takes_no_room() {
        let mut lines = Lines::new(b"a\\\n\\\n\\\n\\\nb\n");
        let line = lines.next().unwrap();
        assert_eq!((line.text, line.number, line.pieces.len()), (&b"ab"[..], 5, 2));
        assert_eq!([0, 1].map(|at| line.source(at)), [0, 9]);
    }
}
