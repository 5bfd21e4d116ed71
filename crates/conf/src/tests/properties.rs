//! Whatever the bytes are: reading ends, never panics, and keeps its promises.

use super::{FakeHost, MAIN, reading_on};
use crate::ast::{Assignment, End, Entry, File, Given, Inclusion, Item, Operator, Word};
use crate::{Severity, attributes, parse_file, read};
use proptest::prelude::*;
use std::path::Path;

/// Text that looks like a configuration, so that more than the first line of the parser is reached.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&'static str> = attributes().iter().map(|attribute| attribute.name).collect();
    let value = prop_oneof![
        "[ -~]{0,20}",
        Just("yes".to_owned()),
        Just("UNLISTED INTERNAL".to_owned()),
        Just("stream".to_owned()),
        Just("5 # x".to_owned()),
        Just("10.0.0.{1,2} ::/0 .x 1..2 {".to_owned()),
        Just("/bin/sh".to_owned()),
        Just("root".to_owned()),
        Just("99999999999999999999 -1".to_owned()),
    ];
    let assignment = (prop::sample::select(names), prop::sample::select(vec!["=", "+=", "-="]), value)
        .prop_map(|(name, operator, value)| format!("\t{name} {operator} {value}").into_bytes());
    let word = prop::sample::select(vec![
        "service echo",
        "service s1",
        "defaults",
        "{",
        "}",
        "include /etc/xinetd.conf",
        "include /etc/inc",
        "includedir /etc/d",
        "",
        "# c",
        "junk",
        "service",
        "\u{feff}",
        "disable = yes",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let raw = prop::collection::vec(any::<u8>(), 0..20);
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "", "\0\n"]);
    let line = prop_oneof![6 => assignment, 6 => word, 1 => raw];
    prop::collection::vec((line, end), 0..40).prop_map(|lines| {
        lines.into_iter().flat_map(|(line, end)| line.into_iter().chain(end.bytes())).collect()
    })
}

fn host() -> FakeHost {
    let mut host = FakeHost::debian();
    host.file("/etc/inc", "defaults\n{\n\tinstances = 3\n}\nservice time\n{\n\ttype = INTERNAL\n");
    host.file("/etc/d/a", "include /etc/inc\n");
    host.directory("/etc/d", &[("a", true), ("b.conf", true), ("sub", false)]);
    host
}

fn keeps_its_promises(bytes: &[u8]) -> Result<(), TestCaseError> {
    let reading = reading_on(host(), bytes);
    for line in &reading.log {
        prop_assert!(!line.text.chars().any(char::is_control), "{:?}", line.text);
    }
    for finding in &reading.diagnostics {
        prop_assert!(!finding.message.is_empty());
        prop_assert!(
            crate::codes().iter().any(|code| code.word == finding.code && code.severity == finding.severity)
        );
        if let Some(place) = &finding.place {
            prop_assert!(place.line > 0);
        }
    }
    // Whoever is left out unintentionally was told so.
    if reading.left_out.iter().any(|left| !left.intended) {
        prop_assert!(reading.diagnostics.iter().any(|finding| finding.severity == Severity::Error));
    }
    for service in &reading.services {
        prop_assert!(reading.fatal.is_none());
        prop_assert!(service.wait || service.listen.socket == crate::SocketType::Stream);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        keeps_its_promises(&bytes)?;
    }

    #[test]
    fn any_configuration_is_read(bytes in lines()) {
        keeps_its_promises(&bytes)?;
    }

    /// `defaults` first or last: the same services with the same limits.
    #[test]
    fn the_place_of_defaults_changes_nothing(instances in 0u32..9, list in "10\\.0\\.0\\.[1-9]", add in any::<bool>()) {
        let defaults = format!("defaults\n{{\n\tinstances = {instances}\n\tonly_from = {list}\n}}\n");
        let more = if add { "\tonly_from += 10.9.9.9\n" } else { "" };
        let service = super::stream("s1", 2000, more);
        let first = reading_on(host(), format!("{defaults}{service}"));
        let last = reading_on(host(), format!("{service}{defaults}"));
        let texts = |reading: &crate::Reading| -> Vec<String> {
            reading.services[0].limits.only_from.iter().flatten().map(|entry| entry.text.to_string()).collect()
        };
        prop_assert_eq!(texts(&first), texts(&last));
        prop_assert_eq!(first.services[0].limits.instances.value, last.services[0].limits.instances.value);
    }

    #[test]
    fn a_written_tree_reads_the_same(file in file()) {
        let text = file.to_string();
        let (again, findings) = parse_file("f", text.as_bytes());
        prop_assert_eq!(findings.len(), 0, "{}", text);
        prop_assert_eq!(plain(again), plain(file));
    }
}

fn place() -> crate::Place {
    crate::Place { file: "f".into(), line: 1, column: 0, length: 0 }
}

fn word(pattern: &'static str) -> impl Strategy<Value = Word> {
    pattern.prop_map(|text| Word { text: text.into(), utf8: true, place: place() })
}

fn file() -> impl Strategy<Value = File> {
    let operator = prop::sample::select(vec![Operator::Set, Operator::Add, Operator::Remove]);
    let values = prop::collection::vec(word("[!-~]{1,8}"), 0..4);
    let assignment = (word("[a-z_]{1,10}"), operator, values)
        .prop_map(|(name, operator, values)| Assignment {
            name,
            operator,
            values: values.into_iter().collect(),
        })
        .prop_filter("stops reading", |assignment| assignment.name.text != "disable");
    let entry =
        (prop::option::of(word("[!-~]{1,8}")), prop::collection::vec(assignment, 0..5), any::<bool>());
    let entry = entry.prop_map(|(name, mut assignments, off)| {
        let off = off && name.is_some();
        if off {
            let word = |text: &str| Word { text: text.into(), utf8: true, place: place() };
            let values = Given::One(word("yes"));
            assignments.push(Assignment { name: word("disable"), operator: Operator::Set, values });
        }
        let end = if off { End::SwitchedOff } else { End::Closed };
        Item::Entry(Entry { place: place(), name, assignments, end })
    });
    let inclusion = (any::<bool>(), word("[!-~]{1,8}"))
        .prop_map(|(directory, path)| Item::Inclusion(Inclusion { directory, path }));
    prop::collection::vec(prop_oneof![entry, inclusion], 0..5).prop_map(|mut items| {
        // A file has one `defaults`.
        let mut seen = false;
        items.retain(|item| match item {
            Item::Entry(Entry { name: None, .. }) => !std::mem::replace(&mut seen, true),
            _ => true,
        });
        File { items }
    })
}

/// Without places.
fn plain(mut file: File) -> File {
    for item in &mut file.items {
        match item {
            Item::Inclusion(inclusion) => inclusion.path.place = place(),
            Item::Entry(entry) => {
                entry.place = place();
                entry.name.iter_mut().for_each(|name| name.place = place());
                for assignment in &mut entry.assignments {
                    assignment.name.place = place();
                    assignment.values.iter_mut().for_each(|value| value.place = place());
                }
            }
        }
    }
    file
}

#[test]
fn a_thousand_services_are_read() {
    let text: String = (0..1000).map(|port| super::stream(&format!("s{port}"), 1000 + port, "")).collect();
    assert_eq!(reading_on(host(), text).services.len(), 1000);
}

#[test]
fn a_file_full_of_errors_ends_in_bounded_findings() {
    let mut host = host();
    host.file(MAIN, format!("service s\n{{\n{}}}\n", "\tnonsense = 1\n".repeat(50_000)));
    let reading = read(&host, Path::new(MAIN));
    assert!(reading.diagnostics.len() <= 5_000 && reading.log.len() <= 20_000);
    assert!(reading.diagnostics.iter().any(|finding| finding.severity == Severity::Error));
}
