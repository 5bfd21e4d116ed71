//! twpolicy(4): variables, rules, blocks of rules with attributes, stop points. The longest path decides there as here.

use super::{Carried, Conditions, MOST, tidy};
use crate::sealed::mask::Mask;
use crate::sealed::rules::Rule;
use std::collections::BTreeMap;

/// The masks that Tripwire brings.
const PREDEFINED: [(&str, &str); 6] = [
    ("ReadOnly", "+pinugtsdbmCM-rlacSH"),
    ("Dynamic", "+pinugtd-srlbamcCMSH"),
    ("Growing", "+pinugtdl-srbamcCMSH"),
    ("Device", "+pugsdr-intlbamcCMSH"),
    ("IgnoreAll", "-pinugtsdrlbamcCMSH"),
    ("IgnoreNone", "+pinugtsdrbamcCMSH-l"),
];

/// Reads a twpol.txt.
pub fn tripwire(text: &str) -> Carried {
    let mut reader = Reader::default();
    let words = reader.words(text);
    reader.statements(&words);
    reader.carried.left.sort_by_key(|left| left.line);
    reader.carried
}

/// A word and its line. What was quoted is never a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    line: usize,
    quoted: bool,
}

impl Word {
    fn is(&self, sign: &str) -> bool {
        !self.quoted && self.text == sign
    }
}

#[derive(Default)]
struct Reader {
    carried: Carried,
    variables: BTreeMap<String, String>,
}

impl Reader {
    /// The words of all lines that count.
    fn words(&mut self, text: &str) -> Vec<Word> {
        let (mut words, mut conditions) = (Vec::new(), Conditions::default());
        for (at, line) in text.lines().take(MOST).enumerate() {
            let (number, line) = (at + 1, line.trim());
            if let Some(directive) = line.strip_prefix("@@") {
                let name = directive.split_whitespace().next().unwrap_or_default();
                match name {
                    "section" => {}
                    "ifhost" => {
                        conditions.0.push(None);
                        self.carried.leave(number, line, "which host it is for is not asked");
                    }
                    "else" if conditions.turn() => {}
                    "endif" if conditions.0.pop().is_some() => {}
                    "end" => break,
                    _ => self.carried.leave(number, line, "this says nothing of what is looked at"),
                }
                continue;
            }
            if conditions.hold() == Some(true) {
                split(line, number, &mut words);
            } else if !line.is_empty() && !line.starts_with('#') {
                self.carried.leave(number, line, "a condition that is not understood decides over it");
            }
        }
        words
    }

    fn statements(&mut self, words: &[Word]) {
        let mut rest = words;
        // The attributes of the block that this is in.
        let mut block: Option<bool> = None;
        while let Some(first) = rest.first() {
            if first.is("(") {
                let (inner, after) = until(rest.get(1..).unwrap_or_default(), ")");
                block = Some(self.attributes(inner));
                rest = after;
                if let Some(brace) = rest.first().filter(|word| word.is("{")) {
                    let _ = brace;
                    rest = rest.get(1..).unwrap_or_default();
                }
                continue;
            }
            if first.is("{") || first.is("}") || first.is(";") {
                if first.is("}") {
                    block = None;
                }
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let (statement, after) = until(rest, ";");
            self.statement(statement, block.unwrap_or(false));
            rest = after;
        }
    }

    /// The attributes of a rule or a block: whether it is for the path alone.
    fn attributes(&mut self, words: &[Word]) -> bool {
        let mut alone = false;
        for part in words.split(|word| word.is(",")) {
            let [name, equals, value] = part else {
                if let Some(first) = part.first() {
                    self.carried.leave(first.line, said(part), "an attribute and its value were expected");
                }
                continue;
            };
            let value_text = self.substitute(&value.text).unwrap_or_default();
            match (name.text.as_str(), value_text.as_str()) {
                _ if !equals.is("=") => self.carried.leave(name.line, said(part), "`=` was expected"),
                ("recurse", "true" | "-1") => {}
                ("recurse", "false" | "0") => alone = true,
                ("recurse", _) => {
                    self.carried.leave(
                        name.line,
                        said(part),
                        "all that is below the path is looked at, however deep",
                    );
                }
                _ => self.carried.leave(name.line, said(part), "this says nothing of what is looked at"),
            }
        }
        alone
    }

    fn statement(&mut self, words: &[Word], alone_in_block: bool) {
        let Some(first) = words.first() else { return };
        let (line, text) = (first.line, said(words));
        if let [name, equals, value @ ..] = words
            && equals.is("=")
        {
            let value: String = value.iter().map(|word| word.text.as_str()).collect();
            match self.substitute(&value) {
                Some(value) => {
                    self.variables.insert(name.text.clone(), value);
                }
                None => self.carried.leave(line, text, "a variable in it is not defined"),
            }
            return;
        }
        let stop = first.is("!") || (!first.quoted && first.text.starts_with('!'));
        if stop {
            let path: String = words.iter().map(|word| word.text.as_str()).collect();
            return match self.path(path.trim_start_matches('!')) {
                Some(path) => {
                    self.carried.rule(line, &text, Rule { path, mask: Mask::default(), alone: false })
                }
                None => self.carried.leave(line, text, "an absolute path was expected"),
            };
        }
        let Some(at) = words.iter().position(|word| word.is("->")) else {
            return self.carried.leave(line, text, "this is not understood");
        };
        let (path, mask) = words.split_at(at);
        let mask = mask.get(1..).unwrap_or_default();
        let (mask, attributes) =
            mask.split_at(mask.iter().position(|word| word.is("(")).unwrap_or(mask.len()));
        let (attributes, _) = until(attributes.get(1..).unwrap_or_default(), ")");
        let alone = self.attributes(attributes) || alone_in_block;
        let path: String = path.iter().map(|word| word.text.as_str()).collect();
        let mask: String = mask.iter().map(|word| word.text.as_str()).collect();
        let (Some(path), Some(mask)) = (self.path(&path), self.substitute(&mask)) else {
            return self.carried.leave(
                line,
                text,
                "an absolute path was expected, and variables that are defined",
            );
        };
        if let Some(mask) = self.mask(line, &text, &mask) {
            self.carried.rule(line, &text, Rule { path, mask, alone });
        }
    }

    fn path(&self, text: &str) -> Option<Vec<u8>> {
        tidy(&self.substitute(text)?)
    }

    fn substitute(&self, text: &str) -> Option<String> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("$(") {
            let (name, after) = after.split_once(')')?;
            whole.push_str(before);
            let predefined = || PREDEFINED.iter().find(|(own, _)| *own == name).map(|(_, mask)| *mask);
            whole.push_str(self.variables.get(name).map(String::as_str).or_else(predefined)?);
            rest = after;
        }
        whole.push_str(rest);
        Some(whole)
    }

    fn mask(&mut self, line: usize, text: &str, letters: &str) -> Option<Mask> {
        let mut set = std::collections::BTreeSet::new();
        let mut on = true;
        for letter in letters.chars() {
            match letter {
                '+' => on = true,
                '-' => on = false,
                'p' | 'i' | 'n' | 'u' | 'g' | 't' | 's' | 'd' | 'r' | 'l' | 'b' | 'a' | 'm' | 'c' | 'C'
                | 'M' | 'S' | 'H' => {
                    if on {
                        set.insert(letter)
                    } else {
                        set.remove(&letter)
                    };
                }
                _ => {
                    self.carried.leave(line, text, format!("{letter} is no property"));
                    return None;
                }
            }
        }
        for (letter, why) in [
            ('a', "the time of access is not recorded: looking would change it"),
            ('l', "a file that may grow is one whose size does not count"),
        ] {
            if set.contains(&letter) {
                self.carried.leave(line, text, format!("{letter}: {why}"));
            }
        }
        let digest = set.iter().any(|letter| matches!(letter, 'C' | 'M' | 'S' | 'H'));
        // Blocks: the size and the content say what they would.
        let kept = set.iter().filter(|letter| !matches!(letter, 'a' | 'l' | 'b' | 'C' | 'M' | 'S' | 'H'));
        let mut mask = kept.fold(Mask::default(), |mask, letter| mask.with(*letter));
        if digest {
            // Where a link leads is its content.
            mask = mask.with('S').with('k');
        }
        Some(mask)
    }
}

/// What stands before a sign and what after it.
fn until<'a>(words: &'a [Word], sign: &str) -> (&'a [Word], &'a [Word]) {
    match words.iter().position(|word| word.is(sign)) {
        Some(at) => (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default()),
        None => (words, &[]),
    }
}

fn said(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Splits a line; `$(NAME)` is part of a word, as quotes make one.
fn split(line: &str, number: usize, words: &mut Vec<Word>) {
    let mut word = String::new();
    let mut push = |word: &mut String, quoted: bool| {
        if !word.is_empty() || quoted {
            words.push(Word { text: std::mem::take(word), line: number, quoted });
        }
    };
    let mut signs = line.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '#' => break,
            '"' => {
                push(&mut word, false);
                while let Some(inner) = signs.next().filter(|inner| *inner != '"') {
                    word.push(if inner == '\\' { signs.next().unwrap_or('\\') } else { inner });
                }
                push(&mut word, true);
            }
            '$' if signs.peek() == Some(&'(') => {
                word.push('$');
                for inner in signs.by_ref() {
                    word.push(inner);
                    if inner == ')' {
                        break;
                    }
                }
            }
            '-' if signs.peek() == Some(&'>') => {
                signs.next();
                push(&mut word, false);
                push(&mut "->".to_owned(), false);
            }
            ';' | '(' | ')' | '{' | '}' | ',' | '=' => {
                push(&mut word, false);
                push(&mut sign.to_string(), false);
            }
            _ if sign.is_whitespace() => push(&mut word, false),
            _ => word.push(sign),
        }
    }
    push(&mut word, false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::rules::Rules;

    const POLICY: &str = "\
@@section GLOBAL
TREE=/srv/tree;
@@section FS
SEC_CRIT = $(IgnoreNone)-SHa ; # all but these
SEC_BIN = $(ReadOnly) ;
SEC_LOW = +tpug;
(
  rulename = \"Test binaries\",
  severity = 100
)
{
  $(TREE)/bin -> $(SEC_BIN) ;
  $(TREE) -> $(SEC_CRIT) (recurse = true) ;
  $(TREE)/var -> $(SEC_LOW) (recurse = false) ;
  !$(TREE)/tmp ;
}
(recurse = 0) {
  /etc -> $(SEC_BIN) -m ;
}
\"/a b\" -> +pS;
/log -> $(Growing);
/deep -> +p (recurse = 3);
/x -> $(NOTHING);
/y -> +pq;
relative -> +p;
@@ifhost other
/z -> +p;
@@endif
@@print \"hello\"
";

    #[test]
    fn what_can_be_said_is_and_every_other_line_is_named() {
        let carried = tripwire(POLICY);
        let lines: Vec<_> = carried.left.iter().map(|left| left.line).collect();
        assert_eq!(lines, [8, 9, 21, 22, 23, 24, 25, 26, 27, 29], "{:#?}", carried.left);
        let rules = Rules::read("integrity.toml", &carried.toml()).unwrap();
        for (path, letters) in [
            ("/srv/tree/bin/ls", "pinugtsdmSk"),
            ("/srv/tree/x", "pinugtsdrmcSk"),
            ("/srv/tree/var", "tpug"),
            ("/srv/tree/var/x", ""),
            ("/srv/tree/tmp/x", ""),
            ("/etc", "pinugtsdSk"),
            ("/etc/x", ""),
            ("/a b/c", "pSk"),
            ("/log", "pinugtd"),
            ("/deep/x", "p"),
            ("/y", ""),
        ] {
            let expected = Mask::read(&format!("+{letters}")).unwrap();
            assert_eq!(
                rules.mask(path.as_bytes()).letters(),
                expected.letters(),
                "{path}\n{}",
                carried.toml()
            );
        }
    }

    #[test]
    fn any_text_is_read() {
        for text in [
            "",
            "@@",
            "@@else",
            "(",
            ")",
            "{",
            "}",
            "(a",
            "a ->",
            "->",
            "= ;",
            "!;",
            "\"",
            "$(",
            "a -> $(",
            "(recurse=) {a -> +p;",
        ] {
            let _ = tripwire(text);
        }
    }
}
