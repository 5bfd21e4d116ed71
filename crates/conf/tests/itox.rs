//! Holds the filter `itox` against what the original made of real inetd.conf files: both outputs and the exit code, with
//! and without -daemon_dir. No file may differ.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use portreeve_conf::inetd::itox;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

#[test]
fn recorded_conversions() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let Ok(golden) = std::fs::read_to_string(corpus.join("golden/itox.jsonl")) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED (1) recorded_conversions: NoShared");
        return;
    };
    let mut held = 0;
    for line in golden.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let file = record["file"].as_str().unwrap();
        let Ok(text) = std::fs::read(corpus.join(file)) else { continue };
        for (run, directory) in [("plain", None), ("daemon_dir", Some(&b"/usr/sbin"[..]))] {
            let (code, stdout, stderr) = match itox::convert(&text, directory) {
                Ok(converted) => (0, converted.sections, converted.warnings),
                Err((stopped, warnings)) => {
                    (1, Vec::new(), [warnings, format!("{stopped}\n").into()].concat())
                }
            };
            let told = &record[run];
            assert_eq!(told["rc"], code, "{file} {run}");
            assert_eq!(told["stdout"], String::from_utf8_lossy(&stdout).as_ref(), "{file} {run}");
            assert_eq!(told["stderr"], String::from_utf8_lossy(&stderr).as_ref(), "{file} {run}");
            held += 1;
        }
    }
    assert!(held >= 150, "only {held} recorded conversions were there to compare");
}
