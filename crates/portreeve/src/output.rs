//! Standard output with what is known about it: colour and width. Decides when colour is used.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

/// Where a command writes. `write!` works on it; errors end the command.
pub struct Output<'a> {
    writer: &'a mut dyn Write,
    /// Whether colour and other attributes may be used.
    pub colour: bool,
    /// Whether a person looks on: only a terminal gets progress and hints.
    pub terminal: bool,
}

/// Foreground attributes that the commands use. Colour is never the only carrier of a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Paint {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
    /// Black on white, whatever the terminal's own colours are: what a camera reads.
    Paper,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Dim => "\x1b[2m",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
            Self::Paper => "\x1b[30;107m",
        }
    }

    /// The text in this paint, where colour is wanted. The text must already be escaped.
    pub fn on(self, text: &str, colour: bool) -> Cow<'_, str> {
        if !colour || self == Paint::Plain {
            return Cow::Borrowed(text);
        }
        Cow::Owned(format!("{}{text}\x1b[0m", self.code()))
    }
}

impl<'a> Output<'a> {
    /// Output to anything that is no terminal.
    pub fn plain(writer: &'a mut dyn Write) -> Self {
        Self { writer, colour: false, terminal: false }
    }

    /// The process's standard output. Colour: only on a terminal that is not `dumb`, and not when NO_COLOR is set to
    /// anything but the empty string.
    pub fn standard(writer: &'a mut dyn Write) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { writer, colour: terminal && colour_wanted(|name| std::env::var_os(name)), terminal }
    }

    /// The text in a paint, or as it is where colour is not wanted. The text must already be escaped.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        paint.on(text, self.colour).into_owned()
    }

    /// A JSON answer, escaped, with its line end.
    pub fn json(&mut self, value: &serde_json::Value) -> io::Result<()> {
        writeln!(self.writer, "{}", crate::escape::json(value))
    }

    /// The same in one line.
    pub fn json_line(&mut self, value: &serde_json::Value) -> io::Result<()> {
        writeln!(self.writer, "{}", crate::escape::json_line(value))
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Running text in lines of at most `width` characters, broken at blanks; a longer word has its own line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn colour_wanted(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    variable("NO_COLOR").is_none_or(|value| value.is_empty())
        && variable("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn no_color_is_obeyed() {
        let with = |set: &'static [(&str, &str)]| {
            colour_wanted(move |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
        };
        assert!(with(&[]));
        assert!(with(&[("NO_COLOR", "")]));
        assert!(!with(&[("NO_COLOR", "1")]));
        assert!(!with(&[("TERM", "dumb")]));
    }

    #[test]
    fn text_is_wrapped_at_blanks() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("endlessword", 3), ["endlessword"]);
    }

    #[test]
    fn plain_output_has_no_attributes() {
        let mut sink = Vec::new();
        let out = Output::plain(&mut sink);
        assert_eq!(out.paint(Paint::Red, "x"), "x");
    }
}
