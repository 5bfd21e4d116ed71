//! One logical line: comments, blanks, continuations, the split into fields; then the lists and the options.

use super::codes::{self, Severity};
use super::look::Look;
use super::options;
use super::report::{Remedy, shown};
use super::words::{self, List};
use crate::list::Token;
use crate::split::Rule;
use std::net::Ipv6Addr;

/// What was found of a rule that can be compared with others.
pub(super) struct Parts<'a> {
    pub daemons: Vec<Token<'a>>,
    pub clients: Vec<Token<'a>>,
    pub options: Option<&'a [u8]>,
}

/// Looks at one line; gives its rule if it has one that is read as it stands.
pub(super) fn line<'a>(look: &mut Look<'_, '_>, text: &'a [u8]) -> Option<Parts<'a>> {
    if look.line.is_comment() {
        swallowed(look);
        return None;
    }
    if look.line.is_blank() {
        return None;
    }
    continuation(look);
    let odd = odd_blank(look, text);
    let indented = text.trim_ascii_start().starts_with(b"#");
    if odd && text.iter().find(|byte| byte.is_ascii_graphic()) == Some(&b'#') {
        return None;
    }
    let Some(rule) = Rule::new(text) else {
        if indented {
            let at = text.len() - text.trim_ascii_start().len();
            let message = "a `#` behind blanks starts no comment; the line is skipped, having no colon";
            look.say_as(&codes::NO_COMMENT, Severity::Note, (at, 1), message.to_owned(), Remedy::Usual);
        } else {
            no_colon(look, text);
        }
        return None;
    };
    if indented {
        let at = text.len() - text.trim_ascii_start().len();
        let message = "a `#` behind blanks starts no comment: this is a rule in force";
        look.say(&codes::NO_COMMENT, (at, 1), message.to_owned(), Remedy::Usual);
        return None;
    }
    let cut = bare_v6(look, text, &rule);
    let open = bracket(look, 0, rule.daemons) | bracket(look, rule.clients_at(), rule.clients);
    let daemons = words::list(look, 0, rule.daemons, List::Daemons);
    if cut.is_some() || open {
        // What stands before the address is as it looks.
        let before = text.get(rule.clients_at()..cut.unwrap_or(0)).unwrap_or_default();
        if crate::list::tokens(before).next().is_some() {
            words::list(look, rule.clients_at(), before, List::Clients);
        }
        return None;
    }
    let clients = words::list(look, rule.clients_at(), rule.clients, List::Clients);
    option_word(look, &rule, &clients);
    if let Some(field) = rule.options {
        let comment = rule.clients.contains(&b'#')
            && crate::list::tokens(rule.clients).any(|w| w.text.starts_with(b"#"));
        if !comment {
            options::options(look, rule.options_at(), field);
        }
    }
    Some(Parts { daemons, clients, options: rule.options })
}

/// `d: ALL deny`: an option without its colon.
fn option_word(look: &mut Look<'_, '_>, rule: &Rule<'_>, clients: &[Token<'_>]) {
    let known = |word: &[u8]| [&b"allow"[..], b"deny"].iter().any(|known| word.eq_ignore_ascii_case(known));
    let [_, .., last] = clients else { return };
    if rule.options.is_some() || !known(last.text) {
        return;
    }
    let word = shown(last.text);
    let message = format!("`{word}` is a client here: no colon stands before it");
    look.say(&codes::OPTION_WORD, (last.at, last.text.len()), message, Remedy::Write(format!(": {word}")));
}

/// A comment that ends in a backslash.
fn swallowed(look: &mut Look<'_, '_>) {
    let mut lines = look.source.physical(&look.line);
    let Some((first, text)) = lines.next() else { return };
    // A comment, or nothing, may well go on.
    let harm =
        lines.find(|(_, line)| !line.trim_ascii().is_empty() && !line.trim_ascii_start().starts_with(b"#"));
    let Some((at, next)) = harm else { return };
    let spot = look.source.spot(first + text.len().saturating_sub(1), 1);
    let message = format!(
        "the comment goes on: line {} is part of it, `{}`",
        look.source.number(at),
        shown(next.trim_ascii())
    );
    look.report.say_at(&codes::COMMENT_CONTINUES, spot, message, Remedy::Usual);
}

/// A backslash that does not stand directly before the newline.
fn continuation(look: &mut Look<'_, '_>) {
    let found = look.source.physical(&look.line).find_map(|(start, line)| {
        let kept = line.trim_ascii_end();
        (kept.len() < line.len() && kept.ends_with(b"\\")).then_some((start, kept.len(), line))
    });
    let Some((start, length, line)) = found else { return };
    let what = if line.ends_with(b"\\\r") { "a CR" } else { "a blank" };
    let spot = look.source.spot(start + length - 1, 1);
    let message = format!("{what} stands behind the backslash: the line does not continue");
    look.report.say_at(&codes::CONTINUATION, spot, message, Remedy::Usual);
}

/// What looks blank and is not. Says only the first.
fn odd_blank(look: &mut Look<'_, '_>, text: &[u8]) -> bool {
    let odd: [(&[u8], &str); 5] = [
        (b"\xef\xbb\xbf", "a byte order mark"),
        (b"\xc2\xa0", "a no-break space"),
        (b"\xe2\x80\x8b", "a zero-width space"),
        (b"\x0b", "a vertical tab"),
        (b"\x0c", "a form feed"),
    ];
    let found = odd.iter().filter_map(|(bytes, name)| {
        let at = text.windows(bytes.len()).position(|window| window == *bytes)?;
        Some((at, bytes.len(), *name))
    });
    let Some((at, length, name)) = found.min_by_key(|(at, ..)| *at) else { return false };
    // In a command or a value it is that command's affair.
    if Rule::new(text).is_some_and(|rule| rule.options.is_some() && at >= rule.options_at()) {
        return false;
    }
    let shown = name != "a byte order mark" && name != "a zero-width space";
    let remedy = if shown { Remedy::Usual } else { Remedy::Write(String::new()) };
    look.say(&codes::ODD_BLANK, (at, length), format!("{name} is no blank here, but part of a word"), remedy);
    true
}

fn no_colon(look: &mut Look<'_, '_>, text: &[u8]) {
    let start = text.len() - text.trim_ascii_start().len();
    let span = (start, text.trim_ascii().len());
    if text.contains(&b':') && bracket(look, 0, text) {
        return;
    }
    let words: Vec<Token<'_>> = crate::list::tokens(text).collect();
    let remedy = match words.as_slice() {
        _ if start > 0 && look.source.number(look.line.start) > 1 => {
            Remedy::Do("if it continues the line above, end that line with a backslash".to_owned())
        }
        [daemon, mark, ..] if mark.text == b"=" => Remedy::Do(format!("write `{}: …`", shown(daemon.text))),
        [daemon, client] if !daemon.text.contains(&b'=') => {
            Remedy::Write(format!("{}: {}", shown(daemon.text), shown(client.text)))
        }
        _ => Remedy::Usual,
    };
    look.say(&codes::NO_COLON, span, "the line has no colon and is skipped".to_owned(), remedy);
}

/// A bracket without a partner in a field that begins at `from`.
fn bracket(look: &mut Look<'_, '_>, from: usize, field: &[u8]) -> bool {
    let mut open = Vec::new();
    let mut lone = None;
    for (at, byte) in field.iter().enumerate() {
        match byte {
            b'[' => open.push(at),
            b']' if open.pop().is_none() => lone = lone.or(Some((at, ']'))),
            _ => {}
        }
    }
    let Some((at, mark)) = lone.or(open.first().map(|at| (*at, '['))) else { return false };
    let text = format!("this `{mark}` has no partner and hides every later colon of its field");
    look.say(&codes::BRACKET, (from + at, 1), text, Remedy::Usual);
    true
}

/// An IPv6 address without brackets: the word that goes on behind the second colon, or, behind an `@`, behind the first.
fn bare_v6(look: &mut Look<'_, '_>, text: &[u8], rule: &Rule<'_>) -> Option<usize> {
    let word = |colon: usize| {
        let separator = |byte: &u8| crate::list::is_separator(*byte);
        let before = text.get(..colon)?;
        let start = before.iter().rposition(separator).map_or(0, |at| at + 1);
        let behind = text.get(colon..)?;
        let end = behind.iter().position(separator).unwrap_or(behind.len()) + colon;
        let word = text.get(start..end)?;
        // The colon behind the address, which parts the fields.
        let bare = word.strip_suffix(b":").filter(|bare| !bare.ends_with(b":"));
        Some((start, bare.unwrap_or(word)))
    };
    let second = rule.options.and_then(|_| word(rule.options_at().checked_sub(1)?)).map(|(start, word)| {
        // `ALL:fd42::1` without a blank.
        let own = start.max(rule.clients_at());
        (own, word.get(own - start..).unwrap_or_default())
    });
    let first = word(rule.daemons.len()).and_then(|(start, word)| {
        let at = word.iter().position(|byte| *byte == b'@').filter(|at| *at > 0)?;
        Some((start + at + 1, word.get(at + 1..)?))
    });
    for (at, word) in [second, first].into_iter().flatten() {
        let Some(fixed) = bracketed(word) else { continue };
        let all = word.starts_with(b"*");
        let message = if all {
            format!(
                "`{}` is cut at its colons: every client matches, and is refused for a wrong option",
                shown(word)
            )
        } else {
            format!("`{}` is cut at its colons: what stands behind the first is read as options", shown(word))
        };
        look.say(&codes::BARE_V6, (at, word.len()), message, Remedy::Write(fixed));
        return Some(at);
    }
    None
}

/// The word in brackets, if it is an IPv6 address or network that needs them.
fn bracketed(word: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(word).ok()?;
    // Words of options: `d: ALL:deny`.
    let text = text.strip_prefix('*').unwrap_or(text);
    let (user, text) =
        text.rsplit_once('@').map_or((String::new(), text), |(user, text)| (format!("{user}@"), text));
    let (address, behind) =
        text.split_once('/').map_or((text, String::new()), |(a, len)| (a, format!("/{len}")));
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    // A deny behind it belongs to the rule: `d: ::1:deny`.
    let whole = address.parse::<Ipv6Addr>().is_ok();
    let cut =
        address.rsplit_once(':').filter(|(_, last)| !whole && last.bytes().any(|b| !b.is_ascii_hexdigit()));
    let (address, option) =
        cut.map_or((address, String::new()), |(address, last)| (address, format!(": {last}")));
    let address = address.parse::<Ipv6Addr>().ok()?;
    Some(format!("{user}[{address}]{behind}{option}"))
}
