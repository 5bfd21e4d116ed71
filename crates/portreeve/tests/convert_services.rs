//! `portreeve convert inetd|xinetd|systemd` as a person calls it: what is printed, written and said, the exit codes, and
//! systemd's own word for the units.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CONFIGURATION: &str = r#"# site
defaults
{
	instances = 60
	cps = 25 1
}
# health
service health
{
	type = UNLISTED
	port = 9200
	socket_type = stream
	wait = no
	user = root
	groups = yes
	flags = NOLIBWRAP KEEPALIVE
	server = /bin/sh
	server_args = -c %n;$X "q ' \ ;x
	env = A=%n B="b
	only_from = 10.0.0.0/8 2001:db8::/32
	no_access = 10.1.0.0/16
	rlimit_as = 64M
	umask = 027
	nice = 5
}
service odd:name@x
{
	type = UNLISTED
	port = 9201
	socket_type = dgram
	wait = yes
	user = root
	groups = yes
	flags = NOLIBWRAP
	bind = ::1
	server = /bin/cat
	access_times = 8:00-17:00
	intsances = 3
	rlimit_core = 0
	rlimit_rttime = 5000
	rlimit_nice = 15
	sandbox = NoNewPrivileges ProtectSystem=strict ProtectHome=tmpfs PrivateTmp PrivateDevices PrivateNetwork PrivateIPC PrivateMounts
	sandbox += ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname
	sandbox += ProtectProc=invisible ProcSubset=pid ReadWritePaths=-/srv/100% ReadOnlyPaths=/a InaccessiblePaths=-/b
	sandbox += TemporaryFileSystem=/mnt:ro,mode=0700 CapabilityBoundingSet=none CapabilityBoundingSet=CAP_KILL AmbientCapabilities=CAP_KILL
	sandbox += LockPersonality MemoryDenyWriteExecute RestrictRealtime RestrictSUIDSGID RestrictNamespaces=~user RestrictNamespaces=~net
	sandbox += RestrictAddressFamilies=AF_UNIX RestrictAddressFamilies=AF_INET6 SystemCallArchitectures=native
	sandbox += SystemCallFilter=@system-service SystemCallFilter=~@setuid:EACCES SystemCallErrorNumber=EPERM
}
"#;

/// A directory of this test's own, removed at its end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-services-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        std::fs::write(path.join("xinetd.conf"), CONFIGURATION).expect("writable");
        Self(path)
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn convert(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.arg("convert").args(words).current_dir(&self.0).output().expect("portreeve runs")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn units_are_written_once_and_systemd_takes_them() {
    let room = Room::new("units");
    let out = room.file("out");
    std::fs::create_dir(&out).expect("a directory");
    let converted = room.convert(&["xinetd", "xinetd.conf", "--to", "systemd", "--out", "out"]);
    assert_eq!(converted.status.code(), Some(1), "{}", text(&converted.stderr));
    let written = ["health.socket", "health@.service", r"odd:name\x40x.service", r"odd:name\x40x.socket"];
    assert_eq!(names(&out), written);
    let said = text(&converted.stderr);
    for wanted in [
        "xinetd.conf:38:2: there is no attribute `intsances`; did you mean `instances`?",
        "xinetd.conf:37:2: left out: `access_times`: systemd knows no hours; so the service is switched off",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
    let again = room.convert(&["xinetd", "xinetd.conf", "--to", "systemd", "--out", "out"]);
    assert_eq!(again.status.code(), Some(2), "it exists");
    assert!(text(&again.stderr).contains("--force"));
    let forced = room.convert(&["xinetd", "xinetd.conf", "--to", "systemd", "--out", "out", "--force"]);
    assert_eq!((forced.status.code(), names(&out).len()), (Some(1), 4));
    let back = text(&room.convert(&["systemd", "out"]).stdout);
    for wanted in [
        "\tserver_args     = -c %n;$X \"q ' \\ ;x\n",
        "\tenv             = A=%n B=\"b\n",
        "service odd:name@x\n",
        "\tdisable         = yes\n",
        "\tcps             = 25 1\n",
        "\trlimit_core     = 0\n",
        " ReadWritePaths=-/srv/100% ReadOnlyPaths=/a InaccessiblePaths=-/b TemporaryFileSystem=/mnt:ro,mode=0700 CapabilityBoundingSet=none CapabilityBoundingSet=CAP_KILL ",
        " RestrictNamespaces=~user RestrictNamespaces=~net RestrictAddressFamilies=AF_UNIX RestrictAddressFamilies=AF_INET6 SystemCallArchitectures=native SystemCallFilter=@system-service SystemCallFilter=~@setuid:EACCES SystemCallErrorNumber=EPERM\n",
    ] {
        assert!(back.contains(wanted), "{wanted} {back}");
    }
    if !skip::has_programs(&["systemd-analyze"]) {
        return;
    }
    let units = written.map(|name| out.join(name.replace("@.", "@1.")));
    let verified = Command::new("systemd-analyze").arg("verify").args(units).output().expect("it runs");
    let complaints = text(&verified.stderr);
    // PollLimit is of version 255; the room is no directory of units, and nobody is root there.
    let of_ours =
        |line: &&str| line.contains(room.0.to_str().expect("UTF-8")) && !line.contains("'PollLimit");
    let complaints: Vec<_> = complaints.lines().filter(of_ours).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn every_pair_of_languages() {
    let room = Room::new("pairs");
    std::fs::write(
        room.file("inetd.conf"),
        "echo stream tcp nowait root internal\n7 stream tcp nowait root /bin/x x\n",
    )
    .expect("writable");
    std::fs::create_dir(room.file("u")).expect("a directory");
    std::fs::write(
        room.file("u/a.socket"),
        "[Socket]\nListenStream=70\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    )
    .expect("writable");
    std::fs::write(
        room.file("u/a@.service"),
        "[Service]\nExecStart=/bin/x\nStandardInput=socket\nUser=root\nProtectHome=yes\nAllowedCPUs=1\n",
    )
    .expect("writable");
    for (words, code, wanted) in [
        (&["inetd", "inetd.conf"][..], 0, "service echo\n"),
        (&["inetd", "inetd.conf", "--to", "systemd"], 1, "ListenStream=7\n"),
        (&["systemd", "u"], 1, "\tsandbox         = ProtectHome\n"),
        (&["systemd", "u/a.socket", "--to", "inetd"], 1, "#<off>#70\tstream\ttcp\tnowait/64\troot\t/bin/x x"),
        (&["xinetd", "xinetd.conf", "--to", "inetd"], 1, "#<off>#9200\t"),
        (&["inetd", "inetd.conf", "--to", "inetd"], 2, ""),
        (&["inetd", "missing"], 2, ""),
        (&["systemd", "missing"], 2, ""),
        (&["inetd", "inetd.conf", "--out", "u"], 2, ""),
        (&["xinetd", "xinetd.conf"], 2, ""),
    ] {
        let converted = room.convert(words);
        let (out, said) = (text(&converted.stdout), text(&converted.stderr));
        assert_eq!(converted.status.code(), Some(code), "{words:?}: {said}");
        assert!(out.contains(wanted), "{words:?}: {out}");
        assert_eq!(code != 0, !said.is_empty(), "{words:?}: {said}");
    }
    let said = text(&room.convert(&["systemd", "u"]).stderr);
    assert!(said.contains("u/a@.service:6:1: left out: `AllowedCPUs=` is kept by a control group"), "{said}");
    let json = text(&room.convert(&["xinetd", "xinetd.conf", "--to", "systemd", "--json"]).stdout);
    let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["files"][0]["name"], "health.socket");
    assert!(
        value["notes"]
            .as_array()
            .expect("notes")
            .iter()
            .any(|note| note["about"] == "access_times" && note["line"] == 37)
    );
}
