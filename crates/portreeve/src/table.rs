//! Columns for people. Cells are escaped here, so that no caller can forget it.

use crate::escape;
use crate::output::{Output, Paint};
use std::io::{self, Write};

/// Bytes that are written at once.
const AT_ONCE: usize = 32 << 10;

/// A cell and its paint.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    paint: Paint,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: escape::text(text.as_ref()).into_owned(), paint: Paint::Plain }
    }
}

impl Cell {
    /// Characters.
    fn width(&self) -> usize {
        if self.text.is_ascii() { self.text.len() } else { self.text.chars().count() }
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

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it, indented by `indent` blanks.
    pub fn write(&self, out: &mut Output<'_>, indent: usize) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).chain([self.heading.len()]).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        let heading: Vec<Cell> = self.heading.iter().map(|h| Cell::painted(h, Paint::Dim)).collect();
        let with_heading = self.heading.iter().any(|h| !h.is_empty());
        for row in self.rows.iter().chain(with_heading.then_some(&heading)) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        // One write for many rows: standard output alone writes each line by itself.
        let mut line = String::new();
        for row in with_heading.then_some(&heading).into_iter().chain(&self.rows) {
            let last = row.iter().rposition(|cell| !cell.text.is_empty());
            line.extend(std::iter::repeat_n(' ', indent));
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if Some(at) > last {
                    break;
                }
                match cell.paint {
                    Paint::Plain => line.push_str(&cell.text),
                    paint => line.push_str(&out.paint(paint, &cell.text)),
                }
                if Some(at) < last {
                    line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
                }
            }
            line.push('\n');
            if line.len() >= AT_ONCE {
                out.write_all(line.as_bytes())?;
                line.clear();
            }
        }
        out.write_all(line.as_bytes())
    }
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
