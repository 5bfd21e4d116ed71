//! How the options of a rule are cut (reference A7): at colons, `\:` for a literal one, then keyword and value. Knows no
//! option.

use crate::address::trimmed;
use crate::lines::is_blank;
use std::borrow::Cow;

/// One option as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Where it begins in the options, in bytes.
    pub at: usize,
    /// Its text without the blanks around it, `\:` made `:`.
    pub text: Cow<'a, [u8]>,
    /// None follows.
    pub last: bool,
    /// It ends in a colon and nothing follows it: only in a text without a newline, as `process_options` may be given.
    pub open: bool,
}

impl Field<'_> {
    /// Keyword and value: split at the first blank or `=`; blanks around one `=` belong to neither. An empty value is none.
    #[must_use]
    pub fn parts(&self) -> (&[u8], Option<&[u8]>) {
        let text: &[u8] = &self.text;
        let end = text.iter().position(|byte| *byte == b'=' || is_blank(*byte)).unwrap_or(text.len());
        let (keyword, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
        let rest = without_blanks(rest);
        let value = rest.strip_prefix(b"=").map_or(rest, without_blanks);
        (keyword, Some(value).filter(|value| !value.is_empty()))
    }
}

/// Without the blanks it begins with.
pub(crate) fn without_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// The options of a text.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    text: &'a [u8],
    at: usize,
    newline: bool,
    done: bool,
}

/// The options of a rule, whose line ended in a newline: at least one, which may be empty.
#[must_use]
pub fn fields(text: &[u8]) -> Fields<'_> {
    Fields { text, at: 0, newline: true, done: false }
}

/// The options of a text that may end without a newline: a trailing colon then ends the last option.
#[must_use]
pub fn fields_of_text(text: &[u8]) -> Fields<'_> {
    Fields { text, at: 0, newline: false, done: text.is_empty() }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if self.done {
            return None;
        }
        let rest = self.text.get(self.at..)?;
        let mut escaped = false;
        let mut colon = None;
        for (place, byte) in rest.iter().enumerate() {
            if *byte == b':' {
                let literal = place.checked_sub(1).and_then(|before| rest.get(before)) == Some(&b'\\');
                escaped |= literal;
                if !literal {
                    colon = Some(place);
                    break;
                }
            }
        }
        let raw = rest.get(..colon.unwrap_or(rest.len()))?;
        let at = self.at;
        self.at += raw.len() + 1;
        let ends = self.at >= self.text.len();
        let open = colon.is_some() && ends && !self.newline;
        self.done = colon.is_none() || open;
        let text = if escaped { Cow::Owned(unescaped(raw)) } else { Cow::Borrowed(trimmed(raw)) };
        Some(Field { at, text, last: self.done, open })
    }
}

fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' || after.first() != Some(&b':') {
            text.push(*byte);
        }
    }
    trimmed(&text).to_vec()
}

#[cfg(test)]
mod tests {
    use super::{fields, fields_of_text};

    fn all(text: &str) -> Vec<(String, Option<String>)> {
        let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields(text.as_bytes())
            .map(|field| {
                let (keyword, value) = field.parts();
                (string(keyword), value.map(string))
            })
            .collect()
    }

    fn one(keyword: &str, value: Option<&str>) -> (String, Option<String>) {
        (keyword.to_owned(), value.map(str::to_owned))
    }

    #[test]
    fn keyword_and_value() {
        for (text, value) in [
            ("k v", Some("v")),
            ("k=v", Some("v")),
            (" k = v ", Some("v")),
            ("k  =  v", Some("v")),
            ("k == v", Some("= v")),
            ("k=", None),
            ("k ", None),
            ("k\t v  w", Some("v  w")),
        ] {
            assert_eq!(all(text), [one("k", value)], "{text}");
        }
        assert_eq!(all("=allow"), [one("", Some("allow"))]);
    }

    #[test]
    fn colons_and_escaped_colons() {
        assert_eq!(all(""), [one("", None)]);
        assert_eq!(all("a:b c:"), [one("a", None), one("b", Some("c")), one("", None)]);
        assert_eq!(all(r"spawn a\:b:deny"), [one("spawn", Some("a:b")), one("deny", None)]);
        assert_eq!(all(r"spawn a\\:b"), [one("spawn", Some(r"a\:b"))]);
        assert_eq!(all(r"spawn a\b"), [one("spawn", Some(r"a\b"))]);
        assert_eq!(all(r"\:allow"), [one(":allow", None)]);
    }

    #[test]
    fn a_text_without_newline_may_end_in_a_colon() {
        let flags = |text: &'static str| {
            fields_of_text(text.as_bytes()).map(|field| (field.last, field.open)).collect::<Vec<_>>()
        };
        assert_eq!(flags(""), []);
        assert_eq!(flags("a:"), [(true, true)]);
        assert_eq!(flags("a:b"), [(false, false), (true, false)]);
        assert_eq!(flags("a:\n"), [(false, false), (true, false)]);
        assert_eq!(fields(b"a:").map(|field| field.at).collect::<Vec<_>>(), [0, 2]);
    }
}
