//! Values that say what a service is and where it listens: type, flags, socket, protocol, port, bind, and the attributes
//! of RPC services.

use super::{Bad, Line, needs_a_value};
use crate::address::{inet_aton, inet6};
use crate::attributes::{FLAGS, TYPES};
use crate::codes;
use crate::diagnostic::Level;
use crate::draft::{Bound, Draft};
use crate::host::Family;
use crate::number;
use crate::service::{BindTo, SocketType};

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
    draft.protocol = Some((line.kept(0), number));
    Ok(())
}

pub(super) fn port(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let text = line.text(0);
    let read = |text| number::integer(text).and_then(|number| u16::try_from(number).ok());
    let range = match text.split_once('-').filter(|(first, _)| !first.is_empty()) {
        Some((first, last)) => {
            read(first).zip(read(last)).filter(|&(first, last)| 0 < first && first <= last)
        }
        None => read(text).map(|port| (port, port)),
    };
    let (first, last) = range.ok_or_else(|| {
        let bad = Bad::new(format!("`{text}` is no port"), "port number is invalid");
        bad.help("a number from 0 to 65535, or a range as 5000-5010; without `port`, the service's name is looked up in /etc/services")
    })?;
    draft.port = Some((first, last));
    Ok(())
}

/// Of `sockaddr_un`: a path without the NUL behind it, a name without the one before it.
const LONGEST_NAME: usize = 107;

/// Most words of `bind`.
const MOST_BINDS: usize = 64;

pub(super) fn bind(draft: &mut Draft, line: &Line<'_>) -> Result<(), Bad> {
    let mut bound = Vec::new();
    for index in 0..line.values.len() {
        let word = (line.kept(index), place(line, index)?);
        if bound.contains(&word) {
            return Err(Bad::ours(format!("`{}` stands here twice", word.0)).word(index));
        }
        bound.push(word);
    }
    if bound.len() > MOST_BINDS {
        return Err(Bad::ours(format!("a service has at most {MOST_BINDS} addresses")).word(MOST_BINDS));
    }
    draft.bind = line.set(bound);
    Ok(())
}

/// One word of `bind`. What starts with a percent sign, or has one behind an address, names an interface: a name alone is
/// a host's, so that a machine whose interface is late does not ask the name service for it.
fn place(line: &Line<'_>, index: usize) -> Result<Bound, Bad> {
    let text = line.text(index);
    let inet = |address, device: Option<&str>| {
        Bound::Fixed(BindTo::Inet { address, device: device.map(str::to_owned) })
    };
    let bad = |message: String, help: &str| {
        Err(Bad::new(message, "bad address").code(&codes::BAD_ADDRESS).help(help).word(index))
    };
    if let Some(name) = text.strip_prefix('@') {
        return match name.len() {
            1..=LONGEST_NAME => Ok(Bound::Fixed(BindTo::Abstract(name.to_owned()))),
            _ => bad(format!("`{text}` is no name of a unix socket"), "behind the `@` stand 1 to 107 bytes"),
        };
    }
    if text.starts_with('/') {
        let step = |step: &str| !step.is_empty() && step != "." && step != "..";
        return match text.split('/').skip(1).all(step) {
            true if text.len() <= LONGEST_NAME => Ok(Bound::Fixed(BindTo::Path(text.to_owned()))),
            true => bad(
                format!("the path of this unix socket has {} bytes", text.len()),
                "the kernel takes 107 at most; choose a shorter one",
            ),
            // One place has one name, so that two services at it are seen.
            false => bad(
                format!("`{text}` is no path of a unix socket"),
                "write it without `.`, `..` and double or trailing slashes",
            ),
        };
    }
    if let Some((address, device)) = text.split_once('%') {
        if !is_interface(device) {
            return bad(
                format!("`{device}` is no name of an interface"),
                "at most 15 bytes, without a slash or colon: `%eth0`, `192.0.2.1%eth0`",
            );
        }
        let own = match address {
            "" => Some(None),
            _ if address.contains(':') => inet6(address).map(|(address, _)| Some(address.into())),
            _ => inet_aton(address).map(|(address, ..)| Some(address.into())),
        };
        return match own {
            Some(address) => Ok(inet(address, Some(device))),
            None => bad(
                format!("`{address}` is no address"),
                "an address, or nothing, and the interface: `%eth0`",
            ),
        };
    }
    let found = if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        inet_aton(text).map(|(address, ..)| inet(Some(address.into()), None))
    } else if text.contains(':') {
        inet6(text).map(|(address, _)| inet(Some(address.into()), None))
    } else if let Some((address, ..)) = inet_aton(text) {
        Some(inet(Some(address.into()), None))
    } else {
        match line.host.addresses(text, Family::Any)[..] {
            [] => None,
            [address] => Some(inet(Some(address), None)),
            _ => Some(Bound::Deferred),
        }
    };
    match found {
        Some(found) => Ok(found),
        None if is_interface(text) => bad(
            format!("`{text}` is no address and no host name that resolves"),
            &format!("the interface of this name is `%{text}`"),
        ),
        None => bad(
            format!("`{text}` is no address and no host name that resolves"),
            "an address, a host name, or `%INTERFACE`",
        ),
    }
}

/// Whether the kernel could call an interface so.
pub(crate) fn is_interface(name: &str) -> bool {
    let odd = |b: u8| b == b'/' || b == b':' || b == b'%' || !b.is_ascii_graphic();
    !name.is_empty() && name.len() <= 15 && name != "." && name != ".." && !name.bytes().any(odd)
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
