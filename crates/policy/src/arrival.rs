//! Who arrives, when, and what is known about them. Facts only; nothing is decided here.

use crate::rules::Origin;
use crate::verdict::Cause;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A client at the door of a service.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The peer as the socket names it; an IPv4 client of a dual-stack socket is `::ffff:a.b.c.d`.
    pub peer: SocketAddr,
    /// What stands behind the address.
    pub proof: Proof,
}

/// What stands behind the address of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A handshake (stream).
    Handshake,
    /// The word of a proxy that may give it: good enough to be counted by, not to be denied by.
    Proxy,
    /// Nothing: it may be forged (datagram).
    Nothing,
}

impl Proof {
    /// A handshake, or nothing.
    pub fn of_handshake(proven: bool) -> Self {
        if proven { Self::Handshake } else { Self::Nothing }
    }
}

impl Arrival {
    /// The peer's address with a mapped IPv4 address unwrapped: the key for limits and bans.
    pub fn source(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// The source, where its starts are counted. Of an address that may be forged they are not, or anybody could use up the
    /// starts of another.
    pub(crate) fn starter(&self) -> Option<IpAddr> {
        (self.proof != Proof::Nothing).then(|| self.source())
    }
}

/// The moment of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic time, for rates and expiry.
    pub mono: Duration,
    /// Minute of the local day, 0..1440, for access_times.
    pub minute: u16,
}

/// What could be found out about the peer beyond its address.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its host names.
    pub names: Names,
    /// The one-minute load average, given where the service has a max_load.
    pub load: Option<f64>,
    /// The word of hosts.allow and hosts.deny.
    pub tables: Tables,
}

/// What hosts.allow and hosts.deny say. They are read by the caller, who alone knows their language; they are asked last
/// (reference xinetd §3.1), so nobody reads them for a client that another check refuses.
#[derive(Clone, Debug, Default)]
pub enum Tables {
    /// They do not apply to this service.
    #[default]
    Off,
    /// Nobody asked yet.
    NotAsked,
    /// They let the client in.
    Granted,
    /// They refuse it: why ([`Cause::HostsTables`] or [`Cause::HostsUnavailable`]) and by which line.
    Refused(Cause, Option<Origin>),
}

/// The forward-confirmed host names of the peer.
#[derive(Clone, Debug, Default)]
pub enum Names {
    /// Nobody asked yet.
    #[default]
    NotAsked,
    /// The resolver's answer; empty is a true negative.
    Known(Vec<String>),
    /// They could not be asked for: where they could change the verdict, the client is refused.
    Unavailable,
}
