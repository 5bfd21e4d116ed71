//! Who asks for what: the attributes of one request. They are filled as they become known, and %-expansion cleans them in
//! place (reference A10), so a request belongs to one evaluation and its later log lines.

use crate::field::Field;
use crate::world::End;
use std::net::SocketAddr;

/// One end of the connection.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Host name, `unknown`, `paranoid`, or empty while it was not asked for.
    pub name: Field,
    /// Address as text (IPv6 with its scope), `unknown`, or empty: then it counts as `unknown`.
    pub addr: Field,
    /// The socket's address: only ports and ident use it. Without it no port pattern matches.
    pub socket: Option<SocketAddr>,
}

/// One request, as the tables see it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The daemon's process name.
    pub daemon: Field,
    /// The user at the client's host as ident told, `unknown`, or empty while it was not asked for.
    pub user: Field,
    /// For `%p`.
    pub pid: u32,
    /// The end that asks.
    pub client: Host,
    /// Our end.
    pub server: Host,
}

impl Request {
    /// One of its ends.
    #[must_use]
    pub fn end(&self, end: End) -> &Host {
        match end {
            End::Client => &self.client,
            End::Server => &self.server,
        }
    }

    /// One of its ends, to change.
    pub fn end_mut(&mut self, end: End) -> &mut Host {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }
}

impl Host {
    /// The address as the rules see it: `unknown` if there is none.
    #[must_use]
    pub fn address(&self) -> &[u8] {
        if self.addr.is_empty() { b"unknown" } else { self.addr.as_bytes() }
    }

    /// Whether the name was asked for and is a name.
    #[must_use]
    pub fn has_name(&self) -> bool {
        !self.name.is_empty() && is_name(self.name.as_bytes())
    }
}

/// Whether a host's name is one, and not `unknown` or `paranoid`.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !name.eq_ignore_ascii_case(b"unknown") && !name.eq_ignore_ascii_case(b"paranoid")
}
