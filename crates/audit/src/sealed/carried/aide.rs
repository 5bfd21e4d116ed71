//! aide.conf(5): groups and rules whose regular expression is a path, or the end of a name. A dot that is not escaped is taken for a dot.

use super::{Carried, Conditions, MOST, tidy};
use crate::sealed::mask::Mask;
use crate::sealed::rules::{Rule, is_below};
use std::collections::{BTreeMap, BTreeSet};

/// AIDE's words for properties, and our letters; `-`: we have none, and why. Digests are apart.
const WORDS: [(&str, &str); 28] = [
    ("p", "p"),
    ("i", "i"),
    ("n", "n"),
    ("u", "u"),
    ("g", "g"),
    ("s", "s"),
    ("m", "m"),
    ("c", "c"),
    ("l", "k"),
    ("ftype", "t"),
    ("acl", "A"),
    ("selinux", "Z"),
    ("xattrs", "x"),
    ("caps", "P"),
    ("e2fsattrs", "e"),
    ("X", "AZxPe"),
    ("R", "ptiknugsmcAZxPe"),
    ("L", "ptiknugAZxPe"),
    ("E", ""),
    ("a", "-the time of access is not recorded: looking would change it"),
    ("b", "-blocks say how a file is stored, not what it holds"),
    ("S", "-a file that may grow is one whose size does not count"),
    ("growing", "-a file that may grow is one whose size does not count"),
    ("compressed", "-what was compressed is another file"),
    ("I", "-a file is known by its path alone"),
    ("ANF", "-new files count"),
    ("ARF", "-files that are gone count"),
    (">", "-a file that may grow is one whose size does not count"),
];

/// AIDE's digests: ours is one, which counts as long as any of them does.
const DIGESTS: [&str; 16] = [
    "md5",
    "sha1",
    "sha256",
    "sha512",
    "sha512_256",
    "sha3_256",
    "sha3_512",
    "rmd160",
    "tiger",
    "haval",
    "crc32",
    "crc32b",
    "gost",
    "whirlpool",
    "stribog256",
    "stribog512",
];

/// What a group stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    /// All but digests.
    mask: Mask,
    digests: BTreeSet<&'static str>,
}

impl Group {
    /// What AIDE's own word stands for, where that is digests.
    fn digests(word: &str) -> BTreeSet<&'static str> {
        match word {
            "H" => DIGESTS.into(),
            // The one of AIDE up to 0.18, and the one since.
            "R" => ["md5", "sha3_256"].into(),
            _ => DIGESTS.into_iter().filter(|digest| *digest == word).collect(),
        }
    }

    fn change(&mut self, on: bool, other: &Group) {
        if on {
            self.mask = self.mask.or(other.mask);
            self.digests.extend(&other.digests);
        } else {
            self.mask = self.mask.and_not(other.mask);
            self.digests.retain(|digest| !other.digests.contains(digest));
        }
    }

    /// In our letters.
    fn whole(&self) -> Mask {
        if self.digests.is_empty() { self.mask } else { self.mask.with('S') }
    }
}

/// Settings, which say nothing of what is looked at; each begins with one of these.
const SETTINGS: [&str; 16] = [
    "database",
    "gzip_dbout",
    "log_level",
    "report_",
    "root_prefix",
    "verbose",
    "warn_dead_symlinks",
    "acl_no_symlink_follow",
    "config_",
    "num_workers",
    "syslog_format",
    "grouped",
    "summarize_changes",
    "ignore_list",
    "recstop",
    "limit",
];

/// Reads an aide.conf.
pub fn aide(text: &str) -> Carried {
    let mut reader = Reader::default();
    for (at, line) in text.lines().take(MOST).enumerate() {
        reader.line(at + 1, line.trim());
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    carried: Carried,
    defined: BTreeMap<String, String>,
    groups: BTreeMap<String, Group>,
    conditions: Conditions,
    /// Directories whose contents are left out, and not they themselves.
    hollow: Vec<(usize, String, Vec<u8>)>,
}

impl Reader {
    fn line(&mut self, number: usize, text: &str) {
        if text.is_empty() || text.starts_with('#') {
            return;
        }
        if let Some(directive) = text.strip_prefix("@@").filter(|rest| !rest.starts_with('{')) {
            return self.directive(number, text, directive);
        }
        match self.conditions.hold() {
            Some(true) => {}
            Some(false) => return,
            None => {
                return self.carried.leave(
                    number,
                    text,
                    "a condition that is not understood decides over it",
                );
            }
        }
        let Some(line) = self.substitute(text) else {
            return self.carried.leave(number, text, "a variable in it is not defined");
        };
        let first = line.chars().next().unwrap_or(' ');
        if matches!(first, '/' | '!' | '=') || line.starts_with(".*") {
            return self.rule(number, text, &line);
        }
        match line.split_once('=') {
            Some((name, _)) if SETTINGS.iter().any(|setting| name.trim().starts_with(setting)) => {
                self.carried.leave(number, text, "a setting says nothing of what is looked at");
            }
            Some((name, value)) => {
                if let Some(group) = self.group(number, text, value.trim()) {
                    self.groups.insert(name.trim().to_owned(), group);
                }
            }
            None => self.carried.leave(number, text, "this is not understood"),
        }
    }

    fn directive(&mut self, number: usize, text: &str, directive: &str) {
        let mut words = directive.split_whitespace();
        let (name, variable) = (words.next().unwrap_or_default(), words.next());
        let is_defined = |this: &Self| variable.map(|name| this.defined.contains_key(name));
        let counts = self.conditions.hold() == Some(true);
        match (name, variable) {
            ("define", Some(variable)) if counts => {
                let value = words.collect::<Vec<_>>().join(" ");
                self.defined.insert(variable.to_owned(), value);
            }
            ("undef", Some(variable)) if counts => {
                self.defined.remove(variable);
            }
            ("define" | "undef", Some(_)) => {}
            ("ifdef", _) => self.conditions.0.push(is_defined(self)),
            ("ifndef", _) => self.conditions.0.push(is_defined(self).map(|defined| !defined)),
            ("if" | "ifhost" | "ifnhost", _) => {
                self.conditions.0.push(None);
                self.carried.leave(number, text, "only ifdef and ifndef are understood");
            }
            ("else", _) if self.conditions.turn() => {}
            ("endif", _) if self.conditions.0.pop().is_some() => {}
            ("include" | "x_include" | "x_include_setenv", _) => {
                self.carried.leave(number, text, "import that file by itself");
            }
            _ => self.carried.leave(number, text, "this is not understood"),
        }
    }

    fn substitute(&self, text: &str) -> Option<String> {
        let mut line = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("@@{") {
            let (name, after) = after.split_once('}')?;
            line.push_str(before);
            line.push_str(self.defined.get(name)?);
            rest = after;
        }
        line.push_str(rest);
        Some(line)
    }

    /// What `p+u+g-x` stands for. What of it has no letter of ours is named.
    fn group(&mut self, number: usize, text: &str, value: &str) -> Option<Group> {
        let mut group = Group::default();
        let (mut on, mut word) = (true, String::new());
        for sign in value.chars().chain(['+']) {
            if !matches!(sign, '+' | '-') {
                word.push(sign);
                continue;
            }
            let name = word.trim();
            if !name.is_empty() {
                let one = match self.groups.get(name) {
                    Some(group) => group.clone(),
                    None => self.own(number, text, name, on)?,
                };
                group.change(on, &one);
            }
            word.clear();
            on = sign == '+';
        }
        Some(group)
    }

    /// What a word of AIDE's own stands for.
    fn own(&mut self, number: usize, text: &str, name: &str, on: bool) -> Option<Group> {
        let digests = Group::digests(name);
        let letters = match WORDS.iter().find(|(own, _)| *own == name) {
            Some((_, letters)) => *letters,
            None if digests.is_empty() => {
                self.carried.leave(number, text, format!("{name} is no property and no group"));
                return None;
            }
            None => "",
        };
        if let Some(why) = letters.strip_prefix('-').filter(|_| on) {
            self.carried.leave(number, text, format!("{name}: {why}"));
        }
        let letters = match letters.starts_with('-') {
            // A file that grows: all but what its growth changes.
            true if name == ">" => "ptkugin",
            true => "",
            false => letters,
        };
        Some(Group { mask: Mask::read(&format!("+{letters}")).unwrap_or_default(), digests })
    }

    fn rule(&mut self, number: usize, text: &str, line: &str) {
        let (sign, rest) = match line.chars().next() {
            Some(sign @ ('!' | '=')) => (Some(sign), line.get(1..).unwrap_or_default().trim()),
            _ => (None, line),
        };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (pattern, group) = match (sign, &words[..]) {
            (Some('!'), [pattern]) => (*pattern, None),
            (Some('=') | None, [pattern, group]) => (*pattern, Some(*group)),
            (Some('!'), _) => return self.carried.leave(number, text, "a rule for some kinds of files only"),
            _ => return self.carried.leave(number, text, "a path and a group were expected"),
        };
        let mask = match group {
            None => Mask::default(),
            Some(group) => match self.group(number, text, group) {
                Some(group) => group.whole(),
                None => return,
            },
        };
        let shape = shape(pattern);
        match (sign, shape) {
            (Some('!'), Some(Shape::Name(name))) => self.carried.left_out.push(name),
            (Some('!'), Some(Shape::Below(path))) => self.hollow.push((number, text.to_owned(), path)),
            (None, Some(Shape::Below(path) | Shape::Path(path)))
            | (Some('!'), Some(Shape::Path(path) | Shape::Only(path))) => {
                self.carried.rule(number, text, Rule { path, mask, alone: false });
            }
            (_, Some(Shape::Only(path))) => self.carried.rule(number, text, Rule { path, mask, alone: true }),
            (Some('='), Some(Shape::Path(_))) => {
                self.carried.leave(number, text, "a path and what is in it, but nothing below that: with `$` at its end it is the path alone");
            }
            _ => self.carried.leave(number, text, "the regular expression is no path"),
        }
    }

    fn finish(mut self) -> Carried {
        // In AIDE what is left out is left out, whatever else is said of what is below it.
        let off: Vec<Vec<u8>> = self
            .carried
            .rules
            .iter()
            .filter(|(_, rule)| rule.mask.is_empty())
            .map(|(_, rule)| rule.path.clone())
            .collect();
        let hidden = |rule: &Rule| off.iter().any(|path| *path != rule.path && is_below(&rule.path, path));
        let (hidden, kept): (Vec<_>, Vec<_>) =
            self.carried.rules.into_iter().partition(|(_, rule)| hidden(rule));
        self.carried.rules = kept;
        for (line, rule) in hidden.into_iter().filter(|(_, rule)| !rule.mask.is_empty()) {
            let text = String::from_utf8_lossy(&rule.path).into_owned();
            self.carried.leave(line, text, "a rule with `!` leaves out what it is in");
        }
        for (line, text, path) in self.hollow {
            let mask = self.carried.mask(&path);
            if !mask.is_empty() {
                self.carried.rule(line, &text, Rule { path, mask, alone: true });
            }
        }
        self.carried.left.sort_by_key(|left| left.line);
        self.carried
    }
}

/// What an expression matches, where ours can say that.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// A path and all below it.
    Path(Vec<u8>),
    /// A path alone.
    Only(Vec<u8>),
    /// What is below a path.
    Below(Vec<u8>),
    /// A name, wherever it is; a `*` stands for anything.
    Name(String),
}

fn shape(pattern: &str) -> Option<Shape> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let end = pattern.strip_suffix('$').filter(|rest| !rest.ends_with('\\'));
    if let Some(name) = pattern.strip_prefix("/.*").or_else(|| pattern.strip_prefix(".*")) {
        let name = literal(name.strip_suffix('$')?)?;
        let (name, star) = name.strip_prefix('/').map_or((name.as_str(), "*"), |name| (name, ""));
        let plain = !name.is_empty() && !name.contains(['/', '*']);
        return plain.then(|| Shape::Name(format!("{star}{name}")));
    }
    let body = end.unwrap_or(pattern);
    let below =
        ["/.*", "/.+", "/"].iter().find_map(|tail| body.strip_suffix(tail)).filter(|path| !path.is_empty());
    if let Some(path) = below {
        return tidy(&literal(path)?).map(Shape::Below);
    }
    let path = tidy(&literal(body)?)?;
    Some(if end.is_some() { Shape::Only(path) } else { Shape::Path(path) })
}

/// The text that an expression without signs of its own stands for.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut signs = pattern.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => text.push(signs.next().filter(|next| !next.is_alphanumeric())?),
            '.' if matches!(signs.peek(), Some('*' | '+' | '?' | '{')) => return None,
            '*' | '+' | '?' | '[' | ']' | '(' | ')' | '{' | '}' | '|' | '^' | '$' => return None,
            _ => text.push(sign),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::rules::Rules;

    const CONF: &str = "\
# a comment
database_in=file:/var/lib/aide/aide.db
@@define DIR /srv
@@ifdef DIR
NORMAL = p+u+g+s+m+sha512+acl
@@else
NORMAL = a
@@endif
LOG = p+u+g+n+S
ALL = R-m-c
/etc NORMAL
/etc/adjtime$ NORMAL
=/var/log$ p+u
!/etc/mtab$
!/etc/cache
/etc/cache/more NORMAL
!@@{DIR}/www/tmp/.*
@@{DIR}/www ALL
!/.*\\.pyc$
!/.*/\\.git$
/var/log/.*\\.log LOG
/ld\\.so\\.conf p+nothing
=/run p
/boot d,f NORMAL
@@include /etc/aide/more.conf
@@if defined X
/x NORMAL
@@endif
/etc p
";

    #[test]
    fn what_can_be_said_is_and_every_other_line_is_named() {
        let carried = aide(CONF);
        let left: Vec<_> =
            carried.left.iter().map(|left| (left.line, left.why.split(' ').next().unwrap())).collect();
        assert_eq!(
            left,
            [
                (2, "a"),
                (9, "S:"),
                (16, "a"),
                (21, "the"),
                (22, "nothing"),
                (23, "a"),
                (24, "a"),
                (25, "import"),
                (26, "only"),
                (27, "a"),
                (29, "line")
            ],
            "{:#?}",
            carried.left
        );
        let rules = Rules::read("integrity.toml", &carried.toml()).unwrap();
        for (path, letters) in [
            ("/etc/x/y", "pugsmSA"),
            ("/etc/adjtime", "pugsmSA"),
            ("/etc/adjtime/x", ""),
            ("/var/log", "pu"),
            ("/var/log/x", ""),
            ("/etc/mtab", ""),
            ("/etc/cache/more", ""),
            ("/srv/www/x", "ptiknugsSAZxPe"),
            ("/srv/www/x.pyc", ""),
            ("/srv/www/.git", ""),
            ("/srv/www/tmp/x", ""),
        ] {
            let found = rules.mask(path.as_bytes());
            let expected = Mask::read(&format!("+{letters}")).unwrap();
            assert_eq!(found.letters(), expected.letters(), "{path}\n{}", carried.toml());
        }
        assert!(!rules.mask(b"/srv/www/tmp").is_empty());
    }

    /// One digest less is not the content left out.
    #[test]
    fn the_content_counts_as_long_as_any_digest_does() {
        for (group, counts) in [
            ("R+sha512-md5", true),
            ("sha256+sha512-sha256", true),
            ("L+sha256-sha256", false),
            ("R-H", false),
            ("H-md5", true),
            ("OWN-md5+sha1", true),
            ("OWN-md5", false),
            ("L", false),
        ] {
            let carried = aide(&format!("OWN = p+md5\n/x {group}\n"));
            assert_eq!((carried.left.len(), carried.rules[0].1.mask.has('S')), (0, counts), "{group}");
        }
    }

    #[test]
    fn any_text_is_read() {
        for text in
            ["", "@@", "@@else", "@@endif\n@@{", "=", "!", "/", "/ R", "!/\\", "x = +-+", "! ! !", "/a\\ b R"]
        {
            let _ = aide(text);
        }
        assert_eq!(shape("/a/b\\$"), Some(Shape::Path(b"/a/b$".to_vec())));
        assert_eq!(shape("/a/../b"), None);
    }
}
