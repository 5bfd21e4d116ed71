//! A sheet in xinetd's language, which is portreeve's own: whatever a sheet holds has its place there.

use super::sheet::{Piece, Sheet, Stanza};
use std::fmt::Write;

/// The text of a file that `service` sections are read from.
pub fn to_xinetd(sheet: &Sheet) -> String {
    let mut text = String::new();
    for piece in &sheet.pieces {
        match piece {
            Piece::Blank => text.push('\n'),
            Piece::Comment(comment) => {
                let _ = writeln!(text, "#{comment}");
            }
            Piece::Lost(what) => {
                let _ = writeln!(text, "# not carried over: {what}");
            }
            Piece::Service(stanza) => section(&mut text, stanza),
        }
    }
    text
}

fn section(text: &mut String, stanza: &Stanza) {
    if text.ends_with("}\n") {
        text.push('\n');
    }
    let _ = writeln!(text, "service {}\n{{", stanza.name);
    for said in &stanza.said {
        let _ = writeln!(text, "\t{:<15} = {}", said.name, said.value);
    }
    if stanza.off {
        let _ = writeln!(text, "\t{:<15} = yes", "disable");
    }
    text.push_str("}\n");
}
