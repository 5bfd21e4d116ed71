//! `WatchdogSec=` of our unit under a real systemd: signs of life come while it serves, reloads and upgrades, and a loop that stands still
//! gives none, so that another supervisor serves the queue.

use portreeve_compliance::process_one;
use portreeve_compliance::side::packaged;

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
say began
main() { systemctl show -p MainPID --value portreeve; }
soon() { for i in $(seq 200); do "$@" && return; sleep 0.1; done; return 1; }
another() { p=$(main); [ "$p" != "$1" ] && [ "$p" != 0 ] && [ "$(systemctl is-active portreeve)" = active ]; }
same() { [ "$(main)" = "$1" ] && [ "$(systemctl show -p NRestarts --value portreeve)" = 0 ]; }
service() { printf 'service s%s\n{\ntype = UNLISTED\nport = %s\nsocket_type = stream\nprotocol = tcp\nwait = no\nuser = root\nbind = 127.0.0.1\nserver = /program\n}\n' $1 $1; }
cat > /program << 'END'
#!/bin/sh
echo served
END
chmod 755 /program
served() { [ "$(busybox nc -w 3 127.0.0.1 2001 < /dev/null)" = served ]; }
service 2001 > /etc/xinetd.conf
grep -q '^WatchdogSec=' /etc/systemd/system/portreeve.service; say "the unit asks for it $?"
mkdir -p /etc/systemd/system/portreeve.service.d
printf '[Service]\nWatchdogSec=8\nTimeoutAbortSec=1\n' > /etc/systemd/system/portreeve.service.d/tried.conf
systemctl daemon-reload
systemctl start portreeve
first=$(main)
sleep 17
same $first && served; say "lives $?"
for n in $(seq 3000 5000); do service $n; done >> /etc/xinetd.conf
# Many services, for longer than the time within which a sign must come.
for n in 1 2 3 4 5 6 7 8 9 10; do echo '# again' >> /etc/xinetd.conf; systemctl reload portreeve; done
say "reloads $?"
sleep 10
same $first && served; say "still $?"
/usr/sbin/portreeve upgrade > /run/said 2>&1; say "upgrade $?"
sleep 10
same $first && served; say "after it $?"
kill -STOP $first
soon another $first; say "another one serves then $?"
soon served; say "served $?"
systemctl show -p NRestarts --value portreeve | grep -qx 1; say "at once $?"
systemctl stop portreeve
# systemd starts nobody whose store holds more than it can give back.
printf '[Service]\nLimitNOFILE=1024:524288\n' > /etc/systemd/system/portreeve.service.d/tried.conf
systemctl daemon-reload
systemctl start portreeve
first=$(main)
sleep 2
kill -9 $first
soon another $first; say "with few descriptors too $?"
soon served; say "served $?"
systemctl show -p NRestarts --value portreeve | grep -qx 1; say "at once $?"
systemctl stop portreeve
say over
"#;

#[test]
fn a_loop_that_stands_still_gives_no_sign_of_life() {
    let files = packaged();
    let Some(lines) = process_one::tried("watchdog", INSIDE, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "the unit asks for it 0",
            "lives 0",
            "reloads 0",
            "still 0",
            "upgrade 0",
            "after it 0",
            "another one serves then 0",
            "served 0",
            "at once 0",
            "with few descriptors too 0",
            "served 0",
            "at once 0",
            "over",
        ]
    );
}
