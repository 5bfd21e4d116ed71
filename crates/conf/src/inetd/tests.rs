//! The forms of the dialects, each with what it comes to in xinetd's language; and the real files, line by line.

use super::{Entry, Families, Item, ItemKind, Limits, Name, Problem, Server, parse};
use crate::convert::{from_inetd, to_xinetd};
use crate::{InetdUse, Sources};
use std::path::Path;

fn only(line: &str) -> Entry {
    let listing = parse(line.as_bytes());
    match listing.items.into_iter().map(|item| item.kind).next() {
        Some(ItemKind::Service(entry)) => *entry,
        other => panic!("{line}: {other:?}"),
    }
}

fn problem(line: &str) -> String {
    match parse(line.as_bytes()).items.pop().map(|item| item.kind) {
        Some(ItemKind::Broken { problem, .. }) => problem.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn names_and_addresses() {
    let named = |service: &str, protocol: &str| {
        let entry = only(&format!("{service} stream {protocol} nowait root /bin/x x"));
        (entry.address, entry.name)
    };
    let port = |text: &str| Name::Port(text.to_owned());
    assert_eq!(named("ftp", "tcp"), (None, port("ftp")));
    assert_eq!(named("127.0.0.1:8080", "tcp"), (Some("127.0.0.1".into()), port("8080")));
    assert_eq!(named("[::1]:comsat", "tcp6"), (Some("::1".into()), port("comsat")));
    assert_eq!(named("*:ftp", "tcp"), (None, port("ftp")));
    assert_eq!(named("/run/a.sock", "unix"), (None, Name::Path("/run/a.sock".into())));
    assert_eq!(
        named("rstatd/1-3", "rpc/udp"),
        (None, Name::Rpc { program: "rstatd".into(), versions: (1, 3) })
    );
    assert_eq!(named("tcpmux/+go", "tcp"), (None, Name::Mux { name: "go".into(), plus: true }));
    let owned = only(":bin:bin:0600:/run/b stream unix nowait root /bin/x x");
    assert_eq!(
        (owned.name, owned.socket_mode.as_deref()),
        (Name::Path("/run/b".into()), Some("bin:bin:0600"))
    );
}

#[test]
fn an_address_line_holds_until_the_next() {
    let listing =
        parse(b"10.0.0.1:\na stream tcp nowait root internal\n*:\nb stream tcp nowait root internal\n");
    let addresses = listing.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Service(entry) => Some(entry.address.as_deref()),
        _ => None,
    });
    assert_eq!(addresses.collect::<Vec<_>>(), [Some("10.0.0.1"), None]);
}

#[test]
fn protocols_and_extras() {
    let read = |socket: &str, protocol: &str| {
        let entry = only(&format!("a {socket} {protocol} nowait root internal"));
        (entry.protocol, entry.families, entry.extras)
    };
    assert_eq!(read("stream", "tcp"), ("tcp".into(), Families::Unsaid, vec![]));
    assert_eq!(read("stream", "tcp46"), ("tcp".into(), Families::Both, vec![]));
    assert_eq!(read("dgram", "udp6"), ("udp".into(), Families::V6, vec![]));
    let buffers = vec!["sndbuf=8k".to_owned(), "httpready".to_owned()];
    assert_eq!(read("stream:httpready", "tcp4,sndbuf=8k"), ("tcp".into(), Families::V4, buffers));
}

#[test]
fn waiting_and_its_limits() {
    let limits = |word: &str| {
        let entry = only(&format!("a stream tcp {word} root internal"));
        (entry.wait, entry.limits)
    };
    let none = Limits::default();
    assert_eq!(limits("wait"), (true, none));
    assert_eq!(limits("nowait.400"), (false, Limits { starts_a_minute: Some(400), ..none }));
    assert_eq!(limits("wait:100"), (true, Limits { starts_a_minute: Some(100), ..none }));
    let all = Limits { at_once: Some(10), from_one_a_minute: Some(20), from_one_at_once: Some(5), ..none };
    assert_eq!(limits("nowait/10/20/5"), (false, all));
}

#[test]
fn users_groups_and_classes() {
    let ids = |word: &str| {
        let entry = only(&format!("a stream tcp nowait {word} internal"));
        (entry.user, entry.group.unwrap_or_default(), entry.class.unwrap_or_default())
    };
    let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(ids("root"), three("root", "", ""));
    assert_eq!(ids("nobody.tty"), three("nobody", "tty", ""));
    assert_eq!(ids("j.doe:staff/slow"), three("j.doe", "staff", "slow"));
}

#[test]
fn quotes_and_continuations() {
    let entry = only("a stream tcp nowait root /bin/sh sh -c \"cat; sleep 1\"\n\t'x y'  z\n");
    let Server::Program { argv, .. } = entry.server else { panic!() };
    assert_eq!(argv, ["sh", "-c", "cat; sleep 1", "x y", "z"]);
    let listing = parse(b"a stream tcp nowait root internal\n  b stream tcp nowait root internal\n");
    assert_eq!(listing.items.len(), 2, "an indented service is no argument of the one above");
}

#[test]
fn a_broken_line_says_what_is_missing() {
    assert_eq!(problem("ftp stream tcp nowait root"), "the line ends before the server program");
    assert_eq!(problem("ftp stream tcp nowait"), "the line ends before the user");
    assert!(
        problem("ftp stream tcp nowwait root /x x").starts_with("`nowwait` is no wait/nowait: expected wait")
    );
    assert!(problem("a strem tcp nowait root /x x").starts_with("`strem` is no socket type"));
    assert!(problem("r stream rpc/tcp nowait root /x x").starts_with("`r` is no service"));
    assert_eq!(problem("a stream tcp nowait root /x 'x"), Problem::OpenQuote.to_string());
}

fn xinetd(text: &str) -> (String, Vec<(bool, String)>) {
    let sheet = from_inetd("inetd.conf", text.as_bytes(), "/usr/sbin");
    let (sections, notes) = (to_xinetd(&sheet), sheet.notes);
    (sections, notes.into_iter().map(|note| (note.lost, note.text)).collect())
}

#[test]
fn a_service_in_xinetds_language() {
    let (text, notes) = xinetd("# files\nftp stream tcp nowait/9/0/2 root:wheel /usr/sbin/tcpd in.ftpd -l\n");
    let expected = "# files\nservice ftp\n{\n\tsocket_type     = stream\n\tprotocol        = tcp\n\twait            = no\n\
        \tuser            = root\n\tgroup           = wheel\n\tgroups          = yes\n\tinstances       = 9\n\
        \tper_source      = 2\n\tserver          = /usr/sbin/in.ftpd\n\
        \tserver_args     = -l\n}\n";
    assert_eq!(text, expected);
    assert_eq!(notes.len(), 1);
    assert!(!notes[0].0 && notes[0].1.starts_with("tcpd is not needed"));
}

#[test]
fn what_is_switched_off_stays_off_and_what_is_lost_is_said() {
    let (text, notes) = xinetd(
        "#<off>#echo stream tcp nowait root internal\necho dgram udp wait root internal\n\
         9 stream tcp6 nowait.30 nobody /bin/x y\n/run/s stream unix nowait root /bin/x x\n#@ ah/require\n",
    );
    assert!(text.contains("\tid              = echo-stream\n\ttype            = INTERNAL\n"), "{text}");
    assert!(text.contains("\tdisable         = yes\n}\n\nservice echo\n"), "{text}");
    assert!(text.contains("\tflags           = IPv6 NOLIBWRAP NAMEINARGS\n"), "{text}");
    assert!(text.contains("\tserver          = /bin/x\n\tserver_args     = y\n"), "{text}");
    let lost: Vec<_> = notes.iter().filter(|(lost, _)| *lost).map(|(_, text)| text.as_str()).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].contains("IPsec"));
    assert!(text.contains("\tstarts_per_minute = 30\n"), "{text}");
    assert!(
        text.contains("service /run/s\n{\n\tbind            = /run/s\n\tsocket_type     = stream\n\twait "),
        "{text}"
    );
    assert!(notes.iter().any(|(_, text)| text.contains("only the daemon's own user")));
    let (text, notes) = xinetd(":bin:daemon:0660:/run/s stream unix wait root /bin/x x\n");
    for line in [
        "bind            = /run/s",
        "socket_owner    = bin",
        "socket_group    = daemon",
        "socket_mode     = 0660",
    ] {
        assert!(text.contains(&format!("\t{line}\n")), "{text}");
    }
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn each_address_of_a_line_is_a_section() {
    let (text, notes) = xinetd("127.0.0.1,192.0.2.7:ftp stream tcp nowait root /bin/x x\n# end\n");
    let of = |word: &str| {
        text.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of("\tbind"), ["\tbind            = 127.0.0.1", "\tbind            = 192.0.2.7"]);
    assert_eq!(of("\tid"), ["\tid              = ftp-stream", "\tid              = ftp-stream-2"]);
    assert!(text.ends_with("}\n# end\n") && notes.is_empty(), "{text}");
}

/// Each line of each real file is in one item; a service in xinetd's language reads as one.
#[test]
fn real_files_lose_no_line() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/inetd");
    let Ok(files) = std::fs::read_dir(corpus) else { return };
    let mut services = 0;
    for file in files {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let listing = parse(&text);
        let mut next = 1;
        for item in &listing.items {
            assert_eq!(item.lines.first, next);
            next = item.lines.last + 1;
            services += usize::from(matches!(item.kind, ItemKind::Service(_)));
        }
        assert_eq!(next as usize - 1, String::from_utf8_lossy(&text).lines().count());
        let sections = to_xinetd(&from_inetd("inetd.conf", &text, "/usr/sbin"));
        let (read, wrong) = crate::parse_file("converted", sections.as_bytes());
        assert!(wrong.is_empty(), "{wrong:?}");
        let written = sections.lines().filter(|line| line.starts_with("service ")).count();
        assert_eq!(read.items.len(), written);
    }
    assert!(services > 500, "{services}");
}

/// Whatever stands in the file, the result does not drive a terminal.
#[test]
fn control_bytes_are_not_carried_over() {
    let (text, notes) = xinetd(
        "# \x1b[2J\nbad\x1b]0;x\x07 line\na stream tcp nowait ro\x1bot /bin/x x\nb\x1b stream tcp nowait root /bin/x x\n",
    );
    assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
    assert!(text.contains("# \\x1b[2J\n") && !text.contains("service"), "{text:?}");
    assert_eq!(notes.iter().filter(|(lost, _)| *lost).count(), 3, "{notes:?}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(text in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = to_xinetd(&from_inetd("", &text, ""));
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec("[a-z0-9:/.#@'\"\\[\\]+, \n\t-]{0,12}", 0..40)) {
        let _ = to_xinetd(&from_inetd("", words.join(" ").as_bytes(), "/d"));
    }
}

fn read(host: &crate::testing::FakeHost, main: Option<&Path>, inetd: &str) -> crate::Reading {
    crate::read_sources(host, &Sources::named(main, Some(Path::new(inetd)), &[]).unwrap())
}

#[test]
fn what_the_command_line_says_holds_for_all_programs() {
    let mut host = crate::testing::FakeHost::debian();
    host.file(
        "/etc/inetd.conf",
        "telnet stream tcp nowait root /bin/sh sh\necho stream tcp nowait root internal\n",
    );
    for (usage, tables, few) in [
        (InetdUse::default(), false, false),
        (InetdUse { tables: true, few_variables: true, ..InetdUse::default() }, true, true),
    ] {
        let reading = crate::read_sources(&host, &Sources::of_inetd("/etc/inetd.conf", usage));
        assert_eq!(reading.services.len(), 2, "{:#?}", reading.diagnostics);
        assert_eq!(reading.services[0].nolibwrap, !tables);
        assert!(reading.services[1].nolibwrap);
        assert_eq!(reading.services[0].environment.is_some(), few);
        let added = reading.log.iter().filter(|line| line.text.starts_with("added service "));
        let added: Vec<_> = added.map(|line| line.text.as_str()).collect();
        let wanted = ["telnet", "echo"].map(|name| format!("added service {name} [file=/etc/inetd.conf]"));
        assert!(
            added.iter().zip(&wanted).all(|(line, wanted)| line.starts_with(wanted.as_str())),
            "{added:?}"
        );
        assert_eq!(added.len(), 2);
    }
}

#[test]
fn an_inetd_conf_is_served() {
    let mut host = crate::testing::FakeHost::debian();
    host.file("/etc/inetd.conf", "#<off>#ftp stream tcp nowait root /bin/sh sh\ntelnet stream tcp nowait root /usr/sbin/tcpd in.telnetd -h\necho stream tcp nowait root internal\necho dgram udp wait root internal\n7777 stream tcp6 nowait ctf /bin/sh challenge -i\nbroken stream\n");
    let reading = read(&host, None, "/etc/inetd.conf");
    let ids: Vec<_> = reading.services.iter().map(|service| service.id.as_str()).collect();
    assert_eq!(ids, ["telnet", "echo-stream", "echo-dgram", "7777"], "{:#?}", reading.diagnostics);
    let telnet = &reading.services[0];
    assert_eq!((telnet.place.line, telnet.nolibwrap), (2, false));
    assert_eq!(telnet.listen.family, crate::FamilyFlag::Unset);
    let challenge = &reading.services[3];
    assert_eq!((challenge.listen.port, challenge.nolibwrap, challenge.listen.v6only), (7777, true, true));
    let crate::Action::External { argv, .. } = &challenge.action else { panic!() };
    assert_eq!(argv.as_slice(), ["challenge", "-i"]);
    let lost: Vec<_> = reading.diagnostics.iter().filter(|d| d.code == "inetd-lost").collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].place.as_ref().map(|place| place.line), Some(6));
}

#[test]
fn served_are_both_families_unless_a_line_beside_has_ipv6() {
    use crate::FamilyFlag::{Unset, V4, V6};
    let mut host = crate::testing::FakeHost::debian();
    let line = |word: &str, protocol: &str| format!("{word} stream {protocol} nowait root /bin/sh sh\n");
    for (text, families) in [
        (line("telnet", "tcp"), &[(Unset, false)][..]),
        (line("telnet", "tcp4"), &[(V4, false)]),
        (line("telnet", "tcp46"), &[(V6, false)]),
        (line("telnet", "tcp") + &line("telnet", "tcp6"), &[(V4, false), (V6, true)]),
        (line("127.0.0.1:telnet", "tcp"), &[(Unset, false)]),
    ] {
        host.file("/etc/inetd.conf", &text);
        let reading = read(&host, None, "/etc/inetd.conf");
        let got = reading.services.iter().map(|s| (s.listen.family, s.listen.v6only)).collect::<Vec<_>>();
        assert_eq!(got, families, "{text} {:#?}", reading.diagnostics);
    }
}

#[test]
fn the_first_argument_is_the_name_as_written() {
    let mut host = crate::testing::FakeHost::debian();
    for (line, wanted) in [
        ("/bin/sh /bin/sh -i", ["/bin/sh", "-i"]),
        ("/bin/sh sh -i", ["sh", "-i"]),
        ("/bin/sh -sh -i", ["-sh", "-i"]),
        ("/usr/sbin/tcpd /bin/sh -i", ["sh", "-i"]),
    ] {
        host.file("/etc/inetd.conf", format!("telnet stream tcp nowait root {line}\n"));
        let reading = read(&host, None, "/etc/inetd.conf");
        let crate::Action::External { argv, .. } = &reading.services[0].action else { panic!() };
        assert_eq!(argv.as_slice(), wanted, "{line}");
    }
}

/// Each service of each real file is served, left out with a reason, or told of, at its line.
#[test]
fn real_files_are_served_line_by_line() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/inetd");
    let Ok(files) = std::fs::read_dir(&corpus) else {
        return println!("no {}: nothing to read", corpus.display());
    };
    let (mut served, mut left_out) = (0, 0);
    for file in files {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let mut host = crate::testing::FakeHost::debian();
        host.file("/etc/inetd.conf", &text);
        let reading = read(&host, None, "/etc/inetd.conf");
        assert!(reading.fatal.is_none());
        let told = || reading.diagnostics.iter().filter_map(|d| d.place.as_ref());
        let places = reading.services.iter().map(|s| &s.place);
        let lines: std::collections::BTreeSet<u32> =
            places.chain(reading.left_out.iter().map(|l| &l.place)).chain(told()).map(|p| p.line).collect();
        for item in parse(&text).items {
            if matches!(item.kind, ItemKind::Service(_) | ItemKind::Broken { .. } | ItemKind::Policy(_)) {
                assert!(lines.contains(&item.lines.first), "{item:?}");
            }
        }
        assert!(reading.left_out.iter().all(|l| !l.reason.is_empty() && !l.intended));
        served += reading.services.len();
        left_out += reading.left_out.len();
    }
    assert!(served > 40 && left_out > 100, "{served} served, {left_out} left out");
}

#[test]
fn behind_the_main_file_its_defaults_hold() {
    let mut host = crate::testing::FakeHost::debian();
    host.file("/etc/xinetd.conf", "defaults\n{\n\tinstances = 3\n\tonly_from = 192.0.2.0/24\n}\n");
    host.file("/etc/inetd.conf", "telnet stream tcp nowait root /usr/sbin/in.telnetd in.telnetd\n");
    let main = Path::new("/etc/xinetd.conf");
    let reading = read(&host, Some(main), "/etc/inetd.conf");
    assert_eq!(reading.services.len(), 1, "{:#?}", reading.diagnostics);
    assert_eq!(reading.services[0].limits.instances.value, Some(3));
    assert!(reading.services[0].limits.only_from.is_some());
    let reading = read(&host, Some(main), "/etc/missing");
    assert!(reading.fatal.is_some());
    let mut sources = Sources::named(Some(main), Some(Path::new("/etc/missing")), &[]).unwrap();
    sources.inetd.as_mut().unwrap().optional = true;
    let reading = crate::read_sources(&host, &sources);
    assert!(reading.fatal.is_none());
    assert_eq!(reading.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(), ["inetd-missing"]);
}

#[test]
fn there_is_no_port_zero() {
    let listing = parse(b"0 stream tcp nowait root /bin/sh sh\n000 stream tcp nowait root /bin/sh sh\n");
    let broken = |item: &Item| matches!(item.kind, ItemKind::Broken { .. });
    assert_eq!(listing.items.iter().filter(|item| broken(item)).count(), 2, "{:?}", listing.items);
}
