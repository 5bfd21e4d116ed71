//! Changes as findings, in the one form of the project. Pure.

use super::compare::Change;
use super::report::{Form, columns, lines};
use super::text::escape;
use crate::checks::{BASELINE_ADDED, BASELINE_CHANGED, BASELINE_REMOVED, BASELINE_UNSEEN, Check};
use crate::exposure::{Outcome, file};
use crate::finding::Finding;

/// Findings of one check; a host on which more differs is another host.
pub const MOST: usize = 1000;

/// A finding for each change.
pub fn findings(changes: &[Change]) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.findings.extend(changes.iter().take(MOST).map(finding));
    outcome
}

fn finding(change: &Change) -> Finding {
    let path = escape(change.path());
    let mut evidence = vec![("path", path.clone())];
    let (check, columns): (&'static Check, String) = match change {
        Change::Added(now) => {
            evidence.push(("kind", now.kind.word().to_owned()));
            // A file of an intruder that others are to run as root is worse than one more file.
            let check = if now.mode & 0o6000 != 0 { &BASELINE_CHANGED } else { &BASELINE_ADDED };
            (check, "added".to_owned())
        }
        Change::Removed(before) => {
            evidence.push(("kind", before.kind.word().to_owned()));
            (&BASELINE_REMOVED, "missing".to_owned())
        }
        Change::Changed(_, now, what) => {
            evidence.push(("kind", now.kind.word().to_owned()));
            (&BASELINE_CHANGED, columns(*what))
        }
        Change::Unseen(..) => (&BASELINE_UNSEEN, "unseen".to_owned()),
    };
    evidence.push(("columns", columns));
    let line = lines(change, Form::People);
    if let Some((_, properties)) = line.split_once(&format!("{path}: ")) {
        evidence.push(("properties", properties.to_owned()));
    }
    let quoted = file(change.path());
    let fix = match change {
        Change::Unseen(..) => format!("ls -ld {quoted}; namei -l {quoted}"),
        _ => format!("portreeve integrity explain {quoted}; portreeve integrity accept --key KEY {quoted}"),
    };
    Finding {
        check,
        subject: path,
        evidence,
        pid: None,
        file: Some(change.path().to_vec()),
        fix,
        undo: check.undo.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_its_path_and_what_differs() {
        let outcome = findings(&[Change::Unseen(b"/a b".to_vec(), 13)]);
        let finding = &outcome.findings[0];
        assert_eq!(finding.check.id, "integrity-baseline-unseen");
        assert_eq!(finding.evidence("path"), Some("/a\\x20b"));
        assert_eq!(finding.evidence("properties"), Some("Permission denied"));
        assert_eq!(finding.fix, "ls -ld '/a b'; namei -l '/a b'");
        assert_eq!(finding.file.as_deref(), Some(&b"/a b"[..]));
    }
}
