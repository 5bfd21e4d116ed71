//! Units with unix sockets: where they listen, who may connect, and that systemd's defaults are kept and told.

use super::from_systemd;
use crate::convert::{Sheet, Stanza};
use crate::testing::FakeHost;
use std::path::PathBuf;

const SERVICE: &str = "[Service]\nExecStart=/bin/sh\nUser=nobody\n";
const BY_INPUT: &str = "[Service]\nExecStart=/bin/sh\nStandardInput=socket\nUser=nobody\n";

fn sheet(listen: &str, service: &str) -> Sheet {
    let mut host = FakeHost::debian();
    host.directory("/u", &[("a.socket", true), ("a@.service", true), ("a.service", true)]);
    host.directory("/run", &[]);
    host.file("/u/a.socket", format!("[Socket]\n{listen}\n[Install]\nWantedBy=sockets.target\n"));
    host.file("/u/a.service", service);
    host.file("/u/a@.service", service);
    from_systemd(&host, &[PathBuf::from("/u")]).unwrap()
}

fn place(stanza: &Stanza) -> String {
    let of = |name| stanza.get(name).unwrap_or("-");
    let [kind, bind, owner, group, mode] =
        ["socket_type", "bind", "socket_owner", "socket_group", "socket_mode"].map(of);
    for name in ["port", "protocol", "type", "v6only"] {
        assert_eq!(stanza.get(name), None, "{name}");
    }
    format!("{kind} {bind} {owner}:{group} {mode}")
}

fn places(listen: &str) -> Vec<String> {
    let sheet = sheet(listen, SERVICE);
    assert!(sheet.notes.iter().all(|note| !note.lost), "{:#?}", sheet.notes);
    sheet.stanzas().map(place).collect()
}

fn told(listen: &str, what: &str) -> bool {
    sheet(listen, SERVICE).notes.iter().any(|note| !note.lost && note.text.contains(what))
}

#[test]
fn where_and_for_whom() {
    for (listen, wanted) in [
        ("ListenStream=/run/a\nAccept=yes", &["stream /run/a -:- 666"][..]),
        ("ListenStream=%t/%p.sock", &["stream /run/a.sock -:- 666"]),
        ("ListenStream=/run//a/./b/\nSocketMode=600", &["stream /run/a/b -:- 600"]),
        ("ListenStream=@a//b", &["stream @a//b -:- -"]),
        ("ListenStream=@a%%b", &["stream @a%b -:- -"]),
        ("ListenSequentialPacket=/run/a\nSocketMode=0600", &["seqpacket /run/a -:- 600"]),
        ("ListenDatagram=/run/a\nSocketUser=nobody\nSocketMode=0640", &["dgram /run/a nobody:65534 640"]),
        (
            "ListenStream=/run/a\nSocketUser=0\nSocketGroup=nobody\nSocketMode=660",
            &["stream /run/a 0:nobody 660"],
        ),
        ("ListenStream=/run/a\nListenStream=/run/b\nSocketMode=660", &["stream /run/a /run/b -:- 660"]),
        ("ListenStream=/run/a\nListenStream=@b\nAccept=yes", &["stream /run/a -:- 666", "stream @b -:- -"]),
        ("ListenStream=/run/a\nListenStream=\nListenStream=/run/b\nAccept=yes", &["stream /run/b -:- 666"]),
    ] {
        assert_eq!(places(listen), wanted, "{listen}");
    }
}

#[test]
fn beside_a_port() {
    let sheet = sheet(
        "ListenStream=70\nListenStream=/run/a\nIPAddressDeny=any\nIPAddressAllow=10.0.0.0/8\nMaxConnections=3\nAccept=yes",
        SERVICE,
    );
    let of = |name| sheet.stanzas().map(|stanza| stanza.get(name)).collect::<Vec<_>>();
    assert_eq!(of("bind"), [None, Some("/run/a")]);
    assert_eq!(of("only_from"), [Some("10.0.0.0/8"), None], "the kernel's filter asks unix sockets nothing");
    assert_eq!(of("instances"), [Some("3"), Some("3")]);
    assert!(
        sheet.notes.iter().any(|note| !note.lost && note.text.contains("does not hold for the unix socket"))
    );
}

#[test]
fn what_is_wide_or_missing_is_told() {
    assert!(told("ListenStream=/run/a", "everybody on this host may connect, as under systemd"));
    assert!(!told("ListenStream=/run/a\nSocketMode=0666", "everybody"));
    assert!(!told("ListenStream=@a", "everybody"));
    assert!(told("ListenStream=/nowhere/a", "the directory `/nowhere` is not there"));
    assert!(!told("ListenStream=/run/a", "is not there"));
    assert!(told("ListenStream=/run/a\nDirectoryMode=0700", "makes no directories"));
    assert!(told("ListenStream=/run/a\nRemoveOnStop=no", "removes the file"));
    assert!(!told("ListenStream=/run/a\nRemoveOnStop=yes", "removes the file"));
    assert!(told("ListenStream=@a\nSocketMode=0600", "this socket has none"));
    let lost = |listen: &str, service: &str| {
        let sheet = sheet(listen, service);
        sheet.notes.into_iter().filter(|note| note.lost).map(|note| note.text).collect::<Vec<_>>().join("\n")
    };
    assert!(
        lost("ListenStream=/run/a\nSymlinks=/run/b", SERVICE)
            .contains("`Symlinks=`: portreeve makes no links")
    );
    assert!(lost("ListenStream=/run/a\nSocketUser=gone", SERVICE).contains("write `socket_group`"));
    for (listen, service) in [
        ("ListenStream=/run/a\nSocketMode=1666", SERVICE),
        ("ListenStream=/run/a\nSocketMode=rw", SERVICE),
        ("ListenStream=/run/a\nSocketGroup=a b", SERVICE),
        ("ListenSequentialPacket=70", SERVICE),
        ("ListenDatagram=/run/a\nAccept=yes", SERVICE),
        // One program, and portreeve hands it the sockets of one kind of place.
        ("ListenStream=/run/a\nListenStream=@b", SERVICE),
        ("ListenStream=/run/a\nListenStream=70", SERVICE),
        ("ListenStream=/run/a\nListenStream=/run/b", BY_INPUT),
    ] {
        assert!(lost(listen, service).contains("is not carried over"), "{listen}");
        assert_eq!(sheet(listen, service).stanzas().count(), 0, "{listen}");
    }
}
