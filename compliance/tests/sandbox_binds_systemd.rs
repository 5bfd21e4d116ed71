//! What a unit binds, where it executes programs and its secure bits, as a real systemd has it and as ours does: the same unit is served by
//! one and the other, and its program says what it finds. Where they differ, both sides are what the guide says.

use portreeve_compliance::skip::has_programs;
use portreeve_compliance::{Side, process_one};
use std::process::Command;

/// Says for each place what is there, and whether it can be written and executed; then its secure bits and capabilities.
const LOOK: &str = r#"
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int other(const struct dirent *entry) { return entry->d_name[0] != '.'; }
static void look(const char *place) {
    struct stat found;
    struct statvfs mounted;
    dprintf(1, " %s=", place);
    if (stat(place, &found)) { dprintf(1, "none"); return; }
    if (S_ISDIR(found.st_mode)) {
        struct dirent **all;
        int count = scandir(place, &all, other, alphasort);
        for (int i = 0; i < count; i++) dprintf(1, "%s,", all[i]->d_name);
    } else {
        char text[16] = { 0 };
        int fd = open(place, O_RDONLY);
        dprintf(1, "(%s)", fd >= 0 && read(fd, text, 15) >= 0 ? text : "closed");
    }
    if (access(place, W_OK) == 0) dprintf(1, "+");
    if (statvfs(place, &mounted) == 0 && mounted.f_flag & ST_NOEXEC) dprintf(1, "!");
}
int main(int argc, char **argv) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    for (int i = 1; i < argc; i++) look(argv[i]);
    dprintf(1, " %x", prctl(PR_GET_SECUREBITS));
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, "CapEff:", 7) || !strncmp(line, "CapAmb:", 7)) dprintf(1, " %.16s", line + 8);
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
chmod 755 /look
mkdir -p /srv/src/dir /srv/dst /srv/other /srv/a:b /srv/root
printf one > /srv/src/file; touch /srv/src/dir/inner /srv/dst/old /srv/other/third /srv/a:b/colon; printf two > /srv/plain
ln -s /srv/src /srv/link; ln -s dst /srv/there; ln -s /srv/none /srv/dangling
for d in srv proc sys dev run data bin sbin lib lib64 root usr var etc tmp mnt home; do mkdir /srv/root/$d; done
touch /srv/root/look; ln -s ../../../data /srv/root/out
mkdir /units
n=2100
while read -r words; do
  n=$((n + 1))
  printf '[Socket]\nListenStream=127.0.0.1:%s\nAccept=yes\n[Install]\nWantedBy=sockets.target\n' $n > /units/r$n.socket
  { printf '[Service]\nExecStart=/look PLACES\nStandardInput=socket\n'; for w in $words; do printf '%s\n' "$w"; done; } > "/units/r$n@.service"
done << 'END'
WORDS
END
cp /units/* /etc/systemd/system/
systemctl daemon-reload
/usr/sbin/portreeve run -systemd /units > /ours.log 2>&1 &
soon grep -q 'Started working' /ours.log || soon busybox nc -w 1 127.0.0.1 2101 < /dev/null > /dev/null
for u in /units/*.socket; do s=${u##*/}; n=${s%.socket}; n=${n#r}; echo "$n $(ask $n)" >> /ours; done
kill $!
soon sh -c '! busybox nc -w 1 127.0.0.1 2101 < /dev/null > /dev/null'
for u in /units/*.socket; do s=${u##*/}; n=${s%.socket}; n=${n#r}; systemctl start $s; echo "$n $(ask $n)" >> /theirs; systemctl stop $s; done
while read -r line; do say "theirs $line"; done < /theirs
while read -r line; do say "ours $line"; done < /ours
say over
"#;

const PLACES: &str =
    "/srv/src /srv/dst /srv/dst/dir /srv/dst/file /var /var/a /var/a/b /root/x /usr /data /run/x";

/// Settings that both understand in one way.
const ALIKE: &[&str] = &[
    "BindPaths=/srv/src:/srv/dst",
    "BindReadOnlyPaths=/srv/src:/srv/dst",
    "BindPaths=/srv/src:/srv/dst:norbind",
    "BindPaths=/srv/link:/srv/there",
    r#"BindPaths="/srv/a:b":/srv/dst"#,
    r"BindPaths=/srv/a\:b:'/srv/dst'",
    "BindReadOnlyPaths=/srv/plain:/srv/src/file BindPaths=/srv/src:/srv/dst",
    "TemporaryFileSystem=/var:ro BindReadOnlyPaths=/srv/src:/var/a/b",
    "TemporaryFileSystem=/var BindPaths=/srv/src:/var/a/b BindReadOnlyPaths=/srv/plain:/var/a/f",
    "ProtectHome=tmpfs BindPaths=/srv/src:/root/x",
    "ProtectSystem=strict BindPaths=/srv/src:/srv/dst",
    "ReadOnlyPaths=/srv/dst BindPaths=/srv/src:/srv/dst",
    "BindReadOnlyPaths=/srv/src:/srv/dst ReadWritePaths=/srv/dst/dir",
    "BindPaths=/srv/src:/srv/dst InaccessiblePaths=/srv/dst/dir",
    "InaccessiblePaths=/srv/src BindPaths=/srv/src:/srv/dst",
    "BindPaths=-/srv/none:/srv/dst BindPaths=-/srv/dangling:/var",
    "BindPaths=/srv/none:/srv/dst",
    "BindPaths=/srv/none BindReadOnlyPaths= BindPaths=/srv/src:/srv/dst",
    "BindPaths=/srv/src:/srv/dst BindReadOnlyPaths=/srv/other:/srv/dst",
    "BindPaths=/srv/plain:/srv/dst",
    "BindPaths=/srv/src:/srv/dst BindPaths=/srv/other:/srv/dst/dir",
    "RootDirectory=/srv/root BindReadOnlyPaths=/look BindPaths=/srv/src:/data",
    "RootDirectory=/srv/root BindReadOnlyPaths=/look BindReadOnlyPaths=/srv/link:/run/x",
    "RootDirectory=/srv/root BindReadOnlyPaths=/look ProtectSystem=strict BindPaths=/srv/src:/data",
    "RootDirectory=/srv/root BindReadOnlyPaths=/look NoExecPaths=+/data ExecPaths=/srv/root/look",
    "NoExecPaths=/srv",
    "NoExecPaths=/srv ExecPaths=/srv/dst",
    "NoExecPaths=/srv ExecPaths=/srv",
    "NoExecPaths=/ ExecPaths=/look",
    "NoExecPaths=/",
    "NoExecPaths=-/srv/none",
    "SecureBits=noroot",
    "SecureBits=keep-caps-locked",
    "SecureBits=noroot SecureBits=",
    "SecureBits=noroot AmbientCapabilities=CAP_KILL",
    "SecureBits=noroot User=nobody AmbientCapabilities=CAP_KILL",
    "SecureBits=no-setuid-fixup User=nobody",
    "SecureBits=keep-caps User=nobody CapabilityBoundingSet=CAP_CHOWN",
];

/// Settings that they do not: a part of what each says that the other does not, and nothing where none is started.
const APART: &[(&str, &str, &str)] = &[
    // It takes the last line, against its manual.
    ("SecureBits=noroot SecureBits=no-setuid-fixup", "/run/x=none 4 ", "/run/x=none 5 "),
    // Nothing that is read-only can be written again because of where programs are executed.
    ("ProtectSystem=strict NoExecPaths=/srv", "/srv/src=dir,file,+! ", "/srv/src=dir,file,! "),
    // Nor are they where something else is mounted.
    ("NoExecPaths=/ ExecPaths=/look TemporaryFileSystem=/var", "/var=+ ", "/var=+! "),
    (
        "NoExecPaths=/ ExecPaths=/look BindPaths=/srv/src:/srv/dst",
        "/srv/dst=dir,file,+ ",
        "/srv/dst=dir,file,+! ",
    ),
    // Of one path both count.
    ("ReadOnlyPaths=/var TemporaryFileSystem=/var BindPaths=/srv/src:/var/a", "/var=a,backups,", "/var=a, "),
    // A link does not lead out of a root.
    (
        "RootDirectory=/srv/root BindReadOnlyPaths=/look BindPaths=/srv/src:/out",
        "/data=+ ",
        "/data=dir,file,+ ",
    ),
    // Nothing is made on the host.
    ("BindPaths=/srv/src:/srv/dst/dir", "/srv/dst=dir,old,+ /srv/dst/dir=dir,file,+ ", ""),
];

#[test]
fn a_unit_finds_the_same_places() {
    if !has_programs(&["cc"]) {
        return;
    }
    let here = std::env::temp_dir().join(format!("portreeve-binds-{}", std::process::id()));
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
    let words: Vec<&str> = ALIKE.iter().copied().chain(APART.iter().map(|(words, ..)| *words)).collect();
    let inside = INSIDE.replace("WORDS", &words.join("\n")).replace("PLACES", PLACES);
    let tried = process_one::tried("binds", &inside, &files);
    let _ = std::fs::remove_dir_all(&here);
    let Some(lines) = tried else { return };
    let of = |who: &str| -> Vec<&str> { lines.iter().filter_map(|line| line.strip_prefix(who)).collect() };
    let (theirs, ours) = (of("theirs "), of("ours "));
    assert_eq!((theirs.len(), lines.last().map(String::as_str)), (words.len(), Some("over")), "{lines:#?}");
    assert!(theirs[0].contains("/srv/dst=dir,file,+"), "{lines:#?}");
    let mut wrong = Vec::new();
    for (index, words) in words.iter().enumerate() {
        let (theirs, ours) = (theirs[index], ours[index]);
        let fine = match index.checked_sub(ALIKE.len()).map(|index| &APART[index]) {
            None => theirs == ours,
            Some((_, one, "")) => theirs.contains(one) && !ours.contains('='),
            Some((_, one, other)) => {
                theirs.contains(one) && !ours.contains(one) && ours.contains(other) && !theirs.contains(other)
            }
        };
        if !fine {
            wrong.push(format!("{words}\n  theirs {theirs}\n  ours   {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
