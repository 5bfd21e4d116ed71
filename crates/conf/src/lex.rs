//! Bytes to lines and words, each with its place. Decides what ends a line, what is a comment line and what separates
//! words, as xinetd does (reference xinetd §1.1); knows no keyword and no attribute.

use crate::ast::Word;
use crate::content::Content;
use crate::place::Place;
use crate::text::{Shared, Text};
use std::io::BufRead;

/// The longest line that is read, in bytes. xinetd's own buffer breaks longer ones in two.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// Bytes of a line, rather too few, to begin with enough room for all.
const USUAL_LINE: usize = 12;

/// A file as it was read, cut into lines.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path as it was opened.
    pub(crate) name: Shared,
    content: Content,
    lines: Vec<(u32, u32)>,
    /// The file starts with a byte order mark, which is not read.
    pub(crate) byte_order_mark: bool,
    /// The first line that ends in CR LF, and how many do.
    pub(crate) carriage_returns: Option<(u32, usize)>,
    /// The first line that holds a NUL, which ends it.
    pub(crate) nul: Option<u32>,
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: u32,
    /// Up to the line end or the first NUL.
    pub(crate) text: &'a [u8],
}

/// White space as isspace(3) has it in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

impl Source {
    /// Cuts a file into lines. A last line without a line end counts, an empty one after the last line end does not.
    pub(crate) fn new(name: &str, content: Content) -> Self {
        let bytes = content.bytes();
        let start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut source = Self {
            name: name.into(),
            byte_order_mark: start > 0,
            lines: Vec::with_capacity(bytes.len() / USUAL_LINE),
            carriage_returns: None,
            nul: None,
            content: content.clone(),
        };
        let nul = bytes.contains(&0);
        let mut at = start;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let mut behind = rest;
            let length = behind.skip_until(b'\n').unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            source.add_line(line.strip_suffix(b"\n").unwrap_or(line), at, nul);
            at += length;
        }
        source
    }

    fn add_line(&mut self, line: &[u8], at: usize, nul: bool) {
        let number = u32::try_from(self.lines.len() + 1).unwrap_or(u32::MAX);
        let mut end = line.len();
        if line.last() == Some(&b'\r') {
            end -= 1;
            let (_, count) = self.carriage_returns.get_or_insert((number, 0));
            *count += 1;
        }
        if nul && let Some(nul) = line.iter().take(end).position(|&b| b == 0) {
            end = nul;
            self.nul.get_or_insert(number);
        }
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.lines.push((narrow(at), narrow(at + end)));
    }

    /// How many lines there are: the number of the last one.
    pub(crate) fn last_line(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// A line by its index from 0.
    pub(crate) fn line(&self, index: usize) -> Option<Line<'_>> {
        let &(start, end) = self.lines.get(index)?;
        let text = self.content.bytes().get(start as usize..end as usize)?;
        Some(Line { number: u32::try_from(index + 1).unwrap_or(u32::MAX), text })
    }

    /// The first byte of a line, by its number.
    pub(crate) fn start(&self, number: u32) -> Option<usize> {
        self.lines.get((number as usize).checked_sub(1)?).map(|&(start, _)| start as usize)
    }

    /// The line as text, for a person to look at; at most 512 bytes of it.
    pub(crate) fn shown(&self, number: u32) -> Option<String> {
        let line = self.line((number as usize).checked_sub(1)?)?;
        let cut = &line.text[..line.text.len().min(512)];
        Some(String::from_utf8_lossy(cut).into_owned())
    }

    /// A place in this file that means a whole line.
    pub(crate) fn place(&self, number: u32) -> Place {
        Place { file: self.name.clone(), line: number, column: 0, length: 0 }
    }

    /// The bytes `from..to` of a line as a word.
    pub(crate) fn word(&self, line: Line<'_>, from: usize, to: usize) -> Word {
        let narrow = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let place = Place {
            file: self.name.clone(),
            line: line.number,
            column: narrow(from + 1),
            length: narrow(to - from),
        };
        let (text, utf8) = match &self.content {
            Content::Text(text) => {
                let start = self.start(line.number).unwrap_or(0);
                (Text::part(text, start + from, start + to), true)
            }
            Content::Bytes(_) => {
                let bytes = line.text.get(from..to).unwrap_or_default();
                (String::from_utf8_lossy(bytes).into_owned().into(), std::str::from_utf8(bytes).is_ok())
            }
        };
        Word { text, utf8, place }
    }

    /// The words of a line from byte `from` on, separated by blanks and tabs.
    pub(crate) fn words(&self, line: Line<'_>, from: usize) -> impl Iterator<Item = Word> {
        let mut at = from;
        std::iter::from_fn(move || {
            while line.text.get(at).copied().is_some_and(is_separator) {
                at += 1;
            }
            let start = at;
            while line.text.get(at).copied().is_some_and(|b| !is_separator(b)) {
                at += 1;
            }
            (start < at).then(|| self.word(line, start, at))
        })
    }
}

impl Line<'_> {
    /// A comment line or an empty one.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.iter().copied().find(|&b| !is_space(b)).is_none_or(|b| b == b'#')
    }

    /// A single `mark` and nothing else but white space.
    pub(crate) fn is_only(&self, mark: u8) -> bool {
        let mut visible = self.text.iter().copied().filter(|&b| !is_space(b));
        visible.next() == Some(mark) && visible.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Vec<String> {
        let source = Source::new("f", bytes.to_vec().into());
        (0..).map_while(|i| source.line(i)).map(|l| String::from_utf8_lossy(l.text).into_owned()).collect()
    }

    #[test]
    fn lines_end_as_in_xinetd() {
        assert_eq!(texts(b""), Vec::<String>::new());
        assert_eq!(texts(b"a\nb"), ["a", "b"]);
        assert_eq!(texts(b"a\n\n"), ["a", ""]);
        assert_eq!(texts(b"a\r\nb\r"), ["a", "b"]);
        assert_eq!(texts(b"a\rb\n"), ["a\rb"]);
        assert_eq!(texts(b"a\0b\nc"), ["a", "c"]);
        assert_eq!(texts(b"\xef\xbb\xbfa"), ["a"]);
    }

    #[test]
    fn oddities_are_remembered_with_their_first_line() {
        let source = Source::new("f", b"\xef\xbb\xbfa\nb\r\nc\r\n\0".to_vec().into());
        assert!(source.byte_order_mark);
        assert_eq!(source.carriage_returns, Some((2, 2)));
        assert_eq!(source.nul, Some(4));
    }

    #[test]
    fn only_blanks_and_tabs_separate_words() {
        let source = Source::new("f", b" a\tb\x0bc  d ".to_vec().into());
        let words: Vec<Word> = source.words(source.line(0).unwrap(), 0).collect();
        assert_eq!(words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>(), ["a", "b\x0bc", "d"]);
        assert_eq!((words[2].place.column, words[2].place.length), (9, 1));
    }

    #[test]
    fn a_brace_stands_alone() {
        for (text, alone) in [("}", true), (" \t}\x0b", true), ("}}", false), ("} x", false), ("", false)] {
            assert_eq!(Line { number: 1, text: text.as_bytes() }.is_only(b'}'), alone, "{text:?}");
        }
    }
}
