//! One word of an address list: what it matches, by xinetd's rules in xinetd's order (reference xinetd §4.2), and what a
//! person might wrongly think it matches. Edits no list.

use crate::host::{Family, Host};
use crate::service::AddressMatch;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a word matches. A word in braces has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Address as written, host bits included, and mask.
    V4 { address: u32, length: u8, network: bool },
    /// The same for IPv6.
    V6 { address: u128, length: u8, network: bool },
    /// Host name, or domain with its dot.
    Name(String),
}

/// A misunderstanding that a word invites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Fewer than four numbers.
    Short(Ipv4Addr),
    /// A dotted mask, or a length that is too large.
    Mask(IpAddr),
    /// Octal, hexadecimal, over 255 in braces, characters without meaning, a scope.
    Odd(String),
    /// `::`.
    Wildcard,
    /// From the networks database, and only one address.
    Network(Ipv4Addr),
}

/// What became of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// It is understood.
    Patterns(Vec<Pattern>, Option<Doubt>),
    /// It is nothing: dropped, with `failed to parse`.
    Nothing,
    /// It is an error, with xinetd's message for it.
    Error(String),
}

pub(crate) fn v4_mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

pub(crate) fn v6_mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

impl Pattern {
    /// The pattern as the policy takes it; host bits cleared.
    pub(crate) fn matches(&self) -> AddressMatch {
        match self {
            &Self::V4 { address, length, .. } => AddressMatch::V4(vec![(address & v4_mask(length), length)]),
            &Self::V6 { address, length, .. } => AddressMatch::V6(address & v6_mask(length), length),
            Self::Name(name) if name.starts_with('.') => AddressMatch::Suffix(name.clone()),
            Self::Name(name) => AddressMatch::Name(name.clone()),
        }
    }

    /// As xinetd's dump shows it.
    pub(crate) fn dump(&self) -> String {
        match self {
            &Self::V4 { address, length, network: true } => {
                format!("{}/{}(NET)", Ipv4Addr::from(address), Ipv4Addr::from(v4_mask(length)))
            }
            &Self::V4 { address, .. } => format!("{}(NUMERIC)", Ipv4Addr::from(address)),
            &Self::V6 { address, length, network: true } => {
                format!("{}/{}(NET)", Ipv6Addr::from(address), Ipv6Addr::from(v6_mask(length)))
            }
            &Self::V6 { address, .. } => format!("{}(NUMERIC)", Ipv6Addr::from(address)),
            Self::Name(name) => format!("{name}(HOST)"),
        }
    }

    /// Whether removing `other` from a list removes this one: the same text, or the same address and mask.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::V4 { address: a, length: m, .. }, Self::V4 { address: b, length: n, .. }) => {
                (a, m) == (b, n)
            }
            (Self::V6 { address: a, length: m, .. }, Self::V6 { address: b, length: n, .. }) => {
                (a, m) == (b, n)
            }
            _ => false,
        }
    }
}

/// An address as it may be written for a host: with a colon an IPv6 one, else whatever inet_aton(3) reads.
pub(crate) fn literal(text: &str) -> Option<IpAddr> {
    match text.contains(':') {
        true => inet6(text).map(|(address, _)| address.into()),
        false => inet_aton(text).map(|(address, ..)| address.into()),
    }
}

/// An IPv4 address as inet_aton(3) reads it: one to four numbers, decimal, octal or hexadecimal, the last of which fills
/// the rest. The flag tells whether it is anything but four plain decimal numbers.
pub(crate) fn inet_aton(text: &str) -> Option<(Ipv4Addr, usize, bool)> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    let mut numbers = Vec::with_capacity(4);
    let mut plain = true;
    for part in &parts {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (*part, 10),
        };
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        plain &= radix == 10;
        numbers.push(u32::from_str_radix(digits, radix).ok()?);
    }
    let (&last, first) = numbers.split_last()?;
    let width = 32 - 8 * u32::try_from(first.len()).ok()?;
    if first.iter().any(|&number| number > 255) || u64::from(last) >= 1u64 << width {
        return None;
    }
    let high = first.iter().fold(0u64, |sum, &number| sum << 8 | u64::from(number)) << width;
    let address = u32::try_from(high | u64::from(last)).ok()?;
    Some((Ipv4Addr::from(address), parts.len(), plain))
}

/// An IPv6 address, with the scope behind it if there is one.
pub(crate) fn inet6(text: &str) -> Option<(Ipv6Addr, Option<&str>)> {
    match text.split_once('%') {
        Some((_, "")) => None,
        Some((address, scope)) => Some((address.parse().ok()?, Some(scope))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// Reads a word by all known methods, the first that fits.
pub(crate) fn parse(word: &str, host: &dyn Host) -> Parsed {
    let plain = !word.contains(['/', '{']);
    if plain {
        if let Some(parsed) = numeric(word) {
            return parsed;
        }
        if is_host(word, host) {
            return Parsed::Patterns(vec![Pattern::Name(word.to_owned())], None);
        }
    }
    if let Some(parsed) = with_length(word) {
        return parsed;
    }
    match braces(word) {
        Ok(Some(parsed)) => return parsed,
        Err(message) => return Parsed::Error(message),
        Ok(None) => {}
    }
    network_name(word, host).unwrap_or(Parsed::Nothing)
}

fn numeric(word: &str) -> Option<Parsed> {
    if word.contains(':') {
        let (address, scope) = inet6(word)?;
        let doubt = match scope {
            Some(scope) => Some(Doubt::Odd(format!("the scope `{scope}` is not compared"))),
            None => address.is_unspecified().then_some(Doubt::Wildcard),
        };
        let length = if address.is_unspecified() { 0 } else { 128 };
        return Some(Parsed::Patterns(
            vec![Pattern::V6 { address: address.into(), length, network: false }],
            doubt,
        ));
    }
    let (address, parts, plain) = inet_aton(word)?;
    let number = u32::from(address);
    // Trailing zero octets are wildcards, in whole octets.
    let free = if number == 0 { 32 } else { number.trailing_zeros() / 8 * 8 };
    let length = u8::try_from(32 - free).unwrap_or(32);
    let pattern = Pattern::V4 { address: number, length, network: false };
    Some(Parsed::Patterns(vec![pattern], doubt_about(address, parts, plain)))
}

fn doubt_about(address: Ipv4Addr, parts: usize, plain: bool) -> Option<Doubt> {
    if parts < 4 && u32::from(address) != 0 {
        Some(Doubt::Short(address))
    } else if !plain {
        Some(Doubt::Odd(format!("it is read as {address}")))
    } else {
        None
    }
}

/// Whether the word is a domain, or a host name that resolves. Words that no resolver could know are not asked for.
fn is_host(word: &str, host: &dyn Host) -> bool {
    let only_numbers = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if only_numbers || word.len() > 255 {
        return false;
    }
    if word.starts_with('.') {
        return true;
    }
    let possible = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    possible && !host.addresses(word, Family::Any).is_empty()
}

/// `address/length`.
fn with_length(word: &str) -> Option<Parsed> {
    if word.contains('{') {
        return None;
    }
    let (text, behind) = word.split_once('/')?;
    if text.is_empty() || text.len() > 45 {
        return None;
    }
    // sscanf("%u"): leading digits count, what follows does not.
    let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return None;
    }
    let length: u64 = behind[..digits].parse().unwrap_or(u64::MAX);
    let rest = &behind[digits..];
    if let Some((address, parts, plain)) = inet_aton(text) {
        let over = length > 32;
        let doubt = if over {
            Some(Doubt::Mask(address.into()))
        } else if !rest.is_empty() {
            Some(Doubt::Odd(format!("`{rest}` is ignored")))
        } else {
            doubt_about(address, parts, plain).filter(|_| length > 0)
        };
        let length = u8::try_from(length.min(32)).unwrap_or(32);
        let pattern = Pattern::V4 { address: address.into(), length, network: length < 32 || over };
        return Some(Parsed::Patterns(vec![pattern], doubt));
    }
    let (address, scope) = inet6(text)?;
    let doubt = if length > 128 {
        Some(Doubt::Mask(address.into()))
    } else if !rest.is_empty() || scope.is_some() {
        Some(Doubt::Odd(format!("it is read as {address}/{length}")))
    } else {
        None
    };
    let length = u8::try_from(length.min(128)).unwrap_or(128);
    Some(Parsed::Patterns(
        vec![Pattern::V6 { address: address.into(), length, network: length < 128 }],
        doubt,
    ))
}

/// Numbers in braces behind up to three numbers: `10.1.{2,3}`. `None` where the word is no such thing.
fn braces(word: &str) -> Result<Option<Parsed>, String> {
    let bytes = word.as_bytes();
    let (mut prefix, mut number, mut shift) = (0u32, 0u32, 24i32);
    let mut last = b'.';
    let mut at = 0;
    loop {
        let Some(&byte) = bytes.get(at) else { return Ok(None) };
        match byte {
            b'{' => break,
            b'0'..=b'9' => number = number.wrapping_mul(10).wrapping_add(u32::from(byte - b'0')),
            b'.' if last == b'.' => return Err(format!("Bad address: {word}. Consecutive dots")),
            b'.' => {
                prefix = prefix.wrapping_mul(256).wrapping_add(number);
                number = 0;
                shift -= 8;
            }
            _ => return Ok(None),
        }
        last = byte;
        at += 1;
    }
    let inside = &word[at + 1..];
    // A fifth number has no place in an address; xinetd shifts by a negative count there.
    let Ok(shift) = u32::try_from(shift) else { return Err(format!("Bad address: {word}")) };
    let numbers = inside_braces(word, inside)?;
    let prefix = if prefix == 0 { 0 } else { prefix.checked_shl(shift + 8).unwrap_or(0) };
    let length = u8::try_from(32 - shift).unwrap_or(32);
    let pattern =
        |number: u32| Pattern::V4 { address: prefix.wrapping_add(number << shift), length, network: false };
    let doubt = if numbers.iter().any(|&number| number > 255) {
        Some(Doubt::Odd("a number in braces is over 255 and spills into the one before".to_owned()))
    } else if last.is_ascii_digit() {
        Some(Doubt::Odd("the digits before the brace are not used".to_owned()))
    } else {
        let over = |part: &str| part.parse::<u32>().map_or(!part.is_empty(), |number| number > 255);
        word[..at].split('.').any(over).then(|| Doubt::Odd("a number is over 255".to_owned()))
    };
    Ok(Some(Parsed::Patterns(numbers.into_iter().map(pattern).collect(), doubt)))
}

fn inside_braces(word: &str, inside: &str) -> Result<Vec<u32>, String> {
    let bad = || format!("Bad address: {word}");
    let mut numbers = Vec::new();
    let mut number = None;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let digit = u32::from(byte - b'0');
                number = Some(number.unwrap_or(0u32).wrapping_mul(10).wrapping_add(digit));
            }
            b',' | b'}' => {
                let Some(number) = number.take() else {
                    return Err(format!("Bad address: {word}. Consecutive commas"));
                };
                numbers.push(number);
                if byte == b'}' {
                    return if at + 1 == inside.len() { Ok(numbers) } else { Err(bad()) };
                }
            }
            _ => return Err(bad()),
        }
    }
    Err(bad())
}

/// A name of the networks database. A number that glibc has padded to four octets becomes a single address, as in
/// xinetd; a shortened one is a network of whole octets.
fn network_name(word: &str, host: &dyn Host) -> Option<Parsed> {
    let possible = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let number = if possible { host.network(word)? } else { return None };
    let (shift, length) = match number {
        0 => return None,
        1..=0xff => (24, 8),
        0x100..=0xffff => (16, 16),
        0x1_0000..=0xff_ffff => (8, 24),
        _ => (0, 32),
    };
    let address = number << shift;
    let doubt = (length == 32).then(|| Doubt::Network(address.into()));
    Some(Parsed::Patterns(vec![Pattern::V4 { address, length, network: true }], doubt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;

    fn host() -> FakeHost {
        let mut host = FakeHost::default();
        host.names.insert("localhost".into(), vec![Ipv4Addr::LOCALHOST.into()]);
        host.networks.insert("loopback".into(), 0x7f00_0000);
        host.networks.insert("office".into(), 10);
        host.networks.insert("default".into(), 0);
        host
    }

    fn v4(text: &str, length: u8) -> Pattern {
        Pattern::V4 { address: text.parse::<Ipv4Addr>().unwrap().into(), length, network: false }
    }

    fn understood(word: &str) -> (Vec<Pattern>, Option<Doubt>) {
        match parse(word, &host()) {
            Parsed::Patterns(patterns, doubt) => (patterns, doubt),
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn trailing_zero_octets_are_wildcards() {
        for (word, length) in [
            ("127.1.2.0", 24),
            ("127.1.0.0", 16),
            ("127.0.0.0", 8),
            ("0.0.0.0", 0),
            ("127.0.0.1", 32),
            ("10.0.1.0", 24),
            ("10.0.0.128", 32),
        ] {
            assert_eq!(understood(word), (vec![v4(word, length)], None), "{word}");
        }
    }

    #[test]
    fn short_and_odd_forms_have_inet_aton_meaning_and_a_doubt() {
        for (word, address) in [("127.1", "127.0.0.1"), ("127", "0.0.0.127"), ("2130706433", "127.0.0.1")] {
            let address: Ipv4Addr = address.parse().unwrap();
            assert_eq!(
                understood(word),
                (vec![v4(&address.to_string(), 32)], Some(Doubt::Short(address))),
                "{word}"
            );
        }
        for word in ["0x7f.0.0.2", "0177.0.0.2"] {
            let (patterns, doubt) = understood(word);
            assert_eq!(patterns, [v4("127.0.0.2", 32)]);
            assert!(matches!(doubt, Some(Doubt::Odd(_))), "{word}");
        }
        assert!(matches!(understood("127.1/16"), (patterns, Some(Doubt::Short(_)))
            if patterns[0].matches() == AddressMatch::V4(vec![(0x7f00_0000, 16)])));
    }

    #[test]
    fn lengths() {
        let of = |word: &str| understood(word).0[0].matches();
        assert_eq!(of("10.1.2.3/8"), AddressMatch::V4(vec![(0x0a00_0000, 8)]));
        assert_eq!(of("10.1.2.3/0"), AddressMatch::V4(vec![(0, 0)]));
        assert_eq!(of("10.1.2.3/32"), AddressMatch::V4(vec![(0x0a01_0203, 32)]));
        assert_eq!(of("10.1.2.3/33"), AddressMatch::V4(vec![(0x0a01_0203, 32)]));
        assert_eq!(of("::1/128"), AddressMatch::V6(1, 128));
        assert_eq!(of("::1/127"), AddressMatch::V6(0, 127));
        assert_eq!(of("::/0"), AddressMatch::V6(0, 0));
        assert_eq!(of("::"), AddressMatch::V6(0, 0));
        assert_eq!(of("::ffff:127.0.0.1"), AddressMatch::V6(0xffff_7f00_0001, 128));
        for word in ["10.0.0.0/255.0.0.0", "10.0.0.0/33", "::1/129", "10.0.0.0/4294967296"] {
            assert!(matches!(understood(word).1, Some(Doubt::Mask(_))), "{word}");
        }
        assert!(matches!(understood("10.0.0.0/255.0.0.0").0[0], Pattern::V4 { length: 32, .. }));
    }

    #[test]
    fn braces_must_come_last() {
        let all = |word: &str| understood(word).0;
        assert_eq!(all("127.0.0.{1,3}"), [v4("127.0.0.1", 32), v4("127.0.0.3", 32)]);
        assert_eq!(all("127.1.{0,2}"), [v4("127.1.0.0", 24), v4("127.1.2.0", 24)]);
        assert_eq!(all("127.{1}"), [v4("127.1.0.0", 16)]);
        assert_eq!(all("{127,10}"), [v4("127.0.0.0", 8), v4("10.0.0.0", 8)]);
        assert_eq!(all("127.0.0.{300}"), [v4("127.0.1.44", 32)]);
        assert!(matches!(understood("127.0.0.{300}").1, Some(Doubt::Odd(_))));
        assert!(matches!(understood("12{3}").1, Some(Doubt::Odd(_))));
        for (word, message) in [
            ("127.{0,1}.0.1", "Bad address: 127.{0,1}.0.1"),
            ("127.0.0.{1", "Bad address: 127.0.0.{1"),
            ("127.0.0.{1,}", "Bad address: 127.0.0.{1,}. Consecutive commas"),
            ("127.0.0.{}", "Bad address: 127.0.0.{}. Consecutive commas"),
            ("127..0.{1}", "Bad address: 127..0.{1}. Consecutive dots"),
            ("1..2", "Bad address: 1..2. Consecutive dots"),
            (".5", "Bad address: .5. Consecutive dots"),
            ("1.2.3.4.{5}", "Bad address: 1.2.3.4.{5}"),
        ] {
            assert_eq!(parse(word, &host()), Parsed::Error(message.to_owned()), "{word}");
        }
        assert_eq!(parse("host{1}", &host()), Parsed::Nothing);
    }

    #[test]
    fn names_and_networks() {
        let name = |text: &str| vec![Pattern::Name(text.to_owned())];
        assert_eq!(understood("localhost").0, name("localhost"));
        assert_eq!(understood(".example.org").0, name(".example.org"));
        assert_eq!(understood("office").0, [Pattern::V4 { address: 0x0a00_0000, length: 8, network: true }]);
        assert!(matches!(understood("loopback"), (patterns, Some(Doubt::Network(_)))
            if patterns == [Pattern::V4 { address: 0x7f00_0000, length: 32, network: true }]));
        for word in
            ["nohost", "default", "127.0.0.", "300.1.2.3", "#", "nohost/24", "/8", "10.0.0.1/x", "fe80::1%"]
        {
            assert_eq!(parse(word, &host()), Parsed::Nothing, "{word}");
        }
    }

    #[test]
    fn dump_is_in_xinetds_form() {
        let dump = |word: &str| understood(word).0[0].dump();
        assert_eq!(dump("127.0.0.0"), "127.0.0.0(NUMERIC)");
        assert_eq!(dump("127.0.0.0/8"), "127.0.0.0/255.0.0.0(NET)");
        assert_eq!(dump("localhost"), "localhost(HOST)");
        assert_eq!(dump("2001:db8::/32"), "2001:db8::/ffff:ffff::(NET)");
    }
}
