//! `portreeve integrity watch` with real programs that do things to real files. Where the kernel gives no fanotify to whoever runs this,
//! the message that says so is tested instead.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A directory with two trees, of which one is watched.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("portreeve-watch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("tree/below")).unwrap();
        fs::create_dir_all(home.join("other")).unwrap();
        Home(home.canonicalize().unwrap())
    }

    /// Something that is done by a process of its own.
    fn shell(&self, line: &str) -> u32 {
        let mut child = Command::new("/bin/sh").args(["-c", line]).current_dir(&self.0).spawn().unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success(), "{line}");
        pid
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A watch that runs; it ends by itself.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    /// None where fanotify cannot be had, and that was said.
    fn begin(home: &Home, words: &[&str]) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(["integrity", "watch", "--json", "--seconds", "60"])
            .args(words)
            .current_dir(&home.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(first) = lines.next() else {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2));
            assert!(said.contains("nothing can be watched: ") && said.contains("CAP_SYS_ADMIN"), "{said}");
            return None;
        };
        let first: Value = serde_json::from_str(&first.unwrap()).unwrap();
        assert_eq!((first["event"].as_str(), first["file_systems"].as_u64()), (Some("watching"), Some(1)));
        Some(Watch { child, lines })
    }

    /// The next change.
    fn change(&mut self) -> Option<Value> {
        let line: Value = serde_json::from_str(&self.lines.next()?.unwrap()).unwrap();
        (line["event"] == "change").then_some(line)
    }

    /// The code it ends with.
    fn code(mut self) -> Option<i32> {
        self.lines.by_ref().for_each(drop);
        self.child.wait().unwrap().code()
    }
}

impl Home {
    fn shown(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

#[test]
fn who_did_what_is_told_of_the_protected_paths_alone() {
    let home = Home::new("whole");
    let Some(mut watch) = Watch::begin(&home, &["tree", "--together", "300"]) else { return };
    fs::write(home.0.join("other/x"), "nobody's business").unwrap();
    let pid = home.shell("printf abc > tree/below/new; printf d >> tree/below/new; chmod 600 tree/below/new");
    // On a busy machine they may come in several lines.
    let mut seen = Vec::new();
    while !["created", "written", "attributes"].iter().all(|word| seen.contains(&(*word).to_owned())) {
        let line = watch.change().unwrap();
        assert_eq!(line["path"], home.shown("tree/below/new"), "{line}");
        let what = words(&line);
        // The shell may be gone by now; the kernel has told its number while it ran. chmod(1) is a process of its own.
        if what.contains(&"created".to_owned()) {
            assert_eq!(line["pid"].as_u64(), Some(u64::from(pid)), "{line}");
        }
        seen.extend(what);
    }
    fs::rename(home.0.join("tree/below/new"), home.0.join("other/new")).unwrap();
    let moved = loop {
        let line = watch.change().unwrap();
        if words(&line).contains(&"moved-away".to_owned()) {
            break line;
        }
    };
    assert_eq!(moved["path"], home.shown("tree/below/new"));
    // This process runs on: it is known by its executable and user.
    let own = std::env::current_exe().unwrap();
    assert_eq!(
        (moved["pid"].as_u64(), moved["exe"].as_str()),
        (Some(std::process::id().into()), own.to_str())
    );
    assert!(moved["uid"].is_u64() && moved["pid_certain"].is_boolean());
    assert_eq!(end(watch), None);
}

fn words(line: &Value) -> Vec<String> {
    line["what"].as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Ends a watch that this test has begun.
fn end(mut watch: Watch) -> Option<i32> {
    watch.child.kill().unwrap();
    watch.code()
}

#[test]
fn names_are_shown_and_never_followed() {
    use std::os::unix::ffi::OsStrExt;
    let home = Home::new("names");
    let Some(mut watch) = Watch::begin(&home, &["tree", "--together", "50"]) else { return };
    let odd = home.0.join("tree").join(std::ffi::OsStr::from_bytes(b"a\x1b[2J\n\xff"));
    std::os::unix::fs::symlink("/etc/passwd", &odd).unwrap();
    let made = watch.change().unwrap();
    assert_eq!(made["path"], format!("{}/a\\x1b[2J\\x0a\\xff", home.shown("tree")));
    fs::remove_file(&odd).unwrap();
    let gone = watch.change().unwrap();
    assert!(words(&gone).contains(&"removed".to_owned()), "{gone}");
    // A directory that goes with what is in it.
    home.shell("touch tree/below/x");
    assert_eq!(watch.change().unwrap()["path"], home.shown("tree/below/x"));
    home.shell("rm -r tree/below");
    let mut told = Vec::new();
    while !["tree/below/x", "tree/below"].iter().all(|path| told.contains(&home.shown(path))) {
        told.push(watch.change().unwrap()["path"].as_str().unwrap().to_owned());
    }
    assert_eq!(end(watch), None);
}

#[test]
fn it_ends_when_it_is_told_to_and_says_whether_anything_happened() {
    let home = Home::new("end");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(["integrity", "watch"]).args(words).current_dir(&home.0).env("NO_COLOR", "1");
        command.output().unwrap()
    };
    let quiet = run(&["tree", "--seconds", "1"]);
    let said = String::from_utf8(quiet.stdout).unwrap();
    if quiet.status.code() == Some(2) {
        assert!(String::from_utf8_lossy(&quiet.stderr).contains("nothing can be watched"));
        return;
    }
    assert_eq!(quiet.status.code(), Some(0), "{said}");
    assert!(said.contains("0 events in 0 lines; 0 found no room, the queue overflowed 0 times"), "{said}");
    let missing = run(&["nothing/there", "--seconds", "1"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("none of the paths is there"));
    let Some(mut watch) = Watch::begin(&home, &["tree", "--once", "--together", "50"]) else { return };
    fs::write(home.0.join("tree/x"), "x").unwrap();
    assert!(watch.change().is_some());
    assert_eq!(watch.code(), Some(1));
}

/// A flood is a few lines and a number, and does not end the watch.
#[test]
fn a_flood_is_bounded_and_counted() {
    let home = Home::new("flood");
    let Some(mut watch) = Watch::begin(&home, &["tree", "--together", "3000"]) else { return };
    for number in 0..6000 {
        fs::write(home.0.join("tree").join(number.to_string()), "").unwrap();
    }
    // Whatever is not told one by one is counted, and what to do about it is said. Where the machine is slow, nothing need be lost.
    let (mut told, mut lost, mut overflows) = (std::collections::HashSet::new(), 0, 0);
    while told.len() as u64 + lost < 6000 && overflows == 0 {
        let line: Value =
            serde_json::from_str(&watch.lines.next().expect("all is told or counted").unwrap()).unwrap();
        match line["event"].as_str() {
            Some("change") => drop(told.insert(line["path"].as_str().unwrap().to_owned())),
            Some("lost") => {
                lost += line["not_kept"].as_u64().unwrap();
                overflows += line["overflows"].as_u64().unwrap();
                assert_eq!(line["then"], "portreeve integrity check --quick");
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(end(watch), None);
}
