//! Units in their forms, each with what it comes to, and what is said of it.

use super::unit::{Unit, boolean, parse, span};
use super::{from_systemd, to_systemd};
use crate::convert::{Sheet, Stanza, to_xinetd};
use crate::testing::FakeHost;
use std::path::PathBuf;

pub(super) const SERVICE: &str = "[Service]\nExecStart=-/bin/sh -c x\nStandardInput=socket\nUser=nobody\n";
pub(super) const SOCKET: &str = "[Socket]\nListenStream=70\nAccept=yes\n[Install]\nWantedBy=sockets.target\n";

fn sheet(files: &[(&str, &str)]) -> Sheet {
    let mut host = FakeHost::debian();
    let top: Vec<(&str, bool)> =
        files.iter().map(|(name, _)| (*name, true)).filter(|(name, _)| !name.contains('/')).collect();
    host.directory("/u", &top);
    for (name, text) in files {
        host.file(&format!("/u/{name}"), text);
        if let Some((directory, file)) = name.split_once('/') {
            host.directory(&format!("/u/{directory}"), &[(file, true)]);
        }
    }
    from_systemd(&host, &[PathBuf::from("/u")]).unwrap()
}

fn lost(sheet: &Sheet) -> Vec<String> {
    let line = |note: &crate::convert::Note| {
        let place = note.place.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{place}: {}", note.text)
    };
    sheet.notes.iter().filter(|note| note.lost).map(line).collect()
}

/// The only stanza of a pair, with nothing lost.
fn only(socket: &str, service: &str) -> Stanza {
    let sheet = sheet(&[("a.socket", socket), ("a@.service", service), ("a.service", service)]);
    let stanzas: Vec<_> = sheet.stanzas().cloned().collect();
    assert_eq!(lost(&sheet), Vec::<String>::new());
    assert_eq!(stanzas.len(), 1, "{:#?}", sheet.notes);
    stanzas.into_iter().next().unwrap()
}

/// The first thing that is lost.
fn complaint(socket: &str, service: &str) -> String {
    let sheet = sheet(&[("a.socket", socket), ("a@.service", service), ("a.service", service)]);
    lost(&sheet).into_iter().next().unwrap_or_default()
}

#[test]
fn the_syntax_of_unit_files() {
    let text = "# one\n; two\n\n[Socket]\n  ListenStream = 1\\\n# between\n  2 \\\\\nAccept=\n[X-Ours]\nA=b\nBroken\n[Sokcet]\nC=d\n[Open\nD=e\n";
    let mut unit = Unit::default();
    let faults = parse("f", text.as_bytes(), &mut unit);
    assert_eq!(unit.comments, [" one", " two", " between"]);
    let settings: Vec<_> = unit
        .settings
        .iter()
        .map(|s| (s.section.as_str(), s.key.as_str(), s.value.as_str(), s.place.line, s.place.column))
        .collect();
    assert_eq!(
        settings,
        [
            ("Socket", "ListenStream", "1   2 \\\\", 5, 3),
            ("Socket", "Accept", "", 8, 1),
            ("X-Ours", "A", "b", 10, 1),
            ("Sokcet", "C", "d", 13, 1)
        ]
    );
    let said: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.place, fault.text)).collect();
    assert_eq!(
        said,
        [
            "f:11:1: the line is no `Key=value`",
            "f:12:1: there is no section `[Sokcet]` in these units; did you mean `[Socket]`?",
            "f:14:1: a section is written `[Name]`; its lines are ignored",
            "f:15:1: `D=` stands in no section",
        ]
    );
}

#[test]
fn words_for_yes_and_spans_of_time() {
    assert_eq!((boolean("Yes"), boolean("off"), boolean("perhaps")), (Some(true), Some(false), None));
    for (text, wanted) in [
        ("2", Some(2_000_000)),
        ("1min 30s", Some(90_000_000)),
        ("500ms", Some(500_000)),
        ("infinity", Some(u64::MAX)),
        ("", None),
        ("2 fortnights", None),
        ("s", None),
        ("99999999999999999999s", None),
    ] {
        assert_eq!(span(text), wanted, "{text}");
    }
}

#[test]
fn a_pair_is_a_service() {
    let stanza = only(
        "[Socket]\nListenStream=127.0.0.1:70\nAccept=yes\nMaxConnections=9\nMaxConnectionsPerSource=2\nNoDelay=true\nKeepAlive=on\nFreeBind=1\n\
         IPAddressDeny=any\nIPAddressAllow=localhost 10.0.0.0/8\nPollLimitIntervalSec=2s\nPollLimitBurst=60\n[Install]\nWantedBy=sockets.target\n",
        "[Unit]\nDescription=x\n[Service]\nType=simple\nUser=nobody\nGroup=root\nEnvironment=\"A=1\" 'B=%p'\nEnvironment=A=2\nPassEnvironment=PATH\n\
         ExecStart=-/bin/sh -c ${A} $B\nStandardInput=socket\nStandardOutput=inherit\nNice=5\nUMask=027\nLimitNOFILE=64\nLimitAS=1M\n",
    );
    assert_eq!((stanza.name.as_str(), stanza.off), ("a", false));
    for (name, value) in [
        ("type", "UNLISTED"),
        ("port", "70"),
        ("bind", "127.0.0.1"),
        ("wait", "no"),
        ("user", "nobody"),
        ("group", "root"),
        ("groups", "yes"),
        ("server", "/bin/sh"),
        ("server_args", "-c 2 a"),
        ("env", "B=a A=2"),
        ("passenv", "PATH"),
        ("nice", "5"),
        ("umask", "027"),
        ("rlimit_files", "64"),
        ("rlimit_as", "1048576"),
        ("instances", "9"),
        ("per_source", "2"),
        ("cps", "30 1"),
        ("only_from", "127.0.0.0/8 ::1 10.0.0.0/8"),
        ("flags", "NOLIBWRAP NODELAY KEEPALIVE FREEBIND"),
    ] {
        assert_eq!(stanza.get(name), Some(value), "{name}");
    }
}

#[test]
fn forms_of_sockets() {
    for (socket, name, value) in [
        ("ListenStream=23\nAccept=yes", "port", Some("23")),
        ("ListenStream=0.0.0.0:23\nAccept=yes", "flags", Some("NOLIBWRAP IPv4")),
        ("ListenStream=[::]:23\nAccept=yes\nBindIPv6Only=ipv6-only", "v6only", Some("yes")),
        ("ListenDatagram=69", "wait", Some("yes")),
        ("ListenDatagram=69", "socket_type", Some("dgram")),
        ("ListenStream=69\nAccept=no", "wait", Some("yes")),
        ("ListenStream=1\nListenStream=\nListenStream=23\nAccept=yes", "port", Some("23")),
        ("ListenStream=23\nAccept=yes", "instances", Some("64")),
        ("ListenStream=23\nAccept=yes\nMaxConnections=4294967295", "instances", None),
        ("ListenStream=23\nAccept=yes\nTriggerLimitIntervalSec=0", "cps", Some("0 0")),
        ("ListenStream=23\nAccept=yes\nTriggerLimitBurst=20", "cps", Some("10 1")),
        (
            "ListenStream=23\nAccept=yes\nIPAddressDeny=10.0.0.0/8\nIPAddressAllow=10.0.0.0/9",
            "no_access",
            Some("10.128.0.0/9"),
        ),
        ("ListenStream=23\nAccept=yes\nIPAddressDeny=any", "only_from", Some("")),
        ("ListenStream=23\nAccept=yes\nIPAddressAllow=any", "only_from", None),
    ] {
        let stanza = only(&format!("[Socket]\n{socket}\n[Install]\nWantedBy=sockets.target\n"), SERVICE);
        assert_eq!(stanza.get(name), value, "{socket}");
    }
    // A name of /etc/services with its port is none of UNLISTED.
    let listed = sheet(&[("telnet.socket", &SOCKET.replace("70", "23")), ("telnet@.service", SERVICE)]);
    assert_eq!(listed.stanzas().next().unwrap().get("type"), None);
    // Several addresses are several services.
    let two = sheet(&[
        ("a.socket", &SOCKET.replace("Accept", "ListenStream=[::1]:71\nAccept")),
        ("a@.service", SERVICE),
    ]);
    let ids: Vec<_> = two.stanzas().map(|stanza| stanza.id().to_owned()).collect();
    assert_eq!(ids, ["a", "a-2"]);
}

#[test]
fn what_cannot_be_carried_over_is_named_at_its_place() {
    for (socket, service, wanted) in [
        (
            SOCKET.replace("Accept", "Priority=3\nAccept"),
            SERVICE.to_owned(),
            "/u/a.socket:3:1: `Priority=` has no counterpart",
        ),
        (
            SOCKET.replace("Accept", "MaxConections=3\nAccept"),
            SERVICE.to_owned(),
            "/u/a.socket:3:1: there is no setting `MaxConections=` in `[Socket]`; did you mean `MaxConnections=`?",
        ),
        (
            SOCKET.replace("70", "/run/x y"),
            SERVICE.to_owned(),
            "/u/a.socket:2:1: `ListenStream=`: `/run/x y` holds blanks",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}AllowedCPUs=1\n"),
            "/u/a@.service:5:1: `AllowedCPUs=` is kept by a control group of the unit's own",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}EnvironmentFile=-/etc/default/x\n"),
            "/u/a@.service:5:1: `EnvironmentFile=`: a file of variables is not read",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}Environment=\"A=b c\"\n"),
            "/u/a@.service:5:1: `Environment=`: the value of `A` holds blanks",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}StandardError=journal\n"),
            "/u/a@.service:5:1: `StandardError=`: the program's output",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}LimitNOFILE=10:20\n"),
            "/u/a@.service:5:1: `LimitNOFILE=`: soft and hard",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}[Unit]\nRequires=x.service\n"),
            "/u/a@.service:6:1: `Requires=` has no counterpart",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}ExecStart=/bin/other\n"),
            "/u/a.socket:1: `a.socket` is not carried over: it has 2 commands",
        ),
        (
            SOCKET.into(),
            SERVICE.replace("sh -c", "sh %i"),
            "/u/a.socket:1: `a.socket` is not carried over: /u/a@.service:2:1: `ExecStart=`: the specifier `%i` is another for each connection",
        ),
        (
            SOCKET.into(),
            SERVICE.replace("socket", "tty"),
            "/u/a.socket:1: `a.socket` is not carried over: `StandardInput=tty`: portreeve gives",
        ),
        (
            SOCKET.replace("=yes", "=no"),
            format!("{SERVICE}Type=forking\n"),
            "/u/a.socket:1: `a.socket` is not carried over: `Type=forking`: the program goes to the background",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}RootImage=/srv/image.raw\n"),
            "/u/a.socket:1: `a.socket` is not carried over: `RootImage=` is a file system in a file",
        ),
        (
            SOCKET.into(),
            format!("{SERVICE}RootDirectory=srv\n"),
            "/u/a.socket:1: `a.socket` is not carried over: `RootDirectory=`: `srv` is no absolute path",
        ),
        (
            SOCKET.replace("Accept=yes", "Accept=maybe"),
            SERVICE.into(),
            "/u/a.socket:1: `a.socket` is not carried over: `Accept=` is neither",
        ),
        (
            SOCKET.replace("Accept", "IPAddressDeny=nobody\nAccept"),
            SERVICE.into(),
            "/u/a.socket:1: `a.socket` is not carried over: `IPAddressDeny=`: `nobody`",
        ),
        (
            SOCKET.replace("Accept", "Service=b.service\nAccept"),
            SERVICE.into(),
            "/u/a.socket:1: `a.socket` is not carried over: there is no `b.service`",
        ),
    ] {
        let said = complaint(&socket, &service);
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn drop_ins_masks_and_order() {
    let sheet = sheet(&[
        ("a.socket", SOCKET),
        ("a@.service", SERVICE),
        ("a.socket.d/10.conf", "[Socket]\nListenStream=\nListenStream=71\n"),
        ("a@.service.d/x.conf", "[Service]\nUser=\nUser=ctf\n"),
        ("masked.socket", ""),
        ("static.socket", "[Socket]\nListenStream=72\nAccept=yes\nService=\n"),
        ("static@.service", SERVICE),
    ]);
    assert_eq!(lost(&sheet), Vec::<String>::new());
    let stanzas: Vec<_> = sheet.stanzas().collect();
    assert_eq!((stanzas[0].get("port"), stanzas[0].get("user")), (Some("71"), Some("ctf")));
    assert!(!stanzas[0].off && stanzas[1].off, "without [Install] it is off");
    assert!(to_xinetd(&sheet).contains("# masked.socket: is masked or empty\n"));
}

#[test]
fn tcpd_is_undone_and_privileges_are_kept() {
    let stanza = only(SOCKET, "[Service]\nExecStart=/usr/sbin/tcpd in.a -x\nStandardInput=socket\n");
    assert_eq!(
        (stanza.get("server"), stanza.get("server_args"), stanza.get("flags")),
        (Some("/usr/sbin/in.a"), Some("-x"), None)
    );
    let stanza =
        only(SOCKET, "[Service]\nExecStart=+/bin/sh\nStandardInput=socket\nUser=nobody\nGroup=nobody\n");
    assert_eq!((stanza.get("user"), stanza.get("group")), (Some("root"), None));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(socket in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = parse("f", &socket, &mut Unit::default());
    }

    #[test]
    fn no_values_make_it_panic(values in proptest::collection::vec("[a-z0-9:/.%$\\\\'\"\\[\\] =-]{0,12}", 12)) {
        let keys = ["ListenStream", "Accept", "MaxConnections", "IPAddressDeny", "IPAddressAllow", "TriggerLimitBurst"];
        let socket: String = keys.iter().zip(&values).map(|(key, value)| format!("{key}={value}\n")).collect();
        let keys = ["ExecStart", "User", "Environment", "LimitCPU", "Nice", "UMask"];
        let service: String = keys.iter().zip(values.iter().skip(6)).map(|(key, value)| format!("{key}={value}\n")).collect();
        let service = format!("[Service]\nStandardInput=socket\n{service}");
        let sheet = sheet(&[("a.socket", &format!("{SOCKET}[Socket]\n{socket}")), ("a@.service", &service), ("a.service", &service)]);
        let said = !lost(&sheet).is_empty();
        proptest::prop_assert!(said || sheet.stanzas().next().is_some());
        let _ = to_systemd(&sheet, &FakeHost::debian());
    }
}
