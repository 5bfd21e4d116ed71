//! Services on unix sockets: what is implied for them, and that nothing which was to keep somebody out is passed over.

use super::{FakeHost, codes, names, reading, reading_on};
use crate::{AddressMatch, Endpoint, Reading, SocketRights, SocketType};

fn section(bind: &str, more: &[&str]) -> String {
    let usual = ["socket_type = stream", "wait = no", "user = nobody", "server = /bin/sh"];
    let said = |line: &&&str| !more.iter().any(|other| other.split('=').next() == line.split('=').next());
    let bind = format!("bind = {bind}");
    let lines = usual.iter().filter(said).chain(more).copied().chain([bind.as_str()]);
    format!("service s1\n{{\n{}}}\n", lines.map(|line| format!("\t{line}\n")).collect::<String>())
}

fn read(bind: &str, more: &[&str]) -> Reading {
    reading(section(bind, more))
}

#[test]
fn a_path_or_a_name_is_all_that_is_needed() {
    let mut reading = read("/run/s1.sock @s1 @/odd%name:1", &[]);
    assert_eq!((names(&reading), codes(&reading)), (vec!["s1"], vec![]));
    let listen = reading.services.remove(0).listen.clone();
    assert_eq!((listen.port, listen.last_port, listen.protocol.clone()), (0, 0, ("unix".into(), 0)));
    assert_eq!(listen.rights, SocketRights { owner: None, group: None, mode: 0o600 });
    let places = [
        Endpoint::Path("/run/s1.sock".into()),
        Endpoint::Abstract("s1".into()),
        Endpoint::Abstract("/odd%name:1".into()),
    ];
    assert_eq!((listen.endpoints(), listen.count(), listen.is_local()), (places.to_vec(), 3, true));
    for (kind, wait) in [("seqpacket", "no"), ("seqpacket", "yes"), ("dgram", "yes"), ("stream", "yes")] {
        let lines = [format!("socket_type = {kind}"), format!("wait = {wait}")];
        let reading = read("/run/s", &lines.each_ref().map(String::as_str));
        assert_eq!(names(&reading), ["s1"], "{kind} {wait}: {:?}", reading.diagnostics);
    }
    // What INTERNAL and UNLISTED ask for elsewhere is about ports.
    let internal =
        "service echo\n{\ntype = INTERNAL UNLISTED\nsocket_type = stream\nwait = no\nbind = @e\n}\n";
    assert_eq!(names(&reading_on(FakeHost::debian(), internal)), ["echo"]);
}

#[test]
fn rights() {
    let mut reading = read(
        "/run/s",
        &["socket_mode = 660", "socket_owner = nobody", "socket_group = 7", "type = UNLISTED"],
    );
    let rights = reading.services.remove(0).listen.rights;
    assert_eq!(rights, SocketRights { owner: Some(65534), group: Some(7), mode: 0o660 });
    for line in [
        "socket_mode = 1777",
        "socket_mode = 8",
        "socket_mode = rw",
        "socket_owner = nope",
        "socket_group = nope",
    ] {
        assert!(names(&read("/run/s", &[line])).is_empty(), "{line}");
    }
}

#[test]
fn what_is_no_place() {
    let long = format!("/{}", "x".repeat(107));
    let name = format!("@{}", "x".repeat(108));
    for bind in ["/", "/run/", "//run/s", "/run//s", "/run/../s", "/run/./s", "@", &long, &name] {
        let reading = read(bind, &[]);
        assert_eq!((names(&reading), codes(&reading)), (vec![], vec!["bad-address"]), "{bind}");
    }
    assert_eq!(names(&read(&long[..107], &[])), ["s1"]);
    assert_eq!(names(&read(&name[..108], &[])), ["s1"]);
    let file = b"service s1\n{\n\tsocket_type = stream\n\twait = no\n\tuser = nobody\n\tserver = /bin/sh\n\tbind = /run/a\0b\n}\n";
    let reading = reading_on(FakeHost::debian(), file);
    assert_eq!(codes(&reading), ["nul"], "the line ends there, as everywhere");
}

#[test]
fn nothing_about_addresses_is_passed_over() {
    for lines in [
        &["only_from = 127.0.0.1"][..],
        &["only_from ="],
        &["no_access = 127.0.0.1"],
        &["port = 7"],
        &["protocol = tcp"],
        &["v6only = yes"],
        &["flags = IPv4"],
        &["flags = SENSOR"],
        &["flags = IDONLY"],
        &["log_on_success = USERID"],
        &["log_on_failure = USERID"],
        &["socket_type = raw", "wait = yes"],
        &["socket_type = dgram"],
        &["type = RPC", "rpc_version = 1"],
        &["type = TCPMUX UNLISTED", "protocol = tcp"],
        &["proxy_protocol = accept", "proxy_from = 127.0.0.1"],
        &["tls_cert = /etc/cert"],
        &["redirect = 127.0.0.1 80", "transparent = yes"],
    ] {
        let reading = read("/run/s", lines);
        assert_eq!((names(&reading), codes(&reading)), (vec![], vec!["unix-socket"]), "{lines:?}");
        assert!(reading.diagnostics[0].help.is_some(), "{lines:?}");
    }
    for line in ["socket_mode = 600", "socket_owner = 0", "socket_group = 0"] {
        assert_eq!(codes(&read("@name", &[line])), ["unix-socket"], "{line}");
        let inet = ["type = UNLISTED", "port = 7000", "protocol = tcp", line];
        assert_eq!(codes(&read("127.0.0.1", &inet)), ["unix-socket"], "{line}");
    }
    assert_eq!(codes(&read("/run/s 127.0.0.1", &[])), ["unix-socket"]);
    let datagrams = section("/run/s", &["type = INTERNAL", "socket_type = dgram", "wait = yes"]);
    assert_eq!(codes(&reading(datagrams.replace("service s1", "service echo"))), ["unix-socket"]);
    let mux = section("/run/s", &["type = INTERNAL"]).replace("service s1", "service tcpmux");
    assert_eq!(codes(&reading(mux)), ["unix-socket"]);
}

#[test]
fn rules_of_the_tables_must_be_out_of_play() {
    let with_rules = |flags: &[&str]| {
        let mut host = FakeHost::debian();
        host.rules = true;
        reading_on(host, section("/run/s", flags))
    };
    assert_eq!(codes(&with_rules(&[])), ["unix-socket"]);
    assert_eq!(names(&with_rules(&["flags = NOLIBWRAP"])), ["s1"]);
}

#[test]
fn lists_of_defaults_are_for_others_and_that_is_said() {
    let text = format!(
        "defaults\n{{\n\tonly_from = 10.0.0.0/8\n\tno_access = 10.1.0.0/16\n}}\n{}{}",
        section("/run/s", &[]),
        super::stream("s2", 2000, "")
    );
    let reading = reading(text);
    assert_eq!((names(&reading), codes(&reading)), (vec!["s1", "s2"], vec!["unix-lists"]));
    let [local, inet] = &reading.services[..] else { panic!() };
    assert_eq!((&local.limits.only_from, &local.no_access), (&None, &None));
    let list = inet.limits.only_from.as_ref().expect("its list");
    assert!(matches!(list[0].matches, AddressMatch::V4(_)));
    assert_eq!(inet.listen.socket, SocketType::Stream);
}
