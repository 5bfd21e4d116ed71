//! An inetd.conf as a sheet. The forms of the lines and what they come to are `inetd`'s; this puts the comments beside them.

use super::sheet::{Note, Piece, Said, Sheet, Stanza, plain};
use crate::inetd::{Aim, ItemKind, Lines, parse, sections};
use crate::place::Place;
use crate::text::Shared;

/// Reads a file. Never fails: what is no service is named in a note. `daemon_dir` is where tcpd looks for a server that is
/// named without a path.
pub fn from_inetd(file: &str, bytes: &[u8], daemon_dir: &str) -> Sheet {
    let file: Shared = file.into();
    let place = |lines: Lines| Place { file: file.clone(), line: lines.first, column: 0, length: 0 };
    let listing = parse(bytes);
    let mut notes = Vec::new();
    let mut sections = sections(&listing, Aim::File, daemon_dir, &mut notes).into_iter().peekable();
    let mut pieces = Vec::new();
    for item in &listing.items {
        match &item.kind {
            ItemKind::Blank => pieces.push(Piece::Blank),
            ItemKind::Comment(comment) => {
                let comment = comment.trim_start();
                pieces.push(Piece::Comment(plain(comment.strip_prefix('#').unwrap_or(comment))));
            }
            ItemKind::Address(address) => {
                let address = plain(address);
                pieces.push(Piece::Comment(format!(
                    " {address}: is the address of the services below that name none"
                )));
            }
            ItemKind::Policy(policy) => pieces.push(Piece::Comment(format!("@ {}", plain(policy)))),
            ItemKind::Broken { text, .. } => pieces.push(Piece::Lost(plain(text))),
            ItemKind::Service(_) | ItemKind::Off { .. } => {
                let off = matches!(item.kind, ItemKind::Off { .. });
                while let Some(section) = sections.next_if(|section| section.lines == item.lines) {
                    let Some(assignments) = section.assignments else {
                        pieces.push(Piece::Lost(plain(&section.name)));
                        continue;
                    };
                    let place = place(section.lines);
                    let said = assignments.into_iter().filter(|(name, _)| *name != "disable");
                    let said = said.map(|(name, value)| Said { name, value, place: place.clone() }).collect();
                    pieces.push(Piece::Service(Stanza { place, name: section.name, off, said }));
                }
            }
        }
    }
    let note = |note: crate::inetd::Note| Note {
        place: Some(place(note.lines)),
        service: None,
        about: None,
        lost: note.lost,
        text: note.text,
    };
    Sheet { pieces, notes: notes.into_iter().map(note).collect() }
}
