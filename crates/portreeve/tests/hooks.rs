//! The hooks of package managers (pkg/hooks) and the restarts of units: they are called as dpkg calls them, with a program in our place that
//! says that it was called, and with a systemctl that says what systemd would.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(word: &str) -> Folder {
        let name = format!("portreeve-hooks-{word}-{}", std::process::id());
        // What is mapped from /tmp is not looked at.
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        executable::write(&path, format!("#!/bin/sh\n{text}"));
        path
    }

    fn count(&self, word: &str) -> usize {
        fs::read_to_string(self.0.join("log"))
            .unwrap_or_default()
            .lines()
            .filter(|line| *line == word)
            .count()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Hooks in the background that have these locks.
fn in_background(locks: &Path) -> usize {
    let wanted = format!("PORTREEVE_LOCKS={}", locks.display());
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let has = |process: &PathBuf, file: &str, word: &str| {
        let words = fs::read(process.join(file)).unwrap_or_default();
        words.split(|&byte| byte == 0).any(|one| one == word.as_bytes())
    };
    processes.filter(|one| has(one, "environ", &wanted) && has(one, "cmdline", "--run")).count()
}

fn hook() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/hooks/after-upgrade")
}

/// However often and with whatever outcome: the package manager gets 0 at once; one run is under way, and one more sees what came later.
#[test]
fn a_hook_neither_waits_nor_fails() {
    if !skip::has_programs(&["flock", "setsid"]) {
        return;
    }
    let folder = Folder::new("hook");
    let at = folder.0.display();
    let text = format!(
        "echo begin >>{at}/log\nwhile [ ! -e {at}/go ]; do sleep 0.05; done\necho \"$*\" >>{at}/log\nexit 3\n"
    );
    let program = folder.script("portreeve", &text);
    let call = || {
        let output = Command::new(hook())
            .env("PORTREEVE", &program)
            .env("PORTREEVE_LOCKS", folder.0.join("locks"))
            .output()
            .expect("the hook runs");
        assert!(output.status.success());
        // Its output is at its end: nothing in the background holds it.
        assert_eq!(output.stdout, b"");
    };
    call();
    until("it runs", || folder.count("begin") == 1);
    for _ in 0..5 {
        call();
    }
    // One that came to its lock only after the first had ended would rightly run as well.
    until("one runs and one waits", || in_background(&folder.0.join("locks")) == 2);
    fs::write(folder.0.join("go"), "").expect("written");
    until("both have run", || folder.count("stale --after-upgrade") == 2);
    assert_eq!(folder.count("begin"), 2);
    // No program, no place for locks: 0 all the same.
    for (name, value) in [("PORTREEVE", "/nonexistent"), ("PORTREEVE_LOCKS", "/proc/nonexistent")] {
        let status = Command::new(hook()).env("PORTREEVE", &program).env(name, value).status();
        assert!(status.expect("the hook runs").success());
    }
}

/// dpkg itself calls it, behind a package.
#[test]
fn dpkg_calls_the_hook() {
    if !skip::has_programs(&["dpkg", "dpkg-deb", "flock", "setsid"]) {
        return;
    }
    let folder = Folder::new("dpkg");
    let at = folder.0.display();
    let program = folder.script("portreeve", &format!("echo \"$*\" >>{at}/log\n"));
    let line = fs::read_to_string(hook().with_file_name("dpkg.cfg")).expect("the hook's line");
    let line = line.lines().find_map(|line| line.strip_prefix("post-invoke=")).expect("post-invoke");
    let line = line.replace("/usr/lib/portreeve/after-upgrade", &hook().display().to_string());
    for directory in ["root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "build/DEBIAN"] {
        fs::create_dir_all(folder.0.join(directory)).expect("made");
    }
    fs::write(folder.0.join("root/var/lib/dpkg/status"), "").expect("written");
    let control = "Package: demo\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n";
    fs::write(folder.0.join("build/DEBIAN/control"), control).expect("written");
    let archive = folder.0.join("demo.deb");
    let built = Command::new("dpkg-deb").arg("-b").args([folder.0.join("build"), archive.clone()]).output();
    assert!(built.expect("dpkg-deb runs").status.success());
    let output = Command::new("dpkg")
        .arg(format!("--root={at}/root"))
        .args(["--force-not-root", "--log=/dev/null", &format!("--post-invoke={line}"), "-i"])
        .arg(&archive)
        .env("PORTREEVE", &program)
        .env("PORTREEVE_LOCKS", folder.0.join("locks"))
        .output()
        .expect("dpkg runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("it was called", || folder.count("stale --after-upgrade") == 1);
}
