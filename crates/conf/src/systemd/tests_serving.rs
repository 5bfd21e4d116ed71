//! Directories of units as they are served: which are on, what each comes to, and how grave what is missing is.

use super::tests::{SERVICE, SOCKET};
use crate::testing::FakeHost;
use crate::{Endpoint, Reading, Severity, Sources};
use std::path::PathBuf;

/// Directories and files; the first directory wins.
fn host(files: &[(&str, &str)]) -> FakeHost {
    let mut host = FakeHost::debian();
    for (path, text) in files {
        host.file(path, text);
    }
    let paths: Vec<PathBuf> = host.files.keys().chain(host.links.keys()).cloned().collect();
    for path in paths {
        add(&mut host, path);
    }
    host
}

/// The entries of the directories around a file.
fn add(host: &mut FakeHost, path: PathBuf) {
    let mut path = path;
    let mut regular = true;
    while let (Some(parent), Some(name)) = (path.parent().map(PathBuf::from), path.file_name()) {
        let name = name.as_encoded_bytes().to_vec();
        let entries = host.directories.entry(parent.clone()).or_default();
        if !entries.iter().any(|entry| entry.name == name) {
            entries.push(crate::DirEntry { name, regular });
        }
        regular = false;
        path = parent;
    }
}

fn link(host: &mut FakeHost, path: &str, to: &str, text: &str) {
    host.file(path, text);
    host.links.insert(path.into(), to.into());
    add(host, path.into());
}

fn read(host: &FakeHost) -> Reading {
    let units =
        ["/e", "/l"].map(PathBuf::from).into_iter().filter(|d| host.directories.contains_key(d)).collect();
    crate::read_sources(host, &Sources { units, ..Sources::default() })
}

fn said(reading: &Reading, severity: Severity) -> Vec<String> {
    let of = reading.diagnostics.iter().filter(|d| d.severity == severity);
    of.map(|d| format!("{}: {}", d.place.as_ref().map(ToString::to_string).unwrap_or_default(), d.message))
        .collect()
}

fn ports(reading: &Reading) -> Vec<(String, u16)> {
    reading.services.iter().map(|s| (s.id.to_string(), s.listen.port)).collect()
}

#[test]
fn each_value_stands_at_its_line() {
    let host = host(&[
        (
            "/e/a.socket",
            "[Socket]\nListenStream=70\nAccept=yes\nMaxConnections=3\nIPAddressDeny=any\nIPAddressAllow=10.0.0.0/8\n[Install]\nWantedBy=sockets.target\n",
        ),
        ("/l/a@.service", SERVICE),
        ("/e/a.socket.d/x.conf", "[Socket]\nMaxConnectionsPerSource=2\n"),
    ]);
    let reading = read(&host);
    assert_eq!(said(&reading, Severity::Error), Vec::<String>::new());
    let [service] = reading.services.as_slice() else { panic!("{:#?}", reading.left_out) };
    let place = |place: &Option<crate::Place>| place.as_ref().map(ToString::to_string).unwrap_or_default();
    assert_eq!(place(&service.limits.instances.place), "/e/a.socket:4:1");
    assert_eq!(place(&service.limits.per_source.place), "/e/a.socket.d/x.conf:2:1");
    assert_eq!(place(&service.limits.only_from_place), "/e/a.socket:5:1");
    let files: Vec<_> = reading.files.iter().map(|file| file.display().to_string()).collect();
    assert_eq!(files, ["/e/a.socket", "/e/a.socket.d/x.conf", "/l/a@.service"]);
}

#[test]
fn what_is_enabled_is_served() {
    let mut host = host(&[
        ("/l/a.socket", SOCKET),
        ("/l/a@.service", SERVICE),
        ("/l/b.socket", &SOCKET.replace("70", "71")),
        ("/l/b@.service", "[Service]\nDynamicUser=yes\nProtectHome=yes\n"),
        ("/l/static.socket", "[Socket]\nListenStream=72\nAccept=yes\n"),
        ("/l/static@.service", SERVICE),
    ]);
    // Without links the section [Install] decides.
    assert_eq!(ports(&read(&host)), [("a".to_owned(), 70)]);
    link(&mut host, "/e/sockets.target.wants/static.socket", "/l/static.socket", "");
    let reading = read(&host);
    assert_eq!(ports(&reading), [("static".to_owned(), 72)]);
    let off: Vec<_> =
        reading.left_out.iter().map(|l| (l.id.as_str(), l.intended, l.reason.as_str())).collect();
    assert_eq!(off, [("a", true, "the unit is not enabled"), ("b", true, "the unit is not enabled")]);
    assert_eq!(said(&reading, Severity::Error), Vec::<String>::new(), "of what is off nothing is said");
}

#[test]
fn aliases_masks_and_instances() {
    let mut host = host(&[
        ("/l/a.socket", SOCKET),
        ("/l/a@.service", SERVICE),
        ("/l/masked.socket", &SOCKET.replace("70", "71")),
        ("/l/t@.socket", &SOCKET.replace("70", "127.0.0.1:%i")),
        ("/l/t@.service", SERVICE),
        ("/e/alias.socket.d/x.conf", "[Socket]\nMaxConnections=5\n"),
        ("/l/masked.socket.d/x.conf", "[Socket]\nListenStream=99\n"),
    ]);
    link(&mut host, "/e/alias.socket", "/l/a.socket", SOCKET);
    link(&mut host, "/e/masked.socket", "/dev/null", "");
    for wanted in ["alias", "masked", "t@7001", "t@7002"] {
        link(&mut host, &format!("/e/sockets.target.wants/{wanted}.socket"), "/l/x", "");
    }
    let reading = read(&host);
    assert_eq!(
        ports(&reading),
        [("a".to_owned(), 70), ("t@7001".to_owned(), 7001), ("t@7002".to_owned(), 7002)],
        "{:#?}",
        reading.left_out
    );
    assert_eq!(reading.services[0].limits.instances.value, Some(5), "the drop-ins of an alias count");
}

/// As systemd 252 orders them (`systemd-analyze verify` names the files).
#[test]
fn drop_ins_of_beginnings_and_types() {
    let max = |number: u32| format!("[Socket]\nMaxConnections={number}\n");
    let (one, two, three, four) = (max(1), max(2), max(3), max(4));
    let all = [
        ("/l/foo-bar-baz.socket", SOCKET),
        ("/l/foo-bar-baz@.service", SERVICE),
        ("/e/socket.d/50.conf", one.as_str()),
        ("/l/foo-.socket.d/50.conf", &two),
        ("/l/foo-bar-baz.socket.d/50.conf", &three),
        ("/e/foo-bar-.socket.d/50.conf", &four),
    ];
    // The name's own come before the type's, and the first directory before the nearer name.
    for (without, wanted) in [(6, 4), (5, 3), (4, 2), (3, 1), (2, 64)] {
        let reading = read(&host(&all[..without]));
        assert_eq!(reading.services[0].limits.instances.value, Some(wanted), "{without}");
    }
    // Another name comes in its order, wherever it lies.
    let later = [&all[..], &[("/l/socket.d/60.conf", one.as_str())]].concat();
    assert_eq!(read(&host(&later)).services[0].limits.instances.value, Some(1));
    // A template's beginnings are for each of its instances.
    let users = [
        ("/l/foo-bar.socket", SOCKET),
        ("/l/foo-bar@.service", SERVICE),
        ("/e/foo-.service.d/1.conf", "[Service]\nUser=ctf\n"),
    ];
    let reading = read(&host(&users));
    assert_eq!(reading.services[0].ids.user.as_ref().map(|user| user.uid), Some(1000));
}

#[test]
fn sockets_by_sd_listen_fds() {
    let service = "[Service]\nExecStart=/bin/sh -c x\nUser=nobody\n";
    let of = |listen: &str| {
        let socket = format!("[Socket]\n{listen}\n[Install]\nWantedBy=sockets.target\n");
        read(&host(&[("/e/a.socket", &socket), ("/e/a.service", service), ("/e/a@.service", service)]))
    };
    let reading = of("ListenStream=127.0.0.1:70\nListenStream=[::1]:70");
    let [one] = reading.services.as_slice() else { panic!("{:#?}", reading.left_out) };
    assert_eq!((one.listen_fds.as_deref(), one.wait), (Some("a.socket"), true));
    let places: Vec<String> = one.listen.endpoints().iter().map(Endpoint::to_string).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    let reading = of("ListenDatagram=127.0.0.1:70\nListenDatagram=127.0.0.1:71\nFileDescriptorName=web");
    let one = &reading.services[0];
    assert_eq!((one.listen_fds.as_deref(), one.listen.port, one.listen.last_port), (Some("web"), 70, 71));
    let reading = of("ListenStream=70\nAccept=yes");
    assert_eq!(reading.services[0].listen_fds.as_deref(), Some("connection"));
    for several in ["ListenStream=70\nListenDatagram=70", "ListenStream=70\nListenStream=127.0.0.1:80"] {
        let reading = of(several);
        assert!(reading.services.is_empty() && !reading.left_out[0].intended);
        assert!(said(&reading, Severity::Error)[0].contains("`a.socket` is not served: one program"));
    }
}

#[test]
fn several_places_are_one_service_where_they_can_be() {
    let of = |listen: &str| {
        let socket = format!("[Socket]\n{listen}\nAccept=yes\n[Install]\nWantedBy=sockets.target\n");
        let reading = read(&host(&[("/e/a.socket", &socket), ("/e/a@.service", SERVICE)]));
        let places = |s: &crate::Service| {
            let bind: Vec<_> = s.listen.bind.iter().map(|bind| bind.text.clone()).collect();
            format!("{}-{} {}", s.listen.port, s.listen.last_port, bind.join(" "))
        };
        reading.served().map(places).collect::<Vec<_>>()
    };
    assert_eq!(of("ListenStream=70\nListenStream=71\nListenStream=73"), ["70-71 ", "73-73 "]);
    assert_eq!(of("ListenStream=127.0.0.1:70\nListenStream=[::1]:70"), ["70-70 127.0.0.1 ::1"]);
    assert_eq!(of("ListenStream=70\nBindToDevice=eth0"), ["70-70 %eth0"]);
    assert_eq!(of("ListenStream=127.0.0.1:70\nBindToDevice=eth0"), ["70-70 127.0.0.1%eth0"]);
    assert_eq!(
        of("BindIPv6Only=ipv6-only\nListenStream=0.0.0.0:70\nListenStream=[::]:70"),
        ["70-70 0.0.0.0 ::"]
    );
}

/// Every setting is carried, or named, and how grave it is follows from what it keeps.
#[test]
fn every_setting_is_accounted_for() {
    let socket = SOCKET.replace("Accept", "Mark=3\nBacklog=5\nSmackLabel=x\nTimeoutSec=3\nAccept");
    let service = format!(
        "{SERVICE}NoNewPrivileges=yes\nPrivateTmp=no\nSyslogIdentifier=x\nType=oneshot\nRestart=no\nStartupCPUWeight=3\nProtectsystem=full\nIPAddressDeny=any\n\
         X-Ours=1\nEmpty=\n[Unit]\nDescription=d\nAfter=x\nConditionPathExists=/x\n[Install]\nAlso=y.socket\n"
    );
    let reading = read(&host(&[("/e/a.socket", &socket), ("/e/a@.service", &service)]));
    let sandbox = reading.services[0].sandbox.as_ref().unwrap();
    assert_eq!(sandbox.words, ["NoNewPrivileges", "IPAddressDeny=any"]);
    assert_eq!(
        said(&reading, Severity::Error),
        [
            "/e/a.socket:5:1: `SmackLabel=` has no counterpart in portreeve: without it more is allowed than under systemd",
            "/e/a@.service:11:1: there is no setting `Protectsystem=` in `[Service]`; did you mean `ProtectSystem=`?",
            "/e/a@.service:18:1: `ConditionPathExists=` has no counterpart in portreeve: without it more is allowed than under systemd",
        ]
    );
    assert_eq!(
        said(&reading, Severity::Warning),
        [
            "/e/a.socket:3:1: `Mark=` has no counterpart in portreeve",
            "/e/a.socket:4:1: `Backlog=` has no counterpart in portreeve",
            "/e/a@.service:10:1: `StartupCPUWeight=` has no counterpart in portreeve",
        ]
    );
    let notes = said(&reading, Severity::Note).join("\n");
    for told in [
        "socket:6:1: `TimeoutSec=`",
        ":6:1: `PrivateTmp=`: asks for nothing",
        ":7:1: `SyslogIdentifier=`",
        ":8:1: `Type=`",
        ":9:1: `Restart=`",
        ":17:1: `After=`",
        ":20:1: `Also=`",
    ] {
        assert!(notes.contains(told), "{told} in\n{notes}");
    }
}

#[test]
fn behind_the_main_file_its_defaults_hold() {
    let mut host = host(&[("/e/a.socket", SOCKET), ("/e/a@.service", SERVICE), ("/e/b.socket", SOCKET)]);
    host.file("/c", "defaults\n{\n\tonly_from = 192.0.2.0/24\n\tcps = 7 3\n}\n");
    let sources = Sources { units: vec!["/e".into()], ..Sources::xinetd("/c") };
    let reading = crate::read_sources(&host, &sources);
    let [service] = reading.services.as_slice() else { panic!("{:#?}", reading.left_out) };
    assert_eq!((service.limits.cps.value, service.limits.only_from.is_some()), ((7, 3), true));
    assert!(reading.left_out[0].reason.starts_with("there is no `b@.service`"), "{:?}", reading.left_out);
    let none = Sources { units: vec!["/missing".into()], ..Sources::default() };
    assert!(crate::read_sources(&host, &none).fatal.is_some());
}

/// No unit is written that would not be read.
#[test]
fn what_is_no_interface_is_in_no_unit() {
    let written = |bind: &str| {
        let line = format!("{bind}:telnet stream tcp nowait root /usr/bin/a a\n");
        let sheet = crate::convert::from_inetd("i", line.as_bytes(), "/usr/sbin");
        let (files, notes) = super::to_systemd(&sheet, &FakeHost::debian());
        let bound =
            files.iter().flat_map(|file| file.text.lines()).find(|line| line.starts_with("BindToDevice"));
        (
            bound.map(str::to_owned),
            notes.iter().any(|note| note.lost && note.text.contains("no name of an interface")),
        )
    };
    assert_eq!(written("%eth0"), (Some("BindToDevice=eth0".to_owned()), false));
    for odd in ["%so%st", "%", "%a/b", "%abcdefghijklmnop"] {
        assert_eq!(written(odd), (None, true), "{odd}");
    }
}
