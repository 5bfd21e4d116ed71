//! Which listeners the kernel, and which RPC services rpcbind would not allow side by side. xinetd finds out at bind(2) and gives the later service up
//! after ten attempts; here it is known before.

use crate::service::{FamilyFlag, Listen, Service, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address a service listens on: the wildcard of its family where there is no `bind`.
fn address(listen: &Listen) -> IpAddr {
    match (&listen.bind, listen.family) {
        (Some((_, address)), _) => *address,
        (None, FamilyFlag::V4) => Ipv4Addr::UNSPECIFIED.into(),
        (None, _) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether two listeners exclude each other.
pub(crate) fn clash(a: &Listen, b: &Listen) -> bool {
    if a.socket != b.socket || a.protocol.1 != b.protocol.1 || a.port != b.port || a.port == 0 {
        return false;
    }
    let (own, other) = (address(a), address(b));
    match a.socket {
        SocketType::Stream | SocketType::Seqpacket => {
            overlap(own, a.v6only, other, b.v6only) || overlap(other, b.v6only, own, a.v6only)
        }
        // Datagram sockets with SO_REUSEADDR may share a port; only with the same address one of them starves.
        SocketType::Dgram => own == other,
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
    let kinds = |listen: &Listen| match address(listen) {
        IpAddr::V4(_) => (true, false),
        IpAddr::V6(v6) => (v6.is_unspecified() && !listen.v6only, true),
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

    fn listen(bind: &str, family: FamilyFlag, v6only: bool, socket: SocketType) -> Listen {
        Listen {
            socket,
            protocol: ("tcp".to_owned(), 6),
            port: 80,
            bind: (!bind.is_empty()).then(|| (bind.to_owned(), bind.parse().unwrap())),
            family,
            v6only,
            nodelay: false,
            keepalive: false,
        }
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
        assert!(!clash(&a, &Listen { port: 81, ..a.clone() }));
        assert!(!clash(&Listen { port: 0, ..a.clone() }, &Listen { port: 0, ..a.clone() }));
        assert!(!clash(&a, &Listen { protocol: ("sctp".to_owned(), 132), ..a.clone() }));
    }
}
