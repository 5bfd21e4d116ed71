//! What may reach a terminal. Everything that came from a file, a client or the daemon goes through here; a control
//! byte in a service name must not move the reader's cursor. Decides nothing else.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// Whether a terminal may act on this character, or show the text in another order than it stands.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        '\t' => out.write_str("\\t"),
        '\r' => out.write_str("\\r"),
        '\n' => out.write_str("\\n"),
        c if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// The text with every acting character written as `\xNN` or `\u{NNNN}`.
pub fn text(text: &str) -> Cow<'_, str> {
    // Nearly all that is shown is plain ASCII, which is told byte by byte.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if acts(c) { push(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Like [`text`] for a text of several lines: line ends and tabs stay.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && c != '\n' && c != '\t' { push(&mut out, c) } else { out.push(c) }
    }
    out
}

/// Like [`lines`] for bytes: those that are no UTF-8 become `\xNN` too.
pub fn bytes_of_lines(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(&lines(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path or argument: bytes that are no UTF-8 become `\xNN` too.
pub fn os(text: &OsStr) -> String {
    let mut out = String::new();
    for chunk in text.as_bytes().utf8_chunks() {
        out.push_str(&self::text(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A source line for display, and where a byte span of the original lies in it. Tabs stay: the renderer expands them.
/// A span that is empty, out of range or inside a character is moved to the nearest character.
pub fn source_line(line: &str, start: usize, length: usize) -> (String, std::ops::Range<usize>) {
    let end = start.saturating_add(length);
    let mut out = String::with_capacity(line.len());
    let mut from = None;
    let mut to = 0;
    for (at, c) in line.char_indices() {
        let after = at + c.len_utf8();
        if after > start && from.is_none() {
            from = Some(out.len());
        }
        if acts(c) && c != '\t' {
            push(&mut out, c)
        } else {
            out.push(c)
        }
        if at < end {
            to = out.len();
        }
    }
    let from = from.unwrap_or(out.len());
    (out, from..to.max(from))
}

/// JSON whose strings hold no acting character: serde_json escapes only those below 0x20.
pub fn json(value: &serde_json::Value) -> String {
    json_text(format!("{value:#}"))
}

/// The same in one line.
pub fn json_line(value: &serde_json::Value) -> String {
    json_text(value.to_string())
}

/// The same of a text that is JSON already.
pub fn json_text(plain: String) -> String {
    // Most answers are ASCII, and long ones are looked at byte by byte, which is many times as fast.
    let harmless = |byte: &u8| (0x20..0x7f).contains(byte) || *byte == b'\n';
    // Whole pieces without a way out in between, so that many bytes are looked at in one step.
    let harmless_all = |piece: &[u8]| piece.iter().fold(true, |all, byte| all & harmless(byte));
    if plain.as_bytes().chunks(4096).all(harmless_all) {
        return plain;
    }
    if !plain.chars().any(|c| acts(c) && c != '\n') {
        return plain;
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if acts(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acting_characters_are_written_out() {
        for (given, wanted) in [
            ("plain ä €", "plain ä €"),
            ("a\x1b[2Jb", "a\\x1b[2Jb"),
            ("a\u{9b}2Jb", "a\\x9b2Jb"),
            ("a\x7f\r\n\t", "a\\x7f\\r\\n\\t"),
            ("x\u{202e}fdp", "x\\u{202e}fdp"),
        ] {
            assert_eq!(text(given), wanted);
        }
        assert_eq!(lines("a\nb\t\x1b"), "a\nb\t\\x1b");
        assert_eq!(os(OsStr::from_bytes(b"a\xff\x1bb")), "a\\xff\\x1bb");
    }

    #[test]
    fn a_span_follows_its_word() {
        for (line, start, length, wanted) in [
            ("port = x", 7, 1, "x"),
            ("\x1bport = x", 8, 1, "x"),
            ("port = \x1b", 7, 1, "\\x1b"),
            ("ä = 1", 1, 1, "ä"),
            ("ab", 2, 0, ""),
            ("ab", 99, 7, ""),
            ("ab", 1, usize::MAX, "b"),
            ("", 0, 0, ""),
        ] {
            let (shown, span) = source_line(line, start, length);
            assert_eq!(shown.get(span), Some(wanted), "{line:?} {start} {length}");
        }
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({"a": "x\u{9b}\u{7f}\u{202e}\x1b"});
        let shown = json(&value);
        assert!(!shown.chars().any(|c| acts(c) && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
