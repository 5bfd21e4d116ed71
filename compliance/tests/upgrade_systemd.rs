//! Upgrades under our unit and a real systemd, with a new version that dies, stands still or is slow: a stop and a restart wait for who ends,
//! and nobody is left.

use portreeve_compliance::process_one;
use portreeve_compliance::side::packaged;

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
say began
main() { systemctl show -p MainPID --value portreeve; }
all() { n=0; for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline 2> /dev/null | grep -q 'run -f /etc/xinetd.conf' && n=$((n + 1)); done; echo $n; }
soon() { for i in $(seq 300); do "$@" && return; sleep 0.1; done; return 1; }
another() { p=$(main); [ "$p" != "$1" ] && [ "$p" != 0 ]; }
alone() { [ "$(all)" = 1 ]; }
place() { cp "$1" /usr/sbin/gate.new && chmod 755 /usr/sbin/gate.new && mv /usr/sbin/gate.new /usr/sbin/portreeve-gate; }

mkdir -p /run/w
cp /usr/sbin/portreeve-gate /run/w/gate.real
chmod 755 /run/w/gate.real /impostor
cat > /program << 'END'
#!/bin/sh
trap 'sleep 1; echo ended >> /out/ended; exit 0' TERM
echo there
while :; do sleep 0.1; done
END
chmod 755 /program
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
}
END

# What the new version does, what is asked of systemd then.
try() {
  place /run/w/gate.real
  systemctl start portreeve
  before=$(main)
  rm -f /out/ended
  sleep 60 | busybox nc 127.0.0.1 2001 > /run/w/said 2> /dev/null &
  soon grep -q there /run/w/said || say "nobody serves"
  place /impostor
  echo "$1" > /run/w/impostor
  kill -USR2 $before
  soon another $before || say "no other is the main process"
  [ "$1" != exit ] || soon alone || say "it does not end"
  place /run/w/gate.real
  systemctl $2 portreeve
  say "$1 $2 $? $(systemctl show -p ActiveState -p Result --value portreeve | sort | tr '\n' ' ')$(all) $(cat /out/ended)"
  systemctl stop portreeve
}
try exit stop
try exit restart
try slow stop
try slow restart
try hang stop
say over
"#;

#[test]
fn a_stop_and_a_restart_in_an_upgrade_wait_for_who_ends() {
    let mut files = packaged();
    files.push((portreeve_compliance::world::probe_executable(), "/impostor"));
    let Some(lines) = process_one::tried("upgrade", INSIDE, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "exit stop 0 inactive success 0 ended",
            "exit restart 0 active success 1 ended",
            "slow stop 0 inactive success 0 ended",
            "slow restart 0 active success 1 ended",
            "hang stop 0 inactive success 0 ended",
            "over",
        ]
    );
}
