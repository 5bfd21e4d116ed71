//! What a program is confined to (`sandbox`): real attempts to write, to connect, to gain privileges, each with and without; a part that
//! cannot be put on; and that a service without a sandbox costs no system call more. xinetd has nothing like it.

use portreeve_compliance::client::{ask_again, datagram_socket, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Entry, Start, World, ours};
use std::collections::BTreeSet;

/// Each attempt that succeeds says its name. Nothing is changed by them.
const TRY: &str = r#"#!/bin/sh
test -w /usr && echo usr
test -w /etc && echo etc
test -w /run/w/data && echo data
test -r /run/w/data/file && grep -q text /run/w/data/file && echo read
test -e /tmp/portreeve-sandbox-mark && echo tmp
ls -A /root | grep -q . && echo home
test -e /dev/kmsg && echo kmsg
test -w /proc/sys/kernel/hostname && echo tunables
hostname "$(cat /proc/sys/kernel/hostname)" 2>/dev/null && echo hostname
chrt -f 1 true 2>/dev/null && echo realtime
chmod u+s /run/w/data/file 2>/dev/null && chmod u-s /run/w/data/file && echo suid
unshare -u true 2>/dev/null && echo uts
unshare -n true 2>/dev/null && echo netns
setarch -R true 2>/dev/null && echo personality
test "$(setpriv --reuid 65534 --clear-groups /run/w/data/id -u 2>/dev/null)" = 0 && echo privileges
exec perl /run/w/try.pl
"#;

/// The numbers are those of x86-64 and AArch64: mmap, umount2, syslog, settimeofday, memfd_create.
const TRY_PERL: &str = r#"
use Socket;
my $arm = `uname -m` =~ /aarch64/;
my ($mmap, $umount, $syslog, $settime) = $arm ? (222, 39, 116, 170) : (9, 166, 103, 164);
sub told { print "$_[0]\n" if $_[1] }
told("writable-code", syscall($mmap, 0, 4096, 7, 0x22, -1, 0) != -1);
my $place = "/no/such/place";
told("mount", syscall($umount, $place, 0) == -1 && $!{ENOENT});
my $text = " " x 64;
told("syslog", syscall($syslog, 3, $text, 64) != -1);
told("clock", syscall($settime, 0, 0) == 0);
told("packet", socket(my $a, 17, SOCK_RAW, 0));
told("inet", socket(my $b, AF_INET, SOCK_STREAM, 0));
told("unix", socket(my $c, AF_UNIX, SOCK_STREAM, 0));
my $d;
told("connects", socket($d, AF_INET, SOCK_STREAM, 0) && connect($d, sockaddr_in(2099, inet_aton("127.0.0.1"))));
open my $status, "<", "/proc/self/status";
while (<$status>) {
    next unless /^CapBnd:\s*(\w+)/;
    my $set = hex $1;
    my %all = (mknod => 27, module => 16, time => 25, "log" => 34, chown => 0);
    told("cap-$_", $set >> $all{$_} & 1) for sort keys %all;
}
"#;

const PROGRAMS: &[&str] = &["perl", "chrt", "unshare", "setarch", "setpriv", "hostname"];

/// Puts what the attempts need in place; false where a program is missing.
fn prepare(world: &World) {
    world.write_mode("try.sh", TRY, 0o755);
    world.write("try.pl", TRY_PERL);
    world.write("data/file", "text\n");
    std::os::unix::fs::symlink("/run/w/data", world.inside("/run/w/alias")).expect("a link");
    let id = std::fs::read("/usr/bin/id").expect("id");
    world.write_mode("data/id", id, 0o4755);
    let mark = world.inside("/tmp/portreeve-sandbox-mark");
    std::fs::write(mark, "").expect("a mark");
}

fn trying(id: &str, port: u16, sandbox: &str) -> Entry {
    let entry = Entry::program(id, port).set("server", "/run/w/try.sh").unset("server_args");
    if sandbox.is_empty() { entry } else { entry.set("sandbox", sandbox) }
}

fn succeeded(port: u16) -> BTreeSet<String> {
    talk("127.0.0.1", port, b"").text().lines().map(str::to_owned).collect()
}

/// Each word takes away what it is about and nothing else.
#[test]
fn every_word_takes_away_what_it_is_about() {
    if !has_programs(PROGRAMS) {
        return;
    }
    let table = [
        ("NoNewPrivileges", "privileges"),
        ("ProtectSystem", "usr"),
        ("ProtectSystem=full", "usr etc"),
        ("ProtectSystem=strict", "usr etc data suid"),
        ("ProtectSystem=strict ReadWritePaths=/run/w/data", "usr etc"),
        ("ReadOnlyPaths=/run/w/data", "data suid"),
        ("InaccessiblePaths=/run/w/data/file", "read suid"),
        // A link into what another word is about: the places count, not their names.
        ("InaccessiblePaths=/run/w/alias/file ReadWritePaths=/run/w/data", "read suid"),
        ("ReadOnlyPaths=/run/w/alias ReadWritePaths=/run/w/data", "data suid"),
        ("TemporaryFileSystem=/run/w/data:ro", "data read suid privileges"),
        ("ProtectHome", "home"),
        ("ProtectHome=tmpfs", "home"),
        ("PrivateTmp", "tmp"),
        ("PrivateDevices", "kmsg cap-mknod"),
        ("PrivateNetwork", "connects"),
        ("PrivateMounts", ""),
        ("PrivateIPC", ""),
        ("ProtectKernelTunables", "tunables"),
        ("ProtectKernelModules", "cap-module"),
        ("ProtectKernelLogs", "kmsg syslog cap-log"),
        ("ProtectClock", "clock cap-time"),
        ("ProtectHostname", "hostname"),
        ("LockPersonality", "personality"),
        ("MemoryDenyWriteExecute", "writable-code"),
        ("RestrictRealtime", "realtime"),
        ("RestrictSUIDSGID", "suid"),
        ("RestrictNamespaces=yes", "uts netns"),
        ("RestrictNamespaces=~net", "netns"),
        ("RestrictAddressFamilies=AF_UNIX", "packet inet connects"),
        ("RestrictAddressFamilies=~AF_PACKET", "packet"),
        ("SystemCallArchitectures=native", ""),
        ("SystemCallFilter=~@mount SystemCallErrorNumber=EPERM", "mount"),
        ("SystemCallFilter=~umount2:EACCES", "mount"),
        ("CapabilityBoundingSet=~CAP_CHOWN", "cap-chown"),
    ];
    ours(|world| {
        prepare(world);
        let mut config = Config::of(trying("bare", 2001, ""))
            .with(trying("off", 2000, "off"))
            .with(Entry::internal("discard", "discard", 2099, "stream").set("cps", "0 0"));
        let ports = || (2002u16..).zip(table);
        for (port, (words, _)) in ports() {
            config = config.with(trying(&format!("s{port}"), port, words));
        }
        let daemon = world.start(&config);
        let all = succeeded(2001);
        assert_eq!(succeeded(2000), all);
        for (port, (words, gone)) in ports() {
            let wanted: BTreeSet<String> = gone.split_ascii_whitespace().map(str::to_owned).collect();
            let left = succeeded(port);
            // What the machine of the test has not is not missed.
            let wanted = wanted.intersection(&all).cloned().collect();
            assert_eq!(all.difference(&left).cloned().collect::<BTreeSet<_>>(), wanted, "{words}");
            assert_eq!(left.difference(&all).count(), 0, "{words}");
            let shown = daemon.service_status(&format!("s{port}"))["sandbox"].clone();
            assert_eq!(shown.as_array().map(Vec::len), Some(words.split(' ').count()), "{words}: {shown}");
        }
        for name in [
            "usr",
            "etc",
            "data",
            "read",
            "tmp",
            "suid",
            "privileges",
            "inet",
            "connects",
            "clock",
            "packet",
            "personality",
            "writable-code",
            "mount",
            "uts",
        ] {
            assert!(all.contains(name), "{name} succeeds without a sandbox: {all:?}");
        }
        assert_eq!(succeeded(2001), all, "the supervisor is what it was");
    });
    let _ = std::fs::remove_file("/tmp/portreeve-sandbox-mark");
}

/// Another user than root: capabilities that it has, processes that it sees.
#[test]
fn capabilities_and_processes_of_a_user() {
    ours(|world| {
        let script = "#!/bin/sh\ngrep ^CapEff: /proc/self/status | cut -f2\ntest -e /proc/1/stat && echo others\ngrep -q '^NoNewPrivs:.1' /proc/self/status && echo none-new\n";
        world.write_mode("who.sh", script, 0o755);
        let who = |id: &str, port, words: &str| {
            let entry = Entry::program(id, port).set("server", "/run/w/who.sh").unset("server_args");
            entry.set("user", "65534").set("sandbox", words)
        };
        let config = Config::of(who("plain", 2001, "off"))
            .with(who(
                "ambient",
                2002,
                "CapabilityBoundingSet=CAP_NET_BIND_SERVICE AmbientCapabilities=CAP_NET_BIND_SERVICE",
            ))
            .with(who("hidden", 2003, "ProtectProc=invisible ProcSubset=pid"))
            .with(who("filtered", 2004, "LockPersonality"));
        let _daemon = world.start(&config);
        let said = |port| talk("127.0.0.1", port, b"").text();
        assert_eq!(said(2001), "0000000000000000\nothers\n");
        assert_eq!(said(2002), "0000000000000400\nothers\n");
        assert_eq!(said(2003), "0000000000000000\n");
        // A filter can be put on by who cannot gain privileges.
        assert_eq!(said(2004), "0000000000000000\nothers\nnone-new\n");
    });
}

/// A part that cannot be put on: no program, the client is let go, the log names the part, and everybody else is served.
#[test]
fn without_its_sandbox_no_program_starts() {
    ours(|world| {
        let config = Config::of(Entry::program("whole", 2001))
            .with(
                Entry::program("missing", 2002).set("sandbox", "PrivateTmp InaccessiblePaths=/no/such/place"),
            )
            .with(
                Entry::program("optional", 2003)
                    .set("sandbox", "PrivateTmp InaccessiblePaths=-/no/such/place"),
            )
            .with(
                Entry::program("odd", 2004)
                    .set("sandbox", "TemporaryFileSystem=/mnt:size=200%,nr_inodes=99999999999999999999"),
            );
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""));
        let line = "missing: /bin/echo is not started, sandbox: InaccessiblePaths=/no/such/place: No such file or directory";
        must("the log names the part", || world.daemon_log().iter().any(|l| l.contains(line)));
        assert_eq!(daemon.count("missing", "/start_failures"), 1);
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed(""));
        must("that one too", || {
            world.daemon_log().iter().any(|l| l.contains("sandbox: TemporaryFileSystem=/mnt:"))
        });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        must("it is not left running", || daemon.count("missing", "/running") == 0);
    });
}

/// A call that is not allowed ends the program, and EXIT tells the signal.
#[test]
fn a_filter_without_an_error_ends_the_program() {
    ours(|world| {
        let uname = |id: &str, port, words: &str| {
            Entry::program(id, port).set("server", "/bin/uname").unset("server_args").set("sandbox", words)
        };
        let config = Config::of(uname("killed", 2001, "SystemCallFilter=~uname")).with(uname(
            "served",
            2002,
            "SystemCallFilter=@system-service SystemCallFilter=~@mount",
        ));
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        must("EXIT tells", || world.service_log("killed").iter().any(|line| line.contains("signal=31")));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("Linux\n"));
    });
}

fn unit(world: &World, name: &str, text: &str) {
    let path = world.path(&format!("units/{name}"));
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    std::fs::write(path, text).expect("to write");
}

fn with_units<'a>(world: &'a World, config: &Config) -> Daemon<'a> {
    let options = vec!["-systemd".to_owned(), "/run/w/units".to_owned()];
    world.start_with(config, Start { options, ..Start::default() })
}

/// A unit as distributions harden theirs: applied, told by `explain` and `status` with the place, and what is not applied is named.
#[test]
fn a_hardened_unit_is_served_as_it_is_hardened() {
    if !has_programs(PROGRAMS) {
        return;
    }
    ours(|world| {
        prepare(world);
        unit(
            world,
            "a.socket",
            "[Socket]\nListenStream=127.0.0.1:2001\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
        );
        let hardened = "[Service]\nExecStart=-/run/w/try.sh\nStandardInput=socket\nNoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\n\
            PrivateTmp=yes\nPrivateDevices=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\n\
            ProtectClock=yes\nProtectHostname=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\n\
            RestrictNamespaces=yes\nRestrictAddressFamilies=AF_UNIX AF_INET\nCapabilityBoundingSet=CAP_SETUID CAP_DAC_OVERRIDE\n\
            SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\nAllowedCPUs=0\n";
        unit(world, "a@.service", hardened);
        let daemon = with_units(world, &Config::of(Entry::internal("discard", "discard", 2099, "stream")));
        let left: Vec<String> = succeeded(2001).into_iter().collect();
        assert_eq!(left, ["connects", "inet", "read", "unix"]);
        let explained = daemon.control("explain a 127.0.0.1");
        assert!(
            explained.contains("\"sandbox\"") && explained.contains("ProtectSystem=strict"),
            "{explained}"
        );
        assert!(explained.contains("units/a@.service"), "{explained}");
        assert_eq!(daemon.service_status("a")["sandbox"][0], "NoNewPrivileges");
        assert!(
            world.read("daemon.log").contains("`AllowedCPUs=` is kept by a control group of the unit's own")
        );
    });
    let _ = std::fs::remove_file("/tmp/portreeve-sandbox-mark");
}

/// The system calls of a child between its clone and its execve, by name.
fn calls_of_child(trace: &str, program: &str) -> Vec<String> {
    let of = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let executes = |line: &&str| line.contains("execve(") && line.contains(program);
    let Some(pid) = trace.lines().find(executes).and_then(of) else { return Vec::new() };
    let own = trace.lines().filter(|line| of(line).as_ref() == Some(&pid));
    let name = |line: &str| {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        call.split('(').next().unwrap_or_default().to_owned()
    };
    let until = own.map(name).take_while(|name| name != "execve");
    until.filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).collect()
}

/// What a service without a sandbox pays for it: not one system call. `off` is the same as nothing.
#[test]
fn a_service_without_a_sandbox_makes_no_call_more() {
    if !has_programs(&["strace"]) {
        return;
    }
    ours(|world| {
        for name in ["bare", "off", "held"] {
            std::fs::create_dir_all(world.path("programs")).expect("a directory");
            world.write_mode(&format!("programs/{name}"), "#!/bin/sh\necho served\n", 0o755);
        }
        let entry = |name: &str, port| {
            Entry::program(name, port).set("server", &format!("/run/w/programs/{name}")).unset("server_args")
        };
        // What the daemon has already a program takes only in a sandbox.
        let already = ["chdir", "setgroups", "setresgid", "setresuid"];
        let config = Config::of(entry("bare", 2001))
            .with(entry("off", 2002).set("sandbox", "off"))
            .with(entry("held", 2003).set("sandbox", "NoNewPrivileges LockPersonality PrivateTmp"));
        let through = ["/usr/bin/strace", "-f", "-qq", "-o", "/run/w/trace"].map(str::to_owned).to_vec();
        let _daemon = world.start_with(&config, Start { through, ..Start::default() });
        for port in [2001, 2002, 2003] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed("served\n"), "{port}");
        }
        let calls = |name: &str| calls_of_child(&world.read("trace"), &format!("/run/w/programs/{name}"));
        must("the trace is written", || !calls("held").is_empty());
        let (bare, off, held) = (calls("bare"), calls("off"), calls("held"));
        assert!(!bare.is_empty() && bare.iter().any(|call| call == "setsid"), "{bare:?}");
        assert_eq!(off, bare);
        let more: BTreeSet<&String> =
            held.iter().filter(|call| !bare.contains(call) && !already.contains(&call.as_str())).collect();
        let wanted = ["close", "fchdir", "mount", "openat2", "seccomp", "unshare"];
        // One says that the memory, which is the supervisor's, is nobody else's to trace.
        let prctls = |all: &[String]| all.iter().filter(|call| *call == "prctl").count();
        assert_eq!(prctls(&bare), 1, "{bare:?}");
        assert!(prctls(&held) > 1, "{held:?}");
        assert_eq!(more.into_iter().collect::<Vec<_>>(), wanted.iter().collect::<Vec<_>>());
        for call in wanted.iter().chain(&["capset", "open_tree", "mount_setattr"]) {
            assert!(!bare.iter().any(|made| made == call), "{call} in {bare:?}");
        }
    });
}

/// However the program is started: with the socket itself, or as a command of hosts.allow in its place. A command beside it is root's and
/// is in no sandbox.
#[test]
fn whatever_answers_a_client_is_confined() {
    if !has_programs(&["perl"]) {
        return;
    }
    ours(|world| {
        let answer = "my $from = recv(STDIN, my $text, 100, 0);\nsend(STDOUT, system(\"test -w /usr\") == 0 ? \"open\" : \"closed\", 0, $from);\n";
        world.write("answer.pl", answer);
        let perl = |id: &str, port| {
            let entry = Entry::datagram(id, port, "").set("server", "/usr/bin/perl");
            entry.set("server_args", "/run/w/answer.pl").line("flags = NOLIBWRAP")
        };
        let config = Config::of(perl("open", 2001))
            .with(perl("closed", 2002).set("sandbox", "ProtectSystem"))
            .with(Entry::program("twisted", 2003).set("sandbox", "ProtectSystem").first("flags = IPv4"));
        let rule = "ALL: ALL : spawn (test -w /usr && echo open > /run/w/beside) : twist (test -w /usr && echo open || echo closed)\n";
        world.cover("/etc/hosts.allow", rule);
        let _daemon = world.start(&config);
        let asked = |port| ask_again(&datagram_socket("127.0.0.1", port), b"x");
        assert_eq!(asked(2001).as_deref(), Some(&b"open"[..]));
        assert_eq!(asked(2002).as_deref(), Some(&b"closed"[..]));
        assert_eq!(talk("127.0.0.1", 2003, b"").text(), "closed\n");
        must("the command beside it ran", || world.path("beside").exists());
        must("it is in no sandbox", || world.read("beside") == "open\n");
    });
}

/// The limits that xinetd has no attributes for.
#[test]
fn limits_of_ours() {
    ours(|world| {
        world.write_mode("limits.sh", "#!/bin/sh\ncat /proc/self/limits\n", 0o755);
        let config = Config::of(
            Entry::program("limited", 2001)
                .set("server", "/run/w/limits.sh")
                .unset("server_args")
                .set("rlimit_core", "0")
                .set("rlimit_nproc", "123")
                .set("rlimit_fsize", "1M")
                .set("rlimit_memlock", "64k")
                .set("rlimit_rttime", "1000"),
        );
        let _daemon = world.start(&config);
        let text = talk("127.0.0.1", 2001, b"").text();
        for (name, value) in [
            ("Max core file size", "0"),
            ("Max processes", "123"),
            ("Max file size", "1048576"),
            ("Max locked memory", "65536"),
            ("Max realtime timeout", "1000"),
        ] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, [value, value], "{line}");
        }
    });
}
