//! `path-exclude` and `path-include` of dpkg.cfg: files that dpkg itself leaves out when it unpacks, as container images have it. Pure
//! but for reading the files.

use crate::bounded;
use std::path::Path;

/// Bytes of one file of configuration, and how many there may be.
const LONGEST: usize = 1 << 20;
const MOST: usize = 256;

/// The patterns, in the order in which dpkg reads them; the last that matches counts.
#[derive(Debug, Default)]
pub(super) struct Excluded(Vec<(bool, Vec<u8>)>);

impl Excluded {
    pub(super) fn read(root: &Path) -> Excluded {
        let mut found = Excluded::default();
        let directory = root.join("etc/dpkg/dpkg.cfg.d");
        let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).take(MOST);
        let mut names: Vec<_> = entries.map(|entry| entry.path()).collect();
        names.sort();
        names.push(root.join("etc/dpkg/dpkg.cfg"));
        for name in names {
            found.add(&bounded::file(&name, LONGEST).unwrap_or_default());
        }
        found
    }

    fn add(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            for (word, excludes) in [(&b"path-exclude"[..], true), (b"path-include", false)] {
                let Some(rest) = line.strip_prefix(word) else { continue };
                let rest = rest.trim_ascii_start();
                let pattern = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii();
                if !pattern.is_empty() && rest.len() < line.len() - word.len() + 1 {
                    self.0.push((excludes, pattern.to_vec()));
                }
            }
        }
    }

    /// Whether dpkg leaves it out.
    pub(super) fn has(&self, path: &[u8]) -> bool {
        let last = self.0.iter().rev().find(|(_, pattern)| matches(pattern, path));
        last.is_some_and(|(excludes, _)| *excludes)
    }
}

/// fnmatch(3) without flags: `*` takes slashes too. Sets in brackets are taken as one letter of any kind.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => {
                let end = pattern.get(p + 2..).and_then(|rest| rest.iter().position(|byte| *byte == b']'));
                end.map(|end| end + 3)
            }
            Some(b'\\') => (pattern.get(p + 1) == text.get(t)).then_some(2),
            Some(letter) => (Some(letter) == text.get(t)).then_some(1),
            None => None,
        };
        match (step, back) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((after, from))) => {
                back = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_counts() {
        let mut excluded = Excluded::default();
        excluded.add(b"# slim\npath-exclude=/usr/share/doc/*\npath-include = /usr/share/doc/*/copyright\npath-exclude /usr/share/m?n/[a-z]*\nforce-x\n");
        for (path, wanted) in [
            ("/usr/share/doc/x/y/README", true),
            ("/usr/share/doc/x/copyright", false),
            ("/usr/share/man/man1/ls.1", true),
            ("/usr/share", false),
            ("/usr/share/doc", false),
        ] {
            assert_eq!(excluded.has(path.as_bytes()), wanted, "{path}");
        }
        let long = [b"*a".repeat(50), b"b".to_vec()].concat();
        assert!(!matches(&long, &b"a".repeat(2000)));
    }
}
