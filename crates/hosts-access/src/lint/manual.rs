//! The parts of docs/guide/hosts-access.md that are made from tables: the options and the findings. A test compares the page.

use super::codes::{Severity, codes};
use crate::option_table::{OPTIONS, Takes};

/// The findings, for the guide.
#[must_use]
pub fn codes_manual() -> String {
    let mut text = String::new();
    for code in codes() {
        let severity = match code.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        text.push_str(&format!(
            "\n### `{}` ({severity})\n\n{} {}\n\n*Remedy:* {}\n",
            code.word, code.meaning, code.why, code.remedy
        ));
    }
    text
}

/// The options, for the guide.
#[must_use]
pub fn options_manual() -> String {
    let mut text = String::from("\n| option | must be last | `%` | what it does |\n|---|---|---|---|\n");
    for rule in OPTIONS {
        let value = match rule.takes {
            Takes::Nothing => String::new(),
            _ => format!(" {}", rule.value),
        };
        let word = |yes: bool| if yes { "yes" } else { "" };
        text.push_str(&format!(
            "| `{}{value}` | {} | {} | {} |\n",
            rule.keyword,
            word(rule.last),
            word(rule.expanded),
            rule.does
        ));
    }
    text
}
