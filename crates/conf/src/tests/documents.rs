//! The documents that are made from the tables are as the tables make them. To write them anew:
//! `PORTREEVE_BLESS=1 cargo test -p portreeve-conf documents`.

use std::path::Path;

fn is_current(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: run with PORTREEVE_BLESS=1", path.display());
}

#[test]
fn the_manual_of_attributes_is_current() {
    is_current("docs/man/attributes.md", &crate::manual());
}

#[test]
fn the_guide_to_diagnostics_is_current() {
    is_current("docs/guide/diagnostics.md", &crate::codes_manual());
}

/// Every row of the table of differences names the tests that hold it, and those tests exist.
#[test]
fn every_difference_of_the_language_names_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/guide/differences.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Language")).unwrap();
    let rows: Vec<&str> =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| name ")).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let mut seen = std::collections::HashSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, .., tests] = cells.as_slice() else { panic!("{row}") };
        assert_eq!(cells.len(), 5, "{row}");
        assert!(seen.insert(*name), "{name} twice");
        for test in tests.split(", ") {
            let (module, function) = test.trim_matches('`').split_once("::").unwrap();
            let found = ["src/tests", "src", "tests"].iter().any(|folder| {
                let path = root.join("crates/conf").join(folder).join(format!("{module}.rs"));
                std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {function}(")))
            });
            assert!(found, "no test {test} for {name}");
        }
    }
}
