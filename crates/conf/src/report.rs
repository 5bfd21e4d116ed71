//! Collects what is to be said: findings for people, lines for the log. Owns their order; decides no text.

use crate::codes::Code;
use crate::diagnostic::{Classic, Diagnostic, Level, Severity};
use crate::lex::Source;
use crate::place::Place;
use crate::text::Shared;
use std::collections::HashMap;
use std::rc::Rc;

/// Where something stands in the order of reading, over all files. `AFTER` is after everything was read.
pub(crate) type Order = u64;

/// The order of what is found once everything was read.
pub(crate) const AFTER: Order = Order::MAX;

/// So many findings are kept. Errors are kept before warnings.
const MOST_FINDINGS: usize = 5_000;
/// So many log lines are kept.
const MOST_LOG_LINES: usize = 20_000;

/// A finding in the making.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    code: &'static Code,
    place: Option<Place>,
    message: String,
    help: Option<String>,
    service: Option<String>,
    classics: Vec<Classic>,
}

impl Finding {
    pub(crate) fn new(
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
    ) -> Self {
        let message = escaped(&message.into());
        Self { code, place: place.into(), message, help: None, service: None, classics: Vec::new() }
    }

    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(escaped(&text.into()));
        self
    }

    /// The same, of another kind.
    pub(crate) fn of_kind(self, code: &'static Code) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn maybe_help(self, text: Option<impl Into<String>>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    pub(crate) fn service(mut self, id: &str) -> Self {
        self.service = Some(escaped(id));
        self
    }

    /// xinetd's line for the same condition; several are logged in this order.
    pub(crate) fn classic(mut self, classic: Classic) -> Self {
        self.classics.push(classic);
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl Classic {
    /// A line without a place.
    pub(crate) fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: escaped(&text.into()) }
    }

    /// A line that ends in file and line, as xinetd's parser writes it.
    pub(crate) fn at(level: Level, text: &str, place: &Place) -> Self {
        Self::new(level, format!("{text} [file={}] [line={}]", place.file, place.line))
    }
}

/// Control characters as `\xNN`, so that no file can write lines of its own into a log.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.push_str(&format!("\\x{:02x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Everything that was said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    findings: Vec<(Order, Diagnostic)>,
    log: Vec<(Order, Classic)>,
    sources: HashMap<Shared, Rc<Source>>,
}

impl Report {
    /// Remembers a file, so that its lines can be shown.
    pub(crate) fn source(&mut self, source: &Rc<Source>) {
        self.sources.insert(source.name.clone(), Rc::clone(source));
    }

    pub(crate) fn add(&mut self, order: Order, finding: Finding) {
        let Finding { code, place, message, help, service, classics } = finding;
        if classics.is_empty() {
            self.log_own(order, code, &message, place.as_ref());
        }
        self.log.extend(classics.iter().map(|classic| (order, classic.clone())));
        self.findings.push((
            order,
            Diagnostic {
                severity: code.severity,
                code: code.word,
                place,
                message,
                help,
                source_line: None,
                service,
                classic: classics.into_iter().next(),
            },
        ));
    }

    /// Where xinetd says nothing, our own warning or error goes into the log in its form.
    fn log_own(&mut self, order: Order, code: &Code, message: &str, place: Option<&Place>) {
        let level = match code.severity {
            Severity::Note => return,
            Severity::Warning => Level::Warning,
            Severity::Error => Level::Error,
        };
        self.log(
            order,
            match place {
                Some(place) => Classic::at(level, message, place),
                None => Classic::new(level, message),
            },
        );
    }

    /// Adds what was said elsewhere, behind what was said here where both stand in one place.
    pub(crate) fn append(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.log.extend(other.log);
        self.sources.extend(other.sources);
    }

    /// A line for the log alone.
    pub(crate) fn log(&mut self, order: Order, classic: Classic) {
        self.log.push((order, classic));
    }

    /// Whether this line is in the log already.
    pub(crate) fn has_logged(&self, classic: &Classic) -> bool {
        self.log.iter().any(|(_, line)| line == classic)
    }

    /// Ends the log with this line, in the place of all that was read later: there xinetd stops.
    pub(crate) fn end_log(&mut self, order: Order, classic: Classic) {
        self.log.retain(|&(at, _)| at <= order);
        self.log.push((order, classic));
    }

    /// Everything in the order of reading.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Classic>) {
        if self.findings.len() > MOST_FINDINGS {
            self.findings.sort_by_key(|(order, finding)| (std::cmp::Reverse(finding.severity), *order));
            self.findings.truncate(MOST_FINDINGS);
        }
        self.findings.sort_by_key(|&(order, _)| order);
        self.log.sort_by_key(|&(order, _)| order);
        self.log.truncate(MOST_LOG_LINES);
        let mut findings: Vec<Diagnostic> = self.findings.into_iter().map(|(_, finding)| finding).collect();
        for finding in &mut findings {
            if let Some(place) = &finding.place {
                finding.source_line =
                    self.sources.get(&place.file).and_then(|source| source.shown(place.line));
            }
        }
        (findings, self.log.into_iter().map(|(_, line)| line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn errors_outlive_warnings_when_there_is_too_much() {
        let mut report = Report::default();
        for order in 0..MOST_FINDINGS as Order {
            report.add(order, Finding::new(&codes::CRLF, None, "w"));
        }
        report.add(AFTER, Finding::new(&codes::BAD_VALUE, None, "e"));
        let (findings, _) = report.finish();
        assert_eq!(findings.len(), MOST_FINDINGS);
        assert_eq!(findings.last().unwrap().code, "bad-value");
    }

    #[test]
    fn what_xinetd_does_not_say_is_logged_in_its_form() {
        let source = Rc::new(Source::new("/f", b"a\nb\x1b".to_vec().into()));
        let mut report = Report::default();
        report.source(&source);
        report.add(2, Finding::new(&codes::CRLF, source.place(2), "second\x1b"));
        report.add(
            1,
            Finding::new(&codes::BAD_VALUE, source.place(1), "x").classic(Classic::new(Level::Notice, "y")),
        );
        let (findings, log) = report.finish();
        assert_eq!(findings[1].source_line.as_deref(), Some("b\x1b"));
        assert_eq!(log[0], Classic::new(Level::Notice, "y"));
        assert_eq!(log[1].text, "second\\x1b [file=/f] [line=2]");
    }
}
