//! A service as it was resolved from its entry and the defaults: data only, nothing is decided here.

use crate::host::User;
use crate::place::Place;
use crate::redirect::Target;
use crate::text::Text;
use crate::usual::{Limits, Socket, Usual};
use std::net::IpAddr;
use std::ops::Deref;
use std::rc::Rc;

/// A value with the place that set it; `None` for a built-in default. Equal is what has the same value, wherever it stands.
#[derive(Clone, Debug)]
pub struct Set<T> {
    /// The value.
    pub value: T,
    /// Where it was set.
    pub place: Option<Place>,
}

impl<T: PartialEq> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Set<T> {}

/// A number that may be unlimited.
pub type Limit = Option<u32>;

/// What the service does with a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start a program.
    External {
        /// Absolute path of the program.
        server: Text,
        /// argv, argv[0] included, NAMEINARGS applied.
        argv: Vec<Text>,
    },
    /// Answered by the builtin worker.
    Internal(Builtin),
    /// tcpmux: the client names one of the services with [`Service::mux`], which takes it over (RFC 1078).
    Mux,
    /// Refuses everybody and remembers them (flag SENSOR).
    Sensor,
    /// Carried to another server (redirect): to the first of these that accepts.
    Redirect(Vec<Target>),
}

/// The built-in services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Builtin {
    Echo,
    Discard,
    Chargen,
    Daytime,
    Time,
    /// What runs.
    Servers,
    /// What is served.
    Services,
    /// Both, asked for line by line.
    Xadmin,
    /// Says nothing: who comes has no business here.
    Trap,
    /// The same, and keeps him waiting.
    Tarpit,
}

impl Builtin {
    /// Whether it tells of this host's services, which is nobody else's business: without a `bind` it listens on loopback.
    pub fn tells_of_us(self) -> bool {
        matches!(self, Self::Servers | Self::Services | Self::Xadmin)
    }
}

/// How a service is reached through tcpmux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mux {
    /// TCPMUX: the program itself tells the client that it starts.
    Plain,
    /// TCPMUXPLUS: the client is told `+Go` before the program starts.
    Plus,
}

/// socket_type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SocketType {
    Stream,
    Dgram,
    Raw,
    Seqpacket,
}

/// The address family flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FamilyFlag {
    /// Neither flag: IPv6 socket that also serves IPv4, IPv4 where IPv6 is not available.
    Unset,
    /// `IPv4`.
    V4,
    /// `IPv6` (or both flags).
    V6,
}

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Port in host order; the first of a range.
    pub port: u16,
    /// The last port of a range, else the same.
    pub last_port: u16,
    /// How; read as fields of this.
    pub how: Rc<Socket>,
}

impl Deref for Listen {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.how
    }
}

/// socket_owner, socket_group, socket_mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRights {
    /// The owner; `None` = the daemon's own user.
    pub owner: Option<u32>,
    /// The group; `None` = the daemon's own.
    pub group: Option<u32>,
    /// Permissions.
    pub mode: u32,
}

/// One word of `bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// As written.
    pub text: Text,
    /// What it means.
    pub to: BindTo,
}

/// What a word of `bind` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindTo {
    /// An address, or every address where there is none, and an interface.
    Inet {
        /// The address.
        address: Option<IpAddr>,
        /// The interface's name.
        device: Option<String>,
    },
    /// The path of a unix socket.
    Path(String),
    /// A name of the abstract namespace of unix sockets, without the `@`.
    Abstract(String),
}

/// One word of only_from, no_access or protect, as xinetd reads it (reference xinetd §4.2). Equal is what is written the same and
/// matches the same, wherever it stands.
#[derive(Clone, Debug)]
pub struct AddressEntry {
    /// The word as written.
    pub text: Text,
    /// Where it stands.
    pub place: Place,
    /// What it matches.
    pub matches: AddressMatch,
}

impl PartialEq for AddressEntry {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.matches == other.matches
    }
}

impl Eq for AddressEntry {}

/// What an address word matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressMatch {
    /// IPv4 networks (a factorized word yields several). Host bits are clear.
    V4(Vec<(u32, u8)>),
    /// An IPv6 network. Host bits are clear.
    V6(u128, u8),
    /// Reverse name equal to this (case-insensitive), forward-confirmed.
    Name(String),
    /// Reverse name ending in this (starts with a dot), forward-confirmed.
    Suffix(String),
}

/// only_from or no_access: `None` = not set; set and empty refuses everybody (only_from) or nobody (no_access).
pub type AddressList = Option<Vec<AddressEntry>>;

/// log_type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogType {
    /// No service log.
    None,
    /// `SYSLOG facility level`, as the numbers of syslog(3): facility already shifted, and level.
    Syslog {
        /// Facility, e.g. LOG_DAEMON = 24.
        facility: u32,
        /// Level, e.g. LOG_INFO = 6.
        level: u32,
    },
    /// `FILE path [soft [hard]]`, in bytes.
    File {
        /// Absolute path.
        path: Text,
        /// Soft limit.
        soft: Option<u64>,
        /// Hard limit, xinetd's default applied when only soft was given.
        hard: Option<u64>,
    },
}

/// log_on_success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogSuccess {
    pub host: bool,
    pub pid: bool,
    pub exit: bool,
    pub duration: bool,
    pub userid: bool,
    pub traffic: bool,
}

/// log_on_failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LogFailure {
    pub host: bool,
    pub userid: bool,
    pub attempt: bool,
}

/// How the ids of the program are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user, when the entry names one. A numeric user without an entry has its number as name.
    pub user: Option<User>,
    /// `group`, else the user's primary group.
    pub gid: Option<u32>,
    /// Whether `group` was written.
    pub group_set: bool,
    /// Supplementary groups: empty by default; `groups = yes` fills it.
    pub groups: Vec<u32>,
    /// `groups` as written, for the dump.
    pub groups_yes: bool,
}

/// deny_time of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyTime {
    /// NEVER, 0 or unset: logged only.
    Never,
    /// This many minutes.
    Minutes(u32),
    /// Until cleared.
    Forever,
}

/// What the rate limit does when it trips (portreeve's `overload`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Refuse who is above their share, then pause.
    Fair,
    /// Close the listener for the wait time, as xinetd does.
    Close,
}

/// What happens to running instances of a service that a reload removes (portreeve's `on_remove`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRemove {
    /// SIGKILL, as xinetd does.
    Kill,
    /// Leave them until they end by themselves.
    Drain,
}

/// What happens to running external instances when the supervisor is told to stop (portreeve's `stop`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, then SIGKILL.
    End,
    /// Leave them running, as xinetd does.
    Leave,
}

/// A window of access_times in minutes of the local day, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Window {
    pub from: u16,
    pub to: u16,
}

/// TLS of a service (portreeve's `tls_cert` and its like). Paths only: nothing of the files was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Files of a certificate with its chain, and of its key; empty where clients come in the clear.
    pub pairs: Vec<(Set<String>, Set<String>)>,
    /// Clients must have a certificate of an authority in this file.
    pub client_ca: Option<Set<String>>,
    /// Protocols that are offered (ALPN), the preferred one first.
    pub alpn: Vec<String>,
    /// `tls = connect`.
    pub connect: Option<TlsConnect>,
}

/// TLS towards the target of a redirected service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConnect {
    /// File of the authorities that the target's certificate is checked by; `None` = the system's.
    pub ca: Option<Set<String>>,
}

/// What an RPC service is registered as (RFC 5531).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// Program number.
    pub program: u32,
    /// First and last version; both are registered, and all between them.
    pub versions: (u32, u32),
}

impl Rpc {
    /// The versions: `1`, or `1-3`.
    pub fn versions_text(&self) -> String {
        match self.versions {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        }
    }
}

/// A service that can be served.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Name of the entry.
    pub name: Text,
    /// id, the name where none was set.
    pub id: Text,
    /// The entry's first line.
    pub place: Place,
    /// What is done with a client.
    pub action: Action,
    /// Where `server` or `redirect` stands.
    pub action_place: Option<Place>,
    /// Socket.
    pub listen: Listen,
    /// Daemon name for hosts.allow/hosts.deny.
    pub wrap_name: Text,
    /// Who may have it.
    pub limits: Rc<Limits>,
    /// What else it says; read as fields of the service itself.
    pub usual: Rc<Usual>,
}

impl Deref for Service {
    type Target = Usual;

    fn deref(&self) -> &Usual {
        &self.usual
    }
}
