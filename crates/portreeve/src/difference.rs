//! Two versions of a file that differ in one place, as `diff -u` shows them.

use crate::escape;
use std::fmt::Write;

/// Lines shown around a difference.
const AROUND: usize = 3;

/// The difference, ready for a terminal; empty when there is none.
pub fn unified(file: &str, before: &[u8], after: &[u8]) -> String {
    let (old, new) = (lines(before), lines(after));
    let same = |a: &mut dyn Iterator<Item = (&&[u8], &&[u8])>| a.take_while(|(a, b)| a == b).count();
    let start = same(&mut old.iter().zip(&new));
    if start == old.len() && start == new.len() {
        return String::new();
    }
    let most = old.len().min(new.len()) - start;
    let end = same(&mut old.iter().rev().zip(new.iter().rev())).min(most);
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let first = start.saturating_sub(AROUND);
    let after_it = end.min(AROUND);
    let count = |end: usize| end + after_it - first;
    let mut out = String::new();
    let name = escape::text(file);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "--- {name}\n+++ {name}");
    let _ = writeln!(out, "@@ -{},{} +{},{} @@", first + 1, count(old_end), first + 1, count(new_end));
    let mut show = |mark: char, lines: &[&[u8]]| {
        for line in lines {
            let text = line.strip_suffix(b"\n");
            let _ = writeln!(out, "{mark}{}", escape::bytes_of_lines(text.unwrap_or(line)));
            if text.is_none() {
                let _ = writeln!(out, "\\ No newline at end of file");
            }
        }
    };
    show(' ', old.get(first..start).unwrap_or_default());
    show('-', old.get(start..old_end).unwrap_or_default());
    show('+', new.get(start..new_end).unwrap_or_default());
    show(' ', old.get(old_end..old_end + after_it).unwrap_or_default());
    out
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_that_of_diff() {
        let before = b"1\n2\n3\n4\n5\n6\n7\n8\n9";
        assert_eq!(
            unified("f", before, b"1\n2\n3\n4\nx\ny\n6\n7\n8\n9"),
            "--- f\n+++ f\n@@ -2,7 +2,8 @@\n 2\n 3\n 4\n-5\n+x\n+y\n 6\n 7\n 8\n"
        );
        assert_eq!(
            unified("f\x1b", b"a\nb", b"a\nnew\r\nb"),
            "--- f\\x1b\n+++ f\\x1b\n@@ -1,2 +1,3 @@\n a\n+new\\r\n b\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("f", b"a\na\n", b"a\n"), "--- f\n+++ f\n@@ -1,2 +1,1 @@\n a\n-a\n");
        assert_eq!(unified("f", before, before), "");
    }
}
