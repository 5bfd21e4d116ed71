//! The first of one or two bytes in a text, eight bytes at a time: a fresh process walks tables of 100,000 lines.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A bit at each zero byte of `word`; the lowest is exact.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Where the first `a` or `b` stands.
pub(crate) fn first_of(text: &[u8], a: u8, b: u8) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    let (spread_a, spread_b) = (LOW.wrapping_mul(u64::from(a)), LOW.wrapping_mul(u64::from(b)));
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ spread_a) | zeros(word ^ spread_b);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let tail = rest.iter().position(|byte| *byte == a || *byte == b)?;
    Some(words.len() * 8 + tail)
}

/// Where the first of three bytes stands.
pub(crate) fn first_of_three(text: &[u8], a: u8, b: u8, c: u8) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    let [a8, b8, c8] = [a, b, c].map(|byte| LOW.wrapping_mul(u64::from(byte)));
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ a8) | zeros(word ^ b8) | zeros(word ^ c8);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let tail = rest.iter().position(|byte| *byte == a || *byte == b || *byte == c)?;
    Some(words.len() * 8 + tail)
}

/// Where the first `byte` stands.
pub(crate) fn first(text: &[u8], byte: u8) -> Option<usize> {
    first_of(text, byte, byte)
}

#[cfg(test)]
mod tests {
    use super::{first, first_of, first_of_three};

    #[test]
    fn finds_at_every_place_of_every_length() {
        for length in 0..40 {
            for place in 0..length {
                let mut text = vec![b'x'; length];
                text[place] = b'\n';
                assert_eq!(first(&text, b'\n'), Some(place));
                text[length - 1] = 0;
                assert_eq!(first_of(&text, b'\n', 0), Some(place));
                assert_eq!(first_of_three(&text, b'[', 0, b'\n'), Some(place));
            }
            assert_eq!(first(&vec![0x8a; length], b'\n'), None);
        }
    }
}
