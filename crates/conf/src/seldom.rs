//! What few services say: a service that says none of it takes the room of an address. Data only, nothing is decided here.

use crate::place::Place;
use crate::rare::Nothing;
use crate::redirect::ProxyProtocol;
use crate::sandbox::Sandbox;
use crate::service::{AddressEntry, AddressList, DenyTime, Limit, Overload, Rpc, Set, Tls, Window};
use crate::text::Text;

/// What few services say; read as fields of the service itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Seldom {
    /// `type = RPC`.
    pub rpc: Option<Rpc>,
    /// proxy_from; not empty where `proxy_protocol` accepts.
    pub proxy_from: Vec<AddressEntry>,
    /// proxy_protocol.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// per_source_prefix: prefix lengths for IPv4 and IPv6, default 32 and 64.
    pub per_source_prefix: Set<(u8, u8)>,
    /// starts_per_minute.
    pub starts_per_minute: Set<Limit>,
    /// source_starts_per_minute.
    pub source_starts_per_minute: Set<Limit>,
    /// overload.
    pub overload: Set<Overload>,
    /// max_load.
    pub max_load: Option<Set<f64>>,
    /// access_times.
    pub access_times: Option<Set<Vec<Window>>>,
    /// no_access.
    pub no_access: AddressList,
    /// deny_time.
    pub deny_time: Set<DenyTime>,
    /// The program's environment without REMOTE_HOST and its like: passenv and env applied, in xinetd's order.
    /// `None` = the supervisor's own environment, whole, with `env_added` applied over it.
    pub environment: Option<Vec<(String, String)>>,
    /// `env` words, in order.
    pub env_added: Vec<(String, String)>,
    /// passenv words, for the dump; `None` = not set.
    pub passenv: Option<Vec<String>>,
    /// Path of `banner`.
    pub banner: Option<Text>,
    /// Path of `banner_success`.
    pub banner_success: Option<Text>,
    /// Path of `banner_fail`.
    pub banner_fail: Option<Text>,
    /// listen_fds: the name under which the program gets its sockets as sd_listen_fds(3) has them.
    pub listen_fds: Option<Text>,
    /// TLS, towards the clients or the target.
    pub tls: Option<Box<Tls>>,
    /// What the program is confined to; none of a service that starts no program.
    pub sandbox: Option<Box<Sandbox>>,
}

const fn unset<T>(value: T) -> Set<T> {
    Set { value, place: None }
}

impl Nothing for Seldom {
    const NOTHING: &'static Self = &Self {
        rpc: None,
        proxy_from: Vec::new(),
        proxy_protocol: None,
        // One source: an IPv4 address, an IPv6 network of the size that one customer gets.
        per_source_prefix: unset((32, 64)),
        starts_per_minute: unset(None),
        source_starts_per_minute: unset(None),
        overload: unset(Overload::Fair),
        max_load: None,
        access_times: None,
        no_access: None,
        deny_time: unset(DenyTime::Never),
        environment: None,
        env_added: Vec::new(),
        passenv: None,
        banner: None,
        banner_success: None,
        banner_fail: None,
        listen_fds: None,
        tls: None,
        sandbox: None,
    };
}

impl Seldom {
    /// Whether nothing of it was written anywhere.
    pub(crate) fn is_unsaid(&self) -> bool {
        let places: [&Option<Place>; 5] = [
            &self.per_source_prefix.place,
            &self.starts_per_minute.place,
            &self.source_starts_per_minute.place,
            &self.overload.place,
            &self.deny_time.place,
        ];
        places.into_iter().all(Option::is_none) && self == Self::NOTHING
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::NOTHING.clone()
    }
}
