//! What many services say alike, most of it once in `defaults`: services that say the same have it in common. Data, and whether two say
//! the same; nothing is decided here.

use crate::place::Place;
use crate::rare::Rare;
use crate::rlimits::Rlimits;
use crate::seldom::Seldom;
use crate::service::{
    AddressList, Bind, FamilyFlag, Ids, Limit, LogFailure, LogSuccess, LogType, Mux, OnRemove, Set,
    SocketRights, SocketType, Stop,
};
use crate::text::Text;
use crate::verify::Verify;
use crate::words::Words;
use std::ops::Deref;
use std::rc::Rc;

/// How a service listens, whatever its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// socket_type.
    pub socket: SocketType,
    /// Protocol name and number; `unix` and 0 of a unix socket.
    pub protocol: (Text, i32),
    /// `bind`, in order; none is every address. IP and unix sockets are never mixed.
    pub bind: Vec<Bind>,
    /// IPv4/IPv6 flags.
    pub family: FamilyFlag,
    /// v6only.
    pub v6only: bool,
    /// Who may connect to a unix socket in the file system.
    pub rights: SocketRights,
    /// Flag NODELAY.
    pub nodelay: bool,
    /// Flag KEEPALIVE.
    pub keepalive: bool,
    /// Flag FREEBIND.
    pub freebind: bool,
}

/// Who may have a service, and how many at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// instances.
    pub instances: Set<Limit>,
    /// per_source.
    pub per_source: Set<Limit>,
    /// cps: connections per second (0 = off) and wait seconds.
    pub cps: Set<(u32, u32)>,
    /// only_from.
    pub only_from: AddressList,
    /// Place of the line that first set only_from.
    pub only_from_place: Option<Place>,
}

impl Limits {
    fn places(&self) -> [&Option<Place>; 4] {
        [&self.instances.place, &self.per_source.place, &self.cps.place, &self.only_from_place]
    }
}

/// What else a service says.
#[derive(Clone, Debug, PartialEq)]
pub struct Usual {
    /// Words of `type`, upper case, for the dump.
    pub types: Words,
    /// Words of `flags`, in xinetd's spelling, for the dump.
    pub flags: Words,
    /// It has no socket of its own: clients name it to tcpmux.
    pub mux: Option<Mux>,
    /// wait = yes.
    pub wait: bool,
    /// Flag NORETRY.
    pub noretry: bool,
    /// Flag NOLIBWRAP.
    pub nolibwrap: bool,
    /// Ids of the program.
    pub ids: Ids,
    /// nice.
    pub nice: Option<i32>,
    /// umask; `None` = inherited OR 022.
    pub umask: Option<u32>,
    /// Resource limits.
    pub rlimits: Rare<Rlimits>,
    /// log_type.
    pub log_type: LogType,
    /// log_on_success.
    pub log_success: LogSuccess,
    /// log_on_failure.
    pub log_failure: LogFailure,
    /// on_remove.
    pub on_remove: OnRemove,
    /// stop; `None` = not written (the way the supervisor was called decides).
    pub stop: Option<Stop>,
    /// transparent: the target of `redirect` sees the client's address.
    pub transparent: bool,
    /// idle_timeout of a built-in stream service, in seconds.
    pub idle_timeout: u32,
    /// verify_server.
    pub verify: Verify,
    /// evidence: the program has a descriptor to tell us of its client.
    pub evidence: bool,
    /// protect_only_from: no ban touches the addresses of only_from.
    pub protect_only_from: bool,
    /// What few services say.
    pub seldom: Rare<Seldom>,
}

impl Deref for Usual {
    type Target = Seldom;

    fn deref(&self) -> &Seldom {
        &self.seldom
    }
}

/// A part of a service that others may have as well.
pub(crate) trait Common {
    /// Whether all is the same, places in the files included.
    fn is_same(&self, other: &Self) -> bool;
}

impl Common for Socket {
    fn is_same(&self, other: &Self) -> bool {
        self == other
    }
}

impl Common for Limits {
    fn is_same(&self, other: &Self) -> bool {
        let entries = |of: &'_ Self| of.only_from.as_deref().unwrap_or_default().len();
        let mut pairs = self.only_from.iter().flatten().zip(other.only_from.iter().flatten());
        self.places() == other.places()
            && entries(self) == entries(other)
            && pairs.all(|(own, other)| own.place == other.place)
            && self == other
    }
}

impl Common for Usual {
    /// What few services say has places too, and few would share it.
    fn is_same(&self, other: &Self) -> bool {
        self.seldom.is_unmade() && other.seldom.is_unmade() && self == other
    }
}

/// So many different ones of before are compared with: entries that say the same stand together, or there are few of a kind.
const COMPARED: usize = 8;

/// The last parts of one kind.
#[derive(Debug)]
pub(crate) struct Last<T>(Vec<Rc<T>>);

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Common> Last<T> {
    /// The part, shared with the last service that had the same.
    pub(crate) fn share(&mut self, part: T) -> Rc<T> {
        if let Some(at) = self.0.iter().rposition(|known| known.is_same(&part)) {
            return Rc::clone(&self.0[at]);
        }
        if self.0.len() == COMPARED {
            self.0.remove(0);
        }
        let part = Rc::new(part);
        self.0.push(Rc::clone(&part));
        part
    }
}

/// The parts that the services of a reading have in common.
#[derive(Debug, Default)]
pub(crate) struct InCommon {
    pub(crate) sockets: Last<Socket>,
    pub(crate) limits: Last<Limits>,
    pub(crate) usual: Last<Usual>,
}
