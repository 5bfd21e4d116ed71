//! What is wrong, doubtful or worth knowing in a table, said for the person who keeps it: each oddity of the language where
//! it stands, with its remedy. Never changes a verdict; the evaluation does not know of it.

mod codes;
mod cover;
mod files;
mod host;
mod line;
mod look;
mod manual;
mod nearest;
mod number;
mod options;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod words;

use crate::lines::Lines;
use crate::option_syntax::fields;
use crate::option_table::{OptionName, find_option};
use crate::pattern::{ClientPattern, HostPattern};
use crate::table::{Content, Place, Tables, Which};
use crate::text::TextPattern;
use cover::{By, Cover};
use files::Files;
use look::Look;
use report::{Remedy, Report};
use source::Source;

pub use codes::{Code, Severity, codes};
pub use files::Lists;
pub use manual::{codes_manual, options_manual};
pub use report::Finding;

/// A rule with more pairs of a daemon and a client is not compared with others.
const MOST_PAIRS: usize = 512;

/// Says what is to be said of one table. `lists` gives the bytes of the `/file` lists that it names.
pub fn lint(which: Which, path: &[u8], text: &[u8], lists: &mut Lists<'_>) -> Vec<Finding> {
    let mut table = Linter::new(which, path);
    table.read(text, lists, None);
    table.report.finish()
}

/// Says what is to be said of both tables, also where one makes the other idle.
pub fn lint_both(tables: &Tables<'_>, lists: &mut Lists<'_>) -> Vec<Finding> {
    let mut allow = Linter::new(Which::Allow, tables.allow.path);
    let mut deny = Linter::new(Which::Deny, tables.deny.path);
    allow.content(&tables.allow.content, lists, None);
    deny.content(&tables.deny.content, lists, Some(&allow.cover));
    if let Some((at, text)) = allow.first_grant.filter(|_| !allow.refuses && !deny.refuses) {
        let source = Source::new(text);
        let spot = source.spot(
            at,
            text.get(at..).and_then(|rest| rest.split(|b| *b == b'\n').next()).map_or(0, <[u8]>::len),
        );
        let message = "no rule of either table refuses anybody, so this one decides nothing";
        allow.report.say_at(&codes::OPEN, spot, message.to_owned(), Remedy::Usual);
    }
    let mut findings = allow.report.finish();
    findings.extend(deny.report.finish());
    findings
}

/// One table while it is read.
struct Linter<'t> {
    which: Which,
    report: Report,
    cover: Cover,
    /// No rule behind this is in force, as a line before it is broken.
    broken: bool,
    /// Some rule, or the table's state, may refuse somebody.
    refuses: bool,
    /// The first rule that grants, by its offset.
    first_grant: Option<(usize, &'t [u8])>,
    /// Findings about rules below one that matches everything.
    below: Option<u32>,
}

impl<'t> Linter<'t> {
    fn new(which: Which, path: &[u8]) -> Self {
        Self {
            which,
            report: Report::new(path),
            cover: Cover::default(),
            broken: false,
            refuses: false,
            first_grant: None,
            below: None,
        }
    }

    fn content(&mut self, content: &Content<'t>, lists: &mut Lists<'_>, earlier: Option<&Cover>) {
        match content {
            Content::Missing => {}
            Content::Unreadable(why) => {
                let text = match self.which {
                    Which::Allow => format!("the table cannot be read: {why}; it allows nobody"),
                    Which::Deny => format!("the table cannot be read: {why}; everybody is refused"),
                };
                self.refuses = true;
                self.report.say_of_file(&codes::UNREADABLE, text);
            }
            Content::Text(text) => self.read(text, lists, earlier),
            // A compiled form stands beside its text, and only the text has something to say.
            Content::Compiled(_) => {}
        }
    }

    fn read(&mut self, text: &'t [u8], lists: &mut Lists<'_>, earlier: Option<&Cover>) {
        let source = Source::new(text);
        let mut files = Files::new(lists);
        let mut lines = Lines::new(text);
        physical(&source, text, &mut self.report);
        let mut torn = false;
        while let Some(line) = lines.next() {
            // The rest of a line that is too long is not a line of its own.
            let rest = std::mem::replace(&mut torn, !line.complete);
            if rest && line.start > 0 && text.get(line.start - 1) != Some(&b'\n') {
                torn = !line.complete;
                continue;
            }
            let words = line.text;
            let mut look = Look {
                which: self.which,
                source: &source,
                line,
                report: &mut self.report,
                files: &mut files,
            };
            if !line.complete {
                look.broken();
            }
            if !line.complete && line.text.len() > crate::lines::MAX {
                // Its end was not read, so its last word may be half a word.
                (self.broken, self.refuses) = (true, self.refuses || self.which == Which::Deny);
                continue;
            }
            let rule = line::line(&mut look, words);
            if !line.complete {
                self.broken = true;
                self.refuses |= self.which == Which::Deny;
                continue;
            }
            if let Some(rule) = rule {
                self.rule(&source, text, &line, &rule, earlier);
            }
        }
    }

    /// Compares a rule with those before it, and remembers it.
    fn rule(
        &mut self,
        source: &Source<'_>,
        text: &'t [u8],
        line: &crate::lines::Line<'_>,
        rule: &line::Parts<'_>,
        earlier: Option<&Cover>,
    ) {
        let effect = Effect::of(self.which, rule.options);
        let number = source.number(line.source(line.text.len() - line.text.trim_ascii_start().len()));
        if effect.verdict != Some(true) {
            self.refuses = true;
        } else if self.first_grant.is_none() {
            self.first_grant = Some((line.start, text));
        }
        by_name(&mut self.report, source, line, rule, &effect);
        let base =
            |words: &[crate::list::Token<'_>]| words.iter().take_while(|word| !word.is_except()).count();
        let (daemons, clients): (Vec<&[u8]>, Vec<&[u8]>) =
            (rule.daemons.iter().map(|w| w.text).collect(), rule.clients.iter().map(|w| w.text).collect());
        let (d, c) = (base(&rule.daemons), base(&rule.clients));
        let (Some(few_daemons), Some(few_clients)) = (daemons.get(..d), clients.get(..c)) else { return };
        // A bound for a rule of many words, of which none is likely to be dead.
        if few_daemons.len().saturating_mul(few_clients.len()) > MOST_PAIRS {
            return;
        }
        let by_allow = earlier.and_then(|cover| cover.covers(few_daemons, few_clients));
        let by_allow = by_allow.filter(|by| by.iter().all(|by| !by.conditional));
        let found = self.cover.covers(few_daemons, few_clients).or(by_allow);
        if let Some(by) = found {
            let spot = source.within(line, 0, line.text.len());
            self.covered(spot, &by, &effect);
        }
        if d < daemons.len() || c < clients.len() || self.broken {
            return;
        }
        let is_all =
            |words: &[&[u8]]| words.iter().any(|word| word.eq_ignore_ascii_case(b"ALL") || *word == b"*");
        let by = By {
            place: Place { which: self.which, line: number },
            verdict: effect.verdict.filter(|_| effect.plain),
            conditional: effect.conditional,
            everything: is_all(&daemons) && is_all(&clients),
        };
        self.cover.add(&daemons, &clients, by);
    }

    fn covered(&mut self, spot: source::Spot<'_>, by: &[By], effect: &Effect) {
        let Some(last) = by.iter().max_by_key(|by| by.place) else { return };
        let table = match last.place.which {
            which if which == self.which => String::new(),
            Which::Allow => " of hosts.allow".to_owned(),
            Which::Deny => " of hosts.deny".to_owned(),
        };
        let lines = if by.len() == 1 { "line" } else { "the lines up to" };
        let where_ = format!("{lines} {}{table}", last.place.line);
        if last.place.which == self.which && effect.plain && by.iter().all(|by| by.verdict == effect.verdict)
        {
            let text = format!("{where_} says this already");
            return self.report.say_at(&codes::REDUNDANT, spot, text, Remedy::Usual);
        }
        if last.everything && by.len() == 1 {
            // One word for all that stands below.
            if self.below.replace(last.place.line).is_some() {
                return;
            }
            let text = format!("{where_} matches everything: this rule and those below are never reached");
            return self.report.say_at(&codes::UNREACHABLE, spot, text, Remedy::Usual);
        }
        let verb = if by.len() == 1 { "matches" } else { "match" };
        let text = format!("{where_} {verb} all of this first: the rule is never reached");
        self.report.say_at(&codes::UNREACHABLE, spot, text, Remedy::Usual);
    }
}

/// What a rule does with whom it matches.
struct Effect {
    /// Grants or refuses; `None`: its options decide.
    verdict: Option<bool>,
    /// And does nothing else.
    plain: bool,
    /// Its command may take the match back.
    conditional: bool,
}

impl Effect {
    fn of(which: Which, options: Option<&[u8]>) -> Self {
        let table = which == Which::Allow;
        let Some(options) = options else {
            return Self { verdict: Some(table), plain: true, conditional: false };
        };
        let mut effect = Self { verdict: Some(table), plain: true, conditional: false };
        for field in fields(options) {
            match find_option(field.parts().0).map(|rule| rule.name) {
                Some(OptionName::Allow) if field.last => effect.verdict = Some(true),
                Some(OptionName::Deny) if field.last => effect.verdict = Some(false),
                Some(OptionName::Aclexec) => {
                    effect = Self { verdict: None, plain: false, conditional: true };
                }
                Some(OptionName::Twist) | None => effect = Self { verdict: None, plain: false, ..effect },
                _ => effect.plain = false,
            }
        }
        effect
    }
}

/// Clients that are refused by their name: by a rule that refuses, or by an exception of one that grants.
fn by_name(
    report: &mut Report,
    source: &Source<'_>,
    line: &crate::lines::Line<'_>,
    rule: &line::Parts<'_>,
    effect: &Effect,
) {
    // Odd and even parts between EXCEPT take turns.
    let mut refused = match effect.verdict {
        Some(granted) => !granted,
        None => return,
    };
    for word in &rule.clients {
        if word.is_except() {
            refused = !refused;
        } else if !refused && let Some(network) = numeric_glob(word.text) {
            let message = format!("`{}` is tried on the client's name too", report::shown(word.text));
            let spot = source.within(line, word.at, word.text.len());
            let remedy = network.map_or(Remedy::Usual, Remedy::Write);
            report.say_at(&codes::GLOB_NAME, spot, message, remedy);
        } else if refused && is_name(word.text) {
            let message = format!("`{}` is refused by its name", report::shown(word.text));
            let spot = source.within(line, word.at, word.text.len());
            report.say_at(&codes::BY_NAME, spot, message, Remedy::Usual);
        }
    }
}

/// Whether a pattern of numbers has wildcards; with the beginning of addresses that it stands for, if it is one.
fn numeric_glob(word: &[u8]) -> Option<Option<String>> {
    let HostPattern::Text { text: TextPattern::Glob(glob), .. } = ClientPattern::new(word).host else {
        return None;
    };
    let digits = glob.iter().any(u8::is_ascii_digit);
    let numeric = glob.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'*' | b'?'));
    (digits && numeric).then(|| {
        let mut before = glob.strip_suffix(b"*")?;
        while let Some(shorter) = before.strip_suffix(b"*.") {
            before = shorter;
        }
        let parts = glob.split(|byte| *byte == b'.').count();
        (parts <= 4 && cover::beginning(before).is_some()).then(|| report::shown(before))
    })
}

/// A pattern that is only met by the client's name.
fn is_name(word: &[u8]) -> bool {
    match ClientPattern::new(word).host {
        HostPattern::Text { text: TextPattern::Suffix(_), name } => name,
        HostPattern::Text { text: TextPattern::Exact(name), name: true } => {
            name.contains(&b'.')
                && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
        HostPattern::Text { text: TextPattern::Glob(glob), .. } => glob.iter().any(u8::is_ascii_alphabetic),
        _ => false,
    }
}

/// What concerns bytes and line ends, before any rule is read.
fn physical(source: &Source<'_>, text: &[u8], report: &mut Report) {
    if let Some(at) = text.iter().position(|byte| *byte == 0) {
        let spot = source.spot(at, 1);
        let message =
            format!("a NUL byte: the rest of line {} is lost, and the next line is glued on", spot.number);
        report.say_at(&codes::NUL, spot, message, Remedy::Usual);
    }
    if let Some(at) = text.windows(2).position(|pair| pair == b"\r\n") {
        report.say_at(&codes::CRLF, source.spot(at, 1), "lines end in CR LF".to_owned(), Remedy::Usual);
    }
}
