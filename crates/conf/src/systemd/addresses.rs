//! `Listen…=` of ports both ways (systemd.socket(5)): ports, addresses with ports. Others are named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a line listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Where {
    pub(crate) port: u16,
    /// `bind`.
    pub(crate) bind: Option<String>,
    /// Word of `flags` for the family.
    pub(crate) family: Option<&'static str>,
    pub(crate) v6only: bool,
}

/// Reads the value of `ListenStream=` or `ListenDatagram=`. `six_only`: `BindIPv6Only=ipv6-only`.
///
/// # Errors
/// A sentence that says why it cannot be carried over.
pub(crate) fn read(value: &str, six_only: bool) -> Result<Where, String> {
    if value.starts_with("vsock:") {
        return Err(format!("`{value}` is a socket between virtual machines"));
    }
    let bad = || format!("`{value}` is no port, and no address with a port");
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(bad);
    let six = |bind, family| Where { port: 0, bind, family, v6only: six_only };
    if let Some(rest) = value.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
        // `[fe80::1]:80%eth0` says the interface that a link-local address is on.
        let (rest, device) = rest.split_once('%').map_or((rest, None), |(rest, name)| (rest, Some(name)));
        let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
        let port = port(rest.strip_prefix(':').ok_or_else(bad)?)?;
        if let Some(device) = device {
            if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            {
                return Err(bad());
            }
            return Ok(Where { port, ..six(Some(format!("{address}%{device}")), None) });
        }
        let bind = (!address.is_unspecified()).then(|| address.to_string());
        return Ok(Where { port, ..six(bind.clone(), bind.is_none().then_some("IPv6")) });
    }
    if let Some((address, number)) = value.split_once(':') {
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bind = (!address.is_unspecified()).then(|| address.to_string());
        let family = bind.is_none().then_some("IPv4");
        return Ok(Where { port: port(number)?, bind, family, v6only: false });
    }
    Ok(Where { port: port(value)?, ..six(None, None) })
}

/// Writes it: the value, and the value of `BindIPv6Only=` where it matters.
pub(crate) fn write(
    port: u16,
    bind: Option<IpAddr>,
    four: bool,
    six: bool,
    v6only: bool,
) -> (String, Option<&'static str>) {
    let only = if v6only { "ipv6-only" } else { "both" };
    match bind {
        Some(IpAddr::V4(address)) => (format!("{address}:{port}"), None),
        Some(IpAddr::V6(address)) => (format!("[{address}]:{port}"), Some(only)),
        None if six => (format!("[::]:{port}"), Some(only)),
        None if four => (format!("0.0.0.0:{port}"), None),
        // IPv4 where there is no IPv6, as in xinetd without flags.
        None => (port.to_string(), Some(only)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_sockets_listen() {
        let of = |port, bind: Option<&str>, family, v6only| Where {
            port,
            bind: bind.map(str::to_owned),
            family,
            v6only,
        };
        for (value, six_only, wanted) in [
            ("80", false, of(80, None, None, false)),
            ("80", true, of(80, None, None, true)),
            ("0.0.0.0:80", true, of(80, None, Some("IPv4"), false)),
            ("127.0.0.1:80", false, of(80, Some("127.0.0.1"), None, false)),
            ("[::]:80", false, of(80, None, Some("IPv6"), false)),
            ("[::1]:80", true, of(80, Some("::1"), None, true)),
            ("[fe80::1]:80%eth0", false, of(80, Some("fe80::1%eth0"), None, false)),
        ] {
            assert_eq!(read(value, six_only), Ok(wanted), "{value}");
        }
        for value in [
            "",
            "0",
            "65536",
            "x",
            "1.2.3:80",
            "[::1]",
            "[::1%lo]:80",
            "[x]:80",
            "/run/x",
            "@x",
            "vsock:2:80",
            "a:b:c",
        ] {
            assert!(read(value, false).is_err(), "{value}");
        }
    }
}
