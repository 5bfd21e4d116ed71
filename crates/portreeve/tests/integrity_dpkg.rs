//! Real dpkg upgrades in a root of their own, with trojans planted beside them: what the upgrade did is explained in one line, what was planted is not.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;
mod rpm_system;

use rpm_system::System;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Builds a package of these files, whose content names the version, and installs it.
fn install(system: &System, name: &str, version: u32, files: &[&str]) {
    let build = system.room.join(format!("{name}-{version}"));
    let control = build.join("DEBIAN");
    fs::create_dir_all(&control).expect("a directory");
    fs::set_permissions(&control, fs::Permissions::from_mode(0o755)).expect("mode");
    let text = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n"
    );
    fs::write(control.join("control"), text).expect("written");
    let mut conffiles = String::new();
    for file in files {
        let path = build.join(file.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, format!("{file} of version {version}\n")).expect("written");
        let mode = if file.ends_with("-su") { 0o4755 } else { 0o755 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        if file.starts_with("/etc/") {
            conffiles.push_str(&format!("{file}\n"));
        }
    }
    fs::write(control.join("conffiles"), conffiles).expect("written");
    // One link to a file of this version alone, and one that stays.
    fs::create_dir_all(build.join("usr/lib64")).expect("made");
    for (link, target) in [("so", format!("lib{name}.so.{version}")), ("stay", "stays".to_owned())] {
        symlink(target, build.join(format!("usr/lib64/lib{name}.{link}"))).expect("a link");
    }
    // As dh_md5sums makes it.
    let sums = "find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -r0 md5sum > DEBIAN/md5sums";
    let made = Command::new("sh").current_dir(&build).args(["-c", sums]).status();
    assert!(made.expect("sh runs").success());
    let archive = system.room.join(format!("{name}-{version}.deb"));
    let (from, to) = (build.to_str().expect("UTF-8"), archive.to_str().expect("UTF-8"));
    system.fine("dpkg-deb", &["--root-owner-group", "-b", from, to]);
    dpkg(system, &["--force-confnew", "-i", to]);
}

fn dpkg(system: &System, words: &[&str]) {
    let (root, log) =
        (format!("--root={}", system.root()), format!("--log={}/var/log/dpkg.log", system.root()));
    let mut all = vec![root.as_str(), log.as_str(), "--force-bad-path"];
    all.extend(words);
    system.fine("dpkg", &all);
}

fn paths(value: &Value) -> BTreeSet<String> {
    let all = value.as_array().expect("a list");
    all.iter().map(|change| change["path"].as_str().expect("a path").to_owned()).collect()
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.map(str::to_owned).into()
}

#[test]
fn an_upgrade_explains_itself_and_no_trojan() {
    let Some(system) = System::bare("dpkg-upgrade", &["dpkg", "dpkg-deb", "md5sum"]) else { return };
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"] {
        fs::create_dir_all(system.path(directory)).expect("made");
    }
    fs::write(system.path("var/lib/dpkg/status"), "").expect("written");
    system.copy(Path::new(env!("CARGO_BIN_EXE_portreeve")), "usr/bin/portreeve");
    let market = [
        "/usr/bin/ls",
        "/usr/bin/cp",
        "/usr/bin/du",
        "/usr/bin/find",
        "/usr/bin/tail",
        "/usr/bin/sort",
        "/usr/bin/market-su",
        "/usr/lib64/security/pam_market.so",
        "/etc/market.conf",
    ];
    let old = [&market[..], &["/usr/lib64/libmarket.so.1"]].concat();
    let new = [&market[..], &["/usr/lib64/libmarket.so.2", "/usr/bin/new-su"]].concat();
    install(&system, "market", 1, &old);
    install(&system, "idle", 1, &["/usr/bin/idle"]);
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
    install(&system, "market", 2, &new);
    let (code, said) = system.ours(check);
    let explained: Vec<&str> = said.lines().filter(|line| line.starts_with("explained:")).collect();
    assert!(
        explained.len() == 1 && explained[0].contains("market") && explained[0].contains("upgrade 1 -> 2"),
        "{said}"
    );
    // A set-uid file is told whoever brought it, and of what is gone no list says whose it was.
    let unexplained: Vec<&str> = said
        .lines()
        .filter(|line| {
            line.starts_with("added") || line.starts_with("removed") || line.starts_with("changed")
        })
        .collect();
    assert_eq!(code, 1);
    assert_eq!(unexplained.len(), 2, "{said}");
    assert!(unexplained[0].contains("/usr/bin/new-su: file 4755"), "{said}");
    assert!(
        unexplained[1].starts_with("removed") && unexplained[1].contains("/usr/lib64/libmarket.so.1"),
        "{said}"
    );

    let at = |path: &str| system.path(path);
    let keeping_time = |path: &str, text: &str| {
        let before = fs::metadata(at(path)).expect("there").modified().expect("a time");
        fs::write(at(path), text).expect("written");
        fs::File::options().write(true).open(at(path)).expect("open").set_modified(before).expect("set");
    };
    fs::write(at("/usr/bin/ls"), "/usr/bin/ls of version 2, and more\n").expect("written");
    fs::write(at("/usr/lib64/security/pam_market.so"), "/usr/lib64/security/pam_market.SO of version 2\n")
        .expect("written");
    keeping_time("/usr/bin/cp", "/usr/bin/CP of version 2\n");
    fs::copy("/bin/true", at("/usr/lib64/.hidden")).expect("copied");
    fs::set_permissions(at("/usr/lib64/.hidden"), fs::Permissions::from_mode(0o4755)).expect("set-uid");
    fs::set_permissions(at("/usr/bin/find"), fs::Permissions::from_mode(0o4755)).expect("set-uid");
    system.fine("setcap", &["cap_setuid=ep", at("/usr/bin/tail").to_str().expect("UTF-8")]);
    fs::write(at("/etc/market.conf"), "evil\n").expect("written");
    // Its sum is forged as well, and the package has no transaction since.
    keeping_time("/usr/bin/idle", "/usr/bin/IDLE of version 1\n");
    let sum = Command::new("md5sum").arg(at("/usr/bin/idle")).output().expect("md5sum runs").stdout;
    let sum = String::from_utf8(sum).expect("UTF-8").split(' ').next().expect("a sum").to_owned();
    fs::write(at("/var/lib/dpkg/info/idle.md5sums"), format!("{sum}  usr/bin/idle\n")).expect("written");
    // A link to somewhere else, and one to another file that the same upgrade brought anew in content, not in name.
    for (link, target) in [("so", "/tmp/evil"), ("stay", "../bin/sort")] {
        let link = at(&format!("/usr/lib64/libmarket.{link}"));
        fs::remove_file(&link).expect("removed");
        symlink(target, link).expect("a link");
    }
    // The list has a new name, and no sum of it: whoever wrote that file.
    let list = at("/var/lib/dpkg/info/market.list");
    fs::write(&list, fs::read_to_string(&list).expect("a list") + "/usr/bin/unsummed\n").expect("written");
    fs::write(at("/usr/bin/unsummed"), "evil").expect("written");
    let (code, said) = system.ours(&format!("{check} --json"));
    assert_eq!(code, 1, "{said}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let planted = set([
        "/usr/bin/ls",
        "/usr/bin/cp",
        "/usr/bin/find",
        "/usr/bin/tail",
        "/usr/bin/idle",
        "/usr/lib64/libmarket.so",
        "/usr/lib64/libmarket.stay",
        "/usr/bin/unsummed",
        "/usr/lib64/security/pam_market.so",
        "/usr/lib64/.hidden",
        "/etc/market.conf",
        "/usr/bin/new-su",
        "/usr/lib64/libmarket.so.1",
    ]);
    assert_eq!(paths(&said["unexplained"]), planted, "{said}");
    let explained = said["explained"].as_array().expect("a list");
    let kept: BTreeSet<String> = explained.iter().flat_map(|package| paths(&package["changes"])).collect();
    assert_eq!(
        kept,
        set(["/usr/bin/du", "/usr/bin/sort", "/usr/bin/market-su", "/usr/lib64/libmarket.so.2"]),
        "{said}"
    );
    // What the packages themselves say of it, without the baseline.
    let (code, said) = system.ours("packages --waivers /none");
    assert_eq!(code, 1);
    for path in ["/usr/bin/ls", "/usr/bin/cp", "/usr/lib64/security/pam_market.so"] {
        assert!(said.contains(&format!("??5??????   {path}\n")), "{said}");
    }
    assert!(said.contains("??5?????? c /etc/market.conf\n") && !said.contains("/usr/bin/idle"), "{said}");
}
