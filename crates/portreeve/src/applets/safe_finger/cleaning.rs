//! What of finger's output reaches a terminal or a mail: printable ASCII and white space; lines of at most 128 columns, each
//! after a blank; so many bytes and no more (reference A15). Pure.

/// Columns of a line, the blank before it included.
const COLUMNS: usize = 128;
/// Bytes of input that are looked at.
pub(super) const MOST: usize = 100_000;

/// Cleans a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    column: usize,
    taken: usize,
}

impl Cleaner {
    /// The clean text of the next bytes; false once the input is longer than [`MOST`], and nothing after that counts.
    pub(super) fn clean(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in input {
            if self.taken >= MOST {
                out.extend_from_slice(format!("\n\n Input truncated to {MOST} bytes...\n").as_bytes());
                return false;
            }
            self.taken += 1;
            self.one(*byte, out);
        }
        true
    }

    fn one(&mut self, byte: u8, out: &mut Vec<u8>) {
        if byte == b'\n' {
            self.column = 0;
            out.push(byte);
            return;
        }
        if self.column >= COLUMNS {
            out.extend_from_slice(b"\\\n");
            self.column = 0;
        }
        if self.column == 0 {
            // No line can look like a mail header, a command of mail(1), or an answer of ours.
            out.push(b' ');
            self.column = 1;
        }
        let before = out.len();
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b' '..=b'~' | b'\t' | b'\x0b' | b'\x0c' | b'\r' => out.push(byte),
            _ => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
        self.column += out.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(input: &[u8]) -> (bool, String) {
        let mut out = Vec::new();
        let mut cleaner = Cleaner::default();
        // One byte at a time: pieces must not show.
        let whole = input.iter().all(|byte| cleaner.clean(&[*byte], &mut out));
        (whole, String::from_utf8(out).unwrap())
    }

    #[test]
    fn bytes_and_lines() {
        for (input, wanted) in [
            (&b""[..], ""),
            (b"a\n\n\nb", " a\n\n\n b"),
            (b"a\0b\x01\r\n\t\x0b\x0c\\ \x7f\x80\xff~", " a\\000b\\001\r\n \t\x0b\x0c\\\\ \\177\\200\\377~"),
        ] {
            assert_eq!(clean(input), (true, wanted.to_owned()));
        }
    }

    #[test]
    fn long_lines_are_broken_before_the_next_byte() {
        let a = |count| "a".repeat(count);
        for (input, wanted) in [
            (a(127) + "\n", format!(" {}\n", a(127))),
            (a(128) + "\n", format!(" {}\\\n a\n", a(127))),
            (a(124) + "\\\\\\\\g", format!(" {}\\\\\\\\\\\n \\\\\\\\g", a(124))),
            (a(126) + "\x01\n", format!(" {}\\001\n", a(126))),
            (a(126) + "\t\r\n", format!(" {}\t\\\n \r\n", a(126))),
        ] {
            assert_eq!(clean(input.as_bytes()), (true, wanted));
        }
    }

    #[test]
    fn too_much_is_cut() {
        let (whole, text) = clean(&vec![b'\n'; MOST]);
        assert!(whole && text.len() == MOST);
        let (whole, text) = clean(&vec![b'\n'; MOST + 1]);
        assert!(!whole);
        assert_eq!(text.get(MOST..), Some("\n\n Input truncated to 100000 bytes...\n"));
    }
}
