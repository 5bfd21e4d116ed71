//! docs/guide/hosts-access.md holds the options and the findings as the tables have them. To write them anew:
//! `PORTREEVE_BLESS=1 cargo test -p hosts-access documents`.

use crate::lint::{codes_manual, options_manual};
use std::path::Path;

/// The page with what stands between `a` line that says what it is made of and its end.
fn with(page: &str, made_of: &str, end: &str, text: &str) -> String {
    let (before, rest) = page.split_once(made_of).expect("its beginning");
    let (_, after) = rest.split_once(end).expect("its end");
    format!("{before}{made_of}\n{text}\n{end}{after}")
}

#[test]
fn the_guide_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/hosts-access.md");
    let page = std::fs::read_to_string(&path).expect("the guide");
    let options = "<!-- Made from the table of options; a test compares. -->";
    let findings = "<!-- Made from the table in crates/hosts-access/src/lint/codes.rs; a test compares. -->";
    let made = with(&page, options, "<!-- options end -->", &options_manual());
    let made = with(&made, findings, "<!-- findings end -->", &codes_manual());
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        std::fs::write(&path, &made).expect("writable");
    }
    assert!(page == made || std::env::var_os("PORTREEVE_BLESS").is_some(), "run with PORTREEVE_BLESS=1");
}
