//! Who arrives, when, and what is known about them. Facts only; nothing is decided here.

use crate::address_text::AddressText;
use crate::rules::Origin;
use crate::verdict::Cause;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A client at the door of a service.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The peer as the socket names it.
    pub peer: Peer,
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
    /// What the limits of a service count it by.
    pub fn source(&self) -> IpAddr {
        self.peer.source()
    }

    /// The source, where its starts are counted. Of an address that may be forged they are not, or anybody could use up the
    /// starts of another.
    pub(crate) fn starter(&self) -> Option<IpAddr> {
        (self.proof != Proof::Nothing).then(|| self.source())
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address; an IPv4 client of a dual-stack socket is `::ffff:a.b.c.d`.
    Inet(SocketAddr),
    /// A process of this host, over a unix socket. No list of addresses is about it, and none lets it in.
    Local(Credentials),
}

/// Who a process was when it connected, as the kernel recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id; 0 where it lives in a namespace that is not seen from here.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Peer {
    /// Its address, if it has one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Local(_) => None,
        }
    }

    /// As somebody asks about it: what is read back.
    pub fn word(self) -> String {
        match self {
            Self::Inet(address) => address.ip().to_string(),
            Self::Local(Credentials { uid, .. }) => format!("uid={uid}"),
        }
    }

    /// What the limits of a service count it by: its address, a mapped IPv4 one unwrapped; of a process its user, whose number
    /// stands here as the bits of an IPv4 address. A service has peers of one kind, so the two never meet.
    pub fn source(self) -> IpAddr {
        match self {
            Self::Inet(address) => address.ip().to_canonical(),
            Self::Local(Credentials { uid, .. }) => Ipv4Addr::from_bits(uid).into(),
        }
    }
}

/// Not the client of any service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPeer;

impl fmt::Display for NoPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an address nor a user as in `uid=1000`")
    }
}

impl std::error::Error for NoPeer {}

impl std::str::FromStr for Peer {
    type Err = NoPeer;
    /// An address, or `uid=NUMBER` for any process of a user.
    fn from_str(text: &str) -> Result<Self, NoPeer> {
        match text.strip_prefix("uid=") {
            Some(uid) => {
                let uid = uid.parse().map_err(|_| NoPeer)?;
                Ok(Self::Local(Credentials { pid: 0, uid, gid: u32::MAX }))
            }
            None => text.parse::<IpAddr>().map(Self::from).map_err(|_| NoPeer),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl From<IpAddr> for Peer {
    /// From any port.
    fn from(ip: IpAddr) -> Self {
        Self::Inet(SocketAddr::new(ip, 0))
    }
}

impl fmt::Display for Peer {
    /// As log lines name it. A process has none of the addresses that readers of logs act upon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => f.pad(AddressText::of(address.ip()).as_str()),
            Self::Local(Credentials { pid, uid, gid }) => {
                write!(f, "<no address> peer_pid={pid} peer_uid={uid} peer_gid={gid}")
            }
        }
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
