//! `portreeve integrity packages` beside dpkg's own word: a root with real packages, installed by dpkg, in which things are planted.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A root of its own, removed when dropped.
struct Root(PathBuf);

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn dpkg(root: &Path, arguments: &[&str]) -> String {
    let output = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args(["--force-not-root", "--force-script-chrootless", "--force-bad-path", "--log=/dev/null"])
        .args(arguments)
        .env("DPKG_MAINTSCRIPT_PACKAGE", "")
        .output()
        .expect("dpkg runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Root {
    /// Installs a package with these files; those below etc are of configuration.
    fn new(word: &str) -> Option<Root> {
        if !skip::has_programs(&["dpkg", "dpkg-deb", "dpkg-divert", "dpkg-statoverride", "md5sum"]) {
            return None;
        }
        let path = std::env::temp_dir().join(format!("portreeve-integrity-{word}-{}", std::process::id()));
        let root = Root(path);
        for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc/dpkg", "usr/bin", "build"] {
            fs::create_dir_all(root.0.join(directory)).expect("made");
        }
        for (name, text) in [
            ("var/lib/dpkg/status", ""),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ] {
            fs::write(root.0.join(name), text).expect("written");
        }
        Some(root)
    }

    fn install(&self, name: &str, files: &[&[u8]]) {
        let build = self.0.join("build").join(name);
        fs::create_dir_all(build.join("DEBIAN")).expect("made");
        fs::set_permissions(build.join("DEBIAN"), fs::Permissions::from_mode(0o755)).expect("mode");
        let control = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nInstalled-Size: 9\nDescription: x\n"
        );
        fs::write(build.join("DEBIAN/control"), control).expect("written");
        let mut conffiles = String::new();
        for file in files {
            let path = build.join(OsStr::from_bytes(file));
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, [b"content of ", *file].concat()).expect("written");
            if file.starts_with(b"etc/") {
                conffiles.push_str(&format!("/{}\n", String::from_utf8_lossy(file)));
            }
        }
        fs::write(build.join("DEBIAN/conffiles"), conffiles).expect("written");
        // As dh_md5sums makes it.
        let script = "find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\\0' | LC_ALL=C sort -z | xargs -r0 md5sum > DEBIAN/md5sums";
        let status = Command::new("sh").current_dir(&build).args(["-c", script]).status();
        assert!(status.expect("sh runs").success());
        let archive = self.0.join(format!("build/{name}.deb"));
        let status =
            Command::new("dpkg-deb").args(["--root-owner-group", "-b"]).args([&build, &archive]).output();
        assert!(status.expect("dpkg-deb runs").status.success());
        dpkg(&self.0, &["-i", &archive.to_string_lossy()]);
    }

    fn portreeve(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(["integrity", "packages", "--waivers", "/nonexistent", "--root"])
            .arg(&self.0)
            .args(arguments)
            .output()
            .expect("portreeve runs")
    }

    fn lines(&self) -> BTreeSet<String> {
        let output = self.portreeve(&[]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        lines(&String::from_utf8_lossy(&output.stdout))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.portreeve(&["--json"]).stdout).expect("JSON")
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// The same lines as dpkg, for whatever dpkg sees.
#[test]
fn the_same_lines_as_dpkg() {
    let Some(root) = Root::new("same") else { return };
    let files: [&[u8]; 9] = [
        b"usr/bin/ls",
        b"usr/bin/gone",
        b"usr/bin/link",
        b"usr/bin/folder",
        b"usr/bin/touched",
        b"usr/bin/diverted",
        b"etc/changed.conf",
        b"etc/gone.conf",
        b"usr/share/a name/x y",
    ];
    root.install("demo", &files);
    root.install("other", &[b"usr/bin/fine"]);
    assert!(root.lines().is_empty());
    assert_eq!(root.portreeve(&[]).status.code(), Some(0));
    // Diverted, and another package's file in its place: what was diverted still is demo's.
    let divert = Command::new("dpkg-divert")
        .args(["--root", &root.0.to_string_lossy(), "--package", "third", "--rename"])
        .args(["--divert", "/usr/bin/diverted.real", "--add", "/usr/bin/diverted"])
        .output()
        .expect("dpkg-divert runs");
    assert!(divert.status.success(), "{}", String::from_utf8_lossy(&divert.stderr));
    root.install("third", &[b"usr/bin/diverted"]);
    assert!(root.lines().is_empty(), "{:?}", root.lines());

    let at = |name: &str| root.0.join(name);
    // The same size, and the time stamps put back: only the content tells.
    let before = fs::metadata(at("usr/bin/ls")).expect("there");
    let mut bytes = fs::read(at("usr/bin/ls")).expect("read");
    bytes[0] ^= 1;
    fs::write(at("usr/bin/ls"), bytes).expect("written");
    let file = fs::File::options().append(true).open(at("usr/bin/ls")).expect("opened");
    file.set_modified(before.modified().expect("a time")).expect("set");
    fs::File::options()
        .append(true)
        .open(at("usr/bin/touched"))
        .expect("opened")
        .set_modified(std::time::SystemTime::now())
        .expect("touched");
    fs::remove_file(at("usr/bin/gone")).expect("removed");
    fs::remove_file(at("etc/gone.conf")).expect("removed");
    fs::write(at("etc/changed.conf"), "mine").expect("written");
    fs::write(at("usr/bin/diverted.real"), "a trojan where nobody looks").expect("written");
    fs::remove_dir_all(at("usr/share/a name")).expect("removed");
    let theirs = lines(&dpkg(&root.0, &["--verify"]));
    // dpkg looks whether a diverted file is there, and never at its content.
    let ours = root.lines();
    let more: Vec<_> = ours.difference(&theirs).cloned().collect();
    assert_eq!(more, ["??5??????   /usr/bin/diverted.real"]);
    assert_eq!(theirs.difference(&ours).count(), 0, "{theirs:?}");
    let wanted = [
        "??5??????   /usr/bin/ls",
        "missing     /usr/bin/gone",
        "missing   c /etc/gone.conf",
        "??5?????? c /etc/changed.conf",
        "missing     /usr/share/a name",
        "missing     /usr/share/a name/x y",
    ];
    for line in wanted {
        assert!(theirs.contains(line), "{line}: {theirs:?}");
    }
    let output = root.portreeve(&["other"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(root.portreeve(&["nosuch"]).status.code(), Some(2));
    assert_eq!(root.portreeve(&["demo"]).status.code(), Some(1));
}

/// What dpkg does not look at: what an administrator ordered, files that are none any more, what its own configuration leaves out, and
/// names that act on a terminal.
#[test]
fn what_dpkg_does_not_see() {
    let Some(root) = Root::new("more") else { return };
    let odd: &[u8] = b"usr/bin/odd\xff\x1b[2J";
    root.install("demo", &[b"usr/bin/tool", b"usr/bin/pipe", b"usr/share/doc/demo/README", odd]);
    fs::write(root.0.join("var/lib/dpkg/statoverride"), "root root 4755 /usr/bin/tool\n").expect("written");
    let found = |answer: &Value, path: &str| {
        let all = answer["differences"].as_array().expect("differences").iter();
        let texts = |difference: &Value| {
            let words = difference["what"].as_array().expect("words").iter().filter_map(Value::as_str);
            words.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        all.filter(|difference| difference["path"] == path).map(texts).collect::<Vec<_>>().join(", ")
    };
    let mode = |bits| {
        fs::set_permissions(root.0.join("usr/bin/tool"), fs::Permissions::from_mode(bits)).expect("mode")
    };
    mode(0o755);
    assert_eq!(found(&root.json(), "/usr/bin/tool"), "mode");
    mode(0o4755);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(found(&root.json(), "/usr/bin/tool"), if is_root { "" } else { "owner group" });
    // A pipe in the place of a file: nobody waits for its writer.
    fs::remove_file(root.0.join("usr/bin/pipe")).expect("removed");
    let made = Command::new("mkfifo").arg(root.0.join("usr/bin/pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    assert_eq!(found(&root.json(), "/usr/bin/pipe"), "mode content");
    fs::remove_dir_all(root.0.join("usr/share/doc")).expect("removed");
    assert_eq!(found(&root.json(), "/usr/share/doc/demo/README"), "missing");
    fs::create_dir_all(root.0.join("etc/dpkg/dpkg.cfg.d")).expect("made");
    fs::write(root.0.join("etc/dpkg/dpkg.cfg.d/slim"), "path-exclude=/usr/share/doc*\n").expect("written");
    let answer = root.json();
    assert_eq!(
        (found(&answer, "/usr/share/doc/demo/README"), answer["excluded"].as_u64()),
        (String::new(), Some(3))
    );
    fs::write(root.0.join(OsStr::from_bytes(odd)), "x").expect("written");
    assert_eq!(found(&root.json(), "/usr/bin/odd\\xff\\x1b[2J"), "content");
    let text = root.portreeve(&[]).stdout;
    assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(&text));
    // A link out of the root: what is outside is not looked at.
    let outside = root.0.join("outside");
    fs::create_dir_all(&outside).expect("made");
    fs::rename(root.0.join("usr/bin"), outside.join("bin")).expect("moved");
    std::os::unix::fs::symlink(outside.join("bin"), root.0.join("usr/bin")).expect("linked");
    assert_eq!(found(&root.json(), "/usr/bin/tool"), "missing");
    let findings = root.json()["findings"].as_array().expect("findings").clone();
    assert!(findings.iter().any(|finding| finding["id"] == "integrity-missing"), "{findings:?}");
    let sarif: Value = serde_json::from_slice(&root.portreeve(&["--format", "sarif"]).stdout).expect("JSON");
    assert_eq!(
        sarif["runs"][0]["results"][0]["ruleId"].as_str().map(|id| id.starts_with("integrity-")),
        Some(true)
    );
}

/// A database that is none, and one that is damaged.
#[test]
fn a_damaged_database_is_told() {
    let Some(root) = Root::new("damaged") else { return };
    root.install("demo", &[b"usr/bin/tool"]);
    fs::remove_file(root.0.join("var/lib/dpkg/info/demo.list")).expect("removed");
    let output = root.portreeve(&[]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("package demo has no list of its files"));
    fs::write(root.0.join("var/lib/dpkg/status"), b"\xff\xfe\0Package\n\n\n:\nPackage: x\nStatus: installed")
        .expect("written");
    assert_eq!(root.portreeve(&[]).status.code(), Some(0));
    fs::remove_file(root.0.join("var/lib/dpkg/status")).expect("removed");
    let output = root.portreeve(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no database of packages"));
}

/// Through rpm: a real database with a real package, in which things are planted.
#[test]
fn the_same_lines_as_rpm() {
    if !skip::has_programs(&["rpm", "rpmbuild"]) {
        return;
    }
    let root = Root(std::env::temp_dir().join(format!("portreeve-integrity-rpm-{}", std::process::id())));
    let build = root.0.join("build");
    fs::create_dir_all(&build).expect("made");
    let spec = "Name: demo\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n%description\nx\n%install\n\
        mkdir -p %{buildroot}/usr/bin %{buildroot}/etc\nfor name in one two three; do echo $name >%{buildroot}/usr/bin/$name; done\n\
        echo mine >%{buildroot}/etc/demo.conf\n%files\n/usr/bin/*\n%config /etc/demo.conf\n";
    fs::write(build.join("demo.spec"), spec).expect("written");
    let top = format!("_topdir {}", build.display());
    let output =
        Command::new("rpmbuild").args(["-bb", "--define", &top]).arg(build.join("demo.spec")).output();
    let output = output.expect("rpmbuild runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rpm = |arguments: &[&str]| {
        let output = Command::new("rpm")
            .arg("--root")
            .arg(&root.0)
            .args(["--dbpath", "/var/lib/rpm"])
            .args(arguments)
            .output()
            .expect("rpm runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let package = build.join("RPMS/noarch/demo-1-1.noarch.rpm");
    let said = rpm(&["-i", "--nodeps", "--noscripts", &package.to_string_lossy()]);
    if !root.0.join("usr/bin/one").exists() {
        panic!("{said}");
    }
    assert_eq!((root.portreeve(&[]).status.code(), root.lines()), (Some(0), BTreeSet::new()));
    fs::write(root.0.join("usr/bin/one"), "two").expect("written");
    fs::remove_file(root.0.join("usr/bin/two")).expect("removed");
    fs::set_permissions(root.0.join("usr/bin/three"), fs::Permissions::from_mode(0o4755)).expect("mode");
    fs::write(root.0.join("etc/demo.conf"), "yours").expect("written");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let theirs: BTreeSet<String> = rpm(&["-Va", "--nodeps", "--noscripts"]).lines().map(words).collect();
    let ours: BTreeSet<String> = root.lines().iter().map(|line| words(line)).collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 4, "{ours:?}");
    assert_eq!(root.portreeve(&[]).status.code(), Some(1));
}
