//! Which paths are looked at, and which of their properties count: `integrity.toml`, or what stands for it where there is none.
//! Reads the text alone; looks at no path.

use super::mask::Mask;
use toml_span::value::ValueInner;

/// Where the rules stand.
pub const PATH: &str = "/etc/portreeve/integrity.toml";

/// Most rules, and most patterns of one.
const MOST: usize = 1000;

/// What is looked at where nobody says otherwise: what a package brings, what root runs, and what decides who may come in.
const USUAL: [&str; 9] = ["/bin", "/boot", "/etc", "/lib", "/lib64", "/opt", "/root", "/sbin", "/usr"];

/// What of that changes all the time and is nobody's code.
const USUAL_LEFT_OUT: [&str; 6] = [
    "/etc/mtab",
    "/etc/resolv.conf",
    "/etc/adjtime",
    "/root/.cache",
    "/root/.bash_history",
    "/usr/share/mime/mime.cache",
];

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// It holds for this path and all below it, unless a longer one does.
    pub path: Vec<u8>,
    /// What counts there; none: it is left out.
    pub mask: Mask,
    /// It holds for this path, and what is below it is left out.
    pub alone: bool,
}

/// All rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// By path, in the order of a walk.
    rules: Vec<Rule>,
    /// Names of files that are left out wherever they are: a `*` stands for anything.
    left_out: Vec<String>,
}

impl Rules {
    /// Those of a host where nobody wrote any.
    pub fn usual() -> Self {
        let on = USUAL.map(|path| Rule { path: path.into(), mask: Mask::usual(), alone: false });
        let off = USUAL_LEFT_OUT.map(|path| Rule { path: path.into(), mask: Mask::default(), alone: false });
        Self::new(on.into_iter().chain(off).collect(), Vec::new())
    }

    /// The usual mask for these paths alone.
    pub fn of(paths: &[Vec<u8>]) -> Self {
        Self::new(
            paths.iter().map(|path| Rule { path: path.clone(), mask: Mask::usual(), alone: false }).collect(),
            Vec::new(),
        )
    }

    pub(super) fn new(mut rules: Vec<Rule>, left_out: Vec<String>) -> Self {
        rules.sort_by(|a, b| super::entry::order(&a.path, &b.path));
        Self { rules, left_out }
    }

    /// Reads an `integrity.toml`.
    ///
    /// # Errors
    /// What is wrong, with `name:line:column`.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let place = |at: usize| {
            let before = text.get(..at).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
            format!("{name}:{line}:{column}")
        };
        let mut document =
            toml_span::parse(text).map_err(|error| format!("{}: {}", place(error.span.start), error.kind))?;
        let ValueInner::Table(table) = document.take() else {
            return Err(format!("{name}: a table was expected"));
        };
        let (mut rules, mut left_out) = (Vec::new(), Vec::new());
        for (key, mut value) in table {
            let at = place(key.span.start);
            match (key.name.as_ref(), value.take()) {
                ("leave_out", ValueInner::Array(names)) => {
                    for mut one in names {
                        let at = place(one.span.start);
                        match one.take() {
                            ValueInner::String(name) if !name.is_empty() && !name.contains('/') => {
                                left_out.push(name.into_owned());
                            }
                            _ => return Err(format!("{at}: the name of a file was expected, as \"*.pyc\"")),
                        }
                    }
                }
                ("paths", ValueInner::Table(paths)) => {
                    for (path, mut mask) in paths {
                        let at = place(path.span.start);
                        let path = path_of(&path.name).map_err(|why| format!("{at}: {why}"))?;
                        let at = place(mask.span.start);
                        let (mask, alone) = match mask.take() {
                            ValueInner::String(mask) => {
                                mask_of(&mask).map_err(|why| format!("{at}: {why}"))?
                            }
                            _ => {
                                return Err(format!(
                                    "{at}: a mask was expected, as \"usual\", \"off\", \"+ptug\" or \"+ptug alone\""
                                ));
                            }
                        };
                        rules.push(Rule { path, mask, alone });
                    }
                }
                ("leave_out" | "paths", _) => {
                    return Err(format!(
                        "{at}: `paths` is a table of path = \"mask\", `leave_out` a list of names"
                    ));
                }
                (other, _) => {
                    return Err(format!("{at}: `{other}` is unknown: expected `paths` or `leave_out`"));
                }
            }
        }
        if rules.iter().all(|rule| rule.mask.is_empty()) {
            return Err(format!("{name}: `paths` names nothing to look at"));
        }
        if rules.len() > MOST || left_out.len() > MOST {
            return Err(format!("{name}: more than {MOST} rules"));
        }
        Ok(Self::new(rules, left_out))
    }

    /// The lines that stand for them in a baseline; [`Rules::from_lines`] reads them.
    pub fn lines(&self) -> Vec<String> {
        let rule = |rule: &Rule| {
            let mask = if rule.mask.is_empty() { "off".to_owned() } else { rule.mask.letters() };
            let alone = if rule.alone { " alone" } else { "" };
            format!("rule {mask} {}{alone}", super::text::escape(&rule.path))
        };
        let name = |name: &String| format!("leave-out {}", super::text::escape(name.as_bytes()));
        self.rules.iter().map(rule).chain(self.left_out.iter().map(name)).collect()
    }

    /// The rules of such lines.
    pub fn from_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let (mut rules, mut left_out) = (Vec::new(), Vec::new());
        for line in lines {
            let mut words = line.split(' ');
            match (words.next()?, words.next()?, words.next(), words.next(), words.next()) {
                ("rule", mask, Some(path), alone @ (None | Some("alone")), None) => {
                    let (mask, _) = mask_of(mask).ok()?;
                    rules.push(Rule { path: super::text::unescape(path)?, mask, alone: alone.is_some() });
                }
                ("leave-out", name, None, None, None) => {
                    left_out.push(String::from_utf8(super::text::unescape(name)?).ok()?);
                }
                _ => return None,
            }
        }
        Some(Self::new(rules, left_out))
    }

    /// Where a walk begins: the paths that are not below another.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        let looked_at = self.rules.iter().filter(|rule| !rule.mask.is_empty());
        let mut roots: Vec<Vec<u8>> = Vec::new();
        for rule in looked_at {
            if !roots.iter().any(|root| is_below(&rule.path, root)) {
                roots.push(rule.path.clone());
            }
        }
        roots
    }

    /// What counts of a path; none where it is left out.
    pub fn mask(&self, path: &[u8]) -> Mask {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if self.is_left_out(name) {
            return Mask::default();
        }
        let holds = self.rules.iter().filter(|rule| is_below(path, &rule.path));
        let rule = holds.max_by_key(|rule| rule.path.len());
        rule.filter(|rule| !rule.alone || rule.path == path).map_or(Mask::default(), |rule| rule.mask)
    }

    /// Whether files of this name are left out wherever they are.
    pub fn is_left_out(&self, name: &[u8]) -> bool {
        self.left_out.iter().any(|pattern| fits(pattern.as_bytes(), name))
    }

    /// What counts of everything below a directory, names that are left out aside; `None` where that depends on more than the directory.
    pub fn mask_below(&self, path: &[u8]) -> Option<Mask> {
        if self.rules.iter().any(|rule| rule.path != path && is_below(&rule.path, path)) {
            return None;
        }
        // Only which rule holds counts: no path of a rule is this long, so the name does not matter.
        let holds = self.rules.iter().filter(|rule| is_below(path, &rule.path));
        let rule = holds.max_by_key(|rule| rule.path.len());
        Some(rule.filter(|rule| !rule.alone).map_or(Mask::default(), |rule| rule.mask))
    }

    /// Whether something below a path that is left out is looked at all the same.
    pub fn reaches_below(&self, path: &[u8]) -> bool {
        self.rules.iter().any(|rule| !rule.mask.is_empty() && is_below(&rule.path, path))
    }
}

fn path_of(text: &str) -> Result<Vec<u8>, String> {
    let tidy = text.starts_with('/') && !text.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."));
    if tidy || text == "/" {
        return Ok(text.as_bytes().to_vec());
    }
    Err(format!("`{text}`: an absolute path was expected, without `.`, `..` or a slash at its end"))
}

/// A mask, and whether it holds for its path alone.
fn mask_of(text: &str) -> Result<(Mask, bool), String> {
    let (mask, alone) = text.strip_suffix(" alone").map_or((text, false), |mask| (mask, true));
    let mask = match mask {
        "usual" => Mask::usual(),
        "off" => Mask::default(),
        letters => Mask::read(letters)?,
    };
    Ok((mask, alone))
}

/// Whether `path` is `above` or below it.
pub fn is_below(path: &[u8], above: &[u8]) -> bool {
    above == b"/" || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Whether a name fits a pattern with `*`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            (star, p) = (Some((p + 1, n)), p + 1);
        } else if pattern.get(p) == name.get(n) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((after, from)) = star {
            (star, p, n) = (Some((after, from + 1)), after, from + 1);
        } else {
            return false;
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_decides() {
        let text = "leave_out = [\"*.pyc\"]\n[paths]\n\"/usr\" = \"usual\"\n\"/usr/local\" = \"off\"\n\"/usr/local/bin\" = \"+pS\"\n\"/usr/share\" = \"p alone\"\n";
        let rules = Rules::read("integrity.toml", text).unwrap();
        assert_eq!(rules.roots(), [b"/usr".to_vec()]);
        for (path, letters) in [
            ("/usr/bin/ls", Mask::usual().letters()),
            ("/usr/local/x", String::new()),
            ("/usr/local/bin/x", "pS".to_owned()),
            ("/usr/lib/a.pyc", String::new()),
            ("/usrx", String::new()),
            ("/usr/share", "p".to_owned()),
            ("/usr/share/x", String::new()),
        ] {
            assert_eq!(rules.mask(path.as_bytes()).letters(), letters, "{path}");
        }
        assert!(rules.reaches_below(b"/usr/local") && !rules.reaches_below(b"/usr/bin"));
        for (path, below) in [
            ("/usr", None),
            ("/usr/local", None),
            ("/usr/local/bin", Some("pS".to_owned())),
            ("/usr/share", Some(String::new())),
            ("/usr/bin/a", Some(Mask::usual().letters())),
        ] {
            assert_eq!(rules.mask_below(path.as_bytes()).map(Mask::letters), below, "{path}");
        }
        let lines = rules.lines();
        assert_eq!(Rules::from_lines(lines.iter().map(String::as_str)), Some(rules));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, expected) in [
            ("[paths]\n\"/usr/\" = \"usual\"", "x:2:2: `/usr/`: an absolute path"),
            ("[paths]\n\"/usr\" = \"+q\"", "x:2:11: `q` is no property"),
            ("pats = 1", "x:1:1: `pats` is unknown"),
            ("leave_out = [\"a/b\"]", "x:1:15: the name of a file"),
            ("[paths]\n\"/a\" = \"off\"", "x: `paths` names nothing"),
            ("[paths", "x:1:"),
        ] {
            let said = Rules::read("x", text).unwrap_err();
            assert!(said.starts_with(expected), "{text}: {said}");
        }
    }

    #[test]
    fn stars() {
        for (pattern, name, expected) in [
            ("*.pyc", "a.pyc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b", "a", false),
            ("*", "", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
