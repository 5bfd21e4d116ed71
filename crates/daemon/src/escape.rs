//! Makes a value fit for a log line or a terminal: control bytes become `\xNN`, so that nobody can write lines of
//! their own into a log.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with every control character escaped; borrowed when there is none.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn control_bytes_never_pass() {
        assert_eq!(escaped("a\nFAIL: b\x1b[2J\r\u{9b}"), "a\\x0aFAIL: b\\x1b[2J\\x0d\\x9b");
        assert!(matches!(escaped("plain ü"), std::borrow::Cow::Borrowed(_)));
    }
}
