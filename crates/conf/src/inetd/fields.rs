//! The forms that one field has in the dialects. Reads a word; knows nothing of lines.

use super::entry::{Families, Field, Limits, Name, Problem};

fn bad(field: Field, word: &str, expected: &'static str) -> Problem {
    Problem::Bad { field, word: word.to_owned(), expected }
}

/// What the first field says: the address, the rest, and a unix socket's owner and mode.
pub(super) struct ServiceWord<'a> {
    pub address: Option<&'a str>,
    pub name: &'a str,
    pub mode: Option<&'a str>,
}

/// `[address:]service`, `[v6]:service`, `/path`, `:user:group:mode:/path`.
pub(super) fn service(word: &str) -> ServiceWord<'_> {
    if let Some(at) = word.find(":/").filter(|_| word.starts_with(':')) {
        let (mode, path) = word.split_at(at);
        return ServiceWord { address: None, name: path.get(1..).unwrap_or(""), mode: mode.get(1..) };
    }
    if word.starts_with('/') {
        return ServiceWord { address: None, name: word, mode: None };
    }
    match word.rsplit_once(':') {
        Some((address, name)) => {
            let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            ServiceWord { address: Some(address).filter(|a| !a.is_empty()), name, mode: None }
        }
        None => ServiceWord { address: None, name: word, mode: None },
    }
}

/// The name, now that the protocol tells whether it is an RPC program.
pub(super) fn name(word: &str, rpc: bool) -> Result<Name, Problem> {
    const VERSIONS: &str = "a program and its versions, `name/1` or `name/1-3`";
    if rpc {
        let (program, versions) = word.split_once('/').ok_or_else(|| bad(Field::Service, word, VERSIONS))?;
        let (first, last) = versions.split_once('-').unwrap_or((versions, versions));
        let read = |text: &str| text.parse::<u32>().ok();
        return match (read(first), read(last)) {
            (Some(first), Some(last)) if first <= last && !program.is_empty() => {
                Ok(Name::Rpc { program: program.to_owned(), versions: (first, last) })
            }
            _ => Err(bad(Field::Service, word, VERSIONS)),
        };
    }
    if word.starts_with('/') {
        return Ok(Name::Path(word.to_owned()));
    }
    if let Some(name) = word.strip_prefix("tcpmux/") {
        let plus = name.starts_with('+');
        let name = name.strip_prefix('+').unwrap_or(name).to_owned();
        return if name.is_empty() {
            Err(bad(Field::Service, word, "`tcpmux/NAME`"))
        } else {
            Ok(Name::Mux { name, plus })
        };
    }
    if word.is_empty() || word.contains('/') {
        return Err(bad(
            Field::Service,
            word,
            "a name of /etc/services, a port, or a path that starts with /",
        ));
    }
    // To xinetd it is a port of the kernel's choice, where nobody finds the service.
    if word.bytes().all(|b| b == b'0') {
        return Err(bad(Field::Service, word, "a port from 1 to 65535"));
    }
    Ok(Name::Port(word.to_owned()))
}

/// `stream`, with an accept filter behind a colon (NetBSD).
pub(super) fn socket(word: &str) -> Result<(&'static str, Option<String>), Problem> {
    let (kind, filter) = word.split_once(':').map_or((word, None), |(kind, filter)| (kind, Some(filter)));
    // Solaris names the socket types of its own interface.
    let kind = match kind {
        "stream" | "tli" | "xti" => "stream",
        "dgram" => "dgram",
        "raw" => "raw",
        "seqpacket" => "seqpacket",
        "rdm" => "rdm",
        _ => return Err(bad(Field::SocketType, word, "stream, dgram, raw, rdm or seqpacket")),
    };
    Ok((kind, filter.map(str::to_owned)))
}

/// What the protocol field says.
pub(super) struct ProtocolWord {
    pub protocol: String,
    pub rpc: bool,
    pub families: Families,
    pub extras: Vec<String>,
}

/// `tcp`, `tcp6`, `udp46`, `rpc/udp`, `unix`, `tcp,sndbuf=8k`, `tcp/faith`.
pub(super) fn protocol(word: &str) -> Result<ProtocolWord, Problem> {
    const EXPECTED: &str = "tcp, udp (with 4, 6 or 46), unix, or rpc/ before one of them";
    let (word_rpc, rpc) = match word.strip_prefix("rpc/") {
        Some(rest) => (rest, true),
        None => (word, false),
    };
    let mut parts = word_rpc.split(',');
    let first = parts.next().unwrap_or_default();
    let mut extras: Vec<String> = parts.map(str::to_owned).collect();
    // KAME's `tcp6/faith` translated addresses; nothing does that any more.
    let first = match first.split_once('/') {
        Some((protocol, extra)) => {
            extras.push(extra.to_owned());
            protocol
        }
        None => first,
    };
    let (protocol, families) = match first {
        "tcp4" => ("tcp", Families::V4),
        "udp4" => ("udp", Families::V4),
        "tcp6" | "tcp6only" => ("tcp", Families::V6),
        "udp6" | "udp6only" => ("udp", Families::V6),
        "tcp46" => ("tcp", Families::Both),
        "udp46" => ("udp", Families::Both),
        other => (other, Families::Unsaid),
    };
    let known =
        !protocol.is_empty() && protocol.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+_*".contains(&b));
    if !known {
        return Err(bad(Field::Protocol, word, EXPECTED));
    }
    Ok(ProtocolWord { protocol: protocol.to_owned(), rpc, families, extras })
}

/// `wait`, `nowait`, and the limits behind them.
pub(super) fn wait(word: &str) -> Result<(bool, Limits), Problem> {
    const EXPECTED: &str = "wait or nowait, with a limit behind it as in nowait.60 or nowait/10/20/5";
    let at = word.find(['.', ':', '/']).unwrap_or(word.len());
    let (mode, rest) = word.split_at(at);
    let wait = match mode {
        "wait" => true,
        "nowait" => false,
        _ => return Err(bad(Field::Wait, word, EXPECTED)),
    };
    let mut limits = Limits::default();
    let number = |text: &str| text.parse::<u32>().map_err(|_| bad(Field::Wait, word, EXPECTED));
    if let Some(rest) = rest.strip_prefix(['.', ':']) {
        limits.starts_a_minute = Some(number(rest)?);
    } else if let Some(rest) = rest.strip_prefix('/') {
        let mut parts = rest.split('/').map(number);
        limits.at_once = parts.next().transpose()?;
        limits.from_one_a_minute = parts.next().transpose()?;
        limits.from_one_at_once = parts.next().transpose()?;
        if parts.next().is_some() {
            return Err(bad(Field::Wait, word, EXPECTED));
        }
    }
    Ok((wait, limits))
}

/// `user`, `user.group`, `user:group`, and `/class` behind either.
pub(super) fn user(word: &str) -> Result<(String, Option<String>, Option<String>), Problem> {
    let (ids, class) = word.split_once('/').map_or((word, None), |(ids, class)| (ids, Some(class)));
    // A colon decides: user names may have dots.
    let (user, group) = match ids.split_once(':').or_else(|| ids.split_once('.')) {
        Some((user, group)) => (user, Some(group)),
        None => (ids, None),
    };
    if user.is_empty() || group == Some("") {
        return Err(bad(Field::User, word, "a user, or user:group"));
    }
    Ok((user.to_owned(), group.map(str::to_owned), class.map(str::to_owned)))
}
