//! Lists of patterns and EXCEPT (reference A4). Knows how tokens are cut and combined, not what they match.

use crate::marks::{MARKS, SEPARATOR};
use crate::truth::Truth;

/// A word of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Where it begins in the list, in bytes.
    pub at: usize,
    /// Its text; never empty.
    pub text: &'a [u8],
    /// Which rules can apply to it.
    pub(crate) marks: u8,
}

impl Token<'_> {
    /// EXCEPT, in any case.
    #[must_use]
    pub fn is_except(&self) -> bool {
        self.text.len() == 6 && self.text.eq_ignore_ascii_case(b"EXCEPT")
    }
}

/// Space, tab, CR, LF or comma: what separates the words of a list.
#[must_use]
pub const fn is_separator(byte: u8) -> bool {
    MARKS[byte as usize] & SEPARATOR != 0
}

/// The words of a list.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    list: &'a [u8],
    at: usize,
}

/// The words of `list`, EXCEPT among them.
#[must_use]
pub fn tokens(list: &[u8]) -> Tokens<'_> {
    Tokens { list, at: 0 }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let rest = self.list.get(self.at..)?;
        let skipped = rest.iter().position(|byte| !is_separator(*byte))?;
        let word = rest.get(skipped..)?;
        let mut marks = 0;
        let mut length = word.len();
        for (place, byte) in word.iter().enumerate() {
            let mark = MARKS[usize::from(*byte)];
            if mark & SEPARATOR != 0 {
                length = place;
                break;
            }
            marks |= mark;
        }
        let at = self.at + skipped;
        self.at = at + length;
        Some(Token { at, text: word.get(..length)?, marks })
    }
}

/// Whether a list matches, `one` telling it of one word: `T1 T2 EXCEPT rest` is some `Ti` and not the rest, where the rest
/// is a list of the same kind. Words behind the first match and parts behind one without a match are not looked at.
///
/// # Errors
/// Those of `one`, at once.
#[inline]
pub fn matches<'a, E>(
    list: &'a [u8],
    mut one: impl FnMut(Token<'a>) -> Result<Truth, E>,
) -> Result<Truth, E> {
    // v = s1 ∧ ¬(s2 ∧ ¬(s3 …)) without recursion, so that 10,000 EXCEPT cost no stack: `outcome` tells what the whole list
    // comes to if the rest from here on is no, unknown or yes.
    let mut outcome = [Truth::No, Truth::Unknown, Truth::Yes];
    let of = |outcome: [Truth; 3], rest: Truth| match rest {
        Truth::No => outcome[0],
        Truth::Unknown => outcome[1],
        Truth::Yes => outcome[2],
    };
    let mut words = tokens(list);
    let mut first = true;
    loop {
        let mut part = Truth::No;
        let mut more = false;
        for word in words.by_ref() {
            if word.is_except() {
                more = true;
                break;
            }
            if part != Truth::Yes {
                part = part.or(one(word)?);
            }
        }
        if !more && first {
            return Ok(part);
        }
        first = false;
        outcome = [Truth::No, Truth::Unknown, Truth::Yes].map(|rest| of(outcome, part.and(!rest)));
        if part == Truth::No || !more {
            return Ok(of(outcome, Truth::No));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, tokens};
    use crate::truth::Truth;
    use std::convert::Infallible;

    /// `y…` matches, `u…` is unknown, anything else does not.
    fn list(text: &str) -> Truth {
        matches::<Infallible>(text.as_bytes(), |word| {
            Ok(match word.text.first() {
                Some(b'y') => Truth::Yes,
                Some(b'u') => Truth::Unknown,
                _ => Truth::No,
            })
        })
        .unwrap()
    }

    #[test]
    fn words_with_their_places() {
        let words: Vec<_> =
            tokens(b", a,\tbc \r\nEXCEPT").map(|word| (word.at, word.text.to_vec())).collect();
        assert_eq!(words, [(2, b"a".to_vec()), (5, b"bc".to_vec()), (10, b"EXCEPT".to_vec())]);
    }

    #[test]
    fn except_nests_to_the_right() {
        for (text, truth) in [
            ("", Truth::No),
            ("n y", Truth::Yes),
            ("y EXCEPT n", Truth::Yes),
            ("y except y", Truth::No),
            ("y EXCEPT y EXCEPT y", Truth::Yes),
            ("y EXCEPT n EXCEPT y", Truth::Yes),
            ("n EXCEPT n", Truth::No),
            ("EXCEPT y", Truth::No),
            ("y EXCEPT", Truth::Yes),
            ("EXCEPT EXCEPT y", Truth::No),
            ("y EXCEPT EXCEPT y", Truth::Yes),
            ("y n,EXCEPT,n n", Truth::Yes),
        ] {
            assert_eq!(list(text), truth, "{text}");
        }
    }

    #[test]
    fn what_could_not_be_asked_is_neither() {
        for (text, truth) in [
            ("u", Truth::Unknown),
            ("u y", Truth::Yes),
            ("y EXCEPT u", Truth::Unknown),
            ("y EXCEPT u y", Truth::No),
            ("n EXCEPT u", Truth::No),
            ("u EXCEPT y", Truth::No),
            ("u EXCEPT n", Truth::Unknown),
            ("y EXCEPT u EXCEPT y", Truth::Yes),
            ("y EXCEPT y EXCEPT u", Truth::Unknown),
        ] {
            assert_eq!(list(text), truth, "{text}");
        }
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        assert_eq!(list(&"y EXCEPT ".repeat(100_000)), Truth::No);
        assert_eq!(list(&"y EXCEPT ".repeat(100_001)), Truth::Yes);
    }
}
