//! The rules of other programs, as far as ours can say the same; every line that says something else is named. Reads text alone.

mod aide; //     aide.conf(5)
mod tripwire; // twpolicy(4)

pub use aide::aide;
pub use tripwire::tripwire;

use super::mask::Mask;
use super::rules::{Rule, Rules};
use super::text::escape;

/// Most lines of a file.
const MOST: usize = 100_000;

/// What was not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its line.
    pub line: usize,
    /// What stands there.
    pub text: String,
    /// Why.
    pub why: String,
}

/// What was carried over, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Rules, each with its line.
    pub rules: Vec<(usize, Rule)>,
    /// Names that are left out wherever they are.
    pub left_out: Vec<String>,
    /// What was not.
    pub left: Vec<Left>,
}

impl Carried {
    fn leave(&mut self, line: usize, text: impl Into<String>, why: impl Into<String>) {
        self.left.push(Left { line, text: text.into(), why: why.into() });
    }

    /// Adds a rule; one path has one.
    fn rule(&mut self, line: usize, text: &str, rule: Rule) {
        match self.rules.iter().find(|(_, other)| other.path == rule.path) {
            Some((_, other)) if *other == rule => {}
            Some((first, _)) => {
                let why = format!("line {first} has a rule for this path");
                self.leave(line, text, why);
            }
            None => self.rules.push((line, rule)),
        }
    }

    /// An integrity.toml that says it.
    pub fn toml(&self) -> String {
        let quoted = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        };
        let mut text = String::new();
        for left in &self.left {
            text.push_str(&format!(
                "# not carried over, line {}: {}: {}\n",
                left.line,
                escape(left.text.as_bytes()).replace("\\x20", " "),
                left.why
            ));
        }
        let names: Vec<String> = self.left_out.iter().map(|name| quoted(name.as_bytes())).collect();
        if !names.is_empty() {
            text.push_str(&format!("leave_out = [{}]\n", names.join(", ")));
        }
        text.push_str("\n[paths]\n");
        for (_, rule) in &self.rules {
            let mask = match rule.mask {
                mask if mask.is_empty() => "off".to_owned(),
                mask if mask == Mask::usual() => "usual".to_owned(),
                mask => format!("+{}", mask.letters()),
            };
            let alone = if rule.alone { " alone" } else { "" };
            text.push_str(&format!("{} = \"{mask}{alone}\"\n", quoted(&rule.path)));
        }
        text
    }

    /// What counts of a path by what was carried over so far.
    fn mask(&self, path: &[u8]) -> Mask {
        let rules = self.rules.iter().map(|(_, rule)| rule.clone()).collect();
        Rules::new(rules, Vec::new()).mask(path)
    }
}

/// Which lines a file's conditions let count.
#[derive(Default)]
struct Conditions(Vec<Option<bool>>);

impl Conditions {
    /// Whether what stands here counts; `None`: nobody knows.
    fn hold(&self) -> Option<bool> {
        self.0.iter().try_fold(true, |all, one| one.map(|one| all && one))
    }

    /// `else`. Whether there was an `if`.
    fn turn(&mut self) -> bool {
        self.0.last_mut().is_some_and(|last| {
            *last = last.map(|holds| !holds);
            true
        })
    }
}

/// A path that a rule of ours may have.
fn tidy(path: &str) -> Option<Vec<u8>> {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let path = if path.is_empty() { "/" } else { path };
    let parts = || path.split('/').skip(1);
    let fine = path == "/" || (path.starts_with('/') && !parts().any(|part| matches!(part, "" | "." | "..")));
    (fine && !path.chars().any(char::is_control)).then(|| path.as_bytes().to_vec())
}
