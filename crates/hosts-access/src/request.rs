//! Who asks for what: the attributes of one request. They are filled as they become known, and %-expansion cleans them in
//! place (reference A10), so a request belongs to one evaluation and its later log lines.

use crate::field::Field;
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
