//! The line that a client of tcpmux sends first (RFC 1078): the name of a service, ended by CR LF. Pure.

/// The longest name of a service in bytes.
pub const MAX_MUX_NAME: usize = 255;
/// The longest line, with its CR LF.
pub const MAX_MUX_LINE: usize = MAX_MUX_NAME + 2;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuxLine<'a> {
    /// The beginning of a line, all of them: more must come.
    Begun,
    /// A line of this many bytes with this name. A lone LF ends it too, as in the inetd of the BSDs.
    Whole(usize, &'a [u8]),
    /// An empty name, or one with control bytes.
    Malformed,
    /// It could go on beyond the longest line.
    TooLong,
}

/// Reads the line in front of `bytes`. What follows it is not looked at.
pub fn mux_line(bytes: &[u8]) -> MuxLine<'_> {
    let window = bytes.get(..MAX_MUX_LINE).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == MAX_MUX_LINE { MuxLine::TooLong } else { MuxLine::Begun };
    };
    let line = window.get(..end).unwrap_or_default();
    let name = line.strip_suffix(b"\r").unwrap_or(line);
    if name.len() > MAX_MUX_NAME {
        MuxLine::TooLong
    } else if name.is_empty() || name.iter().any(u8::is_ascii_control) {
        MuxLine::Malformed
    } else {
        MuxLine::Whole(end + 1, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_ends() {
        assert_eq!(mux_line(b"finger\r\nroot\r\n"), MuxLine::Whole(8, b"finger"));
        assert_eq!(mux_line(b"finger\n"), MuxLine::Whole(7, b"finger"));
        assert_eq!(mux_line(b"two words\r\n"), MuxLine::Whole(11, b"two words"));
        for begun in ["", "f", "finger", "finger\r"] {
            assert_eq!(mux_line(begun.as_bytes()), MuxLine::Begun, "{begun:?}");
        }
        for bad in ["\n", "\r\n", "fin\rger\r\n", "finger\r\r\n", "fin\0ger\r\n", "\x1b[2J\r\n"] {
            assert_eq!(mux_line(bad.as_bytes()), MuxLine::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn a_line_has_a_longest() {
        let longest = [&[b'x'; MAX_MUX_NAME][..], b"\r\n"].concat();
        assert_eq!(mux_line(&longest), MuxLine::Whole(MAX_MUX_LINE, &[b'x'; MAX_MUX_NAME]));
        assert_eq!(mux_line(&[b'x'; MAX_MUX_LINE - 1]), MuxLine::Begun);
        assert_eq!(mux_line(&[b'x'; MAX_MUX_LINE]), MuxLine::TooLong);
        assert_eq!(mux_line(&[b'x'; 100_000]), MuxLine::TooLong);
        let bare = [&[b'x'; MAX_MUX_NAME + 1][..], b"\n"].concat();
        assert_eq!(mux_line(&bare), MuxLine::TooLong);
    }
}
