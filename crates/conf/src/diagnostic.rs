//! What is said about a file: for people (place, line, remedy) and for log scrapers (xinetd's own words).

use crate::place::Place;

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing changes.
    Note,
    /// The file is read otherwise than its author may think.
    Warning,
    /// Something is not served as written.
    Error,
}

/// xinetd's log levels (reference xinetd §10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
}

/// The line that xinetd itself would have logged for the same condition, without date and program name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classic {
    /// xinetd's level for it.
    pub level: Level,
    /// The text, with ` [file=…] [line=…]` where xinetd has it.
    pub text: String,
}

/// One thing to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave.
    pub severity: Severity,
    /// A stable word for this kind of finding, e.g. `unknown-attribute`; documented in docs/guide/diagnostics.md.
    pub code: &'static str,
    /// Where, if it has a place.
    pub place: Option<Place>,
    /// What is wrong, in one sentence, without the place.
    pub message: String,
    /// What was expected, the nearest valid word, or the remedy.
    pub help: Option<String>,
    /// The source line as read, without its line end.
    pub source_line: Option<String>,
    /// Id of the service it concerns.
    pub service: Option<String>,
    /// xinetd's own message for the same condition; `None` where xinetd is silent.
    pub classic: Option<Classic>,
}
