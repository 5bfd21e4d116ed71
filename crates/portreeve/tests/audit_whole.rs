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

/// One package with five files, which have another content than it brought; a signed baseline of a directory in which a file was changed.
const SCENE: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/etc /mnt/tree && cp -a /etc/. /mnt/etc && rm -rf /mnt/etc/portreeve && mkdir /mnt/etc/portreeve
mount --bind /mnt/etc /etc && mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/dpkg/info
printf 'Package: toy\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: t\nDescription: t\n' > /var/lib/dpkg/status
printf '/.\n/mnt\n' > /var/lib/dpkg/info/toy.list
for file in toy toy1 toy2 toy3 toy4; do
  echo /mnt/$file >> /var/lib/dpkg/info/toy.list
  echo "d41d8cd98f00b204e9800998ecf8427e  mnt/$file" >> /var/lib/dpkg/info/toy.md5sums
  echo changed > /mnt/$file
done
echo before > /mnt/tree/a
"$1" integrity key /mnt/key --no-passphrase > /dev/null
"$1" integrity init --key /mnt/key /mnt/tree > /dev/null
echo after, and longer > /mnt/tree/a
shift_to=$1; shift
exec "$shift_to" audit --control /nonexistent/control "$@"
"#;

/// What it says, and whether something counts: of what runs on this machine the quick one may find something, too.
fn said(more: &[&str]) -> (Vec<u8>, bool) {
    let program = env!("CARGO_BIN_EXE_portreeve");
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-c", SCENE, "sh", program])
        .args(more)
        .output()
        .expect("unshare starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {complaint}");
    (output.stdout, code == Some(1))
}

fn audit(more: &[&str]) -> (Value, bool) {
    let (answer, counts) = said(&[&["--json"], more].concat());
    (serde_json::from_slice(&answer).expect("JSON"), counts)
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
    assert_eq!(found["integrity-changed"].len(), 5, "{found:?}");
    // For people the files of one package are one finding.
    let text = String::from_utf8(said(&[]).0).expect("UTF-8");
    let blocks: Vec<&str> = text.lines().filter(|line| line.contains(" integrity-changed: ")).collect();
    assert_eq!(blocks.len(), 1, "{text}");
    assert!(blocks[0].contains("toy, 5 files"), "{text}");
    assert_eq!(files(&audit(&["--quick"]).0), BTreeMap::new());
    assert!(!Path::new("/mnt/toy").exists(), "it stays in the namespace");
}
