//! What a tree, a disk and an intruder can do to `portreeve integrity`: each case ends, says what it met, and leaves nothing half-written.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

mod integrity_home;

use integrity_home::{CHECK, Home};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_portreeve");

fn sealed(name: &str, prepare: impl FnOnce(&Home)) -> Home {
    let home = Home::new(name);
    home.fine("key key --public key.pub --no-passphrase");
    prepare(&home);
    home.run("init --key key --store store tree");
    home
}

fn json(home: &Home, line: &str) -> (i32, serde_json::Value) {
    let (code, said, complaint) = home.run(&format!("{line} --json"));
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line}: {said}{complaint}")))
}

/// In a mount namespace of its own; none where there is none to be had.
fn within(home: &Home, script: &str) -> Option<(Option<i32>, String)> {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return None;
    }
    if !skip::has_programs(&["unshare", "mount"]) {
        return None;
    }
    let run = |script: &str| {
        let arguments = ["-m", "sh", "-c", script, BINARY];
        Command::new("unshare").args(arguments).current_dir(&home.0).env("NO_COLOR", "1").output().unwrap()
    };
    if !run("true").status.success() {
        skip::skip(skip::Reason::NoNamespaces);
        return None;
    }
    let ended = run(script);
    let said = [ended.stdout, ended.stderr].concat();
    Some((ended.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_read_in_a_moment() {
    let home = sealed("sparse", |home| {
        let file = File::create(home.path("tree/huge")).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(b"x", (1 << 40) - 10).unwrap();
    });
    let (code, said) = json(&home, CHECK);
    assert!(code == 0 && said["bytes_read"].as_u64().unwrap() < 1 << 20, "{said}");
    File::options().write(true).open(home.path("tree/huge")).unwrap().write_all_at(b"y", 1 << 39).unwrap();
    let (code, said) = json(&home, CHECK);
    let columns = &said["unexplained"][0]["columns"];
    assert!(code == 1 && columns.as_str().unwrap().starts_with("..5"), "{said}");
}

#[test]
fn names_of_any_bytes_reach_no_terminal_and_are_told_apart() {
    let home = sealed("names", |_| ());
    let names: [&[u8]; 4] = [b"\xff\xfe", b"new\nline", b"\x1b[31mred", b"a\\x0ab"];
    for name in names {
        fs::write(home.path("tree").join(OsStr::from_bytes(name)), "").unwrap();
    }
    for format in ["text", "rpm", "tripwire", "findings", "sarif", "json", "aide-json"] {
        let (code, said, _) = home.run(&format!("{CHECK} --format {format}"));
        assert_eq!(code, 1, "{format}");
        assert!(!said.contains('\x1b') && !said.contains("new\nline"), "{format}: {said}");
    }
    let (_, said) = json(&home, CHECK);
    let paths = said["unexplained"].as_array().unwrap();
    assert_eq!(paths.len(), 4, "{said}");
    assert!(
        paths
            .iter()
            .any(|path| path["path_bytes"].as_str().is_some_and(|bytes| bytes.ends_with("\\xff\\xfe")))
    );
    home.fine("accept --key key --store store --all");
    home.fine(CHECK);
}

#[test]
fn links_in_a_circle_pipes_sockets_and_devices_keep_nobody_waiting() {
    let home = sealed("special", |home| {
        symlink(".", home.path("tree/here")).unwrap();
        symlink("there", home.path("tree/there")).unwrap();
        symlink("/", home.path("tree/root")).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, home.path("tree/pipe"), pipe, 0o600.into(), 0).unwrap();
        std::os::unix::net::UnixListener::bind(home.path("tree/socket")).unwrap();
        if rustix::process::geteuid().is_root() {
            // That of /dev/tty, which reading would wait for.
            let (device, number) = (rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(5, 0));
            let _ =
                rustix::fs::mknodat(rustix::fs::CWD, home.path("tree/device"), device, 0o600.into(), number);
        }
    });
    home.fine(CHECK);
    fs::remove_file(home.path("tree/there")).unwrap();
    symlink("elsewhere", home.path("tree/there")).unwrap();
    fs::remove_file(home.path("tree/pipe")).unwrap();
    fs::write(home.path("tree/pipe"), "a pipe no more").unwrap();
    let (code, said, _) = home.run(CHECK);
    assert!(
        code == 1 && said.contains("target there -> elsewhere") && said.contains("type pipe -> file"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_read_is_recorded_as_such() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    const NOBODY: u32 = 65_534;
    let home = Home::new("unreadable");
    let own = |path| std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    own(home.0.clone());
    fs::create_dir(home.path("tree/closed")).unwrap();
    fs::write(home.path("tree/closed/inside"), "").unwrap();
    fs::write(home.path("tree/secret"), "s").unwrap();
    for path in ["tree/closed", "tree/secret"] {
        fs::set_permissions(home.path(path), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let run = |line: &str| {
        let mut command = Command::new(BINARY);
        command.arg("integrity").args(line.split(' ')).current_dir(&home.0).uid(NOBODY).gid(NOBODY);
        let ended = command.env("NO_COLOR", "1").env_remove("XDG_RUNTIME_DIR").output().unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    // Where others may not execute what was built, there is nothing to see.
    let (code, said) = run("key key --public key.pub --no-passphrase");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run("init --key key --store store tree");
    assert!(code == Some(0) && said.contains("tree/closed: Permission denied"), "{said}");
    fs::write(home.path("tree/closed/inside"), "other").unwrap();
    let (code, said) = run("check --store store --public key.pub --waivers none");
    assert!(code == Some(0) && said.contains("not seen: ") && said.contains("tree/closed"), "{said}");
    fs::set_permissions(home.path("tree/secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = run("check --store store --public key.pub --waivers none");
    assert!(code == Some(1) && said.contains("digest unreadable: Permission denied -> "), "{said}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_recorded_as_changing() {
    let home = sealed("changing", |_| ());
    let file = File::create(home.path("tree/log")).unwrap();
    file.set_len(96 << 20).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all_at(b"x", at % 4096).unwrap();
                at += 1;
            }
        });
        // Another program may keep the writer from its turn for as long as a try takes, so it is tried again.
        let seen = (0..50).any(|_| {
            let (code, said) = json(&home, CHECK);
            assert_eq!(code, 1);
            said["unexplained"][0]["now"]["digest"] == "changed while it was read"
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        seen
    });
    assert!(seen);
}

#[test]
fn a_mount_of_the_tree_within_itself_is_no_endless_tree() {
    let home = sealed("bind", |home| fs::create_dir(home.path("tree/sub")).unwrap());
    let script = format!("mount --bind tree tree/sub && exec \"$0\" integrity {CHECK} --waivers none");
    let Some((code, said)) = within(&home, &script) else { return };
    assert_eq!(code, Some(0), "{said}");
    let gap = "tree/sub: another file system is mounted here";
    assert!(said.contains(gap), "{said}");
    // Forms that have no place for it leave it to standard error.
    for format in ["rpm", "tripwire", "aide-json", "sarif", "json", "findings"] {
        let script = script.replace("--waivers", &format!("--format {format} --waivers"));
        let script = format!("{{ {script} ; }} 2>complaint >said; cat complaint; cat said");
        let Some((_, said)) = within(&home, &script.replace("&& exec", "&&")) else { return };
        assert!(
            said.contains("tree/sub") && said.contains("another file system is mounted here"),
            "{format}: {said}"
        );
        let complained = fs::read_to_string(home.path("complaint")).unwrap().contains(gap);
        assert_eq!(complained, ["rpm", "tripwire", "aide-json"].contains(&format), "{format}");
    }
}

#[test]
fn a_full_disk_leaves_the_former_baseline_and_says_so() {
    let home = sealed("full", |home| {
        for number in 0..3000 {
            fs::write(home.path("tree").join(format!("{number:0200}")), "").unwrap();
        }
    });
    let script = "mkdir small && mount -t tmpfs -o size=600k none small && \"$0\" integrity init --key key --store small/store tree; \
                  echo \"code $?\"; ls -A small/store";
    let Some((_, said)) = within(&home, script) else { return };
    assert!(said.contains("unfinished: No space left on device"), "{said}");
    assert!(said.starts_with("code 2\n") && !said.contains("000001"), "{said}");
    let script = "mkdir -p small && mount -t tmpfs -o size=1600k none small && cp -r store small/ && \
                  \"$0\" integrity accept --key key --store small/store --all; echo $?; ls -A small/store; \
                  exec \"$0\" integrity check --store small/store --public key.pub --waivers none";
    let Some((code, said)) = within(&home, script) else { return };
    assert!(said.contains("No space left on device") && said.contains("\n000001.baseline\n"), "{said}");
    assert!(code == Some(0) && !said.contains("000002"), "{said}");
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let home = sealed("killed", |_| ());
    // What was changed just now may change again in the same tick, so it is not noted: the past is.
    for number in 0..5 {
        let file = File::create(home.path("tree").join(format!("large{number}"))).unwrap();
        file.set_len(300 << 20).unwrap();
    }
    let age =
        || fs::metadata(home.path("tree/large4")).unwrap().modified().unwrap().elapsed().unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(60);
    while age() < Duration::from_secs(4) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    for (start, noted) in [
        ("check --store store --public key.pub --waivers none --journal notes".to_owned(), "notes"),
        ("accept --key key --store store --all".to_owned(), "store"),
    ] {
        let command = || {
            let mut command = Command::new(BINARY);
            command.arg("integrity").args(start.split(' ')).current_dir(&home.0).env("NO_COLOR", "1");
            command
        };
        let mut first = command().stdout(Stdio::null()).spawn().unwrap();
        let notes = || {
            let found = fs::read_dir(home.path(noted)).into_iter().flatten().flatten();
            let one = |entry: fs::DirEntry| {
                entry.file_name().to_string_lossy().contains("journal").then(|| entry.path())
            };
            found.filter_map(one).next()
        };
        let until = Instant::now() + Duration::from_secs(60);
        while !notes().is_some_and(|path| fs::metadata(path).is_ok_and(|seen| seen.len() > 46)) {
            assert!(
                Instant::now() < until && first.try_wait().unwrap().is_none(),
                "{start}: nothing was noted"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(!home.path("store/000002.baseline").exists());
        let ended = command().output().unwrap();
        let said = String::from_utf8(ended.stdout).unwrap();
        assert!(notes().is_none(), "{start}: a run that came to its end leaves no notes");
        if noted == "store" {
            assert!(said.contains("files read before it was cut off"), "{said}");
            let read: u64 = said
                .split(" paths, ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .unwrap()
                .parse()
                .unwrap();
            assert!(read < 5 * 300, "{said}");
            assert!(home.path("store/000002.baseline").exists());
        } else {
            assert_eq!(ended.status.code(), Some(1), "{said}");
            assert_eq!(said.matches("added").count(), 5, "{said}");
        }
    }
    home.fine(CHECK);
}
