//! Bytes to lines and words, each with its place. Decides what ends a line, what is a comment line and what separates
//! words, as xinetd does (reference xinetd §1.1); knows no keyword and no attribute.

use crate::ast::Word;
use crate::content::Content;
use crate::place::Place;
use crate::text::{Shared, Text};

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
    /// Where each line starts, and where the last one ends.
    starts: Vec<u32>,
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
    /// Where in the file it starts.
    start: u32,
    /// The first byte of it that is no white space; its length where there is none.
    pub(crate) indent: usize,
}

/// White space as isspace(3) has it in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Calls with the place of each line feed. Eight bytes at a time, since lines are short and files are long.
fn find_line_feeds(bytes: &[u8], mut found: impl FnMut(usize)) {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const FEEDS: u64 = 0x0a0a_0a0a_0a0a_0a0a;
    let (eights, rest) = bytes.as_chunks::<8>();
    for (index, eight) in eights.iter().enumerate() {
        let other = u64::from_le_bytes(*eight) ^ FEEDS;
        // The highest bit of each byte that is zero, and of no other.
        let mut zeros = !((other & LOW).wrapping_add(LOW) | other | LOW);
        while zeros != 0 {
            found(8 * index + zeros.trailing_zeros() as usize / 8);
            zeros &= zeros - 1;
        }
    }
    let before = bytes.len() - rest.len();
    rest.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').for_each(|(at, _)| found(before + at));
}

impl Source {
    /// Cuts a file into lines. A last line without a line end counts, an empty one after the last line end does not.
    pub(crate) fn new(name: &str, content: Content) -> Self {
        let bytes = content.bytes();
        let start = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut starts = Vec::with_capacity(2 + bytes.len() / USUAL_LINE);
        starts.push(narrow(start));
        find_line_feeds(bytes, |at| starts.push(narrow(at + 1)));
        if starts.last() != Some(&narrow(bytes.len())) {
            starts.push(narrow(bytes.len()));
        }
        // To the end, whatever comes: so it is done many bytes at a time.
        let odd = bytes.iter().fold(false, |odd, &byte| odd | (byte == b'\r') | (byte == 0));
        let mut source = Self {
            name: name.into(),
            byte_order_mark: start > 0,
            starts,
            carriage_returns: None,
            nul: None,
            content,
        };
        if odd {
            source.look_at_ends();
        }
        source
    }

    fn look_at_ends(&mut self) {
        let (mut returns, mut first_nul) = (None, None);
        for number in 1..=self.last_line() {
            let line = self.whole(number as usize - 1).unwrap_or_default();
            if line.last() == Some(&b'\r') {
                returns.get_or_insert((number, 0)).1 += 1;
            }
            if line.strip_suffix(b"\r").unwrap_or(line).contains(&0) {
                first_nul.get_or_insert(number);
            }
        }
        (self.carriage_returns, self.nul) = (returns, first_nul);
    }

    /// A line by its index from 0, up to its line feed.
    fn whole(&self, index: usize) -> Option<&[u8]> {
        let &[start, end] = self.starts.get(index..index + 2)? else { return None };
        let line = self.content.bytes().get(start as usize..end as usize)?;
        Some(line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// How many lines there are: the number of the last one.
    pub(crate) fn last_line(&self) -> u32 {
        narrow(self.starts.len().saturating_sub(1))
    }

    /// A line by its index from 0.
    pub(crate) fn line(&self, index: usize) -> Option<Line<'_>> {
        let mut text = self.whole(index)?;
        if self.carriage_returns.is_some() {
            text = text.strip_suffix(b"\r").unwrap_or(text);
        }
        if self.nul.is_some() {
            text = text.split(|&byte| byte == 0).next().unwrap_or(text);
        }
        Some(Line::new(narrow(index + 1), text, *self.starts.get(index)?))
    }

    /// The first byte of a line, by its number.
    pub(crate) fn start(&self, number: u32) -> Option<usize> {
        let index = number.checked_sub(1).filter(|_| number <= self.last_line())?;
        self.starts.get(index as usize).map(|&start| start as usize)
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
                let start = line.start as usize;
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
            let rest = line.text.get(at..)?;
            let start = at + rest.iter().position(|&byte| !is_separator(byte))?;
            let word = line.text.get(start..)?;
            at = start + word.iter().position(|&byte| is_separator(byte)).unwrap_or(word.len());
            Some(self.word(line, start, at))
        })
    }
}

impl<'a> Line<'a> {
    fn new(number: u32, text: &'a [u8], start: u32) -> Self {
        let indent = text.iter().position(|&byte| !is_space(byte)).unwrap_or(text.len());
        Self { number, text, start, indent }
    }

    /// A comment line or an empty one.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.get(self.indent).is_none_or(|&byte| byte == b'#')
    }

    /// A single `mark` and nothing else but white space.
    pub(crate) fn is_only(&self, mark: u8) -> bool {
        let visible = self.text.get(self.indent..).unwrap_or_default().split_first();
        visible.is_some_and(|(&first, rest)| first == mark && rest.iter().all(|&byte| is_space(byte)))
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
    fn a_line_feed_is_found_wherever_it_stands() {
        // Beside bytes that differ from it in one bit, that carry, and at every place of a group of eight.
        let all: Vec<u8> = (0..=255).flat_map(|byte| [byte, b'\n', 0x0b, 0x8a, byte, 0x09]).collect();
        for from in 0..9 {
            let mut found = Vec::new();
            find_line_feeds(&all[from..], |at| found.push(at));
            let wanted: Vec<usize> =
                (from..all.len()).filter(|&at| all[at] == b'\n').map(|at| at - from).collect();
            assert_eq!(found, wanted, "{from}");
        }
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
            assert_eq!(Line::new(1, text.as_bytes(), 0).is_only(b'}'), alone, "{text:?}");
        }
    }
}
