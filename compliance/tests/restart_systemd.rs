//! A restart of our unit by a real systemd while control groups of services hand controllers on and somebody is left in them: a group that
//! does so takes no process. The machine's controller for it is whichever systemd has no use for itself.

use portreeve_compliance::process_one;
use portreeve_compliance::side::packaged;
use portreeve_compliance::skip::{Reason, skip};
use std::fs;
use std::path::{Path, PathBuf};

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
say began
main() { systemctl show -p MainPID --value portreeve; }
soon() { for i in $(seq 100); do "$@" && return; sleep 0.1; done; return 1; }
another() { p=$(main); [ "$p" != "$1" ] && [ "$p" != 0 ] && [ "$(systemctl is-active portreeve)" = active ]; }
said() { journalctl -u portreeve -o cat | grep -q "$1"; }
G=/sys/fs/cgroup/system.slice/portreeve.service
on() { tr ' ' '\n' < $1/cgroup.subtree_control | grep -qx $2; }
controller=$(tr ' ' '\n' < /sys/fs/cgroup/cgroup.controllers | grep -xE 'CONTROLLERS' | head -n 1)
say "controller ${controller:+is there}"

cat > /program << 'END'
#!/bin/sh
echo $$ > /out/program
exec sleep 100
END
# Does what a daemon does that has enabled a controller.
cat > /divided << 'END'
#!/bin/sh
G=/sys/fs/cgroup/system.slice/portreeve.service
mkdir -p $G/supervisor $G/portreeve-1-1/service-x
echo $$ > $G/supervisor/cgroup.procs
sleep 100 > /dev/null 2>&1 &
echo $! > $G/portreeve-1-1/service-x/cgroup.procs
for g in /sys/fs/cgroup /sys/fs/cgroup/system.slice $G $G/portreeve-1-1; do echo +$(cat /run/controller) > $g/cgroup.subtree_control; done
exec "$@"
END
chmod 755 /program /divided
echo $controller > /run/controller
cat > /etc/xinetd.conf << 'END'
service held
{
  type = UNLISTED
  port = 2001
  socket_type = stream
  protocol = tcp
  wait = no
  user = root
  server = /program
  sandbox = MemoryMax=1G
}
END
mkdir -p /etc/systemd/system/portreeve.service.d
with() { printf "[Service]\n$1" > /etc/systemd/system/portreeve.service.d/tried.conf; systemctl daemon-reload; }
START='ExecStart=\nExecStart=/divided /usr/sbin/portreeve run -f /etc/xinetd.conf\n'

# What the daemon says of its unit.
with 'UnsetEnvironment=PORTREEVE_GROUPS_GIVEN_BACK\nDelegateSubgroup=\n'
systemctl start portreeve
soon said 'MemoryMax is not kept: the unit could not be started again'; say "refuses $?"
[ -e $G/supervisor ]; say "divides $?"
systemctl stop portreeve
# As systemd 254 starts it.
with "UnsetEnvironment=PORTREEVE_GROUPS_GIVEN_BACK\n$START"
systemctl start portreeve
soon said 'MemoryMax is not kept: the controller'; say "is in its leaf $?"
systemctl stop portreeve

with "$START"
systemctl start portreeve
before=$(main)
sleep 100 | busybox nc 127.0.0.1 2001 > /dev/null 2>&1 &
soon test -s /out/program
on $G $controller && on $G/portreeve-1-1 $controller; say "divided $?"
kill -9 $before
soon another $before; say "is there again $?"
[ -s /out/program ] && [ -d /proc/$(cat /out/program) ]; say "so is the program $?"
systemctl show -p NRestarts --value portreeve | grep -qx 1; say "at once $?"
systemctl stop portreeve
say over
"#;

/// Those that hand nothing on but what they are told to.
const CONTROLLERS: &[&str] = &["hugetlb", "rdma", "misc"];

/// A controller that this process's group hands on for as long as this lives.
struct Handed(PathBuf, Option<&'static str>);

impl Handed {
    fn any() -> Option<Self> {
        let groups = process_one::groups()?;
        let file = groups.join("cgroup.subtree_control");
        let is_in = |path: &Path, controller: &&str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .split_ascii_whitespace()
                .any(|one| one == *controller)
        };
        if CONTROLLERS.iter().any(|one| is_in(&file, one)) {
            return Some(Self(file, None));
        }
        let there = CONTROLLERS.iter().copied().filter(|one| is_in(&groups.join("cgroup.controllers"), one));
        let handed = there.into_iter().find(|one| fs::write(&file, format!("+{one}")).is_ok())?;
        Some(Self(file, Some(handed)))
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let Some(controller) = self.1 {
            let _ = fs::write(&self.0, format!("-{controller}"));
        }
    }
}

#[test]
fn whoever_is_left_in_a_group_does_not_keep_the_unit_from_starting() {
    let files = packaged();
    let Some(_handed) = Handed::any() else { return skip(Reason::NoControlGroups) };
    let inside = INSIDE.replace("CONTROLLERS", &CONTROLLERS.join("|"));
    let Some(lines) = process_one::tried("restart", &inside, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "controller is there",
            "refuses 0",
            "divides 1",
            "is in its leaf 0",
            "divided 0",
            "is there again 0",
            "so is the program 0",
            "at once 0",
            "over",
        ]
    );
}
