//! `portreeve off` and `on`: an init script by the real update-rc.d and a line of inetd.conf with a process that is told, each in a mount
//! namespace with an /etc of its own; units by a stub of systemctl that keeps their states, since no systemd runs where these tests do.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;

use std::path::PathBuf;
use std::process::{Command, Output};

struct Folder(PathBuf);

impl Folder {
    fn new(word: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("portreeve-off-{word}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn script(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        executable::write(&path, text);
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A systemctl that keeps states in files: `UNIT.file` and `UNIT.active`; `BROKEN` makes `stop` fail.
const SYSTEMCTL: &str = r#"#!/bin/sh
cd "$(dirname "$0")/units" || exit 1
verb=$1; shift
echo "$verb $*" >> ../calls
case $verb in
show)
  for unit; do :; done
  [ -e "$unit.file" ] || { echo "Id=$unit"; echo LoadState=not-found; exit 0; }
  echo "Id=$unit"; echo LoadState=loaded; echo "UnitFileState=$(cat "$unit.file")"; echo "ActiveState=$(cat "$unit.active")"
  case $unit in telnet.socket) echo Triggers=telnet.service ;; telnet.service) echo TriggeredBy=telnet.socket ;; esac ;;
enable) for unit; do echo enabled > "$unit.file"; done ;;
disable) for unit; do echo disabled > "$unit.file"; done ;;
mask) for unit; do echo masked > "$unit.file"; done ;;
unmask) for unit; do echo static > "$unit.file"; done ;;
start) for unit; do echo active > "$unit.active"; done ;;
stop) [ -e ../BROKEN ] && { echo "Job failed." >&2; exit 1; }; for unit; do echo inactive > "$unit.active"; done ;;
esac
"#;

#[test]
fn units_go_off_together_and_come_back_as_they_were() {
    let folder = Folder::new("units");
    let systemctl = folder.script("systemctl", SYSTEMCTL);
    let units = folder.0.join("units");
    std::fs::create_dir(&units).expect("a folder");
    let set = |unit: &str, file: &str, active: &str| {
        std::fs::write(units.join(format!("{unit}.file")), format!("{file}\n")).expect("written");
        std::fs::write(units.join(format!("{unit}.active")), format!("{active}\n")).expect("written");
    };
    let states = || -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(&units).expect("there").flatten().map(|e| e.path()).collect();
        names.sort();
        names.iter().map(|path| std::fs::read_to_string(path).expect("there").trim_end().to_owned()).collect()
    };
    set("telnet.socket", "enabled", "active");
    set("telnet.service", "static", "active");
    set("old.service", "disabled", "active");
    let before = states();
    let journal = folder.0.join("journal");
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(words)
            .args(["--systemctl", &systemctl, "--control", "/nonexistent/control", "--journal"])
            .arg(&journal)
            .env_remove("SSH_CONNECTION")
            .output()
            .expect("portreeve runs")
    };
    let dry = run(&["off", "telnet", "--dry-run"]);
    assert!(
        said(&dry).contains("disable telnet.socket\n")
            && said(&dry).contains("stop telnet.socket telnet.service\n"),
        "{}",
        said(&dry)
    );
    assert_eq!(states(), before, "a dry run changes nothing");
    assert!(!journal.exists());

    for (word, back, off) in [
        ("telnet.service", "telnet", ["disabled", "active", "inactive", "static", "inactive", "disabled"]),
        ("unit:old.service", "old", ["inactive", "disabled", "active", "static", "active", "enabled"]),
    ] {
        let done = run(&["off", word]);
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let now = states();
        assert_ne!(now, before);
        let mut wanted = off.map(str::to_owned).to_vec();
        wanted.sort();
        let mut sorted = now.clone();
        sorted.sort();
        assert_eq!(sorted, wanted);
        assert!(said(&run(&["off", word])).contains("already off"));
        assert_eq!(run(&["off"]).status.code(), Some(1), "something is off");
        let undone = run(&["on", back]);
        assert_eq!((undone.status.code(), states()), (Some(0), before.clone()), "{}", said(&undone));
        assert_eq!(run(&["off"]).status.code(), Some(0));
    }
    // A step that fails: what was done before it is undone.
    std::fs::write(folder.0.join("BROKEN"), "").expect("written");
    let failed = run(&["off", "telnet"]);
    assert_eq!(failed.status.code(), Some(2));
    assert!(said(&failed).contains("Job failed.") && said(&failed).contains("undone"), "{}", said(&failed));
    assert_eq!(states(), before);
    let nobody = run(&["off", "nothing-of-that-name"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
    assert_eq!(run(&["on", "telnet"]).status.code(), Some(2), "nothing to undo");
}

#[test]
fn what_carries_the_session_is_refused() {
    let folder = Folder::new("session");
    let systemctl = folder.script("systemctl", SYSTEMCTL);
    let units = folder.0.join("units");
    std::fs::create_dir(&units).expect("a folder");
    for (file, text) in [("ssh.service.file", "enabled\n"), ("ssh.service.active", "active\n")] {
        std::fs::write(units.join(file), text).expect("written");
    }
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args(words)
            .args(["--systemctl", &systemctl, "--control", "/nonexistent/control", "--journal"])
            .arg(folder.0.join("journal"))
            .env("SSH_CONNECTION", "192.0.2.1 4000 192.0.2.2 22")
            .output()
            .expect("portreeve runs")
    };
    let refused = run(&["off", "ssh"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("carries the session"), "{}", said(&refused));
    assert_eq!(std::fs::read_to_string(units.join("ssh.service.active")).expect("there"), "active\n");
    assert_eq!(run(&["off", "ssh", "--force"]).status.code(), Some(0));
    assert_eq!(run(&["on", "ssh"]).status.code(), Some(0));
}

/// Runs a script of sh in a mount namespace with a copy of /etc.
fn with_own_etc(folder: &Folder, script: &str) -> Option<Output> {
    if !rustix::process::geteuid().is_root() {
        skip::skip(skip::Reason::NoRoot);
        return None;
    }
    let etc = folder.0.join("etc");
    let begin = format!(
        "set -e; mkdir {0}; cp -a /etc/init.d /etc/services /etc/passwd /etc/group {0}/; cp -a /etc/rc?.d {0}/; mount --bind {0} /etc; set +e\n",
        etc.display()
    );
    let output = Command::new("unshare")
        .args(["-m", "--", "sh", "-c", &(begin + script)])
        .env("PORTREEVE", env!("CARGO_BIN_EXE_portreeve"))
        .env("J", folder.0.join("journal"))
        .env_remove("SSH_CONNECTION")
        .output()
        .expect("unshare runs");
    if !output.status.success() && said(&output).contains("unshare") {
        skip::skip(skip::Reason::NoNamespaces);
        return None;
    }
    Some(output)
}

#[test]
fn an_init_script_goes_off_and_its_links_come_back() {
    if !skip::has_programs(&["update-rc.d", "unshare"]) {
        return;
    }
    let folder = Folder::new("init");
    let state = folder.0.join("runs");
    std::fs::write(&state, "").expect("written");
    let script = format!(
        r#"cat > /etc/init.d/marketd <<'X'
#!/bin/sh
### BEGIN INIT INFO
# Provides: marketd
# Required-Start:
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
# Short-Description: a test
### END INIT INFO
case $1 in start) touch {0} ;; stop) rm -f {0} ;; status) [ -e {0} ] ;; esac
X
chmod 755 /etc/init.d/marketd; update-rc.d marketd defaults >/dev/null 2>&1
links() {{ ls -l /etc/rc?.d/*marketd | sed 's/.*rc/rc/' | sort; }}
before=$(links)
[ -n "$before" ] || {{ echo NO LINKS; exit 3; }}
off() {{ "$PORTREEVE" "$@" --control /nonexistent --systemctl /nonexistent --journal "$J"; }}
off off init:marketd || exit 4
[ -e {0} ] && {{ echo RUNS; exit 5; }}
links | grep -q '/S' && {{ echo STARTS; links; exit 6; }}
off on marketd || exit 7
[ -e {0} ] || {{ echo STOPPED; exit 8; }}
[ "$before" = "$(links)" ] || {{ echo LINKS; echo "$before"; links; exit 9; }}
"#,
        state.display()
    );
    let Some(output) = with_own_etc(&folder, &script) else { return };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_line_of_inetd_conf_goes_off_and_inetd_reads_it_again() {
    if !skip::has_programs(&["unshare", "perl"]) {
        return;
    }
    let folder = Folder::new("inetd");
    let told = folder.0.join("told");
    // A process with inetd's name that writes down each HUP.
    let daemon = "$0 = 'inetd'; $SIG{HUP} = sub { open F, '>>', $ARGV[0]; print F \"hup\\n\"; close F }; open R, '>', \"$ARGV[0].ready\"; close R; while (1) { sleep 1 }";
    std::fs::write(folder.0.join("daemon.pl"), daemon).expect("written");
    let script = format!(
        r#"printf '# mine\n\ntelnet\tstream tcp nowait root /usr/sbin/tcpd in.telnetd # old\ntime stream tcp nowait root internal\n' > /etc/inetd.conf
cp -a /etc/inetd.conf {1}/before
perl {1}/daemon.pl {0} & d=$!
trap 'kill $d' EXIT
n=0; while [ ! -e {0}.ready ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done
off() {{ "$PORTREEVE" "$@" --control /nonexistent --systemctl /nonexistent --journal "$J"; }}
count() {{ n=0; while [ "$(grep -c hup {0} 2>/dev/null || true)" != "$1" ] && [ $n -lt 200 ]; do sleep 0.1; n=$((n+1)); done; grep -c hup {0}; }}
off off inetd:telnet || exit 4
grep -q '^telnet' /etc/inetd.conf && exit 5
grep -q '^# mine' /etc/inetd.conf && grep -q 'in.telnetd # old' /etc/inetd.conf && grep -q '^time' /etc/inetd.conf || exit 6
[ "$(count 1)" = 1 ] || exit 7
off on telnet || exit 8
cmp /etc/inetd.conf {1}/before || exit 9
[ "$(count 2)" = 2 ] || exit 10
off off inetd:telnet || exit 11
echo '# by somebody' >> /etc/inetd.conf
off on telnet || exit 12
grep -q '# by somebody' /etc/inetd.conf && grep -q '^telnet' /etc/inetd.conf || exit 13
off off inetd:telnet || exit 14
sed -i '/telnet/d' /etc/inetd.conf
off on telnet && exit 15
true
"#,
        told.display(),
        folder.0.display()
    );
    let Some(output) = with_own_etc(&folder, &script) else { return };
    assert!(output.status.success(), "{:?} {}", output.status, said(&output));
    assert!(said(&output).contains("changed by somebody else"), "{}", said(&output));
}
