//! Reference xinetd §4.1, §4.2, §4.4: address lists as a service holds them.

use super::{codes, left_out, log, reading, service, stream};
use crate::AddressMatch;

fn matches(words: &str) -> Vec<AddressMatch> {
    service(&format!("\tonly_from = {words}\n"))
        .limits
        .only_from
        .clone()
        .unwrap()
        .into_iter()
        .map(|entry| entry.matches)
        .collect()
}

#[test]
fn every_form_is_understood() {
    assert_eq!(
        matches("127.1.2.0 10.0.0.0/8 127.0.0.{1,3} 2001:db8::/32 localhost .example.org"),
        [
            AddressMatch::V4(vec![(0x7f01_0200, 24)]),
            AddressMatch::V4(vec![(0x0a00_0000, 8)]),
            AddressMatch::V4(vec![(0x7f00_0001, 32)]),
            AddressMatch::V4(vec![(0x7f00_0003, 32)]),
            AddressMatch::V6(0x2001_0db8 << 96, 32),
            AddressMatch::Name("localhost".to_owned()),
            AddressMatch::Suffix(".example.org".to_owned()),
        ]
    );
}

#[test]
fn an_unset_list_an_empty_list_and_one_that_lost_its_words() {
    assert_eq!(service("").limits.only_from, None);
    for line in [
        "only_from =",
        "only_from = 127.0.0.",
        "only_from -= 10.0.0.1",
        "only_from = 10.0.0.1\n\tonly_from =",
    ] {
        let reading = reading(stream("s1", 2000, &format!("\t{line}\n")));
        assert_eq!(reading.services[0].limits.only_from, Some(Vec::new()), "{line}");
        assert!(codes(&reading).contains(&"refuses-everybody"), "{line}");
    }
    let reading = reading(stream("s1", 2000, "\tno_access =\n"));
    assert_eq!(reading.services[0].no_access, Some(Vec::new()));
    assert_eq!(codes(&reading), [""; 0], "an empty no_access refuses nobody");
}

#[test]
fn words_that_are_errors_drop_the_service() {
    let reading = reading(stream("s1", 2000, "\tonly_from = 127.{0,1}.0.1\n"));
    assert_eq!(
        log(&reading),
        [
            "Error: Bad address: 127.{0,1}.0.1 [file=/etc/xinetd.conf] [line=10]",
            "Error: Failed adding: 127.{0,1}.0.1 [file=/etc/xinetd.conf] [line=10]",
            "Error: Error parsing attribute only_from - DISABLING SERVICE [file=/etc/xinetd.conf] [line=10]",
            "Debug: removing s1",
        ]
    );
    assert!(left_out("\tonly_from = 10.0.0.1,10.0.0.2\n").contains("10.0.0.1,10.0.0.2"));
}

#[test]
fn removing_goes_by_text_or_by_address_and_mask() {
    let left = |from: &str, minus: &str| {
        let service = service(&format!("\tonly_from = {from}\n\tonly_from -= {minus}\n"));
        service
            .limits
            .only_from
            .clone()
            .unwrap()
            .into_iter()
            .map(|entry| entry.text)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(left("10.0.0.1 10.0.0.2", "10.0.0.1"), "10.0.0.2");
    assert_eq!(left("10.0.0.{1,2}", "10.0.0.1"), "10.0.0.{1,2}", "one of the two is left");
    assert_eq!(left("10.0.0.0/8 10.0.0.0/9", "10.0.0.0"), "10.0.0.0/9");
    assert_eq!(left("10.1.1.1/8", "10.0.0.0/8"), "10.1.1.1/8", "host bits are compared");
    assert_eq!(left("localhost .x.org", "LOCALHOST"), ".x.org");
}

#[test]
fn doubtful_words_are_told_and_kept() {
    for (word, code) in [
        ("10.1", "address-short"),
        ("10/8", "address-short"),
        ("10.0.0.0/255.0.0.0", "address-mask"),
        ("10.0.0.0/33", "address-mask"),
        ("0x7f.0.0.1", "address-odd"),
        ("10.0.0.{300}", "address-odd"),
        ("::", "address-wildcard"),
    ] {
        let reading = reading(stream("s1", 2000, &format!("\tonly_from = {word}\n")));
        assert_eq!(reading.services[0].limits.only_from.as_ref().unwrap().len(), 1, "{word}");
        assert_eq!(codes(&reading), [code], "{word}");
    }
    let reading = reading(stream("s1", 2000, "\tonly_from = 10.0.0.0/255.0.0.0\n"));
    assert_eq!(reading.diagnostics[0].help.as_deref(), Some("write `10.0.0.0/8`"));
}

#[test]
fn protect_takes_addresses_only() {
    let protect = |words: &str| reading(format!("defaults\n{{\n\tprotect = {words}\n}}\n"));
    assert_eq!(protect("10.0.0.1 2001:db8::/32").settings.protect.len(), 2);
    for word in ["localhost", ".example.org", "nonsense", "1..2"] {
        assert_eq!(protect(word).fatal, Some(crate::Fatal::Defaults), "{word}");
    }
    let in_service = reading(stream("s1", 2000, "\tprotect = 10.0.0.1\n"));
    assert_eq!(codes(&in_service), ["unknown-attribute"]);
}

#[test]
fn single_ipv6_addresses_and_the_wildcard_match() {
    assert_eq!(
        matches("::1/128 2001:db8::1 ::"),
        [AddressMatch::V6(1, 128), AddressMatch::V6((0x2001_0db8 << 96) + 1, 128), AddressMatch::V6(0, 0),]
    );
}
