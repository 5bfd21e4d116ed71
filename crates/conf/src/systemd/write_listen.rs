//! `Listen…=` of a service: one line for each of its addresses and ports, or paths and names.

use super::{addresses, local, words};
use crate::build::SOCKET_MODE;
use crate::convert::{Account, Lenient, Stanza, Stop};
use crate::host::Host;
use crate::values::is_interface;
use std::net::IpAddr;

/// The most lines of one socket.
const MOST: usize = 256;

/// The lines, with what holds for all of them.
pub(super) fn listen(
    stanza: &Stanza,
    account: &mut Account<'_>,
    has: &dyn Fn(&str) -> bool,
    accept: bool,
    host: &Lenient<'_>,
) -> Result<Vec<String>, Stop> {
    let socket = account.value("socket_type").map(str::to_ascii_lowercase);
    if stanza.get("bind").is_some_and(|bind| bind.split_whitespace().any(local::is_local)) {
        return unix(stanza, account, socket.as_deref(), accept);
    }
    let protocol = account.value("protocol").map(str::to_ascii_lowercase);
    let (key, protocol) = match (socket.as_deref(), protocol.as_deref()) {
        (Some("stream") | None, Some("tcp")) | (Some("stream"), None) => ("ListenStream", "tcp"),
        (Some("dgram") | None, Some("udp")) | (Some("dgram"), None) => ("ListenDatagram", "udp"),
        _ => return Stop::new("socket_type", "a unit listens for stream with tcp and dgram with udp only"),
    };
    if key == "ListenDatagram" && accept {
        return Stop::new("wait", "datagrams need `wait = yes`");
    }
    let ports = match account.value("port") {
        Some(ports) => range(ports),
        None => host.service_port(&stanza.name, protocol).map(|port| (port, port)),
    };
    let Some((first, last)) = ports else {
        return Stop::new(
            "port",
            format!("a unit needs a port, and /etc/services has no `{}/{protocol}`", stanza.name),
        );
    };
    let (addresses, device) = bound(account)?;
    let v6only = account.value("v6only").is_some_and(|word| word.eq_ignore_ascii_case("yes"));
    let (four, six) = (has("IPV4"), has("IPV6"));
    let foreign = |bind: &IpAddr| four && !six && bind.is_ipv6() || six && !four && bind.is_ipv4();
    if addresses.iter().flatten().any(foreign) {
        return Stop::new("flags", "`flags` and `bind` are of different address families");
    }
    if addresses.iter().any(Option::is_some) && (four || six) {
        account.told("flags", "the address says the family");
    }
    let all_four = addresses.iter().all(|bind| bind.is_some_and(|bind| bind.is_ipv4()));
    if v6only && (four && !six || all_four) {
        account.told("v6only", "`v6only` has no effect on IPv4");
    }
    let sockets = (usize::from(last - first) + 1) * addresses.len();
    if sockets > 1 && !accept && stanza.get("listen_fds").is_none() {
        return Stop::new("wait", "one program has one standard input, and the service several sockets");
    }
    if sockets > MOST {
        return Stop::new("port", format!("a unit with more than {MOST} lines of `{key}=` helps nobody"));
    }
    let mut lines = Vec::new();
    let mut only = None;
    for port in first..=last {
        for bind in &addresses {
            let v6only = v6only && (six || !four);
            let (value, said) = addresses::write(port, *bind, four && !six, six, v6only);
            lines.push(format!("{key}={value}"));
            only = only.or(said);
        }
    }
    lines.extend(only.map(|only| format!("BindIPv6Only={only}")));
    lines.extend(device.map(|device| format!("BindToDevice={device}")));
    Ok(lines)
}

/// The lines of unix sockets, and who may connect to them.
fn unix(
    stanza: &Stanza,
    account: &mut Account<'_>,
    socket: Option<&str>,
    accept: bool,
) -> Result<Vec<String>, Stop> {
    let key = match socket {
        Some("stream") => "ListenStream",
        Some("seqpacket") => "ListenSequentialPacket",
        Some("dgram") if accept => return Stop::new("wait", "datagrams need `wait = yes`"),
        Some("dgram") => "ListenDatagram",
        _ => return Stop::new("socket_type", "a unix socket has stream, seqpacket or dgram"),
    };
    let sockets: Vec<&str> =
        account.value("bind").map(|bind| bind.split_whitespace().collect()).unwrap_or_default();
    if sockets.iter().any(|word| !local::is_local(word)) {
        return Stop::new("bind", "addresses beside unix sockets are a service of their own");
    }
    if let Some(name) = ["port", "protocol", "v6only"].into_iter().find(|name| stanza.get(name).is_some()) {
        return Stop::new(name, format!("`{name}` beside unix sockets is an error"));
    }
    if sockets.len() > 1 && !accept && stanza.get("listen_fds").is_none() {
        return Stop::new("wait", "one program has one standard input, and the service several sockets");
    }
    let mut lines: Vec<String> = sockets.iter().map(|word| format!("{key}={}", words::text(word))).collect();
    if !sockets.iter().any(|word| word.starts_with('/')) {
        return Ok(lines);
    }
    let (owner, group) = (account.value("socket_owner"), account.value("socket_group"));
    lines.extend(owner.map(|owner| format!("SocketUser={}", words::text(owner))));
    // Of a user without a group systemd takes the user's.
    let group = group.or(owner.map(|_| "0"));
    lines.extend(group.map(|group| format!("SocketGroup={}", words::text(group))));
    let mode = account.value("socket_mode").map_or(Some(SOCKET_MODE), crate::number::octal);
    let Some(mode) = mode else { return Stop::new("socket_mode", "`socket_mode` is no mode") };
    lines.push(format!("SocketMode={mode:04o}\nRemoveOnStop=yes"));
    Ok(lines)
}

/// A port, or the first and last of a range.
fn range(ports: &str) -> Option<(u16, u16)> {
    let port = |text: &str| crate::number::within(text, 1, 65535).and_then(|port| u16::try_from(port).ok());
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    Some((port(first)?, port(last)?)).filter(|(first, last)| first <= last)
}

/// The addresses, `None` for all of them, and the one interface that a unit can name.
fn bound<'a>(account: &mut Account<'a>) -> Result<(Vec<Option<IpAddr>>, Option<&'a str>), Stop> {
    let Some(bind) = account.value("bind") else { return Ok((vec![None], None)) };
    let mut addresses = Vec::new();
    let mut devices: Vec<Option<&str>> = Vec::new();
    for word in bind.split_whitespace() {
        let (address, device) = word.split_once('%').map_or((word, None), |(word, name)| (word, Some(name)));
        let address = match address {
            "" => None,
            address => match address.parse() {
                Ok(address) => Some(address),
                Err(_) => return Stop::new("bind", format!("a unit needs an address, and `{word}` is none")),
            },
        };
        if let Some(device) = device.filter(|device| !is_interface(device)) {
            return Stop::new("bind", format!("`{device}` is no name of an interface"));
        }
        addresses.push(address);
        devices.push(device);
    }
    devices.dedup();
    match devices.as_slice() {
        [device] => Ok((addresses, *device)),
        _ => Stop::new("bind", "a unit names one interface for all of its addresses, or none"),
    }
}
