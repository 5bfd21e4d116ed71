//! Whom a datagram service never answers, whatever the rules say: an answer there could start a loop between two
//! services or be aimed at a third party (reference xinetd §9.2). Decides by the source alone; says nothing about it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The ports of our own built-ins.
#[derive(Debug, Default)]
pub(super) struct Silence {
    own: HashSet<u16>,
}

impl Silence {
    /// Replaces the ports.
    pub(super) fn own_ports(&mut self, ports: Vec<u16>) {
        self.own = ports.into_iter().collect();
    }

    /// Whether a datagram from `source` stays without an answer. Ports below 1024 include every well-known built-in (7, 9,
    /// 13, 17, 19, 37): no client sends from there, only a service, or somebody in its name.
    pub(super) fn keeps(&self, source: SocketAddr) -> bool {
        source.port() < 1024 || self.own.contains(&source.port()) || !single_host(source.ip())
    }
}

/// Whether the address can be that of one host.
fn single_host(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] != 0 && v4 < Ipv4Addr::new(224, 0, 0, 0),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_who_could_be_a_service_or_a_crowd_is_answered() {
        let mut silence = Silence::default();
        silence.own_ports(vec![20_007]);
        let table = [
            ("192.0.2.1:40000", false),
            ("127.0.0.1:1024", false),
            ("[2001:db8::1]:40000", false),
            ("[::ffff:192.0.2.1]:40000", false),
            ("192.0.2.1:1023", true),
            ("192.0.2.1:7", true),
            ("192.0.2.1:19", true),
            ("192.0.2.1:0", true),
            ("192.0.2.1:20007", true),
            ("[::1]:20007", true),
            ("255.255.255.255:40000", true),
            ("240.0.0.1:40000", true),
            ("224.0.0.1:40000", true),
            ("0.0.0.0:40000", true),
            ("[::ffff:224.0.0.1]:40000", true),
            ("[::]:40000", true),
            ("[ff02::1]:40000", true),
        ];
        for (source, kept) in table {
            assert_eq!(silence.keeps(source.parse().unwrap()), kept, "{source}");
        }
    }
}
