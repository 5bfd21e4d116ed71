//! A real systemd as process 1 of namespaces of its own, over a layer of this system that vanishes with it. What is there to be seen is
//! written by a script that runs as a unit. Tests of crates that may not depend on this one take the file in by its path, beside `skip`.

use crate::skip::{Reason, has_programs, skip};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Makes the layer, and ends as systemd in it. `$1` is a folder, `$2` the folder that both sides see; behind them pairs: what is copied, and
/// where to.
const OUTSIDE: &str = r#"
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root" "$1/out"
mount --bind "$2" "$1/out"
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
shift 2
while [ $# -gt 1 ]; do
  cp "$1" "$r$2"
  shift 2
done
cp "$r/out/inside" "$r/inside"
chmod 755 "$r/inside"
: > "$r/etc/machine-id"
printf '[Service]\nType=oneshot\nExecStart=/inside\nExecStopPost=/bin/systemctl --no-block exit 0\n' > "$r/etc/systemd/system/tried.service"
ip link set lo up
cd "$r"
pivot_root . .old
exec chroot . /bin/sh -c 'umount -l /.old; exec env -i container=portreeve PATH=/usr/sbin:/usr/bin:/sbin:/bin /usr/lib/systemd/systemd --unit=tried.service --log-target=journal --show-status=no < /dev/null'
"#;

/// Folders of a test, and a control group; both go with it.
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
#[must_use]
pub fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let place = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&"cgroup2"))?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    Some(Path::new(place.get(1)?).join(own))
}

/// Runs the script `inside` with `files` copied to where they belong; gives the lines that it has written to `/out/result`, which begin with
/// `began`. `None`: it cannot be done here, and the test is skipped.
///
/// # Panics
/// When nothing can be written or started.
pub fn tried(name: &str, inside: &str, files: &[(PathBuf, &str)]) -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        skip(Reason::NoRoot);
        return None;
    }
    if !has_programs(&["unshare", "pivot_root", "systemctl", "systemd-analyze", "ip", "busybox", "find"]) {
        return None;
    }
    if !Path::new(SYSTEMD).exists() {
        skip(Reason::absent("systemd"));
        return None;
    }
    let name = format!("portreeve-{name}-{}", std::process::id());
    let Some(group) = groups().map(|groups| groups.join(&name)).filter(|group| fs::create_dir(group).is_ok())
    else {
        skip(Reason::NoProcessOne);
        return None;
    };
    let room = Room { place: std::env::temp_dir().join(&name), group };
    let (layer, out) = (room.place.join("layer"), room.place.join("out"));
    for place in [&layer, &out] {
        fs::create_dir_all(place).expect("a folder");
    }
    fs::write(out.join("inside"), inside).expect("written");
    // The group first, then its namespace: systemd finds itself at the root of its groups, and alone there.
    let start = "exec timeout -s KILL 180 unshare -f -p -m -n -i -u --propagation private --kill-child \
                 sh -c 'echo 0 > \"$0/cgroup.procs\" && exec unshare -C sh -c \"$@\"' \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", start]).arg(&room.group).arg(OUTSIDE).arg("sh").arg(&layer).arg(&out);
    for (from, to) in files {
        command.arg(from).arg(to);
    }
    let said = command.output().expect("sh runs");
    let result = fs::read_to_string(out.join("result")).unwrap_or_default();
    if !result.starts_with("began\n") {
        // No layers of file systems, or no control groups for others: systemd came to nothing before any unit of ours was in play.
        let _ = std::io::stderr().write_all(&said.stderr);
        skip(Reason::NoProcessOne);
        return None;
    }
    Some(result.lines().map(|line| line.trim_end().to_owned()).collect())
}
