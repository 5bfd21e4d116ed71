//! The value of `BindPaths` and `BindReadOnlyPaths`: a place of the host, and where the program finds it. Text both ways; touches no file.

use super::key::absolute;

/// A place of the host that is seen at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Nothing is done where the source is not there.
    pub(crate) optional: bool,
    /// Of the host, whatever the root directory is.
    pub(crate) source: String,
    /// Where it is seen, below the root directory.
    pub(crate) destination: String,
    /// With all that is mounted below it.
    pub(crate) recursive: bool,
}

impl Bind {
    /// Puts the parts together; a destination that is not said is the source.
    ///
    /// # Errors
    /// A sentence, where one of them is none.
    pub(crate) fn new(
        source: &str,
        destination: Option<&str>,
        how: Option<&str>,
    ) -> Result<Self, (String, bool)> {
        let (optional, source) = source.strip_prefix('-').map_or((false, source), |rest| (true, rest));
        let clean =
            |path: &str| absolute(path).ok_or((format!("`{path}` is no absolute path without `..`"), false));
        let source = clean(source)?;
        let destination = destination.map_or_else(|| Ok(source.clone()), clean)?;
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if source.chars().chain(destination.chars()).any(odd) {
            return Err(("a value with blanks has no place in a word of `sandbox`".to_owned(), false));
        }
        let recursive = match how {
            None | Some("" | "rbind") => true,
            Some("norbind") => false,
            Some(other) => return Err((format!("`{other}` is neither `rbind` nor `norbind`"), true)),
        };
        if destination == "/" {
            // Whoever has the root already stays below what would lie over it.
            return Err(("`/` cannot be covered; see `RootDirectory`".to_owned(), false));
        }
        Ok(Self { optional, source, destination, recursive })
    }

    /// As a word has it. A backslash takes a colon, or another backslash, as it is.
    ///
    /// # Errors
    /// A sentence, and whether it is about the third part.
    pub(crate) fn read(value: &str) -> Result<Self, (String, bool)> {
        let mut parts = vec![String::new()];
        let mut rest = value.chars();
        while let Some(c) = rest.next() {
            let part = match c {
                ':' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => rest.next().ok_or(("a backslash ends the value".to_owned(), false))?,
                other => other,
            };
            if let Some(last) = parts.last_mut() {
                last.push(part);
            }
        }
        match parts.as_slice() {
            [source] => Self::new(source, None, None),
            [source, destination] => Self::new(source, Some(destination), None),
            [source, destination, how] => Self::new(source, Some(destination), Some(how)),
            _ => Err(("a bind has at most three parts".to_owned(), false)),
        }
    }

    /// The same, as short as it can be said.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(if self.optional { "-" } else { "" });
        text.push_str(&escaped(&self.source));
        if self.source != self.destination || !self.recursive {
            text.push(':');
            text.push_str(&escaped(&self.destination));
        }
        if !self.recursive {
            text.push_str(":norbind");
        }
        text
    }
}

fn escaped(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_back() {
        for (text, told) in [
            ("/a", "/a"),
            ("-/a//b/./:/c/", "-/a/b:/c"),
            ("/a:/a", "/a"),
            ("/a:/a:rbind", "/a"),
            ("/a:/b:", "/a:/b"),
            ("/a:/a:norbind", "/a:/a:norbind"),
            (r"/a\:b:/c\\d", r"/a\:b:/c\\d"),
            (r"/\a", "/a"),
            ("/:/host", "/:/host"),
        ] {
            let bind = Bind::read(text).unwrap();
            assert_eq!(bind.text(), told);
            assert_eq!(Bind::read(told).unwrap(), bind);
        }
        let bind = Bind::read(r"-/a\:b:/c:norbind").unwrap();
        assert_eq!((bind.optional, bind.recursive), (true, false));
        assert_eq!((bind.source.as_str(), bind.destination.as_str()), ("/a:b", "/c"));
    }

    #[test]
    fn what_is_none_is_said() {
        for (text, wanted) in [
            ("", "`` is no absolute path without `..`"),
            ("a", "`a` is no absolute path without `..`"),
            ("+/a", "`+/a` is no absolute path without `..`"),
            ("/a:", "`` is no absolute path without `..`"),
            ("/a:-/b", "`-/b` is no absolute path without `..`"),
            ("/a/../b", "`/a/../b` is no absolute path without `..`"),
            ("/a:/b/..", "`/b/..` is no absolute path without `..`"),
            ("/a:/b:rbnd", "`rbnd` is neither `rbind` nor `norbind`"),
            ("/a:/b:rbind:x", "a bind has at most three parts"),
            ("/a\u{a0}b", "a value with blanks has no place in a word of `sandbox`"),
            ("/a:/b\u{1}", "a value with blanks has no place in a word of `sandbox`"),
            ("/a\\", "a backslash ends the value"),
            ("/", "`/` cannot be covered; see `RootDirectory`"),
            ("/a:/.", "`/` cannot be covered; see `RootDirectory`"),
        ] {
            assert_eq!(Bind::read(text).unwrap_err().0, wanted, "{text}");
        }
    }
}
