//! The units of pkg/systemd that belong to audits, started by a real systemd: process 1 of namespaces of its own, over a layer of this system
//! that vanishes with it. What is there to be seen is written by a script that runs as a unit beside them.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

#[path = "../../../compliance/src/process_one.rs"]
#[allow(unreachable_pub)]
mod process_one;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
of() { systemctl show -p "$2" --value "$1" | tr '\n' ' '; }
say began
# Before systemd 254 it is not known, and said to be ignored.
say "analyzed $(systemd-analyze verify --man=no /etc/systemd/system/portreeve*.service /etc/systemd/system/portreeve*.timer 2>&1 | grep -v "'DelegateSubgroup'" | tr '\n' ' ')"

portreeve listeners accept --owner test --expires 2099-01-01 > /dev/null
systemctl start portreeve-verify.service; say "verify $?"
busybox nc -l -p 7777 > /dev/null 2>&1 < /dev/null & nc=$!
until grep -q ':1E61 ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done
systemctl start portreeve-verify.service 2> /dev/null; say "a stranger listens $?"
say "failed $(systemctl --failed --no-legend --plain | cut -d' ' -f1 | tr '\n' ' ')"
kill $nc
systemctl reset-failed

soon() {
  mkdir -p /etc/systemd/system/$1.d
  printf '[Timer]\nOnBootSec=\nOnCalendar=\nRandomizedDelaySec=0\nOnActiveSec=1s\nAccuracySec=1ms\n' > /etc/systemd/system/$1.d/soon.conf
  systemctl daemon-reload
  before=$(of $2 InvocationID)
  systemctl start $1
  for i in $(seq 300); do [ "$(of $2 InvocationID)" = "$before" ] || break; sleep 0.1; done
  [ "$(of $2 InvocationID)" != "$before" ]; say "$1 $?"
}
soon portreeve-verify.timer portreeve-verify.service

mount -t tmpfs tmpfs /srv
mkdir /srv/tree
echo a > /srv/tree/a
portreeve integrity key /root/key --public /etc/portreeve/integrity.pub --no-passphrase > /dev/null
portreeve integrity init --key /root/key /srv/tree > /dev/null
systemctl start portreeve-integrity.service; say "untouched $?"
systemctl start portreeve-watch.service; say "watch $?"
told() { journalctl -u portreeve-watch -o cat 2> /dev/null | grep -q '"/srv/tree/a"'; }
for i in $(seq 100); do echo b$i >> /srv/tree/a; told && break; sleep 0.1; done
told; say "told $?"
systemctl stop portreeve-watch.service; say "watched $(of portreeve-watch.service Result)"
systemctl start portreeve-integrity.service 2> /dev/null; say "touched $?"
journalctl -u portreeve-integrity -o cat | grep -q '/srv/tree/a: '; say "said $?"
systemctl reset-failed
soon portreeve-integrity.timer portreeve-integrity.service
say over
"#;

#[test]
fn the_units_of_audits_do_what_they_are_for() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/systemd");
    let mut files = vec![(PathBuf::from(env!("CARGO_BIN_EXE_portreeve")), "/usr/sbin/portreeve")];
    let kinds = ["service", "timer"].map(OsStr::new);
    let every = std::fs::read_dir(units).expect("the units").flatten().map(|entry| entry.path());
    files.extend(
        every
            .filter(|path| path.extension().is_some_and(|kind| kinds.contains(&kind)))
            .map(|path| (path, "/etc/systemd/system/")),
    );
    let Some(lines) = process_one::tried("units", INSIDE, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "analyzed",
            "verify 0",
            "a stranger listens 1",
            "failed portreeve-verify.service",
            "portreeve-verify.timer 0",
            "untouched 0",
            "watch 0",
            "told 0",
            "watched success",
            "touched 1",
            "said 0",
            "portreeve-integrity.timer 0",
            "over",
        ]
    );
}
