//! What is at hand while one line is looked at: the file it stands in, the report, and the `/file` lists it may name.

use super::codes::{self, Code, Severity};
use super::files::Files;
use super::report::{Remedy, Report};
use super::source::Source;
use crate::lines::Line;
use crate::table::Which;

/// One line of a table and its surroundings.
pub(super) struct Look<'l, 't> {
    /// The table.
    pub which: Which,
    /// Its bytes.
    pub source: &'l Source<'t>,
    /// The line.
    pub line: Line<'l>,
    /// Where findings go.
    pub report: &'l mut Report,
    /// The lists that were looked at already.
    pub files: &'l mut Files<'t>,
}

impl Look<'_, '_> {
    /// Says something of a span of the line.
    pub(super) fn say(&mut self, code: &'static Code, span: (usize, usize), message: String, remedy: Remedy) {
        self.say_as(code, code.severity, span, message, remedy);
    }

    /// Says it with another severity.
    pub(super) fn say_as(
        &mut self,
        code: &'static Code,
        severity: Severity,
        (at, length): (usize, usize),
        message: String,
        remedy: Remedy,
    ) {
        let spot = self.source.within(&self.line, at, length);
        self.report.say_as(code, severity, spot, message, remedy);
    }

    /// Follows a `/file` list that is named at `at`.
    pub(super) fn file(&mut self, at: usize, path: &[u8]) {
        let spot = self.source.within(&self.line, at, path.len());
        self.files.look(path, spot, self.report);
    }

    /// Says that the table ends at this line, for it has no end itself.
    pub(super) fn broken(&mut self) {
        let (code, text) = match (self.line.text.len() > crate::lines::MAX, self.which) {
            (false, Which::Deny) => (
                &codes::UNTERMINATED,
                "this line has no line end: everybody whom no earlier rule matches is refused, by every daemon",
            ),
            (false, Which::Allow) => (&codes::UNTERMINATED, "this line has no line end and is ignored"),
            (true, Which::Deny) => (
                &codes::TOO_LONG,
                "this line is too long: everybody whom no earlier rule matches is refused, by every daemon",
            ),
            (true, Which::Allow) => {
                (&codes::TOO_LONG, "this line is too long: it and all that follows is ignored")
            }
        };
        // In hosts.allow nothing is lost with a last line that is no rule.
        let idle = self.which == Which::Allow
            && code == &codes::UNTERMINATED
            && (self.line.is_blank() || self.line.is_comment());
        let severity = if idle { Severity::Warning } else { Severity::Error };
        let end = self.line.text.len();
        self.say_as(code, severity, (end.saturating_sub(1), 1), text.to_owned(), Remedy::Usual);
    }
}
