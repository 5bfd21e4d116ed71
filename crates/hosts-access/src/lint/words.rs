//! The words of a rule's two lists: EXCEPT, `#`, and each word in turn. Knows what belongs in which list.

use super::codes::{self, Code};
use super::host::{self, Judgement};
use super::look::Look;
use super::report::{Remedy, shown};
use crate::list::{Token, tokens};
use crate::split::at_host;
use std::net::Ipv4Addr;

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Daemons,
    Clients,
}

/// Looks at one list, which begins at `from` in the line. Gives back its words without what stands behind a `#`.
pub(super) fn list<'a>(look: &mut Look<'_, '_>, from: usize, text: &'a [u8], which: List) -> Vec<Token<'a>> {
    let mut words: Vec<Token<'a>> = tokens(text).map(|word| Token { at: word.at + from, ..word }).collect();
    if let Some(hash) = words.iter().position(|word| word.text.starts_with(b"#")) {
        hash_word(look, &words, hash, which);
        words.truncate(hash);
        if words.is_empty() {
            return words;
        }
    }
    if words.is_empty() {
        let (code, text) = match which {
            List::Daemons => (&codes::NO_DAEMON, "no daemon stands before the colon"),
            List::Clients => (&codes::NO_CLIENT, "no client stands behind the colon"),
        };
        look.say(code, (from.saturating_sub(1), 1), text.to_owned(), Remedy::Usual);
    }
    except(look, &words);
    let commas = if which == List::Clients { commas(look, text, from, &words) } else { 0..0 };
    for (index, word) in words.iter().enumerate() {
        if !word.is_except() && word.text != b"\\" && !commas.contains(&index) {
            match which {
                List::Daemons => daemon(look, *word),
                List::Clients => client(look, *word),
            }
        }
    }
    words
}

fn hash_word(look: &mut Look<'_, '_>, words: &[Token<'_>], hash: usize, which: List) {
    let Some(word) = words.get(hash) else { return };
    let behind =
        words.get(hash..).unwrap_or_default().iter().map(|word| shown(word.text)).collect::<Vec<_>>();
    let kind = if which == List::Daemons { "daemons" } else { "clients" };
    let text = format!("`#` starts no comment here: `{}` are {kind}", behind.join(" "));
    look.say(&codes::HASH, (word.at, word.text.len()), text, Remedy::Usual);
}

/// `192,168,1.5`: an address with commas for dots. Gives the words it is made of.
fn commas(look: &mut Look<'_, '_>, text: &[u8], from: usize, words: &[Token<'_>]) -> std::ops::Range<usize> {
    for (index, word) in words.iter().enumerate() {
        let whole = text.get(word.at - from..).unwrap_or_default();
        let length = whole.iter().position(|byte| crate::lines::is_blank(*byte)).unwrap_or(whole.len());
        let whole = whole.get(..length).unwrap_or_default();
        let begins = index.checked_sub(1).and_then(|before| words.get(before)).is_none_or(|before| {
            before.at + before.text.len() + 1 < word.at
                || text.get((word.at - from).saturating_sub(1)) != Some(&b',')
        });
        let dotted: Vec<u8> = whole.iter().map(|byte| if *byte == b',' { b'.' } else { *byte }).collect();
        if begins && whole.contains(&b',') && crate::lint::number::plain_v4(&dotted).is_some() {
            let remedy = Remedy::Write(shown(&dotted));
            let message = format!("`{}` are several words: a comma parts them", shown(whole));
            look.say(&codes::SHORT, (word.at, whole.len()), message, remedy);
            let parts = whole.split(|byte| *byte == b',').count();
            return index..index + parts;
        }
    }
    0..0
}

fn except(look: &mut Look<'_, '_>, words: &[Token<'_>]) {
    let excepts: Vec<usize> =
        (0..words.len()).filter(|i| words.get(*i).is_some_and(Token::is_except)).collect();
    let Some(first) = excepts.first().copied() else { return };
    let span = |index: usize| words.get(index).map_or((0, 0), |word| (word.at, word.text.len()));
    if first == 0 {
        let text = "nothing stands before EXCEPT: the list never matches";
        look.say(&codes::EXCEPT_FIRST, span(0), text.to_owned(), Remedy::Usual);
        return;
    }
    if let Some(second) =
        excepts.windows(2).find(|pair| pair.first().map(|at| at + 1) == pair.last().copied())
    {
        let text = "nothing stands between two EXCEPT";
        let at = second.last().copied().unwrap_or(first);
        look.say(&codes::EXCEPT_FIRST, span(at), text.to_owned(), Remedy::Usual);
        return;
    }
    let last = excepts.last().copied().unwrap_or(first);
    if last + 1 == words.len() {
        let text = "nothing stands behind EXCEPT: it takes nothing away";
        look.say(&codes::EXCEPT_LAST, span(last), text.to_owned(), Remedy::Usual);
    } else if excepts.len() > 1 {
        let text = "exceptions from exceptions match again";
        look.say(&codes::EXCEPT_TWICE, span(last), text.to_owned(), Remedy::Usual);
    }
}

fn tell(look: &mut Look<'_, '_>, at: usize, word: &[u8], judgement: Judgement) {
    look.say(judgement.code, (at, word.len()), judgement.message, judgement.remedy);
}

fn client(look: &mut Look<'_, '_>, word: Token<'_>) {
    let Some((user, host)) = at_host(word.text) else {
        return host_word(look, word.at, word.text);
    };
    let special = ["LOCAL", "PARANOID"].iter().any(|known| user.eq_ignore_ascii_case(known.as_bytes()));
    if special || user.starts_with(b"@") || user.starts_with(b"/") {
        let text = format!("`{}` is compared as text with the user's name", shown(user));
        look.say(&codes::USER_WORD, (word.at, user.len()), text, Remedy::Usual);
    } else {
        let text = format!("`{}` asks the client's host for the user", shown(word.text));
        look.say(&codes::IDENT, (word.at, word.text.len()), text, Remedy::Usual);
    }
    behind_at(look, word, host);
}

/// The host behind an `@`.
fn behind_at(look: &mut Look<'_, '_>, word: Token<'_>, host: &[u8]) {
    let at = word.at + word.text.len() - host.len();
    if host.is_empty() {
        let text = format!("no host stands behind the `@` of `{}`: it never matches", shown(word.text));
        look.say(&codes::NO_HOST, (word.at, word.text.len()), text, Remedy::Usual);
    } else {
        host_word(look, at, host);
    }
}

fn host_word(look: &mut Look<'_, '_>, at: usize, word: &[u8]) {
    if word.starts_with(b"/") {
        return look.file(at, word);
    }
    if let Some(judgement) = host::host(word) {
        tell(look, at, word, judgement);
    }
}

fn daemon(look: &mut Look<'_, '_>, word: Token<'_>) {
    let (name, host) = at_host(word.text).map_or((word.text, None), |(name, host)| (name, Some(host)));
    if let Some(judgement) = daemon_name(name) {
        tell(look, word.at, name, judgement);
    }
    if let Some(host) = host {
        behind_at(look, word, host);
    }
}

fn daemon_name(name: &[u8]) -> Option<Judgement> {
    let text = shown(name);
    let judge =
        |code: &'static Code, message: String, remedy: Remedy| Some(Judgement { code, message, remedy });
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if name.starts_with(b"@") {
        return judge(
            &codes::DAEMON_GROUP,
            format!("`{text}` is a plain name here, and no daemon's"),
            Remedy::Usual,
        );
    }
    if name.starts_with(b"/") {
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let text = format!("`{text}` never matches: daemons are named without their path");
        let remedy = if last.is_empty() { Remedy::Usual } else { Remedy::Write(shown(last)) };
        return judge(&codes::DAEMON_PATH, text, remedy);
    }
    if is("KNOWN") {
        return judge(
            &codes::DAEMON_WORD,
            format!("`{text}` matches every daemon"),
            Remedy::Write("ALL".to_owned()),
        );
    }
    if is("LOCAL") || is("UNKNOWN") || is("PARANOID") {
        return judge(
            &codes::DAEMON_WORD,
            format!("`{text}` is a plain name in the daemon list"),
            Remedy::Usual,
        );
    }
    if is("FAIL") {
        return judge(
            &codes::FAIL,
            format!("`{text}` is a name here, no word of the language"),
            Remedy::Usual,
        );
    }
    if is("ALL") {
        return None;
    }
    if let Some(rest) = name.strip_prefix(b"!").filter(|rest| !rest.is_empty()) {
        let help = format!("write `ALL EXCEPT {}`", shown(rest));
        return judge(
            &codes::NEGATION,
            format!("`{text}` does not mean “not {}”", shown(rest)),
            Remedy::Do(help),
        );
    }
    let address = std::str::from_utf8(name).ok().and_then(|name| name.parse::<Ipv4Addr>().ok());
    if address.is_some() || (name.starts_with(b"[") && name.ends_with(b"]")) {
        let text = format!("`{text}` is compared with the daemon's name and never matches");
        return judge(&codes::DAEMON_ADDRESS, text, Remedy::Usual);
    }
    port(name)
        .or_else(|| host::stars(name))
        .or_else(|| host::odd_character(name))
        .or_else(|| host::nearly(name))
}

fn port(name: &[u8]) -> Option<Judgement> {
    let digits = name.strip_prefix(b"+").or_else(|| name.strip_prefix(b"-")).unwrap_or(name);
    let number = digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X' | b'-'))
        && digits.iter().filter(|byte| byte.is_ascii_alphabetic()).all(|byte| matches!(byte, b'x' | b'X'));
    if !number {
        return None;
    }
    let text = shown(name);
    let judge =
        |code: &'static Code, message: String, remedy: Remedy| Some(Judgement { code, message, remedy });
    match crate::address::port(name) {
        Some(port) if port > 0 && port.to_string().as_bytes() == name => {
            judge(&codes::DAEMON_PORT, format!("`{text}` is the local port {port}, no name"), Remedy::Usual)
        }
        Some(0) => {
            judge(&codes::ODD_PORT, format!("`{text}` is port 0, which no connection has"), Remedy::Usual)
        }
        Some(port) => judge(
            &codes::ODD_PORT,
            format!("`{text}` is read as port {port}"),
            Remedy::Write(port.to_string()),
        ),
        None => judge(&codes::ODD_PORT, format!("`{text}` is no port but a name"), Remedy::Usual),
    }
}
