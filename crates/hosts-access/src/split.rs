//! A rule's fields (reference A3): `daemons : clients [: options]`. Colons count outside brackets only; nothing is escaped
//! here. Knows nothing of what the fields say.

use crate::scan::first_of_three;

/// The fields of a rule, as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// Before the first colon.
    pub daemons: &'a [u8],
    /// Before the second, or all the rest.
    pub clients: &'a [u8],
    /// Behind the second colon, if there is one: `Some` of nothing is one empty option, which refuses.
    pub options: Option<&'a [u8]>,
}

impl<'a> Rule<'a> {
    /// The fields of a line; `None` if it has no colon that counts.
    #[must_use]
    pub fn new(line: &'a [u8]) -> Option<Self> {
        let (daemons, rest) = at_unbracketed(line, b':')?;
        let (clients, options) = match at_unbracketed(rest, b':') {
            Some((clients, options)) => (clients, Some(options)),
            None => (rest, None),
        };
        Some(Self { daemons, clients, options })
    }

    /// Where the clients begin in the line.
    #[must_use]
    pub fn clients_at(&self) -> usize {
        self.daemons.len() + 1
    }

    /// Where the options begin in the line, if there are any.
    #[must_use]
    pub fn options_at(&self) -> usize {
        self.clients_at() + self.clients.len() + 1
    }
}

/// Splits at the first `mark` outside brackets: `[` counts one up, `]` one down, and the depth must be exactly 0 (so that a
/// lone bracket of either kind hides all later marks).
#[must_use]
#[inline]
pub fn at_unbracketed(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let first = first_of_three(text, mark, b'[', b']')?;
    let place = if text.get(first) == Some(&mark) { first } else { at_depth_zero(text, mark)? };
    let (before, after) = text.split_at_checked(place)?;
    Some((before, after.get(1..)?))
}

#[cold]
fn at_depth_zero(text: &[u8], mark: u8) -> Option<usize> {
    let mut depth = 0_i32;
    text.iter().position(|byte| {
        match *byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            byte => return byte == mark && depth == 0,
        }
        false
    })
}

/// Splits a token at the first `@` outside brackets that is not its first character (reference A5, A6): what stands before
/// it and the host pattern behind it.
#[must_use]
pub fn at_host(token: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, host) = at_unbracketed(token.get(1..)?, b'@')?;
    Some((token.get(..token.len() - host.len() - 1)?, host))
}

#[cfg(test)]
mod tests {
    use super::{Rule, at_host};

    #[test]
    fn colons_in_brackets_do_not_count() {
        let rule = |line: &'static str| {
            Rule::new(line.as_bytes()).map(|rule| {
                let text = |field: &[u8]| String::from_utf8(field.to_vec()).unwrap();
                (text(rule.daemons), text(rule.clients), rule.options.map(text))
            })
        };
        let some = |daemons: &str, clients: &str, options: Option<&str>| {
            Some((daemons.to_owned(), clients.to_owned(), options.map(str::to_owned)))
        };
        assert_eq!(rule("d: ALL"), some("d", " ALL", None));
        assert_eq!(rule("d: [::1]: deny:x"), some("d", " [::1]", Some(" deny:x")));
        assert_eq!(rule("d: [::1 1.2.3.4 : deny"), some("d", " [::1 1.2.3.4 : deny", None));
        assert_eq!(rule("d: ALL:"), some("d", " ALL", Some("")));
        assert_eq!(rule("d: *::1"), some("d", " *", Some(":1")));
        assert_eq!(rule("[d: ALL"), None);
        assert_eq!(rule("d]: ALL"), None);
        assert_eq!(rule("d ALL"), None);
    }

    #[test]
    fn the_host_begins_at_the_first_at_behind_the_first_character() {
        let split = |token: &'static str| at_host(token.as_bytes());
        assert_eq!(split("@d"), None);
        assert_eq!(split("d@@grp"), Some((&b"d"[..], &b"@grp"[..])));
        assert_eq!(split("d@"), Some((&b"d"[..], &b""[..])));
        assert_eq!(split("a@b@ALL"), Some((&b"a"[..], &b"b@ALL"[..])));
        assert_eq!(split("@@x"), Some((&b"@"[..], &b"x"[..])));
        assert_eq!(split(""), None);
    }
}
