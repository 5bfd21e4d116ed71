//! Every difference that a test states has a name, and the name stands in docs/guide/differences.md.

use portreeve_compliance::side::workspace;
use std::collections::BTreeSet;

/// The names in the calls of `World::fix` and of the tables that end in it.
fn names_in_tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let directory = workspace().join("compliance/tests");
    for file in std::fs::read_dir(directory).expect("the tests").flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        for call in [".fix(", " fixed(", "const MAPPED: &str = "] {
            for after in text.split(call).skip(1) {
                let Some(word) = after.trim_start().strip_prefix('"') else { continue };
                // This file's own search words are no names.
                let name = word.split('"').next().unwrap_or_default();
                if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

#[test]
fn every_difference_is_documented() {
    let names = names_in_tests();
    assert!(names.len() > 30, "only {} names were found: the search is wrong", names.len());
    let document =
        std::fs::read_to_string(workspace().join("docs/guide/differences.md")).expect("the document");
    let missing: Vec<&String> =
        names.iter().filter(|name| !document.contains(&format!("| {name} |"))).collect();
    assert!(missing.is_empty(), "docs/guide/differences.md has no row for: {missing:#?}");
}
