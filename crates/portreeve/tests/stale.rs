//! `portreeve stale` beside real processes whose libraries and programs are really replaced: rebuilt, reinstalled, touched, removed, in
//! another root, in memory.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Says "ready" and waits: as it is, after a chroot, or from memory.
const HOST: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <fcntl.h>
#include <unistd.h>
#ifdef LIBRARY
int number(void);
#else
static int number(void) { return 0; }
#endif
extern char **environ;
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "memory")) {
    int own = open("/proc/self/exe", O_RDONLY), memory = memfd_create("host", 0);
    while (sendfile(memory, own, NULL, 1 << 20) > 0) {}
    char *plain[] = {"host", NULL};
    fexecve(memory, plain, environ);
    return 1;
  }
  if (argc > 2 && !strcmp(argv[1], "chroot") && (chroot(argv[2]) || chdir("/"))) return 1;
  printf("ready %d\n", number());
  fflush(stdout);
  pause();
  return 0;
}
"#;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(word: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("portreeve-stale-{word}-{}", std::process::id()));
        // Not below /tmp or /var/tmp, where a clone may lie: what is mapped from there is somebody's scratch and is not looked at.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let scratch = ["/tmp", "/var/tmp"].iter().any(|scratch| target.starts_with(scratch));
        let place = if scratch { Path::new("/var/lib") } else { target };
        let path = place.join(path.file_name().expect("a name"));
        fs::create_dir_all(&path).expect("a folder");
        fs::write(path.join("host.c"), HOST).expect("written");
        Folder(path)
    }

    fn cc(&self, arguments: &[&str]) {
        let status = Command::new("cc").current_dir(&self.0).args(arguments).status();
        assert!(status.expect("cc runs").success(), "cc {arguments:?}");
    }

    /// A library that answers with a number, under another name than it will have.
    fn library(&self, name: &str, number: u32, id: &str) {
        let text = format!("int number(void) {{ return {number}; }}\n");
        fs::write(self.0.join("number.c"), text).expect("written");
        let id = format!("-Wl,--build-id={id}");
        self.cc(&["-shared", "-fPIC", "-Wl,-soname,libnumber.so", &id, "-o", name, "number.c"]);
    }

    fn host(&self) {
        self.library("libnumber.so", 1, "sha1");
        self.cc(&["-DLIBRARY", "-o", "host", "host.c", "-L.", "-lnumber", "-Wl,-rpath,$ORIGIN"]);
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.0.join(from), self.0.join(to)).expect("renamed");
    }

    fn start(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(self.0.join("host"));
        Running::start(command.args(arguments))
    }
}

struct Running(Child);

impl Running {
    /// Runs it until it has said that it is ready.
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("ready"), "{command:?}: {line:?}");
        Running(child)
    }

    /// What is old in it, as pairs of file name and what became of it.
    fn old(&self) -> Vec<(String, String)> {
        let pid = self.0.id();
        let answer = stale();
        let mine = answer["processes"].as_array().expect("processes").iter().find(|p| p["pid"] == pid);
        let files = mine.map_or(&[][..], |mine| mine["files"].as_array().expect("files"));
        let text = |file: &Value, name: &str| file[name].as_str().expect("text").to_owned();
        let named = files.iter().map(|file| {
            let path = PathBuf::from(text(file, "path"));
            (path.file_name().expect("a name").to_string_lossy().into_owned(), text(file, "how"))
        });
        named.collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stale() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["stale", "--json", "--control", "/nonexistent/control", "--waivers", "/nonexistent/waivers"])
        .output()
        .expect("portreeve runs");
    assert!(output.status.code() < Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn pair(name: &str, how: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), how.to_owned())]
}

#[test]
fn a_library_is_stale_when_it_is_another_build() {
    let folder = Folder::new("library");
    folder.host();
    let running = folder.start(&[]);
    assert_eq!(running.old(), []);
    // Reinstalled: the same content, another inode.
    let inode = || fs::metadata(folder.0.join("libnumber.so")).expect("there").ino();
    let before = inode();
    fs::copy(folder.0.join("libnumber.so"), folder.0.join("new")).expect("copied");
    folder.rename("new", "libnumber.so");
    assert_ne!(inode(), before);
    assert_eq!(running.old(), []);
    // Only another time stamp.
    let file = fs::File::options().append(true).open(folder.0.join("libnumber.so")).expect("opened");
    file.set_modified(std::time::SystemTime::now()).expect("touched");
    assert_eq!(running.old(), []);
    // As prelink does it: other bytes, the same build-id.
    let mut bytes = fs::read(folder.0.join("libnumber.so")).expect("read");
    bytes.extend_from_slice(b"prelinked");
    fs::write(folder.0.join("new"), bytes).expect("written");
    folder.rename("new", "libnumber.so");
    assert_eq!(running.old(), []);
    folder.library("new", 2, "sha1");
    folder.rename("new", "libnumber.so");
    assert_eq!(running.old(), pair("libnumber.so", "rebuilt"));
    let answer = stale();
    let finding = answer["findings"].as_array().expect("findings").iter().find(|finding| {
        finding["evidence"]["files"].as_str().is_some_and(|files| files.contains("libnumber.so (rebuilt)"))
    });
    assert_eq!(finding.expect("a finding")["id"], "stale-process");
    assert_eq!(folder.start(&[]).old(), [], "who starts now has the new one");
    fs::remove_file(folder.0.join("libnumber.so")).expect("removed");
    assert_eq!(running.old(), pair("libnumber.so", "gone"));
    fs::create_dir(folder.0.join("libnumber.so")).expect("a directory of that name");
    assert_eq!(running.old(), pair("libnumber.so", "replaced"));
}

#[test]
fn a_name_that_ends_like_the_kernels_mark_is_a_name() {
    let folder = Folder::new("mark");
    folder.cc(&["-o", "host (deleted)", "host.c"]);
    let running = Running::start(&mut Command::new(folder.0.join("host (deleted)")));
    assert_eq!(running.old(), []);
    // A file of the bare name is no file of its.
    folder.cc(&["-o", "host", "-DOTHER", "host.c"]);
    assert_eq!(running.old(), []);
    fs::remove_file(folder.0.join("host (deleted)")).expect("removed");
    assert_eq!(running.old().len(), 1);
}

#[test]
fn without_a_build_id_the_content_tells() {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return;
    }
    let folder = Folder::new("content");
    folder.host();
    folder.library("libnumber.so", 1, "none");
    let running = folder.start(&[]);
    fs::copy(folder.0.join("libnumber.so"), folder.0.join("new")).expect("copied");
    folder.rename("new", "libnumber.so");
    assert_eq!(running.old(), []);
    folder.library("new", 2, "none");
    folder.rename("new", "libnumber.so");
    assert_eq!(running.old(), pair("libnumber.so", "replaced"));
}

#[test]
fn memory_is_not_stale() {
    let folder = Folder::new("memory");
    folder.cc(&["-o", "host", "host.c"]);
    let running = folder.start(&["memory"]);
    let link = fs::read_link(format!("/proc/{}/exe", running.0.id())).expect("a link");
    assert!(link.to_string_lossy().starts_with("/memfd:"), "{link:?}");
    fs::remove_file(folder.0.join("host")).expect("removed");
    assert_eq!(running.old(), []);
}

#[test]
fn each_process_is_compared_in_its_own_root() {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return;
    }
    let folder = Folder::new("root");
    let root = folder.0.join("root");
    fs::create_dir_all(root.join("old")).expect("made");
    folder.cc(&["-static", "-o", "root/host", "host.c"]);
    folder.cc(&["-static", "-DOTHER=1", "-O3", "-o", "other", "host.c"]);
    let root_text = root.to_string_lossy().into_owned();
    // As a container has it: its root is the root of its mount namespace.
    let script = "mount --bind \"$0\" \"$0\" && cd \"$0\" && pivot_root . old && exec ./host";
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount"]).args(arguments);
        command
    };
    let possible = unshare(&["true"]).status().is_ok_and(|status| status.success());
    if !possible {
        skip::skip(skip::Reason::NoNamespaces);
        return;
    }
    let contained = Running::start(&mut unshare(&["sh", "-c", script, &root_text]));
    let jailed = Running::start(&mut unshare(&[&format!("--root={root_text}"), "/host"]));
    // Whoever goes into a root afterwards still has its files from outside of it.
    folder.host();
    let late = folder.start(&["chroot", &root_text]);
    for running in [&contained, &jailed, &late] {
        assert_eq!(running.old(), []);
    }
    // The inventory of listeners sees it the same way.
    for running in [&contained, &jailed, &late] {
        let process = portreeve_audit::process::read(Path::new("/proc"), running.0.id()).expect("it runs");
        assert_eq!(process.image, portreeve_audit::process::Image::Same, "{:?}", process.executable);
    }
    fs::rename(folder.0.join("other"), root.join("host")).expect("renamed");
    assert_eq!(contained.old(), pair("host", "rebuilt"));
    assert_eq!(jailed.old(), pair("host", "rebuilt"));
    assert_eq!(late.old(), []);
    folder.library("new", 2, "sha1");
    folder.rename("new", "libnumber.so");
    assert_eq!(late.old(), pair("libnumber.so", "rebuilt"));
    // A link out of the root does not lead out of it.
    fs::remove_file(root.join("host")).expect("removed");
    std::os::unix::fs::symlink(folder.0.join("host"), root.join("host")).expect("linked");
    assert_eq!(contained.old(), pair("host", "gone"));
}

#[test]
fn who_may_not_see_says_so() {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return;
    }
    if !skip::has_programs(&["setpriv"]) {
        return;
    }
    let folder = Folder::new("user");
    let copy = folder.0.join("portreeve");
    executable::copy(env!("CARGO_BIN_EXE_portreeve"), &copy);
    let public = std::env::temp_dir().join(format!("portreeve-stale-nobody-{}", std::process::id()));
    fs::rename(&copy, &public).unwrap_or_else(|_| executable::copy(&copy, &public));
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&public)
        .args(["stale", "--json", "--control", "/nonexistent/control"])
        .output()
        .expect("setpriv runs");
    fs::remove_file(&public).expect("removed");
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let gaps = answer["gaps"].to_string();
    assert!(gaps.contains("hide what they run from this user"), "{gaps}");
}
