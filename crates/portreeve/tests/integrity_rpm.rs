//! `portreeve integrity` on a system of rpm: a root that real packages were built for, installed into and upgraded in by one transaction, with
//! what an intruder leaves.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;
mod rpm_system;

use rpm_system::{MARKET, System, text};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

/// Changes a file and sets its time back, as an intruder does.
fn keeping_times(path: &Path, content: &str) {
    let seen = fs::metadata(path).expect("is there");
    assert_eq!(seen.len(), content.len() as u64, "the same size was wanted");
    fs::write(path, content).expect("written");
    set_time(path, seen.mtime(), seen.mtime_nsec());
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).expect("set");
}

#[test]
fn an_upgrade_explains_itself_and_no_trojan() {
    let Some(system) = System::new("upgrade", &[]) else { return };
    system.copy(Path::new(env!("CARGO_BIN_EXE_portreeve")), "usr/bin/portreeve");
    let first = system.build(MARKET, 1);
    assert_eq!(first.len(), 2, "{first:?}");
    system.install(&first);
    fs::write(system.path("/etc/market.state"), "idle\n").expect("written");
    assert_eq!(system.ours("key /root.key --public /root.pub --no-passphrase").0, 0);
    let (code, said) = system.ours("init --key /root.key --store /store /usr/bin /usr/lib64 /etc");
    assert_eq!(code, 0, "{said}");
    let check = "check --store /store --public /root.pub --waivers /none --journal /notes";
    let (code, said) = system.ours(check);
    assert_eq!(code, 0, "{said}");

    // What is installed within the second of the record is nobody's before.
    let recorded = Instant::now();
    while recorded.elapsed() < Duration::from_millis(1100) {
        std::thread::sleep(Duration::from_millis(50));
    }
    system.install(&system.build(MARKET, 2));
    let (code, said) = system.ours(check);
    // Of /etc/stall.conf rpm compares no content: nobody answers for what is in it.
    let told: Vec<&str> =
        said.lines().filter(|line| line.starts_with("/") || line.starts_with("added")).collect();
    assert!(code == 1 && said.contains("/etc/stall.conf") && told.len() <= 1, "{said}");
    assert!(
        said.contains("\n1 unexplained, 12 explained") || said.contains("1 unexplained, 12 explained"),
        "{said}"
    );
    let explained: Vec<&str> = said.lines().filter(|line| line.starts_with("explained:")).collect();
    assert_eq!(explained.len(), 1, "one transaction is one line: {said}");
    assert!(
        explained[0].contains("2 packages")
            && explained[0].contains("market (install 2-1), stall (install 2-1)"),
        "{said}"
    );

    let at = |path: &str| system.path(path);
    fs::write(at("/usr/bin/ls"), "ls of version 2, and more\n").expect("written");
    fs::write(at("/usr/lib64/security/pam_market.so"), "a MODULE of version 2\n").expect("written");
    keeping_times(&at("/usr/bin/cp"), "CP of version 2\n");
    set_time(&at("/usr/bin/du"), 1_000_000_000, 0);
    fs::copy("/bin/true", at("/usr/lib64/.hidden")).expect("copied");
    fs::set_permissions(at("/usr/lib64/.hidden"), fs::Permissions::from_mode(0o4755)).expect("set-uid");
    fs::set_permissions(at("/usr/bin/find"), fs::Permissions::from_mode(0o4755)).expect("set-uid");
    system.fine("setcap", &["cap_setuid=ep", at("/usr/bin/stall-tail").to_str().expect("UTF-8")]);
    system.fine("setcap", &["-r", at("/usr/bin/market-ping").to_str().expect("UTF-8")]);
    fs::write(at("/etc/market.state"), "evil\n").expect("written");
    fs::write(at("/etc/market.conf"), "size = 9\n").expect("written");
    fs::remove_file(at("/usr/bin/market-link")).expect("removed");
    symlink("/tmp/evil", at("/usr/bin/market-link")).expect("a link");
    fs::remove_file(at("/usr/bin/stall-ping")).expect("removed");
    let (code, said) = system.ours(&format!("{check} --json"));
    assert_eq!(code, 1, "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let paths = |value: &serde_json::Value| -> BTreeSet<String> {
        let all = value.as_array().expect("a list");
        all.iter().map(|change| change["path"].as_str().expect("a path").to_owned()).collect()
    };
    let planted = [
        "/usr/bin/ls",
        "/usr/lib64/security/pam_market.so",
        "/usr/bin/cp",
        "/usr/bin/du",
        "/usr/lib64/.hidden",
        "/usr/bin/find",
        "/usr/bin/stall-tail",
        "/usr/bin/market-ping",
        "/etc/market.state",
        "/etc/market.conf",
        "/usr/bin/market-link",
        "/usr/bin/stall-ping",
        "/etc/stall.conf",
    ];
    assert_eq!(paths(&said["unexplained"]), planted.map(str::to_owned).into(), "{said}");
    let explained = said["explained"].as_array().expect("a list");
    let kept: BTreeSet<String> = explained.iter().flat_map(|package| paths(&package["changes"])).collect();
    assert_eq!(kept, ["/usr/bin/market-su", "/usr/bin/stall"].map(str::to_owned).into(), "{said}");

    as_rpm_says(&system);
}

/// `integrity packages` and `rpm -Va` on the same root, line by line; rpm marks more kinds of files than configuration.
fn as_rpm_says(system: &System) {
    let lines = |text: &str| -> BTreeSet<String> {
        let line = |line: &str| {
            let words: Vec<&str> =
                line.split_whitespace().filter(|word| !matches!(*word, "d" | "g" | "l" | "r")).collect();
            words.join(" ")
        };
        text.lines().map(line).collect()
    };
    let theirs = system.mounted(
        "rpm",
        &["--dbpath", "/var/lib/rpm", "--root", system.root(), "-Va", "--nodeps", "--noscripts"],
    );
    let theirs = lines(&text(&theirs.stdout));
    let ours = system.mounted(
        env!("CARGO_BIN_EXE_portreeve"),
        &["integrity", "packages", "--root", system.root(), "--waivers", "/none"],
    );
    assert_eq!(ours.status.code(), Some(1));
    assert_eq!(lines(&text(&ours.stdout)), theirs);
    let found: BTreeSet<&str> = theirs.iter().filter_map(|line| line.split(' ').next_back()).collect();
    for path in [
        "/usr/bin/ls",
        "/usr/bin/cp",
        "/usr/bin/du",
        "/usr/bin/find",
        "/usr/bin/stall-tail",
        "/etc/market.conf",
    ] {
        assert!(found.contains(path), "{path}: {theirs:?}");
    }
}

/// What an rpm did not come to that was killed on its way is not as it was brought.
#[test]
fn an_rpm_that_was_cut_off_explains_nothing() {
    let Some(system) = System::new("cut", &[]) else { return };
    system.copy(Path::new(env!("CARGO_BIN_EXE_portreeve")), "usr/bin/portreeve");
    system.install(&system.build(MARKET, 1));
    assert_eq!(system.ours("key /root.key --public /root.pub --no-passphrase").0, 0);
    let (code, said) = system.ours("init --key /root.key --store /store /usr/bin /usr/lib64 /etc");
    assert_eq!(code, 0, "{said}");
    let recorded = Instant::now();
    while recorded.elapsed() < Duration::from_millis(1100) {
        std::thread::sleep(Duration::from_millis(50));
    }
    system.install(&system.build(MARKET, 2));
    for name in ["cp", "ls"] {
        fs::write(system.path(&format!("/usr/bin/{name}")), "nobody's\n").expect("written");
    }
    fs::create_dir(system.path("/usr/lib/real")).expect("a directory");
    fs::rename(system.path("/usr/bin/rpm"), system.path("/usr/lib/real/rpm")).expect("moved");
    let check = || {
        let (_, said) =
            system.ours("check --store /store --public /root.pub --waivers /none --journal /notes --json");
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let all = said["unexplained"].as_array().expect("a list").iter();
        let paths: BTreeSet<String> =
            all.map(|change| change["path"].as_str().expect("a path").to_owned()).collect();
        (paths, said["packages"].as_str().unwrap_or_default().to_owned())
    };
    // The first line is that of cp.
    let first = "/usr/lib/real/rpm \"$@\" | { read -r line; echo \"$line\"; }";
    for (verify, rest, why) in [
        ("", None, "known"),
        (first, Some("kill -9 $$"), "signal: 9"),
        (first, Some("exit 3"), "status: 3"),
        (
            "i=0; while [ $i -lt 3000 ]; do echo 'error: a line of some fifty letters and a number' >&2; i=$((i+1)); done",
            None,
            "rpm says: error",
        ),
    ] {
        let rest = rest.unwrap_or(":");
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' -V '*) {verify}\n{rest};; esac\nexec /usr/lib/real/rpm \"$@\"\n"
        );
        executable::write(&system.path("/usr/bin/rpm"), script);
        let (unexplained, packages) = check();
        assert!(packages.contains(why), "{why}: {packages}");
        assert!(
            unexplained.contains("/usr/bin/cp") && unexplained.contains("/usr/bin/ls"),
            "{why}: {unexplained:?}"
        );
        assert_eq!(unexplained.contains("/usr/bin/du"), why != "known", "{unexplained:?}");
    }
}
