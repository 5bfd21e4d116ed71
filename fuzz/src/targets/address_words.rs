//! Any text as the words of an address list: each pattern is a network with its host bits clear, and removing the words
//! again leaves an empty list, which refuses everybody.

use crate::{MAIN, Machine};
use portreeve_conf::{AddressMatch, Reading, read};
use std::path::Path;

fn reading(lines: &str) -> Reading {
    let text = format!(
        "service s1\n{{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tport = 1\n\twait = no\n\tuser = root\n\
         \tserver = /bin/sh\n{lines}}}\n"
    );
    read(&Machine::new(text.as_bytes()), Path::new(MAIN))
}

/// One input.
pub fn run(input: &[u8]) {
    let Ok(words) = std::str::from_utf8(input) else { return };
    if words.contains(['\n', '\0']) || words.len() > 4096 {
        return;
    }
    let Some(service) = reading(&format!("\tonly_from = {words}\n")).services.pop() else { return };
    for entry in service.limits.only_from.iter().flatten() {
        match &entry.matches {
            AddressMatch::V4(networks) => {
                for &(address, length) in networks {
                    assert!(length <= 32);
                    assert_eq!(u64::from(address) % (1u64 << (32 - length)), 0, "{}", entry.text);
                }
            }
            &AddressMatch::V6(address, length) => {
                assert!(length <= 128);
                let free = 128 - u32::from(length);
                assert!(free == 0 || address.trailing_zeros() >= free, "{}", entry.text);
            }
            AddressMatch::Name(name) => assert!(!name.starts_with('.')),
            AddressMatch::Suffix(name) => assert!(name.starts_with('.')),
        }
    }
    let mut emptied = reading(&format!("\tonly_from = {words}\n\tonly_from -= {words}\n")).services;
    assert_eq!(
        emptied.pop().and_then(|service| service.limits.only_from.clone()),
        Some(Vec::new()),
        "{words:?}"
    );
}
