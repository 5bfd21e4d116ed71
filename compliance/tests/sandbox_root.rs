//! A root directory of a program's own (`RootDirectory`): what it sees, what it cannot reach, which paths words are about, and that
//! nothing is started where it cannot be had. xinetd has nothing like it.

use portreeve_compliance::client::talk;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, Start, World, ours};
use std::os::unix::fs::symlink;

/// Says what it finds: marks of each side, what can be written, file systems of the kernel, and the ways out that are known.
const LOOK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static void told(const char *name, int yes) { if (yes) dprintf(1, "%s ", name); }
static long kind(const char *path) { struct statfs found; return statfs(path, &found) ? 0 : (long)found.f_type; }
int main(int argc, char **argv) {
    char path[4096];
    told("inside", access("/mark", F_OK) == 0);
    told("outside", access("/run/w/mark", F_OK) == 0);
    told("writes", access("/data", W_OK) == 0);
    told("etc", access("/etc", W_OK) == 0);
    told("hidden", access("/secret/file", R_OK) != 0);
    told("proc", kind("/proc") == 0x9fa0);
    told("sys", kind("/sys") == 0x62656572);
    told("null", open("/dev/null", O_RDWR) >= 0);
    told("memory", kind("/run") == 0x01021994);
    told("own-tmp", kind("/tmp") == 0x01021994);
    told("elsewhere", !getcwd(path, sizeof path) || strcmp(path, "/"));
    /* The oldest way out of a changed root. */
    mkdir("/data/step", 0755);
    if (chroot("/data/step") == 0) {
        for (int i = 0; i < 64; i++) { if (chdir("..")) break; }
        if (chroot(".") == 0) told("escaped", access("/run/w/mark", F_OK) == 0);
    }
    for (int i = 1; i < argc; i++) dprintf(1, "%s ", argv[i]);
    return 0;
}
"#;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

/// A small root at /run/w/root; false where there is no compiler.
fn prepare(world: &World) -> bool {
    if !has_programs(&["cc"]) {
        return false;
    }
    world.write("look.c", LOOK);
    world.write("mark", "");
    for dir in ["bin", "etc", "data", "tmp", "proc", "sys", "dev", "run", "secret"] {
        std::fs::create_dir_all(world.path(&format!("root/{dir}"))).expect("a directory");
    }
    world.write("root/mark", "");
    world.write("root/secret/file", "");
    let command = "cc -static -O1 -o /run/w/root/bin/look /run/w/look.c 2>&1";
    let (how, said) = world.run(&["/bin/sh", "-c", command], ENV);
    assert_eq!(how, Ended::Status(0), "{said}");
    // Below the root a link leads below it.
    symlink("/bin/look", world.path("root/bin/link")).expect("a link");
    symlink("/run/w/root", world.path("alias")).expect("a link");
    true
}

fn rooted(id: &str, port: u16, sandbox: &str) -> Entry {
    // `server` stands before `sandbox`, and is there below the root alone.
    Entry::program(id, port).set("server", "/bin/link").unset("server_args").set("sandbox", sandbox)
}

#[test]
fn a_program_has_a_root_of_its_own() {
    ours(|world| {
        if !prepare(world) {
            return;
        }
        let plain = "RootDirectory=/run/w/root";
        let table = [
            ("", "inside writes etc proc sys null memory"),
            ("MountAPIVFS=no", "inside writes etc"),
            (
                "ReadOnlyPaths=+/etc InaccessiblePaths=/run/w/root/secret",
                "inside writes hidden proc sys null memory",
            ),
            // Of the host, so not to be seen in there anyway.
            ("ReadOnlyPaths=/etc InaccessiblePaths=/secret", "inside writes etc proc sys null memory"),
            (
                "ProtectSystem=strict ReadWritePaths=+/data PrivateTmp",
                "inside writes proc sys null memory own-tmp",
            ),
            (
                "ProtectSystem=full ProtectHome PrivateDevices ProtectProc=invisible",
                "inside writes proc sys null memory",
            ),
            (
                "CapabilityBoundingSet=~CAP_SYS_CHROOT NoNewPrivileges",
                "inside writes etc proc sys null memory",
            ),
        ];
        let entries = (2001..)
            .zip(table)
            .map(|(port, (words, _))| rooted(&format!("r{port}"), port, format!("{plain} {words}").trim()));
        let all = Config::new().with_all(entries);
        let daemon = world.start(&all.with(rooted("named", 2050, "RootDirectory=/run/w/alias")));
        for (port, (words, wanted)) in (2001..).zip(table) {
            assert_eq!(talk("127.0.0.1", port, b"").text().trim(), wanted, "{words}");
        }
        assert_eq!(talk("127.0.0.1", 2050, b"").text().trim(), table[0].1, "by another name");
        // The name leads elsewhere by now: nothing is started there.
        std::fs::remove_file(world.path("alias")).expect("to remove");
        symlink("/", world.path("alias")).expect("a link");
        assert_eq!(talk("127.0.0.1", 2050, b""), Answer::closed(""));
        // The client may hear of it first.
        must("it is told", || world.read("daemon.log").contains("sandbox: its root directory"));
        assert_eq!(daemon.count("named", "/start_failures"), 1);
        // What is mounted in there is seen by nobody else.
        let (_, mounts) = world.run(&["/bin/cat", "/proc/self/mounts"], ENV);
        assert!(!mounts.contains("/run/w/root"), "{mounts}");
    });
}

#[test]
fn where_there_is_no_root_nothing_starts() {
    ours(|world| {
        if !prepare(world) {
            return;
        }
        let config = Config::new()
            .with(rooted("gone", 2001, "RootDirectory=/run/w/none"))
            .with(rooted("file", 2002, "RootDirectory=/run/w/mark"))
            .with(rooted("empty", 2003, "RootDirectory=/run/w/root/data"));
        let daemon = world.start(&config);
        for (port, id) in [(2001, "gone"), (2002, "file"), (2003, "empty")] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{id}");
            assert_eq!(daemon.count(id, "/start_failures"), 1, "{id}");
        }
        let log = world.read("daemon.log");
        for said in
            ["gone: /bin/link is not started, sandbox: its root directory", "execv( /bin/link ) failed"]
        {
            assert!(log.contains(said), "{said}: {log}");
        }
    });
}

/// A unit's root, the program and its arguments in it, and `+`.
#[test]
fn a_unit_has_its_root() {
    ours(|world| {
        if !prepare(world) {
            return;
        }
        let unit = |name: &str, text: &str| {
            std::fs::create_dir_all(world.path("units")).expect("a directory");
            world.write(&format!("units/{name}"), text);
        };
        unit(
            "a.socket",
            "[Socket]\nListenStream=127.0.0.1:2001\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
        );
        unit(
            "a@.service",
            "[Service]\nRootDirectory=/run/w/%p/../root\nExecStart=/bin/look one\nStandardInput=socket\n",
        );
        unit(
            "b.socket",
            "[Socket]\nListenStream=127.0.0.1:2002\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
        );
        unit(
            "b@.service",
            "[Service]\nRootDirectory=/run/w/root\nRootDirectoryStartOnly=yes\nExecStart=/bin/look two\nStandardInput=socket\n\
             ReadOnlyPaths=+/etc\nMountAPIVFS=off\nUser=65534\n",
        );
        let options = vec!["-systemd".to_owned(), "/run/w/units".to_owned()];
        let other = Config::of(Entry::internal("discard", "discard", 2099, "stream"));
        let daemon = world.start_with(&other, Start { options, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::refused(), "a path with steps back is none");
        assert_eq!(talk("127.0.0.1", 2002, b"").text().trim(), "inside two");
        let explained = daemon.control("explain b 127.0.0.1");
        assert!(
            explained.contains("RootDirectory=/run/w/root") && explained.contains("MountAPIVFS=no"),
            "{explained}"
        );
        assert!(world.read("daemon.log").contains("`a.socket` is not served: `RootDirectory=`"));
    });
}
