//! What runs old code after a real upgrade by dpkg, under a real systemd: process 1 of namespaces of its own, over a layer of this system that
//! vanishes with it. The hook tells it, retires instances as `[stale]` says and restarts nothing; `stale --restart-units` restarts a unit once.

use portreeve_compliance::skip::has_programs;
use portreeve_compliance::{Side, process_one};
use std::path::Path;

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
of() { systemctl show -p "$2" --value "$1"; }
soon() { for i in $(seq 200); do "$@" && return; sleep 0.1; done; return 1; }
say began
systemctl start systemd-journald-dev-log.socket
# A program in three builds, which differ in their build-id alone; a package of each.
for n in 1 2 3; do
  mkdir -p /p$n/DEBIAN /p$n/opt/tried
  perl -0777 -pe 's/\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0\K./'$n'/s' /bin/sleep > /p$n/opt/tried/daemon
  chmod 755 /p$n/opt/tried/daemon
  printf "Package: tried\nVersion: $n\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n" > /p$n/DEBIAN/control
  dpkg-deb -b /p$n /p$n.deb > /dev/null
done
dpkg -i /p1.deb > /dev/null 2>&1; say "installed $?"
unit() { printf "[Unit]\nStartLimitIntervalSec=$2\n[Service]\nExecStart=/opt/tried/daemon infinity\n$3" > /etc/systemd/system/$1.service; }
unit usual 1.5s
unit limited 1h
# Whatever it is started from is old at once.
cat > /make-old << 'END'
#!/bin/sh
echo x >> /out/starts
cp /p$(( $(wc -l < /out/starts) % 2 + 1 ))/opt/tried/daemon /opt/tried/new
mv /opt/tried/new /opt/tried/daemon
END
chmod 755 /make-old
unit loops 100ms 'ExecStartPost=/make-old\n'
cat > /etc/xinetd.conf << 'END'
service held
{
  type = UNLISTED
  port = 2001
  socket_type = stream
  protocol = tcp
  wait = no
  user = root
  server = /opt/tried/daemon
  server_args = infinity
}
END
printf '[stale]\nafter_upgrade = "report"\n' > /etc/portreeve/portreeve.toml
install -D -m 755 /after-upgrade /usr/lib/portreeve/after-upgrade
cp /dpkg.cfg /etc/dpkg/dpkg.cfg.d/portreeve
systemctl daemon-reload
systemctl start usual limited portreeve; say "started $?"
usual=$(of usual InvocationID) limited=$(of limited InvocationID) service=$(of portreeve InvocationID)
sleep 100 | busybox nc 127.0.0.1 2001 > /dev/null 2>&1 &
instance() { portreeve instances --json | tr -d ' \n' | sed -n 's/.*"instance":"\([0-9]*\)".*/\1/p'; }
running() { [ -n "$(instance)" ]; }
soon running; say "an instance $?"
held=$(instance)

told() { journalctl -t portreeve-stale -o cat 2> /dev/null | grep -q "$1"; }
dpkg -i /p2.deb > /dev/null 2>&1; say "upgraded $?"
soon told 'processes run old code, [1-9]'; say "told $?"
told 'usual.service'; say "told of the unit $?"
[ "$(of usual InvocationID)" = $usual ] && [ -d /proc/$held ]; say "and nothing else $?"

printf '[stale]\nafter_upgrade = "retire-after 1s"\n' > /etc/portreeve/portreeve.toml
dpkg -i /p3.deb > /dev/null 2>&1; say "upgraded again $?"
retired() { [ ! -d /proc/$held ]; }
soon retired; say "retired $?"
[ "$(of usual InvocationID)" = $usual ] && [ "$(of portreeve InvocationID)" = $service ]; say "units go on $?"

sleep 2
portreeve stale --restart-units > /out/first 2>&1; say "some left $?"
[ "$(of usual InvocationID)" != $usual ] && grep -q '^usual.service unit: restarted' /out/first; say "restarted $?"
cmp -s /proc/$(of usual MainPID)/exe /p3/opt/tried/daemon; say "has the new code $?"
[ "$(of limited InvocationID)" = $limited ] && grep -q '^limited.service unit: left: it started within' /out/first; say "start limit $?"
usual=$(of usual InvocationID)
sleep 2
portreeve stale --restart-units > /out/second 2>&1
[ "$(of usual InvocationID)" = $usual ]; say "once $?"

systemctl start loops
for i in 1 2 3; do sleep 0.5; portreeve stale --restart-units > /out/loop$i 2>&1; done
say "starts $(wc -l < /out/starts)"
grep -q '^loops.service unit: restarted' /out/loop1; say "the first time $?"
grep -q '^loops.service unit: left: it was restarted within this hour' /out/loop3; say "and no more $?"
say over
"#;

#[test]
fn an_upgrade_is_told_and_a_unit_is_restarted_once() {
    if !has_programs(&["dpkg", "dpkg-deb", "perl", "logger", "flock", "setsid"]) {
        return;
    }
    let gate = Side::Ours.executable();
    let of = |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../pkg").join(file);
    let files = [
        (gate.with_file_name("portreeve"), "/usr/sbin/portreeve"),
        (gate, "/usr/sbin/portreeve-gate"),
        (of("systemd/portreeve.service"), "/etc/systemd/system/portreeve.service"),
        (of("hooks/after-upgrade"), "/after-upgrade"),
        (of("hooks/dpkg.cfg"), "/dpkg.cfg"),
    ];
    let Some(lines) = process_one::tried("stale", INSIDE, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "installed 0",
            "started 0",
            "an instance 0",
            "upgraded 0",
            "told 0",
            "told of the unit 0",
            "and nothing else 0",
            "upgraded again 0",
            "retired 0",
            "units go on 0",
            "some left 1",
            "restarted 0",
            "has the new code 0",
            "start limit 0",
            "once 0",
            "starts 2",
            "the first time 0",
            "and no more 0",
            "over",
        ]
    );
}
