//! A second key that can only append: what it may do, and what whoever steals it cannot.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

mod integrity_home;

use integrity_home::{CHECK, Home, digest, mode};
use std::fs;

const APPEND: &str = "accept --key append --store store --public key.pub --all";

/// A chain of one baseline by the host's key, and an append key.
fn granted(name: &str) -> (Home, String) {
    let home = Home::new(name);
    home.fine("key key --public key.pub --no-passphrase");
    let first = digest(&home.fine("init --key key --grant append --store store tree"));
    (home, first)
}

#[test]
fn it_signs_one_baseline_after_the_other() {
    let (home, first) = granted("appends");
    assert_eq!(mode(&home.path("append")), 0o600);
    let before = fs::read_to_string(home.path("append")).unwrap();
    fs::write(home.path("tree/a"), "A").unwrap();
    let second = digest(&home.fine(APPEND));
    let after = fs::read_to_string(home.path("append")).unwrap();
    assert_ne!(before, after, "each signature makes another key");
    assert!(!home.path("append.next").exists());
    fs::write(home.path("tree/b"), "B").unwrap();
    home.fine(APPEND);
    let said = home.fine(CHECK);
    assert!(said.contains("appended; the last one that the trusted key signed is baseline 1"), "{said}");
    let said = home.fine("history --store store --public key.pub");
    let ends = |end: &str| said.lines().filter(|line| line.ends_with(end)).count();
    assert_eq!((ends(": fine"), ends(": fine, appended")), (1, 2), "{said}");
    home.fine(&format!("{CHECK} --anchor {first} --anchor {second}"));
    home.fine(&format!("history --store store --public key.pub --anchor {second}"));
    // What was accepted since can be seen: that is what a thief of the key could do, too.
    let (code, said, _) = home.run(&format!("{CHECK} --baseline 1"));
    assert!(code == 1 && said.contains("\n2 unexplained"), "{said}");
    // The host's key takes over again, and lets nobody append.
    home.fine("accept --key key --store store --all");
    let (code, _, complaint) = home.run(APPEND);
    assert!(code == 2 && complaint.contains("baseline 4 names none"), "{complaint}");
    home.fine("accept --key key --grant append --store store --all");
    home.fine(APPEND);
    home.fine(CHECK);
}

#[test]
fn who_steals_it_cannot_sign_the_past() {
    let (home, _) = granted("thief");
    let old = fs::read(home.path("append")).unwrap();
    fs::write(home.path("tree/a"), "A").unwrap();
    let second = digest(&home.fine(APPEND));
    let stolen = fs::read(home.path("append")).unwrap();
    home.fine(APPEND);
    // Today's key for yesterday's place: the third baseline is taken away, or the second too.
    fs::rename(home.path("store/000003.baseline"), home.path("third")).unwrap();
    let (code, _, complaint) = home.run(APPEND);
    assert!(code == 2 && complaint.contains("baseline 2 names "), "{complaint}");
    // A key of before that somebody kept signs what it signed before; the digests that were written down show that.
    fs::write(home.path("append"), &stolen).unwrap();
    fs::write(home.path("tree/a"), "evil").unwrap();
    let forged = digest(&home.fine(APPEND));
    home.fine(CHECK);
    assert_ne!(forged, second);
    fs::remove_file(home.path("store/000003.baseline")).unwrap();
    fs::remove_file(home.path("store/000002.baseline")).unwrap();
    fs::write(home.path("append"), &old).unwrap();
    home.fine(APPEND);
    for command in [format!("{CHECK} --anchor {second}"), format!("{CHECK} --expect {second}")] {
        assert_eq!(home.run(&command).0, 2, "{command}");
    }
    let (code, said, _) = home.run(&format!("history --store store --public key.pub --anchor {second}"));
    assert!(code == 1 && said.contains("not the one that was written down"), "{said}");
}

#[test]
fn it_may_not_begin_a_chain_nor_change_what_is_looked_at_nor_pass_its_right_on() {
    let (home, _) = granted("rights");
    fs::copy(home.path("append"), home.path("copy")).unwrap();
    let (code, _, complaint) = home.run("init --key copy --store elsewhere tree");
    assert!(code == 2 && complaint.contains("signs no first baseline"), "{complaint}");
    let (code, _, complaint) = home.run(&format!("{APPEND} --grant more"));
    assert!(code == 2 && complaint.contains("lets nobody else append"), "{complaint}");
    // A stranger's chain of two, whose second is put after our first.
    home.fine("key other --public other.pub --no-passphrase");
    home.fine("init --key other --store forged tree");
    home.fine("accept --key other --store forged --all");
    fs::copy(home.path("forged/000002.baseline"), home.path("store/000002.baseline")).unwrap();
    let (code, _, complaint) = home.run(CHECK);
    assert!(code == 2 && complaint.contains("does not follow the one before it"), "{complaint}");
    fs::remove_file(home.path("store/000001.baseline")).unwrap();
    let (code, _, complaint) = home.run(CHECK);
    assert!(code == 2 && complaint.contains("has none before it"), "{complaint}");
}

#[test]
fn a_run_that_is_cut_off_between_two_keys_loses_none() {
    let (home, _) = granted("cut");
    let key = fs::read(home.path("append")).unwrap();
    fs::write(home.path("tree/a"), "A").unwrap();
    home.fine(APPEND);
    // As if it had ended after the baseline came into the chain and before the next key was put in its place, the former one being overwritten.
    fs::rename(home.path("append"), home.path("append.next")).unwrap();
    fs::write(home.path("append"), "\n\n\n").unwrap();
    home.fine(APPEND);
    // As if it had ended before the baseline came into the chain: what waits is nobody's.
    fs::write(home.path("append.next"), &key).unwrap();
    home.fine(APPEND);
    assert!(!home.path("append.next").exists());
    home.fine(CHECK);
}
