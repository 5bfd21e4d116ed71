//! Bytes to a [`Listing`]: lines, continuations, quotes, comments. Every line comes to one item; none is lost, and a line
//! that is no service says why.

use super::entry::{Entry, Field, Item, ItemKind, Lines, Listing, Problem, Server};
use super::fields;

/// The most words a line may have: what a server could be given.
const MAX_WORDS: usize = 1024;

/// Reads a file. Never fails: what cannot be read is [`ItemKind::Broken`].
pub fn parse(text: &[u8]) -> Listing {
    let text = String::from_utf8_lossy(text);
    let mut address: Option<String> = None;
    let mut items: Vec<Item> = Vec::new();
    let mut lines = (1u32..).zip(text.lines()).peekable();
    while let Some((first, line)) = lines.next() {
        let mut item = Item { lines: Lines { first, last: first }, kind: ItemKind::Blank };
        if line.trim().is_empty() {
            items.push(item);
            continue;
        }
        if let Some(comment) = line.trim_start().strip_prefix('#') {
            item.kind = comment_line(line, comment);
            items.push(item);
            continue;
        }
        let mut whole = line.to_owned();
        // An indented line goes on with the service above it; a blank one ends it.
        while let Some((number, more)) =
            lines.next_if(|(_, l)| l.starts_with([' ', '\t']) && !l.trim().is_empty() && !looks_whole(l))
        {
            whole.push(' ');
            whole.push_str(more.trim());
            item.lines.last = number;
        }
        item.kind = service_line(&whole, &mut address);
        items.push(item);
    }
    Listing { items }
}

/// Neither blank nor a comment: an indented line below goes on with it.
pub(crate) fn says_something(line: &str) -> bool {
    let text = line.trim_start();
    !text.is_empty() && !text.starts_with('#')
}

/// An indented line that is a service by itself is one: the original takes its words for arguments of the line above.
pub(crate) fn looks_whole(line: &str) -> bool {
    let mut words = line.split_whitespace().skip(1);
    words.next().is_some_and(|word| fields::socket(word).is_ok()) && words.count() >= 4
}

fn comment_line(line: &str, comment: &str) -> ItemKind {
    if let Some(policy) = comment.strip_prefix('@') {
        return ItemKind::Policy(policy.trim().to_owned());
    }
    let (marker, rest) = match comment.strip_prefix("<off>#") {
        Some(rest) => ("#<off>#", rest),
        None => ("#", comment.trim_start_matches('#')),
    };
    match service_line(rest.trim(), &mut None) {
        // Prose has no socket type as its second word.
        ItemKind::Service(entry) => ItemKind::Off { marker: marker.to_owned(), entry },
        _ => ItemKind::Comment(line.trim_end().to_owned()),
    }
}

fn service_line(line: &str, address: &mut Option<String>) -> ItemKind {
    let line = line.trim();
    // `address:` alone sets the default, `*:` takes it back.
    if let Some(default) =
        line.strip_suffix(':').filter(|d| !d.contains(char::is_whitespace) && !d.is_empty())
    {
        let default = default.strip_prefix('[').and_then(|d| d.strip_suffix(']')).unwrap_or(default);
        *address = Some(default.to_owned()).filter(|d| d != "*");
        return ItemKind::Address(default.to_owned());
    }
    match words(line).and_then(|words| entry(&words, address.as_deref())) {
        Ok(entry) => ItemKind::Service(Box::new(entry)),
        Err(problem) => ItemKind::Broken { text: line.to_owned(), problem },
    }
}

/// Words between blanks; quotes of either kind hold blanks together at the start of a word, as in the BSDs.
fn words(line: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if first == '"' || first == '\'' {
            let inner = rest.get(1..).unwrap_or_default();
            inner.split_once(first).ok_or(Problem::OpenQuote)?
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        };
        if words.len() == MAX_WORDS {
            return Err(Problem::TooLong);
        }
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

fn entry(words: &[String], default: Option<&str>) -> Result<Entry, Problem> {
    let mut next = words.iter();
    let mut word = |field| next.next().map(String::as_str).ok_or(Problem::Missing(field));
    let service = fields::service(word(Field::Service)?);
    let (socket, filter) = fields::socket(word(Field::SocketType)?)?;
    let protocol = fields::protocol(word(Field::Protocol)?)?;
    let (wait, limits) = fields::wait(word(Field::Wait)?)?;
    let (user, group, class) = fields::user(word(Field::User)?)?;
    let server = word(Field::Server)?.to_owned();
    let name = fields::name(service.name, protocol.rpc)?;
    let argv: Vec<String> = next.cloned().collect();
    let server = if server == "internal" {
        Server::Internal
    } else if argv.is_empty() {
        // Every inetd but the busybox's wants the name; without it the path's last component is meant.
        let name = server.rsplit('/').next().unwrap_or(&server).to_owned();
        Server::Program { path: server, argv: vec![name] }
    } else {
        Server::Program { path: server, argv }
    };
    let address = service.address.or(default).filter(|address| *address != "*").map(str::to_owned);
    Ok(Entry {
        name,
        address,
        socket,
        protocol: protocol.protocol,
        families: protocol.families,
        extras: protocol.extras.into_iter().chain(filter).collect(),
        wait,
        limits,
        user,
        group,
        class,
        socket_mode: service.mode.map(str::to_owned),
        server,
    })
}
