//! `portreeve off` and `on` of units under a real systemd: process 1 of namespaces of its own, over a layer of this system that vanishes with
//! it. What is there to be seen is written by a script that runs as a unit beside them.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

#[path = "../../../compliance/src/process_one.rs"]
#[allow(unreachable_pub)]
mod process_one;

use std::path::PathBuf;

/// What is tried: a line of /out/result each.
const INSIDE: &str = r#"#!/bin/sh
say() { echo "$*" >> /out/result; }
state() { for unit in shut.socket shut.service plain.service; do echo "$(systemctl is-enabled $unit 2> /dev/null):$(systemctl is-active $unit)"; done | tr '\n' ' '; }
answers() { [ "$(busybox nc -w 5 127.0.0.1 $1 < /dev/null)" = there ]; }
say began
cd /etc/systemd/system
printf '[Socket]\nListenStream=2001\nAccept=no\n[Install]\nWantedBy=sockets.target\n' > shut.socket
printf '[Service]\nExecStart=/serve-one\n' > shut.service
printf '[Service]\nExecStart=/serve\n[Install]\nWantedBy=multi-user.target\n' > plain.service
printf '#!/bin/sh\nexec sleep infinity\n' > /serve-one
printf '#!/bin/sh\nwhile true; do echo there | busybox nc -l -p 2002; done\n' > /serve
chmod 755 /serve /serve-one
systemctl daemon-reload
systemctl enable -q shut.socket plain.service 2> /dev/null
systemctl start shut.socket shut.service plain.service
for i in $(seq 100); do answers 2002 && break; sleep 0.1; done
say "before $(state)"

# The socket and the service that it starts go together; a port means whoever listens there.
portreeve off shut.service > /out/off 2>&1; say "off $?"
say "then $(state)"
busybox nc -w 5 127.0.0.1 2001 < /dev/null > /dev/null 2>&1; say "nobody listens $?"
systemctl start shut.service 2> /dev/null; systemctl stop shut.service
portreeve off plain.service > /out/off2 2>&1; say "off $?"
say "then $(state)"
systemctl daemon-reload
portreeve off > /dev/null; say "off are some $?"
portreeve on shut > /out/on 2>&1; say "on $?"
portreeve on plain.service > /out/on2 2>&1; say "on $?"
say "after $(state)"
# Once: its program takes one client at a time, and has to begin anew for the next.
again=1; for i in $(seq 100); do answers 2002 && again=0 && break; sleep 0.1; done
say "answers again $again"

# Started by hand, not enabled: it is stopped, cannot be started by others meanwhile, and comes back as it was.
systemctl disable -q plain.service 2> /dev/null
portreeve off plain.service > /dev/null 2>&1; say "off $?"
say "is $(systemctl is-active plain.service)"
portreeve on plain.service > /dev/null 2>&1; say "on $?"
say "at last $(state)"
portreeve off > /dev/null; say "nothing is off $?"
say over
"#;

#[test]
fn units_go_off_and_come_back_under_a_real_systemd() {
    let files = [(PathBuf::from(env!("CARGO_BIN_EXE_portreeve")), "/usr/sbin/portreeve")];
    let Some(lines) = process_one::tried("off", INSIDE, &files) else { return };
    assert_eq!(
        lines,
        [
            "began",
            "before enabled:active static:active enabled:active",
            "off 0",
            "then disabled:inactive static:inactive enabled:active",
            "nobody listens 1",
            "off 0",
            "then disabled:inactive static:inactive disabled:inactive",
            "off are some 1",
            "on 0",
            "on 0",
            "after enabled:active static:active enabled:active",
            "answers again 0",
            "off 0",
            "is inactive",
            "on 0",
            "at last enabled:active static:active disabled:active",
            "nothing is off 0",
            "over",
        ]
    );
}
