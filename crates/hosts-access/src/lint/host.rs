//! One host pattern: what about it is not as it looks (reference A6). Judges the text alone; whoever calls knows where it
//! stands and follows `/file` lists.

use super::codes::{self, Code};
use super::nearest::nearest;
use super::number::{mask_length, meant_v4, plain_v4, v4_mask};
use super::report::{Remedy, shown};
use crate::address::{self, V6, atoi, dot_quad};
use crate::pattern::{HostPattern, NoNet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with a word: its kind, the sentence, the remedy.
pub(super) struct Judgement {
    pub code: &'static Code,
    pub message: String,
    pub remedy: Remedy,
}

fn judge(code: &'static Code, message: String, remedy: Remedy) -> Option<Judgement> {
    Some(Judgement { code, message, remedy })
}

/// The words of the language.
const WORDS: [&str; 6] = ["ALL", "LOCAL", "KNOWN", "UNKNOWN", "PARANOID", "EXCEPT"];

fn is(word: &[u8], known: &str) -> bool {
    word.eq_ignore_ascii_case(known.as_bytes())
}

/// Looks at one host pattern. `None`: it is what it looks like.
pub(super) fn host(word: &[u8]) -> Option<Judgement> {
    if word == b"@" {
        return judge(&codes::NO_NETGROUP, "a netgroup without a name".to_owned(), Remedy::Usual);
    }
    if word.starts_with(b"@") {
        let text = format!("`{}` is a netgroup of hosts, looked up by the client's name", shown(word));
        return judge(&codes::NETGROUP, text, Remedy::Usual);
    }
    if word.starts_with(b"/") {
        return None;
    }
    if let Some(known) = ["LOCAL", "KNOWN", "UNKNOWN", "PARANOID"].iter().find(|known| is(word, known)) {
        return judge(&codes::NAME_WORD, format!("{known} depends on the name service"), Remedy::Usual);
    }
    match (HostPattern::new(word), crate::split::at_unbracketed(word, b'/')) {
        (HostPattern::Net4 { net, mask }, Some((n, m))) => network(word, n, m, net, mask),
        (HostPattern::Net6 { net, length }, Some((_, m))) => v6_network(word, net, length, m),
        (HostPattern::NoNet(why), Some((n, m))) => no_network(word, n, m, why),
        _ => plain(word),
    }
}

fn in_brackets(word: &[u8]) -> Option<&[u8]> {
    word.strip_prefix(b"[")?.strip_suffix(b"]")
}

fn plain(word: &[u8]) -> Option<Judgement> {
    let text = shown(word);
    if let Some(rest) = word.strip_prefix(b"!").filter(|rest| !rest.is_empty()) {
        let help = format!("write `… EXCEPT {}`", shown(rest));
        return judge(
            &codes::NEGATION,
            format!("`{text}` does not mean “not {}”", shown(rest)),
            Remedy::Do(help),
        );
    }
    if word.iter().any(|byte| matches!(byte, b'*' | b'?')) {
        return glob(word);
    }
    let numeric = word.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if word.starts_with(b".") {
        return suffix(word, numeric);
    }
    if is(word, "ALL") {
        return None;
    }
    if word.ends_with(b".") {
        return prefix(word, numeric);
    }
    if let Some(inner) = in_brackets(word) {
        return bracketed(word, inner);
    }
    if numeric {
        return address(word);
    }
    if word == b"-" {
        let text = "a `-` between addresses makes no range: there are none".to_owned();
        return judge(&codes::RANGE, text, Remedy::Usual);
    }
    if let Some(judgement) = range(word) {
        return Some(judgement);
    }
    name(word)
}

fn glob(word: &[u8]) -> Option<Judgement> {
    if word.starts_with(b"[") {
        let text = format!("`{}` never matches: there are no wildcards in brackets", shown(word));
        let remedy = v6_glob(word).map_or(Remedy::Usual, Remedy::Write);
        return judge(&codes::BAD_V6, text, remedy);
    }
    stars(word)
}

/// `**`, in daemons as in clients.
pub(super) fn stars(word: &[u8]) -> Option<Judgement> {
    if !word.windows(2).any(|pair| pair == b"**") {
        return None;
    }
    let mut once = word.to_vec();
    once.dedup_by(|b, a| *a == b'*' && *b == b'*');
    let text = format!("the first `*` of `{}` must match at least one character", shown(word));
    judge(&codes::STARS, text, Remedy::Write(shown(&once)))
}

/// `[2001:db8::*]` and `[2001:db8:*]` as the network that is meant.
fn v6_glob(word: &[u8]) -> Option<String> {
    let inner = std::str::from_utf8(in_brackets(word)?).ok()?.strip_suffix('*')?;
    let groups = inner.trim_end_matches(':').split(':').collect::<Vec<_>>();
    let given =
        inner.ends_with(':') && (1..8).contains(&groups.len()) && groups.iter().all(|g| !g.is_empty());
    let net: Ipv6Addr = format!("{}::", groups.join(":")).parse().ok().filter(|_| given)?;
    Some(format!("[{net}]/{}", groups.len() * 16))
}

fn suffix(word: &[u8], numeric: bool) -> Option<Judgement> {
    let text = shown(word);
    if word.ends_with(b".") {
        return judge(&codes::NAME_DOT, format!("`{text}` matches only what ends in a dot"), Remedy::Usual);
    }
    if numeric {
        let text = format!("`{text}` matches every address that ends so, in whatever network");
        return judge(&codes::NUMERIC_SUFFIX, text, Remedy::Usual);
    }
    name(word)
}

fn prefix(word: &[u8], numeric: bool) -> Option<Judgement> {
    let text = shown(word);
    let before = word.strip_suffix(b".").unwrap_or(word);
    if !numeric {
        return judge(
            &codes::NAME_DOT,
            format!("`{text}` is the beginning of a name, not a name"),
            Remedy::Write(shown(before)),
        );
    }
    let parts: Vec<&[u8]> = before.split(|byte| *byte == b'.').collect();
    if parts.len() == 4 && meant_v4(before).is_some() {
        let text = format!("`{text}` never matches: nothing goes on behind a whole address");
        let address = meant_v4(before).map_or_else(String::new, |address| address.to_string());
        return judge(&codes::WHOLE_PREFIX, text, Remedy::Write(address));
    }
    let numbers: Option<Vec<u8>> =
        parts.iter().map(|part| std::str::from_utf8(part).ok()?.parse::<u8>().ok()).collect();
    match numbers.filter(|numbers| numbers.len() < 4) {
        None => judge(&codes::BAD_ADDRESS, format!("`{text}` begins no address"), Remedy::Usual),
        Some(numbers) => {
            let plain = numbers.iter().map(|number| format!("{number}.")).collect::<String>();
            if plain.as_bytes() == word {
                return None;
            }
            judge(&codes::SPELLING, format!("no address begins with the text `{text}`"), Remedy::Write(plain))
        }
    }
}

fn address(word: &[u8]) -> Option<Judgement> {
    if plain_v4(word).is_some() {
        return None;
    }
    let text = shown(word);
    if let Some(meant) = meant_v4(word) {
        // `10.0.0.024` may have lost its slash.
        let lost =
            word.split_at_checked(word.len().saturating_sub(2)).filter(|(before, _)| before.ends_with(b".0"));
        let net = lost.and_then(|(before, length)| lost_slash(before, length));
        let text = format!("`{text}` is compared as text and never matches");
        let remedy = match net {
            Some(net) => Remedy::Do(format!("write `{meant}`, or `{net}` if the network is meant")),
            None => Remedy::Write(meant.to_string()),
        };
        return judge(&codes::SPELLING, text, remedy);
    }
    let parts: Vec<&[u8]> = word.split(|byte| *byte == b'.').collect();
    let small = |part: &&[u8]| std::str::from_utf8(part).is_ok_and(|part| part.parse::<u8>().is_ok());
    if parts.len() < 4 && parts.iter().all(small) {
        let text = format!("`{text}` is compared as text with whole addresses and never matches");
        let network = parts.iter().map(|part| format!("{}.", atoi(part))).collect::<String>();
        let help = format!("for the network write `{network}`");
        return judge(&codes::SHORT, text, Remedy::Do(help));
    }
    let dot = word.iter().rposition(|byte| *byte == b'.').unwrap_or(0);
    let lost = word.split_at_checked(dot).and_then(|(net, length)| lost_slash(net, length.get(1..)?));
    let remedy = lost.map_or(Remedy::Usual, |net| Remedy::Do(format!("is `{net}` meant?")));
    judge(&codes::BAD_ADDRESS, format!("`{text}` is no address and never matches"), remedy)
}

/// The network of `10.0.0.0.24` and `10.0.0.024`, whose slash was lost.
fn lost_slash(net: &[u8], length: &[u8]) -> Option<String> {
    let net = plain_v4(net)?;
    let length = std::str::from_utf8(length).ok()?.parse::<u32>().ok().filter(|n| (8..=32).contains(n))?;
    (u32::from(net) & !v4_mask(length) == 0).then(|| format!("{net}/{length}"))
}

fn range(word: &[u8]) -> Option<Judgement> {
    let dash = word.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (word.get(..dash)?, word.get(dash + 1..)?);
    let digits = last.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') && !last.is_empty();
    if meant_v4(first).is_none() || !digits {
        return None;
    }
    judge(&codes::RANGE, format!("`{}` is no range of addresses: there are none", shown(word)), Remedy::Usual)
}

/// What is left: a host name, or the text of an address.
fn name(word: &[u8]) -> Option<Judgement> {
    let text = shown(word);
    if is(word, "FAIL") {
        return judge(
            &codes::FAIL,
            format!("`{text}` is a name here, no word of the language"),
            Remedy::Usual,
        );
    }
    odd_character(word).or_else(|| nearly(word))
}

/// A character that makes a word match nothing.
pub(super) fn odd_character(word: &[u8]) -> Option<Judgement> {
    let odd = word.iter().find(|byte| {
        matches!(
            byte,
            b';' | b'|' | b'"' | b'\'' | b'(' | b')' | b'<' | b'>' | b'{' | b'}' | b'`' | b'\\' | b'=' | b'!'
        )
    })?;
    let text = format!("`{}` matches nothing: it holds a `{}`", shown(word), char::from(*odd));
    judge(&codes::ODD_CHARACTER, text, Remedy::Usual)
}

/// A word in capitals that is nearly one of the language.
pub(super) fn nearly(word: &[u8]) -> Option<Judgement> {
    let capitals = word.len() >= 3 && word.iter().all(u8::is_ascii_uppercase);
    if !capitals {
        return None;
    }
    let near = match word {
        b"ANY" | b"EVERYONE" | b"EVERYBODY" | b"ANYONE" | b"ANYBODY" => Some("ALL"),
        b"BUT" | b"NOT" | b"UNLESS" => Some("EXCEPT"),
        _ => nearest(word, WORDS).filter(|near| !is(word, near)),
    }?;
    let text = format!("`{}` is a name here, no word of the language", shown(word));
    judge(&codes::ODD_WORD, text, Remedy::Write(near.to_owned()))
}

/// The inside of brackets, without a length behind them.
fn bracketed(word: &[u8], inner: &[u8]) -> Option<Judgement> {
    match address::v6(inner) {
        Some(address) => scoped(word, inner, "").or_else(|| mapped(word, &address, 128)),
        None => bad_v6(word, inner, ""),
    }
}

fn bad_v6(word: &[u8], inner: &[u8], behind: &str) -> Option<Judgement> {
    let text = shown(word);
    if meant_v4(inner).is_some() || dot_quad(inner).is_some() {
        let text = format!("`{text}` never matches: brackets are for IPv6");
        return judge(&codes::V4_BRACKETS, text, Remedy::Write(format!("{}{behind}", shown(inner))));
    }
    if let Some(judgement) = scoped(word, inner, behind) {
        return Some(judgement);
    }
    judge(&codes::BAD_V6, format!("`{text}` never matches: this is no IPv6 address"), Remedy::Usual)
}

/// A `%` behind an address.
fn scoped(word: &[u8], inner: &[u8], behind: &str) -> Option<Judgement> {
    let mark = inner.iter().position(|byte| *byte == b'%')?;
    let address = address::v6(inner.get(..mark)?)?;
    let text = match address::v6(inner) {
        Some(_) => format!("the scope of `{}` is not compared", shown(word)),
        None => format!("`{}` never matches: only link-local addresses have a scope", shown(word)),
    };
    let plain = format!("[{}]{behind}", Ipv6Addr::from_bits(address.bits));
    judge(&codes::SCOPE, text, Remedy::Write(plain))
}

/// ::ffff:0:0/96 and what is in it.
fn mapped(word: &[u8], address: &V6<'_>, length: u8) -> Option<Judgement> {
    let v4 = Ipv6Addr::from_bits(address.bits).to_ipv4_mapped()?;
    let short = u32::from(length.checked_sub(96)?);
    let v4 = match short {
        32 => v4.to_string(),
        0 => "0.0.0.0/0.0.0.0".to_owned(),
        short => format!("{}/{short}", Ipv4Addr::from(u32::from(v4) & v4_mask(short))),
    };
    let text = format!("`{}` never matches a client that came over IPv4", shown(word));
    judge(&codes::MAPPED, text, Remedy::Write(v4))
}

/// A network that can match, as `net` and `mask`: whether it is the one that stands there.
fn network(word: &[u8], n: &[u8], m: &[u8], net: u32, mask: u32) -> Option<Judgement> {
    let length = mask_length(mask);
    let behind = match (dot_quad(m), length) {
        (Some(_), None) => {
            let text = format!("the mask of `{}` is no prefix", shown(word));
            return judge(&codes::ODD_MASK, text, Remedy::Usual);
        }
        (Some(_), _) => Ipv4Addr::from(mask).to_string(),
        (None, _) => length.unwrap_or(32).to_string(),
    };
    if let Some(meant) = meant_v4(n).filter(|meant| u32::from(*meant) != net) {
        let text = format!("`{}` is read as {}", shown(n), Ipv4Addr::from(net));
        let meant = Ipv4Addr::from(u32::from(meant) & mask);
        return judge(&codes::OCTAL_NET, text, Remedy::Write(format!("{meant}/{behind}")));
    }
    if dot_quad(m).is_some() || behind.as_bytes() == m {
        return None;
    }
    let text = format!("`/{}` is read as `/{behind}`", shown(m));
    judge(&codes::PREFIX_ODD, text, Remedy::Write(format!("{}/{behind}", shown(n))))
}

/// A network that can never match.
fn no_network(word: &[u8], n: &[u8], m: &[u8], why: NoNet) -> Option<Judgement> {
    let text = shown(word);
    let inner = in_brackets(n);
    match (why, inner) {
        (NoNet::Net, Some(inner)) => bad_v6(word, inner, &format!("/{}", shown(m))),
        (NoNet::Mask, Some(_)) => {
            let text = format!("`{text}` never matches: the length must be from 0 to 128");
            judge(&codes::PREFIX_NEVER, text, Remedy::Usual)
        }
        (NoNet::Net, None) => bad_network(word, n, m),
        (NoNet::Mask, None) if plain_v4(m) == Some(Ipv4Addr::BROADCAST) => {
            let address = dot_quad(n).map_or_else(String::new, |net| Ipv4Addr::from(net).to_string());
            judge(&codes::ALL_ONES, format!("`{text}` never matches"), Remedy::Write(address))
        }
        (NoNet::Mask, None) => {
            let text = format!("`{text}` never matches: the length must be from 1 to 32");
            let all = dot_quad(n) == Some(0) && m == b"0";
            let remedy = if all { Remedy::Write("0.0.0.0/0.0.0.0".to_owned()) } else { Remedy::Usual };
            judge(&codes::PREFIX_NEVER, text, remedy)
        }
        (NoNet::HostBits { net, mask }, _) => {
            let text = format!("`{text}` never matches: the network has bits behind its mask");
            let first = Ipv4Addr::from(net & mask);
            judge(&codes::HOST_BITS, text, Remedy::Write(format!("{first}/{}", shown(m))))
        }
    }
}

fn bad_network(word: &[u8], n: &[u8], m: &[u8]) -> Option<Judgement> {
    let text = format!("`{}` never matches: `{}` is no IPv4 address", shown(word), shown(n));
    if plain_v4(n) == Some(Ipv4Addr::BROADCAST) {
        let text = format!("`{}` never matches: 255.255.255.255 stands for “no address”", shown(word));
        return judge(&codes::BAD_NET, text, Remedy::Write("255.255.255.255".to_owned()));
    }
    let parts = n.strip_suffix(b".").unwrap_or(n).split(|byte| *byte == b'.').filter(|part| !part.is_empty());
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u8>().ok();
    let numbers: Option<Vec<u8>> = parts.map(number).collect();
    let remedy = match numbers.filter(|numbers| (1..=4).contains(&numbers.len())) {
        Some(mut numbers) => {
            numbers.resize(4, 0);
            let four = numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(".");
            Remedy::Write(format!("{four}/{}", shown(m)))
        }
        None => Remedy::Usual,
    };
    judge(&codes::BAD_NET, text, remedy)
}

fn v6_network(word: &[u8], net: V6<'_>, length: u8, m: &[u8]) -> Option<Judgement> {
    let inner =
        crate::split::at_unbracketed(word, b'/').and_then(|(n, _)| in_brackets(n)).unwrap_or_default();
    let behind = format!("/{}", shown(m));
    if let Some(judgement) = scoped(word, inner, &behind).or_else(|| mapped(word, &net, length)) {
        return Some(judgement);
    }
    if length == 0 && !m.first().is_some_and(u8::is_ascii_digit) {
        let text = format!("`{}` matches every IPv6 address", shown(word));
        return judge(&codes::PREFIX_ALL, text, Remedy::Usual);
    }
    if length.to_string().as_bytes() == m {
        return None;
    }
    let text = format!("`/{}` is read as `/{length}`", shown(m));
    judge(&codes::PREFIX_ODD, text, Remedy::Write(format!("[{}]/{length}", shown(inner))))
}
