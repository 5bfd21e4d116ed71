//! `portreeve audit` runs every check: what a package brought and what a signed baseline has are among its findings, unless it is to be
//! quick. In a mount namespace with a small database of packages and a /etc of its own.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

use serde_json::Value;
use skip::{Reason, skip};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One package with one file, which has another content than it brought; a signed baseline of a directory in which a file was changed.
const SCENE: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/etc /mnt/tree && cp -a /etc/. /mnt/etc && rm -rf /mnt/etc/portreeve && mkdir /mnt/etc/portreeve
mount --bind /mnt/etc /etc && mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/dpkg/info
printf 'Package: toy\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: t\nDescription: t\n' > /var/lib/dpkg/status
printf '/.\n/mnt\n/mnt/toy\n' > /var/lib/dpkg/info/toy.list
echo 'd41d8cd98f00b204e9800998ecf8427e  mnt/toy' > /var/lib/dpkg/info/toy.md5sums
echo changed > /mnt/toy
echo before > /mnt/tree/a
"$1" integrity key /mnt/key --no-passphrase > /dev/null
"$1" integrity init --key /mnt/key /mnt/tree > /dev/null
echo after, and longer > /mnt/tree/a
shift_to=$1; shift
exec "$shift_to" audit --json --control /nonexistent/control "$@"
"#;

/// The answer, and whether something counts: of what runs on this machine the quick one may find something, too.
fn audit(more: &[&str]) -> (Value, bool) {
    let program = env!("CARGO_BIN_EXE_portreeve");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", SCENE, "sh", program])
        .args(more)
        .output()
        .expect("unshare starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {complaint}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), code == Some(1))
}

/// The subjects of the checks of files, by check.
fn files(answer: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for finding in answer["findings"].as_array().expect("findings") {
        let id = finding["id"].as_str().expect("an id");
        if id.starts_with("integrity-") {
            found
                .entry(id.to_owned())
                .or_default()
                .push(finding["subject"].as_str().unwrap_or("").to_owned());
        }
    }
    found
}

#[test]
fn every_check_runs_unless_it_is_to_be_quick() {
    let root = std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t"));
    if !root {
        return skip(Reason::NoRoot);
    }
    let apart = Command::new("unshare").args(["--mount", "--net", "true"]).status();
    if !apart.is_ok_and(|status| status.success()) {
        return skip(Reason::NoNamespaces);
    }
    let (answer, counts) = audit(&[]);
    let found = files(&answer);
    let has = |id: &str, path: &str| {
        found.get(id).is_some_and(|subjects| subjects.iter().any(|subject| subject.contains(path)))
    };
    assert!(counts, "{found:?}");
    assert!(has("integrity-changed", "/mnt/toy"), "{found:?}");
    assert!(has("integrity-baseline-changed", "/mnt/tree/a"), "{found:?}");
    assert_eq!(files(&audit(&["--quick"]).0), BTreeMap::new());
    assert!(!Path::new("/mnt/toy").exists(), "it stays in the namespace");
}
