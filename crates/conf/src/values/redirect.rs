//! Values that say where a redirected service is carried, and what is told to whom of the client.

use super::{Bad, Line, needs_a_value};
use crate::address::{inet_aton, inet6};
use crate::codes;
use crate::draft::Draft;
use crate::host::Family;
use crate::number;
use crate::redirect::{ProxyProtocol, ProxyVersion};
use std::net::{IpAddr, SocketAddr};

pub(super) fn targets(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let port = line.text(1);
    let number = number::integer(port).filter(|&number| number > 0);
    let number = number.or_else(|| line.host.service_port(port, "tcp").map(i64::from));
    let number =
        number.ok_or_else(|| Bad::new(format!("`{port}` is no port"), "port number invalid").word(1))?;
    if number > 65535 {
        return Err(Bad::new(format!("the port {number} is over 65535"), "port number too large").word(1));
    }
    let text = line.text(0);
    let known: Option<IpAddr> = if text.contains(':') {
        inet6(text).map(|(address, _)| address.into())
    } else {
        inet_aton(text).map(|(address, ..)| address.into())
    };
    let asked = |family| line.host.addresses(text, family).first().copied();
    // xinetd asks for IPv4 alone; a name that has only IPv6 is served all the same.
    let Some(address) = known.or_else(|| match text.contains(':') {
        true => asked(Family::V6),
        false => asked(Family::V4).or_else(|| asked(Family::V6)),
    }) else {
        let message = format!("`{text}` is no address and no host name that resolves");
        return Err(Bad::new(message, "bad address").code(&codes::BAD_ADDRESS));
    };
    let port = u16::try_from(number).unwrap_or_default();
    draft.redirect = Some((text.to_owned(), SocketAddr::new(address, port)));
    Ok(())
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
