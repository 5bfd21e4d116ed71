//! `portreeve integrity` with signed baselines, as somebody uses it: a key, a baseline, a change, its acceptance, the chain.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

mod integrity_home;

use integrity_home::{CHECK, Home, digest, mode};
use std::fs;
use std::process::Command;

#[test]
fn from_a_key_to_an_accepted_change() {
    let home = Home::new("whole");
    home.fine("key key --public key.pub --no-passphrase");
    assert_eq!((mode(&home.path("key")), mode(&home.path("key.pub"))), (0o600, 0o644));
    let first = digest(&home.fine("init --key key --store store tree"));
    assert_eq!((mode(&home.path("store")), mode(&home.path("store/000001.baseline"))), (0o700, 0o600));
    home.fine(CHECK);
    home.fine(&format!("{CHECK} --expect {first}"));
    fs::write(home.path("tree/a"), "A").unwrap();
    fs::write(home.path("tree/c"), "c").unwrap();
    let (code, said, _) = home.run(CHECK);
    assert_eq!(code, 1);
    assert!(
        said.contains("/tree/a: mtime ")
            && said.contains("added    ")
            && said.contains("\n2 unexplained, 0 explained"),
        "{said}"
    );
    let (code, said, _) = home.run(&format!("{CHECK} --quick --format rpm"));
    assert_eq!(code, 1);
    assert!(said.starts_with("..5....T.    /") && said.lines().count() == 2, "{said}");
    let (code, said, _) = home.run("explain --store store --public key.pub tree/a");
    assert!(code == 1 && said.contains("no package explains it") && said.contains("differs"), "{said}");
    home.fine("explain --store store --public key.pub tree/b");
    // For others: as JSON, and as an AIDE database that is read again.
    let whole: serde_json::Value =
        serde_json::from_str(&home.fine("export --store store --public key.pub")).unwrap();
    assert_eq!((&whole["baseline"], &whole["digest"]), (&1.into(), &first.as_str().into()));
    let paths = whole["paths"].as_array().unwrap();
    assert!(
        paths
            .iter()
            .any(|path| path["path"].as_str().unwrap().ends_with("/tree/a") && path["mode"] == "0644")
    );
    let aide = home.fine("export --store store --public key.pub --format aide");
    fs::write(home.path("aide.db"), &aide).unwrap();
    home.fine("init --key key --store from-aide --from-aide aide.db");
    let (code, said, _) = home.run("check --store from-aide --public key.pub");
    assert!(code == 1 && said.contains("2 unexplained"), "{said}");

    let said = home.fine("accept --key key --store store tree/a");
    assert!(said.starts_with("1 changes accepted\nbaseline 2: 3 paths"), "{said}");
    let (code, said, _) = home.run(CHECK);
    assert!(code == 1 && said.starts_with("added    ") && said.contains("\n1 unexplained"), "{said}");
    home.fine("accept --key key --store store --all");
    home.fine(CHECK);
    let said = home.fine("history --store store --public key.pub");
    assert_eq!(said.lines().filter(|line| line.ends_with(": fine")).count(), 3, "{said}");
    let (code, _, complaint) = home.run(&format!("{CHECK} --expect {first}"));
    assert!(code == 2 && complaint.contains("baseline 3 has the digest"), "{complaint}");
}

#[test]
fn a_history_that_was_written_anew_is_seen() {
    let home = Home::new("anew");
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("key other --public other.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    home.fine("accept --key key --store store --all");
    // Root makes a first baseline of its own, and signs it.
    home.fine("init --key other --store forged tree");
    fs::copy(home.path("forged/000001.baseline"), home.path("store/000001.baseline")).unwrap();
    let (code, said, _) = home.run("history --store store --public key.pub");
    assert!(code == 1 && said.contains("does not follow the one before it"), "{said}");
    fs::copy(home.path("forged/000001.baseline"), home.path("store/000002.baseline")).unwrap();
    let (code, _, complaint) = home.run(CHECK);
    assert!(code == 2 && complaint.contains("not by the key"), "{complaint}");
    let (code, _, complaint) = home.run("accept --key key --store store --all");
    assert!(code == 2 && complaint.contains("not by the key"), "{complaint}");
}

#[test]
fn a_locked_key_needs_its_passphrase() {
    let home = Home::new("locked");
    fs::write(home.path("words"), "correct horse\nsecond line\n").unwrap();
    fs::write(home.path("wrong"), "horse\n").unwrap();
    home.fine("key key --public key.pub --passphrase-file words");
    assert!(!fs::read_to_string(home.path("key")).unwrap().contains("plain"));
    let (code, _, complaint) = home.run("init --key key --passphrase-file wrong --store store tree");
    assert!(code == 2 && complaint.contains("the passphrase is another one"), "{complaint}");
    assert!(!home.path("store").exists());
    home.fine("init --key key --passphrase-file words --store store tree");
    home.fine(CHECK);
}

#[test]
fn what_cannot_be_is_said_and_nothing_is_written() {
    let home = Home::new("wrong");
    let (code, _, complaint) = home.run(CHECK);
    assert!(code == 2 && complaint.contains("key.pub: No such file"), "{complaint}");
    home.fine("key key --public key.pub --no-passphrase");
    let (code, _, complaint) = home.run("key key --public key.pub --no-passphrase");
    assert!(code == 2 && complaint.contains("File exists"), "{complaint}");
    let (code, _, complaint) = home.run("key second --public key.pub --no-passphrase");
    assert!(
        code == 2 && complaint.contains("key.pub: File exists") && !home.path("second").exists(),
        "{complaint}"
    );
    let (code, _, complaint) = home.run(CHECK);
    assert!(code == 2 && complaint.contains("there is no baseline in store"), "{complaint}");
    let (code, _, complaint) = home.run("accept --key key --store store");
    assert!(code == 2 && complaint.contains("nothing to accept"), "{complaint}");
    fs::write(home.path("rules"), "[paths]\n\"/usr\" = \"+ptq\"\n").unwrap();
    let (code, _, complaint) = home.run("init --key key --store store --rules rules");
    assert!(code == 2 && complaint.contains("rules:2:11: `q` is no property"), "{complaint}");
    home.fine("init --key key --store store tree");
    let (code, _, complaint) = home.run("init --key key --store store tree");
    assert!(code == 2 && complaint.contains("there is a baseline"), "{complaint}");
    // A full disk leaves the former one: the file of the next cannot be written.
    let before = fs::read(home.path("store/000001.baseline")).unwrap();
    fs::create_dir(home.path("store/unfinished")).unwrap();
    let (code, _, complaint) = home.run("accept --key key --store store --all");
    assert!(code == 2 && complaint.contains("unfinished"), "{complaint}");
    assert_eq!(fs::read(home.path("store/000001.baseline")).unwrap(), before);
}

/// What is mounted over a directory shows nothing of what is below it: that is told, and is no success.
#[test]
fn a_mount_hides_nothing_quietly() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&["unshare", "mount"]) {
        return;
    }
    let home = Home::new("mount");
    fs::create_dir(home.path("tree/sub")).unwrap();
    fs::write(home.path("tree/sub/tool"), "real").unwrap();
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    let within = |command: &str| {
        let apart = ["-m", "sh", "-c", command, env!("CARGO_BIN_EXE_portreeve")];
        Command::new("unshare").args(apart).current_dir(&home.0).output().unwrap()
    };
    if !within("true").status.success() {
        return skip::skip(skip::Reason::NoNamespaces);
    }
    let ended = within(&format!("mount -t tmpfs none tree/sub && exec \"$0\" integrity {CHECK}"));
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("another file system is mounted here") && !said.contains("removed"), "{said}");
    assert!(said.contains("1 recorded paths are below what was not seen"), "{said}");
    home.fine(CHECK);
}

/// Changes are findings, for people and machines, and somebody may answer for them until a day.
#[test]
fn changes_are_findings_and_can_be_waived() {
    let home = Home::new("findings");
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store tree");
    fs::write(home.path("tree/a"), "A").unwrap();
    fs::remove_file(home.path("tree/b")).unwrap();
    fs::write(home.path("tree/new"), "").unwrap();
    std::os::unix::fs::symlink("a", home.path("tree/link")).unwrap();
    let json = |format: &str| -> serde_json::Value {
        let (code, said, _) = home.run(&format!("{CHECK} --format {format}"));
        assert_eq!(code, 1);
        serde_json::from_str(&said).unwrap()
    };
    let ids = |findings: &serde_json::Value, name: &str| {
        let mut ids: Vec<_> = findings
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding[name].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    };
    let expected = ["added", "added", "changed", "removed"].map(|what| format!("integrity-baseline-{what}"));
    let whole = json("json");
    assert_eq!(ids(&whole["findings"], "id"), expected);
    assert_eq!((&whole["open"], &whole["hash"]), (&serde_json::json!(4), &serde_json::json!("sha256")));
    assert_eq!(ids(&json("sarif")["runs"][0]["results"], "ruleId"), expected);
    let (_, said, _) = home.run(&format!("{CHECK} --format findings"));
    assert!(
        said.contains("high integrity-baseline-changed: ") && said.contains("properties mtime "),
        "{said}"
    );
    let path = home.path("tree").canonicalize().unwrap();
    let waiver = |id: &str, name: &str| {
        format!(
            "[[waiver]]\nid = \"integrity-baseline-{id}\"\nowner = \"ops\"\nreason = \"a test\"\nexpires = \"2999-01-01\"\nmatch = {{ path = \"{}\" }}\n",
            path.join(name).display()
        )
    };
    let all = [("changed", "a"), ("removed", "b"), ("added", "new"), ("added", "link")]
        .map(|(id, name)| waiver(id, name));
    fs::write(home.path("no-waivers"), all.concat()).unwrap();
    let (code, said, complaint) = home.run(CHECK);
    assert!(
        code == 0 && said.contains("4 unexplained (4 waived)") && said.contains("by ops until 2999-01-01"),
        "{said}{complaint}"
    );
}

/// Another digest, for the whole chain.
#[test]
fn blake3_is_a_choice() {
    let home = Home::new("blake3");
    home.fine("key key --public key.pub --no-passphrase");
    home.fine("init --key key --store store --hash blake3 tree");
    let text = fs::read_to_string(home.path("store/000001.baseline")).unwrap();
    // That of `a`.
    assert!(text.contains("17762fddd969a453925d65717ac3eea21320b66b54342fde15128d6caf21215f"), "{text}");
    fs::write(home.path("tree/a"), "A").unwrap();
    assert_eq!(home.run(CHECK).0, 1);
    home.fine("accept --key key --store store --all");
    home.fine(&format!("{CHECK} --max-rate 1000 --max-cpu 90"));
}

/// What writes a baseline is as sparing as what reads one: the limited run is under way long after another of the same tree has ended.
#[test]
fn a_baseline_is_written_as_sparingly_as_was_ordered() {
    let home = Home::new("sparing");
    home.fine("key key --public key.pub --no-passphrase");
    // Holes are read all the same; at one MiB a second for minutes.
    fs::File::create(home.path("tree/large")).unwrap().set_len(256 << 20).unwrap();
    let limited = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.arg("integrity").args(line.split(' ')).arg("--max-rate").arg("1").current_dir(&home.0);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut slow = limited("init --key key --store slow tree");
    home.fine("init --key key --store store --max-cpu 100 tree");
    let ended = slow.try_wait().unwrap();
    slow.kill().unwrap();
    slow.wait().unwrap();
    assert_eq!(ended, None, "init knows no limit");
    fs::write(home.path("tree/a"), "A").unwrap();
    // The same chain twice: who writes the next baseline holds a lock.
    fs::create_dir(home.path("other")).unwrap();
    fs::copy(home.path("store/000001.baseline"), home.path("other/000001.baseline")).unwrap();
    let mut slow = limited("accept --key key --store other --all");
    home.fine("accept --key key --store store --all --max-cpu 100");
    let ended = slow.try_wait().unwrap();
    slow.kill().unwrap();
    slow.wait().unwrap();
    assert_eq!(ended, None, "accept knows no limit");
    assert!(!home.path("other/000002.baseline").exists());
}
