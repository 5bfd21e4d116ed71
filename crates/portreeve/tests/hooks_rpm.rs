//! The hooks of rpm and dnf (pkg/hooks) behind real transactions, in a root of their own: called when programs were changed, and not otherwise.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;
mod rpm_system;

use rpm_system::{MARKET, System, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn hooks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/hooks")
}

fn script(path: &Path, text: &str) {
    executable::write(path, format!("#!/bin/sh\n{text}"));
}

fn calls(log: &Path) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

/// Waits until the hook has been called and nobody is about to call: no run has its lock.
fn called(log: &Path, locks: &Path, before: usize) -> usize {
    let begun = Instant::now();
    loop {
        // Only once it was called: whoever holds the lock for an instant to look at it keeps the hook from its run.
        let free = || {
            ["stale.next", "stale.run"].iter().all(|name| {
                fs::File::open(locks.join(name)).is_ok_and(|file| {
                    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
                })
            })
        };
        if calls(log) > before && free() {
            return calls(log);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the hook was not called");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many calls there are when none has come for a while: a transaction may call once more when its first call is over.
fn settled(log: &Path) -> usize {
    let (mut seen, mut since) = (calls(log), Instant::now());
    while since.elapsed() < Duration::from_millis(700) {
        std::thread::sleep(Duration::from_millis(20));
        if calls(log) != seen {
            (seen, since) = (calls(log), Instant::now());
        }
    }
    seen
}

/// Another package, with nothing but configuration.
const PAPER: &str = "\
Name: paper
Version: @VERSION@
Release: 1
Summary: a test
License: none
BuildArch: noarch
AutoReqProv: no
%description
a test
%install
mkdir -p %{buildroot}/etc
echo @VERSION@ > %{buildroot}/etc/paper
%files
/etc/paper
";

#[test]
fn rpm_calls_the_hook_behind_a_transaction() {
    let Some(system) = System::new("trigger", &["flock", "setsid", "mkdir"]) else { return };
    for program in ["flock", "setsid", "mkdir"] {
        system.copy(&skip::find_program(program).expect(program), &format!("usr/bin/{program}"));
    }
    // Our own package, as its spec has the hook.
    let triggers = fs::read_to_string(hooks().join("rpm.spec-part")).expect("the spec's part");
    let spec = format!(
        "Name: hooked\nVersion: @VERSION@\nRelease: 1\nSummary: a test\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n\
         %description\na test\n%install\nmkdir -p %{{buildroot}}/usr/lib/portreeve\n\
         install -m 755 {} %{{buildroot}}/usr/lib/portreeve/after-upgrade\n{triggers}\n%files\n/usr/lib/portreeve/after-upgrade\n",
        hooks().join("after-upgrade").display()
    );
    // Where the units have it.
    script(&system.path("/usr/sbin/portreeve"), "echo \"$*\" >> /var/called\n");
    let (log, locks) = (system.path("/var/called"), system.path("/run/portreeve"));
    system.install(&system.build(&spec, 1));
    let mut before = called(&log, &locks, 0);
    for version in [1, 2] {
        system.install(&system.build(MARKET, version));
        before = called(&log, &locks, before);
    }
    assert!(fs::read_to_string(&log).expect("a log").lines().all(|line| line == "stale --after-upgrade"));
    // No program was touched; a later transaction that does is one call of its own.
    let before = settled(&log);
    system.install(&system.build(PAPER, 1));
    let quiet = settled(&log);
    system.fine("rpm", &["--dbpath", "/var/lib/rpm", "--root", system.root(), "-e", "stall"]);
    assert_eq!((quiet, called(&log, &locks, before) > before), (before, true));
}

#[test]
fn dnf_calls_the_hook_once_for_a_transaction() {
    let Some(system) = System::new("dnf", &["dnf", "createrepo_c", "flock", "setsid"]) else { return };
    let room = system.room.clone();
    let plugin = Path::new("/usr/lib/python3/dist-packages/dnf-plugins/post-transaction-actions.py");
    if !plugin.exists() {
        skip::skip(skip::Reason::absent("dnf-plugins-core"));
        return;
    }
    let of_this_machine = Path::new("/var/lib/rpm/rpmdb.sqlite").exists();
    for directory in ["home", "repo", "actions", "plugins", "logs", "cache", "python"] {
        fs::create_dir_all(room.join(directory)).expect("a directory");
    }
    let (log, locks) = (room.join("called"), room.join("locks"));
    script(&room.join("portreeve"), &format!("echo \"$*\" >> '{}'\n", log.display()));
    // As installed, but for where the hook is and whom it calls.
    let hook = format!(
        "env PORTREEVE={0}/portreeve PORTREEVE_LOCKS={0}/locks {1}",
        room.display(),
        hooks().join("after-upgrade").display()
    );
    let action = fs::read_to_string(hooks().join("dnf.action")).expect("the action");
    assert!(action.contains("/usr/lib/portreeve/after-upgrade"));
    let action = action.replace("*:any:/usr/lib/portreeve/after-upgrade", &format!("*:any:{hook}"));
    fs::write(room.join("actions/portreeve.action"), action).expect("written");
    let conf = format!("[main]\nenabled = 1\nactiondir = {}/actions/\n", room.display());
    fs::write(room.join("plugins/post-transaction-actions.conf"), conf).expect("written");
    // Debian 12 has a plugin that calls this by a name which its libdnf no longer has: there the plugin fails before it calls anybody.
    let mend = "import libdnf.conf\nif not hasattr(libdnf.conf, 'ConfigParser_substitute'):\n    \
                libdnf.conf.ConfigParser_substitute = libdnf.conf.ConfigParser.substitute\n";
    fs::write(room.join("python/sitecustomize.py"), mend).expect("written");
    // dnf's alone: whoever builds packages would make a database of this machine there.
    fs::write(room.join("home/.rpmmacros"), "%_dbpath /var/lib/rpm\n").expect("written");
    let home = format!("HOME={}", room.join("home").display());
    let python = format!("PYTHONPATH={}", room.join("python").display());
    let dnf = |words: &[&str]| {
        let set = |name: &str, value: &str| format!("--setopt={name}={value}");
        let place = |name: &str| room.join(name).display().to_string();
        let options = [
            "-y".to_owned(),
            "-q".to_owned(),
            "--nogpgcheck".to_owned(),
            "--releasever=1".to_owned(),
            // Two offers within one second are two.
            "--refresh".to_owned(),
            format!("--installroot={}", system.root()),
            format!("--repofrompath=local,file://{}", place("repo")),
            "--repo=local".to_owned(),
            "--disableplugin=*".to_owned(),
            "--enableplugin=post-transaction-actions".to_owned(),
            set("pluginconfpath", &place("plugins")),
            set("reposdir", "/nonexistent"),
            set("cachedir", &place("cache")),
            set("logdir", &place("logs")),
            set("local.metadata_expire", "0"),
        ];
        let mut all = vec![home.as_str(), python.as_str(), "dnf"];
        all.extend(options.iter().map(String::as_str).chain(words.iter().copied()));
        let output = system.mounted("env", &all);
        assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    };
    let offer = |version| {
        for file in system.build(MARKET, version) {
            let name = Path::new(&file).file_name().expect("a name").to_owned();
            fs::copy(&file, room.join("repo").join(name)).expect("copied");
        }
        system.fine("createrepo_c", &["-q", &room.join("repo").display().to_string()]);
    };
    offer(1);
    dnf(&["install", "market", "stall"]);
    assert_eq!(called(&log, &locks, 0), 1);
    offer(2);
    dnf(&["upgrade"]);
    assert_eq!(called(&log, &locks, 1), 2);
    assert!(fs::read_to_string(system.path("/usr/bin/ls")).expect("ls").contains("version 2"));
    assert!(fs::read_to_string(&log).expect("a log").lines().all(|line| line == "stale --after-upgrade"));
    assert_eq!(
        Path::new("/var/lib/rpm/rpmdb.sqlite").exists(),
        of_this_machine,
        "a database was made outside of the root"
    );
}
