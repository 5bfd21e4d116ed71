//! The text of a banner (reference A9): its bytes as they are sent. Whoever has the file and the socket calls this.

use crate::split::at_unbracketed;

/// The longest part of a line that is read at once, in bytes.
const PART: usize = 8190;

/// About as much of it is expanded at once: whatever the letters stand for, it stays below the limit of an expansion.
const PIECE: usize = 60;

/// What is sent for the file `content`: leading NUL bytes as they are, then each line expanded, with CR LF for LF. A last line
/// without LF gets none, and a line with an unbalanced bracket keeps a bare LF.
///
/// # Errors
/// Those of `expand`; nothing is to be sent then.
pub fn banner<E>(content: &[u8], mut expand: impl FnMut(&[u8]) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    let start = content.iter().position(|byte| *byte != 0).unwrap_or(content.len());
    let (nuls, mut rest) = content.split_at_checked(start).unwrap_or_default();
    let mut sent = nuls.to_vec();
    while !rest.is_empty() {
        let window = rest.get(..PART).unwrap_or(rest);
        let length = window.iter().position(|byte| *byte == b'\n').map_or(window.len(), |lf| lf + 1);
        let (part, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = after;
        // The original holds it as a C string.
        let part = part.split(|byte| *byte == 0).next().unwrap_or_default();
        match at_unbracketed(part, b'\n') {
            Some((line, _)) => pieces(&[line, b"\r\n"].concat(), &mut sent, &mut expand)?,
            None => pieces(part, &mut sent, &mut expand)?,
        }
    }
    Ok(sent)
}

/// Expands a part in pieces, none of which ends between a `%` and its letter.
fn pieces<E>(
    part: &[u8],
    sent: &mut Vec<u8>,
    expand: &mut impl FnMut(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let (mut start, mut at) = (0, 0);
    while at < part.len() {
        at += if part.get(at) == Some(&b'%') { 2 } else { 1 };
        if at - start >= PIECE || at >= part.len() {
            sent.extend(expand(part.get(start..at.min(part.len())).unwrap_or_default())?);
            start = at;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::banner;
    use std::convert::Infallible;

    #[test]
    fn lines_end_with_cr_lf_and_leading_nuls_stay() {
        for (content, sent) in [
            (&b"hello\nbye\n"[..], &b"hello\r\nbye\r\n"[..]),
            (b"no newline", b"no newline"),
            (b"\0\0hello\n", b"\0\0hello\r\n"),
            (b"x\r\n\n", b"x\r\r\n\r\n"),
            (b"a [b\nc\n", b"a [b\nc\r\n"),
            (b"a\0b\nc\n", b"ac\r\n"),
            (b"", b""),
        ] {
            let text = banner::<Infallible>(content, |line| Ok(line.to_vec())).unwrap();
            assert_eq!(text, sent, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn no_piece_parts_a_letter_from_its_sign() {
        for length in 0..200 {
            for shift in ["", "x"] {
                let line = format!("{shift}{}%", "%a".repeat(length));
                let text = banner::<Infallible>(line.as_bytes(), |piece| {
                    assert!(piece.len() < super::PIECE + 2);
                    Ok(String::from_utf8_lossy(piece).replace("%a", "A").into_bytes())
                });
                assert_eq!(text.unwrap(), format!("{shift}{}%", "A".repeat(length)).into_bytes());
            }
        }
    }
}
