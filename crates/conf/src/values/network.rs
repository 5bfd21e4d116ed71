//! Values that say what a service is and where it listens: type, flags, socket, protocol, port, bind, and the attributes
//! of RPC services.

use super::{Bad, Line, needs_a_value};
use crate::address::{inet_aton, inet6};
use crate::attributes::{FLAGS, TYPES};
use crate::codes;
use crate::diagnostic::Level;
use crate::draft::{Bind, Draft};
use crate::host::Family;
use crate::number;
use crate::service::SocketType;

/// Each version is a registration of its own; real programs have a handful.
const MOST_RPC_VERSIONS: u32 = 32;

pub(super) fn types(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    for index in 0..line.values.len() {
        let bit = line.word_index(index).filter(|&bit| bit < TYPES.len());
        let bit = bit.ok_or_else(|| line.unknown_word(index, Some((Level::Warning, "Bad service type"))))?;
        draft.types.set(bit, true);
    }
    Ok(())
}

pub(super) fn flags(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    needs_a_value(line)?;
    for index in 0..line.values.len() {
        let bit = line.word_index(index).filter(|&bit| bit < FLAGS.len());
        let bit = bit.ok_or_else(|| {
            let bad = line.unknown_word(index, Some((Level::Warning, "Bad service flag")));
            if line.text(index).eq_ignore_ascii_case("DISABLE") {
                bad.help("write `disable = yes`")
            } else {
                bad
            }
        })?;
        draft.flags.set(bit, true);
    }
    Ok(())
}

pub(super) fn socket_type(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let kinds = [SocketType::Stream, SocketType::Dgram, SocketType::Raw, SocketType::Seqpacket];
    let kind = line.word_index(0).and_then(|index| kinds.get(index));
    let kind = kind.ok_or_else(|| line.unknown_word(0, Some((Level::Error, "Bad socket type"))))?;
    draft.socket = Some(*kind);
    Ok(())
}

pub(super) fn protocol(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let name = line.text(0);
    let number = line.host.protocol(name).ok_or_else(|| {
        let message = format!("the protocol `{name}` is not in /etc/protocols");
        let bad = Bad::new(message, format!("Protocol {name} not in /etc/protocols"));
        match name {
            "tcp6" | "tcp4" => bad.help("write `tcp`, and `flags = IPv6` or `flags = IPv4`"),
            "udp6" | "udp4" => bad.help("write `udp`, and `flags = IPv6` or `flags = IPv4`"),
            _ => bad,
        }
    })?;
    draft.protocol = Some((name.to_owned(), number));
    Ok(())
}

pub(super) fn port(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let port = number::integer(line.text(0)).and_then(|number| u16::try_from(number).ok());
    let port = port.ok_or_else(|| {
        let bad = Bad::new(format!("`{}` is no port", line.text(0)), "port number is invalid");
        bad.help("a number from 0 to 65535; without `port`, the service's name is looked up in /etc/services")
    })?;
    draft.port = Some(port);
    Ok(())
}

pub(super) fn bind(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let found = if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        inet_aton(text).map(|(address, ..)| Bind::Fixed(address.into()))
    } else if text.contains(':') {
        inet6(text).map(|(address, _)| Bind::Fixed(address.into()))
    } else if let Some((address, ..)) = inet_aton(text) {
        Some(Bind::Fixed(address.into()))
    } else {
        match line.host.addresses(text, Family::Any)[..] {
            [] => None,
            [address] => Some(Bind::Fixed(address)),
            _ => Some(Bind::Deferred),
        }
    };
    let found = found.ok_or_else(|| {
        let bad = Bad::new(format!("`{text}` is no address and no host name that resolves"), "bad address");
        let bad = bad.code(&codes::BAD_ADDRESS);
        if line.name.text.eq_ignore_ascii_case("interface") {
            bad.help("`interface` takes an address of the interface, not its name")
        } else {
            bad
        }
    })?;
    draft.bind = line.set((text.to_owned(), found));
    Ok(())
}

pub(super) fn rpc_version(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let Some(range) = number::unsigned(low).zip(number::unsigned(high)).filter(|(low, high)| low <= high)
    else {
        // xinetd cuts the text at the dash before it shows it.
        return Err(Bad::new(
            format!("`{text}` is no version or range of versions"),
            format!("bad version range: {low}"),
        ));
    };
    if range.1 - range.0 >= MOST_RPC_VERSIONS {
        let message = format!("`{text}` is more than {MOST_RPC_VERSIONS} versions");
        return Err(Bad::new(message, format!("bad version range: {low}")));
    }
    draft.rpc_versions = Some(range);
    Ok(())
}

pub(super) fn rpc_number(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let Some(number) = number::unsigned(text) else {
        return Err(Bad::new(format!("`{text}` is no program number"), format!("Error parsing: {text}")));
    };
    draft.rpc_number = Some(number);
    Ok(())
}
