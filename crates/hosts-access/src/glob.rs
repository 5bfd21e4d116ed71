//! `*` and `?` (reference A6.1): the whole text, ASCII letters without case. In time proportional to the pattern, whatever it
//! says: the original's recursion is exponential.

use crate::field::Field;

// One bit for each place in a text, and one behind its end.
const _: () = assert!(Field::MAX < u128::BITS as usize);

/// Whether `pattern` matches the whole of `text`, of which no more than [`Field::MAX`] bytes count.
///
/// The original's quirk: a `*` that is followed by `*` or `?` needs at least one byte left for what follows, so that `d**`
/// does not match `d` and `**` does not match nothing.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let text = text.get(..Field::MAX).unwrap_or(text);
    let end = 1_u128 << text.len();
    // The places of the text at which the rest of the pattern may begin.
    let mut places = 1_u128;
    let mut rest = pattern;
    while let [byte, after @ ..] = rest {
        rest = after;
        places = match byte {
            b'*' => match after.first() {
                None => return places != 0,
                Some(b'*' | b'?') => from_lowest(places) & (end - 1),
                Some(_) => from_lowest(places) & ((end - 1) | end),
            },
            b'?' => (places & (end - 1)) << 1,
            byte => (places & where_is(*byte, text)) << 1,
        };
        if places == 0 {
            return false;
        }
    }
    places & end != 0
}

/// All places from the lowest of `places` on.
fn from_lowest(places: u128) -> u128 {
    !((places & places.wrapping_neg()).wrapping_sub(1))
}

fn where_is(byte: u8, text: &[u8]) -> u128 {
    let same = text.iter().enumerate().filter(|(_, other)| other.eq_ignore_ascii_case(&byte));
    same.fold(0, |places, (place, _)| places | 1 << place)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("*", "anything", true),
            ("**", "", false),
            ("**", "x", true),
            ("d**", "d", false),
            ("d**", "dx", true),
            ("d*?", "d", false),
            ("d*", "d", true),
            ("d?", "d", false),
            ("D*X", "dabcx", true),
            ("*.1", "10.0.0.1", true),
            ("10.*.1", "10.2.3.1", true),
            ("10.*.1", "10.2.3.2", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("??", "ab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn stars_cost_no_time_and_the_longest_text_fits() {
        let text = [b'a'; 127];
        assert!(!matches(&[b"*a".repeat(1000), b"b".to_vec()].concat(), &text));
        assert!(matches(&[b'?'; 127], &text));
        assert!(!matches(&[b'?'; 128], &text));
    }
}
