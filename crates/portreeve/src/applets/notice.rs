//! Where the predictors write: standard output, with every diagnostic inline at the moment it arises, as the manual of
//! TCP Wrappers promises (the programs of Debian 12 lose them to syslog; reference E3). Decides no wording but the
//! prefix, which names the file and line that is being read.

use std::io::{self, Write};

/// A place in a file, for the prefix of a diagnostic.
pub(super) type Context = (Vec<u8>, u32);

/// Standard output with its diagnostics. What is written to a terminal is escaped; to anything else it goes as it is.
pub(super) struct Notice<'a> {
    out: &'a mut dyn Write,
    terminal: bool,
    /// What is being read.
    pub context: Option<Context>,
    /// The first failure of the output: nothing is written after it.
    failed: Option<io::Error>,
}

impl<'a> Notice<'a> {
    /// Writes to `out`.
    pub(super) fn new(out: &'a mut dyn Write, terminal: bool) -> Self {
        Self { out, terminal, context: None, failed: None }
    }

    /// Writes a text as it is.
    pub(super) fn put(&mut self, text: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        let written = if self.terminal {
            let shown = crate::escape::bytes_of_lines(text);
            self.out.write_all(shown.as_bytes())
        } else {
            self.out.write_all(text)
        };
        self.failed = written.err();
    }

    /// Writes these parts and ends the line.
    pub(super) fn line(&mut self, parts: &[&[u8]]) {
        self.put(&[&parts.concat()[..], b"\n"].concat());
    }

    /// `warning: FILE, line N: …` with the present context.
    pub(super) fn warn(&mut self, parts: &[&[u8]]) {
        let context = self.context.take();
        self.tell("warning", context.as_ref(), parts);
        self.context = context;
    }

    /// A diagnostic of this kind with this context.
    pub(super) fn tell(&mut self, kind: &str, context: Option<&Context>, parts: &[&[u8]]) {
        let place = context.map(|(file, line)| [file, format!(", line {line}: ").as_bytes()].concat());
        let place = place.unwrap_or_default();
        self.line(&[kind.as_bytes(), b": ", &place, &parts.concat()]);
    }

    /// Lets everything out that was put, before something is written past it.
    pub(super) fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.out.flush().err();
        }
    }

    /// Ends the output: whether all of it was written.
    pub(super) fn end(self) -> io::Result<()> {
        match self.failed {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_names_what_is_being_read() {
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        notice.warn(&[b"x: ", b"host not found"]);
        notice.context = Some((b"hosts.allow".to_vec(), 3));
        notice.warn(&[b"%s\x1b"]);
        notice.end().unwrap();
        assert_eq!(sink, b"warning: x: host not found\nwarning: hosts.allow, line 3: %s\x1b\n");
    }

    #[test]
    fn a_terminal_gets_no_control_bytes() {
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, true);
        notice.line(&[b"a\x1b[2J\xffb\t"]);
        notice.end().unwrap();
        assert_eq!(sink, b"a\\x1b[2J\\xffb\t\n");
    }
}
