//! `portreeve integrity` with signed baselines, as somebody uses it: a key, a baseline, a change, its acceptance, the chain.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("portreeve-integrity-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("tree")).unwrap();
        fs::write(home.join("tree/a"), "a").unwrap();
        fs::write(home.join("tree/b"), "b").unwrap();
        Home(home)
    }

    fn run(&self, line: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.arg("integrity").args(line.split(' ')).current_dir(&self.0).env("NO_COLOR", "1");
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    fn fine(&self, line: &str) -> String {
        let (code, said, complaint) = self.run(line);
        assert_eq!((code, complaint.as_str()), (0, ""), "{line}: {said}");
        said
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn digest(said: &str) -> String {
    said.lines().find_map(|line| line.strip_prefix("digest ")).unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const CHECK: &str = "check --store store --public key.pub";

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

    let said = home.fine("accept --key key --store store tree/a");
    assert!(said.starts_with("1 changes accepted\nbaseline 2: 3 paths"), "{said}");
    let (code, said, _) = home.run(CHECK);
    assert!(code == 1 && said.starts_with("added    ") && said.contains("\n1 unexplained"), "{said}");
    home.fine("accept --key key --store store --all");
    home.fine(CHECK);
    let said = home.fine("history --store store");
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
    let (code, said, _) = home.run("history --store store");
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
