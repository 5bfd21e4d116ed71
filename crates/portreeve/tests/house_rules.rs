//! Holds the source files to the house rules that a compiler does not check: unsafe code in one place, short mains,
//! a header on each file, one idea in each file.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer files hold more than one idea.
const LONGEST_FILE: usize = 500;
/// A table of cases may be longer.
const LONGEST_TEST: usize = 600;
/// A main hands over to a library; three lines and what surrounds them.
const LONGEST_MAIN: usize = 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file of the project under these folders, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries {
            let path = entry.expect("entry").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["crates", "compliance", "fuzz", "benches"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the sources were found");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn only_sys_and_libwrap_may_have_unsafe_code() {
    for entry in fs::read_dir(root().join("crates")).expect("crates") {
        let crate_root = entry.expect("entry").path();
        // libwrap is a C interface: other people's pointers.
        if ["sys", "libwrap"].iter().any(|name| crate_root.ends_with(name)) {
            continue;
        }
        let roots: Vec<_> = ["src/lib.rs", "src/main.rs"]
            .iter()
            .map(|file| crate_root.join(file))
            .filter(|file| file.exists())
            .collect();
        assert!(!roots.is_empty(), "{} has a lib.rs or a main.rs", crate_root.display());
        for file in roots {
            let text = fs::read_to_string(&file).expect("readable");
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} lacks #![forbid(unsafe_code)]",
                shown(&file)
            );
        }
    }
}

#[test]
fn mains_are_short() {
    for (path, text) in sources() {
        if path.ends_with("src/main.rs") {
            let lines = text.lines().count();
            assert!(
                lines <= LONGEST_MAIN,
                "{} has {lines} lines, a main at most {LONGEST_MAIN}",
                shown(&path)
            );
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let without: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| shown(&path))
        .collect();
    // A fuzz target starts with the attributes that its macro needs.
    let without: Vec<_> =
        without.into_iter().filter(|path| !path.starts_with("fuzz/fuzz_targets/")).collect();
    assert!(without.is_empty(), "these files have no //! header: {without:#?}");
}

#[test]
fn no_file_is_too_long() {
    let limit = |path: &str| if path.contains("/tests/") { LONGEST_TEST } else { LONGEST_FILE };
    let lengths = sources().into_iter().map(|(path, text)| (shown(&path), text.lines().count()));
    let long: Vec<_> = lengths.filter(|(path, lines)| *lines > limit(path)).collect();
    assert!(long.is_empty(), "split these by idea, at most {LONGEST_FILE} lines each: {long:#?}");
}
