//! Words of files without copies of their own: a part of a text that is shared. Knows nothing of what the words mean.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A text that many share, by one address.
#[derive(Clone, Eq)]
pub struct Shared(Rc<Box<str>>);

impl Deref for Shared {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<T: Into<Box<str>>> From<T> for Shared {
    fn from(text: T) -> Self {
        Self(Rc::new(text.into()))
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// A part of a shared text: a word of a file holds on to the text of the file, and takes no memory of its own.
#[derive(Clone)]
pub struct Text {
    of: Shared,
    from: u32,
    to: u32,
}

impl Text {
    /// The bytes `from..to`; empty where that is no part of the text.
    pub(crate) fn part(of: &Shared, from: usize, to: usize) -> Self {
        match (u32::try_from(from), u32::try_from(to)) {
            (Ok(from), Ok(to)) => Self { of: of.clone(), from, to },
            _ => Self::from(of.get(from..to).unwrap_or_default()),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.of.get(self.from as usize..self.to as usize).unwrap_or_default()
    }

    /// What stands behind the last slash; all where there is none.
    pub(crate) fn basename(&self) -> Self {
        let behind = self.bytes().rposition(|byte| byte == b'/').map_or(0, |at| at + 1);
        Self { from: self.from + u32::try_from(behind).unwrap_or(0), ..self.clone() }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl<T: Into<Box<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        let of = Shared::from(text);
        let to = u32::try_from(of.len()).unwrap_or(u32::MAX);
        Self { of, from: 0, to }
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> Self {
        text.as_str().to_owned()
    }
}

impl AsRef<std::ffi::OsStr> for Text {
    fn as_ref(&self) -> &std::ffi::OsStr {
        self.as_str().as_ref()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// A word without regard to case, as those of the language are compared.
#[derive(Clone, Copy, Debug)]
pub struct Caseless<T>(pub T);

impl<T: Deref<Target: AsRef<str>>> PartialEq for Caseless<T> {
    fn eq(&self, other: &Self) -> bool {
        (*self.0).as_ref().eq_ignore_ascii_case((*other.0).as_ref())
    }
}

impl<T: Deref<Target: AsRef<str>>> Eq for Caseless<T> {}

impl<T: Deref<Target: AsRef<str>>> Hash for Caseless<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // In pieces: the hasher is slow about single bytes, and most words are no longer than one.
        let mut piece = [0; 32];
        for part in (*self.0).as_ref().as_bytes().chunks(piece.len()) {
            let lower = &mut piece[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_bytes_that_were_named_and_takes_sixteen() {
        let of = Shared::from("service ä /usr/bin/x");
        assert_eq!(Text::part(&of, 0, 7), "service");
        assert_eq!(Text::part(&of, 8, 10), "ä");
        assert_eq!(Text::part(&of, 8, 9), "", "half a character");
        assert_eq!(Text::part(&of, 20, 99), "");
        assert_eq!(Text::part(&of, 11, 21).basename(), "x");
        assert_eq!(Text::from("x").basename(), "x");
        assert_eq!(Text::from("x/").basename(), "");
        assert_eq!(size_of::<Text>(), 16);
    }
}
