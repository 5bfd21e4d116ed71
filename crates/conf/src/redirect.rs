//! Where the clients of a redirected service are carried, and what the next server is told of them: data only.

use std::fmt;
use std::net::SocketAddr;

/// Most targets of one service.
pub const MOST_TARGETS: usize = 16;
/// Most addresses of one target's name that are used.
pub const MOST_TARGET_ADDRESSES: usize = 8;

/// Where a redirected service carries its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of a host.
    Host {
        /// The host as it was written.
        host: String,
        /// Its addresses when the file was read, in the order in which they are tried; at least one.
        addresses: Vec<SocketAddr>,
    },
    /// A unix stream socket, by its absolute path.
    Path(String),
}

impl Target {
    /// Whether the host was written as a name, which may come to have other addresses.
    pub fn is_named(&self) -> bool {
        match self {
            Target::Host { host, addresses } => match addresses[..] {
                // However the address was written: a name is what the resolver had to be asked for.
                [only] => crate::address::literal(host) != Some(only.ip()),
                _ => true,
            },
            Target::Path(_) => false,
        }
    }

    /// The port of a host.
    pub fn port(&self) -> Option<u16> {
        match self {
            Target::Host { addresses, .. } => addresses.first().map(SocketAddr::port),
            Target::Path(_) => None,
        }
    }
}

/// `192.0.2.7:80`, `www.example:80`, `/run/x.sock`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host { addresses, .. } if !self.is_named() => {
                addresses.first().map_or(Ok(()), |address| write!(f, "{address}"))
            }
            Target::Host { host, .. } => write!(f, "{host}:{}", self.port().unwrap_or_default()),
            Target::Path(path) => f.write_str(path),
        }
    }
}

/// proxy_protocol: whether a PROXY header is read from clients, and sent to the target. One of both is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Clients are proxies and say on whose behalf they come.
    pub accept: bool,
    /// The target of `redirect` is told who the client is, in this form.
    pub send: Option<ProxyVersion>,
}

/// The forms of the PROXY header (HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}
