//! What each byte may make of a word: one pass over a list cuts its words and tells which rules can apply to them.

/// `*` or `?`.
pub(crate) const GLOB: u8 = 1;
/// `/`.
pub(crate) const SLASH: u8 = 2;
/// `@`.
pub(crate) const AT: u8 = 4;
/// Outside `0-9 . /`: the word may be a name.
pub(crate) const WORD: u8 = 8;
/// Not in a word of a list: space, tab, CR, LF, comma.
pub(crate) const SEPARATOR: u8 = 16;

/// The marks of each byte.
pub(crate) const MARKS: [u8; 256] = {
    let mut marks = [WORD; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        marks[digit as usize] = 0;
        digit += 1;
    }
    marks[b'.' as usize] = 0;
    marks[b'/' as usize] = SLASH;
    marks[b'@' as usize] = AT | WORD;
    marks[b'*' as usize] = GLOB | WORD;
    marks[b'?' as usize] = GLOB | WORD;
    marks[b' ' as usize] |= SEPARATOR;
    marks[b'\t' as usize] |= SEPARATOR;
    marks[b'\r' as usize] |= SEPARATOR;
    marks[b'\n' as usize] |= SEPARATOR;
    marks[b',' as usize] |= SEPARATOR;
    marks
};

/// The marks of all bytes of a word.
#[inline]
pub(crate) fn marks(word: &[u8]) -> u8 {
    word.iter().fold(0, |all, byte| all | MARKS[usize::from(*byte)])
}
