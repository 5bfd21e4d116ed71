//! One thing that is said about a configuration, whether it was read here or told by the daemon, and its JSON form.
//! The JSON names are a promise to scripts: documented in docs/guide/control.md.

use crate::answer;
use portreeve_conf::{Diagnostic, Level, Severity};
use serde_json::{Value, json};

/// A diagnostic without its origin. Texts are as they came: whoever prints them escapes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// The stable word for its kind.
    pub code: String,
    /// The file; empty when it has no place.
    pub file: String,
    /// Line from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// Column in bytes from 1; 0 when the line as a whole is meant.
    pub column: u32,
    /// Length in bytes.
    pub length: u32,
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
    /// The source line.
    pub source_line: Option<String>,
    /// The service's id.
    pub service: Option<String>,
    /// xinetd's level and message for the same condition.
    pub classic: Option<(String, String)>,
    /// What to write in place of the span, where that can be said.
    pub replacement: Option<String>,
}

/// The word for a severity, in text and JSON.
pub fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Critical => "critical",
    }
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        let place = diagnostic.place.as_ref();
        Self {
            severity: diagnostic.severity,
            code: diagnostic.code.to_owned(),
            file: place.map_or_else(String::new, |place| place.file.to_string()),
            line: place.map_or(0, |place| place.line),
            column: place.map_or(0, |place| place.column.into()),
            length: place.map_or(0, |place| place.length.into()),
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            source_line: diagnostic.source_line.clone(),
            service: diagnostic.service.clone(),
            classic: diagnostic.classic.as_ref().map(|c| (level_word(c.level).to_owned(), c.text.clone())),
            replacement: None,
        }
    }
}

impl Finding {
    /// Reads what the daemon tells, leniently.
    pub fn from_json(value: &Value) -> Self {
        let text = |name| answer::text(value, name).to_owned();
        let number = |name| answer::number(value, name).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let optional = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            severity: match answer::text(value, "severity") {
                "note" => Severity::Note,
                "warning" => Severity::Warning,
                _ => Severity::Error,
            },
            code: text("code"),
            file: text("file"),
            line: number("line"),
            column: number("column"),
            length: number("length"),
            message: text("message"),
            help: optional("help"),
            source_line: optional("source_line"),
            service: optional("service"),
            classic: value
                .get("classic")
                .map(|c| (answer::text(c, "level").into(), answer::text(c, "text").into())),
            replacement: optional("replacement"),
        }
    }

    /// Its JSON form. `line` and `column` are null where there is none.
    pub fn to_json(&self) -> Value {
        let some = |n: u32| (n > 0).then_some(n);
        json!({
            "severity": severity_word(self.severity),
            "code": self.code,
            "file": (!self.file.is_empty()).then_some(&self.file),
            "line": some(self.line),
            "column": some(self.column),
            "length": some(self.length),
            "message": self.message,
            "help": self.help,
            "source_line": self.source_line,
            "service": self.service,
            "classic": self.classic.as_ref().map(|(level, text)| json!({ "level": level, "text": text })),
            "replacement": self.replacement,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_back_is_the_same() {
        let finding = Finding {
            severity: Severity::Warning,
            code: "crlf".into(),
            file: "/etc/xinetd.conf".into(),
            line: 3,
            column: 0,
            length: 0,
            message: "m".into(),
            help: None,
            source_line: Some("x\r".into()),
            service: Some("a".into()),
            classic: Some(("error".into(), "Bad".into())),
            replacement: Some("y".into()),
        };
        assert_eq!(Finding::from_json(&finding.to_json()), finding);
        assert_eq!(finding.to_json()["column"], Value::Null);
    }

    #[test]
    fn rubbish_is_read_as_far_as_it_goes() {
        assert_eq!(Finding::from_json(&json!({"line": -1, "message": "m"})).message, "m");
        assert_eq!(Finding::from_json(&Value::Null).line, 0);
    }
}
