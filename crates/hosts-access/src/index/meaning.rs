//! What a word of a client list comes to for a client whose address has the usual spelling: a set of addresses, or something
//! that only the language itself can tell.

use super::address;
use super::bytes::Key;
use crate::address::{Scope, V6, v6};
use crate::pattern::{ClientPattern, HostPattern};
use crate::text::TextPattern;

/// What a word comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// Every client.
    All,
    /// These, first to last.
    Addresses(Addresses),
    /// These, first to last; every other client's name is asked for, though no name can match.
    Asking(Addresses),
    /// No client; its name is asked for.
    OnlyAsking,
    /// No client.
    Never,
    /// What stands in this file.
    File(&'a [u8]),
    /// The language must tell.
    Residual,
}

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// One IPv4 address.
    Host4(u32),
    /// An IPv4 net: its first address, and how many bits are free in it.
    Net4(u32, u32),
    /// One IPv6 address.
    Host6(u128),
    /// An IPv6 net: its first address, and how many bits are free in it.
    Net6(u128, u32),
}

impl<'a> Meaning<'a> {
    /// What a word of a client list comes to.
    pub(super) fn of_client(word: &'a [u8]) -> Self {
        let pattern = ClientPattern::new(word);
        if pattern.user.is_some() { Self::Residual } else { Self::of_pattern(pattern.host) }
    }

    /// What a word of a `/file` list comes to.
    pub(super) fn of_listed(word: &'a [u8]) -> Self {
        Self::of_pattern(HostPattern::new(word))
    }

    fn of_pattern(pattern: HostPattern<'a>) -> Self {
        match pattern {
            HostPattern::Netgroup(_) | HostPattern::Known | HostPattern::Local => Self::Residual,
            HostPattern::File(path) => Self::File(path),
            HostPattern::NoNet(_) => Self::Never,
            HostPattern::Net4 { net, mask } => match mask.leading_ones() {
                ones if ones + mask.trailing_zeros() == 32 => {
                    Self::Addresses(Addresses::Net4(net, mask.trailing_zeros()))
                }
                _ => Self::Residual,
            },
            HostPattern::Net6 { net: V6 { bits, scope: Scope::Fine }, length } => {
                let free = 128 - u32::from(length).min(128);
                Self::Addresses(Addresses::Net6(bits & !0_u128.filled(free), free))
            }
            HostPattern::Net6 { .. } => Self::Residual,
            HostPattern::Text { text, name } => Self::of_text(text, name),
        }
    }

    fn of_text(text: TextPattern<'a>, name: bool) -> Self {
        match (text, name) {
            (TextPattern::All | TextPattern::Glob(b"*"), _) => Self::All,
            (TextPattern::V6(V6 { bits, scope: Scope::Fine }), _) => Self::Asking(Addresses::Host6(bits)),
            (TextPattern::NoAddress(_), _) => Self::OnlyAsking,
            (TextPattern::Prefix(prefix), false) => {
                prefix4(prefix).map_or(Self::Never, |(net, free)| Self::Addresses(Addresses::Net4(net, free)))
            }
            (TextPattern::Exact(word), false) => {
                address::v4(word).map_or(Self::Never, |host| Self::Addresses(Addresses::Host4(host)))
            }
            // Only in a file. A name that is an address is not evaluated here (and no name that is asked for can be one), so
            // none can match; nor can another spelling.
            (TextPattern::Exact(word), true) if v6(word).is_some() => {
                match address::v6(&word.to_ascii_lowercase()) {
                    Some(host) => Self::Asking(Addresses::Host6(host)),
                    None => Self::OnlyAsking,
                }
            }
            _ => Self::Residual,
        }
    }
}

/// The net of a numeric prefix: one to three whole numbers as an address has them.
fn prefix4(prefix: &[u8]) -> Option<(u32, u32)> {
    let mut text = prefix.to_vec();
    let given = u32::try_from(prefix.iter().filter(|byte| **byte == b'.').count()).ok()?;
    let missing = 4_u32.checked_sub(given).filter(|missing| *missing > 0)?;
    text.push(b'0');
    (1..missing).for_each(|_| text.extend_from_slice(b".0"));
    Some((address::v4(&text)?, 8 * missing))
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Meaning, prefix4};

    #[test]
    fn words() {
        let net4 = |net, free| Meaning::Addresses(Addresses::Net4(net, free));
        for (word, wanted) in [
            ("ALL", Meaning::All),
            ("all", Meaning::All),
            ("*", Meaning::All),
            ("**", Meaning::Residual),
            ("10.0.0.1", Meaning::Addresses(Addresses::Host4(0x0a00_0001))),
            ("10.0.0.01", Meaning::Never),
            ("10.1", Meaning::Never),
            ("10.1.", net4(0x0a01_0000, 16)),
            ("10.0.0.0/8", net4(0x0a00_0000, 24)),
            ("012.0.0.0/0xff.0.0.0", net4(0x0a00_0000, 24)),
            ("0.0.0.0/0.0.0.0", net4(0, 32)),
            ("10.0.0.1/32", net4(0x0a00_0001, 0)),
            ("10.0.0.0/255.0.255.0", Meaning::Residual),
            ("10.0.0.1/8", Meaning::Never),
            ("10.0.0.1/255.255.255.255", Meaning::Never),
            (".1", Meaning::Residual),
            ("[::1]", Meaning::Asking(Addresses::Host6(1))),
            ("[2001:db8::7]/32", Meaning::Addresses(Addresses::Net6(0x2001_0db8 << 96, 96))),
            ("[::]/0", Meaning::Addresses(Addresses::Net6(0, 128))),
            ("[::1]/128", Meaning::Addresses(Addresses::Net6(1, 0))),
            ("[fe80::1%lo]", Meaning::Residual),
            ("[10.0.0.1]", Meaning::OnlyAsking),
            ("example.com", Meaning::Residual),
            (".example.com", Meaning::Residual),
            ("LOCAL", Meaning::Residual),
            ("KNOWN", Meaning::Residual),
            ("UNKNOWN", Meaning::Residual),
            ("@group", Meaning::Residual),
            ("joe@10.0.0.1", Meaning::Residual),
            ("/etc/list", Meaning::File(b"/etc/list")),
            ("10.*.1", Meaning::Residual),
            ("2001", Meaning::Never),
        ] {
            assert_eq!(Meaning::of_client(word.as_bytes()), wanted, "{word}");
        }
        for (word, wanted) in [
            ("2001:db8::1", Meaning::Asking(Addresses::Host6(0x2001_0db8 << 96 | 1))),
            ("2001:DB8::1", Meaning::Asking(Addresses::Host6(0x2001_0db8 << 96 | 1))),
            ("2001:db8:0::1", Meaning::OnlyAsking),
            ("x:y", Meaning::Residual),
            ("joe@10.0.0.1", Meaning::Residual),
        ] {
            assert_eq!(Meaning::of_listed(word.as_bytes()), wanted, "{word}");
        }
    }

    #[test]
    fn numeric_prefixes() {
        for (prefix, wanted) in [
            ("10.", Some((0x0a00_0000, 24))),
            ("10.1.2.", Some((0x0a01_0200, 8))),
            ("10.1.2.3.", None),
            ("10.01.", None),
            ("300.", None),
            ("10..", None),
        ] {
            assert_eq!(prefix4(prefix.as_bytes()), wanted, "{prefix}");
        }
    }
}
