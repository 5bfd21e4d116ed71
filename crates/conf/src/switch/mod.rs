//! Switching an entry off or on where it stands in its file: which entries a file has, what they say of themselves, and
//! the bytes of the file with one of them switched. Changes nothing else of a file; writes nothing.

mod line;
mod section;

#[cfg(test)]
mod tests;

use crate::place::Place;
use std::ops::Range;

pub use line::of_inetd;
pub use section::of_xinetd;

/// An entry that can be switched off and on in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Name of the entry.
    pub name: String,
    /// Ids of its services: one of a section, one for each address of a line of inetd.conf.
    pub ids: Vec<String>,
    /// Its first line.
    pub place: Place,
    /// Whether the entry itself says that it is off.
    pub off: bool,
    means: Means,
}

/// Bytes of a file and what stands in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Patch {
    bytes: Range<usize>,
    by: Vec<u8>,
}

/// How an entry is switched.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Means {
    /// These patches of the file, to the other side of what it says now.
    Patches(Vec<Patch>),
    /// Not by us: a plain `#` before a line of inetd.conf is a person's.
    ByHand,
}

/// A line of `defaults` that names services which are served, or are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameList {
    /// `enabled` or `disabled`.
    pub attribute: &'static str,
    /// Where it stands.
    pub place: Place,
    /// Ids.
    pub ids: Vec<String>,
}

/// What a file of xinetd's language has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Its services, in the order of the file.
    pub entries: Vec<Switch>,
    /// The lists of its `defaults`.
    pub lists: Vec<NameList>,
}

impl Switch {
    /// Whether a person's own `#` says that it is off, which only a person takes away.
    pub fn by_hand(&self) -> bool {
        self.means == Means::ByHand
    }

    /// The file with this entry on the other side; `None` where a person's `#` says that it is off.
    /// `bytes` must be those that the entry was found in.
    pub fn switched(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Means::Patches(patches) = &self.means else { return None };
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let mut at = 0;
        for patch in patches {
            out.extend_from_slice(bytes.get(at..patch.bytes.start)?);
            out.extend_from_slice(&patch.by);
            at = patch.bytes.end;
        }
        out.extend_from_slice(bytes.get(at..)?);
        Some(out)
    }
}

/// The line that begins at `start`, without its line end, and the line end.
fn line_at(bytes: &[u8], start: usize) -> (&[u8], &[u8]) {
    let rest = bytes.get(start..).unwrap_or_default();
    let whole = rest.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    // A carriage return alone, where the file ends, is no line end.
    let text = whole.strip_suffix(b"\r\n").or_else(|| whole.strip_suffix(b"\n")).unwrap_or(whole);
    (text, whole.get(text.len()..).unwrap_or_default())
}
