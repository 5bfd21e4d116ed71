//! Hardening of units: each setting is applied with systemd's meaning or named, both ways, and of the units that this machine has no
//! line goes unaccounted.

#![allow(dead_code, unreachable_pub, reason = "a part of the file that is taken in is used")]

use super::tests::{SERVICE, SOCKET};
use super::{from_systemd, to_systemd};
use crate::convert::{Sheet, to_inetd, to_xinetd};
use crate::testing::FakeHost;
use std::path::{Path, PathBuf};

#[path = "../../../../compliance/src/skip.rs"]
mod skip;

fn sheet(service: &str) -> Sheet {
    let mut host = FakeHost::debian();
    host.directory("/u", &[("a.socket", true)]);
    host.file("/u/a.socket", SOCKET);
    host.file("/u/a@.service", service);
    from_systemd(&host, &[PathBuf::from("/u")]).unwrap()
}

/// The words of `sandbox`, and what is said (lost first).
fn read(more: &str) -> (String, Vec<String>) {
    let sheet = sheet(&format!("{SERVICE}{more}"));
    let words = sheet.stanzas().next().and_then(|s| s.get("sandbox")).unwrap_or_default().to_owned();
    let mark = |lost| if lost { "!" } else { "" };
    (words, sheet.notes.iter().map(|note| format!("{}{}", mark(note.lost), note.text)).collect())
}

#[test]
fn settings_are_words_as_they_count() {
    for (more, wanted) in [
        (
            "NoNewPrivileges=true\nProtectSystem=strict\nProtectHome=read-only\n",
            "NoNewPrivileges ProtectSystem=strict ProtectHome=read-only",
        ),
        ("PrivateTmp=no\nPrivateTmp=yes\n", "PrivateTmp"),
        (
            "CapabilityBoundingSet=CAP_KILL cap_chown\n",
            "CapabilityBoundingSet=CAP_KILL CapabilityBoundingSet=cap_chown",
        ),
        ("CapabilityBoundingSet=\n", "CapabilityBoundingSet=none"),
        (
            "CapabilityBoundingSet=~CAP_KILL CAP_CHOWN\n",
            "CapabilityBoundingSet=~CAP_KILL CapabilityBoundingSet=~CAP_CHOWN",
        ),
        ("CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=~\n", ""),
        (
            "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallErrorNumber=EPERM\n",
            "SystemCallFilter=@system-service SystemCallFilter=~@privileged SystemCallFilter=~@resources SystemCallErrorNumber=EPERM",
        ),
        ("SystemCallFilter=read\nSystemCallFilter=\nSystemCallFilter=~mount\n", "SystemCallFilter=~mount"),
        // Of a later systemd: the list stays one of what is allowed.
        (
            "SystemCallFilter=call_to_come read\nSystemCallFilter=~@mount\n",
            "SystemCallFilter=@default SystemCallFilter=read SystemCallFilter=~@mount",
        ),
        ("SystemCallFilter=call_to_come\n", "SystemCallFilter=@default"),
        ("SystemCallFilter=~@mount\nSystemCallFilter=call_to_come\n", "SystemCallFilter=~@mount"),
        ("RestrictAddressFamilies=none\n", "RestrictAddressFamilies=none"),
        ("RestrictNamespaces=net\nRestrictNamespaces=yes\n", "RestrictNamespaces=yes"),
        ("RestrictNamespaces=yes\nRestrictNamespaces=no\n", ""),
        (
            "ReadWritePaths=-/a \"/b\"\nInaccessiblePaths=%t/x\n",
            "ReadWritePaths=-/a ReadWritePaths=/b InaccessiblePaths=/run/x",
        ),
        ("TemporaryFileSystem=/var:ro\n", "TemporaryFileSystem=/var:ro"),
        // One list under two keys.
        (
            "BindPaths=/a\nBindReadOnlyPaths=\nBindReadOnlyPaths=/b:/c -/%p//x\nBindPaths=\"/d\":/e:norbind /f\\:g:/h\n",
            "BindReadOnlyPaths=/b:/c BindReadOnlyPaths=-/a/x BindPaths=/d:/e:norbind BindPaths=/f\\:g:/h",
        ),
        ("BindPaths=/a\nBindReadOnlyPaths=/b\nBindPaths=\n", ""),
        (
            "NoExecPaths=/\nExecPaths=/a\nExecPaths=\nExecPaths=-/b -+/c\n",
            "ExecPaths=-/b ExecPaths=-+/c NoExecPaths=/",
        ),
        (
            "SecureBits=keep-caps\nSecureBits=\nSecureBits=noroot noroot-locked\nSecureBits=no-setuid-fixup\n",
            "SecureBits=noroot SecureBits=noroot-locked SecureBits=no-setuid-fixup",
        ),
        ("SystemCallArchitectures=native\n", "SystemCallArchitectures=native"),
        ("PrivateUsers=yes\n", "PrivateUsers"),
        ("DynamicUser=yes\nProtectHome=yes\n", "ProtectHome DynamicUser"),
        ("MemoryMax=64M\nMemoryMax=1G\nTasksMax=5%\n", "MemoryMax=1G TasksMax=5%"),
        ("CPUWeight=idle\nCPUQuota=50%\nCPUQuota=20%\n", "CPUQuota=20% CPUWeight=idle"),
        (
            "CPUQuota=150.5%\nCPUQuotaPeriodSec=1 s 5ms\nIOWeight=7\n",
            "CPUQuota=150.5% CPUQuotaPeriodSec=1005000us IOWeight=7",
        ),
        ("CPUQuota=20%\nCPUQuota=\nCPUWeight=\n", ""),
        (
            "IPAddressDeny=10.0.0.0/8\nIPAddressDeny=\nIPAddressDeny=any\nIPAddressAllow=localhost 2001:db8::/32\n",
            "IPAddressAllow=localhost IPAddressAllow=2001:db8::/32 IPAddressDeny=any",
        ),
        // Nothing is denied.
        ("IPAddressAllow=10.0.0.0/8\n", ""),
        (
            "DevicePolicy=closed\nDeviceAllow=/dev/x\nDeviceAllow=\nDeviceAllow=/dev/kmsg r\nDeviceAllow=char-pts\n",
            "DevicePolicy=closed DeviceAllow=/dev/kmsg:r DeviceAllow=char-pts",
        ),
    ] {
        let (words, notes) = read(more);
        assert_eq!(words, wanted, "{more}");
        assert!(!notes.iter().any(|note| note.starts_with('!')), "{more}: {notes:?}");
    }
}

#[test]
fn what_is_not_applied_is_named_and_says_why() {
    for (more, wanted) in [
        (
            "ProtectSystem=maybe\n",
            "!`ProtectSystem=`: `maybe` is no value of ProtectSystem; ProtectSystem or ProtectSystem=full|strict",
        ),
        (
            "SystemCallFilter=~no_such_call\n",
            "!`SystemCallFilter=`: `no_such_call` is no system call; see syscalls(2)",
        ),
        (
            "SystemCallFilter=read no_such_call\n",
            "`SystemCallFilter=`: `no_such_call` is no system call, so nothing is allowed by it",
        ),
        (
            "SystemCallArchitectures=native x86\n",
            "!`SystemCallArchitectures=`: portreeve allows the calls of this machine's own architecture, or none",
        ),
        ("ReadOnlyPaths=%h/x %i\n", "!`ReadOnlyPaths=`: the specifier `%i` is another for each connection"),
        (
            "ReadOnlyPaths=\"/a b\"\n",
            "!`ReadOnlyPaths=`: a value with blanks has no place in a word of `sandbox`",
        ),
        (
            "PrivatePIDs=yes\n",
            "!`PrivatePIDs=` needs a namespace that a process cannot enter before it executes the program: more is allowed than under systemd",
        ),
        (
            "AllowedCPUs=0\n",
            "!`AllowedCPUs=` is kept by a control group of the unit's own, and portreeve sets none of the kind: more is allowed than under systemd",
        ),
        (
            "CPUQuota=20\n",
            "!`CPUQuota=`: `20` is no share of a processor; CPUQuota=SHARE% of one processor: 200% is two",
        ),
        (
            "IPAddressDeny=localhots\n",
            "!`IPAddressDeny=`: `localhots` is no address and no network; did you mean `localhost`?",
        ),
        (
            "IPAddressDeny=10.0.0.0/33\n",
            "!`IPAddressDeny=`: `10.0.0.0/33` is no address and no network; IPAddressDeny=ADDRESS[/LENGTH] or IPAddressDeny=any|localhost|link-local|multicast",
        ),
        (
            "IPAddressDeny=::ffff:10.0.0.0/104\n",
            "!`IPAddressDeny=`: `::ffff:10.0.0.0/104` stands on no packet: IPv4 is IPv4 there; write `10.0.0.0/8`",
        ),
        ("IPAddressAllow=10.0.0.0/8\n", "`IPAddressAllow=`: nothing is denied, so everybody is allowed"),
        ("CPUWeight=idl\n", "!`CPUWeight=`: `idl` is no weight; did you mean `idle`?"),
        ("IOWeight=idle\n", "!`IOWeight=`: `idle` is no weight; IOWeight=1 to 10000"),
        (
            "CPUQuotaPeriodSec=soon\n",
            "!`CPUQuotaPeriodSec=`: `soon` is no span of time; CPUQuotaPeriodSec=SPAN, as 10ms",
        ),
        (
            "MemoryMax=much\n",
            "!`MemoryMax=`: `much` is no amount; MemoryMax=NUMBER, with K, M, G or T, MemoryMax=SHARE% or MemoryMax=infinity",
        ),
        (
            "DeviceAllow=/dev/null rx\n",
            "!`DeviceAllow=`: `/dev/null:rx` names no device; DeviceAllow=/dev/NODE[:rwm], DeviceAllow=char-KIND[:rwm] or DeviceAllow=block-KIND[:rwm]",
        ),
        (
            "PrivateUsers=managed\n",
            "!`PrivateUsers=`: `managed` is no value of PrivateUsers; PrivateUsers or PrivateUsers=self|identity",
        ),
        (
            "SecureBits=noroot no-rot\n",
            "!`SecureBits=`: `no-rot` is no value of SecureBits; did you mean `noroot`?",
        ),
        ("BindPaths=/a:/b:rbnd\n", "!`BindPaths=`: `rbnd` is neither `rbind` nor `norbind`"),
        ("BindPaths=/a: /b\n", "!`BindPaths=`: `` is no absolute path without `..`"),
        ("BindPaths=+/a\n", "!`BindPaths=`: `+/a` is no absolute path without `..`"),
        ("BindReadOnlyPaths=/a:/\n", "!`BindReadOnlyPaths=`: `/` cannot be covered; see `RootDirectory`"),
        ("BindPaths=/run/%i\n", "!`BindPaths=`: the specifier `%i` is another for each connection"),
        ("BindPaths=\"/a b\"\n", "!`BindPaths=`: a value with blanks has no place in a word of `sandbox`"),
        ("BindPaths=\"/a\n", "!`BindPaths=`: a quote is not closed"),
        (
            "NoExecPaths=bin\n",
            "!`NoExecPaths=`: `bin` is no absolute path without `..`; NoExecPaths=[-][+]/PATH",
        ),
        (
            "RestrictFileSystems=ext4\n",
            "!`RestrictFileSystems=` is kept by a program in the kernel that portreeve does not load: more is allowed than under systemd",
        ),
        (
            "ProtectSystem=strict\nStateDirectory=x\n",
            "!`StateDirectory=`: nobody makes the directory; where it is there the program may write in it",
        ),
        (
            "CapabilityBoundingSet=CAP_CHOWN\nAmbientCapabilities=CAP_KILL\n",
            "!`a.socket` is not carried over: `AmbientCapabilities` gives CAP_KILL, which is not in the bounding set",
        ),
    ] {
        let (_, notes) = read(more);
        assert!(notes.iter().any(|note| note == wanted), "{more}: {notes:#?}");
    }
    let (_, notes) = read("PrivateBpf=yes\n");
    assert!(notes[0].starts_with("!there is no setting `PrivateBpf=`"), "{notes:?}");
    assert_eq!(
        read("ProtectSystem=strict\nStateDirectory=x y\n").0,
        "ProtectSystem=strict ReadWritePaths=-/var/lib/x ReadWritePaths=-/var/lib/y"
    );
}

#[test]
fn a_user_that_is_made_has_no_name() {
    let sheet = sheet(&format!("{SERVICE}DynamicUser=yes\nUser=joe\n"));
    let stanza = sheet.stanzas().next().unwrap();
    assert_eq!((stanza.get("user"), stanza.get("groups")), (Some("nobody"), Some("no")));
    let (files, _) = to_systemd(&sheet, &FakeHost::debian());
    let all = format!("{files:?}");
    assert!(all.contains("DynamicUser=yes") && !all.contains("nobody"), "{all}");
    let (_, notes) = read("ExecStart=\nExecStart=+/bin/sh\nDynamicUser=yes\n");
    assert!(notes.iter().any(|note| note.contains("`ExecStart=` has `+` or `!`")), "{notes:?}");
}

#[test]
fn limits_are_carried_both_ways() {
    let more =
        "LimitCORE=0\nLimitNPROC=20\nLimitFSIZE=1M\nLimitMEMLOCK=infinity\nLimitNICE=+5\nLimitRTTIME=1ms\n";
    let sheet = sheet(&format!("{SERVICE}{more}"));
    let stanza = sheet.stanzas().next().unwrap();
    for (name, value) in [
        ("rlimit_core", "0"),
        ("rlimit_nproc", "20"),
        ("rlimit_fsize", "1048576"),
        ("rlimit_memlock", "UNLIMITED"),
        ("rlimit_nice", "15"),
        ("rlimit_rttime", "1000"),
    ] {
        assert_eq!(stanza.get(name), Some(value), "{name}");
    }
    let (files, _) = to_systemd(&sheet, &FakeHost::debian());
    for line in [
        "LimitCORE=0\n",
        "LimitNPROC=20\n",
        "LimitFSIZE=1048576\n",
        "LimitMEMLOCK=infinity\n",
        "LimitNICE=15\n",
        "LimitRTTIME=1000\n",
    ] {
        assert!(files[1].text.contains(line), "{line} in {}", files[1].text);
    }
}

#[test]
fn a_sandbox_goes_both_ways_and_to_inetd_only_switched_off() {
    let more = "NoNewPrivileges=yes\nProtectSystem=strict\nPrivateTmp=yes\nReadWritePaths=-/srv/100%%\nTemporaryFileSystem=/mnt:ro,mode=0700\n\
                BindReadOnlyPaths=/d:/e:norbind\nBindPaths=-\"/it's\\\"100%%\":'/a:b' /x\\\\y\nNoExecPaths=/\nExecPaths=/usr /lib\n\
                SecureBits=noroot noroot-locked\n\
                CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_KILL\nRestrictNamespaces=~user\nRestrictAddressFamilies=AF_INET\n\
                SystemCallFilter=@system-service\nSystemCallFilter=~@setuid:EACCES\nSystemCallErrorNumber=EPERM\n\
                TasksMax=10%\nCPUQuota=20.5%\nCPUQuotaPeriodSec=10ms\nCPUWeight=idle\nIOWeight=9\nIPAddressAllow=localhost\nIPAddressDeny=any\n";
    let first = sheet(&format!("{SERVICE}{more}"));
    let host = FakeHost::debian();
    let (files, notes) = to_systemd(&first, &host);
    assert!(!notes.iter().any(|note| note.lost && note.about.as_deref() == Some("sandbox")), "{notes:#?}");
    assert!(
        files[1].text.contains("CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_KILL\n"),
        "{}",
        files[1].text
    );
    let bounds = "IPAddressAllow=localhost\nIPAddressDeny=any\nTasksMax=10%\nCPUQuota=20.5%\nCPUQuotaPeriodSec=10ms\nCPUWeight=idle\nIOWeight=9\n";
    assert!(files[1].text.contains(bounds), "{}", files[1].text);
    let second = sheet(&files[1].text);
    let words = |sheet: &Sheet| sheet.stanzas().next().unwrap().get("sandbox").unwrap().to_owned();
    assert_eq!(words(&second), words(&first));
    assert!(to_xinetd(&first).contains(
        "\tsandbox         = NoNewPrivileges ProtectSystem=strict PrivateTmp ReadWritePaths=-/srv/100% "
    ));
    let (text, notes) = to_inetd(&first, false);
    assert!(
        notes.iter().any(|note| note
            .text
            .contains("`sandbox`: inetd.conf cannot confine a program; so the service is switched off")),
        "{notes:#?}"
    );
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
}

/// For every service unit that this machine has: whatever line of `[Service]` is taken out of it, what is served or what is said
/// becomes another. So there is none that is passed over in silence.
#[test]
fn no_line_of_the_units_of_this_machine_is_passed_over() {
    let directory = Path::new("/usr/lib/systemd/system");
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> =
        names.filter(|path| path.extension().is_some_and(|e| e == "service")).collect();
    paths.sort();
    let mut lines = 0;
    for path in &paths {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let unit = confinement_of(&text);
        let whole = outcome(&unit);
        for (index, line) in unit.iter().enumerate() {
            let mut less = unit.clone();
            less.remove(index);
            lines += 1;
            assert_ne!(outcome(&less), whole, "{}: {line}", path.display());
        }
    }
    if lines < 50 {
        skip::skip(skip::Reason::absent("units in /usr/lib/systemd/system"));
    }
}

/// The settings of a unit that are about confinement, those that a later one takes the place of aside.
fn confinement_of(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut lines: Vec<String> = Vec::new();
    let mut section = "";
    for line in joined.lines() {
        if line.starts_with('[') {
            section = if line.trim() == "[Service]" { "Service" } else { "" };
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == "Service") else { continue };
        let starts = [
            "Protect",
            "Private",
            "Restrict",
            "SystemCall",
            "Capab",
            "Ambient",
            "NoNew",
            "Lock",
            "MemoryDeny",
            "Read",
            "Inacc",
            "Temporary",
            "Limit",
            "Proc",
            "Keyring",
            "Device",
            "IPAddr",
            "Bind",
            "Secure",
            "NoExec",
            "UMask",
            "OOM",
            "Remove",
        ];
        if value.is_empty() || !starts.iter().any(|start| key.starts_with(start)) {
            continue;
        }
        lines.push(line.to_owned());
    }
    lines
}

fn outcome(lines: &[String]) -> String {
    let sheet = sheet(&format!("{SERVICE}{}\n", lines.join("\n")));
    let said: Vec<String> =
        sheet.stanzas().flat_map(|s| &s.said).map(|said| format!("{} {}", said.name, said.value)).collect();
    let notes: Vec<&str> = sheet.notes.iter().map(|note| note.text.as_str()).collect();
    format!("{said:?}\n{notes:?}")
}
