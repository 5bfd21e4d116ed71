//! Each finding where it belongs, and not where it does not; what is said of verdicts is true of the evaluation.

mod documents;
mod places;
mod truth;

use super::{Finding, Lists, codes, lint, lint_both};
use crate::table::{Content, Table, Tables, Which};
use crate::world::ListFile;

/// Lists for tests: `/list` holds what the test says, `/none` is missing, `/closed` unreadable, `/big` too large.
fn lists(list: &'static [u8]) -> impl FnMut(&[u8]) -> Option<ListFile<Vec<u8>>> {
    move |path: &[u8]| {
        Some(match path {
            b"/list" => ListFile::Bytes(list.to_vec()),
            b"/fine" => ListFile::Bytes(b"10.0.0.1\n.example.org\n".to_vec()),
            b"/closed" => ListFile::Unreadable("Permission denied".to_owned()),
            b"/big" => ListFile::TooLarge,
            _ => ListFile::Absent,
        })
    }
}

fn of(which: Which, text: &[u8], list: &'static [u8]) -> Vec<Finding> {
    let mut read = lists(list);
    let read: &mut Lists<'_> = &mut read;
    lint(which, b"table", text, read)
}

fn both(allow: &[u8], deny: &[u8]) -> Vec<Finding> {
    let table = |path: &'static [u8], text| Table { path, content: Content::Text(text) };
    let tables = Tables { allow: table(b"allow", allow), deny: table(b"deny", deny) };
    lint_both(&tables, &mut |_| None)
}

fn words(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code.word).collect()
}
