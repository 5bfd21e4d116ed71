//! Whether a table says nothing at all, as those do that distributions install: no client needs to be held against it. Only what is so beyond
//! doubt; all else is evaluated.

/// Comments of this length are below what makes a table an error (tcp-wrappers.md A2).
const LONGEST_COMMENT: usize = 2_000;
/// The longest text that is looked through for rules at a change.
const LONGEST_SILENT: usize = 64 << 10;

/// Whether a table has comments and empty lines alone, all of them beyond doubt: no line goes on in the next, none is too long, and the
/// last one ends.
pub fn is_silent(text: &[u8]) -> bool {
    let is_blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
    let plain = text.len() <= LONGEST_SILENT && text.last().is_none_or(|&byte| byte == b'\n');
    plain
        && !text.iter().any(|byte| b"\\\0".contains(byte))
        && text
            .split(|&byte| byte == b'\n')
            .all(|line| line.len() < LONGEST_COMMENT && (line.first() == Some(&b'#') || is_blank(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_comments_says_nothing_unless_there_is_any_doubt() {
        for text in ["", "\n", "# a\n", "#\n \t\r\n\n# ALL: ALL\n", &format!("#{}\n", "x".repeat(1_990))] {
            assert!(is_silent(text.as_bytes()), "{text:?}");
        }
        let doubtful = [
            "ALL: ALL\n",
            "# a", // an unterminated line is an error
            "# a\n# b",
            " # a\n",             // no comment, but a rule without a colon
            "# a \\\nALL: ALL\n", // goes on
            "\x0b\n",
            "# a\0\n",
            &format!("#{}\n", "x".repeat(2_047)),
        ];
        for text in doubtful {
            assert!(!is_silent(text.as_bytes()), "{text:?}");
        }
    }
}
