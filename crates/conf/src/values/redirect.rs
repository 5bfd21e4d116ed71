//! Values that say where a redirected service is carried, and what is told to whom of the client.

use super::{Bad, Line, needs_a_value};
use crate::address::literal;
use crate::codes;
use crate::diagnostic::Level;
use crate::draft::Draft;
use crate::host::Family;
use crate::number;
use crate::redirect::{MOST_TARGET_ADDRESSES, MOST_TARGETS, ProxyProtocol, ProxyVersion, Target};
use std::net::SocketAddr;

/// HOST PORT or a path, and as many more as there are.
pub(super) fn targets(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let mut targets = Vec::new();
    let mut at = 0;
    while at < line.values.len() {
        let text = line.text(at);
        let path = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text));
        let target = match path {
            Some(path) => local(path).map_err(|bad| bad.word(at))?,
            None => remote(line, at)?,
        };
        at += if path.is_some() { 1 } else { 2 };
        if targets.contains(&target) {
            return Err(Bad::ours(format!("the target {target} stands here twice")).word(at - 1));
        }
        targets.push(target);
        if targets.len() > MOST_TARGETS {
            return Err(Bad::ours(format!("more than {MOST_TARGETS} targets")).word(at - 1));
        }
    }
    draft.redirect = targets;
    draft.redirect_place = Some(line.name.place.clone());
    Ok(())
}

fn local(path: &str) -> Result<Target, Bad> {
    /// Of `sockaddr_un`, without the NUL at the end.
    const LONGEST: usize = 107;
    let bad = |message: String| Bad::ours(message).code(&codes::BAD_ADDRESS);
    if !path.starts_with('/') {
        let help = "write `unix:/path/of/socket`; a name without a file is anybody's to take";
        return Err(bad(format!("`{path}` is no absolute path")).help(help));
    }
    if path.len() > LONGEST {
        return Err(bad(format!("the path of a socket has {LONGEST} bytes at most")));
    }
    Ok(Target::Path(path.to_owned()))
}

fn remote(line: &Line<'_>, at: usize) -> Result<Target, Bad> {
    if at + 1 >= line.values.len() {
        let given = line.values.len();
        let classic = format!("attribute redirect expects 2 values and {given} values were specified");
        let bad =
            Bad::new(format!("`{}` has no port behind it", line.text(at)), classic).level(Level::Warning);
        return Err(bad.word(at).help("HOST PORT, or the path of a unix socket"));
    }
    let port = line.text(at + 1);
    let number = number::integer(port).filter(|&number| number > 0);
    // Which of both it is may stand further down; a name has the same port with both, or only one.
    let named = || line.host.service_port(port, "tcp").or_else(|| line.host.service_port(port, "udp"));
    let number = number.or_else(|| named().map(i64::from));
    let number =
        number.ok_or_else(|| Bad::new(format!("`{port}` is no port"), "port number invalid").word(at + 1))?;
    if number > 65535 {
        let message = format!("the port {number} is over 65535");
        return Err(Bad::new(message, "port number too large").word(at + 1));
    }
    let port = u16::try_from(number).unwrap_or_default();
    let text = line.text(at);
    let mut addresses = match literal(text) {
        Some(address) => vec![address],
        None if text.contains(':') => line.host.addresses(text, Family::V6),
        // xinetd asks for IPv4 alone; a name that has only IPv6 is served all the same.
        None => line.host.addresses(text, Family::V4),
    };
    if addresses.is_empty() {
        addresses = line.host.addresses(text, Family::V6);
    }
    if addresses.is_empty() {
        let message = format!("`{text}` is no address and no host name that resolves");
        return Err(Bad::new(message, "bad address").code(&codes::BAD_ADDRESS).word(at));
    }
    addresses.truncate(MOST_TARGET_ADDRESSES);
    let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    Ok(Target::Host { host: text.to_owned(), addresses })
}

/// A direction, and the form of what is sent. In any order, each once.
pub(super) fn proxy_protocol(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    let (mut direction, mut version) = (None, None);
    for index in 0..line.values.len() {
        let word = line.word_index(index).ok_or_else(|| line.unknown_word(index, None))?;
        let before = match word {
            0..3 => direction.replace((word != 1, word != 0)).is_some(),
            3 => version.replace(ProxyVersion::V1).is_some(),
            _ => version.replace(ProxyVersion::V2).is_some(),
        };
        if before {
            return Err(Bad::ours(format!("`{}` is one word too many", line.text(index))).word(index));
        }
    }
    let Some((accept, send)) = direction else {
        return Err(Bad::ours("proxy_protocol needs a direction").help("`accept`, `send` or `both`"));
    };
    if version.is_some() && !send {
        let bad = Bad::ours("the form of a header that is read is found in it").word(1);
        return Err(bad.help("v1 and v2 go with `send` and `both`"));
    }
    let send = send.then_some(version.unwrap_or(ProxyVersion::V1));
    draft.proxy_protocol = Some(ProxyProtocol { accept, send });
    Ok(())
}
