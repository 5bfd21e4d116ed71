//! Columns for people. Cells are escaped here, so that no caller can forget it.

use crate::escape;
use crate::output::{Output, Paint};
use portreeve_audit::share;
use std::borrow::Cow;
use std::io::{self, Write};

/// Rows that are made into text at once.
const AT_ONCE: usize = 1 << 14;

/// A cell and its paint.
#[derive(Clone, Debug)]
pub struct Cell {
    text: Cow<'static, str>,
    paint: Paint,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: escape::text(text.as_ref()).into_owned().into(), paint: Paint::Plain }
    }
}

impl Cell {
    /// Characters.
    fn width(&self) -> usize {
        if self.text.is_ascii() { self.text.len() } else { self.text.chars().count() }
    }

    /// A text that is known to be plain.
    pub fn fixed(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), paint: Paint::Plain }
    }

    /// A cell of a text of its own.
    pub fn of(text: String) -> Self {
        let escaped = match escape::text(&text) {
            Cow::Owned(other) => Some(other),
            Cow::Borrowed(_) => None,
        };
        Self { text: Cow::Owned(escaped.unwrap_or(text)), paint: Paint::Plain }
    }

    /// A cell with a paint.
    pub fn painted(text: impl AsRef<str>, paint: Paint) -> Self {
        Self { paint, ..Self::from(text) }
    }
}

/// Rows under a heading, aligned to the left; the last column is as long as it is.
#[derive(Debug)]
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings; empty headings give a table without a heading line.
    pub fn new(heading: &[&'static str]) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds many.
    pub fn rows(&mut self, rows: Vec<Vec<Cell>>) {
        self.rows.extend(rows);
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it, indented by `indent` blanks.
    pub fn write(&self, out: &mut Output<'_>, indent: usize) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).chain([self.heading.len()]).max().unwrap_or(0);
        let mut widths: Vec<usize> = vec![0; columns];
        let heading: Vec<Cell> = self.heading.iter().map(|h| Cell::painted(h, Paint::Dim)).collect();
        let with_heading = self.heading.iter().any(|h| !h.is_empty());
        for row in self.rows.iter().chain(with_heading.then_some(&heading)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        // One write for many rows: standard output alone writes each line by itself.
        if with_heading {
            out.write_all(lines(std::slice::from_ref(&heading), &widths, out.colour, indent).as_bytes())?;
        }
        let (colour, widths) = (out.colour, &widths);
        for rows in self.rows.chunks(AT_ONCE) {
            for piece in share::pieces(rows, |rows| lines(rows, widths, colour, indent)) {
                out.write_all(piece.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Rows as text.
fn lines(rows: &[Vec<Cell>], widths: &[usize], colour: bool, indent: usize) -> String {
    let likely: usize = indent + widths.iter().map(|width| width + 2).sum::<usize>();
    let mut text = String::with_capacity(rows.len() * likely.min(256));
    for row in rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty());
        text.extend(std::iter::repeat_n(' ', indent));
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            if Some(at) > last {
                break;
            }
            text.push_str(&cell.paint.on(&cell.text, colour));
            if Some(at) < last {
                text.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["name", "address"]);
        table.row(vec!["a".into(), "[::]:7".into()]);
        table.row(vec!["long\x1bname".into()]);
        let mut sink = Vec::new();
        table.write(&mut Output::plain(&mut sink), 2).unwrap();
        let text = String::from_utf8(sink).unwrap();
        assert_eq!(text, "  name          address\n  a             [::]:7\n  long\\x1bname\n");
    }
}
