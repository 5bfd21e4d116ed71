//! Reference xinetd §1.3, §1.4, §2.2, §2.3: what makes a service complete, and where it then listens.

use super::{FakeHost, codes, log, names, reading, reading_on, service, stream};
use crate::{Action, Builtin, FamilyFlag, SocketType, Target};

/// A section with exactly these lines.
fn only(name: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("\t{line}\n")).collect();
    format!("service {name}\n{{\n{lines}}}\n")
}

#[test]
fn missing_attributes_are_named_in_xinetds_order() {
    for (lines, messages) in [
        (
            vec!["server = /bin/sh", "socket_type = stream"],
            vec!["missing attribute wait", "missing attribute user"],
        ),
        (
            vec!["type = UNLISTED", "port = 1", "server = /bin/sh"],
            vec![
                "missing attribute wait",
                "missing attribute socket_type",
                "missing attribute protocol",
                "missing attribute user",
            ],
        ),
        (vec!["type = INTERNAL", "protocol = tcp"], vec!["missing attribute wait"]),
    ] {
        let reading = reading(only("echo", &lines));
        let want: Vec<String> =
            messages.iter().map(|text| format!("Error: Service echo {text} - DISABLING")).collect();
        assert_eq!(log(&reading), want, "{lines:?}");
        assert!(codes(&reading).iter().all(|code| *code == "missing-attribute"));
        assert_eq!(reading.left_out[0].name, "echo");
    }
}

#[test]
fn what_keeps_a_service_out() {
    let listed = ["socket_type = stream", "wait = no", "user = root", "server = /bin/sh"];
    let with = |lines: &[&'static str]| [&listed[..], lines].concat();
    for (name, lines, message) in [
        ("s1", vec!["wait = no"], "Must specify a server in s1"),
        ("s1", with(&["flags = NAMEINARGS"]), "Must specify server args if using NAMEINARGS flag"),
        (
            "s1",
            vec![
                "socket_type = stream",
                "wait = no",
                "user = root",
                "redirect = 127.0.0.1 80",
                "flags = NAMEINARGS",
            ],
            "Must specify server args if using NAMEINARGS flag",
        ),
        ("s1", with(&["type = UNLISTED"]), "Unlisted service: s1 must have a port entry"),
        ("s1", with(&[]), "Port not specified and can't find service: s1 with getservbyname"),
        ("s1", vec!["server = /bin/sh"], "Port not specified for service: s1 and no protocol given"),
        ("s1", with(&["port = 5"]), "service/protocol combination not in /etc/services: s1/tcp"),
        (
            "s1",
            vec!["server = /bin/sh", "port = 5"],
            "A protocol or a socket_type must be specified for service: s1.",
        ),
        ("telnet", with(&["port = 20101"]), "Service telnet expects port 23, not 20101"),
        (
            "servers",
            vec!["type = INTERNAL UNLISTED", "port = 1", "socket_type = dgram"],
            "No such internal service: servers/dgram - DISABLING",
        ),
        (
            "echo",
            vec!["type = INTERNAL UNLISTED", "port = 1", "socket_type = raw"],
            "No such internal service: echo/raw - DISABLING",
        ),
        (
            "echo",
            vec!["type = INTERNAL", "socket_type = stream", "flags = NAMEINARGS"],
            "Service echo is INTERNAL and has NAMEINARGS flag set",
        ),
        (
            "telnet",
            with(&["log_on_success = TRAFFIC"]),
            "Service telnet should not have TRAFFIC flag set since its not redirected",
        ),
        ("telnet", with(&["type = TCPMUX"]), "Service: telnet (tcpmux) should have UNLISTED in type."),
        ("nosuch", with(&["type = RPC"]), "unknown RPC service: nosuch"),
        (
            "echo",
            vec!["type = INTERNAL", "socket_type = stream", "flags = LABELED"],
            "Internal services cannot support labeled networking: echo",
        ),
    ] {
        let reading = reading(only(name, &lines));
        assert_eq!(log(&reading), [format!("Error: {message}")], "{name} {lines:?}");
        assert_eq!(reading.services, []);
    }
}

#[test]
fn socket_type_and_protocol_imply_each_other_and_the_port() {
    let listen = |name: &str, line: &str| {
        let wait = if line.contains("udp") || line.contains("dgram") { "wait = yes" } else { "wait = no" };
        reading(only(name, &[line, wait, "user = root", "server = /bin/sh"]))
            .services
            .remove(0)
            .listen
            .clone()
    };
    for line in ["socket_type = stream", "protocol = tcp"] {
        let listen = listen("telnet", line);
        assert_eq!(
            (listen.socket, listen.protocol.clone(), listen.port),
            (SocketType::Stream, ("tcp".into(), 6), 23)
        );
    }
    for line in ["socket_type = dgram", "protocol = udp"] {
        let listen = listen("tftp", line);
        assert_eq!(
            (listen.socket, listen.protocol.clone(), listen.port),
            (SocketType::Dgram, ("udp".into(), 17), 69)
        );
    }
}

#[test]
fn built_ins_go_by_name_and_sensors_by_flag() {
    let action = |name: &str, lines: &[&str]| {
        let lines = [&["socket_type = stream", "wait = no", "port = 5"], lines].concat();
        let reading = reading(only(name, &lines));
        assert_eq!(reading.left_out, [], "{name}");
        (reading.services[0].action.clone(), reading.services[0].types.iter().collect::<Vec<_>>())
    };
    let internal = ["type = INTERNAL UNLISTED"];
    assert_eq!(action("ECHO", &internal).0, Action::Internal(Builtin::Echo));
    assert_eq!(action("time", &internal).0, Action::Internal(Builtin::Time));
    let sensor = action("ssh", &["type = INTERNAL UNLISTED", "flags = SENSOR", "deny_time = 5"]);
    assert_eq!(sensor, (Action::Sensor, vec!["INTERNAL", "UNLISTED"]));
    let sensor = action("ssh", &["type = UNLISTED", "flags = SENSOR", "user = root", "server = /bin/sh"]);
    assert_eq!(sensor, (Action::Sensor, vec!["INTERNAL", "UNLISTED"]));
}

#[test]
fn redirects_take_an_address_or_a_name() {
    let redirect = |value: &str| {
        let line = format!("redirect = {value}");
        let lines = ["type = UNLISTED", "socket_type = stream", "wait = no", "port = 5", "user = root"];
        let reading = reading(only("proxy", &[&lines[..], &[&line, "log_on_success = TRAFFIC"]].concat()));
        assert_eq!(reading.left_out, [], "{value}");
        reading.services[0].clone()
    };
    let host = |host: &str, addresses: &[&str]| Target::Host {
        host: host.to_owned(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let path = |path: &str| Target::Path(path.to_owned());
    for (value, targets, shown) in [
        ("192.0.2.7 80", vec![host("192.0.2.7", &["192.0.2.7:80"])], "192.0.2.7:80"),
        ("2001:db8::7 80", vec![host("2001:db8::7", &["[2001:db8::7]:80"])], "[2001:db8::7]:80"),
        ("localhost ftp", vec![host("localhost", &["127.0.0.1:21"])], "localhost:21"),
        ("two.example 443", vec![host("two.example", &["192.0.2.1:443"])], "two.example:443"),
        ("/run/x.sock", vec![path("/run/x.sock")], "/run/x.sock"),
        (
            "192.0.2.7 80 unix:/run/x.sock localhost 21 # three",
            vec![
                host("192.0.2.7", &["192.0.2.7:80"]),
                path("/run/x.sock"),
                host("localhost", &["127.0.0.1:21"]),
            ],
            "192.0.2.7:80 /run/x.sock localhost:21",
        ),
    ] {
        let words: Vec<String> = targets.iter().map(Target::to_string).collect();
        assert_eq!(words.join(" "), shown);
        assert_eq!(redirect(value).action, Action::Redirect(targets), "{value}");
    }
    let service = redirect("192.0.2.7 80");
    assert_eq!((service.wrap_name.as_str(), service.idle_timeout), ("proxy", 86_400));
    assert!(service.listen.nodelay);
}

#[test]
fn nameinargs_works_in_either_order() {
    for lines in
        ["\tflags = NAMEINARGS\n\tserver_args = tcpd -v\n", "\tserver_args = tcpd -v\n\tflags = NAMEINARGS\n"]
    {
        let service = service(lines);
        let Action::External { server, argv } = service.action else { panic!() };
        assert_eq!((server.as_str(), argv), ("/bin/sh", vec!["tcpd".into(), "-v".into()]));
        assert_eq!(service.wrap_name, "tcpd");
    }
    let Action::External { argv, .. } = service("\tserver_args = -v\n").action else { panic!() };
    assert_eq!(argv, ["sh", "-v"]);
}

#[test]
fn the_name_for_hosts_allow() {
    assert_eq!(service("\tlibwrap = foo\n").wrap_name, "foo");
    assert_eq!(service("\tflags = NAMEINARGS\n\tserver_args = /usr/sbin/in.x -v\n").wrap_name, "in.x");
    let reading =
        reading(only("daytime", &["type = INTERNAL", "socket_type = stream", "wait = no", "id = d1"]));
    assert_eq!((reading.services[0].id.as_str(), reading.services[0].wrap_name.as_str()), ("d1", "daytime"));
}

#[test]
fn bind_and_the_family_flags() {
    let listen = |lines: &str| {
        let service = service(lines);
        let address = |listen: &crate::Listen| match listen.bind.first()?.to {
            crate::BindTo::Inet { address, .. } => Some(address?.to_string()),
            _ => None,
        };
        (address(&service.listen), service.listen.family, service.flags.iter().collect::<Vec<_>>())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(listen(""), (None, FamilyFlag::Unset, vec!["IPv6"]));
    assert_eq!(listen("\tbind = 127.0.0.1\n"), (some("127.0.0.1"), FamilyFlag::Unset, vec!["IPv4"]));
    assert_eq!(listen("\tinterface = ::1\n"), (some("::1"), FamilyFlag::Unset, vec!["IPv6"]));
    assert_eq!(listen("\tbind = localhost\n"), (some("127.0.0.1"), FamilyFlag::Unset, vec!["IPv4"]));
    assert_eq!(listen("\tflags = ipv4\n"), (None, FamilyFlag::V4, vec!["IPv4"]));
    assert_eq!(listen("\tbind = two.example\n"), (some("2001:db8::1"), FamilyFlag::Unset, vec!["IPv6"]));
    let v4 = listen("\tbind = two.example\n\tflags = IPv4\n");
    assert_eq!(v4, (some("192.0.2.1"), FamilyFlag::V4, vec!["IPv4"]));
    let both = reading(stream("s1", 2000, "\tflags = IPv4 IPv6\n"));
    assert_eq!(log(&both), ["Info: Service s1 will use IPv6 or fallback to IPv4"]);
    assert_eq!(
        (both.services[0].listen.family, both.services[0].flags.join(" ")),
        (FamilyFlag::V6, "IPv6".to_owned())
    );
}

#[test]
fn several_addresses_ports_and_interfaces() {
    let places = |lines: &str| {
        let listen = service(lines).listen;
        let places: Vec<String> = listen.endpoints().iter().map(ToString::to_string).collect();
        assert_eq!(places.len(), listen.count(), "{lines}");
        (places.join(" "), listen.summary())
    };
    let row = |lines: &str, expected: (&str, &str)| {
        assert_eq!(places(lines), (expected.0.to_owned(), expected.1.to_owned()), "{lines}");
    };
    row("\tbind = 127.0.0.1 ::1\n", ("127.0.0.1:2000 [::1]:2000", "127.0.0.1:2000 [::1]:2000"));
    row("\tbind = %eth0\n", ("[::]%eth0:2000", "[::]%eth0:2000"));
    row(
        "\tinterface = %eth0.7 127.0.0.1%lo\n\tflags = IPv4\n",
        ("0.0.0.0%eth0.7:2000 127.0.0.1%lo:2000", "0.0.0.0%eth0.7:2000 127.0.0.1%lo:2000"),
    );
    row("\tbind = fe80::1%eth0\n", ("[fe80::1]%eth0:2000", "[fe80::1]%eth0:2000"));
    row(
        "\tbind = 127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 # all\n",
        (
            "127.0.0.1:2000 127.0.0.2:2000 127.0.0.3:2000 127.0.0.4:2000",
            "127.0.0.1:2000 127.0.0.2:2000 127.0.0.3:2000 and 1 more",
        ),
    );
    let range = reading(stream("s1", 2000, "\tbind = 127.0.0.1 ::1\n").replace("= 2000", "= 2000-2001"));
    let listen = &range.services[0].listen;
    assert_eq!((listen.port_text(), listen.count()), ("2000-2001".to_owned(), 4));
    assert_eq!(listen.summary(), "127.0.0.1:2000-2001 [::1]:2000-2001");
}

#[test]
fn v6only_means_what_it_says() {
    for (line, on) in [("", false), ("\tv6only = no\n", false), ("\tv6only = yes\n", true)] {
        assert_eq!(service(line).listen.v6only, on, "{line}");
    }
    let text = format!("defaults\n{{\n\tv6only = yes\n}}\n{}", stream("s1", 2000, ""));
    assert!(reading(text).services[0].listen.v6only);
}

#[test]
fn duplicates_in_xinetds_words() {
    let bound = "\tbind = 127.0.0.1\n";
    let same_id = reading(stream("s1", 2000, bound) + &stream("s1", 2000, bound));
    assert_eq!(log(&same_id), ["Error: service: s1 id: s1 not unique or is a duplicate - DISABLING"]);
    let other = reading(stream("s1", 2000, bound) + &stream("s2", 2000, ""));
    assert_eq!(
        log(&other),
        ["Error: service: s2 id: s2 is unique but its identical to service: s1 id: s1 - DISABLING"]
    );
    assert_eq!(names(&other), ["s1"]);
    // Without `bind` xinetd finds out at bind(2).
    let late = reading(stream("s1", 2000, "") + &stream("s2", 2000, bound));
    assert_eq!(log(&late), ["Error: Service s2 failed to start and is deactivated."]);
    let one_off = reading(stream("s1", 2000, "\tdisable = yes\n") + &stream("s1", 2000, ""));
    assert_eq!(names(&one_off), ["s1"]);
    let two_addresses = reading(stream("s1", 2000, bound) + &stream("s2", 2000, "\tbind = 127.0.0.2\n"));
    assert_eq!(names(&two_addresses), ["s1", "s2"]);
}

#[test]
fn the_same_id_on_two_ports_is_told() {
    let reading = reading(stream("s1", 2000, "") + &stream("s2", 2001, "\tid = S1\n"));
    assert_eq!((names(&reading), codes(&reading)), (vec!["s1", "s2"], vec!["same-id"]));
}

#[test]
fn the_ident_service_asks_no_idents() {
    let lines = "\tlog_on_success = USERID HOST\n\tlog_on_failure = USERID\n";
    let reading = reading(stream("ident", 113, lines));
    assert!(!reading.services[0].log_success.userid && reading.services[0].log_success.host);
    assert_eq!(
        log(&reading),
        [
            "Warning: ident service: clearing USERID option from log_on_success",
            "Warning: ident service: clearing USERID option from log_on_failure",
        ]
    );
}

#[test]
fn a_bad_service_never_harms_another() {
    let host = FakeHost::debian();
    let text =
        stream("bad", 2000, "\tuser = ghost\n").replace("\tuser = nobody\n", "") + &stream("good", 2001, "");
    let reading = reading_on(host, text);
    assert_eq!(names(&reading), ["good"]);
    assert_eq!(reading.left_out[0].reason, "there is no user `ghost`");
}

#[test]
fn what_tells_of_this_host_listens_on_loopback_unless_told_otherwise() {
    for (name, lines, wanted) in [
        ("servers", "", "127.0.0.1:7000"),
        ("Services", "\tflags = IPv6\n", "[::1]:7000"),
        ("xadmin", "\tflags = IPv4 IPv6\n", "127.0.0.1:7000"),
        ("xadmin", "\tbind = 192.0.2.7\n", "192.0.2.7:7000"),
        ("xadmin", "\tbind = ::\n", "[::]:7000"),
        ("echo", "", "[::]:7000"),
    ] {
        let entry = format!(
            "service {name}\n{{\n\ttype = INTERNAL UNLISTED\n\tport = 7000\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n{lines}}}\n"
        );
        let reading = reading(entry);
        let places: Vec<_> = reading.services.iter().map(|service| service.listen.summary()).collect();
        assert_eq!(places, [wanted], "{name} {lines}{:?}", reading.diagnostics);
    }
}
