//! A file's bytes with the way from an offset to a physical line and column. Decides nothing about rules.

use crate::lines::Line;

/// A file.
pub(super) struct Source<'a> {
    text: &'a [u8],
    /// Where each physical line begins.
    starts: Vec<usize>,
}

/// A place in the file: a span that does not leave its physical line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot<'a> {
    /// Physical line, from 1; 0 for the file as a whole.
    pub number: u32,
    /// Column in bytes, from 1.
    pub column: u32,
    /// Length in bytes.
    pub length: u32,
    /// The physical line without its newline.
    pub line: &'a [u8],
    /// Whether the span was cut because it goes on in another physical line.
    pub cut: bool,
}

/// The file as a whole.
pub(super) const WHOLE: Spot<'static> = Spot { number: 0, column: 0, length: 0, line: b"", cut: false };

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let after = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after).collect() }
    }

    /// Where `length` bytes from offset `at` stand.
    pub(super) fn spot(&self, at: usize, length: usize) -> Spot<'a> {
        let number = self.starts.partition_point(|start| *start <= at);
        let start = number.checked_sub(1).and_then(|index| self.starts.get(index)).copied().unwrap_or(0);
        let end = self.starts.get(number).map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end).unwrap_or_default();
        let column = at.min(end) - start;
        let within = length.min(line.len() - column);
        Spot {
            number: small(number),
            column: small(column + 1),
            length: small(within),
            line,
            cut: within < length,
        }
    }

    /// Where `length` bytes from `at` of a logical line stand.
    pub(super) fn within(&self, line: &Line<'_>, at: usize, length: usize) -> Spot<'a> {
        let from = line.source(at);
        let last = line.source(at + length.saturating_sub(1));
        let mut spot = self.spot(from, (last + 1).saturating_sub(from).max(length));
        spot.cut |= last + 1 != from + length.max(1);
        spot
    }

    /// The number of the physical line that holds an offset.
    pub(super) fn number(&self, at: usize) -> u32 {
        small(self.starts.partition_point(|start| *start <= at))
    }

    /// The physical lines of a logical one, with the offsets where they begin.
    pub(super) fn physical<'s>(
        &'s self,
        line: &Line<'_>,
    ) -> impl Iterator<Item = (usize, &'a [u8])> + use<'s, 'a> {
        let first = self.starts.partition_point(|start| *start < line.start);
        let last = self.starts.partition_point(|start| *start < line.end).max(first + 1);
        let starts = self.starts.get(first..last.min(self.starts.len())).unwrap_or_default();
        starts.iter().map(|start| (*start, self.spot(*start, 0).line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    #[test]
    fn a_joined_word_is_found_again() {
        let text = b"# c\nd: one, \\\n  two \\\n\tthree\nAL\\\nL: x";
        let source = Source::new(text);
        let mut lines = Lines::new(text);
        lines.next();
        let line = lines.next().unwrap();
        for (word, number, column) in [("one", 2, 4), ("two", 3, 3), ("three", 4, 2)] {
            let at = line.text.windows(word.len()).position(|w| w == word.as_bytes()).unwrap();
            let spot = source.within(&line, at, word.len());
            assert_eq!((spot.number, spot.column, spot.length as usize), (number, column, word.len()));
            assert!(!spot.cut);
        }
        assert_eq!(source.physical(&line).map(|(at, _)| at).collect::<Vec<_>>(), [4, 14, 22]);
        let line = lines.next().unwrap();
        let spot = source.within(&line, 0, 3);
        assert_eq!((spot.number, spot.column, spot.length, spot.cut), (5, 1, 3, true));
        assert_eq!(source.within(&line, 3, 1).number, 6);
        assert_eq!(source.spot(999, 9).length, 0);
    }
}
