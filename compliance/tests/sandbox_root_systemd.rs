//! The root directory of a unit as a real systemd makes it, and as ours does: the same unit is served by one and the other, and its program
//! says what it finds.

use portreeve_compliance::skip::has_programs;
use portreeve_compliance::{Side, process_one};
use std::path::Path;
use std::process::Command;

/// Says what it finds, by name.
const LOOK: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

static void told(const char *name, int yes) { if (yes) dprintf(1, "%s ", name); }
static long kind(const char *path) { struct statfs found; return statfs(path, &found) ? 0 : (long)found.f_type; }
int main(void) {
    char path[4096];
    told("inside", access("/mark", F_OK) == 0);
    told("outside", access("/out/inside", F_OK) == 0);
    told("data", access("/data", W_OK) == 0);
    told("etc", access("/etc", W_OK) == 0);
    told("hidden", access("/secret/file", R_OK) != 0);
    told("proc", kind("/proc") == 0x9fa0);
    told("sys", kind("/sys") == 0x62656572);
    told("null", open("/dev/null", O_RDWR) >= 0);
    told("kmsg", access("/dev/kmsg", F_OK) == 0);
    told("run", kind("/run") == 0x01021994);
    told("tmp", access("/tmp/file", F_OK) == 0);
    told("here", getcwd(path, sizeof path) && !strcmp(path, "/"));
    dprintf(1, "\n");
    return 0;
}
"#;

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
say began
soon() { for i in $(seq 100); do "$@" && return; sleep 0.1; done; return 1; }
ask() { busybox nc -w 5 127.0.0.1 $1 < /dev/null | tr -d '\n'; }
for d in bin etc data tmp proc sys dev run secret; do mkdir -p /srv/root/$d; done
cp /look /srv/root/bin/look; chmod 755 /srv/root/bin/look
touch /srv/root/mark /srv/root/secret/file /srv/root/tmp/file
mkdir /units
n=2100
while read -r words; do
  n=$((n + 1))
  printf '[Socket]\nListenStream=127.0.0.1:%s\nAccept=yes\n[Install]\nWantedBy=sockets.target\n' $n > /units/r$n.socket
  { printf '[Service]\nExecStart=/bin/look\nStandardInput=socket\n'; for w in $words; do echo "$w"; done; } > "/units/r$n@.service"
done << 'END'
WORDS
END
cp /units/* /etc/systemd/system/
systemctl daemon-reload
for u in /units/*.socket; do s=${u##*/}; n=${s%.socket}; n=${n#r}; systemctl start $s; echo "$n $(ask $n)" >> /theirs; systemctl stop $s; done
/usr/sbin/portreeve run -systemd /units > /ours.log 2>&1 &
soon grep -q 'Started working' /ours.log || soon busybox nc -w 1 127.0.0.1 2101 < /dev/null > /dev/null
for u in /units/*.socket; do s=${u##*/}; n=${s%.socket}; n=${n#r}; echo "$n $(ask $n)" >> /ours; done
while read -r line; do say "theirs $line"; done < /theirs
while read -r line; do say "ours $line"; done < /ours
say over
"#;

const WORDS: &[&str] = &[
    "RootDirectory=/srv/root",
    "RootDirectory=/srv/root MountAPIVFS=no",
    "RootDirectory=/srv/root ReadOnlyPaths=+/etc",
    "RootDirectory=/srv/root ReadOnlyPaths=/etc",
    "RootDirectory=/srv/root ReadOnlyPaths=/srv/root/etc InaccessiblePaths=+/secret",
    "RootDirectory=/srv/root ProtectSystem=strict ReadWritePaths=+/data",
    "RootDirectory=/srv/root ProtectSystem=full PrivateTmp=yes",
    "RootDirectory=/srv/root InaccessiblePaths=-+/none TemporaryFileSystem=/secret",
];

#[test]
fn a_unit_finds_the_same_root() {
    if !has_programs(&["cc"]) {
        return;
    }
    let here = std::env::temp_dir().join(format!("portreeve-look-{}", std::process::id()));
    std::fs::create_dir_all(&here).expect("a directory");
    std::fs::write(here.join("look.c"), LOOK).expect("written");
    let built =
        Command::new("cc").current_dir(&here).args(["-static", "-O1", "-o", "look", "look.c"]).status();
    assert!(built.is_ok_and(|status| status.success()));
    let gate = Side::Ours.executable();
    let files = [
        (gate.with_file_name("portreeve"), "/usr/sbin/portreeve"),
        (gate, "/usr/sbin/portreeve-gate"),
        (here.join("look"), "/look"),
    ];
    let tried = process_one::tried("root", &INSIDE.replace("WORDS", &WORDS.join("\n")), &files);
    let _ = std::fs::remove_dir_all(Path::new(&here));
    let Some(lines) = tried else { return };
    let of = |who: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(who)).collect() };
    let (theirs, ours) = (of("theirs "), of("ours "));
    assert_eq!((theirs.len(), lines.last().map(String::as_str)), (WORDS.len(), Some("over")), "{lines:#?}");
    assert!(theirs[0].contains("inside"), "{lines:#?}");
    for ((theirs, ours), words) in theirs.iter().zip(&ours).zip(WORDS) {
        assert_eq!(theirs, ours, "{words}: {lines:#?}");
    }
}
