//! A skipped test says so in the words that scripts/test counts (compliance/src/skip.rs; `sys` cannot depend on it).

use std::io::Write;

/// Prints past the harness's capture that the calling test is skipped.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED (1) {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("PORTREEVE_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(line.as_bytes());
    }
    let allowed = ["NoNamespaces", "NoIpv6", "NoPidsController"].contains(&reason);
    assert!(allowed || std::env::var_os("CI").is_none_or(|v| v != "true"), "{reason} is no reason in CI");
}

/// Whether this is root; skips the calling test if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("NoRoot");
    }
    root
}
