//! `portreeve integrity` on a system of rpm: a root that real packages were built for, installed into and upgraded in by one transaction, with
//! what an intruder leaves. And the hooks of rpm and dnf, after real transactions. Nothing outside of a folder of this test is written; what is
//! mounted is mounted in a namespace of its own.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A root with two packages' files, a shell, and what they are linked to.
struct System {
    room: PathBuf,
    root: PathBuf,
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.room);
    }
}

/// What the programs of this machine are linked to, and rpm's own files: seen in the root, and read only.
fn shared() -> Vec<PathBuf> {
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    ["/usr/lib/rpm", &libraries, "/dev"].into_iter().map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl System {
    /// None where this machine lacks something.
    fn new(name: &str, programs: &[&'static str]) -> Option<System> {
        if !rustix::process::geteuid().is_root() {
            skip::skip(skip::Reason::NoRoot);
            return None;
        }
        if !skip::has_programs(&["rpm", "rpmbuild", "unshare", "mount", "chroot", "setcap"])
            || !skip::has_programs(programs)
        {
            return None;
        }
        if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
            skip::skip(skip::Reason::NoNamespaces);
            return None;
        }
        let room = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("portreeve-rpm-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&room);
        let root = room.join("root");
        for directory in [
            "usr/bin",
            "usr/sbin",
            "usr/lib",
            "usr/lib64/security",
            "etc",
            "tmp",
            "proc",
            "dev",
            "var/lib/rpm",
        ] {
            fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link)).expect("a link");
        }
        for path in shared() {
            fs::create_dir_all(root.join(path.strip_prefix("/").expect("absolute"))).expect("a directory");
        }
        let system = System { room, root };
        let loader = fs::read_dir("/lib64").expect("/lib64").flatten().map(|entry| entry.path());
        for file in loader.filter(|path| path.to_string_lossy().contains("/ld-linux")) {
            system.copy(&file, &format!("usr/lib64/{}", file.file_name().expect("a name").to_string_lossy()));
        }
        for program in ["rpm", "sh", "cat", "touch"] {
            system.copy(&skip::find_program(program).expect(program), &format!("usr/bin/{program}"));
        }
        system.fine("rpm", &["--dbpath", "/var/lib/rpm", "--root", system.root(), "--initdb"]);
        Some(system)
    }

    fn copy(&self, from: &Path, to: &str) {
        fs::copy(from, self.root.join(to)).expect("copied");
    }

    fn root(&self) -> &str {
        self.root.to_str().expect("UTF-8")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a program in a mount namespace where what the root needs of this machine is in it.
    fn mounted(&self, program: &str, arguments: &[&str]) -> Output {
        let mut script = String::from("set -e\n");
        for path in shared() {
            let there = self.root.join(path.strip_prefix("/").expect("absolute"));
            let (here, there) = (path.display(), there.display());
            script
                .push_str(&format!("mount --bind '{here}' '{there}'\nmount -o remount,bind,ro '{there}'\n"));
        }
        script.push_str(&format!("mount -t proc proc '{}'\nexec \"$@\"\n", self.root.join("proc").display()));
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", program]).args(arguments);
        command.env("HOME", &self.room).env("LC_ALL", "C").env("NO_COLOR", "1").output().expect("runs")
    }

    fn fine(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.mounted(program, arguments);
        let said = text(&output.stdout);
        assert!(output.status.success(), "{program} {arguments:?}: {said}{}", text(&output.stderr));
        said
    }

    /// Our program as the system's own.
    fn ours(&self, line: &str) -> (i32, String) {
        let words: Vec<&str> =
            [self.root(), "/usr/bin/portreeve", "integrity"].into_iter().chain(line.split(' ')).collect();
        let output = self.mounted("chroot", &words);
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code().unwrap_or(-1), said)
    }

    /// Builds packages of a version and gives their files.
    fn build(&self, spec: &str, version: u32) -> Vec<String> {
        let top = self.room.join(format!("build{version}-{}", spec.len()));
        fs::create_dir_all(&top).expect("a directory");
        let file = top.join("packages.spec");
        fs::write(&file, spec.replace("@VERSION@", &version.to_string())).expect("written");
        let define = format!("_topdir {}", top.display());
        let built = Command::new("rpmbuild")
            .args(["-bb", "--quiet", "--define", &define, "--define", "_build_id_links none"])
            .arg(&file)
            .env("HOME", &self.room)
            .output()
            .expect("rpmbuild runs");
        assert!(built.status.success(), "{}", text(&built.stderr));
        let folders = fs::read_dir(top.join("RPMS")).expect("packages").flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("packages").flatten());
        files.map(|file| file.path().display().to_string()).collect()
    }

    fn install(&self, packages: &[String]) {
        let mut words = vec!["--dbpath", "/var/lib/rpm", "--root", self.root(), "-U", "--nodeps"];
        words.extend(packages.iter().map(String::as_str));
        self.fine("rpm", &words);
    }
}

/// Two packages with what a package may have: configuration, a ghost, a set-uid program, capabilities, links.
const MARKET: &str = "\
Name: market
Version: @VERSION@
Release: 1
Summary: a test
License: none
BuildArch: noarch
AutoReqProv: no
%description
a test
%package -n stall
Summary: a test
%description -n stall
a test
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/lib64/security %{buildroot}/etc
for name in ls cp du find; do echo \"$name of version @VERSION@\" > %{buildroot}/usr/bin/$name; done
for name in stall stall-tail stall-ping; do echo \"$name of version @VERSION@\" > %{buildroot}/usr/bin/$name; done
echo 'a module of version @VERSION@' > %{buildroot}/usr/lib64/security/pam_market.so
echo 'size = @VERSION@' > %{buildroot}/etc/market.conf
echo 'colour = @VERSION@' > %{buildroot}/etc/stall.conf
echo 'su @VERSION@' > %{buildroot}/usr/bin/market-su
echo 'ping @VERSION@' > %{buildroot}/usr/bin/market-ping
ln -s ls-@VERSION@ %{buildroot}/usr/bin/market-link
%files
%attr(0755,root,root) /usr/bin/ls
%attr(0755,root,root) /usr/bin/cp
%attr(0755,root,root) /usr/bin/du
%attr(0755,root,root) /usr/bin/find
%attr(4755,root,root) /usr/bin/market-su
%attr(0755,root,root) %caps(cap_net_raw=ep) /usr/bin/market-ping
/usr/bin/market-link
/usr/lib64/security/pam_market.so
%config(noreplace) /etc/market.conf
%ghost /etc/market.state
%verify(not md5 size mtime) /etc/stall.conf
%files -n stall
%attr(0755,root,root) /usr/bin/stall
%attr(0755,root,root) /usr/bin/stall-tail
%attr(0755,root,root) /usr/bin/stall-ping
";

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
