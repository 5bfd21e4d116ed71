//! The string rules (reference A6.2): what one word matches in a daemon, user, address or name. Order is the language.

use crate::address::{self, Scope, V6, without_mapping};
use crate::glob;

/// What a word means as a pattern for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPattern<'a> {
    /// With `*` or `?`: the whole text.
    Glob(&'a [u8]),
    /// Begins with a dot: a longer text that ends with it. Tried on addresses too.
    Suffix(&'a [u8]),
    /// ALL.
    All,
    /// KNOWN: anything but `unknown`.
    Known,
    /// Ends with a dot: how the text begins.
    Prefix(&'a [u8]),
    /// `[…]`: an IPv6 address in any spelling.
    V6(V6<'a>),
    /// `[…]` with something else inside: never.
    NoAddress(&'a [u8]),
    /// Equal without case.
    Exact(&'a [u8]),
}

impl<'a> TextPattern<'a> {
    /// What `word` means.
    #[must_use]
    #[inline]
    pub fn new(word: &'a [u8]) -> Self {
        Self::classify(word, word.iter().any(|byte| matches!(byte, b'*' | b'?')))
    }

    /// What `word` means, of which is known whether it has a `*` or `?`.
    #[inline]
    pub(crate) fn classify(word: &'a [u8], glob: bool) -> Self {
        if glob {
            return Self::Glob(word);
        }
        match word {
            [b'.', ..] => Self::Suffix(word),
            _ if word.eq_ignore_ascii_case(b"ALL") => Self::All,
            _ if word.eq_ignore_ascii_case(b"KNOWN") => Self::Known,
            [.., b'.'] => Self::Prefix(word),
            [b'[', inner @ .., b']'] => address::v6(inner).map_or(Self::NoAddress(word), Self::V6),
            _ => Self::Exact(word),
        }
    }

    /// Whether it matches `text`; `is_interface` tells whether there is a network interface of a name.
    #[inline]
    pub fn matches(&self, text: &[u8], is_interface: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.matches_unmapped(without_mapping(text), is_interface)
    }

    /// Whether it matches a text of which [`without_mapping`] has been taken already.
    #[inline]
    pub(crate) fn matches_unmapped(&self, text: &[u8], is_interface: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        match self {
            Self::Glob(pattern) => glob::matches(pattern, text),
            Self::Suffix(suffix) => {
                text.len() > suffix.len()
                    && text
                        .split_at_checked(text.len() - suffix.len())
                        .is_some_and(|(_, end)| end.eq_ignore_ascii_case(suffix))
            }
            Self::All => true,
            Self::Known => !text.eq_ignore_ascii_case(b"unknown"),
            Self::Prefix(prefix) => {
                text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }
            Self::V6(wanted) => same_v6(wanted, text, is_interface),
            Self::NoAddress(_) => false,
            Self::Exact(word) => text.eq_ignore_ascii_case(word),
        }
    }
}

/// The address of `text`, if its scope is right.
pub(crate) fn numeric(text: &[u8], is_interface: &mut dyn FnMut(&[u8]) -> bool) -> Option<u128> {
    let address = address::v6(text)?;
    in_scope(&address, is_interface).then_some(address.bits)
}

/// Whether the scope of an address is right.
pub(crate) fn in_scope(address: &V6<'_>, is_interface: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    match address.scope {
        Scope::Fine => true,
        Scope::Interface(name) => is_interface(name),
    }
}

fn same_v6(wanted: &V6<'_>, text: &[u8], is_interface: &mut dyn FnMut(&[u8]) -> bool) -> bool {
    // The scope of the pattern last: it may cost a system call.
    numeric(text, is_interface) == Some(wanted.bits) && in_scope(wanted, is_interface)
}

#[cfg(test)]
mod tests {
    use super::TextPattern;

    #[test]
    fn string_rules_in_their_order() {
        for (word, text, wanted) in [
            ("ALL", "", true),
            ("all", "x", true),
            ("KNOWN", "Unknown", false),
            ("known", "paranoid", true),
            ("UNKNOWN", "unknown", true),
            (".com", "x.COM", true),
            (".com", ".com", false),
            (".1", "110.0.0.1", true),
            (".", "a.", true),
            (".", ".", false),
            (".foo*", "x.foo", false),
            ("in.", "IN.telnetd", true),
            ("10.1.", "10.1.2.3", true),
            ("10.1.", "10.10.2.3", false),
            ("10.1", "10.1.2.3", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("[::ffff:10.0.0.1]", "::ffff:10.0.0.1", false),
            ("[::ffff:10.0.0.1]", "::ffff:a00:1", true),
            ("[2001:DB8::0]", "2001:db8::", true),
            ("[fe80::1%lo]", "fe80::1", true),
            ("[fe80::1%nope]", "fe80::1", false),
            ("[10.0.0.1]", "10.0.0.1", false),
            ("[2001:db8::*]", "2001:db8::1", false),
            ("LOCAL", "local", true),
        ] {
            let matches =
                TextPattern::new(word.as_bytes()).matches(text.as_bytes(), &mut |name| name == b"lo");
            assert_eq!(matches, wanted, "{word} {text}");
        }
    }
}
