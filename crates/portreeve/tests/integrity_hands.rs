//! What `portreeve integrity` prints for hands and eyes, used as it stands there: the commands of findings in a shell, the picture of a digest by a
//! reader of such pictures, a name that was mistyped.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

mod integrity_home;

use integrity_home::{CHECK, Home, digest};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// The distribution's own, which has the distribution's modules.
const PYTHON: &str = "/usr/bin/python3";

#[test]
fn the_command_of_a_finding_names_the_file_whatever_it_is_called() {
    if !skip::has_programs(&["bash"]) {
        return;
    }
    let home = Home::new("fix");
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    let names: [&[u8]; 4] = [b"plain", b"of two words", "ü's".as_bytes(), b"\xff\x1b[31m\n'\\x20"];
    for name in names {
        fs::write(home.path("tree").join(OsStr::from_bytes(name)), "").unwrap();
    }
    let (_, said, _) = home.run(&format!("{CHECK} --json"));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let findings = said["findings"].as_array().unwrap();
    assert_eq!(findings.len(), names.len());
    // The whole line as root's shell has it, with this test's key and places.
    let us = format!(
        "portreeve() {{ {} \"$@\" --store store $(test $2 = accept || echo --public key.pub); }}; ",
        env!("CARGO_BIN_EXE_portreeve")
    );
    for finding in findings {
        let fix = finding["fix"].as_str().unwrap().replace("--key KEY", "--key key");
        let mut shell = Command::new("bash");
        let ended = shell.args(["-c", &format!("{us}{fix}")]).current_dir(&home.0).output().unwrap();
        let told = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        assert!(ended.status.success() && told.contains("1 changes accepted"), "{fix}: {told}");
    }
    home.fine(CHECK);
}

#[test]
fn a_name_that_was_mistyped_is_no_next_baseline() {
    let home = Home::new("mistyped");
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    fs::remove_file(home.path("tree/a")).unwrap();
    fs::write(home.path("tree/new"), "").unwrap();
    fs::write(home.path("outside"), "").unwrap();
    for wrong in ["tree/A", "tree/a tree/newer", "outside", "tree/a/below"] {
        let (code, said, complaint) = home.run(&format!("accept --key key --store store {wrong}"));
        let last = wrong.rsplit('/').next().unwrap();
        let named = format!("{last} is neither in baseline 1 nor there");
        assert!(code == 2 && said.is_empty() && complaint.contains(&named), "{wrong}: {said}{complaint}");
    }
    let store: Vec<_> =
        fs::read_dir(home.path("store")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(store.iter().all(|name| !name.to_string_lossy().contains("000002")), "{store:?}");
    // What has gone and what is new are there to be accepted, and so is what did not change.
    assert!(
        home.fine("accept --key key --store store tree/a tree/new tree/b").starts_with("2 changes accepted")
    );
    home.fine(CHECK);
}

/// The picture, four dots for each sign, as a portable graymap without its header; width and height. Dark is what stands in the text.
fn dots(picture: &[&str]) -> (usize, usize, Vec<u8>) {
    const SCALE: usize = 4;
    let mut rows: Vec<Vec<bool>> = Vec::new();
    for line in picture {
        let halves = |upper: bool| -> Vec<bool> {
            let is_dark = |sign| match sign {
                '█' => true,
                '▀' => upper,
                '▄' => !upper,
                ' ' => false,
                other => panic!("{other:?} in {line}"),
            };
            line.chars().map(is_dark).collect()
        };
        rows.extend([halves(true), halves(false)]);
    }
    let width = rows[0].len() * SCALE;
    let mut bytes = Vec::new();
    for row in &rows {
        let line: Vec<u8> = row.iter().flat_map(|dark| [if *dark { 0 } else { 255 }; SCALE]).collect();
        assert_eq!(line.len(), width);
        (0..SCALE).for_each(|_| bytes.extend(&line));
    }
    (width, rows.len() * SCALE, bytes)
}

#[test]
fn a_telephone_reads_the_digest() {
    if !std::path::Path::new(PYTHON).exists() {
        return skip::skip(skip::Reason::absent("python3"));
    }
    let has = Command::new(PYTHON).args(["-c", "import zbar"]).output().unwrap().status.success();
    if !has {
        return skip::skip(skip::Reason::absent("python3-zbar"));
    }
    let home = Home::new("picture");
    home.fine("key key --public key.pub --no-passphrase");
    for line in ["init --key key --store store --qr tree", "accept --key key --store store --qr --all"] {
        let said = home.fine(line);
        let picture: Vec<&str> =
            said.lines().filter(|line| line.contains(['█', '▀', '▄']) || line.trim().is_empty()).collect();
        let (width, height, bytes) = dots(&picture);
        fs::write(home.path("picture"), &bytes).unwrap();
        let script = format!(
            "import zbar\nimage = zbar.Image({width}, {height}, 'Y800', open('picture', 'rb').read())\n\
             zbar.ImageScanner().scan(image)\nprint(*[symbol.data for symbol in image])\n"
        );
        let mut reader = Command::new(PYTHON);
        let read = reader.args(["-c", &script]).current_dir(&home.0).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), digest(&said), "{line}: {read:?}");
    }
}
