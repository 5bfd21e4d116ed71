//! The documents that are made from the tables are as the tables make them. To write them anew:
//! `UPDATE_DOCUMENTS=1 cargo test -p portreeve-conf documents`.

use std::path::Path;

fn is_current(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is out of date: run with UPDATE_DOCUMENTS=1", path.display());
}

#[test]
fn the_manual_of_attributes_is_current() {
    is_current("docs/man/attributes.md", &crate::manual());
}

#[test]
fn the_guide_to_diagnostics_is_current() {
    is_current("docs/guide/diagnostics.md", &crate::codes_manual());
}

/// Every row of the table of differences names the test that holds it, and that test exists.
#[test]
fn every_difference_of_the_language_names_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/guide/differences.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Language")).unwrap();
    let rows: Vec<&str> =
        section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| xinetd")).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    let mut sources = String::new();
    for folder in ["crates/conf/src/tests", "crates/conf/src", "crates/conf/tests"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for row in rows {
        let test = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim().trim_matches('`');
        let name = test.rsplit("::").next().unwrap();
        assert!(sources.contains(&format!("fn {name}(")), "no test `{test}` for: {row}");
    }
}
