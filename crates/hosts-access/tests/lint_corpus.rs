//! The linter over real tables of other people: what the original tcpdchk complained of is named, at its line; a table that
//! it found nothing in has no error, unless it is one of the oddities that it does not know.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use hosts_access::Which;
use hosts_access::lint::{Finding, Severity, lint};
use serde_json::Value;
use std::path::PathBuf;

/// What the original has no word for.
const UNKNOWN_TO_TCPDCHK: &[&str] = &[
    "unbracketed-ipv6",
    "host-bits",
    "address-spelling",
    "short-address",
    "bad-address",
    "bad-network",
    "unknown-option",
];

fn corpus() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    skip::skip(skip::Reason::NoShared);
    None
}

#[test]
fn what_tcpdchk_complained_of_is_named() {
    let Some(corpus) = corpus() else { return };
    let golden = std::fs::read_to_string(corpus.join("golden/tcpdchk.jsonl")).expect("the recorded answers");
    let (mut tables, mut complaints, mut clean) = (0, 0, 0);
    for line in golden.lines() {
        let recorded: Value = serde_json::from_str(line).expect("JSON");
        let file = recorded["file"].as_str().expect("a file");
        // Some files of the whole collection are held back.
        let Ok(text) = std::fs::read(corpus.join(file)) else { continue };
        let which = if recorded["role"] == "hosts.deny" { Which::Deny } else { Which::Allow };
        let findings = lint(which, file.as_bytes(), &text, &mut |_| None);
        tables += 1;
        let warnings: Vec<&str> =
            recorded["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for warning in &warnings {
            let Some(code) = code_for(warning) else { continue };
            let number: u32 = warning
                .split_once(", line ")
                .and_then(|(_, rest)| rest.split(':').next()?.parse().ok())
                .expect("a line");
            // The original does not count the line that has no end.
            let named = |finding: &&Finding| {
                code.contains(&finding.code.word) && (finding.line == number || finding.line == number + 1)
            };
            let told: Vec<_> = findings.iter().map(|finding| (finding.line, finding.code.word)).collect();
            assert!(findings.iter().any(|finding| named(&finding)), "{file}: {warning}: {told:?}");
            complaints += 1;
        }
        if warnings.is_empty() {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            let wrong: Vec<_> =
                errors.filter(|finding| !UNKNOWN_TO_TCPDCHK.contains(&finding.code.word)).collect();
            assert!(wrong.is_empty(), "{file}: {wrong:?}");
            clean += 1;
        }
    }
    assert!(
        tables > 100 && complaints > 10 && clean > 20,
        "{tables} tables, {complaints} complaints, {clean} clean"
    );
}

/// The codes for one of tcpdchk's warnings; none for those that concern this machine or the name service.
fn code_for(warning: &str) -> Option<&'static [&'static str]> {
    let known: &[(&str, &[&str])] = &[
        ("missing newline or line too long", &["unterminated-line", "line-too-long"]),
        ("bad option name", &["unknown-option", "unbracketed-ipv6", "hash-is-no-comment"]),
        ("missing \":\" separator", &["missing-colon", "indented-comment", "unbalanced-bracket"]),
        (
            "bad net/mask pattern",
            &["bad-network", "prefix-never-matches", "mask-never-matches", "host-bits", "ipv6-scope"],
        ),
        ("list is empty or ends in EXCEPT", &["no-daemon", "no-client", "except-last"]),
        ("ends in dot", &["dot-behind-name", "dot-behind-address", "bad-address"]),
    ];
    known.iter().find(|(text, _)| warning.contains(text)).map(|(_, codes)| *codes)
}
