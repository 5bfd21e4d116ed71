//! A host that an argument or a pattern names, as tcpdmatch and tcpdchk look it up: its addresses, with a warning for
//! every name that cannot be trusted (reference A11, A13).

use super::notice::Notice;
use hosts_access::Field;
use portreeve_sys::names::{self, Family, HostEntry, Spelling};
pub(super) use portreeve_wrap::names::UNKNOWN;
use portreeve_wrap::names::{PARANOID, host_name, numeric};
use std::net::SocketAddr;

/// As much of an official name as a warning shows, in bytes.
const SHOWN: usize = 128;

/// Whether this is the word for "no name".
pub(super) fn is_unknown(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(UNKNOWN.as_bytes())
}

/// Whether this is the word for a name that contradicts itself.
pub(super) fn is_paranoid(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(PARANOID.as_bytes())
}

/// Whether the text is an address that is taken as it stands: four numbers with dots between, in any spelling that the
/// C library reads, or a numeric IPv6 address. 255.255.255.255 is none (reference A6.1).
pub(super) fn is_address(text: &[u8]) -> bool {
    hosts_access::address::dot_quad(text).is_some() || is_v6(text)
}

/// Whether the text is a numeric IPv6 address with, if any, a scope that this host has.
pub(super) fn is_v6(text: &[u8]) -> bool {
    names::host_entry(text, Family::V6, Spelling::Numeric).is_ok()
}

/// The host of this name; an alias is pointed out.
pub(super) fn find(name: &[u8], notice: &mut Notice<'_>) -> Option<HostEntry> {
    // Whatever the reason: without addresses there is nothing to predict.
    let Ok(entry) = names::host_entry(name, Family::Any, Spelling::Name) else {
        notice.warn(&[name, b": host not found"]);
        return None;
    };
    if !entry.canonical.eq_ignore_ascii_case(name) {
        let official = entry.canonical.get(..SHOWN).unwrap_or(&entry.canonical);
        notice.warn(&[name, b": hostname alias"]);
        notice.warn(&[b"(official name: ", official, b")"]);
    }
    Some(entry)
}

/// The confirmed name and the text of an address; no name at all is pointed out.
pub(super) fn describe(address: SocketAddr, notice: &mut Notice<'_>) -> (Field, Field) {
    let name = host_name(address, &mut |warning| notice.warn(&[&warning]));
    let text = numeric(address);
    if is_unknown(name.as_bytes()) {
        notice.warn(&[b"host address ", text.as_bytes(), b"->name lookup failed"]);
    }
    (name, text)
}

/// Looks up a host for the sake of its warnings; how many addresses it has.
pub(super) fn check(name: &[u8], notice: &mut Notice<'_>) -> usize {
    let Some(entry) = find(name, notice) else { return 0 };
    for address in &entry.addresses {
        describe(*address, notice);
    }
    entry.addresses.len()
}
