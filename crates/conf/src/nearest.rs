//! Which of the known words was meant. Pure comparison of texts.

/// The known word nearest to `word`, if one is near enough to be meant: at most one slip for every three letters.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    if word.len() > 64 {
        return None;
    }
    let slips = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word.as_bytes(), candidate.to_ascii_lowercase().as_bytes()), candidate))
        .filter(|&(distance, candidate)| distance <= slips && distance < candidate.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// A help text that names the nearest word, or else all of them.
pub(crate) fn help(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", known.join(", ")),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            row[j + 1] = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                row[j + 1] = row[j + 1].min(before_last[j - 1] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (a, b, slips) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("abc", "", 3),
            ("a", "bcd", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), slips, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_named() {
        let known = ["log_on_failure", "log_on_success", "nice", "port"];
        assert_eq!(nearest("log_on_failer", known), Some("log_on_failure"));
        assert_eq!(nearest("PROT", known), Some("port"));
        assert_eq!(nearest("kafel_rule", known), None);
        assert_eq!(nearest("x", ["a"]), None);
    }
}
