//! The units of pkg/systemd that belong to audits, started by a real systemd: process 1 of namespaces of its own, over a layer of this system
//! that vanishes with it. What is there to be seen is written by a script that runs as a unit beside them.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
of() { systemctl show -p "$2" --value "$1" | tr '\n' ' '; }
say began
say "analyzed $(systemd-analyze verify --man=no /etc/systemd/system/portreeve*.service /etc/systemd/system/portreeve*.timer 2>&1 | tr '\n' ' ')"

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

/// Makes the layer, and ends as systemd in it. `$1` is a folder, `$2` the folder of the units, `$3` the program.
const OUTSIDE: &str = r#"
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root" "$1/out"
mount --bind "$4" "$1/out"
r=$1/root
mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$r"
mount -t proc proc "$r/proc"
mount -t sysfs -o ro sysfs "$r/sys"
mount -t cgroup2 cgroup2 "$r/sys/fs/cgroup"
for place in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$r/$place"; done
for device in null zero full random urandom tty; do
  touch "$r/dev/$device"
  mount --bind "/dev/$device" "$r/dev/$device"
done
mkdir "$r/dev/shm" "$r/out" "$r/.old"
mount --bind "$1/out" "$r/out"
ln -s /proc/self/fd "$r/dev/fd"
rm -rf "$r/etc/portreeve" "$r/var/lib/portreeve"
mkdir -p "$r/etc/portreeve"
cp "$2"/*.service "$2"/*.timer "$r/etc/systemd/system/"
cp "$3" "$r/usr/sbin/portreeve"
cp "$4/inside" "$r/inside"
chmod 755 "$r/inside"
: > "$r/etc/machine-id"
printf '[Service]\nType=oneshot\nExecStart=/inside\nExecStopPost=/bin/systemctl --no-block exit 0\n' > "$r/etc/systemd/system/tried.service"
ip link set lo up
cd "$r"
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; exec env -i container=portreeve PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --unit=tried.service --log-target=journal --show-status=no < /dev/null'
"#;

/// Folders of this test, and a control group; both go with it.
struct Room {
    place: PathBuf,
    group: PathBuf,
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Command::new("find")
            .arg(&self.group)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
            .output();
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Where this process's part of the second version of control groups is.
fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let place = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&"cgroup2"))?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    Some(Path::new(place.get(1)?).join(own))
}

#[test]
fn the_units_of_audits_do_what_they_are_for() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&[
        "unshare",
        "pivot_root",
        "systemctl",
        "systemd-analyze",
        "ip",
        "busybox",
        "find",
    ]) {
        return;
    }
    if !Path::new(SYSTEMD).exists() {
        return skip::skip(skip::Reason::absent("systemd"));
    }
    let name = format!("portreeve-units-{}", std::process::id());
    let Some(group) = groups().map(|groups| groups.join(&name)).filter(|group| fs::create_dir(group).is_ok())
    else {
        return skip::skip(skip::Reason::NoProcessOne);
    };
    let room = Room { place: std::env::temp_dir().join(&name), group };
    let (layer, out) = (room.place.join("layer"), room.place.join("out"));
    for place in [&layer, &out] {
        fs::create_dir_all(place).expect("a folder");
    }
    fs::write(out.join("inside"), INSIDE).expect("written");
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/systemd");
    // The group first, then the namespaces: systemd finds itself at the root of its groups.
    let start = "echo $$ > \"$0/cgroup.procs\" && exec timeout -s KILL 180 unshare -f -p -m -n -i -u -C --propagation private --kill-child \
                 sh -c \"$1\" sh \"$2\" \"$3\" \"$4\" \"$5\"";
    let said = Command::new("sh")
        .args(["-c", start])
        .arg(&room.group)
        .arg(OUTSIDE)
        .arg(&layer)
        .arg(&units)
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .arg(&out)
        .output()
        .expect("sh runs");
    let result = fs::read_to_string(out.join("result")).unwrap_or_default();
    if !result.starts_with("began\n") {
        // No layers of file systems, or no control groups for others: systemd came to nothing before any unit of ours was in play.
        eprintln!("{}", String::from_utf8_lossy(&said.stderr));
        return skip::skip(skip::Reason::NoProcessOne);
    }
    let lines: Vec<&str> = result.lines().map(str::trim_end).collect();
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
