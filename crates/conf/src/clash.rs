//! Which listeners the kernel, and which RPC services rpcbind would not allow side by side. xinetd finds out at bind(2) and gives the later service up
//! after ten attempts; here it is known before.

use crate::endpoint::Endpoint;
use crate::service::{Bind, BindTo, Listen, Service, SocketType};
use std::net::{IpAddr, SocketAddr};

/// Whether two services exclude each other.
pub(crate) fn clash(a: &Listen, b: &Listen) -> bool {
    places(a).any(|own| places(b).any(|other| side_by_side(a, own, b, other)))
}

/// Where a service listens, its ports left out; `None` is every address.
fn places(listen: &Listen) -> impl Iterator<Item = Option<&BindTo>> {
    let all = listen.bind.is_empty().then_some(None);
    all.into_iter().chain(listen.bind.iter().map(|Bind { to, .. }| Some(to)))
}

fn side_by_side(a: &Listen, own: Option<&BindTo>, b: &Listen, other: Option<&BindTo>) -> bool {
    let inet = |listen: &Listen, to: Option<&BindTo>| match to {
        None => Some((listen.wildcard(), None)),
        Some(BindTo::Inet { address, device }) => {
            Some((address.unwrap_or(listen.wildcard()), device.clone()))
        }
        Some(BindTo::Path(_) | BindTo::Abstract(_)) => None,
    };
    let (Some((ip, device)), Some((other_ip, other_device))) = (inet(a, own), inet(b, other)) else {
        // Two kinds of socket at one path exclude each other too: the file is one.
        return own == other && (a.socket == b.socket || matches!(own, Some(BindTo::Path(_))));
    };
    let ports = a.port <= b.last_port && b.port <= a.last_port && a.port != 0 && b.port != 0;
    if a.socket != b.socket || a.protocol.1 != b.protocol.1 || !ports {
        return false;
    }
    // Two interfaces are apart; one interface and all of them are not.
    if device.is_some() && other_device.is_some() && device != other_device {
        return false;
    }
    match a.socket {
        SocketType::Stream | SocketType::Seqpacket => {
            overlap(ip, a.v6only, other_ip, b.v6only) || overlap(other_ip, b.v6only, ip, a.v6only)
        }
        // Datagram sockets with SO_REUSEADDR may share a port; only with the same address one of them starves.
        SocketType::Dgram => ip == other_ip && device == other_device,
        SocketType::Raw => false,
    }
}

/// Whether a listener on `wide` also covers `narrow`.
fn overlap(wide: IpAddr, wide_v6only: bool, narrow: IpAddr, narrow_v6only: bool) -> bool {
    if wide == narrow {
        return true;
    }
    match (wide, narrow) {
        (IpAddr::V4(wide), IpAddr::V4(_)) => wide.is_unspecified(),
        (IpAddr::V6(wide), IpAddr::V6(_)) if wide.is_unspecified() => true,
        (IpAddr::V6(wide), IpAddr::V4(narrow)) => {
            wide.is_unspecified() && !wide_v6only || wide.to_ipv4_mapped() == Some(narrow)
        }
        (IpAddr::V4(wide), IpAddr::V6(narrow)) => {
            wide.is_unspecified() && narrow.is_unspecified() && !narrow_v6only
                || wide.is_unspecified() && narrow.to_ipv4_mapped().is_some()
        }
        _ => false,
    }
}

/// Whether two RPC services ask rpcbind for the same entry: one program, a version of both, one kind of address.
pub(crate) fn rpc_clash(a: &Service, b: &Service) -> bool {
    let (Some(own), Some(other)) = (a.rpc, b.rpc) else { return false };
    let kinds = |listen: &Listen| match listen.endpoints().first().and_then(Endpoint::address) {
        None | Some(SocketAddr::V4(_)) => (true, false),
        Some(SocketAddr::V6(v6)) => (v6.ip().is_unspecified() && !listen.v6only, true),
    };
    let ((a4, a6), (b4, b6)) = (kinds(&a.listen), kinds(&b.listen));
    own.program == other.program
        && own.versions.0 <= other.versions.1
        && other.versions.0 <= own.versions.1
        && a.listen.protocol.1 == b.listen.protocol.1
        && (a4 && b4 || a6 && b6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{FamilyFlag, SocketRights};
    use crate::usual::Socket;
    use std::rc::Rc;

    fn at(text: &str) -> Bind {
        let (address, device) = text.split_once('%').map_or((text, None), |(a, d)| (a, Some(d.to_owned())));
        let to = match text.as_bytes() {
            [b'/', ..] => BindTo::Path(text.to_owned()),
            [b'@', name @ ..] => BindTo::Abstract(String::from_utf8_lossy(name).into_owned()),
            _ => BindTo::Inet { address: address.parse().ok(), device },
        };
        Bind { text: text.into(), to }
    }

    fn listen(bind: &str, family: FamilyFlag, v6only: bool, socket: SocketType) -> Listen {
        let how = Socket {
            socket,
            protocol: ("tcp".into(), 6),
            bind: (!bind.is_empty()).then(|| at(bind)).into_iter().collect(),
            family,
            v6only,
            rights: SocketRights { owner: None, group: None, mode: 0o600 },
            nodelay: false,
            keepalive: false,
            freebind: false,
        };
        Listen { port: 80, last_port: 80, how: Rc::new(how) }
    }

    fn but(of: &Listen, change: impl FnOnce(&mut Socket)) -> Listen {
        let mut how = Socket::clone(&of.how);
        change(&mut how);
        Listen { how: Rc::new(how), ..*of }
    }

    #[test]
    fn rows() {
        use FamilyFlag::{Unset, V4, V6};
        for (a, b, stream, dgram) in [
            (("", Unset, false), ("", Unset, false), true, true),
            (("", Unset, false), ("", V4, false), true, false),
            (("", V6, true), ("", V4, false), false, false),
            (("", Unset, false), ("127.0.0.1", Unset, false), true, false),
            (("", V4, false), ("127.0.0.1", Unset, false), true, false),
            (("", V4, false), ("::1", Unset, false), false, false),
            (("", Unset, true), ("127.0.0.1", Unset, false), false, false),
            (("127.0.0.1", Unset, false), ("127.0.0.2", Unset, false), false, false),
            (("127.0.0.1", Unset, false), ("127.0.0.1", V4, false), true, true),
            (("::1", Unset, false), ("::", Unset, false), true, false),
        ] {
            for (socket, expected) in [(SocketType::Stream, stream), (SocketType::Dgram, dgram)] {
                let (x, y) = (listen(a.0, a.1, a.2, socket), listen(b.0, b.1, b.2, socket));
                assert_eq!(clash(&x, &y), expected, "{a:?} {b:?} {socket:?}");
                assert_eq!(clash(&y, &x), expected, "{b:?} {a:?} {socket:?}");
            }
        }
    }

    #[test]
    fn another_port_or_none_is_no_clash() {
        let a = listen("", FamilyFlag::Unset, false, SocketType::Stream);
        assert!(!clash(&a, &Listen { port: 81, last_port: 81, ..a.clone() }));
        let any = Listen { port: 0, last_port: 0, ..a.clone() };
        assert!(!clash(&any, &any));
        assert!(!clash(&a, &but(&a, |how| how.protocol = ("sctp".into(), 132))));
    }

    #[test]
    fn ranges_interfaces_and_files() {
        let on = |bind: &[&str], first, last| {
            let any = listen("", FamilyFlag::Unset, false, SocketType::Stream);
            let bound = but(&any, |how| how.bind = bind.iter().map(|text| at(text)).collect());
            Listen { port: first, last_port: last, ..bound }
        };
        for (a, b, expected) in [
            (on(&[], 80, 90), on(&[], 90, 95), true),
            (on(&[], 80, 90), on(&[], 91, 95), false),
            (on(&["127.0.0.1", "127.0.0.2"], 80, 80), on(&["127.0.0.3", "127.0.0.2"], 80, 80), true),
            (on(&["127.0.0.1", "127.0.0.2"], 80, 80), on(&["127.0.0.3"], 80, 80), false),
            (on(&["%eth0"], 80, 80), on(&["%eth1"], 80, 80), false),
            (on(&["%eth0"], 80, 80), on(&["%eth0"], 80, 80), true),
            (on(&["%eth0"], 80, 80), on(&[], 80, 80), true),
            (on(&["/run/a"], 0, 0), on(&["/run/a"], 0, 0), true),
            (on(&["/run/a"], 0, 0), on(&["/run/b"], 0, 0), false),
            (on(&["@a"], 0, 0), on(&["@a"], 0, 0), true),
            (on(&["@a"], 0, 0), on(&["/a"], 0, 0), false),
            (on(&["/run/a"], 0, 0), on(&[], 80, 80), false),
        ] {
            assert_eq!(clash(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(clash(&b, &a), expected, "{b:?} {a:?}");
        }
        let file = on(&["/run/a"], 0, 0);
        assert!(clash(&file, &but(&file, |how| how.socket = SocketType::Dgram)));
        let name = on(&["@a"], 0, 0);
        assert!(!clash(&name, &but(&name, |how| how.socket = SocketType::Dgram)));
    }
}
