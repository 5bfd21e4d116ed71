//! Round trips: what was not named as lost reads back as the same service. And the real files: nothing of them goes missing.

use super::{Note, Piece, Sheet, from_inetd, from_xinetd, to_inetd, to_xinetd};
use crate::systemd::{from_systemd, to_systemd};
use crate::testing::FakeHost;
use crate::{Action, Reading, Service};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MAIN: &str = "/etc/xinetd.conf";

fn host(text: &str) -> FakeHost {
    let mut host = FakeHost::debian();
    host.programs.extend(["/usr/bin/a", "/usr/bin/b-1"].map(PathBuf::from));
    host.file(MAIN, text);
    host
}

fn read(host: &FakeHost) -> Reading {
    crate::read(host, Path::new(MAIN))
}

fn sheet(text: &str) -> Sheet {
    from_xinetd(&host(text), Path::new(MAIN)).unwrap()
}

/// A host that has the units as files.
fn with_units(sheet: &Sheet) -> (FakeHost, Vec<Note>) {
    let mut host = FakeHost::debian();
    let (files, notes) = to_systemd(sheet, &host);
    let names: Vec<(&str, bool)> = files.iter().map(|file| (file.name.as_str(), true)).collect();
    host.directory("/units", &names);
    for file in &files {
        host.file(&format!("/units/{}", file.name), &file.text);
    }
    (host, notes)
}

/// A service as comparable parts, each under the attribute it comes from.
fn parts(service: &Service) -> BTreeMap<&'static str, String> {
    let external = matches!(service.action, Action::External { .. });
    let addresses = |list: &crate::AddressList| {
        format!(
            "{:?}",
            list.as_ref().map(|list| list.iter().map(|entry| entry.matches.clone()).collect::<Vec<_>>())
        )
    };
    let mut parts = BTreeMap::from([
        ("name", service.name.to_string()),
        ("id", service.id.to_string()),
        ("server", format!("{:?}", service.action)),
        ("socket_type", format!("{:?}", service.listen.socket)),
        ("protocol", format!("{:?}", service.listen.protocol)),
        ("port", format!("{}-{}", service.listen.port, service.listen.last_port)),
        ("listen_fds", format!("{:?}", service.listen_fds)),
        ("starts_per_minute", format!("{:?}", service.starts_per_minute.value)),
        ("source_starts_per_minute", format!("{:?}", service.source_starts_per_minute.value)),
        ("bind", format!("{:?}", service.listen.bind)),
        ("v6only", format!("{:?}", service.listen.v6only)),
        ("wait", service.wait.to_string()),
        ("instances", format!("{:?}", service.limits.instances.value)),
        ("per_source", format!("{:?}", service.limits.per_source.value)),
        ("per_source_prefix", format!("{:?}", service.per_source_prefix.value)),
        ("cps", format!("{:?}", service.limits.cps.value)),
        ("overload", format!("{:?}", service.overload.value)),
        ("max_load", format!("{:?}", service.max_load.as_ref().map(|set| set.value))),
        ("access_times", format!("{:?}", service.access_times.as_ref().map(|set| set.value.clone()))),
        ("only_from", addresses(&service.limits.only_from)),
        ("no_access", addresses(&service.no_access)),
        ("nice", format!("{:?}", service.nice)),
        ("umask", format!("{:?}", service.umask)),
        ("rlimit_as", format!("{:?}", service.rlimits.address_space)),
        ("rlimit_cpu", format!("{:?}", service.rlimits.cpu_seconds)),
        ("rlimit_files", format!("{:?}", service.rlimits.files)),
        ("env", format!("{:?}", service.env_added)),
        ("passenv", format!("{:?}", service.passenv)),
        ("banner", format!("{:?}", service.banner)),
        ("log_type", format!("{:?}", service.log_type)),
        ("log_on_success", format!("{:?}", service.log_success)),
        ("log_on_failure", format!("{:?}", service.log_failure)),
        ("on_remove", format!("{:?}", service.on_remove)),
        ("stop", format!("{:?}", service.stop)),
    ]);
    let flags = (
        service.listen.family,
        service.listen.nodelay,
        service.listen.keepalive,
        service.listen.freebind,
        service.noretry,
    );
    parts.insert("flags", format!("{flags:?} {}", service.nolibwrap));
    if !service.nolibwrap {
        parts.insert("libwrap", service.wrap_name.to_string());
    }
    if service.listen.is_local() {
        // Without a word it is the daemon's own, which is root here.
        let rights = service.listen.rights;
        parts.insert("socket_owner", rights.owner.unwrap_or(0).to_string());
        parts.insert("socket_group", rights.group.unwrap_or(0).to_string());
        parts.insert("socket_mode", format!("{:o}", rights.mode));
    }
    // A built-in service has no process of its own.
    if external {
        let ids = &service.ids;
        parts.insert("user", format!("{:?}", ids.user.as_ref().map(|user| user.uid)));
        parts.insert("group", format!("{:?}", ids.gid));
        parts.insert("groups", ids.groups_yes.to_string());
    }
    parts
}

/// Holds the services before against those after, by the ids that the notes allow.
fn compare(
    text: &str,
    before: &Reading,
    after: &Reading,
    notes: &[Note],
    converted: &str,
) -> Result<(), TestCaseError> {
    let bound = |service: &Service| {
        let address = format!("{:?}", service.listen.bind);
        let four = address.contains("127.0.0.1");
        // IPv4 has no v6only.
        (address, service.listen.v6only && !four && service.listen.family != crate::FamilyFlag::V4)
    };
    for service in &before.services {
        let named: BTreeSet<&str> = notes
            .iter()
            .filter(|note| note.service.as_deref() == Some(service.id.as_str()))
            .filter_map(|note| note.about.as_deref())
            .collect();
        let gone = notes.iter().any(|note| {
            note.lost
                && note.service.as_deref() == Some(service.id.as_str())
                && note.text.contains("is not carried over")
        });
        let off = notes.iter().any(|note| {
            note.service.as_deref() == Some(service.id.as_str()) && note.text.contains("switched off")
        });
        let same = after.services.iter().find(|other| {
            other.id == service.id
                || named.contains("id")
                    && (other.listen.port, bound(other)) == (service.listen.port, bound(service))
        });
        let Some(other) = same else {
            // xinetd refuses a wildcard behind a `bind` and not before it, and files of units have no order.
            let clash =
                |left: &crate::LeftOut| left.id == service.id && left.reason.contains("listens where");
            if after.left_out.iter().any(clash) {
                continue;
            }
            prop_assert!(
                gone || off,
                "{} is missing:\n{text}\n{converted}\n{notes:#?}\n{:#?}",
                service.id,
                after.diagnostics
            );
            continue;
        };
        prop_assert!(
            !gone && !off,
            "{} was told gone or off and is served:\n{text}\n{converted}",
            service.id
        );
        let other = parts(other);
        for (name, value) in parts(service) {
            let same = other.get(name) == Some(&value);
            // What tcpd asks for follows from flags.
            let free = named.contains(name)
                || name == "libwrap" && named.contains("flags")
                || name == "id" && named.contains("name");
            prop_assert!(
                same || free,
                "`{name}` of {}: {value} became {:?}, unnamed:\n{text}\n{converted}\n{notes:#?}",
                service.id,
                other.get(name)
            );
        }
    }
    prop_assert!(after.services.len() <= before.services.len());
    Ok(())
}

/// A line of a section, and `None` for none.
fn attribute() -> impl Strategy<Value = Vec<String>> {
    let pick = |name: &'static str, values: &'static [&'static str]| {
        proptest::option::weighted(0.25, proptest::sample::select(values))
            .prop_map(move |value| value.map(|v| format!("{name} = {v}")))
    };
    let first = (
        pick("instances", &["0", "1", "7", "UNLIMITED"]),
        pick("per_source", &["0", "3", "UNLIMITED"]),
        pick("cps", &["0 0", "25 1", "100 30"]),
        pick(
            "only_from",
            &["", "10.0.0.0/8", "192.0.2.0 2001:db8::/32", "localhost", "10.1.{2,3}", "0.0.0.0"],
        ),
        pick("no_access", &["10.1.0.0/16", "10.0.0.1", ".example.org", "::/0"]),
        pick("access_times", &["8:00-17:00"]),
        pick(
            "flags",
            &[
                "NOLIBWRAP",
                "REUSE IPv4",
                "IPv6 NOLIBWRAP",
                "KEEPALIVE NODELAY",
                "FREEBIND",
                "IDONLY",
                "NORETRY NOLIBWRAP",
                "SENSOR",
            ],
        ),
        pick(
            "bind",
            &[
                "127.0.0.1",
                "::1",
                "127.0.0.1 127.0.0.2",
                "%eth0",
                "192.0.2.1%eth0 2001:db8::1%eth0",
                "%eth0 127.0.0.1",
            ],
        ),
        pick("v6only", &["yes", "no"]),
        pick("group", &["nobody", "1000"]),
    );
    let second = (
        pick("groups", &["yes", "no"]),
        pick("nice", &["5", "-30"]),
        pick("umask", &["027"]),
        pick("env", &["A=1 B=x$y", "PCT=%n Q=\"a"]),
        pick("passenv", &["", "PATH HOME"]),
        pick("rlimit_as", &["8M", "UNLIMITED", "0"]),
        pick("rlimit_cpu", &["30"]),
        pick("max_load", &["2.5"]),
        pick("libwrap", &["other"]),
        pick("per_source_prefix", &["24 48"]),
    );
    let third = (
        pick("banner", &["/etc/issue"]),
        pick("log_type", &["SYSLOG daemon info", "FILE /var/log/x"]),
        pick("log_on_success", &["HOST PID", "HOST USERID"]),
        pick("overload", &["close"]),
        pick("on_remove", &["drain"]),
        pick("disable", &["yes", "no"]),
        pick("deny_time", &["10"]),
        pick("rlimit_files", &["100"]),
        pick("starts_per_minute", &["30", "UNLIMITED"]),
        pick("source_starts_per_minute", &["7"]),
    );
    (first, second, third).prop_map(|(a, b, c)| {
        let a = [a.0, a.1, a.2, a.3, a.4, a.5, a.6, a.7, a.8, a.9];
        let b = [b.0, b.1, b.2, b.3, b.4, b.5, b.6, b.7, b.8, b.9];
        let c = [c.0, c.1, c.2, c.3, c.4, c.5, c.6, c.7, c.8, c.9];
        a.into_iter().chain(b).chain(c).flatten().collect()
    })
}

fn service() -> impl Strategy<Value = String> {
    let core = proptest::sample::select(
        &[
            "service telnet\n{\n\twait = no\n\tsocket_type = stream\n\tuser = root\n\tserver = /bin/sh\n",
            "service telnet\n{\n\tid = second\n\twait = no\n\tprotocol = tcp\n\tuser = nobody\n\tserver = /bin/sh\n\tserver_args = -c $X %i \"q\n",
            "service clustercheck\n{\n\ttype = UNLISTED\n\tport = 9200\n\twait = no\n\tsocket_type = stream\n\tuser = ctf\n\tserver = /usr/bin/a\n\tserver_args = ; 'x' #c\n",
            "service tftp\n{\n\twait = yes\n\tsocket_type = dgram\n\tuser = root\n\tserver = /usr/sbin/in.tftpd\n\tserver_args = -s /srv\n",
            "service named\n{\n\ttype = UNLISTED\n\tport = 7000\n\twait = no\n\tsocket_type = stream\n\tuser = 1000\n\tserver = /usr/bin/b-1\n\tflags = NAMEINARGS\n\tserver_args = -zero one\\ two\n",
            "service echo\n{\n\ttype = INTERNAL\n\twait = no\n\tsocket_type = stream\n",
            "service range\n{\n\ttype = UNLISTED\n\tport = 7100-7102\n\twait = no\n\tsocket_type = stream\n\tuser = root\n\tserver = /usr/bin/a\n\tlisten_fds = connection\n",
            "service passed\n{\n\ttype = UNLISTED\n\tport = 7200-7201\n\twait = yes\n\tsocket_type = stream\n\tuser = root\n\tserver = /usr/bin/a\n\tlisten_fds = web\n\tflags = NOLIBWRAP\n",
            "service acceptor\n{\n\ttype = UNLISTED\n\tport = 7001\n\twait = yes\n\tsocket_type = stream\n\tuser = root\n\tflags = NOLIBWRAP\n\tserver = /usr/bin/a\n",
            "service local\n{\n\tbind = /run/local%n.sock\n\tsocket_type = stream\n\twait = no\n\tuser = nobody\n\tserver = /usr/bin/a\n",
            "service owned\n{\n\tbind = /run/owned\n\tsocket_mode = 660\n\tsocket_owner = nobody\n\tsocket_type = seqpacket\n\twait = no\n\tuser = root\n\tserver = /usr/bin/a\n",
            "service grouped\n{\n\tbind = /run/g1 /run/g2\n\tsocket_mode = 620\n\tsocket_group = 1000\n\tsocket_type = dgram\n\twait = yes\n\tuser = root\n\tserver = /usr/bin/a\n\tlisten_fds = g\n",
            "service lines\n{\n\tbind = /run/lines\n\tsocket_mode = 606\n\tsocket_owner = nobody\n\tsocket_group = nobody\n\tsocket_type = stream\n\twait = yes\n\tuser = root\n\tserver = /usr/bin/a\n",
            "service abstract\n{\n\tbind = @abstract\n\tsocket_type = stream\n\twait = no\n\tuser = root\n\tserver = /usr/bin/a\n",
        ][..],
    );
    (core, attribute()).prop_map(|(core, lines)| {
        let lines = lines
            .iter()
            .filter(|line| !core.contains(&format!("\t{}", line.split('=').next().unwrap_or(""))))
            .map(|line| format!("\t{line}\n"));
        format!("{core}{}}}\n", lines.collect::<String>())
    })
}

fn configuration() -> impl Strategy<Value = String> {
    let defaults = proptest::option::of(proptest::sample::select(
        &[
            "defaults\n{\n\tinstances = 9\n\tonly_from = 10.0.0.0/8\n\tv6only = yes\n\tlog_on_failure = USERID\n\tlog_type = SYSLOG daemon\n}\n",
            "defaults\n{\n\tper_source = 4\n\tdisabled = telnet\n\tcps = 30 1\n}\n",
        ][..],
    ));
    (defaults, proptest::collection::vec(service(), 1..4)).prop_map(|(defaults, services)| {
        // Services of one id are told apart by nothing.
        let mut ids = BTreeSet::new();
        let id = |text: &str| (text.lines().next().unwrap_or("").to_owned(), text.contains("id = second"));
        let services: String = services.into_iter().filter(|text| ids.insert(id(text))).collect();
        format!("{}{services}", defaults.unwrap_or(""))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn laid_out_it_is_the_same_configuration(text in configuration()) {
        let sheet = sheet(&text);
        let laid_out = to_xinetd(&sheet);
        let (before, after) = (read(&host(&text)), read(&host(&laid_out)));
        compare(&text, &before, &after, &[], &laid_out)?;
        prop_assert_eq!(before.services.len(), after.services.len(), "{}\n{}", text, laid_out);
    }

    #[test]
    fn by_way_of_inetd(text in configuration(), tables: bool) {
        let (lines, notes) = to_inetd(&sheet(&text), tables);
        let back = from_inetd("inetd.conf", lines.as_bytes(), "/usr/sbin");
        let back = to_xinetd(&back);
        compare(&text, &read(&host(&text)), &read(&host(&back)), &notes, &lines)?;
    }

    #[test]
    fn by_way_of_systemd(text in configuration(), tables: bool) {
        let (mut units, notes) = with_units(&sheet(&text));
        units.rules = tables;
        let back = from_systemd(&units, &["/units".into()]).unwrap();
        let lost: Vec<_> = back.notes.iter().filter(|note| note.lost).collect();
        prop_assert!(lost.is_empty(), "{:#?}\n{}", lost, text);
        let back = to_xinetd(&back);
        compare(&text, &read(&host(&text)), &read(&host(&back)), &notes, &back)?;
    }
}

/// Found by the fuzzer: a directory is no program, in either direction.
#[test]
fn a_directory_is_no_program_of_a_unit() {
    let line = b"telnet\tstream\ttcp46\tnowait/3/0/2\troot:root\t/usr/sbin/tcpd\t/\n";
    let (units, notes) = with_units(&from_inetd("inetd.conf", line, "/usr/sbin"));
    assert!(notes.iter().any(|note| note.lost && note.text.contains("`/` is a directory")), "{notes:?}");
    let back = from_systemd(&units, &["/units".into()]).unwrap();
    assert_eq!(back.notes.iter().filter(|note| note.lost).count(), 0, "{:?}", back.notes);
    let mut units = FakeHost::debian();
    units.directory("/units", &[("telnet.socket", true), ("telnet@.service", true)]);
    units.file("/units/telnet.socket", "[Socket]\nListenStream=23\nAccept=yes\n");
    units.file(
        "/units/telnet@.service",
        "[Service]\nExecStart=/usr/sbin/tcpd /\nStandardInput=socket\nUser=root\n",
    );
    let back = from_systemd(&units, &["/units".into()]).unwrap();
    assert!(
        back.notes.iter().any(|note| note.lost && note.text.contains("`/` is a directory")),
        "{:?}",
        back.notes
    );
}

#[test]
fn defaults_and_operators_are_laid_out() {
    let text = "defaults\n{\n\tonly_from = 10.0.0.0/8 192.0.2.1\n\tinstances = 5\n\tlog_on_success = HOST\n\tenabled = telnet\n}\n\
        # all about it\nservice telnet\n{\n\t# by night\n\tdisable = no\n\tonly_from -= 192.0.2.1\n\tlog_on_success += PID\n\tinstances = 2 # two\n\
        \tenv = A=1\n\tenv += B=2\n\tsocket_type = stream\n\twait = no\n\tuser = gone\n\tserver = /bin/none\n\tnonsense = 1\n\tpotr = 1\n}\n\
        service other\n{\n\tdisable = yes\n\ttype = UNLISTED\n\tport = 70\n\tsocket_type = stream\n\twait = no\n\tuser = root\n\tserver = /bin/sh\n}\n# end\n";
    let sheet = sheet(text);
    let stanzas: Vec<_> = sheet.stanzas().collect();
    let telnet = stanzas[0];
    for (name, value) in [
        ("only_from", "10.0.0.0/8"),
        ("log_on_success", "HOST PID"),
        ("instances", "2"),
        ("env", "A=1 B=2"),
        ("user", "gone"),
    ] {
        assert_eq!(telnet.get(name), Some(value));
    }
    assert!(!telnet.off);
    assert!(
        stanzas[1].off && stanzas[1].get("server") == Some("/bin/sh"),
        "what is switched off is read to its end"
    );
    let comments = sheet.pieces.iter().filter_map(|piece| match piece {
        Piece::Comment(comment) => Some(comment.as_str()),
        _ => None,
    });
    assert_eq!(comments.collect::<Vec<_>>(), [" all about it", " by night", " end"]);
    let said: Vec<_> = sheet
        .notes
        .iter()
        .map(|note| (note.place.as_ref().map(|place| (place.line, place.column)), note.text.as_str()))
        .collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(
        said.iter().any(|(place, text)| place.is_some_and(|(line, column)| line == 23 && column == 2)
            && text.contains("did you mean `port`")),
        "{said:#?}"
    );
}

#[test]
fn what_keeps_clients_out_is_not_lost_open() {
    let service = |lines: &str| {
        format!(
            "service telnet\n{{\n\tsocket_type = stream\n\twait = no\n\tuser = root\n\tgroups = yes\n\tflags = NOLIBWRAP\n\tserver = /bin/sh\n{lines}}}\n"
        )
    };
    for (lines, inetd_on, systemd_on) in [
        ("", true, true),
        ("\tonly_from = 10.0.0.1\n", false, true),
        ("\tonly_from = .example.org\n", false, true),
        ("\tno_access = .example.org\n", false, false),
        ("\taccess_times = 1:00-2:00\n", false, false),
        ("\tper_source = 0\n", false, false),
    ] {
        let sheet = sheet(&service(lines));
        let (text, notes) = to_inetd(&sheet, false);
        assert_eq!(text.lines().any(|line| line.starts_with("telnet\t")), inetd_on, "{text}");
        assert_eq!(notes.iter().any(|note| note.lost), !inetd_on, "{notes:#?}");
        let (files, _) = to_systemd(&sheet, &FakeHost::debian());
        assert_eq!(files[0].text.contains("[Install]\n"), systemd_on, "{}", files[0].text);
        if lines.contains(".example") && lines.contains("only_from") {
            assert!(
                files[0].text.contains("\nIPAddressDeny=any\n") && !files[0].text.contains("IPAddressAllow")
            );
        }
    }
}

#[test]
fn hostile_words_stay_words() {
    let text = "service a-b\n{\n\ttype = UNLISTED\n\tport = 70\n\tsocket_type = stream\n\twait = no\n\tuser = root\n\tserver = /usr/bin/a\n\
        \tserver_args = %n $HOME ${X} \\ \" ' ;x -\\\n}\n";
    let (files, _) = to_systemd(&sheet(text), &FakeHost::debian());
    let line = files[1].text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert_eq!(line, r#"ExecStart=-/usr/bin/a %%n $$HOME $${X} "\\" "\"" "'" ";x" "-\\""#);
}

/// Each service of each real file is in the output or named, whichever way it goes; and what was written reads again.
#[test]
fn real_inetd_files_by_every_way() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/inetd");
    let Ok(files) = std::fs::read_dir(&corpus) else {
        return println!("no {}: nothing to read", corpus.display());
    };
    let (mut lines, mut units, mut back) = (0, 0, 0);
    for file in files {
        let text = std::fs::read(file.unwrap().path()).unwrap();
        let mut sheet = from_inetd("inetd.conf", &text, "/usr/sbin");
        let told: BTreeSet<u32> =
            sheet.notes.iter().filter_map(|note| note.place.as_ref()).map(|place| place.line).collect();
        let stanzas: BTreeSet<u32> = sheet.stanzas().map(|stanza| stanza.place.line).collect();
        for item in crate::inetd::parse(&text).items {
            let service =
                matches!(item.kind, crate::inetd::ItemKind::Service(_) | crate::inetd::ItemKind::Off { .. });
            let broken = matches!(item.kind, crate::inetd::ItemKind::Broken { .. });
            let line = item.lines.first;
            assert!(!broken || told.contains(&line), "{item:?}");
            assert!(
                !service
                    || told.contains(&line)
                    || stanzas.contains(&line)
                    || matches!(item.kind, crate::inetd::ItemKind::Off { .. }),
                "{item:?}"
            );
        }
        sheet.notes.clear();
        // Comments are kept, in number at least.
        let (again, notes) = to_inetd(&sheet, false);
        let read = from_inetd("again", again.as_bytes(), "/usr/sbin");
        for stanza in sheet.stanzas() {
            let named = notes.iter().any(|note| note.place.as_ref() == Some(&stanza.place));
            let same = read.stanzas().any(|other| {
                other.name == stanza.name
                    && other.said.iter().all(|said| stanza.get(said.name) == Some(&said.value))
            });
            assert!(named || same, "{stanza:#?}\n{again}");
            lines += usize::from(same);
        }
        let (host, notes) = with_units(&sheet);
        let read = from_systemd(&host, &["/units".into()]).unwrap();
        assert!(read.notes.iter().all(|note| !note.lost), "{:#?}", read.notes);
        for stanza in sheet.stanzas() {
            let named = notes.iter().any(|note| note.lost && note.place.as_ref() == Some(&stanza.place));
            let there = read.stanzas().any(|other| other.name == stanza.id());
            assert!(named || there, "{stanza:#?}\n{notes:#?}");
            units += usize::from(there);
        }
        back += read.stanzas().count();
        let sections = to_xinetd(&read);
        let (_, wrong) = crate::parse_file("back", sections.as_bytes());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    assert!(lines > 500 && units > 20 && back >= units / 2, "{lines} lines, {units} units, {back} back");
}
