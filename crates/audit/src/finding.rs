//! One finding: what every check gives, whatever it looks at.

use crate::checks::{Check, Severity};
use serde_json::{Map, Value, json};

/// A finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static Check,
    /// What it is about, in a few words: `tcp 0.0.0.0:23`.
    pub subject: String,
    /// Names and values; see [`crate::checks::EVIDENCE`].
    pub evidence: Vec<(&'static str, String)>,
    /// The number of the process, which is shown and never matched.
    pub pid: Option<u32>,
    /// The file that it is about, as the kernel has its name: evidence may have signs in the place of bytes.
    pub file: Option<Vec<u8>>,
    /// The command that mends it.
    pub fix: String,
    /// How that is undone.
    pub undo: String,
}

impl Finding {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.check.severity
    }

    /// The value of an evidence.
    pub fn evidence(&self, name: &str) -> Option<&str> {
        self.evidence.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    /// What stays the same over restarts and tells it from others.
    pub fn identity(&self) -> String {
        let of_listener = ["namespace", "protocol", "address", "executable"];
        let of_process = ["executable", "unit", "container", "service"];
        let of_file = ["path", "package", "columns", "executable"];
        let names = match self.check.id.split('-').next() {
            Some("listener") => of_listener,
            Some("integrity") => of_file,
            _ => of_process,
        };
        let parts = names.map(|name| self.evidence(name).unwrap_or("-"));
        format!("{} {}", self.check.id, parts.join(" "))
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        let evidence: Map<_, _> =
            self.evidence.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "id": self.check.id,
            "severity": self.severity().word(),
            "title": self.check.title,
            "subject": self.subject,
            "evidence": evidence,
            "pid": self.pid,
            "why": self.check.why,
            "fix": self.fix,
            "risk": self.check.risk,
            "undo": self.undo,
        })
    }
}
