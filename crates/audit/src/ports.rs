//! Which protocols show what they carry, judged by the port that is theirs by IANA's list or by habit. A table; nothing is
//! sent to any port to find out.

use crate::sockets::Protocol;

/// What a listener on the path sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Passwords or commands, readable and changeable.
    PlainLogin,
    /// Contents, readable and changeable.
    Plain,
    /// It depends: the protocol can turn encryption on after it began.
    Negotiated,
    /// Nothing, as the protocol is meant.
    Encrypted,
    /// Everything, and that is its purpose: names, time, echo.
    Public,
    /// Not known by its port.
    Unknown,
}

impl Secrecy {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::PlainLogin => "plaintext login",
            Self::Plain => "plaintext",
            Self::Negotiated => "negotiated",
            Self::Encrypted => "encrypted",
            Self::Public => "public",
            Self::Unknown => "unknown",
        }
    }
}

use Protocol::{Tcp, Udp};
use Secrecy::{Encrypted, Negotiated, Plain, PlainLogin, Public};

/// Transport, port, name, secrecy; in order of the ports.
const PORTS: &[(Protocol, u16, &str, Secrecy)] = &[
    (Tcp, 7, "echo", Public),
    (Udp, 7, "echo", Public),
    (Tcp, 9, "discard", Public),
    (Udp, 9, "discard", Public),
    (Tcp, 13, "daytime", Public),
    (Tcp, 19, "chargen", Public),
    (Tcp, 21, "ftp", Negotiated),
    (Tcp, 22, "ssh", Encrypted),
    (Tcp, 23, "telnet", PlainLogin),
    (Tcp, 25, "smtp", Negotiated),
    (Tcp, 37, "time", Public),
    (Udp, 37, "time", Public),
    (Tcp, 53, "dns", Public),
    (Udp, 53, "dns", Public),
    (Udp, 67, "dhcp", Public),
    (Udp, 68, "dhcp", Public),
    (Udp, 69, "tftp", Plain),
    (Tcp, 79, "finger", Plain),
    (Tcp, 80, "http", Plain),
    (Tcp, 110, "pop3", Negotiated),
    (Tcp, 111, "rpcbind", Plain),
    (Udp, 111, "rpcbind", Plain),
    (Tcp, 113, "ident", Public),
    (Udp, 123, "ntp", Public),
    (Tcp, 139, "netbios", Negotiated),
    (Tcp, 143, "imap", Negotiated),
    (Udp, 161, "snmp", Negotiated),
    (Tcp, 389, "ldap", Negotiated),
    (Tcp, 443, "https", Encrypted),
    (Udp, 443, "quic", Encrypted),
    (Tcp, 445, "smb", Negotiated),
    (Tcp, 465, "smtps", Encrypted),
    (Tcp, 512, "rexec", PlainLogin),
    (Tcp, 513, "rlogin", PlainLogin),
    (Tcp, 514, "rsh", PlainLogin),
    (Udp, 514, "syslog", Plain),
    (Tcp, 515, "lpd", Plain),
    (Tcp, 540, "uucp", PlainLogin),
    (Tcp, 587, "submission", Negotiated),
    (Tcp, 636, "ldaps", Encrypted),
    (Tcp, 853, "dns over tls", Encrypted),
    (Tcp, 873, "rsync", Plain),
    (Tcp, 989, "ftps data", Encrypted),
    (Tcp, 990, "ftps", Encrypted),
    (Tcp, 992, "telnets", Encrypted),
    (Tcp, 993, "imaps", Encrypted),
    (Tcp, 995, "pop3s", Encrypted),
    (Tcp, 1433, "ms-sql", Negotiated),
    (Tcp, 1883, "mqtt", PlainLogin),
    (Tcp, 2049, "nfs", Plain),
    (Tcp, 2375, "docker api", PlainLogin),
    (Tcp, 2376, "docker api", Encrypted),
    (Tcp, 2401, "cvs pserver", PlainLogin),
    (Tcp, 3306, "mysql", Negotiated),
    (Tcp, 3389, "rdp", Encrypted),
    (Tcp, 5432, "postgresql", Negotiated),
    (Tcp, 5666, "nrpe", Negotiated),
    (Tcp, 5672, "amqp", Negotiated),
    (Tcp, 5900, "vnc", PlainLogin),
    (Tcp, 6000, "x11", PlainLogin),
    (Tcp, 6379, "redis", PlainLogin),
    (Tcp, 6514, "syslog over tls", Encrypted),
    (Tcp, 6556, "checkmk agent", Plain),
    (Tcp, 8080, "http", Plain),
    (Tcp, 8443, "https", Encrypted),
    (Tcp, 8883, "mqtts", Encrypted),
    (Tcp, 9200, "elasticsearch or clustercheck", Plain),
    (Tcp, 11211, "memcached", Plain),
    (Udp, 11211, "memcached", Plain),
    (Tcp, 27017, "mongodb", Negotiated),
];

/// The usual protocol of a port, and its secrecy.
pub fn known(protocol: Protocol, port: u16) -> Option<(&'static str, Secrecy)> {
    let row = PORTS.iter().find(|(p, n, ..)| (*p, *n) == (protocol, port))?;
    Some((row.2, row.3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_each_port_once() {
        let keys: Vec<_> = PORTS.iter().map(|(protocol, port, ..)| (*port, protocol.word())).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        assert_eq!(known(Tcp, 23), Some(("telnet", PlainLogin)));
        assert_eq!(known(Udp, 23), None);
    }
}
